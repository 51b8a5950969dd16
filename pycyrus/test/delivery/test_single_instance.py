"""One file for all copies of a message, or one for each, as C{singleinstancestore} says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import inbox_of
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store

USERS = ("alice", "bob", "carol")
BOSS = Identity("cyrus", admin=AdminScope.GLOBAL)
BODY = b"Message-ID: <1@x>\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\ntext\r\n"


class SingleInstanceTests(TestCase):
    async def deliver(self, **settings: bool) -> list[Path]:
        """Deliver to all; returns the files of the copies."""
        from twisted.internet import reactor

        clock: Any = reactor
        root = Path(self.mktemp())
        store = open_store(StoreSettings(root / "config", {"default": root / "spool"}), clock)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        for user in USERS:
            await store.create(BOSS, inbox_of(Identity(user)))
        agent = DeliveryAgent(store, DeliverySettings("mail.test", **settings), clock)  # type: ignore[arg-type]
        delivery = agent.start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id"))
        for user in USERS:
            await delivery.add_recipient(Recipient(user, ""))
        await delivery.begin()
        delivery.write(BODY)
        self.assertEqual(list(await delivery.commit()), [None] * len(USERS))
        files = sorted((root / "spool").rglob("1."))
        self.assertEqual(len(files), len(USERS))
        self.assertEqual(len({path.read_bytes() for path in files}), 1)
        self.assertTrue(files[0].read_bytes().endswith(BODY))
        return files

    async def test_one_file(self) -> None:
        files = await self.deliver()
        self.assertEqual(len({path.stat().st_ino for path in files}), 1)

    async def test_files_of_their_own(self) -> None:
        """Each copy is a file that nothing else is linked to, and nothing is left of the stages."""
        files = await self.deliver(single_instance=False)
        self.assertEqual(len({path.stat().st_ino for path in files}), len(USERS))
        self.assertEqual({path.stat().st_nlink for path in files}, {1})
