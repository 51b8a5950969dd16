"""Where a listing can find something: what narrows the work of LIST."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Namespace(enum.Enum):
    """RFC 2342: whose mailboxes."""

    PERSONAL = "personal"
    OTHER = "other"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class ListScope:
    """
    Where a LIST pattern can match: narrows the work, does not decide.

    @ivar namespace: Which namespace.
    @ivar domain: Domain of matching names; None for any.
    @ivar owner: Owner of matching names; None for any.
    @ivar path: Leading path components; the mailbox of just this path is
        within the scope.
    @ivar deleted: Delayed-deleted mailboxes instead of live ones, of every
        namespace; only administrators see any.
    """

    namespace: Namespace
    domain: str | None = None
    owner: str | None = None
    path: tuple[str, ...] = ()
    deleted: bool = False
