"""More schemas, and entries as hardly anybody has them, in a real slapd."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.ldap.defaults import UNITS, DefaultAttributes, parse_quota
from pycyrus.auth.ldap.errors import DirectoryDown
from pycyrus.auth.ldap.settings import BadDirectory, Form, ldap_settings
from pycyrus.auth.outside import Unusable
from pycyrus.interfaces import UserDefaults
from pycyrus.test.auth.test_ldap import SECRET, SlapdCase
from pycyrus.testing.ldap_trees import PASSWORD

BIS = {
    "ldap_base": "ou=people,dc=bis",
    "ldap_filter": "(&(objectClass=posixAccount)(uid=%U))",
    "ldap_member_method": "filter",
    "ldap_member_attribute": "cn",
    "ldap_member_filter": "(&(objectClass=bisGroup)(member=%D))",
    "ldap_group_base": "ou=groups,dc=bis",
    "ldap_quota_attribute": "mailquota",
    "ldap_partition_attribute": "mailPartition",
    "ldap_mail_host_attribute": "mailHost",
}
LLDAP = {
    "ldap_base": "ou=people,dc=lldap",
    "ldap_bind_dn": "uid=admin,ou=people,dc=lldap",
    "ldap_password": PASSWORD,
    "ldap_filter": "(|(uid=%u)(mail=%u))",
    "ldap_member_attribute": "memberOf",
}
ODD = {"ldap_base": "ou=people,dc=odd", "ldap_filter": "(uid=%u)"}


class MoreSchemaTests(SlapdCase):
    """RFC 2307bis, and what lldap shows."""

    trees = ("bis", "lldap")

    def test_rfc2307bis(self) -> None:
        """Groups are Unix groups that name their members' entries."""
        ldap = self.ldap(BIS)
        self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")
        self.assert_refused(ldap, "alice", b"wrong")
        self.assertEqual(ldap.groups("alice"), {"staff"})
        self.assertEqual(self.ldap(BIS, ldap_group_nesting="5").groups("bob"), {"staff", "all"})

    def test_lldap(self) -> None:
        """Users are found by name and by address; the groups' names stand in memberOf."""
        ldap = self.ldap(LLDAP)
        for user in ("alice", "alice@lldap.example"):
            self.assertEqual(ldap.check(user, SECRET, "imap"), user)
            self.assertEqual(ldap.groups(user), {"mail_users"})
        required = {"ldap_group_dn": "cn=mail_users,ou=groups,dc=lldap", "ldap_group_attr": "uniqueMember"}
        only = self.ldap({**LLDAP, **required})
        self.assertEqual(only.check("alice", SECRET, "imap"), "alice")
        self.assert_refused(only, "bob")
        # Without a bind nothing is shown, and so nobody is told to be wrong.
        self.assertRaises(Unusable, self.ldap(LLDAP, ldap_bind_dn="").check, "alice", SECRET, "imap")
        self.assertRaises(DirectoryDown, self.ldap(LLDAP, ldap_password="old").check, "alice", SECRET, "imap")

    def test_canonical_name(self) -> None:
        """Who logs in by address goes on by name."""
        ldap = self.ldap(LLDAP, ldap_filter="(mail=%U@lldap.example)", ldap_user_attribute="uid")
        self.assertEqual(ldap.check("alice@mail.example", SECRET, "imap"), "alice@mail.example")
        self.assertEqual(self.ldap(LLDAP, ldap_user_attribute="uid").check("alice", SECRET, "imap"), "alice")

    def test_defaults(self) -> None:
        """What an entry says of mailboxes; nothing, where it or the options say nothing."""
        ldap = self.ldap(BIS)
        self.assertEqual(ldap.defaults("alice"), UserDefaults(20480, "fast", "mail2.example.com"))
        self.assertEqual(ldap.defaults("bob"), UserDefaults())
        self.assertEqual(ldap.defaults("nobody"), UserDefaults())
        self.assertEqual(self.ldap(LLDAP).defaults("alice"), UserDefaults())
        told = "\n".join(ldap.explain("alice", "imap"))
        self.assertIn("new mailboxes: a quota of 20480 KiB, partition fast, server mail2.example.com", told)
        self.assertIn("new mailboxes: nothing is laid down", "\n".join(ldap.explain("bob", "imap")))
        # In a file in saslauthd's form too.
        file = {"ldap_servers": self.slapd.uri, "ldap_search_base": "ou=people,dc=bis", "ldap_filter": "(uid=%U)"}
        more = {"ldap_quota_attribute": "mailQuota", "ldap_quota_unit": "M"}
        self.assertEqual(self.ldap({**file, **more}, Form.SASLAUTHD).defaults("alice@x").quota, 20480)


class OddTests(SlapdCase):
    """A tree that nobody has prepared for us."""

    trees = ("odd",)

    def test_names(self) -> None:
        """Names with commas, quotes, signs and several parts are bound as they were found."""
        ldap = self.ldap(ODD)
        for user in ("john", "best", "mueller"):
            self.assertEqual(ldap.check(user, SECRET, "imap"), user)
            self.assert_refused(ldap, user, b"wrong")

    def test_case(self) -> None:
        """Whatever case it has there, a user id is the one that was asked for; one name of many is enough."""
        for user in ("many", "much", "more.often"):
            self.assertEqual(self.ldap(ODD).check(user, SECRET, "imap"), user)
        named = self.ldap(ODD, ldap_user_attribute="uid")
        self.assertEqual(named.check("much", SECRET, "imap"), "many")

    def test_two_of_a_name(self) -> None:
        """In two places, in two cases: neither comes in, unless the base has but one of them."""
        self.assert_refused(self.ldap(ODD, ldap_base="dc=odd"), "twin")
        self.assertEqual(self.ldap(ODD).check("twin", SECRET, "imap"), "twin")

    def test_aliases(self) -> None:
        """An alias is no user, unless aliases are followed; then it is the one that it stands for."""
        self.assert_refused(self.ldap(ODD), "alias")
        self.assert_refused(self.ldap(ODD), "real")
        for deref in ("search", "always"):
            followed = self.ldap(ODD, ldap_deref=deref)
            self.assertEqual(followed.check("real", SECRET, "imap"), "real")
        # Where names are followed but results are not, it is as without.
        self.assert_refused(self.ldap(ODD, ldap_deref="find"), "real")

    def test_referrals(self) -> None:
        """Part of the tree is elsewhere: who is here comes in, and nobody is sent there."""
        self.assertEqual(self.ldap(ODD).check("john", SECRET, "imap"), "john")
        self.assert_refused(self.ldap(ODD), "elsewhere")

    def test_base_elsewhere(self) -> None:
        """A base that is elsewhere cannot be searched: that is told, and lets nobody in."""
        ldap = self.ldap(ODD, ldap_base="ou=elsewhere,ou=people,dc=odd")
        error = self.assertRaises(Unusable, ldap.check, "john", SECRET, "imap")
        self.assertIn("referral", str(error))

    def test_no_password(self) -> None:
        """An entry without a password lets nobody in by any."""
        self.assert_refused(self.ldap(ODD), "nopass")
        self.assert_refused(self.ldap(ODD, ldap_auth_method="custom"), "nopass")


class QuotaTests(SynchronousTestCase):
    """Quotas as directories have them."""

    def test_forms(self) -> None:
        for text, unit, expected in (
            ("500M", "K", 512000), ("2 GB", "K", 2 << 20), ("1GiB", "B", 1 << 20), ("1048576", "B", 1024),
            ("1000", "K", 1000), ("5", "G", 5 << 20), ("0", "K", 0), ("1", "B", 1), ("1t", "K", 1 << 30),
            ("9" * 18 + "T", "K", (1 << 63) - 1),
        ):  # fmt: skip
            self.assertEqual(parse_quota(text, UNITS[unit]), expected, text)
        for text in ("", "much", "-1", "1.5G", "10000S,5C", "1 X", "\u0663"):
            self.assertIsNone(parse_quota(text, UNITS["K"]), text)

    def test_rubbish_says_nothing(self) -> None:
        """It is logged by the name of the entry and of the attribute."""
        found = {"q": [b"lots"], "p": [b"../../etc"], "h": [b"host name", b"other"]}
        read = DefaultAttributes("q", UNITS["K"], "p", "h").read("cn=x", lambda name: found.get(name, []))
        self.assertEqual(read, UserDefaults())

    def test_first_that_speaks(self) -> None:
        both = UserDefaults(partition="a").over(UserDefaults(5, "b", "h"))
        self.assertEqual(both, UserDefaults(5, "a", "h"))
        self.assertEqual(UserDefaults(0).over(UserDefaults(5)).quota, 0)

    def test_options(self) -> None:
        self.assertRaises(BadDirectory, ldap_settings, {"ldap_base": "dc=x", "ldap_quota_unit": "potatoes"})
