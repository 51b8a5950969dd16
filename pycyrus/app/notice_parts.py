"""What the options say of notices and events: which are told, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from twisted.logger import Logger
from twisted.plugin import getPlugins

from pycyrus.config.load import namespace_settings
from pycyrus.config.settings import Settings
from pycyrus.interfaces import IDeliveryObserver, IEventSink, IEventSinkFactory, IMailStore, IStoreObserver
from pycyrus.notices.arrivals import ArrivalEvents
from pycyrus.notices.audit import AuditedDeliveries, AuditedSessions, AuditLog
from pycyrus.notices.http import HttpSink
from pycyrus.notices.kinds import Extra, Group
from pycyrus.notices.notifyd import NoticeSender, NotifydSocket
from pycyrus.notices.program import METHOD, ExternalProgram
from pycyrus.notices.reporter import Reporter
from pycyrus.notices.settings import ContentMode, EventSettings
from pycyrus.notices.sinks import DeliveryObservers, MailNotices, NoticeSink
from pycyrus.notices.watch import StoreObserver

HTTP = "http"
"""The word of C{event_notifier} for C{event_http_url}."""

_log = Logger()


@cache
def sink_factories() -> Mapping[str, IEventSinkFactory]:
    """Sinks from elsewhere, by name; looked for once, while the files can be read."""
    return {str(factory.name): IEventSinkFactory(factory) for factory in getPlugins(IEventSinkFactory)}


class Notices:
    """
    What tells others of what happens here.

    @ivar deliveries: Who is told of deliveries; None where nobody wants to know,
        and nothing is spent on it.
    @ivar sessions: Who watches sessions; likewise.
    @ivar events: Who tells of what they do; likewise, without the audit log.
    """

    def __init__(self, settings: Settings, server_name: str, store: IMailStore, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        self._senders: dict[str, NoticeSender] = {}
        observers: list[IDeliveryObserver] = []
        self.sessions: IStoreObserver | None = None
        self.events: IStoreObserver | None = None
        self._reporter: Reporter | None = None
        wanted = event_settings(settings, server_name)
        sinks = self._sinks() if wanted.groups else []
        if sinks:
            self._reporter = Reporter(wanted, sinks, store, reactor)
            self.events = self.sessions = StoreObserver(self._reporter)
            if wanted.groups & {Group.MESSAGE, Group.QUOTA}:
                observers.append(ArrivalEvents(self._reporter))
        if method := settings.text("mailnotifier"):
            observers.append(MailNotices(method, self._sender(method)))
        self.deliveries: IDeliveryObserver | None = DeliveryObservers(observers) if observers else None
        if settings.switch("auditlog"):
            audit = AuditLog(settings.text("deletedprefix"))
            self.deliveries = AuditedDeliveries(audit, self.deliveries)
            self.sessions = AuditedSessions(audit, self.sessions)

    def _sinks(self) -> list[IEventSink]:
        sinks: list[IEventSink] = []
        for word in self._settings.words("event_notifier"):
            if word == HTTP and (url := self._settings.text("event_http_url")):
                sinks.append(HttpSink(url, self._reactor, self._settings.text("event_http_authorization")))
            elif word in sink_factories():
                sinks.append(sink_factories()[word].make(self._settings.texts, self._reactor))
            else:
                sinks.append(NoticeSink(word, self._sender(word)))
        return sinks

    def _sender(self, method: str) -> NoticeSender:
        program = self._settings.text("notify_external")
        path = program if method == METHOD and program else self._settings.text("notifysocket")
        if path not in self._senders:
            make: Callable[[], NoticeSender] = (
                (lambda: ExternalProgram(path, self._reactor)) if path == program else (lambda: NotifydSocket(path))
            )
            self._senders[path] = make()
        return self._senders[path]

    async def close(self) -> None:
        """Tell nothing more."""
        if self._reporter is not None:
            await self._reporter.close()
        for sender in self._senders.values():
            await sender.close()


def event_settings(settings: Settings, server_name: str) -> EventSettings:
    """Which events are told; words that mean nothing here are logged, as Cyrus has more of them."""
    return EventSettings(
        server=server_name,
        groups=frozenset(_known(settings, "event_groups", Group)),
        extras=frozenset(_known(settings, "event_extra_params", Extra)),
        content_mode=ContentMode(settings.word("event_content_inclusion_mode")),
        content_size=settings.integer("event_content_size"),
        excluded_flags=frozenset(word.lower().encode("utf-8") for word in settings.text("event_exclude_flags").split()),
        excluded_uses=frozenset(settings.text("event_exclude_specialuse").lower().split()),
        namespace=namespace_settings(settings),
    )


def _known(settings: Settings, option: str, words: Any) -> list[Any]:
    by_name = {word.value.lower(): word for word in words}
    found = []
    for word in settings.words(option):
        if word.lower() in by_name:
            found.append(by_name[word.lower()])
        else:
            _log.warn("{option}: there is no {word} here", option=option, word=word)
    return found
