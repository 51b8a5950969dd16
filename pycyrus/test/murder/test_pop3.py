"""POP3 of a frontend."""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import rmtree
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import Authenticated
from pycyrus.model.identity import Identity
from pycyrus.murder.lines import LineClient
from pycyrus.murder.pop3 import Pop3Routes
from pycyrus.pop3.protocol import Pop3Factory
from pycyrus.pop3.settings import Pop3Settings
from pycyrus.store.maildrops import MaildropClaims
from pycyrus.test.murder.cluster import MurderCase
from pycyrus.test.murder.test_imap import MESSAGE

LARGE = b"Subject: large\r\n\r\n" + b"z" * 70 + b"\r\n" * 100_000


class Pop3Tests(MurderCase):
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.pop3_factories: dict[str, Pop3Factory] = {}
        ports = {(server, "pop3"): self._pop3(server) for server in self.servers}
        self.links = self.make_links(ports=ports)
        routes = Pop3Routes(self.directory, self.links, self.reactor)
        self.port = self._pop3("", routes)

    def _pop3(self, server: str, elsewhere: Any = None) -> int:
        directory = Path(tempfile.mkdtemp(prefix="p-"))
        self.addCleanup(rmtree, directory, True)
        factory = Pop3Factory(
            self.stores[server or self.servers[0]],
            self.authenticator(**({"proxy_servers": ("mailproxy",)} if server else {})),
            Pop3Settings("frontend" if elsewhere else "backend"),
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

    async def _connect(self) -> LineClient:
        client = LineClient("frontend", self.reactor)
        await connectProtocol(TCP4ClientEndpoint(self.reactor, "127.0.0.1", self.port), client)
        self.assertIn(b"+OK", await client.line())
        return client

    async def _say(self, client: LineClient, line: bytes) -> bytes:
        client.send(line + b"\r\n")
        return await client.line()

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
            await self._say(client, b"NOOP")
