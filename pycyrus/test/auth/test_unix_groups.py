"""Groups of the machine, and what is remembered of groups."""

from __future__ import annotations

import grp
import os
import pwd
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from pycyrus.auth.groups import KnownGroups
from pycyrus.auth.interfaces import IGroups
from pycyrus.auth.unix_groups import UnixGroups, groups_of_user
from pycyrus.errors import AuthenticationUnavailable


class UnixGroupsTests(TestCase):
    async def test_this_user(self) -> None:
        """One's own group is among them; nobody with a domain has any."""
        from twisted.internet import reactor

        groups = UnixGroups(reactor)
        self.addCleanup(groups.outside.close)
        me = pwd.getpwuid(os.geteuid())
        self.assertIn(grp.getgrgid(me.pw_gid).gr_name, await groups.groups_of(me.pw_name))
        self.assertEqual(await groups.groups_of(f"{me.pw_name}@example.com"), frozenset())
        self.assertEqual(await groups.groups_of("no-such-user-here"), frozenset())

    def test_members(self) -> None:
        """Named in a group, without an account; a number without a name is passed over."""
        self.patch(os, "getgrouplist", lambda user, own: [own, 0, 987654321])
        self.assertEqual(groups_of_user("no-such-user-here"), {grp.getgrgid(0).gr_name})


@implementer(IGroups)
class Source:
    """Says what it is told, when it is told."""

    def __init__(self) -> None:
        self.asked: list[Deferred[Any]] = []

    async def groups_of(self, user_id: str) -> frozenset[str]:
        answer: Deferred[frozenset[str]] = Deferred()
        self.asked.append(answer)
        return await answer


class KnownGroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.source, self.other = Clock(), Source(), Source()
        self.groups = KnownGroups([self.source, self.other], self.clock)

    def fetch(self, user: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self.groups.fetch(user))

    def test_all_sources(self) -> None:
        """Asked once for all who wait, and again when what was told is old."""
        waiting = [self.fetch("fred") for _ in range(3)]
        self.source.asked[0].callback(frozenset({"a"}))
        self.other.asked[0].callback(frozenset({"b"}))
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual(self.groups.of("fred"), {"a", "b"})
        self.assertEqual((len(self.source.asked), len(self.other.asked)), (1, 1))
        self.successResultOf(self.fetch("fred"))
        self.clock.advance(301)
        again = self.fetch("fred")
        self.assertNoResult(again)
        self.source.asked[1].errback(AuthenticationUnavailable("away"))
        # Those of before go on to count.
        self.successResultOf(again)
        self.assertEqual(self.groups.of("fred"), {"a", "b"})

    def test_who_asks_goes_away(self) -> None:
        """Then the next who waits asks."""
        first, second = self.fetch("fred"), self.fetch("fred")
        first.cancel()
        self.failureResultOf(first)
        self.assertEqual(len(self.source.asked), 2)
        self.source.asked[1].callback(frozenset())
        self.other.asked[0].callback(frozenset())
        self.successResultOf(second)
        self.assertEqual(self.groups.of("mary"), frozenset())
