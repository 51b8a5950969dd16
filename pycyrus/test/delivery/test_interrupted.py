"""Disks that are full or broken in the middle of a delivery: the sender hears the truth, and comes again."""

from __future__ import annotations

import errno
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.delivery.duplicates import Duplicates
from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.record import FILE_NAME
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.delivery.suppression import DuplicateSuppression
from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import inbox_of
from pycyrus.sqlite.opening import connect
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store
from pycyrus.testing.faults import Action, Faults
from pycyrus.testing.logs import captured

USERS = ("alice", "bob")
BOSS = Identity("cyrus", admin=AdminScope.GLOBAL)
MESSAGE = b"Message-ID: <%s@x>\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\ntext\r\n"


class InterruptedTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.open()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.close()))

    def open(self) -> None:
        self.store = open_store(StoreSettings(self.root / "config", {"default": self.root / "spool"}), self.reactor)
        self.record = Duplicates(self.root / "config", self.reactor)
        self.agent = DeliveryAgent(
            self.store, DeliverySettings("mail.test"), self.reactor, DuplicateSuppression(self.record, self.reactor)
        )

    async def close(self) -> None:
        await self.record.close()
        await self.store.close()

    async def deliver(self, name: bytes) -> list[Exception | None]:
        """One transaction for all users; an error for all is as one for each."""
        delivery = self.agent.start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id"))
        try:
            for user in USERS:
                await delivery.add_recipient(Recipient(user, ""))
            await delivery.begin()
            delivery.write(MESSAGE % name)
            return list(await delivery.commit())
        except MailStoreError as error:
            return [error] * len(USERS)
        finally:
            delivery.abort()

    async def copies(self, user: str, name: bytes) -> int:
        """How many are in the INBOX, whole."""
        owner = Identity(user)
        mailbox = await self.store.open(owner, inbox_of(owner), "r")
        try:
            mailbox.refresh()
            whole = 0
            for uid in mailbox.view().uids.tolist():
                file = mailbox.message(uid)
                whole += file.read(0, file.size).endswith(MESSAGE % name)
                file.close()
            return whole
        finally:
            mailbox.close()

    async def test_each_call_fails(self) -> None:
        """
        Wherever it is, what was accepted is there, and whoever was told no comes again.

        In the end, after a restart in between, the message is there once for each.
        """
        for user in USERS:
            await self.store.create(BOSS, inbox_of(Identity(user)))
        self.assertEqual(await self.deliver(b"first"), [None] * len(USERS))
        with Faults() as counted:
            self.assertEqual(await self.deliver(b"second"), [None] * len(USERS))
        refused = 0
        for at in range(1, len(counted.calls) + 1):
            for error in (errno.ENOSPC, errno.EIO, errno.EROFS):
                for action in (Action.READ_ONLY,) if error == errno.EROFS else (Action.FAIL, Action.SHORT):
                    name = b"%d-%d-%s" % (at, error, action.name.encode())
                    with captured(), Faults(at, action, error):
                        outcomes = await self.deliver(name)
                    self.flushLoggedErrors()
                    for outcome in outcomes:
                        self.assertTrue(outcome is None or isinstance(outcome, StoreUnavailable), outcome)
                    # As after a restart, with what lies on the disk.
                    with captured():
                        await self.close()
                    self.open()
                    for user, outcome in zip(USERS, outcomes, strict=True):
                        if outcome is None:
                            self.assertEqual(await self.copies(user, name), 1, (name, user, counted.calls[at - 1]))
                    if any(outcomes):
                        refused += 1
                        self.assertEqual(await self.deliver(name), [None] * len(USERS))
                    for user in USERS:
                        self.assertEqual(await self.copies(user, name), 1, (name, user, counted.calls[at - 1]))
        self.assertGreater(refused, 0)

    async def test_died_before_it_was_recorded(self) -> None:
        """A message that is there, and of which the record does not know more than its beginning, came already."""
        for user in USERS:
            await self.store.create(BOSS, inbox_of(Identity(user)))
        for name in (b"first", b'odd"\\id', b"third"):
            with captured():
                self.assertEqual(await self.deliver(name), [None] * len(USERS))
        await self.record.close()
        with closing(connect(self.root / "config" / FILE_NAME)) as connection:
            # As it is from the claim until it is settled, and its owner is gone.
            changed = connection.execute(
                "UPDATE deliveries SET owner = 99, uid = 1, row_checksum = row_checksum(id, target, date, time, 1, 99)"
            ).rowcount
        self.assertEqual(changed, 3 * len(USERS))
        await self.store.close()
        self.open()
        for name in (b"third", b'odd"\\id', b"first", b"new"):
            with captured() as log:
                self.assertEqual(await self.deliver(name), [None] * len(USERS))
            self.assertEqual(sum("dupelim" in text for text in log.texts()), 0 if name == b"new" else len(USERS))
            for user in USERS:
                self.assertEqual(await self.copies(user, name), 1)

    async def test_the_record_is_full(self) -> None:
        """Without room for the record mail still arrives: better twice than never."""
        for user in USERS:
            await self.store.create(BOSS, inbox_of(Identity(user)))
        self.record._connection.execute("PRAGMA max_page_count=1")
        with captured() as log:
            for number in range(40):
                name = b"%d" % number + b"x" * 900
                self.assertEqual(await self.deliver(name), [None] * len(USERS))
        self.assertTrue(any("cannot be used" in text and "full" in text for text in log.texts()))
        for user in USERS:
            self.assertEqual([await self.copies(user, b"%d" % n + b"x" * 900) for n in range(40)], [1] * 40)
