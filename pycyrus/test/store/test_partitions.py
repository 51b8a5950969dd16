"""A partition that fails or fills harms only its own mailboxes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxNotFound, StoreFull, StoreUnavailable
from pycyrus.interfaces import NewMessage
from pycyrus.model.names import parse_internal
from pycyrus.store import files
from pycyrus.store.expiry import Expiry, expire
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store
from pycyrus.test.store.mailboxes import FRED, text, without_syncs
from pycyrus.test.store.test_expiry import ADMIN, FAR
from pycyrus.testing.blocking import BlockingReactor

GOOD, BAD = "user.fred", "user.fred.Other"


class PartitionTests(SynchronousTestCase):
    """INBOX lies on one, C{Other} on another."""

    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.bad = self.root / "second"
        self.settings = StoreSettings(
            self.root / "config", {"default": self.root / "first", "second": self.bad}, defaultpartition="default"
        )
        self.reactor = BlockingReactor()
        self.run_ = self.reactor.run
        self.start()
        self.run_(self.store.create(ADMIN, parse_internal(GOOD)))
        self.run_(self.store.create(ADMIN, parse_internal(BAD), partition="second"))
        self.append(GOOD, 1)
        self.append(BAD, 2)
        self.addCleanup(lambda: self.run_(self.store.close()))

    def start(self) -> None:
        self.store = open_store(self.settings, self.reactor)

    def restart(self) -> None:
        self.run_(self.store.close())
        self.start()

    def append(self, mailbox: str, number: int, size: int = 40) -> None:
        async def work() -> None:
            name = parse_internal(mailbox)
            opened = await self.store.open(FRED, name, "i")
            try:
                staged = await self.store.stage(FRED, name)
                try:
                    staged.write(text(number, size))
                    staged.finish()
                    await opened.append([NewMessage(staged)])
                finally:
                    staged.discard()
            finally:
                opened.close()

        self.run_(work())

    def held(self, mailbox: str) -> list[bytes]:
        async def work() -> list[bytes]:
            opened = await self.store.open(FRED, parse_internal(mailbox), "r")
            found = []
            try:
                opened.refresh()
                for uid in opened.view().uids.tolist():
                    message = opened.message(uid)
                    found.append(message.read(0, message.size))
                    message.close()
            finally:
                opened.close()
            return found

        return self.run_(work())

    def the_good_one_works(self) -> None:
        before = self.held(GOOD)
        self.append(GOOD, 7, 80_000)
        self.assertEqual(self.held(GOOD), [*before, text(7, 80_000)])
        self.run_(self.store.create(ADMIN, parse_internal(f"user.fred.New{len(before)}")))

    def both_work(self, number: int = 8) -> None:
        before = self.held(BAD)
        self.assertEqual(before[0], text(2))
        self.append(BAD, number)
        self.assertEqual(self.held(BAD), [*before, text(number)])
        self.the_good_one_works()

    def test_missing_at_start(self) -> None:
        """Nothing is in the place of its directory, or what cannot be used; then it comes back."""
        away = self.root / "away"
        for make in (Path.touch, lambda path: None):
            self.run_(self.store.close())
            os.rename(self.bad, away)
            make(self.bad)
            self.start()
            for _ in range(2):
                self.assertRaises(StoreUnavailable, self.held, BAD)
                self.assertRaises(StoreUnavailable, self.append, BAD, 9)
            self.the_good_one_works()
            self.run_(expire(self.store, Expiry(FAR, FAR)))
            self.run_(self.store.close())
            if self.bad.is_dir():
                # It was made anew, and nothing was put there.
                self.assertEqual(list(self.bad.iterdir()), [])
                self.bad.rmdir()
            else:
                self.bad.unlink()
            os.rename(away, self.bad)
            self.start()
            self.both_work()

    def test_missing_later(self) -> None:
        """It goes while mailboxes are in use, and comes back."""
        os.rename(self.bad, self.root / "away")
        self.assertRaises(StoreUnavailable, self.append, BAD, 9)
        self.assertRaises(StoreUnavailable, self.append, BAD, 9, 80_000)
        self.the_good_one_works()
        for path in sorted(self.bad.rglob("*"), reverse=True) if self.bad.exists() else ():
            path.rmdir()
        if self.bad.exists():
            self.bad.rmdir()
        os.rename(self.root / "away", self.bad)
        self.both_work()

    def break_second(self, number: int) -> Callable[[], None]:
        """Have every write to that partition fail; gives what ends this."""
        broken = [True]
        originals = {name: getattr(files, name) for name in ("pwrite", "open_file", "link", "rename", "makedirs")}

        def is_there(place: Any) -> bool:
            path = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)
            return path.startswith(f"{self.bad}/")

        def wrap(name: str) -> Callable[..., Any]:
            def call(place: Any, *args: Any, **options: Any) -> Any:
                writes = name != "open_file" or args[0] & (os.O_CREAT | os.O_TRUNC)
                if broken and writes and is_there(place):
                    raise OSError(number, os.strerror(number))
                return originals[name](place, *args, **options)

            return call

        for name in originals:
            self.patch(files, name, wrap(name))
        return broken.clear

    def test_errors(self) -> None:
        """It is full, or broken: the client is told which, and all goes on when it is not."""
        for number, kind in ((errno.ENOSPC, StoreFull), (errno.EIO, StoreUnavailable), (errno.EROFS, StoreUnavailable)):
            mend = self.break_second(number)
            for size in (40, 80_000):
                self.assertRaises(kind, self.append, BAD, 9, size)
            self.assertEqual(self.held(BAD)[0], text(2))
            self.the_good_one_works()
            mend()
            self.both_work(number)
            self.restart()
            self.both_work(number)

    def test_renaming_where_nothing_can_be_written(self) -> None:
        """What is refused has not happened, and what has happened is not refused."""
        other = f"{BAD}er"
        before, moved = parse_internal(BAD), parse_internal(other)
        originals = files.fstatvfs
        self.patch(files, "fstatvfs", lambda fd: SimpleNamespace(f_flag=os.ST_RDONLY, f_bavail=9))
        for work in (self.store.rename(FRED, before, moved), self.store.delete(FRED, before)):
            self.assertRaises(StoreUnavailable, self.run_, work)
            self.assertEqual(self.held(BAD)[0], text(2))
        self.patch(files, "fstatvfs", originals)
        mend = self.break_writing()
        self.run_(self.store.rename(FRED, before, moved))
        self.assertRaises(MailboxNotFound, self.held, BAD)
        self.assertEqual(self.held(other)[0], text(2))
        mend()
        self.append(other, 3)
        self.restart()
        self.run_(self.store.create(FRED, parse_internal(f"{GOOD}.Next")))
        self.assertEqual(self.held(other), [text(2), text(3)])
        (header,) = self.bad.glob("**/Otherer/pycyrus.header")
        self.assertIn(other.encode(), header.read_bytes())

    def break_writing(self) -> Callable[[], None]:
        """Have there be no room for records and headers in that partition, though names can change."""
        broken = [True]
        original = files.pwrite

        def pwrite(fd: int, *args: Any) -> int:
            if broken and os.readlink(f"/proc/self/fd/{fd}").startswith(f"{self.bad}/"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(fd, *args)

        self.patch(files, "pwrite", pwrite)
        return broken.clear
