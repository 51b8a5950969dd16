"""
Conversations: THREAD's algorithms over what headers say (RFC 5256 section 3).

Messages are numbers from 0, in the order in which they came; a thread is a node
whose children are its replies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Any, TypeVar

_MESSAGE_ID = re.compile(rb"<((?:\"(?:[^\"\\]|\\.)*\"|[^<>\"\s])+)>")
_QUOTES = re.compile(rb"\"((?:[^\"\\]|\\.)*)\"")
_PAIR = re.compile(rb"\\(.)")
MAX_REFERENCES = 200
"""Message-IDs of one References field that are looked at; the last ones are nearest."""


def message_ids(value: bytes) -> list[bytes]:
    """All message ids in a field, in one form for equal ones (RFC 5256 section 2.2)."""
    return [_normal(found) for found in _MESSAGE_ID.findall(value)]


def _normal(message_id: bytes) -> bytes:
    if b'"' not in message_id:
        return message_id
    return _QUOTES.sub(lambda match: _PAIR.sub(rb"\1", match[1]), message_id)


RUN = 2000
"""Things sorted in one operation, for which other threads wait."""

T = TypeVar("T")


def in_order(things: Sequence[T], key: Callable[[T], Any]) -> list[T]:
    """As C{sorted}, but other threads are let in now and then."""
    if len(things) <= RUN:
        return sorted(things, key=key)
    runs = [sorted(things[start : start + RUN], key=key) for start in range(0, len(things), RUN)]
    return list(merge(*runs, key=key))


@dataclass(frozen=True, slots=True)
class Threaded:
    """
    What threading needs of a message.

    @ivar message_id: None if it has none.
    @ivar references: From the oldest to the nearest.
    @ivar subject: Base subject.
    @ivar is_reply: The subject was marked as a reply or forward.
    @ivar date: Seconds since the epoch.
    """

    message_id: bytes | None
    references: tuple[bytes, ...]
    subject: str
    is_reply: bool
    date: int


@dataclass(slots=True, eq=False)
class Node:
    """
    A message in a thread, or the place of one that is not here.

    @ivar message: Its number; None for a place.
    """

    message: int | None = None
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)


def by_subject(messages: Sequence[Threaded], which: Iterable[int]) -> list[Node]:
    """ORDEREDSUBJECT: messages of a base subject below the first of them (RFC 5256 section 3)."""
    threads: dict[str, list[int]] = {}
    for number in in_order(list(which), lambda each: (messages[each].date, each)):
        threads.setdefault(messages[number].subject, []).append(number)
    found = []
    for first, *others in threads.values():
        root = Node(first)
        for other in others:
            _adopt(root, Node(other))
        found.append(root)
    return found


def by_references(
    messages: Sequence[Threaded], which: Iterable[int], *, merges_subjects: bool = True, newest_last: bool = False
) -> list[Node]:
    """
    REFERENCES, and Cyrus's REFS, which does not gather by subjects.

    @param merges_subjects: Step 5.
    @param newest_last: Threads are in the order of their newest message (REFS).
    """
    chosen = list(which)
    roots = _pruned(_linked(messages, chosen))
    dates = _Dates(messages)
    roots = _sorted(roots, dates)
    if merges_subjects:
        roots = _sorted(_merged(messages, roots), dates)
    if newest_last:
        roots = in_order(roots, lambda root: max((messages[node].date, node) for node in _messages_of(root)))
    return roots


def _linked(messages: Sequence[Threaded], chosen: list[int]) -> list[Node]:
    """Steps 1 and 2: link messages by what they refer to, and gather those without a parent."""
    links = Links()
    everything: list[Node] = []
    for number in chosen:
        links.add(number, messages[number], everything)
    return [node for node in everything if node.parent is None]


class Links:
    """The table of step 1, to which messages are added one after another."""

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def known(self, message: Threaded) -> list[Node]:
        """The nodes that a message speaks of, as far as they are there."""
        names = message.references[-MAX_REFERENCES:]
        if message.message_id is not None:
            names = (*names, message.message_id)
        return [node for name in names if (node := self._nodes.get(name)) is not None]

    def add(self, number: int, message: Threaded, made: list[Node]) -> Node:
        """
        Link a message that came after the others.

        @param made: Gets the nodes that are new.
        @return: The node of the message.
        """
        nodes = self._nodes
        node = nodes.get(message.message_id) if message.message_id is not None else None
        if node is not None and node.message is None:
            node.message = number
        else:
            # A second message of the same id counts as one without an id.
            node = Node(number)
            made.append(node)
            if message.message_id is not None and message.message_id not in nodes:
                nodes[message.message_id] = node
        parent: Node | None = None
        for reference in message.references[-MAX_REFERENCES:]:
            referred = nodes.get(reference)
            if referred is None:
                referred = nodes[reference] = Node()
                made.append(referred)
            if parent is not None and referred.parent is None and not _is_above(referred, parent):
                _adopt(parent, referred)
            parent = referred
        if node.parent is not None:
            # The message's own word counts more than what others said of it.
            node.parent.children.remove(node)
            node.parent = None
        if parent is not None and not _is_above(node, parent):
            _adopt(parent, node)
        return node


def _is_above(node: Node, other: Node) -> bool:
    if not node.children:
        return node is other
    current: Node | None = other
    while current is not None:
        if current is node:
            return True
        current = current.parent
    return False


def _adopt(parent: Node, child: Node) -> None:
    child.parent = parent
    parent.children.append(child)


def _pruned(roots: list[Node]) -> list[Node]:
    """Step 3: places without children go; those with children give them to whoever is above."""
    top = Node()
    for root in roots:
        _adopt(top, root)
    order = [top]
    for node in order:
        order.extend(node.children)
    for node in reversed(order):
        kept: list[Node] = []
        for child in node.children:
            if child.message is None and (node is not top or len(child.children) <= 1):
                kept.extend(child.children)
            else:
                kept.append(child)
        node.children = kept
        for child in kept:
            child.parent = node
    for root in top.children:
        root.parent = None
    return top.children


class _Dates:
    """By what siblings are sorted: the date of a message, or of the first below a place."""

    def __init__(self, messages: Sequence[Threaded]) -> None:
        self._messages = messages

    def key(self, node: Node) -> tuple[int, int]:
        while node.message is None:
            node = node.children[0]
        return self._messages[node.message].date, node.message


def _sorted(roots: list[Node], dates: _Dates) -> list[Node]:
    """Steps 4 and 6, from below."""
    order = list(roots)
    for node in order:
        order.extend(node.children)
    for node in reversed(order):
        if len(node.children) > 1:
            node.children.sort(key=dates.key)
    return in_order(roots, dates.key)


def _merged(messages: Sequence[Threaded], roots: list[Node]) -> list[Node]:
    """Step 5: gather threads of the same subject."""
    tables: dict[str, Node] = {}
    for root in roots:
        subject = _subject(messages, root)
        if not subject:
            continue
        known = tables.get(subject)
        if (
            known is None
            or (root.message is None and known.message is not None)
            or (known.message is not None and _is_reply(messages, known) and not _is_reply(messages, root))
        ):
            tables[subject] = root
    merged: list[Node] = []
    places: dict[int, int] = {}
    for root in roots:
        subject = _subject(messages, root)
        other = tables.get(subject) if subject else None
        if other is None or other is root:
            places[id(root)] = len(merged)
            merged.append(root)
            continue
        _merge(messages, root, other, merged, tables, subject, places)
    return [root for root in merged if root.parent is None]


def _merge(
    messages: Sequence[Threaded],
    root: Node,
    other: Node,
    merged: list[Node],
    tables: dict[str, Node],
    subject: str,
    places: dict[int, int],
) -> None:
    if root.message is None and other.message is None:
        for child in root.children:
            _adopt(other, child)
    elif other.message is None or (_is_reply(messages, root) and not _is_reply(messages, other)):
        _adopt(other, root)
    else:
        # Neither answers the other: both are below a new place.
        place = Node()
        at = places.get(id(other))
        _adopt(place, other)
        _adopt(place, root)
        tables[subject] = place
        if at is None:
            # It comes later; the place stands for it then.
            merged.append(place)
            places[id(place)] = len(merged) - 1
        else:
            merged[at] = place
            places[id(place)] = at


def _first(node: Node) -> int:
    while node.message is None:
        node = node.children[0]
    return node.message


def _subject(messages: Sequence[Threaded], root: Node) -> str:
    return messages[_first(root)].subject


def _is_reply(messages: Sequence[Threaded], root: Node) -> bool:
    return messages[_first(root)].is_reply


def _messages_of(root: Node) -> Iterator[int]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.message is not None:
            yield node.message
        stack.extend(node.children)
