"""What an administrator is told, page by page, is what there is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.listing import Findings, Line, Wanted
from pycyrus.imap.wire.listing import Return, Selection
from pycyrus.interfaces import MailboxListing
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.store import directory as directory_module
from pycyrus.store import rows
from pycyrus.store.directory import Directory, in_order
from pycyrus.store.rows import Entry

GLOBAL = Identity("cyrus", admin=AdminScope.GLOBAL)
ADMINS = (GLOBAL, Identity("da", "a.org", admin=AdminScope.DOMAIN))
NAMESPACE = NamespaceSettings(virtdomains=VirtualDomains.USERID)
COMPONENTS = ("a", "b c", "Sent", "é")


def everything() -> list[MailboxName]:
    """Two domains; gaps in shared trees, deleted mailboxes, and an administrator's own."""
    paths = [path for length in (0, 1, 2, 3) for path in itertools.product(COMPONENTS[:2], repeat=length)]
    found = []
    for domain in ("", "a.org"):
        for owner in ("da", "cyrus", "fred", "x.y"):
            found += [MailboxName(domain, owner, path) for path in paths]
        found += [MailboxName(domain, None, path) for path in (("a", "b c", "Sent"), ("a", "b c"), ("é", "a"))]
        found += [MailboxName(domain, "fred", ("é",), "5F0A1B2C"), MailboxName(domain, None, ("a",), "5F0A1B2D")]
    return found


class WalkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(directory_module, "_PAGE", 7)
        path = Path(self.mktemp())
        path.mkdir()
        self.directory = Directory(path, reactor)  # type: ignore[arg-type] # the module is the reactor
        self.addCleanup(self.directory.close)
        self.entries = []
        for number, name in enumerate(everything()):
            acl = Acl(((str(name.owner_id or "anyone"), OWNER_RIGHTS),))
            self.entries.append(Entry(name, str(number), "default", f"place/{number}", 1, acl))
        self.directory.change_now(self._fill)

    def _fill(self, connection: Connection) -> None:
        for entry in self.entries:
            rows.insert(connection, entry)

    def lines(self, names: ExternalNames, found: Iterable[MailboxListing], pattern: bytes) -> list[tuple[bytes, bytes]]:
        wanted = Wanted(names.matcher(pattern), Selection.NONE, Return.NONE, names.separator, is_extended=False)
        findings = Findings(wanted)
        for each in found:
            findings.add(Line(names.encode(each.name), each.name, each))
        return [(line.wire, b" ".join(findings.attributes(line))) for line in findings.lines()]

    def test_all_of_it(self) -> None:
        """In order, each once, with the same children and rights as in a listing that is sorted afterwards."""
        scopes = [*map(ListScope, Namespace), ListScope(Namespace.SHARED, deleted=True)]
        for admin in ADMINS:
            walked = [each for page in self.directory.walk(admin, scopes) for each in page]
            listed = in_order(
                each for scope in scopes for page in self.directory.listings(admin, scope) for each in page
            )
            self.assertEqual(walked, listed)
            self.assertEqual(len(walked), len(self.entries) // (1 if admin is GLOBAL else 2))

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.lists(
            st.sampled_from(["user", "fred", "da", "a", "b c", "%", "*", "f%", "DELETED", "x.y", "%/%"]), max_size=5
        ),
        st.sampled_from(["", "@a.org", "%", "*"]),
        st.sampled_from(ADMINS),
    )
    def test_patterns(self, components: list[str], end: str, admin: Identity) -> None:
        """Leaving out what lies too deep changes nothing that is told."""
        names = ExternalNames(NAMESPACE, admin)
        pattern = ("/".join(components) + end).encode()
        scopes = [*map(ListScope, Namespace), ListScope(Namespace.SHARED, deleted=True)]
        all_there_is = (each for page in self.directory.walk(admin, scopes) for each in page)
        pages = self.directory.walk(admin, names.scopes(pattern), names.depth([pattern]))
        walked = self.lines(names, (each for page in pages for each in page), pattern)
        self.assertEqual(walked, self.lines(names, all_there_is, pattern))

    def test_what_is_too_deep_costs_nothing(self) -> None:
        """The top level of any server is a few rows."""
        names = ExternalNames(NAMESPACE, GLOBAL)
        pages = list(self.directory.walk(GLOBAL, names.scopes(b"%"), names.depth([b"%"])))
        # Of each domain: one user's, and one of each shared tree.
        self.assertLessEqual(sum(map(len, pages)), 2 * (1 + 2 + 2))
