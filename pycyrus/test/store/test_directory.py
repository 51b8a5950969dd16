"""The mailbox list: keys, grants, and what other processes change."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName, parse_internal
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.store import rows
from pycyrus.store.directory import Directory, in_order
from pycyrus.store.rows import Entry, Row

names = st.builds(
    MailboxName,
    st.sampled_from(["", "a.org", "a", "b"]),
    st.sampled_from([None, "fred", "fred.b", "S"]),
    st.lists(st.sampled_from(["a", "a b", "A", "é", "a.b", "!"]), min_size=1, max_size=3).map(tuple),
    st.sampled_from([None, "5F", "60"]),
)


class Keys(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(names, max_size=8))
    def test_keys_sort_like_names(self, some: list[MailboxName]) -> None:
        self.assertEqual([rows.name_of(key) for key in sorted(map(rows.key_of, some))], sorted(some))

    @settings(max_examples=300, deadline=None, database=None)
    @given(names, names)
    def test_a_tree_is_a_range(self, name: MailboxName, other: MailboxName) -> None:
        low, high = rows.tree_range(rows.key_of(name))
        self.assertEqual(low <= rows.key_of(other) < high, other == name or other.is_below(name))


class Lists(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.directory = self.open()

    def open(self) -> Directory:
        directory = Directory(self.path, reactor)  # type: ignore[arg-type] # the module is the reactor
        self.addCleanup(directory.close)
        return directory

    def add(self, text: str, *granted: tuple[str, str]) -> Entry:
        name = parse_internal(text)
        owner = name.owner_id
        entries = [(who, frozenset(rights)) for who, rights in granted]
        acl = Acl(tuple(entries if owner is None else [(owner, OWNER_RIGHTS), *entries]))
        entry = Entry(name, f"id-{text}", "default", text.replace(".", "/"), 1, acl)
        self.directory.change_now(lambda connection: rows.insert(connection, entry))
        return entry

    def seen(self, identity: Identity, *scopes: ListScope) -> list[MailboxName]:
        pages = [each for scope in scopes for page in self.directory.listings(identity, scope) for each in page]
        return [listing.name for listing in in_order(pages)]

    def test_grants(self) -> None:
        self.add("user.fred")
        self.add("user.fred.a", ("bob", "lr"))
        self.add("user.fred.b", ("anyone", "p"))
        self.add("user.fred.c", ("anyone", "lr"), ("-bob", "l"))
        self.add("news", ("group:staff", "l"))
        self.add("x.org!news", ("anyone", "l"))
        bob, staff = Identity("bob"), Identity("amy", groups=frozenset(("staff",)))
        other, shared = ListScope(Namespace.OTHER), ListScope(Namespace.SHARED)
        self.assertEqual(self.seen(bob, other, shared), [parse_internal("user.fred.a")])
        self.assertEqual(self.seen(staff, other, shared), [parse_internal("news"), parse_internal("user.fred.c")])
        self.assertEqual(self.seen(POSTMAN, other, shared), [])
        self.assertEqual(self.directory.namespaces(staff), set(Namespace))
        self.assertEqual(self.seen(Identity("u", "x.org"), shared), [parse_internal("x.org!news")])

    def test_what_is_hidden_costs_nothing(self) -> None:
        """A listing looks at the rows of what is granted, not at all there are."""

        def fill(connection: object) -> None:
            for number in range(2000):
                name = MailboxName("", f"u{number}", ())
                acl = Acl(((f"u{number}", OWNER_RIGHTS),))
                rows.insert(connection, Entry(name, f"u{number}", "default", f"user/u{number}", 1, acl))  # type: ignore[arg-type] # a connection

        self.directory.change_now(fill)
        self.add("user.fred.a", ("bob", "l"))
        looked_at: list[Row] = []
        real = self.directory._pages

        def counting(identity: Identity, scope: ListScope) -> object:
            for page in real(identity, scope):
                looked_at.extend(page)
                yield page

        self.patch(self.directory, "_pages", counting)
        everything = [ListScope(namespace) for namespace in Namespace]
        self.assertEqual(self.seen(Identity("bob"), *everything), [parse_internal("user.fred.a")])
        self.assertEqual(len(looked_at), 1)

    def test_pages(self) -> None:
        """Longer than a page, and each name once."""
        for number in range(3):
            self.add(f"x{number}.org!user.a")

        def fill(connection: object) -> None:
            for number in range(700):
                name = MailboxName("", "fred", (f"f{number:03}",))
                entry = Entry(
                    name, f"f{number}", "default", f"f{number}", 1, Acl((("fred", OWNER_RIGHTS), ("bob", OWNER_RIGHTS)))
                )
                rows.insert(connection, entry)  # type: ignore[arg-type] # a connection

        self.directory.change_now(fill)
        admin = Identity("cyrus", admin=AdminScope.GLOBAL)
        self.assertEqual(len(self.seen(Identity("fred"), ListScope(Namespace.PERSONAL))), 700)
        self.assertEqual(len(self.seen(Identity("bob"), ListScope(Namespace.OTHER))), 700)
        self.assertEqual(len(self.seen(admin, ListScope(Namespace.OTHER))), 703)
        self.assertEqual(len(self.seen(admin, ListScope(Namespace.OTHER, owner="a"))), 3)
        self.assertEqual(list(self.directory.domains()), ["", "x0.org", "x1.org", "x2.org"])

    def test_another_process(self) -> None:
        """Only what changed is forgotten, and it is noticed at once."""
        other = self.open()
        entry = self.add("user.fred")
        same = self.add("user.bob")
        self.assertEqual(other.lookup(entry.name), entry)
        kept = other.lookup(same.name)
        told: list[set[str]] = []
        other.listen(told.append)
        version = other.refresh()
        moved = Entry(parse_internal("user.frieda"), entry.unique_id, "default", "user/frieda", 1, entry.acl)
        self.directory.change_now(lambda connection: rows.replace(connection, moved))
        self.assertIsNone(other.lookup(entry.name))
        self.assertEqual(other.lookup(moved.name), moved)
        self.assertIs(other.lookup(same.name), kept)
        self.assertEqual(told, [{entry.unique_id}])
        self.assertGreater(other.touched(entry.unique_id), version)
        self.assertLessEqual(other.touched(same.unique_id), version)

    def test_a_lost_signal(self) -> None:
        """A process that died between its commit and its signal does not leave others behind for long."""
        other = self.open()
        self.patch(self.directory._signal, "change", lambda: None)
        self.add("user.fred")
        other._checked -= 10
        self.assertIsNotNone(other.lookup(parse_internal("user.fred")))

    def test_too_far_behind(self) -> None:
        other = self.open()
        entry = self.add("user.fred")
        other.lookup(entry.name)
        self.patch(rows, "CHANGES_KEPT", 10)
        for _ in range(300):
            self.directory.change_now(lambda connection: rows.replace(connection, entry))
        gone = self.directory.lookup(entry.name)
        assert gone is not None
        self.directory.change_now(lambda connection: rows.remove(connection, gone))
        self.assertIsNone(other.lookup(entry.name))

    def test_damaged_entries(self) -> None:
        """One bad row hides one mailbox; the others are served."""
        self.add("user.fred")
        self.add("user.fred.a")
        self.directory.change_now(
            lambda c: c.execute("UPDATE mailboxes SET acl = 'garbage' WHERE unique_id = 'id-user.fred.a'")
        )
        fresh = self.open()
        self.assertIsNone(fresh.lookup(parse_internal("user.fred.a")))
        self.assertEqual(self.seen(Identity("fred"), ListScope(Namespace.PERSONAL)), [parse_internal("user.fred")])

    def test_uidvalidity(self) -> None:
        """It never goes back, though the clock may (abuse case 44)."""
        first = self.directory.change_now(lambda connection: rows.next_uidvalidity(connection, 2_000_000_000))
        second = self.directory.change_now(lambda connection: rows.next_uidvalidity(connection, 1_000_000_000))
        self.assertEqual((first, second), (2_000_000_000, 2_000_000_001))
