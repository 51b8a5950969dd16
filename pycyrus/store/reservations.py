"""
UIDs and modseqs that are set aside before they are used, so that none comes twice.

A reservation is proposed by one record; when that is durable its numbers may be
used, and a second record confirms it for all other processes.
"""

from __future__ import annotations

from pycyrus.store import files, journal
from pycyrus.store.contents import Contents
from pycyrus.store.layout import FIRST_RESERVATION, MODSEQS_PER_UID, microseconds

_LARGEST_BLOCK = 1024
"""UIDs set aside at a time, at most."""

Limits = tuple[int, int]
"""Of UIDs and of modseqs."""


class Reservations:
    """
    The numbers that this process may use in one mailbox.

    @ivar unconfirmed: What this process made durable, and nobody was told yet.
    """

    __slots__ = ("_usable", "unconfirmed")

    def __init__(self, usable: Limits) -> None:
        self._usable = usable
        self.unconfirmed: Limits | None = None

    def restart(self, usable: Limits) -> None:
        """The mailbox was read anew."""
        self._usable = usable

    def has_room(self, contents: Contents, uids: int) -> bool:
        """Whether so many messages may come, and some changes of modseq."""
        usable = max(self._usable, contents.usable)
        return contents.uidnext + uids <= usable[0] and contents.highest_modseq + 2 <= usable[1]

    def propose(self, contents: Contents, uids: int) -> bytes:
        """A record that sets aside so many UIDs, and a block more."""
        block = _block(contents)
        uid_limit = max(contents.reserved[0], min(contents.uidnext + uids + block, 0xFFFFFFFF))
        modseq_limit = max(contents.reserved[1], contents.highest_modseq + (uids + block) * MODSEQS_PER_UID)
        return journal.reserve_record(uid_limit, modseq_limit, files.boot_id(), microseconds(), confirmed=False)

    def ahead(self, contents: Contents) -> bytes:
        """A record to write along, when what is left is less than half a block; else nothing."""
        block = _block(contents)
        uids_left = contents.reserved[0] - contents.uidnext
        modseqs_left = contents.reserved[1] - contents.highest_modseq
        if uids_left > block >> 1 and modseqs_left > (block >> 1) * MODSEQS_PER_UID:
            return b""
        return self.propose(contents, 0)

    def is_beyond(self, limits: Limits) -> bool:
        """Whether a proposal is for more than may be used by now."""
        return limits > self._usable

    def settle(self, limits: Limits) -> None:
        """A proposal is durable."""
        self._usable = limits
        self.unconfirmed = limits

    def confirmation(self, contents: Contents) -> bytes:
        """A record that tells the others, once; nothing if they know."""
        limits, self.unconfirmed = self.unconfirmed, None
        if limits is None or limits <= contents.usable:
            return b""
        return journal.reserve_record(*limits, files.boot_id(), microseconds(), confirmed=True)


def _block(contents: Contents) -> int:
    return min(max(FIRST_RESERVATION, contents.uidnext), _LARGEST_BLOCK)
