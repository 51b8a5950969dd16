"""What Cyrus's lists say of mailboxes and messages, as values of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pycyrus.errors import TransferFailed
from pycyrus.model.acl_text import parse_acl
from pycyrus.model.flags import SYSTEM_FLAGS_BY_NAME
from pycyrus.model.internal_names import parse_internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import RESOURCES
from pycyrus.model.transfers import MovedMailbox, MovedRoot, Note
from pycyrus.store.imported import ImportedMailbox, ImportedMessage
from pycyrus.store.own_annotations import OWNER

_EXPUNGED = b"\\expunged"
_VENDOR = b"/vendor/cmu/cyrus-imapd/"
_SPECIAL_USE = b"/specialuse"
_OF_RECORDS = (_VENDOR + b"savedate", _VENDOR + b"createdmodseq", _VENDOR + b"basethrid", _VENDOR + b"thrid")
"""Annotations of messages that are columns here, or nothing."""
_OPTIONS = {
    "P": (_VENDOR.decode() + "pop3newuidl", True),
    "S": (_VENDOR.decode() + "sharedseen", False),
    "D": (_VENDOR.decode() + "duplicatedeliver", False),
}
"""What is an option of a mailbox there and an annotation here: its entry, and whether it is set if nobody says so."""

Table = Mapping[str, Any]


def octets(table: Table, key: str, default: bytes | None = None) -> bytes:
    """
    A value that is octets.

    @raise TransferFailed: It is missing, or is something else.
    """
    value = table.get(key, default)
    if not isinstance(value, bytes):
        raise TransferFailed(f"{key} is missing")
    return value


def text(table: Table, key: str, default: bytes | None = None) -> str:
    """A value that is text; as L{octets}."""
    return octets(table, key, default).decode("utf-8", "replace")


def number(table: Table, key: str, default: bytes | None = None) -> int:
    """A value that is a number; as L{octets}."""
    found = octets(table, key, default)
    if not found.isdigit() or len(found) > 20:
        raise TransferFailed(f"{key} is no number")
    return int(found)


def tables(value: Any) -> Sequence[Table]:
    """
    A list of tables; empty where there is none.

    @raise TransferFailed: It is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TransferFailed("a list of something else")
    return value


def imported_mailbox(table: Table, records: Mapping[int, Table], owner: str) -> ImportedMailbox:
    """
    A mailbox's files.

    @param records: By UID.
    @param owner: Whose it is; empty if it is shared.
    @raise TransferFailed: Something is missing, or is none.
    """
    return ImportedMailbox(
        text(table, "UNIQUEID"),
        number(table, "UIDVALIDITY"),
        number(table, "LAST_UID", b"0"),
        number(table, "HIGHESTMODSEQ", b"1"),
        number(table, "RECENTUID", b"0"),
        [_message(record, owner) for record in records.values()],
    )


def _message(record: Table, owner: str) -> ImportedMessage:
    names = record.get("FLAGS") or []
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise TransferFailed("flags that are none")
    lower = [name.lower() for name in names]
    bits = 0
    for name in lower:
        bits |= SYSTEM_FLAGS_BY_NAME.get(name, 0)
    keywords = tuple(name for name in names if not name.startswith(b"\\"))
    notes = tables(record.get("ANNOTATIONS"))
    internaldate = number(record, "INTERNALDATE")
    saved = [octets(note, "VALUE", b"") for note in notes if note.get("ENTRY") == _VENDOR + b"savedate"]
    guid = text(record, "GUID")
    if len(guid) != 40:
        raise TransferFailed("a GUID that is none")
    return ImportedMessage(
        number(record, "UID"),
        number(record, "MODSEQ"),
        bits,
        keywords,
        internaldate,
        int(saved[0]) if saved and saved[0].isdigit() else number(record, "LAST_UPDATED", b"0"),
        number(record, "SIZE"),
        bytes.fromhex(guid),
        number(record, "LAST_UPDATED", b"0") if _EXPUNGED in lower else None,
        tuple(
            (_whose(text(note, "USERID"), owner), text(note, "ENTRY"), octets(note, "VALUE"))
            for note in notes
            if note.get("ENTRY") not in _OF_RECORDS and note.get("VALUE") is not None
        ),
    )


def _whose(user: str, owner: str) -> str:
    return OWNER if user and user == owner else user


def moved_mailbox(table: Table, deleted_prefix: str) -> MovedMailbox:
    """
    A mailbox as it will stand in the list.

    @raise TransferFailed: As L{imported_mailbox}.
    @raise ValueError: Its rights are none.
    @raise InvalidMailboxName: Its name is none.
    """
    notes = [note for note in tables(table.get("ANNOTATIONS")) if note.get("VALUE") is not None]
    uses = [text(note, "VALUE") for note in notes if note.get("ENTRY") == _SPECIAL_USE]
    return MovedMailbox(
        text(table, "UNIQUEID"),
        name_of(octets(table, "MBOXNAME"), deleted_prefix),
        number(table, "UIDVALIDITY"),
        parse_acl(text(table, "ACL")),
        tuple(dict.fromkeys(use for uses_of_one in uses for use in uses_of_one.split())),
        number(table, "UIDVALIDITY"),
        tuple(
            Note(text(note, "USERID"), text(note, "ENTRY"), octets(note, "VALUE"))
            for note in notes
            if note.get("ENTRY") != _SPECIAL_USE
        )
        + tuple(_options(text(table, "OPTIONS", b"P"))),
    )


def _options(letters: str) -> Iterator[Note]:
    """What a mailbox's options are here, but for what is so anyway."""
    for letter, (entry, is_usual) in _OPTIONS.items():
        if (letter in letters) != is_usual:
            yield Note("", entry, b"false" if is_usual else b"true")


def options(notes: Sequence[Note]) -> tuple[str, Sequence[Note]]:
    """
    A mailbox's options as they are told there.

    @return: They, and what else there is.
    """
    found = {note.entry: note.value.lower() for note in notes if not note.user_id}
    letters = "".join(
        letter
        for letter, (entry, is_usual) in _OPTIONS.items()
        if found.get(entry, b"true" if is_usual else b"") == b"true"
    )
    entries = {entry for entry, _ in _OPTIONS.values()}
    return letters, [note for note in notes if note.user_id or note.entry not in entries]


def name_of(internal: bytes, deleted_prefix: str) -> MailboxName:
    """
    A mailbox's name as servers tell it one another.

    @raise InvalidMailboxName: It is none.
    """
    return parse_internal(internal.decode("utf-8", "replace"), deleted_prefix)


def moved_root(table: Table, deleted_prefix: str) -> MovedRoot:
    """
    A quota root; resources without a limit are not told, or as -1.

    @raise TransferFailed: As L{octets}.
    @raise InvalidMailboxName: As L{name_of}.
    """
    limits = [
        (name, int(value))
        for name, value in table.items()
        if name in RESOURCES and isinstance(value, bytes) and value.isdigit()
    ]
    return MovedRoot(name_of(octets(table, "ROOT"), deleted_prefix), tuple(limits))
