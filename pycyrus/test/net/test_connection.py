"""The lean connection, over real sockets."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
from typing import Any
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IPushProducer
from twisted.internet.task import deferLater
from zope.interface import directlyProvides, implementer

from pycyrus.net.connection import FILE_SIZE
from pycyrus.net.keepalive import Keepalive
from pycyrus.net.sending import CORK_SIZE, TURN_SIZE
from pycyrus.test.net.server import Recorder, ServerTestCase, read_all, read_exactly

BLOB = random.Random(7).randbytes(3_000_000)


def descriptors(file: Any) -> int:
    """How many descriptors of a file this process has open."""
    wanted = os.fstat(file.fileno())
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.path.samestat(os.fstat(int(name)), wanted)
        except OSError:
            # The one that listed the directory.
            continue
    return count


@implementer(IPushProducer)
class Pausing:
    """Counts how often it was told."""

    def __init__(self) -> None:
        self.paused = self.resumed = 0
        self.stopped = False
        self.when_resumed: Deferred[None] = Deferred()

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1
        if not self.when_resumed.called:
            self.when_resumed.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


@implementer(IPullProducer)
class Pulling:
    """Writes a blob piece by piece when asked, then unregisters."""

    def __init__(self, transport: Any, data: bytes, size: int) -> None:
        self.transport = transport
        self.pieces = [data[at : at + size] for at in range(0, len(data), size)]

    def resumeProducing(self) -> None:
        self.transport.write(self.pieces.pop(0))
        if not self.pieces:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.pieces.clear()


class WriteTests(ServerTestCase):
    async def test_write_is_sent_at_once(self) -> None:
        """Nothing waits for the next turn of the reactor when nothing is queued."""
        queued = []

        def greet(protocol: Recorder) -> None:
            protocol.transport.write(b"hello\r\n")
            queued.append(protocol.transport.queued)

        self.on_connect = greet
        self.assertEqual(await self.client(self.listen(), lambda sock: read_exactly(sock, 7)), b"hello\r\n")
        self.assertEqual(queued, [0])

    async def test_answers_to_one_packet_leave_together(self) -> None:
        """Writes made while data is handled are joined to one send."""

        def answer(protocol: Recorder, data: bytes) -> None:
            for _ in range(5):
                protocol.transport.write(b"* line\r\n")
            protocol.transport.writeSequence([b"a ", b"OK\r\n"])

        self.on_data = answer

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(b"a NOOP\r\n")
            return sock.recv(65536)

        self.assertEqual(await self.client(self.listen(), talk), b"* line\r\n" * 5 + b"a OK\r\n")

    async def test_nested_cork(self) -> None:
        """Only the last uncork sends."""
        queued = []

        def greet(protocol: Recorder) -> None:
            transport = protocol.transport
            transport.cork()
            transport.cork()
            transport.write(b"a")
            transport.uncork()
            queued.append(transport.queued)
            transport.write(b"b")
            transport.uncork()
            queued.append(transport.queued)

        self.on_connect = greet
        self.assertEqual(await self.client(self.listen(), lambda sock: read_exactly(sock, 2)), b"ab")
        self.assertEqual(queued, [1, 0])

    async def test_order_of_octets_and_files(self) -> None:
        """Tiny writes, large writes, small and large file regions arrive in the order of the calls."""
        file = self.file(BLOB)
        chance = random.Random(3)
        expected: list[bytes] = []

        def produce(protocol: Recorder, data: bytes) -> None:
            for number in range(400):
                kind = chance.randrange(10)
                if kind == 0:
                    start = chance.randrange(len(BLOB) - 200_000)
                    length = chance.choice([1, FILE_SIZE - 1, FILE_SIZE, 200_000])
                    protocol.transport.send_file(file.fileno(), start, length)
                    expected.append(BLOB[start : start + length])
                else:
                    piece = b"%d," % number if kind < 9 else BLOB[: chance.randrange(300_000)]
                    protocol.transport.write(piece)
                    expected.append(piece)
            protocol.transport.loseConnection()

        self.on_data = produce

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(b"go")
            return read_all(sock)

        received = await self.client(self.listen(), talk)
        self.assertEqual(received, b"".join(expected))
        await self.protocols[0].lost
        self.assertEqual(descriptors(file), 1)

    async def test_thousands_of_tiny_writes(self) -> None:
        """They arrive whole while the client is slow to begin reading."""

        def produce(protocol: Recorder) -> None:
            for number in range(200_000):
                protocol.transport.write(b"%06d" % number)
            protocol.transport.loseConnection()

        self.on_connect = produce
        self.assertEqual(
            await self.client(self.listen(), read_all), b"".join(b"%06d" % number for number in range(200_000))
        )

    async def test_write_after_close_is_dropped(self) -> None:
        """Nothing is sent, or raised, once the connection is gone."""
        port = self.listen()
        await self.client(port, lambda sock: sock.sendall(b"x"))
        while not self.protocols:
            await deferLater(reactor, 0)
        protocol = self.protocols[0]
        transport = protocol.transport
        reason = await protocol.lost
        self.assertIsInstance(reason, ConnectionDone)
        transport.write(b"late")
        transport.send_file(self.file(b"x" * FILE_SIZE).fileno(), 0, FILE_SIZE)
        self.assertEqual(transport.queued, 0)

    async def test_last_words_need_no_other_turn(self) -> None:
        """What is said while received data is handled is sent, and the connection closed, without waiting to write."""
        waited: list[str] = []

        def part(protocol: Recorder, data: bytes) -> None:
            transport = protocol.transport
            self.patch(transport, "startWriting", lambda: waited.append("to write"))
            transport.registerProducer(Pausing(), True)
            transport.loseConnection()
            transport.write(b"bye")
            transport.unregisterProducer()
            waited.append(f"{transport.connected}")

        self.on_data = part

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(b"quit")
            return read_all(sock)

        self.assertEqual(await self.client(self.listen(), talk), b"bye")
        self.assertIsInstance(await self.protocols[0].lost, ConnectionDone)
        # Not while the protocol still works with it.
        self.assertEqual(waited, ["1"])

    async def test_reset_by_client(self) -> None:
        """A reset while much is queued ends the connection and drops what was queued."""
        file = self.file(BLOB)

        def produce(protocol: Recorder, data: bytes) -> None:
            for _ in range(5):
                protocol.transport.send_file(file.fileno(), 0, len(BLOB))

        self.on_data = produce

        def talk(sock: socket.socket) -> None:
            sock.sendall(b"go")
            sock.recv(10)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        await self.client(self.listen(), talk)
        reason = await self.protocols[0].lost
        self.assertIsInstance(reason, ConnectionLost | ConnectionDone)
        self.assertEqual(descriptors(file), 1)

    async def test_socket_options(self) -> None:
        """Nagle's algorithm is off; keepalive is on where it is asked for."""
        options: list[int] = []

        def look(protocol: Recorder) -> None:
            sock = protocol.transport.getHandle()
            options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
            options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))
            options.append(int(protocol.transport.getTcpNoDelay()))
            protocol.transport.loseConnection()

        self.on_connect = look
        await self.client(self.listen(keepalive=Keepalive(idle=77)), read_all)
        self.assertEqual(options, [1, 77, 1])

    async def test_abort(self) -> None:
        """What is queued is dropped, and the client sees a reset."""

        def produce(protocol: Recorder, data: bytes) -> None:
            protocol.transport.write(BLOB * 4)
            protocol.transport.abortConnection()

        self.on_data = produce

        def talk(sock: socket.socket) -> int:
            sock.sendall(b"go")
            try:
                return len(read_all(sock))
            except ConnectionResetError:
                return -1

        self.assertLess(await self.client(self.listen(), talk), len(BLOB) * 4)
        self.assertIsInstance(await self.protocols[0].lost, ConnectionAborted)

    async def test_half_close(self) -> None:
        """LoseWriteConnection sends all, then end of file; reading goes on."""

        def produce(protocol: Recorder) -> None:
            directlyProvides(protocol, IHalfCloseableProtocol)
            protocol.writeConnectionLost = lambda: None  # type: ignore[attr-defined]
            protocol.readConnectionLost = protocol.transport.loseConnection  # type: ignore[attr-defined]
            protocol.transport.write(BLOB)
            protocol.transport.loseWriteConnection()

        self.on_connect = produce

        def talk(sock: socket.socket) -> bytes:
            data = read_all(sock)
            sock.sendall(b"still here")
            return data

        self.assertEqual(await self.client(self.listen(), talk), BLOB)
        await self.protocols[0].lost
        self.assertEqual(self.protocols[0].received, b"still here")

    async def test_half_open(self) -> None:
        """A client that has shut its writing side down gets the end of the answer; then it is over."""
        self.on_data = lambda protocol, data: protocol.transport.write(b"answer")

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(b"question")
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

        self.assertEqual(await self.client(self.listen(), talk), b"answer")
        await self.protocols[0].lost

    async def test_protocol_that_raises(self) -> None:
        """An exception in the protocol ends this connection, and no other."""

        def fail(protocol: Recorder, data: bytes) -> None:
            raise RuntimeError("bug")

        self.on_data = fail

        def talk(sock: socket.socket) -> bytes:
            sock.sendall(b"go")
            return read_all(sock)

        port = self.listen()
        self.assertEqual(await self.client(port, talk), b"")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.on_data = lambda protocol, data: protocol.transport.loseConnection()
        self.assertEqual(await self.client(port, talk), b"")


class BackPressureTests(ServerTestCase):
    async def test_slow_reader_pauses_producer(self) -> None:
        """The producer is paused once the queue is long, and resumed when it is empty."""
        producer = Pausing()
        queued: list[int] = []

        def produce(protocol: Recorder, data: bytes) -> None:
            transport = protocol.transport
            transport.registerProducer(producer, True)
            while not producer.paused:
                transport.write(b"x" * 50_000)
            queued.append(transport.queued)

        self.on_data = produce

        def talk(sock: socket.socket) -> None:
            sock.sendall(b"go")
            while not sock.recv(65536).endswith(b"end"):
                pass

        talking = self.client(self.listen(), talk)
        await producer.when_resumed
        transport: Any = self.protocols[0].transport
        self.assertGreater(queued[0], transport.bufferSize)
        self.assertLess(queued[0], transport.bufferSize + CORK_SIZE + 50_000)
        self.assertEqual(transport.queued, 0)
        transport.write(b"end")
        await talking
        await self.protocols[0].lost
        self.assertTrue(producer.stopped)

    async def test_file_regions_count(self) -> None:
        """A queued file region pauses a producer as octets do, without being in memory."""
        producer = Pausing()
        file = self.file(b"")
        os.ftruncate(file.fileno(), 100_000_000)

        def produce(protocol: Recorder, data: bytes) -> None:
            protocol.transport.registerProducer(producer, True)
            protocol.transport.send_file(file.fileno(), 0, 100_000_000)

        self.on_data = produce

        def talk(sock: socket.socket) -> int:
            sock.sendall(b"go")
            total = 0
            while total < 100_000_000:
                total += len(sock.recv(1 << 20))
            return total

        self.assertEqual(await self.client(self.listen(), talk), 100_000_000)
        self.assertEqual(producer.paused, 1)
        await producer.when_resumed

    async def test_pull_producer(self) -> None:
        """It is asked for more until it has no more."""

        def produce(protocol: Recorder) -> None:
            protocol.transport.registerProducer(Pulling(protocol.transport, BLOB, 65536), False)
            protocol.transport.loseConnection()

        self.on_connect = produce
        self.assertEqual(await self.client(self.listen(), read_all), BLOB)

    async def test_fast_reader_does_not_hold_the_reactor(self) -> None:
        """A large file is sent in turns: others are served in between."""
        size = TURN_SIZE * 40
        file = self.file(b"")
        os.ftruncate(file.fileno(), size)
        sent: list[int] = []

        def produce(protocol: Recorder, data: bytes) -> None:
            protocol.transport.send_file(file.fileno(), 0, size)

        self.on_data = produce
        real = os.sendfile

        def sendfile(out: int, source: int, offset: int, count: int) -> int:
            sent.append(count)
            return real(out, source, offset, count)

        self.patch(os, "sendfile", sendfile)

        def talk(sock: socket.socket) -> int:
            sock.sendall(b"go")
            total = 0
            while total < size:
                total += len(sock.recv(1 << 20))
            return total

        self.assertEqual(await self.client(self.listen(), talk), size)
        self.assertLessEqual(max(sent), TURN_SIZE)
        self.assertGreaterEqual(len(sent), 40)


class FileTests(ServerTestCase):
    def serve(self, file: Any, offset: int, length: int) -> None:
        def produce(protocol: Recorder, data: bytes) -> None:
            protocol.transport.write(b"<")
            protocol.transport.send_file(file.fileno(), offset, length)
            protocol.transport.write(b">")
            file.close()
            protocol.transport.loseConnection()

        self.on_data = produce

    @staticmethod
    def talk(sock: socket.socket) -> bytes:
        sock.sendall(b"go")
        try:
            return read_all(sock)
        except ConnectionResetError:
            return b"reset"

    async def test_caller_may_close_its_descriptor(self) -> None:
        """The region is sent although the file was closed right after the call."""
        self.serve(self.file(BLOB), 5, 2_000_000)
        self.assertEqual(await self.client(self.listen(), self.talk), b"<" + BLOB[5:2_000_005] + b">")

    async def test_without_sendfile(self) -> None:
        """Where sendfile does not work, the file is read and written."""
        self.patch(os, "sendfile", mock.Mock(side_effect=OSError(errno.EINVAL, "no")))
        self.serve(self.file(BLOB), 5, 2_000_000)
        self.assertEqual(await self.client(self.listen(), self.talk), b"<" + BLOB[5:2_000_005] + b">")

    async def test_file_shorter_than_promised(self) -> None:
        """The connection is aborted rather than a literal be filled with something else."""
        for length in (100, 2_000_000):
            self.serve(self.file(b"x" * 50 if length == 100 else BLOB[:1_000_000]), 0, length)
            received = await self.client(self.listen(), self.talk)
            self.assertNotIn(b">", received[-1:])
            await self.protocols[-1].lost

    async def test_unreadable_file(self) -> None:
        """An I/O error aborts the connection."""
        self.patch(os, "pread", mock.Mock(side_effect=OSError(errno.EIO, "disk")))
        self.serve(self.file(BLOB), 0, 100)
        received = await self.client(self.listen(), self.talk)
        self.assertIn(received, (b"", b"<", b"reset"))
