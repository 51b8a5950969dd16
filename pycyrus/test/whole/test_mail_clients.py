"""Mail programs that people use: offlineimap, fetchmail, getmail, mutt, imapclient."""

from __future__ import annotations

import mailbox
import os
import shutil
import textwrap
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.test.whole.case import WholeServerCase, fetch_all
from pycyrus.testing.programs import find_program, run

BODIES = [
    b"From: a@example.org\r\nSubject: number %d\r\n\r\nline\r\n.\r\nFrom here\r\n" % number for number in range(5)
]


class MailClientCase(WholeServerCase):
    """An account with some messages."""

    def setUp(self) -> None:
        super().setUp()
        self.login = self.server.add_user("reader", "secret word")
        self.client = self.imap(self.login)
        self.client.create("Work/2026")
        for body in BODIES:
            self.client.append("INBOX", None, None, body)
        self.client.append("Work/2026", r"(\Flagged)", None, BODIES[0])
        self.client.select("INBOX")

    def write(self, name: str, text: str) -> Path:
        """A settings file."""
        path = self.directory / name
        path.write_text(textwrap.dedent(text))
        path.chmod(0o600)
        return path


class OfflineimapTests(MailClientCase):
    """Debian's offlineimap 8."""

    def test_both_ways(self) -> None:
        """Folders, messages and flags come down; new messages, flags and deletions go up."""
        program = find_program("offlineimap")
        local = self.directory / "mail"
        settings = self.write(
            "offlineimaprc",
            f"""\
            [general]
            accounts = all
            metadata = {self.directory}/metadata
            ui = basic
            socktimeout = 60
            [Account all]
            localrepository = near
            remoterepository = far
            [Repository near]
            type = Maildir
            localfolders = {local}
            [Repository far]
            type = IMAP
            remotehost = 127.0.0.1
            remoteport = {self.server.port("imap")}
            remoteuser = {self.login.user}
            remotepass = {self.login.password}
            ssl = no
            starttls = no
            auth_mechanisms = PLAIN
            """,
        )
        run([program, "-c", settings, "-o", "-1"])
        inbox = mailbox.Maildir(local / "INBOX")
        self.assertEqual(
            sorted(message["Subject"] for message in inbox), [f"number {number}" for number in range(len(BODIES))]
        )
        (flagged,) = (path for part in ("cur", "new") for path in (local / "Work.2026" / part).iterdir())
        self.assertIn("F", flagged.name.partition(":2,")[2])
        # Here one is read, one goes, and one is new.
        key = next(key for key, message in inbox.items() if message["Subject"] == "number 1")
        message = inbox[key]
        message.set_subdir("cur")
        message.add_flag("S")
        inbox[key] = message
        inbox.remove(next(key for key, message in inbox.items() if message["Subject"] == "number 2"))
        inbox.add(b"Subject: made here\n\nup\n")
        run([program, "-c", settings, "-o", "-1"])
        self.client.select("INBOX")
        self.assertEqual(self.client.search(None, "SEEN", "SUBJECT", '"number 1"')[1], [b"2"])
        self.assertEqual(self.client.search(None, "UNDELETED", "SUBJECT", '"number 2"')[1], [b""])
        self.assertNotEqual(self.client.search(None, "SUBJECT", '"made here"')[1], [b""])


class FetchmailTests(MailClientCase):
    """Debian's fetchmail 6.4, which hands each message to a program."""

    def test_imap(self) -> None:
        """All messages come once, unchanged but for what fetchmail adds, and are gone afterwards."""
        program = find_program("fetchmail")
        box = self.directory / "got"
        settings = self.write(
            "fetchmailrc",
            f"""\
            set no bouncemail
            poll 127.0.0.1 proto IMAP port {self.server.port("imap")}
              user "{self.login.user}" password "{self.login.password}"
              sslproto "" mda "cat >> {box}" fetchall no rewrite
            """,
        )
        home = self.directory / "fetchmail"
        home.mkdir()
        run([program, "-f", settings, "--pidfile", home / "pid"], environment={"FETCHMAILHOME": str(home)})
        got = box.read_bytes()
        for number in range(len(BODIES)):
            self.assertEqual(got.count(b"Subject: number %d\n" % number), 1)
        self.client.noop()
        self.assertEqual(self.client.search(None, "ALL")[1], [b""])


class GetmailTests(MailClientCase):
    """Debian's getmail 6."""

    def test_imap(self) -> None:
        """Messages come into a Maildir; at the second time there is nothing new."""
        program = find_program("getmail")
        local = self.directory / "got"
        for part in ("cur", "new", "tmp"):
            (local / part).mkdir(parents=True)
        # It refuses to write mail as root.
        as_user = ""
        if os.geteuid() == 0:
            as_user = "user = nobody"
            for path in (local, *local.iterdir()):
                shutil.chown(path, "nobody")
        state = self.directory / "state"
        state.mkdir()
        self.write(
            "state/getmailrc",
            f"""\
            [retriever]
            type = SimpleIMAPRetriever
            server = 127.0.0.1
            port = {self.server.port("imap")}
            username = {self.login.user}
            password = {self.login.password}
            mailboxes = ("INBOX", "Work/2026")
            [destination]
            type = Maildir
            path = {local}/
            {as_user}
            [options]
            read_all = false
            """,
        )
        words: list[str | Path] = [program, "--getmaildir", state, "--rcfile", "getmailrc"]
        run(words)
        self.assertEqual(len(mailbox.Maildir(local)), len(BODIES) + 1)
        run(words)
        self.assertEqual(len(mailbox.Maildir(local)), len(BODIES) + 1)


class MuttTests(MailClientCase):
    """Debian's mutt 2, driven by the keys in a file."""

    def test_reading_and_deleting(self) -> None:
        """It reads, copies, marks and expunges."""
        program = find_program("mutt")
        expect = find_program("expect")
        settings = self.write(
            "muttrc",
            f"""\
            set imap_user="{self.login.user}" imap_pass="{self.login.password}" ssl_starttls=no ssl_force_tls=no
            set folder="imap://127.0.0.1:{self.server.port("imap")}/" spoolfile="+INBOX"
            set header_cache="" mail_check=1 confirmappend=no delete=yes move=no quit=yes
            set tunnel="" imap_authenticators="login" sort=mailbox-order
            """,
        )
        script = self.write(
            "keys",
            f"""\
            set timeout 60
            set env(TERM) vt100
            set env(HOME) {self.directory}
            spawn {program} -n -F {settings}
            expect timeout {{exit 2}} "Msgs:5"
            send "1\\rF"
            expect timeout {{exit 3}} "Flag"
            send "2\\rC"
            expect timeout {{exit 4}} "Copy to mailbox"
            send "\\025=Work/2026\\r"
            expect timeout {{exit 5}} -re "/2026\\.\\.\\."
            send "3\\rd"
            send "$"
            expect timeout {{exit 6}} -re "kept|deleted|expung"
            send "q"
            expect timeout {{exit 7}} eof
            """,
        )
        run([expect, "-f", script], timeout=600)
        self.client.noop()
        self.assertEqual(self.client.search(None, "SUBJECT", '"number 2"')[1], [b""])
        self.assertEqual(self.client.search(None, "FLAGGED")[1], [b"1"])
        copied = fetch_all(self.client, "Work/2026")
        self.assertEqual(sorted(copied.values()), sorted([BODIES[0], BODIES[1]]))


class ImapclientTests(MailClientCase):
    """The Python package imapclient, which parses all that it is told."""

    def test_what_it_asks_for(self) -> None:
        """Structure, envelopes, special uses, quotas of capabilities, IDLE, gmail-like searches."""
        try:
            import imapclient
        except ImportError:
            raise SkipTest("imapclient is not installed: pip install imapclient") from None
        with imapclient.IMAPClient("127.0.0.1", self.server.port("imap"), ssl=False, timeout=60) as client:
            client.login(self.login.user, self.login.password)
            self.assertIn("Work/2026", [name for _, _, name in client.list_folders()])
            chosen = client.select_folder("INBOX")
            self.assertEqual(chosen[b"EXISTS"], len(BODIES))
            fetched = client.fetch(range(1, 6), ["ENVELOPE", "BODYSTRUCTURE", "INTERNALDATE", "RFC822.SIZE", "MODSEQ"])
            self.assertEqual(fetched[1][b"ENVELOPE"].subject, b"number 0")
            self.assertEqual(client.search(["SUBJECT", "number 3"]), [4])
            self.assertEqual(client.add_flags([4], [imapclient.FLAGGED])[4][-1], imapclient.FLAGGED)
            client.create_folder("Entwürfe & mehr")
            self.assertTrue(client.folder_exists("Entwürfe & mehr"))
            moved = client.move([1], "Entwürfe & mehr")
            self.assertIsNone(moved or None)
            client.idle()
            self.client.append("INBOX", None, None, BODIES[0])
            self.assertIn((len(BODIES), b"EXISTS"), client.idle_check(timeout=60))
            client.idle_done()
            self.assertEqual(client.folder_status("Entwürfe & mehr", ["MESSAGES"])[b"MESSAGES"], 1)
            self.assertTrue(client.getacl("INBOX"))
