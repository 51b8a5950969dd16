"""Annotations of messages as one identity has to do with them: what it sees, and what it may set (RFC 5257)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pycyrus.errors import OperationNotSupported, PermissionDenied
from pycyrus.model.acl import ANNOTATE, READ
from pycyrus.model.annotations import AnnotationDefinitions, AnnotationScope, takes
from pycyrus.model.identity import Identity
from pycyrus.model.uids import UidArray
from pycyrus.store.message_annotations import Change, Key, MessageAnnotations
from pycyrus.store.notes import EVERYBODY

AnnotationName = tuple[AnnotationScope, str]
"""Whose value, and the entry."""
OWNER = "[.OwNeR.]"
"""What stands for the owner of a mailbox, as in Cyrus: owners may be renamed, and their mailboxes with them."""
Copied = Callable[[Mapping[Key, bytes]], Mapping[Key, bytes]]
"""Which values of a message go along with its copy."""


class OwnAnnotations:
    """Of one identity."""

    __slots__ = ("_definitions", "_user_id")

    def __init__(self, identity: Identity, definitions: AnnotationDefinitions, *, is_owner: bool = False) -> None:
        """@param is_owner: The mailbox is its own."""
        self._user_id = OWNER if is_owner else identity.user_id
        self._definitions = definitions

    def visible(self, values: Mapping[Key, bytes]) -> dict[AnnotationName, bytes]:
        """Everybody's values, and one's own."""
        return {
            (AnnotationScope.PRIVATE if user else AnnotationScope.SHARED, entry): value
            for (user, entry), value in values.items()
            if user in (EVERYBODY, self._user_id)
        }

    def annotated(self, annotations: MessageAnnotations) -> UidArray:
        """Ascending UIDs of messages that have any such value."""
        mine = (EVERYBODY, self._user_id)
        found = [uid for uid, values in annotations.annotated() if any(user in mine for user, _ in values)]
        return np.array(sorted(found), dtype=np.uint32)

    def changes(self, values: Mapping[AnnotationName, bytes | None], rights: frozenset[str]) -> tuple[Change, ...]:
        """
        Check what is to be set.

        @raise PermissionDenied: Without the right for one of them.
        @raise OperationNotSupported: There is no such entry, or it does not take the value.
        """
        changes = []
        for (scope, entry), value in values.items():
            definition = self._definitions.of_message(entry)
            if definition is None or scope not in definition.scopes or definition.is_computed:
                raise OperationNotSupported("no such annotation")
            if value is not None and not takes(definition, value):
                raise OperationNotSupported("not a value of this annotation")
            needed = {ANNOTATE if scope is AnnotationScope.SHARED else READ, *definition.right}
            if not needed <= rights:
                raise PermissionDenied("annotations need other rights")
            changes.append(Change((EVERYBODY if scope is AnnotationScope.SHARED else self._user_id, entry), value))
        return tuple(changes)

    def copied(self, target: OwnAnnotations, rights: frozenset[str]) -> Copied:
        """
        What goes along with copies: one's own values, and everybody's (RFC 5257 section 4.6).

        @param target: Of the same identity, where the copies go.
        @param rights: There: what they do not allow stays behind.
        """
        called = {self._user_id: target._user_id} if READ in rights else {}
        if ANNOTATE in rights:
            called[EVERYBODY] = EVERYBODY

        def choose(values: Mapping[Key, bytes]) -> Mapping[Key, bytes]:
            return {(called[user], entry): value for (user, entry), value in values.items() if user in called}

        return choose
