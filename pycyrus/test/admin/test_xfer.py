"""C{pycyrus xfer}, where the other server is not there; see also L{pycyrus.test.whole.test_murder}."""

from __future__ import annotations

import json

from pycyrus.model.acl import Acl
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import Manifest, MovedMailbox
from pycyrus.store.transfer_log import Coming, Incoming, TransferLog
from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.commands import call


class XferTests(ToolsTestCase):
    def test_nowhere(self) -> None:
        """Nothing moves, and what became of it is told."""
        self.assertEqual(self.tool("xfer", "status"), "")
        self.tool("user", "add", "fred", "--password", "secret")
        done = call("xfer", "user", "fred", "nobody", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("user/fred: 127.0.0.1:1: ", done.stderr)
        self.assertIn("user/nobody: no such user or mailbox", done.stderr)
        (told,) = json.loads(self.tool("xfer", "status", "--json"))
        self.assertEqual((told["mailbox"], told["server"], told["state"]), ("user/fred", "127.0.0.1:1", "failed"))
        self.assertIn("127.0.0.1:1", told["error"])
        self.assertIn("user/fred to 127.0.0.1:1: failed", self.tool("xfer", "status"))
        self.assertEqual(self.tool("xfer", "accept"), "")
        done = call("xfer", "partition", "default", "none", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("none: no such partition", done.stderr)
        done = call("xfer", "partition", "default", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertIn("user/fred: 127.0.0.1:1: ", done.stderr)
        self.tool("xfer", "accept", "abcdef", code=1)
        done = call("xfer", "cancel", told["id"], "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("not on its way", done.stderr)

    def test_came(self) -> None:
        """What a server of Cyrus's sent and did not hand over is told, with what may be done about it."""
        from twisted.internet import reactor

        self.tool("user", "add", "fred", "--password", "secret")
        self.tool("xfer", "status")
        (database,) = self.home.rglob("transfers.db")
        root = MailboxName("", "jane", ())
        manifest = Manifest(root, (MovedMailbox("abcd", root, 1, Acl()),)).encode()
        log = TransferLog(database.parent, reactor)  # type: ignore[arg-type] # the module is the reactor
        try:
            for transfer_id in ("sync-known-12", "34"):
                log.prepared(Incoming(transfer_id, Coming.PREPARED, "default", manifest))
        finally:
            log.close()
        ours, of_cyrus = self.tool("xfer", "status", code=1).splitlines()
        self.assertEqual(ours, "user/jane from another server: prepared: the other server says what becomes of it (34)")
        self.assertIn("ctl_mboxlist -m", of_cyrus)
        told = json.loads(self.tool("xfer", "status", "--json", code=1))
        self.assertEqual(
            [(each["id"], each["state"]) for each in told], [("34", "prepared"), ("sync-known-12", "prepared")]
        )
