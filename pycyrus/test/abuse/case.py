"""What tests of abuse have in common: servers as child processes, clients on raw sockets, and measures."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.testing.server import ServerProcess

TIMEOUT = 300.0
"""Seconds to wait for any one answer."""
NOBODY_WAITS = ("--option", "failedloginpause=0s")
TIGHT = (
    *NOBODY_WAITS,
    *("--option", "unauthenticated_connections=300"),
    *("--option", "connections_per_address=200"),
    *("--option", "connections_per_user=20"),
    *("--option", "maxmessagesize=100000"),
)
"""Limits that can be reached in a moment."""

_servers: dict[tuple[str, ...], ServerProcess] = {}


def shared_server(*arguments: str) -> ServerProcess:
    """
    A server that all tests with the same arguments share, until the process ends.

    That it still runs after each of them is a part of what is tested.
    """
    server = _servers.get(arguments)
    if server is None:
        directory = Path(tempfile.mkdtemp(prefix="pyc-"))
        server = ServerProcess(directory, *arguments)
        atexit.register(_remove, server)
        server.start()
        _servers[arguments] = server
    return server


def _remove(server: ServerProcess) -> None:
    server.kill()
    shutil.rmtree(server.directory, ignore_errors=True)


class Wire:
    """A client that sends octets and reads lines."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        sock.settimeout(TIMEOUT)

    def send(self, data: bytes) -> None:
        """Send in as few segments as the kernel likes."""
        self.sock.sendall(data)

    def send_all_it_takes(self, data: bytes) -> None:
        """Send until all is gone, or the server is."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(data)

    def send_aside(self, data: bytes) -> threading.Thread:
        """Send while this thread does something else; it ends when all is gone or the server is."""
        thread = threading.Thread(target=self.send_all_it_takes, args=(data,), daemon=True)
        thread.start()
        return thread

    def line(self) -> bytes:
        """
        Read a line, without its end.

        @raise EOFError: The server closed.
        """
        while b"\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def until(self, start: bytes) -> list[bytes]:
        """Read lines up to one that begins so."""
        lines = [self.line()]
        while not lines[-1].startswith(start):
            lines.append(self.line())
        return lines

    def command(self, text: bytes) -> bytes:
        """Send an IMAP command and read its tagged answer."""
        self.send(b"t " + text + b"\r\n")
        return self.until(b"t ")[-1]

    def say(self, text: bytes) -> bytes:
        """Send an LMTP command and read the last line of its reply."""
        self.send(text + b"\r\n")
        return self.reply()

    def reply(self) -> bytes:
        """Read a reply of LMTP."""
        while (line := self.line())[3:4] == b"-":
            pass
        return line

    def rest(self) -> bytes:
        """Read until the server closes; a reset is an end, too."""
        data, self._buffer = self._buffer, b""
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            while more := self.sock.recv(65536):
                data += more
        return data

    def drain(self, end: bytes) -> int:
        """Read octets up to some that end so; only their number is kept."""
        count = len(self._buffer)
        tail, self._buffer = self._buffer, b""
        while end not in tail:
            data = self.sock.recv(1 << 18)
            if not data:
                raise EOFError(tail)
            count += len(data)
            tail = tail[-len(end) :] + data
        return count

    def start_tls(self) -> None:
        """Shake hands, whoever the server is."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)
        self._buffer = b""

    def close(self) -> None:
        """Go away."""
        self.sock.close()


class AbuseCase(SynchronousTestCase):
    """Has a server as a child process, which must be there and well after each test."""

    timeout = 100
    arguments: ClassVar[Sequence[str]] = NOBODY_WAITS

    def setUp(self) -> None:
        self.server = shared_server(*self.arguments)

    def tearDown(self) -> None:
        # It lives, answers, and has noted nothing that it did not expect.
        with contextlib.closing(self.connect()) as wire:
            self.assertTrue(wire.command(b"NOOP").startswith(b"t OK"))
        log = self.server.log.read_text("utf-8", "replace")
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Unhandled", log)

    # --- clients ------------------------------------------------------------------

    def open(self, service: str = "imap") -> Wire:
        """Connect, and read nothing."""
        entry = self.server.ready["services"][service]
        if "path" in entry:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(entry["path"])
        else:
            sock = socket.create_connection((entry["host"], entry["port"]))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
        self.addCleanup(wire.close)
        return wire

    def connect(self, service: str = "imap") -> Wire:
        """Connect, and read the greeting."""
        wire = self.open(service)
        if service == "imaps":
            wire.start_tls()
        greeting = wire.line()
        self.assertTrue(greeting.startswith((b"* OK", b"220")), greeting)
        return wire

    def user(self, service: str = "imap", role: str = "user") -> Wire:
        """Log in."""
        wire = self.connect(service)
        login = self.server.account(role)
        answer = wire.command(f"LOGIN {login.user} {login.password}".encode())
        self.assertTrue(answer.startswith(b"t OK"), answer)
        return wire

    def postman(self) -> Wire:
        """Connect to LMTP's Unix socket, and say LHLO."""
        wire = self.connect("lmtpunix")
        self.assertTrue(wire.say(b"LHLO client.test").startswith(b"250"))
        return wire

    def deliver(self, message: bytes) -> bytes:
        """Deliver a message without lines that begin with a dot; gives the reply."""
        wire = self.postman()
        wire.say(b"MAIL FROM:<>")
        wire.say(b"RCPT TO:<user>")
        wire.say(b"DATA")
        wire.send(message + b"\r\n.\r\n")
        reply = wire.reply()
        wire.close()
        return reply

    # --- measures -----------------------------------------------------------------

    def memory(self) -> int:
        """Octets of memory that the server has had at most so far."""
        status = Path(f"/proc/{self.server.pid}/status").read_text("ascii")
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024

    @contextlib.contextmanager
    def bounded_memory(self, octets: int) -> Iterator[None]:
        """
        Fail if the server takes more memory within.

        @param octets: Above what it has had at most before.
        """
        before = self.memory()
        yield
        self.assertLess(self.memory() - before, octets)

    @contextlib.contextmanager
    def others_served(self, seconds: float = 15.0) -> Iterator[None]:
        """
        Fail if another client has to wait for an answer meanwhile.

        @param seconds: For one answer; generous, because machines are busy.
        """
        waits: list[float] = []
        is_over = threading.Event()
        other = self.user()

        def ask() -> None:
            # The wait that was interrupted by an error counts as endless.
            while not is_over.wait(0.02):
                begun = time.monotonic()
                waits.append(float("inf"))
                other.command(b"NOOP")
                waits[-1] = time.monotonic() - begun

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(TIMEOUT)
            other.close()
        self.assertLess(max(waits, default=0.0), seconds)
