"""What an IMAP server answers, cut so that it can be passed on: no parsing, and little looking."""

from __future__ import annotations

import re

from pycyrus.imap.wire.frames import Literal

LONGEST_STATUS = 65_536
"""Octets of a line that must be understood: a tagged one, or the greeting."""
_SHORT_LINE = 4096
"""An unfinished line is kept until its end, up to this; then its beginning is passed on."""
_KEPT = 64
"""Octets of an unfinished long line that are kept: the announcement of a literal may be among them."""

_ANNOUNCED = re.compile(rb"\{([0-9]{1,18})\}\r\n\Z")
_STATUS = re.compile(rb"(?:\* |[^ *+\r\n]+ )(?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
"""Lines whose end is text: what stands there in braces announces nothing."""


def _is_goodbye(line: bytes, begin: int = 0) -> bool:
    return line[begin : begin + 6].upper() == b"* BYE "


class BadResponse(ValueError):
    """The server sends what no server sends."""


class ResponseScanner:
    """
    Cuts a stream of responses where a tagged line begins (RFC 9051 section 7).

    Between there and here whole blocks are passed on; the search is for the few octets that
    matter, so that it costs little for each message of a long answer.
    """

    __slots__ = ("_buffer", "_in_line", "_is_blind", "_is_text", "_left")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._in_line = False
        self._is_text = False
        self._is_blind = False

    @property
    def is_whole(self) -> bool:
        """Whether everything passed on so far ended with a line."""
        return not self._left and not self._in_line

    @property
    def said_goodbye(self) -> bool:
        """Whether all that is left is a goodbye."""
        return not self._left and _is_goodbye(self._buffer)

    def look_away(self) -> bytes:
        """
        What follows is passed on otherwise: only the tagged line is looked for, until it came.

        @return: Octets that are to be passed on before.
        """
        held, self._buffer = self._buffer, b""
        self._is_blind = self._in_line = True
        self._left = 0
        return held

    def feed(self, data: bytes) -> None:
        """Add octets."""
        self._buffer = self._buffer + data if self._buffer else data

    def take(self, tag: bytes) -> tuple[bytes, bytes | None]:
        """
        Take what can be passed on.

        A goodbye is not passed on as long as nothing follows it: it is about the connection to us.

        @return: Octets of untagged responses, and the line with this tag if it came, with its end.
        @raise BadResponse: That line is too long.
        """
        buffer, position, size = self._buffer, 0, len(self._buffer)
        start = tag + b" "
        if self._is_blind:
            return self._take_blindly(start)
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                position += step
                self._left -= step
                self._in_line = True
                continue
            if not self._in_line and buffer.startswith(start, position):
                return self._take_tagged(position)
            brace = buffer.find(b"}\r\n", position)
            stop = size if brace < 0 else brace + 3
            tagged = buffer.find(b"\n" + start, position, stop)
            if tagged >= 0:
                position, self._in_line = tagged + 1, False
            elif brace < 0:
                return self._take_most(position), None
            else:
                self._note_line_end(position, stop)
                position = stop
        self._buffer = b""
        return buffer, None

    def _take_tagged(self, position: int) -> tuple[bytes, bytes | None]:
        buffer = self._buffer
        end = buffer.find(b"\n", position) + 1
        if not end:
            if len(buffer) - position > LONGEST_STATUS:
                raise BadResponse("a tagged line without end")
            self._buffer = buffer[position:]
            return buffer[:position], None
        self._buffer = buffer[end:]
        return buffer[:position], buffer[position:end]

    def _take_blindly(self, start: bytes) -> tuple[bytes, bytes | None]:
        """Look for a beginning that stands nowhere else."""
        position = self._buffer.find(start)
        if position >= 0:
            data, line = self._take_tagged(position)
            if line is not None:
                self._is_blind = self._in_line = False
            return data, line
        # Half of it may have come.
        size = max(len(self._buffer) - len(start) + 1, 0)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data, None

    def _take_most(self, position: int) -> bytes:
        """Take all lines, and of one that has not ended what is of no interest."""
        buffer = self._buffer
        last = buffer.rfind(b"\n", position) + 1
        if last == len(buffer):
            # The last line is whole.  Is it a goodbye?
            begin = buffer.rfind(b"\n", position, last - 1) + 1
            is_begin = begin > 0 or not self._in_line
            begin = begin or position
            self._in_line = False
            if is_begin and _is_goodbye(buffer, begin):
                last = begin
        else:
            if last:
                self._in_line = False
            last = last or position
            if len(buffer) - last > _SHORT_LINE:
                if not self._in_line:
                    self._is_text = _STATUS.match(buffer, last) is not None
                last = len(buffer) - _KEPT
                self._in_line = True
        self._buffer = buffer[last:]
        return buffer[:last]

    def _note_line_end(self, position: int, stop: int) -> None:
        """See whether what stands in braces at the end of a line announces a literal."""
        buffer = self._buffer
        begin = buffer.rfind(b"\n", position, stop - 1) + 1
        is_begin = begin > 0 or not self._in_line
        is_text = _STATUS.match(buffer, begin or position) is not None if is_begin else self._is_text
        announced = None if is_text else _ANNOUNCED.search(buffer, max(begin, position, stop - 24), stop)
        self._left = int(announced[1]) if announced is not None else 0
        self._in_line = announced is not None
        self._is_text = False

    def take_line(self) -> bytes | None:
        """
        Take one line, as before the login, when all lines are short.

        @raise BadResponse: It is too long.
        """
        end = self._buffer.find(b"\n") + 1
        if not end:
            if len(self._buffer) > LONGEST_STATUS:
                raise BadResponse("a line without end")
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line.rstrip(b"\r\n")


def split_responses(data: bytes) -> list[list[bytes | Literal]]:
    """
    Cut untagged responses, whole ones, into text and literals, as a parser takes them.

    @raise BadResponse: The last one is not whole.
    """
    responses: list[list[bytes | Literal]] = []
    pieces: list[bytes | Literal] = []
    position = 0
    while position < len(data):
        end = data.find(b"\r\n", position)
        if end < 0:
            raise BadResponse("half a line")
        line = data[position:end]
        position = end + 2
        announced = None if not pieces and _STATUS.match(line) else _ANNOUNCED.search(line + b"\r\n")
        if announced is None:
            if line:
                pieces.append(line)
            responses.append(pieces)
            pieces = []
            continue
        if announced.start():
            pieces.append(line[: announced.start()])
        size = int(announced[1])
        if position + size > len(data):
            raise BadResponse("half a literal")
        pieces.append(Literal(data[position : position + size], size=size))
        position += size
    if pieces:
        raise BadResponse("half a response")
    return responses
