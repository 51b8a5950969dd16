"""
Orders and threads of the messages of a mailbox, made from the columns and the cache.

What is made of headers is kept by mailbox, so that only new messages are read
again; an order of all messages is kept as long as they are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import merge
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from pycyrus.interfaces import IMailbox
from pycyrus.mime.address import parse_addresses
from pycyrus.mime.base_subject import base_subject
from pycyrus.mime.encoded_words import decode_words
from pycyrus.mime.header import field_values, unfold
from pycyrus.mime.text import fold
from pycyrus.mime.threading import Node, Threaded, by_references, by_subject, message_ids
from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.sorting import SortCriterion, SortKey, ThreadAlgorithm
from pycyrus.model.uids import Positions, UidArray
from pycyrus.model.view import CachedItem, View

MAILBOXES = 32
"""Of which headers are remembered."""
MOST_TEXTS = 3_000_000
"""Texts of all mailboxes that are remembered; the mailbox at work always has its own."""
BLOCK = 100
"""Messages whose headers are read between two turns of other sessions."""

_RUN = 2000
"""Texts sorted in one operation."""
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
    """

    uidvalidity: int
    texts: dict[SortKey, dict[int, str]] = field(default_factory=dict)
    threaded: dict[int, Threaded] = field(default_factory=dict)
    uids: UidArray | None = None
    orders: dict[object, Any] = field(default_factory=dict)

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

    def _of(self, mailbox: IMailbox, view: View) -> _Remembered:
        known = self._mailboxes.pop(mailbox.unique_id, None)
        if known is None or known.uidvalidity != mailbox.uidvalidity:
            known = _Remembered(mailbox.uidvalidity)
        self._mailboxes[mailbox.unique_id] = known
        if known.uids is not view.uids:
            known.prune(view)
            known.uids = view.uids
            count = sum(map(len, self._mailboxes.values()))
            while len(self._mailboxes) > MAILBOXES or (count > MOST_TEXTS and len(self._mailboxes) > 1):
                _, forgotten = self._mailboxes.popitem(last=False)
                count -= len(forgotten)
            known.orders = {}
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
            order = await self._order(known, view, criteria, pause, in_thread, np.arange(len(view)))
            if known.uids is view.uids:
                known.orders[key] = order
        if len(found) == len(view):
            return order
        is_found = np.zeros(len(view), dtype=np.bool_)
        is_found[found] = True
        return order[is_found[order]]

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
                of_noted = noted[criterion.annotation]
                texts[criterion] = {uid: of_noted.get(uid, "") for uid in view.uids.tolist()}
            elif criterion.key not in _COLUMNS:
                texts[criterion] = await self._texts(known, view, criterion.key, pause, in_thread)
        uids = view.uids.tolist() if texts else []

        def compute() -> Positions:
            ranks: list[NDArray[Any]] = []
            for criterion in criteria:
                column = _COLUMNS.get(criterion.key)
                if column is not None:
                    values = column(view)[positions].astype(np.int64)
                else:
                    of_uid = texts[criterion]
                    values = _ranks([of_uid[uid] for uid in uids])[positions]
                ranks.append(-values if criterion.is_reverse else values)
            # The last key given counts most.
            order: Positions = np.lexsort(ranks[::-1]) if ranks else np.arange(len(positions))
            return order

        return compute() if len(view) <= FEW else await in_thread(compute)

    async def _texts(
        self, known: _Remembered, view: View, key: SortKey, pause: Pause, in_thread: InThread
    ) -> dict[int, str]:
        """The sort texts of the messages of a view, and perhaps of others, by UID."""
        texts = known.texts.setdefault(key, {})
        read = _subject_text if key is SortKey.SUBJECT else _address_reader(key)
        item = CachedItem.SUBJECT if key is SortKey.SUBJECT else CachedItem.HEADERS
        async for uid, octets in _unknown(view, texts, item, pause, in_thread):
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
        """Gather messages in threads (RFC 5256 section 3); nodes have positions in the view."""
        known = self._of(mailbox, view)
        is_all = len(found) == len(view)
        if is_all and algorithm in known.orders:
            roots: list[Node] = known.orders[algorithm]
            return roots
        await mailbox.complete()
        messages = await self._threaded(known, view, pause, in_thread)
        roots = await in_thread(partial(_gathered, messages, found.tolist(), algorithm))
        if is_all and known.uids is view.uids:
            known.orders[algorithm] = roots
        return roots

    async def _threaded(self, known: _Remembered, view: View, pause: Pause, in_thread: InThread) -> list[Threaded]:
        threaded = known.threaded
        subjects = known.texts.setdefault(SortKey.SUBJECT, {})
        marks: dict[int, bool] = {}
        dates = await in_thread(lambda: dict(zip(view.uids.tolist(), view.sent_times.tolist(), strict=True)))
        if not await in_thread(lambda: dates.keys() <= threaded.keys()):
            async for uid, octets in _unknown(view, threaded, CachedItem.SUBJECT, pause, in_thread):
                subjects[uid], marks[uid] = base_subject(octets.decode("utf-8", "replace"))
            async for uid, octets in _unknown(view, threaded, CachedItem.HEADERS, pause, in_thread):
                threaded[uid] = _threaded(octets, subjects[uid], dates[uid], is_reply=marks[uid])
        return await in_thread(lambda: [threaded[uid] for uid in dates])

    def remembered(self, mailbox: IMailbox, view: View, key: object) -> Any:
        """Something that was made of all messages of a view; None if it was not."""
        return self._of(mailbox, view).orders.get(key)

    def remember(self, mailbox: IMailbox, view: View, key: object, value: object) -> None:
        """Keep something made of all messages of a view."""
        self._of(mailbox, view).orders[key] = value


def _gathered(messages: Sequence[Threaded], which: list[int], algorithm: ThreadAlgorithm) -> list[Node]:
    if algorithm is ThreadAlgorithm.ORDEREDSUBJECT:
        return by_subject(messages, which)
    refs = algorithm is ThreadAlgorithm.REFS
    return by_references(messages, which, merges_subjects=not refs, newest_last=refs)


async def _unknown(
    view: View, known: dict[int, Any], item: CachedItem, pause: Pause, in_thread: InThread
) -> AsyncIterator[tuple[int, bytes]]:
    """UIDs of messages of which something is not known yet, and a cached item of each."""

    def find() -> list[tuple[int, int]]:
        return [(position, uid) for position, uid in enumerate(view.uids.tolist()) if uid not in known]

    missing = find() if len(view) <= FEW else await in_thread(find)
    for start in range(0, len(missing), BLOCK):
        block = missing[start : start + BLOCK]
        (octets,) = view.cached(np.array([position for position, _ in block], dtype=np.intp), (item,))
        for (_, uid), each in zip(block, octets, strict=True):
            yield uid, each
        await pause()


def _noted(mailbox: IMailbox, annotation: AnnotationName) -> dict[int, str]:
    """A value of each message that has it (RFC 5257 section 4.7), as it is compared."""
    values = ((uid, mailbox.annotations(uid).get(annotation)) for uid in mailbox.annotated().tolist())
    return {uid: fold(value.decode("utf-8", "replace")) for uid, value in values if value is not None}


def _ranks(texts: list[str]) -> NDArray[np.int64]:
    """The place of each text among the distinct ones."""
    distinct = list(set(texts))
    # One sort of all would keep the interpreter, and so the reactor, for its whole time.
    runs = [sorted(distinct[start : start + _RUN]) for start in range(0, len(distinct), _RUN)]
    places = {text: place for place, text in enumerate(merge(*runs))}
    return np.fromiter((places[text] for text in texts), dtype=np.int64, count=len(texts))


def _subject_text(octets: bytes) -> str:
    return base_subject(octets.decode("utf-8", "replace"))[0]


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
            return fold((address.mailbox or b"").decode("utf-8", "replace"))
        if address.name:
            # RFC 5957 section 3: the name as it is shown.
            return fold(decode_words(address.name))
        return fold(b"@".join(part for part in (address.mailbox, address.host) if part).decode("utf-8", "replace"))

    return read


def _threaded(headers: bytes, subject: str, date: int, *, is_reply: bool) -> Threaded:
    own = [found for value in field_values(headers, b"MESSAGE-ID")[:1] for found in message_ids(value)]
    references = [found for value in field_values(headers, b"REFERENCES")[:1] for found in message_ids(value)]
    if not references:
        references = [found for value in field_values(headers, b"IN-REPLY-TO")[:1] for found in message_ids(value)][:1]
    return Threaded(own[0] if own else None, tuple(references), subject, is_reply, date)


def encode_threads(roots: Sequence[Node], numbers: Sequence[int]) -> Iterator[bytes]:
    """
    Write what follows C{* THREAD}, in pieces.

    @param numbers: What to call the message at each position.
    """
    for root in roots:
        yield _encode_thread(root, numbers)


def _encode_thread(root: Node, numbers: Sequence[int]) -> bytes:
    if root.message is not None and not root.children:
        return b"(%d)" % numbers[root.message]
    pieces: list[bytes] = []
    # What is still to be written: nodes, and closing parentheses.
    stack: list[Node | bytes] = [b")", root]
    pieces.append(b"(")
    while stack:
        step = stack.pop()
        if isinstance(step, bytes):
            pieces.append(step)
            continue
        node = step
        if node.message is not None:
            if not pieces[-1].endswith(b"("):
                pieces.append(b" ")
            pieces.append(b"%d" % numbers[node.message])
        if len(node.children) == 1 and node.message is not None:
            stack.append(node.children[0])
            continue
        if node.children and node.message is not None:
            pieces.append(b" ")
        for child in reversed(node.children):
            stack += [b")", child, b"("]
    return b"".join(pieces)
