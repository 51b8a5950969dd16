"""Names of servers, as a directory may have them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.abstract import isIPv6Address
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import StoreUnavailable
from pycyrus.murder.servers.settings import DEFAULT_PORTS, Address, BackendSettings

SETTINGS = BackendSettings({"": ClientCredentials("proxy", password="secret")}, ports={("b:1", "pop3"): 7})


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for server, host, port in (
            ("b1.example.com", "b1.example.com", 143),
            ("b1.example.com.", "b1.example.com.", 143),
            ("b_1:1143", "b_1", 1143),
            ("192.0.2.1:9", "192.0.2.1", 9),
            ("2001:db8::1", "2001:db8::1", 143),
            ("[2001:db8::1]:9", "2001:db8::1", 9),
            ("[fe80::1%eth0]", "fe80::1%eth0", 143),
        ):
            self.assertEqual(SETTINGS.address(server, "imap"), Address(host, port))
        self.assertEqual(SETTINGS.address("b:1", "pop3").port, 7)
        self.assertEqual(SETTINGS.address("b/tls/noauth", "imap"), Address("b", 143, True, True))

    def test_logins_at_standard_ports(self) -> None:
        """A name without a port serves every protocol, whatever SASL calls that."""
        for service, port in DEFAULT_PORTS.items():
            self.assertEqual(SETTINGS.address("b1.example.com", service).port, port)
            exchange = SETTINGS.exchange("b1.example.com", service, "fred", ["PLAIN"], tls=False, may_be_clear=True)
            self.assertEqual(exchange.initial(), b"fred\0proxy\0secret", service)

    def test_none(self) -> None:
        """What nobody can look up is refused at once."""
        long = "x" * 64
        for server in ("", ":1", "b:0", "b:65536", "b:x", "b..c", f"{long}.example", f"{'x.' * 127}x", "b c", "b\n",
                       "\xff", "b\0", "[", "::1]:9:9x", "\u0661:1"):  # fmt: skip
            self.assertRaises(StoreUnavailable, SETTINGS.address, server, "imap")

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.text(max_size=80) | st.text("x.:[]-%/1", max_size=300))
    def test_any(self, server: str) -> None:
        """Whatever it is, it is refused, or a resolver takes it."""
        try:
            address = SETTINGS.address(server, "imap")
        except StoreUnavailable:
            return
        if not isIPv6Address(address.host):
            address.host.encode("idna")
        self.assertTrue(0 < address.port < 65536)
