"""
Sources of truth outside this process that are asked by blocking calls: directories, databases.

Each has threads of its own.  One that is down or hangs makes its own users wait for a
bounded time and be told to come again; nobody else notices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from pycyrus.errors import AuthenticationUnavailable

T = TypeVar("T")

THREADS = 8
"""Questions that one is asked at a time."""
_MOST_WAITING = 200
"""Questions that wait for a thread; further ones are told to come again."""


class SourceDown(Exception):
    """It cannot be asked now, for anybody; the text says why."""


class Unusable(Exception):
    """The answer about one user cannot be used; the text says why."""


class Refused(Exception):
    """It does not let this user in; the text says why, for the log."""


class _DaemonThread(Thread):
    """A thread that the end of the process does not wait for."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments, daemon=True)


@dataclass(slots=True)
class _Trouble:
    """When it was found to be down, and why."""

    until: float = 0.0
    reason: str = ""


class _Question(Generic[T]):
    """Asked in a thread, unless before one was free whoever asked has gone, or others found the source to be down."""

    def __init__(self, question: Callable[[], T], check: Callable[[], None]) -> None:
        """@param check: Raises what keeps the question from being asked."""
        self._question = question
        self._check = check
        self.given_up = False

    def __call__(self) -> T:
        if self.given_up:
            raise AuthenticationUnavailable("nobody wants to know any more")
        self._check()
        return self._question()


class Outside:
    """
    Something that is asked by blocking calls, from the reactor thread.

    @ivar rest: Seconds for which one that is down is not asked again.
    """

    log = Logger()

    def __init__(self, where: str, patience: float, close: Callable[[], None], reactor: Any) -> None:
        """
        @param where: What it is called in logs.
        @param patience: Seconds that whoever asks waits at most.
        @param close: Called at the end, from the reactor thread.
        """
        self.where = where
        self._patience = patience
        self._close = close
        self._reactor = reactor
        self._pool = ThreadPool(0, THREADS, name=where)
        # One that hangs must not keep the server from ending.
        self._pool.threadFactory = _DaemonThread  # type: ignore[assignment] # as good as its parent
        self._waiting = 0
        self._is_retired = False
        self._trouble = _Trouble()
        self._trigger: Any = None
        self.rest = 5.0

    async def ask(self, question: Callable[[], T]) -> T:
        """
        Ask.

        @raise Refused: As the question.
        @raise AuthenticationUnavailable: It is down, or too busy.
        """
        self._check()
        if self._waiting >= _MOST_WAITING:
            raise AuthenticationUnavailable(f"{self.where}: too many wait for it")
        if self._trigger is None:
            self._pool.start()
            self._trigger = self._reactor.addSystemEventTrigger("during", "shutdown", self._stop)
        self._waiting += 1
        asked = _Question(question, self._check)
        answer: Deferred[T] = deferToThreadPool(self._reactor, self._pool, asked)
        answer.addTimeout(self._patience, self._reactor)  # type: ignore[unused-awaitable] # the same Deferred
        try:
            told = await answer
        except SourceDown as error:
            raise self._down(str(error)) from error
        except Unusable as error:
            self.log.error("{reason}", reason=str(error))
            raise AuthenticationUnavailable(str(error)) from error
        except DeferredTimeoutError as error:
            raise self._down(f"{self.where}: no answer in {self._patience:g} s") from error
        finally:
            asked.given_up = True
            self._waiting -= 1
            if self._is_retired and not self._waiting:
                self.close()
        if self._trouble.reason:
            self.log.info("{where}: answers again", where=self.where)
            self._trouble = _Trouble()
        return told

    def _check(self) -> None:
        """In any thread."""
        trouble = self._trouble
        if self._reactor.seconds() < trouble.until:
            raise AuthenticationUnavailable(f"not asked again yet: {trouble.reason}")

    def _down(self, reason: str) -> AuthenticationUnavailable:
        if reason != self._trouble.reason:
            self.log.error("{reason}", reason=reason)
        self._trouble = _Trouble(self._reactor.seconds() + self.rest, reason)
        return AuthenticationUnavailable(reason)

    def forgive(self) -> None:
        """Ask it again at once, if it was down."""
        self._trouble.until = 0.0

    def retire(self) -> None:
        """Give connections and threads back, once those who wait have their answers; nobody asks any more."""
        self._is_retired = True
        if not self._waiting:
            self.close()

    def close(self) -> None:
        """Give connections and threads back."""
        if self._trigger is not None:
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._trigger = None
            self._stop()

    def _stop(self) -> None:
        self._close()
        # Who waits for one that hangs is not waited for.
        self._pool.adjustPoolsize(0, 0)
