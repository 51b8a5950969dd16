"""A mailbox as one identity has it open: rights, and what is seen by whom."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from zope.interface import implementer

from pycyrus.errors import (
    MailboxNotFound,
    MessageGone,
    OperationNotSupported,
    PermissionDenied,
    StoreUnavailable,
)
from pycyrus.interfaces import Appended, Copied, Counts, Expunged, IMailbox, IMessageFile, NewMessage, Stored
from pycyrus.model.acl import DELETE_MESSAGES, EXPUNGE, INSERT, KEEP_SEEN, POST, READ, WRITE
from pycyrus.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN, FlagAction, FlagChange
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement, Usage
from pycyrus.model.search import SearchKey
from pycyrus.model.uids import NO_UIDS, UidArray, positions_in
from pycyrus.model.view import View
from pycyrus.store import annotating, appending, copying, writing
from pycyrus.store.appending import Incoming
from pycyrus.store.archiving import ArchiveQueue
from pycyrus.store.copying import Copying
from pycyrus.store.feeding import TextFeeder
from pycyrus.store.files import store_error
from pycyrus.store.filling import fill
from pycyrus.store.mailbox import MailboxState
from pycyrus.store.own_annotations import AnnotationName, OwnAnnotations
from pycyrus.store.policy import DEFAULT_POLICY as DEFAULT_POLICY
from pycyrus.store.policy import MailboxPolicy as MailboxPolicy
from pycyrus.store.quotas import Quotas
from pycyrus.store.seen_overlay import ISeenState as ISeenState
from pycyrus.store.seen_overlay import SeenOverlay
from pycyrus.store.shield import shielded
from pycyrus.store.spool import MessageFile, StagedMessage
from pycyrus.store.threads import sleep
from pycyrus.store.writing import FlagOrder

_ANY = ANSWERED | FLAGGED | DRAFT
_EVERY = _ANY | DELETED | SEEN


@implementer(IMailbox)
class OpenedMailbox:
    """
    One opening.

    @param name: A callable, for names change.
    @param partition: The name of its partition.
    @param access: The identity's rights now; raises L{MailboxNotFound} when
        the mailbox is gone or hidden.
    @param quotas: None where there are none.
    @param feeder: Told of mailboxes that got messages; None where their texts are made ready by searches only.
    @param archive: Told of messages that came; None where none go to an archive at once.
    @param seen: None where the seen bit of the flags column is this user's.
    @param closed: Told once, at the end.
    """

    def __init__(
        self,
        state: MailboxState,
        identity: Identity,
        access: Callable[[], frozenset[str]],
        seen: ISeenState | None = None,
        *,
        name: Callable[[], MailboxName],
        partition: str = "default",
        policy: MailboxPolicy = DEFAULT_POLICY,
        quotas: Quotas | None = None,
        archive: ArchiveQueue | None = None,
        feeder: TextFeeder | None = None,
        closed: Callable[[], None] | None = None,
    ) -> None:
        self.state = state
        self.unique_id = state.unique_id
        self.uidvalidity = state.uidvalidity
        self.partition = partition
        self._identity = identity
        self._access = access
        self._seen = seen
        self._name = name
        self._policy = policy
        self._own_notes: OwnAnnotations | None = None
        self._quotas = quotas
        self._archive = archive
        self._feeder = feeder
        self._when_closed = closed
        self._stops: list[Callable[[], None]] = []
        self._overlay: SeenOverlay | None = None if seen is None else SeenOverlay(seen)

    @property
    def name(self) -> MailboxName:
        """The name it has now."""
        return self._name()

    # --- reading ----------------------------------------------------------

    def refresh(self) -> int:
        """Catch up; see L{IMailbox}."""
        self._access()
        version = self.state.refresh()
        return version if self._seen is None else version + self._seen.counter

    def view(self) -> View:
        """The messages, as this user sees them."""
        view = self.state.view()
        return view if self._overlay is None else self._overlay.view(view, self.state.version)

    def counts(self) -> Counts:
        """Numbers of the view."""
        contents = self.state.contents
        if self._seen is not None and self._overlay is not None:
            view = self.view()
            recent = len(view) - int(view.uids.searchsorted(np.uint32(self._seen.recent_uid), "right"))
            unseen, first = self._overlay.unseen()
            return Counts(len(view), unseen, contents.deleted, contents.size, first, recent, self._seen.recent_uid + 1)
        return Counts(
            contents.columns.count,
            contents.unseen,
            contents.deleted,
            contents.size,
            contents.first_unseen(),
            contents.recent_count(),
            contents.recent_uid + 1,
        )

    def rights(self) -> frozenset[str]:
        """What the identity may do now."""
        return self._access()

    def uidnext(self) -> int:
        """The UID that the next message gets at least."""
        return self.state.contents.uidnext

    async def complete(self) -> None:
        """Make cached items that are missing; see L{IMailbox}."""
        await fill(self.state)

    def highest_modseq(self) -> int:
        """RFC 7162 section 3.1.2.1."""
        return self.state.contents.highest_modseq

    def keyword_names(self) -> tuple[bytes, ...]:
        """Names by bit number."""
        return self.state.contents.keyword_names

    def claim_recent(self) -> int:
        """Take the recent messages for this session."""
        self._access()
        if self._seen is None:
            return writing.claim_recent(self.state)
        uids = self.state.view().uids
        first = self._seen.recent_uid + 1
        if len(uids) and int(uids[-1]) >= first:
            self._seen.set_recent(int(uids[-1]))
        return first

    def vanished_since(self, modseq: int) -> UidArray:
        """UIDs expunged with a modseq above this."""
        return self.state.contents.vanished_since(modseq)

    def message(self, uid: int) -> IMessageFile:
        """Open a message; see L{IMailbox}."""
        self._need(READ)
        try:
            try:
                return MessageFile(self.state.paths.message(uid))
            except FileNotFoundError:
                self.state.refresh()
            try:
                return MessageFile(self.state.paths.where(uid))
            except FileNotFoundError:
                return MessageFile(self.state.where_now(uid))
        except FileNotFoundError as error:
            uids = self.state.view().uids
            at = int(uids.searchsorted(np.uint32(uid)))
            if at < len(uids) and uids[at] == uid:
                raise StoreUnavailable("message file is missing") from error
            raise MessageGone("message was expunged") from error
        except OSError as error:
            raise store_error(error, "message cannot be read") from error

    # --- changing ---------------------------------------------------------

    async def append(self, messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        """Add messages; see L{IMailbox}."""
        rights = self._access()
        if INSERT not in rights and not (self._identity.postman and POST in rights):
            raise PermissionDenied("append needs right i")
        allowed, keywords_allowed = (_EVERY, True) if self._identity.postman else _allowed(rights)
        incoming = []
        seen = []
        for message in messages:
            staged = message.staged
            if not isinstance(staged, StagedMessage):
                raise OperationNotSupported("message was not staged here")
            flags = message.flags.system & allowed
            seen.append(bool(flags & SEEN))
            if self._seen is not None:
                flags &= ~SEEN
            keywords = message.flags.keywords if keywords_allowed else ()
            noted = self._notes.changes(message.annotations, rights) if message.annotations else ()
            incoming.append(Incoming(staged, flags, keywords, message.internaldate, noted))
        await self._ready(enforcement)
        uids = await appending.append(self.state, incoming, self._admission(enforcement))
        if self._seen is not None and any(seen):
            await self._mark_new(self._seen, np.array(uids, dtype=np.uint32)[seen])
        self.state.announce()
        if self._feeder is not None:
            self._feeder.came(self.unique_id)
        if self._archive is not None:
            self._archive.consider(self.state, uids, [each.staged.size for each in incoming])
        return Appended(self.uidvalidity, uids)

    async def store(self, uids: UidArray, change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """Change flags; see L{IMailbox}."""
        allowed, keywords_allowed = _allowed(self._access())
        order = _order(change, allowed, keywords_allowed)
        if self._seen is None:
            stored = await writing.change_flags(
                self.state, uids, order, unchanged_since, wait=self._policy.wait_for_flags
            )
        else:
            stored = await self._store_with_own_seen(uids, order, unchanged_since, self._seen)
        return stored

    async def _store_with_own_seen(
        self, uids: UidArray, order: FlagOrder, unchanged_since: int | None, seen: ISeenState
    ) -> Stored:
        involved = (order.clear | order.set) & SEEN
        shared = replace(order, clear=order.clear & ~SEEN, set=order.set & ~SEEN)
        if shared == FlagOrder(0, 0) and unchanged_since is None:
            columns = self.state.contents.columns
            stored = Stored(columns.uids[: columns.count][columns.positions(uids)].copy(), NO_UIDS, None)
        else:
            # With a condition nobody else may pass between looking and changing.
            shared = replace(shared, touch=bool(involved))
            stored = await writing.change_flags(
                self.state, uids, shared, unchanged_since, wait=self._policy.wait_for_flags
            )
        if not involved or not len(stored.changed):
            return stored
        return replace(stored, modseq=await self._mark(seen, stored.changed, bool(order.set & SEEN)))

    async def _mark(self, seen: ISeenState, uids: UidArray, is_seen: bool) -> int | None:
        """
        Note what this user has seen, and only then give the messages a modseq that tells of it.

        The other way round a session of another process could take what was
        before for what is since (RFC 7162 section 3.1.2.1).
        """
        seen.set(uids, is_seen)
        await seen.save()
        touched = await writing.change_flags(
            self.state, uids, FlagOrder(0, 0, touch=True), None, wait=self._policy.wait_for_flags
        )
        return touched.modseq

    async def _mark_new(self, seen: ISeenState, uids: UidArray) -> None:
        """As L{_mark}, for messages that just came: they have come even if that cannot be told yet."""
        try:
            await self._mark(seen, uids, True)
        except (StoreUnavailable, MailboxNotFound) as error:
            self.state.log.warn(
                "What was seen in {mailbox} is told later: {error}", mailbox=self.state.unique_id, error=error
            )

    @property
    def _notes(self) -> OwnAnnotations:
        notes = self._own_notes
        if notes is None:
            is_owner = self._name().owned_by(self._identity)
            notes = self._own_notes = OwnAnnotations(self._identity, self._policy.annotations, is_owner=is_owner)
        return notes

    def annotated(self) -> UidArray:
        """UIDs of messages that have annotations; see L{IMailbox}."""
        return self._notes.annotated(self.state.contents.annotations)

    def annotations(self, uid: int) -> Mapping[AnnotationName, bytes]:
        """Annotations of a message; see L{IMailbox}."""
        return self._notes.visible(self.state.contents.annotations.of(uid))

    async def annotate(
        self, uids: UidArray, values: Mapping[AnnotationName, bytes | None], unchanged_since: int | None = None
    ) -> Stored:
        """Set annotations; see L{IMailbox}."""
        changes = self._notes.changes(values, self._access())
        await self._ready(Enforcement.FULL)

        def admit(octets: int) -> None:
            if self._quotas is not None and octets > 0:
                self._quotas.admit(self.name, Usage(annotation_octets=octets))

        return await annotating.annotate(self.state, uids, changes, unchanged_since, admit)

    async def expunge(self, uids: UidArray | None = None) -> Expunged:
        """Remove deleted messages; see L{IMailbox}."""
        self._need(EXPUNGE)
        return await writing.expunge(self.state, uids, only_deleted=True, keep_files=self._policy.keep_expunged)

    async def copy(self, uids: UidArray, target: IMailbox) -> Copied:
        """Copy messages; see L{IMailbox}."""
        self._need(READ)
        if not isinstance(target, OpenedMailbox):
            raise OperationNotSupported("copies to another server are not made here")
        # Shielded, for it is made in a thread when there are many.
        return await shielded(target.take_copies(self, uids))

    async def take_copies(
        self, source: OpenedMailbox, uids: UidArray, enforcement: Enforcement = Enforcement.FULL
    ) -> Copied:
        """Copy messages from another mailbox into this one."""
        self._need(INSERT)
        await self._ready(enforcement)
        allowed, keywords_allowed = _allowed(self._access())
        source.state.refresh()
        view = source.view()
        positions = positions_in(view.uids, uids)
        originals = view.uids[positions]
        flags = view.flags[positions] & np.uint32(allowed)
        kept = flags if self._seen is None else flags & np.uint32(~SEEN & 0xFFFFFFFF)
        copies = await copying.copy(
            source.state,
            self.state,
            Copying(
                originals,
                kept,
                keywords_allowed,
                source._notes.copied(self._notes, self._access()),
            ),
            self._admission(enforcement),
        )
        if self._seen is not None and np.any(flags & SEEN):
            await self._mark_new(self._seen, copies[flags & SEEN != 0])
        self.state.announce()
        if self._feeder is not None:
            self._feeder.came(self.unique_id)
        if self._archive is not None:
            self._archive.consider(self.state, copies.tolist(), view.sizes[positions].tolist())
        return Copied(self.uidvalidity, originals, copies)

    async def move(self, uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        """Move messages; see L{IMailbox}."""
        self._need(READ)
        self._need(DELETE_MESSAGES)
        self._need(EXPUNGE)
        return await shielded(self._move(uids, target))

    async def _move(self, uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        if not isinstance(target, OpenedMailbox):
            raise OperationNotSupported("messages are not moved to another server here")
        # What stays below the same quota root needs no further room.
        stays = self._quotas is not None and self._quotas.same_root(self.name, target.name)
        # The copies are durable before the originals go.
        copied = await target.take_copies(self, uids, Enforcement.NONE if stays else Enforcement.FULL)
        expunged = await writing.expunge(
            self.state, copied.source_uids, only_deleted=False, keep_files=self._policy.keep_expunged
        )
        return copied, expunged

    async def search(self, key: SearchKey, *, progress: Callable[[int, int], None] | None = None) -> UidArray:
        """Find messages; see L{IMailbox}."""
        from pycyrus.store.search import SearchLimits, evaluate, reads_cached_items

        self._need(READ)
        if reads_cached_items(key):
            await self.complete()
        view = self.view()
        names = self.keyword_names()
        how = self.state.services.search
        mask = await evaluate(
            key,
            view,
            names,
            time.time(),
            self._octets,
            self._pause,
            progress=progress,
            texts=self.state.texts,
            annotations=(self.annotated, self.annotations),
            limits=SearchLimits(seconds=how.longest),
            comparison=how.comparison,
        )
        return view.uids[mask]

    def _octets(self, uid: int) -> bytes:
        file = self.message(uid)
        try:
            return file.read(0, file.size)
        finally:
            file.close()

    def _pause(self) -> Awaitable[None]:
        return sleep(self.state.services.reactor, 0)

    # --- quota ------------------------------------------------------------

    async def check_quota(self, octets: int = 0, messages: int = 0) -> None:
        """Whether there is room; see L{IMailbox}."""
        self._policy.admit(self.state.contents.columns.count, messages)
        if self._quotas is not None and self._quotas.roots.exist():
            await self._quotas.ready(self.name)
            self._quotas.admit(self.name, Usage(octets, messages))

    async def _ready(self, enforcement: Enforcement) -> None:
        quotas = self._quotas
        if quotas is not None and enforcement is not Enforcement.NONE and quotas.roots.exist():
            await quotas.ready(self.name)

    def _admission(self, enforcement: Enforcement) -> Callable[[Usage], None]:
        def admit(more: Usage) -> None:
            self._policy.admit(self.state.contents.columns.count, more.messages)
            if self._quotas is not None and self._quotas.roots.exist():
                self._quotas.admit(self.name, more, enforcement)

        return admit

    # --- the rest ---------------------------------------------------------

    def watch(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Tell of changes; see L{IMailbox}."""
        stop = self.state.listen(listener)
        self._stops.append(stop)

        def stopped() -> None:
            if stop in self._stops:
                self._stops.remove(stop)
            stop()

        return stopped

    def close(self) -> None:
        """End this opening."""
        for stop in self._stops:
            stop()
        self._stops = []
        told, self._when_closed = self._when_closed, None
        if told is not None:
            told()

    def _need(self, right: str) -> None:
        if right not in self._access():
            raise PermissionDenied(f"needs right {right}")


def _allowed(rights: frozenset[str]) -> tuple[int, bool]:
    """Bits of system flags that may be changed, and whether keywords may."""
    bits = SEEN if KEEP_SEEN in rights else 0
    if DELETE_MESSAGES in rights:
        bits |= DELETED
    if WRITE in rights:
        bits |= _ANY
    return bits, WRITE in rights


def _order(change: FlagChange, allowed: int, keywords_allowed: bool) -> FlagOrder:
    """
    Apply rights to a change.

    @raise PermissionDenied: Nothing is left of it.
    """
    bits = change.flags.system & allowed
    keywords = change.flags.keywords if keywords_allowed else ()
    asked = bool(change.flags.system or change.flags.keywords)
    if (asked and not bits and not keywords) or not (allowed or keywords_allowed):
        raise PermissionDenied("none of the flags may be changed")
    if change.action is FlagAction.ADD:
        return FlagOrder(0, bits, (), keywords)
    if change.action is FlagAction.REMOVE:
        return FlagOrder(bits, 0, keywords)
    return FlagOrder(allowed, bits, (), keywords, clear_all_keywords=keywords_allowed)
