"""TLS contexts, and TLS on the lean connection."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import shutil
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IPushProducer, ISSLTransport
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pycyrus.net import selfsigned
from pycyrus.net.session_keys import LIFETIME, SessionKeys
from pycyrus.net.tls import ServerContext, TLSConfigurationError, TLSSettings
from pycyrus.test.net.server import Recorder, ServerTestCase, read_all, read_exactly

T = TypeVar("T")

reactor: Any = installed
DER = serialization.Encoding.DER
BLOB = random.Random(9).randbytes(3_000_000)


class Files:
    """Certificates for a test case, in a directory of its own."""

    def __init__(self, case: Any) -> None:
        self.directory = Path(case.mktemp())
        self.directory.mkdir(parents=True)
        self.certificate = self.directory / "cert.pem"
        self.key = self.directory / "key.pem"
        selfsigned.generate(self.certificate, self.key)

    def settings(self, **changes: Any) -> TLSSettings:
        return TLSSettings(**{"certificate": self.certificate, "key": self.key, **changes})

    def write(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path


def issue(days: int, key: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate that ends so many days from now."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = built.not_valid_before(now - datetime.timedelta(days=40))
    return (
        built.not_valid_after(now + datetime.timedelta(days=days))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


class ContextTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files = Files(self)

    def refuse(self, **changes: Any) -> str:
        return str(self.assertRaises(TLSConfigurationError, ServerContext, self.files.settings(**changes)))

    def test_interface(self) -> None:
        """Twisted can use it."""
        verifyObject(IOpenSSLServerConnectionCreator, ServerContext(self.files.settings()))

    def test_missing_file(self) -> None:
        """The message names option, file, and what to do."""
        message = self.refuse(certificate=Path("/nonexistent/cert.pem"))
        self.assertIn("tls_server_cert: cannot read /nonexistent/cert.pem", message)
        self.assertIn("must be able to read it", message)

    def test_not_pem(self) -> None:
        """Files with something else in them are named."""
        path = self.files.write("other.pem", b"hello\n")
        self.assertIn("other.pem holds no certificate", self.refuse(certificate=path))
        self.assertIn("other.pem holds no private key", self.refuse(key=path))
        self.assertIn("other.pem holds no certificate", self.refuse(chain=path))

    def test_wrong_key(self) -> None:
        """A key that belongs to another certificate is refused at start."""
        other = Files(self)
        self.assertIn("does not belong", self.refuse(key=other.key))

    def test_passphrase(self) -> None:
        """Nobody is asked for one."""
        data = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
        self.assertIn("has a passphrase", self.refuse(key=self.files.write("locked.pem", data)))

    def test_key_in_certificate_file(self) -> None:
        """One file may hold both."""
        both = self.files.write("both.pem", self.files.certificate.read_bytes() + self.files.key.read_bytes())
        ServerContext(TLSSettings(certificate=both))

    def test_bad_values(self) -> None:
        """Versions, ciphers and the client certificate mode are checked."""
        self.assertIn("'tls1_9' is none of tls1_0", self.refuse(versions=frozenset({"tls1_9"})))
        self.assertIn("at least one", self.refuse(versions=frozenset()))
        self.assertIn("tls_ciphers: 'NOPE'", self.refuse(ciphers="NOPE"))
        self.assertIn("'maybe' is none of", self.refuse(client_certificates="maybe"))
        self.assertIn("needs tls_client_ca_file", self.refuse(client_certificates="require"))
        self.assertIn("is no directory", self.refuse(client_ca_directory=Path("/nonexistent")))

    def test_expired(self) -> None:
        """An expired certificate is used, with a warning."""
        for days, text in ((-1, "expired"), (3, "expires")):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self.files.write("old.pem", issue(days, key))
            key_file = self.files.write(
                "old.key",
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
            events: list[Any] = []
            globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type] # any callable will do
            try:
                ServerContext(self.files.settings(certificate=certificate, key=key_file))
            finally:
                globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type] # likewise
            self.assertIn(text, events[0]["log_format"])

    def test_reload_keeps_what_works(self) -> None:
        """A reload that fails leaves the old context in use."""
        context = ServerContext(self.files.settings())
        before = context._context
        self.files.certificate.write_bytes(b"broken")
        self.assertRaises(TLSConfigurationError, context.reload)
        self.assertIs(context._context, before)

    def test_self_signed_files(self) -> None:
        """The key is private; the certificate is for localhost and 127.0.0.1."""
        self.assertEqual(self.files.key.stat().st_mode & 0o777, 0o600)
        certificate = x509.load_pem_x509_certificate(self.files.certificate.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost"])
        self.assertIn("127.0.0.1", [str(address) for address in names.get_values_for_type(x509.IPAddress)])
        self.assertEqual(sorted(os.listdir(self.files.directory)), ["cert.pem", "key.pem"])


class TLSConnectionTests(ServerTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.files = Files(self)
        self.context = ServerContext(self.files.settings())

    def secure(self, sock: socket.socket, **options: Any) -> ssl.SSLSocket:
        """A client that trusts the server's certificate and checks its name."""
        context = ssl.create_default_context(cafile=str(self.files.certificate))
        for name, value in options.items():
            setattr(context, name, value)
        return context.wrap_socket(sock, server_hostname="127.0.0.1")

    def tls_client(self, port: Any, talk: Callable[[ssl.SSLSocket], T]) -> Any:
        def run(sock: socket.socket) -> T:
            with self.secure(sock) as secured:
                return talk(secured)

        return self.client(port, run)

    async def test_tls_from_the_start(self) -> None:
        """The greeting is encrypted; the protocol sees the same transport with TLS on."""
        seen: list[bool] = []

        def greet(protocol: Recorder) -> None:
            seen.append(ISSLTransport.providedBy(protocol.transport))
            self.assertIsNone(protocol.transport.client_certificate())
            protocol.transport.write(b"hello")

        self.on_connect = greet
        self.on_data = lambda protocol, data: protocol.transport.write(b"<" + data + b">")

        def talk(sock: ssl.SSLSocket) -> bytes:
            sock.sendall(b"ping")
            return read_exactly(sock, 11)

        self.assertEqual(await self.tls_client(self.listen(tls=self.context), talk), b"hello<ping>")
        self.assertEqual(seen, [True])

    async def test_order_under_tls(self) -> None:
        """Octets and file regions, small and large, arrive in order; then the TLS connection is closed cleanly."""
        file = self.file(BLOB)

        def produce(protocol: Recorder, data: bytes) -> None:
            transport = protocol.transport
            for number in range(30):
                transport.write(b"(%d" % number)
                transport.send_file(file.fileno(), number, 100)
                transport.send_file(file.fileno(), number, 200_000)
                transport.write(b")")
            transport.loseConnection()

        self.on_data = produce
        expected = b"".join(
            b"(%d" % number + BLOB[number : number + 100] + BLOB[number : number + 200_000] + b")"
            for number in range(30)
        )

        def talk(sock: ssl.SSLSocket) -> bytes:
            sock.sendall(b"go")
            return read_all(sock)

        self.assertEqual(await self.tls_client(self.listen(tls=self.context), talk), expected)

    async def test_large_file_is_not_read_into_memory(self) -> None:
        """What waits under TLS stays a file region until it is its turn."""
        file = self.file(b"")
        os.ftruncate(file.fileno(), 30_000_000)
        lengths: list[int] = []

        def produce(protocol: Recorder, data: bytes) -> None:
            protocol.transport.send_file(file.fileno(), 0, 30_000_000)
            lengths.append(protocol.transport._queued)

        self.on_data = produce
        reads: list[int] = []
        real = os.pread

        def pread(fd: int, length: int, offset: int) -> bytes:
            reads.append(self.protocols[0].transport._queued)
            return real(fd, length, offset)

        self.patch(os, "pread", pread)

        def talk(sock: ssl.SSLSocket) -> int:
            sock.sendall(b"go")
            total = 0
            while total < 30_000_000:
                total += len(sock.recv(1 << 20))
            return total

        self.assertEqual(await self.tls_client(self.listen(tls=self.context), talk), 30_000_000)
        self.assertLess(max(reads + lengths), 200_000)

    async def test_starttls(self) -> None:
        """What was written before STARTTLS leaves in the clear and in order; what follows is encrypted."""

        def answer(protocol: Recorder, data: bytes) -> None:
            transport = protocol.transport
            if not transport.TLS:
                transport.write(b"first\r\n")
                transport.write(b"begin\r\n")
                transport.startTLS(self.context)
                protocol.received = b""
            else:
                transport.write(b"secret " + data)

        self.on_data = answer

        def talk(sock: socket.socket) -> tuple[bytes, bytes]:
            # Whatever is behind STARTTLS in the same packet is the protocol's to drop.
            sock.sendall(b"a STARTTLS\r\nb injected\r\n")
            clear = read_exactly(sock, 14)
            with self.secure(sock) as secured:
                secured.sendall(b"c NOOP\r\n")
                return clear, read_exactly(secured, 15)

        clear, secret = await self.client(self.listen(), talk)
        self.assertEqual(clear, b"first\r\nbegin\r\n")
        self.assertEqual(secret, b"secret c NOOP\r\n")
        self.assertEqual(self.protocols[0].received, b"c NOOP\r\n")

    async def test_rubbish_after_starttls(self) -> None:
        """Clear text after STARTTLS in a packet of its own never reaches the protocol."""

        def answer(protocol: Recorder, data: bytes) -> None:
            protocol.transport.write(b"begin\r\n")
            protocol.transport.startTLS(self.context)

        self.on_data = answer

        def talk(sock: socket.socket) -> None:
            sock.sendall(b"a STARTTLS\r\n")
            read_exactly(sock, 7)
            sock.sendall(b"b LOGIN user password\r\n")
            with contextlib.suppress(ConnectionResetError):
                read_all(sock)

        await self.client(self.listen(), talk)
        await self.protocols[0].lost
        self.assertEqual(self.protocols[0].received, b"a STARTTLS\r\n")

    async def test_producer_goes_through_starttls(self) -> None:
        """A push producer registered before STARTTLS is paused and resumed after it; closing waits for all octets."""
        file = self.file(BLOB)
        told: list[str] = []
        state = {"left": 30, "paused": False}

        @implementer(IPushProducer)
        class Producer:
            def pauseProducing(self) -> None:
                told.append("pause")
                state["paused"] = True

            def resumeProducing(self) -> None:
                told.append("resume")
                state["paused"] = False
                produce()

            def stopProducing(self) -> None:
                told.append("stop")

        def produce() -> None:
            transport = self.protocols[0].transport
            while state["left"] and not state["paused"]:
                state["left"] -= 1
                transport.write(BLOB[:50_000])
                transport.send_file(file.fileno(), 0, 50_000)
            if not state["left"]:
                transport.unregisterProducer()
                transport.loseConnection()

        def answer(protocol: Recorder, data: bytes) -> None:
            if not protocol.transport.TLS:
                protocol.transport.registerProducer(Producer(), True)
                protocol.transport.write(b"begin\r\n")
                protocol.transport.startTLS(self.context)
            else:
                produce()

        self.on_data = answer

        def talk(sock: socket.socket) -> bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sock.sendall(b"a STARTTLS\r\n")
            read_exactly(sock, 7)
            with self.secure(sock) as secured:
                secured.sendall(b"go")
                return read_all(secured)

        self.assertEqual(await self.client(self.listen(), talk), (BLOB[:50_000] * 2) * 30)
        self.assertIn("pause", told)
        self.assertIn("resume", told)
        await self.protocols[0].lost

    async def test_client_that_never_shakes_hands(self) -> None:
        """It can be sent away, be it silent or stopped in the middle of its hello."""
        for said in (b"", b"\x16\x03\x01\x02\x00\x01"):
            connected: Deferred[None] = Deferred()

            def talk(sock: socket.socket, said: bytes = said, connected: Deferred[None] = connected) -> bytes:
                sock.sendall(said)
                reactor.callFromThread(connected.callback, None)
                try:
                    return read_all(sock)
                except ConnectionResetError:
                    return b"reset"

            done = self.client(self.listen(tls=self.context), talk)
            await connected
            while not self.protocols:
                await deferLater(reactor, 0)
            protocol = self.protocols.pop()
            protocol.transport.write(b"* BYE too slow\r\n")
            protocol.transport.loseConnection()
            await protocol.lost
            self.assertNotIn(b"BYE", await done)

    async def test_old_versions_are_refused(self) -> None:
        """TLS 1.1 is off by default."""

        def talk(sock: socket.socket) -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
            try:
                context.wrap_socket(sock)
            except (ssl.SSLError, ConnectionResetError) as error:
                return type(error).__name__
            return "accepted"

        self.assertNotEqual(await self.client(self.listen(tls=self.context), talk), "accepted")
        await self.protocols[0].lost

    async def test_new_certificate_after_reload(self) -> None:
        """A reload takes effect for the next connection."""
        port = self.listen(tls=self.context)
        first = await self.tls_client(port, lambda sock: sock.getpeercert(True))
        other = Files(self)
        shutil.copy(other.certificate, self.files.certificate)
        shutil.copy(other.key, self.files.key)
        self.context.reload()
        second = await self.tls_client(port, lambda sock: sock.getpeercert(True))
        self.assertNotEqual(first, second)

    async def test_client_certificate(self) -> None:
        """It is asked for where there are authorities, and given to whoever asks the transport."""
        private = ec.generate_private_key(ec.SECP256R1())
        certificate = self.files.write("client.pem", issue(30, private))
        key = self.files.write(
            "client.key",
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        context = ServerContext(self.files.settings(client_ca_file=certificate, client_certificates="require"))
        seen: list[Any] = []

        def answer(protocol: Recorder, data: bytes) -> None:
            seen.append(protocol.transport.getPeerCertificate())
            seen.append(protocol.transport.client_certificate())
            protocol.transport.loseConnection()

        self.on_data = answer

        def talk(sock: socket.socket) -> bytes:
            client = ssl.create_default_context(cafile=str(self.files.certificate))
            client.load_cert_chain(certificate, key)
            with client.wrap_socket(sock, server_hostname="localhost") as secured:
                secured.sendall(b"x")
                return read_all(secured)

        port = self.listen(tls=context)
        await self.client(port, talk)
        self.assertEqual(seen[0].get_subject().CN, "test")
        self.assertEqual(seen[1], x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(DER))

        def without(sock: socket.socket) -> str:
            try:
                with self.secure(sock) as secured:
                    secured.sendall(b"x")
                    read_all(secured)
            except (ssl.SSLError, ConnectionResetError):
                return "refused"
            return "accepted"

        self.assertEqual(await self.client(port, without), "refused")

    async def test_revoked_client_certificate(self) -> None:
        """It is refused, and after a reload too; where it came in before, it does not resume (RFC 5280 section 5)."""
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("authority", "fred")]
        made = []
        for name, key, is_authority in zip(names, keys, (True, False), strict=True):
            built = x509.CertificateBuilder(names[0], name, key.public_key(), x509.random_serial_number())
            built = built.not_valid_before(now - day).not_valid_after(now + day)
            built = built.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            made.append(built.sign(keys[0], hashes.SHA256()))
        authority = self.files.write("authority.pem", made[0].public_bytes(serialization.Encoding.PEM))
        certificate = self.files.write("client.pem", made[1].public_bytes(serialization.Encoding.PEM))
        private = self.files.write(
            "client.key",
            keys[1].private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

        def revoke(number: int) -> Path:
            entry = x509.RevokedCertificateBuilder(number, now - day).build()
            built = x509.CertificateRevocationListBuilder(names[0], now - day, now + day).add_revoked_certificate(entry)
            signed = built.sign(keys[0], hashes.SHA256())
            return self.files.write("crl.pem", signed.public_bytes(serialization.Encoding.PEM))

        settings = self.files.settings(
            client_ca_file=authority, client_certificates="require", revoked=revoke(made[1].serial_number + 1)
        )
        context = ServerContext(settings, SessionKeys(2))
        port = self.listen(tls=context)
        self.on_data = lambda protocol, data: protocol.transport.write(data)
        client = ssl.create_default_context(cafile=str(self.files.certificate))
        client.load_cert_chain(certificate, private)
        session, _ = await self.client(port, partial(self.resumed, client, None))
        revoke(made[1].serial_number)
        context.reload()
        for before in (session, None):
            with self.assertRaises((OSError, EOFError)):
                await self.client(port, partial(self.resumed, client, before))
        self.files.write("crl.pem", b"nothing")
        with self.assertRaises(TLSConfigurationError):
            context.reload()

    async def test_certificates_by_name(self) -> None:
        """The client sees the one that it asks for; the usual one where there is none, or a broken one (RFC 6066)."""
        directory = self.files.directory / "names"
        directory.mkdir()
        wild = ["*.example.org", "example.org"]
        for stem, names in (
            ("a", ["a.example.com"]),
            ("wild", ["*.example.org", "example.org"]),
            ("bad", ["bad.test"]),
        ):
            selfsigned.generate(directory / f"{stem}.pem", directory / f"{stem}.key", names)
        (directory / "bad.key").write_bytes((directory / "a.key").read_bytes())
        (directory / "rubbish.pem").write_bytes(b"rubbish")
        for keys in (None, SessionKeys(2)):
            context = ServerContext(self.files.settings(names_directory=directory), keys)
            port = self.listen(tls=context)

            def shown(sock: socket.socket, name: str | None) -> list[str]:
                client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                client.check_hostname = False
                client.verify_mode = ssl.CERT_NONE
                with client.wrap_socket(sock, server_hostname=name) as secured:
                    found = x509.load_der_x509_certificate(secured.getpeercert(True) or b"")
                names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                return names.get_values_for_type(x509.DNSName)

            for name, expected in (
                ("a.example.com", ["a.example.com"]), ("A.EXAMPLE.COM", ["a.example.com"]),
                ("mail.example.org", wild), ("example.org", wild),
                ("a.b.example.org", ["localhost"]), ("bad.test", ["localhost"]), (None, ["localhost"]),
                ("x" * 60 + ".test", ["localhost"]),
            ):  # fmt: skip
                found = await self.client(port, partial(shown, name=name))
                self.assertEqual(found, expected, name)
            # Names that nobody has leave nothing behind.
            self.assertLessEqual(len(context._named), 3)

    async def test_resumption_at_another_worker(self) -> None:
        """Workers that were forked after the keys were made take each other's tickets, also after a reload."""
        keys = SessionKeys(2)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            one, other = (ServerContext(self.files.settings(), keys) for _ in range(2))
            ports = [self.listen(tls=context) for context in (one, other)]
            client = ssl.create_default_context(cafile=str(self.files.certificate))
            client.minimum_version = client.maximum_version = version
            self.on_data = lambda protocol, data: protocol.transport.write(data)
            session = None
            reused = []
            for port in (ports[0], ports[1], ports[0]):
                session, was = await self.client(port, partial(self.resumed, client, session))
                reused.append(was)
                one.reload()
            self.assertEqual(reused, [False, True, True])
            apart = self.listen(tls=ServerContext(self.files.settings()))
            self.assertFalse((await self.client(apart, partial(self.resumed, client, session)))[1])

    async def test_keys_of_the_day(self) -> None:
        """Tickets of yesterday are of no use; processes that never talked to each other go on to the same keys."""
        clock = Clock()
        keys = SessionKeys(3, clock.seconds)
        one, other = (ServerContext(self.files.settings(), keys) for _ in range(2))
        ports = [self.listen(tls=context) for context in (one, other)]
        self.on_data = lambda protocol, data: protocol.transport.write(data)
        client = ssl.create_default_context(cafile=str(self.files.certificate))
        session = None
        reused = []
        # The last two days are past the keys that were made ahead.
        for moment in (0.0, LIFETIME - 1, LIFETIME, 2.5 * LIFETIME, 3.5 * LIFETIME, 7.5 * LIFETIME):
            clock.rightNow = moment
            days = []
            for port in ports:
                session, was = await self.client(port, partial(self.resumed, client, session))
                days.append(was)
            reused.append(days)
        same, new = [True, True], [False, True]
        self.assertEqual(reused, [new, same, new, new, new, new])

    async def test_no_resumption_past_a_client_certificate(self) -> None:
        """A session that began without a certificate does not come in where one is required."""
        private = ec.generate_private_key(ec.SECP256R1())
        authority = self.files.write("authority.pem", issue(30, private))
        keys = SessionKeys(2)
        self.on_data = lambda protocol, data: protocol.transport.write(data)
        anybody = self.listen(tls=ServerContext(self.files.settings(), keys))
        strict = self.files.settings(client_ca_file=authority, client_certificates="require")
        certified = self.listen(tls=ServerContext(strict, keys))
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = ssl.create_default_context(cafile=str(self.files.certificate))
            client.minimum_version = client.maximum_version = version
            session, _ = await self.client(anybody, partial(self.resumed, client, None))
            with self.assertRaises((OSError, EOFError)):
                await self.client(certified, partial(self.resumed, client, session))

    async def test_no_resumption_at_all(self) -> None:
        """C{tls_session_timeout: 0}."""
        port = self.listen(tls=ServerContext(self.files.settings(session_timeout=0), SessionKeys(2)))
        self.on_data = lambda protocol, data: protocol.transport.write(data)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            client = ssl.create_default_context(cafile=str(self.files.certificate))
            client.minimum_version = client.maximum_version = version
            session, _ = await self.client(port, partial(self.resumed, client, None))
            self.assertFalse((await self.client(port, partial(self.resumed, client, session)))[1])

    @staticmethod
    def resumed(
        client: ssl.SSLContext, session: ssl.SSLSession | None, sock: socket.socket
    ) -> tuple[ssl.SSLSession | None, bool]:
        """Say something, hear the echo; @return: the session then, and whether it was resumed."""
        with client.wrap_socket(sock, server_hostname="localhost", session=session) as secured:
            secured.sendall(b"x")
            if secured.recv(1) != b"x":
                raise EOFError
            return secured.session, bool(secured.session_reused)

    async def test_no_renegotiation(self) -> None:
        """A client cannot have keys computed again and again over one connection (TLS 1.2)."""
        port = self.listen(tls=self.context)
        self.on_data = lambda protocol, data: protocol.transport.write(data)

        def talk(sock: socket.socket) -> str:
            sock.setblocking(True)
            context = SSL.Context(SSL.TLSv1_2_METHOD)
            connection = SSL.Connection(context, sock)
            connection.set_connect_state()
            connection.do_handshake()
            connection.sendall(b"x")
            self.assertEqual(connection.recv(1), b"x")
            connection.renegotiate()
            try:
                connection.do_handshake()
                connection.sendall(b"y")
                connection.recv(1)
            except SSL.Error as error:
                return str(error)
            return f"renegotiated {connection.total_renegotiations()} times"

        self.assertIn("no renegotiation", await self.client(port, talk))

    async def test_settings_hold_with_shared_keys(self) -> None:
        """What a connection has of its context holds: versions, and the client's certificate."""
        port = self.listen(tls=ServerContext(self.files.settings(versions=frozenset({"tls1_2"})), SessionKeys(2)))

        def version(sock: socket.socket) -> str | None:
            with ssl.create_default_context(cafile=str(self.files.certificate)).wrap_socket(
                sock, server_hostname="localhost"
            ) as secured:
                return secured.version()

        self.assertEqual(await self.client(port, version), "TLSv1.2")

    async def test_keying_material(self) -> None:
        """Both sides export the same (RFC 5705), as channel bindings need."""
        exported: list[bytes] = []

        def answer(protocol: Recorder, data: bytes) -> None:
            exported.append(protocol.transport.getHandle().export_keying_material(b"EXPORTER-Channel-Binding", 32))
            protocol.transport.loseConnection()

        self.on_data = answer

        def talk(sock: ssl.SSLSocket) -> None:
            sock.sendall(b"x")
            read_all(sock)

        await self.tls_client(self.listen(tls=self.context), talk)
        self.assertEqual(len(exported[0]), 32)
