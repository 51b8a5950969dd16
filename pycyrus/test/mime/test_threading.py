"""Base subjects and threads."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime import threading
from pycyrus.mime.base_subject import base_subject
from pycyrus.mime.forest import Forest
from pycyrus.mime.threading import Node, Threaded, by_references, by_subject, message_ids
from pycyrus.model.sorting import ThreadAlgorithm


class BaseSubjectTests(SynchronousTestCase):
    def test_marks(self) -> None:
        """RFC 5256 section 2.1."""
        for subject, expected in {
            "plain": ("plain", False),
            "Re: plain": ("plain", True),
            "RE:re :  plain": ("plain", True),
            "Fwd: plain": ("plain", True),
            "fw: [list] plain": ("plain", True),
            "[list] Re: [list] plain (fwd)  (FWD) ": ("plain", True),
            "Re[2]: plain": ("plain", True),
            "[only a blob]": ("[only a blob]", False),
            "[a] [b] c": ("c", False),
            "[Fwd: Re: plain]": ("plain", True),
            "re": ("re", False),
            "Reply: no": ("Reply: no", False),
            "": ("", False),
            "Re:": ("", True),
        }.items():
            self.assertEqual(base_subject(subject), expected, subject)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text("reRE:[]() fwdFWD", max_size=60))
    def test_idempotent(self, subject: str) -> None:
        """Taking marks off what has none left changes nothing."""
        once = base_subject(subject)[0]
        self.assertEqual(base_subject(once)[0], base_subject(base_subject(once)[0])[0])

    def test_hostile(self) -> None:
        """No subject takes long."""
        base_subject("re:" * 100_000)
        base_subject("[" * 100_000)
        base_subject("[a]" * 30_000)
        base_subject(" " * 100_000 + "x")
        base_subject("x" + "(fwd)" * 100_000)


class OrderTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers())))
    def test_as_sorted(self, things: list[tuple[int, int]]) -> None:
        """Equal ones stay as they were."""
        with patch.object(threading, "RUN", 3):
            found = threading.in_order(things, lambda thing: thing[0])
        self.assertEqual(found, sorted(things, key=lambda thing: thing[0]))


def shape(node: Node) -> object:
    below = [shape(child) for child in node.children]
    return (node.message, below) if below else node.message


def message(own: str, *references: str, subject: str = "s", reply: bool = False, date: int = 0) -> Threaded:
    return Threaded(own.encode() or None, tuple(each.encode() for each in references), subject, reply, date)


class ThreadTests(SynchronousTestCase):
    def threads(self, *messages: Threaded, **options: bool) -> list[object]:
        return [shape(root) for root in by_references(messages, range(len(messages)), **options)]

    def test_references(self) -> None:
        self.assertEqual(
            self.threads(message("a"), message("b", "a", subject="t"), message("c", "a", "b", subject="t")),
            [(0, [(1, [2])])],
        )

    def test_a_missing_parent(self) -> None:
        """Two answers to what is not here stand together, below its place."""
        found = self.threads(message("b", "x", date=2), message("c", "x", date=1), message("d", subject="other"))
        self.assertEqual(found, [2, (None, [1, 0])])

    def test_subjects(self) -> None:
        """An answer without references is below what it answers, by its subject."""
        self.assertEqual(self.threads(message("a", date=1), message("b", reply=True, date=2)), [(0, [1])])
        self.assertEqual(
            self.threads(message("a", date=1), message("b", reply=True, date=2), merges_subjects=False), [0, 1]
        )
        # Two that are no answers are beside each other.
        self.assertEqual(self.threads(message("a", date=1), message("b", date=2)), [(None, [0, 1])])

    def test_loops(self) -> None:
        """Who refers in circles is still told, once."""
        found = self.threads(message("a", "b"), message("b", "a"), message("c", "c"))
        self.assertEqual(sorted(_flat(found)), [0, 1, 2])

    def test_same_id_twice(self) -> None:
        found = self.threads(message("a", subject="1"), message("a", subject="2"))
        self.assertEqual(sorted(_flat(found)), [0, 1])

    def test_a_long_chain(self) -> None:
        """Each answers the one before."""
        count = 20_000
        messages = [message(str(number), str(number - 1)) for number in range(count)]
        (root,) = by_references(messages, range(count))
        depth = 0
        while root.children:
            (root,) = root.children
            depth += 1
        self.assertEqual(depth, count - 1)

    def test_by_subject(self) -> None:
        messages = [
            message("a", subject="x", date=3),
            message("b", subject="x", date=1),
            message("c", subject="y", date=2),
        ]
        self.assertEqual([shape(root) for root in by_subject(messages, range(3))], [(1, [0]), 2])

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.data())
    def test_every_message_once(self, data: st.DataObject) -> None:
        """Whatever refers to whatever, each message is in one thread, once."""
        ids = st.sampled_from([*"abcdefgh", ""])
        messages = [
            message(
                data.draw(ids),
                *data.draw(st.lists(ids.filter(bool), max_size=4)),
                subject=data.draw(st.sampled_from(["", "s", "t"])),
                reply=data.draw(st.booleans()),
                date=data.draw(st.integers(0, 5)),
            )
            for _ in range(data.draw(st.integers(0, 9)))
        ]
        for merges in (True, False):
            found = self.threads(*messages, merges_subjects=merges)
            self.assertEqual(sorted(_flat(found)), list(range(len(messages))))

    def test_message_ids(self) -> None:
        self.assertEqual(message_ids(b'<a@b> junk <"c d"@e> <f@\r\n <"g"@h>'), [b"a@b", b"c d@e", b"g@h"])


def _flat(found: object) -> list[int]:
    if isinstance(found, int):
        return [found]
    if isinstance(found, tuple):
        own, below = found
        return ([] if own is None else [own]) + _flat(below)
    assert isinstance(found, list)
    return [each for part in found for each in _flat(part)]


class ForestTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.data(), st.sampled_from(ThreadAlgorithm))
    def test_as_made_at_once(self, data: st.DataObject, algorithm: ThreadAlgorithm) -> None:
        """Messages that come one by one are where they are when all threads are made anew."""
        ids = st.sampled_from([*"abcdefgh", ""])
        messages = data.draw(
            st.lists(
                st.builds(
                    lambda own, references, subject, reply, date: message(
                        own, *references, subject=subject, reply=reply, date=date
                    ),
                    ids,
                    st.lists(st.sampled_from("abcdefgh"), max_size=4),
                    st.sampled_from(["", "x", "y"]),
                    st.booleans(),
                    st.integers(0, 5),
                ),
                max_size=14,
            )
        )
        at_once = data.draw(st.integers(0, len(messages)))
        forest = Forest(algorithm)
        told = [shape(thread) for thread in forest.fill(messages[:at_once])]
        for number in range(at_once, len(messages)):
            for edit in forest.add(messages[number]):
                told[edit.place : edit.place + (edit.thread is None)] = (
                    [] if edit.thread is None else [shape(edit.thread)]
                )
        numbers = range(len(messages))
        if algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
            anew = by_subject(messages, numbers)
        else:
            refs = algorithm is ThreadAlgorithm.REFS
            anew = by_references(messages, numbers, merges_subjects=not refs, newest_last=refs)
        self.assertEqual(told, [shape(thread) for thread in anew])
