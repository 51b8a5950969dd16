"""APPEND: from its arguments to values (RFC 9051 section 6.3.12, RFC 3502)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pycyrus.imap.wire.annotations import AnnotationName, parse_values
from pycyrus.imap.wire.catenate import MAX_PARTS
from pycyrus.imap.wire.copy import encode_uid_set
from pycyrus.imap.wire.flags import flags_of
from pycyrus.imap.wire.grammar import LITERAL, BadSyntax, Cursor
from pycyrus.imap.wire.store import MAX_FLAGS
from pycyrus.model.flags import NO_FLAGS, Flags

if TYPE_CHECKING:
    from pycyrus.imap.wire.frames import Literal
    from pycyrus.model.uids import SequenceSet, UidArray

MAX_MESSAGES = 1000
"""Messages in one MULTIAPPEND."""


@dataclass(frozen=True, slots=True)
class AppendMessage:
    """
    One message of an APPEND.

    @ivar literal: The message, or the last C{TEXT} of one that is put together;
        None if that has URLs only.
    @ivar internaldate: Seconds since the epoch; None for now.
    @ivar urls: What follows behind the literal (RFC 4469 section 3).
    @ivar annotations: That it has from the beginning (RFC 5257 section 4.5).
    """

    literal: Literal | None
    flags: Flags
    internaldate: int | None
    urls: tuple[bytes, ...] = ()
    annotations: tuple[tuple[AnnotationName, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Append:
    """
    An APPEND.

    @ivar mailbox: As the client wrote it.
    @ivar messages: At least one.
    """

    mailbox: bytes
    messages: tuple[AppendMessage, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """A REPLACE or UID REPLACE (RFC 8508 section 3)."""

    sequence: SequenceSet | None
    by_uid: bool
    mailbox: bytes
    message: AppendMessage


def parse_replace(cursor: Cursor, *, by_uid: bool = False) -> Replace:
    """C{replace}, behind its name."""
    cursor.space()
    sequence = cursor.sequence_set_or_saved()
    cursor.space()
    mailbox = cursor.astring()
    message = _parse_message(cursor)
    cursor.end()
    return Replace(sequence, by_uid, mailbox, message)


parse_uid_replace = partial(parse_replace, by_uid=True)


def parse_append(cursor: Cursor) -> Append:
    """C{append}, behind C{APPEND}."""
    cursor.space()
    return _parse_messages(cursor, cursor.astring())


def _parse_messages(cursor: Cursor, mailbox: bytes) -> Append:
    messages = [_parse_message(cursor)]
    while not cursor.at_end():
        if len(messages) >= MAX_MESSAGES:
            raise BadSyntax(b"Too many messages")
        messages.append(_parse_message(cursor))
    return Append(mailbox, tuple(messages))


def parse_local_append(cursor: Cursor) -> Append:
    """Cyrus's C{LOCALAPPEND}: as APPEND, with the mailbox behind the first that a frontend's client has selected."""
    cursor.space()
    mailbox = cursor.astring()
    cursor.space()
    cursor.astring()
    return _parse_messages(cursor, mailbox)


def _parse_message(cursor: Cursor) -> AppendMessage:
    cursor.space()
    flags, internaldate = NO_FLAGS, None
    if cursor.peek() == 0x28:
        names = cursor.flag_list()
        if len(names) > MAX_FLAGS:
            raise BadSyntax(b"Too many flags")
        flags = flags_of(names)
        cursor.space()
    if cursor.peek() == 0x22:
        internaldate = cursor.date_time()
        cursor.space()
    annotations: tuple[tuple[AnnotationName, bytes], ...] = ()
    if cursor.take(b"ANNOTATION"):
        cursor.space()
        annotations = tuple((name, value) for name, value in parse_values(cursor) if value is not None)
        cursor.space()
    literal, urls = _parse_data(cursor)
    return AppendMessage(literal, flags, internaldate, urls, annotations)


def _parse_data(cursor: Cursor) -> tuple[Literal | None, tuple[bytes, ...]]:
    """The message itself, and URLs behind it."""
    if cursor.take(b"CATENATE"):
        cursor.space()
        parts = cursor.paren_list(_parse_part, least=1, most=MAX_PARTS)
        texts = [place for place, part in enumerate(parts) if not isinstance(part, bytes)]
        literal = parts[texts[-1]] if texts else None
        assert not isinstance(literal, bytes)
        behind = parts[texts[-1] + 1 :] if texts else parts
        return literal, tuple(part for part in behind if isinstance(part, bytes))
    if cursor.take(b"UTF8"):
        # RFC 9755 section 4: headers in UTF-8, which every message here may have.
        cursor.space()
        cursor.expect(b"(")
        literal = _literal(cursor)
        cursor.expect(b")")
        return literal, ()
    return _literal(cursor), ()


def _parse_part(cursor: Cursor) -> bytes | Literal:
    """C{cat-part}: a URL, or a literal."""
    if cursor.take(b"URL"):
        cursor.space()
        return cursor.astring()
    cursor.expect(b"TEXT")
    cursor.space()
    return _literal(cursor)


def _literal(cursor: Cursor) -> Literal:
    if cursor.peek() != LITERAL:
        raise cursor.fail(b"Literal expected")
    return cursor.literal()


def encode_appenduid(uidvalidity: int, uids: UidArray) -> bytes:
    """Write C{[APPENDUID ...]} (RFC 4315 section 3)."""
    return b"[APPENDUID %d %b]" % (uidvalidity, encode_uid_set(uids))
