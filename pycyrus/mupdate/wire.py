"""
MUPDATE's lines: words to what they mean, and back (RFC 3656 section 3).

Cyrus's servers and clients send every string as a literal without waiting, C{{5+}}.
"""

from __future__ import annotations

from pycyrus.interfaces.directory import Location, LocationState


def literal(value: str) -> bytes:
    """A string as Cyrus writes all of them; neither side waits for it."""
    octets = encode(value)
    return b"{%d+}\r\n%b" % (len(octets), octets)


def encode(value: str) -> bytes:
    """Names and lists as octets; each octet was a character."""
    return value.encode("latin-1", "replace")


def decode(value: bytes) -> str:
    """The reverse of L{encode}."""
    return value.decode("latin-1")


def location_line(tag: bytes, location: Location) -> bytes:
    """A data line: where a mailbox is (RFC 3656 section 3.8)."""
    mailbox, where = encode(location.mailbox), encode(location.where)
    if location.state is LocationState.RESERVED:
        return b"%b RESERVE {%d+}\r\n%b {%d+}\r\n%b\r\n" % (tag, len(mailbox), mailbox, len(where), where)
    acl = encode(location.acl)
    return b"%b MAILBOX {%d+}\r\n%b {%d+}\r\n%b {%d+}\r\n%b\r\n" % (
        tag, len(mailbox), mailbox, len(where), where, len(acl), acl,
    )  # fmt: skip


def gone_line(tag: bytes, mailbox: str) -> bytes:
    """A data line: a mailbox is gone."""
    return b"%b DELETE %b\r\n" % (tag, literal(mailbox))


def split_where(where: str) -> tuple[str, str]:
    """
    Server and partition of a location.

    Cyrus tells C{server!} where it does not know the partition, and a partition
    alone where servers share one spool.
    """
    server, mark, partition = where.partition("!")
    return (server, partition) if mark and server else ("", where)
