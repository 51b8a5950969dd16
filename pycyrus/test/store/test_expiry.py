"""What was kept for a time goes when it is over, whoever is killed meanwhile."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import NewMessage
from pycyrus.model.flags import FlagAction, FlagChange, Flags
from pycyrus.model.identity import SERVER
from pycyrus.model.names import parse_internal
from pycyrus.model.search import BodyContains
from pycyrus.store import expiry
from pycyrus.store.expiry import Expired, Expiry, expire
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.store.mailboxes import FRED, expunge, text, uids, without_syncs
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.faults import Action
from pycyrus.testing.interrupted import interruptions

ADMIN = SERVER
FAR = 1 << 40
"""A time that everything is older than."""


class World:
    """A store in a directory, as one process sees it."""

    def __init__(self, root: Path, **options: object) -> None:
        self.root = root
        self.reactor = BlockingReactor()
        settings = StoreSettings(root / "config", {"default": root / "spool"}, **options)  # type: ignore[arg-type] # by name
        self.store: MailStore = open_store(settings, self.reactor)
        self.run = self.reactor.run

    def append(self, mailbox: str, *messages: bytes) -> tuple[int, ...]:
        async def work() -> tuple[int, ...]:
            name = parse_internal(mailbox)
            opened = await self.store.open(FRED, name, "i")
            got: list[int] = []
            for message in messages:
                staged = await self.store.stage(FRED, name)
                staged.write(message)
                staged.finish()
                got += (await opened.append([NewMessage(staged, internaldate=1_700_000_000)])).uids
                staged.discard()
            opened.close()
            return tuple(got)

        return self.run(work())

    def expunge(self, mailbox: str, *which: int) -> None:
        async def work() -> None:
            opened = await self.store.open(FRED, parse_internal(mailbox), "e")
            await expunge(opened, *which)
            opened.close()

        self.run(work())

    def expire(self, expunged: float | None = FAR, deleted: float | None = FAR, **options: object) -> Expired:
        return self.run(expire(self.store, Expiry(expunged, deleted, **options)))  # type: ignore[arg-type] # by name

    def files(self, directory: str) -> list[str]:
        """Message files there."""
        place = self.root / "spool" / directory
        return sorted(path.name for path in place.iterdir() if path.name[:-1].isdigit())

    def view(self, mailbox: str) -> list[int]:
        async def work() -> list[int]:
            opened = await self.store.open(FRED, parse_internal(mailbox), "r")
            try:
                opened.refresh()
                return [int(uid) for uid in opened.view().uids]
            finally:
                opened.close()

        return self.run(work())

    def close(self) -> None:
        self.run(self.store.close())


class ExpiryCase(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.world = World(self.root)
        self.addCleanup(self.close_world)
        for name in ("user.fred", "user.fred.Trash", "user.fred.Trash.Old"):
            self.world.run(self.world.store.create(ADMIN, parse_internal(name)))

    def close_world(self) -> None:
        """The last one that was opened."""
        self.world.close()


class ExpiryTests(ExpiryCase):
    def test_expunged_messages(self) -> None:
        """Their files stay until they are old enough, and nothing else goes."""
        world = self.world
        world.append("user.fred", text(1), text(2), text(3))
        world.expunge("user.fred", 1)
        before = time.time() + 0.001
        while time.time() < before:
            pass
        world.expunge("user.fred", 3)
        self.assertEqual(world.files("user/fred"), ["1.", "2.", "3."])
        done = world.expire(time.time() - 3600)
        self.assertEqual((done.expunged, done.seen, done.mailboxes, done.removed), (0, 3, 3, 0))
        self.assertEqual(world.files("user/fred"), ["1.", "2.", "3."])
        done = world.expire()
        self.assertEqual((done.expunged, done.seen), (2, 3))
        self.assertEqual(world.files("user/fred"), ["2."])
        self.assertEqual(world.view("user.fred"), [2])
        self.assertEqual(world.expire().expunged, 0)

    def test_texts_made_for_searches(self) -> None:
        """What a removed message said is nowhere any more."""
        self.world.append("user.fred", b"A: b\r\n\r\nsecret one\r\n", b"A: b\r\n\r\nsecret two\r\n")
        self.assertEqual(self.search("user.fred", "secret"), [1, 2])
        self.world.expunge("user.fred", 1)
        self.world.expire()
        (path,) = self.world.root.glob("**/pycyrus.text")
        self.assertNotIn(b"secret one", path.read_bytes())
        self.assertIn(b"secret two", path.read_bytes())
        self.assertEqual(self.search("user.fred", "secret"), [2])

    def search(self, mailbox: str, words: str) -> list[int]:
        async def work() -> list[int]:
            opened = await self.world.store.open(FRED, parse_internal(mailbox), "r")
            found = await opened.search(BodyContains(words))
            opened.close()
            return [int(uid) for uid in found]

        return self.world.run(work())

    def test_beside_another(self) -> None:
        """Files that another expiry removes meanwhile are no failure."""
        world = self.world
        world.append("user.fred", text(1), text(2))
        world.expunge("user.fred", 1)
        world.expire()
        left = self.root / "spool" / "user" / "fred" / "1."
        left.write_bytes(text(1))
        original = expiry._left_over

        def left_over(*args: Any) -> Any:
            found = original(*args)
            seen.extend(found.tolist())
            if len(found) and seen == [1]:
                left.unlink()
            return found

        seen: list[int] = []
        self.patch(expiry, "_left_over", left_over)
        self.assertEqual(world.expire().failed, 0)
        self.assertEqual((seen, world.files("user/fred")), ([1], ["2."]))

    def test_deleted_mailboxes(self) -> None:
        """Those of the time before go with all that is in them; others stay."""
        world = self.world
        world.append("user.fred.Trash.Old", text(1))
        world.run(world.store.delete(FRED, parse_internal("user.fred.Trash.Old")))
        self.assertEqual(world.expire(None, time.time() - 3600).removed, 0)
        (entry,) = world.store.directory.entries(deleted=True)
        self.assertEqual(entry.name.path, ("Trash", "Old"))
        self.assertEqual(world.expire(None).removed, 1)
        self.assertEqual(list(world.store.directory.entries(deleted=True)), [])
        self.assertFalse(list((self.root / "spool").rglob("DELETED/**/1.")))
        self.assertEqual(world.view("user.fred.Trash"), [])

    def test_some_mailboxes(self) -> None:
        """An expiry may be about some only."""
        world = self.world
        for name in ("user.fred", "user.fred.Trash"):
            world.append(name, text(1))
            world.expunge(name, 1)
        done = world.expire(concerns=lambda entry: entry.name.path == ("Trash",))
        self.assertEqual((done.expunged, done.mailboxes), (1, 1))
        self.assertEqual(world.files("user/fred"), ["1."])

    def test_keywords(self) -> None:
        """A keyword that no message has is forgotten; one that an expunged message has is not."""
        world = self.world
        world.append("user.fred", text(1), text(2))

        async def flag() -> list[bytes]:
            opened = await world.store.open(FRED, parse_internal("user.fred"), "w")
            for uid, word in ((1, b"Gone"), (2, b"Kept")):
                await opened.store(uids(uid), FlagChange(FlagAction.ADD, Flags(0, (word,))))
            await opened.store(uids(1), FlagChange(FlagAction.REMOVE, Flags(0, (b"Gone",))))
            opened.close()
            return []

        async def names() -> list[bytes]:
            opened = await world.store.open(FRED, parse_internal("user.fred"), "r")
            opened.refresh()
            opened.close()
            return [name for name in opened.keyword_names() if name]

        world.run(flag())
        world.expunge("user.fred", 2)
        self.assertEqual(world.expire(None, None, drop_keywords=True).keywords, 1)
        self.assertEqual(world.run(names()), [b"Kept"])
        world.expire()
        self.assertEqual(world.expire(None, None, drop_keywords=True).keywords, 1)
        self.assertEqual(world.run(names()), [])

    def test_one_mailbox_fails(self) -> None:
        """The others are gone on with."""
        world = self.world
        for name in ("user.fred", "user.fred.Trash"):
            world.append(name, text(1))
            world.expunge(name, 1)
        world.close()
        head = self.root / "spool/user/fred/pycyrus.journal"
        head.rename(self.root / "journal")
        (self.root / "spool/user/fred/pycyrus.header").unlink()
        self.world = world = World(self.root)
        done = world.expire()
        self.assertEqual((done.failed, done.expunged), (1, 1))
        self.flushLoggedErrors()


class ExpiryCrashTests(ExpiryCase):
    """Killed, or refused by the disk, at every call that changes something."""

    def setUp(self) -> None:
        super().setUp()
        world = self.world
        for name in ("user.fred", "user.fred.Trash", "user.fred.Trash.Old"):
            world.append(name, text(1), text(2), text(3))
        world.expunge("user.fred", 1, 3)
        world.run(world.store.delete(FRED, parse_internal("user.fred.Trash.Old")))
        world.close()
        self.template = Path(self.mktemp()).absolute()
        self.root.rename(self.template)
        self.world = World(self.fresh())

    def fresh(self) -> Path:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)
        return self.root

    def check(self, context: str) -> None:
        world = World(self.root)
        try:
            self.assertEqual(world.view("user.fred"), [2], context)
            self.assertEqual(world.view("user.fred.Trash"), [1, 2, 3], context)
            done = world.expire()
            self.assertEqual(done.failed, 0, context)
            self.assertEqual(world.files("user/fred"), ["2."], context)
            self.assertEqual(world.files("user/fred/Trash"), ["1.", "2.", "3."], context)
            self.assertEqual(list(world.store.directory.entries(deleted=True)), [], context)
            left = [path for path in (self.root / "spool/DELETED").rglob("*") if path.is_file()]
            self.assertEqual(left, [], context)
            with self.assertRaises(MailboxNotFound):
                world.view("user.fred.Trash.Old")
        finally:
            world.close()

    def test_every_call(self) -> None:
        actions = (Action.KILL_BEFORE, Action.FAIL, Action.READ_ONLY)
        for what in interruptions(lambda: World(self.root).expire, actions, self.fresh, least=15):
            self.check(what)
