"""
Lines of words, as MUPDATE and ManageSieve have them: octets to words (RFC 3656 section 3, RFC 5804 section 4).

A word is an atom, a quoted string or a literal.  C{{5+}} is followed by its octets at once;
after C{{5}} a peer may wait for leave.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LINE = 16_384
MAX_LITERAL = 262_144
"""Of an access control list, mostly."""
MAX_COMMAND = 524_288
MAX_WORDS = 64

_LITERAL = re.compile(rb"\{([0-9]{1,10})(\+?)\}\Z")
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_ATOM = re.compile(rb"[^\x00-\x20\"\\\x7f(){%]+")
_ESCAPED = re.compile(rb"\\(.)")
_PLAIN = re.compile(rb"[\x20-\x7e]*\Z")


class BadLine(Exception):
    """
    A line that is none; the text says why.

    @ivar tag: Its first word, if that could be read and is an atom.
    """

    tag: bytes | None = None


class LineTooLong(BadLine):
    """The peer wants more than is allowed; what follows cannot be understood."""


@dataclass(frozen=True, slots=True)
class Word:
    """
    A word of a line.

    @ivar is_string: Quoted or a literal; else an atom.
    """

    value: bytes
    is_string: bool


class LineReader:
    """
    Cuts octets into lines of words.

    @ivar wants_literal: Octets of a literal for which the peer waits for leave;
        to be set to None when it was given.
    """

    def __init__(self, *, max_command: int = MAX_COMMAND, max_literal: int = MAX_LITERAL) -> None:
        self.wants_literal: int | None = None
        self._max_command = max_command
        self._max_literal = max_literal
        self._data = bytearray()
        self._parts: list[tuple[bytes, bytes | None]] = []
        self._line = b""
        self._literal: int | None = None
        self._size = 0
        self._scanned = 0

    def feed(self, data: bytes) -> None:
        """Take octets."""
        self._data += data

    def __len__(self) -> int:
        """Octets that were not cut yet."""
        return len(self._data)

    def take_rest(self) -> bytes:
        """Octets that were not cut yet, which are left to somebody else."""
        rest = bytes(self._data)
        self._data.clear()
        self._scanned = 0
        return rest

    def next_raw_line(self) -> bytes | None:
        """
        A line as it is, without its end: a SASL response.

        @raise LineTooLong: It does not end.
        """
        end = self._data.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._data)
            if self._scanned > MAX_LINE:
                raise LineTooLong("line too long")
            return None
        if end > MAX_LINE:
            raise LineTooLong("line too long")
        line = bytes(self._data[:end]).removesuffix(b"\r")
        del self._data[: end + 1]
        self._scanned = 0
        return line

    def next_line(self) -> list[Word] | None:
        """
        The words of the next whole line; None if more must come.

        @raise BadLine: This line is none; the next may be.
        @raise LineTooLong: It is more than allowed.
        """
        while True:
            if self._literal is not None:
                if len(self._data) < self._literal:
                    return None
                self._parts.append((self._line, bytes(self._data[: self._literal])))
                del self._data[: self._literal]
                self._literal = None
            line = self.next_raw_line()
            if line is None:
                return None
            self._size += len(line)
            found = _LITERAL.search(line)
            if found is None:
                parts, self._parts = [*self._parts, (line, None)], []
                self._size = 0
                return split_words(parts)
            size = int(found[1])
            self._size += size
            if size > self._max_literal or self._size > self._max_command:
                raise LineTooLong("literal too long")
            self._line = line[: found.start()]
            self._literal = size
            if not found[2]:
                self.wants_literal = size


def split_words(parts: Sequence[tuple[bytes, bytes | None]]) -> list[Word]:
    """
    The words of a line.

    @param parts: Lines without their ends, each with the literal that follows it.
    @raise BadLine: It is none.
    """
    words: list[Word] = []
    try:
        _split(parts, words)
    except BadLine as error:
        if words and not words[0].is_string:
            error.tag = words[0].value
        raise
    return words


def _split(parts: Sequence[tuple[bytes, bytes | None]], words: list[Word]) -> None:
    for index, (line, literal) in enumerate(parts):
        # What follows a literal begins with a blank, if anything follows.
        at = _space(line, 0) if index and line else 0
        while at < len(line):
            found = _QUOTED.match(line, at) or _ATOM.match(line, at)
            if found is None:
                raise BadLine("neither atom nor string")
            if found.re is _QUOTED:
                words.append(Word(_ESCAPED.sub(rb"\1", found[1]), True))
            else:
                words.append(Word(found[0], False))
            at = found.end()
            if at < len(line):
                at = _space(line, at)
                if at == len(line) and literal is None:
                    raise BadLine("blank at the end")
        if literal is not None:
            if not line.endswith(b" ") and (line or index):
                raise BadLine("no blank before a literal")
            words.append(Word(literal, True))
        if len(words) > MAX_WORDS:
            raise BadLine("too many words")


def _space(line: bytes, at: int) -> int:
    if line[at : at + 1] != b" ":
        raise BadLine("no blank between words")
    return at + 1


def quoted(value: bytes) -> bytes:
    """
    A quoted string; what cannot be one becomes a literal.

    @param value: Mostly a text for people.
    """
    if _PLAIN.match(value):
        return b'"%b"' % value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b"{%d+}\r\n%b" % (len(value), value)
