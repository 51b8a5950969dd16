"""What events tell of messages and mailboxes, beyond their names."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IMailbox
from pycyrus.model.flags import DELETED
from pycyrus.model.uids import Positions, UidArray, encode_numbers
from pycyrus.model.view import CachedItem, View
from pycyrus.notices.kinds import Extra, Kind
from pycyrus.notices.settings import ContentMode, EventSettings

MAX_IDS = 100
"""Messages whose ids are told; of more of them, none."""
MAX_CONTENT = 65_536
"""Octets of a message that are told at most, whatever the settings say."""

_LAST = re.compile(rb'"((?:[^"\\]|\\.)*)"\)\Z')


def uid_set(uids: UidArray) -> str:
    """UIDs as they are told."""
    return encode_numbers(np.sort(np.asarray(uids))).decode("ascii")


def of_mailbox(mailbox: IMailbox, extras: frozenset[Extra]) -> dict[str, object]:
    """What is asked for of a mailbox's numbers."""
    params: dict[str, object] = {}
    if Extra.MESSAGES in extras or Extra.UNSEEN in extras:
        counts = mailbox.counts()
        if Extra.MESSAGES in extras:
            params["messages"] = counts.messages
        if Extra.UNSEEN in extras:
            params["vnd.cmu.unseenMessages"] = counts.unseen
    if Extra.UIDNEXT in extras:
        params["uidnext"] = mailbox.uidnext()
    if Extra.MODSEQ in extras:
        params["modseq"] = mailbox.highest_modseq()
    return params


def of_messages(mailbox: IMailbox, uids: UidArray, kind: Kind, settings: EventSettings) -> dict[str, object]:
    """What is asked for of messages, as far as they are there."""
    view = mailbox.view()
    positions = found(view, uids)
    extras = settings.extras
    params: dict[str, object] = {}
    if Extra.MESSAGE_IDS in extras and (ids := ids_of(view, positions)):
        params[Extra.MESSAGE_IDS.value] = list(ids.values())
    if not kind.has_content or len(positions) != 1:
        return params
    at = int(positions[0])
    if Extra.MESSAGE_SIZE in extras:
        params["messageSize"] = int(view.sizes[at])
    for extra, item in ((Extra.ENVELOPE, CachedItem.ENVELOPE), (Extra.BODY_STRUCTURE, CachedItem.BODYSTRUCTURE)):
        if extra in extras:
            params[extra.value] = view.cached(positions, (item,))[0][0].decode("utf-8", "replace")
    if Extra.MESSAGE_CONTENT in extras:
        content = _content(mailbox, int(view.uids[at]), settings)
        if content is not None:
            params["messageContent"] = content.decode("utf-8", "replace")
    return params


def found(view: View, uids: UidArray) -> Positions:
    """Where those UIDs are that there are."""
    return np.flatnonzero(np.isin(view.uids, uids))


def to_be_expunged(view: View, uids: UidArray | None) -> Positions:
    """Where the messages are that EXPUNGE removes, or UID EXPUNGE of these UIDs."""
    where = np.flatnonzero(view.flags & np.uint32(DELETED))
    return where if uids is None else where[np.isin(view.uids[where], uids)]


def ids_of(view: View, positions: Positions) -> dict[int, str]:
    """Message ids by UID; none of too many messages."""
    if not 0 < len(positions) <= MAX_IDS:
        return {}
    [envelopes] = view.cached(positions, (CachedItem.ENVELOPE,))
    return dict(zip(view.uids[positions].tolist(), map(message_id, envelopes), strict=True))


def message_id(envelope: bytes) -> str:
    """The id of a message by its envelope, as FETCH prints it; NIL without one."""
    match = _LAST.search(envelope)
    return re.sub(rb"\\(.)", rb"\1", match[1]).decode("utf-8", "replace") if match else "NIL"


def _content(mailbox: IMailbox, uid: int, settings: EventSettings) -> bytes | None:
    limit = min(settings.content_size or MAX_CONTENT, MAX_CONTENT)
    try:
        file = mailbox.message(uid)
    except MailStoreError:
        # It may be gone again: the event is about its coming.
        return None
    try:
        return _parts(file.size, file.read, settings.content_mode, limit)
    except MailStoreError:
        return None
    finally:
        file.close()


def _parts(size: int, read: Callable[[int, int], bytes], mode: ContentMode, limit: int) -> bytes | None:
    if mode is ContentMode.STANDARD:
        return read(0, size) if size <= limit else None
    if mode is ContentMode.MESSAGE:
        return read(0, min(size, limit))
    start = read(0, min(size, MAX_CONTENT))
    end = start.find(b"\r\n\r\n")
    header = start if end < 0 else start[: end + 4]
    if mode is ContentMode.HEADER:
        return header[:limit]
    body = b"" if end < 0 else read(len(header), min(limit, size - len(header)))
    return body if mode is ContentMode.BODY else header + body
