"""Messages of a maildrop that a frontend has before its client asks for them."""

from __future__ import annotations

import enum

from pycyrus.errors import StoreUnavailable

_LONGEST_LINE = 512
"""Octets of a command, and of the line that says how many octets follow."""
_MOST_OCTETS = 262_144
_MOST_MESSAGES = 100
_MARK = b"+OK AHEAD "
_END = b"\r\n.\r\n"
_LINE_VERBS = frozenset((b"STAT", b"NOOP", b"RSET", b"LAST", b"DELE"))
_LISTING_VERBS = frozenset((b"LIST", b"UIDL", b"LANG"))
"""Answered by a line with an argument, and by lines without."""
_LINES_VERBS = frozenset((b"TOP", b"CAPA"))


class _Awaits(enum.Enum):
    """What the server has yet to say."""

    NOTHING = enum.auto()
    LINE = enum.auto()
    LINES = enum.auto()
    MESSAGES = enum.auto()
    ANYTHING = enum.auto()
    """The client did not wait for an answer; from then on nobody knows."""


class ReadAhead:
    """
    Follows a dialogue, and answers from memory where it can.

    A client that fetches one message after another, and waits for each, is given several by one
    question (C{XAHEAD}), and what STAT is answered was told with the login.  What it had from memory
    the server is told (C{XGOT}) before anything else.
    """

    __slots__ = ("_awaits", "_buffer", "_given", "_next", "_stat", "_stock", "_tail")

    def __init__(self, stat: bytes = b"") -> None:
        """@param stat: What STAT is answered; empty if that is not known."""
        self._awaits = _Awaits.NOTHING
        self._next = 1
        self._stat = stat
        self._stock: dict[int, bytes] = {}
        self._given: list[bytes] = []
        self._buffer = bytearray()
        self._tail = b""

    def asked(self, data: bytes) -> tuple[bytes, bytes]:
        """
        Take octets of the client.

        @return: What is to go to the server, and what is for the client.
        """
        if self._awaits is not _Awaits.NOTHING or data.find(b"\n") != len(data) - 1 or len(data) > _LONGEST_LINE:
            if self._awaits is not _Awaits.MESSAGES:
                self._awaits = _Awaits.ANYTHING
            else:
                # These are to be taken apart first.
                self._next = 0
            self._stock.clear()
            self._stat = b""
            return self.given() + data, b""
        verb, *arguments = data.upper().split() or [b""]
        if verb == b"RETR" and len(arguments) == 1 and arguments[0].isdigit() and len(arguments[0]) <= 10:
            return self._retrieve(int(arguments[0]), data)
        if verb == b"STAT" and not arguments and self._stat:
            return b"", self._stat
        if verb == b"DELE":
            self._stat = b""
            for argument in arguments[:1]:
                self._stock.pop(int(argument) if argument.isdigit() and len(argument) <= 10 else 0, None)
        self._awaits = _answer_to(verb, arguments)
        return self.given() + data, b""

    def given(self) -> bytes:
        """What tells the server which messages the client had from memory; once."""
        if not self._given:
            return b""
        told = b"XGOT %b\r\n" % b" ".join(self._given)
        self._given.clear()
        return told

    def _retrieve(self, number: int, data: bytes) -> tuple[bytes, bytes]:
        is_next = number == self._next
        self._next = number + 1
        message = self._stock.pop(number, None)
        if message is not None:
            self._given.append(b"%d" % number)
            return b"", message
        if is_next:
            self._awaits = _Awaits.MESSAGES
            self._stock.clear()
            data = b"XAHEAD %d\r\n" % number
        else:
            self._awaits = _Awaits.LINES
        return self.given() + data, b""

    def answered(self, data: bytes) -> bytes:
        """
        Take octets of the server.

        @return: What is for the client.
        @raise StoreUnavailable: They make no sense.
        """
        if self._awaits is _Awaits.LINE:
            if data.endswith(b"\n"):
                self._awaits = _Awaits.NOTHING
        elif self._awaits is _Awaits.LINES:
            self._look_for_end(data)
        elif self._awaits is _Awaits.MESSAGES:
            return self._take(data)
        return data

    def _look_for_end(self, data: bytes) -> None:
        if not self._tail and data.startswith(b"-"):
            self._awaits = _Awaits.LINE
            self.answered(data)
            return
        self._tail = (self._tail + data[-len(_END) :])[-len(_END) :]
        if self._tail == _END:
            self._awaits, self._tail = _Awaits.NOTHING, b""

    def _take(self, data: bytes) -> bytes:
        buffer = self._buffer
        buffer += data
        end = buffer.find(b"\n", 0, _LONGEST_LINE)
        if end < 0 and len(buffer) < _LONGEST_LINE:
            return b""
        if not buffer.startswith(_MARK):
            # What RETR is answered.
            said = bytes(buffer)
            buffer.clear()
            self._awaits = _Awaits.LINES if self._next else _Awaits.ANYTHING
            return self.answered(said)
        sizes = _sizes(bytes(buffer[len(_MARK) : end]))
        at = end + 1
        if len(buffer) < at + sum(sizes):
            return b""
        first = at + sizes[0]
        said = bytes(buffer[at:first])
        at = first
        for number, size in enumerate(sizes[1:], self._next):
            self._stock[number] = bytes(buffer[at : at + size])
            at += size
        # What follows was asked for without waiting.
        said += buffer[at:]
        buffer.clear()
        self._awaits = _Awaits.NOTHING
        if not self._next:
            self._stock.clear()
            self._awaits = _Awaits.ANYTHING
        return said


def _answer_to(verb: bytes, arguments: list[bytes]) -> _Awaits:
    if verb in _LINE_VERBS or (verb in _LISTING_VERBS and arguments):
        return _Awaits.LINE
    if verb in _LISTING_VERBS or verb in _LINES_VERBS or verb == b"RETR":
        return _Awaits.LINES
    return _Awaits.ANYTHING


def _sizes(text: bytes) -> list[int]:
    """
    How many octets each answer has.

    @raise StoreUnavailable: That is not what it says, or they are too many.
    """
    words = text.split()
    if not 0 < len(words) <= _MOST_MESSAGES or not all(word.isdigit() and len(word) < 10 for word in words):
        raise StoreUnavailable("messages of no size")
    sizes = [int(word) for word in words]
    if sum(sizes) > _MOST_OCTETS:
        raise StoreUnavailable("more messages than were asked for")
    return sizes
