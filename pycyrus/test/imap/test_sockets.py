"""Sessions over real connections: TLS, STARTTLS, files, slow readers."""

from __future__ import annotations

import contextlib
import imaplib
import os
import socket
import ssl
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorTime
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from pycyrus.imap.commands import table
from pycyrus.imap.commands.command import ANY, Command, Seqs
from pycyrus.imap.protocol import ImapFactory
from pycyrus.imap.session import Session
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import IMessageFile
from pycyrus.model.identity import Identity
from pycyrus.model.names import ExternalNames, NamespaceSettings, inbox_of
from pycyrus.net.selfsigned import generate
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.net.transport import listen_tcp
from pycyrus.testing.imap import EmptyStore, FixedAuthenticator
from pycyrus.testing.store import MemoryStore

T = TypeVar("T")
BODY = b"0123456789abcdef" * 65_536


@implementer(IMessageFile)
class File:
    """A message of one megabyte."""

    def __init__(self, path: Path) -> None:
        self.size = len(BODY)
        self._fd = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        os.close(self._fd)


class SocketCase(TestCase):
    """Listens on ports of the loopback; clients are blocking, and live in threads."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        self.directory = directory
        generate(directory / "cert.pem", directory / "key.pem")
        self.tls = ServerContext(TLSSettings(directory / "cert.pem", directory / "key.pem"))
        self.client_tls = ssl.create_default_context(cafile=str(directory / "cert.pem"))
        self.factories: list[ImapFactory] = []

    def listen(self, *, is_tls: bool = False, store: Any = None, plaintext: bool = False) -> int:
        from twisted.internet import reactor

        clock: Any = reactor
        store = EmptyStore() if store is None else store
        factory = ImapFactory(
            store,
            FixedAuthenticator(plaintext=plaintext),
            ImapSettings(),
            lambda identity: ExternalNames(NamespaceSettings(), identity),
            None,
            self.tls,
            cast(IReactorTime, clock),
        )
        self.factories.append(factory)
        port = listen_tcp(cast(IReactorFDSet, clock), "127.0.0.1", 0, factory, tls=self.tls if is_tls else None)
        self.addCleanup(self._close, port, factory)
        number: int = port.getHost().port
        return number

    async def _ended(self, factory: ImapFactory) -> None:
        from twisted.internet import reactor

        clock: Any = reactor
        while factory.sessions:
            turn: Deferred[None] = Deferred()
            clock.callLater(0.01, turn.callback, None)
            await turn

    def _close(self, port: Any, factory: ImapFactory) -> Deferred[None]:
        async def close() -> None:
            await port.stopListening()
            for protocol in list(factory.sessions):
                protocol.abort()
            await self._ended(factory)

        return Deferred.fromCoroutine(close())

    def in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        return deferToThread(work)


class Lines:
    """A blocking client of lines."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(60)
        self.buffer = b""

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def until(self, tag: bytes) -> list[bytes]:
        lines = [self.line()]
        while not lines[-1].startswith(tag):
            lines.append(self.line())
        return lines


class TlsTests(SocketCase):
    """TLS from the beginning and by STARTTLS, with clients of the standard library."""

    def test_imaps(self) -> Deferred[None]:
        port = self.listen(is_tls=True)

        def client() -> None:
            with imaplib.IMAP4_SSL("localhost", port, ssl_context=self.client_tls) as imap:
                self.assertNotIn("STARTTLS", imap.capabilities)
                self.assertIn("AUTH=PLAIN", imap.capabilities)
                self.assertEqual(imap.login("alice", "secret")[0], "OK")
                self.assertEqual(imap.noop()[0], "OK")

        return self.in_thread(client)

    def test_starttls(self) -> Deferred[None]:
        port = self.listen()

        def client() -> None:
            with imaplib.IMAP4("localhost", port) as imap:
                self.assertIn("STARTTLS", imap.capabilities)
                self.assertIn("LOGINDISABLED", imap.capabilities)
                imap.starttls(self.client_tls)
                self.assertNotIn("STARTTLS", imap.capabilities)
                self.assertNotIn("LOGINDISABLED", imap.capabilities)
                self.assertEqual(imap.authenticate("PLAIN", lambda _: b"\0alice\0secret")[0], "OK")

        return self.in_thread(client)

    def test_what_was_injected_before_tls_is_gone(self) -> Deferred[None]:
        port = self.listen()

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                lines = Lines(sock)
                lines.line()
                sock.sendall(b"a1 STARTTLS\r\nx1 NOOP\r\nx2 LOGIN alice secret\r\n")
                self.assertTrue(lines.line().startswith(b"a1 OK"))
                self.assertEqual(lines.buffer, b"")
                with self.client_tls.wrap_socket(sock, server_hostname="localhost") as secure:
                    lines = Lines(secure)
                    secure.sendall(b"a2 CHECK\r\n")
                    self.assertEqual(lines.line(), b"a2 BAD Please login first")

        return self.in_thread(client)

    def test_octets_in_the_clear_after_starttls_end_the_connection(self) -> Deferred[None]:
        port = self.listen()

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                lines = Lines(sock)
                lines.line()
                sock.sendall(b"a1 STARTTLS\r\n")
                lines.line()
                sock.sendall(b"x1 NOOP\r\nx2 LOGIN alice secret\r\n")
                try:
                    while data := sock.recv(1000):
                        self.assertNotIn(b"x1", data)
                except ConnectionResetError:
                    pass

        return self.in_thread(client)


class FloodTests(SocketCase):
    """Clients that send without reading."""

    def test_all_is_answered_when_the_client_reads_at_last(self) -> Deferred[None]:
        port = self.listen(is_tls=True)
        count = 20_000

        def client() -> None:
            with (
                socket.create_connection(("127.0.0.1", port)) as sock,
                self.client_tls.wrap_socket(sock, server_hostname="localhost") as secure,
            ):
                lines = Lines(secure)
                lines.line()
                secure.sendall(
                    b"a AUTHENTICATE PLAIN AGFsaWNlAHNlY3JldA==\r\n" + b"a NOOP\r\n" * count + b"b LOGOUT\r\n"
                )
                heard = lines.until(b"b OK")
                self.assertEqual(heard.count(b"a OK Completed"), count)

        return self.in_thread(client)


class FileTests(SocketCase):
    """Bodies come from files, whole and in order, however slowly they are read."""

    def setUp(self) -> None:
        super().setUp()
        path = self.directory / "1."
        path.write_bytes(BODY)

        async def body(session: Session, arguments: None) -> None:
            for _ in range(20):
                file = File(path)
                session.write(b"* BODY {%d}\r\n" % file.size)
                await session.write_file(file, 0, file.size)
                file.close()
                session.write(b"\r\n")

        row = Command(b"XBODY", ANY, None, body, Seqs.NONE)
        table.NOT_AUTHENTICATED_COMMANDS[row.name] = row
        self.addCleanup(table.NOT_AUTHENTICATED_COMMANDS.pop, row.name)

    def read(self, lines: Lines) -> None:
        lines.line()
        lines.sock.sendall(b"a1 XBODY\r\na2 NOOP\r\n")
        heard = lines.until(b"a2")
        self.assertEqual(heard, [b"* BODY {%d}" % len(BODY), BODY] * 20 + [b"a1 OK Completed", b"a2 OK Completed"])

    def test_in_the_clear(self) -> Deferred[None]:
        port = self.listen()

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                self.read(Lines(sock))

        return self.in_thread(client)

    def test_under_tls(self) -> Deferred[None]:
        port = self.listen(is_tls=True)

        def client() -> None:
            with (
                socket.create_connection(("127.0.0.1", port)) as sock,
                self.client_tls.wrap_socket(sock, server_hostname="localhost") as secure,
            ):
                self.read(Lines(secure))

        return self.in_thread(client)

    def test_a_client_that_goes_away(self) -> Deferred[None]:
        port = self.listen()

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(b"a1 XBODY\r\n")
                sock.recv(1000)

        async def goes_away() -> None:
            await self.in_thread(client)
            await self._ended(self.factories[0])

        return Deferred.fromCoroutine(goes_away())


class CompressionTests(SocketCase):
    """COMPRESS=DEFLATE (RFC 4978)."""

    def compressed(self, sock: socket.socket) -> Callable[[bytes, bytes], bytes]:
        """Begin; the answer sends octets and reads until an end."""
        lines = Lines(sock)
        lines.line()
        sock.sendall(b"a1 LOGIN alice secret\r\na2 COMPRESS DEFLATE\r\n")
        lines.until(b"a2")
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        unpacker = zlib.decompressobj(-15)

        def ask(data: bytes, end: bytes) -> bytes:
            sock.sendall(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))
            heard = b""
            while not heard.endswith(end):
                received = sock.recv(65536)
                self.assertTrue(received, heard)
                heard += unpacker.decompress(received)
            return heard

        return ask

    def test_both_ways(self) -> Deferred[None]:
        """Commands, large literals and large answers pass; every answer comes at once."""
        store = MemoryStore()
        store.add(inbox_of(Identity("alice")))
        port = self.listen(store=store, plaintext=True)
        body = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                ask = self.compressed(sock)
                capabilities = ask(b"b1 CAPABILITY\r\n", b"b1 OK Completed\r\n")
                self.assertNotIn(b"COMPRESS", capabilities)
                ask(b"b2 COMPRESS DEFLATE\r\n", b"b2 NO [COMPRESSIONACTIVE] DEFLATE active via COMPRESS\r\n")
                ask(b"b3 APPEND INBOX {%d+}\r\n%b\r\n" % (len(body), body), b" Completed\r\n")
                ask(b"b4 EXAMINE INBOX\r\n", b"b4 OK [READ-ONLY] Completed\r\n")
                heard = ask(b"b5 FETCH 1 BODY.PEEK[]\r\n", b"b5 OK Completed\r\n")
                self.assertEqual(heard, b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\nb5 OK Completed\r\n" % (len(body), body))

        return self.in_thread(client)

    def test_rubbish(self) -> Deferred[None]:
        """What is no DEFLATE ends the connection."""
        port = self.listen(plaintext=True)

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                self.compressed(sock)
                sock.sendall(b"\xff" * 100)
                with contextlib.suppress(ConnectionError):
                    while sock.recv(65536):
                        pass

        return self.in_thread(client)

    def test_bomb(self) -> Deferred[None]:
        """A little that grows to very much meets the limits of what it grows to."""
        port = self.listen(plaintext=True)

        def client() -> None:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                self.compressed(sock)
                bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
                data = bomb.compress(b"c1 SEARCH " + b"x" * 50_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
                self.assertLess(len(data), 100_000)
                with contextlib.suppress(ConnectionError):
                    sock.sendall(data)
                    while sock.recv(65536):
                        pass

        return self.in_thread(client)
