"""
C{pycyrus murder}: how a server stands in its Murder, and C{ctl_mboxlist -m}.

Both ask the MUPDATE master themselves, and work beside a running server.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.threads import deferToThread

from pycyrus.admin import murder_forget
from pycyrus.admin.command import CommandError, reported
from pycyrus.admin.master_client import connect
from pycyrus.admin.murder_names import names_that_differ
from pycyrus.admin.push_options import add_push_options
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.admin.storing import run_on_store
from pycyrus.app.frontend_parts import is_frontend
from pycyrus.app.murder_parts import here, own_location, publishes
from pycyrus.app.programs import service_program
from pycyrus.app.shared_directory_parts import access, is_shared
from pycyrus.config.load import Configuration, load
from pycyrus.config.settings import Settings
from pycyrus.errors import StoreUnavailable
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.comparison import Compared, Order, compare
from pycyrus.murder.directory.kick import kick
from pycyrus.murder.servers.lines import LineClient
from pycyrus.store.locations import FILE_NAME, Locations
from pycyrus.store.store import MailStore

IMAP_PORT = 143
_CONNECT_WITHIN = 5
_MOST_NAMES = 100
"""Conflicts that are told by name."""


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("murder", help="look after this server's part in a Murder")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status",
        help="tell roles, the master, other servers, and what is not as it should be",
        description="Tells how this server stands in its Murder.  The status is 1 if something is wrong.",
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    add_source_options(status)
    status.set_defaults(run=reported(run_status))
    push = actions.add_parser(
        "push",
        help="tell the master of this server's mailboxes (Cyrus's ctl_mboxlist -m)",
        description="Has the MUPDATE master know which mailboxes are here.  Mail is never removed by it.",
    )
    add_push_options(push)
    add_source_options(push)
    push.set_defaults(run=reported(run_push))
    murder_forget.add_forget(actions)


# --- telling the master -----------------------------------------------------


def run_push(arguments: argparse.Namespace) -> int:
    """
    Have the master know what is here.

    @return: 1 if the master has mailboxes elsewhere that are here.
    """
    configuration = _load(arguments)
    settings = configuration.settings
    if not publishes(settings):
        raise CommandError(
            "this server has no mailboxes to tell a master of: mupdate_server or proxyservers is not set"
        )
    server = own_location(settings, settings.text("servername") or gethostname())

    async def work(store: MailStore) -> Compared:
        client = await connect(configuration)
        mailboxes = here(settings, server, store)
        try:
            if not arguments.interactive:
                order = Order(_tell, dry_run=arguments.warn_only, is_right=arguments.is_right)
                return await compare(client, server, mailboxes, _reactor(), order)
            found: list[tuple[str, str]] = []
            noted = Order(lambda *each: found.append(each), dry_run=True, is_right=arguments.is_right)
            await compare(client, server, mailboxes, _reactor(), noted)
            client.log_out()
            agreed = {each for each in found if _asked(*each)}
            client = await connect(configuration)
            order = Order(_tell, is_right=arguments.is_right, wanted=lambda *each: each in agreed)
            return await compare(client, server, mailboxes, _reactor(), order)
        finally:
            client.log_out()

    done = run_on_store(configuration, work)
    return 1 if done.conflicts else 0


def _tell(what: str, mailbox: str) -> None:
    print(f"{what}: {mailbox}")


def _asked(what: str, mailbox: str) -> bool:
    if what == "Conflict":
        return False
    print(f"{what}: {mailbox}? [n] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# --- status -----------------------------------------------------------------


@dataclass(slots=True)
class Master:
    """
    The master as it was seen from here.

    @ivar milliseconds: Until it had answered a NOOP.
    @ivar problem: Why it cannot be used; else empty.
    """

    address: str
    product: str = ""
    milliseconds: float | None = None
    problem: str = ""


@dataclass(slots=True)
class Backend:
    """
    Another server.

    @ivar mailboxes: How many the directory has there.
    @ivar problem: Why it cannot be reached, or used; else empty.
    """

    mailboxes: int
    problem: str = ""


@dataclass(slots=True)
class Database:
    """
    The directory that several masters share.

    @ivar hosts: What each of its servers is, or why it cannot be asked.
    @ivar last_change: The number of the last change; None if nobody can tell.
    @ivar copy: That of the last one that the copy here has; None if it was never whole.
    """

    name: str
    hosts: dict[str, str] = field(default_factory=dict)
    last_change: int | None = None
    copy: int | None = None


@dataclass(slots=True)
class Status:
    """
    How a server stands in its Murder.

    @ivar roles: C{master}, C{frontend}, C{backend}.
    @ivar servers: Mailboxes in the directory here, by server.
    @ivar copy_lag: Milliseconds until the copy here had all that the master knew; None where there is no copy, or
        nobody keeps it.
    @ivar untold: Mailboxes here of which the master does not know, or knows wrongly, or that it has and are not
        here; None if this could not be compared.
    @ivar database: Of a master that shares its directory with others.
    @ivar conflicts: Mailboxes here that the master has elsewhere; not more than some.
    @ivar problems: What is not as it should be.
    """

    server: str
    roles: list[str]
    master: Master | None = None
    servers: dict[str, Backend] = field(default_factory=dict)
    copy_lag: float | None = None
    untold: int | None = None
    database: Database | None = None
    conflicts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_status(arguments: argparse.Namespace) -> int:
    """
    Print it.

    @return: 1 if something is wrong.
    """
    configuration = _load(arguments)
    settings = configuration.settings
    status = Status(settings.text("servername") or gethostname(), roles(configuration))
    if not status.roles:
        raise CommandError("this server is not part of a Murder: mupdate_server is not set")

    async def work(store: MailStore) -> None:
        if settings.text("mupdate_server"):
            await _look_at_master(configuration, store, status)
        await _look_at_directory(configuration, status)
        if "master" in status.roles and is_shared(settings):
            await _look_at_database(configuration, status)

    run_on_store(configuration, work)
    print(json.dumps(asdict(status), indent=2) if arguments.json else "\n".join(lines(status)))
    return 1 if status.problems else 0


def roles(configuration: Configuration) -> list[str]:
    """What a server is in its Murder; nothing if it is in none."""
    found = []
    if any(service_program(each.cmd) == "mupdate" and "-m" in each.cmd for each in configuration.cyrus.services):
        found.append("master")
    if is_frontend(configuration.settings):
        found.append("frontend")
    if publishes(configuration.settings):
        found.append("backend")
    return found


def lines(status: Status) -> list[str]:
    """It as people read it."""
    told = [f"{status.server}: {', '.join(status.roles)}"]
    master = status.master
    if master is not None:
        state = master.problem or f"{master.product}, answers within {master.milliseconds:.1f} ms"
        told.append(f"master {master.address}: {state}")
    if status.copy_lag is not None:
        told.append(f"the copy of the directory was up to date within {status.copy_lag:.1f} ms")
    for name, backend in sorted(status.servers.items()):
        told.append(
            f"{name or '(no server)'}: {backend.mailboxes} mailboxes{backend.problem and ', ' + backend.problem}"
        )
    if (database := status.database) is not None:
        told += [f"database {database.name} at {host}: {state}" for host, state in database.hosts.items()]
        told.append(f"change {database.last_change} is its last one, {database.copy} that of the copy here")
    if status.untold is not None:
        told.append(f"{status.untold} mailboxes here that the master does not know as they are")
    told += [f"PROBLEM: {problem}" for problem in status.problems]
    return told


async def _look_at_master(configuration: Configuration, store: MailStore, status: Status) -> None:
    settings = configuration.settings
    master = status.master = Master(settings.text("mupdate_server"))
    try:
        client = await connect(configuration)
        try:
            began = time.monotonic()
            await client.noop()
            master.milliseconds = _since(began)
            master.product = " ".join(client.banner.product[1:])
            if "backend" in status.roles:
                await _compare(configuration, store, client, status)
        finally:
            client.log_out()
    except StoreUnavailable as error:
        master.problem = str(error)
        status.problems.append(f"the master cannot be used: {error}")
    if status.untold:
        status.problems.append(f"{status.untold} mailboxes to be told of: pycyrus murder push")
    if status.conflicts:
        status.problems.append(f"the master has elsewhere what is here: {' '.join(status.conflicts)}")


async def _compare(configuration: Configuration, store: MailStore, client: MupdateClient, status: Status) -> None:
    server = own_location(configuration.settings, status.server)

    def noted(what: str, mailbox: str) -> None:
        if what == "Conflict" and len(status.conflicts) < _MOST_NAMES:
            status.conflicts.append(mailbox)

    mailboxes = here(configuration.settings, server, store)
    status.untold = (await compare(client, server, mailboxes, _reactor(), Order(noted, dry_run=True))).changed


async def _look_at_directory(configuration: Configuration, status: Status) -> None:
    directory = Path(configuration.settings.text("configdirectory"))
    if "frontend" in status.roles:
        began = time.monotonic()
        try:
            await kick(_reactor(), directory)
            status.copy_lag = _since(began)
        except StoreUnavailable as error:
            status.problems.append(f"nobody keeps the copy of the directory up to date: {error}")
    if not (directory / FILE_NAME).exists():
        return
    locations = Locations(directory, _reactor())
    try:
        status.servers = {server: Backend(count) for server, count in locations.count().items()}
    finally:
        await locations.close()
    if "frontend" in status.roles:
        ports = _ports(configuration)
        others = [name for name in status.servers if name not in ("", status.server)]
        await gatherResults([Deferred.fromCoroutine(_look_at_server(name, status, ports)) for name in others])
        for name in others:
            if not status.servers[name].problem:
                await _look_at_names(configuration.settings, directory, name, status)


async def _look_at_names(settings: Settings, directory: Path, name: str, status: Status) -> None:
    problem = await names_that_differ(settings, directory, name, _reactor())
    if problem:
        status.servers[name].problem = f"names mailboxes otherwise: {problem}"
        status.problems.append(f"{name} names mailboxes otherwise: {problem}")


async def _look_at_database(configuration: Configuration, status: Status) -> None:
    settings = configuration.settings
    where = access(settings)
    from pycyrus.murder.shared.looking import look
    from pycyrus.murder.shared.position import Position

    mark = Position(Path(settings.text("configdirectory"))).read()
    database = status.database = Database(where.database, copy=None if mark is None else mark.number)
    found = await deferToThread(look, where)
    primaries = [each for each in found if each.takes_changes]
    for each in found:
        kind = "takes changes" if each.takes_changes else f"a standby, which knows change {each.last_change}"
        database.hosts[each.host] = each.problem or kind
        if each.problem:
            status.problems.append(f"database {where.database}: {each.host} cannot be asked")
    if not primaries:
        status.problems.append(f"database {where.database}: no server takes changes")
    elif len(primaries) > 1:
        names = " and ".join(each.host for each in primaries)
        status.problems.append(f"database {where.database}: {names} all take changes: fence all but one")
    database.last_change = max((each.last_change or 0 for each in primaries), default=None)


async def _look_at_server(name: str, status: Status, ports: Mapping[str, int]) -> None:
    host, mark, digits = name.rpartition(":")
    if not mark or not digits.isdigit():
        host, digits = name, str(IMAP_PORT)
    endpoint = HostnameEndpoint(
        _reactor(), host.strip("[]").encode("idna"), ports.get(name, int(digits)), timeout=_CONNECT_WITHIN
    )
    link = LineClient(name, _reactor())
    try:
        await connectProtocol(endpoint, link)
        # One that hangs is connected to by its kernel.
        await link.line(_CONNECT_WITHIN)
    except (ConnectError, DNSLookupError, StoreUnavailable) as error:
        status.servers[name].problem = f"cannot be reached: {error}"
        status.problems.append(f"{name} cannot be reached")
    finally:
        link.abort("it was only looked at")


def _ports(configuration: Configuration) -> dict[str, int]:
    words = (word.partition("/imap=") for word in configuration.settings.words("backend_ports"))
    return {name: int(port) for name, mark, port in words if mark}


# --- both -------------------------------------------------------------------


def _load(arguments: argparse.Namespace) -> Configuration:
    return load(source_of(arguments))


def _reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 3)
