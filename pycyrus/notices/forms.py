"""The forms of notices: what notifyd takes, and events as JSON (RFC 5423); no I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from pycyrus.interfaces import Arrival

MAX_DATAGRAM = 8192
"""Octets of a notice; of a longer one the text is cut, and an event is left out."""


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


def user_of(arrival: Arrival) -> str:
    """The id of a mailbox's owner; empty for a shared one."""
    name = arrival.mailbox
    if name.owner is None:
        return ""
    return f"{name.owner}@{name.domain}" if name.domain else name.owner


def new_mail(method: str, arrival: Arrival) -> Notice:
    """Tell a user of new mail (C{mailnotifier})."""
    path = "/".join(arrival.mailbox.path)
    mailbox = path if arrival.mailbox.owner is None else path or "INBOX"
    return Notice(method, "MAIL", user_of(arrival), mailbox, "You have new mail")


def message_new(arrival: Arrival, *, server: str, pid: int, now: float) -> str:
    """
    RFC 5423 section 4.1: the event MessageNew, as one object of JSON.

    @param now: Seconds since the epoch.
    """
    user = user_of(arrival)
    path = "/".join(arrival.mailbox.path)
    mailbox = path if arrival.mailbox.owner is None else path or "INBOX"
    authority = f"{quote(user, safe='')}@{server}" if user else server
    uri = f"imap://{authority}/{quote(mailbox)};UIDVALIDITY={arrival.uidvalidity}/;UID={arrival.uid}"
    event: dict[str, object] = {
        "event": "MessageNew",
        "timestamp": datetime.fromtimestamp(now).astimezone().isoformat(timespec="milliseconds"),
        "service": "lmtp",
        "uri": uri,
        "mailboxID": uri.rpartition("/;UID=")[0],
        "uidset": str(arrival.uid),
        "messageSize": arrival.size,
        "pid": pid,
        "vnd.cmu.sessionId": arrival.session_id,
    }
    if user:
        event["user"] = user
    return json.dumps(event, separators=(",", ":"))
