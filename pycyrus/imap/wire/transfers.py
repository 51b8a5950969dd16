"""XFER and what servers say to one another while mailboxes move: from arguments to values, and answers."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.mailboxes import Named

_ID = re.compile(rb"[0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True)
class Xfer:
    """
    An XFER, Cyrus's extension for administrators.

    @ivar partition: On the other server; empty to have it choose.
    """

    mailbox: bytes
    server: str
    partition: str = ""


@dataclass(frozen=True, slots=True)
class TransferStep:
    """
    An XTRANSFER: what one pycyrus says to another.

    @ivar argument: JSON.
    @ivar data: Octets of files.
    """

    step: str
    transfer_id: str
    argument: bytes
    data: bytes = b""


def parse_xfer(cursor: Cursor) -> Xfer:
    """Mailbox or pattern, server, and perhaps a partition."""
    cursor.space()
    mailbox = cursor.list_mailbox()
    cursor.space()
    words = [_text(cursor.astring())]
    if not cursor.at_end():
        cursor.space()
        words.append(_text(cursor.astring()))
    cursor.end()
    if not words[0]:
        raise BadSyntax(b"Missing required argument to Xfer")
    return Xfer(mailbox, *words)


def parse_dump(cursor: Cursor) -> Named:
    """A mailbox, and perhaps the first UID whose message is wanted."""
    cursor.space()
    mailbox = cursor.astring()
    if not cursor.at_end():
        cursor.space()
        cursor.number()
    cursor.end()
    return Named(mailbox)


def parse_transfer_step(cursor: Cursor) -> TransferStep:
    """The step, the transfer, the argument, and octets for some steps."""
    cursor.space()
    step = cursor.atom().upper().decode("ascii")
    cursor.space()
    transfer_id = cursor.match(_ID, b"Invalid transfer").decode("ascii")
    cursor.space()
    argument = cursor.literal().data
    data = b""
    if not cursor.at_end():
        cursor.space()
        data = cursor.literal().data
    cursor.end()
    return TransferStep(step, transfer_id, argument, data)


def encode_step_answer(answer: bytes) -> bytes:
    """The untagged answer to a step."""
    return b"* XTRANSFER {%d}\r\n%b\r\n" % (len(answer), answer)


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise BadSyntax(b"Invalid argument") from None
