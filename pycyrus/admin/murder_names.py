"""Whether the other servers of a Murder name mailboxes as this one does, for C{pycyrus murder status}."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet import defer

from pycyrus.app.frontend_parts import backend_settings
from pycyrus.config.load import namespace_settings
from pycyrus.config.settings import Settings
from pycyrus.errors import InvalidMailboxName, StoreUnavailable
from pycyrus.interfaces import LocationState
from pycyrus.model.identity import Identity
from pycyrus.model.internal_names import parse_internal
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.names import NamespaceSettings, VirtualDomains
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.naming import NamesDiffer
from pycyrus.store.locations import Locations

_SAMPLE = 5000
"""Mailboxes of a server that are looked at."""
_WITHIN = 10.0


async def names_that_differ(settings: Settings, directory: Path, server: str, reactor: Any) -> str:
    """
    See how a server names mailboxes, by what the directory has of it, and by what it tells one of its users.

    @param directory: C{configdirectory}.
    @return: What differs; empty if nothing does, or it could not be seen.
    """
    namespace = namespace_settings(settings)
    locations = Locations(directory, reactor)
    try:
        page = locations.page("", "", _SAMPLE, server)
    finally:
        await locations.close()
    names = []
    for location in page:
        try:
            if location.state is LocationState.ACTIVE:
                names.append(parse_internal(location.mailbox, namespace.deletedprefix))
        except InvalidMailboxName:
            continue
    return domains_that_differ(names, namespace) or await _ask(settings, names, server, reactor)


def domains_that_differ(names: Sequence[MailboxName], namespace: NamespaceSettings) -> str:
    """Whether names of mailboxes show that C{virtdomains} or C{defaultdomain} is another where they were made."""
    for name in names:
        if namespace.virtdomains is VirtualDomains.OFF:
            if name.domain:
                return f"virtdomains: there are mailboxes of the domain {name.domain}, here it is off"
        elif name.owner is not None and "@" in name.owner:
            return f"virtdomains: the user {name.owner} has no domain there"
        elif name.domain and name.domain == namespace.defaultdomain:
            return f"defaultdomain: {name.domain} is another domain there"
    return ""


async def _ask(settings: Settings, names: Sequence[MailboxName], server: str, reactor: Any) -> str:
    admins = frozenset(settings.words("admins"))
    users = (name for name in names if name.is_inbox and name.deleted is None and name.owner_id not in admins)
    inbox = next(users, None)
    if inbox is None:
        return ""
    user = Identity(inbox.owner or "", inbox.domain)
    backends = Backends(backend_settings(settings), reactor)

    async def look() -> None:
        async with backends.borrowed(server, user):
            # It was compared when the connection was made.
            pass

    try:
        await defer.Deferred.fromCoroutine(look()).addTimeout(_WITHIN, reactor)
    except NamesDiffer as error:
        return error.problem
    except (StoreUnavailable, defer.TimeoutError):
        # What else is wrong there is told elsewhere.
        return ""
    finally:
        backends.close()
    return ""
