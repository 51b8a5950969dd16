"""What commands that work on the store have in common."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from zope.interface import implementer

from pycyrus.admin.running import run_with_reactor
from pycyrus.app.murder_parts import make_publisher, publishes
from pycyrus.app.prepare import make_directories
from pycyrus.app.privileges import UnixUser, become, user_to_become
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration, namespace_settings
from pycyrus.errors import InvalidMailboxName, MailStoreError
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, parse_internal, user_inbox
from pycyrus.store.partitions import BadPartition
from pycyrus.store.store import MailStore, open_store

T = TypeVar("T")

SERVER = Identity("cyrus", admin=AdminScope.GLOBAL)
"""As whom tools change mailboxes."""

USAGE = 64
"""Exit code of a command that was called in a wrong way, as sysexits(3) has it."""


class CommandError(Exception):
    """The command cannot be done; the text says why."""


def act_as_server(configuration: Configuration) -> None:
    """
    Become the user that the server runs as, and have its directories.

    Root would leave files behind that the server cannot write.
    """
    user = user_to_become(configuration) or _owner(configuration.home)
    make_directories(configuration, user)
    if user is not None:
        become(user)


def _owner(home: Path | None) -> UnixUser | None:
    """Whose a home is; None if that is us, or if we could not become them."""
    if home is None or os.geteuid() != 0 or not home.exists():
        return None
    uid = home.stat().st_uid
    if uid == 0:
        return None
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return None
    return UnixUser(entry.pw_name, uid, entry.pw_gid, entry.pw_dir)


def run_on_store(configuration: Configuration, work: Callable[[MailStore], Coroutine[Deferred[Any], Any, T]]) -> T:
    """
    Open the store, beside a server that may run, and do some work; once per process.

    Warnings and errors of the store go to standard error.

    @raise CommandError: The store cannot be used, or the work failed.
    """
    act_as_server(configuration)
    observer = FilteringLogObserver(_Complaints(), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)

    async def run(reactor: Any) -> T:
        async with opened(configuration, reactor) as store:
            return await work(store)

    try:
        return run_with_reactor(run)
    except (MailStoreError, BadPartition, OSError) as error:
        raise CommandError(str(error) or type(error).__name__) from error


@asynccontextmanager
async def opened(configuration: Configuration, reactor: Any) -> AsyncIterator[MailStore]:
    """
    The store, open for a command; a Murder's master is told of what it changes.

    @raise BadPartition: A partition cannot be used.
    @raise MailStoreError: A database cannot be used.
    """
    settings = configuration.settings
    # Each mailbox is looked at once, so few need be remembered.
    store = open_store(replace(store_settings(settings), open_mailboxes=4), reactor)
    publisher = None
    if publishes(settings):
        name = settings.text("servername") or gethostname()
        publisher = make_publisher(settings, name, store, reactor, compares=False)
        store.publish_to(publisher)
    try:
        yield store
    finally:
        if publisher is not None:
            publisher.close()
        await store.close()


@implementer(ILogObserver)
class _Complaints:
    """Prints events to standard error."""

    def __call__(self, event: LogEvent) -> None:
        print(f"pycyrus: {formatEvent(event)}", file=sys.stderr)


def mailbox_named(text: str, configuration: Configuration) -> MailboxName:
    """
    Read a mailbox name as administrators write it, or an internal one.

    @raise CommandError: It is none.
    """
    names = ExternalNames(namespace_settings(configuration.settings), SERVER)
    try:
        if "!" in text:
            return parse_internal(text, configuration.settings.text("deletedprefix"))
        return names.decode(os.fsencode(text), utf8=not text.isascii())
    except InvalidMailboxName as error:
        raise CommandError(f"{text} cannot be a mailbox: {error}") from error


def inbox_named(text: str, configuration: Configuration) -> MailboxName:
    """
    The INBOX of a user as administrators write users: C{fred} or C{fred@example.com}.

    @raise CommandError: It can be nobody's.
    """
    local, _, domain = text.partition("@")
    try:
        return user_inbox(local, "" if domain == configuration.settings.text("defaultdomain") else domain)
    except InvalidMailboxName as error:
        raise CommandError(f"{text} cannot be a user: {error}") from error


def name_text(name: MailboxName, configuration: Configuration) -> str:
    """Write a mailbox name as administrators do."""
    names = ExternalNames(namespace_settings(configuration.settings), SERVER)
    return names.encode(name, utf8=True).decode("utf-8")


def reported(function: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Have a command say in one line why it cannot be done."""

    def run(arguments: argparse.Namespace) -> int:
        try:
            return function(arguments)
        except CommandError as error:
            print(f"pycyrus: {error}", file=sys.stderr)
            return 1

    return run
