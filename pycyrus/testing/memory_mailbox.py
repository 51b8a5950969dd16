"""
A mailbox in memory and its messages, for L{pycyrus.testing.store}.

All openings of a mailbox share its state, as in a real store; and as there, a
view whose membership has passed is no longer live.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from zope.interface import implementer

from pycyrus.errors import (
    MailboxNotFound,
    MessageGone,
    OverQuota,
    PermissionDenied,
    TooManyKeywords,
)
from pycyrus.interfaces import (
    Appended,
    Copied,
    Counts,
    Expunged,
    IMailbox,
    IMessageFile,
    IStaged,
    NewMessage,
    Stored,
)
from pycyrus.mime.summary import Summary, sent_or_arrived, summarise
from pycyrus.model.acl import Acl, rights_of
from pycyrus.model.flags import DELETED, MAX_KEYWORDS, SEEN, FlagAction, FlagChange
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement
from pycyrus.model.search import SearchKey
from pycyrus.model.uids import Positions, UidArray
from pycyrus.model.view import CachedItem, View
from pycyrus.store.message_annotations import MessageAnnotations
from pycyrus.store.search import evaluate
from pycyrus.testing.annotations import MemoryAnnotations

OWNER_RIGHTS = frozenset("lrswipkxtean")
NOW = 1_700_000_000
"""The time of everything that happens in such a store."""


@implementer(IMessageFile)
class MemoryFile:
    """A message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Read a range."""
        return self._data[offset : offset + length]

    def fileno(self) -> int:
        """There is none."""
        raise OSError("not a file")

    def close(self) -> None:
        """Nothing to give back."""


@implementer(IStaged)
class MemoryStaged:
    """A message being received."""

    def __init__(self) -> None:
        self.size = 0
        self.data = b""
        self.is_finished = False
        self.is_discarded = False
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Add octets."""
        self._pieces.append(data)
        self.size += len(data)

    async def ready(self) -> None:
        """Nothing takes long here."""

    def finish(self, *, is_shared: bool = False) -> None:
        """End the message."""
        self.data = b"".join(self._pieces)
        self.is_finished = True

    def read(self, offset: int, length: int) -> bytes:
        """Octets of it."""
        return self.data[offset : offset + length]

    def discard(self) -> None:
        """Remove it."""
        self.is_discarded = True


@dataclass(slots=True)
class MemoryMessage:
    """One message; C{keywords} is a bit mask."""

    uid: int
    modseq: int
    data: bytes
    summary: Summary
    flags: int = 0
    keywords: int = 0
    internaldate: int = NOW


@dataclass(slots=True, eq=False)
class MemoryState:
    """A mailbox, shared by its openings."""

    name: MailboxName
    unique_id: str
    acl: Acl
    uidvalidity: int = 1_000_000
    messages: list[MemoryMessage] = field(default_factory=list)
    keywords: list[bytes] = field(default_factory=list)
    vanished: list[tuple[int, int]] = field(default_factory=list)
    listeners: list[Callable[[], None]] = field(default_factory=list)
    uidnext: int = 1
    modseq: int = 1
    counter: int = 0
    recent_from: int = 1
    is_deleted: bool = False
    quota: int | None = None
    special_use: tuple[str, ...] = ()
    annotations: MessageAnnotations = field(default_factory=MessageAnnotations)
    _view: View | None = None

    def view(self) -> View:
        """The messages as columns."""
        if self._view is None:
            self._view = _view_of(self.messages)
        return self._view

    def add(self, message: MemoryMessage) -> int:
        """Append one message."""
        message.uid, message.modseq = self.uidnext, self.modseq
        self.messages.append(message)
        self.uidnext += 1
        return message.uid

    def begin(self) -> int:
        """A new modseq, for one change."""
        self.modseq += 1
        return self.modseq

    def membership_changed(self) -> None:
        """Messages came or went."""
        self._view = None
        self.changed()

    def flags_changed(self, message: MemoryMessage, position: int) -> None:
        """The view is live."""
        view = self.view()
        view.flags[position] = message.flags
        view.keywords[position] = _words(message.keywords)
        view.modseqs[position] = message.modseq

    def touch(self, uids: UidArray, unchanged_since: int | None) -> tuple[list[int], list[int], int | None]:
        """See L{MemoryAnnotations}."""
        wanted = set(uids.tolist())
        found = [(at, message) for at, message in enumerate(self.messages) if message.uid in wanted]
        late = [message.uid for _, message in found if unchanged_since is not None and message.modseq > unchanged_since]
        changed = [(at, message) for at, message in found if message.uid not in late]
        if not changed:
            return [], late, None
        modseq = self.begin()
        for at, message in changed:
            message.modseq = modseq
            self.flags_changed(message, at)
        self.changed()
        return [message.uid for _, message in changed], late, modseq

    def changed(self) -> None:
        """Something visible changed."""
        self.counter += 1
        for listener in list(self.listeners):
            listener()

    def keyword_bits(self, names: Iterable[bytes], *, create: bool) -> int:
        """Bits of keywords, defining what is new."""
        known = {name.lower(): 1 << bit for bit, name in enumerate(self.keywords)}
        new = [name for name in names if name.lower() not in known]
        if new and create:
            if len(self.keywords) + len(new) > MAX_KEYWORDS:
                raise TooManyKeywords
            for name in new:
                known[name.lower()] = 1 << len(self.keywords)
                self.keywords.append(name)
        bits = 0
        for name in names:
            bits |= known.get(name.lower(), 0)
        return bits


def _words(bits: int) -> tuple[int, int]:
    return bits & 0xFFFFFFFFFFFFFFFF, bits >> 64


def _view_of(messages: Sequence[MemoryMessage]) -> View:
    held = list(messages)

    def cached(positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
        return [[held[position].summary.items[item] for position in positions.tolist()] for item in items]

    dates = np.array([message.internaldate for message in held], dtype=np.int64)
    sent = [sent_or_arrived(message.summary.sent, message.internaldate) for message in held]
    guids = b"".join(hashlib.sha1(message.data, usedforsecurity=False).digest() for message in held)
    return View(
        uids=np.array([message.uid for message in held], dtype=np.uint32),
        sizes=np.array([len(message.data) for message in held], dtype=np.uint32),
        internaldates=dates,
        savedates=np.full(len(held), NOW, dtype=np.int64),
        sent_times=np.array([time for time, _ in sent], dtype=np.int64),
        sent_days=np.array([day for _, day in sent], dtype=np.int32),
        flags=np.array([message.flags for message in held], dtype=np.uint32),
        keywords=np.array([_words(message.keywords) for message in held], dtype=np.uint64).reshape(-1, 2),
        modseqs=np.array([message.modseq for message in held], dtype=np.uint64),
        guids=np.frombuffer(guids, dtype="V20"),
        cached=cached,
    )


@implementer(IMailbox)
class MemoryMailbox:
    """One opening of a mailbox."""

    def __init__(self, state: MemoryState, identity: Identity) -> None:
        self._state = state
        self._identity = identity
        self.unique_id = state.unique_id
        self.uidvalidity = state.uidvalidity
        self.partition = "default"
        self.is_closed = False
        self.noted = MemoryAnnotations(state.annotations, identity, self.rights, state.touch)
        self.annotated, self.annotations, self.annotate = (
            self.noted.annotated, self.noted.annotations, self.noted.annotate,
        )  # fmt: skip

    @property
    def name(self) -> MailboxName:
        """Follows renames."""
        return self._state.name

    def refresh(self) -> int:
        """There is no other process."""
        self.rights()
        return self._state.counter

    async def complete(self) -> None:
        """They are all there."""

    def view(self) -> View:
        """The messages."""
        return self._state.view()

    def counts(self) -> Counts:
        """Counted each time."""
        messages = self._state.messages
        unseen = [number for number, message in enumerate(messages, 1) if not message.flags & SEEN]
        return Counts(
            messages=len(messages),
            unseen=len(unseen),
            deleted=sum(1 for message in messages if message.flags & DELETED),
            size=sum(len(message.data) for message in messages),
            first_unseen=unseen[0] if unseen else 0,
            recent=sum(1 for message in messages if message.uid >= self._state.recent_from),
            recent_from=self._state.recent_from,
        )

    def rights(self) -> frozenset[str]:
        """By the ACL as it is now."""
        state = self._state
        rights = rights_of(self._identity, state.name, state.acl)
        if state.is_deleted or "l" not in rights:
            raise MailboxNotFound(str(state.name))
        return rights

    def _demand(self, right: str) -> None:
        if right not in self.rights():
            raise PermissionDenied(right)

    def uidnext(self) -> int:
        """The next UID."""
        return self._state.uidnext

    def highest_modseq(self) -> int:
        """Of the last change."""
        return self._state.modseq

    def keyword_names(self) -> tuple[bytes, ...]:
        """By bit."""
        return tuple(self._state.keywords)

    def claim_recent(self) -> int:
        """Take what is recent."""
        first, self._state.recent_from = self._state.recent_from, self._state.uidnext
        return first

    def vanished_since(self, modseq: int) -> UidArray:
        """Remembered for good."""
        return np.array(sorted(uid for at, uid in self._state.vanished if at > modseq), dtype=np.uint32)

    def message(self, uid: int) -> IMessageFile:
        """Only what is there."""
        for message in self._state.messages:
            if message.uid == uid:
                file: IMessageFile = MemoryFile(message.data)
                return file
        raise MessageGone(str(uid))

    async def check_quota(self, octets: int = 0, messages: int = 0) -> None:
        """By the number that the test set."""
        if self._state.quota is not None and octets > self._state.quota:
            raise OverQuota

    async def append(self, messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        """Add messages."""
        self._demand("i")
        state = self._state
        if enforcement is Enforcement.FULL:
            await self.check_quota(sum(new.staged.size for new in messages))
        new_messages = [self._message_of(new) for new in messages]
        state.begin()
        uids = tuple(state.add(message) for message in new_messages)
        for uid, new in zip(uids, messages, strict=True):
            self.noted.add(uid, new)
        state.membership_changed()
        return Appended(state.uidvalidity, uids)

    def _message_of(self, new: NewMessage) -> MemoryMessage:
        staged = new.staged
        assert isinstance(staged, MemoryStaged) and staged.is_finished and not staged.is_discarded
        return MemoryMessage(
            0,
            0,
            staged.data,
            summarise(staged.data),
            new.flags.system,
            self._state.keyword_bits(new.flags.keywords, create=True),
            NOW if new.internaldate is None else new.internaldate,
        )

    async def store(self, uids: UidArray, change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """Change flags."""
        rights = self.rights()
        mask = (SEEN if "s" in rights else 0) | (DELETED if "t" in rights else 0)
        if "w" in rights:
            mask |= 0xFF & ~(SEEN | DELETED)
        if not mask:
            raise PermissionDenied
        state = self._state
        system = change.flags.system & mask
        keywords = 0
        if "w" in rights:
            keywords = state.keyword_bits(change.flags.keywords, create=change.action is not FlagAction.REMOVE)
        wanted = set(uids.tolist())
        changed: list[int] = []
        modified: list[int] = []
        altered: list[int] = []
        for position, message in enumerate(state.messages):
            if message.uid not in wanted:
                continue
            if unchanged_since is not None and message.modseq > unchanged_since:
                modified.append(message.uid)
                continue
            changed.append(message.uid)
            before = message.flags, message.keywords
            if change.action is FlagAction.ADD:
                message.flags |= system
                message.keywords |= keywords
            elif change.action is FlagAction.REMOVE:
                message.flags &= ~system
                message.keywords &= ~keywords
            else:
                message.flags = message.flags & ~mask | system
                message.keywords = keywords if "w" in rights else message.keywords
            if before != (message.flags, message.keywords):
                altered.append(position)
        modseq = None
        if altered:
            modseq = state.begin()
            for position in altered:
                state.messages[position].modseq = modseq
                state.flags_changed(state.messages[position], position)
            state.changed()
        return Stored(np.array(changed, dtype=np.uint32), np.array(modified, dtype=np.uint32), modseq)

    async def expunge(self, uids: UidArray | None = None) -> Expunged:
        """Remove deleted messages."""
        self._demand("e")
        wanted = None if uids is None else set(uids.tolist())
        return self._remove(
            [m for m in self._state.messages if m.flags & DELETED and (wanted is None or m.uid in wanted)]
        )

    def _remove(self, messages: Sequence[MemoryMessage]) -> Expunged:
        state = self._state
        if not messages:
            return Expunged(np.empty(0, dtype=np.uint32), None)
        modseq = state.begin()
        gone = {message.uid for message in messages}
        state.messages = [message for message in state.messages if message.uid not in gone]
        state.vanished += [(modseq, uid) for uid in sorted(gone)]
        state.membership_changed()
        return Expunged(np.array(sorted(gone), dtype=np.uint32), modseq)

    async def copy(self, uids: UidArray, target: IMailbox) -> Copied:
        """Copy messages."""
        self._demand("r")
        assert isinstance(target, MemoryMailbox)
        target._demand("i")
        wanted = set(uids.tolist())
        messages = [message for message in self._state.messages if message.uid in wanted]
        other = target._state
        other.begin()
        targets = []
        for message in messages:
            names = [name for bit, name in enumerate(self._state.keywords) if message.keywords >> bit & 1]
            targets.append(other.add(replace(message, keywords=other.keyword_bits(names, create=True))))
            self.noted.copy(message.uid, target.noted, targets[-1])
        other.membership_changed()
        return Copied(
            other.uidvalidity,
            np.array([message.uid for message in messages], dtype=np.uint32),
            np.array(targets, dtype=np.uint32),
        )

    async def move(self, uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        """Move messages."""
        for right in "te":
            self._demand(right)
        copied = await self.copy(uids, target)
        moved = set(copied.source_uids.tolist())
        return copied, self._remove([message for message in self._state.messages if message.uid in moved])

    async def search(self, key: SearchKey, *, progress: Callable[[int, int], None] | None = None) -> UidArray:
        """Find messages, at once."""

        async def pause() -> None:
            pass

        view = self.view()
        read = {message.uid: message.data for message in self._state.messages}
        mask = await evaluate(
            key, view, self.keyword_names(), NOW, read.__getitem__, pause,
            progress=progress, annotations=(self.annotated, self.annotations),
        )  # fmt: skip
        found: UidArray = view.uids[mask]
        return found

    def watch(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Called at once."""
        self._state.listeners.append(listener)
        return lambda: self._state.listeners.remove(listener)

    def close(self) -> None:
        """End this opening."""
        self.is_closed = True
