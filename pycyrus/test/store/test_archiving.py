"""The archive partition: old and large messages move there, and are found at every moment."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import NewMessage
from pycyrus.model.flags import FLAGGED, Flags
from pycyrus.model.names import parse_internal
from pycyrus.store import files
from pycyrus.store.expiry import Expired, Expiry, expire
from pycyrus.store.partition_marks import KNOWN, MARK
from pycyrus.store.reconstruct import Order, reconstruct
from pycyrus.store.restoring import restore
from pycyrus.store.rows import Entry
from pycyrus.store.settings import ArchiveSettings, DeleteMode, StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.store.verify import verify_mailbox
from pycyrus.test.store.mailboxes import FRED, expunge, text, uids, without_syncs
from pycyrus.test.store.test_expiry import ADMIN, FAR
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.faults import Action, Faults
from pycyrus.testing.interrupted import interruptions

OLD = 1_600_000_000
NEW = 1 << 33
LARGEST = 50_000
BOX = "user.fred"


class World:
    """A store with an archive, as one process sees it."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.root = root
        self.archive = root / "archive"
        self.settings = StoreSettings(
            root / "config",
            {"default": root / "spool", "second": root / "second"},
            archivepartitions={"default": self.archive},
            archive=ArchiveSettings(86400.0, LARGEST, keep_flagged=True),
            defaultpartition="default",
            **options,
        )
        self.reactor = BlockingReactor()
        self.run = self.reactor.run
        self.store: MailStore = open_store(self.settings, self.reactor)

    def append(self, mailbox: str, message: bytes, date: int = OLD, flags: int = 0) -> int:
        async def work() -> int:
            name = parse_internal(mailbox)
            opened = await self.store.open(FRED, name, "i")
            staged = await self.store.stage(FRED, name)
            try:
                staged.write(message)
                staged.finish()
                return (await opened.append([NewMessage(staged, Flags(flags), internaldate=date)])).uids[0]
            finally:
                staged.discard()
                opened.close()

        return self.run(work())

    def held(self, mailbox: str = BOX) -> dict[int, bytes]:
        async def work() -> dict[int, bytes]:
            opened = await self.store.open(FRED, parse_internal(mailbox), "r")
            found = {}
            try:
                opened.refresh()
                for uid in opened.view().uids.tolist():
                    message = opened.message(uid)
                    found[uid] = message.read(0, message.size)
                    message.close()
            finally:
                opened.close()
            return found

        return self.run(work())

    def expunge(self, mailbox: str, *which: int) -> None:
        async def work() -> None:
            opened = await self.store.open(FRED, parse_internal(mailbox), "e")
            await expunge(opened, *which)
            opened.close()

        self.run(work())

    def expire(self, **options: Any) -> Expired:
        order = Expiry(None, None, archive=self.settings.archive, annotated_at=float(OLD + 30 * 86400))
        return self.run(expire(self.store, _replaced(order, **options)))

    def entry(self, mailbox: str) -> Entry:
        found = self.store.directory.lookup(parse_internal(mailbox))
        assert found is not None
        return found

    def here(self, location: str = "user/fred") -> list[str]:
        return _messages(self.root / "spool" / location)

    def there(self, location: str = "user/fred") -> list[str]:
        return _messages(self.archive / location)

    def close(self) -> None:
        self.run(self.store.close())


def _replaced(order: Expiry, **options: Any) -> Expiry:
    values = {name: getattr(order, name) for name in Expiry.__slots__}
    return Expiry(**values | options)


def _messages(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return sorted(path.name for path in directory.iterdir() if path.name[:-1].isdigit())


class ArchiveCase(SynchronousTestCase):
    """Three old messages, the second of which is flagged, and a new one, in C{user.fred}."""

    options: dict[str, Any] = {}

    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.world = World(self.root, **self.options)
        self.addCleanup(self.end)
        self.world.run(self.world.store.create(ADMIN, parse_internal(BOX)))
        for number, flags in ((1, 0), (2, FLAGGED), (3, 0)):
            self.world.append(BOX, text(number), flags=flags)
        self.world.append(BOX, text(4), NEW)
        self.all = {number: text(number) for number in (1, 2, 3, 4)}

    def end(self) -> None:
        self.world.close()

    def restart(self) -> None:
        self.world.close()
        self.world = World(self.root, **self.options)


class ArchiveTests(ArchiveCase):
    def test_what_goes_there(self) -> None:
        """Old ones, but for those that are flagged; each with its time; and once."""
        before = os.stat(self.root / "spool/user/fred/1.").st_mtime_ns
        done = self.world.expire()
        self.assertEqual((done.archived, done.failed), (2, 0))
        self.assertEqual(self.world.there(), ["1.", "3."])
        self.assertEqual(self.world.here(), ["2.", "4."])
        self.assertEqual(os.stat(self.archived("1.")).st_mtime_ns, before)
        self.assertEqual(os.stat(self.archived("1.")).st_mode & 0o777, 0o600)
        self.assertEqual(self.world.held(), self.all)
        self.assertEqual(self.world.expire().archived, 0)
        self.restart()
        self.assertEqual(self.world.held(), self.all)
        self.assertEqual(list((self.root / "archive/stage.").iterdir()), [])

    def archived(self, name: str) -> Path:
        return self.world.archive / "user/fred" / name

    def test_annotations(self) -> None:
        """The nearest mailbox that says so decides from what age; 0 is never."""
        inbox = parse_internal(BOX)
        note = "/shared/vendor/cmu/cyrus-imapd/archive"
        self.world.run(self.world.store.annotate(ADMIN, inbox, {note: b"60"}))
        self.assertEqual(self.world.expire().archived, 0)
        self.world.run(self.world.store.annotate(ADMIN, inbox, {note: b"0"}))
        self.assertEqual(self.world.expire().archived, 0)
        self.assertEqual(self.world.expire(annotated_at=None).archived, 2)

    def test_large_ones_go_at_once(self) -> None:
        """Whatever their age and flags, by APPEND and by COPY."""
        large = text(9, LARGEST + 1)
        uid = self.world.append(BOX, large, NEW, FLAGGED)
        self.world.run(self.world.store._shield.settle())
        self.assertEqual(self.world.there(), [f"{uid}."])
        self.world.run(self.world.store.create(FRED, parse_internal("user.fred.Other")))

        async def copy() -> None:
            source = await self.world.store.open(FRED, parse_internal(BOX), "r")
            target = await self.world.store.open(FRED, parse_internal("user.fred.Other"), "i")
            await source.copy(uids(1, uid), target)
            source.close()
            target.close()
            await self.world.store._shield.settle()

        self.world.run(copy())
        self.assertEqual(self.world.there("user/fred/Other"), ["2."])
        self.assertEqual(self.world.here("user/fred/Other"), ["1."])
        self.assertEqual(self.world.held("user.fred.Other"), {1: text(1), 2: large})

    def test_expunge_unexpunge_purge(self) -> None:
        self.world.expire()
        self.world.expunge(BOX, 1, 2)
        state = self.world.run(self.world.store.hold(self.world.entry(BOX)))
        try:
            self.world.run(restore(state, lambda rows, keywords: rows[rows["uid"] == 1]))
        finally:
            self.world.store.release(state)
        self.assertEqual(self.world.held(), {3: text(3), 4: text(4), 5: text(1)})
        self.assertEqual(self.world.there(), ["3."])
        self.world.expire()
        self.world.expunge(BOX, 3, 5)
        self.world.expire(expunged_before=float(FAR), archive=None)
        self.assertEqual((self.world.here(), self.world.there()), (["4."], []))

    def test_expunged(self) -> None:
        """Those that may come back go there as well, and come back from there."""
        self.world.expunge(BOX, 1)
        self.assertEqual(self.world.expire().archived, 2)
        self.assertEqual(self.world.there(), ["1.", "3."])
        state = self.world.run(self.world.store.hold(self.world.entry(BOX)))
        self.world.run(restore(state, lambda rows, keywords: rows))
        self.world.store.release(state)
        self.assertEqual(self.world.held(), {2: text(2), 3: text(3), 4: text(4), 5: text(1)})
        self.assertEqual(self.world.there(), ["3."])

    def test_rename_delete(self) -> None:
        """They follow renames and deletions, and go for good with their mailbox."""
        self.world.run(self.world.store.create(FRED, parse_internal("user.fred.a")))
        self.world.append("user.fred.a", text(7))
        self.world.expire()
        rename = self.world.store.rename
        self.world.run(rename(FRED, parse_internal("user.fred.a"), parse_internal("user.fred.b.c")))
        self.assertEqual(self.world.held("user.fred.b.c"), {1: text(7)})
        self.assertEqual(self.world.there("user/fred/b/c"), ["1."])
        self.world.run(self.world.store.delete(FRED, parse_internal("user.fred.b.c")))
        self.assertEqual(self.world.there("user/fred/b/c"), [])
        self.assertEqual(len([path for path in self.world.archive.rglob("1.") if path.is_file()]), 2)
        self.world.expire(archive=None, deleted_before=float(FAR))
        self.assertEqual(len([path for path in self.world.archive.rglob("1.") if path.is_file()]), 1)
        self.assertEqual(sorted(path.name for path in self.world.archive.iterdir()), [MARK, "stage.", "user"])

    def test_another_partition(self) -> None:
        """A partition without an archive has them with the others, and back."""
        self.world.expire()
        name = parse_internal(BOX)
        self.world.run(self.world.store.rename(ADMIN, name, name, partition="second"))
        self.assertEqual(_messages(self.root / "second/user/fred"), ["1.", "2.", "3.", "4."])
        self.assertEqual((self.world.here(), self.world.there()), ([], []))
        self.assertEqual(self.world.held(), self.all)
        self.world.run(self.world.store.rename(ADMIN, name, name, partition="default"))
        self.assertEqual(self.world.expire().archived, 2)
        self.assertEqual(self.world.held(), self.all)

    def test_reconstruct_and_verify(self) -> None:
        """They look into the archive; what is missing, odd or damaged there is found."""
        self.world.expire()
        self.assertEqual(self.reconstruct(), [])
        self.assertEqual(self.verify(), [])
        shutil.copy(self.archived("1."), self.archived("77."))
        self.assertEqual(self.reconstruct(), ["77.: a file without a record"])
        self.assertEqual(self.world.held(), {**self.all, 78: text(1)} if 78 in self.world.held() else self.all)
        self.archived("3.").write_bytes(text(3).replace(b"3", b"8"))
        self.assertIn("its octets are not those that were stored", "".join(self.verify()))
        self.reconstruct(reparse=True, remove=True)
        self.assertEqual(sorted(self.world.held())[:2], [1, 2])
        self.assertNotIn(3, self.world.held())
        self.assertTrue((self.archived("pycyrus.quarantine") / "3.0").exists())
        self.archived("1.").unlink()
        self.reconstruct()
        self.assertNotIn(1, self.world.held())

    def reconstruct(self, **options: bool) -> list[str]:
        async def work() -> list[str]:
            entry = self.world.entry(BOX)
            state = await self.world.store.hold(entry)
            try:
                return await reconstruct(state, entry, BOX, Order(**options))
            finally:
                self.world.store.release(state)

        return self.world.run(work())

    def verify(self) -> list[str]:
        entry = self.world.entry(BOX)
        found = verify_mailbox(entry, self.world.settings, self.world.store._partitions)
        return [finding.problem for finding in found]

    def test_a_lost_journal(self) -> None:
        """Archived messages are adopted again with the others."""
        self.world.expire()
        self.world.close()
        for name in ("pycyrus.journal", "pycyrus.columns"):
            (self.root / "spool/user/fred" / name).unlink(missing_ok=True)
        self.world = World(self.root)
        self.assertEqual(self.world.held(), self.all)
        self.assertEqual(self.world.there(), ["1.", "3."])
        self.flushLoggedErrors()


class MissingArchiveTests(ArchiveCase):
    """An archive that is not there, or broken, harms archived messages only."""

    options = {"delete_mode": DeleteMode.IMMEDIATE}

    def setUp(self) -> None:
        super().setUp()
        self.world.expire()
        self.away = self.root / "away"

    def unmount(self) -> None:
        os.rename(self.world.archive, self.away)
        self.world.archive.mkdir()

    def mount(self) -> None:
        shutil.rmtree(self.world.archive)
        os.rename(self.away, self.world.archive)

    def read(self, uid: int, mailbox: str = BOX) -> bytes:
        async def work() -> bytes:
            opened = await self.world.store.open(FRED, parse_internal(mailbox), "r")
            try:
                message = opened.message(uid)
                try:
                    return message.read(0, message.size)
                finally:
                    message.close()
            finally:
                opened.close()

        return self.world.run(work())

    def test_not_mounted(self) -> None:
        """Also over a restart, and a restart of the machine; nothing is put into the empty directory."""
        for again in (lambda: None, self.restart, self.reboot):
            self.unmount()
            again()
            self.assertRaises(StoreUnavailable, self.read, 1)
            self.assertEqual(self.read(2), text(2))
            number = self.world.append(BOX, text(8))
            self.world.append(BOX, text(9, LARGEST + 1))
            self.assertEqual(self.read(number), text(8))
            self.assertEqual(self.world.expire().failed, 1)
            self.assertEqual([path.name for path in self.world.archive.iterdir()], [])
            self.mount()
            self.assertEqual(self.read(1), text(1))
            self.all = self.world.held()
            self.assertLessEqual({1, 2, 3, 4, number}, self.all.keys())

    def reboot(self) -> None:
        self.patch(files, "boot_id", lambda: b"another boot" + bytes(4))
        self.restart()

    def test_all_of_a_mailbox(self) -> None:
        """A mailbox all of whose messages are archived opens without its archive after a restart of the machine."""
        self.world.expunge(BOX, 2, 4)
        self.world.expire(expunged_before=float(FAR), archive=None)
        self.assertEqual(self.world.here(), [])
        self.unmount()
        self.reboot()
        self.assertRaises(StoreUnavailable, self.read, 1)
        self.assertEqual(self.world.append(BOX, text(5)), self.world.run(self.uidnext()) - 1)
        self.mount()
        self.assertEqual(
            {uid: octets for uid, octets in self.world.held().items() if uid < 5}, {1: text(1), 3: text(3)}
        )

    async def uidnext(self) -> int:
        opened = await self.world.store.open(FRED, parse_internal(BOX), "r")
        try:
            return opened.uidnext()
        finally:
            opened.close()

    def test_not_reconstructed_into_emptiness(self) -> None:
        entry = self.world.entry(BOX)

        async def work() -> list[str]:
            state = await self.world.store.hold(entry)
            try:
                return await reconstruct(state, entry, BOX, Order(accept_loss=True))
            finally:
                self.world.store.release(state)

        self.unmount()
        self.assertRaises(StoreUnavailable, self.world.run, work())
        self.mount()
        self.assertEqual(self.world.held(), self.all)

    def test_renamed_and_deleted_meanwhile(self) -> None:
        """The directories in the archive follow when it is there again, and meet nobody else's."""
        names = [parse_internal(f"user.fred.{name}") for name in ("a", "b", "x", "y")]
        store = self.world.store
        for each in names[:2]:
            self.world.run(store.create(FRED, each))
        self.world.append("user.fred.a", text(7))
        self.world.append("user.fred.b", text(8))
        self.world.expire()
        self.unmount()
        self.world.run(store.rename(FRED, names[0], names[2]))
        self.world.run(store.rename(FRED, names[2], names[3]))
        self.world.run(store.delete(FRED, names[1]))
        # Others come to the places that they had.
        for each in names[:2]:
            self.world.run(store.create(FRED, each))
        self.world.append("user.fred.a", text(17))
        self.world.append("user.fred.b", text(18))
        self.assertRaises(StoreUnavailable, self.read, 1, "user.fred.y")
        self.mount()
        self.assertEqual(self.world.expire().archived, 2)
        self.world.run(store.create(FRED, parse_internal("user.fred.z")))
        for mailbox, number in (("y", 7), ("a", 17), ("b", 18)):
            self.assertEqual(self.world.held(f"user.fred.{mailbox}"), {1: text(number)})
        self.restart()
        for mailbox, number in (("y", 7), ("a", 17), ("b", 18)):
            self.assertEqual(self.world.held(f"user.fred.{mailbox}"), {1: text(number)})

    def test_another_disk(self) -> None:
        """An archive with another mark is not written to."""
        self.unmount()
        (self.world.archive / MARK).write_text("ab" * 16 + "\n")
        self.assertEqual(self.world.append(BOX, text(20)), 5)
        self.assertEqual(self.world.expire().failed, 1)
        self.assertEqual([path.name for path in self.world.archive.iterdir()], [MARK])

    def test_errors(self) -> None:
        """It is full, or broken, at each call: what is told is true, and all messages can be read."""
        self.world.append(BOX, text(10))
        for number in (errno.ENOSPC, errno.EIO, errno.EROFS):
            at = 0
            while True:
                at += 1
                with Faults(at, Action.FAIL, number) as faults:
                    done = self.world.expire()
                self.assertEqual(self.world.held(), {**self.all, 5: text(10)}, (number, at))
                if len(faults.calls) < at:
                    break
                if done.archived:
                    # Back, for the next call.
                    os.rename(self.archived(5), self.root / "spool/user/fred/5.")
            self.assertEqual((done.archived, done.failed), (1, 0))
            self.assertEqual(list((self.root / "archive/stage.").iterdir()), [])
            os.rename(self.archived(5), self.root / "spool/user/fred/5.")

    def archived(self, uid: int) -> Path:
        return self.world.archive / f"user/fred/{uid}."


class ArchiveCrashTests(ArchiveCase):
    def test_every_call(self) -> None:
        """Whoever dies, or is refused, at whatever step leaves every message readable; the next does the rest."""
        self.world.close()
        kept = self.root.with_name("kept")
        self.root.rename(kept)

        def fresh() -> None:
            shutil.rmtree(self.root, ignore_errors=True)
            shutil.copytree(kept, self.root)

        for what in interruptions(
            lambda: World(self.root).expire, (Action.KILL_BEFORE, Action.SHORT, Action.READ_ONLY), fresh
        ):
            self.world = World(self.root)
            self.assertEqual(self.world.held(), self.all, what)
            done = self.world.expire()
            self.assertEqual(done.failed, 0, what)
            self.assertEqual((self.world.here(), self.world.there()), (["2.", "4."], ["1.", "3."]), what)
            self.assertEqual(self.world.held(), self.all, what)
            self.assertEqual(list((self.root / "archive/stage.").iterdir()), [], what)
            self.world.close()
        self.world = World(self.root)


class MarkTests(SynchronousTestCase):
    """The partition itself is known by its mark too."""

    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.world = World(self.root)
        self.world.run(self.world.store.create(ADMIN, parse_internal(BOX)))
        self.world.append(BOX, text(1))
        self.world.run(self.world.store.create(ADMIN, parse_internal("user.bob"), partition="second"))

    def test_an_empty_mount_point(self) -> None:
        """Nothing is made there, nothing counts as lost, and when it is mounted all is well."""
        self.world.close()
        os.rename(self.root / "spool", self.root / "away")
        (self.root / "spool").mkdir()
        self.world = World(self.root)
        error = self.assertRaises(StoreUnavailable, self.world.held)
        self.assertIn("Is its file system mounted?", str(error))
        self.assertRaises(StoreUnavailable, self.world.append, BOX, text(2))
        create = self.world.store.create(ADMIN, parse_internal("user.jane"), partition="default")
        self.assertRaises(MailStoreError, self.world.run, create)
        self.assertEqual(list((self.root / "spool").iterdir()), [])
        (self.root / "spool").rmdir()
        os.rename(self.root / "away", self.root / "spool")
        self.assertEqual(self.world.held(), {1: text(1)})
        self.world.append(BOX, text(2))
        self.world.close()

    def test_another(self) -> None:
        """Removing what is known of it lets another take its place; a copy without its mark is believed."""
        self.world.close()
        (self.root / "spool" / MARK).unlink()
        self.world = World(self.root)
        self.assertEqual(self.world.held(), {1: text(1)})
        self.assertEqual(
            (self.root / "spool" / MARK).read_text(), (self.root / "config" / KNOWN / "partition-default").read_text()
        )
        self.world.close()
        (self.root / "spool" / MARK).write_text("cd" * 16)
        self.world = World(self.root)
        self.assertRaises(StoreUnavailable, self.world.held)
        self.world.close()
        (self.root / "config" / KNOWN / "partition-default").unlink()
        self.world = World(self.root)
        self.assertEqual(self.world.held(), {1: text(1)})
        self.world.close()
