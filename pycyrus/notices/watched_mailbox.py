"""A mailbox in a watched session: what is done with it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from zope.interface import implementer

from pycyrus.errors import MailStoreError, OverQuota
from pycyrus.interfaces import Appended, Copied, Expunged, IMailbox, NewMessage, Stored
from pycyrus.model.flags import FlagChange
from pycyrus.model.quota import Enforcement, Quota
from pycyrus.model.uids import UidArray
from pycyrus.notices.contents import ids_of, of_mailbox, of_messages, to_be_expunged, uid_set
from pycyrus.notices.flags import FlagChanges, FlagState
from pycyrus.notices.kinds import (
    MESSAGE_APPEND,
    MESSAGE_COPY,
    MESSAGE_EXPIRE,
    MESSAGE_EXPUNGE,
    MESSAGE_MOVE,
    QUOTA_EXCEED,
    QUOTA_WITHIN,
    Extra,
    Group,
    Kind,
)
from pycyrus.notices.passing import PassingMailbox
from pycyrus.notices.reporter import is_full
from pycyrus.notices.session_reports import SessionReports


@implementer(IMailbox)
class WatchedMailbox(PassingMailbox):
    """One opening."""

    def __init__(self, mailbox: IMailbox, reports: SessionReports) -> None:
        super().__init__(mailbox)
        self._reports = reports

    # --- what changes something -------------------------------------------------------

    async def append(self, messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        """See L{IMailbox.append}."""
        try:
            appended = await self._mailbox.append(messages, enforcement=enforcement)
        except OverQuota:
            await self._full(self._mailbox)
            raise
        await self._tell(MESSAGE_APPEND, np.array(appended.uids, np.uint32))
        return appended

    async def store(self, uids: UidArray, change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """See L{IMailbox.store}."""
        if not self._reports.reporter.wants(Group.FLAGS):
            return await self._mailbox.store(uids, change, unchanged_since)
        before = FlagState.of(self._mailbox, uids)
        stored = await self._mailbox.store(uids, change, unchanged_since)
        if stored.modseq is not None:
            await self._tell_flags(before)
        return stored

    async def expunge(self, uids: UidArray | None = None) -> Expunged:
        """See L{IMailbox.expunge}."""
        before = await self._quota()
        ids = self._ids(uids)
        expunged = await self._mailbox.expunge(uids)
        if len(expunged.uids):
            told = [ids[uid] for uid in expunged.uids.tolist() if uid in ids]
            await self._tell(MESSAGE_EXPUNGE, expunged.uids, {Extra.MESSAGE_IDS.value: told} if told else {})
            await self._within(before)
        return expunged

    async def copy(self, uids: UidArray, target: IMailbox) -> Copied:
        """See L{IMailbox.copy}."""
        inner = _inner(target)
        try:
            copied = await self._mailbox.copy(uids, inner)
        except OverQuota:
            await self._full(inner)
            raise
        await self._tell_copied(MESSAGE_COPY, copied, inner)
        return copied

    async def move(self, uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        """See L{IMailbox.move}."""
        inner = _inner(target)
        before = await self._quota()
        try:
            copied, expunged = await self._mailbox.move(uids, inner)
        except OverQuota:
            await self._full(inner)
            raise
        await self._tell_copied(MESSAGE_MOVE, copied, inner)
        await self._within(before)
        return copied, expunged

    async def tell_expired(self, uids: UidArray) -> None:
        """Tell that messages were too old for the mailbox, and have gone."""
        await self._tell(MESSAGE_EXPIRE, uids)

    # --- telling ------------------------------------------------------------------------

    def _url(self) -> str:
        return self._reports.reporter.urls.mailbox(self._mailbox.name, self._mailbox.uidvalidity)

    async def _params(self, mailbox: IMailbox, uid: int | None = None) -> dict[str, object]:
        return await self._reports.reporter.mailbox_params(mailbox.name, mailbox.unique_id, mailbox.uidvalidity, uid)

    def _ids(self, uids: UidArray | None) -> dict[int, str]:
        """Of what is about to be expunged, if they are told."""
        reporter = self._reports.reporter
        if not reporter.wants(Group.MESSAGE) or Extra.MESSAGE_IDS not in reporter.settings.extras:
            return {}
        view = self._mailbox.view()
        return ids_of(view, to_be_expunged(view, uids))

    async def _tell(self, kind: Kind, uids: UidArray, more: Mapping[str, object] | None = None) -> None:
        reporter = self._reports.reporter
        if not len(uids) or not reporter.wants(kind.group):
            return
        # It is done: that it cannot be told is no reason to say it failed.
        with suppress(MailStoreError):
            if await reporter.is_excluded(self._mailbox.name):
                return
            self._mailbox.refresh()
            settings = reporter.settings
            params = of_mailbox(self._mailbox, settings.extras)
            params |= of_messages(self._mailbox, uids, kind, settings)
            params |= more or {}
            one = int(uids[0]) if kind.has_content and len(uids) == 1 else None
            if one is None:
                params["uidset"] = uid_set(uids)
            if kind.has_content and Extra.FLAG_NAMES in settings.extras:
                names = FlagState.of(self._mailbox, uids).told()
                params |= {Extra.FLAG_NAMES.value: names} if names else {}
            self._reports.tell(kind, params | await self._params(self._mailbox, one))

    async def _tell_copied(self, kind: Kind, copied: Copied, target: IMailbox) -> None:
        reporter = self._reports.reporter
        if not len(copied.source_uids) or not reporter.wants(kind.group):
            return
        with suppress(MailStoreError):
            if await reporter.is_excluded(target.name):
                return
            target.refresh()
            params = {
                "uidset": uid_set(copied.target_uids),
                "oldMailboxID": self._url(),
                "vnd.cmu.oldUidset": uid_set(copied.source_uids),
                **of_mailbox(target, reporter.settings.extras),
                **of_messages(target, copied.target_uids, kind, reporter.settings),
            }
            self._reports.tell(kind, params | await self._params(target))

    async def _tell_flags(self, before: FlagState) -> None:
        reporter = self._reports.reporter
        with suppress(MailStoreError):
            if await reporter.is_excluded(self._mailbox.name):
                return
            after = FlagState.of(self._mailbox, before.uids)
            changes = FlagChanges.between(before, after, reporter.settings.excluded_flags)
            for kind, uids, names in changes.events():
                params: dict[str, object] = {"uidset": uid_set(uids)}
                if names:
                    params["flagNames"] = " ".join(names)
                params |= of_mailbox(self._mailbox, reporter.settings.extras)
                params |= of_messages(self._mailbox, uids, kind, reporter.settings)
                self._reports.tell(kind, params | await self._params(self._mailbox))

    async def _quota(self) -> Quota | None:
        reporter = self._reports.reporter
        return await reporter.quota_of(self._mailbox.name) if reporter.wants(Group.QUOTA) else None

    async def _within(self, before: Quota | None) -> None:
        """Tell that there is room again, if there is."""
        if not is_full(before):
            return
        reporter = self._reports.reporter
        if not is_full(await reporter.quota_of(self._mailbox.name)):
            await reporter.tell_quota(QUOTA_WITHIN, self._reports.facts, self._mailbox.name, self._url())

    async def _full(self, mailbox: IMailbox) -> None:
        reporter = self._reports.reporter
        if reporter.wants(Group.QUOTA):
            url = reporter.urls.mailbox(mailbox.name, mailbox.uidvalidity)
            await reporter.tell_quota(QUOTA_EXCEED, self._reports.facts, mailbox.name, url)


def _inner(mailbox: IMailbox) -> IMailbox:
    return mailbox._mailbox if isinstance(mailbox, WatchedMailbox) else mailbox
