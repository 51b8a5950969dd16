"""How long messages and deleted mailboxes are kept by the annotations C{expire} and C{delete}."""

from __future__ import annotations

import re

from pycyrus.model.annotations import VENDOR
from pycyrus.store.notes import SERVER
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore

EXPIRE = f"{VENDOR}/expire"
DELETE = f"{VENDOR}/delete"

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
    here: Entry | None = entry
    while here is not None:
        value = store.shared_note(here.unique_id, EXPIRE)
        if value is not None:
            return read_lifetime(value)
        here = store.directory.nearest(here.name)
    return read_lifetime(store.shared_note(SERVER, EXPIRE))


def lifetime_of_deleted(store: MailStore, entry: Entry) -> float | None:
    """
    How long a mailbox is kept after its deletion, if it says so itself.

    @return: Seconds; None if it does not.
    """
    return read_lifetime(store.shared_note(entry.unique_id, DELETE))
