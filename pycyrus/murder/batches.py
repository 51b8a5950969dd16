"""Messages that go to another server, several at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class Sized(Protocol):
    """What has a size in octets."""

    @property
    def size(self) -> int:
        """In octets."""


S = TypeVar("S", bound=Sized)


def batches(messages: Iterable[S], *, octets: int, most: int) -> Iterator[list[S]]:
    """
    Cut messages into batches, in order: small ones together, and each large one alone.

    @param octets: That a batch may have, unless it is one message.
    @param most: Messages that it may have.
    """
    batch: list[S] = []
    size = 0
    for message in messages:
        if batch and (size + message.size > octets or len(batch) >= most):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield batch
