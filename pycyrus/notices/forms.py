"""The form of notices: what notifyd takes; no I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pycyrus.interfaces import Arrival
from pycyrus.notices.urls import folder_of, owner_of

MAX_DATAGRAM = 8192
"""Octets of a notice: notifyd reads no more."""

DISPENSABLE = ("messageContent", "bodyStructure", "vnd.cmu.envelope", "vnd.cmu.midset")
"""What an event tells no more, one after another, when it is too long for a notice."""

_FIELDS = (b"From", b"Subject", b"To")
"""What a notice of new mail tells, in this order."""
_TOLD = re.compile(rb"^(from|subject|to)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_MAX_HEADER = 65536
_MAX_VALUE = 1024
"""Octets of a header that are looked at, and of a field that are told."""


@dataclass(frozen=True, slots=True)
class Notice:
    """
    What notifyd is told.

    @ivar method: How it tells the user.
    @ivar kind: C{MAIL}, C{EVENT}, ...: which class of notices this is.
    @ivar user: Whom; empty for nobody in particular.
    @ivar mailbox: Empty for none.
    """

    method: str
    kind: str
    user: str = ""
    mailbox: str = ""
    text: str = ""
    priority: str = ""
    options: Sequence[str] = ()

    def encode(self) -> bytes:
        """The datagram: strings, each ended by NUL."""
        words = (self.method, self.kind, self.priority, self.user, self.mailbox, str(len(self.options)), *self.options)
        return b"".join(_string(word) for word in (*words, self.text))


def _string(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", "replace") + b"\0"


def new_mail(method: str, arrival: Arrival) -> Notice:
    """Tell a user of new mail (C{mailnotifier}): from whom, about what, and to whom, as Cyrus does."""
    name = arrival.mailbox
    values = {match[1].lower(): match[2] for match in _TOLD.finditer(arrival.header[:_MAX_HEADER])}
    text = "".join(
        f"{field.decode()}: {_one_line(values[field.lower()])}\n" for field in _FIELDS if field.lower() in values
    )
    return Notice(method, "MAIL", owner_of(name), folder_of(name), text or "You have new mail")


def _one_line(value: bytes) -> str:
    return " ".join(value[:_MAX_VALUE].decode("utf-8", "replace").split())


def as_json(event: Mapping[str, object]) -> str:
    """An event on one line."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)


def event_notice(method: str, event: Mapping[str, object]) -> Notice:
    """An event as a notice that is short enough, if there is one."""
    notice = Notice(method, "EVENT", text=as_json(event))
    for name in DISPENSABLE:
        if len(notice.encode()) <= MAX_DATAGRAM:
            break
        event = {key: value for key, value in event.items() if key != name}
        notice = replace(notice, text=as_json(event))
    return notice
