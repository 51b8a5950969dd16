"""Who may act as whom: the authorisation identity (RFC 4422 section 3.4.1)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from pycyrus.auth.identity import Identities
from pycyrus.errors import AuthenticationFailed, AuthorizationDenied
from pycyrus.interfaces import Authenticated
from pycyrus.model.identity import AdminScope, Identity

IsInboxAdministrator = Callable[[Identity, Identity], Coroutine[Any, Any, bool]]
"""Whether the first holds the right C{a} on the INBOX of the second (C{loginuseacl})."""

IsDenied = Callable[[str, str], bool]
"""Whether a user id is denied a service by name (C{user_deny.db})."""


class ActingRules:
    """
    Decides for the services of one kind.

    Proxies (C{proxyservers}) may act as anybody, administrators as anybody in their
    domain, and where C{loginuseacl} says so, whoever administers an INBOX as its owner.
    """

    def __init__(
        self,
        identities: Identities,
        proxy_servers: Iterable[str] = (),
        *,
        admins_only: bool = False,
        is_inbox_administrator: IsInboxAdministrator | None = None,
        is_denied: IsDenied | None = None,
    ) -> None:
        """
        @param admins_only: Only administrators may come in, as themselves whatever
            they ask for.
        @raise pycyrus.auth.identity.InvalidUserId: In C{proxy_servers}.
        """
        self._identities = identities
        self._proxy_servers = frozenset(identities.canonical(name.encode("utf-8")) for name in proxy_servers)
        self._admins_only = admins_only
        self._is_inbox_administrator = is_inbox_administrator
        self._is_denied = is_denied

    async def decide(self, identity: Identity, acting_as: str, service: str) -> Authenticated:
        """
        Say as whom somebody goes on.

        @param identity: Who has proved to be who they are.
        @param acting_as: Canonical; empty for the same.
        @param service: Its name in cyrus.conf.
        @raise AuthorizationDenied: Neither its own, nor one that it may act for.
        @raise AuthenticationFailed: The service is denied to the user.
        """
        user_id = identity.user_id
        if self._admins_only:
            if identity.admin is AdminScope.NONE:
                raise AuthorizationDenied("only administrators may log in here")
            return Authenticated(identity, user_id)
        wanted = identity
        if acting_as and acting_as != user_id:
            await self._identities.prepare(acting_as)
            wanted = self._identities.identity(acting_as)
            if not await self._may_act(identity, wanted):
                raise AuthorizationDenied(f"may not act as {acting_as}")
        if (
            identity.admin is AdminScope.NONE
            and self._is_denied is not None
            and self._is_denied(wanted.user_id, service)
        ):
            # The same answer as for a wrong password: who is locked out is told nothing more.
            raise AuthenticationFailed("denied by user_deny.db")
        return Authenticated(wanted, user_id)

    async def _may_act(self, identity: Identity, wanted: Identity) -> bool:
        if identity.user_id in self._proxy_servers or identity.administers(wanted.domain):
            return True
        return self._is_inbox_administrator is not None and await self._is_inbox_administrator(identity, wanted)
