"""A mail store in memory, as far as delivery sees one; it can be told to fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred

from pycyrus.errors import MailboxNotFound, OverQuota, PermissionDenied
from pycyrus.interfaces import Appended, IMailbox, IMailStore, IStaged, ListScope, MailboxListing, Namespace, NewMessage
from pycyrus.model.acl import Acl, rights_of
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement


class MemoryStaged:
    """A staged message; C{store.write_error} spoils its next write."""

    def __init__(self, store: MemoryStore, partition: str) -> None:
        self.store = store
        self.partition = partition
        self.pieces: list[bytes] = []
        self.finished = False
        self.discarded = False
        self.size = 0

    def write(self, data: bytes) -> None:
        assert not self.finished and not self.discarded
        if self.partition in self.store.write_errors:
            raise self.store.write_errors[self.partition]
        self.pieces.append(data)
        self.size += len(data)

    async def ready(self) -> None:
        """Nothing takes long."""

    def finish(self, *, is_shared: bool = False) -> None:
        if "finish" in self.store.errors:
            raise self.store.errors["finish"]
        self.finished = True

    def discard(self) -> None:
        self.discarded = True


class MemoryMailbox:
    """One opening."""

    unique_id = ""
    uidvalidity = 1

    def __init__(self, store: MemoryStore, name: MailboxName, identity: Identity) -> None:
        self.store = store
        self.name = name
        self.identity = identity
        self.partition = store.partitions.get(name, "default")
        store.openings += 1

    async def check_quota(self, octets: int = 0, messages: int = 0) -> None:
        self.store.checks.append((octets, messages))
        if self.name in self.store.full:
            raise OverQuota

    async def append(self, messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        await self.store.wait()
        self.store.enforcements.append(enforcement)
        if self.name in self.store.append_errors:
            raise self.store.append_errors[self.name]
        kept = self.store.mailboxes[self.name]
        for message in messages:
            staged = cast(MemoryStaged, message.staged)
            assert staged.finished and not staged.discarded
            assert staged.partition == self.partition
            kept.append(b"".join(staged.pieces))
            self.store.dates.append(message.internaldate)
        return Appended(1, (len(kept),))

    def close(self) -> None:
        self.store.openings -= 1


class MemoryStore:
    """
    Mailboxes by name.

    @ivar held: If a list, appends wait until its Deferreds are fired.
    @ivar openings: Mailboxes open now.
    @ivar checks: Octets and messages for which room was looked for.
    @ivar enforcements: Of the appends.
    @ivar dates: Internal dates of what was appended.
    @ivar full: Mailboxes that are over their quota.
    @ivar uses: Special uses.
    """

    def __init__(self) -> None:
        self.mailboxes: dict[MailboxName, list[bytes]] = {}
        self.acls: dict[MailboxName, Acl] = {}
        self.partitions: dict[MailboxName, str] = {}
        self.errors: dict[str, Exception] = {}
        self.append_errors: dict[MailboxName, Exception] = {}
        self.open_errors: dict[MailboxName, Exception] = {}
        self.write_errors: dict[str, Exception] = {}
        self.staged: list[MemoryStaged] = []
        self.openings = 0
        self.checks: list[tuple[int, int]] = []
        self.enforcements: list[Enforcement] = []
        self.dates: list[int | None] = []
        self.full: set[MailboxName] = set()
        self.uses: dict[MailboxName, tuple[str, ...]] = {}
        self.held: list[Deferred[None]] | None = None

    def add(self, name: MailboxName, *entries: tuple[str, str]) -> MailboxName:
        self.mailboxes[name] = []
        self.acls[name] = Acl(tuple((who, frozenset(rights)) for who, rights in entries))
        return name

    def add_user(self, user: str, domain: str = "") -> MailboxName:
        return self.add(MailboxName(domain, user, ()))

    async def wait(self) -> None:
        if self.held is not None:
            waiting: Deferred[None] = Deferred()
            self.held.append(waiting)
            await waiting

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        if name in self.open_errors:
            raise self.open_errors[name]
        if name not in self.mailboxes:
            raise MailboxNotFound
        rights = rights_of(identity, name, self.acls[name])
        if right not in rights:
            raise PermissionDenied if "l" in rights else MailboxNotFound
        return cast(IMailbox, MemoryMailbox(self, name, identity))

    async def list(self, identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        (scope,) = scopes
        if identity.postman and scope.namespace is Namespace.SHARED:
            return []
        return [
            MailboxListing(name, True, False, self.uses.get(name, ()), frozenset(), "")
            for name in self.mailboxes
            if name.owner == scope.owner and name.domain == scope.domain
        ]

    async def stage(self, identity: Identity, name: MailboxName) -> IStaged:
        if "stage" in self.errors:
            raise self.errors["stage"]
        staged = MemoryStaged(self, self.partitions.get(name, "default"))
        self.staged.append(staged)
        return cast(IStaged, staged)

    def as_store(self) -> IMailStore:
        return cast(IMailStore, cast(Any, self))
