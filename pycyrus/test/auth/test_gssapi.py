"""GSSAPI with a Kerberos realm of its own: our server and the clients of Cyrus, our client and our server."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.client import ClientCredentials, choose
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.kerberos import Acceptor, is_available
from pycyrus.auth.mechanisms.gssapi import Gssapi
from pycyrus.errors import (
    AuthenticationFailed,
    AuthenticationUnavailable,
    AuthorizationDenied,
    MailStoreError,
    MalformedExchange,
    MechanismUnavailable,
)
from pycyrus.interfaces import Authenticated, IAuthenticator
from pycyrus.test.auth.parts import CACHE, TLS, AuthTestCase, at_once
from pycyrus.test.auth.services import ServiceCase
from pycyrus.testing.kerberos import Realm
from pycyrus.testing.programs import ProgramFailed, find_program, run

ONLY = AuthSettings(mechanisms=("GSSAPI",))


class KerberosCase(ServiceCase):
    """A realm with users and services."""

    def setUp(self) -> None:
        if not is_available():
            text = "the package gssapi is not installed: pip install gssapi"
            raise ProgramFailed(text) if os.environ.get("CI") == "true" else SkipTest(text)
        super().setUp()
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.realm = Realm(directory)
        for user in ("alice", "admin"):
            self.realm.add_user(user, "secret")
        for service in ("imap", "pop", "lmtp", "host"):
            self.realm.add_service(f"{service}/localhost")
        self.realm.start()
        self.addCleanup(self.realm.stop)
        # The library in this process reads the realm's files as well.
        before = dict(os.environ)
        os.environ.update(self.realm.environment)
        self.addCleanup(os.environ.update, before)
        for name in self.realm.environment.keys() - before.keys():
            self.addCleanup(os.environ.pop, name)

    def authenticator(self, settings: AuthSettings) -> IAuthenticator:
        parts = Authentication(
            Clock(),
            CheckerChain([self.checker]),
            deferToThread,
            CACHE,
            DelaySettings(pause=0),
            tickets=Acceptor(self.realm.key_table),
        )
        return parts.authenticator(self.identities, settings)


class CyrusClientTests(KerberosCase):
    """Clients of Cyrus."""

    async def tried(self, program: str, port: int, user: str, end: bytes) -> str:
        command: list[str | Path] = [find_program(program), "-m", "GSSAPI", "-p", str(port), "-u", user, "localhost"]
        environment = self.realm.environment
        return await self.elsewhere(lambda: run(command, status=None, given=end, environment=environment, timeout=30))

    async def test_all_protocols(self) -> None:
        imap, pop3 = self.imap(ONLY), self.pop3(AuthSettings(("GSSAPI",), services=frozenset({b"pop"})))
        lmtp = self.lmtp(AuthSettings(("GSSAPI",), admins_only=True, services=frozenset({b"lmtp"})))
        self.realm.log_in("alice", "secret")
        for program, port, end in (("imtest", imap, b". LOGOUT\r\n"), ("pop3test", pop3, b"QUIT\r\n")):
            said = await self.tried(program, port, "alice", end)
            self.assertIn("Authenticated.", said)
            self.assertIn("Security strength factor: 0", said)
        self.assertIn("Authentication failed", await self.tried("imtest", imap, "admin", b". LOGOUT\r\n"))
        self.assertIn("Authentication failed", await self.tried("lmtptest", lmtp, "alice", b"QUIT\r\n"))
        self.realm.log_in("admin", "secret")
        self.assertIn("Authenticated.", await self.tried("lmtptest", lmtp, "admin", b"QUIT\r\n"))
        self.assertIn("Authenticated.", await self.tried("imtest", imap, "alice", b". LOGOUT\r\n"))


class ClientTests(KerberosCase):
    """Our client and our server."""

    async def logged_in(
        self, acting_as: str = "", *, service: str = "imap", services: frozenset[bytes] = frozenset({b"imap"})
    ) -> Authenticated:
        subject = self.authenticator(AuthSettings(services=services))
        self.assertIn("GSSAPI", subject.mechanisms(TLS))
        credentials = ClientCredentials("", acting_as)
        client = choose(["GSSAPI", "PLAIN"], credentials, tls=False, service=service, host="localhost")
        self.assertEqual(client.mechanism, "GSSAPI")
        server = subject.start("gssapi", TLS)
        response = await deferToThread(client.initial)
        while True:
            result = await server.step(response)
            if isinstance(result, Authenticated):
                client.finished(result.data)
                return result
            response = await deferToThread(client.step, result.data)

    async def test_logins(self) -> None:
        with self.assertRaises(AuthenticationUnavailable):
            # No ticket yet.
            await self.logged_in()
        self.realm.log_in("alice", "secret")
        self.assertEqual((await self.logged_in()).identity.user_id, "alice")
        with self.assertRaises(AuthorizationDenied):
            await self.logged_in("admin")
        # A key of another service lies in the same table.
        with self.assertRaises(AuthenticationFailed):
            await self.logged_in(service="host")
        self.realm.log_in("admin", "secret")
        result = await self.logged_in("alice")
        self.assertEqual((result.identity.user_id, result.authenticated_as), ("alice", "admin"))

    async def test_garbage_instead_of_tokens(self) -> None:
        subject = self.authenticator(ONLY)
        for token in (b"x", b"`" * 40, bytes(9000), b"\x60\x82\x02"):
            with self.assertRaises((AuthenticationFailed, MalformedExchange)):
                await subject.start("GSSAPI", TLS).step(token)

    async def test_an_unreadable_key_table(self) -> None:
        self.realm.key_table.unlink()
        self.realm.log_in("alice", "secret")
        with self.assertRaises(AuthenticationUnavailable):
            await self.logged_in()


class Context:
    """A security context in which anything goes."""

    def __init__(self, answers: list[bytes], message: bytes) -> None:
        self._answers = answers
        self._message = message

    @property
    def is_complete(self) -> bool:
        return not self._answers

    def step(self, token: bytes) -> bytes:
        return self._answers.pop()

    def offer(self) -> bytes:
        return b"offer"

    def chosen(self, message: bytes) -> bytes:
        return self._message

    def service(self) -> bytes:
        return b"imap"

    def user(self) -> bytes:
        return b"fred"


class OrderTests(AuthTestCase):
    """The order of messages, without Kerberos."""

    def attempt(self, answers: list[bytes], message: bytes, responses: list[bytes | None]) -> Any:
        class Tickets:
            def context(self) -> Context:
                return Context(answers, message)

        class Verifier:
            services = frozenset({b"imap"})
            tried = b""

            async def proved(self, user: bytes, acting_as: bytes) -> Any:
                return user, acting_as

        exchange = Gssapi(Verifier(), Tickets(), at_once)  # type: ignore[arg-type]
        result: Any = None
        for response in responses:
            result = self.run_now(exchange.step(response))
        return result

    def test_orders(self) -> None:
        good = b"\x01\0\0\0mary"
        for answers, responses in (
            ([b""], [b"token", b"reply"]),
            ([b"last"], [b"token", b"", b"reply"]),
            ([b"last", b"more"], [None, b"token", b"token", b"", b"reply"]),
        ):
            self.assertEqual(self.attempt(answers, good, responses), (b"fred", b"mary"))  # type: ignore[arg-type]

    def test_without_a_host_there_is_no_gssapi(self) -> None:
        with self.assertRaises(MechanismUnavailable):
            choose(["GSSAPI"], ClientCredentials("x"), tls=True)

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(st.binary(max_size=4), min_size=1, max_size=4),
        st.binary(max_size=12),
        st.lists(st.none() | st.binary(max_size=10), max_size=8),
    )
    def test_any_order_ends_well_or_is_refused(
        self, answers: list[bytes], message: bytes, responses: list[bytes | None]
    ) -> None:
        said = message[:1] == b"\x01" and len(message) >= 4
        results: list[Any] = []
        try:
            results.append(self.attempt(answers, message, responses))
        except self.failureException as error:
            self.assertTrue(any(name in str(error) for name in ("MalformedExchange", "AuthenticationFailed")), error)
        except MailStoreError:
            self.fail("raised where it should have failed")
        if results and isinstance(results[0], tuple):
            self.assertTrue(said)
