"""Events of what administrators do by commands (RFC 5423)."""

from __future__ import annotations

import imaplib
import json
import socket
from typing import Any

from pycyrus.test.admin.tools import ToolsTestCase

GROUPS = "message mailbox quota access"


class EventTests(ToolsTestCase):
    def told(self, *words: str) -> list[dict[str, Any]]:
        """Run a verb; returns the events that a daemon behind C{notifysocket} gets of it."""
        path = self.home.parent / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(path))
            options = (f"notifysocket={path}", "event_notifier=log", f"event_groups={GROUPS}", "servername=mail.test")
            self.tool(*words, *(word for option in options for word in ("--option", option)))
            path.unlink()
            daemon.setblocking(False)
            events: list[dict[str, Any]] = []
            while True:
                try:
                    notice = daemon.recv(8192).split(b"\0")
                except BlockingIOError:
                    return events
                event = json.loads(notice[-2])
                del event["pid"], event["timestamp"]
                events.append(event)

    def test_each_change(self) -> None:
        account = self.server.account("user")
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"))
        self.addCleanup(client.shutdown)
        client.login(account.user, account.password)
        folder = f"user/{account.user}/Old"
        (created,) = self.told("mailbox", "create", folder)
        # Of mailboxes, rights and quotas as of sessions: the watched store tells.
        url = created["uri"]
        self.assertRegex(url, rf"^imap://mail\.test/user/{account.user}/Old;UIDVALIDITY=[0-9]+$")
        base = {"uri": url, "mailboxID": created["mailboxID"], "vnd.cmu.mbtype": "e", "serverFQDN": "mail.test"}
        self.assertEqual(created, {"event": "MailboxCreate", **base})
        for date in ('"01-Jan-2001 00:00:00 +0000"', '"01-Feb-2001 00:00:00 +0000"', ""):
            self.assertEqual(client.append("Old", "", date, b"Subject: x\r\n\r\n")[0], "OK")
        administrator = self.server.account("admin")
        other = imaplib.IMAP4("127.0.0.1", self.server.port("imap"))
        self.addCleanup(other.shutdown)
        other.login(administrator.user, administrator.password)
        other.xatom("SETMETADATA", folder, '(/shared/vendor/cmu/cyrus-imapd/expire "7")')
        self.assertEqual(self.told("expire", "-X", "7"), [{"event": "MessageExpire", "uidset": "1:2", **base}])
        self.assertEqual(
            self.told("ipurge", "-f", "-i", "-b", "50", folder),
            [{"event": "MessageExpire", "uidset": "3", **base}],
        )
