"""Telling which annotations others changed, to a client that wants to know (RFC 5257 sections 4.1 and 4.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.imap.wire.annotations import AnnotationName, encode_changed

if TYPE_CHECKING:
    from pycyrus.imap.selected import Output, SelectedMailbox
    from pycyrus.model.uids import UidArray

_BLOCK = 500
"""Messages looked at between two turns of other sessions."""
_MOST = 5000
"""Messages whose values are remembered from the beginning: the newest.  Of others all entries count as changed once."""


class AnnotationChanges:
    """In the mailbox that a session has selected."""

    def __init__(self, selected: SelectedMailbox) -> None:
        """Take everything as it is now."""
        self._selected = selected
        mailbox = selected.mailbox
        self._modseq = mailbox.highest_modseq()
        self._last = selected.last_uid
        self._waiting: list[int] = []
        self._told: dict[int, Mapping[AnnotationName, bytes]] = {
            uid: mailbox.annotations(uid) for uid in mailbox.annotated()[-_MOST:].tolist()
        }

    def own(self, uids: UidArray) -> None:
        """The client itself changed these; of more than a few it is told all the same."""
        for uid in uids[:_BLOCK].tolist():
            self._told[uid] = self._selected.mailbox.annotations(uid)

    def tell(self, output: Output) -> bool:
        """
        Tell the names of entries that were changed, of messages that the client knew of before.

        @return: Whether there is more to tell.
        """
        if not self._waiting:
            self._waiting = self._changed()
        known, self._last = self._last, self._selected.last_uid
        looked, self._waiting = self._waiting[:_BLOCK], self._waiting[_BLOCK:]
        if self._waiting:
            self._last = known
        for uid in looked:
            before, now = self._told.get(uid, {}), self._selected.mailbox.annotations(uid)
            if before == now:
                continue
            self._told[uid] = now
            entries = {name[1] for name in before.keys() | now.keys() if before.get(name) != now.get(name)}
            if uid <= known:
                self._write(output, uid, sorted(entries))
        return bool(self._waiting)

    def _changed(self) -> list[int]:
        """Messages that were changed since this was last asked."""
        mailbox = self._selected.mailbox
        since, self._modseq = self._modseq, mailbox.highest_modseq()
        if since == self._modseq:
            return []
        view = mailbox.view()
        late: list[int] = view.uids[view.modseqs > np.uint64(since)].tolist()
        return late

    def _write(self, output: Output, uid: int, entries: list[str]) -> None:
        uids = self._selected.view.uids
        place = int(np.searchsorted(uids, np.uint32(uid)))
        if place < len(uids) and uids[place] == uid:
            is_uid_only = self._selected.is_uid_only
            output.write(encode_changed(uid if is_uid_only else place + 1, uid, entries, is_uid_only=is_uid_only))
