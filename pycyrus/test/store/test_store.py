"""The store as protocols see it: the tree of mailboxes, rights, crashes, other processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from pycyrus.errors import (
    InvalidMailboxName,
    MailboxExists,
    MailboxHasChildren,
    MailboxNotFound,
    MailStoreError,
    OperationNotSupported,
    PermissionDenied,
    SpecialUseConflict,
    StoreUnavailable,
    UnknownPartition,
)
from pycyrus.interfaces import IMailbox, IMailStore, ListScope, Namespace, NewMessage
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN, SERVER, AdminScope, Identity
from pycyrus.model.names import MailboxName, internal, parse_internal
from pycyrus.store import files
from pycyrus.store.commit import SyncMode
from pycyrus.store.header import read_header
from pycyrus.store.locks import try_lock
from pycyrus.store.settings import DeleteMode, StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.store.dying import die_at

FRED = Identity("fred")
BOB = Identity("bob")
ADMIN = SERVER
Operation = Callable[[], Coroutine[Any, Any, object]]
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"


def name(text: str) -> MailboxName:
    return parse_internal(text)


class StoreCase(TestCase):
    """A store in a directory of its own."""

    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        self.root = Path(self.mktemp())
        partitions = {"default": self.root / "spool", "other": self.root / "other"}
        self.settings = StoreSettings(self.root / "config", partitions, defaultpartition="default")
        self.stores: list[MailStore] = []
        self.store = self.open()
        await self.store.create(ADMIN, name("user.fred"))
        await self.store.create(ADMIN, name("user.bob"))

    async def tearDown(self) -> None:  # type: ignore[override] # likewise
        for store in self.stores:
            await store.close()

    def open(self, **changes: Any) -> MailStore:
        store = open_store(replace(self.settings, **changes), reactor)  # type: ignore[arg-type] # the module is the reactor
        self.stores.append(store)
        return store

    async def reopen(self, **changes: Any) -> MailStore:
        await self.stores.pop().close()
        self.store = self.open(**changes)
        return self.store

    async def append(self, identity: Identity, mailbox: str, message: bytes = MESSAGE) -> int:
        staged = await self.store.stage(identity, name(mailbox))
        try:
            staged.write(message)
            staged.finish()
            opened = await self.store.open(identity, name(mailbox), "p" if identity.postman else "i")
            try:
                return (await opened.append([NewMessage(staged)])).uids[0]
            finally:
                opened.close()
        finally:
            staged.discard()

    async def count(self, identity: Identity, mailbox: str) -> int:
        return (await self.store.status(identity, name(mailbox))).counts.messages

    async def seen_names(self, identity: Identity, *scopes: ListScope) -> list[str]:
        every = scopes or tuple(ListScope(namespace) for namespace in Namespace)
        return [internal(each.name) for each in await self.store.list(identity, every)]

    async def refused(self, error: type[MailStoreError], work: Coroutine[Any, Any, object]) -> MailStoreError:
        try:
            await work
        except error as raised:
            self.assertIs(type(raised), error)
            return raised
        raise self.failureException(f"{error.__name__} was not raised")


class Life(StoreCase):
    async def test_interfaces(self) -> None:
        verifyObject(IMailStore, self.store)
        opened = await self.store.open(FRED, name("user.fred"), "r")
        verifyObject(IMailbox, opened)
        opened.close()

    async def test_delivery_and_reading(self) -> None:
        """The postman delivers to any INBOX; the message is where Cyrus puts it."""
        uid = await self.append(POSTMAN, "user.fred")
        self.assertEqual((self.root / f"spool/user/fred/{uid}.").read_bytes(), MESSAGE)
        opened = await self.store.open(FRED, name("user.fred"), "r")
        self.addCleanup(opened.close)
        self.assertEqual(len(opened.view()), 1)
        await self.refused(MailboxNotFound, self.store.open(POSTMAN, name("user.nobody"), "p"))
        await self.refused(PermissionDenied, self.store.open(POSTMAN, name("user.fred"), "r"))
        await self.refused(PermissionDenied, self.store.delete(POSTMAN, name("user.fred")))
        await self.refused(PermissionDenied, self.store.create(POSTMAN, name("user.fred.x")))

    async def test_restart(self) -> None:
        await self.append(FRED, "user.fred")
        before = await self.store.status(FRED, name("user.fred"))
        await self.reopen()
        self.assertEqual(await self.store.status(FRED, name("user.fred")), before)

    async def test_stages_are_cleaned_at_start(self) -> None:
        """Of what came when the server died, nothing stays; it was never acknowledged."""
        left = self.root / "spool/stage./999999999-dead"
        left.write_bytes(b"x")
        await self.reopen()
        self.assertFalse(left.exists())

    async def test_sync_mode(self) -> None:
        """Each file is synced where that was asked for, and never the whole file system."""
        await self.reopen(sync_mode=SyncMode.FDATASYNC)
        synced: list[int] = []

        def sync(fd: int) -> None:
            synced.append(fd)
            os.fsync(fd)

        self.patch(files, "fsync", sync)
        self.patch(files, "syncfs", self.fail)
        await self.append(FRED, "user.fred")
        self.assertGreaterEqual(len(synced), 3)
        self.patch(files, "syncfs", lambda fd: os.sync())

    async def test_files_are_private(self) -> None:
        for path in [self.root / "config", self.root / "spool/user/fred"]:
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.root / "config/mailboxes.db").stat().st_mode & 0o777, 0o600)


class Creating(StoreCase):
    async def test_childless_uses(self) -> None:
        """C{specialuse_nochildren}: nothing below such a folder, whichever was there first."""
        store = self.open(childless_uses=frozenset((r"\Trash",)))
        await store.create(FRED, name("user.fred.Trash"), special_use=(r"\Trash",))
        await store.create(FRED, name("user.fred.Work"))
        for operation in (
            store.create(FRED, name("user.fred.Trash.Old")),
            store.rename(FRED, name("user.fred.Work"), name("user.fred.Trash.Work")),
        ):
            with self.assertRaises(PermissionDenied):
                await operation
        await store.create(FRED, name("user.fred.Work.Old"))
        with self.assertRaises(SpecialUseConflict):
            await store.annotate(ADMIN, name("user.fred.Work"), {"/private/specialuse": rb"\Trash"})

    async def test_delete_unsubscribes(self) -> None:
        """With C{delete_unsubscribe} owners are not left with names of what is gone."""
        store = self.open(delete_unsubscribe=True)
        for folder in ("Work", "Play"):
            await store.create(FRED, name(f"user.fred.{folder}"))
            await store.subscribe(FRED, name(f"user.fred.{folder}"), True)
        await store.delete(FRED, name("user.fred.Work"))
        self.assertEqual(await store.subscriptions(FRED), {name("user.fred.Play")})
        await store.delete(ADMIN, name("user.fred"))
        self.assertEqual(await store.subscriptions(FRED), frozenset())

    async def test_intermediate_mailboxes(self) -> None:
        """Below an INBOX what lies between is created too, with the rights of its parent."""
        await self.store.create(FRED, name("user.fred.a.b.c"))
        self.assertEqual(await self.seen_names(FRED), ["user.fred", "user.fred.a", "user.fred.a.b", "user.fred.a.b.c"])
        await self.append(FRED, "user.fred.a.b")
        self.assertTrue((self.root / "spool/user/fred/a/b/1.").exists())
        # What is told as INBOX/x/y needs no folder named INBOX.
        await self.store.create(FRED, name("user.fred.INBOX.x.y"))
        self.assertEqual((await self.seen_names(FRED))[1:3], ["user.fred.INBOX.x", "user.fred.INBOX.x.y"])

    async def test_shared_mailboxes_may_have_gaps(self) -> None:
        await self.store.create(ADMIN, name("news.comp.lang"))
        self.assertEqual(await self.seen_names(FRED, ListScope(Namespace.SHARED)), ["news.comp.lang"])
        self.assertEqual((await self.store.status(FRED, name("news.comp.lang"))).counts.messages, 0)
        await self.refused(PermissionDenied, self.store.stage(FRED, name("news.comp.lang")))
        await self.refused(PermissionDenied, self.store.create(FRED, name("news.comp.lang.x")))
        await self.refused(PermissionDenied, self.store.create(FRED, name("news.x")))

    async def test_refused(self) -> None:
        for error, identity, mailbox in [
            (MailboxExists, FRED, "user.fred"),
            (PermissionDenied, BOB, "user.fred"),
            (PermissionDenied, BOB, "user.fred.x"),
            (PermissionDenied, FRED, "user.carl"),
            (PermissionDenied, FRED, "user.carl.x"),
            (PermissionDenied, ADMIN, "user.carl.x"),
            (PermissionDenied, FRED, "shared"),
            (InvalidMailboxName, ADMIN, "user.anyone"),
            (InvalidMailboxName, FRED, "user.fred.a%b"),
            (InvalidMailboxName, ADMIN, "DELETED.user.fred.5F0A1B2C"),
        ]:
            await self.refused(error, self.store.create(identity, name(mailbox)))
        self.assertEqual(await self.seen_names(ADMIN), ["user.bob", "user.fred"])

    async def test_partitions(self) -> None:
        await self.store.create(ADMIN, name("user.carl"), partition="other")
        await self.store.create(Identity("carl"), name("user.carl.x"))
        await self.append(Identity("carl"), "user.carl.x")
        self.assertTrue((self.root / "other/user/carl/x/1.").exists())
        await self.refused(UnknownPartition, self.store.create(ADMIN, name("shared"), partition="none"))
        await self.refused(PermissionDenied, self.store.create(FRED, name("user.fred.x"), partition="other"))

    async def test_special_use(self) -> None:
        """RFC 6154 section 3."""
        await self.store.create(FRED, name("user.fred.Sent"), special_use=[r"\sent"])
        listed = await self.store.list(FRED, [ListScope(Namespace.PERSONAL)])
        self.assertEqual([each.special_use for each in listed], [(), (r"\Sent",)])
        for mailbox, use in [("user.fred.Sent2", r"\Sent"), ("user.fred.x", r"\Nothing"), ("user.fred.a.b", r"\Junk")]:
            await self.refused(SpecialUseConflict, self.store.create(FRED, name(mailbox), special_use=[use]))
        self.assertEqual(await self.seen_names(FRED), ["user.fred", "user.fred.Sent"])

    async def test_uidvalidity_never_comes_twice(self) -> None:
        values = set()
        for _ in range(3):
            await self.store.create(FRED, name("user.fred.x"))
            values.add((await self.store.status(FRED, name("user.fred.x"))).uidvalidity)
            await self.store.delete(FRED, name("user.fred.x"))
        await self.reopen()
        values.add((await self.store.status(FRED, name("user.fred"))).uidvalidity)
        self.assertEqual(len(values), 4)

    async def test_leftovers_are_cleared(self) -> None:
        """What an interrupted creation left is no obstacle; messages found there are not touched."""
        source = self.root / "spool/user/fred"
        for mailbox, message in [("a", False), ("b", True)]:
            left = source / mailbox
            left.mkdir()
            for part in ("pycyrus.header", "pycyrus.journal"):
                (left / part).write_bytes((source / part).read_bytes())
            if message:
                (left / "7.").write_bytes(MESSAGE)
            await self.store.create(FRED, name(f"user.fred.{mailbox}"))
            self.assertEqual(await self.append(FRED, f"user.fred.{mailbox}"), 1)
        self.assertTrue((source / "a/1.").exists())
        self.assertEqual((source / "b/7.").read_bytes(), MESSAGE)
        self.assertFalse((source / "b/1.").exists())
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    async def test_database_failure(self) -> None:
        """Nobody is told what SQLite says."""
        self.store._directory._database.read.close()
        with self.assertRaises(StoreUnavailable):
            await self.store.status(FRED, name("user.fred"))

    async def test_failure_leaves_nothing(self) -> None:
        def fail(fd: int) -> None:
            raise OSError(5, "I/O error")

        self.patch(files, "syncfs", fail)
        with self.assertRaises(MailStoreError):
            await self.store.create(FRED, name("user.fred.a.b"))
        self.assertEqual(await self.seen_names(FRED), ["user.fred"])
        self.assertFalse((self.root / "spool/user/fred/a").exists())

    async def test_cancelled_waits_do_not_stop_the_work(self) -> None:
        waiting = Deferred.fromCoroutine(self.store.create(FRED, name("user.fred.x")))
        waiting.cancel()
        with self.assertRaises(CancelledError):
            await waiting
        await self.store.create(FRED, name("user.fred.y"))
        self.assertEqual(await self.seen_names(FRED), ["user.fred", "user.fred.x", "user.fred.y"])

    async def test_inbox_of_a_new_user(self) -> None:
        await self.store.create_inbox(name("user.carl"))
        self.assertEqual(await self.count(Identity("carl"), "user.carl"), 0)
        await self.refused(MailboxExists, self.store.create_inbox(name("user.carl")))


class Layouts(StoreCase):
    async def check(self, place: str, mailbox: str, **changes: Any) -> None:
        await self.reopen(**changes)
        await self.store.create(ADMIN, name(mailbox))
        await self.store.set_acl(ADMIN, name(mailbox), Acl((("cyrus", OWNER_RIGHTS),)))
        await self.append(ADMIN, mailbox)
        self.assertTrue((self.root / f"spool/{place}/1.").exists(), place)

    async def test_places(self) -> None:
        """Cyrus's directories, with and without hashing."""
        await self.check("user/a^b", "user.a^b")
        await self.check("domain/example.com/user/x", "example.com!user.x")
        await self.check("c/user/c", "user.c", hashimapspool=True)
        await self.check("q/user/9", "user.9", hashimapspool=True)
        await self.check("domain/e/example.com/c/user/c", "example.com!user.c", hashimapspool=True)
        await self.check("s/shared", "shared", hashimapspool=True)
        await self.check("x/shared/x", "shared.x", hashimapspool=True)
        await self.check("I/user/test", "user.test", hashimapspool=True, fulldirhash=True)

    async def test_by_unique_id(self) -> None:
        await self.reopen(mailbox_legacy_dirs=False)
        unique_id = await self.store.create(FRED, name("user.fred.x"))
        await self.append(FRED, "user.fred.x")
        place = self.root / f"spool/uuid/{unique_id[0]}/{unique_id[1]}/{unique_id}/1."
        self.assertTrue(place.exists())
        await self.store.rename(FRED, name("user.fred.x"), name("user.fred.y"))
        self.assertTrue(place.exists())
        self.assertEqual(read_header(place.parent).name, "user.fred.y")

    async def test_metapartition_without_messages(self) -> None:
        """An empty mailbox has a directory for messages when the last below it has gone, or if it was missing."""
        await self.reopen(metapartitions={"default": self.root / "meta"})
        for above in ("user.fred.a", "user.fred.b"):
            await self.store.create(FRED, name(f"{above}.below"))
            await self.store.create(FRED, name(f"{above}.other"))
            await self.store.rename(FRED, name(f"{above}.below"), name(f"{above}2"))
            await self.store.delete(FRED, name(f"{above}.other"))
            self.assertEqual(await self.append(FRED, above), 1)
        await self.store.create(FRED, name("user.fred.e"))
        (self.root / "spool/user/fred/e").rmdir()
        await self.reopen(metapartitions={"default": self.root / "meta"})
        self.assertEqual(await self.append(FRED, "user.fred.e"), 1)

    async def test_metapartition(self) -> None:
        await self.reopen(metapartitions={"default": self.root / "meta"})
        await self.store.create(ADMIN, name("user.carl"))
        await self.append(POSTMAN, "user.carl")
        self.assertEqual([p.name for p in (self.root / "spool/user/carl").iterdir()], ["1."])
        self.assertTrue((self.root / "meta/user/carl/pycyrus.journal").exists())
        await self.store.create(Identity("carl"), name("user.carl.x"))
        await self.append(Identity("carl"), "user.carl.x")
        await self.store.rename(Identity("carl"), name("user.carl.x"), name("user.carl.y"))
        self.assertEqual(await self.count(Identity("carl"), "user.carl.y"), 1)
        self.assertTrue((self.root / "meta/user/carl/y/pycyrus.journal").exists())
        self.assertTrue((self.root / "spool/user/carl/y/1.").exists())


class Deleting(StoreCase):
    async def test_refused(self) -> None:
        await self.store.create(FRED, name("user.fred.a.b"))
        await self.store.create(FRED, name("user.fred.Sent"), special_use=[r"\Sent"])
        for error, identity, mailbox in [
            (OperationNotSupported, FRED, "user.fred"),
            (OperationNotSupported, FRED, "user.fred.Sent"),
            (MailboxHasChildren, FRED, "user.fred.a"),
            (MailboxNotFound, BOB, "user.fred"),
            (MailboxNotFound, BOB, "user.fred.a.b"),
            (MailboxNotFound, FRED, "user.fred.none"),
        ]:
            await self.refused(error, self.store.delete(identity, name(mailbox)))

    async def test_delayed(self) -> None:
        """The messages go below DELETED, where administrators find them."""
        await self.store.create(FRED, name("user.fred.a"))
        await self.append(FRED, "user.fred.a")
        opened = await self.store.open(FRED, name("user.fred.a"), "r")
        self.addCleanup(opened.close)
        await self.store.delete(FRED, name("user.fred.a"))
        self.assertEqual(await self.seen_names(FRED), ["user.fred"])
        self.assertRaises(MailboxNotFound, opened.refresh)
        (deleted,) = await self.store.list(ADMIN, [ListScope(Namespace.SHARED, deleted=True)])
        self.assertTrue((self.root / f"spool/DELETED/user/fred/a/{deleted.name.deleted}/1.").exists())
        self.assertFalse((self.root / "spool/user/fred/a").exists())
        self.assertEqual(await self.seen_names(FRED, ListScope(Namespace.SHARED, deleted=True)), [])
        await self.refused(MailboxNotFound, self.store.open(FRED, deleted.name, "r"))
        await self.store.delete(ADMIN, deleted.name)
        self.assertFalse((self.root / "spool/DELETED").exists())

    async def test_again_within_a_second(self) -> None:
        for _ in range(3):
            await self.store.create(FRED, name("user.fred.a"))
            await self.store.delete(FRED, name("user.fred.a"))
        self.assertEqual(len(await self.store.list(ADMIN, [ListScope(Namespace.SHARED, deleted=True)])), 3)

    async def test_immediate(self) -> None:
        await self.reopen(delete_mode=DeleteMode.IMMEDIATE)
        await self.store.create(FRED, name("user.fred.a.b"))
        await self.append(FRED, "user.fred.a")
        opened = await self.store.open(FRED, name("user.fred.a.b"), "r")
        self.addCleanup(opened.close)
        await self.store.delete(FRED, name("user.fred.a.b"))
        self.assertRaises(MailboxNotFound, opened.refresh)
        self.assertEqual(await self.count(FRED, "user.fred.a"), 1)
        await self.store.delete(FRED, name("user.fred.a"))
        self.assertFalse((self.root / "spool/user/fred/a").exists())
        await self.store.create(FRED, name("user.fred.a"))
        self.assertEqual(await self.count(FRED, "user.fred.a"), 0)

    async def test_a_user(self) -> None:
        """An administrator deletes the INBOX: everything of the user goes."""
        for mode in DeleteMode:
            await self.reopen(delete_mode=mode)
            carl = Identity("carl")
            await self.store.create(ADMIN, name("user.carl"))
            await self.store.create(carl, name("user.carl.a.b"))
            await self.store.subscribe(carl, name("user.carl.a"), True)
            await self.append(carl, "user.carl.a.b")
            await self.store.delete(ADMIN, name("user.carl"))
            self.assertEqual(await self.seen_names(ADMIN), ["user.bob", "user.fred"])
            self.assertEqual(await self.store.subscriptions(carl), frozenset())
            self.assertFalse((self.root / "spool/user/carl").exists())
        deleted = await self.store.list(ADMIN, [ListScope(Namespace.SHARED, deleted=True)])
        self.assertEqual([each.name.path for each in deleted], [(), ("a",), ("a", "b")])
        # Each name ends with the time: DELETED.user.fred.5F2A0000 and DELETED.user.fred.a.5F2A0000.
        pages = self.store.walk(ADMIN, [ListScope(Namespace.SHARED, deleted=True)])
        self.assertEqual([each.has_children for each in [*deleted, *chain.from_iterable(pages)]], [False] * 6)
        when = deleted[0].name.deleted
        self.assertTrue((self.root / f"spool/DELETED/user/carl/a/b/{when}/1.").exists())


class Renaming(StoreCase):
    async def test_tree(self) -> None:
        await self.store.create(FRED, name("user.fred.a.b"))
        await self.append(FRED, "user.fred.a")
        await self.append(FRED, "user.fred.a.b")
        before = await self.store.status(FRED, name("user.fred.a.b"))
        opened = await self.store.open(FRED, name("user.fred.a.b"), "r")
        self.addCleanup(opened.close)
        told: list[None] = []
        opened.watch(lambda: told.append(None))
        renamed = await self.store.rename(FRED, name("user.fred.a"), name("user.fred.x.y"))
        self.assertEqual(
            [(internal(old), internal(new)) for old, new in renamed],
            [("user.fred.a", "user.fred.x.y"), ("user.fred.a.b", "user.fred.x.y.b")],
        )
        self.assertEqual(await self.seen_names(FRED), ["user.fred", "user.fred.x", "user.fred.x.y", "user.fred.x.y.b"])
        self.assertEqual(await self.store.status(FRED, name("user.fred.x.y.b")), before)
        self.assertEqual(read_header(self.root / "spool/user/fred/x/y/b").name, "user.fred.x.y.b")
        self.assertFalse((self.root / "spool/user/fred/a").exists())
        # An open session goes on.
        opened.refresh()
        self.assertEqual(opened.name, name("user.fred.x.y.b"))
        file = opened.message(1)
        self.assertEqual(file.read(0, 99), MESSAGE)
        file.close()
        staged = await self.store.stage(FRED, opened.name)
        staged.write(MESSAGE)
        staged.finish()
        await opened.append([NewMessage(staged)])
        staged.discard()
        self.assertTrue((self.root / "spool/user/fred/x/y/b/2.").exists())

    async def test_nobody_writes_while_directories_move(self) -> None:
        """The locks of all mailboxes in a directory are held while it is renamed, also into C{DELETED}."""
        await self.store.create(FRED, name("user.fred.a.b"))
        rename, free = files.rename, []

        def look(old: Path, new: Path) -> None:
            for journal in Path(old).rglob("pycyrus.journal"):
                with journal.open("rb+") as file:
                    free.append(try_lock(file.fileno()))
            rename(old, new)

        self.patch(files, "rename", look)
        await self.store.rename(FRED, name("user.fred.a"), name("user.fred.c"))
        self.assertEqual(free, [False, False])
        await self.store.delete(FRED, name("user.fred.c.b"))
        self.assertEqual(free, [False, False, False])
        await self.append(FRED, "user.fred.c")

    async def test_refused(self) -> None:
        await self.store.create(FRED, name("user.fred.a.b"))
        await self.store.create(FRED, name("user.fred.c"))
        for error, identity, old, new in [
            (MailboxExists, FRED, "user.fred.a", "user.fred.c"),
            (MailboxExists, FRED, "user.fred.a", "user.fred.a"),
            (OperationNotSupported, FRED, "user.fred.a", "user.fred.a.b.c"),
            (PermissionDenied, FRED, "user.fred.a", "user.bob.a"),
            (PermissionDenied, FRED, "user.fred.a", "shared"),
            (PermissionDenied, FRED, "user.fred.a", "user.carl"),
            (MailboxNotFound, BOB, "user.fred.a", "user.bob.a"),
            (MailboxNotFound, FRED, "user.fred.none", "user.fred.x"),
            (InvalidMailboxName, FRED, "user.fred.a", "user.fred.x%"),
            (OperationNotSupported, ADMIN, "user.fred", "user.carl"),
            (InvalidMailboxName, FRED, "user.fred.a", "user.fred." + "x" * 479),
        ]:
            await self.refused(error, self.store.rename(identity, name(old), name(new)))
        self.assertEqual(len(await self.seen_names(FRED)), 4)

    async def test_inbox(self) -> None:
        """RFC 9051 section 6.3.6: the messages move, the INBOX and what is below it stay."""
        for _ in range(3):
            await self.append(POSTMAN, "user.fred")
        await self.store.create(FRED, name("user.fred.a"))
        await self.store.rename(FRED, name("user.fred"), name("user.fred.old.mail"))
        self.assertEqual(await self.count(FRED, "user.fred"), 0)
        self.assertEqual(await self.count(FRED, "user.fred.old.mail"), 3)
        self.assertEqual(len(await self.seen_names(FRED)), 4)
        self.assertEqual(await self.append(POSTMAN, "user.fred"), 4)

    async def test_into_an_occupied_directory(self) -> None:
        """A parent that exists only as a directory does not stop a rename."""
        await self.store.create(ADMIN, name("x.y"))
        await self.store.create(ADMIN, name("a.b"))
        await self.store.create(ADMIN, name("a"))
        await self.store.set_acl(ADMIN, name("a"), Acl((("cyrus", OWNER_RIGHTS),)))
        await self.append(ADMIN, "a")
        await self.store.rename(ADMIN, name("a"), name("x"))
        self.assertEqual(await self.seen_names(ADMIN, ListScope(Namespace.SHARED)), ["x", "x.b", "x.y"])
        self.assertEqual(await self.count(ADMIN, "x"), 1)
        await self.store.create(ADMIN, name("a.b"))

    async def test_a_user(self) -> None:
        await self.reopen(allowusermoves=True)
        await self.store.create(FRED, name("user.fred.a"))
        await self.append(FRED, "user.fred.a")
        for mailbox in ("user.fred", "user.fred.a"):
            await self.store.subscribe(FRED, name(mailbox), True)
        await self.store.rename(ADMIN, name("user.fred"), name("user.frieda"))
        frieda = Identity("frieda")
        self.assertEqual(await self.store.subscriptions(frieda), {name("user.frieda"), name("user.frieda.a")})
        self.assertEqual(await self.store.subscriptions(FRED), frozenset())
        self.assertEqual(await self.seen_names(frieda), ["user.frieda", "user.frieda.a"])
        self.assertEqual(await self.count(frieda, "user.frieda.a"), 1)
        self.assertEqual(await self.seen_names(FRED), [])
        self.assertTrue((self.root / "spool/user/frieda/a/1.").exists())


CALLS = ("rename", "makedirs", "rmdir", "unlink", "syncfs", "write_all", "replace_file")


class Crashes(StoreCase):
    """A process that dies leaves each mailbox whole, under exactly one name."""

    async def run_all(self, operation: Operation, outcomes: list[set[tuple[str, int]]]) -> None:
        """Die at every point; then another process opens the store, finds one of the outcomes, and goes on."""
        for point in range(1, 60):
            await self.reset()
            died = await die_at(self, point, operation, CALLS, transactions=False)
            await self.reopen()
            found = set()
            for each in await self.store.list(FRED, [ListScope(Namespace.PERSONAL)]):
                found.add((internal(each.name), await self.count(FRED, internal(each.name))))
            self.assertIn(found, outcomes, point)
            if not died:
                return
        raise self.failureException("never came to its end")

    async def reset(self) -> None:
        await self.reopen(delete_mode=DeleteMode.IMMEDIATE)
        await self.store.delete(ADMIN, name("user.fred"))
        await self.store.create(ADMIN, name("user.fred"))
        await self.store.create(FRED, name("user.fred.a.b"))
        await self.append(FRED, "user.fred.a")
        await self.append(FRED, "user.fred.a.b")
        await self.reopen()

    async def test_rename(self) -> None:
        before = {("user.fred", 0), ("user.fred.a", 1), ("user.fred.a.b", 1)}
        after = {("user.fred", 0), ("user.fred.x", 1), ("user.fred.x.b", 1)}
        await self.run_all(lambda: self.store.rename(FRED, name("user.fred.a"), name("user.fred.x")), [before, after])

    async def test_delayed_delete(self) -> None:
        before = {("user.fred", 0), ("user.fred.a", 1), ("user.fred.a.b", 1)}
        after = {("user.fred", 0), ("user.fred.a", 1)}
        await self.run_all(lambda: self.store.delete(FRED, name("user.fred.a.b")), [before, after])

    async def test_create(self) -> None:
        before = {("user.fred", 0), ("user.fred.a", 1), ("user.fred.a.b", 1)}
        after = before | {("user.fred.x", 0), ("user.fred.x.y", 0)}
        await self.run_all(lambda: self.store.create(FRED, name("user.fred.x.y")), [before, after])

    async def test_what_one_left_another_does(self) -> None:
        """A mailbox whose directory was not moved yet is moved by whoever wants it."""
        await self.reset()
        await die_at(
            self,
            1,
            lambda: self.store.rename(FRED, name("user.fred.a"), name("user.fred.x")),
            CALLS,
            transactions=False,
        )
        self.assertTrue((self.root / "spool/user/fred/a").exists())
        self.assertEqual(await self.count(FRED, "user.fred.x.b"), 1)
        self.assertFalse((self.root / "spool/user/fred/a").exists())

    async def test_what_cannot_be_moved_harms_nobody_else(self) -> None:
        """One user's directories cannot be renamed: others go on, the start succeeds, and later it is done."""
        await self.reset()
        rename = files.rename

        def refuse(old: Any, new: Any, *rest: Any) -> None:
            if "/user/fred/" in f"{old}/":
                raise OSError(5, "I/O error")
            rename(old, new, *rest)

        patch = self.patch(files, "rename", refuse)
        with self.assertRaises(StoreUnavailable):
            await self.store.rename(FRED, name("user.fred.a"), name("user.fred.x"))
        await self.store.create(BOB, name("user.bob.new"))
        await self.store.rename(BOB, name("user.bob.new"), name("user.bob.renamed"))
        await self.reopen()
        await self.store.create(BOB, name("user.bob.more"))
        patch.restore()
        await self.reopen()
        self.assertEqual(await self.count(FRED, "user.fred.x"), 1)
        self.assertEqual(await self.count(FRED, "user.fred.x.b"), 1)
        self.assertFalse((self.root / "spool/user/fred/a").exists())


class Rights(StoreCase):
    async def test_hidden_and_absent_are_alike(self) -> None:
        await self.store.create(FRED, name("user.fred.secret"))
        for work in [
            lambda which: self.store.open(BOB, which, "r"),
            lambda which: self.store.status(BOB, which),
            lambda which: self.store.stage(BOB, which),
            lambda which: self.store.delete(BOB, which),
            lambda which: self.store.rename(BOB, which, name("user.bob.x")),
            lambda which: self.store.subscribe(BOB, which, True),
            lambda which: self.store.set_acl(BOB, which, Acl()),
        ]:
            hidden = await self.refused(MailboxNotFound, work(name("user.fred.secret")))
            absent = await self.refused(MailboxNotFound, work(name("user.fred.none")))
            self.assertEqual(getattr(hidden, "creatable", None), getattr(absent, "creatable", None))
        await self.refused(PermissionDenied, self.store.create(BOB, name("user.fred.secret")))
        await self.refused(PermissionDenied, self.store.create(BOB, name("user.fred.none")))

    async def test_creatable(self) -> None:
        """TRYCREATE is told where CREATE would help."""
        for mailbox, expected in [
            ("user.fred.x.y", True),
            ("user.bob.x", False),
            ("shared", False),
            ("user.fred.%", False),
        ]:
            error = await self.refused(MailboxNotFound, self.store.stage(FRED, name(mailbox)))
            self.assertIsInstance(error, MailboxNotFound)
            self.assertEqual(error.creatable, expected, mailbox)  # type: ignore[attr-defined] # just asserted

    async def test_granted(self) -> None:
        await self.store.create(FRED, name("user.fred.team"))
        acl = Acl((("fred", OWNER_RIGHTS), ("bob", frozenset("lr")), ("group:staff", frozenset("l"))))
        await self.store.set_acl(FRED, name("user.fred.team"), acl)
        other = ListScope(Namespace.OTHER)
        self.assertEqual(await self.seen_names(BOB, other), ["user.fred.team"])
        self.assertEqual(await self.seen_names(BOB, ListScope(Namespace.OTHER, owner="fred")), ["user.fred.team"])
        self.assertEqual(await self.seen_names(Identity("x", groups=frozenset(("staff",))), other), ["user.fred.team"])
        self.assertEqual(await self.seen_names(Identity("x"), other), [])
        self.assertEqual(await self.seen_names(Identity("bob", "example.com"), other), [])
        self.assertEqual(await self.store.namespaces(BOB), {Namespace.PERSONAL, Namespace.OTHER})
        self.assertEqual(await self.store.namespaces(FRED), {Namespace.PERSONAL})
        await self.refused(PermissionDenied, self.store.stage(BOB, name("user.fred.team")))

    async def test_a_right_that_goes_is_gone_at_once(self) -> None:
        await self.store.set_acl(FRED, name("user.fred"), Acl((("fred", OWNER_RIGHTS), ("bob", frozenset("lrs")))))
        opened = await self.store.open(BOB, name("user.fred"), "r")
        self.addCleanup(opened.close)
        told: Deferred[None] = Deferred()
        opened.watch(lambda: told.callback(None) if not told.called else None)
        await self.store.set_acl(FRED, name("user.fred"), Acl((("fred", OWNER_RIGHTS),)))
        await told
        self.assertRaises(MailboxNotFound, opened.refresh)
        self.assertRaises(MailboxNotFound, opened.rights)

    async def test_seen_of_others(self) -> None:
        """Everybody but the owner has seen flags of their own."""
        await self.append(POSTMAN, "user.fred")
        await self.store.set_acl(FRED, name("user.fred"), Acl((("fred", OWNER_RIGHTS), ("bob", frozenset("lrs")))))
        opened = await self.store.open(BOB, name("user.fred"), "r")
        self.assertEqual(opened.counts().unseen, 1)
        await opened.store(np.array([1], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        self.assertEqual(opened.counts().unseen, 0)
        opened.close()
        self.assertEqual((await self.store.status(FRED, name("user.fred"))).counts.unseen, 1)
        await self.reopen()
        self.assertEqual((await self.store.status(BOB, name("user.fred"))).counts.unseen, 0)
        self.assertEqual((await self.store.status(FRED, name("user.fred"))).counts.unseen, 1)

    async def test_domain_administrators_end_at_their_domain(self) -> None:
        boss = Identity("boss", "example.com", admin=AdminScope.DOMAIN)
        await self.store.create(boss, name("example.com!user.amy"))
        await self.store.create(boss, name("example.com!news"))
        await self.store.create(ADMIN, name("example.org!user.amy"))
        self.assertEqual(
            await self.seen_names(boss, *(ListScope(n) for n in Namespace), ListScope(Namespace.OTHER, "example.org")),
            ["example.com!news", "example.com!user.amy"],
        )
        await self.refused(PermissionDenied, self.store.create(boss, name("example.org!user.eve")))
        await self.refused(PermissionDenied, self.store.create(boss, name("user.eve")))
        for work in [
            self.store.delete(boss, name("example.org!user.amy")),
            self.store.status(boss, name("user.fred")),
            self.store.rename(boss, name("example.org!user.amy"), name("example.com!user.eve")),
            self.store.set_acl(boss, name("example.org!user.amy"), Acl()),
        ]:
            await self.refused(MailboxNotFound, work)
        self.assertEqual(
            await self.seen_names(ADMIN, ListScope(Namespace.OTHER, "example.org")), ["example.org!user.amy"]
        )
        self.assertEqual(
            await self.seen_names(ADMIN, ListScope(Namespace.OTHER, owner="amy")),
            ["example.com!user.amy", "example.org!user.amy"],
        )


class Listings(StoreCase):
    async def test_order_and_children(self) -> None:
        for mailbox in ["user.fred.b", "user.fred.a.x", "user.fred.a b", "user.fred.Z"]:
            await self.store.create(FRED, name(mailbox))
        listed = await self.store.list(FRED, [ListScope(Namespace.PERSONAL)])
        self.assertEqual(
            [(internal(each.name), each.has_children) for each in listed],
            [
                ("user.fred", True),
                ("user.fred.Z", False),
                ("user.fred.a", True),
                ("user.fred.a.x", False),
                ("user.fred.a b", False),
                ("user.fred.b", False),
            ],
        )
        self.assertEqual(
            await self.seen_names(FRED, ListScope(Namespace.PERSONAL, path=("a",))), ["user.fred.a", "user.fred.a.x"]
        )

    async def test_subscriptions(self) -> None:
        await self.store.create(FRED, name("user.fred.a"))
        await self.store.subscribe(FRED, name("user.fred.a"), True)
        await self.store.subscribe(FRED, name("user.fred.a"), True)
        await self.refused(MailboxNotFound, self.store.subscribe(FRED, name("user.fred.b"), True))
        await self.store.delete(FRED, name("user.fred.a"))
        self.assertEqual(await self.store.subscriptions(FRED), {name("user.fred.a")})
        self.assertEqual(await self.store.subscriptions(BOB), frozenset())
        await self.reopen()
        self.assertEqual(await self.store.subscriptions(FRED), {name("user.fred.a")})
        await self.store.subscribe(FRED, name("user.fred.a"), False)
        self.assertEqual(await self.store.subscriptions(FRED), frozenset())


class SeveralProcesses(StoreCase):
    """Two stores on the same directories, as in two workers."""

    async def test_changes_are_seen_at_once(self) -> None:
        other = self.open()
        await self.store.create(FRED, name("user.fred.a"))
        self.assertEqual((await other.status(FRED, name("user.fred.a"))).counts.messages, 0)
        opened = await other.open(FRED, name("user.fred.a"), "r")
        self.addCleanup(opened.close)
        await self.append(FRED, "user.fred.a")
        await self.store.rename(FRED, name("user.fred.a"), name("user.fred.b"))
        opened.refresh()
        self.assertEqual(opened.name, name("user.fred.b"))
        self.assertEqual(len(opened.view()), 1)
        file = opened.message(1)
        self.assertEqual(file.size, len(MESSAGE))
        file.close()
        await self.refused(MailboxNotFound, other.status(FRED, name("user.fred.a")))
        await self.store.delete(FRED, name("user.fred.b"))
        self.assertRaises(MailboxNotFound, opened.refresh)

    async def test_idle_sessions_hear_of_it(self) -> None:
        other = self.open()
        other.start()
        opened = await other.open(FRED, name("user.fred"), "r")
        self.addCleanup(opened.close)
        told: Deferred[None] = Deferred()
        opened.watch(lambda: told.callback(None) if not told.called else None)
        await self.store.set_acl(ADMIN, name("user.fred"), Acl((("fred", frozenset("l")),)))
        await told
        self.assertNotIn("r", opened.rights())

    async def test_both_create(self) -> None:
        other = self.open()
        outcomes = []
        for store in (self.store, other):
            for mailbox in ("user.fred.a.b", "user.fred.a.c"):
                outcomes.append(Deferred.fromCoroutine(store.create(FRED, name(mailbox))))
        results = [await outcome.addErrback(lambda failure: failure.type) for outcome in outcomes]
        self.assertEqual(results.count(MailboxExists), 2)
        self.assertEqual(len(await self.seen_names(FRED)), 4)

    async def test_seen_state(self) -> None:
        other = self.open()
        await self.append(POSTMAN, "user.fred")
        await self.append(POSTMAN, "user.fred")
        await self.store.set_acl(FRED, name("user.fred"), Acl((("fred", OWNER_RIGHTS), ("bob", frozenset("lrs")))))
        here = await self.store.open(BOB, name("user.fred"), "r")
        there = await other.open(BOB, name("user.fred"), "r")
        self.addCleanup(here.close)
        self.addCleanup(there.close)
        before = there.refresh()
        await here.store(np.array([1], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        await there.store(np.array([2], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        await self.store._seen.save()
        await other._seen.save()
        self.assertNotEqual(there.refresh(), before)
        here.refresh()
        self.assertEqual((here.counts().unseen, there.counts().unseen), (0, 0))
