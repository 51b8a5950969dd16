"""Directories of three schemas, in a real slapd, asked without a server around it."""

from __future__ import annotations

import shutil
import socket
import string
import tempfile
import threading
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from ldap3.utils.dn import parse_dn
from twisted.trial.unittest import SynchronousTestCase

import pycyrus
from pycyrus.auth.checkers.ldap import directories_of
from pycyrus.auth.ldap.directory import LdapDirectory, Looked, UserEntry
from pycyrus.auth.ldap.errors import DirectoryDown
from pycyrus.auth.ldap.passwords import UnknownScheme, matches
from pycyrus.auth.ldap.settings import BadDirectory, Form, ldap_settings, read_saslauthd_conf
from pycyrus.auth.ldap.tokens import BadTemplate, escape_filter, escape_name, expand, user_tokens
from pycyrus.auth.outside import Refused, Unusable
from pycyrus.testing.ldap_trees import PASSWORD
from pycyrus.testing.slapd import Slapd

SECRET = PASSWORD.encode()

RFC = {
    "ldap_base": "ou=people,dc=rfc",
    "ldap_filter": "(&(objectClass=posixAccount)(uid=%U))",
    "ldap_member_method": "filter",
    "ldap_member_attribute": "cn",
    "ldap_member_filter": "(memberUid=%U)",
    "ldap_group_base": "ou=groups,dc=rfc",
}
GON = {
    "ldap_base": "dc=gon",
    "ldap_filter": "(mail=%u)",
    "ldap_member_method": "filter",
    "ldap_member_attribute": "cn",
    "ldap_group_base": "ou=groups,dc=gon",
}
AD = {
    "ldap_base": "cn=Users,dc=ad",
    "ldap_filter": "(sAMAccountName=%U)",
    "ldap_bind_dn": "cn=Search,cn=Users,dc=ad",
    "ldap_password": PASSWORD,
    "ldap_member_attribute": "memberOf",
}


class SlapdCase(SynchronousTestCase):
    """
    With a server that has trees.

    @cvar trees: Which ones; none for the usual three.
    """

    trees: tuple[str, ...] = ()

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        self.slapd = Slapd(directory)
        self.slapd.start()
        self.addCleanup(self.slapd.stop)
        self.slapd.load(*self.trees)

    def ldap(self, options: dict[str, str], form: Form = Form.IMAPD, **more: str) -> LdapDirectory:
        """A directory, at the server unless the options say otherwise."""
        all_options = {"ldap_uri": self.slapd.uri, "ldap_timeout": "60", **options, **more}
        made = LdapDirectory(ldap_settings(all_options, form=form), "test")
        self.addCleanup(made.close)
        return made

    def assert_refused(self, directory: LdapDirectory, user: str, password: bytes = SECRET) -> None:
        """Nobody comes in so."""
        self.assertRaises(Refused, directory.check, user, password, "imap")


class Answering:
    """Sends each client the same, whatever it says, in a thread of its own."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.recv(1000)
                client.sendall(self._answer)

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


class SchemaTests(SlapdCase):
    """Each schema: who comes in, who does not, and which groups they are in."""

    def test_rfc2307(self) -> None:
        """Unix accounts, with memberUid."""
        ldap = self.ldap(RFC)
        self.assertEqual(ldap.check("alice@rfc.example", SECRET, "imap"), "alice@rfc.example")
        self.assertEqual(ldap.groups("alice@rfc.example"), {"staff", "admins"})
        self.assertEqual(ldap.groups("carol@rfc.example"), frozenset())
        self.assertEqual(ldap.groups("nobody@rfc.example"), frozenset())
        for user, password in (("alice", b"wrong"), ("alice", b"secret\xff\xfe"), ("nobody", SECRET)):
            self.assert_refused(ldap, user, password)
        # A connection that has refused somebody still lets the next one in.
        self.assertEqual(ldap.check("bob", SECRET, "imap"), "bob")

    def test_mail_addresses(self) -> None:
        """InetOrgPerson found by mail, groups of groups up to a limit, and a circle of groups."""
        self.assertEqual(self.ldap(GON).check("dora@gon.example", SECRET, "imap"), "dora@gon.example")
        self.assertEqual(self.ldap(GON).groups("alice@gon.example"), {"team"})
        nested = self.ldap(GON, ldap_group_nesting="1")
        self.assertEqual(nested.groups("alice@gon.example"), {"team", "department"})
        deep = self.ldap(GON, ldap_group_nesting="20")
        self.assertEqual(deep.groups("alice@gon.example"), {"team", "department", "company"})
        self.assertEqual(deep.groups("dora@gon.example"), {"loop", "pool"})

    def test_active_directory(self) -> None:
        """Searches need a bind; memberOf names groups, which name their own."""
        ldap = self.ldap(AD)
        self.assertEqual(ldap.check("alice@ad.example", SECRET, "imap"), "alice@ad.example")
        self.assertEqual(ldap.groups("alice@ad.example"), {"mail users"})
        nested = self.ldap(AD, ldap_group_nesting="3")
        self.assertEqual(nested.groups("alice@ad.example"), {"mail users", "postmasters"})
        self.assertRaises(DirectoryDown, self.ldap(AD, ldap_password="old").check, "alice", SECRET, "imap")

    def test_values_in_pieces(self) -> None:
        """Of more groups than Active Directory sends at once, the first count."""
        entry = UserEntry("cn=x", {"memberof": [], "memberof;range=0-1499": [b"cn=a"], "memberofother": [b"cn=b"]})
        self.assertEqual(entry.values("memberOf"), [b"cn=a"])
        self.assertEqual(entry.values("member"), [])

    def test_two_entries(self) -> None:
        """An address that two have lets neither in, whatever the password."""
        self.assert_refused(self.ldap(GON), "twin@gon.example")

    def test_empty_password(self) -> None:
        """It would be an anonymous bind: the directory is not even asked."""
        before = len(self.slapd.log())
        self.assert_refused(self.ldap(RFC), "alice", b"")
        self.assert_refused(self.ldap(RFC), "alice", b"\0secret")
        self.assertNotIn("uid=alice", self.slapd.log()[before:])

    def test_few_questions(self) -> None:
        """A login with groups costs one search and one bind, where entries name groups."""
        ldap = self.ldap(AD, ldap_quota_attribute="description")
        ldap.groups("eve@ad.example")
        before = len(self.slapd.log())
        self.assertEqual(ldap.check("alice@ad.example", SECRET, "imap"), "alice@ad.example")
        self.assertEqual(ldap.groups("alice@ad.example"), {"mail users"})
        self.assertEqual(ldap.defaults("alice@ad.example").quota, None)
        asked = self.slapd.log()[before:]
        self.assertEqual((asked.count(" SRCH base="), asked.count(" BIND dn=") // 2), (1, 1), asked)

    def test_token_in_a_wrong_place(self) -> None:
        """Where the administrator lets users name attributes, what is none makes no outage for others."""
        ldap = self.ldap(RFC, ldap_filter="(&(uid=bob)(%U=*))")
        self.assertEqual(ldap.check("cn", SECRET, "imap"), "cn")
        self.assert_refused(ldap, "not an attribute!")
        self.assertEqual(ldap.check("sn", SECRET, "imap"), "sn")

    def test_injection(self) -> None:
        """What a user calls itself stays a value."""
        ldap = self.ldap(RFC)
        for name in (
            "*",
            "al*",
            "alice)(uid=*",
            "*)(|(uid=*",
            "alice\\2a",
            "alice)(&)",
            "\\",
            "(",
            "a\0b",
            "ä\U0001f600",
        ):
            self.assert_refused(ldap, name)
        self.assertEqual(self.ldap(GON).check("oneil@gon.example", SECRET, "imap"), "oneil@gon.example")

    def test_fastbind(self) -> None:
        """The filter is the name to bind as."""
        ldap = self.ldap({"ldap_auth_method": "fastbind", "ldap_filter": "uid=%U,ou=people,dc=rfc"})
        self.assertEqual(ldap.check("alice@rfc.example", SECRET, "imap"), "alice@rfc.example")
        self.assert_refused(ldap, "alice", b"wrong")
        self.assert_refused(ldap, "alice,ou=people,dc=rfc")
        self.assert_refused(ldap, "alice+cn=alice")
        self.assertNotIn("SRCH", self.slapd.log().partition('BIND dn="uid=alice')[2])

    def test_compared_attribute(self) -> None:
        """With the hash in the entry; one of a kind we cannot check is nobody's fault, and refuses nobody for good."""
        options = {
            **RFC,
            "ldap_auth_method": "custom",
            "ldap_bind_dn": "cn=admin,dc=rfc",
            "ldap_password": PASSWORD,
        }
        hashed = "{SSHA}MPBpJ3GvZ0HnvkEMgRXYOH4rwz1zYWx0"
        for name, value in (("hashed", hashed), ("crypted", "{CRYPT}$6$salt$x")):
            lines = [f"dn: cn={name},ou=people,dc=rfc", "objectClass: inetOrgPerson", "objectClass: posixAccount"]
            lines += [f"cn: {name}", "sn: x", f"uid: {name}", "uidNumber: 1", "gidNumber: 1", "homeDirectory: /"]
            self.slapd.add("rfc", ["\n".join([*lines, f"userPassword: {value}"])])
        ldap = self.ldap(options)
        self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")
        self.assert_refused(ldap, "alice", b"wrong")
        self.assert_refused(ldap, "hashed", b"wrong")
        self.assertRaises(Unusable, ldap.check, "crypted", SECRET, "imap")

    def test_required_group(self) -> None:
        """Only its members come in; by its attribute, and by a filter."""
        for options in (
            {"ldap_group_dn": "cn=team,ou=groups,dc=gon", "ldap_group_attr": "member"},
            {
                "ldap_group_match_method": "filter",
                "ldap_group_filter": "(&(cn=team)(member=%D))",
                "ldap_group_search_base": "ou=groups,dc=gon",
            },
        ):
            ldap = self.ldap({**GON, **options}, Form.SASLAUTHD, ldap_filter="(mail=%u@%r)")
            self.assertEqual(ldap.check("alice@gon.example", SECRET, "imap"), "alice@gon.example")
            self.assert_refused(ldap, "dora@gon.example")

    def test_base_with_tokens(self) -> None:
        """Of the domain; one that makes no name of it is nobody's, and no outage."""
        ldap = self.ldap({**RFC, "ldap_base": "ou=%2,dc=%1"})
        self.assertEqual(ldap.check("alice@people.rfc", SECRET, "imap"), "alice@people.rfc")
        for user in ("alice@rfc", "alice", "alice@people,dc=rfc.x"):
            self.assert_refused(ldap, user)

    def test_entries_of_domains(self) -> None:
        """Each domain has its own root, which its entry names, or its own name makes."""
        self.slapd.add(
            "gon",
            [
                f"dn: ou={name},dc=gon\nobjectClass: organizationalUnit\nobjectClass: domainRelatedObject\nou: {name}"
                f"\nassociatedDomain: {domain}{root}"
                for name, domain, root in (
                    ("one", "one.example", "\nseeAlso: ou=people,dc=gon"),
                    ("two", "rfc", ""),
                    ("three", "twice.example", ""),
                    ("four", "twice.example", ""),
                )
            ],
        )
        ldap = self.ldap(
            {
                "ldap_domain_base_dn": "dc=gon",
                "ldap_domain_result_attribute": "seeAlso",
                "ldap_filter": "(uid=%U)",
            }
        )
        self.assertEqual(ldap.check("dora@one.example", SECRET, "imap"), "dora@one.example")
        self.assertEqual(ldap.check("bob@rfc", SECRET, "imap"), "bob@rfc")
        for user in ("bob@one.example", "dora@rfc", "dora@*", "alice@twice.example", "alice@other.example"):
            self.assert_refused(ldap, user)

    def test_user_attribute(self) -> None:
        """It says who somebody is, within the domain."""
        ldap = self.ldap({**GON, "ldap_user_attribute": "uid"})
        self.assertEqual(ldap.check("oneil@gon.example", SECRET, "imap"), "o'neil@gon.example")
        other = self.ldap({**RFC, "ldap_base": "dc=gon", "ldap_filter": "(uid=%U)", "ldap_user_attribute": "mail"})
        self.assert_refused(other, "alice@elsewhere.example")

    def test_explained(self) -> None:
        """Steps, entry and groups; no password."""
        steps = "\n".join(self.ldap(AD).explain("alice@ad.example", "imap"))
        for part in ("cn=Alice Liddell,cn=Users,dc=ad", "(sAMAccountName=alice)", "mail users"):
            self.assertIn(part, steps)
        self.assertNotIn(PASSWORD, steps)
        looked = Looked()
        self.ldap(AD).check("alice", SECRET, "imap", looked)
        self.assertNotIn(PASSWORD, repr(looked))


class ServerTests(SlapdCase):
    """Ways to a server, and what becomes of its trouble."""

    def test_ways(self) -> None:
        """TLS from the start, StartTLS, and a Unix socket."""
        trust = {"ldap_ca_file": str(self.slapd.certificate)}
        for options in (
            {"ldap_uri": self.slapd.tls_uri, **trust},
            {"ldap_uri": self.slapd.uri, "ldap_start_tls": "yes", **trust},
            {"ldap_uri": self.slapd.local_uri},
            {"ldap_uri": self.slapd.local_uri, "ldap_mech": "EXTERNAL"},
        ):
            self.assertEqual(self.ldap({**RFC, **options}).check("alice", SECRET, "imap"), "alice")

    def test_unknown_certificate(self) -> None:
        """Nobody's password goes to a server that cannot be known, unless that is asked for."""
        for uri, start_tls in ((self.slapd.tls_uri, "no"), (self.slapd.uri, "yes")):
            options = {**RFC, "ldap_uri": uri, "ldap_start_tls": start_tls}
            error = self.assertRaises(DirectoryDown, self.ldap(options).check, "alice", SECRET, "imap")
            self.assertIn("certificate", str(error).lower())
            careless = self.ldap({**options, "ldap_verify_peer": "no"})
            self.assertEqual(careless.check("alice", SECRET, "imap"), "alice")

    def test_other_name(self) -> None:
        """A certificate of another host is as good as none."""
        uri = self.slapd.tls_uri.replace("localhost", "127.0.0.2")
        ldap = self.ldap({**RFC, "ldap_uri": uri, "ldap_ca_file": str(self.slapd.certificate)})
        self.assertRaises(DirectoryDown, ldap.check, "alice", SECRET, "imap")

    def test_fail_over(self) -> None:
        """A server that refuses, and one that is silent, leave the next to be asked, and are not tried again soon."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            dead = "ldap://127.0.0.1:1"
            mute = f"ldap://127.0.0.1:{silent.getsockname()[1]}"
            ldap = self.ldap({**RFC, "ldap_uri": f"{dead} {mute} {self.slapd.uri}"}, ldap_timeout="4")
            self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")
            self.assertEqual(ldap.check("bob", SECRET, "imap"), "bob")
            silent.settimeout(0)
            # One for the search, none for the bind: by then it was known to be silent.
            accepted = 0
            while True:
                try:
                    silent.accept()[0].close()
                except BlockingIOError:
                    break
                accepted += 1
            self.assertEqual(accepted, 1)

    def test_outage(self) -> None:
        """Told as one, and over when the server is back."""
        ldap = self.ldap(RFC, ldap_timeout="4")
        ldap.check("alice", SECRET, "imap")
        self.slapd.hang()
        self.assertRaises(DirectoryDown, ldap.check, "alice", SECRET, "imap")
        self.slapd.go_on()
        self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")
        self.slapd.stop()
        self.assertRaises(DirectoryDown, ldap.check, "alice", SECRET, "imap")
        self.slapd.start()
        self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")

    def test_no_directory(self) -> None:
        """Whatever answers instead is an outage, and no crash."""
        success = b"0\x0c\x02\x01\x01a\x07\n\x01\0\x04\0\x04\0"
        for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", success * 3, b"0" * 50, b"\0" * 50):
            with Answering(answer) as server:
                ldap = self.ldap({**RFC, "ldap_uri": f"ldap://127.0.0.1:{server.port}"})
                self.assertRaises((DirectoryDown, Refused), ldap.check, "alice", SECRET, "imap")

    def test_restart(self) -> None:
        """Connections that died while nobody used them are made anew, and nobody notices."""
        ldap = self.ldap(RFC)
        ldap.check("alice", SECRET, "imap")
        self.slapd.stop()
        self.slapd.start()
        self.assertEqual(ldap.check("alice", SECRET, "imap"), "alice")


class SettingsTests(SynchronousTestCase):
    """What is said of a directory."""

    def file(self, text: str) -> Path:
        path = Path(self.mktemp())
        path.write_text(text)
        return path

    def test_saslauthd_conf(self) -> None:
        """Read as it is, with saslauthd's names and meanings."""
        path = self.file(
            "# comment\n\nldap_servers: ldaps://a.example/ ldaps://b.example/\nldap_search_base: dc=%2,dc=%1\n"
            "ldap_filter: (mail=%u@%r)\nldap_bind_pw: geheim\nLDAP_BIND_DN:cn=x\nldap_tls_check_peer: yes\n"
            "ldap_auth_method: custom\nldap_timeout: 3\nldap_scope: one\nldap_default_realm: a.org\n"
            "ldap_version: 3\nldap_cache_ttl: 30\nldap_use_sasl: no\nldap_sasl_secprops: none\nldap_size_limit: 0\n"
        )
        made = ldap_settings(read_saslauthd_conf(path), str(path), Form.SASLAUTHD)
        self.assertEqual(made.uris, ("ldaps://a.example", "ldaps://b.example"))
        self.assertEqual(
            (made.base, made.scope, made.bind_dn, made.password), ("dc=%2,dc=%1", "LEVEL", "cn=x", "geheim")
        )
        self.assertEqual((made.timeout, made.verify_peer, made.realm), (3, True, "a.org"))
        tokens = user_tokens("fred@b.example.org", splits=made.splits_user)
        self.assertEqual(expand(made.filter, tokens, escape_filter), "(mail=fred@b.example.org)")
        self.assertEqual(expand(made.base, tokens, escape_name), "dc=example,dc=org")
        self.assertNotIn("geheim", repr(made))

    def test_samples(self) -> None:
        """What conf/ldap shows can be used."""
        root = Path(pycyrus.__file__).parent.parent / "conf" / "ldap"
        if not root.exists():
            self.skipTest("only in a checkout")
        lines = [line.partition(": ") for line in (root / "imapd.conf").read_text("utf-8").splitlines()]
        options = {name: value for name, colon, value in lines if colon and not name.startswith("#")}
        options["ldap_config_dir"] = str(root / "domains")
        found = directories_of(options)
        self.assertEqual(set(found), {"", "example.org", "example.net"})
        self.assertTrue(all(each.has_groups and each.verify_peer for each in found.values()))

    def test_servers(self) -> None:
        """URIs as administrators write them: with a slash, a base, in capitals, without a host."""
        for text, expected in (
            ("ldap://a:389/", "ldap://a:389"),
            ("LDAPS://a.example", "ldaps://a.example"),
            ("ldap://a/dc=x??sub?(uid=*)", "ldap://a"),
            ("ldap:///", "ldap://localhost"),
            ("ldap://[::1]:389/", "ldap://[::1]:389"),
            ("ldapi://%2Ftmp%2Fs/", "ldapi://%2Ftmp%2Fs"),
            ("ldapi:///", "ldapi://%2Fvar%2Frun%2Fslapd%2Fldapi"),
        ):
            self.assertEqual(ldap_settings({"ldap_base": "dc=x", "ldap_uri": text}).uris, (expected,))
        both = ldap_settings({"ldap_base": "dc=x", "ldap_uri": "ldap://a/, ldaps://b:636/"})
        self.assertEqual(both.uris, ("ldap://a", "ldaps://b:636"))

    def test_mistakes(self) -> None:
        """Each is told with its name; none is passed over."""
        for options, word in (
            ({}, "ldap_base"),
            ({"ldap_base": "dc=a", "ldap_uri": "http://x"}, "ldap_uri"),
            ({"ldap_base": "dc=a", "ldap_uri": "ldap://a:b"}, "ldap_uri"),
            ({"ldap_base": "dc=a", "ldap_uri": "a.example"}, "ldap_uri"),
            ({"ldap_base": "dc=a", "ldap_scope": "all"}, "ldap_scope"),
            ({"ldap_base": "dc=a", "ldap_filter": "(uid=%x)"}, "%x"),
            ({"ldap_base": "dc=a", "ldap_filter": "(&(uid=%u)"}, "(&(uid="),
            ({"ldap_base": "dc=a", "ldap_domain_filter": "(dc=%d)"}, "%d"),
            ({"ldap_base": "dc=a", "ldap_timeout": "soon"}, "ldap_timeout"),
            ({"ldap_base": "dc=a", "ldap_start_tls": "perhaps"}, "ldap_start_tls"),
            ({"ldap_base": "dc=a", "ldap_mech": "MAGIC"}, "ldap_mech"),
            ({"ldap_base": "dc=a", "ldap_auth_method": "guess"}, "ldap_auth_method"),
            ({"ldap_base": "dc=a", "ldap_group_match_method": "filter"}, "ldap_group_filter"),
        ):
            self.assertIn(word, str(self.assertRaises(BadDirectory, ldap_settings, options)))
        # In a file nobody else looks for misspelt names.
        for name in ("ldap_fliter", "ldap_use_sasl"):
            options = {"ldap_search_base": "dc=a", name: "yes", "ldap_debug": "1"}
            error = self.assertRaises(BadDirectory, ldap_settings, options, form=Form.SASLAUTHD)
            self.assertIn(name, str(error))
        self.assertRaises(BadDirectory, read_saslauthd_conf, self.file("!\n"))
        self.assertRaises(BadDirectory, read_saslauthd_conf, Path("/nowhere"))


class TokenTests(SynchronousTestCase):
    """Templates, with whatever clients send."""

    def test_tokens(self) -> None:
        """All of them."""
        tokens = user_tokens("fred@mail.example.org", service="imap", dn="cn=a,b", realm="r")
        template = "%% %u %U %d %1 %2 %3 %4 %s %r %R"
        expected = (
            "% fred@mail.example.org fred mail.example.org org example mail  imap mail.example.org mail.example.org"
        )
        self.assertEqual(expand(template, tokens, str), expected)
        self.assertEqual(expand("%d %1", user_tokens("fred", realm="a.org"), str), "a.org ")
        self.assertRaises(BadTemplate, expand, "%x", tokens, str)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text())
    def test_nothing_leaves_its_place(self, value: str) -> None:
        """No value can end a filter's or a name's value, and each is told back as it was (RFC 4515, RFC 4514)."""
        try:
            octets = value.encode("utf-8")
        except UnicodeEncodeError:
            return
        filter_ = escape_filter(value)
        self.assertEqual(set(filter_) & set("()*\0"), set())
        told = bytearray()
        rest = filter_
        while rest:
            if rest[0] == "\\":
                self.assertIn(rest[1], string.hexdigits)
                told.append(int(rest[1:3], 16))
                rest = rest[3:]
            else:
                told += rest[0].encode("ascii")
                rest = rest[1:]
        self.assertEqual(bytes(told), octets)
        if value:
            self.assertEqual(len(parse_dn(f"uid={escape_name(value)},dc=a")), 2)


class PasswordTests(SynchronousTestCase):
    """Hashes of directories."""

    def test_schemes(self) -> None:
        """Those that can be checked, right and wrong; others are named."""
        for stored in (
            b"secret",
            b"{CLEARTEXT}secret",
            b"{md5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
            b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            b"{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
        ):
            self.assertTrue(matches(stored, b"secret"), stored)
            self.assertFalse(matches(stored, b"Secret"), stored)
            self.assertFalse(matches(stored, b""), stored)
        self.assertFalse(matches(b"{SSHA}!!!", b"secret"))
        self.assertFalse(matches(b"{SSHA}", b""))
        self.assertRaises(UnknownScheme, matches, b"{CRYPT}x", b"x")

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(), st.binary())
    def test_anything(self, stored: bytes, password: bytes) -> None:
        """No value lets a wrong password in, nor breaks anything."""
        try:
            if matches(stored, password):
                self.assertTrue(password in (stored, stored.partition(b"}")[2]) or stored.startswith(b"{"))
        except UnknownScheme:
            return
