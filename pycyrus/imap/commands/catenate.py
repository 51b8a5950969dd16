"""Messages put together on the server (RFC 4469)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import MailStoreError, MessageTooLarge
from pycyrus.imap.replies import No
from pycyrus.imap.wire.urls import BadUrl, MessageUrl, parse_message_url
from pycyrus.mime.header import select_fields
from pycyrus.mime.sections import SectionText, locate
from pycyrus.model.acl import READ
from pycyrus.model.view import LARGEST_MESSAGE, CachedItem

if TYPE_CHECKING:
    from pycyrus.imap.incoming import IncomingMessage
    from pycyrus.imap.session import Session
    from pycyrus.interfaces import IMailbox

_PIECE = 262_144
"""Octets copied between two turns of other sessions."""


async def add_urls(session: Session, message: IncomingMessage, urls: Sequence[bytes]) -> None:
    """
    Add what URLs stand for.

    @raise No: With C{BADURL}, if one stands for nothing that the client may read (RFC 4469 section 5.1).
    @raise StoreUnavailable: A message cannot be read.
    """
    for url in urls:
        try:
            parsed = parse_message_url(url)
            _check_host(session, parsed)
            mailbox, is_ours = await _open(session, parsed)
        except (BadUrl, MailStoreError):
            raise _bad_url(url) from None
        try:
            if parsed.uidvalidity not in (None, mailbox.uidvalidity):
                raise _bad_url(url)
            await _copy(session, message, mailbox, parsed, url)
        finally:
            if is_ours:
                mailbox.close()


def _check_host(session: Session, url: MessageUrl) -> None:
    if url.host is None:
        return
    server = url.host.rpartition(b"@")[2].partition(b":")[0].decode("ascii", "replace")
    if server.lower() not in (session.settings.server_name.partition(":")[0].lower(), session.local_address):
        raise BadUrl


async def _open(session: Session, url: MessageUrl) -> tuple[IMailbox, bool]:
    """The mailbox, and whether it must be closed."""
    if not url.mailbox:
        if session.selected is None:
            raise BadUrl
        session.selected.demand(READ)
        return session.selected.mailbox, False
    name = session.names.decode(url.mailbox, utf8=True)
    return await session.store.open(session.user, name, READ), True


async def _copy(session: Session, message: IncomingMessage, mailbox: IMailbox, parsed: MessageUrl, url: bytes) -> None:
    mailbox.refresh()
    view = mailbox.view()
    position = int(np.searchsorted(view.uids, parsed.uid))
    if position == len(view) or int(view.uids[position]) != parsed.uid:
        raise _bad_url(url)
    section = parsed.section
    try:
        [structure] = view.cached(np.array([position]), (CachedItem.SECTIONS,))
        file = mailbox.message(parsed.uid)
    except MailStoreError:
        raise _bad_url(url) from None
    try:
        if not section.part and section.text is SectionText.WHOLE:
            place: tuple[int, int] | None = (0, file.size)
        else:
            place = locate(structure[0], section.part, section.text)
        if place is None:
            raise _bad_url(url)
        offset, length = place
        if section.fields is not None:
            data = select_fields(file.read(offset, length), section.fields, section.invert)
            _add(session, message, data[parsed.origin :][: parsed.length])
            return
        offset += min(parsed.origin, length)
        stop = place[0] + length
        if parsed.length is not None:
            stop = min(stop, offset + parsed.length)
        while offset < stop:
            _add(session, message, file.read(offset, min(_PIECE, stop - offset)))
            offset += _PIECE
            await session.pause()
    finally:
        file.close()


def _add(session: Session, message: IncomingMessage, data: bytes) -> None:
    if message.size + len(data) > (session.settings.max_message_size or LARGEST_MESSAGE):
        raise MessageTooLarge
    message.write(data)


def _bad_url(url: bytes) -> No:
    shown = bytes(octet for octet in url if 0x20 < octet < 0x7F and octet not in b'"\\')
    return No(b"Cannot use URL", b'BADURL "%b"' % shown)
