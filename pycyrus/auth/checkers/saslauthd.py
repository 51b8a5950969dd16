"""Passwords checked by saslauthd, over its socket: PAM, Kerberos, and whatever else it knows."""

from __future__ import annotations

from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.error import TimeoutError as TwistedTimeoutError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from typing_extensions import override
from zope.interface import implementer

from pycyrus.auth.checkers.password_checker import PasswordChecker
from pycyrus.auth.interfaces import CheckerContext, ICheckerFactory, IExplains, IMailPassword
from pycyrus.errors import AuthenticationUnavailable

DEFAULT_PATH = "/var/run/saslauthd/mux"
LONGEST_FIELD = 256
"""Octets; the daemon refuses more."""
WAIT = 20.0
"""Seconds for an answer: the daemon may ask a directory twice."""
MOST_WAITING = 100
"""Questions at a time; further ones are told to come again."""

_TRUE = frozenset({"yes", "on", "1", "true", "t"})
_SERVICES = {"imap": "imap", "pop3": "pop", "lmtp": "lmtp", "sieve": "sieve", "mupdate": "mupdate", "csync": "csync"}
"""By the beginning of a service's name in cyrus.conf, what SASL calls it: names of PAM's files."""


def question(user_id: str, password: bytes, service: str, peer: str | None = None) -> bytes:
    """
    Write a question: login, password, service and realm, each behind its length.

    @param service: Its name in cyrus.conf.
    @param peer: The client's address, for a daemon that waits for it; None for one that does not.
    @raise ValueError: A field is empty or too long.
    """
    login, realm, name = _parts(user_id, service)
    fields = [login.encode("utf-8"), password, name.encode("utf-8"), realm.encode("utf-8")]
    if peer is not None:
        # As libsasl writes an address; of the port nothing is known here.
        fields.append(f"{peer};0".encode() if peer else b"")
    if not fields[0] or not password or b"\0" in password:
        raise ValueError("empty name or password")
    if any(len(field) > LONGEST_FIELD for field in fields):
        raise ValueError("longer than saslauthd takes")
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)


def _parts(user_id: str, service: str) -> tuple[str, str, str]:
    """Login, realm and service as SASL has them: split at the last C{@}."""
    login, at, realm = user_id.rpartition("@")
    name = next((sasl for begin, sasl in _SERVICES.items() if service.startswith(begin)), service)
    return (login, realm, name) if at else (user_id, "", name)


class _Client(Protocol):
    """One question, one answer."""

    def __init__(self, asked: bytes) -> None:
        self._asked = asked
        self._buffer = b""
        self.answer: Deferred[bytes] = Deferred(self._cancel)

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._asked)

    @override
    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= 2:
            length = int.from_bytes(self._buffer[:2], "big")
            if len(self._buffer) >= 2 + length:
                self._end(self._buffer[2 : 2 + length])

    @override
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.errback(AuthenticationUnavailable("saslauthd closed the connection without an answer"))

    def _end(self, answer: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
        self._buffer = b""
        if not self.answer.called:
            self.answer.callback(answer)

    def _cancel(self, answer: Deferred[bytes]) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


class _Once(Factory):
    """Gives one client, and says nothing of it in the log."""

    noisy = False

    def __init__(self, client: _Client) -> None:
        self._client = client

    @override
    def buildProtocol(self, addr: IAddress | None) -> _Client:
        return self._client


@implementer(IExplains)
class SaslauthdChecker(PasswordChecker):
    """
    Asks saslauthd.

    It says no where it cannot tell, as when its directory is down: there is no third answer.
    """

    log = Logger()

    def __init__(self, path: str, reactor: Any, wait: float = WAIT, *, tells_address: bool = False) -> None:
        """@param tells_address: The daemon waits for the client's address, as those after 2.1.28 do."""
        self.tells_address = tells_address
        self._path = path
        self._reactor = reactor
        self._wait = wait
        self._waiting = 0

    @override
    async def check(self, credentials: IMailPassword) -> str:
        try:
            peer = credentials.peer if self.tells_address else None
            asked = question(credentials.user_id, credentials.password, credentials.service, peer)
        except ValueError as error:
            raise UnauthorizedLogin(str(error)) from error
        if self._waiting >= MOST_WAITING:
            raise AuthenticationUnavailable("too many logins wait for saslauthd")
        self._waiting += 1
        try:
            answer = await self._ask(asked)
        finally:
            self._waiting -= 1
        if answer[:2] == b"OK":
            user_id: str = credentials.user_id
            return user_id
        if answer[:2] == b"NO":
            raise UnauthorizedLogin(answer[2:].strip().decode("utf-8", "replace") or "saslauthd says no")
        raise self._unavailable("neither OK nor NO")

    async def _ask(self, asked: bytes) -> bytes:
        client = _Client(asked)
        endpoint = UNIXClientEndpoint(self._reactor, self._path, timeout=self._wait)
        try:
            await endpoint.connect(_Once(client))
            return await client.answer.addTimeout(self._wait, self._reactor)
        except (ConnectError, TwistedTimeoutError, DeferredTimeoutError, OSError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error

    def _unavailable(self, reason: str) -> AuthenticationUnavailable:
        self.log.error("saslauthd at {path}: {reason}", path=self._path, reason=reason)
        return AuthenticationUnavailable(f"saslauthd: {reason}")

    async def explain(self, user_id: str, service: str) -> list[str]:
        """See L{IExplains}."""
        login, realm, name = _parts(user_id, service)
        return [
            f"saslauthd at {self._path} is asked for login {login!r}, realm {realm!r},"
            f" service {name!r}; it tells nothing of how it decides"
        ]


@implementer(ICheckerFactory)
class SaslauthdCheckerFactory:
    """C{sasl_pwcheck_method: saslauthd}."""

    name = "saslauthd"
    summary = "saslauthd of Cyrus SASL (sasl_saslauthd_path)"

    def make_checker(self, context: CheckerContext) -> SaslauthdChecker:
        """Make the checker; the daemon is asked at each login."""
        options = context.options
        tells_address = options.get("sasl_saslauthd_client_address", "no").lower() in _TRUE
        path = options.get("sasl_saslauthd_path", DEFAULT_PATH)
        return SaslauthdChecker(path, context.reactor, tells_address=tells_address)
