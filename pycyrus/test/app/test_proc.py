"""The directory of sessions, as C{cyr_info proc} and monitoring read it."""

from __future__ import annotations

import imaplib
import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.proc import WRITTEN_AFTER, ProcDirectory, Session, sessions
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.test.admin.tools import ToolsTestCase


class ProcDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.clock = Clock()
        self.proc = ProcDirectory(self.directory, self.clock)
        self.proc.begin()

    def test_a_session(self) -> None:
        """It is there from its beginning to its end, with its user; in Cyrus's form."""
        limits = ConnectionLimits(LimitSettings(), self.proc.presence("imap"))
        admission = limits.connected("192.0.2.1")
        self.clock.advance(WRITTEN_AFTER)
        self.assertEqual([str(each) for each in sessions(self.directory)], [f"{os.getpid()} imap [192.0.2.1]"])
        admission.logged_in("fred")
        self.clock.advance(WRITTEN_AFTER)
        (path,) = self.directory.iterdir()
        self.assertEqual(path.read_text(), "imap\t[192.0.2.1]\tfred\t\t\n")
        admission.close()
        self.clock.advance(WRITTEN_AFTER)
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_a_short_session_costs_nothing(self) -> None:
        limits = ConnectionLimits(LimitSettings(), self.proc.presence("lmtp"))
        limits.connected("").close()
        self.clock.advance(WRITTEN_AFTER)
        self.assertEqual((list(self.directory.iterdir()), list(sessions(self.directory))), ([], []))

    def test_each_has_its_own_time(self) -> None:
        """A short session is not written because a long one is, at that moment."""
        limits = ConnectionLimits(LimitSettings(), self.proc.presence("pop3"))
        limits.connected("192.0.2.1")
        self.clock.advance(0.75 * WRITTEN_AFTER)
        short = limits.connected("192.0.2.2")
        later = limits.connected("192.0.2.3")
        self.clock.advance(0.25 * WRITTEN_AFTER)
        self.assertEqual([each.host for each in sessions(self.directory)], ["[192.0.2.1]"])
        short.close()
        self.clock.pump([0.25 * WRITTEN_AFTER] * 4)
        self.assertCountEqual([each.host for each in sessions(self.directory)], ["[192.0.2.1]", "[192.0.2.3]"])
        later.close()
        self.clock.advance(WRITTEN_AFTER)
        self.assertEqual([each.host for each in sessions(self.directory)], ["[192.0.2.1]"])

    def test_what_was_left_behind(self) -> None:
        """A process that was killed has no sessions any more; what no server wrote is let alone."""
        gone = 2**22 + 1  # above the kernel's largest
        for name in (f"{gone}-1", f"{gone}-2.new", "README"):
            (self.directory / name).write_text(Session(gone, "imap", "[::1]").line())
        self.assertEqual(list(sessions(self.directory)), [])
        self.proc.begin()
        self.assertEqual([path.name for path in self.directory.iterdir()], ["README"])

    def test_what_clients_say_cannot_break_lines(self) -> None:
        self.proc.tell(1, Session(os.getpid(), "imap", "[::1]", "a\nb\tc"))
        self.proc.flush()
        self.assertEqual(next(sessions(self.directory)).user, "a?b?c")
        self.proc.end()
        self.assertEqual(list(self.directory.iterdir()), [])


class ServerTests(ToolsTestCase):
    def test_cyr_info_proc(self) -> None:
        account = self.server.account("user")
        with imaplib.IMAP4("127.0.0.1", self.server.port("imap")) as client:
            client.login(account.user, account.password)
            while not (told := self.look("cyr_info", "proc").endswith(f" imap [127.0.0.1] {account.user}\n")):
                client.noop()
            self.assertTrue(told)
