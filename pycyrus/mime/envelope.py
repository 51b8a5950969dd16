"""ENVELOPE as FETCH prints it (RFC 9051 section 7.5.2)."""

from __future__ import annotations

from collections.abc import Mapping

from pycyrus.mime.address import parse_addresses
from pycyrus.mime.limits import Budget
from pycyrus.mime.strings import NIL, nstring, string


def render_envelope(fields: Mapping[bytes, bytes], budget: Budget) -> bytes:
    """
    Write the envelope of a message.

    @param fields: Values by lower-case name, unfolded.
    @param budget: Addresses are taken from it; beyond it they are left out.
    """
    get = fields.get
    author = _addresses(get(b"from"), budget)
    # An absent or empty Sender or Reply-To is told as the From field.
    sender = _addresses(get(b"sender"), budget)
    reply_to = _addresses(get(b"reply-to"), budget)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(get(b"date")),
        nstring(get(b"subject")),
        author,
        author if sender is NIL else sender,
        author if reply_to is NIL else reply_to,
        _addresses(get(b"to"), budget),
        _addresses(get(b"cc"), budget),
        _addresses(get(b"bcc"), budget),
        nstring(get(b"in-reply-to")),
        nstring(get(b"message-id")),
    )


def _addresses(value: bytes | None, budget: Budget) -> bytes:
    if not value or budget.addresses <= 0:
        return NIL
    addresses = parse_addresses(value, budget.addresses)
    budget.addresses -= len(addresses)
    if not addresses:
        return NIL
    rendered = []
    for name, route, mailbox, host in addresses:
        rendered.append(
            b"(%b %b %b %b)"
            % (
                NIL if name is None else string(name),
                NIL if route is None else string(route),
                NIL if mailbox is None else string(mailbox),
                NIL if host is None else string(host),
            )
        )
    return b"(%b)" % b"".join(rendered)
