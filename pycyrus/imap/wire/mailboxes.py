"""CREATE, DELETE, RENAME, SUBSCRIBE and STATUS: from arguments to values, and STATUS responses."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.imap.wire.remembered import read_rest

MAX_USES = 16


@dataclass(frozen=True, slots=True)
class Named:
    """
    A command about one mailbox.

    @ivar mailbox: As the client wrote it.
    """

    mailbox: bytes


@dataclass(frozen=True, slots=True)
class Create:
    """
    A CREATE (RFC 9051 section 6.3.4, RFC 6154 section 3).

    @ivar partition: Cyrus's extension, for administrators.
    @ivar server: Likewise, within a murder.
    @ivar mailbox_type: Likewise; C{EMAIL} is what there is.
    """

    mailbox: bytes
    special_use: tuple[str, ...] = ()
    partition: str | None = None
    server: str | None = None
    mailbox_type: str | None = None


@dataclass(frozen=True, slots=True)
class Rename:
    """
    A RENAME (RFC 9051 section 6.3.6).

    @ivar partition: Cyrus's extension, for administrators.
    """

    old: bytes
    new: bytes
    partition: str | None = None


class StatusItem(enum.Enum):
    """What STATUS can be asked for, in the order in which it is told."""

    MESSAGES = b"MESSAGES"
    RECENT = b"RECENT"
    UIDNEXT = b"UIDNEXT"
    UIDVALIDITY = b"UIDVALIDITY"
    UNSEEN = b"UNSEEN"
    DELETED = b"DELETED"
    DELETED_STORAGE = b"DELETED-STORAGE"
    SIZE = b"SIZE"
    HIGHESTMODSEQ = b"HIGHESTMODSEQ"
    APPENDLIMIT = b"APPENDLIMIT"
    MAILBOXID = b"MAILBOXID"


_ITEMS = {item.value: item for item in StatusItem}


@dataclass(frozen=True, slots=True)
class Status:
    """A STATUS (RFC 9051 section 6.3.11)."""

    mailbox: bytes
    items: frozenset[StatusItem]


def parse_named(cursor: Cursor) -> Named:
    """The argument of DELETE, SUBSCRIBE and UNSUBSCRIBE."""
    cursor.space()
    mailbox = cursor.astring()
    cursor.end()
    return Named(mailbox)


@dataclass(frozen=True, slots=True)
class Reconstruct:
    """
    A RECONSTRUCT.

    @ivar recursive: What lies below the mailbox as well.
    """

    mailbox: bytes
    recursive: bool


def parse_reconstruct(cursor: Cursor) -> Reconstruct:
    """A mailbox, and perhaps the word RECURSIVE."""
    cursor.space()
    mailbox = cursor.astring()
    recursive = False
    if not cursor.at_end():
        cursor.space()
        if cursor.atom().upper() != b"RECURSIVE":
            raise BadSyntax(b"Unknown option in Reconstruct")
        recursive = True
    cursor.end()
    return Reconstruct(mailbox, recursive)


def parse_create(cursor: Cursor) -> Create:
    """C{create}, behind its name; its parameters are in parentheses, or a bare partition as of old."""
    cursor.space()
    mailbox = cursor.astring()
    parameters: dict[str, object] = {}
    if not cursor.at_end():
        cursor.space()
        if cursor.peek() == 0x28:
            for name, value in cursor.paren_list(_parse_create_parameter, least=1, most=len(_CREATE_PARAMETERS)):
                if name in parameters:
                    raise BadSyntax(b"Duplicate CREATE parameter")
                parameters[name] = value
        else:
            # server!partition, or a partition alone.
            server, mark, partition = _text(cursor.astring()).rpartition("!")
            parameters = {"partition": partition or None, "server": server if mark else None}
    cursor.end()
    return Create(mailbox, **parameters)  # type: ignore[arg-type] # by the table of parameters


def _parse_uses(cursor: Cursor) -> tuple[str, ...]:
    return tuple(_text(use) for use in cursor.paren_list(Cursor.flag, most=MAX_USES))


def _parse_text(cursor: Cursor) -> str:
    return _text(cursor.astring())


_CREATE_PARAMETERS: dict[bytes, tuple[str, Callable[[Cursor], object]]] = {
    b"USE": ("special_use", _parse_uses),
    b"PARTITION": ("partition", _parse_text),
    b"SERVER": ("server", _parse_text),
    b"TYPE": ("mailbox_type", _parse_text),
}


def _parse_create_parameter(cursor: Cursor) -> tuple[str, object]:
    known = _CREATE_PARAMETERS.get(cursor.atom().upper())
    if known is None:
        raise BadSyntax(b"Unrecognized CREATE parameter")
    cursor.space()
    return known[0], known[1](cursor)


def parse_rename(cursor: Cursor) -> Rename:
    """C{rename}, behind its name."""
    cursor.space()
    old = cursor.astring()
    cursor.space()
    new = cursor.astring()
    partition = None
    if not cursor.at_end():
        cursor.space()
        partition = _text(cursor.astring())
    cursor.end()
    return Rename(old, new, partition)


def parse_status(cursor: Cursor) -> Status:
    """C{status}, behind its name."""
    return read_rest(cursor, _parse_status)


def _parse_status(cursor: Cursor) -> Status:
    cursor.space()
    mailbox = cursor.astring()
    cursor.space()
    items = parse_status_items(cursor)
    cursor.end()
    return Status(mailbox, items)


def parse_status_items(cursor: Cursor) -> frozenset[StatusItem]:
    """The list of C{status-att}."""
    return frozenset(cursor.paren_list(_parse_status_item, least=1, most=64))


def _parse_status_item(cursor: Cursor) -> StatusItem:
    item = _ITEMS.get(cursor.atom().upper())
    if item is None:
        raise BadSyntax(b"Invalid Status attributes")
    return item


def _text(value: bytes) -> str:
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise BadSyntax(b"Invalid argument") from None


def encode_status(mailbox: bytes, values: Sequence[tuple[StatusItem, bytes]], *, utf8: bool) -> bytes:
    """
    Write a STATUS response.

    @param mailbox: External name.
    @param values: In the order to be told.
    """
    pairs = b" ".join(b"%b %b" % (item.value, value) for item, value in values)
    return b"* STATUS %b (%b)\r\n" % (astring(mailbox, utf8=utf8), pairs)
