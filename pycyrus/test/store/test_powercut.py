"""
The power is cut while clients work: at every moment of a short script, and at random ones.

C{python -m pycyrus.testing.powercut --rounds N} does more of it.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError
from pycyrus.model.flags import FLAGGED, FlagAction, FlagChange, Flags
from pycyrus.store import files
from pycyrus.store.commit import Committer
from pycyrus.store.reservations import Reservations
from pycyrus.test.store.mailboxes import Place, text, uids
from pycyrus.testing import powercut, promises
from pycyrus.testing.clients import INBOX, OTHER, VERBS, Work
from pycyrus.testing.disk import Keep, Loss, Recorder

RECORDINGS = 17
CUTS = 12


class PowerCutCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(dir=powercut.quick_directory()))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.enterContext(powercut.little_room())


async def everything(work: Work) -> None:
    """Each thing that clients do, some of them twice; but for what L{there_and_back} does."""
    for verb in (Work.append, Work.deliver, Work.create, *VERBS):
        if verb in (Work.unexpunge, Work.undo, Work.expire):
            continue
        try:
            await verb(work)
        except MailStoreError:
            continue


async def there_and_back(work: Work) -> None:
    """What goes comes back: messages by unexpunge and undo, a mailbox by undo; then it goes for good."""
    for name in (INBOX, OTHER, INBOX):
        await work.append_to(name, 3)
    before = time.time()
    await work.expunge_in(INBOX, 2)
    assert await work.unexpunge_in(INBOX, 1.0) == 2
    await work.expunge_in(INBOX, 2)
    await work.append_to(INBOX, 1)
    assert await work.undo_in(INBOX, before, exact=True) == 1
    await work.expunge_in(OTHER, 2)
    await work.expire()


class EveryMomentTests(PowerCutCase):
    def test_there_and_back(self) -> None:
        """As L{test_every_moment}, of what brings back, and of what ends it."""
        self.assertGreater(powercut.every_moment(self.scratch, 4, lambda work: [there_and_back(work)], each=1), 100)

    def test_every_moment(self) -> None:
        """Whenever the power goes, all promises are kept."""
        self.assertGreater(powercut.every_moment(self.scratch, 2, lambda work: [everything(work)]), 200)


class RandomTests(PowerCutCase):
    def test_random_rounds(self) -> None:
        """Many clients, in one process or two; sometimes the power goes again while a mailbox is mended."""
        for seed in range(RECORDINGS):
            scratch = self.scratch / str(seed)
            scratch.mkdir()
            powercut.random_round(scratch, seed, CUTS)
            shutil.rmtree(scratch)


class SensitivityTests(PowerCutCase):
    """These tests see what they are for."""

    def assert_seen(self, pattern: str) -> None:
        """A promise is broken in this way, whatever others are broken before."""
        for seed in range(12):
            scratch = self.scratch / str(seed)
            scratch.mkdir()
            try:
                powercut.random_round(scratch, seed, 20, stop=lambda broken: bool(re.search(pattern, broken)))
            except AssertionError as error:
                self.assertRegex(str(error), pattern)
                return
            shutil.rmtree(scratch)
        self.fail(f"nothing of {pattern} was seen")

    def test_acknowledged_too_early(self) -> None:
        """A store that does not wait for the disk loses messages."""
        original = Committer.commit_soon

        async def commit(committer: Committer, paths: object = (), *, whole: bool = False) -> None:
            original(committer, ())

        with patch.object(Committer, "commit", commit), patch.object(Committer, "close", commit):
            self.assert_seen("is lost|is back|not on the list|has other octets")

    def test_numbers_used_again(self) -> None:
        """One that does not reserve numbers uses them again."""
        with patch.object(Reservations, "has_room", lambda reservations, contents, uids: True):
            self.assert_seen("used again")


class SightTests(PowerCutCase):
    """What could be seen, and may be there after a cut, while a journal is written anew."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.scratch / "root"
        place = Place(self.root)
        self.addCleanup(place.close)
        box = place.create("a")
        place.append(box, text(1))
        self.journal = Path(box.state.paths.journal)
        before = self.journal.read_bytes()
        with Recorder(self.root) as self.recorder:
            place.run(box.store(uids(1), FlagChange(FlagAction.ADD, Flags(FLAGGED))))
            self.changed = self.recorder.now
            new = f"{self.journal}.new"
            fd = files.open_file(new, os.O_RDWR | os.O_CREAT, 0o600)
            files.ftruncate(fd, 0)
            files.pwrite(fd, before, 0)
            files.fdatasync(fd)
            self.synced = self.recorder.now
            files.pwrite(fd, self.journal.read_bytes()[len(before) :], len(before))
            files.fdatasync(fd)
            files.rename(new, self.journal)
            files.sync_directory(str(self.journal.parent))
            files.close(fd)

    def flags_at(self, cut: int) -> list[int]:
        """System flags that the message may have after a cut."""
        known = [sight for sight in promises.sights(self.recorder) if sight.at <= cut]
        return sorted({seen.flags[0] for seen in promises.allowed_states(self.recorder, known, cut)[1]})

    def test_before_it_has_its_name(self) -> None:
        """What it says, however durably, ends nothing that the old one says."""
        self.assertEqual(self.flags_at(0), [0])
        self.assertEqual(self.flags_at(self.changed), [0, FLAGGED])
        self.assertEqual(self.flags_at(self.synced), [0, FLAGGED])

    def test_in_place(self) -> None:
        """Then it alone counts, although it was emptied before anything was written to it."""
        self.assertEqual(self.flags_at(self.recorder.now), [FLAGGED])


class RecorderTests(PowerCutCase):
    """What a file system promises, and what not."""

    def setUp(self) -> None:
        super().setUp()
        self.root = self.scratch / "root"
        (self.root / "below").mkdir(parents=True)
        (self.root / "old").write_bytes(b"old octets")
        self.draw = random.Random(1)

    def outcomes(self, recorder: Recorder, loss: Loss, cut: int | None = None) -> set[tuple[tuple[str, bytes], ...]]:
        """All that was found, by name and content, in some tries."""
        found = set()
        for _ in range(60):
            target = self.scratch / "after"
            recorder.after_power_cut(recorder.now if cut is None else cut, loss, self.draw, target)
            paths = sorted(path for path in target.rglob("*") if path.is_file())
            found.add(tuple((str(path.relative_to(target)), path.read_bytes()) for path in paths))
            shutil.rmtree(target)
        return found

    def test_names(self) -> None:
        """A rename that was not synced happened or did not; one that was, did."""
        with Recorder(self.root) as recorder:
            files.rename(self.root / "old", self.root / "below" / "new")
            before = recorder.now
            files.sync_directory(str(self.root))
        old, new = (("old", b"old octets"),), (("below/new", b"old octets"),)
        self.assertEqual(self.outcomes(recorder, Loss(Keep.SOME, Keep.ALL), before), {old, new})
        self.assertEqual(self.outcomes(recorder, Loss(Keep.SOME, Keep.ALL, apart=True)), {new})
        self.assertEqual(self.outcomes(recorder, Loss(Keep.NOTHING, Keep.ALL)), {new})

    def test_directories_apart(self) -> None:
        """Of directories each for itself, syncing one says nothing of the other."""
        with Recorder(self.root) as recorder:
            files.link(self.root / "old", self.root / "a")
            files.link(self.root / "old", self.root / "below" / "b")
            files.sync_directory(str(self.root / "below"))
        apart = self.outcomes(recorder, Loss(Keep.SOME, Keep.ALL, apart=True))
        self.assertEqual(
            {tuple(name for name, _ in found) for found in apart}, {("a", "below/b", "old"), ("below/b", "old")}
        )
        self.assertEqual(len(self.outcomes(recorder, Loss(Keep.SOME, Keep.ALL))), 1)

    def test_octets(self) -> None:
        """What was synced is there; of what was not, any page may be, in any state since."""
        with Recorder(self.root) as recorder:
            fd = files.open_file(str(self.root / "new"), os.O_RDWR | os.O_CREAT, 0o600)
            files.pwrite(fd, b"a" * 600, 0)
            files.fsync(fd)
            files.pwrite(fd, b"b" * 600, 600)
            files.pwrite(fd, b"c" * 600, 1200)
            files.close(fd)
        found = {dict(outcome)["new"] for outcome in self.outcomes(recorder, Loss(Keep.ALL, Keep.SOME))}
        self.assertTrue(all(octets.startswith(b"a" * 600) for octets in found))
        self.assertIn(b"a" * 600, found)
        self.assertIn(b"a" * 600 + b"b" * 600 + b"c" * 600, found)
        self.assertTrue(any(b"\0c" in octets for octets in found))
        self.assertTrue(any(octets.endswith(b"b") for octets in found))

    def test_whole_file_system(self) -> None:
        """After syncfs everything before it is there."""
        with Recorder(self.root) as recorder:
            files.replace_file(str(self.root / "old"), b"new octets", sync=False)
            directory = files.open_file(str(self.root), os.O_RDONLY | os.O_DIRECTORY)
            files.syncfs(directory)
            files.close(directory)
            files.unlink(self.root / "old")
        loss = Loss(Keep.NOTHING, Keep.NOTHING, apart=True)
        self.assertEqual(self.outcomes(recorder, loss), {(("old", b"new octets"),)})
