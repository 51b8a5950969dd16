"""sendmail, with what stands in conf/mta: its cyrusv2 mailer and its socket map."""

from __future__ import annotations

import smtplib
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.sendmail import Sendmail

SAMPLE = Path(__file__).parents[3] / "conf" / "mta" / "sendmail.mc"
MANY = 20


class SendmailTests(WholeServerCase):
    def test_mailer_and_map(self) -> None:
        user = self.server.account("user")
        administrator = self.imap(self.server.account("admin"))
        for number in range(MANY):
            administrator.create(f"user/u{number}")
        text = SAMPLE.read_text()
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
