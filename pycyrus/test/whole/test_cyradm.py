"""Cyrus's own cyradm, from Debian's cyrus-admin, with scripts as administrators have them."""

from __future__ import annotations

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.programs import find_program, run


class CyradmTests(WholeServerCase):
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
