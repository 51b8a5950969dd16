"""Backends that are away, die or hang: they harm their own mailboxes only."""

from __future__ import annotations

import contextlib

from twisted.internet.protocol import Protocol, ServerFactory

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Location
from pycyrus.murder.imap.routes import RouteSettings
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.test.murder.cluster import MurderCase
from pycyrus.test.murder.test_imap import MESSAGE

LIES = (
    bytes(range(256)) * 80,
    b"* 1 FETCH (BODY[] {99999999999999}\r\nabc",
    b"* 1 FETCH (BODY[] {-5}\r\nabc\r\n",
    b"* 1 FETCH " + b"(" * 100_000 + b"\r\n",
    b"* 1 FETCH (FLAGS (" + b"x" * 300_000,
    b"\r\r\n\n\n\0\0",
    b"+ go\r\n+ go\r\n",
    b"other OK done\r\n",
)
"""Answers to FETCH, after which the connection ends."""
GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n"


class FailureTests(MurderCase):
    async def test_a_backend_that_is_away(self) -> None:
        """Its mailboxes are not available; others are, and so is the listing."""
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        await self.stop_backend(self.servers[1])
        client = await self.client()
        for command in (b"SELECT user.bob", b"STATUS user.bob (MESSAGES)", b"GETQUOTAROOT user.bob"):
            self.assertIn(b"[UNAVAILABLE] Server(s) unavailable", await self.do(client, command, b"NO"))
        # What the directory knows is told all the same.
        self.assertIn(b"user.bob", await self.do(client, b'LIST "" "*"'))
        self.assertIn(b"* MYRIGHTS user.bob lrswite", await self.do(client, b"MYRIGHTS user.bob"))
        await self.append(client, b"INBOX", MESSAGE)
        await self.do(client, b"SELECT INBOX")
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"COPY 1 user.bob", b"NO"))
        await self.do(client, b"NOOP")

    async def test_a_backend_that_dies_under_a_session(self) -> None:
        """The client is told so, until it selects another mailbox, and stays connected."""
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        client = await self.client()
        await self.do(client, b"SELECT user.bob")
        await self.stop_backend(self.servers[1])
        for _ in range(2):
            self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"FETCH 1:* FLAGS", b"NO"))
        await self.append(client, b"INBOX", MESSAGE)
        self.assertIn(b"* 1 EXISTS", await self.do(client, b"SELECT INBOX"))
        self.assertIn(b"FLAGS", await self.do(client, b"FETCH 1:* FLAGS"))

    async def test_a_kept_connection_that_died(self) -> None:
        """A backend that was restarted is found again."""
        client = await self.client()
        await self.do(client, b"STATUS INBOX (MESSAGES)")
        for session in list(self.factories[self.servers[0]].sessions):
            session.abort()
        while self.factories[self.servers[0]].sessions:
            await self.turn()
        await self.turn()
        await self.do(client, b"STATUS INBOX (MESSAGES)")

    async def test_half_a_response(self) -> None:
        """A client that was sent half a response cannot be told anything: its connection ends."""
        server = self._rogue(b"* 1 FETCH (BODY[] {100}\r\nhalf")
        client = await self.client()
        await self.do(client, b"SELECT " + server)
        with self.assertRaises(StoreUnavailable):
            await client.ask(b"FETCH 1 BODY[]")

    async def test_a_backend_that_says_goodbye(self) -> None:
        """Its goodbye is not this server's."""
        server = self._rogue(b"* BYE going down\r\n")
        client = await self.client()
        await self.do(client, b"SELECT " + server)
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"FETCH 1 FLAGS", b"NO"))
        await self.do(client, b"SELECT INBOX")

    async def test_lies(self) -> None:
        """Whatever it answers, the client is told or cut, soon, and others go on."""
        other = await self.client()
        await self.do(other, b"SELECT INBOX")
        for answer in LIES:
            name = self._rogue(answer)
            client = await self.client()
            await self.do(client, b"SELECT " + name)
            with contextlib.suppress(StoreUnavailable):
                _, status, text = await client.ask(b"FETCH 1 (FLAGS BODY[])", 60.0)
                self.assertEqual((status, text[:13]), (b"NO", b"[UNAVAILABLE]"), answer[:40])
            self.assertNotEqual(client.lost_reason, "no answer", answer[:40])
            await self.do(other, b"NOOP")

    async def test_rubbish(self) -> None:
        """What is no IMAP is no backend."""
        name = self._rogue(b"", greeting=b"220 smtp.example.com\r\n")
        client = await self.client()
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"SELECT " + name, b"NO"))

    async def test_a_hanging_backend(self) -> None:
        """Time is limited, and the next one need not wait."""
        name = self._rogue(b"", greeting=b"")
        impatience = self.patch(self._module(), "LOGIN_WITHIN", 0.05)
        client = await self.client()
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"SELECT " + name, b"NO"))
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"SELECT " + name, b"NO"))
        impatience.restore()
        await self.do(client, b"SELECT INBOX")

    async def test_a_backend_that_is_cut_off(self) -> None:
        """It accepts, as its kernel does, and says nothing; it harms its own mailboxes only, and is found again."""
        bob = await self.client("bob")
        await self.do(bob, b"SETACL INBOX alice lrswite")
        client = await self.client()
        await self.append(client, b"INBOX", MESSAGE)
        port = self.ports[self.servers[1]]
        port.stopReading()
        impatience = self.patch(self._module(), "LOGIN_WITHIN", 0.1)
        for command in (b"SELECT user.bob", b"STATUS user.bob (MESSAGES)"):
            self.assertIn(b"[UNAVAILABLE]", await self.do(client, command, b"NO"))
        impatience.restore()
        self.assertIn(b"* 1 EXISTS", await self.do(client, b"SELECT INBOX"))
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"COPY 1 user.bob", b"NO"))
        port.startReading()
        self.links.health.forget()
        await self.do(client, b"COPY 1 user.bob")
        self.assertIn(b"MESSAGES 1", await self.do(client, b"STATUS user.bob (MESSAGES)"))

    async def test_a_proxy_that_is_not_let_in(self) -> None:
        """A wrong password of the frontend is not the client's affair, which is told so."""
        self.links = self.make_links()
        self.links.settings = BackendSettings(
            {"": self.links.settings.credentials[""].__class__("mailproxy", password="wrong")}
        )
        client = await self.client("alice", self.start_frontend(RouteSettings()))
        self.assertIn(b"[UNAVAILABLE]", await self.do(client, b"SELECT INBOX", b"NO"))

    def _rogue(
        self, answer: bytes, greeting: bytes = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hi\r\n"
    ) -> bytes:
        port = self.reactor.listenTCP(0, _Rogue(greeting, answer), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        location = Location("user.rogue", f"127.0.0.1:{port.getHost().port}", "default", "anyone\tlrs\t")
        self.directory.locations[location.mailbox] = self.directory.said[location.mailbox] = location
        return b"user.rogue"

    def _module(self) -> object:
        from pycyrus.murder.servers import imap_link as link

        return link


class _RogueProtocol(Protocol):
    factory: _Rogue

    def connectionMade(self) -> None:
        self.factory.write(self, self.factory.greeting)

    def dataReceived(self, data: bytes) -> None:
        tag, _, rest = data.partition(b" ")
        if rest[:5] == b"FETCH":
            self.factory.write(self, self.factory.answer)
            assert self.transport is not None
            self.transport.loseConnection()
        elif tag:
            self.factory.write(self, tag + b" OK [READ-WRITE] done\r\n")


class _Rogue(ServerFactory):
    protocol = _RogueProtocol  # type: ignore[assignment] # a class is what Twisted calls
    noisy = False

    def __init__(self, greeting: bytes, answer: bytes) -> None:
        self.greeting = greeting
        self.answer = answer

    def write(self, protocol: Protocol, data: bytes) -> None:
        if data:
            assert protocol.transport is not None
            protocol.transport.write(data)
