"""What NOTIFY tells of annotations of messages in the selected mailbox (RFC 5465 section 5.1, RFC 5257)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.imap.wire.annotations import Annotation, AnnotationName
from pycyrus.imap.wire.fetch import Column
from pycyrus.model.annotations import BOTH

if TYPE_CHECKING:
    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session

_BLOCK = 100
"""Messages looked at between two turns of other sessions."""


class AnnotationNotices:
    """Of one session and the mailbox that it has selected."""

    def __init__(self, session: Session, selected: SelectedMailbox) -> None:
        """Take everything as it is now."""
        self._session = session
        self._selected = selected
        mailbox = selected.mailbox
        self._modseq = mailbox.highest_modseq()
        self._last = selected.last_uid
        self._told: dict[int, Mapping[AnnotationName, bytes]] = {
            uid: mailbox.annotations(uid) for uid in mailbox.annotated().tolist()
        }

    async def tell(self) -> None:
        """Tell the values that were changed, of messages that the client knew of before."""
        changes: dict[tuple[str, ...], list[int]] = {}
        selected, known = self._selected, self._last
        self._last = selected.last_uid
        for count, (uid, entries) in enumerate(self._changed(), 1):
            if uid <= known:
                changes.setdefault(entries, []).append(uid)
            if not count % _BLOCK:
                await self._session.pause()
        for entries, uids in changes.items():
            there = np.intersect1d(np.array(uids, dtype=np.uint32), selected.view.uids)
            if len(there):
                items = (Column.UID, Annotation(entries, BOTH, frozenset()))
                await self._session.telling.fetch(there, items)

    def _changed(self) -> list[tuple[int, tuple[str, ...]]]:
        """Messages and their changed entries, since this was last asked."""
        mailbox, told = self._selected.mailbox, self._told
        highest = mailbox.highest_modseq()
        if highest == self._modseq:
            return []
        view = mailbox.view()
        late = view.uids[view.modseqs > np.uint64(self._modseq)]
        self._modseq = highest
        having = set(mailbox.annotated().tolist()) | told.keys()
        found = []
        for uid in sorted(having.intersection(late.tolist())):
            before, now = told.get(uid, {}), mailbox.annotations(uid)
            told[uid] = now
            entries = {key[1] for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
            if entries:
                found.append((uid, tuple(sorted(entries))))
        return found
