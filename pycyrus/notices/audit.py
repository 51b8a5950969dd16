"""
The audit log: a line for each change of a mailbox or a message, as Cyrus writes them (C{auditlog}).

It stands around whatever else watches sessions, and lets no failure of its own
reach them: what was done has been done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import (
    Appended,
    Arrival,
    Copied,
    Expunged,
    IDeliveryObserver,
    IMailbox,
    IMailStore,
    ISessionWatch,
    IStoreObserver,
    NewMessage,
    SessionFacts,
    Stored,
)
from pycyrus.model.acl_changes import AclChange
from pycyrus.model.acl_text import write_acl
from pycyrus.model.flags import SYSTEM_FLAG_NAMES, FlagChange
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName, internal
from pycyrus.model.quota import Enforcement, Limit
from pycyrus.model.uids import UidArray
from pycyrus.model.view import CachedItem, View
from pycyrus.notices.contents import found, message_id
from pycyrus.notices.passing import PassingMailbox, PassingStore
from pycyrus.notices.urls import OBSERVER


class AuditLog:
    """Writes the lines."""

    log = Logger()

    def __init__(self, deleted_prefix: str) -> None:
        """@param deleted_prefix: Of internal names."""
        self._deleted_prefix = deleted_prefix

    def name(self, name: MailboxName) -> str:
        """The internal name, by which Cyrus calls mailboxes."""
        return internal(name, self._deleted_prefix)

    def write(self, service: str, action: str, fields: Mapping[str, object]) -> None:
        """
        Write a line.

        @param fields: In their order; those whose name ends with an equals sign
            are written as they are, others in angle brackets.
        """
        texts = (
            f"{name}{_clean(value)}" if name.endswith("=") else f"{name}=<{_clean(value)}>"
            for name, value in fields.items()
        )
        self.log.info("auditlog: {action} {fields}", action=action, fields=" ".join(texts), service=service)


def _clean(value: object) -> str:
    """Nothing that a client named can make another line."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def _message_fields(view: View, at: int) -> dict[str, object]:
    flags = int(view.flags[at])
    return {
        "uid": int(view.uids[at]),
        "modseq": int(view.modseqs[at]),
        "sysflags": " ".join(name.decode("ascii") for bit, name in SYSTEM_FLAG_NAMES if flags & bit),
        "guid": bytes(view.guids[at]).hex(),
    }


def _tell_appended(
    audit: AuditLog, service: str, session_id: str, mailbox: IMailbox, uids: Sequence[int] | UidArray
) -> None:
    try:
        mailbox.refresh()
        view = mailbox.view()
        positions = found(view, np.asarray(uids, dtype=np.uint32))
        # Of the cache, which who may only post may look into as well.
        [envelopes] = view.cached(positions, (CachedItem.ENVELOPE,))
        for at, envelope in zip(positions.tolist(), envelopes, strict=True):
            fields = {
                "sessionid": session_id,
                "mailbox": audit.name(mailbox.name),
                "uniqueid": mailbox.unique_id,
                **_message_fields(view, at),
                "messageid=": message_id(envelope),
                "size": int(view.sizes[at]),
            }
            audit.write(service, "append", fields)
    except Exception:  # noqa: BLE001 - it is in its mailbox: that must be heard, whatever fails here
        audit.log.failure("an auditlog line cannot be written")


@implementer(IDeliveryObserver)
class AuditedDeliveries:
    """Deliveries, and whoever else is told of them."""

    def __init__(self, audit: AuditLog, other: IDeliveryObserver | None) -> None:
        self._audit = audit
        self._other = other

    def delivered(self, arrival: Arrival) -> None:
        """See L{IDeliveryObserver.delivered}."""
        if arrival.opened is not None:
            _tell_appended(self._audit, "lmtp", arrival.session_id, arrival.opened, [arrival.uid])
        if self._other is not None:
            self._other.delivered(arrival)

    def over_quota(self, mailbox: MailboxName, session_id: str, service: str) -> None:
        """See L{IDeliveryObserver.over_quota}."""
        if self._other is not None:
            self._other.over_quota(mailbox, session_id, service)

    def close(self) -> None:
        """See L{IDeliveryObserver.close}."""
        if self._other is not None:
            self._other.close()


@implementer(IStoreObserver)
class AuditedSessions:
    """Sessions, and whoever else watches them."""

    def __init__(self, audit: AuditLog, other: IStoreObserver | None) -> None:
        self._audit = audit
        self._other = other

    def watch(self, store: IMailStore, facts: SessionFacts) -> ISessionWatch:
        """A session begins; see L{IStoreObserver}."""
        other = None if self._other is None else self._other.watch(store, facts)
        watch: ISessionWatch = _AuditedSession(self._audit, store, facts, other)
        return watch


@implementer(ISessionWatch)
class _AuditedSession:
    """One session; its coming and going are in the log anyway."""

    def __init__(self, audit: AuditLog, store: IMailStore, facts: SessionFacts, other: ISessionWatch | None) -> None:
        self._other = other
        self._audit = audit
        self.facts = facts
        self.name = audit.name
        self.store: IMailStore = AuditedStore(store if other is None else other.store, self)

    def write(self, action: str, fields: Mapping[str, object]) -> None:
        """Write a line of this session."""
        self._audit.write(self.facts.service, action, {"sessionid": self.facts.session_id, **fields})

    def tell_appended(self, mailbox: IMailbox, uids: Sequence[int] | UidArray) -> None:
        """Write the lines of messages that are new in a mailbox."""
        _tell_appended(self._audit, self.facts.service, self.facts.session_id, mailbox, uids)

    def logged_in(self, identity: Identity) -> None:
        """Somebody has come in."""
        if self._other is not None:
            self._other.logged_in(identity)

    def logged_out(self) -> None:
        """Who came in has gone."""
        if self._other is not None:
            self._other.logged_out()


@implementer(IMailStore)
class AuditedStore(PassingStore):
    """The store of one session, which writes lines of what is done."""

    def __init__(self, store: IMailStore, session: _AuditedSession) -> None:
        super().__init__(store)
        self._session = session

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """See L{IMailStore.open}."""
        opened: IMailbox = AuditedMailbox(await self._store.open(identity, name, right), self._session)
        return opened

    async def create(
        self, identity: Identity, name: MailboxName, *, partition: str | None = None, special_use: Sequence[str] = ()
    ) -> str:
        """See L{IMailStore.create}."""
        unique_id = await self._store.create(identity, name, partition=partition, special_use=special_use)
        _, uidvalidity = await self._numbers(name)
        self._write("create", name, unique_id, {"uidvalidity": uidvalidity or 0})
        return unique_id

    async def delete(self, identity: Identity, name: MailboxName) -> None:
        """See L{IMailStore.delete}."""
        unique_id, _ = await self._numbers(name)
        await self._store.delete(identity, name)
        self._write("delete", name, unique_id, {})

    async def rename(
        self, identity: Identity, old: MailboxName, new: MailboxName, *, partition: str | None = None
    ) -> list[tuple[MailboxName, MailboxName]]:
        """See L{IMailStore.rename}."""
        renamed = await self._store.rename(identity, old, new, partition=partition)
        for was, now in renamed:
            unique_id, _ = await self._numbers(now)
            names = {"oldmailbox": self._session.name(was), "newmailbox": self._session.name(now)}
            self._session.write("rename", {**names, "uniqueid": unique_id})
        return renamed

    async def change_acl(self, identity: Identity, name: MailboxName, change: AclChange) -> None:
        """See L{IMailStore.change_acl}."""
        before = await self._acl(name)
        await self._store.change_acl(identity, name, change)
        unique_id, _ = await self._numbers(name)
        self._write("acl", name, unique_id, {"mbtype": "", "oldacl": before, "acl": await self._acl(name)})

    async def set_quota(
        self, identity: Identity, root: MailboxName, limits: Sequence[Limit], *, anywhere: bool = False
    ) -> None:
        """See L{IMailStore.set_quota}."""
        await self._store.set_quota(identity, root, limits, anywhere=anywhere)
        fields = {limit.name: limit.value for limit in limits}
        self._session.write("setquota", {"root": self._session.name(root), **fields})

    def _write(self, action: str, name: MailboxName, unique_id: str, fields: Mapping[str, object]) -> None:
        self._session.write(action, {"mailbox": self._session.name(name), "uniqueid": unique_id, **fields})

    async def _acl(self, name: MailboxName) -> str:
        with suppress(MailStoreError):
            return write_acl(await self._store.acl(OBSERVER, name)).replace("\t", " ").strip()
        return ""


@implementer(IMailbox)
class AuditedMailbox(PassingMailbox):
    """One opening."""

    def __init__(self, mailbox: IMailbox, session: _AuditedSession) -> None:
        super().__init__(mailbox)
        self._session = session

    async def append(self, messages: Sequence[NewMessage], *, enforcement: Enforcement = Enforcement.FULL) -> Appended:
        """See L{IMailbox.append}."""
        appended = await self._mailbox.append(messages, enforcement=enforcement)
        self._session.tell_appended(self._mailbox, appended.uids)
        return appended

    async def store(self, uids: UidArray, change: FlagChange, unchanged_since: int | None = None) -> Stored:
        """See L{IMailbox.store}."""
        before = self._mailbox.view()
        where = np.flatnonzero(np.isin(before.uids, uids))
        old = dict(zip(before.uids[where].tolist(), before.flags[where].tolist(), strict=True))
        stored = await self._mailbox.store(uids, change, unchanged_since)
        if stored.modseq is not None:
            self._tell_touched(old, stored.modseq)
        return stored

    async def expunge(self, uids: UidArray | None = None) -> Expunged:
        """See L{IMailbox.expunge}."""
        before = self._mailbox.view()
        expunged = await self._mailbox.expunge(uids)
        self._tell_expunged(before, expunged)
        return expunged

    async def copy(self, uids: UidArray, target: IMailbox) -> Copied:
        """See L{IMailbox.copy}."""
        inner = _inner(target)
        copied = await self._mailbox.copy(uids, inner)
        self._session.tell_appended(inner, copied.target_uids)
        return copied

    async def move(self, uids: UidArray, target: IMailbox) -> tuple[Copied, Expunged]:
        """See L{IMailbox.move}."""
        inner, before = _inner(target), self._mailbox.view()
        copied, expunged = await self._mailbox.move(uids, inner)
        self._session.tell_appended(inner, copied.target_uids)
        self._tell_expunged(before, expunged)
        return copied, expunged

    # --- telling ------------------------------------------------------------------------

    def _whose(self) -> dict[str, object]:
        return {"mailbox": self._session.name(self._mailbox.name), "uniqueid": self._mailbox.unique_id}

    def _tell_expunged(self, before: View, expunged: Expunged) -> None:
        for at in np.flatnonzero(np.isin(before.uids, expunged.uids)).tolist():
            fields = {**_message_fields(before, at), "modseq": expunged.modseq, "size": int(before.sizes[at])}
            self._session.write("expunge", {**self._whose(), **fields})

    def _tell_touched(self, old: Mapping[int, int], modseq: int) -> None:
        with suppress(MailStoreError):
            self._mailbox.refresh()
            view = self._mailbox.view()
            changed = np.isin(view.uids, np.array(list(old), dtype=np.uint32)) & (view.modseqs == modseq)
            for at in np.flatnonzero(changed).tolist():
                fields = _message_fields(view, at)
                flags = old[int(view.uids[at])]
                names = " ".join(name.decode("ascii") for bit, name in SYSTEM_FLAG_NAMES if flags & bit)
                told = {name: fields[name] for name in ("uid", "guid", "modseq")}
                self._session.write(
                    "touched", {**self._whose(), **told, "oldflags": names, "sysflags": fields["sysflags"]}
                )


def _inner(mailbox: IMailbox) -> IMailbox:
    return mailbox._mailbox if isinstance(mailbox, AuditedMailbox) else mailbox
