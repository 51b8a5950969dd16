"""Commands in the log: each of them, or those that took long."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pycyrus.imap.commands.command import Command
    from pycyrus.imap.session import Session

_WAITING = frozenset((b"IDLE",))
"""Commands that last as long as the client likes."""


@dataclass(frozen=True, slots=True)
class CommandLog:
    """
    What is logged of commands.  Arguments never are: passwords and mail stand there.

    @ivar each: C{chatty}: every command when it begins.
    @ivar slow: C{commandmintimer}: those that took so many seconds; None for none.
    """

    each: bool = False
    slow: float | None = None

    async def watch(self, session: Session, row: Command, work: Coroutine[Any, Any, None]) -> None:
        """Do the work of a command, and log it."""
        log = session.log
        user = "" if session.identity is None else session.identity.user_id
        command = row.name.decode("ascii")
        if self.each:
            log.info("command: {user} {command}", user=user, command=command, session=session.session_id)
        begun = session.clock.seconds()
        await work
        took = session.clock.seconds() - begun
        if self.slow is not None and took >= self.slow and row.name not in _WAITING:
            log.info(
                "cmdtimer: {user} {command} {mailbox} {seconds:.3f}",
                user=user,
                command=command,
                mailbox=session.names.internal(session.selected.mailbox.name) if session.selected is not None else "-",
                seconds=took,
                session=session.session_id,
            )
