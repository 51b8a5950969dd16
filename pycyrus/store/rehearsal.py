"""
Whether directories can be moved, asked before the mailbox list says that they are elsewhere.

What the list says has happened, whatever becomes of the directories; so who is to be told that something cannot be
done has to be told before.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pycyrus.store import files, paths
from pycyrus.store.files import store_error
from pycyrus.store.partitions import Partitions


def rehearse(partitions: Partitions, partition: str, target: str) -> None:
    """
    Look whether a partition lets directories be moved or removed.

    @param target: Where one is to go; empty for one that is removed.
    @raise StoreUnavailable: It is read-only, or has no room for the directories above that place.
    """
    for root in partitions.roots(partition):
        try:
            _look(root, target)
        except FileNotFoundError:
            # A partition that is missing is told of by whoever needs it.
            continue
        except OSError as error:
            raise store_error(error, "mailbox directories cannot be moved") from error


def _look(root: Path, target: str) -> None:
    fd = files.open_file(str(root), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        files.refuse_read_only(fd)
        room = files.fstatvfs(fd)
    finally:
        files.close(fd)
    if target and not room.f_bavail and not paths.resolve(root, target).parent.exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
