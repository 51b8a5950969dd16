"""Clients with the SASL libraries of others, Cyrus's and GNU's: every mechanism, every protocol."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pycyrus.auth.authenticator import AuthSettings
from pycyrus.test.auth.services import ServiceCase
from pycyrus.testing.programs import find_program, run

ALL = (
    "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "DIGEST-MD5", "CRAM-MD5", "PLAIN",
    "LOGIN", "ANONYMOUS",
)  # fmt: skip
OPEN = AuthSettings(mechanisms=ALL, allow_plaintext=True, anonymous=True)
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "DIGEST-MD5", "CRAM-MD5", "PLAIN", "LOGIN")
AT_IMAP = MECHANISMS[:-1]
"""C{imtest -m LOGIN} means the command."""

ALICE = ("-a", "alice", "-u", "alice", "-w", "secret")
ADMIN = ("-a", "admin", "-u", "admin", "-w", "root")


class CyrusClientTests(ServiceCase):
    """What C{imtest}, C{pop3test} and C{lmtptest} say of it."""

    async def tried(self, program: str, port: int, options: Sequence[str], end: bytes = b"") -> str:
        found = find_program(program)
        command: list[str | Path] = [found, "-p", str(port), *options, "localhost"]
        return await self.elsewhere(lambda: run(command, status=None, given=end, timeout=30))

    async def test_imap(self) -> None:
        port = self.imap(OPEN)
        for mechanism in AT_IMAP:
            said = await self.tried("imtest", port, ["-m", mechanism, *ALICE], b". LOGOUT\r\n")
            self.assertIn(f"AUTHENTICATE {mechanism}", said)
            self.assertIn("Authenticated.", said)
            wrong = await self.tried("imtest", port, ["-m", mechanism, *ALICE[:-1], "wrong"], b". LOGOUT\r\n")
            self.assertIn("Authentication failed", wrong)
            self.assertNotIn("Authenticated.", wrong)

    async def test_under_tls(self) -> None:
        port = self.imap(AuthSettings(mechanisms=ALL))
        for mechanism in AT_IMAP:
            said = await self.tried("imtest", port, ["-t", "", "-m", mechanism, *ALICE], b". LOGOUT\r\n")
            self.assertIn("TLS connection established", said)
            self.assertIn(f"AUTHENTICATE {mechanism}", said)
            self.assertIn("Authenticated.", said)

    async def test_acting_as_another(self) -> None:
        """An administrator may, another user may not, with each mechanism that can say so."""
        port = self.imap(OPEN)
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "DIGEST-MD5"):
            options = ["-m", mechanism, "-a", "admin", "-u", "alice", "-w", "root"]
            self.assertIn("Authenticated.", await self.tried("imtest", port, options, b". LOGOUT\r\n"))
            options = ["-m", mechanism, "-a", "alice", "-u", "admin", "-w", "secret"]
            self.assertIn("Authentication failed", await self.tried("imtest", port, options, b". LOGOUT\r\n"))

    async def test_realm(self) -> None:
        """A user of a domain, and the realm of DIGEST-MD5."""
        options = ["-m", "DIGEST-MD5", "-a", "alice@example.com", "-u", "alice@example.com", "-w", "other"]
        self.assertIn("Authenticated.", await self.tried("imtest", self.imap(OPEN), options, b". LOGOUT\r\n"))

    async def test_pop3(self) -> None:
        port = self.pop3(AuthSettings(mechanisms=ALL, allow_plaintext=True, services=frozenset({b"pop"})))
        for mechanism in (*MECHANISMS, "APOP"):
            said = await self.tried("pop3test", port, ["-m", mechanism, *ALICE], b"QUIT\r\n")
            self.assertIn("Authenticated.", said, mechanism)
            wrong = await self.tried("pop3test", port, ["-m", mechanism, *ALICE[:-1], "wrong"], b"QUIT\r\n")
            self.assertIn("Authentication failed", wrong, mechanism)

    async def test_lmtp(self) -> None:
        port = self.lmtp(
            AuthSettings(mechanisms=ALL, allow_plaintext=True, admins_only=True, services=frozenset({b"lmtp"}))
        )
        for mechanism in MECHANISMS:
            said = await self.tried("lmtptest", port, ["-m", mechanism, *ADMIN], b"QUIT\r\n")
            self.assertIn("Authenticated.", said, mechanism)
            said = await self.tried("lmtptest", port, ["-m", mechanism, *ALICE], b"QUIT\r\n")
            self.assertIn("Authentication failed", said, mechanism)


class GnuClientTests(ServiceCase):
    """C{gsasl} has another library for SASL, and another for TLS."""

    async def test_bound(self) -> None:
        """SCRAM binds to TLS 1.3 by one kind of binding, and to TLS 1.2 by the other."""
        program = find_program("gsasl")
        port = self.imap(AuthSettings(mechanisms=ALL))
        for priority in ("NORMAL:-VERS-TLS1.3", "NORMAL"):
            for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
                for password, expected in (("secret", "Success (tls protection)"), ("wrong", ". NO")):
                    command: list[str | Path] = [
                        program, "--imap", "--connect", f"localhost:{port}", "--mechanism", mechanism,
                        "--authentication-id", "alice", "--authorization-id", "alice", "--password", password,
                        f"--x509-ca-file={self.certificate}", f"--priority={priority}",
                    ]  # fmt: skip
                    said = await self.elsewhere(partial(run, command, status=None, timeout=30))
                    self.assertIn(expected, said, (priority, mechanism, password))
