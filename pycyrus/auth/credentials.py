"""What a client has shown of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from hmac import compare_digest

from zope.interface import implementer

from pycyrus.auth.interfaces import IMailPassword, IProved


@implementer(IMailPassword)
@dataclass(frozen=True, slots=True)
class MailPassword:
    """
    A user name and a password.

    @ivar password: Never shown by C{repr}, so never logged by accident.
    @ivar peer: Where the client is; its answer must not depend on it.
    """

    user_id: str
    password: bytes = field(repr=False)
    service: str
    peer: str = ""

    @property
    def username(self) -> bytes:
        """As Twisted's own checkers want it."""
        return self.user_id.encode("utf-8")

    def checkPassword(self, password: bytes) -> bool:  # noqa: N802 - IUsernamePassword
        """Compare with a password known in clear."""
        return compare_digest(self.password, password)


@implementer(IProved)
@dataclass(frozen=True, slots=True)
class Proved:
    """A SASL mechanism that needs no password of us has succeeded."""

    user_id: str
