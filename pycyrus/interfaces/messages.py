"""Messages on their way in, and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zope.interface import Attribute, Interface

from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.flags import NO_FLAGS, Flags


class IStaged(Interface):
    """
    A message being received, in a private file of a partition.

    Writing puts CRLF-ended octets into the page cache; nothing is durable, or
    visible to anybody, until a mailbox appends it.
    """

    size = Attribute("Octets written so far.")

    def write(data: bytes) -> None:
        """
        Add octets.

        @raise StoreFull: No room; the staged message is spoilt and must be
            discarded.
        @raise StoreUnavailable: Likewise.
        """

    async def ready() -> None:
        """
        Do what takes long in L{finish} before it, apart from the reactor; there need not be anything.

        @raise StoreUnavailable: As C{write}.
        """

    def finish(*, is_shared: bool = False) -> None:
        """
        End the message: computes its GUID, structure and cached items.

        @param is_shared: More than one mailbox will append it, so what each needs is made once, now.
        @raise StoreUnavailable: As C{write}.
        """

    def read(offset: int, length: int) -> bytes:
        """
        Read octets of a finished message; short at its end.

        @raise StoreUnavailable: They cannot be read.
        """

    def discard() -> None:
        """Remove the file.  Must be called in the end, appended or not."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """
    A message to append.

    @ivar staged: Finished; it is linked, so one may go to several mailboxes.
    @ivar internaldate: Seconds since the epoch; None for now.
    @ivar annotations: By scope and entry (RFC 5257 section 4.5).
    """

    staged: IStaged
    flags: Flags = NO_FLAGS
    internaldate: int | None = None
    annotations: Mapping[tuple[AnnotationScope, str], bytes] = field(default_factory=dict)
