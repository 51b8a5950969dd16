"""
What the store promises, and whether it kept it over a power cut.

Acknowledged messages are there once and octet for octet; nothing is half there;
UIDs and modseqs are not used again for something else than anybody may have
seen; UIDVALIDITY stays; flags are no older than the last sync; every mailbox
opens, and works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest.mock import patch

from pycyrus.errors import MailboxCorrupted
from pycyrus.model.acl import LOOKUP
from pycyrus.model.flags import FLAGGED
from pycyrus.model.identity import SERVER
from pycyrus.model.names import MailboxName
from pycyrus.store import files, journal, layout, rows
from pycyrus.store.appending import Incoming, append
from pycyrus.store.contents import Contents
from pycyrus.store.message_annotations import Key
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.settings import DeleteMode, StoreSettings
from pycyrus.store.spool import StagedMessage
from pycyrus.store.store import MailStore, open_store
from pycyrus.store.writing import FlagOrder, change_flags
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.disk import Inode, Recorder

_ADMIN = SERVER
_A_SHORT_BOOT = b"a short start..."
_ANOTHER_BOOT = b"another start..."


# --- what was acknowledged ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """
    Something that was begun.

    @ivar sent: Digests of messages.
    @ivar removing: UIDs by unique id.
    @ivar moving_to: Unique id of where what is removed goes.
    @ivar names: Of mailboxes that may get another, or come to be.
    @ivar deleting: The mailbox.
    @ivar expiring: Deleted mailboxes go for good.
    """

    sent: tuple[str, ...] = ()
    removing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    moving_to: str = ""
    names: tuple[MailboxName, ...] = ()
    deleting: MailboxName | None = None
    expiring: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """
    What was acknowledged.

    @ivar added: Digests by unique id and UID.
    @ivar created: Unique ids.
    """

    added: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    removed: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    created: Mapping[MailboxName, str] = field(default_factory=dict)
    renamed: tuple[tuple[MailboxName, MailboxName], ...] = ()
    deleted: tuple[MailboxName, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """
    That something began or ended.

    @ivar step: The same for both.
    """

    step: int
    what: Started | Ended


class Marks:
    """Takes down marks, in the order of the recorder's moments."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.told: list[tuple[int, Mark]] = []

    def start(self, what: Started) -> int:
        """
        Something begins.

        @return: For L{end}.
        """
        step = self._recorder.tick()
        self.told.append((step, Mark(step, what)))
        return step

    def end(self, step: int, what: Ended) -> None:
        """It was acknowledged."""
        self.told.append((self._recorder.tick(), Mark(step, what)))


@dataclass(slots=True)
class Expected:
    """What must be there, and what may be."""

    there: dict[tuple[str, int], str] = field(default_factory=dict)
    gone: set[tuple[str, int]] = field(default_factory=set)
    going: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    sent: set[str] = field(default_factory=set)
    names: dict[MailboxName, str] = field(default_factory=dict)
    unsure: set[MailboxName] = field(default_factory=set)
    dropped: set[str] = field(default_factory=set)
    dropping: set[str] = field(default_factory=set)
    expiring: bool = False

    @classmethod
    def at(cls, cut: int, marks: list[tuple[int, Mark]]) -> Expected:
        """What is to be expected after a cut at a moment."""
        expected = cls()
        told = [mark for at, mark in marks if at <= cut]
        ended = {mark.step for mark in told if isinstance(mark.what, Ended)}
        for mark in told:
            if isinstance(mark.what, Ended):
                expected._end(mark.what)
            else:
                expected._start(mark.what, mark.step in ended)
        return expected

    def _start(self, what: Started, has_ended: bool) -> None:
        self.sent.update(what.sent)
        self.expiring |= what.expiring
        if has_ended:
            return
        for unique_id, uids in what.removing.items():
            for uid in uids:
                self.going.setdefault((unique_id, uid), []).append(what.moving_to)
        self.unsure.update(what.names)
        if what.deleting is not None and what.deleting in self.names:
            self.dropping.add(self.names[what.deleting])

    def _end(self, what: Ended) -> None:
        for unique_id, added in what.added.items():
            self.there.update({(unique_id, uid): digest for uid, digest in added.items()})
        for unique_id, uids in what.removed.items():
            self.gone.update((unique_id, uid) for uid in uids)
        self.names.update(what.created)
        for old, new in what.renamed:
            if old in self.names:
                self.names[new] = self.names.pop(old)
        for name in what.deleted:
            if name in self.names:
                self.dropped.add(self.names.pop(name))


# --- what could be seen ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A message as its mailbox showed it at some moment.

    @ivar flags: System flags, names of keywords, and annotations.
    """

    guid: str
    modseq: int
    flags: tuple[int, frozenset[bytes], frozenset[tuple[Key, bytes]]]


@dataclass(frozen=True, slots=True)
class Sight:
    """
    A mailbox as it could be seen since some moment.

    @ivar journal: The file that said so.
    """

    at: int
    journal: Inode
    unique_id: str
    uidvalidity: int
    uidnext: int
    highest_modseq: int
    messages: dict[int, Seen]


def messages_of(contents: Contents) -> dict[int, Seen]:
    """What a mailbox shows."""
    columns, notes = contents.columns, contents.annotations
    found = {}
    for position in range(columns.count):
        low, high = columns.keywords[position].tolist()
        bits = low | high << 64
        names = frozenset(name.lower() for bit, name in enumerate(contents.keywords) if bits >> bit & 1)
        found[int(columns.uids[position])] = Seen(
            columns.guids[position].tobytes().hex(),
            int(columns.modseqs[position]),
            (int(columns.flags[position]), names, frozenset(notes.of(int(columns.uids[position])).items())),
        )
    return found


class _Reader:
    """Follows one journal as it is written."""

    def __init__(self, node: Inode) -> None:
        self._node = node
        self._octets = bytearray(node.content)
        self._contents = Contents()
        self._offset = journal.HEADER_SIZE

    def change(self, at: int) -> Sight | None:
        """Take in the change of a moment; 0 for what was there before."""
        for change in self._node.changes:
            if change.at == at:
                change.apply(self._octets)
                if change.data is None or change.offset < self._offset:
                    self._contents, self._offset = Contents(), journal.HEADER_SIZE
        try:
            head = journal.JournalHeader.decode(bytes(self._octets[: journal.HEADER_SIZE]))
        except MailboxCorrupted:
            return None
        records, used = journal.scan(bytes(self._octets[self._offset :]))
        self._offset += used
        contents = self._contents
        contents.apply(records)
        return Sight(
            at,
            self._node,
            head.unique_id,
            head.uidvalidity,
            contents.uidnext,
            contents.highest_modseq,
            messages_of(contents),
        )


def sights(recorder: Recorder) -> Iterator[Sight]:
    """All that could be seen: what a journal says is visible as soon as it is written."""
    readers: dict[int, _Reader] = {}
    for _, entries in recorder.base.values():
        for node in entries.values():
            if node.content.startswith(journal.MAGIC):
                readers[id(node)] = _Reader(node)
                yield from filter(None, [readers[id(node)].change(0)])
    for at, node in recorder.writes:
        # It may have been emptied before anything was written to it.
        first = next((change.data for change in node.changes if change.data), b"")
        if id(node) not in readers and not first.startswith(journal.MAGIC):
            continue
        reader = readers.setdefault(id(node), _Reader(node))
        yield from filter(None, [reader.change(at)])


def allowed_states(recorder: Recorder, known: Iterable[Sight], cut: int) -> dict[int, list[Seen]]:
    """
    What each message of a mailbox may be after a cut.

    What a journal durably says ends what it said before, and what other journals said as soon
    as it is durably in their place: a new one is written and synced before it gets its name.

    @param known: What could be seen of the mailbox until then, in order.
    @return: States by UID.
    """
    allowed: dict[int, list[tuple[Inode, Seen]]] = {}
    for sight in known:
        is_durable = sight.at <= recorder.durable(cut, sight.journal)
        is_placed = is_durable and _is_placed(recorder, sight.journal, cut)
        for uid, seen in sight.messages.items():
            states = allowed.setdefault(uid, [])
            if is_durable:
                states[:] = [each for each in states if not is_placed and each[0] is not sight.journal]
            states.append((sight.journal, seen))
    return {uid: [seen for _, seen in states] for uid, states in allowed.items()}


def _is_placed(recorder: Recorder, node: Inode, cut: int) -> bool:
    """Whether a journal has its name for certain after a cut."""
    changes = [change for change in recorder.names if change.inode is node and change.came is not None]
    if not changes:
        return True
    return any(
        change.came is not None
        and change.came[1] == layout.JOURNAL
        and change.at <= min(cut, recorder.durable(cut, change.came[0]))
        for change in changes
    )


# --- comparing ---------------------------------------------------------------


class Promises:
    """
    The promises of a store whose work was recorded.

    @param marks: With their moments, ascending.
    """

    def __init__(self, recorder: Recorder, marks: list[tuple[int, Mark]]) -> None:
        self._recorder = recorder
        self._marks = marks
        self._sights = list(sights(recorder))

    def look_after(self, root: Path, settings: StoreSettings, cut: int) -> None:
        """
        Start again on what a power cut left.

        @param root: Has C{config} and C{disks}.
        @raise AssertionError: A promise was broken.
        """
        settings = elsewhere(settings, root)
        expected = Expected.at(cut, self._marks)
        with patch.object(files, "boot_id", lambda: _ANOTHER_BOOT), without_syncs():
            first = self._start(settings, expected, cut)
            second = self._start(settings, None, cut)
        for unique_id, messages in first.items():
            _demand(messages == second.get(unique_id), f"{unique_id} is another after a second start")

    def open_all(self, root: Path, settings: StoreSettings) -> None:
        """Start on what a power cut left, and no more."""
        with patch.object(files, "boot_id", lambda: _A_SHORT_BOOT):
            reactor = BlockingReactor()
            store = open_store(elsewhere(settings, root), reactor)
            for entry in all_entries(store):
                reactor.run(store.open(_ADMIN, entry.name, LOOKUP)).close()
            reactor.run(store.close())

    def _start(self, settings: StoreSettings, expected: Expected | None, cut: int) -> dict[str, dict[int, Seen]]:
        """
        Open everything; the first time look, and go on working.

        @return: What each mailbox holds at the end.
        """
        reactor = BlockingReactor()
        store = open_store(settings, reactor)
        held: dict[str, dict[int, Seen]] = {}
        try:
            entries = all_entries(store)
            boxes = []
            for entry in entries:
                box = reactor.run(store.open(_ADMIN, entry.name, LOOKUP))
                assert isinstance(box, OpenedMailbox)
                boxes.append(box)
                held[entry.unique_id] = messages_of(box.state.contents)
            if expected is not None:
                self._check_names(entries, expected, settings)
                self._check_moves(expected, held, cut)
                for entry, box in zip(entries, boxes, strict=True):
                    self._check_mailbox(box, entry, expected, cut)
                    held[entry.unique_id] = self._go_on(reactor, box, cut)
            for box in boxes:
                box.close()
        finally:
            reactor.run(store.close())
        return held

    def _check_names(self, entries: list[rows.Entry], expected: Expected, settings: StoreSettings) -> None:
        listed = {entry.name: entry.unique_id for entry in entries}
        for name, unique_id in expected.names.items():
            # Of a tree that is being renamed, some may have come since that began.
            if not any(name == other or name.is_below(other) for other in expected.unsure):
                _demand(listed.get(name) == unique_id, f"{name} is not on the list")
        ids = set(listed.values())
        immediate = settings.delete_mode is DeleteMode.IMMEDIATE
        if immediate:
            _demand(not ids & expected.dropped, "a deleted mailbox is there")
        maybe_gone = (expected.dropped | expected.dropping) if immediate or expected.expiring else set()
        for unique_id in (*expected.names.values(), *expected.dropped):
            _demand(unique_id in ids or unique_id in maybe_gone, f"mailbox {unique_id} is lost")

    def _check_mailbox(self, box: OpenedMailbox, entry: rows.Entry, expected: Expected, cut: int) -> None:
        shown = messages_of(box.state.contents)
        unique_id = entry.unique_id
        for uid, seen in shown.items():
            data = Path(box.state.paths.where(uid)).read_bytes()
            found = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            _demand(found == seen.guid, f"message {uid} of {entry.name} has other octets")
            _demand((unique_id, uid) not in expected.gone, f"message {uid} of {entry.name} is back")
        for (where, uid), digest in expected.there.items():
            if where != unique_id or (where, uid) in expected.gone:
                continue
            if uid in shown:
                _demand(shown[uid].guid == digest, f"message {uid} of {entry.name} is another")
            else:
                _demand((where, uid) in expected.going, f"message {uid} of {entry.name} is lost")
        self._check_retained(box, entry, expected)
        self._check_against_sights(entry, shown, cut)

    def _check_retained(self, box: OpenedMailbox, entry: rows.Entry, expected: Expected) -> None:
        """What was expunged can come back as long as the mailbox says so."""
        for row in box.state.contents.retained:
            uid, guid = int(row["uid"]), row["guid"].tobytes().hex()
            if (entry.unique_id, uid) in expected.there:
                path = Path(box.state.paths.where(uid))
                _demand(path.is_file(), f"expunged message {uid} of {entry.name} is lost")
                found = hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
                _demand(found == guid, f"expunged message {uid} of {entry.name} has other octets")

    def _check_against_sights(self, entry: rows.Entry, shown: dict[int, Seen], cut: int) -> None:
        known = [sight for sight in self._sights if sight.at <= cut and sight.unique_id == entry.unique_id]
        for sight in known:
            _demand(sight.uidvalidity == entry.uidvalidity, f"UIDVALIDITY of {entry.name} is another")
            for uid, seen in sight.messages.items():
                if uid in shown and shown[uid].modseq == seen.modseq:
                    _demand(shown[uid].flags == seen.flags, f"a modseq of {uid} of {entry.name} says something else")
        allowed = allowed_states(self._recorder, known, cut)
        for uid, seen in shown.items():
            _demand(uid in allowed, f"message {uid} of {entry.name} was never there")
            _demand(seen.guid in {state.guid for state in allowed[uid]}, f"UID {uid} of {entry.name} was another's")
            flags = {state.flags for state in allowed[uid]}
            _demand(seen.flags in flags, f"flags of {uid} of {entry.name} are {seen.flags}, not of {flags}")

    def _check_moves(self, expected: Expected, shown: dict[str, dict[int, Seen]], cut: int) -> None:
        """A message on its way is in one of both mailboxes, or in both."""
        for (source, uid), targets in expected.going.items():
            digest = expected.there.get((source, uid))
            if digest is None or len(targets) != 1 or targets[0] not in shown or source not in shown:
                continue
            if uid in shown[source] or (source, uid) in expected.gone:
                continue
            # Somebody may have removed it from there before the move was acknowledged.
            removed = expected.gone | expected.going.keys()
            arrived = {seen.guid for seen in shown[targets[0]].values()}
            for sight in self._sights:
                if sight.at <= cut and sight.unique_id == targets[0]:
                    arrived.update(seen.guid for uid, seen in sight.messages.items() if (targets[0], uid) in removed)
            _demand(digest in arrived, f"message {uid} was lost on its way")

    def _go_on(self, reactor: BlockingReactor, box: OpenedMailbox, cut: int) -> dict[int, Seen]:
        """Add a message and change flags: all numbers must be new."""
        known = [sight for sight in self._sights if sight.at <= cut and sight.unique_id == box.unique_id]
        state = box.state
        staged = StagedMessage(str(state.paths.stage), 1 << 20)
        staged.write(b"Subject: after the cut\r\n\r\n")
        staged.finish()
        (uid,) = reactor.run(append(state, [Incoming(staged, 0, (), None)]))
        _demand(all(uid >= sight.uidnext for sight in known), f"UID {uid} of {box.name} is used again")
        first = state.contents.columns.uids[:1].copy()
        reactor.run(change_flags(state, first, FlagOrder(0, FLAGGED, touch=True), None, wait=True))
        for modseq in state.contents.columns.modseqs[[0, state.contents.columns.count - 1]].tolist():
            used = max((sight.highest_modseq for sight in known), default=0)
            _demand(modseq > used, f"modseq {modseq} of {box.name} is used again")
        return messages_of(state.contents)


def elsewhere(settings: StoreSettings, root: Path) -> StoreSettings:
    """Settings for a copy of all that is in the same directory as C{config}."""
    before = settings.configdirectory.parent

    def there(places: Mapping[str, Path]) -> dict[str, Path]:
        return {name: root / path.relative_to(before) for name, path in places.items()}

    return replace(
        settings,
        configdirectory=root / "config",
        partitions=there(settings.partitions),
        metapartitions=there(settings.metapartitions),
        archivepartitions=there(settings.archivepartitions),
    )


def all_entries(store: MailStore) -> list[rows.Entry]:
    """All mailboxes on the list, deleted ones as well."""
    read = store._directory._database.read
    return [rows.entry_of(row) for row in rows.page(read, "", "\U0010ffff", 1 << 30, after=False)]


def without_syncs() -> AbstractContextManager[object]:
    """Have nothing wait for the disk."""
    return patch.multiple(files, syncfs=_nothing, fsync=_nothing, fdatasync=_nothing)


def _nothing(fd: int) -> None:
    """The machine stays up."""


def _demand(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
