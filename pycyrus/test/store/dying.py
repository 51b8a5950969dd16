"""A process that is killed between two system calls, as far as one that goes on can show it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from twisted.trial.unittest import TestCase

from pycyrus.errors import MailStoreError
from pycyrus.store import database, files


async def die_at(
    case: TestCase,
    point: int,
    work: Callable[[], Awaitable[object]],
    calls: Collection[str],
    *,
    transactions: bool = True,
) -> bool:
    """
    Work; from a call on, everything fails.

    @param point: Which call, from 1.
    @param calls: Functions of L{files} that count.
    @param transactions: Those of databases count as well.
    @return: False if the work ended before.
    """
    made = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            nonlocal made
            made += 1
            if made >= point:
                raise OSError(5, "killed")
            return real(*args, **keywords)

        return call

    patches = [case.patch(files, each, dying(getattr(files, each))) for each in calls]
    if transactions:
        patches.append(case.patch(database.Database, "transaction", dying(database.Database.transaction)))
    try:
        await work()
    except (MailStoreError, OSError):
        return True
    finally:
        for patch in patches:
            patch.restore()
    return made >= point
