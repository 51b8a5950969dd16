"""Events of mail that is delivered."""

from __future__ import annotations

import numpy as np
from twisted.python.failure import Failure
from zope.interface import implementer

from pycyrus.interfaces import Arrival, IDeliveryObserver, SessionFacts
from pycyrus.model.names import MailboxName
from pycyrus.notices.contents import of_mailbox, of_messages
from pycyrus.notices.kinds import MESSAGE_NEW, QUOTA_EXCEED, Extra, Group
from pycyrus.notices.reporter import Reporter
from pycyrus.notices.urls import owner_of


@implementer(IDeliveryObserver)
class ArrivalEvents:
    """Tells of each delivery by MessageNew (RFC 5423 section 4.1), and of each that had no room."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def delivered(self, arrival: Arrival) -> None:
        """See L{IDeliveryObserver}."""
        if not self._reporter.wants(Group.MESSAGE):
            return
        try:
            params = self._params(arrival)
        except Exception:  # noqa: BLE001 - it is in its mailbox: the sender must hear that, whatever fails here
            self._reporter.failed(Failure())
            return
        unique_id = arrival.opened.unique_id if arrival.opened is not None else ""
        self._reporter.spawn(self._tell(arrival, unique_id, params))

    def over_quota(self, mailbox: MailboxName, session_id: str, service: str) -> None:
        """See L{IDeliveryObserver}."""
        if self._reporter.wants(Group.QUOTA):
            url = self._reporter.urls.mailbox(mailbox)
            facts = SessionFacts(service, session_id)
            self._reporter.spawn(self._reporter.tell_quota(QUOTA_EXCEED, facts, mailbox, url))

    def close(self) -> None:
        """See L{IDeliveryObserver}; the reporter is closed by whoever made it."""

    def _params(self, arrival: Arrival) -> dict[str, object]:
        settings = self._reporter.settings
        params: dict[str, object] = {}
        if Extra.MESSAGE_SIZE in settings.extras:
            params["messageSize"] = arrival.size
        if arrival.opened is not None and settings.extras - _CHEAP:
            arrival.opened.refresh()
            params |= of_mailbox(arrival.opened, settings.extras)
            params |= of_messages(arrival.opened, np.array([arrival.uid], np.uint32), MESSAGE_NEW, settings)
        return params

    async def _tell(self, arrival: Arrival, unique_id: str, params: dict[str, object]) -> None:
        reporter = self._reporter
        name = arrival.mailbox
        if await reporter.is_excluded(name):
            return
        params |= await reporter.mailbox_params(name, unique_id, arrival.uidvalidity, arrival.uid)
        facts = SessionFacts(arrival.service, arrival.session_id)
        reporter.tell(MESSAGE_NEW, facts, owner_of(name), params)


_CHEAP = frozenset(
    (
        Extra.TIMESTAMP,
        Extra.SERVICE,
        Extra.SESSION_ID,
        Extra.MESSAGE_SIZE,
        Extra.CLIENT_ADDRESS,
        Extra.MAILBOX_ACL,
        Extra.DISK_USED,
        Extra.FLAG_NAMES,
    )
)
"""What can be told without a look at the columns."""
