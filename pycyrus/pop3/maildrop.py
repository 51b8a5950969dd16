"""
What one session sees: the messages as they were when it began (RFC 1939 section 4).

Messages are rows of columns here too, so a maildrop of a hundred thousand costs
a few arrays.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycyrus.interfaces import IMailbox, IMessageFile
from pycyrus.model.acl import DELETE_MESSAGES, EXPUNGE, KEEP_SEEN
from pycyrus.model.flags import DELETED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.uids import UidArray
from pycyrus.pop3.replies import DENIED, NO_SUCH_MESSAGE, Err
from pycyrus.pop3.settings import UidlFormat

SHOW_AFTER = "/vendor/cmu/cyrus-imapd/pop3showafter"
_DATE_TIME = "%d-%b-%Y %H:%M:%S %z"
_SET_DELETED = FlagChange(FlagAction.ADD, Flags(DELETED))
_TO_DELETE = frozenset((DELETE_MESSAGES, EXPUNGE))
_SET_SEEN = FlagChange(FlagAction.ADD, Flags(SEEN))


def shown_after(value: bytes | None) -> int | None:
    """
    Read the annotation C{pop3showafter}: a date and time as INTERNALDATE has them.

    @return: Seconds since the epoch; None where nothing is hidden.
    """
    try:
        return None if value is None else int(datetime.strptime(value.decode().strip(), _DATE_TIME).timestamp())
    except ValueError:
        return None


def _marked(marks: bytearray) -> NDArray[np.bool_]:
    return np.frombuffer(marks, dtype=np.bool_)


class Maildrop:
    """
    The messages of a session, and which of them are to go.

    Numbers of messages begin with 1.
    """

    def __init__(self, mailbox: IMailbox, *, uses_imap_flags: bool = False, shown_after: int | None = None) -> None:
        r"""
        @param mailbox: Opened for this session; closed by L{close}.
        @param uses_imap_flags: Hide what has C{\Deleted}; note what was read.
        @param shown_after: Hide what came before that, in seconds since the epoch.
        """
        mailbox.refresh()
        view = mailbox.view()
        uids, sizes = view.uids, view.sizes
        if uses_imap_flags or shown_after is not None:
            shown = np.ones(len(view), dtype=np.bool_)
            if uses_imap_flags:
                shown &= view.flags & np.uint32(DELETED) == 0
            if shown_after is not None:
                shown &= view.internaldates > shown_after
            uids, sizes = uids[shown], sizes[shown]
        self._mailbox = mailbox
        rights = mailbox.rights()
        self._may_delete = rights >= _TO_DELETE
        self._notes_seen = uses_imap_flags and KEEP_SEEN in rights
        self._uids: UidArray = uids.copy()
        self._sizes: NDArray[np.uint32] = sizes.copy()
        # One octet for each message: cheap to ask for one, and to see as an array.
        self._deleted = bytearray(len(uids))
        self._retrieved = bytearray(len(uids))
        self.last = 0

    # --- what is there --------------------------------------------------

    @property
    def count(self) -> int:
        """Messages that are not to go."""
        return len(self._uids) - self._deleted.count(1)

    @property
    def octets(self) -> int:
        """Their size."""
        left = self._sizes[~_marked(self._deleted)] if 1 in self._deleted else self._sizes
        return int(left.sum(dtype=np.int64))

    def size(self, number: int) -> int:
        """
        Octets of a message.

        @raise Err: There is none of that number.
        """
        return int(self._sizes[self._index(number)])

    def uidl(self, number: int, form: UidlFormat) -> bytes:
        """
        The unique id of a message (RFC 1939 section 7).

        @raise Err: There is none of that number.
        """
        return form.of_mailbox(self._mailbox.uidvalidity) % int(self._uids[self._index(number)])

    def listing(self) -> bytes:
        """All scan lines."""
        return self._lines(b"%d %d\r\n", self._sizes)

    def uidls(self, form: UidlFormat) -> bytes:
        """All lines of UIDL."""
        return self._lines(b"%d " + form.of_mailbox(self._mailbox.uidvalidity) + b"\r\n", self._uids)

    def _lines(self, form: bytes, column: NDArray[Any]) -> bytes:
        arguments: list[int] = [0] * (2 * self.count)
        if 1 in self._deleted:
            shown = np.flatnonzero(~_marked(self._deleted))
            arguments[::2] = (shown + 1).tolist()
            column = column[shown]
        else:
            arguments[::2] = range(1, len(column) + 1)
        arguments[1::2] = column.tolist()
        return (form * (len(arguments) // 2)) % tuple(arguments)

    def _index(self, number: int) -> int:
        if not 1 <= number <= len(self._uids) or self._deleted[number - 1]:
            raise Err(NO_SUCH_MESSAGE)
        return number - 1

    # --- what is done ---------------------------------------------------

    def open(self, number: int) -> IMessageFile:
        """
        Open a message; C{retrieved} is told separately.

        @raise Err: There is none of that number.
        @raise MessageGone: Another session removed it.
        @raise StoreUnavailable: It cannot be read.
        """
        return self._mailbox.message(int(self._uids[self._index(number)]))

    def retrieved(self, number: int) -> None:
        """The client has it."""
        self._retrieved[number - 1] = True
        self.last = max(self.last, number)

    def given(self, number: int) -> None:
        """
        The client has it from who read ahead.

        @raise Err: There is none of that number.
        """
        self._index(number)
        self.retrieved(number)

    def delete(self, number: int) -> None:
        """
        Have a message go when the session ends well.

        @raise Err: There is none of that number, or it may not go.
        """
        index = self._index(number)
        if not self._may_delete:
            raise Err(DENIED)
        self._deleted[index] = True
        self.last = max(self.last, number)

    def reset(self) -> None:
        """Have all stay."""
        self._deleted = bytearray(len(self._uids))
        self.last = 0

    async def update(self) -> None:
        """
        Remove what is to go (RFC 1939 section 6).

        @raise PermissionDenied: Not with this user's rights.
        @raise StoreUnavailable: It could not be written.
        """
        if not self._notes_seen and 1 not in self._deleted:
            return
        deleted = _marked(self._deleted)
        seen = self._uids[_marked(self._retrieved) & ~deleted]
        if self._notes_seen and len(seen):
            await self._mailbox.store(seen, _SET_SEEN)
        gone = self._uids[deleted]
        if len(gone):
            await self._mailbox.store(gone, _SET_DELETED)
            await self._mailbox.expunge(gone)

    def close(self) -> None:
        """Let go of the mailbox."""
        self._mailbox.close()
