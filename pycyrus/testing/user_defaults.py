"""A directory's word on single users' mailboxes, without a directory."""

from __future__ import annotations

from zope.interface import implementer

from pycyrus.errors import AuthenticationUnavailable
from pycyrus.interfaces import IUserDefaults, UserDefaults


@implementer(IUserDefaults)
class LaidDown:
    """Knows what is laid down for some users, unless it is down."""

    def __init__(self, known: dict[str, UserDefaults]) -> None:
        self.known = known
        self.is_down = False

    async def defaults_of(self, user_id: str) -> UserDefaults:
        """See L{IUserDefaults}."""
        if self.is_down:
            raise AuthenticationUnavailable("down")
        return self.known.get(user_id, UserDefaults())
