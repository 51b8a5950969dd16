"""Hashes of passwords as directories keep them (RFC 2307 section 5.3, and what came after)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

_SCHEME = re.compile(rb"\{([A-Za-z0-9-]+)\}(.*)\Z", re.DOTALL)
_DIGESTS = {
    b"MD5": "md5",
    b"SMD5": "md5",
    b"SHA": "sha1",
    b"SSHA": "sha1",
    b"SHA256": "sha256",
    b"SSHA256": "sha256",
    b"SHA384": "sha384",
    b"SSHA384": "sha384",
    b"SHA512": "sha512",
    b"SSHA512": "sha512",
}


class UnknownScheme(ValueError):
    """A hash of a kind that is not known; the text names it."""


def matches(stored: bytes, password: bytes) -> bool:
    """
    Whether a password is the one of a stored value.

    @raise UnknownScheme: Such as C{{CRYPT}}, which only a bind can check.
    """
    found = _SCHEME.match(stored)
    if found is None:
        return hmac.compare_digest(stored, password)
    scheme, value = found[1].upper(), found[2]
    if scheme == b"CLEARTEXT":
        return hmac.compare_digest(value, password)
    name = _DIGESTS.get(scheme)
    if name is None:
        raise UnknownScheme(f"{{{scheme.decode('ascii')}}} cannot be checked here; use ldap_auth_method: bind")
    try:
        octets = base64.b64decode(value, validate=True)
    except binascii.Error:
        return False
    size = hashlib.new(name, usedforsecurity=False).digest_size
    digest, salt = octets[:size], octets[size:]
    if (salt and not scheme.startswith(b"S")) or len(digest) < size:
        return False
    return hmac.compare_digest(hashlib.new(name, password + salt, usedforsecurity=False).digest(), digest)
