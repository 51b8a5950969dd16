"""Texts are ready soon after their messages came, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.search import BodyContains
from pycyrus.store import files, searchtexts
from pycyrus.store.feeding import PATIENCE, QUIET, TextFeeder
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.searchtexts import SearchTexts
from pycyrus.store.shield import Shield
from pycyrus.store.textlog import TextLog
from pycyrus.test.store.mailboxes import Place, text, uids
from pycyrus.test.store.test_mailbox import MailboxCase as _MailboxCase
from pycyrus.test.store.test_store import FRED, StoreCase, name


class FeedTests(_MailboxCase):
    def feed(self, box: OpenedMailbox | None = None, most: int = 100) -> int:
        box = box or self.box
        left: int = self.place.run(box.state.texts.feed(box.view(), most))
        return left

    def log(self) -> TextLog:
        log = TextLog(str(self.root / "a" / "pycyrus.text"))
        log.load()
        return log

    def found(self, needle: str) -> list[int]:
        """What a search finds, which reads no message."""
        with patch.object(SearchTexts, "_read_texts", side_effect=AssertionError("a message was read")):
            found: list[int] = self.place.run(self.box.search(BodyContains(needle))).tolist()
        return found

    def test_fed(self) -> None:
        """A search then reads no message."""
        self.place.append(self.box, text(1), b"\r\nneedle\r\n")
        self.assertEqual(self.feed(), 0)
        self.assertEqual(self.found("needle"), [2])
        self.place.append(self.box, b"\r\nanother needle\r\n", text(4), text(5))
        self.assertEqual(self.feed(most=1), 2)
        self.assertEqual(self.feed(most=2), 0)
        self.assertEqual(self.feed(), 0)
        self.again()
        self.assertEqual(self.found("needle"), [2, 3])
        self.assertEqual(self.log().fed(), 5)

    def test_after_cleaning(self) -> None:
        """What was forgotten is not added again."""
        self.place.append(self.box, *map(text, range(4)))
        self.feed()
        self.place.run(self.box.state.texts.keep(uids(1, 4)))
        self.assertEqual(self.log().fed(), 4)
        self.assertEqual(self.feed(), 0)
        self.place.append(self.box, b"\r\nneedle\r\n")
        self.feed()
        self.assertEqual(self.log().unknown(self.box.view()).tolist(), [False, True, True, False, False])

    def test_killed(self) -> None:
        """Killed before and after each write, it goes on where it was, and nothing is taken for what it is not."""
        for at in range(1, 5):
            self.place.append(self.box, b"\r\nneedle %d\r\n" % at, text(1))
            child = os.fork()
            if not child:
                try:
                    _die_at_write(at)
                    place = Place(self.root)
                    box = place.open("a")
                    place.run(box.state.texts.feed(box.view(), 1))
                    place.run(box.state.texts.feed(box.view(), 1))
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            self.feed()
            self.again()
            self.assertEqual(len(self.found("needle")), at)
            self.assertEqual(self.found(f"needle {at}"), [2 * at - 1])

    def test_long_ones(self) -> None:
        """A long message takes much memory, so it is left to those who search."""
        self.patch(searchtexts, "_LONGEST_FED", 100)
        self.place.append(self.box, b"\r\nneedle " + b"x" * 100 + b"\r\n", b"\r\nneedle\r\n")
        self.assertEqual(self.feed(), 0)
        self.assertEqual(self.log().unknown(self.box.view()).tolist(), [True, False])
        self.assertEqual(self.place.run(self.box.search(BodyContains("needle"))).tolist(), [1, 2])

    def test_damaged(self) -> None:
        """A log whose head is damaged begins anew."""
        self.place.append(self.box, b"\r\nneedle\r\n")
        self.feed()
        path = self.root / "a" / "pycyrus.text"
        path.write_bytes(b"?" + path.read_bytes()[1:])
        self.feed()
        self.assertEqual(self.found("needle"), [1])

    def test_where_it_cannot_be_written(self) -> None:
        """Nobody tries for ever."""
        self.place.append(self.box, text(1), text(2))
        (self.root / "a" / "pycyrus.text").mkdir()
        self.assertEqual(self.feed(most=1), 0)


def _die_at_write(at: int) -> None:
    count = 0
    write = files.write_all

    def dying(fd: int, data: bytes | bytearray | memoryview, offset: int) -> int:
        nonlocal count
        count += 1
        if count == at:
            write(fd, data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, data, offset)

    files.write_all = dying


class WaitingTests(SynchronousTestCase):
    """When the work is done."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.held: list[str] = []

        async def hold(unique_id: str) -> Any:
            self.held.append(unique_id)
            return await Deferred()

        self.feeder = TextFeeder(self.clock, Shield(), hold, lambda state: None)  # type: ignore[arg-type] # time alone

    def test_when_it_is_quiet(self) -> None:
        """Not while messages come."""
        self.feeder.came("a")
        self.clock.advance(QUIET - 0.1)
        self.feeder.came("b")
        self.clock.advance(0.2)
        self.assertEqual(self.held, [])
        self.clock.advance(QUIET)
        self.assertEqual(self.held, ["a"])

    def test_when_it_is_never_quiet(self) -> None:
        """But not for ever."""
        passed = 0.0
        while not self.held:
            self.feeder.came("a")
            self.clock.advance(QUIET / 2)
            passed += QUIET / 2
        self.assertLessEqual(passed, PATIENCE + QUIET)

    def test_stopped(self) -> None:
        """Nothing is begun any more."""
        self.feeder.came("a")
        self.feeder.stop()
        self.feeder.came("b")
        self.clock.advance(PATIENCE)
        self.assertEqual((self.held, len(self.feeder), self.clock.getDelayedCalls()), ([], 0, []))


class StoreTests(StoreCase):
    async def test_after_a_delivery(self) -> None:
        """A store feeds what was appended to it."""
        self.patch(__import__("pycyrus.store.feeding", fromlist=["QUIET"]), "QUIET", 0.01)
        fed: Deferred[None] = Deferred()
        feed = SearchTexts.feed

        async def told(texts: SearchTexts, view: Any, most: int) -> int:
            left = await feed(texts, view, most)
            if not fed.called:
                fed.callback(None)
            return left

        self.patch(SearchTexts, "feed", told)
        await self.reopen(feeds_searches=True)
        await self.append(FRED, "user.fred", b"\r\nneedle\r\n")
        await fed
        paths = [path for path in Path(self.root).rglob("pycyrus.text") if "fred" in str(path)]
        self.assertEqual([TextLog(str(path)).fed() for path in paths], [1])
        self.assertIsNotNone(self.store.directory.lookup(name("user.fred")))
