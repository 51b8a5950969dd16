"""What a process remembers of orders is bounded, and right all the same."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import Mock, patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap import ordering
from pycyrus.imap.ordering import Orders
from pycyrus.imap.remembered_threads import RememberedThreads
from pycyrus.imap.selection import empty_view
from pycyrus.model.sorting import SortCriterion, SortKey, ThreadAlgorithm
from pycyrus.model.view import CachedItem, View

_BY_SUBJECT = (SortCriterion(SortKey.SUBJECT, False),)


class _Mailbox:
    uidvalidity = 1

    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id

    async def complete(self) -> None:
        """All there is."""


def _view(uids: range, read: list[int]) -> View:
    """Messages whose subjects are in the opposite order of their UIDs."""

    def cached(positions: Any, items: Any) -> list[list[bytes]]:
        read.extend(uids[position] for position in positions.tolist())
        return [[b"%09d" % (10_000_000 - uids[position]) for position in positions.tolist()]]

    return replace(empty_view(), uids=np.array(uids, dtype=np.uint32), cached=cached)


class BoundTests(SynchronousTestCase):
    """L{Orders}."""

    def sort(self, orders: Orders, mailbox: object, view: View) -> list[int]:
        def pause() -> Deferred[None]:
            return succeed(None)

        async def in_thread(work: Any) -> Any:
            return work()

        found = np.arange(len(view))
        coroutine = orders.sort(mailbox, view, found, _BY_SUBJECT, pause, in_thread)  # type: ignore[arg-type] # a double
        order = self.successResultOf(Deferred.fromCoroutine(coroutine))
        uids: list[int] = view.uids[order].tolist()
        return uids

    def test_new_messages_only_are_read(self) -> None:
        orders, mailbox, read = Orders(), _Mailbox("a"), list[int]()
        self.sort(orders, mailbox, _view(range(1, 3001), read))
        read.clear()
        self.assertEqual(self.sort(orders, mailbox, _view(range(1, 3003), read)), list(range(3002, 0, -1)))
        self.assertEqual(read, [3001, 3002])

    def test_messages_that_are_gone_are_forgotten(self) -> None:
        orders, mailbox, read = Orders(), _Mailbox("a"), list[int]()
        self.sort(orders, mailbox, _view(range(1, 3001), read))
        self.assertEqual(self.sort(orders, mailbox, _view(range(2991, 3001), read)), list(range(3000, 2990, -1)))
        read.clear()
        self.sort(orders, mailbox, _view(range(2980, 3001), read))
        self.assertEqual(read, list(range(2980, 2991)))

    def test_of_many_mailboxes_the_last_are_remembered(self) -> None:
        orders, first, read = Orders(), _Mailbox("a"), list[int]()
        with patch.object(ordering, "MOST_TEXTS", 50):
            self.sort(orders, first, _view(range(1, 31), read))
            for name in ("b", "c"):
                self.sort(orders, _Mailbox(name), _view(range(1, 31), read))
            # To begin with another mailbox is when one is forgotten.
            self.sort(orders, _Mailbox("d"), _view(range(1, 2), read))
            read.clear()
            self.sort(orders, first, _view(range(1, 31), read))
        self.assertEqual(len(read), 30)


class ContinuedTests(SynchronousTestCase):
    """An order that is carried on is the one that would be made anew."""

    def order(self, orders: Orders, view: View, criteria: tuple[SortCriterion, ...]) -> list[int]:
        async def in_thread(work: Any) -> Any:
            return work()

        found = np.arange(len(view))
        coroutine = orders.sort(_Mailbox("a"), view, found, criteria, lambda: succeed(None), in_thread)  # type: ignore[arg-type]
        order = self.successResultOf(Deferred.fromCoroutine(coroutine))
        uids: list[int] = view.uids[order].tolist()
        return uids

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 40), max_size=4)), min_size=1, max_size=8),
        st.lists(st.sampled_from([SortKey.SUBJECT, SortKey.SIZE, SortKey.DATE]), min_size=1, max_size=2, unique=True),
        st.booleans(),
        st.randoms(use_true_random=False),
    )
    def test_as_made_anew(
        self, steps: list[tuple[int, list[int]]], keys: list[SortKey], is_reverse: bool, draw: Random
    ) -> None:
        criteria = tuple(SortCriterion(key, is_reverse) for key in keys)
        orders = Orders()
        uids: list[int] = []
        texts: dict[int, bytes] = {}
        sizes: dict[int, int] = {}
        uidnext = 1
        for come, go in steps:
            for uid in range(uidnext, uidnext + come):
                texts[uid], sizes[uid] = b"%d" % draw.randrange(4), draw.randrange(4)
                uids.append(uid)
            uidnext += come
            uids = [uid for uid in uids if uid not in go]
            view = _sized_view(list(uids), texts, sizes)
            self.assertEqual(self.order(orders, view, criteria), self.order(Orders(), view, criteria))

    def test_nothing_is_sorted_again(self) -> None:
        """One message more costs no look at all others."""
        orders = Orders()
        uids = list(range(1, 5001))
        texts = {uid: b"%05d" % (uid * 7919 % 5003) for uid in range(1, 5003)}
        sizes = dict.fromkeys(texts, 1)
        self.order(orders, _sized_view(uids, texts, sizes), _BY_SUBJECT)
        with patch.object(ordering, "_ranks", side_effect=AssertionError("sorted again")):
            found = self.order(orders, _sized_view([*uids, 5001, 5002], texts, sizes), _BY_SUBJECT)
        self.assertEqual(found, sorted(texts, key=lambda uid: (texts[uid], uid)))

    def test_forgotten_for_others(self) -> None:
        """A session that was not told yet that most messages went can go on, though others have forgotten them."""
        orders = Orders()
        uids = list(range(1, 1201))
        texts = {uid: b"%05d" % (uid * 7919 % 5003) for uid in range(1, 1202)}
        sizes = dict.fromkeys(texts, 1)
        self.order(orders, _sized_view(uids, texts, sizes), _BY_SUBJECT)
        self.order(orders, _sized_view(uids[-5:], texts, sizes), (SortCriterion(SortKey.SIZE),))
        found = self.order(orders, _sized_view([*uids, 1201], texts, sizes), _BY_SUBJECT)
        self.assertEqual(found, sorted(texts, key=lambda uid: (texts[uid], uid)))


def _sized_view(uids: list[int], texts: dict[int, bytes], sizes: dict[int, int]) -> View:
    def cached(positions: Any, items: Any) -> list[list[bytes]]:
        return [[texts[uids[position]] for position in positions.tolist()]]

    found = np.array([sizes[uid] for uid in uids], dtype=np.uint32)
    return replace(
        empty_view(),
        uids=np.array(uids, dtype=np.uint32),
        sizes=found,
        sent_times=found.astype(np.int64) % 2,
        cached=cached,
    )


class KeptThreadsTests(SynchronousTestCase):
    """L{Orders.thread_all} while messages come and go."""

    def view(self, uids: list[int]) -> View:
        """Each third message begins a thread, the others answer earlier ones."""

        def cached(positions: Any, items: Any) -> list[list[bytes]]:
            which = [uids[position] for position in positions.tolist()]
            if items == (CachedItem.SUBJECT,):
                return [[b"re: about %d" % (uid % 5) for uid in which]]
            return [[b"Message-ID: <%d@x>\r\nReferences: <%d@x>\r\n" % (uid, uid // 3 * 2) for uid in which]]

        array = np.array(uids, dtype=np.uint32)
        return replace(empty_view(), uids=array, sent_times=array.astype(np.int64) * 7 % 11, cached=cached)

    def thread(self, orders: Orders, view: View, algorithm: ThreadAlgorithm, by_uid: bool) -> bytes:
        async def pause() -> None:
            """Nobody else is there."""

        async def in_thread(work: Any) -> Any:
            return work()

        mailbox: Any = _Mailbox("a")
        coroutine = orders.thread_all(mailbox, view, algorithm, pause, in_thread, by_uid=by_uid)
        line: bytes = self.successResultOf(Deferred.fromCoroutine(coroutine))
        return line

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.sampled_from(ThreadAlgorithm),
        st.booleans(),
        st.lists(st.one_of(st.integers(1, 5), st.sets(st.integers(0, 30), max_size=2)), max_size=8),
    )
    def test_as_made_anew(self, algorithm: ThreadAlgorithm, by_uid: bool, steps: list[int | set[int]]) -> None:
        orders, uids, uidnext = Orders(), list[int](), 1
        for step in steps:
            if isinstance(step, int):
                uids = [*uids, *range(uidnext, uidnext + step)]
                uidnext += step
            else:
                uids = [uid for place, uid in enumerate(uids) if place not in step]
            told = self.thread(orders, self.view(uids), algorithm, by_uid)
            self.assertEqual(told, self.thread(Orders(), self.view(uids), algorithm, by_uid))
            numbers = uids if by_uid else range(1, len(uids) + 1)
            self.assertEqual(sorted(map(int, re.findall(rb"\d+", told))), list(numbers))

    def test_what_came_is_added(self) -> None:
        """Nothing is made anew for it; but too large a mailbox is not kept."""
        orders = Orders()
        made = Mock(wraps=RememberedThreads)
        with patch.object(ordering, "MOST_THREADED", 40), patch.object(ordering, "RememberedThreads", made):
            for count in (30, 31, 40):
                self.thread(orders, self.view([*range(1, count + 1)]), ThreadAlgorithm.REFERENCES, True)
            self.assertEqual(made.call_count, 1)
            for count in (41, 42, 43):
                self.thread(orders, self.view([*range(1, count + 1)]), ThreadAlgorithm.REFERENCES, True)
            self.assertEqual(made.call_count, 3)
