"""POP3 of a frontend."""

from __future__ import annotations

import tempfile
from binascii import b2a_base64
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Authenticated
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import inbox_of
from pycyrus.murder.pop3 import Pop3Routes
from pycyrus.murder.servers.lines import LineClient
from pycyrus.murder.servers.pop3_link import Pop3Link
from pycyrus.pop3.maildrop import Maildrop
from pycyrus.pop3.protocol import Pop3Factory
from pycyrus.pop3.settings import Pop3Settings
from pycyrus.store.maildrops import MaildropClaims
from pycyrus.test.murder.cluster import ADMIN, MurderCase
from pycyrus.test.murder.test_imap import MESSAGE
from pycyrus.test.murder.test_links import Transport

LARGE = b"Subject: large\r\n\r\n" + b"z" * 70 + b"\r\n" * 100_000


class Pop3Case(MurderCase):
    serves_frontends = True

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.pop3_factories: dict[str, Pop3Factory] = {}
        ports = {(server, "pop3"): self._pop3(server) for server in self.servers}
        self.links = self.make_links(ports=ports)
        self.port = self._pop3("", self._routes())

    def _routes(self) -> Pop3Routes:
        routes = Pop3Routes(self.directory, self.links, self.reactor)
        self.addCleanup(routes.close)
        return routes

    def _pop3(self, server: str, elsewhere: Any = None) -> int:
        directory = Path(tempfile.mkdtemp(prefix="p-"))
        self.addCleanup(rmtree, directory, True)
        factory = Pop3Factory(
            self.stores[server or self.servers[0]],
            self.authenticator(**({"proxy_servers": ("mailproxy",)} if server else {})),
            Pop3Settings(
                "frontend" if elsewhere else "backend",
                serves_frontends=self.serves_frontends and not elsewhere,
                has_subfolders=True,
            ),
            MaildropClaims(directory),
            None,
            None,
            self.reactor,
            elsewhere,
        )
        self.pop3_factories[server] = factory
        number: int = self.listen(factory).getHost().port
        return number

    async def stop(self, port: Any, factory: Any) -> None:
        """Sessions of POP3 end themselves."""
        if not isinstance(factory, Pop3Factory):
            await super().stop(port, factory)
            return
        port.stopListening()
        while factory.sessions:
            for session in list(factory.sessions):
                session._link.abort()
            await self.turn()

    async def _connect(self, port: int = 0) -> LineClient:
        client = LineClient("frontend", self.reactor)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port or self.port), client)
        self.assertIn(b"+OK", await client.line())
        return client

    async def _say(self, client: LineClient, line: bytes) -> bytes:
        client.send(line + b"\r\n")
        return await client.line()

    async def _session(self, user: bytes, *lines: bytes) -> list[bytes]:
        """Log in, and say some lines; @return: the answers, of one line each."""
        client = await self._connect()
        self.assertIn(b"+OK", await self._say(client, b"USER " + user))
        answers = [await self._say(client, line) for line in (b"PASS secret", *lines)]
        if lines[-1:] == (b"QUIT",):
            with self.assertRaises(StoreUnavailable):
                await client.line()
        else:
            client.abort("done")
        return answers

    def _served(self, number: int = 0) -> set[Any]:
        return set(self.pop3_factories[self.servers[number]].sessions)


class Pop3Tests(Pop3Case):
    async def test_what_was_passed_on_stays(self) -> None:
        """A server passes on nobody whom another server passed on, and all who come themselves."""
        routes = Pop3Routes(self.directory, self.make_links(proxies=frozenset(("mailproxy",))), self.reactor)
        with self.assertRaises(StoreUnavailable):
            await routes.open(Authenticated(Identity("alice"), "mailproxy"), "")
        self.assertEqual(self.pop3_factories[self.servers[0]].sessions, set())

    async def test_a_session(self) -> None:
        """What the client says after the login, and even before its answer, reaches the backend."""
        user = await self.client()
        await self.append(user, b"INBOX", MESSAGE, LARGE)
        client = await self._connect()
        client.send(b"USER alice\r\nPASS secret\r\nSTAT\r\nRETR 2\r\nDELE 1\r\nQUIT\r\n")
        self.assertIn(b"+OK", await client.line())
        self.assertIn(b"+OK Mailbox locked and ready", await client.line())
        self.assertEqual(await client.line(), b"+OK 2 %d" % (len(MESSAGE) + len(LARGE)))
        await client.line()
        lines = []
        while (line := await client.line()) != b".":
            lines.append(line)
        self.assertEqual(b"\r\n".join(lines) + b"\r\n", LARGE)
        self.assertIn(b"+OK", await client.line())
        self.assertIn(b"+OK", await client.line())
        self.assertIn(b"MESSAGES 1", await self.do(user, b"STATUS INBOX (MESSAGES)"))

    async def test_a_wrong_password(self) -> None:
        """It is this server that refuses, and no backend is asked."""
        client = await self._connect()
        await self._say(client, b"USER alice")
        self.assertIn(b"-ERR [AUTH]", await self._say(client, b"PASS wrong"))
        self.assertEqual(self.pop3_factories[self.servers[0]].sessions, set())
        client.abort("done")

    async def test_a_backend_that_is_away(self) -> None:
        """The client is told to come again."""
        self.links.health.note_down(self.servers[0], "pop3", "away")
        client = await self._connect()
        await self._say(client, b"USER alice")
        self.assertIn(b"-ERR [SYS/TEMP]", await self._say(client, b"PASS secret"))
        client.abort("done")

    async def test_a_backend_that_goes(self) -> None:
        """The client's connection goes too, so that it knows that nothing was deleted."""
        client = await self._connect()
        await self._say(client, b"USER alice")
        await self._say(client, b"PASS secret")
        for session in list(self.pop3_factories[self.servers[0]].sessions):
            session._link.abort()
        with self.assertRaises(StoreUnavailable):
            # What was said before that was noticed has an answer.
            self.assertIn(b"-ERR [SYS/TEMP]", await self._say(client, b"NOOP"))
            await client.line()

    async def test_a_maildrop_that_is_in_use(self) -> None:
        """Whoever comes second is told what the backend says."""
        first = await self._connect()
        await self._say(first, b"USER alice")
        self.assertIn(b"+OK", await self._say(first, b"PASS secret"))
        (answer,) = await self._session(b"alice")
        self.assertIn(b"-ERR [IN-USE]", answer)
        first.abort("done")


class KeptConnectionTests(Pop3Case):
    """Connections to a backend that serve one user after another."""

    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        await self.stores[self.servers[0]].create(ADMIN, inbox_of(Identity("bob2")))

    async def test_one_after_another(self) -> None:
        """What one deleted is gone, and the next has the own maildrop, over the same connection."""
        user = await self.client()
        await self.append(user, b"INBOX", MESSAGE, LARGE)
        self.assertEqual((await self._session(b"alice", b"STAT", b"DELE 2", b"QUIT"))[-1], b"+OK")
        served = self._served()
        self.assertEqual(len(served), 1)
        self.assertEqual((await self._session(b"alice", b"STAT", b"QUIT"))[1], b"+OK 1 %d" % len(MESSAGE))
        self.assertEqual((await self._session(b"alice", b"NOOP", b"DELE 1", b"RSET", b"QUIT"))[-1], b"+OK")
        self.assertEqual(self._served(), served)
        self.assertIn(b"MESSAGES 1", await self.do(user, b"STATUS INBOX (MESSAGES)"))

    async def test_nothing_is_deleted_without_quit(self) -> None:
        """A client that just goes takes its connection with it."""
        user = await self.client()
        await self.append(user, b"INBOX", MESSAGE)
        await self._session(b"alice", b"NOOP", b"QUIT")
        await self._session(b"alice", b"DELE 1")
        while self._served():
            await self.turn()
        self.assertIn(b"MESSAGES 1", await self.do(user, b"STATUS INBOX (MESSAGES)"))
        self.assertEqual((await self._session(b"alice", b"STAT", b"QUIT"))[1], b"+OK 1 %d" % len(MESSAGE))

    async def test_one_that_died(self) -> None:
        """A backend that was restarted is asked anew."""
        await self._session(b"alice", b"QUIT")
        for session in self._served():
            session._link.abort()
        while self._served():
            await self.turn()
        self.assertIn(b"+OK Mailbox locked", (await self._session(b"alice", b"QUIT"))[0])

    async def test_one_that_says_something(self) -> None:
        """What nobody asked for is nobody's answer."""
        await self._session(b"alice", b"QUIT")
        (session,) = self._served()
        session._link.write(b"+OK 99 99\r\n")
        await self.turn()
        self.assertEqual((await self._session(b"alice", b"STAT", b"QUIT"))[1], b"+OK 0 0")
        self.assertNotIn(session, self._served())

    async def test_a_maildrop_in_use(self) -> None:
        """Who is not let in is told why, and the connection is there for others."""
        await self._session(b"alice", b"QUIT")
        (served,) = self._served()
        direct = await self._connect(self.links.settings.ports[self.servers[0], "pop3"])
        await self._say(direct, b"USER alice")
        self.assertIn(b"+OK", await self._say(direct, b"PASS secret"))
        client = await self._connect()
        await self._say(client, b"USER alice")
        self.assertIn(b"-ERR [IN-USE]", await self._say(client, b"PASS secret"))
        client.abort("done")
        await self._say(direct, b"QUIT")
        self.assertIn(b"+OK", (await self._session(b"alice", b"QUIT"))[0])
        self.assertIn(served, self._served())

    async def test_what_could_not_be_removed(self) -> None:
        """The client is told, as by a QUIT to the backend itself."""
        user = await self.client()
        await self.append(user, b"INBOX", MESSAGE)

        async def fail(maildrop: Maildrop) -> None:
            raise StoreUnavailable("full")

        self.patch(Maildrop, "update", fail)
        client = await self._connect()
        await self._say(client, b"USER alice")
        for line in (b"PASS secret", b"DELE 1"):
            self.assertIn(b"+OK", await self._say(client, line))
        self.assertIn(b"-ERR [SYS/TEMP] some deleted", await self._say(client, b"QUIT"))
        while self._served():
            await self.turn()

    async def test_only_frontends(self) -> None:
        """Who is no frontend becomes nobody else, and who does not know the word nobody at all."""
        port = self.links.settings.ports[self.servers[0], "pop3"]
        direct = await self._connect(port)
        self.assertIn(b"-ERR", await self._say(direct, b"XUSER word bob2"))
        self.assertEqual(await self._say(direct, b"XLINK word"), b"+OK")
        self.assertIn(b"-ERR", await self._say(direct, b"XLINK other"))
        await self._say(direct, b"USER alice")
        await self._say(direct, b"PASS secret")
        for line in (b"XUSER word bob2", b"XDONE other end", b"XDONE word", b"XLINK word"):
            self.assertIn(b"-ERR", await self._say(direct, line))
        self.assertEqual(await self._say(direct, b"XDONE word end"), b"+OK end")
        for line in (b"STAT", b"XUSER word bob2", b"XUSER alice", b"XUSER other alice"):
            self.assertIn(b"-ERR", await self._say(direct, line))
        self.assertIn(b"+OK", await self._say(direct, b"XUSER word alice"))
        self.assertEqual(await self._say(direct, b"STAT"), b"+OK 0 0")
        direct.abort("done")

    async def test_a_client_that_knows_how(self) -> None:
        """What a frontend says to a backend is of no use to its clients, whose octets reach it as well."""
        client = await self._connect()
        await self._say(client, b"USER alice")
        await self._say(client, b"PASS secret")
        self.assertNotIn(b"XDONE", b" ".join([await self._say(client, b"CAPA"), *await self._listing(client)]))
        for line in (
            b"XLINK word",
            b"XDONE word",
            b"XDONE word end",
            b"XUSER bob2",
            b"XUSER word bob2",
            b"XUSER  bob2",
        ):
            self.assertIn(b"-ERR", await self._say(client, line))
        self.assertEqual(await self._say(client, b"STAT"), b"+OK 0 0")
        client.abort("done")

    async def _listing(self, client: LineClient) -> list[bytes]:
        lines = []
        while (line := await client.line()) != b".":
            lines.append(line)
        return lines

    async def test_folders(self) -> None:
        """C{user+folder} opens a folder, also as the next user, and for who names one only to act for."""
        user = await self.client()
        await self.do(user, b"CREATE INBOX.Work")
        await self.append(user, b"INBOX.Work", MESSAGE)
        await self.append(user, b"INBOX", MESSAGE, MESSAGE)
        for name, messages in ((b"alice+Work", 1), (b"alice", 2), (b"alice+Work", 1)):
            answer = (await self._session(name, b"STAT", b"QUIT"))[1]
            self.assertEqual(answer, b"+OK %d %d" % (messages, messages * len(MESSAGE)))
        self.assertEqual(len(self._served()), 1)
        for exchange in (b"alice+Work\0alice\0secret", b"\0alice+Work\0secret"):
            client = await self._connect()
            answer = await self._say(client, b"AUTH PLAIN " + b2a_base64(exchange, newline=False))
            self.assertIn(b"+OK Mailbox locked", answer)
            self.assertEqual(await self._say(client, b"STAT"), b"+OK 1 %d" % len(MESSAGE))
            self.assertEqual(await self._say(client, b"QUIT"), b"+OK")
        absent = (await self._session(b"alice+Absent"))[0]
        self.assertEqual(absent, b"-ERR [SYS/PERM] Unable to locate maildrop: Mailbox does not exist")


class OtherBackendTests(Pop3Case):
    """Backends that serve one user on each connection, as Cyrus does."""

    serves_frontends = False

    async def test_a_connection_each(self) -> None:
        """QUIT reaches them as it is; and what they do not announce they do not know."""
        for _ in range(2):
            self.assertIn(b"+OK", (await self._session(b"alice", b"NOOP", b"QUIT"))[-1])
            while self._served():
                await self.turn()
        direct = await self._connect(self.links.settings.ports[self.servers[0], "pop3"])
        await self._say(direct, b"USER alice")
        await self._say(direct, b"PASS secret")
        self.assertIn(b"-ERR", await self._say(direct, b"XLINK word"))
        direct.abort("done")


class EndTests(SynchronousTestCase):
    """Where what was said to one user ends."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.binary(max_size=2000), st.lists(st.integers(1, 700), min_size=1, max_size=30))
    def test_whatever_the_pieces(self, said: bytes, sizes: list[int]) -> None:
        """All reaches the client, but for the word; and the connection is free then, not before."""
        clock = Clock()
        freed: list[Pop3Link] = []
        heard: list[bytes | None] = []
        link = Pop3Link("server", clock)
        transport = Transport()
        link.makeConnection(transport)
        link.give_back = freed.append
        link.join(cast(Any, SimpleNamespace(take_piped=heard.append, pipe_ended=lambda: heard.append(None))))
        link.pass_on(b"RETR 1\r\n")
        link.pass_on(b"QUIT\r\n")
        word = transport.value().split()[-1]
        self.assertEqual(transport.value(), b"RETR 1\r\nXDONE  %b\r\n" % word)
        answer = said + b"+OK " + word[:-1] + b"\r\n+OK " + word + b"\r\n"
        at = turn = 0
        while at < len(answer):
            self.assertEqual(freed, [])
            size = sizes[turn % len(sizes)]
            link.dataReceived(answer[at : at + size])
            at, turn = at + size, turn + 1
        self.assertEqual(freed, [link])
        self.assertIs(heard.pop(), None)
        self.assertEqual(b"".join(filter(None, heard)), said + b"+OK " + word[:-1] + b"\r\n+OK\r\n")
        link.close()
        self.assertFalse(transport.disconnecting)
