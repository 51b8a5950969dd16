"""A client that waits long for a search is told how far it is (RFC 9585)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.commands.search import Progress


class ProgressTests(SynchronousTestCase):
    def test_now_and_then(self) -> None:
        """Not at once, nor too often."""
        clock = Clock()
        said: list[bytes] = []
        session: Any = SimpleNamespace(clock=clock, tag=b"a1", write=said.append, flush=lambda: None)
        progress = Progress(cast(Any, session))
        for done in range(0, 1200, 100):
            progress(done, 1000)
            clock.advance(1)
        self.assertEqual(
            said,
            [
                b'* OK [INPROGRESS ("a1" 500 1000)] Searching\r\n',
                b'* OK [INPROGRESS ("a1" 1000 1000)] Searching\r\n',
            ],
        )
