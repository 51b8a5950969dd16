"""Octets of a client as text that is safe in a log."""

from __future__ import annotations

LONGEST = 200
_TEXTS = [chr(octet) if 0x20 <= octet < 0x7F else f"\\x{octet:02x}" for octet in range(256)]
_TEXTS[0x5C] = r"\\"


def log_text(octets: bytes) -> str:
    """
    Write printable ASCII, anything else escaped, and not too much of it.

    So nobody forges log lines, or drives the terminal of who reads them.
    """
    safe = "".join(_TEXTS[octet] for octet in octets[:LONGEST])
    return safe if len(octets) <= LONGEST else f"{safe}..."
