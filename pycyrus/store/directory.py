"""
The mailbox list, as this process knows it.

Entries are kept in memory as they are asked for; changes of other processes
are told by a L{Signal}, and by number in the table C{changes}, so that only
what changed is forgotten.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pycyrus.interfaces import IMailboxPublisher, MailboxListing, Published
from pycyrus.model.acl import LOOKUP, identifiers_of
from pycyrus.model.acl_text import BadAcl, parse_acl, tell_rights
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.store import access, rows
from pycyrus.store.database import Database
from pycyrus.store.rows import Entry, ListingRow, Row
from pycyrus.store.signal import Signal
from pycyrus.store.threads import StoreReactor, in_thread

T = TypeVar("T")

FILE_NAME = "mailboxes.db"
SIGNAL_NAME = "mailboxes.signal"
_MOST_ENTRIES = 100_000
_PAGE = 100
_KINDS = 1000
"""Rights that a listing remembers."""
_CHECK_INTERVAL = 1.0
"""Seconds after which the database itself is asked for changes, should a signal have been lost."""


class Directory:
    """
    The list of mailboxes of this server.

    @ivar version: Changes whenever anything in the list did.
    @ivar publisher: Told of all changes that are made here; None where nobody wants to know.
    @ivar has_departed: Whether a mailbox that is gone is on another server; None where none goes there.
    """

    log = Logger()

    def __init__(self, configdirectory: Path, reactor: StoreReactor) -> None:
        self._database = Database(configdirectory / FILE_NAME, rows.SCHEMA, rows.SCHEMA_VERSION, reactor)
        self._reactor = reactor
        # One thread of the pool at most waits for the list.
        self._turn = DeferredLock()
        self._signal = Signal(configdirectory / SIGNAL_NAME)
        self._entries: dict[MailboxName, Entry] = {}
        self._token = self._signal.value()
        self._checked = time.monotonic()
        self._last_change = rows.last_change(self._database.read)
        self._listeners: list[Callable[[set[str]], None]] = []
        # When each mailbox changed, in terms of the version; what is not in it changed before the floor.
        self._touched: dict[str, int] = {}
        self._floor = 0
        self.version = 0
        self.publisher: IMailboxPublisher | None = None
        self.has_departed: Callable[[str], bool] | None = None

    # --- one mailbox ----------------------------------------------------

    def lookup(self, name: MailboxName) -> Entry | None:
        """The entry of a name; None if there is none."""
        self.refresh()
        entry = self._entries.get(name)
        if entry is None:
            try:
                entry = rows.find(self._database.read, name)
            except BadAcl as error:
                self.log.error("Mailbox list has a damaged entry for {mailbox}: {error}", mailbox=name, error=error)
                return None
            if entry is not None:
                if len(self._entries) >= _MOST_ENTRIES:
                    self._entries.clear()
                self._entries[name] = entry
        return entry

    def by_id(self, unique_id: str) -> Entry | None:
        """The entry of a unique id; None if there is none."""
        self.refresh()
        return rows.find_id(self._database.read, unique_id)

    def nearest(self, name: MailboxName) -> Entry | None:
        """The nearest mailbox above a name that exists."""
        above = name.parent
        while above is not None:
            entry = self.lookup(above)
            if entry is not None:
                return entry
            above = above.parent
        return None

    @property
    def reading(self) -> sqlite3.Connection:
        """For short reads of L{pycyrus.store.rows}, on the reactor thread."""
        return self._database.read

    def tree(self, name: MailboxName) -> list[Entry]:
        """A mailbox, if it exists, and all its inferiors, in order."""
        return rows.tree(self._database.read, name)

    def has_inferiors(self, name: MailboxName) -> bool:
        """Whether a mailbox exists below a name."""
        return rows.has_inferiors(self._database.read, name)

    def numbers_between(self, low: str, high: str) -> list[tuple[int, str, str]]:
        """Row number, key and unique id of each mailbox in a range of keys, in order."""
        return rows.numbers_between(self._database.read, low, high)

    def entries(self, domain: str | None = None, *, deleted: bool | None = None) -> Iterator[Entry]:
        """
        All mailboxes, whoever they are for, in order; the database is not held between two pages.

        @param domain: None for all.
        @param deleted: Only delayed-deleted ones, or only others.
        """
        for each in list(self.domains()) if domain is None else [domain]:
            low, high = rows.deleted_range(each) if deleted else rows.domain_range(each)
            for entry in self._between(low, high):
                if deleted is not False or entry.name.deleted is None:
                    yield entry

    def tree_of(self, name: MailboxName) -> Iterator[Entry]:
        """A mailbox, if it is there, and all below it, likewise."""
        return self._between(*rows.tree_range(rows.key_of(name)))

    def _between(self, low: str, high: str) -> Iterator[Entry]:
        for page in self._range_pages(low, high):
            for row in page:
                try:
                    yield rows.entry_of(row)
                except BadAcl as error:
                    self.log.error(
                        "Mailbox list has a damaged entry for {mailbox}: {error}",
                        mailbox=rows.name_of(row[0]),
                        error=error,
                    )

    def has_pending(self) -> bool:
        """Whether directories are still to be moved or removed."""
        return bool(rows.pending(self._database.read))

    # --- changes --------------------------------------------------------

    def refresh(self) -> int:
        """
        Forget what other processes changed; cheap when nothing was.

        @return: L{version}.
        """
        token = self._signal.value()
        if token != self._token or time.monotonic() - self._checked > _CHECK_INTERVAL:
            self._token = token
            self._checked = time.monotonic()
            self._catch_up()
        return self.version

    def _catch_up(self) -> None:
        changes = list(rows.changes_since(self._database.read, self._last_change))
        if not changes:
            return
        self.version += 1
        if changes[0][0] > self._last_change + 1 or len(self._touched) > _MOST_ENTRIES:
            self._entries.clear()
            self._touched.clear()
            self._floor = self.version
        for _, key, _unique_id in changes:
            self._entries.pop(rows.name_of(key), None)
        self._last_change = changes[-1][0]
        changed = {unique_id for _, _, unique_id in changes}
        self._touched.update(dict.fromkeys(changed, self.version))
        for listener in list(self._listeners):
            listener(changed)

    def touched(self, unique_id: str) -> int:
        """The version since which a mailbox has not changed, for all that is known; see C{refresh}."""
        return self._touched.get(unique_id, self._floor)

    def listen(self, listener: Callable[[set[str]], None]) -> None:
        """Have a function told the unique ids of mailboxes that changed, when that is noticed."""
        self._listeners.append(listener)

    async def change(
        self,
        function: Callable[[sqlite3.Connection], T],
        then: Callable[[sqlite3.Connection], object] | None = None,
        *,
        is_told: bool = True,
    ) -> T:
        """
        Change the list within a transaction, on a thread.

        While a function runs, no process changes the list.

        @param then: Run in a second transaction, when the first is durable.
        @param is_told: The other servers are told of it now, and not when both lists are compared.
        @raise StoreUnavailable: Nothing was changed, or only C{then} failed.
        """
        changed: list[tuple[str, str]] = []

        def noted(connection: sqlite3.Connection) -> T:
            before = rows.last_change(connection)
            result = function(connection)
            changed.extend((key, unique_id) for _, key, unique_id in rows.changes_since(connection, before))
            return result

        try:
            result: T = await self._turn.run(in_thread, self._reactor, self.change_now, noted, then)
        finally:
            self.refresh()
            if self.publisher is not None and changed and is_told:
                await self._publish(self.publisher, changed)
        return result

    async def _publish(self, publisher: IMailboxPublisher, changed: Iterable[tuple[str, str]]) -> None:
        """Tell the other servers what has become of the names that were changed."""
        gone: list[MailboxName] = []
        there: list[Published] = []
        for key in sorted({key for key, _ in changed}):
            name = rows.name_of(key)
            entry = self.lookup(name)
            if entry is None:
                gone.append(name)
            else:
                there.append(published(entry))
        await publisher.publish(gone, there)

    def when_full(self, take_back: Callable[[sqlite3.Connection], None]) -> None:
        """Have something called as L{Database.when_full}."""
        self._database.when_full = take_back

    def change_now(
        self, function: Callable[[sqlite3.Connection], T], then: Callable[[sqlite3.Connection], object] | None = None
    ) -> T:
        """Like C{change}, but it waits: for threads and for tools."""
        try:
            result = self._database.transaction(function)
            if then is not None:
                self._database.transaction(then)
        finally:
            # A crash before the signal is noticed by the others within a second.
            self._signal.change()
        return result

    # --- listings -------------------------------------------------------

    def listings(self, identity: Identity, scope: ListScope) -> Iterator[list[tuple[str, MailboxListing]]]:
        """
        What an identity may see within a scope, with the keys by which it is sorted.

        @return: Pages, in order of name but for what is seen by grants; the
            database is not held between two pages.
        """
        describe = _Describer(identity)
        for page in self._pages(identity, scope):
            yield [(row[0], listing) for row in page if (listing := describe(row)) is not None]

    def walk(
        self, identity: Identity, scopes: Iterable[ListScope], depth: int | None = None
    ) -> Iterator[list[MailboxListing]]:
        """
        What an administrator may see within any of the scopes, in order of name.

        @param depth: As L{pycyrus.interfaces.IMailStore.walk}.
        @return: Pages, each of which costs little; the database is not held between two.
        """
        describe = _Describer(identity)
        ranges = sorted({each for scope in scopes for each in self._ranges(identity, scope)})
        last: ListingRow | None = None
        for page in self._pages_of_ranges(ranges, depth):
            listings: list[MailboxListing] = []
            for row in page:
                if last is not None and (listing := describe.listing(last, row[0].startswith(last[0]))) is not None:
                    listings.append(listing)
                last = row
            yield listings
        if last is not None and (listing := describe.listing(last, has_children=False)) is not None:
            yield [listing]

    def _pages_of_ranges(self, ranges: list[tuple[str, str]], depth: int | None) -> Iterator[list[ListingRow]]:
        """Rows of ranges that may overlap, each once, in order."""
        done = ""
        for low, high in ranges:
            if high <= done:
                continue
            low, after = max(low, done), False
            while page := rows.page_for_listing(self._database.read, low, high, _PAGE, after=after):
                is_last = len(page) < _PAGE
                low, after = page[-1][0], True
                if depth is not None:
                    page, beyond = _without_cousins(page, depth)
                    if beyond > low:
                        low, after = beyond, False
                yield page
                if is_last:
                    break
            done = high

    def _ranges(self, identity: Identity, scope: ListScope) -> Iterator[tuple[str, str]]:
        """Keys of what lies within a scope of an administrator."""
        if scope.namespace is Namespace.PERSONAL and not scope.deleted:
            if scope.domain in (None, identity.domain) and scope.owner in (None, identity.user):
                yield rows.tree_range(rows.key_of(MailboxName(identity.domain, identity.user, scope.path)))
            return
        for domain in self._domains(identity, scope):
            if scope.deleted:
                yield rows.deleted_range(domain)
            elif scope.owner is not None or scope.path:
                yield rows.tree_range(rows.key_of(MailboxName(domain, scope.owner, scope.path)))
            else:
                yield rows.kind_range(domain, shared=scope.namespace is Namespace.SHARED)

    def _pages(self, identity: Identity, scope: ListScope) -> Iterator[list[Row]]:
        if scope.deleted:
            yield from self._deleted_pages(identity, scope)
        elif scope.namespace is Namespace.PERSONAL:
            own = MailboxName(identity.domain, identity.user, scope.path)
            if scope.domain in (None, identity.domain) and scope.owner in (None, identity.user):
                yield from self._range_pages(*rows.tree_range(rows.key_of(own)))
        elif scope.owner is not None and scope.namespace is Namespace.OTHER:
            yield from self._owner_pages(identity, scope, scope.owner)
        elif identity.admin is not AdminScope.NONE:
            yield from self._administered_pages(identity, scope)
        else:
            yield from self._granted_pages(identity, scope)

    def _range_pages(self, low: str, high: str) -> Iterator[list[Row]]:
        after = False
        while page := rows.page(self._database.read, low, high, _PAGE, after=after):
            yield page
            if len(page) < _PAGE:
                return
            low, after = page[-1][0], True

    def _owner_pages(self, identity: Identity, scope: ListScope, owner: str) -> Iterator[list[Row]]:
        """Mailboxes of one other user."""
        if scope.domain is not None or identity.admin is not AdminScope.GLOBAL:
            domain = identity.domain if scope.domain is None else scope.domain
            yield from self._range_pages(*rows.tree_range(rows.key_of(MailboxName(domain, owner, scope.path))))
            return
        low = ""
        while page := rows.page_of_owner(self._database.read, owner, low, _PAGE):
            yield [row for row in page if _begins(row, scope)]
            low = page[-1][0]

    def _administered_pages(self, identity: Identity, scope: ListScope) -> Iterator[list[Row]]:
        """Mailboxes of all users, or shared ones, as far as an administrator reaches."""
        shared = scope.namespace is Namespace.SHARED
        for domain in self._domains(identity, scope):
            if scope.path:
                yield from self._range_pages(*rows.tree_range(rows.key_of(MailboxName(domain, None, scope.path))))
            else:
                yield from self._range_pages(*rows.kind_range(domain, shared=shared))

    def _deleted_pages(self, identity: Identity, scope: ListScope) -> Iterator[list[Row]]:
        for domain in self._domains(identity, scope):
            yield from self._range_pages(*rows.deleted_range(domain))

    def _domains(self, identity: Identity, scope: ListScope) -> Iterator[str]:
        """Domains that an administrator reaches and that the scope holds."""
        if identity.admin is AdminScope.GLOBAL and scope.domain is None:
            yield from self.domains()
            return
        domain = identity.domain if scope.domain is None else scope.domain
        if identity.administers(domain):
            yield domain

    def domains(self) -> Iterator[str]:
        """All domains that have mailboxes, in order; each costs one step in the index."""
        low = ""
        while page := rows.page(self._database.read, low, "\U0010ffff", 1, after=False):
            domain = rows.name_of(page[0][0]).domain
            yield domain
            low = rows.domain_range(domain)[1]

    def _granted_pages(self, identity: Identity, scope: ListScope) -> Iterator[list[Row]]:
        """What entries let an ordinary identity see of others."""
        domain = scope.domain if identity.crosses_domains else identity.domain
        if scope.domain not in (None, domain) or identity.postman:
            return
        shared = scope.namespace is Namespace.SHARED
        identifiers = sorted(identifiers_of(identity))
        after = 0
        while page := rows.page_of_granted(
            self._database.read, identifiers, domain, shared=shared, after=after, limit=_PAGE
        ):
            yield [row for row in page if _begins(row, scope)]
            if len(page) < _PAGE:
                return
            after = page[-1][-1]

    def namespaces(self, identity: Identity) -> frozenset[Namespace]:
        """In which namespaces the identity has something to see; one's own is always there."""
        found = {Namespace.PERSONAL}
        for namespace in (Namespace.OTHER, Namespace.SHARED):
            if self._any_visible(identity, ListScope(namespace)):
                found.add(namespace)
        return frozenset(found)

    def _any_visible(self, identity: Identity, scope: ListScope) -> bool:
        own = scope.namespace is Namespace.OTHER
        return any(
            not (own and listing.name.owned_by(identity))
            for page in self.listings(identity, scope)
            for _, listing in page
        )

    # --- the end --------------------------------------------------------

    def close(self) -> None:
        """Give the files back."""
        self._database.close()
        self._signal.close()


def _without_cousins(page: list[ListingRow], depth: int) -> tuple[list[ListingRow], str]:
    """
    Leave out what is too deep, but for the first below each ancestor.

    @return: The rest, and the key before which nothing more is wanted.
    """
    kept: list[ListingRow] = []
    skipped = ""
    for row in page:
        if row[0] < skipped:
            continue
        kept.append(row)
        skipped = rows.beyond(row[0], depth) or ""
    return kept, skipped


def published(entry: Entry) -> Published:
    """What other servers are told of a mailbox."""
    # With the letters of old, as Cyrus has them.
    acl = "".join(f"{identifier}\t{tell_rights(rights)}\t" for identifier, rights in entry.acl.entries)
    return Published(entry.name, entry.partition, acl)


class _Describer:
    """Makes listings for one identity; what many mailboxes share is computed once."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._rights: dict[tuple[str, str, bool, bool], frozenset[str]] = {}
        self._last: tuple[str, str, str | None, str | None] | None = None
        self._held = access.NO_RIGHTS

    def __call__(self, row: Row) -> MailboxListing | None:
        """The listing of a row, whose children are not known yet; None if it is not for the identity."""
        return self.listing((row[0], row[6], row[7], row[1]), has_children=False)

    def listing(self, row: ListingRow, has_children: bool) -> MailboxListing | None:
        """The listing of a row; None if it is not for the identity."""
        key, acl, special_use, unique_id = row
        name = rows.name_of(key)
        # Neighbours mostly have the same owner, and the same rights.
        here = acl, name.domain, name.owner, name.deleted
        if here != self._last:
            self._last = here
            kind = (acl, name.domain, name.owned_by(self._identity), name.deleted is None)
            known = self._rights.get(kind)
            if known is None:
                if len(self._rights) >= _KINDS:
                    self._rights.clear()
                known = self._rights[kind] = self._evaluate(name, acl)
            self._held = known
        held = self._held
        if LOOKUP not in held:
            return None
        # What was deleted together has the same time at the end of each name, and nothing is below that.
        has_children = has_children and name.deleted is None
        return MailboxListing(
            name, True, has_children, tuple(special_use.split()) if special_use else (), held, unique_id
        )

    def _evaluate(self, name: MailboxName, acl: str) -> frozenset[str]:
        try:
            return access.rights(self._identity, name, parse_acl(acl))
        except BadAcl:
            Directory.log.error("Mailbox list has a damaged entry for {mailbox}", mailbox=name)
            return access.NO_RIGHTS


def in_order(found: Iterable[tuple[str, MailboxListing]]) -> list[MailboxListing]:
    """
    Sort listings by their keys, each once, and find out which have children.

    A child comes right after its parent, so one look ahead is enough.
    """
    ordered = sorted(dict(found).items(), key=itemgetter(0))
    listings = [listing for _, listing in ordered]
    # A key ends with the mark between components, so keys of inferiors begin with it.
    for index, ((key, listing), (following, _)) in enumerate(pairwise(ordered)):
        if following.startswith(key) and listing.name.deleted is None:
            listings[index] = replace(listing, has_children=True)
    return listings


def _begins(row: Row, scope: ListScope) -> bool:
    return not scope.path or rows.name_of(row[0]).path[: len(scope.path)] == scope.path
