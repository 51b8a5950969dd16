"""Cached items that are made after the message was acknowledged: nobody sees the difference."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np
from twisted.internet import reactor
from twisted.internet.task import deferLater

from pycyrus.interfaces import IMailbox, NewMessage
from pycyrus.mime.summary import Summary, summarise
from pycyrus.model.search import AddressField, HeaderContains
from pycyrus.model.view import CachedItem
from pycyrus.store import filling, items, leisure, spool
from pycyrus.test.store.test_store import FRED, StoreCase, name

ITEMS = tuple(CachedItem)


def message(number: int) -> bytes:
    return b"From: u%d@example.org\r\nSubject: number %d\r\n\r\nbody\r\n" % (number, number)


class Filling(StoreCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        # Nothing happens by itself, but where a test says so.
        self.patch(filling, "QUIET", 1000.0)
        self.patch(filling, "PATIENCE", 1000.0)
        await super().setUp()

    async def opened(self) -> IMailbox:
        mailbox = await self.store.open(FRED, name("user.fred"), "r")
        self.addCleanup(mailbox.close)
        return mailbox

    def missing(self, mailbox: IMailbox) -> list[int]:
        """UIDs of messages whose items are nowhere."""
        view = mailbox.view()
        assert view.cached_sizes is not None
        return [int(uid) for uid in view.uids[view.cached_sizes == 0]]

    def assert_cached(self, mailbox: IMailbox, messages: Sequence[bytes]) -> None:
        found = mailbox.view().cached(np.arange(len(messages)), ITEMS)
        self.assertEqual([*zip(*found, strict=True)], [summarise(each).items for each in messages])

    async def test_read_at_once(self) -> None:
        """What is asked for is made on the spot, and not a second time."""
        await self.append(FRED, "user.fred", message(1))
        mailbox = await self.opened()
        self.assertEqual(self.missing(mailbox), [1])
        self.assert_cached(mailbox, [message(1)])
        await deferLater(reactor, 0)
        self.assertEqual(self.missing(mailbox), [])
        self.assert_cached(mailbox, [message(1)])

    async def test_read_while_the_mailbox_is_renamed(self) -> None:
        """The kernel knows where the directory is before anybody says so."""
        await self.append(FRED, "user.fred", message(1))
        mailbox = await self.opened()
        self.assertEqual(self.missing(mailbox), [1])
        here = self.root / "spool/user/fred"
        away = here.rename(here.with_name("away"))
        try:
            self.assert_cached(mailbox, [message(1)])
        finally:
            away.rename(here)

    async def test_complete(self) -> None:
        """A few at a time, so that others have their turn."""
        messages = [message(number) for number in range(3 * filling.FEW + 1)]
        for each in messages:
            await self.append(FRED, "user.fred", each)
        mailbox = await self.opened()
        self.assertEqual(len(self.missing(mailbox)), len(messages))
        await mailbox.complete()
        self.assertEqual(self.missing(mailbox), [])
        self.assert_cached(mailbox, messages)

    async def test_search(self) -> None:
        for number in range(20):
            await self.append(FRED, "user.fred", message(number))
        mailbox = await self.opened()
        self.assertEqual((await mailbox.search(HeaderContains(AddressField.FROM, "u13@"))).tolist(), [14])
        self.assertEqual(self.missing(mailbox), [])

    async def test_by_itself(self) -> None:
        """In a quiet process, without anybody asking."""
        self.patch(filling, "QUIET", 0.0)
        await self.reopen()
        for number in range(2 * filling.FEW):
            await self.append(FRED, "user.fred", message(number))
        mailbox = await self.opened()
        while self.missing(mailbox):
            await deferLater(reactor, 0.001)
        self.assert_cached(mailbox, [message(number) for number in range(2 * filling.FEW)])

    async def test_one_after_another(self) -> None:
        """What came alone is made alone, and what another process left to be made with it."""
        self.patch(filling, "QUIET", 0.0)
        mine = await self.reopen()
        self.patch(filling, "QUIET", 1000.0)
        idle = self.open()
        mailbox = await self.opened()
        messages = [message(number) for number in range(4)]

        async def complete() -> None:
            mailbox.refresh()
            while self.missing(mailbox):
                await deferLater(reactor, 0.001)
                mailbox.refresh()

        for each in messages[:2]:
            await self.append(FRED, "user.fred", each)
            await complete()
        self.store = idle
        await self.append(FRED, "user.fred", messages[2])
        self.store = mine
        await self.append(FRED, "user.fred", messages[3])
        await complete()
        self.assert_cached(mailbox, messages)

    async def test_in_a_busy_process(self) -> None:
        """Some time later, though there is no leisure."""
        self.patch(filling, "PATIENCE", 0.01)
        self.patch(leisure, "REST", 0.0)
        self.patch(leisure, "BUSY", -1.0)
        await self.reopen()
        await self.append(FRED, "user.fred", message(1))
        mailbox = await self.opened()
        while self.missing(mailbox):
            await deferLater(reactor, 0.001)

    async def test_of_many_parts(self) -> None:
        """A few kilobytes with hundreds of parts are taken apart in a thread, by itself as when somebody asks."""
        self.patch(filling, "QUIET", 0.0)
        await self.reopen()
        part = b"--x\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
        many = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n" + part * 800 + b"--x--\r\n"
        where: list[int] = []

        def noted(data: bytes) -> Summary:
            where.append(threading.get_ident())
            return summarise(data)

        self.patch(items, "summarise", noted)
        await self.append(FRED, "user.fred", many)
        mailbox = await self.opened()
        while self.missing(mailbox):
            await deferLater(reactor, 0.001)
        await self.append(FRED, "user.fred", many)
        await mailbox.complete()
        self.assertEqual(self.missing(mailbox), [])
        self.assertNotIn(threading.get_ident(), where)
        self.assertGreaterEqual(len(where), 2)
        self.assert_cached(mailbox, [many, many])

    async def test_after_a_restart(self) -> None:
        await self.append(FRED, "user.fred", message(1))
        await self.reopen()
        mailbox = await self.opened()
        self.assertEqual(self.missing(mailbox), [1])
        self.assert_cached(mailbox, [message(1)])

    async def test_another_process(self) -> None:
        """It sees what this one makes, and what it makes itself is seen here."""
        other = self.open()
        theirs = await other.open(FRED, name("user.fred"), "r")
        self.addCleanup(theirs.close)
        await self.append(FRED, "user.fred", message(1))
        theirs.refresh()
        self.assertEqual(self.missing(theirs), [1])
        await theirs.complete()
        mailbox = await self.opened()
        mailbox.refresh()
        self.assertEqual(self.missing(mailbox), [])
        self.assert_cached(mailbox, [message(1)])

    async def test_for_many(self) -> None:
        """Of what several mailboxes get the items are made once, by the second of them."""
        await self.store.create(FRED, name("user.fred.a"))
        await self.store.create(FRED, name("user.fred.b"))
        made: list[bytes] = []

        def counted(data: bytes) -> object:
            made.append(bytes(data))
            return summarise(data)

        self.patch(spool, "summarise", counted)
        staged = await self.store.stage(FRED, name("user.fred"))
        staged.write(message(1))
        staged.finish()
        for target, missing in (("user.fred", [1]), ("user.fred.a", []), ("user.fred.b", [])):
            mailbox = await self.store.open(FRED, name(target), "r")
            self.addCleanup(mailbox.close)
            await mailbox.append([NewMessage(staged)])
            self.assertEqual(self.missing(mailbox), missing)
            self.assert_cached(mailbox, [message(1)])
        staged.discard()
        self.assertEqual(made, [message(1)])

    async def test_known_to_be_for_many(self) -> None:
        """Who says so beforehand has them made once, for the first of the mailboxes as well."""
        await self.store.create(FRED, name("user.fred.a"))
        staged = await self.store.stage(FRED, name("user.fred"))
        staged.write(message(1))
        staged.finish(is_shared=True)
        for target in ("user.fred", "user.fred.a"):
            mailbox = await self.store.open(FRED, name(target), "r")
            self.addCleanup(mailbox.close)
            await mailbox.append([NewMessage(staged)])
            self.assertEqual(self.missing(mailbox), [])
            self.assert_cached(mailbox, [message(1)])
        staged.discard()

    async def test_a_file_that_is_gone(self) -> None:
        """The others are made nevertheless, when they are asked for; nothing goes on for ever."""
        await self.append(FRED, "user.fred", message(1))
        await self.append(FRED, "user.fred", message(2))
        (self.root / "spool/user/fred/1.").unlink()
        mailbox = await self.opened()
        await mailbox.complete()
        [[envelope]] = mailbox.view().cached(np.array([1]), (CachedItem.ENVELOPE,))
        self.assertEqual(envelope, summarise(message(2)).items[CachedItem.ENVELOPE])

    async def test_time_of_the_last_update(self) -> None:
        """It is that of the message."""
        await self.append(FRED, "user.fred", message(1))
        journal = self.root / "spool/user/fred/pycyrus.journal"
        os.utime(journal, (1_000_000_000, 1_000_000_000))
        mailbox = await self.opened()
        await mailbox.complete()
        self.assertEqual(self.missing(mailbox), [])
        self.assertEqual(journal.stat().st_mtime, 1_000_000_000)

    async def test_closing(self) -> None:
        """What is left to do does not keep a store open."""
        await self.append(FRED, "user.fred", message(1))
        await self.reopen()
        self.assertEqual(self.missing(await self.opened()), [1])
