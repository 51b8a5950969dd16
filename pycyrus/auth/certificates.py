"""Whose a client certificate is."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID


def user_of(certificate: bytes) -> bytes:
    """
    The user id in a certificate: its common name, as Cyrus takes it.

    @param certificate: DER, verified already.
    @return: Not canonical yet; empty where there is no common name, or more than
        one, for nobody could say which is meant.
    """
    try:
        names = x509.load_der_x509_certificate(certificate).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError:
        return b""
    if len(names) != 1:
        return b""
    name = names[0].value
    return name.encode("utf-8") if isinstance(name, str) else name
