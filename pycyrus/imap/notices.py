"""
What a client asked to be told at any time: of the selected mailbox, of others, and of names (RFC 5465).

Of another mailbox a STATUS response tells that something happened.  What is to be
told is found by comparing with what was told last, so that many changes cost one
line, and those of other processes are as good as one's own.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pycyrus.errors import MailboxMoving, MailboxNotFound, MailStoreError, PermissionDenied
from pycyrus.imap.annotation_changes import AnnotationChanges
from pycyrus.imap.metadata_notices import MetadataNotices
from pycyrus.imap.replies import No
from pycyrus.imap.scopes import mailboxes_of
from pycyrus.imap.selection import CONDSTORE, QRESYNC
from pycyrus.imap.wire.grammar import astring
from pycyrus.imap.wire.listing import encode_list
from pycyrus.imap.wire.mailbox_filters import Where
from pycyrus.imap.wire.mailboxes import StatusItem, encode_status
from pycyrus.imap.wire.notify import CHANGE_EVENTS, MESSAGE_EVENTS, OF_SELECTED, EventKind
from pycyrus.model.acl import LOOKUP, READ
from pycyrus.model.scopes import ListScope, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pycyrus.imap.selected import SelectedMailbox
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.mailbox_filters import MailboxFilter
    from pycyrus.imap.wire.notify import EventGroup
    from pycyrus.interfaces import IMailbox
    from pycyrus.model.mailbox_name import MailboxName

MAX_WATCHED = 500
"""Mailboxes that one session may have watched."""


class TooMany(Exception):
    """More is asked for than a session may have."""


@contextlib.contextmanager
def beginning(notices: Notices) -> Iterator[None]:
    """
    While notices begin: they end where that fails.

    @raise No: Too many mailboxes are to be watched.
    """
    try:
        yield
    except TooMany:
        notices.close()
        raise No(b"Too many mailboxes to watch", b"NOTIFICATIONOVERFLOW") from None
    except BaseException:
        notices.close()
        raise


@dataclass(frozen=True, slots=True)
class _State:
    """What a STATUS response tells of a mailbox."""

    messages: int
    uidnext: int
    unseen: int
    modseq: int


class _Watched:
    """A mailbox that is not selected, and what the client knows of it."""

    __slots__ = ("events", "is_changed", "mailbox", "stop", "told")

    def __init__(self, mailbox: IMailbox, events: frozenset[EventKind], changed: Callable[[], None]) -> None:
        self.mailbox = mailbox
        self.events = events
        mailbox.refresh()
        self.told = _state_of(mailbox)
        self.is_changed = False

        def note() -> None:
            self.is_changed = True
            changed()

        self.stop = mailbox.watch(note)

    def may_read(self) -> bool:
        """Whether the client may still be told of it."""
        try:
            return READ in self.mailbox.rights()
        except MailboxMoving:
            # It may stay.  If not, the client is told so when it has gone.
            return True
        except MailStoreError:
            return False

    def is_moving(self) -> bool:
        """Whether it is on another server, or on its way there."""
        try:
            self.mailbox.rights()
        except MailboxMoving:
            return True
        except MailStoreError:
            pass
        return False

    def close(self) -> None:
        """Watch no more."""
        self.stop()
        self.mailbox.close()


def _state_of(mailbox: IMailbox) -> _State:
    counts = mailbox.counts()
    return _State(counts.messages, mailbox.uidnext(), counts.unseen, mailbox.highest_modseq())


class Notices:
    """
    What one session is told of, by one NOTIFY.

    @ivar selected_group: About the selected mailbox; None if the client did not say.
    """

    def __init__(self, session: Session, groups: Sequence[EventGroup]) -> None:
        self._session = session
        self._others = [group for group in groups if group.where.where not in OF_SELECTED]
        self.selected_group = next((group for group in groups if group.where.where in OF_SELECTED), None)
        self._watched: dict[MailboxName, _Watched] = {}
        self._names: dict[str, MailboxName] = {}
        self._subscribed: frozenset[MailboxName] = frozenset()
        self._stop: Callable[[], None] | None = None
        self._stop_selected: Callable[[], None] | None = None
        self._selected: SelectedMailbox | None = None
        self._annotations: AnnotationChanges | None = None
        self._refused: set[MailboxName] = set()
        self._fetched = 0
        self._is_list_changed = False
        self._metadata = MetadataNotices(session, self._others)

    async def begin(self) -> None:
        """
        Take everything as it is now.

        @raise TooMany: The client asks for more mailboxes than can be watched.
        """
        if self._others:
            self._stop = self._session.store.watch(self._list_changed)
        for name, attributes in await self._look():
            self._write_list(name, *attributes)
        self._names = await self._named()
        self._subscribed = await self._subscriptions()
        await self._metadata.begin()

    def close(self) -> None:
        """Tell no more."""
        for stop in (self._stop, self._stop_selected):
            if stop is not None:
                stop()
        self._stop = self._stop_selected = None
        if self._selected is not None:
            self._selected.tells_uids = False
            if self._selected.annotation_changes is self._annotations:
                self._selected.annotation_changes = None
        for watched in self._watched.values():
            watched.close()
        self._watched.clear()

    @property
    def watched(self) -> int:
        """How many mailboxes are watched."""
        return len(self._watched)

    # --- what to watch --------------------------------------------------

    def follow_selected(self) -> None:
        """Watch the mailbox that is selected now."""
        selected = self._session.selected
        if selected is self._selected:
            return
        if self._stop_selected is not None:
            self._stop_selected()
        self._selected, self._stop_selected, self._annotations = selected, None, None
        self._fetched = 0 if selected is None else selected.last_uid
        group = self.selected_group
        if selected is not None and group is not None and group.events:
            self._stop_selected = selected.mailbox.watch(self._session.telling.notice)
            selected.tells_uids = bool(group.events & CHANGE_EVENTS)
            if EventKind.ANNOTATION_CHANGE in group.events and selected.annotation_changes is None:
                selected.annotation_changes = self._annotations = AnnotationChanges(selected)

    def _list_changed(self) -> None:
        self._is_list_changed = True
        self._session.telling.notice()

    async def _look(self) -> list[tuple[MailboxName, tuple[bytes, ...]]]:
        """
        Watch the mailboxes that there are now.

        @return: Those of which the client is to be told that it may read them, or no longer may, with attributes.
        @raise TooMany: There are more than can be watched.
        """
        told: list[tuple[MailboxName, tuple[bytes, ...]]] = []
        wanted: dict[MailboxName, frozenset[EventKind]] = {}
        for group in self._others:
            for name in await mailboxes_of(self._session, [group.where]):
                # RFC 5465 section 6: the first group that has it counts.
                wanted.setdefault(name, group.events & MESSAGE_EVENTS)
        wanted = {name: events for name, events in wanted.items() if events}
        if len(wanted) > MAX_WATCHED:
            raise TooMany
        for name in [name for name, watched in self._watched.items() if name not in wanted or not watched.may_read()]:
            self._watched.pop(name).close()
        self._refused &= wanted.keys()
        for name, events in wanted.items():
            if name in self._watched:
                continue
            try:
                mailbox = await self._session.store.open(self._session.user, name, READ)
            except PermissionDenied:
                # RFC 5465 section 3.1: the client may know of it, but nothing more.
                if name not in self._refused:
                    self._refused.add(name)
                    told.append((name, (rb"\NoAccess",)))
                continue
            except MailStoreError:
                # It may not be known of, or went meanwhile.
                continue
            if name in self._refused:
                # RFC 5465 section 5.9
                self._refused.remove(name)
                told.append((name, ()))
            self._watched[name] = _Watched(mailbox, events, self._session.telling.notice)
        return told

    async def _named(self) -> dict[str, MailboxName]:
        """The mailboxes whose names are told, by unique id."""
        session = self._session
        groups = [group for group in self._others if EventKind.MAILBOX_NAME in group.events]
        if not groups:
            return {}
        names = set(await mailboxes_of(session, [group.where for group in groups]))
        scopes = [ListScope(space) for space in Namespace]
        found = await session.store.list(session.user, scopes)
        return {listing.unique_id: listing.name for listing in found if listing.exists and listing.name in names}

    async def _subscriptions(self) -> frozenset[MailboxName]:
        groups = [group.where for group in self._others if EventKind.SUBSCRIPTION_CHANGE in group.events]
        if not groups:
            return frozenset()
        every = await self._session.store.subscriptions(self._session.user)
        return frozenset(name for name in every if any(self._is_within(name, where) for where in groups))

    def _is_within(self, name: MailboxName, where: MailboxFilter) -> bool:
        """Whether a filter names a mailbox, which may not exist."""
        session = self._session
        if where.where is Where.SUBSCRIBED:
            return True
        if where.where is Where.PERSONAL:
            return name.owned_by(session.user)
        if where.where is Where.INBOXES:
            return name.owned_by(session.user) and name.is_inbox
        roots = [session.names.decode(wire, utf8=session.is_utf8) for wire in where.mailboxes]
        return name in roots or (where.where is Where.SUBTREE and any(map(name.is_below, roots)))

    # --- telling --------------------------------------------------------

    async def tell_status(self) -> None:
        """Tell how the watched mailboxes are (RFC 5465 section 3.1)."""
        for name, watched in self._watched.items():
            if not self._is_selected(name):
                items = [StatusItem.MESSAGES, StatusItem.UIDNEXT, StatusItem.UIDVALIDITY, StatusItem.UNSEEN]
                self._write_status(watched, items + self._modseq_items)
                await self._session.drain()

    async def tell(self) -> None:
        """Tell what happened outside of the selected mailbox."""
        if self._is_list_changed:
            self._is_list_changed = False
            names = await self._named()
            if self._has_departed(names):
                # RFC 5465 section 5.8: what was moved was not deleted, and its new server tells of it.
                self._overflow(b"Mailbox has been moved to another server")
                return
            try:
                # First, so that whoever is told of a mailbox hears of what comes into it from then on.
                looked = await self._look()
            except TooMany:
                self._tell_names(names)
                self._overflow(b"Too many mailboxes to watch")
                return
            self._tell_names(names)
            await self._tell_subscriptions()
            await self._metadata.tell()
            for name, attributes in looked:
                self._write_list(name, *attributes)
        for name, watched in list(self._watched.items()):
            if watched.is_changed:
                watched.is_changed = False
                self._tell_changes(name, watched)
                await self._session.drain()

    def _overflow(self, text: bytes) -> None:
        """Tell that nothing is told any more (RFC 5465 section 5.8)."""
        self._session.write(b"* OK [NOTIFICATIONOVERFLOW] %b\r\n" % text)
        self._session.telling.begin(None)

    def _has_departed(self, names: dict[str, MailboxName]) -> bool:
        """
        Whether a mailbox that the client is told of is on another server.

        @param names: Those that are here.
        """
        gone = self._names.keys() - names.keys()
        gone |= {watched.mailbox.unique_id for watched in self._watched.values() if watched.is_moving()}
        return any(map(self._session.store.has_departed, gone))

    async def tell_selected(self) -> None:
        """Tell what happened in the selected mailbox, if the client wants to know between its commands."""
        session, group, selected = self._session, self.selected_group, self._session.selected
        if group is None or not group.events or selected is None:
            return
        # RFC 5465 section 6.2: SELECTED-DELAYED keeps message numbers as they are until a command allows otherwise.
        may_expunge = session.is_idling or group.where.where is Where.SELECTED
        while await session.telling.tell_all(may_expunge):
            await session.drain()
        first, self._fetched = self._fetched + 1, selected.last_uid
        if group.items and first <= self._fetched:
            uids = selected.view.uids
            await session.telling.fetch(uids[uids >= np.uint32(first)], group.items)

    @property
    def _modseq_items(self) -> list[StatusItem]:
        return [StatusItem.HIGHESTMODSEQ] if self._session.enabled & {CONDSTORE, QRESYNC} else []

    def _is_selected(self, name: MailboxName) -> bool:
        selected = self._session.selected
        return selected is not None and selected.mailbox.name == name

    def _tell_changes(self, name: MailboxName, watched: _Watched) -> None:
        try:
            watched.mailbox.refresh()
        except MailboxMoving:
            return
        except MailStoreError:
            watched.close()
            self._watched.pop(name, None)
            return
        before, now = watched.told, _state_of(watched.mailbox)
        watched.told = now
        if self._is_selected(name) or before == now:
            return
        items: list[StatusItem] = []
        if EventKind.MESSAGE_NEW in watched.events and (before.messages, before.uidnext) != (now.messages, now.uidnext):
            items += [StatusItem.MESSAGES, StatusItem.UIDNEXT]
        if watched.events & CHANGE_EVENTS and self._modseq_items:
            items.append(StatusItem.UIDVALIDITY)
        if EventKind.FLAG_CHANGE in watched.events and before.unseen != now.unseen:
            items.append(StatusItem.UNSEEN)
        if items:
            # RFC 5465 sections 5.1 to 5.3
            self._write_status(watched, items + self._modseq_items)

    def _write_status(self, watched: _Watched, items: Sequence[StatusItem]) -> None:
        session, now = self._session, watched.told
        values = {
            StatusItem.MESSAGES: now.messages,
            StatusItem.UIDNEXT: now.uidnext,
            StatusItem.UIDVALIDITY: watched.mailbox.uidvalidity,
            StatusItem.UNSEEN: now.unseen,
            StatusItem.HIGHESTMODSEQ: now.modseq,
        }
        told = [(item, b"%d" % values[item]) for item in items]
        utf8 = session.is_utf8
        session.write(encode_status(session.names.encode(watched.mailbox.name, utf8=utf8), told, utf8=utf8))

    def _tell_names(self, now: dict[str, MailboxName]) -> None:
        """Tell what was created, removed or renamed (RFC 5465 section 5.4)."""
        before, self._names = self._names, now
        for unique_id, name in before.items():
            if unique_id not in now:
                self._write_list(name, rb"\NonExistent")
        for unique_id, name in now.items():
            old = before.get(unique_id)
            if old is None:
                self._write_list(name)
            elif old != name:
                self._write_list(name, old=old)

    async def _tell_subscriptions(self) -> None:
        """Tell what was subscribed to, or no longer is (RFC 5465 section 5.5)."""
        before, now = self._subscribed, await self._subscriptions()
        self._subscribed = now
        for name in sorted(now - before):
            self._write_list(name, *await self._existence(name), rb"\Subscribed")
        for name in sorted(before - now):
            self._write_list(name, *await self._existence(name))

    async def _existence(self, name: MailboxName) -> tuple[bytes, ...]:
        """Attributes that tell whether a mailbox is there: one may subscribe to any name."""
        try:
            if LOOKUP in await self._session.store.rights(self._session.user, name):
                return ()
        except MailboxNotFound:
            pass
        return (rb"\NonExistent",)

    def _write_list(self, name: MailboxName, *attributes: bytes, old: MailboxName | None = None) -> None:
        session = self._session
        utf8 = session.is_utf8
        wire = session.names.encode(name, utf8=utf8)
        line = encode_list(b"LIST", attributes, session.names.separator, wire, utf8=utf8)
        if old is not None:
            told = astring(session.names.encode(old, utf8=utf8), utf8=utf8)
            line = b'%b ("OLDNAME" (%b))\r\n' % (line.removesuffix(b"\r\n"), told)
        session.write(line)
