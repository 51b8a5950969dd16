"""Copies of sessions: what is in them, and that no password ever is."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.net.telemetry import SessionLog, Telemetry

NOW = 1_700_000_000.5

SECRET_CONVERSATIONS = (
    # What a client may say after its login, with the password s3cret in it.
    b"a LOGIN fred s3cret\r\n",
    b'a login "fred" "s3cret"\r\nb NOOP\r\n',
    b"a LOGIN {4+}\r\nfred {6+}\r\ns3cret\r\nb NOOP\r\n",
    b"a LOGIN fred {6}\r\ns3cret\r\n",
    b"a AUTHENTICATE PLAIN s3cret=\r\n",
    b"a AUTHENTICATE PLAIN\r\ns3cret=\r\nb NOOP\r\n",
    b"AUTH PLAIN s3cret=\r\n",
    b"AUTH LOGIN\r\ns3cret=\r\n",
    b"PASS s3cret\r\n",
    b"APOP fred s3cret\r\n",
    b"a NOOP\r\nb UNAUTHENTICATE\r\nc AUTHENTICATE X\r\nAAAA\r\ns3cret\r\n",
)


class TelemetryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.directory = self.root / "fred"
        self.directory.mkdir()
        self.time = NOW

    def telemetry(self, *, by_session: bool = False, stamps: bool = False) -> Telemetry:
        return Telemetry(self.root, "imap", by_session=by_session, stamps=stamps, now=lambda: self.time)

    def begin(self, telemetry: Telemetry | None = None) -> SessionLog:
        log = (telemetry or self.telemetry()).begin("fred", "id-1")
        assert log is not None
        self.addCleanup(log.end)
        return log

    def text(self) -> bytes:
        """What was copied, without the first lines."""
        (path,) = self.directory.iterdir()
        return path.read_bytes().partition(b"\n\n")[2]


class TelemetryTests(TelemetryCase):
    def test_form(self) -> None:
        """As Cyrus writes it: who and when, then each piece with its time."""
        log = self.begin()
        log.received(b"a NOOP\r\n")
        log.sent(b"a OK Completed\r\n")
        log.end()
        (path,) = self.directory.iterdir()
        self.assertEqual(path.name, f"imap-{os.getpid()}")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        head, _, rest = path.read_bytes().partition(b"\n\n")
        self.assertRegex(head, rb"^---------- fred \w{3} \w{3} .\d .{8} 2023$")
        self.assertEqual(rest, b"<1700000000<a NOOP\r\n>1700000000>a OK Completed\r\n")

    def test_stamps(self) -> None:
        log = self.begin(self.telemetry(stamps=True))
        self.time += 1.25
        log.sent(b"x\r\n")
        self.assertEqual(self.text(), b">1700000001 +1.250>x\r\n")

    def test_only_who_has_a_directory(self) -> None:
        telemetry = self.telemetry()
        (self.root / "file").touch()
        for user in ("jane", "..", ".", "", "file", "fred/..", "../fred"):
            self.assertIsNone(telemetry.begin(user, "id"), user)

    def test_names(self) -> None:
        """One file for a process; sessions at the same time do not share one."""
        telemetry = self.telemetry()
        first, second = self.begin(telemetry), self.begin(telemetry)
        second.sent(b"2\r\n")
        first.end()
        self.begin(telemetry)
        pid = os.getpid()
        self.assertEqual({path.name for path in self.directory.iterdir()}, {f"imap-{pid}", f"imap-{pid}-2"})
        self.begin(self.telemetry(by_session=True))
        self.assertTrue((self.directory / "imap-id-1").exists())

    def test_links_are_not_followed(self) -> None:
        victim = self.root / "victim"
        (self.directory / f"imap-{os.getpid()}").symlink_to(victim)
        self.assertIsNone(self.telemetry().begin("fred", "id"))
        self.assertFalse(victim.exists())
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_a_full_disk_ends_the_copy_alone(self) -> None:
        log = SessionLog(os.open("/dev/full", os.O_WRONLY), lambda: None, lambda: NOW, stamps=False)
        log.sent(b"x")
        log.received(b"y\r\n")
        log.end()

    def test_bodies_stay(self) -> None:
        """Long lines, binary data, and lines that come in pieces are there as they came."""
        log = self.begin()
        pieces = [b"a APPEND x {20000}\r\n" + b"\0" * 10_000, b"\xff" * 10_000, b"\r", b"\nb NO", b"OP\r\n"]
        for piece in pieces:
            log.received(piece)
        log.end()
        self.assertEqual(re.sub(rb"<\d+<", b"", self.text()), b"".join(pieces))

    def test_limits_begin_and_end_it(self) -> None:
        """With the login, until the connection ends or becomes another's."""
        admission = ConnectionLimits(LimitSettings(), telemetry=self.telemetry()).connected("192.0.2.1", "id")
        self.assertIsNone(admission.log)
        admission.logged_in("fred")
        assert admission.log is not None
        log = admission.log
        log.sent(b"x\r\n")
        admission.logged_in("jane")
        log.sent(b"another's\r\n")
        self.assertIsNone(admission.log)
        self.assertEqual(self.text(), b">1700000000>x\r\n")
        admission.logged_in("fred")
        admission.close()
        self.assertIsNone(admission.log)


class SecretsTests(TelemetryCase):
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.sampled_from(SECRET_CONVERSATIONS), st.lists(st.integers(1, 30), max_size=6))
    def test_secrets(self, said: bytes, cuts: list[int]) -> None:
        """However a password comes, and in whatever pieces, it is not copied; what follows is."""
        log = self.begin()
        rest = said
        for cut in cuts:
            log.received(rest[:cut])
            log.sent(b"* OK\r\n")
            rest = rest[cut:]
        log.received(rest)
        log.end()
        text = self.text()
        self.assertNotIn(b"s3cret", re.sub(rb"<\d+<|>\d+>\* OK\r\n", b"", text))
        self.assertNotIn(b"s3cret", text)
        if said.endswith(b"b NOOP\r\n"):
            self.assertIn(b"b NOOP\r\n", text)
        for path in self.directory.iterdir():
            path.unlink()
