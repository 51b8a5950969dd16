"""
Passwords and groups from LDAP directories, one for all domains or one for each.

Each directory has threads of its own.  One that is down or hangs makes its own
users wait for a bounded time and be told to come again; nobody else notices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from pycyrus.auth.interfaces import CheckerContext, ICheckerFactory, IExplains, IGroups, IMailPassword
from pycyrus.auth.ldap.directory import LdapDirectory
from pycyrus.auth.ldap.errors import DirectoryDown, Refused, Unusable
from pycyrus.auth.ldap.settings import BadDirectory, Form, LdapSettings, ldap_settings, read_saslauthd_conf
from pycyrus.errors import AuthenticationUnavailable

T = TypeVar("T")

THREADS = 8
"""Questions that a directory is asked at a time."""
_MOST_WAITING = 200
"""Questions that wait for a thread; further ones are told to come again."""
FILE = "ldap_config"
"""Option: a file like saslauthd.conf; with C{-DOMAIN} behind it, that of one domain."""


class _DaemonThread(Thread):
    """A thread that the end of the process does not wait for."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, daemon=True)


@dataclass(slots=True)
class _Trouble:
    """When a directory was found to be down, and why."""

    until: float = 0.0
    reason: str = ""


class _Question(Generic[T]):
    """Asked in a thread, unless whoever asked has gone before a thread was free."""

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self.given_up = False

    def __call__(self) -> T:
        if self.given_up:
            raise DirectoryDown("nobody wants to know any more")
        return self._question()


class Asked:
    """
    One directory, asked from the reactor thread.

    @ivar rest: Seconds for which a directory that is down is not asked again.
    """

    log = Logger()

    def __init__(self, directory: LdapDirectory, reactor: Any) -> None:
        self.directory = directory
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, name=directory.where)
        # A directory that hangs must not keep the server from ending.
        self._pool.threadFactory = _DaemonThread  # type: ignore[assignment] # as good as its parent
        self._waiting = 0
        self._trouble = _Trouble()
        settings = directory.settings
        # To connect to each server, and to be answered twice.
        self._patience = settings.timeout * (len(settings.uris) + 1) + settings.time_limit
        self._trigger: Any = None
        self.rest = 5.0

    async def ask(self, question: Callable[[], T]) -> T:
        """
        Ask.

        @raise Refused: As the question.
        @raise AuthenticationUnavailable: The directory is down, or too busy.
        """
        now = self._reactor.seconds()
        if now < self._trouble.until:
            raise AuthenticationUnavailable(f"not asked again yet: {self._trouble.reason}")
        if self._waiting >= _MOST_WAITING:
            raise AuthenticationUnavailable(f"{self.directory.where}: too many wait for it")
        if self._trigger is None:
            self._pool.start()
            self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._stop)
        self._waiting += 1
        asked = _Question(question)
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, asked)
        answer.addTimeout(self._patience, self._reactor)  # type: ignore[unused-awaitable] # the same Deferred
        try:
            told = await answer
        except DirectoryDown as error:
            raise self._down(str(error)) from error
        except Unusable as error:
            self.log.error("{reason}", reason=str(error))
            raise AuthenticationUnavailable(str(error)) from error
        except TwistedTimeoutError as error:
            raise self._down(f"{self.directory.where}: no answer in {self._patience:.0f} s") from error
        finally:
            asked.given_up = True
            self._waiting -= 1
        if self._trouble.reason:
            self.log.info("{where}: answers again", where=self.directory.where)
            self._trouble = _Trouble()
        return told

    def _down(self, reason: str) -> AuthenticationUnavailable:
        if reason != self._trouble.reason:
            self.log.error("{reason}", reason=reason)
        self._trouble = _Trouble(self._reactor.seconds() + self.rest, reason)
        return AuthenticationUnavailable(reason)

    def close(self) -> None:
        """Give connections and threads back."""
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
            self._stop()

    def _stop(self) -> None:
        self.directory.close()
        # Who waits for a directory that hangs is not waited for.
        self._pool.adjustPoolsize(0, 0)


@implementer(ICredentialsChecker, IGroups, IExplains)
class LdapChecker:
    """
    Checks passwords, and knows groups.

    @param directories: By domain; that of an empty name is for all others.
    """

    log = Logger()
    credentialInterfaces = (IMailPassword,)

    def __init__(self, directories: Mapping[str, Asked]) -> None:
        self.directories = directories

    def close(self) -> None:
        """Give connections and threads back."""
        for asked in self.directories.values():
            asked.close()

    def requestAvatarId(self, credentials: IMailPassword) -> Deferred[bytes | tuple[()]]:
        """Check a password; see L{ICheckerFactory.make_checker}."""
        return Deferred.fromCoroutine(self._check(credentials))

    async def _check(self, credentials: IMailPassword) -> bytes | tuple[()]:
        user_id: str = credentials.user_id
        asked = self._of(user_id)
        if asked is None:
            raise UnauthorizedLogin("no directory for that domain")
        password, service = credentials.password, credentials.service
        try:
            found = await asked.ask(lambda: asked.directory.check(user_id, password, service))
        except Refused as refused:
            self.log.debug("{user}: {reason}", user=user_id, reason=str(refused))
            raise UnauthorizedLogin(str(refused)) from refused
        return found.encode("utf-8")

    async def groups_of(self, user_id: str) -> frozenset[str]:
        """See L{IGroups}."""
        asked = self._of(user_id)
        if asked is None or not asked.directory.settings.has_groups:
            return frozenset()
        groups = await asked.ask(lambda: asked.directory.groups(user_id))
        _, _, domain = user_id.rpartition("@") if "@" in user_id else ("", "", "")
        if not domain or domain not in self.directories:
            return groups
        # Whoever keeps the directory of one domain must not give out the groups of another.
        return frozenset(f"{group}@{domain}" for group in groups)

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        asked = self._of(user_id)
        if asked is None:
            return ["ldap: no directory for that domain"]
        return await asked.ask(lambda: asked.directory.explain(user_id, service))

    def _of(self, user_id: str) -> Asked | None:
        _, _, domain = user_id.rpartition("@") if "@" in user_id else ("", "", "")
        return self.directories.get(domain) or self.directories.get("")


def directories_of(options: Mapping[str, str]) -> dict[str, LdapSettings]:
    """
    Which directories there are, by domain.

    @param options: All options as they were written.
    @raise BadDirectory: One is misconfigured.
    """
    found: dict[str, LdapSettings] = {}
    for name, value in options.items():
        if name == FILE:
            found[""] = _of_file(value)
        elif name.startswith(f"{FILE}-"):
            found[name.removeprefix(f"{FILE}-").lower()] = _of_file(value)
    own = {name: value for name, value in options.items() if name.startswith("ldap_") and not name.startswith(FILE)}
    if "" not in found and own:
        found[""] = ldap_settings(own)
    if not found:
        raise BadDirectory("imapd.conf: sasl_pwcheck_method has ldap, so ldap_uri and ldap_base must say where it is")
    return found


def _of_file(path: str) -> LdapSettings:
    return ldap_settings(read_saslauthd_conf(Path(path)), path, Form.SASLAUTHD)


@implementer(ICheckerFactory)
class LdapCheckerFactory:
    """C{sasl_pwcheck_method: ldap}."""

    name = "ldap"
    summary = "LDAP directories (ldap_uri, ldap_base, ..., or ldap_config and ldap_config-DOMAIN)"

    def make_checker(self, context: CheckerContext) -> LdapChecker:
        """
        Make the checker; no directory is asked yet.

        @raise BadDirectory: One is misconfigured.
        """
        return LdapChecker(
            {
                domain: Asked(LdapDirectory(settings, f"LDAP of {domain}" if domain else "LDAP"), context.reactor)
                for domain, settings in directories_of(context.options).items()
            }
        )
