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
from pycyrus.model.acl_text import tell_rights, write_acl
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
    Extra,
    Group,
    Kind,
)
from pycyrus.notices.reporter import OBSERVER, Reporter, is_full
from pycyrus.notices.urls import mailbox_url, server_url
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
    """
    One session.

    @ivar server: Its name, for URLs.
    """

    def __init__(self, reporter: Reporter, store: IMailStore, facts: SessionFacts) -> None:
        self.reporter = reporter
        self.facts = facts
        self.server = reporter.settings.server
        self.store: IMailStore = WatchedStore(store, self)
        self._user: str | None = None

    def tell(self, kind: Kind, params: Mapping[str, object]) -> None:
        """Tell what the session did."""
        self.reporter.tell(kind, self.facts, self._user or "", params)

    def logged_in(self, identity: Identity) -> None:
        """Somebody has come in."""
        self._user = identity.user_id
        self.tell(LOGIN, {"uri": server_url(self.server)})

    def logged_out(self) -> None:
        """Who came in has gone."""
        if self._user is not None:
            self.tell(LOGOUT, {"uri": server_url(self.server)})
            self._user = None


@implementer(IMailStore)
class WatchedStore:
    """
    The store of one session.

    What changes nothing goes straight to the store itself.
    """

    def __init__(self, store: IMailStore, watch: SessionWatch) -> None:
        self._store = store
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """See L{IMailStore.open}."""
        opened: IMailbox = WatchedMailbox(await self._store.open(identity, name, right), self._watch)
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
        url = await self._url(name, Group.MAILBOX)
        reporter = self._watch.reporter
        before = await reporter.quota_of(name) if reporter.wants(Group.QUOTA) else None
        await self._store.delete(identity, name)
        self._watch.tell(MAILBOX_DELETE, {"mailboxID": url, "uri": url})
        if is_full(before):
            assert before is not None
            root = before.root
            if not is_full(await reporter.quota_of(root)):
                root_url = mailbox_url(self._watch.server, root)
                await reporter.tell_quota(QUOTA_WITHIN, self._watch.facts, root, root_url)

    async def rename(
        self, identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> list[tuple[MailboxName, MailboxName]]:
        """See L{IMailStore.rename}."""
        old_url = await self._url(old, Group.MAILBOX)
        renamed = await self._store.rename(identity, old, new, partition=partition)
        await self._tell(MAILBOX_RENAME, new, {"oldMailboxID": old_url})
        for was, now in renamed:
            if was != old:
                await self._tell(MAILBOX_RENAME, now, {"oldMailboxID": mailbox_url(self._watch.server, was)})
        return renamed

    async def change_acl(self, identity: Identity, name: MailboxName, change: AclChange) -> None:
        """See L{IMailStore.change_acl}."""
        await self._store.change_acl(identity, name, change)
        rights = change.action.value + tell_rights(change.rights)
        await self._tell(ACL_CHANGE, name, {"aclSubject": change.identifier, "aclRights": rights})

    async def subscribe(self, identity: Identity, name: MailboxName, wanted: bool) -> None:
        """See L{IMailStore.subscribe}."""
        await self._store.subscribe(identity, name, wanted)
        await self._tell(MAILBOX_SUBSCRIBE if wanted else MAILBOX_UNSUBSCRIBE, name)

    async def set_quota(
        self, identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """See L{IMailStore.set_quota}."""
        reporter = self._watch.reporter
        if not reporter.wants(Group.QUOTA):
            await self._store.set_quota(identity, root, limits, anywhere=anywhere)
            return
        was_full = is_full(await reporter.quota_of(root))
        await self._store.set_quota(identity, root, limits, anywhere=anywhere)
        url = mailbox_url(self._watch.server, root)
        await reporter.tell_quota(QUOTA_CHANGE, self._watch.facts, root, url)
        if was_full and not is_full(await reporter.quota_of(root)):
            await reporter.tell_quota(QUOTA_WITHIN, self._watch.facts, root, url)

    async def tell_expired(self, name: MailboxName, uids: UidArray) -> None:
        """Tell that messages were too old for their mailbox, and have gone."""
        # That it cannot be told is no reason to say it failed.
        with suppress(MailStoreError):
            mailbox = WatchedMailbox(await self._store.open(POSTMAN, name, POST), self._watch)
            try:
                await mailbox.tell_expired(uids)
            finally:
                mailbox.close()

    # --- telling ------------------------------------------------------------------------

    async def _url(self, name: MailboxName, group: Group) -> str:
        """The URL of a mailbox, with its UIDVALIDITY if it has one that can be seen."""
        uidvalidity = None
        if self._watch.reporter.wants(group):
            with suppress(MailStoreError):
                mailbox = await self._store.open(POSTMAN, name, POST)
                uidvalidity = mailbox.uidvalidity
                mailbox.close()
        return mailbox_url(self._watch.server, name, uidvalidity)

    async def _tell(self, kind: Kind, name: MailboxName, params: Mapping[str, object] | None = None) -> None:
        reporter = self._watch.reporter
        if not reporter.wants(kind.group):
            return
        url = await self._url(name, kind.group)
        more = dict(params or {})
        if Extra.MAILBOX_ACL in reporter.settings.extras and kind.group is not Group.SUBSCRIPTION:
            with suppress(MailStoreError):
                more["vnd.cmu.mailboxACL"] = write_acl(await self._store.acl(OBSERVER, name))
        self._watch.tell(kind, {"mailboxID": url, "uri": url, **more})
