"""TLS around logins: what comes in before it, and client certificates at every service."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.threads import deferToThread

from pycyrus.auth.authenticator import AuthSettings
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.test.auth.services import ServiceCase
from pycyrus.test.auth.test_tls_logins import ask, client_certificate
from pycyrus.testing.programs import find_program, run

T = TypeVar("T")


class StartTlsTests(ServiceCase):
    """RFC 2595 section 4, RFC 3207 section 4.2: what somebody in the middle says in the client's name is not heard."""

    async def talk(self, port: int, work: Callable[[socket.socket], T]) -> T:
        def client() -> T:
            with socket.create_connection(("localhost", port), 10) as sock:
                return work(sock)

        return await deferToThread(client)

    def secured(self, sock: socket.socket) -> ssl.SSLSocket:
        return ssl.create_default_context(cafile=str(self.certificate)).wrap_socket(sock, server_hostname="localhost")

    async def test_pop3(self) -> None:
        port = self.pop3(AuthSettings(allow_plaintext=True))

        def work(sock: socket.socket) -> list[bytes]:
            ask(sock, b"", b"+OK")
            ask(sock, b"USER alice\r\n", b"+OK")
            ask(sock, b"STLS\r\nCAPA\r\nUSER alice\r\nPASS secret\r\n", b"+OK")
            with self.secured(sock) as secured:
                # Neither the name from before nor the commands from the middle count.
                return [ask(secured, b"PASS secret\r\n", b"-ERR"), ask(secured, b"STAT\r\n", b"-ERR")]

        first, second = await self.talk(port, work)
        self.assertEqual(first, b"-ERR [AUTH] Must give USER command\r\n")
        self.assertEqual(second.count(b"\r\n"), 1)

    async def test_lmtp(self) -> None:
        port = self.lmtp(AuthSettings())

        def work(sock: socket.socket) -> list[bytes]:
            ask(sock, b"", b"220")
            ask(sock, b"LHLO before\r\n", b"250 ")
            ask(sock, b"STARTTLS\r\nLHLO middle\r\nNOOP\r\n", b"220")
            with self.secured(sock) as secured:
                # Who the client said it was in the clear is forgotten too.
                return [ask(secured, b"MAIL FROM:<>\r\n", b""), ask(secured, b"LHLO after\r\n", b"250 ")]

        first, second = await self.talk(port, work)
        self.assertEqual(first.count(b"\r\n"), 1)
        self.assertNotIn(b"STARTTLS", second)
        self.assertEqual(second.count(b"250 "), 1)


class CertificateTests(ServiceCase):
    """EXTERNAL with the client's certificate, shown by the clients of Cyrus."""

    def certified(self, user: str) -> Path:
        """A certificate and key in one file, as C{imtest -t} wants them; it is trusted from now on."""
        directory = self.directory / user
        directory.mkdir()
        certificate, key = client_certificate(directory, user)
        both = directory / "both.pem"
        both.write_bytes(certificate.read_bytes() + key.read_bytes())
        self.authorities = getattr(self, "authorities", b"") + certificate.read_bytes()
        path = self.directory / "authorities.pem"
        path.write_bytes(self.authorities)
        self.tls = ServerContext(TLSSettings(self.certificate, self.directory / "key.pem", client_ca_file=path))
        return both

    async def tried(self, program: str, port: int, certificate: Path, user: str, end: bytes) -> str:
        command: list[Any] = [find_program(program), "-t", certificate, "-m", "EXTERNAL", "-u", user, "-p", str(port)]
        return await self.elsewhere(lambda: run([*command, "localhost"], status=None, given=end, timeout=30))

    async def test_all_protocols(self) -> None:
        admin, alice = self.certified("admin"), self.certified("alice")
        stranger = self.directory / "stranger"
        stranger.mkdir()
        foreign, key = client_certificate(stranger, "admin")
        (stranger / "both.pem").write_bytes(foreign.read_bytes() + key.read_bytes())
        imap, pop3, lmtp = (
            start(AuthSettings(admins_only=is_lmtp))
            for start, is_lmtp in ((self.imap, False), (self.pop3, False), (self.lmtp, True))
        )
        for program, port, certificate, user, expected in (
            ("imtest", imap, alice, "alice", True),
            ("imtest", imap, alice, "admin", False),
            ("imtest", imap, admin, "alice", True),
            ("pop3test", pop3, alice, "alice", True),
            ("lmtptest", lmtp, admin, "admin", True),
            ("lmtptest", lmtp, alice, "alice", False),
            ("lmtptest", lmtp, stranger / "both.pem", "admin", False),
        ):
            said = await self.tried(program, port, certificate, user, b"QUIT\r\n. LOGOUT\r\n")
            self.assertEqual("Authenticated." in said, expected, (program, user, said))
