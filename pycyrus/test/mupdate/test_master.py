"""A master and its clients, on real connections."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from typing_extensions import override

from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.errors import (
    AuthenticationFailed,
    MailboxExists,
    MailboxNotFound,
    OperationNotSupported,
    StoreUnavailable,
)
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.net.compression import Deflate
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.store.locations import Locations
from pycyrus.testing.imap import FixedAuthenticator

RESERVED = LocationState.RESERVED
FRED = Location("user.fred", "b1:143", "default", "fred\tlrs\t")


class MasterCase(TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.locations = self.open()
        self.port = self.listen(self.locations)

    def open(self) -> Locations:
        locations = Locations(self.directory, reactor)  # type: ignore[arg-type] # the module is the reactor
        self.addCleanup(lambda: Deferred.fromCoroutine(locations.close()))
        return locations

    def listen(self, locations: Locations, limits: ConnectionLimits | None = None, **settings: Any) -> int:
        net: Any = reactor
        factory = MupdateFactory(
            locations,
            FixedAuthenticator(),
            MupdateSettings("mupdate.example", version="3.6", **settings),
            limits,
            None,
            net,
        )
        port = net.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.shut_down)
        return int(port.getHost().port)

    async def connect(self, port: int | None = None, *, login: bool = True, **callbacks: Any) -> MupdateClient:
        net: Any = reactor
        gone: Deferred[str] = Deferred()
        client = MupdateClient(net, gone=gone.callback, **callbacks)
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", port or self.port), client)
        self.addCleanup(lambda: gone)
        self.addCleanup(client.log_out)
        await client.greeted()
        if login:
            await self.log_in(client)
        return client

    async def log_in(self, client: MupdateClient, password: str = "secret") -> None:
        credentials = ClientCredentials("admin", password=password)
        await client.authenticate(choose(client.banner.mechanisms, credentials, tls=False, allow_plaintext=True))


class Heard:
    """What a stream told, for those who wait."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, changes: Sequence[Told]) -> None:
        self.told += changes
        for waiting in [each for each in self._waiting if len(self.told) >= each[0]]:
            self._waiting.remove(waiting)
            waiting[1].callback(None)

    async def until(self, count: int) -> None:
        if len(self.told) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((count, waiting))
            await waiting


class RawClient(Protocol):
    """Says octets, and waits for octets."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended: Deferred[None] = Deferred()
        self._waiting: tuple[bytes, Deferred[None]] | None = None

    def say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    @override
    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self._waiting is not None and self._waiting[0] in self.heard:
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(None)

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    async def until(self, octets: bytes) -> None:
        if octets not in self.heard:
            self._waiting = (octets, Deferred())
            await self._waiting[1]

    def drop(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


class MasterTests(MasterCase):
    async def test_banner(self) -> None:
        client = await self.connect(login=False)
        self.assertEqual(client.banner.product, ["MUPDATE", "mupdate.example", "Cyrus IMAP", "3.6", "(master)"])
        self.assertTrue(client.banner.can_compress and client.banner.can_update_some)
        with self.assertRaises(OperationNotSupported):
            await client.find("user.fred")
        with self.assertRaises(AuthenticationFailed):
            await self.log_in(client, "wrong")
        await self.log_in(client)
        self.assertIsNone(await client.find("user.fred"))

    async def test_life_of_an_entry(self) -> None:
        client = await self.connect()
        await client.compress()
        await client.reserve(FRED)
        self.assertEqual(await client.find("user.fred"), Location("user.fred", "b1:143", "default", "", RESERVED))
        await client.reserve(FRED)
        with self.assertRaises(MailboxExists):
            await client.reserve(Location("user.fred", "b2", "default"))
        await client.activate(FRED)
        self.assertEqual(await client.find("user.fred"), FRED)
        await client.activate(Location("user.jane", "b2", "", "jane\tl\t"))
        self.assertEqual([each.mailbox for each in await client.list_begun("")], ["user.fred", "user.jane"])
        self.assertEqual(await client.list_begun("b1:143!"), [FRED])
        self.assertEqual(await client.list_begun("b1:143!x"), [])
        await client.deactivate(FRED)
        with self.assertRaises(MailboxNotFound):
            await client.deactivate(FRED)
        await client.delete("user.fred")
        with self.assertRaises(MailboxNotFound):
            await client.delete("user.fred")
        self.assertIsNone(await client.find("user.fred"))

    async def test_a_restart_loses_nothing(self) -> None:
        client = await self.connect()
        await client.activate(FRED)
        other = self.open()
        self.assertEqual(other.find("user.fred"), FRED)
        self.assertGreater(other.last_change(), 0)

    async def test_streaming(self) -> None:
        """Whoever follows has all, is told of changes by any process, and knows all that was done before its NOOP."""
        writer = await self.connect()
        await writer.activate(FRED)
        heard = Heard()
        follower = await self.connect(told=heard)
        await follower.update()
        jane = Location("user.jane", "b2", "default", "jane\tl\t")
        await writer.activate(jane)
        await heard.until(2)
        await self.open().delete("user.fred")
        await heard.until(3)
        self.assertEqual(heard.told, [FRED, jane, "user.fred"])
        await writer.reserve(FRED)
        await writer.activate(FRED)
        await follower.noop()
        self.assertEqual(heard.told[-1], FRED)
        with self.assertRaises(OperationNotSupported):
            await follower.find("user.fred")

    async def test_part_of_it(self) -> None:
        """A client that names servers hears of what is there, comes there or leaves."""
        elsewhere = Location("user.eve", "b3", "default", "eve\tl\t")
        await self.locations.follow([FRED, elsewhere])
        client = RawClient()
        net: Any = reactor
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", self.port), client)
        self.addCleanup(client.drop)
        client.say(b'A01 AUTHENTICATE "PLAIN" "AGFkbWluAHNlY3JldA=="\r\nU1 UPDATE "b1:143" {2}\r\nb2\r\n')
        await client.until(b'"streaming starts"')
        self.assertNotIn(b"user.eve", client.heard)
        self.assertIn(b"+ go ahead\r\n", client.heard)
        await self.locations.activate(Location("user.eve", "b3", "other", "eve\tl\t"))
        await self.locations.activate(Location("user.eve", "b2", "other", "eve\tl\t"))
        await client.until(b"U1 MAILBOX {8+}\r\nuser.eve {8+}\r\nb2!other {6+}\r\neve\tl\t\r\n")
        await self.locations.activate(elsewhere)
        # That it left is told as where it is now, and nothing of what becomes of it there.
        await client.until(b"U1 MAILBOX {8+}\r\nuser.eve {10+}\r\nb3!default {6+}\r\neve\tl\t\r\n")
        client.heard = b""
        await self.locations.activate(Location("user.eve", "b3", "other", "eve\tl\t"))
        client.say(b"N1 NOOP\r\n")
        await client.until(b'N1 OK "Noop done"\r\n')
        self.assertNotIn(b"user.eve", client.heard)
        client.say(b"L1 LOGOUT\r\n")
        await client.until(b'L1 OK "bye-bye"\r\n')

    async def test_client_of_a_part(self) -> None:
        elsewhere = Location("user.eve", "b3", "default", "eve\tl\t")
        await self.locations.follow([FRED, elsewhere])
        heard = Heard()
        follower = await self.connect(told=heard)
        await follower.update(["b3", "b4"])
        self.assertEqual(heard.told, [elsewhere])
        await self.locations.delete("user.fred")
        moved = Location("user.eve", "b4", "default", "eve\tl\t")
        await self.locations.activate(moved)
        # Of two changes of one mailbox that come together the last one is told.
        await heard.until(2)
        gone = Location("user.eve", "b1:143", "default", "eve\tl\t")
        await self.locations.activate(gone)
        await follower.noop()
        self.assertEqual(heard.told[1:], [moved, gone])
        follower.banner.can_update_some = False
        with self.assertRaises(OperationNotSupported):
            await follower.update(["b3"])

    async def test_too_many_connections(self) -> None:
        """As many as may come in, and one more."""
        port = self.listen(self.locations, ConnectionLimits(LimitSettings(total=2)))
        clients = [await self.connect(port) for _ in range(2)]
        client = RawClient()
        net: Any = reactor
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", port), client)
        self.addCleanup(client.drop)
        await client.until(b"\r\n")
        self.assertEqual(client.heard, b'* BYE "Server Unable"\r\n')
        self.assertIsNone(await clients[0].find("user.fred"))

    async def test_what_is_no_command(self) -> None:
        client = RawClient()
        net: Any = reactor
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", self.port), client)
        self.addCleanup(client.drop)
        conversation = [
            (b"\r\n", b'* BAD "Need command"\r\n'),
            (b"a1\r\n", b'* BAD "Need command"\r\n'),
            (b'"a1" NOOP\r\n', b'* BAD "Need command"\r\n'),
            (b'a1 "NOOP"\r\n', b'a1 BAD "Null command"\r\n'),
            (b"a2 FROB\r\n", b'a2 BAD "Please login first"\r\n'),
            (b'a3 FIND "x"\r\n', b'a3 BAD "Please login first"\r\n'),
            (b'a4 "x" (\r\n', b'a4 BAD "Badly formed arguments"\r\n'),
            (b"a5 NOOP \r\n", b'a5 BAD "Badly formed arguments"\r\n'),
            (b'"a6" "\r\n', b'* BAD "Badly formed arguments"\r\n'),
            (b"a5 STARTTLS\r\n", b'a5 NO "STARTTLS is not available"\r\n'),
            (b'a6 COMPRESS "LZW"\r\n', b'a6 NO "Unknown COMPRESS algorithm: LZW"\r\n'),
            (b'a7 AUTHENTICATE "PLAIN"\r\n', b"\r\n"),
            (b"*\r\n", b'a7 NO "authentication cancelled"\r\n'),
            (b'a8 AUTHENTICATE "PLAIN" "AGFkbWluAHNlY3JldA=="\r\n', b'a8 OK "Authenticated"\r\n'),
            (b'a9 AUTHENTICATE "PLAIN"\r\n', b'a9 BAD "already authenticated"\r\n'),
            (b"b0 FROB\r\n", b'b0 BAD "Unrecognized command"\r\n'),
            (b"b1 FIND\r\n", b'b1 BAD "Missing arguments"\r\n'),
            (b'b2 FIND "x" "y"\r\n', b'b2 BAD "Extra arguments"\r\n'),
            (b"b3 FIND x\r\n", b'b3 BAD "Badly formed arguments"\r\n'),
            (b'b4 RESERVE "x" "a!b!c"\r\n', b'b4 BAD "Badly formed arguments"\r\n'),
            (b"b4 FIND {3+}\r\na!\0\r\n", b'b4 BAD "Badly formed arguments"\r\n'),
            (b'b4 RESERVE "x" {3+}\r\na!\0\r\n', b'b4 BAD "Badly formed arguments"\r\n'),
            (b"b4 DELETE {3+}\r\na!\0\r\n", b'b4 BAD "Badly formed arguments"\r\n'),
            (b"b5 UPDATE\r\n", b'b5 OK "streaming starts"\r\n'),
            (b'b6 FIND "x"\r\n', b'b6 BAD "not legal when streaming"\r\n'),
            (b"b7 NOOP\r\n", b'b7 OK "Noop done"\r\n'),
            (b"b8 FIND {999999999+}\r\n", b'* BYE "literal too long"\r\n'),
        ]
        await client.until(b'"(master)"\r\n')
        for said, answer in conversation:
            client.heard = b""
            client.say(said)
            await client.until(answer)
            self.assertEqual(client.heard, answer)

    async def raw(self) -> RawClient:
        client = RawClient()
        net: Any = reactor
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", self.port), client)
        self.addCleanup(client.drop)
        await client.until(b'"(master)"\r\n')
        client.heard = b""
        return client

    async def test_few_octets_that_become_many(self) -> None:
        """What is compressed is taken out as it is worked on, and no more of it after the end."""
        pieces: list[int] = []
        next_piece = Deflate.next_piece

        def counting(deflate: Deflate) -> bytes:
            piece = next_piece(deflate)
            pieces.append(len(piece))
            return piece

        self.patch(Deflate, "next_piece", counting)
        client = await self.raw()
        client.say(b'z COMPRESS "DEFLATE"\r\n')
        await client.until(b"z OK DEFLATE active\r\n")
        client.heard = b""
        packer = zlib.compressobj(wbits=-15)
        client.say(packer.compress(b"a FROB\r\n" * 1_000_000) + packer.flush(zlib.Z_SYNC_FLUSH))
        await client.ended
        heard = zlib.decompressobj(-15).decompress(client.heard)
        self.assertEqual(heard, b'a BAD "Please login first"\r\n' * 21 + b'* BYE "Too many errors"\r\n')
        self.assertLess(sum(pieces), 500_000)

    async def test_many_commands(self) -> None:
        """However many come at once, and in however few packets, each is answered, in order."""
        client = await self.raw()
        client.say(b'a AUTHENTICATE "PLAIN" "AGFkbWluAHNlY3JldA=="\r\nz COMPRESS "DEFLATE"\r\n')
        await client.until(b"z OK DEFLATE active\r\n")
        client.heard = b""
        count = 20_000
        packer, reader = zlib.compressobj(wbits=-15), zlib.decompressobj(-15)
        # Administrators may err as often as they like.
        said = [b"n%d %b\r\n" % (number, b"NOOP" if number % 2 else b"FROB") for number in range(count)]
        said.append(b"end LOGOUT\r\n")
        client.say(packer.compress(b"".join(said)) + packer.flush(zlib.Z_SYNC_FLUSH))
        await client.ended
        answers = [b'OK "Noop done"' if number % 2 else b'BAD "Unrecognized command"' for number in range(count)]
        wanted = [b"n%d %b\r\n" % each for each in enumerate(answers)] + [b'end OK "bye-bye"\r\n']
        self.assertEqual(reader.decompress(client.heard), b"".join(wanted))

    async def test_many_entries(self) -> None:
        """More than fit into a page, or into the buffers on the way; those who write meanwhile do not wait."""
        entries = [Location(f"user.u{number:05}", "b1", "default", "x\tl\t" * 20) for number in range(3000)]
        await self.locations.follow(entries)
        heard = Heard()
        follower = await self.connect(told=heard)
        following = Deferred.fromCoroutine(follower.update())
        writer = await self.connect()
        await writer.activate(FRED)
        await following
        await follower.noop()
        self.assertEqual([each for each in heard.told if each != FRED], entries)
        self.assertIn(FRED, heard.told)

    async def test_a_copy_takes_no_changes(self) -> None:
        port = self.listen(self.locations, master="mupdate://other")
        client = await self.connect(port)
        self.assertEqual(client.banner.product[-1], "mupdate://other")
        with self.assertRaises(OperationNotSupported):
            await client.activate(FRED)
        self.assertIsNone(await client.find("user.fred"))

    async def test_the_master_goes(self) -> None:
        client = await self.connect()
        transport: Any = client.transport
        finding = Deferred.fromCoroutine(client.find("user.fred"))
        transport.abortConnection()
        with self.assertRaises(StoreUnavailable):
            await finding
        with self.assertRaises(StoreUnavailable):
            await client.find("user.fred")
