"""Plays every conversation of C{test/transcripts/imap}."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import ImapServer, open_mail_server, settings_of
from pycyrus.testing.transcript import Player, TranscriptError, add_tests, read_steps

CONVERSATIONS = Path(__file__).parents[1] / "transcripts" / "imap"


class ConversationTests(TestCase):
    """Each file is a test, named for it."""

    def play(self, file: Path) -> Deferred[None]:
        return Deferred.fromCoroutine(self._play(file.read_text("utf-8")))

    async def _play(self, text: str) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        server = await open_mail_server(directory, settings_of(text), reactor=cast(WatchReactor, reactor), tls=object())
        try:
            await Player(server).play(text)
        finally:
            await server.shut_down()


add_tests(ConversationTests, CONVERSATIONS)


class PlayerTests(SynchronousTestCase):
    """A conversation that does not go as written fails."""

    def play(self, text: str) -> None:
        server = ImapServer(settings_of(text))
        self.addCleanup(server.close)
        self.successResultOf(Deferred.fromCoroutine(Player(server).play(text)))

    def fails(self, text: str) -> str:
        server = ImapServer(settings_of(text))
        self.addCleanup(server.close)
        failure = self.failureResultOf(Deferred.fromCoroutine(Player(server).play(text)), TranscriptError)
        return str(failure.value)

    def test_other_words(self) -> None:
        self.assertIn("line 2: 'a1 OK Completed'", self.fails("C: a1 NOOP\nS: a1 OK done\n"))

    def test_words_not_expected(self) -> None:
        self.assertIn("after line 1", self.fails("C: a1 NOOP\n"))
        self.assertIn("before line 3", self.fails("C: a1 NOOP\n\nC: a2 NOOP\nS: a2 OK Completed\n"))

    def test_silence(self) -> None:
        self.assertIn("silence", self.fails("C: a1 NOOP\nS: a1 OK Completed\nS: a2 OK Completed\n"))

    def test_variables_stay_what_they_were(self) -> None:
        self.play("C: a1 NOOP\nS: a1 OK $word\nC: $word NOOP\nS: $word OK ...\n")
        self.assertIn("'a2 OK Completed'", self.fails("C: a1 NOOP\nS: $tag OK ...\nC: a2 NOOP\nS: $tag OK ...\n"))

    def test_connections_are_apart(self) -> None:
        self.play("C1: a1 NOOP\nC2: b1 NOOP\nS2: b1 OK Completed\nS1: a1 OK Completed\n")

    def test_closed(self) -> None:
        self.play("C: a1 LOGOUT\nS: * BYE LOGOUT received\nS: a1 OK Completed\n@closed\n")
        self.assertIn("is open", self.fails("C: a1 NOOP\nS: a1 OK Completed\n@closed\n"))

    def test_options(self) -> None:
        self.play("@option server_name=mail.example\nS: * OK [...] mail.example Cyrus IMAP ...\n")
        self.assertRaises(TranscriptError, settings_of, "@option no_such=1\n")

    def test_a_line_that_is_none(self) -> None:
        self.assertRaises(TranscriptError, list, read_steps("hello\n"))
