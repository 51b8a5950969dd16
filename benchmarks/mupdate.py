#!/usr/bin/env python3
"""
A MUPDATE master with a million mailboxes and a hundred frontends.

    benchmarks/mupdate.py [--mailboxes 1000000] [--frontends 100] [--writers 4] [--sql HOST:PORT/USER/DATABASE]

The master is a process of its own.  Measured are: how long a new frontend takes until it has everything, with and
without others that write meanwhile, and how long those wait; how long a change takes until all frontends have
heard of it; the longest stretch of work of the master's reactor (CPU time); and its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import LoopingCall, react
from twisted.internet.utils import getProcessOutput

from pycyrus.app.collector import settle
from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.interfaces import Location
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.store.locations import FILE_NAME, Locations
from pycyrus.store.threads import sleep
from pycyrus.tasks import gather
from pycyrus.testing.imap import FixedAuthenticator

ACL = "someuser\tlrswipkxtecdan\tanyone\tp\t"
_BATCH = 5000


def entry(number: int) -> Location:
    """One of the mailboxes: ten of each user, of ten servers."""
    user = number // 10
    return Location(f"user.u{user:06d}.f{number % 10}", f"backend{user % 10}.example.com", "default", ACL)


# --- the master's process -----------------------------------------------------


class Stretches:
    """What the reactor's thread did between two of its turns, in seconds of CPU: others use this machine, too."""

    def __init__(self) -> None:
        self.longest = array("d")
        self._due = 0.0

    def start(self) -> None:
        """Begin to look."""
        self._due = time.thread_time()
        LoopingCall(self._look).start(0, now=False)

    def forget(self) -> None:
        """Begin anew."""
        self.longest = array("d")
        self._due = time.thread_time()

    def _look(self) -> None:
        now = time.thread_time()
        self.longest.append(now - self._due)
        self._due = now


async def serve(directory: Path, sql: str) -> None:
    """Serve until standard input ends; each line there has the figures printed."""
    net: Any = reactor
    locations: Any = Locations(directory, net)
    if sql:
        from pycyrus.murder.shared.locations import SharedLocations
        from pycyrus.murder.shared.postgresql import Access, Host

        host, user, database = sql.split("/")
        locations = SharedLocations(locations, directory, Access((Host.parse(host),), user, "", database), net)
        locations.start()
        began = time.perf_counter()
        while True:
            with contextlib.suppress(Exception):
                await locations.catch_up()
                break
            await sleep(net, 0.1)
        print(f"ready {time.perf_counter() - began:.1f}", file=sys.stderr)
    factory = MupdateFactory(
        locations, FixedAuthenticator(), MupdateSettings(), None, None, net, locations.catch_up if sql else None
    )
    port = net.listenTCP(0, factory, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    # As a server does before it serves.
    settle(net)
    stretches = Stretches()
    stretches.start()
    ended: Deferred[None] = Deferred()

    def end(reason: object = None) -> None:
        # An end without octets before it is told as a lost connection.
        if not ended.called:
            ended.callback(None)

    def told() -> None:
        if not os.read(0, 100):
            net.removeReader(stdin)
            end()
            return
        found = sorted(stretches.longest)
        memory = Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]
        count = len(found) or 1
        print(f"{found[-1] * 1e3:.2f} {found[int(count * 0.999)] * 1e3:.2f} {int(memory) // 1024}", flush=True)
        # To take a million numbers back is work, too.
        del found
        stretches.forget()

    class _Stdin:
        fileno = staticmethod(lambda: 0)
        doRead = staticmethod(told)  # noqa: N815 - Twisted's
        logPrefix = staticmethod(lambda: "stdin")  # noqa: N815 - likewise
        connectionLost = staticmethod(end)  # noqa: N815 - likewise

    stdin = _Stdin()
    net.addReader(stdin)
    await ended
    await locations.close()


# --- the clients --------------------------------------------------------------


class Master:
    """The other process."""

    def __init__(self, directory: Path, sql: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(directory), "--sql", sql],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self.port = int(self._line())

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            line += self._process.stdout.read(1)
        return line

    def figures(self) -> str:
        """What it can say of the time since it was asked last."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        longest, usual, memory = self._line().decode().split()
        return f"reactor held {longest} ms at most ({usual} ms in 99.9 %), {memory} MiB"

    def end(self) -> None:
        """Stop it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


async def connect(port: int, told: Callable[[Sequence[Told]], None] = lambda changes: None) -> MupdateClient:
    """A client, logged in."""
    client = MupdateClient(reactor, told)  # type: ignore[arg-type] # the module is the reactor
    await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), client)
    await client.greeted()
    credentials = ClientCredentials("admin", password="secret")
    await client.authenticate(choose(client.banner.mechanisms, credentials, tls=False, allow_plaintext=True))
    return client


async def fill(directory: Path, count: int) -> None:
    """Make the master's file."""
    locations = Locations(directory, reactor)  # type: ignore[arg-type] # likewise
    began = time.perf_counter()
    for start in range(0, count, _BATCH):
        await locations.follow([entry(number) for number in range(start, min(count, start + _BATCH))])
    await locations.close()
    size = (directory / FILE_NAME).stat().st_size / 1e6
    print(f"{count} entries written in {time.perf_counter() - began:.1f} s, {size:.0f} MB")


class Writers:
    """Clients that change something all the time, and note how long each change took."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._is_over = False
        self.times: list[float] = []

    async def run(self) -> None:
        """Write until L{end}."""
        await gather([self._write(number) for number in range(self._count)])

    async def _write(self, number: int) -> None:
        client = await connect(self._port)
        turn = 0
        while not self._is_over:
            turn += 1
            began = time.perf_counter()
            await client.activate(Location(f"user.w{number}.{turn % 50}", "backend1.example.com", f"p{turn}", ACL))
            self.times.append(time.perf_counter() - began)
        client.log_out()

    def end(self) -> str:
        """Stop; what was found."""
        self._is_over = True
        found = sorted(self.times)
        return (
            f"{len(found)} changes meanwhile, median {statistics.median(found) * 1e3:.1f} ms, "
            f"99 % within {found[int(len(found) * 0.99)] * 1e3:.1f} ms, longest {found[-1] * 1e3:.1f} ms"
        )


async def copy(port: int) -> tuple[str, str]:
    """
    Have a process be a new frontend, so that others that are measured do not wait for it.

    @return: How many entries it was told, and in how many seconds.
    """
    said = await getProcessOutput(sys.executable, [__file__, "--copy", str(port)], os.environ)
    told, seconds = said.decode().split()
    return told, seconds


async def be_copied(port: int) -> None:
    """That process."""
    heard = 0

    def told(changes: Sequence[Told]) -> None:
        nonlocal heard
        heard += len(changes)

    client = await connect(port, told)
    began = time.perf_counter()
    await client.update()
    seconds = time.perf_counter() - began
    client.log_out()
    print(f"{heard} {seconds:.1f}")


async def spread(port: int, frontends: int) -> str:
    """Have frontends follow that know all, and tell how soon all hear of a change."""
    ended = 0
    done: Deferred[None] = Deferred()

    def told(changes: Sequence[Told]) -> None:
        nonlocal ended, done
        ended += len(changes)
        if ended == frontends and not done.called:
            done.callback(None)

    clients = [await connect(port, told) for _ in range(frontends)]
    for client in clients:
        # Only of one server that has nothing yet: the copy itself was measured before.
        await client.update(["backend99.example.com"])
    writer = await connect(port)
    times = []
    for turn in range(50):
        ended, done = 0, Deferred()
        began = time.perf_counter()
        await writer.activate(Location("user.new", "backend99.example.com", f"p{turn}", ACL))
        await done
        times.append(time.perf_counter() - began)
    for client in clients:
        client.log_out()
    times.sort()
    return f"{frontends} hear of a change within {times[25] * 1e3:.1f} ms (median), {times[-1] * 1e3:.1f} ms at most"


async def measure(options: argparse.Namespace, directory: Path) -> None:
    """Everything."""
    await fill(directory, options.mailboxes)
    master = Master(directory, options.sql)
    try:
        print("at rest:", master.figures())
        told, seconds = await copy(master.port)
        print(f"a new frontend: {told} entries in {seconds} s;", master.figures())
        writers = Writers(master.port, options.writers)
        writing = Deferred.fromCoroutine(writers.run())
        await sleep(reactor, 2.0)  # type: ignore[arg-type] # likewise
        print("writers alone:", writers.end(), ";", master.figures())
        await writing
        writers = Writers(master.port, options.writers)
        writing = Deferred.fromCoroutine(writers.run())
        told, seconds = await copy(master.port)
        print(f"a new frontend: {told} entries in {seconds} s;", writers.end(), ";", master.figures())
        await writing
        print(await spread(master.port, options.frontends), ";", master.figures())
    finally:
        master.end()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory."""
    directory = Path(tempfile.mkdtemp(prefix="mupdate-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def main() -> None:
    """Measure, or be the process that is measured."""
    parser = argparse.ArgumentParser(description="Measure a MUPDATE master.")
    parser.add_argument("--mailboxes", type=int, default=1_000_000)
    parser.add_argument("--frontends", type=int, default=100)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--sql", default="", metavar="HOST:PORT/USER/DATABASE", help="keep the directory in PostgreSQL")
    parser.add_argument("--copy", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()

    def run(work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> None:
        react(lambda _: Deferred.fromCoroutine(work()))

    if options.serve:
        run(lambda: serve(options.serve, options.sql))
    elif options.copy:
        run(lambda: be_copied(options.copy))
    else:
        with scratch() as directory, contextlib.suppress(SystemExit):
            run(lambda: measure(options, directory))


if __name__ == "__main__":
    main()
