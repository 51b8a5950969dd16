"""The form of notices: what notifyd takes; no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pycyrus.interfaces import Arrival
from pycyrus.notices.urls import folder_of, owner_of

MAX_DATAGRAM = 8192
"""Octets of a notice: notifyd reads no more."""

DISPENSABLE = ("messageContent", "bodyStructure", "vnd.cmu.envelope", "vnd.cmu.midset")
"""What an event tells no more, one after another, when it is too long for a notice."""


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
    """Tell a user of new mail (C{mailnotifier})."""
    name = arrival.mailbox
    return Notice(method, "MAIL", owner_of(name), folder_of(name), "You have new mail")


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
