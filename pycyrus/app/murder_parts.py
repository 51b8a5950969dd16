"""The parts of a Murder, built from the options."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from pycyrus.app.frontend_parts import client_tls
from pycyrus.auth.client import ClientCredentials
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.config.settings import Settings
from pycyrus.errors import InvalidMailboxName
from pycyrus.interfaces import Location, LocationState
from pycyrus.model.internal_names import internal, parse_internal
from pycyrus.mupdate.client import ANSWER_WITHIN, MupdateClient, Told
from pycyrus.murder.directory.comparison import Here
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.murder.directory.publisher import Publisher
from pycyrus.murder.directory.slave import Slave
from pycyrus.store.directory import published
from pycyrus.store.locations import Locations
from pycyrus.store.rows import Entry
from pycyrus.store.store import MailStore


def master_settings(settings: Settings) -> MasterSettings:
    """
    How to reach the master.

    @raise ConfigError: C{mupdate_server} is missing, or is none.
    """
    text = settings.text("mupdate_server")
    try:
        address = MasterAddress.parse(text, settings.integer("mupdate_port"))
    except ValueError as error:
        mend = "name the MUPDATE master as HOST or HOST:PORT"
        raise ConfigError([Problem(None, f"mupdate_server: {error}", mend)]) from error
    return MasterSettings(
        address,
        ClientCredentials(
            settings.text("mupdate_authname") or settings.text("mupdate_username"),
            settings.text("mupdate_username"),
            settings.text("mupdate_realm"),
            settings.text("mupdate_password") or None,
        ),
        text,
        retry_delay=float(settings.integer("mupdate_retry_delay")),
    )


def publishes(settings: Settings) -> bool:
    """Whether this server has mailboxes that it tells a Murder's master of: frontends have none."""
    if not settings.text("mupdate_server"):
        return False
    return settings.word("mupdate_config") != "standard" or bool(settings.words("proxyservers"))


def own_location(settings: Settings, server_name: str) -> str:
    """How this server stands in locations."""
    # Where all share one spool, any of them has the mailbox.
    return "" if settings.word("mupdate_config") == "replicated" else server_name


Dial = Callable[[Callable[[Sequence[Told]], None], Callable[[str], None]], Awaitable[MupdateClient]]


def make_dial(settings: Settings, reactor: Any, *, answer_within: float | None = None) -> Dial:
    """
    Makes what connects to the master, over TLS where it offers that.

    @param answer_within: Seconds that the master has for each answer; None for those that it has while
        somebody's command waits for it.
    @raise ConfigError: As L{master_settings}, or a file cannot be read.
    """
    master = master_settings(settings)
    make_tls = client_tls(settings)
    within = master.patience if answer_within is None else answer_within

    async def dial(told: Callable[[Sequence[Told]], None], gone: Callable[[str], None]) -> MupdateClient:
        return await connect_to_master(
            reactor, master, told, gone, tls=make_tls(master.address.host), answer_within=within
        )

    return dial


def here(settings: Settings, server: str, store: MailStore) -> Here:
    """
    The mailboxes of this server, as the master is to know them.

    @param server: See L{own_location}.
    """
    deleted_prefix = settings.text("deletedprefix")

    def location(entry: Entry) -> Location:
        mailbox = published(entry)
        if entry.is_leaving:
            name = internal(mailbox.name, deleted_prefix)
            return Location(name, server, mailbox.partition, "", LocationState.RESERVED)
        return Location(internal(mailbox.name, deleted_prefix), server, mailbox.partition, mailbox.acl)

    def find(mailbox: str) -> Location | None:
        try:
            entry = store.directory.lookup(parse_internal(mailbox, deleted_prefix))
        except InvalidMailboxName:
            # A master may have names that cannot be here.
            return None
        return None if entry is None else location(entry)

    return Here(lambda: map(location, store.directory.entries()), find)


def make_publisher(
    settings: Settings, server_name: str, store: MailStore, reactor: Any, *, compares: bool = True
) -> Publisher:
    """
    What tells the master of this server's mailboxes.

    @param compares: Not only of what changes, but of all that it does not know.
    @raise ConfigError: As L{make_dial}.
    """
    connect = make_dial(settings, reactor)
    server = own_location(settings, server_name)

    async def dial(gone: Callable[[str], None]) -> MupdateClient:
        return await connect(lambda changes: None, gone)

    return Publisher(
        dial,
        server,
        here(settings, server, store),
        reactor,
        directory=Path(settings.text("configdirectory")),
        deleted_prefix=settings.text("deletedprefix"),
        retry_delay=float(settings.integer("mupdate_retry_delay")),
        compares=compares,
    )


def make_slave(settings: Settings, locations: Locations, reactor: Any) -> Slave:
    """
    What keeps a copy of the master's directory.

    @raise ConfigError: As L{make_dial}.
    """
    dial = make_dial(settings, reactor, answer_within=ANSWER_WITHIN)
    directory = Path(settings.text("configdirectory"))
    return Slave(locations, directory, dial, reactor, retry_delay=float(settings.integer("mupdate_retry_delay")))
