"""Conversations from files, played against the server in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.pop3.settings import UidlFormat
from pycyrus.test.pop3.driver import Server
from pycyrus.testing import transcript

FILES = Path(__file__).parent.parent / "transcripts" / "pop3"
OPTIONS: dict[str, Callable[[str], object]] = {
    "tls": lambda text: object() if text == "yes" else None,
    "plaintext": lambda text: text == "yes",
    "uidl_format": lambda text: UidlFormat[text.upper()],
    "login_delay": float,
    "expire": int,
    "has_subfolders": lambda text: text == "yes",
    "uses_imap_flags": lambda text: text == "yes",
}


class TranscriptTests(SynchronousTestCase):
    def play(self, path: Path) -> None:
        self.successResultOf(Deferred.fromCoroutine(self._play(path)))

    async def _play(self, path: Path) -> None:
        text = path.read_text("utf-8")
        server = Server(**transcript.options_of(text, OPTIONS))  # type: ignore[arg-type] # by name, from the file
        await server.fill()
        await transcript.Player(server).play(text)


transcript.add_tests(TranscriptTests, FILES)
