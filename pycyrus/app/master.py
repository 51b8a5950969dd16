"""
The master: everything that one server is, from the bound sockets to the last goodbye.

It serves itself (C{workers: 0}), or keeps workers that do; it runs the
programs of cyrus.conf, and tells scripts when the server is ready.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from twisted.application.service import IServiceCollection
from twisted.application.service import Service as ApplicationService
from twisted.internet.defer import Deferred
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure
from typing_extensions import override

from pycyrus.app import allocator, collector, log_text, logs
from pycyrus.app.context import build_context
from pycyrus.app.directories import make_directories, others_serve, partition_directories
from pycyrus.app.embedded import accounts_of, announce, make_certificate, populate
from pycyrus.app.events import Programs
from pycyrus.app.exit_code import fail_at_exit
from pycyrus.app.lock import lock_partitions, lock_state
from pycyrus.app.prepare import Offered, find_problems
from pycyrus.app.privileges import UnixUser, become, raise_descriptor_limit, user_to_become
from pycyrus.app.ready import Account, ReadyFile
from pycyrus.app.reload import changes
from pycyrus.app.server import Server, Service
from pycyrus.app.sockets import Listener, bind_all
from pycyrus.app.supervisor import READY, STOPPING, Supervisor
from pycyrus.app.workers import Forker, Workers
from pycyrus.config.load import Configuration, load
from pycyrus.config.problems import ConfigError
from pycyrus.net.threads import switch_often
from pycyrus.tasks import Tasks

_OWN_DESCRIPTORS = 4096
"""Files that a process needs besides those of connections: mailboxes, databases."""

_KILL_AFTER = 5.0
"""Seconds that a worker has beyond what it gives its sessions."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """
    A server that can start: all was checked, and its sockets are bound.

    @ivar user: Whom to become; None to stay who we are.
    @ivar locks: Hold the directories of state and of mail for this server.
    """

    configuration: Configuration
    offered: Offered
    listeners: tuple[Listener, ...]
    user: UnixUser | None
    locks: ExitStack


def prepare(configuration: Configuration) -> Prepared:
    """
    Check all that can be checked, make what is missing, bind the sockets.

    @raise ConfigError: With all that is wrong; nothing was left behind that
        another start would have to remove.
    """
    user = user_to_become(configuration)
    offered, problems = find_problems(configuration, user)
    if not others_serve(configuration, problems):
        raise ConfigError(problems)
    for problem in problems:
        Master.log.error("{problem}; its mailboxes cannot be used until then", problem=str(problem))
    make_directories(configuration, user, offered.served)
    with ExitStack() as locks:
        locks.callback(os.close, lock_state(configuration.state, user))
        locks.enter_context(lock_partitions(partition_directories(configuration)))
        prepared = _bind(configuration, offered, user, locks)
        return replace(prepared, locks=locks.pop_all())


def _bind(configuration: Configuration, offered: Offered, user: UnixUser | None, locks: ExitStack) -> Prepared:
    """Bind the sockets, and make what goes with them."""
    settings = configuration.settings
    listeners = bind_all(offered.served, settings.integer("listen_backlog"), settings.integer("socket_mode"))
    try:
        make_certificate(configuration)
        for listener in listeners:
            if user is not None:
                listener.give_to(user.uid, user.gid)
    except (ConfigError, OSError):
        for listener in listeners:
            listener.close()
        raise
    return Prepared(configuration, offered, tuple(listeners), user, locks)


class Master(ApplicationService):
    """The service that twistd runs."""

    log = Logger()
    name: str = "pycyrus"

    def __init__(self, prepared: Prepared, reactor: PosixReactorBase, twistd_options: object = None) -> None:
        """@param twistd_options: C{twistd}'s own, where that is what runs this."""
        self._prepared = prepared
        self._twistd_options = twistd_options
        self._configuration = prepared.configuration
        self._reactor = reactor
        self._server: Server | None = None
        self._workers: Workers | None = None
        self._forker: Forker | None = None
        self._observers: list[ILogObserver] = []
        self._ready = ReadyFile(prepared.configuration.state)
        self._is_ready = False
        self._supervisor = Supervisor()
        self._accounts: Mapping[str, Account] = {}
        self._tasks = Tasks()
        self._programs = Programs(
            prepared.configuration.cyrus, self._environment(), reactor, prepared.configuration.source.words()
        )

    def _environment(self) -> dict[str, str]:
        """What programs of cyrus.conf find in theirs, as under Cyrus's master."""
        source = self._configuration.source
        return {} if source.imapd_conf is None else {"CYRUS_CONFIG": str(source.imapd_conf)}

    # --- starting -----------------------------------------------------------

    @override
    def setServiceParent(self, parent: IServiceCollection) -> None:
        log_text.quicken(parent, self._twistd_options)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call] # Twisted's

    @override
    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call] # Twisted's
        settings = self._configuration.settings
        # That of a server that was killed would tell what is no more.
        self._ready.remove()
        # Two for each connection, for one may have a message open.
        wanted = 2 * settings.integer("connections_total") + _OWN_DESCRIPTORS
        allowed = raise_descriptor_limit(wanted)
        if allowed < settings.integer("connections_total") + _OWN_DESCRIPTORS:
            self.log.info(
                "a process may open {allowed} files (ulimit -n); {wanted} would be enough for connections_total",
                allowed=allowed,
                wanted=wanted,
            )
        if worker_number(settings.text("workers")):
            sockets = [listening for listener in self._prepared.listeners for listening in listener.sockets]
            self._forker = Forker(sockets, self._prepared.user)
        if self._prepared.user is not None:
            become(self._prepared.user)
        os.umask(settings.integer("umask"))
        self._observers = logs.begin(settings)
        for notice in self._configuration.notices:
            self.log.warn("{place}: {notice}", place=str(notice.place), notice=notice.text)
        for entry, program in self._prepared.offered.left_out:
            self.log.warn(
                "{place}: service {entry} is left out: {program} is not part of pycyrus",
                place=str(entry.place),
                entry=entry.name,
                program=program,
            )
        self._reactor.callWhenRunning(self._run)

    def _run(self) -> None:
        if self.running:
            signal.signal(signal.SIGHUP, self._hangup)
            self._tasks.spawn(self._start(), self._failed)

    async def _start(self) -> None:
        configuration = self._configuration
        settings = configuration.settings
        await self._programs.start()
        await self._programs.start_daemons()
        services = [
            Service(listener.entry.name, listener.entry.cmd, listener.sockets) for listener in self._prepared.listeners
        ]
        # With workers the master opens the store as well, and closes it again: so
        # one process makes a new one, and what is wrong is told once.
        context = build_context(settings, 0, self._reactor)
        if configuration.home is not None:
            self._accounts = accounts_of(configuration.home)
            await populate(configuration, context.store, self._accounts)
        if self._forker is None:
            self._server = Server(context, services, self._reactor)
            self._server.start()
        else:
            await context.close()
            number = worker_number(settings.text("workers"))
            self._workers = Workers(
                number, settings, services, self._forker, self._reactor, self._tell_ready, self._no_workers
            )
            await self._workers.start()
        self._is_ready = True
        collector.settle(self._reactor)
        allocator.settle()
        switch_often()
        self._tell_ready()
        self._supervisor.tell(READY)
        self._programs.start_events()
        self.log.info("pycyrus is ready: {services}", services=", ".join(self._addresses()))
        if configuration.home is not None:
            announce(configuration, self._services(), self._accounts)

    def _services(self) -> dict[str, Any]:
        return {listener.entry.name: listener.address for listener in self._prepared.listeners}

    def _addresses(self) -> list[str]:
        return [f"{name} at {address}" for name, address in self._services().items()]

    def _tell_ready(self) -> None:
        if self._is_ready:
            pids = self._workers.pids if self._workers is not None else []
            self._ready.write(pids, self._services(), self._accounts)

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            return  # it was stopped in the middle of starting
        self.log.failure("the server cannot start", failure)
        reason = f"{failure.type.__name__}: {failure.getErrorMessage()}" if failure.type else "unknown"
        print(f"pycyrus: the server cannot start: {reason}", file=sys.__stderr__)
        fail_at_exit()
        self._reactor.stop()

    def _no_workers(self) -> None:
        """End in an orderly way: whoever started this server starts a better one."""
        if self.running:
            self.log.critical("workers that end cannot be replaced: the server ends")
            fail_at_exit()
            self._reactor.stop()

    # --- while it runs ------------------------------------------------------

    def _hangup(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        """Read the configuration again, and use of it what can be used without a restart."""
        try:
            configuration = load(self._configuration.source)
        except ConfigError as error:
            for problem in error.problems:
                self.log.error("{problem} The former configuration stays.", problem=str(problem))
            return
        found = changes(self._configuration, configuration)
        for text in found.restart:
            self.log.warn("{change} takes effect at the next restart", change=text)
        settings = found.settings
        if self._workers is not None:
            self._workers.reload(settings)
        if self._server is not None:
            try:
                self._server.reload(settings)
            except Exception:  # noqa: BLE001 - logged; it goes on serving as before
                self.log.failure("the new options cannot be used; the former stay")
                return
        self._configuration = found.configuration
        self.log.info("the configuration was read again: {count} changes in use", count=len(found.used))

    # --- stopping -----------------------------------------------------------

    @override
    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call] # Twisted's
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._supervisor.tell(STOPPING)
        self._ready.remove()
        self._is_ready = False
        timeout = float(self._configuration.settings.duration("shutdown_timeout"))
        self._tasks.cancel_all()
        await self._programs.stop(timeout)
        if self._server is not None:
            await self._server.stop(timeout)
        if self._workers is not None:
            await self._workers.stop(timeout + _KILL_AFTER)
        if self._forker is not None:
            self._forker.close()
        for listener in self._prepared.listeners:
            listener.close()
        self._prepared.locks.close()
        self.log.info("pycyrus has stopped")
        logs.end(self._observers)


def worker_number(text: str) -> int:
    """How many workers the option C{workers} means."""
    if text == "auto":
        return len(os.sched_getaffinity(0))
    return int(text)
