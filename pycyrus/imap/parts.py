"""What a session stands on: its connection, and what all sessions of a service share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import IAuthenticator, IMailStore, IMessageFile, IStoreObserver, ITransfers, KeyingMaterial
from pycyrus.model.identity import Identity
from pycyrus.model.names import ExternalNames
from pycyrus.net.limits import ConnectionLimits

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from pycyrus.imap.commands.command import Command
    from pycyrus.imap.session import Session
    from pycyrus.imap.wire.frames import Announced, Frame, Staged
    from pycyrus.net.splicing import Pipe


class Wire(Protocol):
    """What a session asks of its connection."""

    @property
    def is_secure(self) -> bool:
        """Whether TLS is active."""

    @property
    def can_start_tls(self) -> bool:
        """Whether TLS could be begun."""

    def send(self, data: bytes) -> None:
        """Send octets; when the client reads slowly, C{Session.hold_back} is called."""

    def send_file(self, file: IMessageFile, offset: int, length: int) -> None:
        """Send a part of a file, in order with C{send}; the file may be closed afterwards."""

    @property
    def can_splice(self) -> bool:
        """Whether octets are sent as they are, and nobody wants to see them."""

    def send_pipe(self, data: bytes, pipe: Pipe, length: int) -> None:
        """Send octets, and what is in a pipe; where the kernel does not take that at once, C{hold_back} is called."""

    @property
    def is_compressed(self) -> bool:
        """Whether all octets are compressed, both ways."""

    def start_compression(self) -> None:
        """Compress what is sent, and decompress what comes, from now on."""

    def pause_reading(self) -> None:
        """Take no more from the client."""

    def resume_reading(self) -> None:
        """Take from the client again."""

    def start_tls(self) -> None:
        """Begin TLS when everything was sent."""

    def close(self) -> None:
        """Close when everything was sent."""

    def abort(self) -> None:
        """Close now."""

    def tls_exporter(self) -> KeyingMaterial | None:
        """RFC 9266's keying material; None without TLS."""

    def client_certificate(self) -> bytes | None:
        """The client's verified certificate as DER; None if it showed none."""


class Visit(Protocol):
    """What one session has to do with the mailboxes of other servers."""

    @property
    def has_selected(self) -> bool:
        """Whether the selected mailbox is one of them."""

    async def execute(self, row: Command, frame: Frame) -> bytes | None:
        """
        Have another server do a command.

        @return: The tagged line; None if the command is this server's.
        @raise MailStoreError: It was not done.
        """

    async def stage(self, announced: Announced) -> Staged | None:
        """
        Where a message goes that is for another server.

        @return: None if it is for this one.
        """

    def leave(self) -> None:
        """The user goes, or the client; what is selected elsewhere is not any longer."""


class Elsewhere(Protocol):
    """The mailboxes of other servers, of which this one is a frontend."""

    def visit(self, session: Session) -> Visit:
        """Begin for a session."""


@dataclass(frozen=True, slots=True)
class Parts:
    """
    What all sessions of a service share.

    @ivar names: Makes the codec of mailbox names for an identity.
    @ivar elsewhere: None where all mailboxes are here.
    @ivar watcher: Who is told what sessions do; None for nobody.
    @ivar transfers: Moves mailboxes to other servers; None where they stay.
    """

    store: IMailStore
    authenticator: IAuthenticator
    settings: ImapSettings
    names: Callable[[Identity], ExternalNames]
    limits: ConnectionLimits | None
    clock: IReactorTime
    elsewhere: Elsewhere | None = None
    watcher: IStoreObserver | None = None
    transfers: ITransfers | None = None
