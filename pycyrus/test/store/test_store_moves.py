"""Which directories are renamed when mailboxes are."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import Acl
from pycyrus.model.names import parse_internal
from pycyrus.store.moves import Plan, plan
from pycyrus.store.rows import Entry


def entry(unique_id: str, location: str) -> Entry:
    return Entry(parse_internal("a"), unique_id, "default", location, 1, Acl())


class Plans(SynchronousTestCase):
    def plan(self, places: dict[str, tuple[str, str]], occupied: str = "") -> Plan:
        tree = [entry(unique_id, here) for unique_id, (here, _) in places.items()]
        return plan(tree, lambda each: places[each.unique_id][1], lambda _, place: place == occupied)

    def test_one_rename_takes_all_along(self) -> None:
        made = self.plan({"id1": ("a", "x"), "id2": ("a/b", "x/b"), "id3": ("a/b/c", "x/b/c")})
        self.assertEqual(made.moves, (("a", "x"),))
        self.assertEqual(made.locations, {"id1": "x", "id2": "x/b", "id3": "x/b/c"})

    def test_innermost_first(self) -> None:
        """A deleted tree: each mailbox gets a directory of its own."""
        made = self.plan({"id1": ("u/f", "D/u/f/1"), "id2": ("u/f/a", "D/u/f/a/1"), "id3": ("u/f/a/b", "D/u/f/a/b/1")})
        self.assertEqual([source for source, _ in made.moves], ["u/f/a/b", "u/f/a", "u/f"])

    def test_occupied(self) -> None:
        """Then the tree goes to the place of its unique id, still in one piece."""
        made = self.plan({"id1": ("a", "x"), "id2": ("a/b", "x/b")}, occupied="x")
        self.assertEqual(made.moves, (("a", "uuid/i/d/id1"),))
        self.assertEqual(made.locations, {"id1": "uuid/i/d/id1", "id2": "uuid/i/d/id1/b"})

    def test_hashed_places_are_apart(self) -> None:
        made = self.plan({"id1": ("a/a", "x/x"), "id2": ("b/a/b", "b/x/b")})
        self.assertEqual(set(made.moves), {("a/a", "x/x"), ("b/a/b", "b/x/b")})

    def test_nothing_to_do(self) -> None:
        self.assertEqual(self.plan({"id1": ("uuid/i/d/id1", "uuid/i/d/id1")}).moves, ())
