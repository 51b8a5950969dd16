"""What a mailbox has, message by message, for servers that know no journals; waits for the disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pycyrus.model.flags import SYSTEM_FLAG_NAMES
from pycyrus.store import files
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.message_annotations import MessageAnnotations
from pycyrus.store.recovery import open_mailbox


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """
    A message.

    @ivar flags: Names of system flags and keywords.
    @ivar expunged: When it was, in seconds since the epoch; None if it is there.
    @ivar path: Of its file.
    @ivar annotations: User id (empty for everybody's), entry and value of each (RFC 5257).
    """

    uid: int
    modseq: int
    flags: tuple[bytes, ...]
    internaldate: int
    savedate: int
    size: int
    guid: str
    expunged: int | None
    path: str
    annotations: tuple[tuple[str, str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class OutgoingRecords:
    """
    A mailbox.

    @ivar recent: The highest UID that is not recent any more.
    """

    uidnext: int
    highest_modseq: int
    recent: int
    messages: tuple[OutgoingMessage, ...]


def read_records(paths: MailboxPaths) -> OutgoingRecords:
    """
    Read a mailbox, as it is now.

    @raise StoreUnavailable: It cannot be read.
    """
    loaded = open_mailbox(paths)
    files.close(loaded.fd)
    contents = loaded.contents
    names = contents.keyword_names
    messages = []
    live = contents.columns.rows(slice(0, contents.columns.count))
    for row in live:
        messages.append(_message(row, names, paths, int(row["modseq"]), None))
    for row in contents.retained:
        when = int(row["expunge_time"]) // 1_000_000
        messages.append(_message(row, names, paths, int(row["expunge_modseq"]), when))
    if len(contents.annotations):
        messages = [_annotated(message, contents.annotations) for message in messages]
    messages.sort(key=lambda message: message.uid)
    return OutgoingRecords(contents.uidnext, contents.highest_modseq, contents.recent_uid, tuple(messages))


def _annotated(message: OutgoingMessage, annotations: MessageAnnotations) -> OutgoingMessage:
    known = annotations.known(message.uid)
    if not known:
        return message
    return replace(message, annotations=tuple((user, entry, value) for (user, entry), value in sorted(known.items())))


def _message(
    row: Any, names: tuple[bytes, ...], paths: MailboxPaths, modseq: int, expunged: int | None
) -> OutgoingMessage:
    bits = int(row["flags"])
    words = [int(word) for word in row["keywords"]]
    flags = [name for bit, name in SYSTEM_FLAG_NAMES if bits & bit]
    flags += [name for bit, name in enumerate(names) if name and words[bit // 64] >> bit % 64 & 1]
    uid = int(row["uid"])
    return OutgoingMessage(
        uid, modseq, tuple(flags), int(row["internaldate"]), int(row["savedate"]), int(row["size"]),
        bytes(row["guid"]).hex(), expunged, paths.where(uid),
    )  # fmt: skip
