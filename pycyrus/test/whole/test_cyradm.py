"""Cyrus's own cyradm, from Debian's cyrus-admin, with scripts as administrators have them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.programs import find_program, run


class CyradmCase(WholeServerCase):
    """Runs cyradm."""

    def cyradm(self, *lines: str, mechanism: str = "PLAIN") -> str:
        """Run a script as the administrator; what was printed, without prompts."""
        login = self.server.account("admin")
        printed = run(
            [
                find_program("cyradm"), "--user", login.user, "--password", login.password, "--auth", mechanism,
                "--port", str(self.server.port("imap")), "127.0.0.1",
            ],
            given="".join(f"{line}\n" for line in lines).encode(),
        )  # fmt: skip
        return printed.replace("127.0.0.1> ", "").rstrip()


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

    def test_all_the_rest(self) -> None:
        """The other commands of its help."""
        self.cyradm("cm user/jane", "cm shared/news")
        self.assertEqual(self.cyradm("sam shared/news admin all", "sub shared/news", "unsub shared/news"), "")
        self.assertEqual(self.cyradm("setinfo motd hello"), "")
        self.assertIn("motd: hello", self.cyradm("info"))
        self.assertEqual(self.cyradm("setmd shared/news comment one"), "")
        self.assertIn("one", self.cyradm("getmd shared/news"))
        # Without another server there is none to go to.
        self.assertNotEqual(self.cyradm("xfer user/jane other.example"), "")
        self.assertIn("user/jane", self.cyradm("lm user/*"))


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
