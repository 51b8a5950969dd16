"""
Knowing a partition again.

The directory of a partition has a file with an id, and the configuration
directory has what it was.  So the empty directory in which a file system should
be mounted is not taken for a partition that has lost everything.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from twisted.logger import Logger

from pycyrus.store import files
from pycyrus.store.paths import STAGE_DIRECTORY

_log = Logger()

MARK = "pycyrus.partition"
"""In the directory of each partition, metapartition and archive partition."""
KNOWN = "partition-marks"
"""Directory in the configuration directory: a file for each of them, named as the option."""

_ID = re.compile(r"[0-9a-f]{32}\Z")
_LONGEST = 64
_NOTHING = frozenset({STAGE_DIRECTORY, "lost+found"})
"""What an empty partition may have."""


class NotThatPartition(OSError):
    """The directory is not the one that was there before: its file system is not mounted, or another is."""


def read_mark(root: Path) -> str:
    """The id in a partition's directory; empty if there is none."""
    return _read(root / MARK)


def _read(path: Path) -> str:
    try:
        fd = files.open_file(str(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        text = files.pread(fd, _LONGEST, 0).decode("ascii", "replace").strip()
    finally:
        files.close(fd)
    return text if _ID.match(text) else ""


class PartitionMarks:
    """
    The ids of this server's partitions.

    @param configdirectory: The option of that name.
    """

    def __init__(self, configdirectory: Path) -> None:
        self._known = configdirectory / KNOWN

    def known(self, option: str) -> str:
        """
        The id that a partition had when it was last seen.

        @param option: Its name in the configuration, C{partition-default}.
        @return: Empty if it was never seen.
        """
        return _read(self._known / option)

    def is_there(self, option: str, root: Path) -> bool:
        """
        Whether a partition's directory is the one that it was.

        @raise OSError: It cannot be looked at.
        """
        known = self.known(option)
        found = read_mark(root)
        return bool(found) and found == known

    def is_another(self, option: str, root: Path) -> bool:
        """
        Whether a partition's directory is known not to be the one that it was.

        @raise OSError: It cannot be looked at.
        """
        known = self.known(option)
        return bool(known) and read_mark(root) != known

    def meet(self, option: str, root: Path) -> None:
        """
        Know a partition again, or get to know it.

        A directory without a mark that has something in it is believed: it
        came from a backup, or is older than these marks.

        @param root: It must exist.
        @raise NotThatPartition: It is another one, or empty and was not.
        @raise OSError: It cannot be looked at, or the mark not be written.
        """
        known, found = self.known(option), read_mark(root)
        if known and known == found:
            return
        if known and (found or not _has_something(root)):
            raise NotThatPartition(
                f"{option}: {root} is not the directory that it was.  Is its file system mounted?"
                f"  If another is meant to be there from now on, remove {self._known / option}"
            )
        mark = found or _make_mark(root, known or secrets.token_hex(16))
        if mark != known:
            files.makedirs(self._known, files.PRIVATE_DIRECTORY, exist_ok=True)
            # The mark is on the disk by now: else a power cut here would make a stranger of it.
            files.replace_file(str(self._known / option), f"{mark}\n".encode("ascii"), sync=True)


def _has_something(root: Path) -> bool:
    return any(name not in _NOTHING for name in files.listdir(root))


def _make_mark(root: Path, mark: str) -> str:
    """
    Give a directory a mark, durably, unless another process just did.

    @return: Its mark.
    """
    path = f"{root}/{MARK}"
    temporary = f"{path}.new.{os.getpid()}"
    files.replace_file(temporary, f"{mark}\n".encode("ascii"), sync=True)
    try:
        files.link(temporary, path)
    except FileExistsError:
        return read_mark(root)
    finally:
        files.unlink(temporary)
    files.sync_directory(str(root))
    _log.info("{root} is marked as a partition from now on", root=str(root))
    return mark
