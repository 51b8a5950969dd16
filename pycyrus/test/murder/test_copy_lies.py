"""COPY from a server that lies: the other one has all messages as they are, or none."""

from __future__ import annotations

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Protocol, ServerFactory

from pycyrus.errors import StoreUnavailable
from pycyrus.imap.wire.frames import Literal
from pycyrus.interfaces import Location
from pycyrus.murder.imap.copy_sources import _body_of
from pycyrus.test.murder.cluster import MurderCase

GREETING = b"* OK [CAPABILITY IMAP4rev1 LITERAL+ AUTH=PLAIN SASL-IR] hi\r\n"
KNOWN = (
    rb'* %d FETCH (FLAGS (\Seen Work \Strange) UID %d INTERNALDATE "20-Nov-2026 22:55:07 +0000" RFC822.SIZE %d)'
    b"\r\n"
)
BODY = b"Subject: x\r\n\r\nx\r\n"
WHOLE = b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)\r\n* 2 FETCH (BODY[] {%d}\r\n%b UID 2)\r\n" % (17, BODY, 17, BODY)
LIES = (
    b"",
    b"* 1 FETCH (UID 1 BODY[] {17}\r\n%b)\r\n" % BODY,
    WHOLE.replace(b"UID 2", b"UID 7"),
    WHOLE.replace(b"{17}", b"{18}"),
    WHOLE.replace(b"{17}\r\nSubject", b"{16}\r\nubject"),
    b'* 1 FETCH (UID 1 BODY[] "short")\r\n* 2 FETCH (UID 2 BODY[] NIL)\r\n',
    bytes(range(256)) * 50 + b"\r\n",
)


class _Liar(Protocol):
    factory: Any

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(GREETING)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        for line in data.splitlines():
            tag, _, rest = line.partition(b" ")
            if rest.startswith(b"FETCH"):
                self.transport.write(KNOWN % (1, 1, len(BODY)) + KNOWN % (2, 2, len(BODY)))
            elif rest.startswith(b"UID FETCH"):
                self.transport.write(self.factory.answer)
            self.transport.write(tag + b" OK [READ-WRITE] done\r\n")


class CopyTests(MurderCase):
    async def test_all_or_none(self) -> None:
        """Whatever it answers, the client is told, and nothing of it arrives."""
        factory = ServerFactory.forProtocol(_Liar)
        factory.noisy = False
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.directory.catch_up = _at_once  # type: ignore[method-assign] # what is known stays
        location = Location("user.liar", f"127.0.0.1:{port.getHost().port}", "default", "anyone\tlrste\t")
        self.directory.locations[location.mailbox] = location
        other = await self.client()
        for answer in LIES:
            factory.answer = answer  # type: ignore[attr-defined] # what it says
            client = await self.client()
            await self.do(client, b"SELECT user.liar")
            with contextlib.suppress(StoreUnavailable):
                _, status, text = await client.ask(b"COPY 1:2 INBOX", 10.0)
                self.assertEqual(status, b"NO", (answer[:60], text))
            self.assertNotEqual(client.lost_reason, "no answer", answer[:60])
            self.assertIn(b"MESSAGES 0", await self.do(other, b"STATUS INBOX (MESSAGES)"))
        factory.answer = WHOLE  # type: ignore[attr-defined] # this time the truth
        client = await self.client()
        await self.do(client, b"SELECT user.liar")
        await self.do(client, b"COPY 1:2 INBOX")
        await self.do(other, b"SELECT INBOX")
        said = await self.do(other, b"FETCH 1:* (FLAGS BODY.PEEK[])")
        self.assertEqual((said.count(BODY), said.count(b"Work"), said.count(b"Strange")), (2, 2, 0))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.one_of(st.binary(max_size=40), st.builds(Literal, st.binary(max_size=10)),
                              st.sampled_from((b"* 1 FETCH (UID 1 BODY[]", b" UID 9", b' BODY[] "x')))))  # fmt: skip
    def test_responses(self, response: list[bytes | Literal]) -> None:
        """No response is misunderstood: what has no UID and no octets is none."""
        found = _body_of(response)
        self.assertTrue(found is None or (found[0] >= 0 and isinstance(found[1], bytes)))


async def _at_once() -> None:
    """Nothing to wait for."""
