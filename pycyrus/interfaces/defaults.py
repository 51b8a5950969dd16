"""What is laid down for single users elsewhere, as in a directory."""

from __future__ import annotations

from dataclasses import dataclass

from typing_extensions import override
from zope.interface import Interface


@dataclass(frozen=True, slots=True)
class UserDefaults:
    """
    What a user's mailboxes shall have when they come to be.

    @ivar quota: Limit of their storage in KiB, 0 for none; None where nothing is said.
    @ivar partition: Where they shall lie; empty where nothing is said.
    @ivar mail_host: The server of a Murder that shall have them; empty where nothing is said.
    """

    quota: int | None = None
    partition: str = ""
    mail_host: str = ""

    @override
    def __str__(self) -> str:
        """What is laid down, for an administrator."""
        parts = [
            "" if self.quota is None else f"a quota of {self.quota} KiB" if self.quota else "no quota",
            f"partition {self.partition}" if self.partition else "",
            f"server {self.mail_host}" if self.mail_host else "",
        ]
        return ", ".join(filter(None, parts)) or "nothing is laid down"

    def over(self, other: UserDefaults) -> UserDefaults:
        """These, and where they say nothing, others."""
        return UserDefaults(
            other.quota if self.quota is None else self.quota,
            self.partition or other.partition,
            self.mail_host or other.mail_host,
        )


class IUserDefaults(Interface):
    """Who knows what is laid down for users."""

    async def defaults_of(user_id: str) -> UserDefaults:
        """
        What is laid down for a user; nothing for one who is not known.

        @param user_id: Canonical.
        @raise AuthenticationUnavailable: It cannot be told now.
        """
