"""
Writing the cache anew, without what it says of messages that are gone.

It happens along with writing the journal anew, whose head names the generation of
the cache: so offsets and file change at once for everybody, and who still reads
the old journal has the old cache open.  Who opens the mailbox just between the
two renames, or after somebody died there, finds a cache of another generation,
and makes it again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack, suppress

import numpy as np

from pycyrus.store import cache, files, journal
from pycyrus.store.contents import Contents
from pycyrus.store.layout import MailboxPaths, microseconds

RENEW_FROM = 1 << 20
"""Octets below which a cache is never written anew."""
RENEW_RATIO = 2
"""It is when it is this many times as long as it need be."""
_CHUNK = 1 << 20
_CREATE = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW


def is_wasteful(paths: MailboxPaths, contents: Contents) -> bool:
    """
    Whether much of a cache is about messages that are gone.

    @raise OSError: It cannot be looked at.
    """
    try:
        size = files.stat(paths.cache).st_size
    except FileNotFoundError:
        return False
    columns = contents.columns
    needed = int(columns.cache_lengths[: columns.count].sum(dtype=np.int64))
    return size > RENEW_FROM and size > RENEW_RATIO * needed


class CacheRenewal:
    """
    A cache that is to take the place of another.

    @param generation: Of the old one, as the journal's head has it.
    @ivar generation: Of the new one.
    @raise OSError: It cannot be made.
    """

    def __init__(self, paths: MailboxPaths, generation: int) -> None:
        self.generation = generation + 1
        self._path = paths.cache
        self._old = _open_old(paths, generation)
        self._held_name = ExitStack()
        self._new_path = self._held_name.enter_context(files.temporary_name(paths.cache))
        self._copied: dict[int, int] = {}
        self._fd = -1
        self._end = 0
        try:
            self._fd = files.open_file(self._new_path, _CREATE, files.PRIVATE)
            self._write(bytearray(cache.encode_header(self.generation)))
        except OSError:
            self.close()
            raise

    def add(self, contents: Contents) -> bytes:
        """
        Copy the records of messages whose record was not copied yet.

        @param contents: With offsets in the old cache.
        @return: A record for the new journal, which says where they are now; empty if there is none to say.
        @raise OSError: They cannot be copied.
        """
        columns = contents.columns
        count = columns.count
        uids, offsets = columns.uids[:count].tolist(), columns.cache_offsets[:count].tolist()
        lengths = columns.cache_lengths[:count].tolist()
        wanted = [
            each
            for each in zip(offsets, uids, lengths, strict=True)
            if each[0] and self._copied.get(each[1]) != each[0]
        ]
        if not wanted:
            return b""
        rows = np.zeros(len(wanted), dtype=journal.CACHE_ROW)
        # In the order in which they lie, so that neighbours are neighbours again.
        for row, (offset, uid, length) in zip(rows, self._copy(sorted(wanted)), strict=True):
            row["uid"], row["offset"], row["length"] = uid, offset, length
        self._copied.update((uid, offset) for offset, uid, _ in wanted)
        return journal.rows_record(journal.CACHE, rows, microseconds())

    def _copy(self, wanted: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """
        Copy records.

        @return: New offset, UID and length of each; a damaged one has no place, and is made again when it is asked for.
        """
        places = []
        octets = bytearray()
        for offset, uid, length in wanted:
            data = b"" if self._old is None else self._old.raw(offset, length)
            if len(data) != length or not _is_whole(data, uid):
                places.append((0, uid, 0))
                continue
            places.append((self._end + len(octets), uid, length))
            octets += data
            if len(octets) >= _CHUNK:
                self._write(octets)
                octets = bytearray()
        self._write(octets)
        return places

    def _write(self, octets: bytearray) -> None:
        files.write_all(self._fd, octets, self._end)
        self._end += len(octets)

    def settle(self) -> None:
        """
        Put it in place of the old one, durably but for its name; the caller has the mailbox's lock.

        @raise OSError: The old one is still there.
        """
        files.fdatasync(self._fd)
        files.rename(self._new_path, self._path)
        self._new_path = ""

    def close(self) -> None:
        """End it, whether or not it came to its end."""
        if self._fd >= 0:
            files.close(self._fd)
        if self._old is not None:
            self._old.close()
        if self._new_path:
            with suppress(FileNotFoundError):
                files.unlink(self._new_path)
        self._held_name.close()


def _open_old(paths: MailboxPaths, generation: int) -> cache.CacheFile | None:
    try:
        file = cache.CacheFile(paths.cache)
    except FileNotFoundError:
        return None
    if file.generation == generation:
        return file
    file.close()
    return None


def _is_whole(data: bytes, uid: int) -> bool:
    if len(data) < cache.RECORD_HEADER or int.from_bytes(data[:4], "little") != len(data):
        return False
    if int.from_bytes(data[8:12], "little") != uid:
        return False
    return zlib.crc32(memoryview(data)[8:]) == int.from_bytes(data[4:8], "little")
