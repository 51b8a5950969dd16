"""The client of a session: how it is connected, and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pycyrus.imap.capabilities import capabilities
from pycyrus.imap.output import Output
from pycyrus.interfaces import Authenticated, Channel, IMailStore, ISessionWatch, ISyncIntake, ITransferIntake
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames

if TYPE_CHECKING:
    from pycyrus.imap.parts import Parts, Visit, Wire
    from pycyrus.model.names import MailboxName
    from pycyrus.net.limits import Admission
    from pycyrus.net.telemetry import SessionLog


class Client(Output):
    """
    What is known of a client, and the way to it.

    @ivar identity: Who is logged in; None before.
    @ivar enabled: What was switched on: C{CONDSTORE}, C{QRESYNC}, C{IMAP4REV2}.
    @ivar elsewhere: The mailboxes of other servers, if this one is their frontend.
    @ivar client_id: What the client said of itself by ID; None before.
    @ivar transfers: Moves mailboxes to other servers; None where they stay.
    @ivar intake: Takes mailboxes over from another server, which the client is; None before it does.
    @ivar sync: The same for one of Cyrus's.
    @ivar came_by: The user id that proved itself, perhaps a proxy's.
    @ivar warned_of: Quota roots, and when the client was warned of them.
    """

    __slots__ = (
        "_admission",
        "_names",
        "_watch",
        "authenticator",
        "came_by",
        "client_id",
        "clock",
        "elsewhere",
        "enabled",
        "identity",
        "intake",
        "local_address",
        "make_names",
        "peer",
        "session_id",
        "settings",
        "store",
        "sync",
        "transfers",
        "warned_of",
    )

    def __init__(
        self, parts: Parts, wire: Wire, peer: str, local_address: str, session_id: str, watch: ISessionWatch | None
    ) -> None:
        super().__init__(wire)
        self.settings = parts.settings
        self.store: IMailStore = parts.store if watch is None else watch.store
        self._watch = watch
        self.authenticator = parts.authenticator
        self.clock = parts.clock
        self.make_names = parts.names
        self.peer = peer
        self.local_address = local_address
        self.session_id = session_id
        self.identity: Identity | None = None
        self.came_by = ""
        self.enabled: set[bytes] = set()
        self.warned_of: dict[MailboxName, float] = {}
        self.client_id: tuple[tuple[bytes, bytes | None], ...] | None = None
        self.elsewhere: Visit | None = None
        self.transfers = parts.transfers
        self.intake: ITransferIntake | None = None
        self.sync: ISyncIntake | None = None
        self._names: ExternalNames | None = None
        self._admission: Admission | None = None

    # --- as whom --------------------------------------------------------

    @property
    def names(self) -> ExternalNames:
        """How the identity that is logged in sees mailbox names."""
        assert self._names is not None
        return self._names

    @property
    def user(self) -> Identity:
        """The identity that is logged in."""
        assert self.identity is not None
        return self.identity

    @property
    def is_utf8(self) -> bool:
        """Whether names and quoted strings are UTF-8 (RFC 9051 section 5.1, RFC 9755 section 3)."""
        return b"IMAP4REV2" in self.enabled or b"UTF8=ACCEPT" in self.enabled

    @property
    def telemetry(self) -> SessionLog | None:
        """Where what is said is copied to; None for most users."""
        return None if self._admission is None else self._admission.log

    @property
    def takes_syncs(self) -> bool:
        """Whether the client may be a Cyrus server that brings mailboxes."""
        return self.transfers is not None and self.identity is not None and self.identity.admin is AdminScope.GLOBAL

    def become(self, authenticated: Authenticated) -> None:
        """
        Be authenticated.

        @raise LimitExceeded: The user has too many sessions.
        """
        identity = authenticated.identity
        if self._admission is not None:
            self._admission.logged_in(identity.user_id)
        self.identity = identity
        self.came_by = authenticated.authenticated_as
        self._names = self.make_names(identity)
        if self._watch is not None:
            self._watch.logged_in(identity)

    def become_nobody(self) -> None:
        """Be unknown again (RFC 8437 section 3)."""
        if self._watch is not None:
            self._watch.logged_out()
        if self.elsewhere is not None:
            self.elsewhere.leave()
        if self._admission is not None:
            self._admission.logged_out()
        self._end_intake()
        self.identity = self._names = self.client_id = None
        self.enabled.clear()

    def leave(self) -> None:
        """The connection is gone."""
        if self.elsewhere is not None:
            self.elsewhere.leave()
        if self._watch is not None:
            self._watch.logged_out()
        if self._admission is not None:
            self._admission.close()
        self._end_intake()

    def _end_intake(self) -> None:
        for intake in (self.intake, self.sync):
            if intake is not None:
                intake.leave()
        self.intake = self.sync = None

    # --- how it is connected --------------------------------------------

    @property
    def is_secure(self) -> bool:
        """Whether TLS is active."""
        return self._wire.is_secure

    @property
    def can_start_tls(self) -> bool:
        """Whether STARTTLS is configured and has not happened."""
        return self._wire.can_start_tls and not self._wire.is_secure

    @property
    def is_compressed(self) -> bool:
        """Whether COMPRESS is active."""
        return self._wire.is_compressed

    def channel(self) -> Channel:
        """How the client is connected, for authentication."""
        return Channel(
            self.settings.service,
            self.peer,
            self._wire.is_secure,
            self.local_address,
            self.session_id,
            self._wire.tls_exporter(),
            self._wire.client_certificate,
        )

    def capabilities(self) -> bytes:
        """What CAPABILITY tells now."""
        channel = self.channel()
        return capabilities(
            self.settings,
            is_logged_in=self.identity is not None,
            can_start_tls=self.can_start_tls,
            is_login_disabled=not self.authenticator.allows_plaintext(channel),
            is_compressed=self.is_compressed,
            mechanisms=tuple(self.authenticator.mechanisms(channel)),
            is_frontend=self.elsewhere is not None,
            takes_syncs=self.takes_syncs,
        )
