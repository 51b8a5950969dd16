"""C{pycyrus mailbox}, C{acl} and C{explain}, and C{ipurge}, beside a server."""

from __future__ import annotations

import imaplib
import json

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.explain import explain_rights
from pycyrus.model.acl_text import parse_acl
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import MailboxName
from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.commands import call


class MailboxTests(ToolsTestCase):
    def test_a_mailbox_s_life(self) -> None:
        """What is done here a session sees, and the other way round."""
        account = self.server.account("user")
        inbox = f"user/{account.user}"
        created = json.loads(self.tool("mailbox", "create", "--json", f"{inbox}/Räume", "--special-use", "\\Archive"))
        self.assertEqual(created["created"], f"{inbox}/Räume")
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"))
        self.addCleanup(client.shutdown)
        client.login(account.user, account.password)
        self.assertEqual(client.append("R&AOQ-ume", "", "", b"Subject: one\r\n\r\ntwo\r\n")[0], "OK")
        shown = json.loads(self.tool("mailbox", "show", "--json", f"{inbox}/Räume"))
        self.assertEqual(
            (shown["messages"], shown["unseen"], shown["special_use"], shown["unique_id"]),
            (1, 1, ["\\Archive"], created["unique id"]),
        )
        self.tool("mailbox", "rename", f"{inbox}/Räume", f"{inbox}/Rooms")
        self.assertEqual(self.tool("mailbox", "list", f"{inbox}/*"), f"{inbox}/Rooms\n")
        self.tool("acl", "set", f"{inbox}/Rooms", "anyone", "+lp")
        self.assertIn(b"anyone lp", client.getacl("Rooms")[1][0] or b"")
        last = self.tool("explain", "delivery", f"{account.user}+Rooms").splitlines()[-1]
        self.assertEqual(last, f"=> folder: anonymous has right p: mail goes to {inbox}/Rooms")
        examined = self.tool("mbexamine", "-u", "1", f"{inbox}/Rooms")
        for part in ("Number of Messages: 1  Mailbox Size: 21 bytes", "000001> UID:00000001   SIZE:21 "):
            self.assertIn(part, examined)
        self.assertIn("CORRECT quota usage: 21", self.tool("mbexamine", "-q", f"{inbox}/Rooms"))
        # What is small, and is in a user's mailbox.
        self.assertIn("Deleted messages   1\n", self.tool("ipurge", "-f", "-i", "-b", "50", "-v", f"{inbox}/Rooms"))
        self.assertEqual(client.select("Rooms")[1], [b"0"])
        client.close()
        self.tool("mailbox", "delete", f"{inbox}/Rooms")
        self.assertEqual(client.select("Rooms")[0], "NO")
        self.tool("mailbox", "show", f"{inbox}/Rooms", code=1)

    def test_what_decides(self) -> None:
        inbox = f"user/{self.server.account('user').user}"
        self.tool("quota", "--set", "STORAGE=1000", inbox)
        self.tool("mailbox", "create", f"{inbox}/One/Two")
        self.assertEqual(
            self.tool("explain", "quota", f"{inbox}/One/Two").splitlines(),
            [
                f"   {inbox}/One/Two: is no quota root",
                f"   {inbox}/One: is no quota root",
                f"=> {inbox}: is the nearest quota root: STORAGE 0 of 1000",
            ],
        )
        self.assertEqual(
            json.loads(self.tool("explain", "delivery", "--json", "nobody"))[-1],
            {"rule": "result", "outcome": "the address is refused", "decided": True},
        )


class RightsTests(SynchronousTestCase):
    def test_each_rule_is_told(self) -> None:
        acl = parse_acl("fred\tlrs\tanyone\tp\t-fred\ts\tamy\tlr\t")
        name = MailboxName("", None, ("shared",))
        told = [(step.rule, step.outcome) for step in explain_rights(Identity("fred"), name, acl)]
        self.assertEqual(
            told,
            [
                ("entry fred lrs", "gives these"),
                ("entry anyone p", "gives these"),
                ("entry -fred s", "takes these from what entries give"),
                ("entry amy lr", "is about somebody else"),
                ("result", "lrp"),
            ],
        )
        administrator = Identity("root", admin=AdminScope.GLOBAL)
        self.assertIn("administrator", [step.rule for step in explain_rights(administrator, name, acl)])
        foreign = list(explain_rights(Identity("fred", "example.com"), name, acl))
        self.assertEqual([(step.rule, step.decided) for step in foreign], [("domain", True)])


class NothingTests(SynchronousTestCase):
    def test_what_has_nothing_to_do_is_done(self) -> None:
        done = call("squatter", "-C", "/nonexistent", "-r", "-s", "user")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
