"""
Users who move while the power goes, processes are killed, and databases are spoilt.

L{pycyrus.test.murder.moving_powercut} says how.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from collections import Counter
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.store.soundness import KEPT
from pycyrus.store.transfer_log import Leaving, TransferLog
from pycyrus.test.murder import moving_powercut
from pycyrus.test.murder.moving_powercut import KILLED, SIDES
from pycyrus.testing.powercut import quick_directory

MOMENTS = 10
"""Of each recording; C{trial pycyrus.test.whole.every_moment_of_moving} has all."""


def is_decided(octets: bytes) -> bool:
    """Whether a C{transfers.db} says that only the other server knows."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(octets)
        file.flush()
        with closing(sqlite3.connect(file.name)) as connection:
            return bool(connection.execute("SELECT 1 FROM outgoing WHERE state = 'decided'").fetchone())


class MovingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(dir=quick_directory()))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def fresh(self) -> Path:
        """An empty directory."""
        return Path(tempfile.mkdtemp(dir=self.scratch))


class PowerCutTests(MovingCase):
    def test_some_moments(self) -> None:
        """The user is whole, in one place, and the master knows where."""
        found: Counter[str] = Counter()
        for seed in (1, 2):
            found.update(moving_powercut.every_moment(self.fresh(), seed, moments=MOMENTS))
        self.assertEqual(set(+found), set(SIDES))

    def test_sensitive(self) -> None:
        """A server that does not write down that the other one decides is found out."""
        original = TransferLog.note

        async def note(log: TransferLog, transfer_id: str, state: Leaving, error: str = "") -> None:
            if state is not Leaving.DECIDED:
                await original(log, transfer_id, state, error)

        with patch.object(TransferLog, "note", note), self.assertRaisesRegex(AssertionError, "at .*source.*target"):
            moving_powercut.every_moment(self.fresh(), 1, moments=60)


class DamageTests(MovingCase):
    """One database of one server is spoilt, at the worst moment and at others."""

    def setUp(self) -> None:
        super().setUp()
        self.draw = random.Random(3)
        self.recording = moving_powercut.record(self.fresh(), self.draw)

    def test_some_damage(self) -> None:
        """Whatever is missing is told from the other databases, and by the other server."""
        self.assertEqual(set(moving_powercut.some_damage(self.recording, self.fresh(), self.draw, MOMENTS)), set(SIDES))

    def decided(self) -> tuple[int, Path]:
        """The first moment at which only the other server knows, and the servers as they are then."""
        commits = self.recording.databases["source"].commits["transfers.db"]
        cut = next(ended for _, ended, octets in commits if is_decided(octets))
        root = self.fresh() / "cut"
        moving_powercut.build(self.recording, cut, dict.fromkeys(SIDES, KILLED), self.draw, root)
        return cut, root

    def test_nobody_knows(self) -> None:
        """The source has lost what it wrote down: the target is asked, which has everything."""
        cut, root = self.decided()
        (root / "source/config/transfers.db").unlink()
        self.assertEqual(moving_powercut.look(self.recording, cut, root), "target")

    def test_the_target_forgot(self) -> None:
        """What came lies with its manifest: it waits as before."""
        cut, root = self.decided()
        (root / "target/config/transfers.db").write_bytes(b"rubbish" * 1000)
        self.assertEqual(moving_powercut.look(self.recording, cut, root), "target")

    def test_both_forgot(self) -> None:
        """And if a message is missing there, the user goes on here."""
        cut, root = self.decided()
        for side in SIDES:
            (root / side / "config/transfers.db").unlink()
        next((root / "target").glob("disks/*/uuid/incoming/*/*/3.")).unlink()
        self.assertEqual(moving_powercut.look(self.recording, cut, root), "source")

    def test_list_made_again(self) -> None:
        """What is held stays held although the list was made again from headers that do not say so."""
        cut, root = self.decided()
        (root / "source/config/mailboxes.db").write_bytes(b"rubbish" * 1000)
        self.assertEqual(moving_powercut.look(self.recording, cut, root), "target")

    def test_rows(self) -> None:
        """A bit that flipped in a row is seen by its checksum."""
        path = self.fresh() / "transfers.db"
        path.write_bytes(self.recording.databases["source"].commits["transfers.db"][-1][2])
        octets = path.read_bytes()
        self.assertEqual(octets.count(b"done"), 1)
        path.write_bytes(octets.replace(b"done", b"dond"))
        (kept,) = (each for each in KEPT if each.name == "transfers.db")
        self.assertEqual(kept.problem_of(path), "1 rows are not as they were written")
