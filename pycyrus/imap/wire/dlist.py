"""
The lists in which Cyrus's servers tell one another of mailboxes: octets to values and back.

C{(a b)} is a list, C{%(KEY value KEY value)} a table, C{%{default GUID 17}} announces a file of
17 octets, and the rest is as in IMAP: atoms, quoted strings, literals and NIL.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax

MOST_DEEP = 16

_ANNOUNCED = re.compile(rb"(?:%\{([!-z|~]+) ([0-9a-fA-F]{40}) ([0-9]{1,12})|\{([0-9]{1,12})\+?)\}\Z")
_TOKEN = re.compile(rb'(%?\()|(\))|"((?:[^"\\\r\n]|\\.)*+)"|([^ ()"%{}\r\n]++)')
_ESCAPED = re.compile(rb"\\(.)")
_ATOM = re.compile(rb"[A-Za-z0-9/._:$@-]+\Z")
_QUOTED = re.compile(rb'[^"\\\r\n\0\x80-\xff]*\Z')


class Word(bytes):
    """Octets that are written as they stand, such as a flag."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was announced; its octets went elsewhere."""

    guid: bytes
    size: int


Value = bytes | None | File | list["Value"] | dict[str, "Value"]
Part = bytes | File
"""Of a command: text, a literal without its announcement, or a file."""


@dataclass(frozen=True, slots=True)
class Announced:
    """
    What follows a line.

    @ivar text: The line without the announcement.
    @ivar file: None for a literal.
    """

    text: bytes
    size: int
    file: File | None


def announced(line: bytes) -> Announced | None:
    """Look whether a line, without its end, announces octets."""
    found = _ANNOUNCED.search(line)
    if found is None:
        return None
    text = line[: found.start()]
    if found[2] is not None:
        size = int(found[3])
        return Announced(text, size, File(found[2].lower(), size))
    return Announced(text, int(found[4]), None)


class Reader:
    """
    Reads values from the parts of a command.

    @param parts: Text at even places, and what was announced at odd ones.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._index = 0
        self._at = 0

    def word(self) -> bytes:
        """
        An atom, and the space before it, if there is one.

        @raise BadSyntax: There is none.
        """
        value = self._value(MOST_DEEP)
        if not isinstance(value, bytes):
            raise BadSyntax(b"A word was expected")
        return value

    def value(self) -> Value:
        """
        What stands here.

        @raise BadSyntax: It is nothing.
        """
        return self._value(0)

    def end(self) -> None:
        """
        Make sure that nothing is left.

        @raise BadSyntax: Something is.
        """
        if self._index != len(self._parts) - 1 or self._text()[self._at :].strip(b" "):
            raise BadSyntax(b"Unexpected extra arguments")

    def _text(self) -> bytes:
        text = self._parts[self._index]
        assert isinstance(text, bytes)
        return text

    def _value(self, depth: int) -> Value:
        token = self._token()
        if isinstance(token, File) or token is None:
            return token
        kind, octets = token
        if kind == "open":
            if depth >= MOST_DEEP:
                raise BadSyntax(b"Too deep")
            return self._table(depth) if octets == b"%(" else self._list(depth)
        if kind == "close":
            raise BadSyntax(b"Unexpected )")
        return None if kind == "atom" and octets == b"NIL" else octets

    def _list(self, depth: int) -> list[Value]:
        values: list[Value] = []
        while not self._closes():
            values.append(self._value(depth + 1))
        return values

    def _table(self, depth: int) -> dict[str, Value]:
        values: dict[str, Value] = {}
        while not self._closes():
            key = self._value(depth + 1)
            if not isinstance(key, bytes):
                raise BadSyntax(b"A key was expected")
            values[key.decode("ascii", "replace")] = self._value(depth + 1)
        return values

    def _skip_spaces(self) -> bytes:
        text = self._text()
        while self._at < len(text) and text[self._at] == 0x20:
            self._at += 1
        return text

    def _closes(self) -> bool:
        text = self._skip_spaces()
        if self._at < len(text) and text[self._at] == 0x29:
            self._at += 1
            return True
        return False

    def _token(self) -> tuple[str, bytes] | File | None:
        text = self._skip_spaces()
        if self._at >= len(text):
            if self._index + 2 >= len(self._parts):
                raise BadSyntax(b"Missing required argument")
            found = self._parts[self._index + 1]
            self._index += 2
            self._at = 0
            return found if isinstance(found, File) else ("literal", found)
        match = _TOKEN.match(text, self._at)
        if match is None:
            raise BadSyntax(b"Not understood")
        self._at = match.end()
        if match[1]:
            return "open", match[1]
        if match[2]:
            return "close", match[2]
        if match[4] is not None:
            return "atom", match[4]
        return "quoted", _ESCAPED.sub(rb"\1", match[3])


def encode(value: Value, *, plus: bool) -> bytes:
    """
    Write a value.

    @param plus: Literals are announced as those for which nobody waits.
    """
    if value is None:
        return b"NIL"
    if isinstance(value, bytes):
        return _encode_octets(value, plus=plus)
    if isinstance(value, File):
        return b"%%{default %b %d}\r\n" % (value.guid, value.size)
    if isinstance(value, Mapping):
        pairs = (b"%b %b" % (key.encode("ascii"), encode(each, plus=plus)) for key, each in value.items())
        return b"%%(%b)" % b" ".join(pairs)
    return b"(%b)" % b" ".join(encode(each, plus=plus) for each in value)


def _encode_octets(value: bytes, *, plus: bool) -> bytes:
    if isinstance(value, Word) or (_ATOM.match(value) and value.upper() != b"NIL"):
        return bytes(value)
    if _QUOTED.match(value):
        return b'"%b"' % value
    return b"{%d%b}\r\n%b" % (len(value), b"+" if plus else b"", value)
