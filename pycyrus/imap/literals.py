"""
Which literals a session takes, and where the messages of APPEND go meanwhile.

The body of a message is staged as it arrives, in the partition of the mailbox it
is for; it is never in memory as a whole.  Everything else is kept in memory, and
so is limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import MailStoreError, MessageTooLarge
from pycyrus.imap import replies
from pycyrus.imap.incoming import IncomingMessage
from pycyrus.imap.replies import Bad, CommandError, No
from pycyrus.imap.wire.frames import Announced, Chunk, Event, Frame, FrameReader
from pycyrus.imap.wire.grammar import Cursor
from pycyrus.model.view import LARGEST_MESSAGE

if TYPE_CHECKING:
    from pycyrus.imap.session import Session

MAX_NON_SYNCHRONISING = 4096
"""RFC 7888 section 5: largest non-synchronising literal under LITERAL-."""
MAX_MESSAGES = 1000
"""Messages of one APPEND (RFC 3502)."""


class LiteralIntake:
    """Decides about announced literals, and owns what was staged for the current command."""

    log = Logger()

    __slots__ = ("_reader", "_session", "_staged")

    def __init__(self, session: Session, reader: FrameReader) -> None:
        self._session = session
        self._reader = reader
        self._staged: list[IncomingMessage] | None = None

    @property
    def holds(self) -> bool:
        """Whether there is something to discard."""
        return self._staged is not None

    def discard(self) -> None:
        """Remove what was staged: the command is done, or will not be."""
        staged, self._staged = self._staged, None
        for message in staged or ():
            message.discard()

    async def decide(self, announced: Announced) -> Event | None:
        """
        Accept or refuse a literal, and tell a waiting client to go ahead.

        @return: What a refusal comes to, as L{FrameReader.next} would.
        """
        frame = announced.frame
        try:
            staged = await self._judge(announced)
        except CommandError as error:
            return self._reader.refuse(replies.tagged(frame.tag, error, may_create=True))
        if staged is not None:
            self._staged = [staged] if self._staged is None else [*self._staged, staged]
        self._reader.accept(staged)
        if announced.is_synchronising:
            self._session.write(b"+ go ahead\r\n")
            self._session.flush()
        return None

    async def _judge(self, announced: Announced) -> IncomingMessage | None:
        """
        Find out where a literal goes.

        @return: The staged message it belongs to; None for memory.
        """
        session = self._session
        frame = announced.frame
        row = session.row_of(frame.name)
        if row is None:
            raise session.unavailable(frame.name)
        if row.parser is None:
            raise Bad(b"Unexpected extra arguments to " + frame.name.title())
        is_large = announced.size > MAX_NON_SYNCHRONISING
        if session.settings.is_literal_minus and is_large and not announced.is_synchronising:
            raise Bad(b"Non-synchronizing literal size exceeds 4K", b"TOOBIG")
        if frame.name == b"APPEND" and announced.frame.args and not _is_mailbox(frame):
            return await self._stage(announced)
        limits = self._reader.limits
        if announced.size > limits.literal:
            raise No(b"Literal size exceeds fixed limit", b"TOOBIG")
        if announced.total + announced.size > limits.command:
            raise Bad(b"Command arguments total size exceeds fixed limit", b"LIMIT")
        return None

    async def _stage(self, announced: Announced) -> IncomingMessage:
        session = self._session
        if self._staged is not None and len(self._staged) >= MAX_MESSAGES:
            raise Bad(b"Too many messages", b"LIMIT")
        if announced.size > (session.settings.max_message_size or LARGEST_MESSAGE):
            raise MessageTooLarge
        if not announced.size:
            raise No(b"Zero-length message literal")
        cursor = Cursor(announced.frame.args, utf8=session.is_utf8)
        cursor.space()
        name = session.names.decode(cursor.astring(), utf8=session.is_utf8)
        return IncomingMessage(await session.store.stage(session.user, name))

    def take(self, chunk: Chunk) -> None:
        """Put octets of a message where they belong; if that fails, the rest is thrown away."""
        try:
            chunk.staged.write(chunk.data)
        except MailStoreError as error:
            self.log.warn(
                "a message of {session} could not be staged: {error}", session=self._session.session_id, error=error
            )
            self.discard()
            self._reader.abandon(replies.tagged(chunk.tag, error))


def _is_mailbox(frame: Frame) -> bool:
    """Whether the literal announced is the first argument."""
    return len(frame.args) == 1 and frame.args[0] == b" "
