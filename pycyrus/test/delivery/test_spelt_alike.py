"""Shared mailboxes whose names are spelt almost as a recipient is, in a real store (C{lmtp_fuzzy_mailbox_match})."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import MailboxNotFound, PermissionDenied
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import open_store

BOSS = Identity("cyrus", admin=AdminScope.GLOBAL)
TEAM = MailboxName("", None, ("team",))
BOX = MailboxName("", None, ("team", "In Box"))


class SpeltAlikeTests(TestCase):
    async def test_shared(self) -> None:
        """It gets the mail if anybody may post there; above it, that is refused."""
        from twisted.internet import reactor

        clock: Any = reactor
        root = Path(self.mktemp())
        store = open_store(StoreSettings(root / "config", {"default": root / "spool"}), clock)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        for name in (TEAM, BOX):
            await store.create(BOSS, name)
        await store.change_acl(BOSS, BOX, AclChange("anyone", AclAction.REPLACE, frozenset("p")))
        envelope = Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id")
        for match in (True, False):
            settings = DeliverySettings("mail.test", fuzzy_mailbox_match=match)
            delivery = DeliveryAgent(store, settings, clock).start(envelope)
            self.addCleanup(delivery.abort)
            if not match:
                with self.assertRaises(MailboxNotFound):
                    await delivery.add_recipient(Recipient("+team/in_box", ""))
                continue
            await delivery.add_recipient(Recipient("+team/in_box", ""))
            with self.assertRaises(PermissionDenied):
                await delivery.add_recipient(Recipient("+team/nothing", ""))
            await delivery.begin()
            delivery.write(b"Subject: x\r\n\r\n")
            self.assertEqual(list(await delivery.commit()), [None])
        opened = await store.open(POSTMAN, BOX, "p")
        self.addCleanup(opened.close)
        self.assertEqual(opened.counts().messages, 1)
