"""Threads as they are told, kept while messages come: what follows C{* THREAD} is changed where a thread changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pycyrus.mime.forest import Forest
from pycyrus.mime.threading import Node, Threaded
from pycyrus.model.sorting import ThreadAlgorithm
from pycyrus.model.uids import UidArray

_RUN = 2000
"""Numbers made at a time: others wait for it."""


class RememberedThreads:
    """
    All messages of a mailbox by one algorithm, by UID or by number; its methods are for a thread.

    @ivar uids: Of the messages.
    """

    def __init__(
        self, algorithm: ThreadAlgorithm, uids: UidArray, messages: Sequence[Threaded], *, by_uid: bool
    ) -> None:
        self.uids = uids
        self._by_uid = by_uid
        self._forest = Forest(algorithm)
        threads = self._forest.fill(messages)
        pieces = list(encode_threads(threads, list(self._names())))
        self._text = bytearray().join(pieces)
        self._lengths = [len(piece) for piece in pieces]

    def __len__(self) -> int:
        return len(self.uids)

    def _names(self) -> Iterator[int]:
        """What each message is called."""
        for start in range(0, len(self.uids), _RUN):
            stop = min(start + _RUN, len(self.uids))
            yield from self.uids[start:stop].tolist() if self._by_uid else range(start + 1, stop + 1)

    def reaches(self, uids: UidArray) -> int | None:
        """How many of these messages are in it; None if others are, which are not among the first ones."""
        count = len(self.uids)
        return count if count <= len(uids) and np.array_equal(uids[:count], self.uids) else None

    def add(self, uids: UidArray, messages: Sequence[Threaded]) -> None:
        """
        Take messages that came.

        @param uids: Of all messages now.
        """
        self.uids = uids
        names: NDArray[np.integer] = uids if self._by_uid else np.arange(1, len(uids) + 1)
        for message in messages:
            for edit in self._forest.add(message):
                start = sum(self._lengths[: edit.place])
                if edit.thread is None:
                    del self._text[start : start + self._lengths.pop(edit.place)]
                else:
                    piece = _encode_thread(edit.thread, names)
                    self._text[start:start] = piece
                    self._lengths.insert(edit.place, len(piece))

    def line(self) -> bytes:
        """The whole response."""
        return encode_line(self._text)


def encode_line(threads: bytes | bytearray) -> bytes:
    """Write C{* THREAD} (RFC 5256 section 4)."""
    return b"* THREAD " + bytes(threads) + b"\r\n" if threads else b"* THREAD\r\n"


Names = Sequence[int] | NDArray[np.integer]


def encode_threads(roots: Sequence[Node], numbers: Names) -> Iterator[bytes]:
    """
    Write what follows C{* THREAD}, in pieces.

    @param numbers: What to call the message at each position.
    """
    for root in roots:
        yield _encode_thread(root, numbers)


def _encode_thread(root: Node, numbers: Names) -> bytes:
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
