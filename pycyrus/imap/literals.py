"""
Which literals a session takes, and where the messages of APPEND go meanwhile.

The body of a message is staged as it arrives, in the partition of the mailbox it
is for; it is never in memory as a whole.  Everything else is kept in memory, and
so is limited.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pycyrus.errors import MailStoreError, MessageTooLarge
from pycyrus.imap import replies
from pycyrus.imap.commands.catenate import add_urls
from pycyrus.imap.incoming import IncomingMessage
from pycyrus.imap.replies import Bad, CommandError, No
from pycyrus.imap.wire.catenate import Place, Whereabouts
from pycyrus.imap.wire.frames import Announced, Chunk, Event, Frame, FrameReader, Literal, Staged
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.model.view import LARGEST_MESSAGE

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.model.names import MailboxName

MAX_NON_SYNCHRONISING = 4096
"""RFC 7888 section 5: largest non-synchronising literal under LITERAL-."""
MAX_MESSAGES = 1000
"""Messages of one APPEND (RFC 3502)."""


class LiteralIntake:
    """Decides about announced literals, and owns what was staged for the current command."""

    log = Logger()

    __slots__ = ("_begun", "_reader", "_seen", "_session", "_staged", "_whereabouts")

    def __init__(self, session: Session, reader: FrameReader) -> None:
        self._session = session
        self._reader = reader
        self._staged: list[Staged] | None = None
        self._whereabouts: Whereabouts | None = None
        self._seen = 0
        self._begun: IncomingMessage | None = None

    @property
    def holds(self) -> bool:
        """Whether there is something to discard."""
        return self._staged is not None or self._whereabouts is not None

    def discard(self) -> None:
        """Remove what was staged: the command is done, or will not be."""
        self._whereabouts = self._begun = None
        self._seen = 0
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
        self._reader.accept(staged)
        if announced.is_synchronising:
            self._session.write(b"+ go ahead\r\n")
            self._session.flush()
        return None

    async def _judge(self, announced: Announced) -> Staged | None:
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
        appending = _without_selected(frame) if frame.name == b"LOCALAPPEND" else frame
        if appending is not None and _is_behind_mailbox(appending):
            self._check_count()
            if session.elsewhere is not None and (away := await session.elsewhere.stage(announced)) is not None:
                return self._keep(away)
            place = self._find_place(appending)
            if place is not Place.OTHER:
                return await self._take_message(announced, place)
        limits = self._reader.limits
        if announced.size > limits.literal:
            raise No(b"Literal size exceeds fixed limit", b"TOOBIG")
        if announced.total + announced.size > limits.command:
            raise Bad(b"Command arguments total size exceeds fixed limit", b"LIMIT")
        return None

    def _find_place(self, frame: Frame) -> Place:
        """
        See what a literal is, from the text behind the last one.

        @raise Bad: A message has too many parts.
        """
        if self._whereabouts is None:
            self._whereabouts = Whereabouts()
        whereabouts = self._whereabouts
        place = Place.MESSAGE
        try:
            for piece in frame.args[self._seen :]:
                if piece is frame.args[0]:
                    place = whereabouts.read(_behind_mailbox(frame))
                elif isinstance(piece, bytes):
                    place = whereabouts.read(piece)
                elif whereabouts.is_inside and piece.staged is None:
                    whereabouts.add(piece.data)
        except BadSyntax as error:
            raise Bad(error.text) from None
        self._seen = len(frame.args)
        return place

    async def _take_message(self, announced: Announced, place: Place) -> IncomingMessage:
        """Stage a message, or the next part of one that is put together, behind what URLs bring."""
        session = self._session
        assert self._whereabouts is not None
        message = self._begun
        if message is None or place is Place.MESSAGE or not self._whereabouts.has_begun:
            if not announced.size and place is Place.MESSAGE:
                raise No(b"Zero-length message literal")
            cursor = Cursor(announced.frame.args, utf8=session.is_utf8)
            cursor.space()
            if announced.frame.name not in _BEGIN_WITH_MAILBOX:
                cursor.sequence_set_or_saved()
                cursor.space()
            message = await self.stage(session.names.decode(cursor.astring(), utf8=session.is_utf8))
        if place is Place.TEXT:
            urls, self._whereabouts.urls = self._whereabouts.urls, []
            await add_urls(session, message, urls)
            self._whereabouts.begin_text()
        if message.size + announced.size > (session.settings.max_message_size or LARGEST_MESSAGE):
            raise MessageTooLarge
        self._begun = message
        return message

    async def stage(self, name: MailboxName) -> IncomingMessage:
        """
        Begin a message of the current command.

        @raise MailboxNotFound: With C{creatable} where it could be created.
        """
        self._check_count()
        message = IncomingMessage(await self._session.store.stage(self._session.user, name))
        self._keep(message)
        return message

    def _check_count(self) -> None:
        if self._staged is not None and len(self._staged) >= MAX_MESSAGES:
            raise Bad(b"Too many messages", b"LIMIT")

    def _keep(self, message: Staged) -> Staged:
        """Own a message until the command is done."""
        self._staged = [message] if self._staged is None else [*self._staged, message]
        return message

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


_MAILBOX = rb'(?:"(?:[^"\\]|\\.)*+"|[^ "]++)?+'
_STAGING = {
    b"APPEND": re.compile(rb" " + _MAILBOX),
    b"REPLACE": re.compile(rb" [^ ]++ " + _MAILBOX),
    b"UID REPLACE": re.compile(rb" [^ ]++ " + _MAILBOX),
}
"""Commands that bring messages, and what their first piece begins with: up to the mailbox, if that is no literal."""
_BEGIN_WITH_MAILBOX = frozenset({b"APPEND", b"LOCALAPPEND"})
_STRING = re.compile(rb' (?:"(?:[^"\\]|\\.)*+"|[^ "]++)')


def _without_selected(frame: Frame) -> Frame | None:
    """
    A LOCALAPPEND as the APPEND that it is, without the mailbox that the frontend's client has selected.

    @return: None as long as that mailbox has not come.
    """
    first, *rest = frame.args or (b"",)
    mailbox = _STRING.match(first) if isinstance(first, bytes) else None
    head: list[bytes | Literal]
    if mailbox is not None and isinstance(first, bytes):
        head, text = [], first[mailbox.end() :]
        begin = first[: mailbox.end()]
    elif len(rest) >= 2 and isinstance(rest[1], bytes):
        head, text, rest = [first, rest[0]], rest[1], rest[2:]
        begin = b""
    else:
        return None
    selected = _STRING.match(text)
    if selected is not None:
        text = text[selected.end() :]
    elif len(rest) >= 2 and isinstance(rest[1], bytes):
        text, rest = rest[1], rest[2:]
    else:
        return None
    return replace(frame, name=b"APPEND", args=[*head, begin + text, *rest])


def _is_behind_mailbox(frame: Frame) -> bool:
    """Whether a command brings messages, and the literal announced is not its mailbox."""
    return frame.name in _STAGING and bool(frame.args) and (len(frame.args) > 1 or bool(_behind_mailbox(frame)))


def _behind_mailbox(frame: Frame) -> bytes:
    """What the first piece has behind the mailbox; empty if that is a literal."""
    piece = frame.args[0]
    match = _STAGING[frame.name].match(piece) if isinstance(piece, bytes) else None
    return piece[match.end() :] if match is not None and isinstance(piece, bytes) else b""
