"""Annotations of messages in memory, for L{pycyrus.testing.store}: the real ones, without a journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pycyrus.interfaces import NewMessage, Stored
from pycyrus.model.annotations import STANDARD_DEFINITIONS
from pycyrus.model.identity import Identity
from pycyrus.model.uids import UidArray
from pycyrus.store.message_annotations import MessageAnnotations
from pycyrus.store.own_annotations import AnnotationName, OwnAnnotations


class MemoryAnnotations:
    """
    What an opening of a mailbox in memory does with annotations.

    @param touch: Gives those of some messages that have no higher modseq a new
        one, and tells which these are, which others there are, and the modseq.
    """

    def __init__(
        self,
        held: MessageAnnotations,
        identity: Identity,
        rights: Callable[[], frozenset[str]],
        touch: Callable[[UidArray, int | None], tuple[list[int], list[int], int | None]],
    ) -> None:
        self._held = held
        self._own = OwnAnnotations(identity, STANDARD_DEFINITIONS)
        self._rights = rights
        self._touch = touch

    def annotated(self) -> UidArray:
        """Those that have any."""
        return self._own.annotated(self._held)

    def annotations(self, uid: int) -> Mapping[AnnotationName, bytes]:
        """Of one message."""
        return self._own.visible(self._held.of(uid))

    def add(self, uid: int, new: NewMessage) -> None:
        """A message came."""
        for change in self._own.changes(new.annotations, self._rights()):
            self._held.set([uid], change)

    def copy(self, uid: int, other: MemoryAnnotations, copy: int) -> None:
        """A message was copied."""
        for (scope, entry), value in self.annotations(uid).items():
            for change in other._own.changes({(scope, entry): value}, self._rights()):
                other._held.set([copy], change)

    async def annotate(
        self, uids: UidArray, values: Mapping[AnnotationName, bytes | None], unchanged_since: int | None = None
    ) -> Stored:
        """Set values."""
        changes = self._own.changes(values, self._rights())
        self._held.check(uids, changes)
        changed, modified, modseq = self._touch(uids, unchanged_since)
        for change in changes:
            self._held.set(changed, change)
        return Stored(np.array(changed, dtype=np.uint32), np.array(modified, dtype=np.uint32), modseq)
