"""A mail store in memory, which behaves as L{pycyrus.interfaces} say: for tests of servers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from zope.interface import implementer

from pycyrus.errors import (
    MailboxExists,
    MailboxHasChildren,
    MailboxNotFound,
    OperationNotSupported,
    PermissionDenied,
    QuotaRootNotFound,
)
from pycyrus.interfaces import (
    IMailbox,
    IMailStore,
    IStaged,
    ListScope,
    MailboxListing,
    MailboxStatus,
    Namespace,
)
from pycyrus.model.acl import Acl, rights_of
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName, inbox_of
from pycyrus.model.quota import Limit, Quota, Usage
from pycyrus.testing.memory_mailbox import (
    OWNER_RIGHTS,
    MemoryMailbox,
    MemoryStaged,
    MemoryState,
)


@implementer(IMailStore)
class MemoryStore:
    """
    Mailboxes by name.

    @ivar states: The mailboxes.
    """

    def __init__(self) -> None:
        self._versions = itertools.count()
        self.states: dict[MailboxName, MemoryState] = {}
        self.subscribed: dict[str, set[MailboxName]] = {}
        self.annotated: dict[MailboxName | None, dict[str, bytes]] = {}
        self.quotas: dict[MailboxName, tuple[Limit, ...]] = {}
        self._ids = itertools.count(1)

    def add(self, name: MailboxName, acl: Acl | None = None) -> MemoryState:
        """Make a mailbox, whoever may."""
        if acl is None:
            acl = Acl(((name.owner_id, OWNER_RIGHTS),)) if name.owner_id is not None else Acl()
        state = self.states[name] = MemoryState(name, f"memory-{next(self._ids)}", acl)
        state.uidvalidity += len(self.states)
        return state

    def _state(self, identity: Identity, name: MailboxName) -> MemoryState:
        state = self.states.get(name)
        if state is None or "l" not in rights_of(identity, name, state.acl):
            raise MailboxNotFound(str(name), creatable=state is None and name.owned_by(identity))
        return state

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """Open a mailbox."""
        opened = MemoryMailbox(self._state(identity, name), identity)
        opened._demand(right)
        mailbox: IMailbox = opened
        return mailbox

    async def stage(self, identity: Identity, name: MailboxName) -> IStaged:
        """Begin to receive a message."""
        (await self.open(identity, name, "i")).close()
        staged: IStaged = MemoryStaged()
        return staged

    async def create(
        self, identity: Identity, name: MailboxName, *, partition: str | None = None, special_use: Sequence[str] = ()
    ) -> str:
        """Create a mailbox."""
        if name in self.states:
            raise MailboxExists(str(name))
        if not name.owned_by(identity) and not identity.administers(name.domain):
            raise PermissionDenied(str(name))
        state = self.add(name)
        state.special_use = tuple(special_use)
        return state.unique_id

    async def delete(self, identity: Identity, name: MailboxName) -> None:
        """Delete a mailbox."""
        state = self._state(identity, name)
        if name == inbox_of(identity):
            raise OperationNotSupported
        if any(other.is_below(name) for other in self.states):
            raise MailboxHasChildren
        if "x" not in rights_of(identity, name, state.acl):
            raise PermissionDenied
        del self.states[name]
        state.is_deleted = True
        state.changed()

    async def rename(
        self, identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> list[tuple[MailboxName, MailboxName]]:
        """Rename a mailbox with its inferiors."""
        self._state(identity, old)
        if new in self.states:
            raise MailboxExists(str(new))
        renamed = []
        for name in sorted(self.states):
            if name == old or name.is_below(old):
                target = replace(new, path=new.path + name.path[len(old.path) :])
                state = self.states.pop(name)
                state.name = target
                self.states[target] = state
                state.changed()
                renamed.append((name, target))
        return renamed

    async def rights(self, identity: Identity, name: MailboxName) -> frozenset[str]:
        """What may be done."""
        return rights_of(identity, name, self._state(identity, name).acl)

    async def acl(self, identity: Identity, name: MailboxName) -> Acl:
        """All entries."""
        if "a" not in await self.rights(identity, name):
            raise PermissionDenied
        return self._state(identity, name).acl

    async def change_acl(self, identity: Identity, name: MailboxName, change: AclChange) -> None:
        """Change an entry."""
        state = self._state(identity, name)
        state.acl = change.apply(await self.acl(identity, name))
        state.changed()

    async def quota(self, identity: Identity, root: MailboxName) -> Quota:
        """What was set; nothing is counted."""
        if root not in self.quotas:
            raise QuotaRootNotFound(str(root))
        return Quota(root, Usage(), self.quotas[root])

    async def quota_of(self, identity: Identity, name: MailboxName) -> Quota | None:
        """Of the nearest root."""
        above: MailboxName | None = name
        while above is not None:
            if above in self.quotas:
                return await self.quota(identity, above)
            above = above.parent
        return None

    async def set_quota(
        self, identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """Keep it."""
        if not identity.administers(root.domain):
            raise PermissionDenied
        self.quotas[root] = tuple(limits)

    async def reconstruct(self, identity: Identity, name: MailboxName, *, recursive: bool) -> None:
        """There are no files to agree with."""
        self._state(identity, name)
        if not identity.administers(name.domain):
            raise PermissionDenied

    def annotations_version(self) -> int:
        """Another one each time: whoever asks looks."""
        return next(self._versions)

    async def annotations(
        self, identity: Identity, name: MailboxName | None, *, facts: bool = True
    ) -> dict[str, bytes]:
        """Values of a mailbox or the server; all are shared."""
        if name is not None:
            self._state(identity, name)
        return dict(self.annotated.get(name, {}))

    async def shared_annotation(self, identity: Identity, name: MailboxName, entry: str) -> bytes | None:
        """One of them."""
        return (await self.annotations(identity, name)).get(f"/shared{entry}")

    async def annotate(
        self, identity: Identity, name: MailboxName | None, values: Mapping[str, bytes | None]
    ) -> str | None:
        """Set values, whatever they are."""
        if name is not None:
            self._state(identity, name)
        held = self.annotated.setdefault(name, {})
        for entry, value in values.items():
            held.pop(entry, None)
            if value is not None:
                held[entry] = value
        return None

    async def list(self, identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        """What may be seen; scopes need not narrow."""
        return [listing for page in self.walk(identity, scopes) for listing in page]

    def walk(
        self, identity: Identity, scopes: Sequence[ListScope], depth: int | None = None
    ) -> Iterator[Sequence[MailboxListing]]:
        """The same, on one page."""
        listings = []
        for name, state in sorted(self.states.items(), key=lambda item: item[0]):
            rights = rights_of(identity, name, state.acl)
            if "l" in rights:
                has_children = any(other.is_below(name) for other in self.states)
                listings.append(MailboxListing(name, True, has_children, state.special_use, rights, state.unique_id))
        yield listings

    async def status(self, identity: Identity, name: MailboxName) -> MailboxStatus:
        """As it is now."""
        mailbox = await self.open(identity, name, "r")
        return MailboxStatus(
            mailbox.counts(), mailbox.uidnext(), mailbox.uidvalidity, mailbox.highest_modseq(), mailbox.unique_id
        )

    async def subscriptions(self, identity: Identity) -> frozenset[MailboxName]:
        """Names subscribed to."""
        return frozenset(self.subscribed.get(identity.user_id, ()))

    async def subscribe(self, identity: Identity, name: MailboxName, wanted: bool) -> None:
        """Subscribe or unsubscribe."""
        names = self.subscribed.setdefault(identity.user_id, set())
        if wanted:
            self._state(identity, name)
            names.add(name)
        else:
            names.discard(name)

    def watch(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Nobody is told: tests of that have a real store."""
        return lambda: None

    def has_departed(self, unique_id: str) -> bool:
        """Nothing goes to other servers."""
        return False

    async def namespaces(self, identity: Identity) -> frozenset[Namespace]:
        """One's own."""
        return frozenset((Namespace.PERSONAL,))


def furnished() -> MemoryStore:
    """
    A store for conversations.

    C{alice} and C{bob} have an INBOX and C{Archive}; there is a shared mailbox
    C{news}, which all may read, and where C{bob} may change flags but not delete.
    """
    store = MemoryStore()
    for user in ("alice", "bob"):
        inbox = inbox_of(Identity(user))
        store.add(inbox)
        store.add(inbox.child("Archive"))
    everybody = ("anyone", frozenset("lrs"))
    store.add(MailboxName("", None, ("news",)), Acl((everybody, ("bob", frozenset("lrswi")))))
    return store
