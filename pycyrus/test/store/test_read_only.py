"""A mailbox that is opened when its file system is read-only: it can be read, and written as soon as that can be."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.model.flags import FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.view import CachedItem
from pycyrus.store import files
from pycyrus.store.layout import JOURNAL
from pycyrus.test.store.mailboxes import Place, digests, expunge, octets, text, uids, without_syncs
from pycyrus.testing.faults import Action, Faults

ADD = FlagChange(FlagAction.ADD, Flags(FLAGGED))


class ReadOnlyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        without_syncs(self)
        place = Place(self.root)
        box = place.create("a")
        place.append(box, *map(text, range(1, 5)))
        place.run(expunge(box, 2))
        place.run(box.store(uids(3), FlagChange(FlagAction.ADD, Flags(SEEN))))
        self.held = digests(box)
        place.close()

    def look(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Open it, read all, and try to write; then it can be written, and has lost nothing."""
        before = (self.root / "a" / JOURNAL).read_bytes()
        place = Place(self.root)
        self.addCleanup(place.close)
        staged = place.staged(text(9))
        with Faults(1, Action.READ_ONLY, errno.EROFS):
            box = place.open("a")
            self.assertEqual(digests(box), self.held)
            self.assertEqual(octets(box, 4), text(4))
            self.assertEqual(box.counts().messages, 3)
            self.assertEqual(box.view().flags.tolist(), [0, SEEN, 0])
            [envelopes] = box.view().cached(np.arange(3), (CachedItem.ENVELOPE,))
            self.assertIn(b"number 4", envelopes[2])
            box.claim_recent()
            box.refresh()
            with self.assertRaises(StoreUnavailable):
                place.append(box, text(5))
            with self.assertRaises(StoreUnavailable):
                place.run(box.store(uids(1), ADD))
            with self.assertRaises(StoreUnavailable):
                place.run(expunge(box, 1))
            self.assertEqual(digests(box), self.held)
        self.assertEqual((self.root / "a" / JOURNAL).read_bytes(), before)
        meanwhile()
        place.run(box.store(uids(1), ADD))
        (uid,) = place.append(box, text(5))
        staged.discard()
        self.assertGreater(uid, 4)
        other = Place(self.root)
        self.addCleanup(other.close)
        theirs = other.open("a")
        for each in (box, theirs):
            self.assertEqual(digests(each), self.held | {uid: digests(each)[uid]})
            self.assertEqual(each.view().flags.tolist(), [FLAGGED, SEEN, 0, 0])
        other.append(theirs, text(6))
        box.refresh()
        self.assertEqual(len(box.view()), 5)

    def test_as_it_was_left(self) -> None:
        self.look()

    def test_unfinished_write(self) -> None:
        """What was not whole at the end of the journal is not there, and is cut off later."""
        with (self.root / "a" / JOURNAL).open("ab") as file:
            file.write(b"\x60\0\0\0half")
        self.look()

    def test_after_a_restart(self) -> None:
        """The machine came up again with it: what it has to do to be safe is done before the first change."""
        with patch.object(files, "boot_id", lambda: b"another start..."):
            self.look()

    def test_others_write(self) -> None:
        """It was read-only for this process only; another goes on before this one does."""

        def add() -> None:
            other = Place(self.root)
            theirs = other.open("a")
            other.run(theirs.store(uids(4), FlagChange(FlagAction.REMOVE, Flags(SEEN))))
            other.close()

        self.look(add)
