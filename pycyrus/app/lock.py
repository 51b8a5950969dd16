"""One master per directory of state: two would take each other's sockets and ready.json."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from pycyrus.app.privileges import UnixUser
from pycyrus.config.problems import ConfigError, Problem

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
