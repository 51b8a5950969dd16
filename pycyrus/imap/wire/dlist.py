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
_TOKEN = re.compile(rb' *+(?:(%?\()|(\))|"((?:[^"\\\r\n]|\\.)*+)"|([^ ()"%{}\r\n]++)|([^ ]))')
_BEGIN, _QUOTED_TEXT, _WORD, _OTHER = 1, 3, 4, 5
"""Groups of it; the second ends a list."""
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
_Open = tuple[list[Value], bool]
"""What stood before a list or table that has not ended: values, and whether they are of a table."""
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
        self._keys: dict[bytes, str] = {}

    def word(self) -> bytes:
        """
        An atom, and the space before it, if there is one.

        @raise BadSyntax: There is none.
        """
        value = self.value()
        if not isinstance(value, bytes):
            raise BadSyntax(b"A word was expected")
        return value

    def value(self) -> Value:
        """
        What stands here.

        @raise BadSyntax: It is nothing.
        """
        # A mailbox may be millions of tokens: no calls for each of them.
        around: list[_Open] = []
        values: list[Value] = []
        is_table = False
        tokens = _TOKEN.finditer(self._text(), self._at)
        while not values or around:
            match = next(tokens, None)
            kind = _OTHER if match is None else match.lastindex
            if match is None or kind == _OTHER:
                values.append(self._announced(match))
                tokens = _TOKEN.finditer(self._text())
                continue
            if kind == _WORD:
                octets = match[_WORD]
                values.append(None if octets == b"NIL" else octets)
            elif kind == _QUOTED_TEXT:
                values.append(_ESCAPED.sub(rb"\1", match[_QUOTED_TEXT]))
            elif kind == _BEGIN:
                if len(around) >= MOST_DEEP:
                    raise BadSyntax(b"Too deep")
                around.append((values, is_table))
                values, is_table = [], match[_BEGIN] == b"%("
            elif around:
                ended: Value = self._table(values) if is_table else values
                values, is_table = around.pop()
                values.append(ended)
            else:
                raise BadSyntax(b"Unexpected )")
            if not around:
                self._at = match.end()
        return values[0]

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

    def _announced(self, other: re.Match[bytes] | None) -> bytes | File:
        """
        The literal, or the file, that was announced where the text ends.

        @param other: What is no token, if the text does not end.
        """
        if other is not None:
            raise BadSyntax(b"Not understood")
        if self._index + 2 >= len(self._parts):
            raise BadSyntax(b"Missing required argument")
        found = self._parts[self._index + 1]
        self._index += 2
        self._at = 0
        return found

    def _table(self, values: list[Value]) -> dict[str, Value]:
        if len(values) % 2:
            raise BadSyntax(b"A key without a value")
        keys = self._keys
        try:
            return {keys[key]: value for key, value in zip(values[::2], values[1::2], strict=True)}  # type: ignore[index] # who is none is not there
        except (KeyError, TypeError):
            pass
        for key in values[::2]:
            if not isinstance(key, bytes):
                raise BadSyntax(b"A key was expected")
            keys[key] = key.decode("ascii", "replace")
        return {keys[key]: value for key, value in zip(values[::2], values[1::2], strict=True)}  # type: ignore[index] # as above


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
