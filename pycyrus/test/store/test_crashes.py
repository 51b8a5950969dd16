"""
The process is killed, or the disk fails, at every call that writes.

Afterwards another process opens the mailboxes: what was acknowledged is there
once and octet for octet, and no UID is used again.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.model.flags import DELETED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.store import files, writing
from pycyrus.store.opened import MailboxPolicy, OpenedMailbox
from pycyrus.test.store.mailboxes import Place, digests, text, uids, without_syncs
from pycyrus.testing.faults import CHANGING, Action, Faults

LARGE = 70_000

Report = Callable[[dict[str, Any]], None]


def digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def script(place: Place, report: Report) -> None:
    """A little of everything; each step is reported when it was acknowledged."""
    first, second = place.open("a"), place.open("b", policy=MailboxPolicy(keep_expunged=False))
    number = 0

    def append(box: OpenedMailbox, name: str, *messages: bytes) -> None:
        got = place.append(box, *messages, flags=Flags(SEEN, (b"Word",)))
        report({"box": name, "added": dict(zip(map(str, got), map(digest, messages), strict=True))})

    for number in range(3):
        append(first, "a", text(number))
    append(first, "a", text(10), text(11, LARGE))
    append(second, "b", text(20))
    place.run(first.store(uids(1, 2), FlagChange(FlagAction.ADD, Flags(DELETED, (b"Other",)))))
    report({"box": "a", "flagged": [1, 2]})
    copied = place.run(first.copy(uids(2, 3), second))
    view = second.view()
    report({"box": "b", "added": guids(view, copied.target_uids)})
    gone = place.run(first.expunge())
    report({"box": "a", "removed": gone.uids.tolist()})
    copied, expunged = place.run(first.move(uids(3), second))
    report({"box": "b", "added": guids(second.view(), copied.target_uids)})
    report({"box": "a", "removed": expunged.uids.tolist()})
    place.run(second.store(uids(1), FlagChange(FlagAction.ADD, Flags(DELETED))))
    gone = place.run(second.expunge())
    report({"box": "b", "removed": gone.uids.tolist()})
    first.claim_recent()
    place.run(writing.purge(first.state, 1 << 40))
    append(first, "a", text(30))


def guids(view: Any, copies: Any) -> dict[str, str]:
    positions = np.searchsorted(view.uids, copies)
    return {str(int(view.uids[at])): view.guids[at].tobytes().hex() for at in positions}


class Expected:
    """What must be there, from what was acknowledged."""

    def __init__(self) -> None:
        self.there: dict[str, dict[int, str]] = {"a": {}, "b": {}}
        self.removed: dict[str, set[int]] = {"a": set(), "b": set()}
        self.ever: dict[str, dict[int, str]] = {"a": {}, "b": {}}
        self.flagged: set[int] = set()

    def report(self, step: dict[str, Any]) -> None:
        box = step["box"]
        for uid, guid in step.get("added", {}).items():
            self.there[box][int(uid)] = guid
            self.ever[box][int(uid)] = guid
        for uid in step.get("removed", ()):
            self.there[box].pop(uid)
            self.removed[box].add(uid)
        self.flagged.update(step.get("flagged", ()))


def fork_and_run(root: Path, work: Callable[[Report], None]) -> tuple[Expected, int]:
    """
    Run something in a child process.

    @return: What it acknowledged, and how it ended.
    """
    reading, writing_end = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 2)

            def report(step: dict[str, Any]) -> None:
                os.write(writing_end, json.dumps(step).encode() + b"\n")

            work(report)
            status = 0
        finally:
            os._exit(status)
    os.close(writing_end)
    expected = Expected()
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            expected.report(json.loads(line))
    return expected, os.waitpid(child, 0)[1]


class CrashCase(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.template = Path(self.mktemp())
        self.template.mkdir()
        place = Place(self.template)
        place.create("a")
        place.create("b", 88)
        place.close()
        self.root = Path(self.mktemp())

    def fresh(self) -> Path:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)
        return self.root

    def check(self, expected: Expected, context: str) -> None:
        """Open as the next process does, compare, and go on working."""
        place = Place(self.root)
        try:
            for name, validity in (("a", 77), ("b", 88)):
                box = place.open(name)
                self.assertEqual(box.uidvalidity, validity, context)
                found = digests(box)
                for uid, guid in expected.there[name].items():
                    # A removal that was not acknowledged may have happened.
                    if uid in found:
                        self.assertEqual(found[uid], guid, context)
                    else:
                        self.assertIn(uid, box.vanished_since(0).tolist(), context)
                self.assertFalse(expected.removed[name] & found.keys(), context)
                uid = place.append(box, text(99))[0]
                seen = expected.ever[name].keys() | found.keys()
                self.assertGreater(uid, max(seen, default=0), context)
                files_there = {int(path.name[:-1]) for path in (self.root / name).glob("*.")}
                retained = set(box.state.contents.retained["uid"].tolist())
                self.assertLessEqual(digests(box).keys(), files_there, context)
                leftover = files_there - digests(box).keys() - retained
                self.assertLessEqual(leftover, set(box.vanished_since(0).tolist()), context)
        finally:
            place.close()


class KillTests(CrashCase):
    """C{kill -9} before and after every call."""

    def count_calls(self) -> int:
        root = self.fresh()
        place = Place(root)
        with Faults() as faults:
            script(place, lambda step: None)
        place.close()
        return len(faults.calls)

    def test_killed_at_each_call(self) -> None:
        """
        Nothing acknowledged is lost.

        To be killed after a call leaves the same disk as before the next one.
        """
        total = self.count_calls()
        for at in range(1, total + 1):
            root = self.fresh()

            def work(report: Report, at: int = at, root: Path = root) -> None:
                with Faults(at, Action.KILL_BEFORE if at < total else Action.KILL_AFTER):
                    script(Place(root), report)

            expected, _status = fork_and_run(root, work)
            self.check(expected, f"call {at} of {total}")


class FailureTests(CrashCase):
    """An error from every call: the answer is true, and the next command works."""

    def fail_everywhere(self, action: Action, number: int, only: tuple[str, ...] = CHANGING) -> None:
        at = read = 0
        while True:
            at += 1
            root = self.fresh()
            place = Place(root)
            expected = Expected()
            faults = Faults(at, action, number, only)
            failed = False
            with faults:
                try:
                    script(place, expected.report)
                except MailStoreError:
                    failed = True
                    if action is Action.READ_ONLY:
                        read += self.can_read(place, expected)
            try:
                # The same process goes on.
                box = place.open("a")
                known = box.view().uids.tolist()
                uid = place.append(box, text(77))[0]
                self.assertGreater(uid, max(known, default=0))
                expected.report({"box": "a", "added": {str(uid): digest(text(77))}})
            finally:
                place.close()
            self.check(expected, f"call {at}, {action.value}, {faults.calls[-1:]}")
            if not failed and len(faults.calls) < at:
                break
        self.assertEqual(read > at // 2, action is Action.READ_ONLY)

    def can_read(self, place: Place, expected: Expected) -> bool:
        """Whether the mailbox is open; then all that was acknowledged can be read."""
        try:
            box = place.open("a")
        except StoreUnavailable:
            return False
        # A removal that was refused may have happened.
        removed = box.vanished_since(0).tolist()
        self.assertLessEqual(expected.there["a"].keys(), digests(box).keys() | set(removed))
        return True

    def test_no_space(self) -> None:
        """ENOSPC."""
        self.fail_everywhere(Action.FAIL, errno.ENOSPC)

    def test_no_descriptors(self) -> None:
        """EMFILE."""
        self.fail_everywhere(Action.FAIL, errno.EMFILE, ("open_file", "listdir"))

    def test_input_output_error(self) -> None:
        """EIO, which comes late: when it is synced."""
        self.fail_everywhere(Action.FAIL, errno.EIO, ("syncfs", "fdatasync", "fsync", "ftruncate"))

    def test_read_only(self) -> None:
        """EROFS from some call on: what cannot be written is refused, what is there is read, until it can be again."""
        self.fail_everywhere(Action.READ_ONLY, errno.EROFS)

    def test_short_write(self) -> None:
        """Half a write, and then no space."""
        self.fail_everywhere(Action.SHORT, errno.ENOSPC, ("pwrite", "write"))


class TornTailTests(CrashCase):
    def test_cut_at_every_octet(self) -> None:
        """An intact prefix of the journal is never lost, and the rest is cut off."""
        place = Place(self.fresh())
        box = place.open("a")
        for number in range(3):
            place.append(box, text(number))
        place.run(box.store(uids(1), FlagChange(FlagAction.ADD, Flags(SEEN, (b"Word",)))))
        whole = (self.root / "a" / "pycyrus.journal").read_bytes()
        place.close()
        ends = record_ends(whole)
        kept = Path(self.mktemp())
        shutil.copytree(self.root, kept)
        # A new journal comes with its first two records.
        for size in range(ends[2], len(whole) + 1):
            if size % 3 and size not in ends:
                continue
            shutil.rmtree(self.root)
            shutil.copytree(kept, self.root)
            os.truncate(self.root / "a" / "pycyrus.journal", size)
            place = Place(self.root)
            box = place.open("a")
            intact = max(end for end in ends if end <= size)
            self.assertEqual((self.root / "a" / "pycyrus.journal").stat().st_size, intact)
            digests(box)
            uid = place.append(box, text(50))[0]
            self.assertEqual(uid, len(box.view()))
            place.close()


def record_ends(data: bytes) -> list[int]:
    ends = [128]
    while ends[-1] < len(data):
        ends.append(ends[-1] + int.from_bytes(data[ends[-1] : ends[-1] + 4], "little"))
    return ends


class PowerTests(CrashCase):
    """After another start of the machine, when what was not synced is gone."""

    def boot_again(self) -> None:
        self.patch(files, "boot_id", lambda: b"another start...")

    def test_numbers_are_passed_over(self) -> None:
        """UIDs and modseqs that somebody may have seen are not used again."""
        place = Place(self.fresh())
        box = place.open("a")
        journal = self.root / "a" / "pycyrus.journal"
        place.append(box, text(1))
        durable = journal.read_bytes()
        lost = place.append(box, text(2))[0]
        modseq = box.highest_modseq()
        place.close()
        journal.write_bytes(durable)
        self.boot_again()
        place = Place(self.root)
        box = place.open("a")
        self.assertEqual(box.view().uids.tolist(), [1])
        self.assertGreater(box.highest_modseq(), modseq)
        self.assertGreater(place.append(box, text(3))[0], lost)
        self.assertEqual([path.name for path in (self.root / "a" / "pycyrus.quarantine").iterdir()], ["2.0"])
        place.close()

    def test_octets_that_never_reached_the_disk(self) -> None:
        """A record whose message is not whole was never acknowledged."""
        place = Place(self.fresh())
        box = place.open("a")
        place.append(box, text(1), text(2), text(3))
        place.close()
        (self.root / "a" / "2.").write_bytes(b"")
        (self.root / "a" / "3.").unlink()
        self.boot_again()
        place = Place(self.root)
        box = place.open("a")
        self.assertEqual(box.view().uids.tolist(), [1])
        self.assertEqual(box.vanished_since(0).tolist(), [2, 3])
        place.close()


class OrphanTests(CrashCase):
    def test_file_without_record(self) -> None:
        """A message that was linked and never recorded goes to quarantine, and its UID to the next."""
        place = Place(self.fresh())
        (self.root / "a" / "1.").write_bytes(b"half")
        box = place.open("a")
        self.assertEqual(place.append(box, text(1)), (1,))
        self.assertEqual((self.root / "a" / "pycyrus.quarantine" / "1.0").read_bytes(), b"half")
        (self.root / "a" / "2.").write_bytes(b"half again")
        self.assertEqual(place.append(box, text(2)), (2,))
        self.assertEqual((self.root / "a" / "pycyrus.quarantine" / "2.0").read_bytes(), b"half again")
        place.close()

    def test_sync_failure_takes_back(self) -> None:
        """What could not be made durable is not there, and was not acknowledged."""
        place = Place(self.fresh())
        box = place.open("a")
        place.append(box, text(1))
        with Faults(1, Action.FAIL, errno.EIO, ("syncfs",)), self.assertRaises(MailStoreError):
            place.append(box, text(2))
        self.assertEqual(box.view().uids.tolist(), [1])
        self.assertEqual(place.append(box, text(3)), (3,))
        self.assertFalse((self.root / "a" / "2.").exists())
        place.close()
