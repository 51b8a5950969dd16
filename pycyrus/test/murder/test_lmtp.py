"""LMTP of a frontend: a message to recipients of several servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.delivery.verifier import RecipientVerifier
from pycyrus.errors import MailboxNotFound, OverQuota, PermissionDenied, StoreUnavailable
from pycyrus.interfaces import Envelope, IDelivery, Location, Recipient
from pycyrus.lmtp.protocol import LmtpFactory
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import inbox_of
from pycyrus.model.quota import Limit, Resource
from pycyrus.murder.lmtp import LmtpBackends, MurderDeliveryAgent
from pycyrus.murder.servers.lmtp_link import LmtpReply
from pycyrus.murder.smmap import MurderVerifier
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.smmap.protocol import SmmapFactory, SmmapSettings
from pycyrus.test.murder.cluster import ADMIN, NAMES, MurderCase

SETTINGS = DeliverySettings("frontend", namespace=NAMES)
ENVELOPE = Envelope("sender@example.com", None, POSTMAN, "client", "127.0.0.1", "LMTP", "s1")
BODY = (
    b"From: a@example.com\r\nMessage-ID: <1@example.com>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
    b"\r\n.dotted\r\n..twice\r\n"
)


class LmtpTests(MurderCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.lmtp_factories: dict[str, LmtpFactory] = {}
        ports = {}
        for server in self.servers:
            ports[server, "lmtp"] = self._lmtp(server)
            ports[server, "smmap"] = self._smmap(server)
        self.links = self.make_links(ports=ports, connect_within=2.0)
        self.lmtp = LmtpBackends(self.links, "frontend", 5.0, self.reactor)
        self.addCleanup(self.lmtp.close)
        local = DeliveryAgent(self._store(), SETTINGS, self.reactor)
        self.agent = MurderDeliveryAgent(local, SETTINGS, self.directory, self.lmtp, lambda: 1e9)

    def _lmtp(self, server: str) -> int:
        factory = LmtpFactory(
            DeliveryAgent(
                self.stores[server], DeliverySettings("backend", namespace=NAMES, strict_quota=True), self.reactor
            ),
            self.authenticator(("admin", "mailproxy"), admins_only=True),
            LmtpSettings("backend"),
            ConnectionLimits(LimitSettings()),
            None,
            self.reactor,
        )
        self.lmtp_factories[server] = factory
        number: int = self.listen(factory).getHost().port
        return number

    def _smmap(self, server: str) -> int:
        verifier = RecipientVerifier(self.stores[server], DeliverySettings("backend", namespace=NAMES))
        factory = SmmapFactory(verifier, SmmapSettings(), ConnectionLimits(LimitSettings()), self.reactor)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def stop(self, port: Any, factory: Any) -> None:
        """Sessions of LMTP end by their protocols."""
        if not isinstance(factory, LmtpFactory):
            await super().stop(port, factory)
            return
        port.stopListening()
        while factory.sessions:
            for session in list(factory.sessions):
                session._link.transport.abortConnection()  # type: ignore[attr-defined] # a protocol
            await self.turn()

    async def _deliver(self, *recipients: str) -> Sequence[Exception | None]:
        delivery: IDelivery = self.agent.start(ENVELOPE)
        for recipient in recipients:
            await delivery.add_recipient(Recipient(recipient, ""))
        await delivery.begin()
        delivery.write(BODY)
        outcome = await delivery.commit()
        delivery.abort()
        return outcome

    async def test_two_servers(self) -> None:
        """Each has its copy, complete, and each recipient an answer."""
        self.assertEqual(await self._deliver("alice", "bob", "alice"), [None, None, None])
        for user in ("alice", "bob"):
            client = await self.client(user)
            await self.do(client, b"SELECT INBOX")
            said = await self.do(client, b"FETCH 1 BODY[]")
            # Between them is what a message must have, and this one lacks.
            for part in BODY.split(b"\r\n\r\n"):
                self.assertIn(part, said)
            self.assertEqual(said.count(b"Return-Path: <sender@example.com>"), 1)
            self.assertIn(b"by frontend", said)
            self.assertIn(b"by backend", said)

    async def test_what_was_passed_on_stays(self) -> None:
        """A server that has not what another hands over does not hand it over again."""
        self.lmtp._backends = self.make_links(proxies=frozenset((POSTMAN.user_id,)))
        with self.assertRaises(StoreUnavailable):
            await self._deliver("alice")

    async def test_connections_are_kept(self) -> None:
        """The next message needs no login."""
        for _ in range(3):
            self.assertEqual(await self._deliver("alice"), [None])
        self.assertEqual(len(self.lmtp_factories[self.servers[0]].sessions), 1)

    async def test_unknown_users(self) -> None:
        """They are refused here, unless the directory is older than the backend's knowledge."""
        with self.assertRaises(MailboxNotFound):
            await self._deliver("nobody")
        location = Location("user.gone", self.servers[0], "default", "")
        self.directory.locations[location.mailbox] = location
        (outcome, other) = await self._deliver("gone", "bob")
        self.assertIsInstance(outcome, StoreUnavailable)
        self.assertIsNone(other)

    async def test_one_server_is_away(self) -> None:
        """Its recipients have to wait; others have their mail."""
        factory = self.lmtp_factories[self.servers[1]]
        self.links.settings.ports[self.servers[1], "lmtp"] = 1  # type: ignore[index] # a dict
        alice, bob = await self._deliver("alice", "bob")
        self.assertIsNone(alice)
        self.assertIsInstance(bob, StoreUnavailable)
        self.assertEqual(factory.sessions, set())

    async def test_over_quota(self) -> None:
        """It is told as such."""
        alice = inbox_of(Identity("alice"))
        await self.stores[self.servers[0]].set_quota(ADMIN, alice, [Limit(Resource.MESSAGE.value, 0)])
        outcome, other = await self._deliver("alice", "bob")
        self.assertIsInstance(outcome, OverQuota)
        self.assertIsNone(other)

    async def test_socket_maps(self) -> None:
        """The directory says who exists, the backend who is full; without it the directory must do."""
        verifier = MurderVerifier(
            RecipientVerifier(self._store(), SETTINGS), SETTINGS, self.directory, self.links, self.reactor
        )
        await verifier.verify(Recipient("alice", "example.com"))
        with self.assertRaises(MailboxNotFound):
            await verifier.verify(Recipient("nobody", ""))
        with self.assertRaises(MailboxNotFound):
            await verifier.verify(Recipient("alice+none", ""))
        alice = inbox_of(Identity("alice"))
        await self.stores[self.servers[0]].set_quota(ADMIN, alice, [Limit(Resource.MESSAGE.value, 0)])
        with self.assertRaises(OverQuota):
            await verifier.verify(Recipient("alice", ""))
        self.links.settings.ports[self.servers[0], "smmap"] = 1  # type: ignore[index] # a dict
        await verifier.verify(Recipient("alice", ""))

    async def test_a_backend_that_dies_after_the_message(self) -> None:
        """Nobody knows whether it was delivered: the sender tries again."""
        port = self.reactor.listenTCP(0, _Dying(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.links.settings.ports[self.servers[0], "lmtp"] = port.getHost().port  # type: ignore[index] # a dict
        (outcome,) = await self._deliver("alice")
        self.assertIsInstance(outcome, StoreUnavailable)

    async def test_step_by_step(self) -> None:
        """A server that has not said that commands may come together is given one after another."""
        server = self._scripted()
        self.assertEqual(await self._deliver("alice", "alice"), [None, None])
        said = [line.split(b" ")[0] for line in server.heard]
        self.assertEqual(said, [b"LHLO", b"RSET", b"MAIL", b"RCPT", b"RCPT", b"DATA"])

    async def test_some_are_refused(self) -> None:
        location = Location("user.gone", self.servers[0], "default", "")
        self.directory.locations[location.mailbox] = location
        alice, gone, again = await self._deliver("alice", "gone", "alice")
        self.assertEqual([alice, again], [None, None])
        self.assertIsInstance(gone, StoreUnavailable)

    async def test_a_message_for_nobody(self) -> None:
        """A server that refuses all recipients, and asks for the message all the same, does not get it."""
        server = self._scripted(can_pipeline=True, refuses=True)
        (outcome,) = await self._deliver("alice")
        self.assertIsInstance(outcome, StoreUnavailable)
        self.assertEqual([line.split(b" ")[0] for line in server.heard], [b"LHLO", b"RSET"])

    async def test_one_recipient(self) -> None:
        """A small message for one leaves with its envelope, and a refusal does not spoil what comes next."""
        server = self._scripted(can_pipeline=True, can_chunk=True)
        for refuses, expected in ((False, type(None)), (True, StoreUnavailable), (False, type(None))):
            server.refuses = refuses
            (outcome,) = await self._deliver("alice")
            self.assertIsInstance(outcome, expected)
        self.assertEqual([line.split(b" ")[0] for line in server.heard], [b"LHLO", b"RSET", b"RSET", b"RSET"])
        self.assertTrue(all(chunk.endswith(BODY) for chunk in server.chunks))
        self.assertEqual(len(server.chunks), 3)

    def _scripted(self, **settings: bool) -> _Scripted:
        factory = _Scripted(**settings)
        port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(self.lmtp.close)
        self.links.settings.ports[self.servers[0], "lmtp"] = port.getHost().port  # type: ignore[index] # a dict
        return factory


class _ScriptedProtocol(Protocol):
    """Notes the first line of what comes at a time."""

    factory: _Scripted

    def connectionMade(self) -> None:
        self._is_body = False
        self._recipients = 0
        self._say(b"220 hi\r\n")

    def _say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        if self._is_body:
            if data.endswith(b"\r\n.\r\n"):
                self._is_body = False
                self._say(b"250 ok\r\n" * self._recipients)
            return
        self.factory.heard.append(data.splitlines()[0])
        data, chunk_begins, chunk = data.partition(b"BDAT ")
        for line in data.splitlines():
            self._say(self._answer(line))
        if chunk_begins:
            size, _, body = chunk.partition(b" LAST\r\n")
            assert int(size) == len(body)
            self.factory.chunks.append(body)
            self._say(b"503 5.5.1 nobody\r\n" if self.factory.refuses else b"250 ok\r\n")

    def _answer(self, line: bytes) -> bytes:
        if line.startswith(b"LHLO") and self.factory.can_pipeline:
            return b"250-hi\r\n%b250 PIPELINING\r\n" % (b"250-CHUNKING\r\n" * self.factory.can_chunk)
        if line == b"DATA":
            self._is_body = True
            return b"354 go\r\n"
        if line.startswith(b"RCPT"):
            self._recipients += 1
            return b"451 4.3.0 later\r\n" if self.factory.refuses else b"250 ok\r\n"
        return b"250 ok\r\n"


class _Scripted(Factory):
    protocol = _ScriptedProtocol  # type: ignore[assignment] # a class is what Twisted calls to build one
    noisy = False

    def __init__(self, *, can_pipeline: bool = False, can_chunk: bool = False, refuses: bool = False) -> None:
        self.heard: list[bytes] = []
        self.chunks: list[bytes] = []
        self.can_chunk = can_chunk
        self.can_pipeline = can_pipeline
        self.refuses = refuses


class _DyingProtocol(Protocol):
    def connectionMade(self) -> None:
        self._say(b"220 hi\r\n")

    def _say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if data.endswith(b"\r\n.\r\n"):
            self.transport.loseConnection()
            return
        for line in data.splitlines():
            self._say(b"354 go\r\n" if line == b"DATA" else b"250 ok\r\n")


class _Dying(Factory):
    protocol = _DyingProtocol
    noisy = False


class ReplyTests(SynchronousTestCase):
    def test_meanings(self) -> None:
        for code, enhanced, kind in [
            (550, "5.1.1", StoreUnavailable),
            (452, "4.2.2", OverQuota),
            (552, "5.2.2", OverQuota),
            (550, "5.7.1", PermissionDenied),
            (451, "", StoreUnavailable),
        ]:
            self.assertIsInstance(LmtpReply(code, enhanced, "x").error(at_recipient=True), kind)
        self.assertIsNone(LmtpReply(250, "2.1.5", "ok").error(at_recipient=False))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.integers(300, 599), st.text(max_size=8), st.booleans())
    def test_nothing_but_success_is_success(self, code: int, enhanced: str, at_recipient: bool) -> None:
        """Whatever a backend says, mail that it did not take is not taken for delivered."""
        self.assertIsNotNone(LmtpReply(code, enhanced, "").error(at_recipient=at_recipient))
