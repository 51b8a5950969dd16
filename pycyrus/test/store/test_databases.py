"""Damaged and missing databases: the server starts, with everything that is left, and says what is not."""

from __future__ import annotations

import random
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.model.acl import LOOKUP, Acl
from pycyrus.model.identity import SERVER, Identity
from pycyrus.model.names import MailboxName
from pycyrus.sqlite import damage
from pycyrus.sqlite.opening import CHECKSUM, connect, make
from pycyrus.store import rows, soundness
from pycyrus.store.settings import DeleteMode, StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.store.mailboxes import append_to, without_syncs
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.promises import all_entries

ADMIN = SERVER
FRED = Identity("fred")
INBOX = MailboxName("", "fred", ())
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"
_WITHOUT_CHECKSUMS = """
CREATE TABLE subscriptions (user_id TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (user_id, key)) WITHOUT ROWID;
CREATE TABLE seen (
    user_id TEXT NOT NULL, unique_id TEXT NOT NULL, uids TEXT NOT NULL, recent INTEGER NOT NULL,
    changed INTEGER NOT NULL, PRIMARY KEY (user_id, unique_id)
) WITHOUT ROWID;
CREATE INDEX seen_by_mailbox ON seen (unique_id)
"""


class DatabaseCase(SynchronousTestCase):
    """Three mailboxes of two users, one shared and one deleted; each of those that are there has a message."""

    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.settings = StoreSettings(
            self.root / "config",
            {"default": self.root / "spool"},
            defaultpartition="default",
            delete_mode=DeleteMode.DELAYED,
        )
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.reactor = BlockingReactor()
        store = self.open()
        self.names = [INBOX, INBOX.child("Sent"), MailboxName("", "bob", ()), MailboxName("", None, ("news",))]
        for name in (INBOX, self.names[2]):
            self.run_(store.create_inbox(name))
        self.run_(store.create(FRED, self.names[1], special_use=[r"\Sent"]))
        self.run_(store.create(ADMIN, self.names[3]))
        self.run_(store.create(FRED, INBOX.child("Old")))
        self.run_(store.delete(FRED, INBOX.child("Old")))
        anyone = Acl((("fred", frozenset("lrswipkxtean")), ("bob", frozenset("lr"))))
        self.run_(store.set_acl(FRED, INBOX, anyone))
        self.run_(store.subscribe(FRED, INBOX, True))
        self.run_(self.deliver(store, INBOX))
        self.run_(self.deliver(store, self.names[1]))
        self.entries = all_entries(store)
        self.close()
        self.events.clear()

    def open(self) -> MailStore:
        self.store = open_store(self.settings, self.reactor)
        return self.store

    def close(self) -> None:
        self.run_(self.store.close())

    def run_(self, coroutine: Any) -> Any:
        return self.reactor.run(coroutine)

    async def deliver(self, store: MailStore, name: MailboxName) -> None:
        await append_to(store, FRED, name, MESSAGE)

    def logged(self) -> str:
        return "\n".join(str(event.get("log_format")) for event in self.events)

    def check(self, *, exactly: bool = True) -> None:
        """All mailboxes are there, and open."""
        store = self.open()
        try:
            found = all_entries(store)
            if exactly:
                plain = [replace(entry, changed=0, created=0) for entry in found]
                self.assertEqual(plain, [replace(entry, changed=0, created=0) for entry in self.entries])
            for entry in self.entries:
                box = self.run_(store.open(ADMIN, entry.name, LOOKUP))
                self.assertEqual(box.unique_id, entry.unique_id)
                self.assertEqual(box.uidvalidity, entry.uidvalidity)
                count = 1 if entry.name in self.names[:2] else 0
                self.assertEqual(len(box.view()), count)
                box.close()
            new = INBOX.child("New")
            self.run_(store.create(FRED, new))
            self.assertGreater(rows_of(store, new).uidvalidity, max(entry.uidvalidity for entry in self.entries))
        finally:
            self.close()


def rows_of(store: MailStore, name: MailboxName) -> rows.Entry:
    return next(entry for entry in all_entries(store) if entry.name == name)


class MailboxListTests(DatabaseCase):
    def path(self) -> Path:
        return self.root / "config" / "mailboxes.db"

    def test_missing(self) -> None:
        """The list is made again from the headers: names, ids, rights, special uses, deleted mailboxes."""
        self.path().unlink()
        self.check()
        self.assertIn("made again", self.logged())

    def test_not_a_database(self) -> None:
        """What is no database any more is set aside and made again."""
        self.path().write_bytes(b"rubbish" * 1000)
        self.check()
        self.assertIn("is damaged", self.logged())
        (kept,) = (self.root / "config" / "quarantine").iterdir()
        self.assertTrue(kept.read_bytes().startswith(b"rubbish"))

    def test_cut(self) -> None:
        """However short it became."""
        whole = self.path().read_bytes()
        for size in (0, 1, 50, 100, 4096, len(whole) // 2, len(whole) - 1):
            shutil.rmtree(self.root / "config" / "quarantine", ignore_errors=True)
            self.path().write_bytes(whole[:size])
            try:
                self.check()
            except Exception as error:
                raise AssertionError(f"size {size} of {len(whole)}: {self.logged()}") from error
            self.assertIn("made again", self.logged())
            self.events.clear()
            self.delete_new()

    def delete_new(self) -> None:
        store = self.open()
        store._settings = replace(store._settings, delete_mode=DeleteMode.IMMEDIATE)
        store._tree._settings = store._settings
        self.run_(store.delete(FRED, INBOX.child("New")))
        self.close()

    def test_flips(self) -> None:
        """A flipped bit anywhere loses no mailbox; what SQLite cannot see, C{pycyrus verify} does."""
        kept = Path(self.mktemp())
        shutil.copytree(self.root, kept)
        whole = self.path().read_bytes()
        used = [at for at in range(len(whole)) if whole[at]]
        draw = random.Random(5)
        mended = 0
        for at in [*range(0, 100, 3), *draw.sample(used, 60)]:
            shutil.rmtree(self.root)
            shutil.copytree(kept, self.root)
            damaged = bytearray(whole)
            damaged[at] ^= 1 << draw.randrange(8)
            self.path().write_bytes(damaged)
            if 60 <= at < 64:
                # A version that is not known: it is a newer program's, for all that can be told.
                continue
            self.events.clear()
            try:
                self.check(exactly=False)
            except Exception as error:
                raise AssertionError(f"octet {at}, {damaged[at]:x} for {whole[at]:x}: {error!r}") from error
            mended += "made again" in self.logged()
        self.assertGreater(mended, 20)

    def test_flips_in_the_log(self) -> None:
        """Changes that are only in the write-ahead log, of which SQLite drops the damaged end without a word."""
        with closing(sqlite3.connect(self.path())) as holder:
            # Who has it open keeps the log from being put into the database.
            holder.execute("SELECT 1 FROM mailboxes").fetchall()
            store = self.open()
            self.run_(store.create(FRED, INBOX.child("Later")))
            self.run_(store.rename(FRED, INBOX.child("Sent"), INBOX.child("Gone")))
            self.close()
            kept = Path(self.mktemp())
            shutil.copytree(self.root, kept)
        log = (kept / "config" / "mailboxes.db-wal").read_bytes()
        self.assertTrue(log)
        self.assertFalse(damage.has_lost_tail(kept / "config" / "mailboxes.db"))
        draw = random.Random(7)
        for at in [0, 9, 20, 28, *draw.sample(range(32, len(log)), 25)]:
            shutil.rmtree(self.root)
            shutil.copytree(kept, self.root)
            damaged = bytearray(log)
            damaged[at] ^= 1 << draw.randrange(8)
            (self.root / "config" / "mailboxes.db-wal").write_bytes(damaged)
            store = self.open()
            names = {entry.name for entry in all_entries(store)}
            self.assertLessEqual({INBOX.child("Later"), INBOX.child("Gone")}, names, at)
            for entry in all_entries(store):
                self.run_(store.open(ADMIN, entry.name, LOOKUP)).close()
            self.close()

    def test_any_table(self) -> None:
        """A bit of what is to be done with directories, or of who sees what, is not believed either."""
        for table, column, value in (
            ("grants", "identifier", "'fre' || char(0x64 + 1)"),
            ("numbers", "value", "value - 8"),
            ("changes", "unique_id", "unique_id || 'x'"),
        ):
            with closing(connect(self.path())) as connection:
                # As a bit that flips does, the checksum stays what it was.
                (was,) = connection.execute(f"SELECT {CHECKSUM} FROM {table} LIMIT 1").fetchone()
                connection.create_function(CHECKSUM, -1, lambda *values, was=was: was, deterministic=True)
                connection.execute(
                    f"UPDATE {table} SET {column} = {value} WHERE {CHECKSUM} = (SELECT {CHECKSUM} FROM {table} LIMIT 1)"
                )
            self.events.clear()
            self.check()
            self.delete_new()
            self.assertIn("made again", self.logged(), table)

    def test_older_version(self) -> None:
        """A list without checksums has them after the first start, and all that was in it."""
        with closing(connect(self.path())) as connection:
            for table in ("grants", "changes", "pending", "numbers"):
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {CHECKSUM}")
            connection.execute("PRAGMA user_version = 1")
            before = connection.execute("SELECT * FROM grants ORDER BY 1, 4").fetchall()
        self.assertIsNone(soundness.problem_of_list(self.path()))
        self.check()
        self.assertEqual(self.logged(), "")
        self.delete_new()
        with closing(connect(self.path())) as connection:
            after = connection.execute(
                "SELECT identifier, domain, shared, mailbox FROM grants ORDER BY 1, 4"
            ).fetchall()
        self.assertEqual(after, before)
        self.assertIsNone(soundness.problem_of_list(self.path()))

    def test_in_use(self) -> None:
        """Nobody sets aside what another process works with."""
        self.open()
        self.path().write_bytes(b"rubbish" * 1000)
        with self.assertRaises(StoreUnavailable):
            open_store(self.settings, BlockingReactor())
        self.assertFalse((self.root / "config" / "quarantine").exists())
        self.close()


class UserStateTests(DatabaseCase):
    MANY = frozenset(INBOX.child(f"folder {number}") for number in range(400))

    def setUp(self) -> None:
        super().setUp()
        self.settings = replace(self.settings, allowallsubscribe=True)
        self.database = self.root / "config" / "userstate.db"

    def subscribe(self) -> None:
        """Fill some pages."""
        store = self.open()
        self.run_(store._subscriptions.add("fred", sorted(self.MANY, key=str)))
        self.close()

    def subscribed(self) -> frozenset[MailboxName]:
        """What is left when the store is opened, and used."""
        store = self.open()
        found = frozenset(self.run_(store.subscriptions(FRED)))
        self.run_(store.subscribe(FRED, INBOX, True))
        self.close()
        return found

    def test_flips(self) -> None:
        """A flipped bit costs what it hits, and only that; nobody is subscribed to what is no name of that user's."""
        self.subscribe()
        whole = self.database.read_bytes()
        self.assertGreater(len(whole), 5 * 4096)
        draw = random.Random(8)
        least = len(self.MANY)
        for at in [*range(1, 100, 16), *draw.sample([at for at in range(100, len(whole)) if whole[at]], 24)]:
            damaged = bytearray(whole)
            damaged[at] ^= 1 << draw.randrange(8)
            if 60 <= at < 64:
                continue
            self.database.write_bytes(damaged)
            for rest in ("-wal", "-shm"):
                self.database.with_name(self.database.name + rest).unlink(missing_ok=True)
            self.events.clear()
            found = self.subscribed()
            self.assertLessEqual(found, self.MANY | {INBOX}, at)
            if found != self.MANY | {INBOX}:
                self.assertIn("could be read", self.logged(), at)
            least = min(least, len(found))
        # Two pages of about ten.
        self.assertGreater(least, 0.7 * len(self.MANY))

    def test_older_version(self) -> None:
        """What was written before there were checksums is there, and has some."""
        self.database.unlink()
        with closing(make(self.database, _WITHOUT_CHECKSUMS, 1)) as connection:
            connection.execute("INSERT INTO subscriptions VALUES ('fred', ?)", (rows.key_of(INBOX),))
        self.assertEqual(self.subscribed(), {INBOX})
        self.assertIsNone(soundness.KEPT[0].problem_of(self.database))

    def test_damaged(self) -> None:
        """Subscriptions are lost, loudly; mail is read as before."""
        path = self.database
        whole = path.read_bytes()
        draw = random.Random(6)
        for damaged in (b"rubbish" * 999, whole[: len(whole) // 2], whole[:4000] + draw.randbytes(300) + whole[4300:]):
            path.write_bytes(damaged)
            self.events.clear()
            store = self.open()
            self.assertLessEqual(self.run_(store.subscriptions(FRED)), {INBOX})
            self.run_(store.subscribe(FRED, INBOX, True))
            box = self.run_(store.open(FRED, INBOX, LOOKUP))
            self.assertEqual(len(box.view()), 1)
            box.close()
            self.close()
            self.assertIn("could be read", self.logged())


class MakingTests(SynchronousTestCase):
    def test_all_at_once(self) -> None:
        """Whoever comes first makes the tables, and the others find them."""
        root = Path(self.mktemp())
        root.mkdir()
        for number in range(10):
            path = root / f"{number}.db"
            with ThreadPoolExecutor(4) as pool:
                made = list(pool.map(lambda _, path=path: make(path, "CREATE TABLE a (x INTEGER)", 1), range(4)))
            for connection in made:
                self.assertEqual(connection.execute("SELECT count(*) FROM a").fetchall(), [(0,)])
                connection.close()
