"""COPY and MOVE between servers: message by message, in pieces, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.imap.replies import No
from pycyrus.imap.wire.append import MAX_MESSAGES
from pycyrus.imap.wire.copy import encode_copyuid, encode_uid_set
from pycyrus.imap.wire.flags import flags_of
from pycyrus.imap.wire.grammar import Cursor
from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import INSERT
from pycyrus.model.flags import SYSTEM_FLAGS_BY_NAME, Flags
from pycyrus.murder.copy_sources import FAILED, CopiedMessage, LocalSource, RemoteSource, Source, uids_of

if TYPE_CHECKING:
    from pycyrus.imap.incoming import IncomingMessage
    from pycyrus.imap.wire.frames import Frame
    from pycyrus.model.uids import SequenceSet
    from pycyrus.murder.imap_routes import SessionRoutes

_WRITTEN = 1 << 17
"""Octets written to a file of this server before others go on."""
_APPENDED = re.compile(rb"\[APPENDUID ([0-9]+) ([0-9:,]+)\]", re.IGNORECASE)


async def copy_across(
    routes: SessionRoutes, source: Source, frame: Frame, sequence: SequenceSet | None, server: str, mailbox: bytes
) -> bytes:
    """
    Copy or move messages to a mailbox of another server, or from there to one of this, all or none.

    @param source: The selected mailbox.
    @param sequence: None for the saved search result.
    @param server: Where the other mailbox is; empty for here.
    @param mailbox: Its name, as the client wrote it.
    @return: The tagged line.
    @raise No: Nothing was copied.
    @raise StoreUnavailable: Likewise, or the messages of a MOVE are in both mailboxes.
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
    if len(messages) > MAX_MESSAGES:
        raise No(b"Too many messages to copy to another server", b"LIMIT")
    if server:
        code = await _append_there(routes, source, messages, server, mailbox)
    else:
        code = await _append_here(routes, source, messages, mailbox)
    if not is_move:
        return b"%b OK %bCompleted\r\n" % (frame.tag, code + b" " if code else b"")
    if code:
        # RFC 6851 section 4.3: the UIDs are told before the messages go.
        routes.session.write(b"* OK %b Ok\r\n" % code)
    await source.remove(messages)
    return b"%b OK Completed\r\n" % frame.tag


async def _append_there(
    routes: SessionRoutes, source: Source, messages: Sequence[CopiedMessage], server: str, mailbox: bytes
) -> bytes:
    """
    Append them on another server.

    @return: C{[COPYUID ...]}; empty if the other server does not tell UIDs.
    """
    session = routes.session
    async with routes.routes.backends.borrowed(server, session.user) as target:
        if len(messages) > 1 and b"MULTIAPPEND" not in target.capabilities:
            raise No(b"inter-server COPY failed: one message at a time", b"CANNOT")
        tag = target.next_tag()
        target.send(b"%b APPEND {%d+}\r\n%b" % (tag, len(mailbox), mailbox))
        # If this breaks off the connection goes, and the other server has nothing of it.
        async with aclosing(source.pieces(messages)) as pieces:
            async for message, offset, piece in pieces:
                if offset + len(piece) > message.size:
                    raise FAILED
                if not offset:
                    target.send(b" (%b) %b {%d+}\r\n" % (message.flags, message.date, message.size))
                await target.send_source(_Octets(piece))
        target.send(b"\r\n")
        _, status, text = await target.answer(tag)
    if status != b"OK":
        code = text[: text.find(b"]") + 1] if text.startswith(b"[") else b""
        raise No(text[len(code) :].strip() or FAILED.text, code.strip(b"[]") or None)
    appended = _APPENDED.match(text)
    if appended is None:
        return b""
    return b"[COPYUID %b %b %b]" % (appended[1], encode_uid_set(uids_of(messages)), appended[2])


async def _append_here(
    routes: SessionRoutes, source: Source, messages: Sequence[CopiedMessage], mailbox: bytes
) -> bytes:
    """
    Append them to a mailbox of this server.

    @return: C{[COPYUID ...]}.
    @raise MailStoreError: Nothing was appended.
    """
    session = routes.session
    name = session.names.decode(mailbox, utf8=session.is_utf8)
    staged: list[IncomingMessage] = []
    async with aclosing(source.pieces(messages)) as pieces:
        async for message, offset, piece in pieces:
            if not offset:
                staged.append(await session.stage(name))
            incoming = staged[-1]
            for begin in range(0, len(piece), _WRITTEN):
                incoming.write(piece[begin : begin + _WRITTEN])
                await session.pause()
            if incoming.size == message.size:
                await incoming.ready()
                incoming.finish()
    if [each.size for each in staged] != [message.size for message in messages]:
        raise FAILED
    new = [
        NewMessage(each.staged, _flags(message.flags), Cursor([message.date]).date_time())
        for each, message in zip(staged, messages, strict=True)
    ]
    target = await session.store.open(session.user, name, INSERT)
    try:
        appended = await target.append(new)
    finally:
        target.close()
    return encode_copyuid(appended.uidvalidity, uids_of(messages), np.array(appended.uids, dtype=np.uint32))


def _flags(names: bytes) -> Flags:
    return flags_of(name for name in names.split() if name[:1] != b"\\" or name.lower() in SYSTEM_FLAGS_BY_NAME)


class _Octets:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


__all__ = ["LocalSource", "RemoteSource", "copy_across"]
