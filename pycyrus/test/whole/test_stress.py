"""Many connections at work on one mailbox, at two workers, each checking all it is told."""

from __future__ import annotations

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.stress import run
from pycyrus.testing.stress_run import KINDS
from pycyrus.testing.stress_tree import run_tree
from pycyrus.testing.stress_wander import run_wanderers

PATIENCE = 100.0
"""Seconds after which a slow machine has done enough."""


class StressTests(WholeServerCase):
    """L{pycyrus.testing.stress}, a little of it; by hand it may go on for hours."""

    arguments = ("--option", "workers=2")

    def test_nothing_is_told_that_is_not_so(self) -> None:
        login = self.server.account("user")
        report = run(
            ("127.0.0.1", self.server.port("imap")),
            [(login.user, login.password)],
            mailbox="INBOX",
            clients=10,
            seconds=PATIENCE,
            steps=40,
            kinds=KINDS,
        )
        self.assertEqual(report.violations, [])
        self.assertGreater(sum(report.commands.values()), 300)
        # The same server does for those that go from mailbox to mailbox.
        wandered = run_wanderers(
            ("127.0.0.1", self.server.port("imap")),
            login.user,
            login.password,
            clients=5,
            seconds=PATIENCE,
            steps=40,
        )
        self.assertEqual(wandered.violations, [])
        self.assertGreater(wandered.answered, 150)
        self.server.stop()

    def test_no_message_is_lost_while_mailboxes_are_renamed(self) -> None:
        """L{pycyrus.testing.stress_tree}: sessions of two workers rename the mailboxes of one another."""
        login = self.server.account("user")
        report = run_tree(
            ("127.0.0.1", self.server.port("imap")),
            login.user,
            login.password,
            clients=6,
            seconds=PATIENCE,
            steps=80,
        )
        self.assertEqual(report.violations, [])
        self.assertGreater(len(report.acknowledged), 20)
        self.server.stop()
