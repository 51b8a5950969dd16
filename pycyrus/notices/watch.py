"""Watched sessions: the store they work on, and their coming and going."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from zope.interface import implementer

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IMailbox, IMailStore, ISessionWatch, IStoreObserver, SessionFacts
from pycyrus.model.acl import POST
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.acl_text import write_rights
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Limit
from pycyrus.model.uids import UidArray
from pycyrus.notices.kinds import (
    ACL_CHANGE,
    LOGIN,
    LOGOUT,
    MAILBOX_CREATE,
    MAILBOX_DELETE,
    MAILBOX_RENAME,
    MAILBOX_SUBSCRIBE,
    MAILBOX_UNSUBSCRIBE,
    QUOTA_CHANGE,
    QUOTA_WITHIN,
    Group,
    Kind,
)
from pycyrus.notices.passing import PassingStore
from pycyrus.notices.reporter import Reporter, is_full
from pycyrus.notices.session_reports import SessionReports
from pycyrus.notices.watched_mailbox import WatchedMailbox


@implementer(IStoreObserver)
class StoreObserver:
    """Watches sessions, and tells what they do."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def watch(self, store: IMailStore, facts: SessionFacts) -> ISessionWatch:
        """A session begins; see L{IStoreObserver}."""
        watch: ISessionWatch = SessionWatch(self._reporter, store, facts)
        return watch


@implementer(ISessionWatch)
class SessionWatch:
    """One session."""

    def __init__(self, reporter: Reporter, store: IMailStore, facts: SessionFacts) -> None:
        self._reports = SessionReports(reporter, facts)
        self.store: IMailStore = WatchedStore(store, self._reports)

    def logged_in(self, identity: Identity) -> None:
        """Somebody has come in."""
        self._reports.user = identity.user_id
        self._reports.tell(LOGIN, {"uri": self._reports.reporter.urls.server})

    def logged_out(self) -> None:
        """Who came in has gone."""
        if self._reports.user is not None:
            self._reports.tell(LOGOUT, {"uri": self._reports.reporter.urls.server})
            self._reports.user = None


@implementer(IMailStore)
class WatchedStore(PassingStore):
    """The store of one session, which tells what is done."""

    def __init__(self, store: IMailStore, reports: SessionReports) -> None:
        super().__init__(store)
        self._reports = reports

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """See L{IMailStore.open}."""
        opened: IMailbox = WatchedMailbox(await self._store.open(identity, name, right), self._reports)
        return opened

    async def create(
        self, identity: Identity, name: MailboxName, *, partition: str | None = None, special_use: Sequence[str] = ()
    ) -> str:
        """See L{IMailStore.create}."""
        unique_id = await self._store.create(identity, name, partition=partition, special_use=special_use)
        await self._tell(MAILBOX_CREATE, name)
        return unique_id

    async def create_inbox(self, name: MailboxName) -> str:
        """Make the INBOX of a new user, as an administrator's command does."""
        store: Any = self._store
        unique_id: str = await store.create_inbox(name)
        await self._tell(MAILBOX_CREATE, name)
        return unique_id

    async def delete(self, identity: Identity, name: MailboxName) -> None:
        """See L{IMailStore.delete}."""
        reporter = self._reports.reporter
        params = await self._params(name) if reporter.wants(Group.MAILBOX) else {}
        before = await reporter.quota_of(name) if reporter.wants(Group.QUOTA) else None
        await self._store.delete(identity, name)
        self._reports.tell(MAILBOX_DELETE, params)
        if is_full(before):
            assert before is not None
            root = before.root
            if not is_full(await reporter.quota_of(root)):
                root_url = reporter.urls.mailbox(root)
                await reporter.tell_quota(QUOTA_WITHIN, self._reports.facts, root, root_url)

    async def rename(
        self, identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> list[tuple[MailboxName, MailboxName]]:
        """See L{IMailStore.rename}."""
        reporter = self._reports.reporter
        before = await self._params(old) if reporter.wants(Group.MAILBOX) else {}
        renamed = await self._store.rename(identity, old, new, partition=partition)
        await self._tell(MAILBOX_RENAME, new, {"oldMailboxID": before.get("uri", "")})
        for was, now in renamed:
            if was != old:
                await self._tell(MAILBOX_RENAME, now, {"oldMailboxID": reporter.urls.mailbox(was)})
        return renamed

    async def change_acl(self, identity: Identity, name: MailboxName, change: AclChange) -> None:
        """See L{IMailStore.change_acl}."""
        await self._store.change_acl(identity, name, change)
        params = {"aclSubject": change.identifier}
        if change.rights:
            # Cyrus does not tell whether they are added or removed: the whole list does.
            params["aclRights"] = write_rights(change.rights)
        await self._tell(ACL_CHANGE, name, params)

    async def subscribe(self, identity: Identity, name: MailboxName, wanted: bool) -> None:
        """See L{IMailStore.subscribe}."""
        await self._store.subscribe(identity, name, wanted)
        if self._reports.reporter.wants(Group.SUBSCRIPTION):
            unique_id, _ = await self._numbers(name)
            params = {"uri": self._reports.reporter.urls.mailbox(name)}
            if unique_id:
                params["mailboxID"] = unique_id
            self._reports.tell(MAILBOX_SUBSCRIBE if wanted else MAILBOX_UNSUBSCRIBE, params)

    async def set_quota(
        self, identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """See L{IMailStore.set_quota}."""
        reporter = self._reports.reporter
        if not reporter.wants(Group.QUOTA):
            await self._store.set_quota(identity, root, limits, anywhere=anywhere)
            return
        was_full = is_full(await reporter.quota_of(root))
        await self._store.set_quota(identity, root, limits, anywhere=anywhere)
        url = reporter.urls.mailbox(root)
        await reporter.tell_quota(QUOTA_CHANGE, self._reports.facts, root, url)
        if was_full and not is_full(await reporter.quota_of(root)):
            await reporter.tell_quota(QUOTA_WITHIN, self._reports.facts, root, url)

    async def tell_expired(self, name: MailboxName, uids: UidArray) -> None:
        """Tell that messages were too old for their mailbox, and have gone."""
        # That it cannot be told is no reason to say it failed.
        with suppress(MailStoreError):
            mailbox = WatchedMailbox(await self._store.open(POSTMAN, name, POST), self._reports)
            try:
                await mailbox.tell_expired(uids)
            finally:
                mailbox.close()

    # --- telling ------------------------------------------------------------------------

    async def _params(self, name: MailboxName) -> dict[str, object]:
        return await self._reports.reporter.mailbox_params(name, *await self._numbers(name))

    async def _tell(self, kind: Kind, name: MailboxName, params: Mapping[str, object] | None = None) -> None:
        if self._reports.reporter.wants(kind.group):
            self._reports.tell(kind, {**await self._params(name), **(params or {})})
