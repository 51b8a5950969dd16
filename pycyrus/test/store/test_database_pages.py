"""Databases with a damaged page: what other pages have is there, and nothing that was removed."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.interfaces import Location, LocationState
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Limit
from pycyrus.sqlite.opening import CHECKSUM_OF, connect, make
from pycyrus.sqlite.pages import BadPages, Pages
from pycyrus.sqlite.salvage import salvage
from pycyrus.store import locations, quota_roots
from pycyrus.store.locations import Locations
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store
from pycyrus.test.store.mailboxes import without_syncs
from pycyrus.testing.blocking import BlockingReactor

PAGE = 4096
COUNT = 160


class PagesCase(SynchronousTestCase):
    FILE = ""

    def setUp(self) -> None:
        without_syncs(self)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.reactor = BlockingReactor()
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def damage(self, draw: random.Random) -> Iterator[str]:
        """Flip a bit of each page, and cut the file off at its beginning and within it; yields what was done."""
        path = self.directory / self.FILE
        whole = path.read_bytes()
        pages = len(whole) // PAGE
        self.assertGreater(pages, 3)
        for page in range(pages):
            used = [at for at in range(page * PAGE, (page + 1) * PAGE) if whole[at]]
            flips = [at for at in draw.sample(used, min(len(used), 2)) if not 60 <= at < 64]
            for what, at in (
                *(("flip", at) for at in flips),
                ("cut", page * PAGE),
                ("cut", page * PAGE + draw.randrange(1, PAGE)),
            ):
                damaged = bytearray(whole)
                if what == "cut":
                    del damaged[at:]
                else:
                    damaged[at] ^= 1 << draw.randrange(8)
                for rest in ("-wal", "-shm"):
                    path.with_name(path.name + rest).unlink(missing_ok=True)
                path.write_bytes(damaged)
                self.events.clear()
                yield f"{what} at {at} of {len(whole)}"

    def check(self, expected: Mapping[str, object], found: Callable[[], Mapping[str, object]]) -> None:
        """Nothing is there that was not, what is lost is told of, and a bit costs a page at most."""
        lost_to_flips = []
        for what in self.damage(random.Random(9)):
            there = found()
            self.assertLessEqual(there.items(), expected.items(), what)
            if len(there) < len(expected):
                self.assertTrue(self.events, what)
            if what.startswith("flip"):
                lost_to_flips.append(len(expected) - len(there))
        self.assertLess(max(lost_to_flips), 0.3 * len(expected))
        self.assertIn(0, lost_to_flips)


class QuotaTests(PagesCase):
    FILE = quota_roots.FILE_NAME

    def test_pages(self) -> None:
        """A root is there with its limits, or there is none; it can be set again."""
        settings = StoreSettings(self.directory, {"default": self.directory / "spool"}, defaultpartition="default")
        (self.directory / "spool").mkdir()
        roots = [MailboxName("", f"user{number}", ("a folder",)) for number in range(COUNT)]
        store = open_store(settings, self.reactor)
        store.quotas.roots.put_all([(root, [("STORAGE", 1000 + number)]) for number, root in enumerate(roots)])
        self.reactor.run(store.close())

        def found() -> dict[str, object]:
            opened = open_store(settings, self.reactor)
            there = dict(opened.quotas.roots.within("", "\U0010ffff"))
            self.reactor.run(opened.quotas.roots.set(roots[7], [Limit("STORAGE", 5)]))
            self.assertEqual(opened.quotas.roots.limits(roots[7]), (Limit("STORAGE", 5),))
            self.reactor.run(opened.close())
            return {str(root): limits for root, limits in there.items()}

        self.check({str(root): (Limit("STORAGE", 1000 + number),) for number, root in enumerate(roots)}, found)


class LocationTests(PagesCase):
    FILE = locations.FILE_NAME

    def open(self) -> Locations:
        return Locations(self.directory, self.reactor)

    def test_pages(self) -> None:
        """A mailbox is told to be where it is, or nowhere; a backend can say so again."""
        all_of_them = [
            Location(f"user.u{number}", f"backend{number % 3}.example.com", "default", f"u{number}\tlrswipkxtea\t",
                     LocationState.ACTIVE)
            for number in range(COUNT)
        ]  # fmt: skip
        opened = self.open()
        gone = [replace(each, mailbox=f"user.gone{number}") for number, each in enumerate(all_of_them)]
        self.reactor.run(opened.follow([*gone, *all_of_them]))
        self.reactor.run(opened.follow([each.mailbox for each in gone]))
        self.reactor.run(opened.close())

        def found() -> dict[str, object]:
            again = self.open()
            there: dict[str, object] = {each.mailbox: each for each in again.page("", "", 1 << 20)}
            self.assertEqual({name: again.find(name) for name in there}, there)
            number = again.last_change()
            self.reactor.run(again.activate(Location("user.new", "b", "default", "", LocationState.ACTIVE)))
            self.assertGreater(again.last_change(), number)
            self.assertEqual(sum(again.count().values()), len(there) + 1)
            self.reactor.run(again.close())
            return there

        self.check({each.mailbox: each for each in all_of_them}, found)


class SalvageTests(SynchronousTestCase):
    """Rows that no page tells of."""

    SCHEMA = f"""
    CREATE TABLE things (
        kind INTEGER NOT NULL, value TEXT NOT NULL, name TEXT NOT NULL, octets BLOB NOT NULL,
        {CHECKSUM_OF % "kind, value, name, octets"},
        PRIMARY KEY (name, kind)
    ) WITHOUT ROWID
    """

    def setUp(self) -> None:
        without_syncs(self)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "a.db"
        draw = random.Random(3)
        sizes = (0, 1, 100, 480, 500, 1000, 4100, 12_000)
        self.rows = {
            (
                (number - 20) << number * 2 // 3,
                "v" * draw.choice(sizes),
                f"name {number}",
                draw.randbytes(draw.choice(sizes)),
            )
            for number in range(60)
        }
        with closing(make(self.path, self.SCHEMA, 1)) as connection:
            question = "INSERT INTO things VALUES (?, ?, ?, ?)"
            connection.executemany(question, [(7, "removed", f"gone {number}", b"x" * 900) for number in range(60)])
            connection.executemany(question, sorted(self.rows))
            connection.execute("DELETE FROM things WHERE kind = 7")

    def salvaged(self, octets: bytes) -> set[tuple[object, ...]]:
        self.path.write_bytes(octets)
        target = self.directory / "new.db"
        target.unlink(missing_ok=True)
        salvage(self.path, target, self.SCHEMA, 1)
        with closing(connect(target)) as connection:
            return set(connection.execute("SELECT kind, value, name, octets FROM things").fetchall())

    def test_first_page_of_a_table(self) -> None:
        """Without it all rows are there but those that it has itself."""
        whole = self.path.read_bytes()
        with closing(sqlite3.connect(self.path)) as connection:
            (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'things'").fetchone()
        self.assertGreater(whole[PAGE * (root - 1)], 0)
        there = self.salvaged(whole[: PAGE * (root - 1)] + bytes(PAGE) + whole[PAGE * root :])
        self.assertFalse(len(there - self.rows))
        self.assertGreater(len(there), 0.7 * len(self.rows))

    def test_any_damage(self) -> None:
        """However much of it, behind the tables' definitions: nothing else is found than what was there."""
        whole = self.path.read_bytes()
        draw = random.Random(4)
        for _ in range(25):
            damaged = bytearray(whole)
            for at in draw.sample(range(PAGE, len(whole)), draw.choice((1, 20, 2000))):
                damaged[at] = draw.choice((0, 0xFF, draw.randrange(256)))
            self.assertFalse(len(self.salvaged(bytes(damaged)) - self.rows))
        for size in (0, 1, 35, 40, 99, 5000, len(whole) - 1):
            try:
                list(Pages(draw.randbytes(size), PAGE).records())
            except BadPages:
                continue
