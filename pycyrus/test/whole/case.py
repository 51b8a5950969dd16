"""What tests of the whole server have in common."""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.testing.server import Login, ServerProcess

TIMEOUT = 60.0
"""Seconds to wait for any one answer."""


class WholeServerCase(SynchronousTestCase):
    """
    Has a server of its own, in a directory with a short name.

    Nothing is asserted by looking at its memory: only by what clients are
    told, and by the files it writes.
    """

    timeout = 150
    arguments: Sequence[str] = ()

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="pyc-"))
        # Other users' programs, such as Postfix's, must come through to the sockets.
        self.directory.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = ServerProcess(self.directory, *self.arguments)
        # After a failure the process must go, however it is.
        self.addCleanup(self.server.kill)
        self.prepare()
        self.server.start()

    def prepare(self) -> None:
        """Whatever is needed before the server starts."""

    def imap(self, login: Login) -> imaplib.IMAP4:
        """A logged-in client."""
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"), TIMEOUT)
        self.addCleanup(_shut_down, client)
        client.login(login.user, login.password)
        return client

    def message_directory(self, user: str) -> Path:
        """Where the messages of a user's INBOX are files, by the documentation of Cyrus."""
        (found,) = self.server.home.glob(f"**/user/{user}")
        return found

    def lmtp(self) -> LmtpClient:
        """A client at the Unix socket, after LHLO."""
        client = LmtpClient(self.server.socket("lmtpunix"))
        self.addCleanup(client.close)
        return client


def _shut_down(client: imaplib.IMAP4) -> None:
    # After LOGOUT it is closed already.
    with contextlib.suppress(OSError):
        client.shutdown()


class LmtpClient:
    """Says LMTP at a Unix socket, one reply at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self.reply()
        self.say(b"LHLO client.test")

    def reply(self) -> bytes:
        """
        Read one reply.

        @raise ConnectionError: The server is gone.
        """
        whole = b""
        while True:
            line = self._file.readline()
            if not line.endswith(b"\r\n"):
                raise ConnectionError("the server is gone")
            whole += line
            if line[3:4] != b"-":
                return whole

    def say(self, line: bytes) -> bytes:
        """Say a line and read its reply."""
        self._socket.sendall(line + b"\r\n")
        return self.reply()

    def deliver(self, sender: str, recipients: Sequence[str], message: bytes) -> list[bytes]:
        """
        Deliver a message.

        @param message: Without lines that begin with a dot.

        @return: The replies after the body.
        """
        lines = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{recipient}>" for recipient in recipients)]
        accepted = [self.say(line.encode("ascii")) for line in lines]
        assert all(reply.startswith(b"250") for reply in accepted), accepted
        assert self.say(b"DATA").startswith(b"354")
        self._socket.sendall(message + b".\r\n")
        return [self.reply() for _ in recipients]

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


def fetch_all(client: imaplib.IMAP4, mailbox: str = "INBOX") -> dict[int, bytes]:
    """All messages of a mailbox, by UID."""
    status, _ = client.select(mailbox, readonly=True)
    assert status == "OK"
    status, answers = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
    assert status == "OK"
    messages: dict[int, bytes] = {}
    for answer in answers:
        if isinstance(answer, tuple):
            before, body = answer
            words = before.split()
            messages[int(words[words.index(b"(UID") + 1 if b"(UID" in words else words.index(b"UID") + 1])] = body
    return messages


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """
    Do something in some threads at a time.

    @param work: Gets the thread's number.

    @return: What went wrong in them.
    """
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - told to the caller
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 5)
    return failures
