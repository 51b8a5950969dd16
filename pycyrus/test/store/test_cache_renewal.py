"""The cache written anew, without what is gone, beside those who read and write."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.summary import summarise
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags
from pycyrus.model.view import CachedItem
from pycyrus.store import cache_renewal, checkpoint, items, rebuild
from pycyrus.store.opened import OpenedMailbox
from pycyrus.test.store.mailboxes import Place, octets, text, uids, without_syncs
from pycyrus.testing.faults import Action
from pycyrus.testing.interrupted import interruptions

COUNT = 40
GONE = range(2, 36)
DAY = 86400.0


def envelopes(box: OpenedMailbox) -> list[bytes]:
    """As the cache has them."""
    view = box.view()
    (found,) = view.cached(np.arange(len(view)), (CachedItem.ENVELOPE,))
    return found


def expected(box: OpenedMailbox) -> list[bytes]:
    """As the messages have them."""
    return [summarise(octets(box, uid)).items[CachedItem.ENVELOPE] for uid in box.view().uids.tolist()]


class CacheRenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.patch(cache_renewal, "RENEW_FROM", 0)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.place = Place(self.root)
        self.box = self.place.create("a")
        self.place.append(self.box, *map(text, range(1, COUNT + 1)))
        self.place.run(self.box.store(uids(*GONE), FlagChange(FlagAction.ADD, Flags(DELETED))))
        self.paths = self.place.paths("a")
        self.addCleanup(self.place.close)

    def expunge(self) -> None:
        self.place.run(self.box.expunge())

    def size(self) -> int:
        return Path(self.paths.cache).stat().st_size

    def made_again(self) -> Callable[[], int]:
        """Counts messages that are taken apart because the cache does not tell."""
        count = [0]
        original = items.summary_of

        def summary_of(path: str) -> object:
            count[0] += 1
            return original(path)

        self.patch(items, "summary_of", summary_of)
        return lambda: count[0]

    def test_shrinks(self) -> None:
        """It does when most of it is about what is gone, and not before; the journal may keep its history."""
        renew = self.box.state.upkeep.renew_cache
        self.assertFalse(self.place.run(renew()))
        self.expunge()
        before, count = self.size(), self.made_again()
        self.assertTrue(self.place.run(renew()))
        self.assertLess(self.size(), before / 4)
        self.assertFalse(self.place.run(renew()))
        self.assertEqual(envelopes(self.box), expected(self.box))
        # From the snapshot, and from the journal alone.
        for name in (None, self.paths.columns):
            if name is not None:
                Path(name).unlink(missing_ok=True)
            other = Place(self.root)
            self.addCleanup(other.close)
            opened = other.open("a")
            self.assertEqual(envelopes(opened), expected(opened))
        self.assertEqual(count(), 0)

    def test_history_stays(self) -> None:
        """All records are within the time for which they are kept, and the cache becomes shorter even so."""
        self.expunge()
        before, count = self.size(), self.made_again()
        journal = Path(self.paths.journal).read_bytes()[128:]
        checkpoint.compact(self.paths, DAY, renew_cache=True)
        self.assertIn(journal, Path(self.paths.journal).read_bytes())
        self.assertLess(self.size(), before / 4)
        self.box.refresh()
        self.assertEqual(envelopes(self.box), expected(self.box))
        self.assertEqual(self.place.append(self.box, text(99)), (COUNT + 1,))
        self.assertEqual(envelopes(self.box), expected(self.box))
        self.assertEqual(count(), 0)

    def test_others(self) -> None:
        """Who has the mailbox open reads on, before and after finding out; who writes meanwhile loses nothing."""
        self.expunge()
        other = Place(self.root)
        self.addCleanup(other.close)
        reader = other.open("a")
        view = reader.view()
        before = envelopes(reader)
        count = self.made_again()
        original = rebuild.encode_journal

        def encode(*args: object) -> bytes:
            # While the bulk is written.
            writer = Place(self.root)
            box = writer.open("a")
            writer.append(box, text(50))
            writer.close()
            return original(*args)  # type: ignore[arg-type] # handed on

        with patch.object(checkpoint, "encode_journal", encode):
            self.place.run(self.box.state.upkeep.renew_cache())
        (same,) = view.cached(np.arange(len(view)), (CachedItem.ENVELOPE,))
        self.assertEqual(same, before)
        for more, (place, box) in enumerate(((other, reader), (self.place, self.box)), 1):
            box.refresh()
            self.assertEqual(len(box.view()), COUNT - len(GONE) + more)
            self.assertEqual(envelopes(box), expected(box))
            place.append(box, text(60))
            self.assertEqual(envelopes(box), expected(box))
            place.run(box.store(uids(COUNT + 1), FlagChange(FlagAction.REMOVE, Flags(DELETED))))
        self.assertEqual(count(), 0)

    def test_damaged_records(self) -> None:
        """They are not taken along, and made again from the message."""
        self.expunge()
        data = bytearray(Path(self.paths.cache).read_bytes())
        at = int(self.box.state.contents.columns.cache_offsets[0])
        data[at + 150] ^= 1
        Path(self.paths.cache).write_bytes(data)
        count = self.made_again()
        checkpoint.compact(self.paths, renew_cache=True)
        fresh = Place(self.root)
        self.addCleanup(fresh.close)
        opened = fresh.open("a")
        self.assertEqual(envelopes(opened), expected(opened))
        self.assertEqual(count(), 1)

    def test_interrupted(self) -> None:
        """Whoever dies, or is refused, at whatever call: all is as it was, or anew, and nothing is left behind."""
        self.expunge()
        messages = expected(self.box)
        self.place.close()
        kept = self.root.with_name("kept")
        self.root.rename(kept)

        def fresh() -> None:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(kept, self.root)

        def begin() -> Callable[[], object]:
            def work() -> None:
                with contextlib.suppress(OSError):
                    checkpoint.compact(self.paths, DAY, renew_cache=True)

            return work

        for what in interruptions(begin, (Action.KILL_BEFORE, Action.SHORT, Action.READ_ONLY), fresh):
            self.place = Place(self.root)
            self.box = self.place.open("a")
            self.assertEqual(envelopes(self.box), messages, what)
            self.assertEqual(self.place.append(self.box, text(99)), (COUNT + 1,), what)
            self.assertEqual(envelopes(self.box), expected(self.box), what)
            self.place.close()
            self.place = Place(self.root)
            self.box = self.place.open("a")
            self.assertEqual(envelopes(self.box), expected(self.box), what)
            self.place.close()
            if "SHORT" in what:
                self.assertEqual([name for name in os.listdir(self.root / "a") if ".new." in name], [], what)
        self.place = Place(self.root)
