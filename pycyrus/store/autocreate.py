"""
The mailboxes of a new user: an INBOX, folders, subscriptions, rights and a quota.

What can be there without a mailbox is written first; then all mailboxes come to
be in one transaction.  After a crash a user has all of it, or the next login
does it again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import (
    AuthenticationUnavailable,
    MailboxExists,
    MailboxNotFound,
    MailStoreError,
    StoreUnavailable,
    UnknownPartition,
)
from pycyrus.interfaces import IAutocreation, IUserDefaults, ListScope, Namespace, UserDefaults
from pycyrus.model.acl import LOOKUP
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.identity import SERVER, AdminScope, Identity
from pycyrus.model.names import MailboxName, inbox_of
from pycyrus.model.quota import Limit, Resource
from pycyrus.store.store import MailStore
from pycyrus.store.tree import Wanted

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AutocreateSettings:
    r"""
    What a new user gets.

    @ivar storage: Limit of the quota in KiB (C{autocreate_quota}); 0 for none.
    @ivar messages: Limit in messages; 0 or less for none.
    @ivar users: User ids and groups (C{group:name}) for whom mailboxes are made,
        or C{anyone}.
    @ivar when_mail_comes: Also make them for recipients (C{autocreate_post}).
    @ivar folders: Below the INBOX, in order.
    @ivar subscribed: Those of them that the user is subscribed to.
    @ivar special_uses: Attributes by folder, such as C{\Sent}.
    @ivar rights: Entries added to the ACLs of folders.
    @ivar shared: Shared folders that the user is subscribed to.
    @ivar all_shared: Subscribe to every shared folder the user may see.
    """

    storage: int = 0
    messages: int = 0
    users: frozenset[str] = frozenset({"anyone"})
    when_mail_comes: bool = False
    folders: Sequence[Path] = ()
    subscribed: frozenset[Path] = frozenset()
    special_uses: Mapping[Path, str] = field(default_factory=dict)
    rights: Sequence[tuple[Path, str, frozenset[str]]] = ()
    shared: Sequence[Path] = ()
    all_shared: bool = False


@implementer(IAutocreation)
class Autocreation:
    """Makes them."""

    log = Logger()

    def __init__(
        self,
        store: MailStore,
        settings: AutocreateSettings,
        recipient: Callable[[str], Identity | None],
        user_defaults: IUserDefaults | None = None,
    ) -> None:
        """
        @param recipient: Who has a user id; None if nobody can have it.
        @param user_defaults: Knows what is laid down for single users.
        """
        self._user_defaults = user_defaults
        self._store = store
        self._settings = settings
        self._recipient = recipient
        # Of two connections that a new client opens at once, one does it all.
        self._turn = DeferredLock()

    async def logged_in(self, identity: Identity) -> None:
        """See L{IAutocreation.logged_in}."""
        if self._is_wanted(identity):
            try:
                await self._make_once(identity)
            except AuthenticationUnavailable as error:
                self.log.error("Mailboxes of {user} are not made yet: {error}", user=identity.user_id, error=str(error))

    async def mail_came(self, inbox: MailboxName) -> bool:
        """See L{IAutocreation.mail_came}."""
        identity = self._recipient(str(inbox.owner_id)) if self._settings.when_mail_comes else None
        if identity is None or inbox_of(identity) != inbox or not self._is_wanted(identity):
            return False
        try:
            return await self._make_once(identity)
        except AuthenticationUnavailable as error:
            # They may have one soon: senders are told to come again.
            raise StoreUnavailable(f"what {identity.user_id} gets cannot be told now") from error

    def _is_wanted(self, identity: Identity) -> bool:
        """Whether somebody has no INBOX, and is to have one."""
        if identity.admin is not AdminScope.NONE or identity.postman or identity.user == "anonymous":
            return False
        wanted = self._settings.users
        if wanted.isdisjoint({"anyone", identity.user_id, *(f"group:{group}" for group in identity.groups)}):
            return False
        return self._store.directory.lookup(inbox_of(identity)) is None

    async def _make_once(self, identity: Identity) -> bool:
        turn: Deferred[DeferredLock] = self._turn.acquire()
        await turn
        try:
            if self._is_wanted(identity):
                await self._make(identity)
            return True
        except AuthenticationUnavailable:
            raise
        except MailStoreError as error:
            self.log.error("Mailboxes of {user} cannot be made: {error}", user=identity.user_id, error=repr(error))
            return False
        finally:
            self._turn.release()

    async def _make(self, identity: Identity) -> None:
        settings, inbox = self._settings, inbox_of(identity)
        own = await self._user_defaults.defaults_of(identity.user_id) if self._user_defaults else UserDefaults()
        storage = settings.storage if own.quota is None else own.quota
        limits = [
            Limit(resource.value, value)
            for resource, value in ((Resource.STORAGE, storage), (Resource.MESSAGE, settings.messages))
            if value > 0
        ]
        if limits:
            await self._store.set_quota(SERVER, inbox, limits, anywhere=True)
        names = [inbox, *(_below(inbox, path) for path in settings.folders if path in settings.subscribed)]
        await self._store.subscribe_to(identity.user_id, [*names, *await self._shared(identity)])
        try:
            await self._store.change_tree(lambda connection: self._make_mailboxes(connection, inbox, own.partition))
        except MailboxExists:
            # Another process was faster.
            return
        self.log.info("Made the mailboxes of {user}", user=identity.user_id)

    async def _shared(self, identity: Identity) -> list[MailboxName]:
        """Shared folders to subscribe to, as far as they are there for the user."""
        if self._settings.all_shared:
            return [each.name for each in await self._store.list(identity, [ListScope(Namespace.SHARED)])]
        found = []
        for path in self._settings.shared:
            name = MailboxName(identity.domain, None, path)
            try:
                if LOOKUP in await self._store.rights(identity, name):
                    found.append(name)
            except MailboxNotFound:
                self.log.info(
                    "{user} is not subscribed to {mailbox}: there is none", user=identity.user_id, mailbox=name
                )
        return found

    def _make_mailboxes(self, connection: sqlite3.Connection, inbox: MailboxName, partition: str) -> None:
        """
        All mailboxes, within one transaction.

        A folder that cannot be made is left out; without the INBOX there is nothing.
        """
        settings, tree = self._settings, self._store.tree
        try:
            tree.create(connection, Wanted(None, inbox, partition or None))
        except UnknownPartition:
            self.log.error("There is no partition {partition} for {mailbox}", partition=partition, mailbox=inbox)
            tree.create(connection, Wanted(None, inbox))
        for path in settings.folders:
            use = settings.special_uses.get(path)
            name = _below(inbox, path)
            self._try(name, tree.create, connection, Wanted(None, name, None, () if use is None else (use,)))
        for path, identifier, rights in settings.rights:
            change = AclChange(identifier, AclAction.REPLACE, rights)
            name = _below(inbox, path)
            self._try(name, tree.change_acl, connection, SERVER, name, change)

    def _try(self, name: MailboxName, work: Callable[..., object], *arguments: object) -> None:
        try:
            work(*arguments)
        except MailStoreError as error:
            self.log.error("{mailbox} is not as it should be made: {error}", mailbox=name, error=repr(error))


def _below(inbox: MailboxName, path: Path) -> MailboxName:
    return MailboxName(inbox.domain, inbox.owner, path)
