"""
What a simple IMAP command costs from octets to octets, and what an idle session keeps in memory.

Usage: C{python benchmarks/imap_commands.py [commands]}.  The transport is
memory: the kernel's share is not in these figures.  Aim: about 10 us a command,
and 20 KiB a session.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from pycyrus.imap.protocol import ImapProtocol
from pycyrus.imap.settings import ImapSettings
from pycyrus.testing.imap import ImapServer, MemoryTransport

SESSIONS = 1000


class NullTransport(MemoryTransport):
    """Counts octets, and forgets them."""

    count = 0

    def write(self, data: bytes) -> None:
        self.count += len(data)


def connect(server: ImapServer) -> ImapProtocol:
    """Open a connection and log in."""
    address = IPv4Address("TCP", "127.0.0.1", 40_000)
    protocol = server.factory.buildProtocol(address)
    assert protocol is not None
    protocol.makeConnection(NullTransport(address))
    protocol.dataReceived(b"a LOGIN alice secret\r\n")
    return protocol


def best_of(rounds: int, work: Callable[[], None]) -> float:
    """CPU seconds of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(name: str, commands: bytes, count: int, each: int) -> None:
    """Print the cost of a command; C{commands} holds C{each} of them."""
    server = ImapServer(ImapSettings())
    protocol = connect(server)
    clock: Clock = server.clock

    def work() -> None:
        for _ in range(count // each):
            protocol.dataReceived(commands)
            if each > 1:
                clock.advance(0)

    seconds = best_of(5, work)
    print(f"{name:<28}{seconds / count * 1e6:8.2f} us{count / seconds:14,.0f}/s")


def measure_memory() -> None:
    """Print what an idle session keeps."""
    server = ImapServer(ImapSettings())
    connect(server)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = [connect(server) for _ in range(SESSIONS)]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{'memory of a session':<28}{(after - before) / len(kept) / 1024:8.2f} KiB")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    measure("NOOP, one by one", b"a1 NOOP\r\n", count, 1)
    measure("NOOP, 100 pipelined", b"a1 NOOP\r\n" * 100, count, 100)
    measure("CAPABILITY, one by one", b"a1 CAPABILITY\r\n", count, 1)
    measure("unknown, one by one", b"a1 XYZZY\r\n", count, 1)
    measure("ENABLE, one by one", b"a1 ENABLE CONDSTORE\r\n", count, 1)
    measure_memory()


if __name__ == "__main__":
    main()
