"""Connections to backends that send whatever they like."""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.model.identity import POSTMAN
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.servers.lines import LONGEST_LINE, LineClient
from pycyrus.murder.servers.lmtp_link import LmtpLink
from pycyrus.murder.spool import Spool

_PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [b"+ \r\n", b"+ ====\r\n", b"PROXY1 OK done\r\n", b"PROXY2 NO [X] no {3}\r\n", b"* BYE\r\n", b"{5}\r\n",
             b"* OK [CAPABILITY AUTH=PLAIN]\r\n", b"250-x\r\n", b"250 ok\r\n", b"354 go\r\n", b"550 5.1.1 no\r\n"]
        ),
    ),
    max_size=12,
)  # fmt: skip
CREDENTIALS = ClientCredentials("proxy", "user", password="secret")


class Transport(StringTransport):
    """What a link asks of its transport."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass


class LinkTests(SynchronousTestCase):
    def _end_of(self, work: Coroutine[Any, Any, Any], link: Any, pieces: list[bytes], clock: Clock) -> object:
        """What came of it, when the pieces came, and then nothing more."""
        found: list[object] = []
        _ = Deferred.fromCoroutine(work).addBoth(found.append)
        for piece in pieces:
            if link.lost_reason is None:
                link.dataReceived(piece)
        for _ in range(30):
            if found:
                break
            clock.advance(600)
            if link.lost_reason is not None and not found:
                link.connectionLost(Failure(ConnectionError("gone")))
        self.assertTrue(found, "it waits for ever")
        outcome = found[0]
        if isinstance(outcome, Failure):
            self.assertIsInstance(outcome.value, MailStoreError, outcome)
        return outcome

    @settings(max_examples=120, deadline=None, database=None)
    @given(_PIECES)
    def test_imap(self, pieces: list[bytes]) -> None:
        """A login and a command end, by success or by an error that is known, whatever comes."""
        clock = Clock()
        link = ImapLink("backend", clock)
        link.makeConnection(Transport())

        async def work() -> None:
            await link.greeted()
            await link.authenticate(choose(["PLAIN"], CREDENTIALS, tls=True))
            await link.ask(b"NOOP")

        self._end_of(work(), link, pieces, clock)

    @settings(max_examples=120, deadline=None, database=None)
    @given(_PIECES)
    def test_lmtp(self, pieces: list[bytes]) -> None:
        """No recipient is told of a success that the backend did not tell of."""
        clock = Clock()
        link = LmtpLink("backend", "me", clock, 10.0)
        link.makeConnection(Transport())
        spool = Spool()
        self.addCleanup(spool.discard)
        spool.write(b"x\r\n")
        envelope = Envelope("a@example.com", None, POSTMAN, "c", "h", "LMTP", "s")

        async def work() -> list[MailStoreError | None]:
            await link.greet()
            return await link.deliver(envelope, [Recipient("a", ""), Recipient("b", "")], spool)

        outcome = self._end_of(work(), link, pieces, clock)
        if isinstance(outcome, list) and None in outcome:
            # Greeting, LHLO, RSET, MAIL, two recipients, DATA and what follows.
            self.assertGreaterEqual(b"".join(pieces).count(b"\n"), 8)
            self.assertIn(b"354", b"".join(pieces))

    @settings(max_examples=120, deadline=None, database=None)
    @given(_PIECES)
    def test_lmtp_chunk(self, pieces: list[bytes]) -> None:
        """Nor where the message goes together with its envelope."""
        clock = Clock()
        link = LmtpLink("backend", "me", clock, 10.0)
        link.makeConnection(Transport())
        link.extensions = {"PIPELINING": [], "CHUNKING": []}
        spool = Spool()
        spool.write(b"x\r\n")
        envelope = Envelope("a@example.com", None, POSTMAN, "c", "h", "LMTP", "s")
        work = link.deliver(envelope, [Recipient("a", "")], spool)
        if self._end_of(work, link, pieces, clock) == [None]:
            # RSET, MAIL, RCPT and the chunk.
            self.assertGreaterEqual(b"".join(pieces).count(b"\n"), 4)
            self.assertGreaterEqual(len(re.findall(rb"(?m)^2\d\d", b"".join(pieces))), 3)

    def test_a_line_without_end(self) -> None:
        """It is cut off before it is much."""
        clock = Clock()
        link = LineClient("backend", clock)
        link.makeConnection(Transport())
        outcome = self._end_of(link.line(), link, [b"x" * 4000] * (LONGEST_LINE // 4000 + 2), clock)
        assert isinstance(outcome, Failure)
        self.assertIsInstance(outcome.value, StoreUnavailable)

    def test_silence(self) -> None:
        """Nobody is waited for without end."""
        clock = Clock()
        link = ImapLink("backend", clock)
        link.makeConnection(Transport())
        outcome = self._end_of(link.greeted(), link, [], clock)
        assert isinstance(outcome, Failure)
        self.assertIsInstance(outcome.value, StoreUnavailable)
