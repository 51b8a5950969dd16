"""Mailboxes that go to another partition while they are in use, and whoever is killed meanwhile."""

from __future__ import annotations

import errno
import random
import threading
from pathlib import Path
from typing import Any, cast

import numpy as np
from twisted.internet.defer import Deferred

from pycyrus.errors import (
    MailboxExists,
    MailboxNotFound,
    OperationNotSupported,
    PermissionDenied,
    UnknownPartition,
)
from pycyrus.interfaces import NewMessage
from pycyrus.model.flags import DELETED, FLAGGED, FlagAction, FlagChange, Flags
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.store import files, journal, moves
from pycyrus.store.loading import load
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.partition_moves import PartitionMove
from pycyrus.test.store.dying import die_at
from pycyrus.test.store.test_store import ADMIN, BOB, FRED, MESSAGE, StoreCase, name
from pycyrus.testing.disk import Keep, Loss, Recorder

INBOX = name("user.fred")
FLAG = FlagChange(FlagAction.ADD, Flags(FLAGGED))


class PartitionMoves(StoreCase):
    async def furnish(self) -> None:
        await self.store.create(FRED, name("user.fred.a.b"))
        for _ in range(3):
            await self.append(FRED, "user.fred")
        await self.append(FRED, "user.fred.a.b")

    async def flagged(self, mailbox: str) -> list[int]:
        opened = await self.store.open(FRED, name(mailbox), "r")
        try:
            opened.refresh()
            view = opened.view()
            return [int(uid) for uid in view.uids[view.flags & FLAGGED != 0]]
        finally:
            opened.close()

    def place(self, mailbox: str) -> str:
        entry = self.store.directory.lookup(name(mailbox))
        assert entry is not None
        return f"{entry.partition}/{entry.location}"

    async def test_live(self) -> None:
        """Sessions here and in another process go on where they were, and lose nothing."""
        await self.furnish()
        await self.store.annotate(FRED, INBOX, {"/private/comment": b"mine"})
        other = self.open()
        sessions = [await store.open(FRED, INBOX, "r") for store in (self.store, other)]
        views = []
        for session in sessions:
            self.addCleanup(session.close)
            session.refresh()
            views.append(session.view().uids.tolist())
        before = await self.store.status(FRED, INBOX)
        moved = await self.store.rename(ADMIN, INBOX, INBOX, partition="OTHER")
        self.assertEqual([old for old, new in moved], [INBOX, name("user.fred.a"), name("user.fred.a.b")])
        self.assertTrue(all(old == new for old, new in moved))
        self.assertEqual(await self.store.status(FRED, INBOX), before)
        self.assertEqual((self.root / "other/user/fred/2.").read_bytes(), MESSAGE)
        self.assertTrue((self.root / "other/user/fred/a/b/1.").exists())
        self.assertFalse((self.root / "spool/user/fred").exists())
        self.assertEqual((await self.store.annotations(FRED, INBOX))["/private/comment"], b"mine")
        self.assertEqual(
            (await self.store.annotations(FRED, INBOX))["/shared/vendor/cmu/cyrus-imapd/partition"], b"other"
        )
        for number, session in enumerate(sessions):
            await session.store(np.array([number + 1], np.uint32), FLAG)
            file = session.message(3)
            self.assertEqual(file.read(0, 99), MESSAGE)
            file.close()
            self.assertEqual(session.view().uids.tolist(), views[number])
        for store in (self.store, other):
            staged = await store.stage(FRED, INBOX)
            staged.write(MESSAGE)
            staged.finish()
            opened = await store.open(FRED, INBOX, "i")
            await opened.append([NewMessage(staged)])
            opened.close()
            staged.discard()
        self.assertTrue((self.root / "other/user/fred/5.").exists())
        await self.reopen()
        self.assertEqual(await self.flagged("user.fred"), [1, 2])
        self.assertEqual(await self.count(FRED, "user.fred"), 5)
        self.assertEqual(self.store.directory.has_pending(), False)

    async def test_durable_there(self) -> None:
        """Who adds a message before the old directory has gone has it synced on the file system where it is now."""
        session = await self.store.open(FRED, INBOX, "i")
        self.addCleanup(session.close)
        added = threading.Event()
        moments: list[int] = []
        remove = moves._remove
        self.patch(moves, "_remove", lambda *args: added.wait(60) and remove(*args))

        async def add() -> None:
            staged = await self.store.stage(FRED, INBOX)
            staged.write(MESSAGE)
            staged.finish()
            await session.append([NewMessage(staged)])
            staged.discard()
            moments.append(recorder.tick())
            added.set()

        self.patch(PartitionMove, "settled", lambda move: Deferred.fromCoroutine(add()))
        with Recorder(self.root, several=True) as recorder:
            await self.append(FRED, "user.fred")
            await self.store.rename(ADMIN, INBOX, INBOX, partition="other")
        (acknowledged,) = moments
        after = Path(self.mktemp())
        loss = Loss(Keep.NOTHING, Keep.NOTHING, apart=True)
        recorder.after_power_cut(acknowledged, loss, random.Random(1), after)
        self.assertEqual((after / "other/user/fred/2.").read_bytes(), MESSAGE)
        records = journal.scan((after / "other/user/fred/pycyrus.journal").read_bytes()[journal.HEADER_SIZE :])[0]
        # Its items may have been made in a quiet moment since.
        self.assertEqual([record.type for record in records if record.type != journal.CACHE][-1], journal.APPEND)

    async def test_snapshot_taken_meanwhile(self) -> None:
        """A snapshot of the journal as it was there stands for the one here as well."""
        await self.append(FRED, "user.fred")
        session = cast(OpenedMailbox, await self.store.open(FRED, INBOX, "i"))
        self.addCleanup(session.close)

        def settled(move: PartitionMove) -> None:
            state = session.state
            state.refresh()
            state.upkeep._snapshot(state._offset)(state.paths)

        self.patch(PartitionMove, "settled", settled)
        await self.store.rename(ADMIN, INBOX, INBOX, partition="other")
        await self.append(FRED, "user.fred")
        self.assertTrue((self.root / "other/user/fred/pycyrus.columns").exists())
        loaded = load(session.state.paths)
        files.close(loaded.fd)
        self.assertGreater(loaded.snapshot_offset, 0)
        self.assertEqual(loaded.offset, loaded.size)
        self.assertEqual(loaded.contents.columns.uids[: len(loaded.contents)].tolist(), [1, 2])

    async def test_idle(self) -> None:
        """Whoever only looks sees nothing happen, here and in another process."""
        await self.furnish()
        other = self.open()
        for partition in ("other", "default"):
            sessions = [await store.open(FRED, INBOX, "r") for store in (self.store, other)]
            before = []
            for session in sessions:
                session.refresh()
                before.append(session.view().uids.tolist())
            await self.store.rename(ADMIN, INBOX, INBOX, partition=partition)
            for session, uids in zip(sessions, before, strict=True):
                # As when the kernel says that the journal changed: nobody has asked the list yet.
                cast(OpenedMailbox, session).state.refresh()
                session.refresh()
                self.assertEqual(session.view().uids.tolist(), uids)
                session.close()

    async def test_without_links(self) -> None:
        """The usual case: partitions are file systems of their own."""
        await self.furnish()

        def no_link(*args: Any) -> None:
            raise OSError(errno.EXDEV, "another file system")

        patch = self.patch(files, "link", no_link)
        await self.store.rename(ADMIN, name("user.fred.a"), name("user.fred.a"), partition="other")
        patch.restore()
        self.assertEqual((self.root / "other/user/fred/a/b/1.").read_bytes(), MESSAGE)
        self.assertTrue((self.root / "spool/user/fred/1.").exists())
        self.assertEqual(await self.count(FRED, "user.fred.a.b"), 1)
        self.assertEqual(list((self.root / "other").glob("**/*~")), [])
        # And back to where it came from.
        await self.store.rename(ADMIN, name("user.fred.a"), name("user.fred.a"), partition="default")
        self.assertEqual(await self.count(FRED, "user.fred.a.b"), 1)
        self.assertEqual(self.place("user.fred.a.b"), "default/user/fred/a/b")

    async def test_refused(self) -> None:
        await self.furnish()
        for error, identity, old, new, partition in [
            (PermissionDenied, FRED, "user.fred.a", "user.fred.a", "other"),
            (MailboxNotFound, BOB, "user.fred.a", "user.fred.a", "other"),
            (UnknownPartition, ADMIN, "user.fred.a", "user.fred.a", "none"),
            (MailboxExists, ADMIN, "user.fred.a", "user.fred.a", "default"),
            (OperationNotSupported, ADMIN, "user.fred.a", "user.fred.x", "other"),
        ]:
            await self.refused(error, self.store.rename(identity, name(old), name(new), partition=partition))
        self.assertEqual(self.place("user.fred.a"), "default/user/fred/a")
        self.assertEqual(self.store.directory.has_pending(), False)

    async def test_written_meanwhile(self) -> None:
        """What comes, is flagged or goes while the messages are copied is not lost."""
        await self.furnish()
        real = PartitionMove.copy
        other = self.open()

        def copy(move: PartitionMove) -> None:
            real(move)
            # After the first copy, and before the last.
            waiting.append(move)

        waiting: list[PartitionMove] = []
        self.patch(PartitionMove, "copy", copy)
        change = self.store.directory.change

        async def change_after(function: Any, then: Any = None) -> Any:
            if waiting and function.__name__ == "finish" and not written:
                written.append(True)
                session = await other.open(FRED, INBOX, "r")
                await session.store(np.array([1], np.uint32), FLAG)
                await session.store(np.array([2], np.uint32), FlagChange(FlagAction.ADD, Flags(DELETED)))
                await session.expunge()
                staged = await other.stage(FRED, INBOX)
                staged.write(MESSAGE)
                staged.finish()
                await session.append([NewMessage(staged)])
                staged.discard()
                session.close()
            return await change(function, then)

        written: list[bool] = []
        self.patch(self.store.directory, "change", change_after)
        await self.store.rename(ADMIN, INBOX, INBOX, partition="other")
        self.assertEqual(written, [True])
        self.assertEqual(await self.count(FRED, "user.fred"), 3)
        self.assertEqual(await self.flagged("user.fred"), [1])
        self.assertTrue((self.root / "other/user/fred/4.").exists())

    async def die_at(self, point: int, mailbox: MailboxName) -> bool:
        calls = ("rename", "link", "makedirs", "unlink", "rmdir", "syncfs", "write_all")
        return await die_at(self, point, lambda: self.store.rename(ADMIN, mailbox, mailbox, partition="other"), calls)

    async def test_interrupted(self) -> None:
        """Wherever it breaks off, the mailbox is whole in one place; others go on writing there."""
        places = set()
        other = self.open()
        for point in range(1, 80):
            text = f"user.fred.m{point}"
            await self.store.create(FRED, name(text))
            await self.append(FRED, text)
            session = await other.open(FRED, name(text), "r")
            session.refresh()
            died = await self.die_at(point, name(text))
            # A process that had it open all the time.
            staged = await other.stage(FRED, name(text))
            staged.write(MESSAGE)
            staged.finish()
            await session.append([NewMessage(staged)])
            staged.discard()
            await session.store(np.array([1, 2], np.uint32), FLAG)
            session.close()
            # The next change of the list, by anybody, clears away what was left.
            await other.create(BOB, name(f"user.bob.m{point}"))
            await self.reopen_other(point)
            self.assertEqual(await self.flagged(text), [1, 2], point)
            places.add(self.place(text).partition("/")[0])
            here = [path for path in self.root.glob(f"**/m{point}/pycyrus.journal") if "bob" not in path.parts]
            self.assertEqual(len(here), 1, (point, here))
            if not died:
                break
        else:
            raise self.failureException("never came to its end")
        self.assertEqual(places, {"default", "other"})
        self.assertGreater(point, 15)

    async def reopen_other(self, point: int) -> None:
        """See it as a process that comes anew; now and then, as it takes its time."""
        if point % 5 == 0:
            store = self.open()
            status = await store.status(FRED, name(f"user.fred.m{point}"))
            self.assertEqual(status.counts.messages, 2, point)
            self.stores.remove(store)
            await store.close()
