"""What one mailbox tells of what it uses, as its journal grows."""

from __future__ import annotations

from twisted.logger import Logger

from pycyrus.store.contents import Contents
from pycyrus.store.usage import UsageMap, mark_of


class ToldUsage:
    """
    A mailbox's slot in the map of all, which nobody has to believe: it is counted again where it may be wrong.

    @param usage: None where nothing is told.
    @ivar number: Of its row in the mailbox list; 0 if it is on none.
    """

    __slots__ = ("_mark", "_unique_id", "_usage", "number")

    log = Logger()

    def __init__(self, usage: UsageMap | None, unique_id: str) -> None:
        self.number = 0
        self._usage = usage
        self._unique_id = unique_id
        self._mark = mark_of(unique_id)

    def begin(self) -> None:
        """The journal is about to be written."""
        if self._usage is not None and self.number:
            try:
                self._usage.begin(self.number)
            except OSError as error:
                self._failed(error)

    def tell(self, contents: Contents, offset: int, inode: int) -> None:
        """Say, under the lock, what it uses; where the journal ends, and which it is."""
        if self._usage is not None and self.number:
            try:
                self._usage.put(
                    self.number, self._mark, contents.size, contents.columns.count, offset, inode,
                    contents.annotations.octets,
                )  # fmt: skip
            except OSError as error:
                self._failed(error)

    def check(self, number: int, offset: int, inode: int) -> None:
        """
        It was just found on the list, or read anew; what was told of it may not be so any more.

        @param number: Of its row.
        """
        self.number = number
        if self._usage is not None:
            try:
                if not self._usage.confirm(number, self._mark, offset, inode):
                    self._usage.begin(number)
            except OSError as error:
                self._failed(error)

    def _failed(self, error: OSError) -> None:
        self.log.warn("Usage of {mailbox} not noted: {error}", mailbox=self._unique_id, error=error.strerror)
