"""In which order messages are told (RFC 5256 section 3, RFC 5957)."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pycyrus.model.annotations import AnnotationScope


class SortKey(enum.Enum):
    """A sort key; the value is its name on the wire."""

    ARRIVAL = b"ARRIVAL"
    CC = b"CC"
    DATE = b"DATE"
    FROM = b"FROM"
    SIZE = b"SIZE"
    SUBJECT = b"SUBJECT"
    TO = b"TO"
    DISPLAYFROM = b"DISPLAYFROM"
    DISPLAYTO = b"DISPLAYTO"
    MODSEQ = b"MODSEQ"
    UID = b"UID"
    SAVEDATE = b"SAVEDATE"
    ANNOTATION = b"ANNOTATION"

    @property
    def is_lasting(self) -> bool:
        """Whether it stays the same as long as the message does."""
        return self not in (SortKey.MODSEQ, SortKey.ANNOTATION)


@dataclass(frozen=True, slots=True)
class SortCriterion:
    """
    A key, and whether the last come first.

    @ivar annotation: Whose value of which entry (RFC 5257 section 4.7).
    """

    key: SortKey
    is_reverse: bool = False
    annotation: tuple[AnnotationScope, str] | None = None


class ThreadAlgorithm(enum.Enum):
    """How messages are gathered; the value is its name on the wire."""

    ORDEREDSUBJECT = b"ORDEREDSUBJECT"
    REFERENCES = b"REFERENCES"
    REFS = b"REFS"
