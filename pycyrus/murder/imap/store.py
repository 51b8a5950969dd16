"""The store as a session of a frontend sees it: what is listed is what the directory knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import merge
from itertools import chain, groupby, islice, pairwise, zip_longest
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.logger import Logger

from pycyrus.errors import InvalidMailboxName, MailboxNotFound, PermissionDenied, StoreUnavailable
from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor, astring
from pycyrus.interfaces import Counts, Location, LocationState, MailboxListing, MailboxStatus
from pycyrus.model.acl import ADMINISTER, CREATE, LOOKUP, Acl, identifiers_of, rights_of
from pycyrus.model.acl_text import BadAcl, may_grant, parse_acl
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.internal_names import internal, parse_internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.murder.imap.values import values_at
from pycyrus.murder.imap.visibility import unless_hidden
from pycyrus.murder.servers.responses import BadResponse, split_responses
from pycyrus.store.directory import in_order

if TYPE_CHECKING:
    from pycyrus.imap.session import Session
    from pycyrus.interfaces import IMailbox, IMailStore, IStaged
    from pycyrus.murder.imap.routes import SessionRoutes

T = TypeVar("T")

_PAGE = 200
_WALKED = 50
"""Names looked at without giving way."""
_LIST_FLAGS = 100
_STATUS = b"(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN%b)"
_MORE_STATUS = (
    (b"CONDSTORE", b" HIGHESTMODSEQ"),
    (b"STATUS=SIZE", b" SIZE"),
    (b"OBJECTID", b" MAILBOXID"),
    (b"QUOTASET", b" DELETED"),
)


class SessionStore:
    """
    The local store, and around it what other servers have.

    Only what is answered by the frontend itself comes here; most commands about one mailbox
    are passed on as they are.

    @ivar wants_uses: The listing at work tells special uses, which the directory does not know.
    """

    log = Logger()

    def __init__(self, session: Session, routes: SessionRoutes) -> None:
        self._local: IMailStore = session.store
        self._session = session
        self._routes = routes
        self.wants_uses = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._local, name)

    # --- what is here ---------------------------------------------------------------------

    async def open(self, identity: Identity, name: MailboxName, right: str) -> IMailbox:
        """Open a mailbox of this server; see L{pycyrus.interfaces.IMailStore}."""
        return await self._told_of_parents(self._local.open(identity, name, right), identity, name)

    async def stage(self, identity: Identity, name: MailboxName) -> IStaged:
        """Begin to receive a message for a mailbox of this server; see L{pycyrus.interfaces.IMailStore}."""
        return await self._told_of_parents(self._local.stage(identity, name), identity, name)

    async def _told_of_parents(self, work: Coroutine[Any, Any, T], identity: Identity, name: MailboxName) -> T:
        """@raise MailboxNotFound: With C{creatable}, if the mailbox above is on another server, and would allow it."""
        try:
            return await work
        except MailboxNotFound as error:
            if error.creatable or not self._could_create(identity, name):
                raise
            raise MailboxNotFound(str(error), creatable=True) from None

    def _could_create(self, identity: Identity, name: MailboxName) -> bool:
        shared = self._routes.routes
        parent = None if name.deleted is not None else name.parent
        while parent is not None:
            mailbox = internal(parent, shared.deleted_prefix)
            found = shared.directory.known(mailbox, "", 1)
            if found and found[0].mailbox == mailbox:
                listing = self._parse(found[0])
                return listing is not None and (
                    identity.administers(name.domain) or CREATE in rights_of(identity, *listing)
                )
            parent = parent.parent
        return False

    # --- listings -----------------------------------------------------------------------

    async def list(self, identity: Identity, scopes: Sequence[ListScope]) -> Sequence[MailboxListing]:
        """What may be seen, wherever it is; see L{pycyrus.interfaces.IMailStore}."""
        found: dict[str, MailboxListing] = {}
        servers: set[str] = set()
        for scope in scopes:
            await self._list_scope(identity, scope, found, servers)
        if self.wants_uses:
            uses = await self._uses(servers)
            found = {
                mailbox: replace(listing, special_use=uses.get(listing.name, ())) for mailbox, listing in found.items()
            }
        shared = self._routes.routes
        if shared.settings.has_own:
            # What is here is known better than the directory knows it.
            local = await self._local.list(identity, scopes)
            found |= {internal(listing.name, shared.deleted_prefix): listing for listing in local}
        return in_order((_order(mailbox), listing) for mailbox, listing in found.items())

    def walk(
        self, identity: Identity, scopes: Sequence[ListScope], depth: int | None = None
    ) -> Iterator[Sequence[MailboxListing]]:
        """What an administrator may see, page by page; see L{pycyrus.interfaces.IMailStore}."""
        elsewhere = self._walk_elsewhere(identity, scopes)
        if not self._routes.routes.settings.has_own:
            yield from elsewhere
            return
        pages = (self._with_children(page) for page in self._local.walk(identity, scopes, depth))
        merged = merge(chain.from_iterable(pages), chain.from_iterable(elsewhere), key=lambda listing: listing.name)
        # What both say they have is told once.
        listings = (next(group) for _, group in groupby(merged, key=lambda listing: listing.name))
        while page := list(islice(listings, _WALKED)):
            yield page

    def _with_children(self, page: Sequence[MailboxListing]) -> Iterator[MailboxListing]:
        """Mailboxes of this server, each knowing whether another server has something below it."""
        shared = self._routes.routes
        for listing in page:
            below = internal(listing.name, shared.deleted_prefix) + "."
            has_children = listing.has_children or bool(shared.directory.known(below, "", 1))
            yield listing if has_children is listing.has_children else replace(listing, has_children=has_children)

    def _walk_elsewhere(self, identity: Identity, scopes: Sequence[ListScope]) -> Iterator[Sequence[MailboxListing]]:
        """What the directory has, page by page."""
        shared = self._routes.routes
        prefixes = sorted({each for scope in scopes for each in _prefixes(identity, scope, shared.deleted_prefix)})
        done: list[str] = []
        for prefix in prefixes:
            if any(prefix.startswith(each) for each in done):
                continue
            done.append(prefix)
            after = ""
            while page := shared.directory.known(prefix, after, _WALKED):
                after = page[-1].mailbox
                following = [location.mailbox for location in page[1:]]
                following += [location.mailbox for location in shared.directory.known(prefix, after, 1)]
                found = []
                for location, behind in zip_longest(page, following, fillvalue=None):
                    assert location is not None
                    listings = (self._listing(identity, scope, location) for scope in scopes)
                    listing = next((each for each in listings if each is not None), None)
                    if listing is not None:
                        has_children = self._has_children(location.mailbox, behind or "")
                        found.append(replace(listing, has_children=has_children))
                yield found
                if len(page) < _WALKED:
                    break

    def _has_children(self, mailbox: str, behind: str) -> bool:
        """@param behind: The name that follows in the order of octets."""
        if not behind.startswith(mailbox) or behind.startswith(mailbox + "."):
            return behind.startswith(mailbox)
        # Some characters come before the dot.
        return behind[len(mailbox)] < "." and bool(self._routes.routes.directory.known(mailbox + ".", "", 1))

    async def _list_scope(
        self, identity: Identity, scope: ListScope, found: dict[str, MailboxListing], servers: set[str]
    ) -> None:
        """@param servers: Gets those that know special uses of what is found."""
        async for page in self._pages(identity, scope):
            for location in page:
                listing = self._listing(identity, scope, location)
                if listing is not None:
                    found[location.mailbox] = listing
                    if location.server and (
                        listing.name.owned_by(identity) or identity.administers(listing.name.domain)
                    ):
                        servers.add(location.server)

    async def _pages(self, identity: Identity, scope: ListScope) -> AsyncIterator[Sequence[Location]]:
        """
        What may be within a scope.

        There may be a million mailboxes, of which a user may see some.
        """
        shared = self._routes.routes
        sees_all = identity.admin is not AdminScope.NONE or identity.postman or scope.deleted
        is_shared = not sees_all and scope.namespace is not Namespace.PERSONAL
        who = identifiers_of(identity)
        for prefix in _prefixes(identity, scope, shared.deleted_prefix):
            after = ""
            while page := shared.directory.known(prefix, after, _PAGE, shared=is_shared):
                after = page[-1].mailbox
                yield [each for each in page if may_grant(each.acl, who, LOOKUP)] if is_shared else page
                if len(page) < _PAGE:
                    break
                await self._session.pause()

    def _listing(self, identity: Identity, scope: ListScope, location: Location) -> MailboxListing | None:
        if not location.server and self._routes.routes.settings.has_own:
            # That is known better than the directory knows it.
            return None
        if location.state is not LocationState.ACTIVE or not _NOT_FOR_MAIL.isdisjoint(location.mailbox.split(".")):
            return None
        parsed = self._parse(location)
        if parsed is None:
            return None
        name, acl = parsed
        if not _is_within(identity, name, scope):
            return None
        if name.deleted is not None and not identity.administers(name.domain):
            return None
        rights = rights_of(identity, name, acl)
        if LOOKUP not in rights:
            return None
        return MailboxListing(name, True, False, (), rights, "")

    def _parse(self, location: Location) -> tuple[MailboxName, Acl] | None:
        try:
            return parse_internal(location.mailbox, self._routes.routes.deleted_prefix), parse_acl(location.acl)
        except (InvalidMailboxName, BadAcl):
            # Whoever published it may know what it means.
            return None

    async def rights(self, identity: Identity, name: MailboxName) -> frozenset[str]:
        """What somebody may do, by the directory's copy of the list; see L{pycyrus.interfaces.IMailStore}."""
        acl = await self._acl_elsewhere(name)
        if acl is None:
            return await self._local.rights(identity, name)
        if name.deleted is not None and not identity.administers(name.domain):
            raise MailboxNotFound("deleted")
        held = rights_of(identity, name, acl)
        if not held:
            raise MailboxNotFound("hidden")
        return held

    async def acl(self, identity: Identity, name: MailboxName) -> Acl:
        """Likewise the list itself."""
        acl = await self._acl_elsewhere(name)
        if acl is None:
            return await self._local.acl(identity, name)
        held = await self.rights(identity, name)
        if ADMINISTER not in held:
            raise PermissionDenied(ADMINISTER) if LOOKUP in held else MailboxNotFound("hidden")
        return acl

    async def _acl_elsewhere(self, name: MailboxName) -> Acl | None:
        """The list of a mailbox of another server; None for what is here, or nowhere."""
        location = await self._routes.locate_name(name)
        if location is None or not location.server:
            return None
        try:
            return parse_acl(location.acl)
        except BadAcl as error:
            raise StoreUnavailable(f"{location.server}: a list of rights that cannot be understood") from error

    async def namespaces(self, identity: Identity) -> frozenset[Namespace]:
        """In which namespaces there is something to see."""
        found = set(await self._local.namespaces(identity))
        for namespace in Namespace:
            if namespace not in found and await self._has_any(identity, namespace):
                found.add(namespace)
        return frozenset(found)

    async def _has_any(self, identity: Identity, namespace: Namespace) -> bool:
        scope = ListScope(namespace)
        async for page in self._pages(identity, scope):
            if any(self._listing(identity, scope, location) is not None for location in page):
                return True
        return False

    async def _uses(self, servers: Iterable[str]) -> dict[MailboxName, tuple[str, ...]]:
        """Special uses, which the servers of the mailboxes know (RFC 6154)."""
        found: dict[MailboxName, tuple[str, ...]] = {}
        for server in sorted(servers):
            try:
                lines = await self._ask(server, b'LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)', b"LIST")
            except StoreUnavailable as error:
                self.log.warn("no special uses: {error}", error=str(error))
                continue
            for name, flags in lines:
                uses = tuple(flag.decode("ascii", "replace") for flag in flags if flag.lower() not in _NO_USES)
                found[name] = uses or found.get(name, ())
        return found

    # --- subscriptions --------------------------------------------------------------------

    async def check_visible(self, identity: Identity, name: MailboxName) -> None:
        """@raise MailboxNotFound: There is nothing to subscribe to, as far as somebody can see."""
        if not self._routes.routes.settings.subscribes_to_all and LOOKUP not in await self.rights(identity, name):
            raise MailboxNotFound("hidden")

    async def subscribe(self, identity: Identity, name: MailboxName, wanted: bool) -> None:
        """Subscribe or unsubscribe whoever has no INBOX on another server; see L{IMailStore}."""
        if wanted:
            await self.check_visible(identity, name)
        await self._local.subscribe(identity, name, wanted)

    async def subscriptions(self, identity: Identity) -> frozenset[MailboxName]:
        """Names subscribed to, which the server of the INBOX knows."""
        if not await self._routes.home():
            return await self._local.subscriptions(identity)
        lines = await self._ask_home(b'LSUB "" "*"', b"LSUB")
        # A parent of what is subscribed to is told, too (RFC 3501 section 6.3.9); a server that
        # does not have a mailbox marks it likewise.
        return frozenset(name for name, flags in lines)

    async def _ask_home(self, command: bytes, response: bytes) -> Sequence[tuple[MailboxName, Sequence[bytes]]]:
        server = await self._routes.home()
        return await self._ask(server, command, response) if server else []

    async def _ask(self, server: str, command: bytes, response: bytes) -> Sequence[tuple[MailboxName, Sequence[bytes]]]:
        async with self._routes.routes.backends.borrowed(server, self._session.user) as link:
            untagged, status, text = await link.ask(command)
        if status != b"OK":
            raise StoreUnavailable(f"{server}: {text[:100]!r}")
        try:
            responses = split_responses(untagged)
        except BadResponse as error:
            raise StoreUnavailable(f"{server}: {error}") from None
        return [line for pieces in responses if (line := self._parse_line(pieces, response)) is not None]

    def _parse_line(
        self, pieces: Sequence[bytes | Literal], response: bytes
    ) -> tuple[MailboxName, Sequence[bytes]] | None:
        """Read a LIST or LSUB response; None if it is none."""
        cursor = Cursor(pieces, utf8=True)
        try:
            cursor.expect(b"* " + response)
            cursor.space()
            flags = cursor.paren_list(Cursor.flag, most=_LIST_FLAGS)
            cursor.space()
            if not cursor.take(b"NIL"):
                cursor.string()
            cursor.space()
            wire = cursor.astring()
            return self._session.names.decode(wire, utf8=not wire.isascii()), flags
        except (BadSyntax, InvalidMailboxName):
            return None

    # --- values and numbers ----------------------------------------------------------------------------

    async def _find_visible(self, name: MailboxName) -> Location | None:
        return await unless_hidden(self._routes, name, await self._routes.find(name))

    async def annotations(
        self, identity: Identity, name: MailboxName | None, *, facts: bool = True
    ) -> dict[str, bytes]:
        """
        Values of a mailbox, for a listing that tells them.

        @raise MailboxNotFound: There is none, or its server tells nothing.
        @raise StoreUnavailable: Its server cannot be asked.
        """
        location = None if name is None else await self._find_visible(name)
        if name is None or location is None or not location.server:
            return await self._local.annotations(identity, name, facts=facts)
        async with self._routes.routes.backends.borrowed(location.server, identity) as link:
            return await values_at(link, self._session.names.encode(name))

    async def status(self, identity: Identity, name: MailboxName) -> MailboxStatus:
        """
        Numbers of a mailbox, for a listing that tells them.

        @raise MailboxNotFound: There is none, or its server tells nothing.
        @raise StoreUnavailable: Its server cannot be asked.
        """
        location = await self._find_visible(name)
        if location is None or not location.server:
            return await self._local.status(identity, name)
        wire = self._session.names.encode(name)
        async with self._routes.routes.backends.borrowed(location.server, identity) as link:
            more = b"".join(word for capability, word in _MORE_STATUS if capability in link.capabilities)
            link.is_clean = link.is_clean and b"MODSEQ" not in more
            quoted = astring(wire).replace(b"}\r\n", b"+}\r\n")
            untagged, status, text = await link.ask(b"STATUS %b " % quoted + _STATUS % more)
        if status != b"OK":
            raise MailboxNotFound(repr(text[:100]))
        return _parse_status(untagged)


def _parse_status(untagged: bytes) -> MailboxStatus:
    line = next((each for each in reversed(untagged.split(b"\r\n")) if each.endswith(b")")), b"")
    words = line.upper().replace(b"(", b" ").replace(b")", b" ").split()
    values = dict(pairwise(words))

    def number(name: bytes) -> int:
        text = values.get(name, b"0")
        return int(text) if text.isdigit() and len(text) < 20 else 0

    unique_id = ""
    begin = line.upper().find(b"MAILBOXID (")
    if begin >= 0:
        unique_id = line[begin + 11 :].partition(b")")[0].decode("ascii", "replace")
    counts = Counts(
        number(b"MESSAGES"), number(b"UNSEEN"), number(b"DELETED"), number(b"SIZE"), 0, number(b"RECENT"), 0
    )
    return MailboxStatus(counts, number(b"UIDNEXT"), number(b"UIDVALIDITY"), number(b"HIGHESTMODSEQ"), unique_id)


_NOT_FOR_MAIL = frozenset(
    ("#sieve", "#calendars", "#addressbooks", "#drive", "#notifications", "#jmap", "#jmapsubmission",
     "#jmapnotification", "#jmappushsubscription")
)  # fmt: skip
"""What Cyrus keeps other things in; a directory does not tell what kind of mailbox it has."""

_NO_USES = frozenset(
    (rb"\noselect", rb"\nonexistent", rb"\haschildren", rb"\hasnochildren", rb"\noinferiors", rb"\marked",
     rb"\unmarked", rb"\subscribed", rb"\remote")
)  # fmt: skip


def _order(mailbox: str) -> str:
    """By this a mailbox stands before what is below it, before all else; what is below begins with it."""
    return mailbox.replace(".", "\0") + "\0"


def _prefixes(identity: Identity, scope: ListScope, deleted_prefix: str) -> Iterator[str]:
    """How the internal names within a scope begin."""
    if scope.deleted:
        yield f"{scope.domain}!{deleted_prefix}." if scope.domain else ("" if scope.domain is None else deleted_prefix)
    elif scope.namespace is Namespace.PERSONAL:
        yield internal(MailboxName(identity.domain, identity.user, scope.path))
    elif scope.domain is None:
        yield ""
    else:
        domain = f"{scope.domain}!" if scope.domain else ""
        if scope.namespace is Namespace.SHARED:
            yield internal(MailboxName(scope.domain, None, scope.path)) if scope.path else domain
        elif scope.owner is None:
            yield domain + "user."
        else:
            yield internal(MailboxName(scope.domain, scope.owner, scope.path))


def _is_within(identity: Identity, name: MailboxName, scope: ListScope) -> bool:
    """Whether a mailbox is in a scope, which may be wider than the pattern."""
    if (name.deleted is not None) is not scope.deleted:
        return False
    if scope.domain is not None and name.domain != scope.domain:
        return False
    if scope.deleted:
        return True
    is_own = name.owned_by(identity)
    wanted = {
        Namespace.PERSONAL: is_own,
        Namespace.OTHER: name.owner is not None and not is_own,
        Namespace.SHARED: name.owner is None,
    }[scope.namespace]
    return wanted and scope.owner in (None, name.owner) and name.path[: len(scope.path)] == scope.path
