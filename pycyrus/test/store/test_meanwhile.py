"""What is under way for a mailbox in a process, while the process lets go of it, or begins the same once more."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxNotFound
from pycyrus.model.flags import FLAGGED, FlagAction, FlagChange, Flags
from pycyrus.store import checkpoint, files, journal
from pycyrus.store.layout import MailboxPaths, microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.test.store.mailboxes import Place, digests, expunge, text, uids, without_syncs


class MeanwhileCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        without_syncs(self)
        self.place = Place(self.root)
        self.addCleanup(self.place.close)


class ForgottenTests(MeanwhileCase):
    """Another process took the mailbox off the list, and wrote so into its journal."""

    def idle(self) -> MailboxState:
        """A mailbox that nobody has open, with something to be written for it."""
        states = self.place.states
        box = self.place.create("a")
        self.place.append(box, text(1))
        state = box.state

        def locate(unique_id: str) -> MailboxPaths:
            # As the list tells of a change when it is asked.
            states.forget(unique_id)
            raise MailboxNotFound("deleted")

        state.services = replace(state.services, locate=locate)
        other = Place(self.root)
        theirs = other.open("a").state

        async def departs() -> None:
            await theirs.enter()
            theirs.write(journal.encode_record(journal.RENAME, b"user.a".ljust(8, b"\0"), count=6, modseq=0,
                                               time=microseconds()))  # fmt: skip
            theirs.leave()

        other.run(departs())
        other.close()
        state.items.make(state.contents.columns, np.array([0]))
        self.assertTrue(state.items.lost)
        box.close()
        return state

    def test_what_follows_later(self) -> None:
        """Cached items that are written by the clock are left, and nothing is raised."""
        state = self.idle()
        self.assertFalse(state.upkeep.repair())
        self.assertIsNone(self.place.states.peek("a"))

    def test_a_writer(self) -> None:
        """It is told that the mailbox is gone."""
        self.assertRaises(MailboxNotFound, self.idle().enter_now)


class TwiceTests(MeanwhileCase):
    """A mailbox that was let go and opened again, while its journal is written anew, may have that done once more."""

    def test_the_second_fails(self) -> None:
        """The first goes on, for they do not write to one file."""
        box = self.place.create("a")
        self.place.append(box, *map(text, range(1, 9)))
        self.place.run(expunge(box, 2, 3))
        for action in (FlagAction.ADD, FlagAction.REMOVE) * 20:
            self.place.run(box.store(uids(1), FlagChange(action, Flags(FLAGGED))))
        held = digests(box)
        paths = box.state.paths
        before = Path(paths.journal).stat().st_size
        original = files.syncfs
        failed: list[bool] = []

        def sync(fd: int) -> None:
            if not failed:
                failed.append(True)
                with patch.object(files, "pwrite", full):
                    self.assertRaises(OSError, checkpoint.compact, paths, renew_cache=True)
            original(fd)

        self.patch(files, "syncfs", sync)
        checkpoint.compact(paths, renew_cache=True)
        self.assertLess(Path(paths.journal).stat().st_size, before)
        self.assertEqual([name for name in os.listdir(self.root / "a") if ".new." in name], [])
        box.refresh()
        self.assertEqual(digests(box), held)
        fresh = Place(self.root)
        self.addCleanup(fresh.close)
        self.assertEqual(digests(fresh.open("a")), held)

    def test_names(self) -> None:
        """Each has one of its own, and one that was given back is taken again."""
        path = str(self.root / "file")
        with files.temporary_name(path) as one, files.temporary_name(path) as two:
            self.assertNotEqual(one, two)
        with files.temporary_name(path) as again:
            self.assertEqual(again, one)


def full(*arguments: Any) -> int:
    """The disk has no room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
