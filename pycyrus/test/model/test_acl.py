"""Tests of L{pycyrus.model.acl}."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import Acl, rights_of
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName

FRED_BOX = MailboxName("", "fred", ("Lists",))


def acl(**entries: str) -> Acl:
    """An ACL from rights by identifier; C{not_x} is the negative entry C{-x}."""
    return Acl(tuple((name.replace("not_", "-"), frozenset(rights)) for name, rights in entries.items()))


class RightsTests(SynchronousTestCase):
    """RFC 4314 section 2, and Cyrus's implicit rights."""

    def rights(self, identity: Identity, entries: Acl, name: MailboxName = FRED_BOX) -> str:
        return "".join(sorted(rights_of(identity, name, entries)))

    def test_entries_add_up(self) -> None:
        wilma = Identity("wilma", groups=frozenset(("staff",)))
        entries = Acl((("wilma", frozenset("l")), ("anyone", frozenset("r")), ("group:staff", frozenset("s"))))
        self.assertEqual(self.rights(wilma, entries), "lrs")

    def test_negative_entries_take_away(self) -> None:
        self.assertEqual(self.rights(Identity("wilma"), acl(anyone="lrs", not_wilma="r")), "ls")

    def test_owner_keeps_control(self) -> None:
        """The owner may always see, delete, subdivide and administer, but not read against the ACL."""
        self.assertEqual(self.rights(Identity("fred"), acl(not_fred="lrkxa", fred="rs")), "aklnsx")

    def test_owner_keeps_what_is_configured(self) -> None:
        """C{implicit_owner_rights}; nothing of it is for others."""
        lesser = Identity("fred", owner_rights=frozenset("la"))
        self.assertEqual(self.rights(lesser, acl(fred="r")), "alr")
        self.assertEqual(self.rights(Identity("wilma", owner_rights=frozenset("la")), acl(fred="r")), "")

    def test_right_a_may_imply_writing(self) -> None:
        """C{acl_admin_implies_write}, but no reading, posting, or anything for administrators of the server."""
        wilma = Identity("wilma", writes_administered=True)
        self.assertEqual(self.rights(wilma, acl(wilma="a")), "aeinstw")
        self.assertEqual(self.rights(wilma, acl(wilma="a", not_wilma="a")), "")
        admin = Identity("cyrus", admin=AdminScope.GLOBAL, writes_administered=True)
        self.assertEqual(self.rights(admin, Acl()), "al")

    def test_administrator_does_not_read(self) -> None:
        admin = Identity("cyrus", admin=AdminScope.GLOBAL)
        self.assertEqual(self.rights(admin, Acl()), "al")

    def test_foreign_domain_gets_nothing(self) -> None:
        """Neither anyone's rights nor an administrator's scope cross the border of a domain."""
        entries = acl(anyone="lrswipkxtea")
        self.assertEqual(self.rights(Identity("fred", "example.org"), entries), "")
        self.assertEqual(self.rights(Identity("admin", "example.org", admin=AdminScope.DOMAIN), entries), "")

    def test_domain_administrator_at_home(self) -> None:
        box = MailboxName("example.org", "fred", ())
        admin = Identity("admin", "example.org", admin=AdminScope.DOMAIN)
        self.assertEqual(self.rights(admin, Acl(), box), "al")

    def test_postman_posts(self) -> None:
        self.assertEqual(self.rights(POSTMAN, Acl()), "lp")
