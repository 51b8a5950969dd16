"""
What is sent to a directory for each login, and what it answers (RFC 4511).

The library for LDAP connects, negotiates TLS and binds us; searches and binds of
users come in such numbers that they are written here.  Pure; no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pycyrus.auth.ldap.ber import (
    BOOLEAN,
    ENUMERATED,
    INTEGER,
    OCTETS,
    SEQUENCE,
    SET,
    BadBer,
    element,
    elements,
    header,
    integer,
    octets,
)

LONGEST_MESSAGE = 4 << 20
"""Octets of one message that is read."""

SCOPES = {"BASE": 0, "LEVEL": 1, "SUBTREE": 2}
DEREFERENCES = {"NEVER": 0, "SEARCH": 1, "BASE": 2, "ALWAYS": 3}
NO_ATTRIBUTES = "1.1"

BIND_RESPONSE, SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE = 0x61, 0x64, 0x65, 0x73
"""Kinds of answers."""
_BIND_REQUEST, _SEARCH_REQUEST, _SIMPLE = 0x60, 0x63, 0x80
_VERSION = 3


class BadMessage(ValueError):
    """The directory does not speak LDAP."""


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message of a directory.

    @ivar number: Of what it answers; 0 for what nobody asked.
    @ivar kind: Such as L{SEARCH_ENTRY}.
    @ivar data: Where its body is, from C{begin} to C{end}.
    """

    number: int
    kind: int
    data: bytes
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Result:
    """
    How something ended.

    @ivar code: Of RFC 4511 section 4.1.9.
    @ivar text: The directory's own words.
    """

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Search:
    """
    A search (RFC 4511 section 4.5.1).

    @ivar filter: As L{pycyrus.auth.ldap.filters.filter_octets} makes it.
    @ivar attributes: Those that are wanted; none if empty.
    @ivar most: Entries at most.
    @ivar seconds: The directory gives up after these.
    """

    base: str
    filter: bytes
    scope: str
    dereference: str
    attributes: Sequence[str]
    most: int
    seconds: int

    def request(self, number: int) -> bytes:
        """Write it."""
        body = (
            octets(self.base)
            + integer(SCOPES[self.scope], ENUMERATED)
            + integer(DEREFERENCES[self.dereference], ENUMERATED)
            + integer(self.most)
            + integer(self.seconds)
            # Values, and not only what attributes are called.
            + element(BOOLEAN, b"\0")
            + self.filter
            + element(SEQUENCE, b"".join(octets(name) for name in self.attributes or (NO_ATTRIBUTES,)))
        )
        return element(SEQUENCE, integer(number) + element(_SEARCH_REQUEST, body))


def bind_request(number: int, name: str, password: bytes) -> bytes:
    """Write a bind by name and password (RFC 4511 section 4.2)."""
    body = integer(_VERSION) + octets(name) + element(_SIMPLE, password)
    return element(SEQUENCE, integer(number) + element(_BIND_REQUEST, body))


def take(buffer: bytes) -> tuple[Message, bytes] | None:
    """
    Take one message from the beginning of what has come.

    @return: It, and what comes behind it; None while it is not all there.
    @raise BadMessage: This is none, or too long.
    """
    try:
        found = header(buffer, 0)
        if found is None:
            return None
        tag, begin, end = found
        if tag != SEQUENCE or end > LONGEST_MESSAGE:
            raise BadMessage(f"a message of {end} octets with tag {tag:#x}")
        if len(buffer) < end:
            return None
        (number, first, last), (kind, body, behind), *_ = elements(buffer, begin, end)
        if number != INTEGER or not 1 <= last - first <= 4:
            raise BadMessage("a message without a number")
        return Message(int.from_bytes(buffer[first:last], "big"), kind, buffer, body, behind), buffer[end:]
    except BadMessage:
        raise
    except ValueError as error:
        raise BadMessage(str(error)) from error


def result_of(message: Message) -> Result:
    """
    Read how something ended (RFC 4511 section 4.1.9).

    @raise BadMessage: It is not told.
    """
    try:
        (tag, begin, end), (_, _, _), (_, first, last), *_ = elements(message.data, message.begin, message.end)
    except ValueError as error:
        raise BadMessage(f"no result: {error}") from error
    if tag != ENUMERATED or not 1 <= end - begin <= 4:
        raise BadMessage("no result")
    text = message.data[first:last].decode("utf-8", "replace")
    return Result(int.from_bytes(message.data[begin:end], "big"), text)


def entry_of(message: Message) -> tuple[str, dict[str, list[bytes]]]:
    """
    Read an entry (RFC 4511 section 4.5.2).

    @return: Its name, and its attributes by their names in lower case.
    @raise BadMessage: It is none.
    """
    data = message.data
    try:
        (tag, begin, end), (list_tag, first, last) = elements(data, message.begin, message.end)
        if (tag, list_tag) != (OCTETS, SEQUENCE):
            raise BadBer("no name, or no attributes")
        found: dict[str, list[bytes]] = {}
        for _, attribute, its_end in elements(data, first, last):
            (_, name, name_end), (kind, values, values_end) = elements(data, attribute, its_end)
            if kind != SET:
                raise BadBer("an attribute without a set of values")
            key = data[name:name_end].decode("utf-8", "replace").lower()
            found.setdefault(key, []).extend(data[at:to] for _, at, to in elements(data, values, values_end))
    except ValueError as error:
        raise BadMessage(f"no entry: {error}") from error
    return data[begin:end].decode("utf-8", "replace"), found
