"""Annotations of messages: they are as durable as flags, follow their messages, and belong to whom they say."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import LimitExceeded, MailStoreError, OperationNotSupported, OverQuota, PermissionDenied
from pycyrus.interfaces import NewMessage
from pycyrus.model.annotations import AnnotationDefinitions, AnnotationScope, entry_pattern
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.quota import Limit
from pycyrus.model.search import AnnotationContains, Not
from pycyrus.store import checkpoint, journal, message_annotations, snapshot
from pycyrus.store.message_annotations import Change, decode, encode
from pycyrus.store.opened import MailboxPolicy, OpenedMailbox
from pycyrus.store.restoring import restore
from pycyrus.test.store.mailboxes import FRED, Place, text, uids, without_syncs
from pycyrus.test.store.test_crashes import record_ends
from pycyrus.test.store.test_store import ADMIN, StoreCase, name
from pycyrus.test.store.test_store import FRED as STORE_FRED
from pycyrus.testing.faults import Action, Faults
from pycyrus.testing.interrupted import interruptions

SHARED, PRIVATE = AnnotationScope.SHARED, AnnotationScope.PRIVATE
COMMENT = (SHARED, "/comment")
MINE = (PRIVATE, "/comment")
BOTH = frozenset(AnnotationScope)
_DELETE = FlagChange(FlagAction.ADD, Flags(DELETED))


class AnnotationCase(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.place = Place(self.root)
        self.box = self.place.create("a")
        self.place.append(self.box, text(1), text(2), text(3))

    def tearDown(self) -> None:
        self.place.close()

    def annotate(self, box: OpenedMailbox, *numbers: int, **values: bytes | None) -> None:
        """Set C{/comment} of everybody, and one's own as C{mine}."""
        names = {"comment": COMMENT, "mine": MINE}
        self.place.run(box.annotate(uids(*numbers), {names[key]: value for key, value in values.items()}))

    def again(self, *, identity: Identity = FRED) -> OpenedMailbox:
        """The mailbox as another process opens it."""
        self.place.close()
        self.place = Place(self.root)
        return self.place.open("a", identity=identity)


class KeepingTests(AnnotationCase):
    """What was set is there again, whichever way the mailbox is read."""

    def test_reopened(self) -> None:
        """A journal is replayed."""
        self.annotate(self.box, 1, 3, comment=b"good", mine=b"bad")
        self.annotate(self.box, 3, comment=None)
        box = self.again()
        self.assertEqual(box.annotations(1), {COMMENT: b"good", MINE: b"bad"})
        self.assertEqual(box.annotations(3), {MINE: b"bad"})
        self.assertEqual(box.annotations(2), {})
        self.assertEqual(box.annotated().tolist(), [1, 3])

    def test_snapshot(self) -> None:
        """A snapshot has them, and the ones of expunged messages."""
        self.annotate(self.box, 1, 2, comment=b"good")
        self.place.run(self.box.store(uids(2), _DELETE))
        self.place.run(self.box.expunge())
        checkpoint.take_snapshot(self.place.paths("a"))
        paths = self.place.paths("a")
        size = Path(paths.journal).stat().st_size
        found = snapshot.load(paths.columns, self.box.state.generation, "a")
        assert found is not None
        self.assertEqual(found[1], size)
        box = self.again()
        self.assertEqual(box.annotations(1), {COMMENT: b"good"})
        self.assertEqual(box.state.contents.annotations.octets, 4)
        self.place.run(restore(box.state, lambda rows, keywords: rows))
        self.assertEqual(box.annotations(4), {COMMENT: b"good"})

    def test_journal_written_anew(self) -> None:
        """A short journal still has them, also those of messages that may come back."""
        self.annotate(self.box, 1, 2, comment=b"good", mine=b"bad")
        self.place.run(self.box.store(uids(2), _DELETE))
        self.place.run(self.box.expunge())
        self.place.run(self.box.store(uids(1), FlagChange(FlagAction.ADD, Flags(0, (b"word",)))))
        checkpoint.compact(self.place.paths("a"))
        Path(self.place.paths("a").columns).unlink(missing_ok=True)
        box = self.again()
        self.assertEqual(box.annotations(1), {COMMENT: b"good", MINE: b"bad"})
        self.place.run(restore(box.state, lambda rows, keywords: rows))
        self.assertEqual(box.annotations(4), {COMMENT: b"good", MINE: b"bad"})

    def test_much_is_not_written_again_and_again(self) -> None:
        """What a journal needs to say is no reason to write it anew."""
        self.patch(checkpoint, "COMPACT_FROM", 4096)
        for number in range(8):
            self.annotate(self.box, 1, 2, 3, comment=b"%d" % number + b"x" * 4000)
        contents = self.box.state.contents
        size = Path(self.place.paths("a").journal).stat().st_size
        self.assertGreater(checkpoint.needed(contents), 12_000)
        self.assertFalse(checkpoint.wants_compaction(size, checkpoint.needed(contents)))
        self.annotate(self.box, 1, 2, 3, comment=None)
        self.assertTrue(checkpoint.wants_compaction(size, checkpoint.needed(contents)))

    def test_purged(self) -> None:
        """What goes for good takes its annotations along."""
        policy = MailboxPolicy(keep_expunged=False)
        box = self.place.open("a", policy=policy)
        self.annotate(box, 1, comment=b"good")
        self.place.run(box.store(uids(1), _DELETE))
        self.place.run(box.expunge())
        self.assertEqual(len(box.state.contents.annotations), 0)
        self.assertEqual(box.state.contents.annotations.octets, 0)

    def test_other_process(self) -> None:
        """Whoever has the mailbox open sees the change, and its modseq."""
        other = Place(self.root)
        self.addCleanup(other.close)
        seen = other.open("a")
        before = seen.refresh()
        self.annotate(self.box, 2, comment=b"good")
        self.assertNotEqual(seen.refresh(), before)
        self.assertEqual(seen.annotations(2), {COMMENT: b"good"})
        self.assertEqual(seen.view().modseqs.tolist()[1], seen.highest_modseq())
        self.assertLess(int(seen.view().modseqs[0]), seen.highest_modseq())

    def test_condition(self) -> None:
        """RFC 7162 section 3.1.3."""
        modseq = self.box.highest_modseq()
        self.annotate(self.box, 2, comment=b"good")
        stored = self.place.run(self.box.annotate(uids(1, 2), {COMMENT: b"late"}, modseq))
        self.assertEqual((stored.changed.tolist(), stored.modified.tolist()), ([1], [2]))
        self.assertEqual(self.box.annotations(2), {COMMENT: b"good"})

    def test_torn(self) -> None:
        """Of several values that one write brings all are there, or none, whatever comes after it."""
        journal_path = Path(self.place.paths("a").journal)
        self.annotate(self.box, 1, comment=b"old", mine=b"old")
        before = journal_path.stat().st_size
        self.annotate(self.box, 1, comment=b"good", mine=b"bad")
        self.place.close()
        ends = [end for end in record_ends(journal_path.read_bytes()) if end > before]
        self.assertGreater(len(ends), 1)
        for end in ends:
            copy = Path(self.mktemp())
            shutil.copytree(self.root, copy)
            os.truncate(copy / "a" / "pycyrus.journal", end)
            expected = {COMMENT: b"good", MINE: b"bad"} if end == ends[-1] else {COMMENT: b"old", MINE: b"old"}
            for _ in range(2):
                place = Place(copy)
                box = place.open("a")
                self.assertEqual(box.annotations(1), expected)
                checkpoint.take_snapshot(place.paths("a"))
                place.run(box.annotate(uids(2), {COMMENT: b"another"}))
                place.close()
        self.place = Place(self.root)


class GoingAlongTests(AnnotationCase):
    """Messages that come with annotations, and copies."""

    def append(self, box: OpenedMailbox, value: bytes = b"good") -> int:
        staged = self.place.staged(text(9))
        try:
            return self.place.run(box.append([NewMessage(staged, annotations={COMMENT: value, MINE: b"bad"})])).uids[0]
        finally:
            staged.discard()

    def test_append(self) -> None:
        """One write brings the message and its annotations."""
        uid = self.append(self.box)
        self.assertEqual(self.again().annotations(uid), {COMMENT: b"good", MINE: b"bad"})

    def test_torn_append(self) -> None:
        """The next message does not get what a write brought that stopped before its message."""
        journal_path = Path(self.place.paths("a").journal)
        before = journal_path.stat().st_size
        self.append(self.box)
        self.place.close()
        ends = [end for end in record_ends(journal_path.read_bytes()) if end > before]
        for end in ends[:-1]:
            copy = Path(self.mktemp())
            shutil.copytree(self.root, copy)
            os.truncate(copy / "a" / "pycyrus.journal", end)
            (copy / "a" / "4.").unlink()
            place = Place(copy)
            box = place.open("a")
            checkpoint.take_snapshot(place.paths("a"))
            uid = place.append(box, text(10))[0]
            self.assertEqual((uid, box.annotations(uid)), (4, {}))
            place.close()
            place = Place(copy)
            self.assertEqual(place.open("a").annotations(uid), {})
            place.close()
        self.place = Place(self.root)

    def test_copy(self) -> None:
        """A copy has everybody's values where they may be set, and those of who copies."""
        self.annotate(self.box, 1, comment=b"good", mine=b"bad")
        bob = self.place.open("a", identity=Identity("bob"))
        self.annotate(bob, 1, mine=b"ugly")
        target = self.place.create("b", 88)
        both = {COMMENT: b"good", MINE: b"ugly"}
        copied = self.place.run(bob.copy(uids(1, 2), self.place.open("b", identity=Identity("bob"))))
        first, second = copied.target_uids.tolist()
        self.assertEqual(target.annotations(first), {COMMENT: b"good"})
        self.assertEqual(self.place.open("b", identity=Identity("bob")).annotations(first), both)
        self.assertEqual(target.annotations(second), {})
        copied = self.place.run(self.box.copy(uids(1), self.place.open("b", "lri")))
        self.assertEqual(target.annotations(int(copied.target_uids[0])), {MINE: b"bad"})

    def test_no_space(self) -> None:
        """A write that fails leaves either nothing, or all that was acknowledged."""
        for at in range(1, 12):
            faults = Faults(at, Action.SHORT, errno.ENOSPC, ("pwrite", "write"))
            try:
                with faults:
                    uid = self.append(self.box, b"%d" % at)
                    self.annotate(self.box, uid, mine=b"new")
            except MailStoreError:
                uid = self.append(self.box, b"%d" % at)
                self.annotate(self.box, uid, mine=b"new")
            self.box = self.again()
            self.assertEqual(self.box.annotations(uid), {COMMENT: b"%d" % at, MINE: b"new"}, f"call {at}")


class InterruptedTests(SynchronousTestCase):
    """Killed, or refused by the disk, at each call."""

    def test_every_call(self) -> None:
        """What was acknowledged is there, nothing is there by half, and the mailbox can be used."""
        without_syncs(self)
        template, root = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        template.mkdir()
        place = Place(template)
        box = place.create("a")
        place.append(box, text(1))
        place.run(box.annotate(uids(1), {COMMENT: b"old"}))
        place.close()

        def fresh() -> None:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(template, root)

        def begin() -> Callable[[], object]:
            place = Place(root)
            box = place.open("a")
            staged = place.staged(text(2))

            def work() -> None:
                place.run(box.annotate(uids(1), {COMMENT: b"new", MINE: b"too"}))
                (root / "annotated").touch()
                place.run(box.append([NewMessage(staged, annotations={COMMENT: b"from the beginning"})]))
                (root / "appended").touch()

            return work

        for what in interruptions(begin, (Action.KILL_BEFORE, Action.FAIL, Action.READ_ONLY), fresh):
            place = Place(root)
            box = place.open("a")
            new = {COMMENT: b"new", MINE: b"too"}
            possible = [new] if (root / "annotated").exists() else [new, {COMMENT: b"old"}]
            self.assertIn(dict(box.annotations(1)), possible, what)
            there = box.view().uids.tolist()
            self.assertTrue(len(there) == 2 or not (root / "appended").exists(), what)
            for uid in there[1:]:
                self.assertEqual(box.annotations(uid), {COMMENT: b"from the beginning"}, what)
            uid = place.append(box, text(3))[0]
            self.assertEqual(box.annotations(uid), {}, what)
            place.run(box.annotate(uids(uid), {MINE: b"x"}))
            place.close()


class OwnerTests(StoreCase):
    """A user who is renamed."""

    async def test_renamed(self) -> None:
        """What was noted for oneself stays one's own."""
        await self.reopen(allowusermoves=True)
        await self.append(STORE_FRED, "user.fred")
        box = await self.store.open(STORE_FRED, name("user.fred"), "r")
        box.refresh()
        await box.annotate(box.view().uids, {MINE: b"bad"})
        copied = await box.copy(box.view().uids, box)
        self.assertEqual(box.annotations(int(copied.target_uids[0])), {MINE: b"bad"})
        box.close()
        await self.store.rename(ADMIN, name("user.fred"), name("user.frida"))
        box = await self.store.open(Identity("frida"), name("user.frida"), "r")
        box.refresh()
        self.assertEqual(box.annotations(1), {MINE: b"bad"})
        box.close()


class RightsTests(AnnotationCase):
    """Whose they are, and who may set them (RFC 5257 section 4.8)."""

    def test_private(self) -> None:
        """Nobody else sees one's own."""
        self.annotate(self.box, 1, mine=b"bad")
        bob = self.place.open("a", identity=Identity("bob"))
        self.assertEqual((bob.annotations(1), bob.annotated().tolist()), ({}, []))

    def test_rights(self) -> None:
        """Everybody's need n; one's own r."""
        reader = self.place.open("a", "lrs")
        self.annotate(reader, 1, mine=b"bad")
        with self.assertRaises(PermissionDenied):
            self.annotate(reader, 1, comment=b"good")
        with self.assertRaises(PermissionDenied):
            self.annotate(self.place.open("a", "ln"), 1, mine=b"bad")
        self.assertEqual(self.box.annotations(1), {MINE: b"bad"})

    def test_entries(self) -> None:
        """Only those that are defined, with values that they take."""
        for entry, value in (("/nothing", b"x"), ("/1.2/flags/seen", b"yes"), ("/0/comment", b"x"), ("comment", b"x")):
            with self.assertRaises(OperationNotSupported):
                self.place.run(self.box.annotate(uids(1), {(SHARED, entry): value}))
        self.place.run(self.box.annotate(uids(1), {(SHARED, "/1.2/flags/seen"): b"1", (PRIVATE, "/altsubject"): b"x"}))
        policy = MailboxPolicy(annotations=AnnotationDefinitions(allows_undefined=True))
        self.place.run(self.place.open("a", policy=policy).annotate(uids(1), {(SHARED, "/nothing"): b"x"}))
        self.assertEqual(len(self.box.annotations(1)), 3)

    def test_limits(self) -> None:
        """Of a value, of a message, of a mailbox."""
        self.patch(message_annotations, "MOST_OCTETS", 200)
        with self.assertRaises(LimitExceeded):
            self.annotate(self.box, 1, comment=b"x" * 65537)
        with self.assertRaises(LimitExceeded):
            self.annotate(self.box, 1, 2, 3, comment=b"x" * 100)
        self.annotate(self.box, 1, comment=b"x" * 150)
        self.annotate(self.box, 1, comment=b"y" * 150)
        many = {(SHARED, f"/{part}/comment"): b"" for part in range(1, 101)}
        with self.assertRaises(LimitExceeded):
            self.place.run(self.box.annotate(uids(1), many))
        self.assertEqual(self.box.annotations(1), {COMMENT: b"y" * 150})


class SearchTests(AnnotationCase):
    def find(self, entry: str, scopes: frozenset[AnnotationScope], value: str | None) -> list[int]:
        found: list[int] = self.place.run(self.box.search(AnnotationContains(entry, scopes, value))).tolist()
        return found

    def test_search(self) -> None:
        """RFC 5257 section 4.7."""
        self.annotate(self.box, 1, comment=b"So GOOD", mine=b"bad")
        self.annotate(self.box, 3, mine="gänzlich".encode())
        self.assertEqual(self.find("/comment", BOTH, "good"), [1])
        self.assertEqual(self.find("/comment", frozenset((PRIVATE,)), "good"), [])
        self.assertEqual(self.find("/*", frozenset((PRIVATE,)), "GÄNZ"), [3])
        self.assertEqual(self.find("/comment", BOTH, None), [2])
        self.assertEqual(self.find("/altsubject", BOTH, ""), [])
        inverse = Not(AnnotationContains("/%", BOTH, ""))
        self.assertEqual(self.place.run(self.box.search(inverse)).tolist(), [2])

    def test_patterns(self) -> None:
        """C{%} stays within a level."""
        self.assertTrue(entry_pattern("/1/%")("/1/comment"))
        self.assertFalse(entry_pattern("/%")("/1/comment"))
        self.assertTrue(entry_pattern("*")("/1/comment"))
        self.assertFalse(entry_pattern("/comment")("/1/comment"))


class QuotaTests(StoreCase):
    """They count as ANNOTATION-STORAGE (RFC 9208 section 5.4)."""

    async def test_quota(self) -> None:
        await self.append(STORE_FRED, "user.fred")
        root = name("user.fred")
        await self.store.set_quota(ADMIN, root, [Limit("ANNOTATION-STORAGE", 1)])
        box = await self.store.open(STORE_FRED, root, "r")
        one = box.view().uids
        await box.annotate(one, {COMMENT: b"x" * 1000})
        self.assertEqual((await self.store.quota(ADMIN, root)).usage.annotation_octets, 1000)
        with self.assertRaises(OverQuota):
            await box.annotate(one, {MINE: b"x" * 100})
        await box.annotate(one, {COMMENT: b"y"})
        await box.annotate(one, {MINE: b"x" * 100})
        self.assertEqual((await self.store.quota(ADMIN, root)).usage.annotation_octets, 101)
        self.assertEqual((await self.store.quotas.counted(root)).annotation_octets, 101)
        box.close()


class RecordTests(SynchronousTestCase):
    @settings(max_examples=50, deadline=None, database=None)
    @given(
        st.text(max_size=20),
        st.text(max_size=40),
        st.none() | st.binary(max_size=60),
        st.lists(st.tuples(st.integers(1, 9), st.integers(10, 99)), min_size=1, max_size=4),
    )
    def test_round_trip(self, user: str, entry: str, value: bytes | None, ranges: list[tuple[int, int]]) -> None:
        """What is written can be read."""
        change = Change((user, entry), value)
        [record], _ = journal.scan(encode(change, ranges, 7, 8, exact=True))
        self.assertEqual(decode(record), change)
        self.assertEqual(journal.unpack_ranges(record), ranges)
        self.assertEqual((record.modseq, record.time, record.flags), (7, 8, message_annotations.EXACT))
