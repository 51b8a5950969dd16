"""Conversations from files, played against the server in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.test.delivery.doubles import MemoryStore
from pycyrus.test.lmtp.driver import Connection
from pycyrus.testing import transcript

FILES = Path(__file__).parent.parent / "transcripts" / "lmtp"
OPTIONS: dict[str, Callable[[str], object]] = {
    "unix": lambda text: text == "yes",
    "tls": lambda text: object() if text == "yes" else None,
    "max_message_size": int,
}


class Line:
    """A connection as the player wants it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._heard = b""

    @property
    def is_closed(self) -> bool:
        return self._connection.closed

    def send(self, data: bytes) -> None:
        self._connection.protocol.dataReceived(data)

    async def receive_line(self) -> bytes | None:
        line, end, rest = self.pending().partition(b"\r\n")
        if not end:
            return None
        self._heard = rest
        return line

    def pending(self) -> bytes:
        self._heard += self._connection.raw()
        return self._heard

    def drop(self) -> None:
        self._connection.lose()


class Server:
    """A server for one conversation, with the users fred and jane."""

    def __init__(self, options: dict[str, object]) -> None:
        store = MemoryStore()
        store.add_user("fred")
        store.add_user("jane")
        self.connection = Connection(store, **options)  # type: ignore[arg-type] # by name, from the file

    def connect(self) -> Line:
        return Line(self.connection)

    def advance(self, seconds: float) -> None:
        self.connection.clock.advance(seconds)

    async def log_in(self, connection: transcript.Connection, user: str) -> None:
        raise transcript.TranscriptError("LMTP conversations log in themselves")


class TranscriptTests(SynchronousTestCase):
    def play(self, path: Path) -> None:
        text = path.read_text("utf-8")
        server = Server(transcript.options_of(text, OPTIONS))
        self.successResultOf(Deferred.fromCoroutine(transcript.Player(server).play(text)))


transcript.add_tests(TranscriptTests, FILES)
