"""
One master per directory of state, and per partition.

Two would take each other's sockets and ready.json, and of one spool each would have a mailbox list of its own.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from twisted.logger import Logger

from pycyrus.app.privileges import UnixUser
from pycyrus.config.problems import ConfigError, Problem

_log = Logger()

NAME = "master.lock"


def lock_state(directory: Path, user: UnixUser | None) -> int:
    """
    Lock a directory of state for this process.

    @param user: Whose the lock file shall be.
    @return: A descriptor; the lock is held until it is closed, or the process
        has ended, however it did.
    @raise ConfigError: Another server has it.
    """
    path = directory / NAME
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        mend = "let the server write to the directory"
        raise ConfigError([Problem(None, f"{path} cannot be opened: {error.strerror}", mend)]) from error
    # A file with another name may be anybody's, linked here by the owner of the directory.
    if user is not None and os.fstat(fd).st_nlink == 1:
        os.fchown(fd, user.uid, user.gid)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        mend = "stop it first, or choose another directory for this one"
        raise ConfigError([Problem(None, f"another server runs in {directory}", mend)]) from None
    return fd


def lock_partitions(roots: Iterable[Path]) -> ExitStack:
    """
    Lock the directories of partitions for this process; those that are missing are left out.

    @return: Gives the locks back when it is closed, as does the end of the process.
    @raise ConfigError: Another server has one of them.
    """
    with ExitStack() as held:
        for root in dict.fromkeys(roots):
            try:
                fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                # What is wrong with it was told before.
                continue
            held.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mend = "stop it first: two servers would each have a mailbox list of their own"
                raise ConfigError([Problem(None, f"another server uses {root}", mend)]) from None
            except OSError as error:
                _log.warn(
                    "{root} cannot be locked against other servers: {error}", root=str(root), error=error.strerror
                )
        return held.pop_all()
