"""Claims of maildrops, between processes and in time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import IMaildropClaims, LoginTooSoon
from pycyrus.store.maildrops import MaildropClaims

HOLDER = """
import sys
from pathlib import Path
from pycyrus.store.maildrops import MaildropClaims
held = MaildropClaims(Path(sys.argv[1])).claim("abc", 0, 1)
print("claimed" if held else "taken", flush=True)
sys.stdin.read()
"""


class ClaimTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.directory = Path(self.mktemp())
        self.claims = MaildropClaims(self.directory, lambda: self.now)

    def take(self, delay: float = 0.0, burst: int = 1) -> bool:
        """Claim, and give back at once."""
        release = self.claims.claim("abc", delay, burst)
        if release is not None:
            release()
        return release is not None

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IMaildropClaims, self.claims))

    def test_one_at_a_time(self) -> None:
        release = self.claims.claim("abc", 0, 1)
        assert release is not None
        self.assertIsNone(self.claims.claim("abc", 0, 1))
        other = self.claims.claim("abd", 0, 1)
        assert other is not None
        other()
        release()
        self.assertTrue(self.take())

    def test_a_process_that_dies_lets_go(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(self.directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            self.assertEqual(holder.stdout.readline(), b"claimed\n")
            self.assertFalse(self.take())
            holder.kill()
            holder.wait()
        self.assertTrue(self.take())

    def test_delay(self) -> None:
        """One session, and then one after each delay."""
        self.assertTrue(self.take(60))
        self.assertRaises(LoginTooSoon, self.take, 60)
        self.now += 59
        self.assertRaises(LoginTooSoon, self.take, 60)
        self.now += 1
        self.assertTrue(self.take(60))

    def test_burst(self) -> None:
        """Several in a row are forgiven, and come back one by one."""
        for _ in range(3):
            self.assertTrue(self.take(60, 3))
        self.assertRaises(LoginTooSoon, self.take, 60, 3)
        self.now += 60
        self.assertTrue(self.take(60, 3))
        self.assertRaises(LoginTooSoon, self.take, 60, 3)

    def test_clock_set_back(self) -> None:
        """Nobody waits longer than the delay."""
        self.assertTrue(self.take(60))
        self.now -= 100_000
        self.assertRaises(LoginTooSoon, self.take, 60)
        self.now += 60
        self.assertTrue(self.take(60))

    def test_names(self) -> None:
        """A unique id is never a path."""
        for name in ("", "../x", "a/b", "."):
            self.assertRaises(StoreUnavailable, self.claims.claim, name, 0, 1)
