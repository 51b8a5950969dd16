"""Logins that lean on TLS, over real connections: client certificates and channel binding."""

from __future__ import annotations

import datetime
import socket
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.mechanisms.scram import SHA1, SHA256
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.settings import ImapSettings
from pycyrus.model.names import ExternalNames, NamespaceSettings
from pycyrus.net.selfsigned import generate
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.pop3.protocol import Pop3Factory
from pycyrus.pop3.settings import Pop3Settings
from pycyrus.test.auth.parts import CACHE, IDENTITIES, KeyedChecker, at_once
from pycyrus.test.auth.test_mechanisms import keys_of
from pycyrus.test.pop3.driver import Server

T = TypeVar("T")


def client_certificate(directory: Path, user: str) -> tuple[Path, Path]:
    """A certificate that names a user and is its own authority, and its key."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user)])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    built = x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - day).not_valid_after(now + day)
    certificate, key = directory / "client.pem", directory / "client.key"
    certificate.write_bytes(built.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


class TlsLoginCase(TestCase):
    """IMAP and POP3 on ports of the loopback; clients are blocking, and live in threads."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        directory = Path(self.mktemp())
        directory.mkdir()
        self.certificate = directory / "cert.pem"
        generate(self.certificate, directory / "key.pem")
        self.client_files = client_certificate(directory, "alice")
        self.tls = ServerContext(
            TLSSettings(self.certificate, directory / "key.pem", client_ca_file=self.client_files[0])
        )
        keys = {("alice", name): keys_of(name, "secret") for name in ("SCRAM-SHA-1", "SCRAM-SHA-256")}
        checker = KeyedChecker({"alice": b"secret"}, keys)
        parts = Authentication(Clock(), CheckerChain([checker]), at_once, CACHE, DelaySettings(pause=0))
        self.authenticator = parts.authenticator(IDENTITIES, AuthSettings())
        self.backend = Server()

    def imap(self, *, implicit: bool = False) -> int:
        factory = ImapFactory(
            self.backend.store,
            self.authenticator,
            ImapSettings(),
            lambda identity: ExternalNames(NamespaceSettings(), identity),
            None,
            self.tls,
            self.reactor,
        )
        return self.listen(factory, implicit)

    def pop3(self, *, implicit: bool = False) -> int:
        parts = self.backend.factory.parts
        factory = Pop3Factory(
            parts.store, self.authenticator, parts.settings, parts.claims, None, self.tls, self.reactor
        )
        assert isinstance(parts.settings, Pop3Settings)
        return self.listen(factory, implicit)

    def listen(self, factory: Any, implicit: bool) -> int:
        port = listen_tcp(self.reactor, "127.0.0.1", 0, factory, tls=self.tls if implicit else None)

        async def close() -> None:
            await port.stopListening()
            while factory.sessions:
                turn: Deferred[None] = Deferred()
                self.reactor.callLater(0.01, turn.callback, None)
                await turn

        self.addCleanup(lambda: Deferred.fromCoroutine(close()))
        number: int = port.getHost().port
        return number

    def secured(self, sock: socket.socket, *, certified: bool) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=str(self.certificate))
        if certified:
            context.load_cert_chain(*self.client_files)
        return context.wrap_socket(sock, server_hostname="localhost")

    async def talk(self, port: int, work: Callable[[socket.socket], T]) -> T:
        def client() -> T:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                return work(sock)

        return await deferToThread(client)


def ask(sock: Any, command: bytes, end: bytes) -> bytes:
    """Send a command, and read until a line begins like the end of its answer."""
    sock.sendall(command)
    got = b""
    while not (got.endswith(b"\r\n") and any(line.startswith(end) for line in got.split(b"\r\n"))):
        data = sock.recv(4096)
        if not data:
            raise EOFError(got)
        got += data
    return got


class ExternalTests(TlsLoginCase):
    """EXTERNAL with a client certificate (RFC 4422 appendix A)."""

    async def test_imap(self) -> None:
        def work(sock: socket.socket) -> list[bytes]:
            ask(sock, b"", b"* OK")
            before = ask(sock, b"a CAPABILITY\r\n", b"a ")
            ask(sock, b"b STARTTLS\r\n", b"b OK")
            with self.secured(sock, certified=True) as secured:
                after = ask(secured, b"c CAPABILITY\r\n", b"c ")
                return [before, after, ask(secured, b"d AUTHENTICATE EXTERNAL =\r\n", b"d ")]

        before, after, result = await self.talk(self.imap(), work)
        self.assertNotIn(b"AUTH=EXTERNAL", before)
        self.assertIn(b"AUTH=EXTERNAL", after)
        self.assertIn(b"d OK", result)

    async def test_another_user(self) -> None:
        """A certificate opens only its own user's mailboxes."""

        def work(sock: socket.socket) -> bytes:
            with self.secured(sock, certified=True) as secured:
                ask(secured, b"", b"* OK")
                return ask(secured, b"a AUTHENTICATE EXTERNAL %b\r\n" % b64encode(b"bob"), b"a ")

        self.assertIn(b"a NO", await self.talk(self.imap(implicit=True), work))

    async def test_pop3(self) -> None:
        def work(sock: socket.socket) -> bytes:
            with self.secured(sock, certified=True) as secured:
                ask(secured, b"", b"+OK")
                self.assertIn(b"EXTERNAL", ask(secured, b"CAPA\r\n", b"."))
                return ask(secured, b"AUTH EXTERNAL =\r\n", b"")

        self.assertTrue((await self.talk(self.pop3(implicit=True), work)).startswith(b"+OK"))

    async def test_without_certificate(self) -> None:
        def work(sock: socket.socket) -> list[bytes]:
            with self.secured(sock, certified=False) as secured:
                greeting = ask(secured, b"", b"* OK")
                return [greeting, ask(secured, b"a AUTHENTICATE EXTERNAL =\r\n", b"a ")]

        greeting, result = await self.talk(self.imap(implicit=True), work)
        self.assertNotIn(b"AUTH=EXTERNAL", greeting)
        self.assertIn(b"a NO", result)


class BindingTests(TlsLoginCase):
    """SCRAM bound to the TLS channel (RFC 5802 section 6, RFC 9266) over TLS 1.3."""

    def client(self, sock: socket.socket) -> SSL.Connection:
        """TLS with a library that exports keying material."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(self.certificate))
        context.set_verify(SSL.VERIFY_PEER)
        sock.setblocking(True)
        connection = SSL.Connection(context, sock)
        connection.set_connect_state()
        connection.do_handshake()
        return connection

    def log_in(
        self, connection: Any, mechanism: str, password: str, binding: bytes, kind: bytes = b"tls-exporter"
    ) -> bytes:
        """What a client does, by the letter of RFC 5802 section 3."""
        function = SHA256 if "256" in mechanism else SHA1
        header, bare = b"p=%b,," % kind, b"n=alice,r=abc"
        ask(connection, b"a AUTHENTICATE %b\r\n" % mechanism.encode(), b"+")
        answer = b64decode(ask(connection, b64encode(header + bare) + b"\r\n", b"+")[2:])
        fields = dict(part.split(b"=", 1) for part in answer.split(b","))
        salted = pbkdf2_hmac(function.name, password.encode(), b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = function.sign(salted, b"Client Key")
        unproved = b"c=%b,r=%b" % (b64encode(header + binding), fields[b"r"])
        said = b",".join((bare, answer, unproved))
        signature = function.sign(function.digest(client_key), said)
        proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
        got = ask(connection, b64encode(unproved + b",p=" + b64encode(proof)) + b"\r\n", b"")
        if not got.startswith(b"+ "):
            return got
        server = b"v=" + b64encode(function.sign(function.sign(salted, b"Server Key"), said))
        self.assertEqual(b64decode(got[2:]), server)
        return ask(connection, b"\r\n", b"a ")

    async def bound(self, mechanism: str, password: str = "secret", *, spoil: bool = False) -> bytes:
        def work(sock: socket.socket) -> bytes:
            connection = self.client(sock)
            greeting = ask(connection, b"", b"* OK")
            self.assertIn(b"AUTH=%b" % mechanism.encode(), greeting)
            binding = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32)
            return self.log_in(connection, mechanism, password, bytes(32) if spoil else binding)

        return await self.talk(self.imap(implicit=True), work)

    async def test_bound(self) -> None:
        for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"):
            self.assertIn(b"a OK", await self.bound(mechanism))

    async def test_in_the_middle(self) -> None:
        """The right password over another TLS connection than the client's own is no login."""
        self.assertIn(b"a NO", await self.bound("SCRAM-SHA-256-PLUS", spoil=True))

    async def test_wrong_password(self) -> None:
        self.assertIn(b"a NO", await self.bound("SCRAM-SHA-256-PLUS", "wrong"))

    async def test_flags(self) -> None:
        """A flag that does not fit the mechanism, or tells that the list was changed, is refused at once."""
        cases = (
            (b"SCRAM-SHA-256", b"y,,", b"a NO"),
            (b"SCRAM-SHA-256", b"p=tls-exporter,,", b"a NO"),
            (b"SCRAM-SHA-256-PLUS", b"n,,", b"a NO"),
            (b"SCRAM-SHA-256-PLUS", b"p=tls-unique,,", b"a NO"),
            (b"SCRAM-SHA-256", b"n,,", b"+ "),
        )
        port = self.imap(implicit=True)
        for mechanism, header, answer in cases:

            def work(sock: socket.socket, mechanism: bytes = mechanism, header: bytes = header) -> bytes:
                connection = self.client(sock)
                ask(connection, b"", b"* OK")
                ask(connection, b"a AUTHENTICATE %b\r\n" % mechanism, b"+")
                return ask(connection, b64encode(header + b"n=alice,r=abc") + b"\r\n", b"")

            self.assertTrue((await self.talk(port, work)).startswith(answer), (mechanism, header))

    async def test_first_finished(self) -> None:
        """
        With TLS 1.2 a client may bind to the first Finished message (RFC 5929 section 3).

        It is the client's own when a session begins, and the server's when it is resumed.
        """
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        port = self.imap(implicit=True)
        sessions: list[ssl.SSLSession | None] = [None]

        def work(sock: socket.socket, *, spoil: bool = False) -> tuple[bool | None, bytes]:
            sock.setblocking(True)
            with context.wrap_socket(sock, server_hostname="localhost", session=sessions[-1]) as secured:
                ask(secured, b"", b"* OK")
                sessions.append(secured.session)
                binding = secured.get_channel_binding("tls-unique") or b""
                sent = bytes(len(binding)) if spoil else binding
                answer = self.log_in(secured, "SCRAM-SHA-256-PLUS", "secret", sent, b"tls-unique")
                return secured.session_reused, answer

        for resumed in (False, True):
            was_resumed, answer = await self.talk(port, work)
            self.assertEqual((was_resumed, answer[:4]), (resumed, b"a OK"))
        _, answer = await self.talk(port, lambda sock: work(sock, spoil=True))
        self.assertIn(b"a NO", answer)
