"""Where in an APPEND or REPLACE a literal stands that has just been announced (RFC 4469, RFC 5257, RFC 8508)."""

from __future__ import annotations

import enum
import re

from pycyrus.imap.wire.grammar import BadSyntax

_TOKEN = re.compile(rb'"((?:[^"\\\r\n]|\\.)*+)"|(\()|(\))|([^ ()"]++)')
_ESCAPED = re.compile(rb"\\(.)")
MAX_PARTS = 256
"""Parts of one message."""


class Place(enum.Enum):
    """What a literal is."""

    MESSAGE = enum.auto()
    """A whole message."""
    TEXT = enum.auto()
    """A C{TEXT} part of a message that is put together."""
    OTHER = enum.auto()
    """A URL, a value of an annotation, or something that does not belong there."""


class Whereabouts:
    """
    Reads the pieces of text between literals, each once.

    @ivar is_inside: Between the parentheses of C{CATENATE}.
    @ivar has_begun: The current message has a C{TEXT} already.
    @ivar urls: URLs of the current message behind its last C{TEXT}.
    @ivar parts: How many parts the current message has so far.
    """

    __slots__ = ("_depth", "_expected", "has_begun", "is_inside", "parts", "urls")

    def __init__(self) -> None:
        self.is_inside = False
        self._expected = b""
        # Of parentheses behind ANNOTATION.
        self._depth = 0
        self.has_begun = False
        self.urls: list[bytes] = []
        self.parts = 0

    def read(self, piece: bytes) -> Place:
        """
        Take the text behind the last literal, up to the next.

        @raise BadSyntax: A message has too many parts.
        """
        for match in _TOKEN.finditer(piece):
            self._take(match)
        if self._depth:
            return Place.OTHER
        if not self.is_inside:
            return Place.MESSAGE
        return Place.TEXT if self._expected == b"TEXT" else Place.OTHER

    def _take(self, match: re.Match[bytes]) -> None:
        quoted, opens, closes, word = match.groups()
        if self._depth or (opens and self._expected == b"ANNOTATION" and not self.is_inside):
            self._depth += bool(opens) - bool(closes)
            self._expected = b""
        elif not self.is_inside:
            if opens and self._expected == b"CATENATE":
                self.is_inside = True
                self.has_begun = False
                self.urls = []
                self.parts = 0
            self._expected = (word or b"").upper()
        elif closes:
            self.is_inside = False
            self._expected = b""
        elif self._expected == b"URL" and (quoted is not None or word):
            self.add(_ESCAPED.sub(rb"\1", quoted) if quoted is not None else word)
        else:
            self._expected = (word or b"").upper()

    def begin_text(self) -> None:
        """A C{TEXT} comes."""
        self.has_begun = True
        self.add()

    def add(self, url: bytes | None = None) -> None:
        """
        Count a part: a C{TEXT}, or a URL.

        @raise BadSyntax: There are too many.
        """
        self.parts += 1
        if self.parts > MAX_PARTS:
            raise BadSyntax(b"Too many parts")
        if url is not None:
            self.urls.append(url)
        self._expected = b""
