"""Quotas: what counts, what is let in, and that the sums are right whatever happens."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxNotFound, OverQuota, PermissionDenied, QuotaRootNotFound
from pycyrus.interfaces import NewMessage
from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement, Limit, Quota, Resource, Usage
from pycyrus.sqlite.opening import CHECKSUM, connect
from pycyrus.store.directory import FILE_NAME as LIST_NAME
from pycyrus.store.quota_roots import FILE_NAME, domain_root
from pycyrus.store.quotas import _outside
from pycyrus.store.store import MailStore
from pycyrus.store.usage import UsageMap, mark_of
from pycyrus.test.store.test_store import ADMIN, BOB, FRED, MESSAGE, StoreCase, name

SIZE = len(MESSAGE)
_DELETE = FlagChange(FlagAction.ADD, Flags(DELETED))

APPEND_FOR_EVER = """
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from pycyrus.interfaces import NewMessage
from pycyrus.model.identity import Identity
from pycyrus.model.names import parse_internal
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store

root = Path(sys.argv[1])

async def main():
    partitions = {"default": root / "spool", "other": root / "other"}
    settings = StoreSettings(root / "config", partitions, defaultpartition="default")
    store = open_store(settings, reactor)
    fred, name = Identity("fred"), parse_internal("user.fred")
    while True:
        staged = await store.stage(fred, name)
        staged.write(b"Subject: hello\\r\\n\\r\\nbody\\r\\n")
        staged.finish()
        mailbox = await store.open(fred, name, "i")
        await mailbox.append([NewMessage(staged)])
        mailbox.close()
        print(flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda failure: failure.printTraceback()))
reactor.run()
"""


class QuotaCase(StoreCase):
    async def limit(self, root: str, **limits: int) -> None:
        wanted = [Limit(resource.replace("_", "-"), value) for resource, value in limits.items()]
        await self.store.set_quota(ADMIN, name(root), wanted)

    async def usage(self, root: str, store: MailStore | None = None) -> Usage:
        return (await (store or self.store).quota(ADMIN, name(root))).usage

    async def counted(self, root: str) -> Usage:
        """Counted from the mailboxes themselves."""
        octets = messages = mailboxes = 0
        for entry in self.store.directory.tree(name(root)):
            state = await self.store.hold(entry)
            state.refresh()
            octets += state.contents.size
            messages += state.contents.columns.count
            mailboxes += 1
            self.store.release(state)
        return Usage(octets, messages, 0, mailboxes)

    async def expunge(self, identity: Identity, mailbox: str, *uids: int) -> None:
        box = await self.store.open(identity, name(mailbox), "e")
        wanted = np.array(uids, dtype=np.uint32)
        await box.store(wanted, _DELETE)
        await box.expunge(wanted)
        box.close()


class UsageTests(QuotaCase):
    async def test_all_below_the_root_counts(self) -> None:
        await self.limit("user.fred")
        await self.store.create(FRED, name("user.fred.a"))
        self.assertEqual(await self.usage("user.fred"), Usage(0, 0, 0, 2))
        await self.append(FRED, "user.fred")
        await self.append(FRED, "user.fred.a")
        await self.append(BOB, "user.bob")
        self.assertEqual(await self.usage("user.fred"), Usage(2 * SIZE, 2, 0, 2))
        await self.expunge(FRED, "user.fred", 1)
        self.assertEqual(await self.usage("user.fred"), Usage(SIZE, 1, 0, 2))
        await self.store.rename(FRED, name("user.fred.a"), name("user.fred.b"))
        self.assertEqual(await self.usage("user.fred"), Usage(SIZE, 1, 0, 2))
        await self.store.delete(FRED, name("user.fred.b"))
        self.assertEqual(await self.usage("user.fred"), Usage(0, 0, 0, 1))

    async def test_what_was_there_before_the_root_counts(self) -> None:
        await self.append(FRED, "user.fred")
        await self.reopen()
        (self.root / "config" / "usage.map").unlink()
        await self.reopen()
        await self.limit("user.fred", STORAGE=1)
        self.assertEqual(await self.usage("user.fred"), Usage(SIZE, 1, 0, 1))

    async def test_a_nearer_root_takes_its_mailboxes_out(self) -> None:
        for path in ("user.fred.a", "user.fred.a.b", "user.fred.a2", "user.fred.c"):
            await self.store.create(FRED, name(path))
            await self.append(FRED, path)
        await self.limit("user.fred")
        await self.limit("user.fred.a")
        await self.limit("user.fred.a.b")
        self.assertEqual((await self.usage("user.fred")).mailboxes, 3)
        self.assertEqual(await self.usage("user.fred.a"), Usage(SIZE, 1, 0, 1))
        found = await self.store.quota_of(FRED, name("user.fred.a.b"))
        self.assertEqual(found and found.root, name("user.fred.a.b"))

    async def test_a_whole_domain(self) -> None:
        root = domain_root("example.org")
        jane = Identity("jane", "example.org")
        await self.store.create(ADMIN, MailboxName("example.org", "jane", ()))
        await self.store.create(ADMIN, MailboxName("example.org", None, ("news",)))
        await self.store.set_quota(ADMIN, root, [Limit("MAILBOX", 2)])
        self.assertEqual((await self.store.quota(ADMIN, root)).usage.mailboxes, 2)
        with self.assertRaises(OverQuota):
            await self.store.create(jane, MailboxName("example.org", "jane", ("more",)))
        await self.store.create(FRED, name("user.fred.more"))

    async def test_annotations_count(self) -> None:
        await self.limit("user.fred", ANNOTATION_STORAGE=1)
        await self.store.annotate(FRED, name("user.fred"), {"/private/comment": b"x" * 1000})
        self.assertEqual((await self.usage("user.fred")).annotation_octets, 1000)
        with self.assertRaises(OverQuota):
            await self.store.annotate(FRED, name("user.fred"), {"/shared/comment": b"x" * 1000})

    async def test_annotations_of_copies_count(self) -> None:
        await self.limit("user.fred", ANNOTATION_STORAGE=1)
        await self.store.create(FRED, name("user.fred.b"))
        await self.append(FRED, "user.fred", MESSAGE)
        box = await self.store.open(FRED, name("user.fred"), "r")
        target = await self.store.open(FRED, name("user.fred.b"), "i")
        try:
            uids = box.view().uids
            await box.annotate(uids, {(AnnotationScope.SHARED, "/comment"): b"x" * 600})
            with self.assertRaises(OverQuota):
                await box.copy(uids, target)
            self.assertEqual(len(target.view()), 0)
            await box.annotate(uids, {(AnnotationScope.SHARED, "/comment"): b"x" * 500})
            await box.copy(uids, target)
        finally:
            box.close()
            target.close()
        self.assertEqual((await self.usage("user.fred")).annotation_octets, 1000)

    async def test_a_user_takes_the_quota_along_and_leaves_none(self) -> None:
        await self.reopen(allowusermoves=True)
        await self.limit("user.fred", STORAGE=7)
        await self.store.rename(ADMIN, name("user.fred"), name("user.fritz"))
        self.assertEqual((await self.store.quota(ADMIN, name("user.fritz"))).limits, (Limit("STORAGE", 7),))
        with self.assertRaises(QuotaRootNotFound):
            await self.usage("user.fred")
        await self.store.delete(ADMIN, name("user.fritz"))
        with self.assertRaises(QuotaRootNotFound):
            await self.usage("user.fritz")


class RoomTests(QuotaCase):
    async def append_as(self, enforcement: Enforcement, message: bytes = MESSAGE) -> None:
        staged = await self.store.stage(POSTMAN, name("user.fred"))
        staged.write(message)
        staged.finish()
        box = await self.store.open(POSTMAN, name("user.fred"), "p")
        try:
            await box.append([NewMessage(staged)], enforcement=enforcement)
        finally:
            box.close()
            staged.discard()

    async def test_how_strict(self) -> None:
        await self.limit("user.fred", STORAGE=1)
        large = b"Subject: x\r\n\r\n" + b"x" * 2000
        with self.assertRaises(OverQuota):
            await self.append_as(Enforcement.FULL, large)
        await self.append_as(Enforcement.LENIENT, large)
        with self.assertRaises(OverQuota):
            await self.append_as(Enforcement.LENIENT)
        await self.append_as(Enforcement.NONE)
        self.assertEqual((await self.usage("user.fred")).messages, 2)

    async def test_copies_need_room_and_moves_within_the_root_do_not(self) -> None:
        await self.store.create(FRED, name("user.fred.a"))
        await self.append(FRED, "user.fred")
        await self.limit("user.fred", MESSAGE=1)
        source = await self.store.open(FRED, name("user.fred"), "r")
        target = await self.store.open(FRED, name("user.fred.a"), "i")
        one = np.array([1], dtype=np.uint32)
        with self.assertRaises(OverQuota):
            await source.copy(one, target)
        self.assertEqual(target.counts().messages, 0)
        await source.move(one, target)
        await self.limit("user.fred.a", MESSAGE=1)
        await self.append(FRED, "user.fred")
        source.refresh()
        with self.assertRaises(OverQuota):
            await source.move(np.array([2], dtype=np.uint32), target)
        self.assertEqual(source.counts().messages, 1)
        source.close()
        target.close()

    async def test_who_may(self) -> None:
        foreign = Identity("boss", "example.org", admin=AdminScope.DOMAIN)
        await self.limit("user.fred", STORAGE=1)
        for identity in (FRED, BOB, foreign):
            with self.assertRaises(PermissionDenied):
                await self.store.set_quota(identity, name("user.fred"), [])
        for identity in (BOB, foreign):
            with self.assertRaises(PermissionDenied):
                await self.store.quota(identity, name("user.fred"))
            with self.assertRaises(MailboxNotFound):
                await self.store.quota_of(identity, name("user.fred"))
        self.assertEqual((await self.store.quota(FRED, name("user.fred"))).limits, (Limit("STORAGE", 1),))
        with self.assertRaises(MailboxNotFound):
            await self.store.set_quota(ADMIN, name("user.nobody"), [])

    async def test_a_damaged_limit_lets_mail_in(self) -> None:
        await self.limit("user.fred", MESSAGE=0)
        await self.reopen()
        with closing(connect(self.root / "config" / FILE_NAME)) as connection:
            # The checksum stays what it was, as when a bit flips.
            (was,) = connection.execute(f"SELECT {CHECKSUM} FROM quotas").fetchone()
            connection.create_function(CHECKSUM, -1, lambda *values: was, deterministic=True)
            connection.execute("UPDATE quotas SET limits = '[[\"MESSAGE\", 7]]'")
        await self.reopen()
        await self.append(FRED, "user.fred")
        with self.assertRaises(QuotaRootNotFound):
            await self.usage("user.fred")


class ExactTests(QuotaCase):
    async def test_two_processes_at_random(self) -> None:
        """What either of two stores tells is what is there, at any time."""
        for path in ("user.fred.a", "user.fred.b"):
            await self.store.create(FRED, name(path))
        await self.limit("user.fred", STORAGE=1000)
        stores = [self.store, self.open()]
        chance = random.Random(20)
        boxes = ["user.fred", "user.fred.a", "user.fred.b"]
        for _ in range(120):
            self.store = chance.choice(stores)
            box = await self.store.open(FRED, name(chance.choice(boxes)), "r")
            box.refresh()
            uids = box.view().uids.astype(np.uint32)
            some = uids[: chance.randrange(3)]
            match chance.randrange(4):
                case 0 | 1:
                    await self.append(FRED, chance.choice(boxes), MESSAGE + b"x" * chance.randrange(500))
                case 2:
                    await box.store(some, _DELETE)
                    await box.expunge(some)
                case _:
                    target = await self.store.open(FRED, name(chance.choice(boxes)), "i")
                    await (box.copy(some, target) if chance.randrange(2) else box.move(some, target))
                    target.close()
            box.close()
            counted = await self.counted("user.fred")
            self.assertEqual([await self.usage("user.fred", store) for store in stores], [counted, counted])

    async def test_whoever_is_killed(self) -> None:
        await self.limit("user.fred", STORAGE=1_000_000)
        for lines in (1, 2, 3, 5, 8):
            child = subprocess.Popen(
                [sys.executable, "-c", APPEND_FOR_EVER, str(self.root.absolute())], stdout=subprocess.PIPE
            )
            assert child.stdout is not None
            for _ in range(lines):
                child.stdout.readline()
            child.kill()
            child.wait()
            child.stdout.close()
            told = await self.usage("user.fred")
            self.assertEqual(told, await self.counted("user.fred"))
            self.assertGreaterEqual(told.messages, lines)

    async def test_a_mark_left_by_who_died(self) -> None:
        """Nobody believes what stands beside it."""
        await self.limit("user.fred")
        await self.append(FRED, "user.fred")
        entry = self.store.directory.lookup(name("user.fred"))
        assert entry is not None
        slots = UsageMap(self.root / "config")
        slots.put(entry.number, mark_of(entry.unique_id), 5, 5, 5, 5)
        self.assertEqual((await self.usage("user.fred")).messages, 5)
        slots.begin(entry.number)
        slots.close()
        self.assertEqual(await self.usage("user.fred"), Usage(SIZE, 1, 0, 1))

    async def test_the_machine_restarts(self) -> None:
        """Slots of before count if their journals are as they were; those of others are counted again."""
        await self.limit("user.fred")
        await self.append(FRED, "user.fred")
        entry = self.store.directory.lookup(name("user.fred"))
        assert entry is not None
        await self.stores.pop().close()
        slots = UsageMap(self.root / "config")
        slots._boot += 1
        slots.put(entry.number, mark_of(entry.unique_id), 5, 5, 5, 5)
        slots.close()
        self.store = self.open()
        self.assertEqual(await self.usage("user.fred"), Usage(SIZE, 1, 0, 1))

    async def test_another_mailbox_gets_the_number(self) -> None:
        await self.limit("user.fred")
        await self.store.create(FRED, name("user.fred.a"))
        await self.append(FRED, "user.fred.a")
        await self.store.delete(FRED, name("user.fred.a"))
        await self.store.create(FRED, name("user.fred.b"))
        with sqlite3.connect(self.root / "config" / LIST_NAME) as connection:
            numbers = connection.execute("SELECT count(DISTINCT id) FROM mailboxes").fetchone()
        connection.close()
        self.assertEqual(numbers, (4,))
        self.assertEqual(await self.usage("user.fred"), Usage(0, 0, 0, 2))


class ValueTests(SynchronousTestCase):
    def test_units(self) -> None:
        quota = Quota(name("user.fred"), Usage(2047, 3), (Limit("STORAGE", 2), Limit("X-NUM-FOLDERS", 0)))
        self.assertEqual([quota.used(limit) for limit in quota.limits], [1, 0])
        self.assertIsNone(quota.exceeded_by(Usage(1)))
        self.assertEqual(quota.exceeded_by(Usage(2)), Limit("STORAGE", 2))
        self.assertEqual(quota.exceeded_by(Usage(mailboxes=1)), Limit("X-NUM-FOLDERS", 0))
        self.assertIs(Limit("X-NUM-FOLDERS", 0).resource, Resource.MAILBOX)

    def test_ranges_within_ranges(self) -> None:
        rows = [(number, letter, "") for number, letter in enumerate("abcdefgh")]
        left = _outside(rows, [("b", "f"), ("c", "d"), ("g", "h")])
        self.assertEqual("".join(row[1] for row in left), "afh")
