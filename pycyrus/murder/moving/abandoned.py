"""What came of a transfer whose connection has ended."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailStoreError
from pycyrus.tasks import Tasks


def abandon(work: Coroutine[Any, Any, None], log: Logger) -> None:
    """
    Give back what an intake holds, without anybody waiting.

    @param work: What gives it back.
    @param log: Of the intake.
    """

    def failed(failure: Failure) -> None:
        if failure.check(MailStoreError):
            # It is removed with the next transfer.
            log.warn("what came of a transfer is left for now: {error}", error=failure.getErrorMessage())
        else:
            log.failure("what came of a transfer is left", failure)

    Tasks().spawn(work, failed)
