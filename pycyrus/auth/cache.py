"""
A cache of checked passwords: the hash is what makes a login slow.

No password is kept, and none can be guessed from what is: entries are found by a
keyed digest of service, user id and password, under a key that this server made at
random and shows nobody.  Right answers are shared between its processes, wrong ones
are remembered where they were given.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.auth.interfaces import IMailPassword
from pycyrus.auth.shared_answers import SharedAnswers, SharedMemory

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """
    How long answers are believed, in seconds; 0 for not at all.

    @ivar accepted: A password that was right.
    @ivar refused: One that was wrong.
    @ivar entries: Answers of each kind that are kept.
    """

    accepted: float = 300.0
    refused: float = 10.0
    entries: int = 10000


class _Answers:
    """Answers of one kind, oldest first, bounded in number and age."""

    def __init__(self, lifetime: float, entries: int) -> None:
        self._lifetime = lifetime
        self._entries = entries
        self._found: dict[bytes, tuple[float, bytes]] = {}

    def get(self, key: bytes, now: float) -> bytes | None:
        entry = self._found.get(key)
        if entry is None:
            return None
        if entry[0] <= now:
            del self._found[key]
            return None
        return entry[1]

    def put(self, key: bytes, avatar_id: bytes, now: float) -> None:
        if self._lifetime <= 0:
            return
        found = self._found
        found.pop(key, None)
        found[key] = (now + self._lifetime, avatar_id)
        # All live equally long, so the oldest are the first to go.
        while len(found) > self._entries or next(iter(found.values()))[0] <= now:
            del found[next(iter(found))]

    def clear(self) -> None:
        self._found.clear()

    def __len__(self) -> int:
        return len(self._found)


@implementer(ICredentialsChecker)
class CachedChecker:
    """
    Asks another checker, and remembers its answers for a while.

    Wrong passwords are remembered apart, so that guessing cannot push right ones out.
    The same question asked again while it is being answered waits for that answer: a
    client that opens five connections costs one hash.
    """

    credentialInterfaces = (IMailPassword,)

    def __init__(
        self,
        checker: ICredentialsChecker,
        clock: IReactorTime,
        settings: CacheSettings,
        version: Callable[[], object] | None = None,
        shared: SharedMemory | None = None,
    ) -> None:
        """
        @param version: Gives a value that changes when accounts do; everything is
            forgotten then.
        @param shared: Memory for the right answers of all processes.
        """
        self._checker = checker
        self._clock = clock
        self._secret = shared.secret if shared is not None else secrets.token_bytes(32)
        self._accepted: _Answers | SharedAnswers = _Answers(settings.accepted, settings.entries)
        if shared is not None:
            self._accepted = SharedAnswers(shared, settings.accepted)
            # What others have there may be older than the accounts that this process sees.
            self._accepted.clear()
        self._refused = _Answers(settings.refused, settings.entries)
        self._running: dict[bytes, list[Deferred[bytes | tuple[()]]]] = {}
        self._version = version
        self._last_version = version() if version is not None else None

    def forget(self) -> None:
        """Believe nothing any more."""
        self._accepted.clear()
        self._refused.clear()

    def requestAvatarId(self, credentials: IMailPassword) -> Deferred[bytes | tuple[()]]:
        """Answer from memory, or ask; see ICredentialsChecker."""
        self._look_for_changes()
        key = self._key(credentials)
        now = self._clock.seconds()
        avatar_id = self._accepted.get(key, now)
        if avatar_id is not None:
            return succeed(avatar_id)
        if self._refused.get(key, now) is not None:
            return fail(UnauthorizedLogin("remembered"))
        waiting = self._running.get(key)
        answer: Deferred[bytes | tuple[()]] = Deferred()
        if waiting is not None:
            waiting.append(answer)
            return answer
        # Not passed on to whoever asks: one that goes away must not take the
        # answer from the others.
        self._running[key] = [answer]
        asked = maybeDeferred(self._checker.requestAvatarId, credentials)
        _ = asked.addBoth(self._answered, key, self._last_version)
        return answer

    def _look_for_changes(self) -> None:
        if self._version is not None:
            version = self._version()
            if version != self._last_version:
                self._last_version = version
                self.forget()

    def _key(self, credentials: IMailPassword) -> bytes:
        # Lengths in front, so that no two questions are written alike.
        user = credentials.user_id.encode("utf-8")
        service = credentials.service.encode("utf-8")
        question = b"%d:%d:%b%b%b" % (len(service), len(user), service, user, credentials.password)
        return blake2b(question, digest_size=32, key=self._secret).digest()

    def _answered(self, result: bytes | tuple[()] | Failure, key: bytes, version: object) -> None:
        # An account may have changed while its old hash was being compared.
        self._look_for_changes()
        now = self._clock.seconds()
        if version == self._last_version:
            if isinstance(result, bytes):
                self._accepted.put(key, result, now)
            elif isinstance(result, Failure) and result.check(UnauthorizedLogin):
                self._refused.put(key, b"", now)
        for answer in self._running.pop(key):
            if answer.called:
                # Cancelled: its connection is gone.
                continue
            if isinstance(result, Failure):
                answer.errback(Failure(result.value))
            else:
                answer.callback(result)
