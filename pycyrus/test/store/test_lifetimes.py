"""Annotations that say how long something is kept, and for whom it is seen."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName, parse_internal
from pycyrus.store.lifetimes import read_lifetime
from pycyrus.test.store.mailboxes import FRED, text, without_syncs
from pycyrus.test.store.test_expiry import ADMIN, World

VENDOR = "/shared/vendor/cmu/cyrus-imapd"
SENT = 1_700_000_000
"""When all messages of this world came."""


class LifetimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.world = World(Path(self.mktemp()))
        self.store = self.world.store
        self.addCleanup(lambda: self.world.run(self.store.close()))
        self.run_now = self.world.run
        self.run_now(self.store.create(ADMIN, parse_internal("user.fred")))
        self.run_now(self.store.create(FRED, parse_internal("user.fred.Trash.old")))
        for mailbox in ("user.fred", "user.fred.Trash", "user.fred.Trash.old"):
            self.world.append(mailbox, text(1), text(2))

    def annotate(self, mailbox: str | None, entry: str, value: bytes | None) -> None:
        name = None if mailbox is None else parse_internal(mailbox)
        self.assertIsNone(self.run_now(self.store.annotate(ADMIN, name, {f"{VENDOR}/{entry}": value})))

    def counts(self) -> list[int]:
        names = [parse_internal(each) for each in ("user.fred", "user.fred.Trash", "user.fred.Trash.old")]
        return [self.run_now(self.store.status(FRED, name)).counts.messages for name in names]

    def test_expire(self) -> None:
        """It holds for what is below as well; 0 is for ever; what is younger stays."""
        self.annotate("user.fred.Trash", "expire", b"30")
        self.assertEqual(self.world.expire(0, None, annotated_at=SENT + 29 * 86400).expired, 0)
        self.assertEqual(self.counts(), [2, 2, 2])
        self.assertEqual(self.world.expire(0, None).expired, 0)
        self.annotate("user.fred.Trash.old", "expire", b"0")
        done = self.world.expire(0, None, annotated_at=SENT + 31 * 86400)
        self.assertEqual((done.expired, self.counts()), (2, [2, 0, 2]))
        self.annotate("user.fred.Trash.old", "expire", None)
        done = self.world.expire(0, None, annotated_at=SENT + 31 * 86400)
        self.assertEqual((done.expired, self.counts()), (2, [2, 0, 0]))
        # As with every expunge, the files stay for a time.
        self.assertTrue((self.world.root / "spool/user/fred/Trash/1.").exists())

    def test_server(self) -> None:
        """What the server says is for mailboxes that say nothing, nor any above them."""
        self.annotate(None, "expire", b"1d12h")
        self.annotate("user.fred.Trash", "expire", b"100")
        self.world.expire(0, None, annotated_at=SENT + 2 * 86400)
        self.assertEqual(self.counts(), [0, 2, 2])

    def test_deleted(self) -> None:
        """A mailbox may be kept longer, or shorter, than others after its deletion."""
        self.annotate("user.fred.Trash.old", "delete", b"2d")
        self.run_now(self.store.delete(FRED, parse_internal("user.fred.Trash.old")))
        now = time.time()
        self.assertEqual(self.world.expire(None, now + 99, annotated_at=now + 86400).removed, 0)
        self.assertEqual(self.world.expire(None, now - 99, annotated_at=now + 3 * 86400).removed, 1)

    def test_values(self) -> None:
        for value, seconds in {b"1": 86400, b"1d12h": 129600, b"90s": 90, b"5m": 300}.items():
            self.assertEqual(read_lifetime(value), seconds)
        for nothing in (None, b"", b"0", b"0d", b"x", b"-1", b"1w"):
            self.assertIsNone(read_lifetime(nothing))

    def test_shared_seen(self) -> None:
        """With C{sharedseen}, who reads for all has read for all."""
        shared = MailboxName("", None, ("help",))
        self.run_now(self.store.create(ADMIN, shared))
        who = [Identity("amy"), Identity("bob")]
        acl = Acl(tuple((each.user, OWNER_RIGHTS) for each in who))
        self.run_now(self.store.set_acl(ADMIN, shared, acl))

        async def read_first() -> list[int]:
            opened = await self.store.open(who[0], shared, "r")
            await opened.store(np.array([1], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
            opened.close()
            return [(await self.store.status(each, shared)).counts.unseen for each in who]

        async def append() -> None:
            for _ in range(2):
                staged = await self.store.stage(who[0], shared)
                staged.write(text(1))
                staged.finish()
                opened = await self.store.open(who[0], shared, "i")
                await opened.append([NewMessage(staged)])
                staged.discard()
                opened.close()

        self.run_now(append())
        self.assertEqual(self.run_now(read_first()), [1, 2])
        self.assertIsNone(self.run_now(self.store.annotate(ADMIN, shared, {f"{VENDOR}/sharedseen": b"TRUE"})))
        self.assertEqual(self.run_now(read_first()), [1, 1])
        self.assertIsNone(self.run_now(self.store.annotate(ADMIN, shared, {f"{VENDOR}/sharedseen": b"false"})))
        self.assertEqual([self.run_now(self.store.status(each, shared)).counts.unseen for each in who], [1, 2])
