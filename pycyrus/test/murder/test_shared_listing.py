"""What the directory has that others than the owners may see is found without looking at all of it."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.interfaces import Location, LocationState
from pycyrus.model.acl import LOOKUP, identifiers_of, rights_of
from pycyrus.model.acl_text import may_grant, parse_acl
from pycyrus.model.identity import Identity
from pycyrus.model.internal_names import parse_internal
from pycyrus.murder.directory.lookup import MurderDirectory
from pycyrus.store.locations import FILE_NAME, Locations

net: Any = reactor
OWNERS = ("fred", "fred.smith", "jane@example.com", "jane.doe@example.com", "fred@default")
IDENTIFIERS = (*OWNERS, "anyone", "group:staff", "-fred")
NAMES = (
    "user.fred", "user.fred.a", "user.fred^smith", "user.fred^smith.a", "user.frederic", "example.com!user.jane",
    "example.com!user.jane.a", "example.com!user.jane^doe", "user.jane", "news", "example.com!news", "user.fred^x",
)  # fmt: skip
ENTRIES = st.lists(
    st.tuples(st.sampled_from(IDENTIFIERS), st.sampled_from(("l", "lrs", "p", "lrswipkxtecdan"))),
    max_size=3,
    unique_by=lambda entry: entry[0],
)
WHO = st.builds(
    Identity,
    st.sampled_from(("fred", "fred.smith", "bob")),
    st.just(""),
    groups=st.sampled_from((frozenset(), frozenset(("staff",)))),
    crosses_domains=st.booleans(),
) | st.builds(Identity, st.sampled_from(("jane", "jane.doe", "fred")), st.just("example.com"))


def _text(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{identifier}\t{rights}\t" for identifier, rights in entries)


class SharedTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.locations = Locations(self.directory, net, is_copy=True)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.locations.close()))

    def shared(self, limit: int = 1000) -> list[str]:
        known = MurderDirectory(self.locations, "", None, "DELETED").known
        names: list[str] = []
        while page := known("", names[-1] if names else "", limit, shared=True):
            names += [each.mailbox for each in page]
        return names

    async def test_owners_alone(self) -> None:
        """They are left out, and come and go with what their lists say."""
        kept = {
            "user.fred": "fred\tlrs\t",
            "user.fred.a": "fred\tlrswipkxtecdan\t",
            "user.fred^smith.b": "fred.smith\tl\t",
            "example.com!user.jane^doe.b": "jane.doe@example.com\tl\t",
        }
        told = {
            "news": "fred\tl\t",
            "user.frederic": "fred\tl\t",
            "user.jane": "jane@example.com\tl\t",
            "user.jane.a": "jane\tlrs\tanyone\tp\t",
            "user.zoe": "anyone\tl\t",
        }
        await self.locations.follow([Location(name, "b", "p", acl) for name, acl in {**kept, **told}.items()])
        await self.locations.follow([Location("user.half", "b", "p", "", LocationState.RESERVED)])
        self.assertEqual(self.shared(), sorted(told))
        self.assertEqual(self.shared(1), sorted(told))
        await self.locations.activate(Location("user.fred.a", "b", "p", "fred\tlrs\tjane\tl\t"))
        await self.locations.activate(Location("user.zoe", "b", "p", "zoe\tl\t"))
        self.assertEqual(self.shared(), ["news", "user.fred.a", "user.frederic", "user.jane", "user.jane.a"])

    async def test_a_directory_of_before(self) -> None:
        """One that an older version made keeps what it has, and is looked through as quickly."""
        await self.locations.follow(
            [Location("user.fred", "b", "p", "fred\tl\t"), Location("news", "b", "p", "x\tl\t")]
        )
        before = self.locations.page("", "", 10), self.locations.last_change()
        await self.locations.close()
        with contextlib.closing(sqlite3.connect(self.directory / FILE_NAME)) as connection:
            connection.execute("DROP INDEX locations_shared")
            connection.execute("PRAGMA user_version=2")
        self.locations = Locations(self.directory, net, is_copy=True)
        self.assertEqual((self.locations.page("", "", 10), self.locations.last_change()), before)
        self.assertEqual(self.shared(), ["news"])

    async def test_nothing_is_missed(self) -> None:
        """Whatever somebody may see of others is found."""
        for examples in _EXAMPLES:
            lists = dict(zip(NAMES, examples, strict=False))
            await self.locations.follow([Location(name, "b", "p", acl) for name, acl in lists.items()])
            found = set(self.shared())
            for who in _PEOPLE:
                for mailbox, acl in lists.items():
                    name = parse_internal(mailbox)
                    if not name.owned_by(who) and LOOKUP in rights_of(who, name, parse_acl(acl)):
                        self.assertIn(mailbox, found, (who, acl))
                        self.assertTrue(may_grant(acl, identifiers_of(who), LOOKUP), (who, acl))

    @settings(max_examples=200, deadline=None, database=None)
    @given(WHO, ENTRIES)
    def test_quick_look(self, who: Identity, entries: list[tuple[str, str]]) -> None:
        """A list that grants is never taken for one that does not."""
        acl = _text(entries)
        name = parse_internal("example.com!news" if who.domain else "news")
        if LOOKUP in rights_of(who, name, parse_acl(acl)):
            self.assertTrue(may_grant(acl, identifiers_of(who), LOOKUP))

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text(max_size=30) | st.text("\tl", max_size=9))
    def test_any_text(self, text: str) -> None:
        """What is no list grants nothing that it does not name."""
        self.assertFalse(may_grant(text, frozenset(("no such",)), LOOKUP))


_PEOPLE = [
    *(Identity(user, crosses_domains=crosses) for user in ("fred", "fred.smith", "bob") for crosses in (False, True)),
    Identity("bob", groups=frozenset(("staff",))),
    *(Identity(user, "example.com") for user in ("jane", "jane.doe", "fred")),
]
_LISTS = [_text([(first, "lrs")]) for first in IDENTIFIERS]
_LISTS += [_text([(first, "l"), (second, "lrs")]) for first, second in pairwise(IDENTIFIERS)]
_EXAMPLES = [_LISTS[begin:] + _LISTS[:begin] for begin in range(len(_LISTS))]
