"""
POP3: sessions a second on a running server, and what each costs it.

    python benchmarks/pop3.py [seconds [option=value ...]]

A session is a connection, USER and PASS, STAT, LIST, UIDL, RETR of ten messages of 4 KiB, and QUIT, each command after
the answer to the one before.  CPU time is that of the server alone, which runs in one process.  Options are those of
imapd.conf.
"""

from __future__ import annotations

import selectors
import shutil
import smtplib
import socket
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import cast

from pycyrus.testing.programs import cpu_seconds
from pycyrus.testing.server import ServerProcess

CONNECTIONS = (1, 4)
MESSAGES = 10
SIZE = 4096


def session(user: bytes) -> Generator[bytes, bytes, None]:
    """One session: yields what is to be sent, and gets what came, until the answer is complete."""
    yield from _ask(b"", b"\r\n")
    yield from _ask(b"USER %b\r\n" % user, b"\r\n")
    yield from _ask(b"PASS secret\r\n", b"\r\n")
    yield from _ask(b"STAT\r\n", b"\r\n")
    yield from _ask(b"LIST\r\n", b"\r\n.\r\n")
    yield from _ask(b"UIDL\r\n", b"\r\n.\r\n")
    for number in range(1, MESSAGES + 1):
        yield from _ask(b"RETR %d\r\n" % number, b"\r\n.\r\n")
    yield from _ask(b"QUIT\r\n", b"\r\n")


def _ask(command: bytes, end: bytes) -> Generator[bytes, bytes, None]:
    heard = yield command
    while not heard.endswith(end):
        heard += yield b""
    if not heard.startswith(b"+OK"):
        raise RuntimeError(f"the server said {heard!r}")


def drive(port: int, users: Sequence[str], seconds: float) -> list[float]:
    """
    Hold sessions, one after another for each user.

    @return: The seconds that each took.
    """
    selector = selectors.DefaultSelector()

    def begin(user: bytes) -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        talk = session(user)
        next(talk)
        selector.register(connection, selectors.EVENT_READ, (talk, user, time.monotonic()))

    for user in users:
        begin(user.encode())
    times: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in selector.select(1):
            connection = cast(socket.socket, key.fileobj)
            talk, user, began = key.data
            try:
                connection.sendall(talk.send(connection.recv(65536)))
            except StopIteration:
                times.append(time.monotonic() - began)
                selector.unregister(connection)
                connection.close()
                begin(user)
    for key in list(selector.get_map().values()):
        cast(socket.socket, key.fileobj).close()
    return times


def fill(server: ServerProcess, user: str) -> None:
    """Deliver what the sessions read."""
    with smtplib.LMTP(str(server.socket("lmtpunix"))) as client:
        for number in range(MESSAGES):
            head = b"Message-ID: <%d.%s@bench.test>\r\nSubject: %d\r\n\r\n" % (number, user.encode(), number)
            body = b"Some words that fill a line up to its end, as texts have them.\r\n" * (SIZE // 64)
            client.sendmail("a@example.org", [user], head + body)


def main() -> None:
    """Measure, and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    directory = Path(tempfile.mkdtemp(prefix="pyc-"))
    options = (word for option in sys.argv[2:] for word in ("--option", option))
    server = ServerProcess(directory, "--workers", "0", *options)
    try:
        server.start()
        users = [server.add_user(f"u{number:02}", "secret").user for number in range(max(CONNECTIONS))]
        for user in users:
            fill(server, user)
        for count in CONNECTIONS:
            drive(server.port("pop3"), users[:count], 0.5)
            before = cpu_seconds(server.pid)
            times = sorted(drive(server.port("pop3"), users[:count], seconds))
            done = len(times)
            cpu = (cpu_seconds(server.pid) - before) / done
            print(
                f"sessions on {count} connections {done / seconds:8.0f}/s {cpu * 1e6:8.0f} us CPU each,"
                f" p50 {times[done // 2] * 1e3:.1f} ms, p99 {times[done * 99 // 100] * 1e3:.1f} ms"
            )
        server.stop()
    finally:
        server.kill()
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
