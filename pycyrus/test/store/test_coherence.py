"""Four processes, twenty sessions, the same mailboxes; one process is killed: all see the same, nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.store.opened import OpenedMailbox
from pycyrus.test.store.mailboxes import Place, digests, text, uids, without_syncs
from pycyrus.test.store.test_crashes import digest

PROCESSES, SESSIONS, STEPS = 4, 5, 60
NAMES = ("a", "b")


def state_of(box: OpenedMailbox) -> str:
    """All that a session can see of a mailbox, in short."""
    view = box.view()
    names = box.keyword_names()
    columns = (view.uids, view.flags, view.keywords, view.modseqs, view.guids, view.internaldates, view.sizes)
    facts = repr(([column.tolist() for column in columns], names, box.vanished_since(0).tolist()))
    return hashlib.sha1(facts.encode(), usedforsecurity=False).hexdigest()


class Session:
    """One opening of a mailbox, that remembers what it was told."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.box = place.open(name)
        self._guids: dict[int, bytes] = {}
        self._gone: set[int] = set()

    def look(self) -> list[int]:
        """
        Catch up.

        @raise AssertionError: What it was told before does not hold any more.
        """
        self.box.refresh()
        view = self.box.view()
        there: list[int] = view.uids.tolist()
        assert there == sorted(set(there))
        assert not self._gone.intersection(there)
        self._gone |= self._guids.keys() - set(there)
        for uid, guid in zip(there, view.guids, strict=True):
            assert self._guids.setdefault(uid, guid.tobytes()) == guid.tobytes()
        return there


class Worker:
    """
    A process at work.

    @param report: A pipe, that takes what is begun and what was acknowledged.
    """

    def __init__(self, root: Path, number: int, report: int) -> None:
        self._draw = random.Random(number)
        self._number = number
        self._place = Place(root)
        self._report = report
        self._sessions = [Session(self._place, NAMES[each % 2]) for each in range(SESSIONS)]

    def work(self, go_on: int) -> None:
        """Do some things; wait until all have ended; say what there is."""
        for step in range(STEPS):
            session = self._draw.choice(self._sessions)
            there = session.look()
            some = uids(*sorted(self._draw.sample(there, min(len(there), self._draw.choice((1, 2, 5))))))
            choice = self._draw.random()
            if choice < 0.45 or not there:
                self._append(session, text(self._number * 1000 + step, self._draw.choice((40, 70_000))))
            elif choice < 0.65:
                flags = Flags(self._draw.choice((SEEN, FLAGGED)), (b"k%d" % self._draw.randrange(9),))
                self._place.run(session.box.store(some, FlagChange(self._draw.choice(list(FlagAction)), flags)))
            elif choice < 0.85:
                self._copy(session, some, move=choice > 0.75)
            else:
                self._tell(begun={"box": session.name, "removed": some.tolist(), "added": []})
                self._place.run(session.box.store(some, FlagChange(FlagAction.ADD, Flags(DELETED))))
                gone = self._place.run(session.box.expunge(some)).uids.tolist()
                self._tell(done={"removed": {session.name: gone}})
        self._tell(ended=True)
        os.read(go_on, 1)
        for session in self._sessions:
            session.look()
            self._tell(state=[session.name, state_of(session.box)])
        self._place.close()

    def _tell(self, **what: Any) -> None:
        os.write(self._report, json.dumps({"who": self._number, **what}).encode() + b"\n")

    def _append(self, session: Session, data: bytes) -> None:
        self._tell(begun={"box": session.name, "removed": [], "added": [digest(data)]})
        (uid,) = self._place.append(session.box, data)
        self._tell(done={"added": {session.name: {uid: digest(data)}}})

    def _copy(self, session: Session, some: np.ndarray[Any, np.dtype[np.uint32]], *, move: bool) -> None:
        target = next(each for each in self._sessions if each.name != session.name)
        view = session.box.view()
        guids = {int(uid): guid.tobytes().hex() for uid, guid in zip(view.uids, view.guids, strict=True)}
        going = some.tolist() if move else []
        added = [guids[uid] for uid in some.tolist()]
        self._tell(begun={"box": session.name, "removed": going, "added": added})
        gone: list[int] = []
        if move:
            copied, expunged = self._place.run(session.box.move(some, target.box))
            gone = expunged.uids.tolist()
        else:
            copied = self._place.run(session.box.copy(some, target.box))
        pairs = zip(copied.source_uids.tolist(), copied.target_uids.tolist(), strict=True)
        self._tell(
            done={"added": {target.name: {new: guids[old] for old, new in pairs}}, "removed": {session.name: gone}}
        )


@dataclass
class Model:
    """What was acknowledged, and what each process is at."""

    added: dict[tuple[str, int], str] = field(default_factory=dict)
    removed: set[tuple[str, int]] = field(default_factory=set)
    begun: dict[int, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, set[str]] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)

    def take(self, told: dict[str, Any]) -> None:
        """Take in what a process told."""
        who = told["who"]
        if "begun" in told:
            self.begun[who] = told["begun"]
        elif "done" in told:
            del self.begun[who]
            for name, messages in told["done"].get("added", {}).items():
                for uid, guid in messages.items():
                    assert (name, int(uid)) not in self.added, "a UID was given twice"
                    self.added[name, int(uid)] = guid
            for name, gone in told["done"].get("removed", {}).items():
                assert not self.removed.intersection((name, uid) for uid in gone), "a message was expunged twice"
                self.removed.update((name, uid) for uid in gone)
        elif "state" in told:
            name, state = told["state"]
            self.states.setdefault(name, set()).add(state)
        else:
            self.ended.add(who)


class CoherenceTests(SynchronousTestCase):
    def test_one_is_killed(self) -> None:
        """The others go on, and at the end all agree with each other and with what was acknowledged."""
        without_syncs(self)
        for seed in range(8):
            root = Path(self.mktemp())
            root.mkdir()
            place = Place(root)
            for name in NAMES:
                place.create(name)
            self.drive(root, place, random.Random(seed))
            place.close()

    def drive(self, root: Path, place: Place, draw: random.Random) -> None:
        reading, report = os.pipe()
        go_on, going = os.pipe()
        children = []
        for number in range(PROCESSES):
            child = os.fork()
            if not child:
                status = 1
                try:
                    os.close(reading)
                    os.close(going)
                    Worker(root, number, report).work(go_on)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        os.close(report)
        os.close(go_on)
        model = Model()
        victim, moment = draw.randrange(PROCESSES), draw.randrange(40, 160)
        with os.fdopen(reading, "rb") as lines:
            for number, line in enumerate(lines):
                model.take(json.loads(line))
                if number == moment:
                    os.kill(children[victim], signal.SIGKILL)
                if len(model.ended - {victim}) == PROCESSES - 1 and going >= 0:
                    os.close(going)
                    going = -1
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        self.assertEqual(ends, [-signal.SIGKILL if number == victim else 0 for number in range(PROCESSES)])
        self.compare(place, model, victim)

    def compare(self, place: Place, model: Model, victim: int) -> None:
        self.assertLessEqual(model.begun.keys(), {victim})
        at = model.begun.get(victim, {"box": "", "removed": [], "added": []})
        maybe_gone = {(at["box"], uid) for uid in at["removed"]}
        there: dict[tuple[str, int], str] = {}
        for name in NAMES:
            box = place.open(name)
            box.refresh()
            there.update({(name, uid): guid for uid, guid in digests(box).items()})
            self.assertEqual(model.states[name], {state_of(box)})
        wanted = {key: guid for key, guid in model.added.items() if key not in model.removed}
        lost = {key for key in wanted if there.get(key) != wanted[key]}
        self.assertLessEqual(lost, maybe_gone)
        self.assertLessEqual({there[key] for key in there.keys() - wanted.keys()}, set(at["added"]))
