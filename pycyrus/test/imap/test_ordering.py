"""What a process remembers of orders is bounded, and right all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap import ordering
from pycyrus.imap.ordering import Orders
from pycyrus.imap.selected import empty_view
from pycyrus.model.sorting import SortCriterion, SortKey
from pycyrus.model.view import View

_BY_SUBJECT = (SortCriterion(SortKey.SUBJECT, False),)


class _Mailbox:
    uidvalidity = 1

    def __init__(self, unique_id: str) -> None:
        self.unique_id = unique_id


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
