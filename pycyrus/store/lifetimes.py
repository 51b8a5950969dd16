"""How long messages and deleted mailboxes are kept, by the annotations C{expire}, C{archive} and C{delete}."""

from __future__ import annotations

import re

from pycyrus.model.annotations import VENDOR
from pycyrus.store.notes import SERVER
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore

EXPIRE = f"{VENDOR}/expire"
DELETE = f"{VENDOR}/delete"
ARCHIVE = f"{VENDOR}/archive"

_PART = re.compile(r"([0-9]{1,9})([dhms]?)")
_SECONDS = {"": 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def read_lifetime(value: bytes | None) -> float | None:
    """
    Read a value: days, or numbers with units such as C{1d12h}.

    @return: Seconds; None where nothing ends, which is what 0 says too.
    """
    text = (value or b"").decode("ascii", "replace").strip()
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        return None
    return float(sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))) or None


def lifetime_of_messages(store: MailStore, entry: Entry) -> float | None:
    """
    How long messages of a mailbox are kept: as it says itself, or the nearest above that says something, or the server.

    @return: Seconds; None for ever.
    """
    return read_lifetime(_inherited(store, entry, EXPIRE))


def _inherited(store: MailStore, entry: Entry, note: str) -> bytes | None:
    here: Entry | None = entry
    while here is not None:
        value = store.shared_note(here.unique_id, note)
        if value is not None:
            return value
        here = store.directory.nearest(here.name)
    return store.shared_note(SERVER, note)


def archived_from(store: MailStore, entry: Entry, default: float) -> float | None:
    """
    From what age messages of a mailbox go to the archive, told as in L{lifetime_of_messages}.

    @param default: Seconds, where nothing is told.
    @return: Seconds; None for never.
    """
    value = _inherited(store, entry, ARCHIVE)
    return default if value is None else read_lifetime(value)


def lifetime_of_deleted(store: MailStore, entry: Entry) -> float | None:
    """
    How long a mailbox is kept after its deletion, if it says so itself.

    @return: Seconds; None if it does not.
    """
    return read_lifetime(store.shared_note(entry.unique_id, DELETE))
