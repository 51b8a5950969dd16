"""Connection limits and session ids."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import LimitExceeded
from pycyrus.net import session_id
from pycyrus.net.limits import ConnectionLimits, LimitSettings


class ConnectionLimitsTests(SynchronousTestCase):
    def test_per_address(self) -> None:
        """One host cannot keep others out, and gets its places back."""
        limits = ConnectionLimits(LimitSettings(per_address=2))
        first, _ = limits.connected("192.0.2.1"), limits.connected("192.0.2.1")
        error = self.assertRaises(LimitExceeded, limits.connected, "192.0.2.1")
        self.assertEqual(error.reason, "Too many open connections from your address")
        limits.connected("192.0.2.2")
        first.close()
        first.close()
        limits.connected("192.0.2.1")
        self.assertRaises(LimitExceeded, limits.connected, "192.0.2.1")

    def test_ipv6_prefix(self) -> None:
        """A /64 counts as one; an IPv4 address written as IPv6 counts as itself."""
        limits = ConnectionLimits(LimitSettings(per_address=1))
        limits.connected("2001:db8::1")
        self.assertRaises(LimitExceeded, limits.connected, "2001:db8::ffff:2")
        limits.connected("2001:db8:0:1::1")
        limits.connected("::ffff:192.0.2.1")
        self.assertRaises(LimitExceeded, limits.connected, "192.0.2.1")

    def test_total_and_before_login(self) -> None:
        """Connections that never log in do not take the places of those that do."""
        limits = ConnectionLimits(LimitSettings(total=3, before_login=2))
        first, second = limits.connected(""), limits.connected("")
        self.assertRaises(LimitExceeded, limits.connected, "")
        first.logged_in("fred")
        third = limits.connected("")
        self.assertRaises(LimitExceeded, limits.connected, "")
        for admission in (first, second, third):
            admission.close()
        self.assertEqual((limits.total, limits.before_login), (0, 0))

    def test_per_user(self) -> None:
        """The limit of one user is no other's; logging out gives the place back."""
        limits = ConnectionLimits(LimitSettings(per_user=1))
        first, second = limits.connected("a"), limits.connected("b")
        first.logged_in("fred")
        self.assertRaises(LimitExceeded, second.logged_in, "fred")
        self.assertEqual(limits.before_login, 1)
        second.logged_in("mary")
        first.logged_out()
        second.logged_in("fred")
        self.assertRaises(LimitExceeded, first.logged_in, "fred")
        first.logged_in("mary")

    def test_shared_by_workers(self) -> None:
        """Each of several processes gets its part, never nothing."""
        self.assertEqual(LimitSettings(10, 0, 1, 3).shared_by(4), LimitSettings(3, 0, 1, 1))
        self.assertEqual(LimitSettings(10).shared_by(0), LimitSettings(10))


class SessionIdTests(SynchronousTestCase):
    def test_form(self) -> None:
        """Prefix, time, process, count, and 64 random bits; never twice."""
        first, second = session_id.make("mail.example.com"), session_id.make("mail.example.com")
        self.assertRegex(first, r"\Amail\.example\.com-\d+-\d+-\d+-\d+\Z")
        self.assertNotEqual(first, second)
