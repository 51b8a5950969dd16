"""ManageSieve of a frontend (RFC 5804)."""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.services.timsieved import extensions
from pycyrus.errors import StoreUnavailable
from pycyrus.managesieve.protocol import SieveFactory
from pycyrus.managesieve.settings import SieveSettings
from pycyrus.murder.servers.lines import LineClient
from pycyrus.murder.sieve import SieveRoutes
from pycyrus.test.auth.services import SecretsChecker
from pycyrus.test.murder.cluster import MurderCase

GREETING = b'"SASL" "PLAIN"\r\nOK\r\n'
RUBBISH = (
    b"220 smtp\r\n",
    b'"SIEVE" {9999999}\r\n',
    b'"A" "b"\r\n' * 200,
    b"x" * 20_000,
    b"BYE\r\n",
    b"OK\r\n",
    GREETING + b"{3}\r\n$$$\r\n",
    GREETING + b"NO {4}\r\nabcd\r\n",
)
"""What servers might say that are none."""
PIECES = (
    b'AUTHENTICATE "PLAIN"',
    b"\r\n",
    b"{5+}",
    b"{99999999999}",
    b'"',
    b"\0\xff",
    b"NOOP ",
    b"CAPABILITY",
    b" ",
    b"x" * 40_000,
)
SCRIPT = b"# A comment\r\n" * 100_000 + b"keep;\r\n"


def plain(user: bytes, password: bytes = b"secret") -> bytes:
    return b'AUTHENTICATE "PLAIN" "%b"' % b2a_base64(b"\0%b\0%b" % (user, password), newline=False)


class SieveTests(MurderCase):
    """The first backend has a server that keeps what it is told, and the second ours, which runs no scripts."""

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.sieve_factories: dict[str, Any] = {}
        self.keeper = Keeper(self.authenticator(proxy_servers=("mailproxy",)))
        ports = {
            (self.servers[0], "sieve"): self._listen(self.servers[0], self.keeper),
            (self.servers[1], "sieve"): self._sieve(self.servers[1]),
        }
        self.links = self.make_links(ports=ports)
        self.ports_of = ports
        self.port = self._sieve("", SieveRoutes(self.directory, self.links, self.reactor))

    def _sieve(self, server: str, elsewhere: Any = None) -> int:
        authenticator = self.authenticator(**({"proxy_servers": ("mailproxy",)} if server else {}))
        own = SieveSettings(extensions="fileinto" if elsewhere else "")
        return self._listen(server, SieveFactory(authenticator, own, None, None, self.reactor, elsewhere))

    def _listen(self, server: str, factory: Any) -> int:
        self.sieve_factories[server] = factory
        number: int = self.listen(factory).getHost().port
        return number

    async def stop(self, port: Any, factory: Any) -> None:
        """Sessions of ManageSieve end themselves."""
        if factory not in self.sieve_factories.values():
            await super().stop(port, factory)
            return
        port.stopListening()
        while factory.sessions:
            for session in list(factory.sessions):
                session.abort()
            await self.turn()

    async def _connect(self, port: int | None = None) -> LineClient:
        client = LineClient("frontend", self.reactor)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port or self.port), client)
        self.addCleanup(client.abort, "done")
        self.greeting = []
        while (line := await client.line()) != b"OK":
            self.greeting.append(line)
        return client

    async def _say(self, client: LineClient, line: bytes) -> bytes:
        client.send(line + b"\r\n")
        return await client.line()

    async def test_a_session(self) -> None:
        """What is said after the login, and even before its answer, is the backend's, octet for octet."""
        client = await self._connect()
        self.assertIn(b'"SIEVE" "fileinto"', self.greeting)
        self.assertIn(b'"SASL" "SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"', self.greeting)
        put = b'PUTSCRIPT "a" {%d+}\r\n%b\r\nGETSCRIPT "a"\r\nLOGOUT\r\n' % (len(SCRIPT), SCRIPT)
        client.send(plain(b"alice") + b"\r\n" + put)
        self.assertEqual(await client.line(), b"OK")
        while self.keeper.heard != put:
            await self.turn()
        self.assertEqual(self.keeper.users, ["alice"])
        # It is the backend that closes, and it has answered nothing.
        self.assertEqual(await client.line(), b'BYE (TRYLATER) "Server(s) unavailable to complete operation"')
        with self.assertRaises(StoreUnavailable):
            await client.line()

    async def test_no_scripts(self) -> None:
        """A server that runs none says so; clients must not believe that theirs is in use."""
        client = await self._connect()
        self.assertEqual(await self._say(client, plain(b"bob")), b"OK")
        refusal = b'NO "This server runs no Sieve scripts"'
        for command in (b"LISTSCRIPTS", b'HAVESPACE "a" 3', b'PUTSCRIPT "a" {5+}\r\nkeep;', b'SETACTIVE ""'):
            self.assertEqual(await self._say(client, command), refusal)
        self.assertEqual(await self._say(client, b"LOGOUT"), b'OK "Logout Complete"')

    async def test_before_the_login(self) -> None:
        """The frontend answers by itself."""
        client = await self._connect()
        self.assertEqual(await self._say(client, b"LISTSCRIPTS"), b'NO "Authenticate first"')
        self.assertEqual(await self._say(client, b"nonsense"), b'NO "Expected a command. Got something else."')
        client.send(b'NOOP "x y"\r\nAUTHENTICATE "PLAIN"\r\n')
        lines = [await client.line() for _ in range(4)]
        self.assertEqual(lines, [b"OK (TAG {3}", b'x y) "Done"', b"{0}", b""])
        self.assertEqual(await self._say(client, b'"*"'), b'NO "Client canceled authentication"')
        self.assertEqual(await self._say(client, plain(b"alice", b"wrong")), b'NO "Authentication Error"')
        self.assertEqual(self.keeper.users, [])
        await self._say(client, b'AUTHENTICATE "PLAIN"')
        await client.line()
        # A response may come as a literal.
        self.assertEqual(await self._say(client, b"{20+}\r\n" + b2a_base64(b"\0alice\0secret", newline=False)), b"OK")

    async def test_nobody(self) -> None:
        """Who has no INBOX has no scripts."""
        client = await self._connect()
        self.assertEqual(await self._say(client, plain(b"admin")), b'NO "Authentication Error"')

    async def test_referral(self) -> None:
        """A client is sent to the backend, at the port of its ManageSieve."""
        routes = SieveRoutes(self.directory, self.links, self.reactor, refers=True)
        client = await self._connect(self._sieve("referring", routes))
        port = self.ports_of[self.servers[0], "sieve"]
        self.assertEqual(await self._say(client, plain(b"alice")), b"OK")
        # As Cyrus, whose sieveshell follows it then.
        said = await self._say(client, b"LISTSCRIPTS")
        self.assertEqual(said, b'BYE (REFERRAL "sieve://127.0.0.1:%d") "Try Remote."' % port)
        with self.assertRaises(StoreUnavailable):
            await client.line()

    async def test_a_backend_that_is_away(self) -> None:
        """The client is told to come again."""
        self.links.health.note_down(self.servers[0], "sieve", "away")
        client = await self._connect()
        answer = b'NO (TRYLATER) "Server(s) unavailable to complete operation"'
        self.assertEqual(await self._say(client, plain(b"alice")), answer)

    async def test_a_backend_that_goes(self) -> None:
        """The client's connection goes too."""
        client = await self._connect()
        self.assertEqual(await self._say(client, plain(b"alice")), b"OK")
        self.keeper.sessions.copy().pop().abort()
        with self.assertRaises(StoreUnavailable):
            await client.line()

    async def test_what_is_no_backend(self) -> None:
        """Whatever it says harms nobody."""
        for answer in RUBBISH:
            factory = ServerFactory.forProtocol(_Saying)
            factory.answer = answer  # type: ignore[attr-defined] # what it says
            port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
            self.links.settings.ports[self.servers[0], "sieve"] = port.getHost().port  # type: ignore[index] # a dict
            self.links.health.forget()
            client = await self._connect()
            self.assertIn(b"NO (TRYLATER)", await self._say(client, plain(b"alice")), answer[:30])
            client.abort("done")
            await port.stopListening()


class Keeper(ServerFactory):
    """A server that logs in whom our side does, and then keeps what it hears until LOGOUT."""

    noisy = False

    def __init__(self, authenticator: Any) -> None:
        self.heard = b""
        self.users: list[str] = []
        self.sessions: set[Any] = set()
        own = SieveSettings(extensions="fileinto")
        self._inner = SieveFactory(authenticator, own, None, None, _clock(), _Sink(self))
        self._inner.sessions = self.sessions

    def buildProtocol(self, addr: Any) -> Any:
        return self._inner.buildProtocol(addr)


class _Sink:
    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._session: Any = None

    async def open(self, authenticated: Any) -> Any:
        self._keeper.users.append(authenticated.identity.user_id)
        return self

    def join(self, session: Any) -> None:
        self._session = session

    def pass_on(self, data: bytes) -> None:
        self._keeper.heard += data
        if self._keeper.heard.endswith(b"LOGOUT\r\n"):
            self._session.pipe_ended()

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        pass


def _clock() -> Any:
    from twisted.internet import reactor

    return reactor


class _Saying(Protocol):
    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(self.factory.answer)

    def dataReceived(self, data: bytes) -> None:
        pass


class ReaderTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=12), st.integers(1, 5000))
    def test_any_octets(self, pieces: list[bytes], size: int) -> None:
        """Whatever comes is answered or waited for, within limits."""
        from twisted.internet.task import Clock

        from pycyrus.auth.assemble import Authentication
        from pycyrus.auth.authenticator import AuthSettings
        from pycyrus.auth.checkers.chain import CheckerChain
        from pycyrus.auth.delays import DelaySettings
        from pycyrus.auth.identity import IdentitySettings
        from pycyrus.test.auth.parts import CACHE, at_once

        parts = Authentication(Clock(), CheckerChain([SecretsChecker({})]), at_once, CACHE, DelaySettings(pause=0))
        clock = Clock()
        authenticator = parts.authenticator(IdentitySettings(), AuthSettings(allow_plaintext=True))
        factory = SieveFactory(authenticator, SieveSettings(), None, None, clock)
        protocol: Any = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        data = b"".join(pieces)
        for start in range(0, len(data), size):
            if transport.disconnecting:
                break
            protocol.dataReceived(data[start : start + size])
        self.assertLess(len(protocol.session._reader), 131_072)
        clock.advance(61)
        self.assertTrue(transport.disconnecting)


class ExtensionsTests(SynchronousTestCase):
    def test_in_order(self) -> None:
        """As Cyrus tells them, whatever the order of the option."""
        self.assertEqual(
            extensions(("snooze", "reject", "fileinto", "unknown")),
            "encoded-character comparator-i;ascii-numeric fileinto reject ereject vnd.cyrus.snooze",
        )
        self.assertEqual(extensions(()), "")
