"""The realm of mail: an avatar is an identity."""

from __future__ import annotations

from collections.abc import Callable

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Interface, implementer

from pycyrus.auth.identity import Identities
from pycyrus.auth.interfaces import IAccounts, IMailUser, IProved
from pycyrus.errors import AuthenticationUnavailable


def _nothing() -> None:
    """Logging out takes nothing."""


@implementer(IRealm)
class MailRealm:
    """Makes identities of canonical user ids, once per login."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities

    def requestAvatar(
        self,
        avatarId: bytes | tuple[()],  # noqa: N803 - IRealm
        mind: object,
        *interfaces: type[Interface],
    ) -> Deferred[tuple[type[Interface], object, Callable[[], None]]]:
        """
        Give the identity of a user.

        @raise NotImplementedError: For anonymous, or another interface than
            L{IMailUser}.
        """
        if IMailUser not in interfaces or not isinstance(avatarId, bytes):
            raise NotImplementedError("only IMailUser avatars live here")
        return Deferred.fromCoroutine(self._identity(avatarId.decode("utf-8")))

    async def _identity(self, user_id: str) -> tuple[type[Interface], object, Callable[[], None]]:
        await self.identities.prepare(user_id)
        return IMailUser, self.identities.identity(user_id), _nothing


@implementer(ICredentialsChecker)
class ProvedChecker:
    """Believes a SASL mechanism, unless the account is disabled."""

    credentialInterfaces = (IProved,)

    def __init__(self, accounts: IAccounts) -> None:
        self._accounts = accounts

    def requestAvatarId(self, credentials: IProved) -> Deferred[bytes | tuple[()]]:
        """The user id that was proved."""
        try:
            if self._accounts.is_disabled(credentials.user_id):
                return fail(UnauthorizedLogin("disabled"))
        except AuthenticationUnavailable as error:
            return fail(error)
        return succeed(credentials.user_id.encode("utf-8"))
