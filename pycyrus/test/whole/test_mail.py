"""The main job: Postfix delivers, mail clients read, and both sides stay the same."""

from __future__ import annotations

import re
import smtplib
from collections import Counter
from pathlib import Path

from pycyrus.test.whole.case import WholeServerCase, fetch_all, in_threads
from pycyrus.testing.messages import generate
from pycyrus.testing.postfix import DOMAIN, Postfix
from pycyrus.testing.programs import find_program, run
from pycyrus.testing.server import Login

USERS = 5
MESSAGES = 500
SENDERS = 4

MBSYNCRC = """\
IMAPAccount server
Host 127.0.0.1
Port {port}
User {user}
Pass {password}
SSLType None
AuthMechs LOGIN

IMAPStore far
Account server

MaildirStore near
Path {directory}/
Inbox {directory}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
"""


class Maildir:
    """A user's mail on a client, kept in step by mbsync."""

    def __init__(self, directory: Path, port: int, login: Login) -> None:
        self._mbsync = find_program("mbsync")
        self.directory = directory
        directory.mkdir()
        self._settings = directory.with_suffix(".rc")
        self._settings.write_text(
            MBSYNCRC.format(directory=directory, port=port, user=login.user, password=login.password)
        )

    def sync(self) -> None:
        """Run mbsync."""
        run([self._mbsync, "-c", self._settings, "-a"], timeout=90)

    def files(self, folder: str = "INBOX") -> list[Path]:
        """Message files of a folder."""
        return sorted(path for part in ("cur", "new") for path in (self.directory / folder / part).iterdir())

    def find(self, subject: bytes, folder: str = "INBOX") -> Path:
        """The one message with a subject."""
        line = re.compile(rb"^Subject: %b$" % re.escape(subject), re.MULTILINE)
        (found,) = (path for path in self.files(folder) if line.search(path.read_bytes()))
        return found

    @staticmethod
    def flags(path: Path) -> set[str]:
        """Maildir flags."""
        return set(path.name.partition(":2,")[2])

    @classmethod
    def set_flags(cls, path: Path, flags: str) -> None:
        """Change them, as a mail client does."""
        name = path.name.partition(":2,")[0] + ":2," + "".join(sorted(cls.flags(path) | set(flags)))
        path.rename(path.parent.parent / "cur" / name)


def sent_form(message: bytes) -> bytes:
    """A message as it is to arrive: delivery replaces the Return-Path."""
    return re.sub(rb"\AReturn-Path: [^\r]*\r\n", b"", message)


class PostfixAndMbsyncTests(WholeServerCase):
    def test_five_hundred_messages_arrive_unchanged(self) -> None:
        """Each body is the same, octet for octet, and so is its header behind the fields of delivery."""
        find_program("mbsync")
        users = [self.server.add_user(f"u{number}", f"secret{number}") for number in range(USERS)]
        postfix = Postfix(self.directory / "pf", f"lmtp:unix:{self.server.socket('lmtpunix')}")
        self.addCleanup(postfix.stop)
        postfix.start()
        messages = list(generate(MESSAGES))
        recipients = [
            [(number + k) % USERS for k in range(1 + number % 3 * (number % 5 == 0))] for number in range(MESSAGES)
        ]

        def send(part: int) -> None:
            with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as smtp:
                for number in range(part, MESSAGES, SENDERS):
                    addresses = [f"u{user}@{DOMAIN}" for user in recipients[number]]
                    smtp.sendmail("sender@example.org", addresses, messages[number], ["BODY=8BITMIME"])

        self.assertEqual(in_threads(SENDERS, send), [])
        postfix.wait_until_empty(60)
        self.assertNotIn("status=bounced", postfix.log_text())
        self.assertNotIn("status=deferred", postfix.log_text())
        postfix.stop()

        trace = rb"\A(?:(?:Return-Path|Received|X-Cyrus-Session-Id|X-Sieve): [^\r]*\r\n(?:[ \t][^\r]*\r\n)*)+\Z"
        for user, login in enumerate(users):
            expected = [sent_form(messages[number]) for number in range(MESSAGES) if user in recipients[number]]
            by_id = {re.search(rb"\nMessage-ID: *(\S+)", message)[1]: message for message in expected}  # type: ignore[index]
            files = [
                path for path in self.message_directory(login.user).iterdir() if re.fullmatch(r"[0-9]+\.", path.name)
            ]
            self.assertEqual({path.name for path in files}, {f"{uid}." for uid in range(1, len(expected) + 1)})
            for path in files:
                stored = path.read_bytes()
                original = by_id.pop(re.findall(rb"\nMessage-ID: *(\S+)", stored)[0])
                self.assertTrue(stored.endswith(original), path)
                self.assertRegex(stored[: -len(original)], trace)
            self.assertEqual(by_id, {})

            maildir = Maildir(self.directory / f"mail{user}", self.server.port("imap"), login)
            maildir.sync()
            pulled = Counter(re.sub(rb"(?m)^X-TUID: .*\n", b"", path.read_bytes()) for path in maildir.files())
            self.assertEqual(pulled, Counter(path.read_bytes().replace(b"\r\n", b"\n") for path in files))
        self.server.stop()


class MbsyncTests(WholeServerCase):
    def test_flags_and_deletes_go_both_ways(self) -> None:
        login = self.server.account("user")
        maildir = Maildir(self.directory / "mail", self.server.port("imap"), login)
        lmtp = self.lmtp()
        for subject in ("flagged here", "deleted here", "answered there", "deleted there", "left alone"):
            lmtp.deliver("a@b", [login.user], f"Subject: {subject}\r\n\r\ntext\r\n".encode())
        client = self.imap(login)
        client.create("Work")
        maildir.sync()
        before = len(maildir.files())

        maildir.set_flags(maildir.find(b"flagged here"), "FS")
        maildir.find(b"deleted here").unlink()
        uids = {}
        for uid, message in fetch_all(client).items():
            found = re.search(rb"\nSubject: ([^\r]*)\r\n", message)
            assert found is not None
            uids[found[1]] = str(uid)
        client.select("INBOX")
        client.uid("STORE", uids[b"answered there"], "+FLAGS", r"(\Answered \Seen)")
        client.uid("STORE", uids[b"deleted there"], "+FLAGS", r"(\Deleted)")
        client.expunge()
        client.append("Work", "", None, b"Subject: in a folder\r\n\r\ntext\r\n")
        maildir.sync()

        self.assertEqual(len(maildir.files()), before - 2)
        self.assertEqual(maildir.flags(maildir.find(b"answered there")), {"R", "S"})
        self.assertEqual(maildir.flags(maildir.find(b"left alone")), set())
        maildir.find(b"in a folder", "Work")
        self.assertRaises(ValueError, maildir.find, b"deleted there")
        client.noop()
        _, flags = client.uid("FETCH", uids[b"flagged here"], "FLAGS")
        self.assertIn(rb"\Flagged", flags[0])
        self.assertIn(rb"\Seen", flags[0])
        _, gone = client.uid("SEARCH", "SUBJECT", '"deleted here"')
        self.assertEqual(gone, [b""])

        # What came into being here goes there.
        (maildir.directory / "Work" / "new" / "1.here").write_bytes(b"Subject: made here\n\ntext\n")
        maildir.sync()
        self.assertEqual(
            [b"Subject: made here\r\n" in message for message in fetch_all(client, "Work").values()], [False, True]
        )
        self.server.stop()
