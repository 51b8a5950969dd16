"""C{auditlog}: what sessions and deliveries do stands in the log, in Cyrus's words."""

from __future__ import annotations

import hashlib
import imaplib
import re
import smtplib
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.notices.audit import AuditLog
from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.logs import captured

_MESSAGE = b"Message-ID: <%s@example.org>\r\nSubject: x\r\n\r\nbody\r\n"


class AuditedServerTests(ToolsTestCase):
    arguments: ClassVar[tuple[str, ...]] = ("--option", "auditlog=yes")

    def lines(self) -> list[str]:
        """The audit lines, without what no test can know."""
        found = re.findall(r"auditlog: (.*)", self.server.log.read_text())
        return [
            re.sub(r"(sessionid|uniqueid|modseq|uidvalidity)=<[^<>]+>", r"\1=<>", line).replace("sessionid=<> ", "")
            for line in found
        ]

    def test_all_that_is_done(self) -> None:
        account = self.server.account("user")
        inbox = f"user.{account.user}"
        with smtplib.LMTP("127.0.0.1", self.server.port("lmtp")) as lmtp:
            lmtp.sendmail("", [account.user], _MESSAGE % b"delivered")
        with imaplib.IMAP4("127.0.0.1", self.server.port("imap")) as client:
            client.login(account.user, account.password)
            client.create("One")
            client.append("One", "\\Flagged", "", _MESSAGE % b"appended")
            client.select("One")
            client.store("1", "+FLAGS", "(\\Deleted)")
            client.copy("1", "INBOX")
            client.expunge()
            client.close()
            client.setacl("One", "anyone", "lr")
            client.rename("One", "Two")
            client.delete("Two")
        guids = {name: hashlib.sha1(_MESSAGE % name).hexdigest() for name in (b"appended",)}
        guid, size = guids[b"appended"], len(_MESSAGE % b"appended")
        message = "messageid=<appended@example.org>"
        delivered, *others = self.lines()
        self.assertRegex(
            delivered,
            rf"^append mailbox=<{inbox}> uniqueid=<> uid=<2> modseq=<> sysflags=<> guid=<[0-9a-f]{{40}}>"
            r" messageid=<delivered@example.org> size=<\d+>$",
        )
        one = f"mailbox=<{inbox}.One> uniqueid=<>"
        flags = "\\Flagged \\Deleted"
        self.assertEqual(
            others,
            [
                f"create {one} uidvalidity=<>",
                f"append {one} uid=<1> modseq=<> sysflags=<\\Flagged> guid=<{guid}> {message} size=<{size}>",
                f"touched {one} uid=<1> guid=<{guid}> modseq=<> oldflags=<\\Flagged> sysflags=<{flags}>",
                f"append mailbox=<{inbox}> uniqueid=<> uid=<3> modseq=<> sysflags=<{flags}> guid=<{guid}> {message}"
                f" size=<{size}>",
                f"expunge {one} uid=<1> modseq=<> sysflags=<{flags}> guid=<{guid}> size=<{size}>",
                f"acl {one} mbtype=<> oldacl=<{account.user} lrswipkxtean> acl=<{account.user} lrswipkxtean anyone lr>",
                f"rename oldmailbox=<{inbox}.One> newmailbox=<{inbox}.Two> uniqueid=<>",
                f"delete mailbox=<{inbox}.Two> uniqueid=<>",
            ],
        )


class LineTests(SynchronousTestCase):
    def test_nobody_makes_a_line_of_their_own(self) -> None:
        with captured() as events:
            AuditLog("DELETED").write(
                "imap", "create", {"mailbox": "user.a\r\nauditlog: delete", "messageid=": "\x1b[2J"}
            )
        self.assertEqual(events.texts(), ["auditlog: create mailbox=<user.a??auditlog: delete> messageid=?[2J"])
