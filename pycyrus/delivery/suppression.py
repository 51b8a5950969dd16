"""Delivering a message to a mailbox at most once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from pycyrus.delivery.duplicates import Duplicates, Key, State
from pycyrus.errors import MailStoreError, StoreUnavailable
from pycyrus.interfaces import Appended, IMailbox
from pycyrus.model.names import internal
from pycyrus.model.view import CachedItem

_MESSAGE_ID = re.compile(rb"^message-id[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_DATE = re.compile(rb"^date[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_BRACKETED = re.compile(rb"<[^<>]*>")
_EMPTY = (b"", b"<>")
"""Ids that tell nothing from anything."""
_ESCAPED = re.compile(rb'\\(["\\])')
_AT_ONCE = 200
"""Envelopes looked at until others have their turn."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """
    What tells one message from another.

    @ivar message_id: With its angle brackets; empty if the message has none.
    @ivar date: The Date field.
    """

    message_id: bytes = b""
    date: bytes = b""


def fingerprint_of(header: bytes) -> Fingerprint:
    """Read it from a header as it came in (RFC 5322 sections 3.6.1, 3.6.4)."""
    lowered = header.lower()
    found = _field(_MESSAGE_ID, b"message-id", header, lowered)
    if found is None:
        return Fingerprint()
    value = b" ".join(found[1].split())
    bracketed = _BRACKETED.search(value)
    identifier = bracketed[0] if bracketed else value
    if identifier in _EMPTY:
        return Fingerprint()
    date = _field(_DATE, b"date", header, lowered)
    return Fingerprint(identifier, b" ".join(date[1].split()) if date else b"")


def _field(pattern: re.Pattern[bytes], name: bytes, header: bytes, lowered: bytes) -> re.Match[bytes] | None:
    """What a pattern for the lines of a field finds, which is not asked where the name is not."""
    at = 0 if lowered.startswith(name) else lowered.find(b"\n" + name) + 1
    if not at and not lowered.startswith(name):
        return None
    return pattern.match(header, at) or pattern.search(header, at)


class DuplicateSuppression:
    """Delivers once by message and mailbox (C{duplicatesuppression})."""

    log = Logger()

    def __init__(self, record: Duplicates, reactor: Any) -> None:
        self.record = record
        self._reactor = reactor

    async def deliver(
        self, mailbox: IMailbox, fingerprint: Fingerprint, append: Callable[[], Coroutine[Any, Any, Appended]]
    ) -> Appended | None:
        """
        Append a message, unless the mailbox had it before.

        When the record of deliveries fails, the message is delivered: better
        twice than never.

        @return: None if it had it.
        @raise MailStoreError: What the mailbox says.
        """
        if not fingerprint.message_id:
            return await append()
        key = Key(fingerprint.message_id, mailbox.unique_id.encode("ascii"), fingerprint.date)
        try:
            claim = await self.record.claim(key, mailbox.uidnext())
        except StoreUnavailable as error:
            self.log.error("not looked whether the message is a duplicate: {error}", error=str(error))
            return await append()
        if claim.state is State.DELIVERED:
            self._tell(mailbox, fingerprint)
            return None
        try:
            if claim.state is State.ABANDONED and await self._arrived(mailbox, fingerprint, claim.uid):
                self.record.settle(key, claim.uid)
                self._tell(mailbox, fingerprint)
                return None
            appended = await append()
        except StoreUnavailable:
            # What could not be synced may still be there, where it could not be taken back, either.
            self.record.abandon(key)
            raise
        except BaseException:
            await self._release(key)
            raise
        self.record.settle(key, appended.uids[0])
        return appended

    async def _arrived(self, mailbox: IMailbox, fingerprint: Fingerprint, first_uid: int) -> bool:
        """Whether the message that somebody died over is in the mailbox; then it is durable, too."""
        # Not by a search: who delivers may not read what others wrote.
        wanted = b"".join(fingerprint.message_id.split())
        try:
            mailbox.refresh()
            view = mailbox.view()
            positions = np.flatnonzero(view.uids >= first_uid)
            for start in range(0, len(positions), _AT_ONCE):
                [envelopes] = view.cached(positions[start : start + _AT_ONCE], (CachedItem.ENVELOPE,))
                if any(_has(envelope, wanted) for envelope in envelopes):
                    break
                await self._pause()
            else:
                return False
        except MailStoreError as error:
            self.log.error("not looked whether a message had arrived: {error}", error=repr(error))
            return False
        await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), os.sync)
        return True

    def _pause(self) -> Deferred[None]:
        paused: Deferred[None] = Deferred()
        self._reactor.callLater(0, paused.callback, None)
        return paused

    async def _release(self, key: Key) -> None:
        try:
            await self.record.release(key)
        except StoreUnavailable as error:
            self.log.error("a failed delivery stays recorded: {error}", error=str(error))

    def _tell(self, mailbox: IMailbox, fingerprint: Fingerprint) -> None:
        self.log.info(
            "dupelim: eliminated duplicate message to {mailbox} id {message_id} date {date} (delivery)",
            mailbox=internal(mailbox.name),
            message_id=fingerprint.message_id.decode("ascii", "replace"),
            date=fingerprint.date.decode("ascii", "replace"),
        )


def _has(envelope: bytes, message_id: bytes) -> bool:
    """Whether an envelope, as FETCH prints it, has the id; also one with what is escaped there."""
    return message_id in b"".join(_ESCAPED.sub(rb"\1", envelope).split())
