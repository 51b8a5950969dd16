"""SEARCH ANNOTATION over the annotations of a mailbox's messages (RFC 5257 section 4.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from pycyrus.mime.comparison import fold
from pycyrus.model.annotations import AnnotationScope, entry_pattern
from pycyrus.model.search import AnnotationContains
from pycyrus.model.uids import UidArray
from pycyrus.model.view import View

Annotated = tuple[Callable[[], UidArray], Callable[[int], Mapping[tuple[AnnotationScope, str], bytes]]]
"""UIDs of messages that have annotations, and those of one message."""


def annotated(view: View, key: AnnotationContains, annotations: Annotated | None) -> NDArray[np.bool_]:
    """The messages of a view that have an annotation, or lack it."""
    found = np.zeros(len(view), dtype=np.bool_)
    if annotations is not None:
        having, of = annotations
        matches = entry_pattern(key.entry)
        needle = None if key.text is None else fold(key.text)
        uids = [uid for uid in having().tolist() if _contains(of(uid), matches, key.scopes, needle)]
        found[np.isin(view.uids, np.array(uids, dtype=np.uint32))] = True
    return ~found if key.text is None else found


def _contains(
    values: Mapping[tuple[AnnotationScope, str], bytes],
    matches: Callable[[str], bool],
    scopes: frozenset[AnnotationScope],
    needle: str | None,
) -> bool:
    return any(
        scope in scopes and matches(entry) and (needle is None or needle in fold(value.decode("utf-8", "replace")))
        for (scope, entry), value in values.items()
    )
