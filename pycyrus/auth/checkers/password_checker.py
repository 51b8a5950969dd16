"""What all checkers of passwords have in common: a coroutine that Twisted's cred can ask."""

from __future__ import annotations

from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred
from zope.interface import implementer

from pycyrus.auth.interfaces import IMailPassword


@implementer(ICredentialsChecker)
class PasswordChecker:
    """A checker of L{IMailPassword}; see L{pycyrus.auth.interfaces.ICheckerFactory.make_checker}."""

    credentialInterfaces = (IMailPassword,)

    def requestAvatarId(self, credentials: IMailPassword) -> Deferred[bytes | tuple[()]]:
        """Check a password; see ICredentialsChecker."""
        return Deferred.fromCoroutine(self._avatar_id(credentials))

    async def _avatar_id(self, credentials: IMailPassword) -> bytes | tuple[()]:
        return (await self.check(credentials)).encode("utf-8")

    async def check(self, credentials: IMailPassword) -> str:
        """
        Say whether a password is right.

        @return: The canonical user id.
        @raise UnauthorizedLogin: It is not; one answer for every reason.
        @raise AuthenticationUnavailable: It cannot be told now.
        """
        raise NotImplementedError
