"""Expunged messages come back once, whole, under new UIDs, whoever is killed meanwhile."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.view import CachedItem
from pycyrus.store import checkpoint, files, rebuild
from pycyrus.store.expiry import sweep
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.restoring import Restored, Rows, restore
from pycyrus.test.store.mailboxes import Place, digests, expunge, octets, text, uids, without_syncs
from pycyrus.testing.faults import Action
from pycyrus.testing.interrupted import interruptions, run_in_child


def everything(rows: Rows, keywords: Keywords) -> Rows:
    return rows


class RestoringTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.place = Place(self.root)
        self.addCleanup(self.place.close)
        self.box = self.place.create("a")

    def expunge(self, *which: int) -> None:
        self.place.run(expunge(self.box, *which))

    def restore(self, box: OpenedMailbox | None = None) -> Restored:
        return self.place.run(restore((box or self.box).state, everything))

    def test_what_comes_back(self) -> None:
        """Content, flags, dates and cached items are the same; UID and modseq are new."""
        self.place.append(self.box, text(1), text(2), text(3), flags=Flags(FLAGGED | SEEN, (b"Word",)))
        before = self.box.view()
        facts = (before.sizes[1], before.internaldates[1], before.savedates[1], before.guids[1].tobytes())
        envelope = before.cached(np.array([1]), [CachedItem.ENVELOPE])
        self.expunge(2)
        modseq = self.box.highest_modseq()
        restored = self.restore()
        self.assertEqual((restored.was.tolist(), restored.now.tolist()), ([2], [4]))
        view = self.box.view()
        self.assertEqual(view.uids.tolist(), [1, 3, 4])
        self.assertEqual((view.sizes[2], view.internaldates[2], view.savedates[2], view.guids[2].tobytes()), facts)
        self.assertEqual(int(view.flags[2]), FLAGGED | SEEN | DELETED)
        self.assertEqual(view.keywords[2].tolist(), view.keywords[0].tolist())
        self.assertEqual(view.cached(np.array([2]), [CachedItem.ENVELOPE]), envelope)
        self.assertGreater(int(view.modseqs[2]), modseq)
        self.assertEqual(octets(self.box, 4), text(2))
        self.assertFalse(Path(self.box.state.paths.message(2)).exists())
        self.assertEqual(len(self.box.state.contents.retained), 0)

    def test_clients_that_come_back(self) -> None:
        """RFC 7162 section 3.2.5: the old UID has vanished for good, the new one is news."""
        self.place.append(self.box, text(1), text(2))
        known = self.box.highest_modseq()
        self.expunge(1)
        later = self.box.highest_modseq()
        self.restore()
        self.assertEqual(self.box.vanished_since(known).tolist(), [1])
        self.assertEqual(self.box.vanished_since(later).tolist(), [])
        view = self.box.view()
        self.assertEqual(view.uids[view.modseqs > later].tolist(), [3])
        self.assertEqual(self.box.uidnext(), 4)

    def test_other_processes_and_every_way_of_loading(self) -> None:
        """By the tail, a snapshot, a new journal, and a damaged one."""
        other = Place(self.root)
        self.addCleanup(other.close)
        self.place.append(self.box, text(1), text(2), text(3))
        seen = other.open("a")
        self.expunge(1, 3)
        self.restore()
        seen.refresh()
        expected = digests(self.box)
        self.assertEqual(list(expected), [2, 4, 5])
        self.assertEqual(digests(seen), expected)
        paths = self.place.paths("a")
        for work in (checkpoint.take_snapshot, checkpoint.compact, rebuild.rebuild):
            work(paths)
            place = Place(self.root)
            self.assertEqual(digests(place.open("a")), expected, work.__name__)
            place.close()

    def test_many(self) -> None:
        """More than one batch, in order."""
        self.place.append(self.box, *(text(number) for number in range(600)))
        self.expunge(*range(1, 601))
        restored = self.restore()
        self.assertEqual(restored.was.tolist(), list(range(1, 601)))
        self.assertEqual(restored.now.tolist(), list(range(601, 1201)))
        self.assertEqual(octets(self.box, 1200), text(599))

    def test_a_file_that_is_gone(self) -> None:
        """It stays away; the others come back."""
        self.place.append(self.box, text(1), text(2), text(3))
        self.expunge(1, 2, 3)
        Path(self.box.state.paths.message(2)).unlink()
        restored = self.restore()
        self.assertEqual((restored.was.tolist(), restored.now.tolist()), ([1, 3], [4, 5]))
        self.assertEqual(octets(self.box, 5), text(3))

    def test_flags_by_choice(self) -> None:
        def choose(rows: Rows, keywords: Keywords) -> Rows:
            rows = rows[rows["uid"] == 2]
            rows["flags"] = 0
            rows["keywords"] = np.array(keywords.words((b"Back",), define=True), dtype=np.uint64)
            return rows

        self.place.append(self.box, text(1), text(2))
        self.expunge(1, 2)
        restored = self.place.run(restore(self.box.state, choose))
        self.assertEqual(restored.now.tolist(), [3])
        view = self.box.view()
        self.assertEqual((view.flags.tolist(), self.box.keyword_names()), ([0], (b"Back",)))
        self.assertEqual(view.keywords.tolist(), [[1, 0]])


class RestoringCrashTests(SynchronousTestCase):
    """Killed, or refused by the disk, at every call that changes something."""

    def setUp(self) -> None:
        without_syncs(self)
        self.template = Path(self.mktemp())
        self.template.mkdir()
        place = Place(self.template)
        box = place.create("a")
        place.append(box, text(1), text(2), text(3), text(4, 70_000))
        place.run(box.store(uids(2, 4), FlagChange(FlagAction.ADD, Flags(DELETED))))
        place.run(box.expunge())
        place.close()
        self.root = Path(self.mktemp())

    def fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def begin(self) -> Callable[[], object]:
        place = Place(self.root)
        box = place.open("a")
        return lambda: place.run(restore(box.state, everything))

    def check(self, context: str) -> None:
        """Each message is there exactly once, or can still come back; and then it does."""
        place = Place(self.root)
        try:
            box = place.open("a")
            contents = box.state.contents
            there = [octets(box, uid) for uid in box.view().uids.tolist()]
            kept = [Path(box.state.paths.message(uid)).read_bytes() for uid in contents.retained["uid"].tolist()]
            everyone = [text(1), text(2), text(3), text(4, 70_000)]
            self.assertEqual(sorted(there + kept), sorted(everyone), context)
            place.run(restore(box.state, everything))
            place.run(sweep(box.state))
            found = digests(box)
            self.assertEqual(sorted(octets(box, uid) for uid in found), sorted(everyone), context)
            names = [path.name for path in (self.root / "a").iterdir() if path.name[:-1].isdigit()]
            self.assertEqual(sorted(names), sorted(f"{uid}." for uid in found), context)
            self.assertGreater(place.append(box, text(9))[0], max(found), context)
        finally:
            place.close()

    def test_every_call(self) -> None:
        actions = (Action.KILL_BEFORE, Action.FAIL, Action.SHORT, Action.READ_ONLY)
        for what in interruptions(self.begin, actions, self.fresh, errno.ENOSPC):
            self.check(what)

    def test_power_cut(self) -> None:
        """After another start of the machine nothing that came back is taken for unfinished."""
        self.fresh()
        run_in_child(self.begin, None, Action.FAIL)
        self.patch(files, "boot_id", lambda: b"another boot id!")
        self.check("after another start")
