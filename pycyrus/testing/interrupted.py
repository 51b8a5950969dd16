"""Work in a child process that is killed, or refused by the disk, at a chosen call."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable, Iterator

from pycyrus.errors import MailStoreError
from pycyrus.testing.faults import Action, Faults

_MOST = 250

Begin = Callable[[], Callable[[], object]]
"""Opens what is needed, in the child, and gives the work that is interrupted."""


def run_in_child(begin: Begin, at: int | None, action: Action, error: int = errno.EIO) -> int:
    """
    Do work in a child that meets its fate.

    @param at: At which call, from 1; None only counts them.
    @param error: The C{errno} of failures, which the work may let out as a L{MailStoreError}.
    @return: How the child ended, as C{os.waitpid} tells; how many calls there were, if they were counted.
    """
    pid = os.fork()
    if not pid:
        status = 255
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work = begin()
            with Faults(at, action, error) as faults:
                with contextlib.suppress(MailStoreError):
                    work()
                status = min(len(faults.calls), _MOST) if at is None else 0
        finally:
            os._exit(status)
    status = os.waitpid(pid, 0)[1]
    return os.waitstatus_to_exitcode(status) if at is None else status


def interruptions(
    begin: Begin, actions: tuple[Action, ...], fresh: Callable[[], object], error: int = errno.EIO, *, least: int = 8
) -> Iterator[str]:
    """
    Interrupt work at each of its calls, in each way.

    @param fresh: Puts everything back as it was.
    @param least: Calls that it has.
    @return: After each, what was done, to be told where a check fails.
    """
    fresh()
    calls = run_in_child(begin, None, Action.FAIL)
    if not least < calls < _MOST:
        raise AssertionError(f"the work ended with {calls}, which should be a number of calls")
    for action in actions:
        for at in range(1, calls + 1):
            fresh()
            status = run_in_child(begin, at, action, error)
            killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
            # After a call that fails of itself nobody is killed.
            if action is not Action.KILL_AFTER and (not killed if action is Action.KILL_BEFORE else status):
                raise AssertionError(f"{action} at {at} of {calls}: the child ended with {status}")
            yield f"{action} at {at} of {calls}"
