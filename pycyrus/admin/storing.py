"""What commands that work on the store have in common."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from socket import gethostname
from typing import Any, TypeVar, cast

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

from pycyrus.admin.command import CommandError, act_as_server
from pycyrus.admin.running import run_with_reactor
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import Configuration
from pycyrus.errors import MailStoreError
from pycyrus.interfaces import SessionFacts
from pycyrus.notices.watch import WatchedStore
from pycyrus.store.expiry import Teller
from pycyrus.store.partitions import BadPartition
from pycyrus.store.store import MailStore, open_store

T = TypeVar("T")

_FACTS = SessionFacts("pycyrus", "")
"""What events tell of the session: there is none."""


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
    The store, open for a command; a Murder's master, and who wants events, are told of what it changes.

    @raise BadPartition: A partition cannot be used.
    @raise MailStoreError: A database cannot be used.
    """
    settings = configuration.settings
    # Each mailbox is looked at once, so few need be remembered.
    store = open_store(replace(store_settings(settings), open_mailboxes=4), reactor)
    publisher = notices = None
    watched = store
    name = settings.text("servername") or gethostname()
    if settings.text("mupdate_server"):
        # What links servers takes longer to import than most commands run.
        from pycyrus.app.murder_parts import make_publisher, publishes

        if publishes(settings):
            publisher = make_publisher(settings, name, store, reactor, compares=False)
            store.publish_to(publisher)
    if settings.words("event_notifier"):
        from pycyrus.app.notice_parts import Notices

        notices = Notices(settings, name, store, reactor)
        if notices.events is not None:
            # It passes on whatever the store itself can do.
            watched = cast(MailStore, notices.events.watch(store, _FACTS).store)
    try:
        yield watched
    finally:
        if notices is not None:
            await notices.close()
        if publisher is not None:
            publisher.close()
        await store.close()


def teller_of(store: MailStore) -> Teller | None:
    """Whom to tell of messages that have expired; None for nobody."""
    watched: object = store
    return watched.tell_expired if isinstance(watched, WatchedStore) else None


@implementer(ILogObserver)
class _Complaints:
    """Prints events to standard error."""

    def __call__(self, event: LogEvent) -> None:
        print(f"pycyrus: {formatEvent(event)}", file=sys.stderr)
