"""saslauthd: its protocol, with a daemon of our own that does anything, and the real one before a real directory."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from typing_extensions import override

from pycyrus.auth.checkers.saslauthd import LONGEST_FIELD, SaslauthdChecker, SaslauthdCheckerFactory, question
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.interfaces import CheckerContext
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.test.auth.parts import at_once
from pycyrus.testing.ldap_trees import PASSWORD
from pycyrus.testing.programs import find_program
from pycyrus.testing.slapd import Slapd


class Daemon(Protocol):
    """Answers as its factory says."""

    factory: DaemonFactory

    @override
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.factory.asked += data
        for part in self.factory.answer:
            self.transport.write(part)
        if self.factory.hangs_up:
            self.transport.loseConnection()

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.gone.callback(None)


class DaemonFactory(Factory):
    protocol = Daemon  # type: ignore[assignment] # which protocols have a factory, Twisted cannot say

    def __init__(self) -> None:
        self.asked = b""
        self.answer: list[bytes] = []
        self.hangs_up = True
        self.gone: Deferred[None] = Deferred()


class SocketCase(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = str(self.directory / "mux")

    async def check(self, user: str, password: bytes = b"secret", wait: float = 20.0) -> object:
        checker = SaslauthdChecker(self.path, self.reactor, wait)
        return await checker.requestAvatarId(MailPassword(user, password, "imaps", "192.0.2.1"))

    def accepts(self) -> bool:
        """Whether somebody accepts connections: a socket has its name before it listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(self.path) == 0


class ProtocolTests(SocketCase):
    async def answered(self, *parts: bytes, hangs_up: bool = True, wait: float = 20.0) -> object:
        """What becomes of an answer."""
        self.daemon = DaemonFactory()
        self.daemon.answer, self.daemon.hangs_up = list(parts), hangs_up
        port = self.reactor.listenUNIX(self.path, self.daemon)
        try:
            return await self.check("fred@example.com", wait=wait)
        finally:
            await self.daemon.gone
            await port.stopListening()

    async def test_answers(self) -> None:
        """OK and NO, whole or in parts, with a text or without; anything else cannot be told."""
        self.assertEqual(await self.answered(b"\0\x02OK"), b"fred@example.com")
        self.assertEqual(self.daemon.asked, b"\0\4fred\0\6secret\0\4imap\0\x0bexample.com")
        self.assertEqual(await self.answered(b"\0", b"\x0aO", b"K success"), b"fred@example.com")
        for answer in (b"\0\x02NO", b"\0\x09NO denied"):
            with self.assertRaises(UnauthorizedLogin):
                await self.answered(answer)
        for answer in (b"", b"\0", b"\0\x05OK", b"\0\0", b"\0\x01O", b"\0\x02ok", b"\0\x02XX", b"\xff\xffOK"):
            with self.assertRaises(AuthenticationUnavailable, msg=repr(answer)):
                await self.answered(answer)
        self.flushLoggedErrors()

    async def test_silence(self) -> None:
        """A daemon that does not answer is given up, and its connection closed."""
        with self.assertRaises(AuthenticationUnavailable):
            await self.answered(hangs_up=False, wait=0.05)

    async def test_nobody_there(self) -> None:
        """Likewise one that is not there."""
        with self.assertRaises(AuthenticationUnavailable):
            await self.check("fred")


class QuestionTests(SynchronousTestCase):
    def test_address(self) -> None:
        """A fifth field for daemons that wait for one, if options say so; it is there even if nothing is known."""
        self.assertEqual(question("fred", b"x", "imap", "2001:db8::1")[-15:], b"\0\x0d2001:db8::1;0")
        self.assertEqual(question("fred", b"x", "imap", ""), question("fred", b"x", "imap") + b"\0\0")
        for text, tells in (("yes", True), ("no", False)):
            context = CheckerContext(Path(), {"sasl_saslauthd_client_address": text}, at_once)
            self.assertEqual(SaslauthdCheckerFactory().make_checker(context).tells_address, tells)

    def test_services(self) -> None:
        """Names in cyrus.conf become those of SASL, which PAM's files have."""
        for service, name in (("imap", b"imap"), ("imaps", b"imap"), ("pop3s", b"pop"), ("lmtpunix", b"lmtp")):
            self.assertTrue(question("fred", b"x", service).endswith(b"\0\4fred\0\1x\0%c%b\0\0" % (len(name), name)))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(max_size=300), st.binary(max_size=300))
    def test_anything(self, user: str, password: bytes) -> None:
        """Four fields as they were given, or nothing at all."""
        try:
            asked = question(user, password, "imap")
        except ValueError:
            return
        fields = []
        while asked:
            length = int.from_bytes(asked[:2], "big")
            self.assertLessEqual(length, LONGEST_FIELD)
            fields.append(asked[2 : 2 + length])
            asked = asked[2 + length :]
        login, given_password, _, realm = fields
        self.assertEqual(given_password, password)
        self.assertIn(user, (login.decode(), f"{login.decode()}@{realm.decode()}"))


class RealDaemonTests(SocketCase):
    async def test_logins(self) -> None:
        """The daemon itself, with a directory behind it."""
        program = find_program("saslauthd")
        directory = self.directory / "slapd"
        directory.mkdir()
        slapd = Slapd(directory)
        slapd.start()
        self.addCleanup(slapd.stop)
        await deferToThread(slapd.load, "ad")
        (self.directory / "conf").write_text(
            f"ldap_servers: {slapd.uri}\nldap_search_base: cn=Users,dc=ad\nldap_filter: (sAMAccountName=%u)\n"
            f"ldap_bind_dn: cn=admin,dc=ad\nldap_password: {PASSWORD}\nldap_timeout: 60\n"
        )
        conf = str(self.directory / "conf")
        command = [str(program), "-d", "-a", "ldap", "-O", conf, "-m", str(self.directory), "-n", "1"]
        # In a session of its own: at its end it ends its whole process group.
        daemon = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.terminate)
        while not self.accepts():
            self.assertIsNone(daemon.poll())
            await deferLater(self.reactor, 0.01)
        self.assertEqual(await self.check("alice@ad.example"), b"alice@ad.example")
        for user, password in (("alice", b"wrong"), ("nobody", b"secret"), ("alice", b"x" * 300)):
            with self.assertRaises(UnauthorizedLogin):
                await self.check(user, password)
