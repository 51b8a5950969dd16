"""
The parts of a serving process, built from the options.

This is the place where option values become the settings of each part; no
other module knows both.
"""

from __future__ import annotations

from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from pycyrus import COMPATIBLE_VERSION, __version__
from pycyrus.app.autocreate_parts import WELCOMING, WelcomingAuthenticator, autocreation
from pycyrus.app.checker_parts import checker_names, checkers_of, group_lifetime, group_source
from pycyrus.app.delivery_parts import duplicate_suppression
from pycyrus.app.frontend_parts import Frontend, is_frontend
from pycyrus.app.identity_parts import identity_settings
from pycyrus.app.login_parts import auth_settings, denials, inbox_administrators, mail_denials, tickets, tokens
from pycyrus.app.murder_parts import make_publisher, make_slave, publishes
from pycyrus.app.notice_parts import Notices
from pycyrus.app.proc import begin_proc_directory
from pycyrus.app.shared_directory_parts import is_shared, make_shared_locations
from pycyrus.app.store_parts import store_settings
from pycyrus.app.telemetry_parts import telemetry
from pycyrus.app.tls_parts import TLSContexts
from pycyrus.app.transfer_parts import make_transfers
from pycyrus.auth.assemble import Authentication
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.identity import Identities
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.auth.threads import HashThreads
from pycyrus.config.load import namespace_settings
from pycyrus.config.settings import Settings
from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings, EightBitHeaders
from pycyrus.interfaces import IAuthenticator, IDeliveryAgent, IMailStore, IStoreObserver, ITransfers
from pycyrus.model.identity import Identity
from pycyrus.model.names import ExternalNames
from pycyrus.murder.directory.publisher import Publisher
from pycyrus.murder.directory.slave import Slave
from pycyrus.murder.moving.transfers import Transfers
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.net.session_keys import SessionKeys
from pycyrus.store.locations import Locations
from pycyrus.store.store import open_store

if TYPE_CHECKING:
    from pycyrus.murder.shared.locations import SharedLocations


def product(settings: Settings, name: str) -> str:
    """What a greeting says of the program; empty if nothing (C{serverinfo})."""
    return {"off": "", "min": name, "on": f"{name} {COMPATIBLE_VERSION}-pycyrus-{__version__}"}[
        settings.word("serverinfo")
    ]


# --- settings of parts ------------------------------------------------------


def delivery_settings(settings: Settings, server_name: str) -> DeliverySettings:
    """What the options say of deliveries."""
    eight_bit = EightBitHeaders.KEEP
    if settings.switch("reject8bit"):
        eight_bit = EightBitHeaders.REJECT
    elif settings.switch("munge8bit"):
        eight_bit = EightBitHeaders.MUNGE
    return DeliverySettings(
        server_name=server_name,
        product=product(settings, "Cyrus") or "Cyrus",
        namespace=namespace_settings(settings),
        downcase_recipients=settings.switch("lmtp_downcase_rcpt"),
        post_user=settings.text("postuser"),
        catchall=settings.text("lmtp_catchall_mailbox"),
        fuzzy_mailbox_match=settings.switch("lmtp_fuzzy_mailbox_match"),
        excluded_special_uses=frozenset(settings.text("lmtp_exclude_specialuse").lower().split()),
        eight_bit_headers=eight_bit,
        strict_quota=settings.switch("lmtp_strict_quota"),
        is_denied=mail_denials(settings),
        single_instance=settings.switch("singleinstancestore"),
    )


def limit_settings(settings: Settings, program: str) -> LimitSettings:
    """How many connections a program takes."""
    return LimitSettings(
        total=settings.integer("mupdate_connections_max" if program == "mupdate" else "connections_total"),
        before_login=settings.integer("unauthenticated_connections"),
        per_address=settings.integer("maxlogins_per_host") or settings.integer("connections_per_address"),
        per_user=settings.integer("maxlogins_per_user") or settings.integer("connections_per_user"),
    )


_SERVICES = {"imapd": "imap", "lmtpd": "lmtp", "pop3d": "pop3", "smmapd": "smmap", "timsieved": "sieve"}
"""What programs are called in the directory of sessions."""


# --- parts ------------------------------------------------------------------


class Context:
    """
    What the services of a process share.

    @ivar settings: The options; a service looks at C{settings.for_service(name)}.
    @ivar store: All mailboxes.
    @ivar delivery: Where LMTP hands messages.
    @ivar tls: TLS contexts.
    @ivar watcher: Who watches sessions; None for nobody.
    @ivar server_name: C{servername}, or the host's name.
    @ivar reactor: Provides all interfaces of an epoll reactor.
    """

    log = Logger()

    def __init__(
        self,
        settings: Settings,
        workers: int,
        store: Any,
        reactor: Any,
        logins: SharedMemory | None = None,
        session_keys: SessionKeys | None = None,
    ) -> None:
        """
        @param workers: Between how many processes limits are divided; 0 or 1 for
            this one alone.
        @param store: Belongs to the context from now on.
        @param logins: Memory in which workers share checked passwords.
        @param session_keys: With which TLS sessions resume in any worker.
        """
        self.settings = settings
        self.reactor = reactor
        self.server_name = settings.text("servername") or gethostname()
        self.store: IMailStore = store
        self.tls = TLSContexts(session_keys)
        self._notices = Notices(settings, self.server_name, store, reactor)
        self.watcher: IStoreObserver | None = self._notices.sessions
        self._suppression = duplicate_suppression(settings, reactor)
        self._workers = workers
        self._authentication = self._make_authentication(logins)
        # Users of a frontend have their mailboxes on backends, which make them.
        self._autocreation = (
            None
            if is_frontend(settings)
            else autocreation(
                settings, store, Identities(identity_settings(settings)), self._authentication.user_defaults
            )
        )
        self.delivery: IDeliveryAgent = DeliveryAgent(
            store,
            delivery_settings(settings, self.server_name),
            reactor,
            self._suppression,
            self._notices.deliveries,
            self._autocreation,
        )
        self._open_store = store
        self._limits: dict[str, ConnectionLimits] = {}
        self._proc = begin_proc_directory(settings.text("proc_path"), Path(settings.text("configdirectory")), reactor)
        self._locations: Locations | None = None
        self._shared_locations: SharedLocations | None = None
        self._slave: Slave | None = None
        self._frontend: Frontend | None = None
        self._transfers: Transfers | None = None
        self._publisher: Publisher | None = None
        if publishes(settings):
            self._publisher = make_publisher(settings, self.server_name, store, reactor)
            reactor.callWhenRunning(self._publisher.start)
            store.publish_to(self._publisher)
        self._namespace = namespace_settings(settings)

    def _make_authentication(self, logins: SharedMemory | None) -> Authentication:
        settings = self.settings
        names, missing = checker_names(settings)
        if missing:
            self.log.warn(
                "sasl_pwcheck_method: {missing} not part of pycyrus yet; passwords are checked by {names}",
                missing=", ".join(missing),
                names=", ".join(names),
            )
        threads = HashThreads(self.reactor, settings.integer("hash_threads"))
        checkers = checkers_of(settings, threads.run, self.reactor)
        pause = float(settings.duration("failedloginpause"))
        return Authentication(
            self.reactor,
            checkers,
            threads.run,
            delays=DelaySettings(pause=pause).shared_by(self._workers),
            shared=logins,
            tickets=tickets(settings),
            tokens=tokens(settings, self.reactor),
            groups=group_source(settings, self.reactor),
            group_lifetime=group_lifetime(settings),
        )

    def authenticator(self, settings: Settings, program: str) -> IAuthenticator:
        """Who may use a service, as its options say."""
        made = self._authentication.authenticator(
            identity_settings(settings),
            auth_settings(settings, program),
            is_inbox_administrator=inbox_administrators(settings, self.store),
            is_denied=denials(settings),
        )
        if self._autocreation is None or program not in WELCOMING:
            return made
        return WelcomingAuthenticator(made, self._autocreation)

    def locations(self) -> Locations:
        """
        The directory of the Murder, opened when it is first asked for.

        @raise StoreUnavailable: It cannot be used.
        """
        if self._locations is None:
            directory = Path(self.settings.text("configdirectory"))
            is_strict = self.settings.word("mupdate_config") == "standard"
            # A master that shares its directory notes how far its copy is, so that has to be durable.
            is_copy = bool(self.settings.text("mupdate_server")) and not is_shared(self.settings)
            self._locations = Locations(directory, self.reactor, strict=is_strict, is_copy=is_copy)
        return self._locations

    def shared_locations(self) -> SharedLocations | None:
        """
        The directory that several masters share, if this one is to.

        @raise ConfigError: An option cannot be used.
        @raise StoreUnavailable: This server's copy of it cannot be used.
        """
        if self._shared_locations is None and is_shared(self.settings):
            self._shared_locations = make_shared_locations(self.settings, self.locations(), self.reactor)
            self.reactor.callWhenRunning(self._shared_locations.start)
        return self._shared_locations

    def slave(self) -> Slave:
        """
        What keeps the copy of the directory, begun when it is first asked for.

        @raise ConfigError: C{mupdate_server} is none.
        @raise StoreUnavailable: The copy cannot be used.
        """
        if self._slave is None:
            self._slave = make_slave(self.settings, self.locations(), self.reactor)
            self.reactor.callWhenRunning(self._slave.start)
        return self._slave

    def frontend(self) -> Frontend | None:
        """
        The mailboxes of other servers, if this one is their frontend.

        @raise ConfigError: An option cannot be used.
        @raise StoreUnavailable: The copy of the directory cannot be used.
        """
        if self._frontend is None and is_frontend(self.settings):
            self._frontend = Frontend(
                self.settings,
                self.server_name,
                self.locations(),
                self.slave(),
                self._authentication.user_defaults,
                self.reactor,
                self._open_store,
            )
        return self._frontend

    def transfers(self) -> ITransfers | None:
        """
        What moves mailboxes to other servers, made when it is first asked for; None for a frontend.

        @raise ConfigError: An option cannot be used.
        @raise StoreUnavailable: The record of transfers cannot be used.
        """
        settings = self.settings
        may_move = publishes(settings) or not settings.text("mupdate_server")
        if self._transfers is None and may_move:
            self._transfers = make_transfers(
                settings,
                self.server_name,
                self._open_store,
                self._publisher,
                self.reactor,
                may_move_users=settings.switch("allowusermoves"),
            )
            self.reactor.callWhenRunning(self._transfers.start)
        return self._transfers

    def names(self, identity: Identity) -> ExternalNames:
        """How mailboxes are called towards somebody."""
        return ExternalNames(self._namespace, identity)

    def limits(self, settings: Settings, program: str) -> ConnectionLimits:
        """The limits of a program, which its services share: a user of imap and imaps is one user."""
        wanted = limit_settings(settings, program).shared_by(self._workers)
        if program not in self._limits:
            service = _SERVICES.get(program, program)
            presence = None if self._proc is None else self._proc.presence(service)
            self._limits[program] = ConnectionLimits(wanted, presence, telemetry(settings, service))
        self._limits[program].settings = wanted
        return self._limits[program]

    def reload(self, settings: Settings) -> None:
        """
        Have services made from now on see other options.

        @raise TLSConfigurationError: Certificates or keys cannot be used.
        @raise BadCheckerOptions: What checkers are told cannot be used.
        """
        self._authentication.reload(settings.texts)
        self.tls.reload()
        self.settings = settings

    async def close(self) -> None:
        """Close what must be closed; what was acknowledged is durable then."""
        if self._proc is not None:
            self._proc.end()
        if self._transfers is not None:
            self._transfers.close()
        if self._frontend is not None:
            self._frontend.close()
        if self._slave is not None:
            await self._slave.close()
        if self._publisher is not None:
            self._publisher.close()
        await self._open_store.close()
        if self._shared_locations is not None:
            await self._shared_locations.close()
        elif self._locations is not None:
            await self._locations.close()
        await self._notices.close()
        if self._suppression is not None:
            await self._suppression.record.close()


def build_context(
    settings: Settings,
    workers: int,
    reactor: Any,
    logins: SharedMemory | None = None,
    session_keys: SessionKeys | None = None,
) -> Context:
    """
    Open the store, and build the parts around it.

    @raise MailStoreError: The store cannot be opened.
    @raise UserDatabaseError: Accounts cannot be read.
    """
    reactor.suggestThreadPoolSize(settings.integer("worker_threads"))
    store = open_store(store_settings(settings), reactor)
    store.start()
    return Context(settings, workers, store, reactor, logins, session_keys)
