"""
Orders and threads of the messages of a mailbox, made from the columns and the cache.

What is made of headers is kept by mailbox, so that only new messages are read
again; an order of all messages is kept as long as they are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key, partial
from heapq import merge
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.remembered_threads import RememberedThreads
from pycyrus.interfaces import IMailbox
from pycyrus.mime.address import parse_addresses
from pycyrus.mime.base_subject import base_subject
from pycyrus.mime.comparison import collation, fold
from pycyrus.mime.encoded_words import decode_words
from pycyrus.mime.header import field_values, unfold
from pycyrus.mime.threading import Node, Threaded, by_references, by_subject, message_ids
from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.sorting import SortCriterion, SortKey, ThreadAlgorithm
from pycyrus.model.uids import Positions, UidArray
from pycyrus.model.view import CachedItem, View

MAILBOXES = 32
"""Of which headers are remembered."""
MOST_TEXTS = 1_000_000
"""Texts of all mailboxes that are remembered; the mailbox at work always has its own."""
BLOCK = 32
"""Messages whose headers are read between two turns of other sessions."""

_RUN = 2000
"""Texts sorted in one operation, and what else is done to so many at once: others wait for it."""
FEW_NEW = 64
"""New messages that are put into a known order one by one."""
MOST_ADDED = 512
"""New messages that are put into known threads one by one."""
MOST_THREADED = 250_000
"""Messages of all mailboxes whose threads are kept while messages come: each takes a third of a kilobyte."""
MOST_ORDERS = 16
"""Orders of a mailbox of before that are remembered."""
FEW = 2000
"""Messages of which an order is made on the reactor thread: that takes a millisecond or two."""

T = TypeVar("T")
Pause = Callable[[], Awaitable[None]]


class InThread(Protocol):
    """Has something computed that takes long."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]:
        """Call C{work} where other sessions go on meanwhile."""


_ADDRESSES = {
    SortKey.FROM: b"FROM",
    SortKey.TO: b"TO",
    SortKey.CC: b"CC",
    SortKey.DISPLAYFROM: b"FROM",
    SortKey.DISPLAYTO: b"TO",
}
AnnotationName = tuple[AnnotationScope, str]
_NOTHING_NOTED: Mapping[AnnotationName, Mapping[int, str]] = {}
_COLUMNS: dict[SortKey, Callable[[View], NDArray[Any]]] = {
    SortKey.ARRIVAL: lambda view: view.internaldates,
    SortKey.DATE: lambda view: view.sent_times,
    SortKey.SIZE: lambda view: view.sizes,
    SortKey.MODSEQ: lambda view: view.modseqs,
    SortKey.UID: lambda view: view.uids,
    SortKey.SAVEDATE: lambda view: view.savedates,
}


@dataclass(slots=True)
class _Remembered:
    """
    What is known of a mailbox's messages, by UID.

    @ivar texts: Sort texts.
    @ivar threaded: Message ids, references and subjects.
    @ivar orders: Of all messages whose UIDs are C{uids}.
    @ivar older: Orders of messages that were there before, with their UIDs.
    """

    uidvalidity: int
    texts: dict[SortKey, dict[int, str]] = field(default_factory=dict)
    threaded: dict[int, Threaded] = field(default_factory=dict)
    uids: UidArray | None = None
    orders: dict[object, Any] = field(default_factory=dict)
    older: dict[tuple[SortCriterion, ...], tuple[UidArray, Positions]] = field(default_factory=dict)

    def begin(self, uids: UidArray) -> None:
        """Other messages are there now."""
        if self.uids is not None:
            for key, order in self.orders.items():
                if isinstance(key, tuple) and isinstance(order, np.ndarray):
                    self.older.pop(key, None)
                    self.older[key] = self.uids, order
            for key in list(self.older)[:-MOST_ORDERS]:
                del self.older[key]
        self.uids = uids
        self.orders = {}

    def __len__(self) -> int:
        return sum(map(len, self.texts.values())) + len(self.threaded)

    def prune(self, view: View) -> None:
        """Forget messages that are gone, if they are most of what is remembered."""
        most = 2 * len(view) + 1000
        if max(len(self.threaded), *map(len, self.texts.values()), 0) <= most:
            return
        uids = set(view.uids.tolist())
        self.texts = {
            key: {uid: text for uid, text in texts.items() if uid in uids} for key, texts in self.texts.items()
        }
        self.threaded = {uid: threaded for uid, threaded in self.threaded.items() if uid in uids}


class Orders:
    """What a process remembers of its mailboxes' orders."""

    def __init__(self) -> None:
        self._mailboxes: OrderedDict[str, _Remembered] = OrderedDict()
        self._threads: OrderedDict[tuple[str, int, ThreadAlgorithm, bool], RememberedThreads] = OrderedDict()

    def _of(self, mailbox: IMailbox, view: View) -> _Remembered:
        known = self._mailboxes.pop(mailbox.unique_id, None)
        if known is None or known.uidvalidity != mailbox.uidvalidity:
            known = _Remembered(mailbox.uidvalidity)
        self._mailboxes[mailbox.unique_id] = known
        if known.uids is not view.uids:
            known.prune(view)
            known.begin(view.uids)
            count = sum(map(len, self._mailboxes.values()))
            while len(self._mailboxes) > MAILBOXES or (count > MOST_TEXTS and len(self._mailboxes) > 1):
                _, forgotten = self._mailboxes.popitem(last=False)
                count -= len(forgotten)
        return known

    async def sort(
        self,
        mailbox: IMailbox,
        view: View,
        found: Positions,
        criteria: Sequence[SortCriterion],
        pause: Pause,
        in_thread: InThread,
    ) -> Positions:
        """
        Put messages in order (RFC 5256 section 3): by the criteria, and then as they came.

        @param found: Ascending positions in the view.
        """
        if not all(criterion.key.is_lasting for criterion in criteria):
            noted = {each.annotation: _noted(mailbox, each.annotation) for each in criteria if each.annotation}
            return found[await self._order(_Remembered(0), view, criteria, pause, in_thread, found, noted)]
        known = self._of(mailbox, view)
        key = tuple(criteria)
        order: Positions | None = known.orders.get(key)
        if order is None:
            if not all(criterion.key in _COLUMNS for criterion in criteria):
                await mailbox.complete()
            order = await self._continued(known, view, key, pause, in_thread)
            if order is None:
                order = await self._order(known, view, criteria, pause, in_thread, np.arange(len(view)))
            if known.uids is view.uids:
                known.orders[key] = order
        if len(found) == len(view):
            return order
        is_found = np.zeros(len(view), dtype=np.bool_)
        is_found[found] = True
        return order[is_found[order]]

    async def _continued(
        self, known: _Remembered, view: View, key: tuple[SortCriterion, ...], pause: Pause, in_thread: InThread
    ) -> Positions | None:
        """The order that was known of messages before some came, or went; None to make it anew."""
        before = known.older.get(key)
        if before is None:
            return None
        find = partial(_left, *before, view.uids)
        left = find() if len(view) <= FEW else await in_thread(find)
        if left is None or not 0 <= len(view) - len(left) <= FEW_NEW:
            return None
        news = range(len(left), len(view))
        texts = {
            criterion: await self._texts(known, view, criterion.key, pause, in_thread, news.start)
            for criterion in key
            if criterion.key not in _COLUMNS
        }
        try:
            return _inserted(left, news, _Compared(view, key, texts))
        except KeyError:
            # Another session, which knows already that a message went, has forgotten its texts meanwhile.
            return None

    async def _order(
        self,
        known: _Remembered,
        view: View,
        criteria: Sequence[SortCriterion],
        pause: Pause,
        in_thread: InThread,
        positions: Positions,
        noted: Mapping[AnnotationName, Mapping[int, str]] = _NOTHING_NOTED,
    ) -> Positions:
        texts: dict[SortCriterion, Mapping[int, str]] = {}
        for criterion in criteria:
            if criterion.annotation is not None:
                texts[criterion] = noted[criterion.annotation]
            elif criterion.key not in _COLUMNS:
                texts[criterion] = await self._texts(known, view, criterion.key, pause, in_thread)

        def compute() -> Positions:
            uids = list(_numbers(view.uids)) if texts else []
            ranks: list[NDArray[Any]] = []
            for criterion in criteria:
                column = _COLUMNS.get(criterion.key)
                if column is not None:
                    values = column(view)[positions].astype(np.int64)
                else:
                    of_uid = texts[criterion]
                    values = _ranks([of_uid.get(uid, "") for uid in uids])[positions]
                ranks.append(-values if criterion.is_reverse else values)
            # The last key given counts most.
            order: Positions = np.lexsort(ranks[::-1]) if ranks else np.arange(len(positions))
            return order

        return compute() if len(view) <= FEW else await in_thread(compute)

    async def _texts(
        self, known: _Remembered, view: View, key: SortKey, pause: Pause, in_thread: InThread, start: int = 0
    ) -> dict[int, str]:
        """The sort texts of the messages of a view from a position on, and perhaps of others, by UID."""
        texts = known.texts.setdefault(key, {})
        read = _subject_text if key is SortKey.SUBJECT else _address_reader(key)
        item = CachedItem.SUBJECT if key is SortKey.SUBJECT else CachedItem.HEADERS
        async for uid, octets in _unknown(view, texts, item, pause, in_thread, start):
            texts[uid] = read(octets)
        return texts

    async def thread(
        self,
        mailbox: IMailbox,
        view: View,
        found: Positions,
        algorithm: ThreadAlgorithm,
        pause: Pause,
        in_thread: InThread,
    ) -> list[Node]:
        """Gather some messages in threads (RFC 5256 section 3); nodes have positions in the view."""
        known = self._of(mailbox, view)
        await mailbox.complete()
        messages = await self._threaded(known, view, pause, in_thread)
        return await in_thread(partial(_gathered, messages, found, algorithm))

    async def thread_all(
        self,
        mailbox: IMailbox,
        view: View,
        algorithm: ThreadAlgorithm,
        pause: Pause,
        in_thread: InThread,
        *,
        by_uid: bool,
    ) -> bytes:
        """Gather all messages in threads; as the response to THREAD."""
        known = self._of(mailbox, view)
        line: bytes | None = known.orders.get((algorithm, by_uid))
        if line is not None:
            return line
        await mailbox.complete()
        key = mailbox.unique_id, mailbox.uidvalidity, algorithm, by_uid
        # Nobody else may change them meanwhile.
        threads = self._threads.pop(key, None)
        count = None if threads is None else threads.reaches(view.uids)
        if threads is None or count is None or len(view) - count > MOST_ADDED:
            messages = await self._threaded(known, view, pause, in_thread)
            threads = await in_thread(partial(RememberedThreads, algorithm, view.uids, messages, by_uid=by_uid))
        else:
            messages = await self._threaded(known, view, pause, in_thread, count)
            await in_thread(partial(threads.add, view.uids, messages))
        line = threads.line()
        if len(view) <= MOST_THREADED:
            self._threads[key] = threads
            total = sum(map(len, self._threads.values()))
            while total > MOST_THREADED:
                total -= len(self._threads.popitem(last=False)[1])
        if known.uids is view.uids:
            known.orders[algorithm, by_uid] = line
        return line

    async def _threaded(
        self, known: _Remembered, view: View, pause: Pause, in_thread: InThread, start: int = 0
    ) -> list[Threaded]:
        """What threading needs of the messages from a position on."""
        threaded = known.threaded
        subjects = known.texts.setdefault(SortKey.SUBJECT, {})
        marks: dict[int, bool] = {}
        dates = await in_thread(partial(_dates, view, start))
        if not await in_thread(lambda: all(uid in threaded for uid in dates)):
            async for uid, octets in _unknown(view, threaded, CachedItem.SUBJECT, pause, in_thread, start):
                subjects[uid], marks[uid] = base_subject(octets.decode("utf-8", "replace"))
            async for uid, octets in _unknown(view, threaded, CachedItem.HEADERS, pause, in_thread, start):
                threaded[uid] = _threaded(octets, subjects[uid], dates[uid], is_reply=marks[uid])
        return await in_thread(lambda: [threaded[uid] for uid in dates])

    def remembered(self, mailbox: IMailbox, view: View, key: object) -> Any:
        """Something that was made of all messages of a view; None if it was not."""
        return self._of(mailbox, view).orders.get(key)

    def remember(self, mailbox: IMailbox, view: View, key: object, value: object) -> None:
        """Keep something made of all messages of a view."""
        self._of(mailbox, view).orders[key] = value


def _gathered(messages: Sequence[Threaded], found: Positions, algorithm: ThreadAlgorithm) -> list[Node]:
    which = list(_numbers(found))
    if algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
        return by_subject(messages, which)
    refs = algorithm is ThreadAlgorithm.REFS
    return by_references(messages, which, merges_subjects=not refs, newest_last=refs)


async def _unknown(
    view: View, known: dict[int, Any], item: CachedItem, pause: Pause, in_thread: InThread, start: int = 0
) -> AsyncIterator[tuple[int, bytes]]:
    """UIDs of messages of which something is not known yet, and a cached item of each."""

    def find() -> list[tuple[int, int]]:
        return [(position, uid) for position, uid in enumerate(_numbers(view.uids[start:]), start) if uid not in known]

    missing = find() if len(view) - start <= FEW else await in_thread(find)
    for start in range(0, len(missing), BLOCK):
        block = missing[start : start + BLOCK]
        (octets,) = view.cached(np.array([position for position, _ in block], dtype=np.intp), (item,))
        for (_, uid), each in zip(block, octets, strict=True):
            yield uid, each
        await pause()


def _numbers(uids: UidArray | Positions) -> Iterator[int]:
    """As Python has numbers, some at a time: others wait for each conversion."""
    for start in range(0, len(uids), _RUN):
        yield from uids[start : start + _RUN].tolist()


def _dates(view: View, first: int) -> dict[int, int]:
    dates: dict[int, int] = {}
    for start in range(first, len(view), _RUN):
        stop = start + _RUN
        dates.update(zip(view.uids[start:stop].tolist(), view.sent_times[start:stop].tolist(), strict=True))
    return dates


def _left(uids: UidArray, order: Positions, now: UidArray) -> Positions | None:
    """
    An order of messages, without those that are gone.

    @return: None if the others are not the first ones now.
    """
    count = len(uids)
    if count <= len(now) and np.array_equal(now[:count], uids):
        return order
    is_left = np.isin(uids, now, assume_unique=True)
    left = int(np.count_nonzero(is_left))
    if not np.array_equal(now[:left], uids[is_left]):
        return None
    places: Positions = np.cumsum(is_left) - 1
    return places[order[is_left[order]]]


class _Compared:
    """Messages by criteria, one with another."""

    def __init__(
        self,
        view: View,
        criteria: Sequence[SortCriterion],
        texts: Mapping[SortCriterion, Mapping[int, str]],
    ) -> None:
        self._uids = view.uids
        self._texts = texts
        self._criteria = [
            (criterion, None if criterion in texts else _COLUMNS[criterion.key](view)) for criterion in criteria
        ]

    def is_before(self, one: int, other: int) -> bool:
        """Whether the message at a position comes before the one at another."""
        for criterion, column in self._criteria:
            first, second = self._value(criterion, column, one), self._value(criterion, column, other)
            if first != second:
                return bool(first < second) != criterion.is_reverse
        return one < other

    def _value(self, criterion: SortCriterion, column: NDArray[Any] | None, position: int) -> Any:
        if column is not None:
            return int(column[position])
        return self._texts[criterion][int(self._uids[position])]


def _inserted(order: Positions, news: Sequence[int], compared: _Compared) -> Positions:
    """Put messages into an order."""
    is_before = compared.is_before

    def compare(one: int, other: int) -> int:
        return -1 if is_before(one, other) else 1

    coming = sorted(news, key=cmp_to_key(compare))
    places: list[int] = []
    for position in coming:
        low, high = places[-1] if places else 0, len(order)
        while low < high:
            middle = (low + high) // 2
            if is_before(int(order[middle]), position):
                low = middle + 1
            else:
                high = middle
        places.append(low)
    found: Positions = np.insert(order, places, coming)
    return found


def _noted(mailbox: IMailbox, annotation: AnnotationName) -> dict[int, str]:
    """A value of each message that has it (RFC 5257 section 4.7), as it is compared."""
    values = ((uid, mailbox.annotations(uid).get(annotation)) for uid in mailbox.annotated().tolist())
    return {uid: collation(fold(value.decode("utf-8", "replace"))) for uid, value in values if value is not None}


def _ranks(texts: list[str]) -> NDArray[np.int64]:
    """The place of each text among the distinct ones."""
    # One operation on all would keep the interpreter, and so the reactor, for its whole time.
    unique: set[str] = set()
    for start in range(0, len(texts), _RUN):
        unique.update(texts[start : start + _RUN])
    distinct = [text for text in unique]  # noqa: C416 - others get their turn between two steps
    runs = [sorted(distinct[start : start + _RUN]) for start in range(0, len(distinct), _RUN)]
    places = {text: place for place, text in enumerate(merge(*runs))}
    return np.fromiter((places[text] for text in texts), dtype=np.int64, count=len(texts))


def _subject_text(octets: bytes) -> str:
    return collation(base_subject(octets.decode("utf-8", "replace"))[0])


def _address_reader(key: SortKey) -> Callable[[bytes], str]:
    name = _ADDRESSES[key]
    is_display = key in (SortKey.DISPLAYFROM, SortKey.DISPLAYTO)

    def read(headers: bytes) -> str:
        values = field_values(headers, name)
        addresses = parse_addresses(unfold(values[0]), 1) if values else []
        if not addresses:
            return ""
        address = addresses[0]
        if not is_display:
            return collation(fold((address.mailbox or b"").decode("utf-8", "replace")))
        if address.name:
            # RFC 5957 section 3: the name as it is shown.
            return collation(fold(decode_words(address.name)))
        shown = b"@".join(part for part in (address.mailbox, address.host) if part)
        return collation(fold(shown.decode("utf-8", "replace")))

    return read


def _threaded(headers: bytes, subject: str, date: int, *, is_reply: bool) -> Threaded:
    own = [found for value in field_values(headers, b"MESSAGE-ID")[-1:] for found in message_ids(value)]
    references = [found for value in field_values(headers, b"REFERENCES")[:1] for found in message_ids(value)]
    if not references:
        references = [found for value in field_values(headers, b"IN-REPLY-TO")[:1] for found in message_ids(value)][:1]
    return Threaded(own[0] if own else None, tuple(references), subject, is_reply, date)
