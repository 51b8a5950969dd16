"""A MUPDATE master that says what is not so, or no MUPDATE at all: who follows it gets over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, ServerFactory
from typing_extensions import override

from pycyrus.auth.client import ClientCredentials
from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.client import MupdateClient, Told
from pycyrus.mupdate.wire import gone_line, location_line
from pycyrus.murder.directory import slave as module
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.murder.directory.slave import Dial, Slave
from pycyrus.store.locations import Locations
from pycyrus.store.threads import sleep
from pycyrus.test.mupdate.test_master import FRED
from pycyrus.test.murder.test_slave import JANE, SlaveCase

net: Any = reactor
BANNER = b'* AUTH "PLAIN"\r\n* PARTIAL-UPDATE\r\n* OK MUPDATE "liar" "x" "1" "(master)"\r\n'
END = b'U01 OK "streaming starts"\r\n'
HALF = location_line(b"U01", FRED)[:-7]
STRANGE = [
    Location(name, server, partition, acl)
    for name in (
        "user..x",
        "a!b!c",
        "user.&bad-",
        "user.\xff",
        "x" * 3000,
        "user.a\tb",
        "INBOX",
        "!",
        "DELETED",
        "a\nb",
    )
    for server, partition, acl in (
        ("", "", ""),
        ("nowhere:0", "p", "garbage"),
        ("!", "p!q", "\t\t\t"),
        ("b1", "p" * 5000, "a" * 100_000 + "\tl\t"),
    )
]
LIES = (
    HALF,
    b"\0\1\2\r\n",
    b"x" * 70_000,
    b"U01 MAILBOX {99999999+}\r\n",
    b'U01 MAILBOX "a"\r\n',
    b'U01 DELETE "a" "b"\r\n',
    b'U01 NO "not now"\r\n',
    b'U01 BAD "what?"\r\n',
    b'* BYE "no longer ready for connections"\r\n',
    # What was not asked, or not yet.
    b'N9 OK "done"\r\nX1 MAILBOX "a" "b!c" ""\r\n' + HALF,
    b"".join(gone_line(b"U01", f"user.u{number}") for number in range(4000)) + HALF,
    # In the end all is told, and all of it is wrong.
    b"".join(location_line(b"U01", each) for each in STRANGE) + END,
)  # fmt: skip


class _Liar(Protocol):
    """Lies to UPDATE and hangs up, and says the truth in the end."""

    factory: Any

    @override
    def connectionMade(self) -> None:
        self.say(BANNER)

    def say(self, data: bytes) -> None:
        """Send octets."""
        assert self.transport is not None
        self.transport.write(data)

    def go_on(self) -> None:
        """Tell of ever more mailboxes, until somebody hangs up."""
        transport: Any = self.transport
        if transport.connected:
            told = range(self.factory.told, self.factory.told + 100)
            self.factory.told += 100
            self.say(b"".join(location_line(b"U01", Location(f"user.n{each}", "b9", "p")) for each in told))
            net.callLater(0, self.go_on)

    @override
    def dataReceived(self, data: bytes) -> None:
        for line in data.splitlines():
            tag, _, rest = line.partition(b" ")
            if rest.startswith(b"UPDATE") and self.factory.goes_on:
                self.go_on()
            elif rest.startswith(b"UPDATE"):
                lies = self.factory.lies
                has_lied = bool(lies)
                self.say(lies.pop(0) if lies else location_line(b"U01", JANE) + END)
                if has_lied:
                    assert self.transport is not None
                    self.transport.loseConnection()
            elif rest.startswith(b"NOOP") and self.factory.hangs:
                self.factory.hangs -= 1
            elif rest[:1].isalpha() and tag[:1] in b"AN":
                self.say(tag + b' OK "done"\r\n')


class LiesTests(SlaveCase):
    def liar(self) -> tuple[Any, MasterSettings]:
        factory: Any = ServerFactory.forProtocol(_Liar)
        factory.noisy = factory.goes_on = False
        factory.lies, factory.told, factory.hangs = [], 0, 0
        port = net.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = MasterAddress("127.0.0.1", port.getHost().port)
        return factory, MasterSettings(address, ClientCredentials("admin", password="secret"))

    async def old_copy(self) -> Locations:
        """What a frontend knew of the master before."""
        copy = Locations(self.copies, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        await copy.follow([FRED])
        return copy

    async def learns(self, copy: Locations, dial: Dial) -> None:
        """Have it follow the master, until it has what is there in the end."""
        slave = Slave(copy, self.copies, dial, net, retry_delay=0.02)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        await self.until(copy, lambda: copy.find(JANE.mailbox) == JANE and len(copy.page("", "", 10)) == 1)

    async def test_without_an_answer(self) -> None:
        """A master that hangs, and whose kernel goes on, is left and looked for again."""
        self.patch(module, "_LEAST_PATIENCE", 0.05)
        factory, settings = self.liar()
        factory.hangs = 2
        ends: list[str] = []

        async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
            def note(reason: str) -> None:
                ends.append(reason)
                gone(reason)

            return await connect_to_master(net, settings, told, note)

        copy = Locations(self.copies, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        slave = Slave(copy, self.copies, dial, net, retry_delay=0.05)
        self.addCleanup(lambda: Deferred.fromCoroutine(slave.close()))
        slave.start()
        while len(ends) < 2 or not slave.is_connected:
            await sleep(net, 0.01)
        self.assertEqual(ends[:2], ["no answer"] * 2)
        self.assertEqual(copy.find(JANE.mailbox), JANE)

    async def test_without_end(self) -> None:
        """A master that does not come to an end is left for a while; the copy serves, and keeps nothing of it."""
        self.patch(module, "_REST_AFTER_ENDLESS", 0.05)
        factory, settings = self.liar()
        factory.goes_on = True
        dialled: list[list[str]] = []

        async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
            dialled.append([each.mailbox for each in copy.page("", "", 10_000)])
            factory.goes_on = len(dialled) < 3
            client = await connect_to_master(net, settings, told, gone)
            client._most = 3000
            return client

        copy = await self.old_copy()
        await self.learns(copy, dial)
        self.assertEqual(dialled, [[FRED.mailbox]] * 3)
        self.assertGreater(factory.told, 6000)

    async def test_all(self) -> None:
        """Nothing of what breaks off is taken for all; in the end there is what the master has then."""
        factory, settings = self.liar()
        factory.lies = list(LIES)
        kept: list[bool] = []

        async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
            kept.append(copy.find(FRED.mailbox) is not None)
            return await connect_to_master(net, settings, told, gone)

        copy = await self.old_copy()
        await self.learns(copy, dial)
        self.assertEqual(kept, [True] * len(LIES) + [False])
        self.assertEqual(factory.lies, [])

    async def test_strange_entries_are_kept_apart(self) -> None:
        """They are there as they were told, and harm none that is as it should be."""
        copy = Locations(self.copies, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(copy.close()))
        await copy.follow([*STRANGE, FRED, Location("user.half", "", "", "", LocationState.RESERVED)])
        self.assertEqual(copy.find(FRED.mailbox), FRED)
        for shared in (False, True):
            names = [each.mailbox for each in copy.page("", "", 100, shared=shared)]
            self.assertEqual(names, sorted(set(names)))
            self.assertEqual(FRED.mailbox in names, not shared)
