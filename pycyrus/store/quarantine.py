"""Message files that cannot be trusted, put out of the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from twisted.logger import Logger

from pycyrus.store import files
from pycyrus.store.layout import QUARANTINE, MailboxPaths
from pycyrus.store.spool import place_copy

_log = Logger()


def quarantine(paths: MailboxPaths, uid: int) -> None:
    """Move a message file out of the way, loudly."""
    path = paths.where(uid)
    target = _place(path, uid)
    files.rename(path, target)
    _log.error("Message file {path} has no record and was moved to {target}", path=path, target=target)


def link_to_quarantine(paths: MailboxPaths, uid: int) -> None:
    """
    Give a message file a second name in quarantine, unless it has one there.

    The caller makes that durable, and then takes the first one away.
    """
    if is_in_quarantine(paths, uid):
        return
    path = paths.where(uid)
    target = _place(path, uid)
    place_copy(path, target)
    _log.error("Message file {path} is damaged and is moved to {target}", path=path, target=target)


def is_in_quarantine(paths: MailboxPaths, uid: int) -> bool:
    """Whether a message file has a second name there."""
    path = Path(paths.where(uid))
    return any(path.samefile(each) for each in (path.parent / QUARANTINE).glob(f"{uid}.*"))


def _place(path: str, uid: int) -> str:
    """A name in quarantine that is free: beside the file, which may be in the archive."""
    directory = Path(path).parent / QUARANTINE
    files.makedirs(directory, files.PRIVATE_DIRECTORY, exist_ok=True)
    number = 0
    while Path(target := f"{directory}/{uid}.{number}").exists():
        number += 1
    return target


def file_guid(path: str) -> bytes | None:
    """SHA-1 of a message file; None if it is not there."""
    try:
        fd = files.open_file(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        digest = hashlib.sha1(usedforsecurity=False)
        offset = 0
        while data := files.pread(fd, 1 << 20, offset):
            digest.update(data)
            offset += len(data)
        return digest.digest()
    finally:
        files.close(fd)
