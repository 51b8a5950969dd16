"""COPY and MOVE between servers: the messages pass through here in pieces, and are appended together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import MailStoreError, PermissionDenied, StoreUnavailable
from pycyrus.imap.incoming import IncomingMessage
from pycyrus.imap.replies import No
from pycyrus.imap.wire.append import MAX_MESSAGES
from pycyrus.imap.wire.copy import encode_uid_set
from pycyrus.imap.wire.flags import flags_of
from pycyrus.imap.wire.grammar import Cursor
from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import INSERT
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags
from pycyrus.murder.imap.copy_sources import FAILED, CopiedMessage, LocalSource, RemoteSource, Source, uids_of

if TYPE_CHECKING:
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.model.uids import SequenceSet
    from pycyrus.murder.imap.routes import SessionRoutes

_WRITTEN = 1 << 17
"""Octets written to a file of this server before others go on."""
_APPENDED = re.compile(rb"\[APPENDUID ([0-9]+) ([0-9:,]+)\]", re.IGNORECASE)


async def copy_across(
    routes: SessionRoutes, source: Source, frame: Frame, sequence: SequenceSet | None, server: str, mailbox: bytes
) -> bytes:
    """
    Copy or move messages to a mailbox of another server, or from there to one of this.

    Of COPY all arrive, or none.  MOVE goes by as many as one APPEND takes: each of these is moved whole.

    @param source: The selected mailbox.
    @param sequence: None for the saved search result.
    @param server: Where the other mailbox is; empty for here.
    @param mailbox: Its name, as the client wrote it.
    @return: The tagged line.
    @raise No: Nothing was copied.
    @raise StoreUnavailable: Likewise, or some messages of a MOVE are in both mailboxes.
    """
    by_uid = frame.name.startswith(b"UID ")
    is_move = frame.name.endswith(b"MOVE")
    if is_move:
        await source.check_may_remove()
    messages = await source.look_up()
    if not messages:
        if sequence is not None and not by_uid:
            raise No(b"No matching messages", b"EXPUNGEISSUED")
        return b"%b OK Completed\r\n" % frame.tag
    target: Target = _There(routes, server, mailbox) if server else _Here(routes, mailbox)
    done: list[_Appended] = []
    try:
        for begin in range(0, len(messages), MAX_MESSAGES):
            some = messages[begin : begin + MAX_MESSAGES]
            appended = await target.append(source, some)
            done += [appended] if appended is not None else []
            if is_move:
                if appended is not None:
                    # RFC 6851 section 4.3: the UIDs are told before the messages go.
                    routes.session.write(b"* OK %b Ok\r\n" % _code(some, [appended]))
                await source.remove(some)
    except (No, MailStoreError):
        if done and not is_move:
            await target.undo(done)
        raise
    if is_move or not done:
        return b"%b OK Completed\r\n" % frame.tag
    return b"%b OK %b Completed\r\n" % (frame.tag, _code(messages, done))


@dataclass(frozen=True, slots=True)
class _Appended:
    """What one APPEND made, in words of IMAP."""

    uidvalidity: bytes
    uids: bytes


def _code(messages: Sequence[CopiedMessage], done: Sequence[_Appended]) -> bytes:
    """C{[COPYUID ...]}."""
    uids = b",".join(each.uids for each in done)
    return b"[COPYUID %b %b %b]" % (done[0].uidvalidity, encode_uid_set(uids_of(messages)), uids)


class Target(Protocol):
    """The mailbox that messages are copied to."""

    async def append(self, source: Source, messages: Sequence[CopiedMessage]) -> _Appended | None:
        """
        Append messages, no more than one APPEND takes, all or none.

        @return: None if it is not told.
        @raise No: Nothing was appended.
        @raise MailStoreError: Likewise.
        """

    async def undo(self, done: Sequence[_Appended]) -> None:
        """Remove what was appended, as far as the user may."""


class _There:
    """A mailbox of another server."""

    log = Logger()

    def __init__(self, routes: SessionRoutes, server: str, mailbox: bytes) -> None:
        self._session = routes.session
        self._backends = routes.routes.backends
        self._server = server
        self._name = b"{%d+}\r\n%b" % (len(mailbox), mailbox)

    async def append(self, source: Source, messages: Sequence[CopiedMessage]) -> _Appended | None:
        """See L{Target}."""
        async with self._backends.borrowed(self._server, self._session.user) as link:
            if len(messages) > 1 and b"MULTIAPPEND" not in link.capabilities:
                raise No(b"inter-server COPY failed: one message at a time", b"CANNOT")
            tag = link.next_tag()
            link.send(b"%b APPEND %b" % (tag, self._name))
            # If this breaks off the connection goes, and the other server has nothing of it.
            async with aclosing(source.pieces(messages)) as pieces:
                async for message, offset, piece in pieces:
                    if offset + len(piece) > message.size:
                        raise FAILED
                    if not offset:
                        link.send(b" (%b) %b {%d+}\r\n" % (message.flags, message.date, message.size))
                    await link.send_source(_Octets(piece))
            link.send(b"\r\n")
            _, status, text = await link.answer(tag)
        if status != b"OK":
            code = text[: text.find(b"]") + 1] if text.startswith(b"[") else b""
            raise No(text[len(code) :].strip() or FAILED.text, code.strip(b"[]") or None)
        appended = _APPENDED.match(text)
        return None if appended is None else _Appended(appended[1], appended[2])

    async def undo(self, done: Sequence[_Appended]) -> None:
        """See L{Target}."""
        uids = b",".join(each.uids for each in done)
        try:
            async with self._backends.borrowed(self._server, self._session.user) as link:
                link.is_clean = False
                for command in (
                    b"SELECT %b" % self._name,
                    rb"UID STORE %b +FLAGS.SILENT (\Deleted)" % uids,
                    b"UID EXPUNGE %b" % uids,
                ):
                    _, status, text = await link.ask(command)
                    if status != b"OK":
                        raise StoreUnavailable(f"{self._server}: {text[:100]!r}")
        except StoreUnavailable as error:
            self.log.error("messages that {session} could not copy all remain: {error}",
                           session=self._session.session_id, error=str(error))  # fmt: skip


class _Here:
    """A mailbox of this server."""

    def __init__(self, routes: SessionRoutes, mailbox: bytes) -> None:
        self._session = routes.session
        self._name = self._session.names.decode(mailbox, utf8=self._session.is_utf8)

    async def append(self, source: Source, messages: Sequence[CopiedMessage]) -> _Appended | None:
        """See L{Target}."""
        staged: list[IncomingMessage] = []
        try:
            await self._stage(source, messages, staged)
            new = [
                NewMessage(each.staged, flags_of(message.flags.split()), Cursor([message.date]).date_time())
                for each, message in zip(staged, messages, strict=True)
            ]
            target = await self._session.store.open(self._session.user, self._name, INSERT)
            try:
                appended = await target.append(new)
            finally:
                target.close()
        finally:
            for each in staged:
                each.discard()
        return _Appended(b"%d" % appended.uidvalidity, encode_uid_set(np.array(appended.uids, dtype=np.uint32)))

    async def _stage(self, source: Source, messages: Sequence[CopiedMessage], staged: list[IncomingMessage]) -> None:
        session = self._session
        async with aclosing(source.pieces(messages)) as pieces:
            async for message, offset, piece in pieces:
                if not offset:
                    staged.append(IncomingMessage(await session.store.stage(session.user, self._name)))
                incoming = staged[-1]
                for begin in range(0, len(piece), _WRITTEN):
                    incoming.write(piece[begin : begin + _WRITTEN])
                    await session.pause()
                if incoming.size == message.size:
                    await incoming.ready()
                    incoming.finish()
        if [each.size for each in staged] != [message.size for message in messages]:
            raise FAILED

    async def undo(self, done: Sequence[_Appended]) -> None:
        """See L{Target}."""
        mailbox = await self._session.store.open(self._session.user, self._name, INSERT)
        try:
            mailbox.refresh()
            uids = mailbox.view().uids
            sequence = Cursor([b",".join(each.uids for each in done)]).sequence_set()
            uids = uids[sequence.uid_positions(uids)]
            await mailbox.store(uids, FlagChange(FlagAction.ADD, Flags(DELETED)))
            await mailbox.expunge(uids)
        except PermissionDenied as error:
            _There.log.error("messages that {session} could not copy all remain: {error}",
                             session=self._session.session_id, error=str(error))  # fmt: skip
        finally:
            mailbox.close()


class _Octets:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


__all__ = ["LocalSource", "RemoteSource", "copy_across"]
