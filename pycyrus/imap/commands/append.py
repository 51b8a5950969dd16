"""APPEND."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import LimitExceeded
from pycyrus.imap.commands.annotate import annotations_refused
from pycyrus.imap.commands.catenate import add_urls
from pycyrus.imap.incoming import IncomingMessage
from pycyrus.imap.message_limit import demand_within_limit
from pycyrus.imap.replies import Bad, No
from pycyrus.imap.wire.append import encode_appenduid
from pycyrus.interfaces import NewMessage
from pycyrus.mime.binary import without_binary
from pycyrus.model.acl import INSERT

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.append import Append, AppendMessage
    from pycyrus.model.names import MailboxName


MAX_BINARY = 1 << 25
"""Octets of a message whose binary parts are encoded: it is in memory meanwhile."""


async def append(session: Session, command: Append) -> bytes:
    """
    Add messages, all or none (RFC 9051 section 6.3.12, RFC 3502).

    @raise MailboxNotFound: C{creatable} where CREATE could help.
    @raise PermissionDenied: Without the right i.
    @raise MessageRejected: The content is none that may be stored.
    @raise OverQuota: Nothing was added.
    """
    name = session.names.decode(command.mailbox, utf8=session.is_utf8)
    demand_within_limit(session, len(command.messages))
    messages = [await new_message(session, name, message) for message in command.messages]
    mailbox = await session.store.open(session.user, name, INSERT)
    try:
        appended = await mailbox.append(messages)
    except LimitExceeded as error:
        raise annotations_refused(error) from None
    finally:
        mailbox.close()
    return encode_appenduid(appended.uidvalidity, np.array(appended.uids, dtype=np.uint32)) + b" Completed"


async def new_message(session: Session, name: MailboxName, message: AppendMessage) -> NewMessage:
    """
    What came for APPEND or REPLACE, complete.

    @raise MessageRejected: The content is none that may be stored.
    @raise No: With C{BADURL} or C{UNKNOWN-CTE}.
    """
    literal = message.literal
    incoming = await session.stage(name) if literal is None else literal.staged
    if not isinstance(incoming, IncomingMessage):
        # The mailbox's name was one literal too many, or too few.
        raise Bad(b"Literal expected")
    await add_urls(session, incoming, message.urls)
    if not incoming.size:
        raise No(b"Zero-length message literal")
    incoming.check(is_binary=literal is not None and literal.binary)
    await incoming.ready()
    incoming.finish()
    if incoming.has_nul:
        incoming = await _encoded(session, name, incoming)
    return NewMessage(incoming.staged, message.flags, message.internaldate, dict(message.annotations))


async def _encoded(session: Session, name: MailboxName, binary: IncomingMessage) -> IncomingMessage:
    """
    Make base64 of the binary parts of a message (RFC 3516 section 4.4).

    BODY[] could not give them back otherwise: its literals have no NUL (RFC
    9051 section 9).

    @raise No: It is too large for that, or has a NUL elsewhere.
    """
    pieces = None
    if binary.size <= MAX_BINARY:
        octets = binary.staged.read(0, binary.size)
        pieces = await session.in_thread(lambda: without_binary(octets))
    if pieces is None:
        raise No(b"Can not process the binary data", b"UNKNOWN-CTE")
    incoming = await session.stage(name)
    for piece in pieces:
        incoming.write(piece)
    await incoming.ready()
    incoming.finish()
    return incoming
