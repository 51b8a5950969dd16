"""
The owner of coroutines nobody awaits.

A protocol starts its work here; what crashes is logged, and everything is
cancelled when the connection goes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

_T = TypeVar("_T")


class Tasks:
    """
    Coroutines that belong to one owner, such as a connection.

    A coroutine runs at once, in the caller's stack, until it waits for
    something; one that never waits costs no Deferred.  That is what most
    commands of a mail session do.
    """

    log = Logger()

    def __init__(self, stepped: Callable[[], None] | None = None) -> None:
        """
        @param stepped: Called whenever a coroutine ended or began to wait, so
            that its owner can send what it has written.
        """
        self._waiting: set[_Task] = set()
        self._closed = False
        self._stepped = stepped

    def spawn(self, coroutine: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], None]) -> None:
        """
        Run a coroutine.

        @param failed: Told of an exception that the coroutine let out, except
            of its cancellation.
        """
        if self._closed:
            coroutine.close()
            return
        try:
            awaited = coroutine.send(None)
        except (StopIteration, CancelledError):
            pass
        except Exception:  # noqa: BLE001 - handed to the owner
            failed(Failure())
        else:
            _Task(self, coroutine, failed).wait(awaited)
        if self._stepped is not None:
            self._stepped()

    def cancel_all(self) -> None:
        """Cancel what still waits, and start nothing more."""
        self._closed = True
        for task in list(self._waiting):
            task.cancel()

    def __len__(self) -> int:
        return len(self._waiting)


class _Task:
    """One coroutine and the Deferred it waits for."""

    __slots__ = ("_awaited", "_coroutine", "_failed", "_owner")

    def __init__(
        self, owner: Tasks, coroutine: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], None]
    ) -> None:
        self._owner = owner
        self._coroutine = coroutine
        self._failed = failed
        self._awaited: Deferred[Any] | None = None

    def wait(self, awaited: Deferred[Any]) -> None:
        """The coroutine waits for a Deferred."""
        self._awaited = awaited
        self._owner._waiting.add(self)
        awaited.addBoth(self._fired)  # type: ignore[unused-awaitable] # going on is the callback's work

    def _step(self, failure: Failure | None) -> None:
        """Run until the coroutine ends or waits for a Deferred that has not fired."""
        self._awaited = None
        try:
            if failure is None:
                # A Deferred keeps its result and gives it to the await itself,
                # so there is nothing to send.
                awaited = self._coroutine.send(None)
            else:
                awaited = failure.throwExceptionIntoGenerator(self._coroutine)
        except StopIteration:
            self._owner._waiting.discard(self)
        except CancelledError:
            self._owner._waiting.discard(self)
        except Exception:  # noqa: BLE001 - handed to the owner
            self._owner._waiting.discard(self)
            self._failed(Failure())
        else:
            self.wait(awaited)
        if self._owner._stepped is not None:
            self._owner._stepped()

    def _fired(self, result: object) -> None:
        self._step(result if isinstance(result, Failure) else None)

    def cancel(self) -> None:
        """Cancel the Deferred waited for, which ends the coroutine."""
        if self._awaited is not None:
            self._awaited.cancel()


async def gather(coroutines: Sequence[Coroutine[Deferred[Any], Any, _T]]) -> list[_T | Failure]:
    """
    Run coroutines side by side; when the caller is cancelled, so are they.

    @return: In the order given: what each returned, or how it failed.
    """
    if len(coroutines) == 1:
        try:
            return [await coroutines[0]]
        except Exception:  # noqa: BLE001 - handed to the caller
            return [Failure()]
    outcomes = await DeferredList([Deferred.fromCoroutine(each) for each in coroutines], consumeErrors=True)
    return [outcome for _, outcome in outcomes]
