"""The row of a command, and the words its columns use."""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pycyrus.imap.replies import Bad
from pycyrus.imap.wire.grammar import BadSyntax, Cursor

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.frames import Frame

_ARGUMENT_COUNTS = (b"Missing required argument", b"Unexpected extra arguments")


class State(enum.Flag):
    """The states of a connection in which a command is allowed (RFC 9051 section 3)."""

    NOT_AUTHENTICATED = enum.auto()
    AUTHENTICATED = enum.auto()
    SELECTED = enum.auto()


LOGGED_IN = State.AUTHENTICATED | State.SELECTED
ANY = State.NOT_AUTHENTICATED | LOGGED_IN


class Seqs(enum.Enum):
    """What a command's end may tell of other sessions' changes (RFC 9051 section 7.5.1)."""

    MAY_EXPUNGE = enum.auto()
    """Everything."""
    NO_EXPUNGE = enum.auto()
    """All but EXPUNGE and VANISHED: the command used message numbers."""
    NONE = enum.auto()
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Command:
    """
    A row.

    @ivar name: In upper case; C{UID FETCH} is a name.
    @ivar parser: Reads the arguments, beginning with the space before them;
        None for a command without arguments.
    @ivar function: Does it; returns what follows C{OK } in the tagged reply,
        None for C{Completed}.
    @ivar rfc: The number of the RFC and the section.
    @ivar capability: What CAPABILITY tells because this command exists.
    @ivar may_create: Whether a missing mailbox is answered with C{TRYCREATE}
        where the client could create it.
    """

    name: bytes
    states: State
    parser: Callable[[Cursor], Any] | None
    function: Callable[[Session, Any], Coroutine[Any, Any, bytes | None]]
    seqs: Seqs = Seqs.MAY_EXPUNGE
    rfc: str = ""
    capability: tuple[bytes, ...] = ()
    may_create: bool = False

    def parse(self, frame: Frame, *, utf8: bool) -> Any:
        """
        Read the arguments of a command.

        @raise Bad: They are not what it takes.
        """
        if self.parser is None:
            raise Bad(b"Unexpected extra arguments to " + self.name.title())
        try:
            return self.parser(Cursor(frame.args, utf8=utf8))
        except BadSyntax as error:
            if not error.names_command:
                raise Bad(error.text) from None
            preposition = b" to " if error.text in _ARGUMENT_COUNTS else b" in "
            raise Bad(error.text + preposition + self.name.title()) from None
