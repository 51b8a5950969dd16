"""Several processes on the same mailboxes."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.interfaces import NewMessage
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.store.locks import block_lock
from pycyrus.store.opened import OpenedMailbox
from pycyrus.test.store.mailboxes import FRED, INBOX, Place, digests, text, uids, without_syncs
from pycyrus.test.store.test_crashes import digest, fork_and_run
from pycyrus.testing.states import make_states


class SharingTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.places = [Place(self.root), Place(self.root)]
        for place in self.places:
            self.addCleanup(place.close)
        self.one = self.places[0].create("a")
        self.two = self.places[1].open("a")

    def test_writers_take_turns(self) -> None:
        """What one wrote the other sees before it writes."""
        for number in range(20):
            place, box = (self.places[0], self.one) if number % 3 else (self.places[1], self.two)
            self.assertEqual(place.append(box, text(number), flags=Flags(0, (b"k%d" % number,))), (number + 1,))
        self.one.refresh()
        self.two.refresh()
        for name in ("uids", "modseqs", "keywords", "flags"):
            self.assertEqual(getattr(self.one.view(), name).tolist(), getattr(self.two.view(), name).tolist())
        self.assertEqual(self.one.keyword_names(), self.two.keyword_names())
        self.assertEqual(self.one.counts(), self.two.counts())

    def test_reader_sees_nothing_unfinished(self) -> None:
        """Half a record is not there yet, and is when it is whole."""
        self.places[0].append(self.one, text(1))
        path = Path(self.places[0].paths("a").journal)
        whole = path.read_bytes()
        self.places[0].append(self.one, text(2))
        rest = path.read_bytes()[len(whole) :]
        other = Place(self.root)
        self.addCleanup(other.close)
        os.truncate(path, len(whole))
        third = OpenedMailbox(
            other.run(other.states.open("a", other.paths("a"))), FRED, self.one.rights, name=lambda: INBOX
        )
        for piece in (rest[:10], rest[10:40], rest[40:-1]):
            with open(path, "ab") as file:
                file.write(piece)
            third.refresh()
            self.assertEqual(len(third.view()), 1)
        with open(path, "ab") as file:
            file.write(rest[-1:])
        third.refresh()
        self.assertEqual(len(third.view()), 2)

    def test_waits_for_the_lock(self) -> None:
        """While another process holds the lock a writer waits, and readers go on."""
        fd = os.open(self.places[0].paths("a").journal, os.O_RDWR)
        block_lock(fd)
        staged = self.places[0].staged(text(1))
        done: list[object] = []
        waiting = Deferred.fromCoroutine(self.one.append([NewMessage(staged)]))
        finished = waiting.addBoth(done.append)
        self.two.refresh()
        self.assertEqual((done, self.one.claim_recent()), ([], 1))
        os.close(fd)
        while not done:
            self.places[0].reactor._turn()
        self.assertIsNone(self.successResultOf(finished))
        self.assertEqual(done[0].uids, (1,))  # type: ignore[attr-defined]

    def test_many_at_once(self) -> None:
        """Four processes append, flag, copy and expunge at random; nothing is lost or mixed up."""
        acknowledged: dict[str, str] = {}
        reading, writing_end = os.pipe()
        children = []
        for number in range(4):
            child = os.fork()
            if not child:
                status = 1
                try:
                    os.close(reading)
                    work_at_random(self.root, number, writing_end)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        os.close(writing_end)
        expunged: set[int] = set()
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                step = json.loads(line)
                for uid, guid in step.get("added", {}).items():
                    self.assertNotIn(uid, acknowledged)
                    acknowledged[uid] = guid
                expunged.update(step.get("removed", ()))
        self.assertEqual([os.waitpid(child, 0)[1] for child in children], [0] * 4)
        self.one.refresh()
        found = digests(self.one)
        self.assertEqual(found, {int(uid): guid for uid, guid in acknowledged.items() if int(uid) not in expunged})
        self.assertEqual(self.one.vanished_since(0).tolist(), sorted(expunged))
        place = Place(self.root)
        self.addCleanup(place.close)
        fresh = place.open("a")
        for name in ("uids", "modseqs", "keywords", "flags", "guids"):
            self.assertEqual(getattr(self.one.view(), name).tolist(), getattr(fresh.view(), name).tolist(), name)
        self.assertEqual(self.one.counts(), fresh.counts())


def work_at_random(root: Path, seed: int, report: int) -> None:
    draw = random.Random(seed)
    place = Place(root)
    box = place.open("a")
    for number in range(40):
        box.refresh()
        there = box.view().uids
        choice = draw.random()
        step: dict[str, object] = {}
        if choice < 0.5 or not len(there):
            data = text(seed * 1000 + number)
            step["added"] = {str(place.append(box, data)[0]): digest(data)}
        elif choice < 0.7:
            change = FlagChange(draw.choice(list(FlagAction)), Flags(SEEN, (b"k%d" % draw.randrange(9),)))
            place.run(box.store(there[draw.randrange(len(there)) :].copy(), change))
        elif choice < 0.85:
            copied = place.run(box.copy(there[-3:].copy(), box))
            at = np.searchsorted(box.view().uids, copied.target_uids)
            guids = [guid.tobytes().hex() for guid in box.view().guids[at]]
            step["added"] = dict(zip(map(str, copied.target_uids.tolist()), guids, strict=True))
        else:
            one = uids(int(there[draw.randrange(len(there))]))
            place.run(box.store(one, FlagChange(FlagAction.ADD, Flags(4))))
            step["removed"] = place.run(box.expunge(one)).uids.tolist()
        os.write(report, json.dumps(step).encode() + b"\n")
    place.close()


class KilledWriterTests(SynchronousTestCase):
    def test_lock_of_the_dead(self) -> None:
        """A process that dies with the lock held keeps nobody out."""
        root = Path(self.mktemp())
        root.mkdir()
        place = Place(root)
        self.addCleanup(place.close)
        box = place.create("a")

        def work(report: object) -> None:
            other = Place(root)
            held = other.open("a")
            other.run(held.state.enter())
            os._exit(1)

        fork_and_run(root, work)
        self.assertEqual(place.append(box, text(1)), (1,))


OTHER_PROCESS = """
import sys
from pathlib import Path
from pycyrus.test.store.mailboxes import Place, text
place = Place(Path(sys.argv[1]))
box = place.open("a")
for line in sys.stdin:
    place.append(box, text(1))
    print("done", flush=True)
place.close()
"""


class _Other(ProcessProtocol):
    """A process that appends a message for each line it is sent."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        done, self.done = self.done, Deferred()
        done.callback(None)

    def processEnded(self, reason: Failure) -> None:
        if reason.check(ProcessDone):
            self.ended.callback(None)
        else:
            self.ended.errback(reason)


class NoticeTests(TestCase):
    """What the kernel tells of other processes."""

    timeout = 120

    async def test_other_process_wakes_listeners(self) -> None:
        """A commit elsewhere is heard of soon, without asking; one notice for many writes."""
        root = Path(self.mktemp())
        root.mkdir()
        place = Place(root)
        place.create("a").close()
        states = make_states(reactor, interval=1.0)  # type: ignore[arg-type] # the module stands for the reactor
        state = await states.open("a", place.paths("a"))
        other = _Other()
        process = IReactorProcess(reactor).spawnProcess(
            other, sys.executable, [sys.executable, "-c", OTHER_PROCESS, str(root)], env=dict(os.environ)
        )
        heard: Deferred[None] = Deferred()
        stop = state.listen(lambda: None if heard.called else heard.callback(None))
        done = other.done  # it may say so before we hear of it, or after
        process.write(b"go\n")
        await heard
        self.assertEqual(len(state.contents), 1)
        await done
        heard = Deferred()
        states_compacted = state.paths
        from pycyrus.store import checkpoint

        checkpoint.compact(states_compacted)
        state.refresh()
        process.write(b"go\n")
        await heard
        self.assertEqual(len(state.contents), 2)
        stop()
        process.closeStdin()
        await other.ended
        states.release(state)
        await states.close()
        place.close()
