"""Authentication put together for tests, with a clock of their own and hashes computed at once."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import Authenticator, AuthSettings
from pycyrus.auth.cache import CacheSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.interfaces import IAccounts, IMailPassword, IScramKeyStore, ScramKeys
from pycyrus.interfaces import Channel

T = TypeVar("T")

CLEAR = Channel("imap", "192.0.2.1", tls=False, session_id="s1")
TLS = replace(CLEAR, tls=True)

SETTINGS = AuthSettings()
IDENTITIES = IdentitySettings(virtdomains="userid", admins=("boss", "chief@example.com"))
CACHE = CacheSettings()
DELAYS = DelaySettings()


async def at_once(function: Callable[[], T]) -> T:
    """Run something where it stands."""
    return function()


@implementer(ICredentialsChecker, IAccounts)
class DictChecker:
    """Knows passwords in clear; counts how often it was asked."""

    credentialInterfaces = (IMailPassword,)

    def __init__(self, passwords: Mapping[str, bytes]) -> None:
        self.passwords = dict(passwords)
        self.asked: list[MailPassword] = []
        self.error: Exception | None = None
        self.changes = 0
        self.disabled: set[str] = set()

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.asked.append(credentials)
        if self.error is not None:
            return fail(self.error)
        known = self.passwords.get(credentials.user_id)
        if known is not None and credentials.checkPassword(known):
            return succeed(credentials.user_id.encode())
        return fail(UnauthorizedLogin())

    def version(self) -> int:
        return self.changes

    def is_disabled(self, user_id: str) -> bool:
        return user_id in self.disabled


@implementer(ICredentialsChecker, IScramKeyStore)
class KeyedChecker(DictChecker):
    """A checker with SCRAM keys."""

    def __init__(self, passwords: Mapping[str, bytes], keys: Mapping[tuple[str, str], ScramKeys]) -> None:
        super().__init__(passwords)
        self.scram = dict(keys)

    async def scram_keys(self, user_id: str, mechanism: str) -> ScramKeys:
        nothing = ScramKeys(b"s" * 32, 4096, b"x" * 20, b"y" * 20, usable=False)
        return self.scram.get((user_id, mechanism), nothing)


class AuthTestCase(SynchronousTestCase):
    """Makes authenticators."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.checker = DictChecker({"fred": b"secret", "mary": b"lamb", "fred@example.com": b"other", "boss": b"root"})

    def authenticator(
        self,
        settings: AuthSettings = SETTINGS,
        identities: IdentitySettings = IDENTITIES,
        *,
        checkers: list[Any] | None = None,
        cache: CacheSettings = CACHE,
        delays: DelaySettings = DELAYS,
    ) -> Authenticator:
        self.parts = Authentication(
            self.clock,
            CheckerChain(checkers if checkers is not None else [self.checker]),
            at_once,
            cache,
            delays,
        )
        return self.parts.authenticator(identities, settings)

    def run_now(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of something that does not wait."""
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails_later(self, coroutine: Coroutine[Any, Any, Any], error: type[Exception]) -> Any:
        """The error of something that fails after the delay of failures."""
        result = Deferred.fromCoroutine(coroutine)
        self.assertNoResult(result)
        self.clock.advance(3)
        return self.failureResultOf(result, error).value

    def directory(self) -> Path:
        """A new directory."""
        path = Path(self.mktemp())
        path.mkdir(parents=True)
        return path
