"""What clients do to a store while the power may be cut, each step told to L{pycyrus.testing.promises}."""

from __future__ import annotations

import contextlib
import hashlib
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from twisted.internet.defer import Deferred

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IMailbox, NewMessage
from pycyrus.model.acl import DELETE_MESSAGES, INSERT, LOOKUP, POST, READ
from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN, SERVER, Identity
from pycyrus.model.names import MailboxName
from pycyrus.store import filling, writing
from pycyrus.store.annotating import annotate
from pycyrus.store.expiry import Expiry, expire
from pycyrus.store.keyword_bits import Keywords
from pycyrus.store.message_annotations import Change
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.restoring import Rows, restore
from pycyrus.store.settings import ArchiveSettings
from pycyrus.store.store import MailStore
from pycyrus.store.undo import plan_undo, undo
from pycyrus.tasks import gather
from pycyrus.testing.promises import Ended, Marks, Started

ADMIN = SERVER
INBOX = MailboxName("", "fred", ())
OTHER = MailboxName("", "bob", ())
LARGE = 70_000
SECOND = "second"
"""A partition to which mailboxes may go, besides C{default}."""
_FAR = 1 << 40
"""A time that everything is older than, in seconds."""


class Work:
    """
    Clients at work on a store.

    @param stores: The same, as one process or several have it open.
    @param marks: Is told what was begun and what was acknowledged.
    """

    def __init__(self, stores: Sequence[MailStore], marks: Marks, draw: random.Random) -> None:
        self._stores = stores
        self._marks = marks
        self._draw = draw
        self._names = [INBOX, OTHER]
        self._begun = time.time()
        self._numbers = iter(range(1, 1 << 30))

    async def client(self, steps: int) -> None:
        """Do some things, each when the one before is done."""
        verbs = [verb for verb, weight in VERBS.items() for _ in range(weight)]
        for _ in range(steps):
            verb = self._draw.choice(verbs)
            with contextlib.suppress(MailStoreError):
                await verb(self)

    @property
    def _store(self) -> MailStore:
        return self._draw.choice(self._stores)

    # --- what a client does -------------------------------------------------

    async def deliver(self) -> None:
        """One message to all INBOXes."""
        data = self._text()
        store = self._store
        staged = await store.stage(POSTMAN, INBOX)
        try:
            staged.write(data)
            staged.finish()

            async def one(name: MailboxName) -> None:
                await self._append_to(store, POSTMAN, POST, name, [NewMessage(staged)], [data])

            await gather([one(INBOX), one(OTHER)])
        finally:
            staged.discard()

    async def append(self) -> None:
        """One message or a few."""
        await self.append_to(self._name(), self._draw.choice((1, 1, 1, 2, 12)))

    async def append_to(self, name: MailboxName, count: int) -> None:
        """Messages to a mailbox."""
        owner = _owner(name)
        store = self._store
        texts = [self._text() for _ in range(count)]
        staged = []
        try:
            for data in texts:
                one = await store.stage(owner, name)
                staged.append(one)
                one.write(data)
                one.finish()
            flags = Flags(self._draw.choice((0, SEEN)), self._draw.choice(((), (b"Word",))))
            await self._append_to(store, owner, INSERT, name, [NewMessage(one, flags) for one in staged], texts)
        finally:
            for one in staged:
                one.discard()

    async def _append_to(
        self,
        store: MailStore,
        identity: Identity,
        right: str,
        name: MailboxName,
        messages: Sequence[NewMessage],
        texts: Sequence[bytes],
    ) -> None:
        box = await store.open(identity, name, right)
        try:
            step = self._marks.start(Started(sent=tuple(map(digest, texts))))
            appended = await box.append(messages)
            added = dict(zip(appended.uids, map(digest, texts), strict=True))
            self._marks.end(step, Ended(added={box.unique_id: added}))
        finally:
            box.close()

    async def store(self) -> None:
        """Change flags."""
        async with self._some_messages(self._store) as (box, uids, _):
            flags = Flags(self._draw.choice((SEEN, FLAGGED, DELETED)), self._draw.choice(((), (b"Word", b"Other"))))
            await box.store(uids, FlagChange(self._draw.choice(list(FlagAction)), flags))

    async def expunge(self) -> None:
        """Delete messages."""
        await self.expunge_in(self._name(), self._draw.choice((1, 1, 2, 4)))

    async def expunge_in(self, name: MailboxName, count: int) -> None:
        """Delete some messages of a mailbox."""
        async with self._some_messages(self._store, name, count) as (box, uids, _):
            step = self._marks.start(Started(removing={box.unique_id: tuple(uids.tolist())}))
            await box.store(uids, FlagChange(FlagAction.ADD, Flags(DELETED)))
            gone = await box.expunge(uids)
            self._marks.end(step, Ended(removed={box.unique_id: tuple(gone.uids.tolist())}))

    async def copy(self) -> None:
        """Copy messages to another mailbox."""
        await self._to_another(move=False)

    async def move(self) -> None:
        """Move messages to another mailbox."""
        await self._to_another(move=True)

    async def _to_another(self, *, move: bool) -> None:
        store = self._store
        async with self._some_messages(store) as (box, uids, held):
            target = await store.open(_owner(box.name), self._name(box.name.owner), INSERT)
            try:
                if target.unique_id == box.unique_id:
                    return
                going = {box.unique_id: tuple(uids.tolist())} if move else {}
                step = self._marks.start(Started(removing=going, moving_to=target.unique_id if move else ""))
                if move:
                    copied, expunged = await box.move(uids, target)
                    removed = {box.unique_id: tuple(expunged.uids.tolist())}
                else:
                    copied, removed = await box.copy(uids, target), {}
                pairs = zip(copied.source_uids.tolist(), copied.target_uids.tolist(), strict=True)
                added = {uid: held[source] for source, uid in pairs}
                self._marks.end(step, Ended(added={target.unique_id: added}, removed=removed))
            finally:
                target.close()

    async def unexpunge(self) -> None:
        """Bring some expunged messages back."""
        await self.unexpunge_in(self._name(), 0.5)

    async def unexpunge_in(self, name: MailboxName, chance: float) -> int:
        """Bring expunged messages of a mailbox back, each with this chance; says how many."""
        box = await self._store.open(_owner(name), name, READ)
        try:
            assert isinstance(box, OpenedMailbox)
            digests: dict[int, str] = {}

            def some(rows: Rows, keywords: Keywords) -> Rows:
                chosen = rows[[self._draw.random() < chance for _ in rows]]
                digests.update(
                    zip(chosen["uid"].tolist(), (guid.tobytes().hex() for guid in chosen["guid"]), strict=True)
                )
                return chosen

            step = self._marks.start(Started())
            restored = await restore(box.state, some)
            pairs = zip(restored.was.tolist(), restored.now.tolist(), strict=True)
            self._marks.end(step, Ended(added={box.unique_id: {now: digests[was] for was, now in pairs}}))
            return len(restored.now)
        finally:
            box.close()

    async def undo(self) -> None:
        """Have a mailbox as it was a short time ago, deleted ones as well."""
        when = self._draw.uniform(self._begun, time.time())
        await self.undo_in(self._draw.choice(self._names), when, exact=self._draw.random() < 0.5)

    async def undo_in(self, name: MailboxName, when: float, *, exact: bool) -> int:
        """Have a mailbox as it was; says how many had changed."""
        store = self._store
        plans = await plan_undo(store, name, when, exact=exact)
        going = {plan.entry.unique_id: tuple(plan.since.tolist()) for plan in plans if exact}
        names = tuple(plan.name for plan in plans)
        step = self._marks.start(Started(removing=going, names=names))
        await undo(store, ADMIN, plans)
        back = {plan.name: plan.entry.unique_id for plan in plans if plan.undeletes}
        self._names += [each for each in back if each not in self._names]
        self._marks.end(step, Ended(created=back, removed=going))
        return sum(not plan.is_empty for plan in plans)

    async def expire(self) -> None:
        """End what was kept long enough: messages, mailboxes, user flags."""
        step = self._marks.start(Started(expiring=True))
        done = await expire(self._store, Expiry(_FAR, _FAR, drop_keywords=True))
        if done.failed:
            raise MailStoreError("not all could be done")
        self._marks.end(step, Ended())

    async def purge(self) -> None:
        """Remove files of expunged messages, as the expiry does."""
        name = self._name()
        box = await self._store.open(_owner(name), name, READ)
        try:
            assert isinstance(box, OpenedMailbox)
            await writing.purge(box.state, 1 << 40)
        finally:
            box.close()

    async def annotate(self) -> None:
        """Note something of some messages, or remove it."""
        async with self._some_messages(self._store) as (box, uids, _):
            value = self._draw.choice((None, b"a value", b"another value" * 50))
            changes = [Change((user, "/comment"), value) for user in ("", _owner(box.name).user_id)]
            await annotate(box.state, uids, changes, None, lambda octets: None)

    async def archive(self) -> None:
        """Move all but the latest messages to the archive."""
        after = self._draw.choice((-_FAR, self._draw.uniform(0, time.time() - self._begun)))
        await expire(self._store, Expiry(None, None, archive=ArchiveSettings(after, 9000)))

    async def change_partition(self) -> None:
        """Move a mailbox, with its inferiors, to another partition, or back."""
        name = self._draw.choice(self._names)
        await self._store.rename(ADMIN, name, name, partition=self._draw.choice(("default", SECOND)))

    async def prepare(self) -> None:
        """Make what is made later or anew: cached items, texts for searches, the cache."""
        box = await self._store.open(ADMIN, self._name(), LOOKUP)
        try:
            assert isinstance(box, OpenedMailbox)
            box.refresh()
            await filling.fill(box.state)
            await box.state.texts.feed(box.view(), 4)
            await box.state.upkeep.renew_cache()
        finally:
            box.close()

    async def create(self) -> None:
        """Create a mailbox."""
        name = self._draw.choice(self._names).child(f"box{next(self._numbers)}")
        step = self._marks.start(Started(names=(name,)))
        unique_id = await self._store.create(_owner(name), name)
        self._names.append(name)
        self._marks.end(step, Ended(created={name: unique_id}))

    async def rename(self) -> None:
        """Rename a mailbox with its inferiors."""
        old = self._draw.choice(self._names)
        if old.is_inbox:
            return
        new = MailboxName("", old.owner, (f"box{next(self._numbers)}",))
        step = self._marks.start(Started(names=(old, new, *self._below(old))))
        renamed = await self._store.rename(_owner(old), old, new)
        for before, after in renamed:
            if before in self._names:
                self._names.remove(before)
            self._names.append(after)
        self._marks.end(step, Ended(renamed=tuple(renamed)))

    async def delete(self) -> None:
        """Delete a mailbox."""
        name = self._draw.choice(self._names)
        if name.is_inbox:
            return
        step = self._marks.start(Started(names=(name,), deleting=name))
        await self._store.delete(_owner(name), name)
        if name in self._names:
            self._names.remove(name)
        self._marks.end(step, Ended(deleted=(name,)))

    # --- what they choose ---------------------------------------------------

    def _below(self, name: MailboxName) -> list[MailboxName]:
        return [each for each in self._names if each.is_below(name)]

    def _name(self, owner: str | None = None) -> MailboxName:
        """An INBOX as often as all others together."""
        names = [name for name in self._names if owner in (None, name.owner)]
        inboxes = [name for name in names if name.is_inbox]
        return self._draw.choice(inboxes if self._draw.random() < 0.5 else names)

    def _text(self) -> bytes:
        number = next(self._numbers)
        size = self._draw.choice((10, 40, 3000, 9000, LARGE if self._draw.random() < 0.2 else 100))
        head = b"Subject: number %d\r\nDate: Mon, 1 Jan 2024 10:00:00 +0000\r\n\r\n" % number
        return head + bytes(self._draw.choices(b"abcdefgh", k=64)) * (size // 64 + 1) + b"\r\n"

    @contextlib.asynccontextmanager
    async def _some_messages(self, store: MailStore, name: MailboxName | None = None, count: int = 0) -> Any:
        """Some of a mailbox's messages, with the digests of all of them; by chance which and how many, if not given."""
        name = name or self._name()
        count = count or self._draw.choice((1, 1, 2, 4))
        box: IMailbox = await store.open(_owner(name), name, DELETE_MESSAGES)
        try:
            box.refresh()
            view = box.view()
            held = {int(uid): guid.tobytes().hex() for uid, guid in zip(view.uids, view.guids, strict=True)}
            uids = sorted(self._draw.sample(sorted(held), min(len(held), count)))
            if uids:
                yield box, np.array(uids, dtype=np.uint32), held
            else:
                raise MailStoreError("no messages")
        finally:
            box.close()


VERBS: dict[Callable[[Work], Coroutine[Deferred[Any], Any, None]], int] = {
    Work.deliver: 4,
    Work.append: 4,
    Work.store: 4,
    Work.expunge: 3,
    Work.copy: 2,
    Work.move: 3,
    Work.unexpunge: 2,
    Work.undo: 1,
    Work.purge: 1,
    Work.create: 1,
    Work.rename: 1,
    Work.delete: 1,
    Work.expire: 1,
    Work.annotate: 1,
    Work.archive: 2,
    Work.change_partition: 1,
    Work.prepare: 2,
}


def _owner(name: MailboxName) -> Identity:
    return Identity(str(name.owner))


def digest(data: bytes) -> str:
    """SHA-1, in hexadecimal."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
