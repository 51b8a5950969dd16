"""sendmail, with what stands in conf/mta: its cyrusv2 mailer and its socket map."""

from __future__ import annotations

import pwd
import smtplib
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.programs import python_of
from pycyrus.testing.sendmail import Sendmail

SAMPLES = Path(__file__).parents[3] / "conf" / "mta"
MANY = 20


class SendmailTests(WholeServerCase):
    def test_mailer_and_map(self) -> None:
        user = self.server.account("user")
        administrator = self.imap(self.server.account("admin"))
        for number in range(MANY):
            administrator.create(f"user/u{number}")
        text = (SAMPLES / "sendmail.mc").read_text()
        for old, name in (("/var/lib/cyrus/socket/lmtp", "lmtpunix"), ("/var/lib/cyrus/socket/smmap", "smmap")):
            self.assertIn(old, text)
            text = text.replace(old, str(self.server.socket(name)))
        sendmail = Sendmail(self.directory / "sm", text)
        self.addCleanup(sendmail.stop)
        sendmail.start()
        addresses = ["nobody@test.example", f"{user.user}@test.example"]
        addresses += [f"u{number}@test.example" for number in range(MANY)]
        with smtplib.SMTP("127.0.0.1", sendmail.port, timeout=TIMEOUT) as smtp:
            refused = smtp.sendmail("a@example.org", addresses, b"Subject: by sendmail\r\n\r\n.\r\ntext\r\n")
        self.assertEqual(list(refused), ["nobody@test.example"])
        self.assertEqual(refused["nobody@test.example"], (550, b"5.1.1 <nobody@test.example>... No such mailbox"))
        sendmail.wait_until_empty(60)
        found = [message for message in fetch_all(self.imap(user)).values() if b"Subject: by sendmail" in message]
        self.assertEqual(len(found), 1, sendmail.traffic()[-3000:])
        self.assertTrue(found[0].endswith(b"\r\n\r\n.\r\ntext\r\n"))
        for number in range(MANY):
            self.assertEqual(len(list(self.message_directory(f"u{number}").glob("[0-9]*."))), 1)
        # The server away: later, not never.
        self.server.stop()
        with smtplib.SMTP("127.0.0.1", sendmail.port, timeout=TIMEOUT) as smtp:
            smtp.ehlo()
            smtp.mail("a@example.org")
            self.assertEqual(smtp.rcpt(f"{user.user}@test.example")[0], 451)

    def test_local_mailer(self) -> None:
        """deliver, as sendmail's local mailer: each recipient has the truth that is its own."""
        user = self.server.account("user")
        client = self.imap(user)
        client.create("work")
        client.setacl("work", "anyone", "p")
        program = self.directory / "deliver"
        words = f"{python_of(pwd.getpwnam('nobody').pw_uid)} -m pycyrus.admin.main deliver --home {self.server.home}"
        program.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        program.chmod(0o755)
        text = (SAMPLES / "sendmail-deliver.mc").read_text()
        for old, new in (("/opt/pycyrus/bin/deliver", str(program)), ("cyrus:cyrus", "nobody:nogroup")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        sendmail = Sendmail(self.directory / "sm", text)
        self.addCleanup(sendmail.stop)
        sendmail.start()
        sender, *others = [f"{name}@test.example" for name in (user.user, "nobody", f"{user.user}+work")]
        with smtplib.SMTP("127.0.0.1", sendmail.port, timeout=TIMEOUT) as smtp:
            smtp.sendmail(sender, [sender, *others], b"Subject: by sendmail\r\n\r\n.\r\ntext\r\n")
        sendmail.wait_until_empty(60)
        messages = fetch_all(client).values()
        (bounce,) = (message for message in messages if message.startswith(b"Return-Path: <MAILER-DAEMON"))
        self.assertIn(b"550 5.1.1 <nobody@test.example>... User unknown", bounce)
        for found in (messages, fetch_all(client, "work").values()):
            copies = [each for each in found if each.startswith(b"Return-Path: <%b>\r\n" % sender.encode())]
            self.assertEqual(len(copies), 1, sendmail.traffic()[-3000:])
            self.assertTrue(copies[0].endswith(b"\r\n\r\n.\r\ntext\r\n"))
