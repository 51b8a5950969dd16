"""
Search keys evaluated over the columns of a view (RFC 9051 section 6.4.4).

A key is asked only about the messages that the keys before it left possible,
and cheap keys come first: columns, then cached search forms, then cached
header fields, then the messages themselves.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pycyrus.errors import LimitExceeded, MessageGone
from pycyrus.mime.comparison import DEFAULT_COMPARISON, Comparison, WhiteSpace
from pycyrus.mime.encoded_words import decode_words
from pycyrus.mime.header import CACHED_HEADER_NAMES, HEADERS_NOT_CACHED, field_values
from pycyrus.mime.text import header_octets, searchable, searchable_header
from pycyrus.model.search import (
    AddressField,
    All,
    And,
    AnnotationContains,
    AnyHeaderContains,
    BodyContains,
    DateField,
    DateRange,
    HasFlag,
    HasGuid,
    HasKeyword,
    HeaderContains,
    ModifiedSince,
    Not,
    Or,
    SearchKey,
    SizeRange,
    TextContains,
    UidSet,
    Within,
)
from pycyrus.model.uids import Positions
from pycyrus.model.view import CachedItem, View
from pycyrus.store.search_annotations import Annotated, annotated
from pycyrus.store.searchtexts import SearchTexts
from pycyrus.store.textlog import MAX_NEEDLE

Mask = NDArray[np.bool_]

_DAY: Final = 86_400
_BLOCK: Final = 250
_HEADERS_BLOCK: Final = 64
_TEXT_BLOCK: Final = 32
_MOST_NESTED: Final = 200
_TURN: Final = 0.001
"""Seconds of work between pauses."""

_SEARCH_FORMS: Final = {
    AddressField.FROM: CachedItem.FROM,
    AddressField.TO: CachedItem.TO,
    AddressField.CC: CachedItem.CC,
    AddressField.BCC: CachedItem.BCC,
    AddressField.SUBJECT: CachedItem.SUBJECT,
}
_FORMS_BY_NAME: Final = {field.name.encode("ascii"): field for field in AddressField}


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """
    What one search may cost.

    @ivar octets: Octets of messages read from files.
    @ivar seconds: Time of work, pauses not counted.
    """

    octets: int = 16 * 1024**3
    seconds: float = 60.0


DEFAULT_SEARCH_LIMITS: Final = SearchLimits()


class _Cost(enum.IntEnum):
    """How dear a key is for each message."""

    COLUMN = 0
    SEARCH_FORM = 1
    HEADER = 2
    MESSAGE = 3


async def evaluate(
    key: SearchKey,
    view: View,
    keyword_names: Sequence[bytes],
    now: float,
    read: Callable[[int], bytes],
    pause: Callable[[], Awaitable[None]],
    limits: SearchLimits = DEFAULT_SEARCH_LIMITS,
    progress: Callable[[int, int], None] | None = None,
    texts: SearchTexts | None = None,
    annotations: Annotated | None = None,
    comparison: Comparison = DEFAULT_COMPARISON,
) -> Mask:
    """
    Find the messages that match.

    @param key: Without message numbers, saved results and C{Recent}: the
        session replaced them.
    @param keyword_names: Names by bit number.
    @param now: Seconds since the epoch, for OLDER and YOUNGER.
    @param read: The octets of a message by UID.  Where it raises
        L{MessageGone}, the message matches no string.
    @param pause: Awaited every few milliseconds of work.
    @param progress: Told (looked at, total) at such times.
    @param texts: What was made ready of the mailbox's texts.
    @param annotations: Which messages have any, and those of one.
    @param comparison: How strings are compared; that of C{texts}.
    @return: True at the positions that match.
    @raise LimitExceeded: The search costs more than the limits allow.
    @raise StoreUnavailable: From C{read} or the view.
    """
    search = _Search(view, keyword_names, now, read, pause, limits, progress, texts, annotations, comparison)
    return await search.matching(key, np.ones(len(view), dtype=np.bool_))


def reads_cached_items(key: SearchKey) -> bool:
    """Whether more than columns must be looked at."""
    return _cost(key) > _Cost.COLUMN


def _cost(key: SearchKey) -> _Cost:
    """The dearest part of a key."""
    dearest = _Cost.COLUMN
    waiting = [key]
    while waiting:
        key = waiting.pop()
        if isinstance(key, And):
            waiting.extend(key.keys)
        elif isinstance(key, Or):
            waiting += (key.left, key.right)
        elif isinstance(key, Not):
            waiting.append(key.key)
        else:
            dearest = max(dearest, _own_cost(key))
    return dearest


def _own_cost(key: SearchKey) -> _Cost:
    if isinstance(key, HeaderContains):
        return _Cost.SEARCH_FORM
    if isinstance(key, AnyHeaderContains):
        return _Cost.HEADER if key.name.upper() in CACHED_HEADER_NAMES else _Cost.MESSAGE
    if isinstance(key, BodyContains | TextContains):
        return _Cost.MESSAGE
    return _Cost.COLUMN


def _alternatives(key: Or) -> list[SearchKey]:
    """What a chain of OR chooses from: clients write long ones, each within the one before."""
    found: list[SearchKey] = []
    waiting: list[SearchKey] = [key]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, Or):
            waiting += (inner.right, inner.left)
        else:
            found.append(inner)
    return found


class _Search:
    """One search while it runs."""

    def __init__(
        self,
        view: View,
        keyword_names: Sequence[bytes],
        now: float,
        read: Callable[[int], bytes],
        pause: Callable[[], Awaitable[None]],
        limits: SearchLimits,
        progress: Callable[[int, int], None] | None,
        texts: SearchTexts | None,
        annotations: Annotated | None,
        comparison: Comparison,
    ) -> None:
        self.view = view
        self.keyword_names = keyword_names
        self.now = now
        self.read = read
        self.pause = pause
        self.limits = limits
        self.progress = progress
        self.texts = texts
        self.annotations = annotations
        self.comparison = comparison
        self.octets = 0
        # What threads do meanwhile is no work of this search alone: they make ready what later ones find.
        self.begun = time.thread_time()
        self.turn_began = time.perf_counter()

    async def matching(self, key: SearchKey, possible: Mask, depth: int = 0) -> Mask:
        """
        Those of the possible messages that match.

        @param possible: Is not changed.
        """
        if depth > _MOST_NESTED:
            raise LimitExceeded("Search is nested too deeply")
        if isinstance(key, And):
            for inner in sorted(key.keys, key=_cost):
                if not possible.any():
                    break
                possible = await self.matching(inner, possible, depth + 1)
            return possible
        if isinstance(key, Or):
            found = np.zeros(len(possible), dtype=np.bool_)
            for inner in sorted(_alternatives(key), key=_cost):
                found |= await self.matching(inner, possible & ~found, depth + 1)
            return found
        if isinstance(key, Not):
            return possible & ~await self.matching(key.key, possible, depth + 1)
        if isinstance(key, HeaderContains):
            return await self._form_contains(key, possible)
        if isinstance(key, AnyHeaderContains):
            return await self._header_contains(key, possible)
        if isinstance(key, BodyContains | TextContains):
            return await self._message_contains(key, possible)
        await self._breathe(0, 0)
        return possible & self._column(key)

    # --- columns

    def _column(self, key: SearchKey) -> Mask:
        """Evaluate a key that columns answer, for all messages."""
        view = self.view
        if isinstance(key, All):
            return np.ones(len(view), dtype=np.bool_)
        if isinstance(key, HasFlag):
            return _has_bit(view.flags, np.uint32(key.bit))
        if isinstance(key, HasKeyword):
            return self._has_keyword(key.keyword)
        if isinstance(key, UidSet):
            mask = np.zeros(len(view), dtype=np.bool_)
            mask[key.uids.uid_positions(view.uids)] = True
            return mask
        if isinstance(key, DateRange):
            return self._in_days(key)
        if isinstance(key, Within):
            # RFC 5032 section 3: a message of exactly that age is both.
            limit = int(self.now) - key.seconds
            dates = view.internaldates
            return _between(dates, limit - 1, None) if key.younger else _between(dates, None, limit + 1)
        if isinstance(key, SizeRange):
            return _between(view.sizes, key.above, key.below)
        if isinstance(key, ModifiedSince):
            return _between(view.modseqs, key.modseq - 1, None)
        if isinstance(key, HasGuid):
            width = len(key.prefix)
            wanted = np.frombuffer(key.prefix, dtype=np.uint8)
            octets = np.ascontiguousarray(view.guids).view(np.uint8).reshape(len(view), -1)
            found: Mask = (octets[:, :width] == wanted).all(axis=1)
            return found
        if isinstance(key, AnnotationContains):
            return annotated(view, key, self.annotations)
        raise TypeError(f"the session must replace {type(key).__name__}")

    def _has_keyword(self, keyword: bytes) -> Mask:
        wanted = keyword.lower()
        for bit, name in enumerate(self.keyword_names):
            if name and name.lower() == wanted:
                word, shift = divmod(bit, 64)
                return _has_bit(self.view.keywords[:, word], np.uint64(1 << shift))
        return np.zeros(len(self.view), dtype=np.bool_)

    def _in_days(self, key: DateRange) -> Mask:
        if key.field is DateField.SENT:
            return _between(
                self.view.sent_days,
                None if key.first is None else key.first - 1,
                None if key.last is None else key.last + 1,
            )
        times = self.view.internaldates if key.field is DateField.INTERNAL else self.view.savedates
        return _between(
            times,
            None if key.first is None else key.first * _DAY - 1,
            None if key.last is None else (key.last + 1) * _DAY,
        )

    # --- what the cache answers

    async def _form_contains(self, key: HeaderContains, possible: Mask) -> Mask:
        item = _SEARCH_FORMS[key.field]
        needle = self.comparison.needle(key.text)
        if needle and self.texts is not None:
            joined = await self.texts.forms(self.view, item, self._step)
            if joined is not None:
                return possible & await joined.containing(needle, self._step)
        found = np.zeros(len(possible), dtype=np.bool_)
        positions = np.flatnonzero(possible)
        for block in _blocks(positions, _BLOCK):
            (forms,) = self.view.cached(block, (item,))
            forms = [self.comparison.form(form) for form in forms]
            if not needle:
                # Every field contains the empty string, but it must be there.
                found[block] = [bool(form) for form in forms]
            elif needle in b"\n".join(forms):
                # No form has a line end in it, nor has what is looked for.
                found[block] = [needle in form for form in forms]
            await self._breathe(int(block[-1]) + 1, len(possible))
        return found

    async def _header_contains(self, key: AnyHeaderContains, possible: Mask) -> Mask:
        name = key.name.upper()
        if key.text and name in _FORMS_BY_NAME:
            return await self._form_contains(HeaderContains(_FORMS_BY_NAME[name], key.text), possible)
        needle = self.comparison.fold(key.text)
        found = np.zeros(len(possible), dtype=np.bool_)
        unknown: list[int] = []
        if name in CACHED_HEADER_NAMES:
            marks = _marks(name, "" if self.comparison.white_space is WhiteSpace.SKIP else needle)
            for block in _blocks(np.flatnonzero(possible), _HEADERS_BLOCK):
                (headers,) = self.view.cached(block, (CachedItem.HEADERS,))
                for position, header in zip(block.tolist(), headers, strict=True):
                    if header == HEADERS_NOT_CACHED:
                        unknown.append(position)
                    elif _may_contain(header, marks):
                        found[position] = self._field_contains(header, name, needle)
                await self._breathe(int(block[-1]) + 1, len(possible))
        else:
            unknown = np.flatnonzero(possible).tolist()
        for position in unknown:
            octets = self._octets(position)
            found[position] = octets is not None and self._field_contains(header_octets(octets), name, needle)
            await self._breathe(position + 1, len(possible))
        return found

    def _field_contains(self, header: bytes, name: bytes, needle: str) -> bool:
        return any(needle in self.comparison.fold(decode_words(value)) for value in field_values(header, name))

    # --- what only the messages answer

    async def _message_contains(self, key: BodyContains | TextContains, possible: Mask) -> Mask:
        needle = self.comparison.fold(key.text)
        if not needle:
            return possible
        found = np.zeros(len(possible), dtype=np.bool_)
        with_header = isinstance(key, TextContains)
        if self.texts is not None and len(needle) <= MAX_NEEDLE and possible.any():
            matches = await self.texts.matches(
                needle, self.view, possible, self._step, in_body=not with_header, progress=self.progress
            )
            found = possible & matches.certain
            possible = possible & matches.undecided
        for block in _blocks(np.flatnonzero(possible), _TEXT_BLOCK):
            (items,) = self.view.cached(block, (CachedItem.SECTIONS,))
            for position, item in zip(block.tolist(), items, strict=True):
                octets = self._octets(position)
                if octets is not None:
                    if with_header and needle in searchable_header(header_octets(octets), self.comparison):
                        found[position] = True
                    else:
                        found[position] = await self._body_contains(position, octets, item, needle)
                await self._breathe(position + 1, len(possible))
        return found

    async def _step(self) -> None:
        await self._breathe(0, 0)

    async def _body_contains(self, position: int, octets: bytes, sections_item: bytes, needle: str) -> bool:
        for piece in searchable(octets, sections_item, needle, self.comparison):
            if needle in piece:
                return True
            await self._breathe(position, len(self.view))
        return False

    def _octets(self, position: int) -> bytes | None:
        """The octets of a message; None if it is gone."""
        self.octets += int(self.view.sizes[position])
        if self.octets > self.limits.octets:
            raise LimitExceeded("Search reads too many messages")
        try:
            return self.read(int(self.view.uids[position]))
        except MessageGone:
            # Expunged while the search ran, and its file removed.
            return None

    async def _breathe(self, done: int, total: int) -> None:
        """Let others run when this turn is over."""
        if time.perf_counter() - self.turn_began < _TURN:
            return
        if time.thread_time() - self.begun > self.limits.seconds:
            raise LimitExceeded("Search takes too long")
        if total and self.progress is not None:
            self.progress(done, total)
        await self.pause()
        self.turn_began = time.perf_counter()


def _has_bit(column: NDArray[np.unsignedinteger], bit: np.unsignedinteger) -> Mask:
    mask: Mask = (column & bit) != 0
    return mask


def _between(column: NDArray[np.integer], above: int | None, below: int | None) -> Mask:
    """Elements above and below bounds, which may lie outside the column's type."""
    limits = np.iinfo(column.dtype)
    mask = np.ones(len(column), dtype=np.bool_)
    if above is not None and above >= limits.min:
        mask &= column > above if above <= limits.max else False
    if below is not None and below <= limits.max:
        mask &= column < below if below >= limits.min else False
    return mask


def _blocks(positions: Positions, size: int) -> Iterator[Positions]:
    for start in range(0, len(positions), size):
        yield positions[start : start + size]


def _marks(name: bytes, needle: str) -> tuple[bytes, ...]:
    """
    Lower-case octets that a header must have if a field of it contains the string.

    Only words are looked for, as a fold may stand between them, and only
    ASCII ones, as others may be encoded.
    """
    words = [word.encode("ascii") for word in needle.split() if word.isascii()]
    return (name.lower(), *words)


def _may_contain(header: bytes, marks: tuple[bytes, ...]) -> bool:
    lowered = header.lower()
    if marks[0] not in lowered:
        return False
    # Encoded or 8-bit text may hold what its octets do not show.
    return all(mark in lowered for mark in marks) or b"=?" in lowered or not lowered.isascii()
