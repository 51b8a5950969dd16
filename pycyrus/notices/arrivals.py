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
from pycyrus.notices.urls import mailbox_url, owner_of

SERVICE = "lmtp"


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
        self._reporter.spawn(self._tell(arrival.mailbox, arrival.session_id, params))

    def over_quota(self, mailbox: MailboxName, session_id: str) -> None:
        """See L{IDeliveryObserver}."""
        if self._reporter.wants(Group.QUOTA):
            url = mailbox_url(self._reporter.settings.server, mailbox)
            facts = SessionFacts(SERVICE, session_id)
            self._reporter.spawn(self._reporter.tell_quota(QUOTA_EXCEED, facts, mailbox, url))

    def close(self) -> None:
        """See L{IDeliveryObserver}; the reporter is closed by whoever made it."""

    def _params(self, arrival: Arrival) -> dict[str, object]:
        settings = self._reporter.settings
        params: dict[str, object] = {
            "uri": mailbox_url(settings.server, arrival.mailbox, arrival.uidvalidity, arrival.uid),
            "uidset": str(arrival.uid),
        }
        if Extra.MESSAGE_SIZE in settings.extras:
            params["messageSize"] = arrival.size
        if arrival.opened is not None and settings.extras - _CHEAP:
            arrival.opened.refresh()
            params |= of_mailbox(arrival.opened, settings.extras)
            params |= of_messages(arrival.opened, np.array([arrival.uid], np.uint32), MESSAGE_NEW, settings)
        return params

    async def _tell(self, mailbox: MailboxName, session_id: str, params: dict[str, object]) -> None:
        if not await self._reporter.is_excluded(mailbox):
            self._reporter.tell(MESSAGE_NEW, SessionFacts(SERVICE, session_id), owner_of(mailbox), params)


_CHEAP = frozenset((Extra.TIMESTAMP, Extra.SERVICE, Extra.SESSION_ID, Extra.MESSAGE_SIZE, Extra.CLIENT_ADDRESS))
"""What can be told without a look at the mailbox."""
