"""Files of messages that have gone: not before the record of it is durable, and only where the mailbox is."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.model.uids import number_ranges
from pycyrus.store import journal, writing
from pycyrus.store.expiry import sweep
from pycyrus.store.layout import microseconds
from pycyrus.store.mailbox import MailboxState
from pycyrus.test.store.mailboxes import Place, digests, expunge, text, uids, without_syncs
from pycyrus.testing.faults import Action, Faults

MANY = 100
"""So many that they go in a thread."""


class RemovingCase(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.place = Place(self.root)
        self.addCleanup(self.place.close)
        self.box = self.place.create("a")
        self.place.append(self.box, *(text(number) for number in range(MANY)))

    def files(self, where: str = "a") -> set[str]:
        return {path.name for path in (self.root / where).glob("[0-9]*.")}


class SweepTests(RemovingCase):
    def setUp(self) -> None:
        super().setUp()
        self.place.run(expunge(self.box, 3))
        # As another process does before its record is synced.
        state = self.box.state
        self.place.run(state.enter())
        state.write(journal.ranges_record(journal.PURGE, number_ranges(uids(3)), 0, microseconds()))
        state.leave()
        self.other = Place(self.root)
        self.addCleanup(self.other.close)

    def test_the_record_is_synced_first(self) -> None:
        """Else the power could go in between, and a message that can come back would have no file."""
        state = self.other.open("a").state
        with Faults(only=("syncfs", "unlink")) as faults:
            self.assertEqual(self.other.run(sweep(state)), 1)
        self.assertEqual(faults.calls, ["syncfs", "unlink"])
        self.assertNotIn("3.", self.files())

    def test_the_record_cannot_be_synced(self) -> None:
        """Then the file stays, until it can be."""
        state = self.other.open("a").state
        with Faults(1, Action.FAIL, errno.EIO, ("syncfs",)), self.assertRaises(StoreUnavailable):
            self.other.run(sweep(state))
        self.assertIn("3.", self.files())
        self.assertEqual(self.other.run(sweep(state)), 1)
        self.assertNotIn("3.", self.files())


class PlaceTests(RemovingCase):
    def purge_while_renamed(self, count: int) -> None:
        """Another process renames the mailbox, and makes one of the same name, while the record is synced."""
        which = list(range(1, count + 1))
        self.place.run(expunge(self.box, *which))
        commit = MailboxState.commit
        met: list[Place] = []

        async def slowly(state: MailboxState, paths: Sequence[str]) -> None:
            await commit(state, paths)
            if not met:
                met.append(Place(self.root))
                os.rename(self.root / "a", self.root / "b")
                met[0].append(met[0].create("a", 78), *(text(200 + number) for number in range(count)))

        self.patch(MailboxState, "commit", slowly)
        self.assertEqual(self.place.run(writing.purge(self.box.state, 1 << 40)), count)
        self.assertEqual(list(digests(met[0].open("a"))), which)
        met[0].close()

    def test_few(self) -> None:
        """The messages of the new mailbox are not taken for the old one's."""
        self.purge_while_renamed(2)

    def test_many(self) -> None:
        """Nor in a thread; what was left is removed by the next expiry."""
        self.purge_while_renamed(MANY)
        self.assertEqual(len(self.files("b")), MANY)
        again = Place(self.root)
        state = again.run(again.states.open("a", again.paths("b")))
        self.assertEqual(again.run(sweep(state)), MANY)
        self.assertEqual(self.files("b"), set())
        again.close()
