"""
The owner of coroutines nobody awaits.

A protocol starts its work here; what crashes is logged, and everything is
cancelled when the connection goes.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred
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
    return await _Gathering(coroutines).done


class _Gathering(Generic[_T]):
    """
    Coroutines run side by side.

    It does what a C{DeferredList} of a Deferred for each would, without making any: a message
    may have hundreds of recipients.

    @ivar done: Fires with all outcomes.
    """

    __slots__ = ("_awaited", "_left", "_outcomes", "done")

    def __init__(self, coroutines: Sequence[Coroutine[Deferred[Any], Any, _T]]) -> None:
        self.done: Deferred[list[_T | Failure]] = Deferred(self._cancel)
        self._awaited: dict[int, Deferred[Any]] = {}
        self._outcomes: dict[int, _T | Failure] = {}
        self._left = len(coroutines)
        for place, coroutine in enumerate(coroutines):
            self._step(None, place, coroutine)
        if not coroutines:
            self.done.callback([])

    def _step(self, failure: Failure | None, place: int, coroutine: Coroutine[Deferred[Any], Any, _T]) -> None:
        """Run one until it ends or waits for a Deferred that has not fired."""
        try:
            # As with a task, a Deferred gives its result to the await itself.
            awaited = coroutine.send(None) if failure is None else failure.throwExceptionIntoGenerator(coroutine)
        except StopIteration as ended:
            self._outcomes[place] = ended.value
        except Exception:  # noqa: BLE001 - handed to the caller
            self._outcomes[place] = Failure()
        else:
            self._awaited[place] = awaited
            awaited.addBoth(self._fired, place, coroutine)
            return
        self._left -= 1
        if not self._left:
            self.done.callback([self._outcomes[each] for each in range(len(self._outcomes))])

    def _fired(self, result: object, place: int, coroutine: Coroutine[Deferred[Any], Any, _T]) -> None:
        del self._awaited[place]
        self._step(result if isinstance(result, Failure) else None, place, coroutine)

    def _cancel(self, _: object) -> None:
        for awaited in list(self._awaited.values()):
            awaited.cancel()
