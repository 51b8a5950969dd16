"""Mailboxes that move between servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zope.interface import Interface

from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName


@dataclass(frozen=True, slots=True)
class Moved:
    """
    What became of a user, or of a mailbox, that was to move.

    @ivar error: Why it did not; empty if it did.
    """

    root: MailboxName
    error: str = ""


class ITransferIntake(Interface):
    """What one server says to another over one connection, while mailboxes come."""

    async def do(verb: str, transfer_id: str, argument: bytes, data: bytes) -> bytes:
        """
        Do one step.

        @param argument: What the step needs to know, as JSON.
        @param data: Octets of files, if it brings some.
        @return: The answer, as JSON.
        @raise MailStoreError: It was not done.
        """

    def leave() -> None:
        """The connection is gone; what was not prepared goes too."""


class ISyncFile(Interface):
    """A message that a Cyrus server brings."""

    def write(data: bytes) -> None:
        """
        Add octets.

        @raise StoreUnavailable: They cannot be written.
        """

    def finish() -> None:
        """
        End it.

        @raise TransferFailed: It is another message than was said.
        """


class ISyncIntake(Interface):
    """What a server of Cyrus's says over one connection, while mailboxes come; values are those of its lists."""

    async def file(guid: str, size: int) -> ISyncFile:
        """
        Begin a message.

        @raise TransferFailed: Nobody said what is to come.
        @raise StoreUnavailable: It cannot be written.
        """

    async def apply(kind: str, value: Any) -> list[tuple[str, Any]]:
        """
        Do one step.

        @return: What is to be told, each with the word before it.
        @raise MailStoreError: It was not done.
        """

    async def get(kind: str, value: Any) -> list[tuple[str, Any]]:
        """Tell what came; as L{apply}."""

    async def push(name: MailboxName) -> None:
        """
        All has come: have the mailboxes be this server's, and the Murder's master know of one.

        @raise MailboxNotFound: There is none of that name.
        @raise MailStoreError: They are not.
        """

    def leave() -> None:
        """The connection is gone."""


class IDumpIntake(Interface):
    """A mailbox as C{UNDUMP} brings it: files, and what is no file."""

    async def file(name: str, size: int) -> ISyncFile:
        """
        Begin a file; it may be one for which there is no use here.

        @raise TransferFailed: It is too large, or comes twice.
        @raise StoreUnavailable: It cannot be written.
        """

    def fields(name: str, values: list[bytes]) -> None:
        """
        Take an annotation, or limits.

        @raise TransferFailed: It is none.
        """

    async def finish() -> None:
        """
        All has come: have it be the mailbox's.

        @raise MailStoreError: The mailbox is empty as before.
        """

    async def leave() -> None:
        """Give back what it holds, whatever became of it."""


class ITransfers(Interface):
    """Moves mailboxes to other servers, and takes them from there."""

    async def move(
        identity: Identity, root: MailboxName, server: str, partition: str, told: Callable[[Moved], None]
    ) -> None:
        """
        Move a user, or one mailbox, to another server (XFER).

        @param root: A user's INBOX stands for all that is the user's.
        @param partition: There; empty to have that server choose.
        @param told: Given what has become of it, also if it failed.
        @raise PermissionDenied: Not an administrator of all domains.
        @raise MailboxNotFound: There is none of that name.
        @raise OperationNotSupported: A part of what moves as a whole, or nowhere to move to.
        @raise TransferFailed: It is still here; or it will be there, and says so.
        @raise StoreUnavailable: It is still here.
        """

    async def roots(identity: Identity, partition: str) -> list[MailboxName] | None:
        """
        Users whose INBOX is on a partition, and shared mailboxes that are.

        @return: None if there is no such partition, or a shared mailbox of that name.
        @raise PermissionDenied: Not an administrator of all domains.
        """

    async def create_here(identity: Identity, name: MailboxName, partition: str | None) -> str:
        """
        Create a mailbox of which no other server is told (LOCALCREATE).

        @return: Its unique id.
        @raise MailStoreError: As L{IMailStore.create}.
        """

    async def delete_here(identity: Identity, name: MailboxName) -> None:
        """
        Remove a mailbox for good, and tell no other server (LOCALDELETE).

        @raise MailboxNotFound: There is none.
        @raise MailboxHasChildren: It has inferiors.
        """

    async def undump(identity: Identity, name: MailboxName) -> IDumpIntake:
        """
        Begin to fill a mailbox with what an older server has in it (UNDUMP).

        @raise PermissionDenied: Not an administrator of all domains.
        @raise MailboxNotFound: It was not made before, by LOCALCREATE.
        @raise MailboxExists: It has messages.
        """

    def sync(identity: Identity) -> ISyncIntake:
        """
        Begin to take mailboxes from a server of Cyrus's.

        @raise PermissionDenied: Not an administrator of all domains.
        """

    def intake(identity: Identity) -> ITransferIntake:
        """
        Begin to take mailboxes over a connection.

        @raise PermissionDenied: Not an administrator of all domains.
        """
