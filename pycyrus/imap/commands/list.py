"""LIST and LSUB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.errors import MailStoreError
from pycyrus.imap.commands.condstore import use_condstore
from pycyrus.imap.commands.metadata import metadata_line
from pycyrus.imap.commands.status import status_line
from pycyrus.imap.listing import Findings, Line, Wanted
from pycyrus.imap.wire.acl import encode_myrights
from pycyrus.imap.wire.grammar import astring
from pycyrus.imap.wire.listing import Return, Selection, canonical_pattern, encode_list, encode_list_beginning
from pycyrus.imap.wire.mailboxes import StatusItem
from pycyrus.model.acl import READ
from pycyrus.model.scopes import ListScope, Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.listing import List
    from pycyrus.interfaces import MailboxListing
    from pycyrus.model.names import MailboxName

_BATCH = 50
"""Names looked at between two looks at the clock."""
_HOLD = 0.001
"""Seconds for which a long listing may hold the reactor."""


async def list_mailboxes(session: Session, command: List) -> bytes:
    """Answer LIST, with the options of RFC 5258 that RFC 9051 section 6.3.9 demands."""
    return await _Answer(session, command, b"LIST").give()


async def lsub(session: Session, command: List) -> bytes:
    """Answer LSUB (RFC 3501 section 6.3.9)."""
    return await _Answer(session, command, b"LSUB").give()


async def xlist(session: Session, command: List) -> bytes:
    """Answer XLIST, the LIST of clients older than RFC 6154."""
    return await _Answer(session, command, b"XLIST").give()


class _Answer:
    """One LIST, LSUB or XLIST at work."""

    def __init__(self, session: Session, command: List, response: bytes) -> None:
        self._session = session
        self._command = command
        self._response = response
        self._started = self._turn = session.clock.seconds()
        self._rules = session.settings.listing

    async def give(self) -> bytes:
        """Find and tell; the text of the tagged reply tells the time it took, as in Cyrus."""
        session, command = self._session, self._command
        if command.patterns == (b"",):
            self._write((rb"\Noselect",), b"")
        else:
            if StatusItem.HIGHESTMODSEQ in command.status:
                use_condstore(session)
            if self._can_be_walked():
                await self._walk()
                return self._completed()
            findings = await self._find()
            for count, line in enumerate(findings.lines()):
                self._write(findings.attributes(line), line.wire, with_child_info=findings.tells_child_info(line))
                self._tell_rights(line)
                await self._tell_status(line)
                await self._tell_metadata(line)
                await self._give_way(count)
        return self._completed()

    def _completed(self) -> bytes:
        return b"Completed (%.3f secs)" % (self._session.clock.seconds() - self._started)

    def _patterns(self) -> list[bytes]:
        """The patterns, each once."""
        command, separator = self._command, self._session.names.separator
        reference = b"" if self._rules.ignores_reference else command.reference
        return list(dict.fromkeys(canonical_pattern(reference, each, separator) for each in command.patterns))

    def _hidden(self, patterns: Sequence[bytes]) -> frozenset[Namespace]:
        """Namespaces that are left out."""
        if self._session.names.administrative:
            return frozenset()
        if self._rules.is_star_personal and patterns == [b"*"]:
            return frozenset((Namespace.OTHER, Namespace.SHARED))
        return self._rules.hidden

    def _findings(self, matches: Callable[[bytes], bool]) -> Findings:
        session, command = self._session, self._command
        return Findings(
            Wanted(
                matches,
                command.selection,
                command.returns,
                session.names.separator,
                command.is_extended,
                is_lsub=self._response == b"LSUB",
                is_alternate=session.names.altnamespace,
                tells_uses=self._rules.always_tells_uses or self._response == b"XLIST",
            )
        )

    def _can_be_walked(self) -> bool:
        """
        Whether each mailbox can be told as it is found, in the order of the list.

        A pattern that ends in C{*} matches what is below a name wherever it
        matches the name: there are no parents to be told for their children alone.
        """
        command = self._command
        patterns = self._patterns()
        return (
            self._session.names.administrative
            and self._response == b"LIST"
            and command.selection is Selection.NONE
            and not command.returns & ~(Return.CHILDREN | Return.SPECIAL_USE | Return.SUBSCRIBED)
            and len(patterns) == 1
            and patterns[0].endswith(b"*")
        )

    async def _walk(self) -> None:
        """Tell an administrator, who may see as many mailboxes as there are, one page after the other."""
        session = self._session
        names, utf8 = session.names, session.is_utf8
        (pattern,) = self._patterns()
        matches = names.matcher(pattern)
        findings = self._findings(matches)
        subscribed = await self._subscribed()
        attributes: dict[tuple[bool, bool, tuple[str, ...]], bytes] = {}
        for page in session.store.walk(session.user, names.scopes(pattern, utf8=utf8)):
            lines: list[bytes] = []
            for listing in page:
                wire = names.encode(listing.name, utf8=utf8)
                if not matches(wire):
                    continue
                is_subscribed = bool(subscribed) and listing.name in subscribed
                kind = listing.has_children, is_subscribed, listing.special_use
                beginning = attributes.get(kind)
                if beginning is None:
                    line = Line(wire, listing.name, listing, is_subscribed)
                    told = findings.attributes(line, has_children=listing.has_children)
                    beginning = attributes[kind] = encode_list_beginning(b"LIST", told, names.separator)
                lines.append(b"%b%b\r\n" % (beginning, astring(wire, utf8=utf8)))
            session.write(b"".join(lines))
            await self._give_way(0)

    async def _find(self) -> Findings:
        session, command = self._session, self._command
        names, utf8 = session.names, session.is_utf8
        patterns = self._patterns()
        matchers = [names.matcher(pattern) for pattern in patterns]
        findings = self._findings(
            matchers[0] if len(matchers) == 1 else lambda wire: any(matches(wire) for matches in matchers)
        )
        subscribed = await self._subscribed()
        scopes = dict.fromkeys(scope for pattern in patterns for scope in names.scopes(pattern, utf8=utf8))
        hidden = self._hidden(patterns)
        if hidden:
            scopes = dict.fromkeys(scope for scope in scopes if scope.namespace not in hidden)
            subscribed = frozenset(name for name in subscribed if _namespace_of(session, name) not in hidden)
        missing = set(subscribed) if command.selection & Selection.SUBSCRIBED else set()
        pages: Iterator[Sequence[MailboxListing]]
        # The directory of a Murder does not know special uses.
        is_elsewhere = session.elsewhere is not None and bool(command.selection & Selection.SPECIAL_USE)
        if not names.administrative or is_elsewhere:
            pages = iter([_own_first(session, await session.store.list(session.user, list(scopes)))])
            self._turn = session.clock.seconds()
        elif command.selection & Selection.SUBSCRIBED:
            # An administrator may see as many mailboxes as there are, but is subscribed to few.
            pages = _one_by_one(session, missing)
        else:
            depth = None if command.selection else names.depth(patterns)
            pages = session.store.walk(session.user, list(scopes), depth)
        selects_alone = command.selection is Selection.SPECIAL_USE
        for page in pages:
            for count, listing in enumerate(page):
                name = listing.name
                missing.discard(name)
                # Scopes narrow the work, and decide nothing.
                is_hidden = bool(hidden) and _namespace_of(session, name) in hidden
                if not is_hidden and (not selects_alone or listing.special_use):
                    findings.add(Line(names.encode(name, utf8=utf8), name, listing, name in subscribed))
                await self._give_way(count)
        for name in sorted(missing):
            findings.add(Line(names.encode(name, utf8=utf8), name, None, is_subscribed=True))
        return findings

    async def _subscribed(self) -> frozenset[MailboxName]:
        """What the user is subscribed to, where that matters."""
        command = self._command
        if command.selection & Selection.SUBSCRIBED or command.returns & Return.SUBSCRIBED:
            return await self._session.store.subscriptions(self._session.user)
        return frozenset()

    async def _give_way(self, count: int) -> None:
        """Now and then let other sessions run, and the client catch up."""
        if count % _BATCH == 0 and self._session.clock.seconds() > self._turn + _HOLD:
            await self._session.drain()
            await self._session.pause()
            self._turn = self._session.clock.seconds()

    def _write(self, attributes: Sequence[bytes], wire: bytes, *, with_child_info: bool = False) -> None:
        session = self._session
        if self._response == b"XLIST" and wire == b"INBOX":
            attributes = (*attributes, rb"\Inbox")
        session.write(
            encode_list(
                self._response,
                attributes,
                session.names.separator,
                wire,
                utf8=session.is_utf8,
                is_child_subscribed=with_child_info,
            )
        )

    def _tell_rights(self, line: Line) -> None:
        """RFC 8440 section 3; without a right that MYRIGHTS demands it is left out."""
        if self._command.returns & Return.MYRIGHTS and line.listing is not None and line.listing.rights:
            session = self._session
            session.write(
                encode_myrights(
                    line.wire, line.listing.rights, utf8=session.is_utf8, old_rights=session.settings.old_rights
                )
            )

    async def _tell_status(self, line: Line) -> None:
        """RFC 5819 section 2: where STATUS would fail, it is left out."""
        if not self._command.status or line.listing is None or READ not in line.listing.rights:
            return
        try:
            self._session.write(await status_line(self._session, line.listing.name, self._command.status))
        except MailStoreError as error:
            self._session.log.info(
                "no status of {mailbox} in a listing of {session}: {error}",
                mailbox=line.listing.name,
                session=self._session.session_id,
                error=error,
            )

    async def _tell_metadata(self, line: Line) -> None:
        """RFC 9590 section 3: nothing for what is no mailbox, or where GETMETADATA would fail."""
        if not self._command.entries or line.listing is None or not line.listing.exists:
            return
        try:
            self._session.write(await metadata_line(self._session, line.listing.name, self._command.entries))
        except MailStoreError as error:
            self._session.log.info(
                "no metadata of {mailbox} in a listing of {session}: {error}",
                mailbox=line.listing.name,
                session=self._session.session_id,
                error=error,
            )


def _one_by_one(session: Session, wanted: Iterable[MailboxName]) -> Iterator[Sequence[MailboxListing]]:
    """What an administrator may see of some mailboxes, and of those above them."""
    names: set[MailboxName] = set()
    for name in wanted:
        above: MailboxName | None = name
        while above is not None and above not in names:
            names.add(above)
            above = above.parent
    user = session.user
    for name in sorted(names):
        scope = ListScope(_namespace_of(session, name), name.domain, name.owner, name.path, name.deleted is not None)
        depth = len(name.path) + (0 if name.owner is None else 2)
        for page in session.store.walk(user, [scope], depth):
            yield [listing for listing in page if listing.name == name]


def _namespace_of(session: Session, name: MailboxName) -> Namespace:
    if name.owner is None:
        return Namespace.SHARED
    return Namespace.PERSONAL if name.owned_by(session.user) else Namespace.OTHER


def _own_first(session: Session, listings: Sequence[MailboxListing]) -> Sequence[MailboxListing]:
    """One's own mailboxes, then other people's, then shared ones: the order in which clients show them."""
    if session.names.administrative:
        return listings
    own, others, shared = [], [], []
    for listing in listings:
        if listing.name.owner is None:
            shared.append(listing)
        elif listing.name.owned_by(session.user):
            own.append(listing)
        else:
            others.append(listing)
    return own + others + shared
