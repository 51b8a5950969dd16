"""
Ping-pong of short commands: the lean transport against Twisted's own, and bytes per idle connection.

    python benchmarks/transport.py [seconds]

The client is a process of its own, pinned with the server to one core, so that wake-ups do not blur the figures;
CPU time is the server's alone.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import socket
import sys
import time
import tracemalloc
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import Factory, Protocol
from typing_extensions import override

from pycyrus.net.transport import LeanPort, bind_tcp, listen_tcp

reactor: Any = installed
COMMAND = b"a NOOP\r\n"
ANSWER = b"a OK Completed\r\n"


class Noop(Protocol):
    """Answers each line, the whole packet in one write."""

    transport: Any

    @override
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(ANSWER * data.count(b"\n"))


def drive(port: int, connections: int, depth: int, seconds: float) -> int:
    """Keep so many commands under way on each connection; return how many were answered."""
    poller = select.epoll()
    sockets: dict[int, socket.socket] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[sock.fileno()] = sock
        poller.register(sock, select.EPOLLIN)
    pending = dict.fromkeys(sockets, depth)
    for sock in sockets.values():
        sock.sendall(COMMAND * depth)
    done = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for fd, _ in poller.poll(1):
            count = sockets[fd].recv(1 << 16).count(b"\n")
            done += count
            pending[fd] -= count
            if not pending[fd]:
                pending[fd] = depth
                sockets[fd].sendall(COMMAND * depth)
    return done


def measure(label: str, port: int, connections: int, depth: int, seconds: float) -> None:
    """Run the client in a child and the reactor here."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, str(drive(port, connections, depth, seconds)).encode())
        os._exit(0)
    os.close(write)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.monotonic()
    result: list[int] = []

    class Answer(FileDescriptor):
        """What the client says at its end."""

        def fileno(self) -> int:
            return read

        @override
        def doRead(self) -> None:
            result.append(int(os.read(read, 100) or b"0"))
            self.stopReading()
            reactor.crash()

    Answer(reactor).startReading()
    reactor.run(installSignalHandlers=False)
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    os.close(read)
    os.waitpid(child, 0)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    rate = result[0] / wall
    print(f"{label:8} {connections:3}x{depth:<4} {rate:9.0f}/s  {cpu / result[0] * 1e6:6.2f} us CPU per command")


def memory(port: int, label: str, count: int) -> None:
    """Python objects per idle connection, as allocated by the server alone."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    child = os.fork()
    if not child:
        sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        time.sleep(60)
        os._exit(len(sockets))

    def look() -> None:
        if len(made) < count:
            reactor.callLater(0.05, look)
            return
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] - before
        print(f"{label:8} {size / count:9.0f} bytes per idle connection (of {count}), protocol included")
        reactor.crash()

    made.clear()
    reactor.callLater(0.05, look)
    reactor.run(installSignalHandlers=False)
    tracemalloc.stop()
    os.kill(child, 9)
    os.waitpid(child, 0)


made: list[Noop] = []


class NoopFactory(Factory):
    noisy = False

    @override
    def buildProtocol(self, addr: object) -> Noop:
        protocol = Noop()
        made.append(protocol)
        return protocol


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    factory = NoopFactory()
    stock = reactor.listenTCP(0, factory, interface="127.0.0.1", backlog=1000)
    lean = listen_tcp(reactor, "127.0.0.1", 0, factory)
    for connections, depth in ((1, 1), (50, 1), (1, 100)):
        for label, port in (("stock", stock), ("lean", lean), ("stock", stock), ("lean", lean)):
            measure(label, port.getHost().port, connections, depth, seconds)
    memory(stock.getHost().port, "stock", 400)
    fresh = LeanPort(reactor, bind_tcp("127.0.0.1", 0), factory)
    fresh.startListening()
    memory(fresh.getHost().port, "lean", 400)


if __name__ == "__main__":
    main()
