"""
LMTP: what a message costs before the store, and deliveries a second on a running server.

    python benchmarks/lmtp.py [seconds [option=value ...]]

The first part runs the session and the pipeline in this process, over a store that keeps nothing.  The second
starts a server on the embedded default, in a temporary directory, and delivers to it on 1 and on 16 connections to as
many users; CPU time there is the server's alone.  Options are those of imapd.conf, such as duplicatesuppression=no;
each message has a Message-ID of its own, so none is a duplicate.
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import UNIXAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import globalLogBeginner, textFileLogObserver

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.interfaces import Appended, IMailStore
from pycyrus.lmtp.protocol import LmtpFactory, LmtpProtocol
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.names import MailboxName
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.testing.messages import generate
from pycyrus.testing.programs import cpu_seconds
from pycyrus.testing.server import ServerProcess
from pycyrus.wire.dots import stuff

CONNECTIONS = (1, 16)
READ_SIZE = 65536


# --- in this process ------------------------------------------------------------


class NoStore:
    """Accepts everybody and keeps nothing; it is its own mailbox and staged message."""

    partition = "default"
    name = MailboxName("", "user", ())
    size = 0

    async def open(self, identity: object, name: object, right: str) -> NoStore:
        return self

    async def stage(self, identity: object, name: object) -> NoStore:
        return self

    async def check_quota(self, octets: int = 0, messages: int = 0) -> None:
        pass

    async def append(self, messages: Sequence[object], *, enforcement: object = None) -> Appended:
        return Appended(1, (1,))

    async def ready(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def finish(self, *, is_shared: bool = False) -> None:
        pass

    discard = close = lambda self: None


def measure_pipeline(seconds: float) -> None:
    """Print the CPU time of a transaction without its store."""
    clock = Clock()
    agent = DeliveryAgent(cast(IMailStore, cast(Any, NoStore())), DeliverySettings("bench.test"), clock)
    factory = LmtpFactory(
        agent,
        cast(Any, None),
        LmtpSettings("bench.test", preauthenticated=True),
        ConnectionLimits(LimitSettings()),
        None,
        clock,
    )
    messages = [stuff(message) for message in generate(500, 7)]
    size = sum(map(len, messages)) // len(messages)
    for recipients in (1, 10):
        protocol = cast(LmtpProtocol, factory.buildProtocol(UNIXAddress(None)))
        transport = StringTransport(hostAddress=UNIXAddress(None), peerAddress=UNIXAddress(None))
        protocol.makeConnection(transport)
        envelope = b"MAIL FROM:<a@example.org> SIZE=4096\r\n" + b"".join(
            b"RCPT TO:<u%d@bench.test>\r\n" % number for number in range(recipients)
        )
        count = 0
        began = time.process_time()
        while time.process_time() - began < seconds / 2:
            for message in messages:
                protocol.dataReceived(envelope + b"DATA\r\n")
                for offset in range(0, len(message), READ_SIZE):
                    protocol.dataReceived(message[offset : offset + READ_SIZE])
            count += len(messages)
            if b"Success" not in transport.value()[-100:]:
                raise RuntimeError(f"the session said {transport.value()[-200:]!r}")
            transport.clear()
        each = (time.process_time() - began) / count
        print(f"session and pipeline, {recipients:2} recipients, {size} octets {each * 1e6:8.1f} us CPU a message")


# --- on a running server -----------------------------------------------------------


def client(user: str, messages: Sequence[bytes], start: int) -> Generator[bytes, bytes, None]:
    """Deliver for ever: yields what is to be sent, gets a reply's octets, and yields empty to get more."""
    envelope = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<%s>\r\nDATA\r\n" % user.encode()
    serial = start
    while True:
        yield from _say(envelope, 3, b"354")
        message_id = b"Message-ID: <%d.%d.%s@bench.test>\r\n" % (time.monotonic_ns(), serial, user.encode())
        yield from _say(message_id + messages[serial % len(messages)], 1, b"250")
        serial += 1
        yield b"done"


def _say(data: bytes, replies: int, code: bytes) -> Generator[bytes, bytes, None]:
    heard = yield data
    while heard.count(b"\r\n") < replies:
        heard += yield b""
    if not heard.splitlines()[-1].startswith(code):
        raise RuntimeError(f"the server said {heard!r}")


def drive(path: Path, users: Sequence[str], messages: Sequence[bytes], seconds: float) -> tuple[int, list[float]]:
    """
    Deliver on one connection for each user.

    @return: How many were acknowledged, and the seconds each took.
    """
    selector = selectors.DefaultSelector()
    for number, user in enumerate(users):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        with connection.makefile("rb") as file:
            file.readline()
            connection.sendall(b"LHLO bench\r\n")
            while not file.readline().startswith(b"250 "):
                pass
        work = client(user, messages, number * 31)
        selector.register(connection, selectors.EVENT_READ, [work, time.monotonic()])
        connection.sendall(next(work))
    times: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            connection = cast(socket.socket, key.fileobj)
            work, began = key.data
            answer = work.send(connection.recv(READ_SIZE))
            if answer == b"done":
                now = time.monotonic()
                times.append(now - began)
                key.data[1] = now
                answer = next(work)
            if answer:
                connection.sendall(answer)
    for key in list(selector.get_map().values()):
        cast(socket.socket, key.fileobj).close()
    return len(times), times


def measure_server(seconds: float, options: Sequence[str]) -> None:
    """Print deliveries a second, durable ones, to different users."""
    directory = Path(tempfile.mkdtemp(prefix="pyc-"))
    server = ServerProcess(directory, *(word for option in options for word in ("--option", option)))
    try:
        server.start()
        users = [server.add_user(f"u{number:02}", "secret").user for number in range(max(CONNECTIONS))]
        messages = [stuff(message) for message in generate(500, 7)]
        for count in CONNECTIONS:
            drive(server.socket("lmtpunix"), users[:count], messages, 0.5)
            before = cpu_seconds(server.pid)
            done, times = drive(server.socket("lmtpunix"), users[:count], messages, seconds)
            cpu = (cpu_seconds(server.pid) - before) / done
            times.sort()
            print(
                f"deliveries on {count:2} connections {done / seconds:8.0f}/s {cpu * 1e6:8.0f} us CPU each,"
                f" p50 {times[done // 2] * 1e3:.1f} ms, p99 {times[done * 99 // 100] * 1e3:.1f} ms"
            )
        server.stop()
    finally:
        server.kill()
        shutil.rmtree(directory)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with open(os.devnull, "w") as nowhere:
        globalLogBeginner.beginLoggingTo([textFileLogObserver(nowhere)], redirectStandardIO=False)
        measure_pipeline(seconds)
    measure_server(seconds, sys.argv[2:])


if __name__ == "__main__":
    main()
