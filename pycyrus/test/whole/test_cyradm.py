"""Cyrus's own cyradm, from Debian's cyrus-admin, with scripts as administrators have them."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import termios
import time
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase
from pycyrus.testing.programs import find_program, run

PROMPT = "127.0.0.1> "

SESSION = (
    # A command, and something of what it prints; empty for nothing at all.
    ("cm user/eve", ""),
    ("createmailbox user/eve/Sent default", ""),
    ("create --specialuse \\\\Junk user/eve/Spam", ""),
    ("cm shared/news", ""),
    ("cm user/nobody/Folder", "Permission denied"),
    ("lm user/eve*", "user/eve/Sent (\\HasNoChildren)"),
    ("listmailbox -specialuse", "user/eve/Spam (\\HasNoChildren \\Junk)"),
    ("lm --specialuse user/nobody*", ""),
    ("lm % user/eve/", "user/eve/Spam"),
    ("sub shared/news", ""),
    ("subscribe user/eve", ""),
    ("lm -s", "shared/news"),
    # It sends the pattern as the reference too.
    ("lm --subscribed user/*", ""),
    ("unsub shared/news", ""),
    ("unsubscribe user/eve", ""),
    ("lm -s", ""),
    ("sam user/eve jane read bob write", ""),
    ("setacl user/eve/* jane +i", "Setting ACL on user/eve/Spam...OK."),
    ("setaclmailbox user/eve nobody lry", "is not supported"),
    ("lam user/eve", "jane lrs"),
    ("listacl user/eve/Sent", "jane i"),
    ("listaclmailbox user/eve/*", "user/eve/Spam:"),
    ("dam user/eve bob", ""),
    ("deleteacl user/eve/Sent jane", ""),
    ("deleteaclmailbox user/eve/Spam jane", ""),
    ("sq user/eve 1000", "quota:1000"),
    ("setquota user/eve STORAGE 2000 MESSAGE 10", ""),
    ("lqm user/eve/Sent", "user/eve"),
    ("sq user/eve STORAGE 2000", ""),
    ("lq user/eve", "STORAGE 0/2000 (0%)"),
    ("listquota user/nobody", ""),
    ("lqr user/eve/Sent", "user/eve STORAGE 0/2000 (0%)"),
    ("listquotaroot shared/news", ""),
    ("sq user/eve none", "remove quota"),
    *(
        (f"mboxcfg shared/news {name} {value}", "")
        for name, value in (
            ("comment", "hello"),
            ("expire", "30"),
            ("news2mail", "news@example.com"),
            ("sharedseen", "true"),
            ("sieve", "script"),
            ("squat", "true"),
            ("pop3showafter", '"1-Jan-2020 00:00:00 +0000"'),
        )
    ),
    ("mboxconfig --private shared/news comment mine", ""),
    ("info shared/news", "news2mail: news@example.com"),
    ("getmetadata shared/news", "comment: mine"),
    ("getmd shared/news expire", "expire: 30"),
    ("mboxcfg shared/news expire none", ""),
    ("setmd user/eve/Spam comment two", ""),
    ("setmetadata shared/news squat false", ""),
    ("setinfo motd hello", ""),
    ("setinfo comment all", ""),
    ("setinfo admin mailto:root@example.com", ""),
    ("setinfo expire 90", ""),
    ("setinfo squat true", ""),
    ("info", "admin: mailto:root@example.com"),
    ("setinfo expire none", ""),
    ("setinfo shutdown soon", ""),
    ("setinfo shutdown none", ""),
    ("reconstruct user/eve", ""),
    ("reconstruct -r user/eve", ""),
    ("reconstruct user/nobody", "Mailbox does not exist"),
    ("renm user/eve/Sent user/eve/Gesendet", ""),
    ("rename user/eve/Gesendet user/eve/Sent", ""),
    # What is no partition could be another server.
    ("renamemailbox user/eve/Sent user/eve/Sent nowhere", "renamemailbox: "),
    # Without another server there is none to go to.
    ("xfer user/eve other.example", "xfermailbox: "),
    ("xfermailbox user/eve other.example fast", "xfermailbox: "),
    # As in Cyrus administrators delete nothing before they gave themselves the right to.
    ("dm user/eve/Sent", "deletemailbox: [NOPERM] Permission denied"),
    ("sam user/eve* admin c", "Setting ACL on user/eve..."),
    ("dm user/eve/Sent", ""),
    ("deletemailbox user/eve/*", "Deleting mailbox user/eve/Spam...OK."),
    ("delete user/eve", ""),
    ("lm user/e*", ""),
    ("ver", "pycyrus"),
    ("version", "Cyrus IMAPD"),
    ("server", "127.0.0.1"),
    ("servername", "127.0.0.1"),
    ("cd .", ""),
    ("chdir .", ""),
    ("?", "show commands"),
    ("help", "show commands"),
    ("disc", ""),
    ("disconnect", "no connection to server"),
)


class CyradmCase(WholeServerCase):
    """Runs cyradm."""

    def cyradm(self, *lines: str, mechanism: str = "PLAIN") -> str:
        """Run a script as the administrator; what was printed, without prompts."""
        return "".join(self.answers(*lines, mechanism=mechanism)).rstrip()

    def answers(self, *lines: str, mechanism: str = "PLAIN") -> list[str]:
        """What each line of a script printed."""
        login = self.server.account("admin")
        printed = run(
            [
                find_program("cyradm"), "--user", login.user, "--password", login.password, "--auth", mechanism,
                "--port", str(self.server.port("imap")), "127.0.0.1",
            ],
            given="".join(f"{line}\n" for line in lines).encode(),
        )  # fmt: skip
        return re.split("(?:127.0.0.1|cyradm)> ", printed)[1 : len(lines) + 1]


class CyradmTests(CyradmCase):
    def test_mailboxes(self) -> None:
        """Users with their folders are made, listed, renamed and deleted."""
        self.assertEqual(self.cyradm("cm user/jane", "cm user/jane/Sent", "cm shared/news default"), "")
        self.assertEqual(
            self.cyradm("lm user/jane*").split(),
            ["user/jane", r"(\HasChildren)", "user/jane/Sent", r"(\HasNoChildren)"],
        )
        self.assertEqual(self.cyradm("renm user/jane/Sent user/jane/Gesendet"), "")
        self.assertIn("user/jane/Gesendet", self.cyradm("lm user/jane/%"))
        self.assertIn("Mailbox already exists", self.cyradm("cm user/jane"))
        self.assertIn("Mailbox does not exist", self.cyradm("dm user/nobody"))
        self.assertIn("Unknown/invalid partition", self.cyradm("cm user/eve absent"))
        self.assertEqual(self.cyradm("sam user/jane admin c", "dm user/jane"), "")
        self.assertNotIn("user/jane ", self.cyradm("lm user/*"))
        self.assertIn("DELETED/user/jane/", self.cyradm("lm DELETED/*"))

    def test_special_use(self) -> None:
        self.assertEqual(self.cyradm("cm user/jane", "cm --specialuse \\\\Junk user/jane/Spam"), "")
        self.assertIn("SPECIAL-USE flag conflict", self.cyradm("cm --specialuse \\\\Junk user/jane/Again"))

    def test_rights(self) -> None:
        """With the names of cyradm for sets of rights, and the old letters."""
        self.cyradm("cm user/jane")
        self.assertEqual(self.cyradm("sam user/jane bob read", "sam user/jane eve lrswipcda"), "")
        self.assertEqual(
            sorted(self.cyradm("lam user/jane").split("\n")), ["bob lrs", "eve lrswipkxtecda", "jane lrswipkxtecdan"]
        )
        self.assertEqual(self.cyradm("dam user/jane bob", "sam user/jane eve none"), "")
        self.assertEqual(self.cyradm("lam user/jane"), "jane lrswipkxtecdan")
        self.assertIn("is not supported", self.cyradm("sam user/jane bob lry"))

    def test_annotations(self) -> None:
        """What info shows is what mboxcfg set."""
        self.cyradm("cm shared/news")
        self.assertEqual(self.cyradm("mboxcfg shared/news comment hello", "mboxcfg shared/news expire 30"), "")
        shown = self.cyradm("info shared/news")
        self.assertIn("comment: hello", shown)
        self.assertIn("expire: 30", shown)
        self.assertIn("partition: default", shown)

    def test_quotas(self) -> None:
        """Set for a user, told for the root and for a folder, taken away."""
        self.cyradm("cm user/jane", "cm user/jane/Sent")
        self.assertEqual(self.cyradm("sq user/jane 1048576").split(), ["quota:1048576"])
        self.assertEqual(self.cyradm("lq user/jane").strip(), "STORAGE 0/1048576 (0%)")
        self.assertIn("user/jane STORAGE 0/1048576 (0%)", self.cyradm("lqr user/jane/Sent"))
        self.assertNotIn("STORAGE", self.cyradm("lq user/jane/Sent"))
        self.cyradm("sq user/jane none")
        self.assertNotIn("STORAGE", self.cyradm("lqr user/jane/Sent"))

    def test_scram(self) -> None:
        self.assertIn("Cyrus IMAPD", self.cyradm("version", mechanism="SCRAM-SHA-256"))

    def test_every_command(self) -> None:
        """All names that its help has, after a login that is not in clear."""
        self.server.add_user("jane", "secret")
        known = {name for line in self.cyradm("help").splitlines() for name in line[:34].replace(",", " ").split()}
        lines = [line for line, _ in SESSION]
        answers = self.answers(*lines, mechanism="SCRAM-SHA-256")
        wrong = {
            line: answer
            for (line, expected), answer in zip(SESSION, answers, strict=True)
            if expected not in answer or (answer.strip() and not expected)
        }
        self.assertEqual(wrong, {})
        # These ask for passwords on a terminal, connect to port 143, or end it.
        others = {"auth", "authenticate", "login", "connect", "exit", "quit"}
        self.assertEqual(known - {line.split()[0] for line in lines}, others)

    def test_on_a_terminal(self) -> None:
        """As it is used by hand, with prompts, history and a password that is asked for."""
        login = self.server.account("admin")
        terminal = Terminal(
            find_program("cyradm"), "--user", login.user, "--auth", "PLAIN",
            "--port", str(self.server.port("imap")), "127.0.0.1",
        )  # fmt: skip
        self.addCleanup(terminal.close)
        terminal.read_until(b"assword:")
        terminal.wait_for_secrecy()
        terminal.write(login.password.encode())
        terminal.read_until(PROMPT.encode())
        terminal.write(b"cm user/jane")
        terminal.read_until(PROMPT.encode())
        terminal.write(b"lm user/j*")
        self.assertIn(b"user/jane (", terminal.read_until(PROMPT.encode()))
        terminal.write(b"exit")
        self.assertEqual(terminal.wait(), 0)


class Terminal:
    """A program with a terminal of its own."""

    def __init__(self, *command: str | Path) -> None:
        self._fd, other = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, start_new_session=True, env={**os.environ, "TERM": "dumb"}
        )
        os.close(other)

    def read_until(self, text: bytes) -> bytes:
        """What it prints, up to and with some text."""
        heard = b""
        while text not in heard:
            if not select.select([self._fd], [], [], TIMEOUT)[0]:
                raise AssertionError(f"no {text!r} in {heard!r}")
            try:
                heard += os.read(self._fd, 4096)
            except OSError as error:
                raise AssertionError(f"it ended after {heard!r}") from error
        return heard

    def write(self, line: bytes) -> None:
        """Type a line."""
        os.write(self._fd, line + b"\r")

    def wait_for_secrecy(self) -> None:
        """Until it does not show what is typed: what comes before that, it throws away."""
        deadline = time.monotonic() + TIMEOUT
        while termios.tcgetattr(self._fd)[3] & termios.ECHO:
            if time.monotonic() > deadline:
                raise AssertionError("it shows passwords")
            # A terminal tells nobody that its modes change.
            time.sleep(0.005)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait(TIMEOUT)

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._fd)


class ManualTests(CyradmCase):
    """What the manual's page about virtual domains has administrators write."""

    arguments = tuple(
        f"--option={option}" for option in ("virtdomains=userid", "defaultdomain=example.org", "unixhierarchysep=no")
    )

    def test_domains(self) -> None:
        self.assertEqual(
            self.cyradm(
                "create user.lukecage@example.net",
                "create user.mercedesknight@example.net",
                "setaclmailbox user.lukecage@example.net mercedesknight@example.net read",
            ),
            "",
        )
        self.assertEqual(self.cyradm("setquota user.lukecage@example.net 50000").split(), ["quota:50000"])
        listed = self.cyradm("listmailbox *@example.net")
        self.assertEqual(
            sorted(word for word in listed.split() if word.startswith("user")),
            ["user.lukecage@example.net", "user.mercedesknight@example.net"],
        )
        self.assertIn("mercedesknight@example.net lrs", self.cyradm("lam user.lukecage@example.net"))
        self.assertEqual(self.cyradm("cm user.test", "cm user.test@example.com"), "")
        self.assertEqual(self.cyradm("lm *@example.com").split()[0], "user.test@example.com")
        self.assertIn("user.test ", self.cyradm("lm user.test"))


class PartitionTests(CyradmCase):
    """What the manual's page about partitions has administrators write."""

    def setUp(self) -> None:
        slow = Path(tempfile.mkdtemp(prefix="pyc-"))
        self.addCleanup(shutil.rmtree, slow)
        self.slow = slow
        options = ("virtdomains=userid", "defaultdomain=localhost", f"partition-slow={slow}")
        self.arguments = tuple(f"--option={option}" for option in options)
        super().setUp()

    def test_an_archive_without_limit(self) -> None:
        self.assertEqual(self.cyradm("cm user/john@example.org"), "")
        self.assertEqual(self.cyradm("sq user/john@example.org 1048576").split(), ["quota:1048576"])
        self.assertEqual(self.cyradm("cm user/john/Archive@example.org slow"), "")
        self.cyradm("sq user/john/Archive@example.org none")
        self.assertIn("user/john/Archive@example.org", self.cyradm("lqr user/john/Archive@example.org"))
        self.assertIn("slow", self.cyradm("info user/john/Archive@example.org"))
        self.assertEqual(len(list(self.slow.glob("**/Archive/pycyrus.journal"))), 1)
