"""A store that fails at its n-th call: every command is answered truthfully, and the next one works."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.errors import StoreUnavailable
from pycyrus.interfaces import NewMessage
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.store.store import MailStore
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import ADMIN, Client, FixedAuthenticator, ImapServer, open_mail_server

FAILING = frozenset(
    (
        *("open", "stage", "create", "delete", "rename", "list", "status", "subscriptions", "subscribe", "namespaces"),
        *("refresh", "append", "store", "expunge", "copy", "move", "search", "message", "write", "finish"),
    )
)
"""Methods of stores, mailboxes and staged messages that may raise L{StoreUnavailable}."""
MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
COMMANDS = (
    b'LIST "" "*"',
    b"CREATE Folder",
    b"SUBSCRIBE Folder",
    b'LSUB "" "*"',
    b"STATUS INBOX (MESSAGES)",
    b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE),
    b"APPEND INBOX {%d+}\r\n%b {%d+}\r\n%b" % (len(MESSAGE), MESSAGE, len(MESSAGE), MESSAGE),
    b"SELECT INBOX",
    b"FETCH 1:* (FLAGS ENVELOPE BODY[])",
    b"STORE 1 +FLAGS (\\Deleted)",
    b"SEARCH TEXT hello",
    b"COPY 1:* Folder",
    b"MOVE 1 Folder",
    b"EXPUNGE",
    b"NOOP",
    b"NAMESPACE",
    b"RENAME Folder Other",
    b"DELETE Other",
    b"CLOSE",
)
ALWAYS = (b"CREATE Folder", b"SELECT INBOX")
"""Made good if they failed, so that what follows has something to work on."""


class Failing:
    """
    Stands before a store, a mailbox or a staged message.

    @ivar countdown: Shared by all of one store: calls until one fails.
    """

    def __init__(self, target: Any, countdown: list[int]) -> None:
        self._target = target
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in FAILING:
            return found
        return self._failing(name, found)

    def _failing(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._countdown[0] -= 1
            if not self._countdown[0]:
                raise StoreUnavailable("disk on fire at " + name)
            result = method(*(_bare(arg) for arg in args), **kwargs)
            return self._wrapped(result) if name in ("open", "stage") else result

        return call

    async def _wrapped(self, result: Any) -> Failing:
        return Failing(await result, self._countdown)


def _bare(argument: Any) -> Any:
    """What the real thing takes: the target of a copy, messages to append."""
    if isinstance(argument, Failing):
        return argument._target
    if isinstance(argument, list):
        return [replace(item, staged=_bare(item.staged)) if isinstance(item, NewMessage) else item for item in argument]
    return argument


class FaultTests(TestCase):
    """With the real store behind."""

    def test_every_call_fails_once(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._fail_each())

    async def _fail_each(self) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        real = await open_mail_server(directory, reactor=cast(WatchReactor, reactor), users=())
        try:
            number = 0
            is_reached = True
            while is_reached:
                number += 1
                countdown = [number]
                refused = await self._play(real.store, f"user{number}", countdown)
                is_reached = countdown[0] <= 0
                self.assertLessEqual(refused, 3 if is_reached else 0)
        finally:
            await real.shut_down()
        self.assertGreater(number, 20)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def _play(self, store: MailStore, user: str, countdown: list[int]) -> int:
        """
        Do all commands as a new user.

        @return: How many were refused.
        """
        from twisted.internet import reactor

        await store.create(ADMIN, inbox_of(Identity(user)))
        server = ImapServer(
            store=cast(Any, Failing(store, countdown)),
            authenticator=cast(Any, FixedAuthenticator({user: "secret"})),
            reactor=cast(WatchReactor, reactor),
        )
        try:
            client = server.connect()
            await client.receive_line()
            await server.log_in(client, user)
            refused = 0
            for command in COMMANDS:
                reply = await self._answer(client, command)
                if b" OK " not in reply[:8]:
                    refused += 1
                    self.assertIn(b"NO [", reply, (command, reply, countdown))
                    if command in ALWAYS:
                        self.assertIn(b" OK ", await self._answer(client, command))
            return refused
        finally:
            server.close()

    async def _answer(self, client: Client, command: bytes) -> bytes:
        client.send(b"t " + command + b"\r\n")
        while True:
            line = await client.receive_line()
            self.assertIsNotNone(line, command)
            assert line is not None
            self.assertNotIn(b"* BYE", line)
            self.assertNotIn(b"fire", line)
            if line.startswith(b"t "):
                return line
