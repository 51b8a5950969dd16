"""Groups of this machine, as C{/etc/group} or whatever stands behind it knows them."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

from zope.interface import implementer

from pycyrus.auth.interfaces import IGroups
from pycyrus.auth.outside import Outside

PATIENCE = 10.0
"""Seconds: the system may ask a directory."""
_NO_GROUP = 0xFFFFFFFF


def groups_of_user(user: str) -> frozenset[str]:
    """
    Names of the groups that a user is in; who has no account here may be in some all the same.

    It blocks.
    """
    try:
        own = pwd.getpwnam(user).pw_gid
    except KeyError:
        own = _NO_GROUP
    names = set()
    for number in os.getgrouplist(user, own):
        if number in (-1, _NO_GROUP):
            continue
        try:
            names.add(grp.getgrgid(number).gr_name)
        except KeyError:
            # A number that nobody has named.
            continue
    return frozenset(names)


@implementer(IGroups)
class UnixGroups:
    """The groups of users who have no domain: no others have accounts of the machine."""

    def __init__(self, reactor: Any) -> None:
        self.outside = Outside("Unix groups", PATIENCE, lambda: None, reactor)

    async def groups_of(self, user_id: str) -> frozenset[str]:
        """See L{IGroups}."""
        if "@" in user_id:
            return frozenset()
        return await self.outside.ask(lambda: groups_of_user(user_id))
