"""Postfix, with what stands in conf/mta, and the truth about each recipient."""

from __future__ import annotations

import os
import pwd
import re
import smtplib
import time
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.postfix import DOMAIN, Postfix
from pycyrus.testing.programs import python_of

SAMPLES = Path(__file__).parents[3] / "conf" / "mta"
MESSAGE = b"Subject: by Postfix\r\nFrom: a@example.org\r\n\r\ntext\r\n"
MANY = 50
BIG = b"Subject: by Postfix\r\nFrom: a@example.org\r\nMessage-ID: %b\r\n\r\n" + b"a line of the body\r\n" * 2000
IN_THE_QUEUE = 40
ROUNDS = 1


class PostfixTests(WholeServerCase):
    def postfix(self, sample: str, replacements: Mapping[str, str] | None = None, main: str = "") -> Postfix:
        """A Postfix with a sample, in which only places were replaced."""
        text = self.sample(
            sample,
            {
                **(replacements or {}),
                "/var/lib/cyrus/socket/lmtp": str(self.server.socket("lmtpunix")),
                "/var/lib/cyrus/socket/smmap": str(self.server.socket("smmap")),
            },
        )
        is_master = sample.endswith(".master")
        postfix = Postfix(
            self.directory / "pf",
            "pycyrus" if is_master else "error:not used",
            main if is_master else text + main,
            text if is_master else "",
        )
        self.addCleanup(postfix.stop)
        postfix.start()
        return postfix

    def sample(self, name: str, replacements: Mapping[str, str]) -> str:
        text = (SAMPLES / name).read_text()
        used = [old for old in replacements if old in text]
        self.assertNotEqual(used, [])
        for old in used:
            text = text.replace(old, replacements[old])
        return text

    def send(self, postfix: Postfix, *recipients: str, sender: str = "a@example.org") -> dict[str, tuple[int, bytes]]:
        """Send a message; returns which recipients were refused."""
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=TIMEOUT) as smtp:
            try:
                return smtp.sendmail(sender, recipients, MESSAGE)
            except smtplib.SMTPRecipientsRefused as refused:
                return refused.recipients

    def subjects(self, user: str, password: str, mailbox: str = "INBOX") -> int:
        client = self.imap(type(self.server.account("user"))(user, password))
        return sum(b"Subject: by Postfix" in message for message in fetch_all(client, mailbox).values())

    def test_virtual(self) -> None:
        """
        Unknown users are refused at RCPT, fifty recipients share one file, a detail is a folder.

        The folder is in lower case because that is how Postfix looks things up.
        """
        user = self.server.account("user")
        client = self.imap(user)
        client.create("work")
        client.setacl("work", "anyone", "p")
        postfix = self.postfix("postfix-virtual.cf")
        refused = self.send(postfix, f"nobody@{DOMAIN}", f"{user.user}@{DOMAIN}", f"{user.user}+work@{DOMAIN}")
        self.assertEqual(list(refused), [f"nobody@{DOMAIN}"], refused)
        code, text = refused[f"nobody@{DOMAIN}"]
        self.assertEqual(code, 550)
        self.assertIn(b"User unknown", text)
        postfix.wait_until_empty(60)
        self.assertEqual(self.subjects(user.user, user.password), 1)
        self.assertEqual(self.subjects(user.user, user.password, "work"), 1)

        administrator = self.imap(self.server.account("admin"))
        users = [f"u{number}" for number in range(MANY)]
        for each in users:
            self.assertEqual(administrator.create(f"user/{each}")[0], "OK")
        self.assertEqual(self.send(postfix, *(f"{each}@{DOMAIN}" for each in users)), {})
        postfix.wait_until_empty(60)
        files = [path for each in users for path in self.message_directory(each).glob("[0-9]*.")]
        self.assertEqual(len(files), MANY)
        self.assertEqual(len({path.stat().st_ino for path in files}), 1)
        self.assertNotIn("status=bounced", postfix.log_text())
        # A server that is away is no reason to refuse anybody for good.
        self.server.stop()
        (answer,) = self.send(postfix, f"{user.user}@{DOMAIN}").values()
        self.assertEqual(answer[0], 451)

    def test_local_users_behind_aliases(self) -> None:
        user = self.server.account("user")
        postfix = self.postfix(
            "postfix-local.cf",
            {"mydestination = test.example": f"mydestination = {DOMAIN}"},
            "virtual_mailbox_domains =\n",
        )
        self.assertEqual(list(self.send(postfix, f"nobody@{DOMAIN}", f"{user.user}@{DOMAIN}")), [f"nobody@{DOMAIN}"])
        postfix.wait_until_empty(60)
        self.assertEqual(self.subjects(user.user, user.password), 1)

    def test_another_machine(self) -> None:
        """LMTP over TCP."""
        user = self.server.account("user")
        postfix = self.postfix(
            "postfix-relay.cf",
            {
                "lmtp:inet:192.0.2.7:24": f"lmtp:inet:127.0.0.1:{self.server.port('lmtp')}",
                "socketmap:inet:192.0.2.7:2004": f"socketmap:unix:{self.server.socket('smmap')}",
            },
            "virtual_mailbox_domains =\n",
        )
        self.assertEqual(list(self.send(postfix, f"nobody@{DOMAIN}", f"{user.user}@{DOMAIN}")), [f"nobody@{DOMAIN}"])
        postfix.wait_until_empty(60)
        self.assertEqual(self.subjects(user.user, user.password), 1)

    def test_kill_in_the_middle(self) -> None:
        """The server dies by kill -9, Postfix comes again, and each message is there once for each recipient."""
        users = [self.server.account("user"), self.server.add_user("jane", "secret")]
        recipients = [f"{user.user}@{DOMAIN}" for user in users]
        postfix = self.postfix("postfix-virtual.cf")
        ids: list[bytes] = []
        for round_ in range(ROUNDS):
            directory = self.message_directory("jane")
            enough = len(list(directory.glob("[0-9]*."))) + 5
            with smtplib.SMTP("127.0.0.1", postfix.port, timeout=TIMEOUT) as smtp:
                for serial in range(IN_THE_QUEUE):
                    ids.append(b"<%d.%d@postfix.test>" % (round_, serial))
                    smtp.sendmail("a@example.org", recipients, BIG % ids[-1])
            deadline = time.monotonic() + TIMEOUT
            while len(list(directory.glob("[0-9]*."))) < enough and time.monotonic() < deadline:
                time.sleep(0.001)
            self.server.kill()
            self.server.start()
            deadline = time.monotonic() + TIMEOUT
            while postfix.queue() and time.monotonic() < deadline:
                postfix.flush()
                time.sleep(0.2)
            postfix.wait_until_empty(TIMEOUT)
        for user in users:
            found = [
                line.removeprefix(b"Message-ID: ")
                for message in fetch_all(self.imap(user)).values()
                for line in message.split(b"\r\n")
                if line.endswith(b"@postfix.test>")
            ]
            self.assertEqual(sorted(found), sorted(ids))
        self.assertNotIn("status=bounced", postfix.log_text())
        self.server.stop()

    def test_bounce(self) -> None:
        """Where nobody asks beforehand, the sender is told in the words of the server."""
        user = self.server.account("user")
        postfix = self.postfix(
            "postfix-virtual.cf", {"socketmap:unix:/var/lib/cyrus/socket/smmap:pycyrus": "static:all"}
        )
        self.send(postfix, f"nobody@{DOMAIN}", sender=f"{user.user}@{DOMAIN}")
        postfix.wait_until_empty(60)
        bounces = [message for message in fetch_all(self.imap(user)).values() if b"MAILER-DAEMON" in message]
        self.assertEqual(len(bounces), 1, postfix.log_tail())
        self.assertIn(b"550 5.1.1", bounces[0].replace(b"550-5.1.1", b"550 5.1.1"))
        self.assertIn(b"Return-Path: <>\r\n", bounces[0])

    def test_over_quota(self) -> None:
        """Mail waits in the queue until there is room; where that is to be for good, it goes back to its sender."""
        user = self.server.account("user")
        postfix = self.postfix(
            "postfix-virtual.cf", {"socketmap:unix:/var/lib/cyrus/socket/smmap:pycyrus": "static:all"}
        )

        def administer(command: str, *words: str) -> None:
            administrator = self.imap(self.server.account("admin"))
            self.assertEqual(getattr(administrator, command)(*words)[0], "OK")
            administrator.logout()

        administer("create", "user/jane")
        administer("setquota", f"user/{user.user}", "(MESSAGE 0)")
        self.send(postfix, f"{user.user}@{DOMAIN}", sender=f"jane@{DOMAIN}")
        deadline = time.monotonic() + TIMEOUT
        while "status=deferred" not in postfix.log_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIn("said: 452 4.2.2 Over quota SESSIONID=", postfix.log_text())
        administer("setquota", f"user/{user.user}", "(MESSAGE 100)")
        postfix.flush()
        postfix.wait_until_empty(TIMEOUT)
        self.assertEqual(self.subjects(user.user, user.password), 1)
        administer("setquota", f"user/{user.user}", "(MESSAGE 0)")
        self.server.stop()
        self.server.arguments += ("--option", "lmtp_over_quota_perm_failure=yes")
        self.server.start()
        self.send(postfix, f"{user.user}@{DOMAIN}", sender=f"jane@{DOMAIN}")
        postfix.wait_until_empty(TIMEOUT)
        (bounce,) = (path.read_bytes() for path in self.message_directory("jane").glob("[0-9]*."))
        self.assertIn(b"552 5.2.2 Over quota", bounce)
        self.assertIn(b"Return-Path: <>\r\n", bounce)
        self.assertEqual(self.subjects(user.user, user.password), 1)

    def test_program(self) -> None:
        """deliver, run by Postfix's pipe."""
        user = self.server.account("user")
        nobody = pwd.getpwnam("nobody")
        if os.geteuid():
            raise SkipTest("only root can run a program as somebody else")
        python = python_of(nobody.pw_uid)
        postfix = self.postfix(
            "postfix-pipe.master",
            {
                "user=cyrus": "user=nobody",
                "/opt/pycyrus/bin/deliver": f"{python} -m pycyrus.admin.main deliver --home {self.server.home}",
            },
            "pycyrus_destination_recipient_limit = 1\n",
        )
        self.assertEqual(self.send(postfix, f"{user.user}@{DOMAIN}", f"nobody@{DOMAIN}"), {})
        postfix.wait_until_empty(60)
        self.assertEqual(self.subjects(user.user, user.password), 1)
        # Each recipient has the truth that is its own.
        fates = re.findall(rf"to=<(\w+)@{DOMAIN}.*status=(\w+)", postfix.log_text())
        self.assertEqual(sorted(fates), sorted([(user.user, "sent"), ("nobody", "bounced")]))
        self.send(postfix, f"nobody@{DOMAIN}", sender=f"{user.user}@{DOMAIN}")
        postfix.wait_until_empty(60)
        (bounce,) = (message for message in fetch_all(self.imap(user)).values() if b"MAILER-DAEMON" in message)
        self.assertTrue(bounce.startswith(b"Return-Path: <>\r\n"), bounce[:200])
