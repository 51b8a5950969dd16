r"""
Plays conversations from text files against servers.

A file is read line by line::

    # What is shown, with its reference.
    @as alice
    C: a1 SELECT INBOX
    S: * 0 EXISTS
    S: * OK [UIDVALIDITY $validity] ...
    S: a1 OK [READ-WRITE] Completed
    C: a2 STATUS INBOX (UIDVALIDITY)
    S: * STATUS INBOX (UIDVALIDITY $validity)
    S: a2 OK Completed

C{C:} lines are sent with CRLF, and C{S:} lines must come, in this order and with
nothing between them, before the next C{C:} line of that connection or the end.
Several connections are C{C1:}, C{S1:}, C{C2:}, and so on; C{C:} is C{C1:}.
C{C:} lines that follow one another go in one packet; an empty line parts packets.

In C{S:} lines C{...} stands for anything, and C{$name} for a run without blanks,
brackets and quotes, which must be the same wherever the name comes again;
in C{C:} lines C{$name} is what it stood for.  Literals are written as they are:
the lines behind C{{5}}.

Directives:

  - C{@option NAME=VALUE}: a setting of the server; before anything else.
  - C{@as USER [N]}: log in on connection N, unseen; so connections begin without
    their greeting, unless the first line of one is an C{S:} line.
  - C{@advance SECONDS}: let time pass.
  - C{@closed [N]}: the server has closed the connection.
  - C{@drop [N]}: the client closes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_LINE = re.compile(r"([CS])([0-9]*): ?(.*)\Z")
_TOKEN = re.compile(r"\.\.\.|\$[a-z_]+")
_VARIABLE = re.compile(r"\$([a-z_]+)")
_VALUE = r'[^ ()\[\]<>"]+'


class TranscriptError(AssertionError):
    """The server did not say what the file says, or the file is wrong."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    One line of a conversation.

    @ivar number: Its line in the file.
    @ivar verb: C{C}, C{S}, or the name of a directive.
    @ivar connection: Number of the connection.
    @ivar is_new_packet: Whether it begins a new packet.
    """

    number: int
    verb: str
    connection: int
    text: str
    is_new_packet: bool


class Connection(Protocol):
    """A client's connection to the server under test."""

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed it."""

    def send(self, data: bytes) -> None:
        """Send octets, in one packet."""

    async def receive_line(self) -> bytes | None:
        """Take a line, without its end; None if none comes."""

    def pending(self) -> bytes:
        """What came and was not taken."""

    def drop(self) -> None:
        """Close it from the client's side."""


class Server(Protocol):
    """What a conversation is played against."""

    def connect(self) -> Connection:
        """Open a connection."""

    def advance(self, seconds: float) -> None:
        """Let time pass."""

    async def log_in(self, connection: Connection, user: str) -> None:
        """Log in, and take what the server says to that."""


def read_options(text: str) -> dict[str, str]:
    """The C{@option} lines of a conversation."""
    pairs = (line.removeprefix("@option ").partition("=") for line in text.splitlines() if line.startswith("@option "))
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_steps(text: str) -> Iterator[Step]:
    """
    Read a conversation.

    @raise TranscriptError: A line is none of the above.
    """
    is_new_packet = True
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("#", "@option ")):
            continue
        if not line.strip():
            is_new_packet = True
            continue
        match = _LINE.match(line)
        if match is not None:
            yield Step(number, match[1], int(match[2] or 1), match[3], is_new_packet)
            is_new_packet = False
        elif line.startswith("@"):
            verb, *words = line[1:].split()
            connection = int(words.pop()) if words and words[-1].isdigit() and verb != "advance" else 1
            yield Step(number, verb, connection, " ".join(words), True)
            is_new_packet = True
        else:
            raise TranscriptError(f"line {number} is no line of a conversation: {line!r}")


class Player:
    """Plays one conversation."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connections: dict[int, Connection] = {}
        self._outgoing: dict[int, bytes] = {}
        self._variables: dict[str, str] = {}

    async def play(self, text: str) -> None:
        """
        Play to the end.

        @raise TranscriptError: Something else was said.
        """
        last = 0
        for step in read_steps(text):
            last = step.number
            if step.verb == "C":
                await self._say(step)
                continue
            self._deliver()
            await self._do(step)
        self._deliver()
        for number, connection in self._connections.items():
            if connection.pending():
                raise TranscriptError(f"after line {last} the server also said on {number}: {connection.pending()!r}")

    async def _say(self, step: Step) -> None:
        if step.is_new_packet:
            self._deliver()
        connection = await self._connection(step)
        if not self._outgoing.get(step.connection) and connection.pending():
            raise TranscriptError(f"before line {step.number} the server also said: {connection.pending()!r}")
        text = _VARIABLE.sub(lambda match: self._variables.get(match[1], match[0]), step.text)
        line = text.encode("utf-8", "surrogateescape") + b"\r\n"
        self._outgoing[step.connection] = self._outgoing.get(step.connection, b"") + line

    def _deliver(self) -> None:
        outgoing, self._outgoing = self._outgoing, {}
        for number, data in outgoing.items():
            self._connections[number].send(data)

    async def _connection(self, step: Step) -> Connection:
        connection = self._connections.get(step.connection)
        if connection is None:
            connection = self._connections[step.connection] = self._server.connect()
            if step.verb != "S" and await connection.receive_line() is None:
                raise TranscriptError(f"line {step.number}: no greeting")
        return connection

    async def _do(self, step: Step) -> None:
        if step.verb == "advance":
            self._server.advance(float(step.text))
            return
        connection = await self._connection(step)
        if step.verb == "S":
            await self._hear(step, connection)
        elif step.verb == "as":
            await self._server.log_in(connection, step.text)
        elif step.verb == "drop":
            connection.drop()
        elif step.verb == "closed":
            line = await connection.receive_line()
            if line is not None or not connection.is_closed:
                raise TranscriptError(f"line {step.number}: the connection is open, the server said {line!r}")
        else:
            raise TranscriptError(f"line {step.number}: no directive {step.verb!r}")

    async def _hear(self, step: Step, connection: Connection) -> None:
        line = await connection.receive_line()
        if line is None:
            raise TranscriptError(f"line {step.number}: silence, not {step.text!r}")
        heard = line.decode("utf-8", "surrogateescape")
        match = re.compile(self._pattern(step.text), re.DOTALL).fullmatch(heard)
        if match is None:
            raise TranscriptError(f"line {step.number}: {heard!r}, not {step.text!r}")
        self._variables.update(match.groupdict())

    def _pattern(self, text: str) -> str:
        """Make the regular expression of an C{S:} line."""
        pieces: list[str] = []
        new: set[str] = set()
        at = 0
        for match in _TOKEN.finditer(text):
            pieces.append(re.escape(text[at : match.start()]))
            at = match.end()
            name = match.group()[1:]
            if match.group() == "...":
                pieces.append(".*")
            elif name in self._variables:
                pieces.append(re.escape(self._variables[name]))
            elif name in new:
                pieces.append(f"(?P={name})")
            else:
                new.add(name)
                pieces.append(f"(?P<{name}>{_VALUE})")
        return "".join((*pieces, re.escape(text[at:])))


def options_of(text: str, known: dict[str, Callable[[str], object]]) -> dict[str, object]:
    """
    The C{@option} lines as values.

    @param known: How to read each option.
    @raise TranscriptError: There is no such option.
    """
    values: dict[str, object] = {}
    for name, value in read_options(text).items():
        if name not in known:
            raise TranscriptError(f"no option {name!r}")
        values[name] = known[name](value)
    return values


def add_tests(case: type[Any], folder: Path) -> None:
    """
    Give a test case a test for each conversation, named for its file.

    @param case: Its C{play} takes the path of one.
    @param folder: Where they are.
    """
    for file in sorted(folder.glob("*.txt")):

        def test(self: Any, file: Path = file) -> Any:
            return self.play(file)

        test.__doc__ = file.read_text("utf-8").partition("\n")[0].lstrip("# ")
        setattr(case, "test_" + file.stem.replace("-", "_").replace(".", "_"), test)
