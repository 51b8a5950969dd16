"""Random operations on a mailbox, compared with a dictionary, with reopening and rewriting in between."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.view import CachedItem
from pycyrus.store import checkpoint, files, writing
from pycyrus.test.store.mailboxes import Place, octets, text, without_syncs

FLAGS = st.builds(
    Flags,
    st.sampled_from([0, SEEN, FLAGGED, DELETED, SEEN | DELETED]),
    st.lists(st.sampled_from([b"Work", b"Play", b"$Label"]), unique=True, max_size=2).map(tuple),
)


@dataclass
class Message:
    """What a message should be."""

    data: bytes
    system: int
    keywords: set[bytes]
    modseq: int = 0


@dataclass
class Model:
    """What a mailbox should be."""

    messages: dict[int, Message] = field(default_factory=dict)
    vanished: dict[int, int] = field(default_factory=dict)
    uidnext: int = 1


class MailboxMachine(RuleBasedStateMachine):
    """Two mailboxes, and two processes that take turns."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.places = [Place(self.root), Place(self.root)]
        self.models = {"a": Model(), "b": Model()}
        self.number = 0
        self.places[0].create("a")
        self.places[0].create("b")
        self.boxes = [{name: place.open(name) for name in "ab"} for place in self.places]

    def teardown(self) -> None:
        for place in self.places:
            place.close()
        shutil.rmtree(self.root)

    who = st.sampled_from([0, 1])
    names = st.sampled_from(["a", "b"])

    def chosen(self, name: str, part: float) -> list[int]:
        """Some of the UIDs, and one that is not there."""
        there = sorted(self.models[name].messages)
        start = int(len(there) * part)
        return [*there[start::2], self.models[name].uidnext + 7]

    @rule(who=who, name=names, count=st.integers(1, 3), flags=FLAGS)
    def append(self, who: int, name: str, count: int, flags: Flags) -> None:
        messages = []
        for _ in range(count):
            self.number += 1
            messages.append(text(self.number, self.number * 10))
        box, model = self.boxes[who][name], self.models[name]
        got = self.places[who].append(box, *messages, flags=flags)
        assert list(got) == list(range(model.uidnext, model.uidnext + count))
        for uid, data in zip(got, messages, strict=True):
            model.messages[uid] = Message(data, flags.system, set(flags.keywords), box.highest_modseq())
        model.uidnext += count

    @rule(
        who=who, name=names, part=st.floats(0, 1), action=st.sampled_from(FlagAction), flags=FLAGS, late=st.booleans()
    )
    def store(self, who: int, name: str, part: float, action: FlagAction, flags: Flags, late: bool) -> None:
        box, model = self.boxes[who][name], self.models[name]
        box.refresh()
        before = box.highest_modseq()
        since = before // 2 if late else None
        asked = self.chosen(name, part)
        stored = self.places[who].run(box.store(np.array(asked, dtype=np.uint32), FlagChange(action, flags), since))
        there = [uid for uid in asked if uid in model.messages]
        refused = [uid for uid in there if since is not None and model.messages[uid].modseq > since]
        assert stored.modified.tolist() == refused
        assert stored.changed.tolist() == [uid for uid in there if uid not in refused]
        for uid in stored.changed.tolist():
            message = model.messages[uid]
            old = (message.system, set(message.keywords))
            if action is FlagAction.REPLACE:
                message.system, message.keywords = flags.system, set(flags.keywords)
            elif action is FlagAction.ADD:
                message.system |= flags.system
                message.keywords |= set(flags.keywords)
            else:
                message.system &= ~flags.system
                message.keywords -= set(flags.keywords)
            if old != (message.system, message.keywords):
                assert stored.modseq is not None and stored.modseq > before
                message.modseq = stored.modseq

    @rule(who=who, name=names, part=st.none() | st.floats(0, 1))
    def expunge(self, who: int, name: str, part: float | None) -> None:
        box, model = self.boxes[who][name], self.models[name]
        asked = None if part is None else np.array(self.chosen(name, part), dtype=np.uint32)
        expunged = self.places[who].run(box.expunge(asked))
        wanted = sorted(model.messages) if asked is None else asked.tolist()
        gone = [uid for uid in wanted if uid in model.messages and model.messages[uid].system & DELETED]
        assert expunged.uids.tolist() == gone
        for uid in gone:
            del model.messages[uid]
            model.vanished[uid] = expunged.modseq or 0

    @rule(who=who, name=names, part=st.floats(0, 1), other=names, move=st.booleans())
    def copy(self, who: int, name: str, part: float, other: str, move: bool) -> None:
        source, target = self.boxes[who][name], self.boxes[who][other]
        asked = np.array(self.chosen(name, part), dtype=np.uint32)
        there = [uid for uid in asked.tolist() if uid in self.models[name].messages]
        if move:
            copied, expunged = self.places[who].run(source.move(asked, target))
        else:
            copied, expunged = self.places[who].run(source.copy(asked, target)), None
        model = self.models[other]
        assert copied.source_uids.tolist() == there
        assert copied.target_uids.tolist() == list(range(model.uidnext, model.uidnext + len(there)))
        view = target.view()
        for old, new in zip(there, copied.target_uids.tolist(), strict=True):
            original = self.models[name].messages[old]
            at = int(np.searchsorted(view.uids, new))
            model.messages[new] = Message(
                original.data, original.system, set(original.keywords), int(view.modseqs[at]) if at < len(view) else 0
            )
        model.uidnext += len(there)
        if expunged is not None:
            for uid in there:
                del self.models[name].messages[uid]
                self.models[name].vanished[uid] = expunged.modseq or 0

    @rule(who=who, name=names)
    def reopen(self, who: int, name: str) -> None:
        self.places[who].close()
        self.places[who] = Place(self.root)
        self.boxes[who] = {each: self.places[who].open(each) for each in "ab"}

    @rule(name=names, snapshot=st.booleans())
    def maintain(self, name: str, snapshot: bool) -> None:
        (checkpoint.take_snapshot if snapshot else checkpoint.compact)(self.places[0].paths(name))

    @rule(who=who, name=names)
    def purge(self, who: int, name: str) -> None:
        self.places[who].run(writing.purge(self.boxes[who][name].state, 1 << 40))

    @rule(who=who, name=names)
    def claim_recent(self, who: int, name: str) -> None:
        box = self.boxes[who][name]
        first = box.claim_recent()
        assert box.counts().recent == 0
        assert first <= self.models[name].uidnext

    @invariant()
    def same(self) -> None:
        for boxes in self.boxes:
            for name, box in boxes.items():
                self.compare(name)
                box.refresh()

    def compare(self, name: str) -> None:
        model = self.models[name]
        for boxes in self.boxes:
            box = boxes[name]
            box.refresh()
            view = box.view()
            assert view.uids.tolist() == sorted(model.messages)
            assert box.uidnext() == model.uidnext
            names = box.keyword_names()
            for at, (uid, message) in enumerate(sorted(model.messages.items())):
                words = int(view.keywords[at, 0]) | int(view.keywords[at, 1]) << 64
                assert {names[bit] for bit in range(len(names)) if words >> bit & 1} == message.keywords
                assert int(view.flags[at]) == message.system
                if message.modseq:
                    assert int(view.modseqs[at]) == message.modseq
                assert view.guids[at].tobytes() == hashlib.sha1(message.data).digest()
                assert octets(box, uid) == message.data
            subjects = view.cached(np.arange(len(view)), [CachedItem.SUBJECT])[0]
            assert subjects == [b"number %d" % number_of(model.messages[uid].data) for uid in sorted(model.messages)]
            counts = box.counts()
            system = [model.messages[uid].system for uid in sorted(model.messages)]
            unseen = [at for at, bits in enumerate(system) if not bits & SEEN]
            assert counts.unseen == len(unseen)
            assert counts.first_unseen == (unseen[0] + 1 if unseen else 0)
            assert counts.deleted == sum(bool(bits & DELETED) for bits in system)
            assert counts.size == sum(len(message.data) for message in model.messages.values())
            assert box.vanished_since(0).tolist() == sorted(model.vanished)
            middle = box.highest_modseq() // 2
            assert box.vanished_since(middle).tolist() == sorted(
                uid for uid, modseq in model.vanished.items() if modseq > middle
            )


def number_of(data: bytes) -> int:
    return int(data.partition(b"number ")[2].partition(b"\r")[0])


class ModelTests(SynchronousTestCase):
    def test_against_a_dictionary(self) -> None:
        """Whatever is done, in whatever order and by whom: the mailbox is what the operations say."""
        without_syncs(self)
        self.assertTrue(files.have_syncfs)
        run_state_machine_as_test(
            MailboxMachine,
            settings=settings(
                max_examples=40,
                stateful_step_count=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
