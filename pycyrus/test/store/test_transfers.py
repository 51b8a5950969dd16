"""Mailboxes that move from one server's store to another's, and whoever is killed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet import reactor

from pycyrus.errors import MailboxExists, MailboxMoving, MailboxNotFound, MailStoreError
from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import POST
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.quota import Limit, Resource
from pycyrus.model.transfers import INVENTORY, MANIFEST, BadTransfer, Inventory, Piece
from pycyrus.store import files
from pycyrus.store.incoming import Arrivals
from pycyrus.store.incoming_files import Mismatch
from pycyrus.store.outgoing import Departures
from pycyrus.store.outgoing_files import Packet, inventory, packets_of
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.store.transfer_log import Coming, TransferLog
from pycyrus.test.store.dying import die_at
from pycyrus.test.store.test_store import ADMIN, BOB, FRED, MESSAGE, StoreCase, name

INBOX = name("user.fred")
FLAG = FlagChange(FlagAction.ADD, Flags(FLAGGED, (b"work",)))
TRANSFER = "0a1b2c3d"


class TransferCase(StoreCase):
    """Two stores; fred lives in the first."""

    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        await super().setUp()
        self.there_root = Path(self.mktemp())
        self.there_settings = StoreSettings(
            self.there_root / "config",
            {"default": self.there_root / "spool", "fast": self.there_root / "fast"},
            metapartitions={"fast": self.there_root / "fast-meta"},
            defaultpartition="default",
        )
        self.there = self.open_there()
        self.departures = Departures(self.store.transfer_parts())
        self.arrivals = self.make_arrivals()

    def open(self, **changes: Any) -> MailStore:
        # Who holds mailboxes waits that long for what was seen.
        return super().open(**{"journal_sync_interval": 0.02} | changes)

    def open_there(self) -> MailStore:
        store = open_store(self.there_settings, reactor)  # type: ignore[arg-type] # the module is the reactor
        self.stores.append(store)
        return store

    def make_arrivals(self) -> Arrivals:
        log = TransferLog(self.there_settings.configdirectory, reactor)  # type: ignore[arg-type] # likewise
        self.addCleanup(log.close)
        return Arrivals(self.there.transfer_parts(), log)

    async def furnish(self) -> None:
        await self.store.create(FRED, name("user.fred.Sent"), special_use=("\\Sent",))
        await self.store.create(FRED, name("user.fred.empty"))
        await self.store.create(FRED, name("user.fred.old"))
        for number in range(4):
            await self.append(FRED, "user.fred", MESSAGE + b"%d\r\n" % number)
        await self.append(FRED, "user.fred.Sent", MESSAGE * 20_000)
        await self.store.delete(FRED, name("user.fred.old"))
        opened = await self.store.open(FRED, INBOX, "r")
        await opened.store(np.array([1], np.uint32), FLAG)
        await opened.store(np.array([2], np.uint32), FlagChange(FlagAction.ADD, Flags(DELETED)))
        await opened.expunge()
        opened.close()
        await self.store.change_acl(FRED, INBOX, AclChange("bob", AclAction.REPLACE, frozenset("lrs")))
        seen = await self.store.open(BOB, INBOX, "r")
        await seen.store(np.array([3], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        seen.close()
        await self.store.annotate(FRED, INBOX, {"/private/comment": b"mine", "/shared/comment": b"ours"})
        await self.store.subscribe(FRED, name("user.fred.Sent"), True)
        await self.store.set_quota(ADMIN, INBOX, [Limit("STORAGE", 10_000)])

    async def send(self, packets: Any, transfer: Any) -> None:
        for packet in packets:
            await self.arrivals.write(transfer, list(packet.pieces), packet.data)

    async def copy(self, root: MailboxName = INBOX, partition: str | None = None) -> bytes:
        """Hold, copy and prepare; @return: the digest."""
        transfer = await self.arrivals.begin(TRANSFER, root, partition)
        try:
            found = [self.departures.files(entry) for entry in await self.departures.find(root, deleted=True)]
            for each in found:
                await self.send(each.messages(), transfer)
            entries = await self.departures.hold(root, deleted=True)
            known = {each.unique_id: each for each in found}
            mailboxes = [known.get(entry.unique_id) or self.departures.files(entry) for entry in entries]
            for each in mailboxes:
                await self.send(each.rest(), transfer)
            await self.send(packets_of(MANIFEST, (await self.departures.manifest(root, entries)).encode()), transfer)
            await self.send(packets_of(INVENTORY, inventory(mailboxes).encode()), transfer)
            return await self.arrivals.prepare(transfer)
        finally:
            await self.arrivals.leave(transfer)

    async def move(self, root: MailboxName = INBOX, partition: str | None = None) -> None:
        await self.copy(root, partition)
        await self.arrivals.activate(TRANSFER)
        await self.departures.remove(root)

    async def facts(self, store: MailStore, mailbox: MailboxName) -> dict[str, Any]:
        opened = await store.open(FRED, mailbox, "r")
        try:
            opened.refresh()
            view = opened.view()
            status = await store.status(FRED, mailbox)
            bodies = []
            for uid in view.uids.tolist():
                file = opened.message(uid)
                bodies.append(file.read(0, file.size))
                file.close()
            return {
                "status": status,
                "uids": view.uids.tolist(),
                "flags": view.flags.tolist(),
                "keywords": (view.keywords.tolist(), opened.keyword_names()),
                "dates": (view.internaldates.tolist(), view.savedates.tolist()),
                "modseqs": view.modseqs.tolist(),
                "vanished": opened.vanished_since(1).tolist(),
                "bodies": bodies,
                "acl": await store.acl(FRED, mailbox),
                "notes": await store.annotations(FRED, mailbox),
            }
        finally:
            opened.close()


class Transfers(TransferCase):
    async def test_everything_goes_along(self) -> None:
        await self.furnish()
        names = await self.seen_names(FRED)
        mailboxes = [name(text) for text in names if text.startswith("user.fred")]
        before = [await self.facts(self.store, each) for each in mailboxes]
        await self.move(partition="fast")
        after = [await self.facts(self.there, each) for each in mailboxes]
        for facts in (*before, *after):
            facts["notes"] = {key: value for key, value in facts["notes"].items() if "/vendor/" not in key}
        self.assertEqual(before, after)
        self.assertEqual(before[0]["vanished"], [2])
        self.assertEqual(before[0]["notes"], {"/private/comment": b"mine", "/shared/comment": b"ours"})
        seen = await self.there.open(BOB, INBOX, "r")
        self.assertEqual((seen.view().flags & SEEN != 0).tolist(), [False, True, False])
        seen.close()
        self.assertEqual(await self.there.subscriptions(FRED), frozenset([name("user.fred.Sent")]))
        quota = await self.there.quota(ADMIN, INBOX)
        self.assertEqual(quota.limits, (Limit("STORAGE", 10_000),))
        self.assertGreater(quota.usage.of(Resource.STORAGE), len(MESSAGE) * 20_000)
        # They lie where they belong, and nothing is left there or here.
        self.assertEqual((self.there_root / "fast/user/fred/1.").read_bytes(), MESSAGE + b"0\r\n")
        self.assertTrue((self.there_root / "fast-meta/user/fred/Sent/pycyrus.journal").exists())
        self.assertEqual(list(self.there_root.glob("*/uuid/incoming/*")), [])
        self.assertEqual(list(self.root.glob("spool/user/fred*")), [])
        self.assertEqual(await self.store.subscriptions(FRED), frozenset())
        self.assertEqual([text for text in await self.seen_names(ADMIN) if "fred" in text], [])
        # Those that were deleted came too, and can be brought back.
        deleted = list(self.there.directory.entries(deleted=True))
        self.assertEqual([entry.name.path for entry in deleted], [("old",)])
        # Life goes on there, also after a restart.
        self.store, here = self.there, self.store
        self.assertEqual(await self.append(POSTMAN, "user.fred"), 5)
        await self.there.close()
        self.stores.remove(self.there)
        self.there = self.store = self.open_there()
        self.assertEqual(await self.count(FRED, "user.fred"), 4)
        # And the way back.
        self.assertIsNot(here, self.there)

    async def test_a_shared_mailbox_goes_alone(self) -> None:
        for text in ("news", "news.more"):
            await self.store.create(ADMIN, name(text))
        await self.store.set_quota(ADMIN, name("news"), [Limit("MESSAGE", 5)])
        await self.move(name("news"))
        self.assertEqual([t for t in await self.seen_names(ADMIN) if "news" in t], ["news.more"])
        self.assertEqual((await self.there.quota(ADMIN, name("news"))).limits, (Limit("MESSAGE", 5),))

    async def test_held(self) -> None:
        """Nobody uses what is held, here or in another process, until it is released."""
        await self.furnish()
        other = self.open()
        sessions = [await store.open(FRED, INBOX, "r") for store in (self.store, other)]
        for session in sessions:
            self.addCleanup(session.close)
            session.refresh()
        entries = await self.departures.hold(INBOX, deleted=True)
        self.assertEqual(len(entries), 4)
        for store, session in zip((self.store, other), sessions, strict=True):
            staged = await store.stage(BOB, name("user.bob"))
            staged.write(MESSAGE)
            staged.finish()
            for work in (
                store.open(FRED, INBOX, "r"),
                store.open(POSTMAN, INBOX, "p"),
                store.create(FRED, name("user.fred.new")),
                store.delete(FRED, name("user.fred.Sent")),
                store.delete(ADMIN, INBOX),
                store.rename(FRED, name("user.fred.Sent"), name("user.fred.Gone")),
                store.rename(ADMIN, INBOX, INBOX, partition="other"),
                store.change_acl(FRED, INBOX, AclChange("bob", AclAction.REPLACE, frozenset())),
                session.store(np.array([1], np.uint32), FLAG),
                session.append([NewMessage(staged)]),
            ):
                await self.refused(MailboxMoving, work)
            staged.discard()
            self.assertRaises(MailboxMoving, session.refresh)
        await self.refused(MailboxMoving, self.departures.hold(INBOX, deleted=True))
        await self.departures.release(INBOX)
        for session in sessions:
            session.refresh()
            await session.store(np.array([3], np.uint32), FLAG)
        self.assertEqual(await self.append(FRED, "user.fred"), 5)

    async def test_late_writers(self) -> None:
        """Who was let in before, and writes when it is held, does not write."""
        await self.furnish()
        other = self.open()
        session: Any = await other.open(FRED, INBOX, "r")
        self.addCleanup(session.close)
        session.refresh()
        await self.departures.hold(INBOX, deleted=True)
        size = (self.root / "spool/user/fred/pycyrus.journal").stat().st_size
        for _ in range(2):
            # As after the rights were looked at.
            await self.refused(MailboxMoving, session.state.enter(1))
        self.assertEqual((self.root / "spool/user/fred/pycyrus.journal").stat().st_size, size)

    async def test_refused(self) -> None:
        await self.furnish()
        for error, root in [(MailboxNotFound, name("user.nobody")), (MailboxNotFound, name("news"))]:
            await self.refused(error, self.departures.find(root, deleted=True))
        await self.there.create(ADMIN, INBOX)
        await self.refused(MailboxExists, self.arrivals.begin(TRANSFER, INBOX, None))

    async def test_made_there_meanwhile(self) -> None:
        await self.furnish()
        await self.copy()
        await self.there.create(ADMIN, INBOX)
        await self.refused(MailboxExists, self.arrivals.activate(TRANSFER))
        await self.arrivals.give_up(TRANSFER)
        await self.departures.release(INBOX)
        self.assertEqual(await self.count(FRED, "user.fred"), 3)
        self.assertEqual(await self.there.status(FRED, INBOX) is not None, True)

    async def test_given_up(self) -> None:
        await self.furnish()
        await self.copy()
        self.assertEqual(self.arrivals.state(TRANSFER), Coming.PREPARED)
        # Nobody there sees anything, and no tool takes it for lost mailboxes.
        self.assertEqual([t for t in await self.seen_names(ADMIN) if "fred" in t][:1], ["user.fred"])
        relisted = await self.there.relist(lambda found: True)
        self.assertEqual(self.there.directory.lookup(INBOX), None)
        self.assertIsNotNone(relisted)
        await self.arrivals.clean()
        self.assertNotEqual(list(self.there_root.glob("spool/uuid/incoming/*")), [])
        await self.arrivals.give_up(TRANSFER)
        self.assertEqual(list(self.there_root.glob("spool/uuid/incoming/*")), [])
        await self.refused(MailboxNotFound, self.arrivals.activate(TRANSFER))
        await self.departures.release(INBOX)
        await self.move()
        await self.refused(MailboxExists, self.arrivals.give_up(TRANSFER))
        self.assertEqual(await self.arrivals.activate(TRANSFER), [])

    async def test_left_by_the_dead(self) -> None:
        """What a process left that died while files came goes with the next start."""
        await self.furnish()
        transfer = await self.arrivals.begin(TRANSFER, INBOX, None)
        (entry, *_) = await self.departures.find(INBOX, deleted=True)
        await self.send(self.departures.files(entry).messages(), transfer)
        place = self.there_root / "spool/uuid/incoming" / TRANSFER
        await self.make_arrivals().clean()
        self.assertTrue(place.exists())
        # Its descriptors go with it.
        transfer.files.close()
        files.close(transfer.lock)
        await self.make_arrivals().clean()
        self.assertFalse(place.exists())

    async def test_nothing_is_believed(self) -> None:
        await self.furnish()
        transfer = await self.arrivals.begin(TRANSFER, INBOX, None)
        for piece in (
            Piece("", "../../x", 0, 1, True),
            Piece("..", "1.", 0, 1, True),
            Piece("abcd", "../1.", 0, 1, True),
            Piece("abcd", "pycyrus.quarantine/../1.", 0, 1, True),
            Piece("abcd", "pycyrus.header", 0, 1, True),
            Piece("abcd", "1.", 5, 1, True),
            Piece("abcd", "1.", 0, 2, True),
        ):
            await self.fails(BadTransfer, self.arrivals.write(transfer, [piece], b"x"))
        await self.fails(Mismatch, self.arrivals.prepare(transfer))
        await self.arrivals.leave(transfer)
        self.assertEqual(list(self.there_root.glob("spool/uuid/incoming/*")), [])

    async def fails(self, error: type[Exception], work: Any) -> None:
        try:
            await work
        except error:
            return
        raise self.failureException(f"{error.__name__} was not raised")

    async def test_compared(self) -> None:
        """What is not what the other has is not taken."""
        await self.furnish()
        entries = await self.departures.hold(INBOX, deleted=True)
        mailboxes = [self.departures.files(entry) for entry in entries]
        packets = [packet for each in mailboxes for packet in each.rest()]
        manifest = await self.departures.manifest(INBOX, entries)
        listed = inventory(mailboxes)

        async def attempt(packets: list[Packet], manifest: bytes, listed: Inventory) -> None:
            transfer = await self.arrivals.begin(TRANSFER, INBOX, None)
            try:
                await self.send(packets, transfer)
                await self.send(packets_of(MANIFEST, manifest), transfer)
                await self.send(packets_of(INVENTORY, listed.encode()), transfer)
                await self.arrivals.prepare(transfer)
            finally:
                await self.arrivals.leave(transfer)

        flipped = list(packets)
        flipped[0] = Packet(packets[0].pieces, packets[0].data.replace(b"hello", b"jello"))
        await self.fails(Mismatch, attempt(flipped, manifest.encode(), listed))
        await self.fails(Mismatch, attempt(packets[1:], manifest.encode(), listed))
        fewer = replace(manifest, mailboxes=manifest.mailboxes[:-1])
        await self.fails(Mismatch, attempt(packets, fewer.encode(), listed))
        # A list and octets that agree, but not with the records.
        wrong = Inventory({key: dict(value) for key, value in listed.files.items()})
        inbox = wrong.files[entries[0].unique_id]
        del inbox["1."]
        await self.fails(Mismatch, attempt(packets, manifest.encode(), wrong))
        stranger = replace(
            manifest, mailboxes=(*manifest.mailboxes[:-1], replace(manifest.mailboxes[-1], name=name("user.bob.x")))
        )
        await self.fails(MailStoreError, attempt(packets, stranger.encode(), listed))
        await attempt(packets, manifest.encode(), listed)
        self.assertEqual(self.arrivals.state(TRANSFER), Coming.PREPARED)


class Interrupted(TransferCase):
    """From some call on all fails, as for a process that was killed; then another process comes."""

    async def die_at(self, point: int, work: Callable[[], Any]) -> bool:
        return await die_at(self, point, work, ("rename", "makedirs", "unlink", "rmdir", "syncfs", "write_all"))

    async def test_activated(self) -> None:
        """Wherever it breaks off, the mailboxes are all there or none is, and it can be done again."""
        places = set()
        died = True
        await self.furnish()
        for point in range(1, 60):
            await self.copy()
            died = await self.die_at(point, lambda: self.arrivals.activate(TRANSFER))
            is_there = self.there.directory.lookup(INBOX) is not None
            places.add(is_there)
            listed = [entry.name for entry in self.there.directory.entries() if entry.name.owner == "fred"]
            self.assertEqual(len(listed), 4 if is_there else 0)
            # Another process of that server is asked again.
            arrivals = self.make_arrivals()
            await arrivals.activate(TRANSFER)
            self.assertEqual(len((await self.facts(self.there, INBOX))["bodies"]), 3)
            self.assertEqual((await self.there.quota(ADMIN, INBOX)).limits, (Limit("STORAGE", 10_000),))
            self.assertEqual(list(self.there_root.glob("spool/uuid/incoming/*")), [])
            await self.there.delete(ADMIN, INBOX)
            for entry in list(self.there.directory.entries(deleted=True)):
                await self.there.purge_deleted(entry)
            await self.departures.release(INBOX)
            if not died:
                break
        self.assertEqual((died, places), (False, {True, False}))

    async def test_removed(self) -> None:
        """Wherever it breaks off, nobody uses what is left, and it can be done again."""
        died = True
        for point in range(1, 60):
            text = f"user.u{point}"
            await self.store.create(ADMIN, name(text))
            await self.store.create(ADMIN, name(f"{text}.x"))
            await self.store.set_quota(ADMIN, name(text), [Limit("STORAGE", 1)])
            await self.append(POSTMAN, text)
            await self.departures.hold(name(text), deleted=True)
            died = await self.die_at(point, partial(self.departures.remove, name(text)))
            if self.store.directory.lookup(name(text)) is not None:
                await self.refused(MailboxMoving, self.store.open(POSTMAN, name(text), POST))
            await Departures(self.open().transfer_parts()).remove(name(text))
            self.assertEqual(self.store.directory.lookup(name(f"{text}.x")), None)
            left = [path for path in self.root.glob(f"spool/user/u{point}/**/*") if path.is_file()]
            self.assertEqual(left, [])
            await self.stores.pop().close()
            if not died:
                break
        self.assertFalse(died)

    async def test_held(self) -> None:
        """Wherever it breaks off, what was held is released, and whole."""
        died = True
        await self.furnish()
        for point in range(1, 20):
            died = await self.die_at(point, lambda: self.departures.hold(INBOX, deleted=True))
            await self.departures.release(INBOX)
            self.assertEqual(await self.append(FRED, "user.fred"), point + 4)
            if not died:
                break
        self.assertFalse(died)
