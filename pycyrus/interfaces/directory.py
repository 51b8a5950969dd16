"""Where the mailboxes of several servers are: the Murder's directory (RFC 3656)."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zope.interface import Interface

from pycyrus.model.mailbox_name import MailboxName


class LocationState(enum.Enum):
    """What the directory knows of a mailbox."""

    ACTIVE = "active"
    RESERVED = "reserved"
    """Somebody is about to create it there."""


@dataclass(frozen=True, slots=True)
class Location:
    """
    Where a mailbox is.

    @ivar mailbox: Its internal name, as servers tell it one another; the
        directory itself takes any.
    @ivar server: Name of the server, perhaps with C{:port}, to be dialled as it
        stands; empty where the directory's servers share one spool.
    @ivar partition: There; empty where it was not told.
    @ivar acl: Identifiers and rights, each followed by a tab; empty for a
        reserved one.
    """

    mailbox: str
    server: str
    partition: str
    acl: str = ""
    state: LocationState = LocationState.ACTIVE

    @property
    def where(self) -> str:
        """Server and partition as MUPDATE writes them."""
        return f"{self.server}!{self.partition}" if self.server else self.partition


@dataclass(frozen=True, slots=True)
class LocationChange:
    """
    That something changed.

    @ivar number: Ascending; not without gaps.
    @ivar location: As it is now; None if it is gone.
    @ivar was_at: The server where it was before, if another or gone.
    """

    number: int
    mailbox: str
    location: Location | None
    was_at: str = ""


class ILocations(Interface):
    """
    All that is known of where mailboxes are; changes are those of all processes of this server.

    Reading touches memory and the page cache only.
    """

    def find(mailbox: str) -> Location | None:
        """
        Look a mailbox up.

        @param mailbox: Its internal name.
        @raise StoreUnavailable: The directory cannot be read.
        """

    def page(
        prefix: str, after: str, limit: int, server: str | None = None, *, shared: bool = False
    ) -> Sequence[Location]:
        """
        Some of the mailboxes whose names begin so, in the order of their octets.

        @param after: The last name of the page before; empty for the first page.
        @param server: Only those that are there.
        @param shared: Without those that have rights for nobody but their owner, as far as that is seen at once.
        @raise StoreUnavailable: The directory cannot be read.
        """

    def last_change() -> int:
        """The number of the last change."""

    def changes(after: int, limit: int) -> Sequence[LocationChange]:
        """
        What changed since, in order of number; of each mailbox the last change only.

        @raise StoreUnavailable: The directory cannot be read.
        """

    def listen(listener: Callable[[], None]) -> Callable[[], None]:
        """
        Call a function on the reactor thread soon after a change.

        @return: Call it to stop.
        """

    async def reserve(location: Location) -> None:
        """
        Say that a mailbox is about to be created there (RFC 3656 section 4.9).

        @raise MailboxExists: It is somewhere else.
        @raise StoreUnavailable: Nothing was changed.
        """

    async def activate(location: Location) -> None:
        """Say that a mailbox is there, with these rights (RFC 3656 section 4.1)."""

    async def deactivate(location: Location) -> None:
        """
        Say that a mailbox can not be used for now (RFC 3656 section 4.3).

        @raise MailboxNotFound: It is not active.
        """

    async def delete(mailbox: str) -> None:
        """
        Say that a mailbox is gone (RFC 3656 section 4.4).

        @raise MailboxNotFound: It is not in the directory.
        """


class IMailboxDirectory(Interface):
    """Where a mailbox is, for those who have commands to pass on."""

    async def locate(name: MailboxName, *, surely: bool = False) -> Location | None:
        """
        Look a mailbox up; what is not known here yet is asked of the master.

        @param surely: Who would believe for ever that there is none, such as a sender of mail, is not told so
            by a copy that may be old.
        @return: None if there is none; one with an empty server is here.
        @raise StoreUnavailable: Nobody can tell now.
        """

    def known(prefix: str, after: str, limit: int, *, shared: bool = False) -> Sequence[Location]:
        """As L{ILocations.page}, of what is known here."""


@dataclass(frozen=True, slots=True)
class Published:
    """
    A mailbox of this server, as others are told of it.

    @ivar acl: As in L{Location}.
    """

    name: MailboxName
    partition: str
    acl: str


class IMailboxPublisher(Interface):
    """Who tells the Murder's master of this server's mailboxes."""

    async def claim(name: MailboxName, partition: str) -> None:
        """
        Make sure that a name is free on all servers, and keep it.

        @param partition: Empty if it is not known yet.
        @raise MailboxExists: It is on another server.
        @raise StoreUnavailable: The master does not answer: nothing new can be made now.
        """

    async def publish(gone: Sequence[MailboxName], there: Sequence[Published]) -> None:
        """
        Tell what changed.

        It does not raise: what the master could not be told it is told when it answers again.
        """

    async def push(names: Sequence[MailboxName]) -> None:
        """
        Have the master know, now, what has become of mailboxes here.

        @raise StoreUnavailable: It does not answer.
        """

    async def are_nowhere(names: Sequence[MailboxName]) -> bool:
        """
        Whether the master has none of some mailboxes, not even reserved.

        @raise StoreUnavailable: It does not answer.
        """

    async def claimed_at(names: Sequence[MailboxName]) -> str:
        """
        The other server that has claimed some mailboxes and says of none of them that it is there.

        @return: Its name; empty if there is no such one, or if several have.
        @raise StoreUnavailable: The master does not answer.
        """

    async def are_elsewhere(names: Sequence[MailboxName]) -> bool:
        """
        Whether the master has all of some mailboxes on other servers.

        @raise StoreUnavailable: It does not answer.
        """
