"""Octets of a client as text that is safe in a log."""

from __future__ import annotations

LONGEST = 200


def log_text(octets: bytes) -> str:
    """
    Write printable ASCII, anything else escaped, and not too much of it.

    So nobody forges log lines, or drives the terminal of who reads them.
    """
    text = octets[:LONGEST].decode("ascii", "backslashreplace")
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text.replace("\\", "\\\\"))
    return safe if len(octets) <= LONGEST else f"{safe}..."
