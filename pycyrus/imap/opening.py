"""How a mailbox was selected, and what was told of it then."""

from __future__ import annotations

from dataclasses import dataclass

from pycyrus.model.names import MailboxName


@dataclass(frozen=True, slots=True)
class Opening:
    """
    Of one SELECT or EXAMINE.

    @ivar asked: The mailbox, as the client wrote it.
    @ivar extensions: How many were enabled; they only become more.
    @ivar counter: Of the mailbox: changes with whatever is told of it.
    @ivar text: The untagged responses.
    """

    asked: bytes
    is_examine: bool
    extensions: int
    counter: int
    name: MailboxName
    rights: frozenset[str]
    text: bytes
