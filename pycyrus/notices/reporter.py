"""Events as they are told: put together, and handed to each sink."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import IEventSink, IMailStore, ListScope, Namespace, SessionFacts
from pycyrus.model.acl_text import tell_rights
from pycyrus.model.identity import POSTMAN
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Limit, Quota, Resource, Usage
from pycyrus.notices.kinds import LOGIN, LOGOUT, MESSAGE_NEW, QUOTA_CHANGE, Extra, Group, Kind
from pycyrus.notices.settings import EventSettings
from pycyrus.notices.urls import OBSERVER, Urls, owner_of
from pycyrus.tasks import Tasks

USES_KEPT = 1000
"""Mailboxes whose special use is remembered."""
USES_AGE = 60.0
"""Seconds for which it is."""

MAILBOX_TYPE = "e"
"""Mailboxes here have mail in them."""

_ONE_MORE = Usage(octets=1, messages=1)


class Reporter:
    """
    Tells the sinks what happened.

    @ivar urls: Of what events are about.
    """

    log = Logger()

    def __init__(
        self, settings: EventSettings, sinks: Sequence[IEventSink], store: IMailStore, clock: IReactorTime
    ) -> None:
        """@param store: To look up what events tell; nobody watches this one."""
        self.settings = settings
        self.store = store
        self.urls = Urls(settings.server, settings.namespace)
        self._sinks = sinks
        self._clock = clock
        self._uses: OrderedDict[MailboxName, tuple[float, bool]] = OrderedDict()
        self._tasks = Tasks()

    def wants(self, group: Group) -> bool:
        """Whether events of a group are told."""
        return group in self.settings.groups

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done that nobody waits for."""
        self._tasks.spawn(work, self.failed)

    def failed(self, failure: Failure) -> None:
        """Something could not be told, for a reason that is ours."""
        self.log.failure("an event could not be told", failure)

    async def is_excluded(self, name: MailboxName) -> bool:
        """Whether nothing is told of a mailbox, because of its special use."""
        uses = self.settings.excluded_uses
        if not uses or name.owner is None or not name.path:
            return False
        now = self._clock.seconds()
        known = self._uses.get(name)
        if known is not None and now - known[0] < USES_AGE:
            return known[1]
        try:
            listings = await self.store.list(POSTMAN, [ListScope(Namespace.OTHER, name.domain, name.owner)])
        except MailStoreError:
            return False
        there: Sequence[str] = next((each.special_use for each in listings if each.name == name), ())
        excluded = not uses.isdisjoint(use.lower() for use in there)
        self._uses[name] = (now, excluded)
        self._uses.move_to_end(name)
        if len(self._uses) > USES_KEPT:
            self._uses.popitem(last=False)
        return excluded

    def tell(self, kind: Kind, facts: SessionFacts, user: str, params: Mapping[str, object]) -> None:
        """
        Tell of an event.

        @param user: Who did it, or whose it is; empty for nobody.
        @param params: What is told of this one.
        """
        if not self.wants(kind.group):
            return
        event: dict[str, object] = {"event": kind.name}
        event.update(self._session_params(kind, facts))
        event.update(params)
        event["pid"] = os.getpid()
        event["serverFQDN"] = self.settings.server
        if user or kind is MESSAGE_NEW:
            event["user"] = user
        for sink in self._sinks:
            sink.tell(event)

    def _session_params(self, kind: Kind, facts: SessionFacts) -> dict[str, object]:
        extras = self.settings.extras
        params: dict[str, object] = {}
        if Extra.TIMESTAMP in extras:
            now = datetime.fromtimestamp(self._clock.seconds()).astimezone()
            params["timestamp"] = now.isoformat(timespec="milliseconds")
        if Extra.SERVICE in extras:
            params["service"] = facts.service
        if kind in (LOGIN, LOGOUT) and facts.server_address:
            params["serverDomain"] = facts.server_address
            params["serverPort"] = facts.server_port
        if kind in (LOGIN, LOGOUT) and facts.client_address:
            params["clientIP"] = facts.client_address
            params["clientPort"] = facts.client_port
        if Extra.SESSION_ID in extras:
            params["vnd.cmu.sessionId"] = facts.session_id
        return params

    async def mailbox_params(
        self, name: MailboxName, unique_id: str, uidvalidity: int | None = None, uid: int | None = None
    ) -> dict[str, object]:
        """
        Which mailbox an event is about.

        @param unique_id: Empty if it is not known.
        @param uid: Of the one message that is meant.
        """
        params: dict[str, object] = {"uri": self.urls.mailbox(name, uidvalidity, uid), "vnd.cmu.mbtype": MAILBOX_TYPE}
        if unique_id:
            params["mailboxID"] = unique_id
        if Extra.MAILBOX_ACL in self.settings.extras:
            with suppress(MailStoreError):
                entries = (await self.store.acl(OBSERVER, name)).entries
                params["vnd.cmu.mailboxACL"] = "".join(f"{who}\t{tell_rights(rights)}\t" for who, rights in entries)
        return params

    # --- quotas -----------------------------------------------------------------------

    async def quota_of(self, name: MailboxName) -> Quota | None:
        """The quota that holds for a mailbox; None also where it cannot be told."""
        try:
            return await self.store.quota_of(OBSERVER, name)
        except MailStoreError:
            return None

    async def tell_quota(self, kind: Kind, facts: SessionFacts, name: MailboxName, url: str) -> None:
        """Tell of the quota that holds for a mailbox."""
        quota = await self.quota_of(name)
        if quota is not None:
            limits = quota.limits
            if kind is QUOTA_CHANGE:
                # What is not limited is told as well.
                known = {limit.name for limit in limits}
                limits += tuple(Limit(name, -1) for name in _QUOTA_PARAMS if name not in known)
            self.tell(kind, facts, owner_of(quota.root), {**quota_params(quota, limits), "uri": url})

    async def close(self) -> None:
        """Tell nothing more."""
        self._tasks.cancel_all()
        for sink in self._sinks:
            await sink.close()


_QUOTA_PARAMS = {
    Resource.STORAGE.value: ("diskQuota", "diskUsed"),
    Resource.MESSAGE.value: ("maxMessages", "messages"),
}


def quota_params(quota: Quota, limits: Sequence[Limit]) -> dict[str, object]:
    """RFC 5423 section 5: limits and use, storage in kibibytes."""
    params: dict[str, object] = {}
    for limit in limits:
        names = _QUOTA_PARAMS.get(limit.name)
        if names is not None:
            params[names[0]] = limit.value
            params[names[1]] = quota.used(limit)
    return params


def is_full(quota: Quota | None) -> bool:
    """Whether nothing more goes in."""
    return quota is not None and quota.exceeded_by(_ONE_MORE) is not None
