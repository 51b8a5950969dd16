"""Very many connections, and very slow ones."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.settings import ImapSettings
from pycyrus.test.abuse.case import TIGHT, AbuseCase, Wire
from pycyrus.testing.imap import ImapServer

MEGABYTE = 1 << 20
HALF_OPEN = (
    b"",
    b"a LOG",
    b"a" * 8000,
    b"a LOGIN {4096+}\r\n" + b"x" * 4096 + b" {4096+}\r\n" + b"x" * 4000,
    b"a AUTHENTICATE PLAIN\r\n" + b"A" * 12_000,
)
BROKEN_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100


class SlowSenderTests(SynchronousTestCase):
    """Clients that never come to the point."""

    def test_an_octet_each_ten_seconds(self) -> None:
        """Abuse case 13: who has not logged in after a minute is sent away, however lively."""
        for opening in (b"", b"a AUTHENTICATE PLAIN\r\n", b"a LOGIN {4000}\r\n", b"a LOGIN {4000+}\r\n"):
            server = ImapServer(ImapSettings(login_timeout=60))
            self.addCleanup(server.close)
            client = server.connect()
            client.send(opening)
            client.receive()
            for _ in range(5):
                client.send(b"x")
                server.advance(10)
                self.assertFalse(client.is_closed)
            client.send(b"x")
            server.advance(10)
            self.assertTrue(client.is_closed)
            self.assertTrue(client.receive().startswith(b"* BYE"))
            self.assertEqual(server.clock.getDelayedCalls(), [])


class AddressCase(AbuseCase):
    """Has clients of several addresses."""

    def from_address(self, address: str, service: str = "imap") -> Wire:
        """Connect from another address of this host."""
        entry = self.server.ready["services"][service]
        wire = Wire(socket.create_connection((entry["host"], entry["port"]), source_address=(address, 0)))
        self.addCleanup(wire.close)
        return wire


class HalfOpenTests(AddressCase):
    """Connections that begin a login, or a handshake, and stop there."""

    # Those of the other tests must still be there when the last one comes, on a slow machine too.
    arguments = (*TIGHT, "--option", "login_timeout=4s")

    def test_by_the_hundred(self) -> None:
        """Abuse case 13: they cost little memory and nobody's time, and are closed in the end."""
        with self.bounded_memory(48 * MEGABYTE):
            wires = []
            for number in range(120):
                wire = self.from_address("127.0.0.3", "imaps" if number % 4 == 3 else "imap")
                wire.send(BROKEN_HELLO if number % 8 == 7 else HALF_OPEN[number % 5] if number % 4 != 3 else b"")
                wires.append(wire)
            with self.others_served():
                for wire in wires:
                    self.assertNotIn(b" OK Completed", wire.rest())
                    wire.close()


class ManyTests(AddressCase):
    """More connections than there may be."""

    arguments = TIGHT

    def test_of_one_address(self) -> None:
        """Abuse case 14: one address has its limit; others are served."""
        wires = [self.from_address("127.0.0.4") for _ in range(200)]
        for wire in wires:
            self.assertTrue(wire.line().startswith(b"* OK"))
        for _ in range(20):
            self.assertIn(b"* BYE", self.from_address("127.0.0.4").rest())
        self.assertTrue(self.user().command(b"NOOP").startswith(b"t OK"))
        # LMTP counts for itself.
        self.assertTrue(self.connect("lmtp").say(b"LHLO x").startswith(b"250"))
        for wire in wires:
            wire.close()

    def test_before_the_login(self) -> None:
        """Abuse case 14: those that have not logged in are limited in all; those that have go on."""
        first = self.user()
        wires = [self.from_address(f"127.0.1.{number % 3}") for number in range(310)]
        ended = [wire for wire in wires if wire.line().startswith(b"* BYE")]
        self.assertGreaterEqual(len(ended), 10)
        self.assertTrue(first.command(b"NOOP").startswith(b"t OK"))
        for wire in wires:
            wire.close()

    def test_of_one_user(self) -> None:
        """Abuse case 14: one user has a limit; others log in, from the same address."""
        wires = [self.user() for _ in range(20)]
        wire = self.connect()
        login = self.server.account("user")
        answer = wire.command(f"LOGIN {login.user} {login.password}".encode())
        self.assertTrue(answer.startswith(b"t NO [LIMIT]"), answer)
        self.assertTrue(self.user(role="admin").command(b"NOOP").startswith(b"t OK"))
        # A session that ends makes room.
        wires[0].command(b"LOGOUT")
        wires[0].rest()
        self.assertTrue(self.user().command(b"NOOP").startswith(b"t OK"))


class SlowReaderTests(AbuseCase):
    """Clients that ask for much and read little."""

    def test_of_fifty_megabytes(self) -> None:
        """Abuse case 13: what they do not read stays on the disk; they get it when they read."""
        line = b"x" * 76 + b"\r\n"
        message = b"Subject: large\r\n\r\n" + line * 130_000
        wire = self.user()
        wire.command(b"CREATE large")
        for _ in range(5):
            wire.send_aside(b"a APPEND large {%d+}\r\n%b\r\n" % (len(message), message))
            self.assertTrue(wire.line().startswith(b"a OK"))
        with self.bounded_memory(48 * MEGABYTE), self.others_served():
            readers = []
            for service in ("imap", "imaps") * 8:
                reader = self.user(service)
                reader.command(b"SELECT large")
                reader.send(b"a UID FETCH 1:* BODY.PEEK[]\r\n")
                readers.append(reader)
            for reader in readers:
                self.assertTrue(reader.line().startswith(b"* 1 FETCH"))
            for reader in (readers[0], readers[1]):
                self.assertGreater(reader.drain(b"\r\na OK"), 50_000_000)
            for reader in readers:
                reader.close()
        wire.command(b"DELETE large")
