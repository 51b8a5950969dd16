"""Large literals of backends on their way through a frontend, which does not copy them."""

from __future__ import annotations

import random
import socket
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.threads import deferToThread

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Location
from pycyrus.net.splicing import PIPES, Pipe
from pycyrus.test.murder.cluster import MurderCase

SIZES = (65_535, 1, 200_000, 65_536, 70_000, 70_000, 3_000, 2_500_000, 65_537 + 2048, 10, 400_000)
"""Octets of messages: on both sides of where splicing begins, and what follows close behind."""


def message(size: int) -> bytes:
    """What looks like answers, and lines that announce literals."""
    head = b"Subject: %d\r\n\r\n" % size
    line = b")\r\nx1 OK Completed\r\n* BYE\r\n{70000}\r\n* 7 FETCH (BODY[] {99999}\r\n"
    return (head + line * (size // len(line) + 1))[: max(size, len(head))]


class SplicingTests(MurderCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.spliced = 0
        fill = Pipe.fill

        def count(pipe: Pipe, socket_fd: int, most: int) -> int:
            moved = fill(pipe, socket_fd, most)
            self.spliced += moved
            return moved

        self.patch(Pipe, "fill", count)
        self.addCleanup(lambda: self.assertEqual(PIPES.borrowed_count, 0))

    async def talk(self, work: Callable[[Raw], Any]) -> Any:
        """Have a client that blocks do something, in a thread, as alice at the frontend."""

        def run() -> Any:
            with socket.create_connection(("127.0.0.1", self.frontend), timeout=60) as sock:
                raw = Raw(sock)
                raw.ask(b"LOGIN alice secret")
                return work(raw)

        return await deferToThread(run)

    async def test_octet_for_octet(self) -> None:
        """What the client gets is what the backend has, and the large ones were not copied."""
        direct = await self.client(port=self.ports[self.servers[0]].getHost().port)
        for size in SIZES:
            await self.append(direct, b"INBOX", message(size))
        await self.do(direct, b"SELECT INBOX")
        client = await self.client()
        await self.do(client, b"SELECT INBOX")
        for command in (b"FETCH 1:* (UID BODY.PEEK[] RFC822.SIZE)", b"FETCH 3,8 (BODY.PEEK[]<5.190000> RFC822.SIZE)"):
            expected = await self.do(direct, command)
            self.spliced = 0
            self.assertEqual(await self.do(client, command), expected)
            self.assertGreater(self.spliced, 100_000)
        # And short commands go on as before.
        self.assertIn(b"* 1 FETCH (UID 1)", await self.do(client, b"FETCH 1 UID"))

    async def test_compressed(self) -> None:
        """Octets that are compressed for the client are copied."""
        await self.append(await self.client(), b"INBOX", message(300_000))

        def work(raw: Raw) -> bytes:
            raw.ask(b"SELECT INBOX")
            raw.ask(b"COMPRESS DEFLATE")
            raw.deflate, raw.inflate = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)
            return raw.ask(b"FETCH 1 BODY.PEEK[]")

        self.assertIn(b"{300000}\r\n" + message(300_000) + b")\r\n", await self.talk(work))
        self.assertEqual(self.spliced, 0)

    async def test_no_pipe(self) -> None:
        """Where there is none, octets are copied."""
        await self.append(await self.client(), b"INBOX", message(300_000))
        self.patch(PIPES, "most", 0)
        client = await self.client()
        await self.do(client, b"SELECT INBOX")
        self.assertIn(message(300_000), await self.do(client, b"FETCH 1 BODY.PEEK[]"))
        self.assertEqual(self.spliced, 0)

    async def test_the_kernel_will_not(self) -> None:
        """Where splicing does not work for these sockets, octets are copied."""
        await self.append(await self.client(), b"INBOX", message(300_000))

        def refuse(pipe: Pipe, socket_fd: int, most: int) -> int:
            raise OSError(22, "Invalid argument")

        for name in ("fill", "empty"):
            patched = self.patch(Pipe, name, refuse)
            client = await self.client()
            await self.do(client, b"SELECT INBOX")
            self.assertIn(message(300_000), await self.do(client, b"FETCH 1 BODY.PEEK[]"))
            patched.restore()

    async def test_a_client_that_stops_reading(self) -> None:
        """It holds up its own backend connection, not what others do, and gets all in the end."""
        other = await self.client()
        for _ in range(4):
            await self.append(other, b"INBOX", message(3_000_000))
        await self.do(other, b"SELECT INBOX")

        def begin(raw: Raw) -> bytes:
            raw.ask(b"SELECT INBOX")
            raw.send(b"FETCH 1:4 BODY.PEEK[]")
            heard = raw.sock.recv(1000)
            stopped.callback(None)
            goes_on.wait()
            return heard + raw.until_tagged()

        stopped, goes_on = _Event(self), _Event(self)
        work = self.talk_later(begin)
        await stopped.deferred
        # It has much less than all, and nobody moves more on its behalf.
        while await self.moved(self.spliced) or not self.spliced:
            pass
        self.assertLess(self.spliced, 12_000_000)
        self.assertIn(message(3_000_000), await self.do(other, b"FETCH 2 BODY.PEEK[]"))
        goes_on.set()
        heard = await work
        self.assertEqual(heard.count(message(3_000_000)), 4)

    async def moved(self, before: int) -> bool:
        """Whether something was spliced within some turns."""
        for _ in range(20):
            await self.turn()
        return self.spliced != before

    async def test_a_client_that_goes(self) -> None:
        """The connection to the backend is cut in the middle, and the next command gets another."""
        other = await self.client()
        for _ in range(4):
            await self.append(other, b"INBOX", message(3_000_000))

        def begin(raw: Raw) -> None:
            raw.ask(b"SELECT INBOX")
            raw.send(b"FETCH 1:4 BODY.PEEK[]")
            raw.sock.recv(100_000)

        await self.talk(begin)
        while PIPES.borrowed_count:
            await self.turn()
        self.assertIn(b"MESSAGES 4", await self.do(other, b"STATUS INBOX (MESSAGES)"))
        await self.do(other, b"SELECT INBOX")
        self.assertIn(message(3_000_000), await self.do(other, b"FETCH 1 BODY.PEEK[]"))

    async def test_a_backend_that_dies(self) -> None:
        """A client that got half a literal cannot be told anything: its connection ends."""
        for sent in (0, 1, 70_000, 499_999):
            name = self.rogue([b"* 1 FETCH (BODY[] {500000}\r\n", b"x" * sent])
            client = await self.client()
            await self.do(client, b"SELECT " + name)
            with self.assertRaises(StoreUnavailable):
                await client.ask(b"FETCH 1 BODY[]")

    async def test_pieces(self) -> None:
        """However TCP cuts the answer, the client gets it."""
        chance = random.Random(1)
        body = chance.randbytes(1_500_000)
        answer = b"* 1 FETCH (BODY[] {1500000}\r\n%b BODY[1] {2}\r\nab)\r\n* 2 FETCH (BODY[] {65600}\r\n%b)\r\n"
        answer %= body, body[:65600]
        for _ in range(6):
            cuts = sorted({chance.randrange(len(answer)) for _ in range(12)} | {0, 28, 29, 30, 1_500_029, len(answer)})
            name = self.rogue([answer[a:b] for a, b in pairwise(cuts)], is_ended=True)
            client = await self.client()
            await self.do(client, b"SELECT " + name)
            untagged, status, _ = await client.ask(b"FETCH 1:2 BODY[]")
            self.assertEqual((untagged == answer, status), (True, b"OK"))
        self.assertGreater(self.spliced, 1_500_000)

    # --- means --------------------------------------------------------------------

    def talk_later(self, work: Callable[[Raw], Any]) -> Any:
        """As L{talk}, begun at once."""
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(self.talk(work))

    def rogue(self, pieces: list[bytes], *, is_ended: bool = False) -> bytes:
        """
        Start a backend that answers FETCH so, a piece in each turn.

        @param is_ended: With a tagged line; else its connection ends.
        @return: The mailbox that it has.
        """
        port = self.reactor.listenTCP(0, _Rogue(self.reactor, pieces, is_ended), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        location = Location("user.rogue", f"127.0.0.1:{port.getHost().port}", "default", "anyone\tlrs\t")
        self.directory.locations[location.mailbox] = location
        self.directory.catch_up = _at_once  # type: ignore[method-assign] # what is known stays
        return b"user.rogue"


class Raw:
    """A client that blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.deflate: Any = None
        self.inflate: Any = None
        self.until(b"* OK ")

    def ask(self, command: bytes) -> bytes:
        """Send a command; @return: the answer."""
        self.send(command)
        return self.until_tagged()

    def send(self, command: bytes) -> None:
        """Send a command."""
        data = b"raw " + command + b"\r\n"
        if self.deflate is not None:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sock.sendall(data)

    def until_tagged(self) -> bytes:
        """Read until the answer is complete."""
        return self.until(b"raw OK ")

    def until(self, begin: bytes) -> bytes:
        """Read until the last line begins so, and has ended."""
        heard = bytearray()
        while not (heard.endswith(b"\r\n") and heard.startswith(begin, heard.rfind(b"\n", 0, -1) + 1)):
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            heard += data if self.inflate is None else self.inflate.decompress(data)
        return bytes(heard)


class _Event:
    """What a thread tells the test, or the test a thread."""

    def __init__(self, case: MurderCase) -> None:
        import threading

        from twisted.internet.defer import Deferred

        self._case = case
        self._event = threading.Event()
        self.deferred: Deferred[None] = Deferred()
        self.set, self.wait = self._event.set, lambda: self._event.wait(60)
        # A test that failed does not leave its thread waiting.
        case.addCleanup(self._event.set)

    def callback(self, result: None) -> None:
        """From the thread."""
        self._case.reactor.callFromThread(self.deferred.callback, result)


async def _at_once() -> None:
    pass


class _RogueProtocol(Protocol):
    factory: _Rogue

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        transport.write(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n")

    def dataReceived(self, data: bytes) -> None:
        tag, _, rest = data.partition(b" ")
        transport: Any = self.transport
        if rest[:5] == b"FETCH":
            self.go_on(tag, list(self.factory.pieces))
        elif tag:
            transport.write(tag + b" OK [READ-WRITE] done\r\n")

    def go_on(self, tag: bytes, pieces: list[bytes]) -> None:
        """Send the next piece."""
        transport: Any = self.transport
        if pieces:
            transport.write(pieces.pop(0))
            self.factory.reactor.callLater(0, self.go_on, tag, pieces)
        elif self.factory.is_ended:
            transport.write(tag + b" OK done\r\n")
        else:
            transport.loseConnection()


class _Rogue(ServerFactory):
    protocol = _RogueProtocol  # type: ignore[assignment] # a class is what Twisted calls
    noisy = False

    def __init__(self, reactor: Any, pieces: list[bytes], is_ended: bool) -> None:
        self.reactor = reactor
        self.pieces = pieces
        self.is_ended = is_ended
