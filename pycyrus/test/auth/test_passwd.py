"""The checker of the built-in user database, and its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from pycyrus.auth import local_domains, threads, users
from pycyrus.auth.checkers import passwd
from pycyrus.auth.checkers.chain import UnknownChecker, factories, make_checkers
from pycyrus.auth.checkers.passwd import PasswdChecker, PasswdCheckerFactory
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.interfaces import CheckerContext, IAccounts, ICheckerFactory, IScramKeyStore
from pycyrus.auth.threads import HashThreads
from pycyrus.auth.users import UserDatabase
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.test.auth.parts import AuthTestCase, at_once


class PasswdCheckerTests(AuthTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(users, "SCRAM_ITERATIONS", 4096)
        self.path = self.directory() / "users.db"
        self.database = UserDatabase(self.path)
        self.addCleanup(self.database.close)
        self.database.add("fred", "secret")
        self.database.add("late", "secret")
        self.database.disable("late")
        self.subject = PasswdChecker(self.database, at_once)

    def ask(self, user: str, password: bytes) -> Deferred[Any]:
        credentials: Any = MailPassword(user, password, "imap")
        return self.subject.requestAvatarId(credentials)

    def test_interfaces(self) -> None:
        """Checker, keys and plugin."""
        verifyObject(ICredentialsChecker, self.subject)
        verifyObject(IScramKeyStore, self.subject)
        verifyObject(IAccounts, self.subject)
        verifyObject(ICheckerFactory, PasswdCheckerFactory())

    def test_answers(self) -> None:
        """Yes, or one no for every reason."""
        self.assertEqual(self.successResultOf(self.ask("fred", b"secret")), b"fred")
        for user, password in (("fred", b"wrong"), ("nobody", b"secret"), ("late", b"secret")):
            self.failureResultOf(self.ask(user, password), UnauthorizedLogin)

    def test_every_no_costs_a_hash(self) -> None:
        """One comparison, no more and no less, with hashes of the same cost."""
        compared: list[str] = []
        real = users.verify

        def verify(encoded: str, password: bytes) -> bool:
            compared.append(encoded)
            return real(encoded, password)

        self.patch(passwd, "verify", verify)
        for user in ("fred", "nobody", "late"):
            self.failureResultOf(self.ask(user, b"wrong"), UnauthorizedLogin)
        self.assertEqual(len(compared), 3)
        self.assertEqual(len({encoded.rsplit("$", 2)[0] for encoded in compared}), 1)

    def test_same_time(self) -> None:
        """An unknown user cannot be told by the clock."""
        times: dict[str, list[float]] = {"fred": [], "nobody": []}
        for _ in range(5):
            for user, spent in times.items():
                start = time.thread_time()
                self.failureResultOf(self.ask(user, b"wrong"), UnauthorizedLogin)
                spent.append(time.thread_time() - start)
        known, unknown = (min(spent) for spent in times.values())
        self.assertLess(abs(known - unknown), max(known, unknown) * 0.7)

    def test_disabled(self) -> None:
        """Known to those who need no password; an unknown user is not disabled."""
        self.assertEqual([self.subject.is_disabled(user) for user in ("fred", "late", "nobody")], [False, True, False])

    def test_broken_database(self) -> None:
        """Nobody is told that the password is wrong."""
        other = UserDatabase(self.path)
        other._connection.execute("DROP TABLE scram")
        other._connection.execute("DROP TABLE users")
        other.close()
        self.failureResultOf(self.ask("fred", b"secret"), AuthenticationUnavailable)
        self.assertRaises(AuthenticationUnavailable, self.subject.is_disabled, "fred")
        keys = Deferred.fromCoroutine(self.subject.scram_keys("fred", "SCRAM-SHA-1"))
        self.failureResultOf(keys, AuthenticationUnavailable)

    def test_found_by_name(self) -> None:
        """With its file in the configuration directory."""
        self.assertIn("passwd", factories())
        directory = self.directory()
        context = CheckerContext(directory, {}, at_once)
        chain = make_checkers(["passwd"], context)
        self.assertTrue(chain.has_scram_keys)
        self.assertTrue((directory / "users.db").exists())
        error = self.assertRaises(UnknownChecker, make_checkers, ["sasldb99"], context)
        self.assertIn("passwd", str(error))


class HashThreadsTests(TestCase):
    def setUp(self) -> None:
        self.threads = HashThreads(reactor, 2)
        self.addCleanup(self.threads.stop)

    def start(self, function: Callable[[], Any]) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.threads.run(function))

    async def test_elsewhere(self) -> None:
        """Not on the reactor's thread, and never more at a time than threads."""
        lock = threading.Lock()
        counts = {"now": 0, "most": 0}

        def work() -> int:
            with lock:
                counts["now"] += 1
                counts["most"] = max(counts["most"], counts["now"])
            time.sleep(0.002)
            with lock:
                counts["now"] -= 1
            return threading.get_ident()

        found = await gatherResults([self.start(work) for _ in range(20)])
        self.assertNotIn(threading.get_ident(), found)
        self.assertEqual(counts["most"], 2)
        self.assertEqual(self.threads.waiting, 0)

    async def test_bounded(self) -> None:
        """Beyond the bound, people are asked to come again."""
        self.patch(threads, "MOST_WAITING", 3)
        go = threading.Event()
        running = [self.start(go.wait) for _ in range(3)]
        self.failureResultOf(self.start(lambda: None), AuthenticationUnavailable)
        go.set()
        await gatherResults(running)
        await self.start(lambda: None)

    async def test_errors_come_through(self) -> None:
        """As they were raised."""
        with self.assertRaises(ZeroDivisionError):
            await self.start(lambda: 1 / 0)


class LocalDomainTests(SynchronousTestCase):
    def test_reverse_lookup(self) -> None:
        """What follows the first dot; asked once; nothing where there is no name."""
        asked: list[str] = []

        def host_name(address: str) -> str:
            asked.append(address)
            return {"192.0.2.1": "Mail.Example.COM.", "192.0.2.2": "localhost"}.get(address, "")

        self.patch(local_domains, "_host_name", host_name)
        domains = local_domains.LocalDomains(Clock(), at_once)
        for address, expected in (
            ("192.0.2.1", "example.com"),
            ("192.0.2.1", "example.com"),
            ("192.0.2.2", ""),
            ("x", ""),
        ):
            found = Deferred.fromCoroutine(domains.domain(address))
            self.assertEqual(self.successResultOf(found), expected)
        self.assertEqual(asked, ["192.0.2.1", "192.0.2.2", "x"])
