"""COPY and MOVE from one backend to another: message by message, in pieces, as one APPEND."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.replies import No
from pycyrus.imap.wire.append import MAX_MESSAGES
from pycyrus.imap.wire.copy import encode_uid_set
from pycyrus.imap.wire.frames import Frame, Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, quoted
from pycyrus.murder.link import ImapLink
from pycyrus.murder.responses import BadResponse, split_responses

if TYPE_CHECKING:
    from pycyrus.model.uids import SequenceSet
    from pycyrus.murder.imap_routes import SessionRoutes

FAILED = No(b"inter-server COPY failed", b"UNAVAILABLE")
_PIECE = 1 << 20
"""Octets of a message that are here at a time."""
_FETCHED = re.compile(
    rb"\* [0-9]+ FETCH \((?=[^\r\n]*\bUID ([0-9]+))(?=[^\r\n]*\bFLAGS \(([^()]*)\))"
    rb'(?=[^\r\n]*\bINTERNALDATE ("[^"\r\n]{20,30}"))(?=[^\r\n]*\bRFC822\.SIZE ([0-9]+))',
    re.IGNORECASE,
)
_APPENDED = re.compile(rb"\[APPENDUID ([0-9]+) ([0-9:,]+)\]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Message:
    uid: int
    flags: bytes
    date: bytes
    size: int


async def copy_across(
    routes: SessionRoutes,
    link: ImapLink,
    frame: Frame,
    sequence: SequenceSet | None,
    server: str,
    mailbox: bytes,
    selected: bytes,
) -> bytes:
    """
    Copy or move messages to a mailbox of another server, all or none.

    @param link: Where the selected mailbox is.
    @param sequence: None for the saved search result.
    @param selected: The selected mailbox, as the client wrote its name.
    @return: The tagged line.
    @raise No: Nothing was copied.
    @raise StoreUnavailable: Likewise, or the messages of a MOVE are in both mailboxes.
    """
    by_uid = frame.name.startswith(b"UID ")
    is_move = frame.name.endswith(b"MOVE")
    if is_move:
        await _check_may_remove(link, selected)
    messages = await _look_up(routes, link, frame, by_uid=by_uid)
    if not messages:
        if sequence is not None and not by_uid:
            raise No(b"No matching messages", b"EXPUNGEISSUED")
        return b"%b OK Completed\r\n" % frame.tag
    code = await _append(routes, link, messages, server, mailbox)
    if not is_move:
        return b"%b OK %bCompleted\r\n" % (frame.tag, code + b" " if code else b"")
    if code:
        # RFC 6851 section 4.3: the UIDs are told before the messages go.
        routes.session.write(b"* OK %b Ok\r\n" % code)
    await _remove(routes, link, messages)
    return b"%b OK Completed\r\n" % frame.tag


async def _ask(routes: SessionRoutes, link: ImapLink, command: bytes) -> list[list[bytes | Literal]]:
    untagged, status, text = await link.ask(command)
    if status != b"OK":
        routes.session.write(untagged)
        raise No(b"inter-server COPY failed: " + text.partition(b"]")[2].strip()[:100])
    try:
        return split_responses(untagged)
    except BadResponse as error:
        link.abort(str(error))
        raise StoreUnavailable(f"{link.server}: {error}") from None


def _tell(routes: SessionRoutes, response: list[bytes | Literal]) -> None:
    """Pass on what was not asked for: what others did to the selected mailbox."""
    for piece in response:
        if isinstance(piece, Literal):
            routes.session.write(b"{%d}\r\n" % len(piece.data) + piece.data)
        else:
            routes.session.write(piece)
    routes.session.write(b"\r\n")


async def _look_up(routes: SessionRoutes, link: ImapLink, frame: Frame, *, by_uid: bool) -> list[_Message]:
    text = frame.args[0] if frame.args else b""
    assert isinstance(text, bytes)
    # Within FETCH no message gets another number (RFC 9051 section 7.5.1), so all is told of what is copied.
    numbers = text.split()[0]
    verb = b"UID FETCH" if by_uid else b"FETCH"
    messages: list[_Message] = []
    for response in await _ask(routes, link, b"%b %b (UID FLAGS INTERNALDATE RFC822.SIZE)" % (verb, numbers)):
        found = _FETCHED.match(response[0]) if response and isinstance(response[0], bytes) else None
        if found is None:
            _tell(routes, response)
            continue
        uid, flags, date, size = found.groups()
        kept = b" ".join(flag for flag in flags.split() if flag.lower() != rb"\recent")
        messages.append(_Message(int(uid), kept, date, int(size)))
    if len(messages) > MAX_MESSAGES:
        raise No(b"Too many messages to copy to another server", b"LIMIT")
    return sorted(messages, key=lambda message: message.uid)


async def _append(
    routes: SessionRoutes, link: ImapLink, messages: list[_Message], server: str, mailbox: bytes
) -> bytes:
    """
    Append them there.

    @return: C{[COPYUID ...]}; empty if the other server does not tell UIDs.
    """
    session = routes.session
    async with routes.routes.backends.borrowed(server, session.user) as target:
        if len(messages) > 1 and b"MULTIAPPEND" not in target.capabilities:
            raise No(b"inter-server COPY failed: one message at a time", b"CANNOT")
        tag = target.next_tag()
        target.send(b"%b APPEND {%d+}\r\n%b" % (tag, len(mailbox), mailbox))
        for message in messages:
            target.send(b" (%b) %b {%d+}\r\n" % (message.flags, message.date, message.size))
            # If this breaks off the connection goes, and the other server has nothing of it.
            await _send_body(routes, link, message, target)
        target.send(b"\r\n")
        _, status, text = await target.answer(tag)
    if status != b"OK":
        code = text[: text.find(b"]") + 1] if text.startswith(b"[") else b""
        raise No(text[len(code) :].strip() or FAILED.text, code.strip(b"[]") or None)
    appended = _APPENDED.match(text)
    if appended is None:
        return b""
    uids = encode_uid_set(np.array([message.uid for message in messages], dtype=np.uint32))
    return b"[COPYUID %b %b %b]" % (appended[1], uids, appended[2])


async def _send_body(routes: SessionRoutes, link: ImapLink, message: _Message, target: ImapLink) -> None:
    offset = 0
    while offset < message.size:
        count = min(_PIECE, message.size - offset)
        piece = None
        for response in await _ask(routes, link, b"UID FETCH %d (BODY.PEEK[]<%d.%d>)" % (message.uid, offset, count)):
            data = _body_of(response, message.uid)
            if data is None:
                _tell(routes, response)
            else:
                piece = data
        if not piece or len(piece) > message.size - offset:
            raise FAILED
        await target.send_source(_Octets(piece))
        offset += len(piece)


def _body_of(response: list[bytes | Literal], uid: int) -> bytes | None:
    """The octets asked for, if the response has them; they are a literal, or short and quoted."""
    head = response[0] if response else b""
    if not isinstance(head, bytes) or b" FETCH (" not in head.upper():
        return None
    if b"BODY[]<" not in b"".join(piece for piece in response if isinstance(piece, bytes)).upper():
        return None
    if f"UID {uid}".encode() not in b"".join(piece for piece in response if isinstance(piece, bytes)).upper():
        return None
    for piece in response:
        if isinstance(piece, Literal):
            return piece.data
    begin = head.find(b"> ", head.upper().find(b"BODY[]<"))
    try:
        return Cursor([head[begin + 2 :]]).string()
    except BadSyntax:
        return None


class _Octets:
    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


async def _check_may_remove(link: ImapLink, selected: bytes) -> None:
    """
    See whether the messages can be removed, before they are copied.

    @raise No: They cannot.
    """
    untagged, status, _ = await link.ask(b"MYRIGHTS " + quoted(selected, utf8=True).replace(b"}\r\n", b"+}\r\n"))
    rights = untagged.rstrip(b"\r\n").rpartition(b" ")[2] if status == b"OK" else b"te"
    if not {0x74, 0x65} <= set(rights):
        raise No(b"Permission denied", b"NOPERM")


async def _remove(routes: SessionRoutes, link: ImapLink, messages: list[_Message]) -> None:
    uids = encode_uid_set(np.array([message.uid for message in messages], dtype=np.uint32))
    for command in (rb"UID STORE %b +FLAGS.SILENT (\Deleted)", b"UID EXPUNGE %b"):
        untagged, status, text = await link.ask(command % uids)
        routes.session.write(untagged)
        if status != b"OK":
            raise No(b"Messages were copied, and not removed: " + text.rpartition(b"]")[2].strip()[:100])
