"""
What a store is made of, and how mailboxes are found and opened in it.

A mailbox is found in the L{Directory}, its permission decided by L{access},
its messages opened as a L{MailboxState} that all sessions of the process
share.
"""

from __future__ import annotations

from functools import lru_cache, partial

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from pycyrus.errors import (
    InvalidMailboxName,
    MailboxNotFound,
    StoreUnavailable,
)
from pycyrus.interfaces import (
    IMailbox,
    IStaged,
    MailboxStatus,
)
from pycyrus.model.acl import INSERT, POST, READ
from pycyrus.model.flags import DELETED
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.naming_policy import check_policy
from pycyrus.store import access, files, metadata, moves, userstate
from pycyrus.store.archiving import ArchiveQueue
from pycyrus.store.commit import Committers
from pycyrus.store.directory import Directory
from pycyrus.store.feeding import TextFeeder
from pycyrus.store.filling import CacheFiller
from pycyrus.store.held_access import HeldAccess
from pycyrus.store.listeners import Listeners
from pycyrus.store.mailbox import MailboxPaths, MailboxState, StateServices
from pycyrus.store.moving import Movers
from pycyrus.store.notes import Annotations
from pycyrus.store.opened import MailboxPolicy, OpenedMailbox
from pycyrus.store.partitions import Partitions
from pycyrus.store.quota_roots import QuotaRoots
from pycyrus.store.quotas import Quotas
from pycyrus.store.rows import Entry
from pycyrus.store.seen import SeenStates
from pycyrus.store.settings import ExpungeMode, StoreSettings
from pycyrus.store.shield import Shield
from pycyrus.store.signal import Signal
from pycyrus.store.spool import Stage
from pycyrus.store.states import MailboxStates
from pycyrus.store.subscriptions import Subscriptions, forget_user, rename_user
from pycyrus.store.tree import MailboxTree
from pycyrus.store.usage import UsageMap
from pycyrus.store.watch import JournalWatcher, WatchReactor

_LOOK_INTERVAL = 1.0
"""Seconds between two looks for other processes' changes, for sessions that wait for some."""
_KNOWN = 4096
"""Openings of mailboxes that are remembered: of which identity, with which rights."""


class Openings:
    """The parts of a store, its life, and its mailboxes as they are opened."""

    log = Logger()

    def __init__(self, settings: StoreSettings, partitions: Partitions, reactor: WatchReactor, held: int) -> None:
        self._settings = settings
        self._held = held
        self._partitions = partitions
        self._reactor = reactor
        self._tree = MailboxTree(settings, partitions, self._user_changed)
        self._directory = Directory(settings.configdirectory, reactor)
        self._directory.when_full(self._tree.discard_unlisted)
        self._userstate = userstate.open_userstate(settings.configdirectory, reactor)
        self._userstate_signal = Signal(settings.configdirectory / userstate.SIGNAL_NAME)
        self._subscriptions = Subscriptions(self._userstate)
        self._annotations = Annotations(settings.configdirectory, reactor)
        usage = UsageMap(settings.configdirectory)
        self.quotas = Quotas(
            QuotaRoots(settings.configdirectory, reactor),
            usage,
            self._directory,
            self._annotations,
            self._state,
            self.release,
        )
        interval = settings.journal_sync_interval
        self._seen = SeenStates(self._userstate, self._userstate_signal, reactor, interval)
        self._filler = CacheFiller(reactor)
        services = StateServices(
            reactor,
            Committers(reactor, interval=interval, mode=settings.sync_mode),
            JournalWatcher(reactor),
            self._locate,
            settings.undo_retention,
            usage,
            self._filler,
            settings.search,
        )
        self._states = MailboxStates(services, kept=settings.open_mailboxes)
        self._policy = MailboxPolicy(
            keep_expunged=settings.expunge_mode is ExpungeMode.DELAYED,
            annotations=settings.annotations,
            most_messages=settings.most_messages,
        )
        self._stages: dict[str, Stage] = {}
        self._known: dict[tuple[Identity, MailboxName], HeldAccess] = {}
        self._paths_of = lru_cache(_KNOWN)(partial(moves.mailbox_paths, partitions))
        self._looking: IDelayedCall | None = None
        self._watchers = Listeners(reactor, lambda: None, lambda: None)
        self._told_userstate = self._userstate_signal.value()
        self._shield = Shield()
        self._feeder = (
            TextFeeder(reactor, self._shield, self._state_of, self.release) if settings.feeds_searches else None
        )
        self._archive = (
            None
            if settings.archive is None
            else ArchiveQueue(settings.archive, self._shield, self._state_of, self.release)
        )
        self._movers = Movers(self._directory, self._tree, partitions, reactor)
        self._directory.listen(self._changed)
        if self._directory.has_pending():
            self._directory.change_now(self._tree.catch_up)

    # --- life -----------------------------------------------------------

    def start(self) -> None:
        """Begin to look for other processes' changes, for sessions that wait for some."""
        self._directory.refresh()
        told, self._told_userstate = self._told_userstate, self._userstate_signal.value()
        if told != self._told_userstate:
            self._watchers.tell_soon()
        self._looking = self._reactor.callLater(_LOOK_INTERVAL, self.start)

    async def close(self) -> None:
        """Make everything durable and give everything back."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self._archive is not None:
            self._archive.stop()
        if self._feeder is not None:
            self._feeder.stop()
        await self._shield.settle()
        self._filler.stop()
        await self._seen.close()
        self.quotas.stop()
        await self._states.close()
        self._directory.close()
        self._userstate.close()
        self._annotations.close()
        self.quotas.close()
        self._userstate_signal.close()
        lock, self._held = self._held, -1
        if lock >= 0:  # closed twice, it would be somebody else's by now
            files.close(lock)

    # --- mailboxes ------------------------------------------------------

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """Open a mailbox; see L{IMailStore}."""
        return await self._open(identity, self._access(identity, name, right))

    def _access(self, identity: Identity, name: MailboxName, right: str) -> HeldAccess:
        """Find a mailbox in which the identity has a right."""
        held = self._known.get((identity, name))
        if held is None or not held.allows(name, right):
            held = HeldAccess(self._directory, identity, self._check(identity, name, right))
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[identity, name] = held
        return held

    async def _open(self, identity: Identity, held: HeldAccess) -> OpenedMailbox:
        entry = held.entry
        state = await self._state(entry)
        shared_seen = (
            identity.postman
            or entry.name.owned_by(identity)
            or self.shared_note(entry.unique_id, metadata.SHARED_SEEN) == b"true"
        )
        return OpenedMailbox(
            state,
            identity,
            held.rights,
            None if shared_seen else self._seen.open(identity.user_id, entry.unique_id),
            name=held.name,
            partition=entry.partition,
            policy=self._policy,
            quotas=self.quotas,
            archive=self._archive,
            feeder=self._feeder,
            closed=partial(self._states.release, state),
        )

    async def _state(self, entry: Entry) -> MailboxState:
        state = await self._find_state(entry)
        if entry.number and state.usage.number != entry.number:
            state.check_usage(entry.number)
        return state

    async def _state_of(self, unique_id: str) -> MailboxState:
        entry = self._directory.by_id(unique_id)
        if entry is None:
            raise MailboxNotFound("deleted")
        return await self._state(entry)

    async def _find_state(self, entry: Entry) -> MailboxState:
        try:
            return await self._states.open(entry.unique_id, self._paths(entry))
        except MailboxNotFound:
            # Perhaps its directory is still on its way; whoever should have moved it may have died.
            if self._directory.has_pending():
                await self._shield.run(self._directory.change(self._tree.catch_up))
            now = self._directory.by_id(entry.unique_id)
            if now is None:
                raise
        try:
            return await self._states.open(now.unique_id, self._paths(now))
        except MailboxNotFound as error:
            self.log.error("Mailbox {mailbox} is not in its directory", mailbox=self._tree.text(now))
            raise StoreUnavailable("mailbox is not in its directory") from error

    async def stage(self, identity: Identity, name: MailboxName) -> IStaged:
        """Begin to receive a message; see L{IMailStore}."""
        entry = self._check(identity, name, POST if identity.postman else INSERT)
        stage = self._stages.get(entry.partition)
        if stage is None:
            stage = self._stages[entry.partition] = Stage(self._partitions.stage(entry.partition), self._reactor)
        return stage.begin()

    async def status(self, identity: Identity, name: MailboxName) -> MailboxStatus:
        """Counts of a mailbox; see L{IMailStore}."""
        mailbox = await self._open(identity, self._access(identity, name, READ))
        try:
            mailbox.refresh()
            counts = mailbox.counts()
            view = mailbox.state.view()
            return MailboxStatus(
                counts,
                mailbox.uidnext(),
                mailbox.uidvalidity,
                mailbox.highest_modseq(),
                mailbox.unique_id,
                int(view.sizes[view.flags & DELETED != 0].sum()) if counts.deleted else 0,
            )
        finally:
            mailbox.close()

    def _check(self, identity: Identity, name: MailboxName, right: str) -> Entry:
        try:
            return access.check(identity, self._directory.lookup(name), right)
        except MailboxNotFound:
            # The same for what is hidden and what is not there.
            raise MailboxNotFound("absent or hidden", creatable=self._could_create(identity, name)) from None

    def _could_create(self, identity: Identity, name: MailboxName) -> bool:
        if name.deleted is not None:
            return False
        try:
            check_policy(name, self._settings.deletedprefix)
        except InvalidMailboxName:
            return False
        return access.may_create_below(identity, self._directory.nearest(name), name)

    def _paths(self, entry: Entry) -> MailboxPaths:
        return self._paths_of(entry.partition, entry.location)

    def _locate(self, unique_id: str) -> MailboxPaths:
        """Where a mailbox is now, for whoever missed it."""
        entry = self._directory.by_id(unique_id)
        if entry is None:
            raise MailboxNotFound("deleted")
        # Whoever has the lock asks here before it writes.
        access.check_stays(entry)
        return self._paths(entry)

    def _changed(self, unique_ids: set[str]) -> None:
        """Have open mailboxes follow what was done to them, here or by another process."""
        self._watchers.tell_soon()
        for unique_id in unique_ids:
            state = self._states.peek(unique_id)
            if state is None:
                continue
            entry = self._directory.by_id(unique_id)
            if entry is None:
                self._states.forget(unique_id)
            else:
                state.relocate(self._paths(entry))
                state.notify()

    # --- what belongs to a user -----------------------------------------

    def _user_changed(self, old: MailboxName, new: MailboxName | None) -> None:
        """
        Have what is known of a user follow the user, or go; waits for the disk, on a thread.

        It is called again if a crash leaves it unknown whether it was done.
        """
        if new is None:
            self._userstate.transaction(lambda connection: forget_user(connection, str(old.owner_id)))
            self.quotas.roots.forget_user(old)
            return
        self._userstate.transaction(lambda connection: rename_user(connection, old, new), self._userstate_signal.change)
        self._annotations.rename_user(str(old.owner_id), str(new.owner_id))
        self.quotas.roots.rename_user(old, new)

    @property
    def keeps_expunged(self) -> bool:
        """Whether files of expunged messages stay for a time."""
        return self._policy.keep_expunged

    def shared_note(self, unique_id: str, entry: str) -> bytes | None:
        """
        The value for all of one annotation.

        @param unique_id: Of a mailbox, or L{SERVER}.
        @param entry: Without its scope.
        """
        return self._annotations.value(unique_id, entry)

    # --- for those who look after the store -----------------------------

    @property
    def directory(self) -> Directory:
        """The list of mailboxes."""
        return self._directory

    @property
    def tree(self) -> MailboxTree:
        """The rules of the tree."""
        return self._tree

    async def hold(self, entry: Entry) -> MailboxState:
        """
        Have a mailbox's state, whoever may see the mailbox; C{release} gives it back.

        @raise MailboxNotFound: It is gone.
        @raise StoreUnavailable: It cannot be read.
        """
        return await self._state(entry)

    def release(self, state: MailboxState) -> None:
        """Give back what C{hold} gave."""
        self._states.release(state)
