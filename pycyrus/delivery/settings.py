"""What delivery is told."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from pycyrus.model.names import NamespaceSettings


class EightBitHeaders(enum.Enum):
    """What becomes of octets above 127 in header fields."""

    MUNGE = "munge"
    """Each becomes an X (C{munge8bit})."""
    REJECT = "reject"
    """The message is refused (C{reject8bit})."""
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """
    Settings of delivery.

    @ivar server_name: In Received, in Message-ID, and behind a bare sender.
    @ivar product: In Received, in brackets behind the server's name.
    @ivar namespace: Which separator a detail has, and what domains mean.
    @ivar downcase_recipients: User parts are compared in lower case.
    @ivar post_user: Local part that posts to shared mailboxes; empty: a local
        part that is only a detail does.
    @ivar catchall: User id that gets what nobody else gets; empty for none.
    @ivar excluded_special_uses: In lower case; folders with one of these get
        nothing by a detail.
    @ivar strict_quota: A message must fit; otherwise what is not yet over its
        quota takes one more, of any size.
    @ivar fuzzy_mailbox_match: A folder that is not there may be meant for one
        that is spelt alike, or for the nearest above it.
    @ivar is_denied: Whether a user id gets no mail for now (C{user_deny.db}); None where
        everybody does.
    @ivar single_instance: Copies of a message on one partition share a file.
    """

    server_name: str
    product: str = "Cyrus"
    namespace: NamespaceSettings = field(default_factory=NamespaceSettings)
    downcase_recipients: bool = True
    post_user: str = ""
    catchall: str = ""
    fuzzy_mailbox_match: bool = False
    excluded_special_uses: frozenset[str] = frozenset()
    eight_bit_headers: EightBitHeaders = EightBitHeaders.MUNGE
    strict_quota: bool = False
    single_instance: bool = True
    is_denied: Callable[[str], bool] | None = None
