"""Mailboxes that come and go in dumps, as Cyrus's servers had it before they had replication."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError, StoreUnavailable, TransferFailed
from pycyrus.imap.commands.undump import undump as undump_command
from pycyrus.imap.replies import Bad, Bye, No
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import LocationState
from pycyrus.model.flags import ANSWERED, FLAGGED
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.names import ExternalNames
from pycyrus.murder.moving.cyrus_index import MAGIC, imported, parse_header, parse_index
from pycyrus.murder.moving.dump_intake import DumpFile
from pycyrus.store.incoming_files import present
from pycyrus.test.murder.cluster import ADMIN, NAMES
from pycyrus.test.murder.test_cyrus_transfers import JOHN, LARGE, MESSAGES, CyrusTransfers
from pycyrus.test.murder.test_transfers import TransferServers
from pycyrus.testing.cyrus import PASSWORD

_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")
_QUOTATION = b'"Goals"\n\t--Somebody\n'


def dump(port: int, mailbox: str) -> bytes:
    """What Cyrus answers to DUMP: all that stands between the parentheses, with them."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"a LOGIN cyrus %b\r\nb DUMP %b\r\n" % (PASSWORD.encode(), mailbox.encode()))
        heard = b""
        while b"\r\nb OK" not in heard:
            data = connection.recv(65_536)
            assert data, heard
            heard += data
    found = heard.partition(b"b DUMP ")[2].rpartition(b"\r\nb OK")[0]
    return found.removesuffix(b"\r\n")


def given_to(mailbox: str, dumped: bytes) -> bytes:
    """The UNDUMP that brings it; nobody is waited for but once."""
    parts, at = [b"UNDUMP {%d+}\r\n%b " % (len(mailbox), mailbox.encode())], 0
    while (found := _LITERAL.search(dumped, at)) is not None:
        end = found.end() + int(found[1])
        parts += [dumped[at : found.start()], b"{%b+}\r\n" % found[1], dumped[found.end() : end]]
        at = end
    return b"".join([*parts, dumped[at:]])


class FromCyrus(CyrusTransfers):
    async def test_user(self) -> None:
        """What Cyrus says of a user by DUMP makes the same user here, by what its XFER sends besides."""
        await self.furnish()
        john = await self.cyrus_client("john")
        status = await self.do(john, b"STATUS INBOX (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)")
        admin = await self.client("admin", self.port(1))
        store = self.stores[self.servers[1]]
        await self.do(admin, b"SETQUOTA {10+}\r\n+user.john (STORAGE 5000 MESSAGE 77)")
        names = ["user.john.Sent", "user.john.Empty", "user.john"]
        for name in names:
            await self.do(admin, b"LOCALCREATE {%d+}\r\n%b default" % (len(name), name.encode()))
        for name in names:
            dumped = await deferToThread(dump, self.cyrus.port, name)
            await self.do(admin, given_to(name, dumped))
        # Nobody was told yet.
        self.assertEqual(self.place("user.john"), (self.cyrus.name, LocationState.ACTIVE))
        await self.do(admin, b"SETACL user.john bob lrs")
        opened = await self.check_inbox(store, status)
        message = opened.message(3)
        self.assertEqual(message.read(0, message.size), MESSAGES[2])
        message.close()
        sent = await store.status(Identity("john"), JOHN.child("Sent"))
        self.assertEqual((sent.counts.messages, sent.counts.size), (1, len(LARGE)))
        entry = store.directory.lookup(JOHN.child("Sent"))
        self.assertEqual(entry.special_use if entry else (), ("\\Sent",))
        notes = store.transfer_parts().annotations.all_of(opened.unique_id)
        self.assertIn(("john", "/comment", b"mine"), notes)
        self.assertIn(("", "/comment", b'it"s ours'), notes)
        quota = await store.quota(ADMIN, JOHN)
        self.assertEqual({limit.name: limit.value for limit in quota.limits}["STORAGE"], 5000)
        # It has something now: nothing is written over it.
        dumped = await deferToThread(dump, self.cyrus.port, "user.john")
        self.assertIn(b"ALREADYEXISTS", await self.do(admin, given_to("user.john", dumped), b"NO"))
        self.assertEqual((await store.status(Identity("john"), JOHN)).counts.messages, 3)


def header(flags: bytes = b"$Work  $Other", unique_id: bytes = b"57c8a1b2-0001") -> bytes:
    """A C{cyrus.header} as servers before 3.6 have it."""
    return MAGIC + _QUOTATION + b"user.fred\t" + unique_id + b"\n" + flags + b" \nfred\tlrswipkxtecdan\t\n"


def index(version: int, start: int, size: int, *rows: tuple[int, bytes, int]) -> bytes:
    """A C{cyrus.index} of a version; of each message UID, octets and flags."""
    octets = bytearray(start + size * len(rows))
    struct.pack_into(">4I", octets, 8, version, start, size, len(rows))
    struct.pack_into(">I", octets, 28, 9)
    struct.pack_into(">I", octets, 44, 1234567890)
    if version >= 8:
        struct.pack_into(">Q", octets, 68, 77)
    for number, (uid, message, flags) in enumerate(rows):
        at = start + size * number
        struct.pack_into(">4I", octets, at, uid, 1577872800 + uid, 0, len(message))
        struct.pack_into(">2I", octets, at + 28, 1577872900, flags)
        octets[at + 39] = 0b101
        if version >= 8:
            struct.pack_into(">Q", octets, at + (80 if version >= 10 else 72), 70 + uid)
        if version >= 10:
            octets[at + 60 : at + 80] = hashlib.sha1(message, usedforsecurity=False).digest()
    return bytes(octets)


def undump(name: bytes, *items: tuple[bytes, bytes]) -> bytes:
    """An UNDUMP of files."""
    parts = [b"UNDUMP %b (NIL" % name]
    parts += [b" {%d+}\r\n%b {%d+}\r\n%b" % (len(item), item, len(octets), octets) for item, octets in items]
    return b"".join(parts) + b")"


VERSIONS = ((7, 76, 72), (9, 96, 80), (10, 96, 88), (12, 128, 96), (13, 128, 104), (17, 160, 112))


class Undump(TransferServers):
    async def begin(self, name: bytes) -> None:
        await self.do(self.admin, b"LOCALCREATE " + name)

    async def test_versions(self) -> None:
        """Indexes of older servers."""
        rows = [(2, MESSAGES[0], 0b10), (5, MESSAGES[1], 0b1)]
        expunged = index(9, 96, 80, (3, MESSAGES[2], 0))
        for version, start, size in VERSIONS:
            name = b"old%d" % version
            await self.begin(name)
            files = [(b"cyrus.header", header(unique_id=b"id-%d" % version))]
            files += [(b"cyrus.index", index(version, start, size, *rows)), (b"cyrus.cache", b"...")]
            files += [(b"cyrus.expunge", expunged)] * (version == 9)
            files += [(b"2.", MESSAGES[0]), (b"5.", MESSAGES[1]), (b"3.", MESSAGES[2]), (b"SIEVED-x.script", b"keep;")]
            await self.do(self.admin, undump(name, *files))
            store = self.stores[self.servers[0]]
            opened = await store.open(ADMIN, MailboxName("", None, (name.decode(),)), "l")
            opened.refresh()
            view = opened.view()
            self.assertEqual(view.uids.tolist(), [2, 5], version)
            self.assertEqual(view.flags.tolist(), [FLAGGED, ANSWERED], version)
            self.assertEqual(view.modseqs.tolist(), [72, 75] if version >= 8 else [1, 1], version)
            self.assertEqual([each for each in opened.keyword_names() if each], [b"$Work", b"$Other"])
            self.assertEqual(view.keywords[:, 0].tolist(), [3, 3])
            self.assertEqual((opened.unique_id, opened.uidvalidity), (f"id-{version}", 1234567890))
            opened.close()
        self.flushLoggedErrors()

    async def test_refused(self) -> None:
        """What is not whole changes nothing, and the next command is understood."""
        await self.begin(b"x")
        good = (b"cyrus.index", index(12, 128, 96, (1, MESSAGES[0], 0)))
        first = (b"cyrus.header", header())
        for files, status in [
            ([], b"NO"),
            ([first, good], b"NO"),
            ([first, good, (b"1.", MESSAGES[1])], b"NO"),
            ([first, good, (b"1.", MESSAGES[0]), (b"1.", MESSAGES[0])], b"NO"),
            ([(b"cyrus.header", header(unique_id=b"../../x")), good, (b"1.", MESSAGES[0])], b"NO"),
            ([first, (b"cyrus.index", good[1][:-1]), (b"1.", MESSAGES[0])], b"NO"),
            ([(b"cyrus.header", b"x" * 2_000_000), good], b"NO"),
        ]:
            await self.do(self.admin, undump(b"x", *files), status)
        for rest in (
            b"",
            b" y",
            b" y (",
            b" y (NIL {1+}\r\na",
            b" y (NIL a b) c",
            b" y (NIL {1+}\r\na (b",
            b' y (NIL "a',
        ):
            await self.do(self.admin, b"UNDUMP" + rest, b"BAD")
        await self.do(self.admin, undump(b"none", first, good, (b"1.", MESSAGES[0])), b"NO")
        alice = await self.client("alice", self.port(0))
        await self.do(alice, b"UNDUMP INBOX (NIL)", b"BAD")
        await self.do(self.admin, undump(b"x", first, good, (b"1.", MESSAGES[0])))

    async def test_cut_off(self) -> None:
        """Nothing is left of a dump that broke off."""
        await self.begin(b"x")
        whole = undump(
            b"x", (b"cyrus.header", header()), (b"cyrus.index", index(12, 128, 96, (1, LARGE, 0))), (b"1.", LARGE)
        )
        for at in (20, 60, 400, 600, 100_000, len(whole) - 1):
            admin = await self.client("admin", self.port(0))
            admin.send(b"u " + whole[:at])
            await admin.drain(10.0)
            await self.turn()
            admin.abort("cut")
            while len(self.factories[self.servers[0]].sessions) > 1:
                await self.turn()
        parts = self.stores[self.servers[0]].transfer_parts()
        while present(parts.partitions, "default"):
            await self.turn()
        await self.do(self.admin, whole)
        store = self.stores[self.servers[0]]
        self.assertEqual((await store.status(ADMIN, MailboxName("", None, ("x",)))).counts.messages, 1)

    async def test_interrupted(self) -> None:
        """Whoever is killed leaves the mailbox empty or whole, and nothing else."""
        first, index_of = (b"cyrus.header", header()), (b"cyrus.index", index(12, 128, 96, (1, MESSAGES[0], 0)))
        whole = undump(b"x", first, index_of, (b"1.", MESSAGES[0]))
        store, log = self.stores[self.servers[0]], self.logs[self.servers[0]]
        parts = store.transfer_parts()

        def killed(*args: Any, **options: Any) -> None:
            raise StoreUnavailable("killed")

        for place, name, count in (
            (log, "prepared", 0),
            (parts.directory, "change", 0),
            (parts.tree, "finish", 1),
            (log, "activated", 1),
            (log, "forget", 1),
        ):
            await self.begin(b"x")
            patch = self.patch(place, name, killed)
            await self.do(self.admin, whole, b"NO")
            patch.restore()
            transfers = self.make_transfers(self.servers[0])
            await transfers.settle()
            status = await store.status(ADMIN, MailboxName("", None, ("x",)))
            self.assertEqual(status.counts.messages, count, name)
            if not count:
                # It is sent again.
                await self.do(self.admin, whole)
            self.assertEqual(log.all_prepared(), [], name)
            box = await store.open(ADMIN, MailboxName("", None, ("x",)), "l")
            message = box.message(1)
            self.assertEqual(message.read(0, message.size), MESSAGES[0])
            message.close()
            box.close()
            await self.do(self.admin, b"LOCALDELETE x")


class Formats(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.binary(max_size=300), st.integers(0, 200), st.sampled_from(VERSIONS))
    def test_whatever_comes(self, octets: bytes, at: int, kind: tuple[int, int, int]) -> None:
        """Octets that are no index or header are refused, and nothing else happens."""
        good = index(*kind, (1, b"x", 0), (2, b"y", 31))
        named = header()
        for damaged in (octets, good[:at] + octets, good[:at] + octets + good[at + len(octets) :]):
            for which in (named, named[:at] + octets, named[: at % 90] + octets + named[at % 90 + 3 :]):
                with contextlib.suppress(TransferFailed):
                    imported(parse_header(which), parse_index(damaged), None, {})


class Over(Exception):
    """No more comes."""


class Heard:
    """What stands for a session: it has octets, and takes them into nothing."""

    is_utf8 = False
    user = ADMIN

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.dialogue = self.transfers = self
        self.settings = ImapSettings()
        self.names = ExternalNames(NAMES, ADMIN)

    async def read_long_line(self, longest: int) -> bytes:
        line, end, self._octets = self._octets.partition(b"\r\n")
        if not end:
            raise Over
        return line

    async def read_octets(self, most: int) -> bytes:
        found, self._octets = self._octets[:most], self._octets[most:]
        if not found:
            raise Over
        return found

    def write(self, data: bytes) -> None:
        """Nobody hears it."""

    async def drain(self) -> None:
        """Likewise."""

    async def undump(self, identity: Identity, name: MailboxName) -> Heard:
        return self

    async def file(self, name: str, size: int) -> DumpFile:
        return DumpFile(None, lambda digest: None)

    def fields(self, name: str, values: list[bytes]) -> None:
        """It takes all."""

    async def finish(self) -> None:
        """Likewise."""

    async def leave(self) -> None:
        """Likewise."""


class Wire(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.lists(
            st.sampled_from(
                [b"(", b")", b" ", b"x", b"NIL", b'"a"', b"{1+}\r\n", b"{0}\r\n", b"{9}\r\n", b"\r\n", b"\x00", b'"']
            )
        )
    )
    def test_whatever_comes(self, pieces: list[bytes]) -> None:
        """It is taken, refused, or waited for; nothing else happens."""
        heard = Heard(b" x (NIL" + b"".join(pieces))
        done = Deferred.fromCoroutine(undump_command(heard, None))  # type: ignore[arg-type] # stands for one
        ended = done.addErrback(lambda failure: failure.trap(Over, Bad, Bye, No, MailStoreError))
        self.successResultOf(ended)
