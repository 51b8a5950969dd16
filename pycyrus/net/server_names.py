"""
Certificates for several names of one server, chosen by what the client asks for (RFC 6066 section 3).

A directory holds a PEM file for each: the certificate, what it is signed by, and the
private key, which may also stand beside it in a file of the same name with C{.key}.
Which names a certificate is for, it says itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.logger import Logger

MOST_FILES = 10_000
LARGEST_FILE = 256 * 1024
"""Octets of a certificate with all that belongs to it."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class NamedCertificate:
    """
    One of the files.

    @ivar key: Where its private key is.
    """

    certificate: Path
    key: Path


def read_directory(directory: Path) -> dict[str, NamedCertificate]:
    """
    Find the certificates of a directory, by the names in them, lower case.

    A file that cannot be read is told of and left out: the other names go on to be served.

    @raise OSError: The directory cannot be read.
    """
    found: dict[str, NamedCertificate] = {}
    paths = sorted(path for path in directory.iterdir() if path.suffix in (".pem", ".crt"))
    for path in paths[:MOST_FILES]:
        beside = path.with_suffix(".key")
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise ValueError("too large")
            certificate = x509.load_pem_x509_certificates(path.read_bytes())[0]
            names = _names(certificate)
            entry = NamedCertificate(path, beside if beside.exists() else path)
        except (OSError, ValueError) as error:
            _log.error("tls_sni_dir: {path} has no usable certificate: {error}", path=str(path), error=error)
            continue
        for name in names:
            found.setdefault(name, entry)
    return found


def lookup(found: dict[str, NamedCertificate], name: bytes) -> NamedCertificate | None:
    """
    The certificate for a name, or for all of its siblings (C{*.example.com}).

    @param name: As the client sent it.
    """
    try:
        text = name.decode("ascii").lower().rstrip(".")
    except UnicodeDecodeError:
        return None
    _, dot, parent = text.partition(".")
    return found.get(text) or (found.get(f"*.{parent}") if dot else None)


def _names(certificate: x509.Certificate) -> list[str]:
    """RFC 6125 section 6.4.4: the common name counts only where there is no other."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        assert isinstance(extension, x509.SubjectAlternativeName)
        names = extension.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names = [str(attribute.value) for attribute in common]
    return [name.lower() for name in names]
