"""
Cuts what an IMAP client sends into commands: lines and literals (RFC 9051 sections 2.2 and 4.3).

Nothing is understood here but the tag, the name of the command and where a
literal begins.  Limits on line and command are kept before any parser runs;
whether a literal is wanted is the session's decision, which the reader waits
for.  The octets of a refused literal never reach a parser as commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol, Union


class Staged(Protocol):
    """A message body on its way to a mailbox: L{pycyrus.interfaces.IStaged}."""

    size: int

    def write(self, data: bytes) -> None:
        """Add octets."""

    def finish(self) -> None:
        """End the message."""

    def discard(self) -> None:
        """Remove it."""


@dataclass(slots=True)
class Literal:
    """
    A literal among the arguments of a command.

    @ivar data: The octets; empty if they were staged.
    @ivar binary: It is a C{literal8} (RFC 3516 section 4.2).
    @ivar staged: Where the octets went, for a message to append.
    @ivar size: Octets announced.
    """

    data: bytes
    binary: bool = False
    staged: Staged | None = None
    size: int = 0


@dataclass(slots=True)
class Frame:
    """
    A command, cut but not understood.

    @ivar name: In upper case; C{UID FETCH} and the like are one name.
    @ivar args: What follows the name: pieces of text, the first of which
        begins with the space, and literals.  The announcement of a literal and
        line ends are in none of them; empty pieces are left out.
    """

    tag: bytes
    name: bytes
    args: list[bytes | Literal]


@dataclass(slots=True)
class Announced:
    """
    A literal is about to come: answer by L{FrameReader.accept} or L{FrameReader.refuse}.

    @ivar frame: The command so far.
    @ivar size: Octets.
    @ivar is_synchronising: The client waits to be told to go ahead.
    @ivar is_binary: It is a C{literal8}.
    @ivar count: Literals of this command before this one.
    @ivar total: Octets of this command kept in memory so far.
    """

    frame: Frame
    size: int
    is_synchronising: bool
    is_binary: bool
    count: int
    total: int


@dataclass(slots=True)
class Chunk:
    """Octets of a literal that was accepted into a staged message."""

    tag: bytes
    staged: Staged
    data: bytes


@dataclass(slots=True)
class Refused:
    """A command ended that cannot be done; C{reply} is the line to answer."""

    reply: bytes


@dataclass(slots=True)
class Overflow:
    """More than the limits allow: nothing sensible can follow on this connection."""

    text: bytes


Event = Union[Frame, Announced, Chunk, Refused, Overflow]  # noqa: UP007 - one name for isinstance and types


@dataclass(frozen=True, slots=True)
class FrameLimits:
    """
    What a command may cost, in octets unless said otherwise.

    @ivar line: The longest line, and piece of a line between literals.
    @ivar literal: The largest literal that is kept in memory.
    @ivar literals: How many literals a command may have.
    @ivar command: All pieces and literals in memory of one command.
    @ivar discard: How much of refused literals is read and thrown away before
        the connection is given up.
    """

    line: int = 65_536
    literal: int = 131_072
    literals: int = 1000
    command: int = 1_048_576
    discard: int = 67_108_864


# The announcement at the end of a line.  What stands between the braces is
# judged afterwards, so that a bad size is not taken for text.
_ANNOUNCEMENT = re.compile(rb'(~?)\{([^{}"\\ ]*)\}\Z')
_MAX_SIZE_DIGITS = 18
_SIMPLE = re.compile(rb"([A-Za-z0-9]++) ((?:[Uu][Ii][Dd] )?[A-Za-z]++)( [^\0\r\n]*+)?+(?<!\})\r?\n")
_UNCUT = re.compile(rb"([A-Za-z0-9]++) (SYNCAPPLY|SYNCGET|SYNCRESTORE|SYNCRESTART|UNDUMP)(?=[ \r\n])", re.IGNORECASE)
"""Commands that have lines of any length, and files that no literal announces."""
_TAG_OCTETS = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'(){%*"\\+')


class FrameReader:
    """
    The octets of one connection, on their way to becoming commands.

    Give octets to L{feed}, then take what L{next} returns until it is None.
    What is not taken stays in the buffer, so a session that is busy just stops
    asking, and looks at L{waiting} to know when to pause the transport.
    """

    __slots__ = (
        "_announced",
        "_at",
        "_buffer",
        "_count",
        "_discarded",
        "_frame",
        "_left",
        "_literal",
        "_pieces",
        "_refusal",
        "_scanned",
        "_total",
        "leaves_uncut",
        "limits",
    )

    def __init__(self, limits: FrameLimits) -> None:
        self.limits = limits
        self.leaves_uncut = False
        self._buffer = b""
        self._at = 0
        self._scanned = 0
        self._frame: Frame | None = None
        self._forget_frame()

    def _forget_frame(self) -> None:
        """Be between two commands."""
        self._frame = None
        self._announced: Announced | None = None
        self._literal: Literal | None = None
        self._pieces: list[bytes] | None = None
        self._refusal: bytes | None = None
        self._left = 0
        self._count = 0
        self._total = 0
        self._discarded = 0

    @property
    def waiting(self) -> int:
        """Octets fed and not yet taken."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Add octets."""
        if self._at == len(self._buffer):
            self._buffer = data
            self._scanned = 0
        else:
            self._buffer = self._buffer[self._at :] + data
            self._scanned = max(0, self._scanned - self._at)
        self._at = 0

    def clear(self) -> None:
        """Throw away everything that was not taken, as STARTTLS demands (RFC 9051 section 6.2.1)."""
        self._buffer = b""
        self._at = self._scanned = 0
        self._forget_frame()

    # --- lines ---

    def _cut_line(self, limit: int) -> bytes | Overflow | None:
        """Take a line without its end; a bare LF ends a line as well."""
        buffer = self._buffer
        start = self._at
        end = buffer.find(b"\n", self._scanned)
        if end < 0:
            if len(buffer) - start > limit + 1:  # one for the CR
                return Overflow(b"Line too long")
            self._scanned = len(buffer)
            if start == len(buffer) and buffer:
                self._buffer = b""
                self._at = self._scanned = 0
            return None
        self._at = self._scanned = end + 1
        if end > start and buffer[end - 1] == 0x0D:
            end -= 1
        if end - start > limit:
            return Overflow(b"Line too long")
        return buffer[start:end]

    def next_line(self, limit: int) -> bytes | Overflow | None:
        """
        Take a line that is no command: a SASL response, or C{DONE}.

        @return: Without its line end; None if it is not complete.
        """
        return self._cut_line(limit)

    def next(self) -> Event | None:
        """Take the next event; None if there is not enough for one, or a decision is awaited."""
        start = self._at
        if start == len(self._buffer):
            if start:
                self._buffer = b""
                self._at = self._scanned = 0
            return None
        if self._frame is None and self._scanned == start:
            frame = self._match_uncut(start) if self.leaves_uncut else None
            frame = frame or self._match_simple(start)
            if frame is not None:
                return frame
        while self._announced is None:
            if self._left:
                chunk = self._take_octets()
                if chunk is not None or self._left:
                    return chunk
                continue
            line = self._cut_line(self.limits.line)
            if line is None or isinstance(line, Overflow):
                return line
            event = self._read_line(line)
            if event is not None:
                return event
        return None

    def next_octets(self, most: int) -> bytes:
        """Take octets that are no command; none if none came yet."""
        data = self._buffer[self._at : self._at + most]
        self._at += len(data)
        self._scanned = self._at
        return data

    def _match_uncut(self, start: int) -> Frame | None:
        """A command whose arguments its function reads itself."""
        match = _UNCUT.match(self._buffer, start)
        if match is None:
            return None
        self._at = self._scanned = match.end()
        return Frame(match[1], match[2].upper(), [])

    def _match_simple(self, start: int) -> Frame | None:
        """
        Take a command that is one whole line, at once.

        This is what nearly all commands are, and three times as fast as looking
        at the line in steps.  Anything else is left as it is.
        """
        match = _SIMPLE.match(self._buffer, start)
        if match is None:
            return None
        end = match.end()
        if end - start > self.limits.line:
            return None
        tag, name, text = match.groups()
        self._at = self._scanned = end
        return Frame(tag, name.upper(), [text] if text else [])

    def _read_line(self, line: bytes) -> Event | None:
        frame = self._frame
        is_first = frame is None
        if frame is None:
            frame = _begin(line)
        elif line:
            frame.args.append(line)
        refusal = self._refusal or _complaint(frame, line)
        if not line.endswith(b"}"):
            if is_first and refusal is None:
                return frame
            return self._end(frame, refusal)
        self._frame = frame
        self._refusal = refusal
        return self._announce(frame, line)

    def _end(self, frame: Frame, refusal: bytes | None) -> Event:
        self._forget_frame()
        return frame if refusal is None else Refused(refusal)

    # --- literals ---

    def _announce(self, frame: Frame, line: bytes) -> Event | None:
        """Read the announcement of a literal at the end of a line."""
        match = _ANNOUNCEMENT.search(line)
        if match is None:
            return self._end(frame, self._refusal)
        size_text = match[2]
        is_synchronising = not size_text.endswith(b"+")
        digits = size_text if is_synchronising else size_text[:-1]
        is_size = digits.isdigit() and len(digits) <= _MAX_SIZE_DIGITS
        if self._refusal is None and not is_size:
            self._refusal = b"%b BAD Invalid literal size\r\n" % frame.tag
        if not is_size:
            # Nobody can say how many octets of a non-synchronising one follow.
            return self._end(frame, self._refusal) if is_synchronising else Overflow(b"Invalid literal size")
        _cut_announcement(frame, match.end() - match.start())
        size = int(digits)
        if self._refusal is not None:
            return self._discard(frame, size, is_synchronising)
        self._total += len(line)
        if self._count >= self.limits.literals or self._total > self.limits.command:
            self._refusal = b"%b BAD [LIMIT] Command arguments total size exceeds fixed limit\r\n" % frame.tag
            return self._discard(frame, size, is_synchronising)
        self._announced = Announced(frame, size, is_synchronising, bool(match[1]), self._count, self._total)
        self._count += 1
        return self._announced

    def accept(self, staged: Staged | None = None) -> None:
        """
        Take the announced literal.

        @param staged: Where its octets go, by L{Chunk} events; None to keep
            them in memory.
        """
        announced = self._announced
        assert announced is not None and self._frame is not None
        self._announced = None
        self._literal = Literal(b"", announced.is_binary, staged, announced.size)
        self._frame.args.append(self._literal)
        self._left = announced.size
        if staged is None:
            self._total += announced.size
            self._pieces = []

    def refuse(self, reply: bytes) -> Event | None:
        """
        Do without the announced literal, and so without its command.

        @param reply: The tagged line to answer.
        @return: What to do now, as from L{next}; a client that sends without
            waiting is answered when its octets are gone.
        """
        announced = self._announced
        assert announced is not None and self._frame is not None
        self._announced = None
        self._refusal = reply
        return self._discard(self._frame, announced.size, announced.is_synchronising)

    def abandon(self, reply: bytes) -> None:
        """
        Go on reading the current command, but only to throw it away.

        @param reply: The tagged line to answer at its end.
        """
        self._refusal = reply
        self._literal = None
        self._pieces = None

    def _discard(self, frame: Frame, size: int, is_synchronising: bool) -> Event | None:
        if is_synchronising:
            # The client must not send it before it is told to go ahead.
            return self._end(frame, self._refusal)
        self._discarded += size
        if self._discarded > self.limits.discard:
            return Overflow(b"Literal size exceeds fixed limit")
        frame.args.clear()
        self._left = size
        self._literal = None
        self._pieces = None
        return None

    def _take_octets(self) -> Chunk | None:
        """Move octets of the current literal out of the buffer."""
        start = self._at
        stop = min(start + self._left, len(self._buffer))
        if stop == start:
            return None
        data = self._buffer[start:stop]
        self._at = stop
        self._scanned = stop
        self._left -= len(data)
        literal = self._literal
        if literal is None:
            return None
        if literal.staged is not None:
            assert self._frame is not None
            return Chunk(self._frame.tag, literal.staged, data)
        assert self._pieces is not None
        self._pieces.append(data)
        if not self._left:
            literal.data = data if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = None
        return None


def _begin(line: bytes) -> Frame:
    """Cut the tag and the name off the first line."""
    first = line.find(b" ")
    if first < 0:
        return Frame(line, b"", [])
    second = line.find(b" ", first + 1)
    if second < 0:
        return Frame(line[:first], line[first + 1 :].upper(), [])
    name = line[first + 1 : second].upper()
    if name == b"UID":
        third = line.find(b" ", second + 1)
        if third < 0:
            third = len(line)
        name = b"UID " + line[second + 1 : third].upper()
        second = third
    return Frame(line[:first], name, [line[second:]] if second < len(line) else [])


def _complaint(frame: Frame, line: bytes) -> bytes | None:
    """What is wrong with a line already, as the reply to give; None if it may be understood."""
    tag = frame.tag
    if not tag.isalnum() and (not tag or tag.translate(None, _TAG_OCTETS)):
        return b"* BAD Invalid tag\r\n"
    if not frame.name:
        return b"%b BAD Null command\r\n" % tag
    if b"\0" in line or b"\r" in line:
        return b"%b BAD Invalid characters in command\r\n" % tag
    return None


def _cut_announcement(frame: Frame, length: int) -> None:
    """Remove the announcement from the last piece of text, or from the name."""
    args = frame.args
    last = args[-1] if args else None
    if isinstance(last, bytes):
        if len(last) > length:
            args[-1] = last[:-length]
        else:
            args.pop()
    else:
        frame.name = frame.name[:-length]
