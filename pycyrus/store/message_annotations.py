"""
Annotations of messages, as records of the journal make them (RFC 5257).

A value belongs to a message, an entry such as C{/comment}, and everybody or one
user.  Those of expunged messages are kept as long as the messages, which may
come back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import LimitExceeded
from pycyrus.model.uids import Positions, UidArray, number_ranges, positions_of_ranges
from pycyrus.store import journal
from pycyrus.store.columns import Columns, as_positions
from pycyrus.store.journal import Record
from pycyrus.store.notes import MAX_VALUE

Key = tuple[str, str]
"""A user id, or L{pycyrus.store.notes.EVERYBODY}, and an entry."""

Noted = Sequence[tuple[int, Key, bytes]]
"""Values of messages to come, by their place among these."""

EXACT = 1
"""In the flags of a record: the ranges have no other messages in them, also none that were expunged."""
MOST_OCTETS = 16 << 20
"""Octets of values that a mailbox may have: all of them are in memory, and in its journal."""
MOST_ENTRIES = 100
"""Values of one message."""

_RECORD = 128
"""Octets of a record besides its value, and then some."""
_TAIL = struct.Struct("<HHI")
_REMOVED = 0xFFFFFFFF
_NO_VALUES: Mapping[Key, bytes] = {}


@dataclass(frozen=True, slots=True)
class Change:
    """
    One value for some messages.

    @ivar value: None to remove it.
    """

    key: Key
    value: bytes | None


def encode(change: Change, ranges: Sequence[tuple[int, int]], modseq: int, time: int, *, exact: bool = False) -> bytes:
    """
    Write a record.

    @param ranges: Bounds of UIDs, both included.
    """
    user, entry = (part.encode("utf-8") for part in change.key)
    value = change.value or b""
    tail = _TAIL.pack(len(user), len(entry), _REMOVED if change.value is None else len(value))
    payload = b"".join((journal.pack_ranges(ranges), tail, user, entry, value))
    flags = EXACT if exact else 0
    return journal.encode_record(journal.ANNOTATION, payload, count=len(ranges), modseq=modseq, time=time, flags=flags)


def decode(record: Record) -> Change:
    """What a record tells of its ranges."""
    at = 8 * record.count
    user_size, entry_size, value_size = _TAIL.unpack_from(record.payload, at)
    at += _TAIL.size
    user = bytes(record.payload[at : at + user_size]).decode("utf-8")
    at += user_size
    entry = bytes(record.payload[at : at + entry_size]).decode("utf-8")
    at += entry_size
    value = None if value_size == _REMOVED else bytes(record.payload[at : at + value_size])
    return Change((user, entry), value)


def encode_coming(values: Iterable[tuple[int, Key, bytes]], time: int) -> list[bytes]:
    """
    Write records for messages whose own record follows.

    @param values: With the UIDs that they will have.
    @param time: Of the record that follows: by it they are known to belong together.
    """
    return list(_encode_exact(values, time))


def _encode_exact(values: Iterable[tuple[int, Key, bytes]], time: int) -> Iterator[bytes]:
    having: dict[tuple[Key, bytes], list[int]] = {}
    for uid, key, value in values:
        having.setdefault((key, value), []).append(uid)
    for (key, value), uids in having.items():
        ranges = number_ranges(np.array(sorted(uids), dtype=np.uint32))
        yield encode(Change(key, value), ranges, 0, time, exact=True)


class MessageAnnotations:
    """
    All values of a mailbox.

    @ivar octets: Of the values of messages that are there.
    @ivar coming: Values for messages whose record has not been seen yet: its
        time, UID, key and value.  They count only if it comes next: the write
        may have been torn between them.

    Of several records of one change all but the last are held until that comes, for the same reason.
    """

    __slots__ = ("_held", "_kept", "_live", "coming", "octets")

    def __init__(self) -> None:
        self._live: dict[int, dict[Key, bytes]] = {}
        self._kept: dict[int, dict[Key, bytes]] = {}
        self._held: list[Record] = []
        self.octets = 0
        self.coming: list[tuple[int, int, Key, bytes]] = []

    def __len__(self) -> int:
        """How many messages have any, expunged ones included."""
        return len(self._live) + len(self._kept)

    @property
    def weight(self) -> int:
        """About how many octets of records tell of all."""
        kept = sum(map(_size, self._kept.values()))
        return self.octets + kept + _RECORD * len(self)

    def of(self, uid: int) -> Mapping[Key, bytes]:
        """The values of a message that is there."""
        return self._live.get(uid, _NO_VALUES)

    def known(self, uid: int) -> Mapping[Key, bytes]:
        """The values of a message that is there, or may come back."""
        return self._live.get(uid) or self._kept.get(uid) or _NO_VALUES

    def is_same(self, other: MessageAnnotations) -> bool:
        """Whether another one has the same values."""
        return self._live == other._live and self._kept == other._kept

    def annotated(self) -> Iterable[tuple[int, Mapping[Key, bytes]]]:
        """Messages that are there, and have values."""
        return self._live.items()

    # --- records --------------------------------------------------------

    def apply(self, record: Record, columns: Columns, kept: NDArray[np.uint32], uidnext: int) -> Positions:
        """
        Take in a record.

        @param kept: UIDs of expunged messages that may come back.
        @param uidnext: UIDs from this one on are those of messages to come.
        @return: Positions of the messages that are there and were changed.
        """
        if not record.count:
            return as_positions(slice(0, 0))
        self._held = [each for each in self._held if each.time == record.time]
        if not (record.modseq or record.flags & EXACT):
            self._held.append(record._replace(payload=memoryview(bytes(record.payload))))
            return as_positions(slice(0, 0))
        held, self._held = self._held, []
        for each in held:
            self.set(columns.uids[as_positions(columns.within(journal.unpack_ranges(each)))].tolist(), decode(each))
        change = decode(record)
        ranges = journal.unpack_ranges(record)
        positions = as_positions(columns.within(ranges))
        self.set(columns.uids[positions].tolist(), change)
        if record.flags & EXACT and change.value is not None:
            for low, high in ranges:
                for uid in kept[(kept >= low) & (kept <= high)].tolist():
                    self._kept.setdefault(uid, {})[change.key] = change.value
                news = range(max(low, uidnext), high + 1)
                self.coming += [(record.time, uid, change.key, change.value) for uid in news]
        return positions

    def set(self, uids: Iterable[int], change: Change) -> None:
        """Change messages that are there."""
        for uid in uids:
            values = self._live.get(uid)
            if values is None:
                if change.value is None:
                    continue
                values = self._live[uid] = {}
            self.octets -= len(values.pop(change.key, b""))
            if change.value is not None:
                values[change.key] = change.value
                self.octets += len(change.value)
            elif not values:
                del self._live[uid]

    def come(self, records: Iterable[tuple[int, Sequence[int]]]) -> None:
        """
        Messages came.

        @param records: Time and UIDs of each record that told so.
        """
        coming, self.coming = self.coming, []
        uids_at = {time: set(uids) for time, uids in records}
        for time, uid, key, value in coming:
            if uid in uids_at.get(time, ()):
                self.set([uid], Change(key, value))

    def expunge(self, uids: Iterable[int]) -> None:
        """Messages were expunged."""
        for uid in uids:
            values = self._live.pop(uid, None)
            if values is not None:
                self.octets -= _size(values)
                self._kept[uid] = values

    def purge(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Expunged messages went for good."""
        kept = np.array(sorted(self._kept), dtype=np.uint32)
        for uid in kept[positions_of_ranges(ranges, kept)].tolist():
            del self._kept[uid]

    def come_back(self, uids: Iterable[tuple[int, int]]) -> None:
        """Expunged messages came back: the UID that each had, and the one that it has."""
        for was, now in uids:
            values = self._kept.pop(was, None)
            if values is not None:
                self._live[now] = values
                self.octets += _size(values)

    # --- as records -----------------------------------------------------

    def records(self, time: int) -> list[bytes]:
        """All values as records of a journal in which all messages were told of already."""
        values = (
            (uid, key, value)
            for some in (self._live, self._kept)
            for uid, own in some.items()
            for key, value in own.items()
        )
        found = list(_encode_exact(values, time))
        for coming_at in sorted({each[0] for each in self.coming}):
            found += _encode_exact((each[1:] for each in self.coming if each[0] == coming_at), coming_at)
        found += [
            journal.encode_record(each.type, bytes(each.payload), count=each.count, modseq=0, time=each.time)
            for each in self._held
        ]
        return found

    # --- limits ---------------------------------------------------------

    def check(self, uids: UidArray, changes: Sequence[Change]) -> int:
        """
        See whether messages may have these values.

        @return: How many octets more there will be; negative for fewer.
        @raise LimitExceeded: That is too much.
        """
        more = 0
        for change in changes:
            if change.value is not None and len(change.value) > MAX_VALUE:
                raise LimitExceeded("Annotation value too long")
            more += len(change.value or b"") * len(uids)
        added = {change.key for change in changes if change.value is not None}
        removed = {change.key for change in changes if change.value is None}
        for uid in uids.tolist() if self._live else ():
            values = self.of(uid)
            more -= sum(len(values.get(change.key, b"")) for change in changes)
            if len((values.keys() | added) - removed) > MOST_ENTRIES:
                raise LimitExceeded("Too many annotations")
        if len(added) > MOST_ENTRIES or (more > 0 and self.octets + more > MOST_OCTETS):
            raise LimitExceeded("Too many annotations")
        return more

    def check_coming(self, values: Noted) -> None:
        """
        See whether messages to come may have these values.

        @raise LimitExceeded: That is too much.
        """
        if any(len(value) > MAX_VALUE for _, _, value in values):
            raise LimitExceeded("Annotation value too long")
        if values and self.octets + octets_of(values) > MOST_OCTETS:
            raise LimitExceeded("Too many annotations")


def octets_of(values: Noted) -> int:
    """How many octets values are."""
    return sum(len(value) for _, _, value in values)


def _size(values: Mapping[Key, bytes]) -> int:
    return sum(map(len, values.values()))
