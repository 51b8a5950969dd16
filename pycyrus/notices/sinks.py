"""Where events and notices go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from pycyrus.interfaces import Arrival, IDeliveryObserver, IEventSink
from pycyrus.model.names import MailboxName
from pycyrus.notices.forms import event_notice, new_mail
from pycyrus.notices.notifyd import NoticeSender


@implementer(IEventSink)
class NoticeSink:
    """Sends events as notices of the class EVENT."""

    def __init__(self, method: str, sender: NoticeSender) -> None:
        self._method = method
        self._sender = sender

    def tell(self, event: Mapping[str, object]) -> None:
        """See L{IEventSink}."""
        self._sender.send(event_notice(self._method, event))

    async def close(self) -> None:
        """See L{IEventSink}; the sender is closed by whoever made it."""


@implementer(IDeliveryObserver)
class MailNotices:
    """Sends a notice of the class MAIL for each delivery to a user (C{mailnotifier})."""

    def __init__(self, method: str, sender: NoticeSender) -> None:
        self._method = method
        self._sender = sender

    def delivered(self, arrival: Arrival) -> None:
        """See L{IDeliveryObserver}."""
        if arrival.mailbox.owner is not None:
            self._sender.send(new_mail(self._method, arrival))

    def over_quota(self, mailbox: MailboxName, session_id: str, service: str) -> None:
        """See L{IDeliveryObserver}; the sender of the mail is told."""

    def close(self) -> None:
        """See L{IDeliveryObserver}; the sender is closed by whoever made it."""


@implementer(IDeliveryObserver)
class DeliveryObservers:
    """Several as one."""

    def __init__(self, observers: Sequence[IDeliveryObserver]) -> None:
        self._observers = observers

    def delivered(self, arrival: Arrival) -> None:
        """See L{IDeliveryObserver}."""
        for observer in self._observers:
            observer.delivered(arrival)

    def over_quota(self, mailbox: MailboxName, session_id: str, service: str) -> None:
        """See L{IDeliveryObserver}."""
        for observer in self._observers:
            observer.over_quota(mailbox, session_id, service)

    def close(self) -> None:
        """See L{IDeliveryObserver}."""
        for observer in self._observers:
            observer.close()
