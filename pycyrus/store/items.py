"""
The cached items of a mailbox's messages, whether or not the cache file is whole.

What the file cannot tell, or not yet (L{pycyrus.store.filling}), is made from
the message, and written back when there is time.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence

import numpy as np
from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.mime.summary import Summary, summarise
from pycyrus.model.uids import Positions
from pycyrus.model.view import CachedItem
from pycyrus.store.cache import CacheFile, CacheRecord, Damaged, create_cache
from pycyrus.store.columns import Columns
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.spool import MessageFile

_MAP_FROM = 1 << 18


class CachedItems:
    """
    Reads and writes a mailbox's cache.

    @ivar lost: UIDs and records that were made anew and are not yet written.
    @ivar made_to: The UID up to which L{pycyrus.store.filling} has nothing to do.
    """

    log = Logger()

    def __init__(
        self,
        paths: MailboxPaths,
        generation: int,
        lost_some: Callable[[], None],
        where_now: Callable[[int], str] | None = None,
    ) -> None:
        """
        @param lost_some: Called when there is something to write back.
        @param where_now: Tells where a message is that is not where the paths
            say, while the mailbox is renamed.
        """
        self._paths = paths
        self._where_now = where_now or paths.where
        self._generation = generation
        self._file: CacheFile | None = None
        self._lost_some = lost_some
        self.lost: dict[int, CacheRecord] = {}
        self.made_to = 0

    def relocate(self, paths: MailboxPaths, generation: int) -> None:
        """The file is elsewhere, or another one, from now on."""
        self._paths = paths
        self._generation = generation
        self.made_to = 0
        self.close()

    def get(self, columns: Columns, positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
        """
        Items of messages; see L{pycyrus.model.view.View}.

        @raise StoreUnavailable: A message cannot be read either.
        """
        wanted = np.asarray(positions, dtype=np.intp)
        file = self._open_to_read()
        everything = list(range(len(wanted)))
        try:
            if file is None:
                raise Damaged(everything)
            return file.gather(columns, wanted, items)
        except Damaged as damaged:
            return self._get_around(columns, wanted, items, damaged.rows)
        except OSError as error:
            self._tell(error)
            return self._get_around(columns, wanted, items, everything)

    def _get_around(
        self, columns: Columns, positions: Positions, items: Sequence[CachedItem], bad: list[int]
    ) -> list[list[bytes]]:
        good = np.ones(len(positions), dtype=np.bool_)
        good[bad] = False
        rest = self.get(columns, positions[good], items) if good.any() else [[] for _ in items]
        answer: list[list[bytes]] = [[b""] * len(positions) for _ in items]
        for column, (values, found) in enumerate(zip(answer, rest, strict=True)):
            for row, value in zip(np.flatnonzero(good).tolist(), found, strict=True):
                values[row] = value
            for row in bad:
                values[row] = self._made_again(columns, int(positions[row])).items[items[column]]
        self._lost_some()
        return answer

    def _made_again(self, columns: Columns, position: int, summary: Summary | None = None) -> CacheRecord:
        uid = int(columns.uids[position])
        record = self.lost.get(uid)
        if record is None:
            if not self.lost and columns.cache_lengths[position]:
                self.log.warn("Cached items are made again in {directory}", directory=str(self._paths.meta))
            record = CacheRecord(
                uid,
                int(columns.sizes[position]),
                columns.guids[position].tobytes(),
                int(columns.sent_days[position]),
                int(columns.internaldates[position]),
                int(columns.savedates[position]),
                int(columns.sent_times[position]),
                (summary or self._summary(uid)).items,
            )
            self.lost[uid] = record
        return record

    def _summary(self, uid: int) -> Summary:
        try:
            return summary_of(self._paths.where(uid))
        except StoreUnavailable:
            return summary_of(self._where_now(uid))

    def make(self, columns: Columns, positions: Positions) -> None:
        """
        Make items of messages, to be written later.

        @raise StoreUnavailable: A message cannot be read.
        """
        for position in positions.tolist():
            self._made_again(columns, position)

    def summaries(self, uids: Sequence[int]) -> list[Summary]:
        """
        Take messages apart; for a thread, too.

        @raise StoreUnavailable: A message cannot be read.
        """
        return [self._summary(uid) for uid in uids]

    def take(self, columns: Columns, positions: Positions, summaries: Sequence[Summary]) -> None:
        """Keep items of messages that were taken apart, to be written later."""
        for position, summary in zip(positions.tolist(), summaries, strict=True):
            self._made_again(columns, position, summary)

    def append(self, records: Sequence[bytes]) -> int:
        """
        Add records, under the mailbox's lock.

        @return: Where the first one lies.
        @raise OSError: The cache is as it was.
        """
        file = self._open()
        if file is not None:
            try:
                return file.append(records)
            except FileNotFoundError:
                self.close()
                file = self._open()
        if file is None:
            create_cache(self._paths.cache, self._generation)
            self._file = file = CacheFile(self._paths.cache)
        return file.append(records)

    def raw(self, columns: Columns, position: int) -> bytes:
        """The octets of one record, unchecked; empty if there is no file."""
        return self.raw_at(int(columns.cache_offsets[position]), int(columns.cache_lengths[position]))

    def raw_many(self, columns: Columns, positions: Positions) -> list[bytes]:
        """As L{raw}, for many messages: what lies together is read together."""
        file = self._open_to_read()
        try:
            return [b""] * len(positions) if file is None else file.raw_many(columns, positions)
        except OSError as error:
            self._tell(error)
            return [b""] * len(positions)

    def raw_at(self, offset: int, length: int) -> bytes:
        """The octets of the record at a place, unchecked; empty if there is no file, or it cannot be read."""
        file = self._open_to_read()
        try:
            return b"" if file is None else file.raw(offset, length)
        except OSError as error:
            self._tell(error)
            return b""

    def _open_to_read(self) -> CacheFile | None:
        """As L{_open}; what cannot be opened is as good as missing, for all of it can be made again."""
        try:
            return self._open()
        except OSError as error:
            self._tell(error)
            return None

    def _tell(self, error: OSError) -> None:
        self.log.warn(
            "The cache in {directory} cannot be read: {error}", directory=str(self._paths.meta), error=error.strerror
        )

    def _open(self) -> CacheFile | None:
        file = self._file
        if file is None:
            try:
                file = CacheFile(self._paths.cache)
            except FileNotFoundError:
                return None
            if file.generation != self._generation:
                file.close()
                return None
            self._file = file
        return file

    def close(self) -> None:
        """Give the descriptor back; it is opened again when needed."""
        if self._file is not None:
            self._file.close()
            self._file = None


def summary_of(path: str) -> Summary:
    """
    Take a message file apart.

    @raise StoreUnavailable: It cannot be read.
    """
    try:
        file = MessageFile(path)
    except OSError as error:
        raise StoreUnavailable(f"message cannot be read: {error.strerror}") from error
    try:
        if file.size < _MAP_FROM:
            return summarise(file.read(0, file.size))
        with mmap.mmap(file.fileno(), file.size, access=mmap.ACCESS_READ) as mapped:
            return summarise(mapped)
    finally:
        file.close()
