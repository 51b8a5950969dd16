"""Mailbox names: every form reads back as what was written."""

from __future__ import annotations

import re
import time

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import (
    ExternalNames,
    MailboxName,
    NamespaceSettings,
    VirtualDomains,
    check_policy,
    compile_pattern,
    internal,
    modified_utf7_decode,
    modified_utf7_encode,
    parse_internal,
    user_inbox,
)
from pycyrus.model.namespace import BadNamespace
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.model.utf7 import BadUtf7

quick = settings(max_examples=100, deadline=None, database=None)

components = st.one_of(
    st.sampled_from(
        ["Sent", "a.b", "INBOX", "inbox", "Other Users", "Shared Folders", "Alt Folders", "x@y", "é", "&", "user"]
    ),
    st.text(st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="/^!"), min_size=1, max_size=12),
)
paths = st.lists(components, max_size=4).map(tuple)
owners = st.sampled_from(["fred", "fred.smith", "bob", "x+y", "a-b_c"])
domains = st.sampled_from(["", "example.com", "example.org"])
times = st.sampled_from([None, "5F0A1B2C", "1"])
SHARED_RESERVED = ("user", "DELETED", "INBOX")


@st.composite
def names(draw: st.DrawFn) -> MailboxName:
    owner = draw(st.one_of(st.none(), owners))
    path = draw(paths)
    if owner is None and (not path or path[0] == "user" or path[0].upper() in SHARED_RESERVED):
        path = ("shared", *path)
    return MailboxName(draw(domains), owner, path, draw(times))


@st.composite
def namespaces(draw: st.DrawFn) -> NamespaceSettings:
    return NamespaceSettings(
        altnamespace=draw(st.booleans()),
        unixhierarchysep=draw(st.booleans()),
        virtdomains=draw(st.sampled_from([VirtualDomains.USERID, VirtualDomains.ON])),
        crossdomains=draw(st.booleans()),
        crossdomains_onlyother=draw(st.booleans()),
    )


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    admin = draw(st.sampled_from(list(AdminScope)))
    domain = "" if admin is AdminScope.GLOBAL else draw(domains)
    return Identity(draw(owners), domain, admin=admin)


def can_see(identity: Identity, name: MailboxName, namespace: NamespaceSettings) -> bool:
    if name.deleted is not None:
        return identity.administers(name.domain)
    if identity.admin is AdminScope.DOMAIN:
        return identity.domain == name.domain
    return identity.administers(name.domain) or identity.domain == name.domain or namespace.crossdomains


def within(scope: ListScope, identity: Identity, name: MailboxName) -> bool:
    if scope.deleted:
        return name.deleted is not None and scope.domain in (None, name.domain)
    if name.deleted is not None or name.path[: len(scope.path)] != scope.path:
        return False
    if scope.namespace is Namespace.PERSONAL:
        return name.owned_by(identity)
    if scope.domain not in (None, name.domain):
        return False
    if scope.namespace is Namespace.SHARED:
        return name.owner is None
    return name.owner is not None and scope.owner in (None, name.owner)


class ModifiedUtf7(SynchronousTestCase):
    """RFC 3501 section 5.1.3."""

    def test_examples(self) -> None:
        for text, octets in [
            ("Entwürfe", b"Entw&APw-rfe"),
            ("日本語", b"&ZeVnLIqe-"),
            ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("R&D", b"R&-D"),
            ("&&", b"&-&-"),
            ("\U0001f600", b"&2D3eAA-"),
        ]:
            self.assertEqual(modified_utf7_encode(text), octets)
            self.assertEqual(modified_utf7_decode(octets), text)

    def test_only_the_shortest_form_is_read(self) -> None:
        """Two spellings of one name would be two mailboxes, or none."""
        for octets in [
            b"&AEE-",
            b"&AGEA6Q-",
            b"&AOk-&AOk-",
            b"&AOk",
            b"&AOl-",
            b"&",
            b"a&b",
            b"&A-",
            b"&AO-",
            b"&AOk=-",
            b"&2D0-",
            b"\xc3\xa9",
            b"\x00",
            b"a\n",
            b"&AC8-",
            b"&AOk/-",
        ]:
            with self.assertRaises(BadUtf7, msg=repr(octets)):
                modified_utf7_decode(octets)

    @quick
    @given(st.text(st.characters(codec="utf-8")))
    def test_round_trip(self, text: str) -> None:
        self.assertEqual(modified_utf7_decode(modified_utf7_encode(text)), text)

    @quick
    @given(st.one_of(st.binary(max_size=20), st.text("&-AOk,+z", max_size=12).map(str.encode)))
    def test_what_is_read_is_written_the_same(self, octets: bytes) -> None:
        try:
            text = modified_utf7_decode(octets)
        except BadUtf7:
            return
        self.assertEqual(modified_utf7_encode(text), octets)


class InternalNames(SynchronousTestCase):
    def test_examples(self) -> None:
        for name, text in [
            (MailboxName("", "fred", ()), "user.fred"),
            (MailboxName("example.com", "fred.smith", ("Sent",)), "example.com!user.fred^smith.Sent"),
            (MailboxName("", None, ("a", "b.c")), "a.b^c"),
            (MailboxName("", "fred", ("Sent",), "5F0A1B2C"), "DELETED.user.fred.Sent.5F0A1B2C"),
            (MailboxName("x.org", None, ("a",), "5F"), "x.org!DELETED.a.5F"),
            (MailboxName("", "fred", ("Entwürfe",)), "user.fred.Entw&APw-rfe"),
        ]:
            self.assertEqual(internal(name), text)
            self.assertEqual(parse_internal(text), name)

    def test_what_is_none(self) -> None:
        for text in [
            "",
            ".",
            "user",
            "user.",
            "user..x",
            "a..b",
            "a.",
            "!a",
            "a!",
            "../x!a",
            "A.com!a",
            "DELETED.5F",
            "DELETED.a.b",
            "a/b",
            "é",
            "user.a*",
            "a.\x00",
            "-a.b!x",
            "a..b!x",
        ]:
            with self.assertRaises(InvalidMailboxName, msg=repr(text)):
                parse_internal(text)

    @quick
    @given(names())
    def test_round_trip(self, name: MailboxName) -> None:
        self.assertEqual(parse_internal(internal(name)), name)

    @quick
    @given(st.text(st.sampled_from("user.fred^!DELETED5&-AOkx@/\x00"), max_size=30))
    def test_what_is_read_is_written_the_same(self, text: str) -> None:
        try:
            name = parse_internal(text)
        except InvalidMailboxName:
            return
        self.assertEqual(internal(name), text)

    def test_user_inbox(self) -> None:
        """What a recipient's address says cannot become anything but a user."""
        self.assertEqual(user_inbox("fred.smith", "Example.COM"), MailboxName("example.com", "fred.smith", ()))
        for user, domain in [
            ("", ""),
            ("a/b", ""),
            ("..", "../.."),
            ("a\x00", ""),
            ("a", "b/c"),
            ("a", ".b"),
            ("a", "b."),
            ("a", "-b"),
            ("a^b", ""),
            ("é", ""),
            ("a*", ""),
            ("%", ""),
            ("a", "b..c"),
            ("a\\", ""),
            ("a", "b%2fc"),
        ]:
            with self.assertRaises(InvalidMailboxName, msg=(user, domain)):
                user_inbox(user, domain)


class ExternalNamesTests(SynchronousTestCase):
    def check(self, external: ExternalNames, *pairs: tuple[bytes, MailboxName]) -> None:
        for wire, name in pairs:
            self.assertEqual(external.decode(wire), name)
            self.assertEqual(external.encode(name), wire)

    def test_altnamespace(self) -> None:
        fred = ExternalNames(NamespaceSettings(), Identity("fred"))
        self.check(
            fred,
            (b"INBOX", MailboxName("", "fred", ())),
            (b"Sent/2024", MailboxName("", "fred", ("Sent", "2024"))),
            (b"a.b", MailboxName("", "fred", ("a.b",))),
            (b"Other Users/bob.x/Sent", MailboxName("", "bob.x", ("Sent",))),
            (b"Shared Folders/a/b", MailboxName("", None, ("a", "b"))),
            (b"Alt Folders/Other Users/x", MailboxName("", "fred", ("Other Users", "x"))),
            (b"Alt Folders/Inbox", MailboxName("", "fred", ("Inbox",))),
            (b"Alt Folders/INBOX", MailboxName("", "fred", ("INBOX",))),
            (b"Alt Folders/Inbox/a", MailboxName("", "fred", ("Inbox", "a"))),
            (b"INBOX/a/b", MailboxName("", "fred", ("INBOX", "a", "b"))),
            (b"&AOk-", MailboxName("", "fred", ("é",))),
        )
        self.assertEqual(fred.decode(b"iNbOx"), MailboxName("", "fred", ()))
        self.assertEqual(fred.decode(b"Sent/"), MailboxName("", "fred", ("Sent",)))
        for wire in [
            b"",
            b"/",
            b"//",
            b"/a",
            b"a//b",
            b"a^b",
            b"INBOX/INBOX",
            b"Inbox/inbox/a",
            b"Other Users",
            b"Shared Folders",
            b"Alt Folders",
            b"Alt Folders/x",
            b"a\x00",
            b"a\x7f",
            b"&AC8-",
            b"Other Users/a*b",
            b"x" * 3000,
            b"a/" * 300,
            b"\xc3\xa9",
            b"&AAA-",
            b"Shared Folders/user/x",
        ]:
            with self.assertRaises(InvalidMailboxName, msg=repr(wire)):
                fred.decode(wire)

    def test_standard_namespace(self) -> None:
        self.check(
            ExternalNames(NamespaceSettings(altnamespace=False), Identity("fred")),
            (b"INBOX", MailboxName("", "fred", ())),
            (b"INBOX/Sent", MailboxName("", "fred", ("Sent",))),
            (b"user/bob/Sent", MailboxName("", "bob", ("Sent",))),
            (b"a/b", MailboxName("", None, ("a", "b"))),
        )

    def test_netnews_separator(self) -> None:
        """C{unixhierarchysep: no}: a circumflex stands for a dot."""
        self.check(
            ExternalNames(NamespaceSettings(altnamespace=False, unixhierarchysep=False), Identity("fred")),
            (b"INBOX.Sent", MailboxName("", "fred", ("Sent",))),
            (b"user.bob^smith.a^b", MailboxName("", "bob.smith", ("a.b",))),
        )

    def test_administrators_see_real_names(self) -> None:
        settings = NamespaceSettings(virtdomains=VirtualDomains.USERID)
        self.check(
            ExternalNames(settings, Identity("cyrus", admin=AdminScope.GLOBAL)),
            (b"user/fred/Sent@example.com", MailboxName("example.com", "fred", ("Sent",))),
            (b"user/fred", MailboxName("", "fred", ())),
            (b"a/b@example.com", MailboxName("example.com", None, ("a", "b"))),
            (b"DELETED/user/fred/Sent/5F0A1B2C@example.com", MailboxName("example.com", "fred", ("Sent",), "5F0A1B2C")),
            (b"a@b@internal", MailboxName("", None, ("a@b",))),
        )
        own = ExternalNames(settings, Identity("boss", "example.com", admin=AdminScope.DOMAIN))
        self.check(own, (b"user/fred/Sent", MailboxName("example.com", "fred", ("Sent",))))
        self.assertEqual(own.decode(b"user/fred@example.com"), MailboxName("example.com", "fred", ()))
        # No way to name anything of another domain.
        for wire in (b"user/fred@example.org", b"news@example.org", b"news"):
            try:
                self.assertEqual(own.decode(wire).domain, "example.com")
            except InvalidMailboxName:
                continue

    def test_realms_without_virtual_domains(self) -> None:
        """With C{virtdomains: off} an at sign is part of the user id."""
        self.check(
            ExternalNames(NamespaceSettings(), Identity("cyrus", admin=AdminScope.GLOBAL)),
            (b"user/fred@example.com/x", MailboxName("", "fred@example.com", ("x",))),
        )

    def test_utf8(self) -> None:
        """RFC 9051 section 5.1: after ENABLE IMAP4rev2 names are UTF-8."""
        fred = ExternalNames(NamespaceSettings(), Identity("fred"))
        name = MailboxName("", "fred", ("R&é",))
        self.assertEqual(fred.encode(name, utf8=True), "R&é".encode())
        self.assertEqual(fred.decode("R&é".encode(), utf8=True), name)
        for wire in [b"\xff", b"\xed\xa0\x80", "a\u2028".encode(), b"\xc2\x80"]:
            with self.assertRaises(InvalidMailboxName):
                fred.decode(wire, utf8=True)

    @quick
    @given(names(), namespaces(), identities(), st.booleans())
    def test_round_trip(self, name: MailboxName, namespace: NamespaceSettings, identity: Identity, utf8: bool) -> None:
        assume(can_see(identity, name, namespace))
        assume("/" not in "".join(name.path) and len(internal(name)) <= 490)
        external = ExternalNames(namespace, identity)
        self.assertEqual(external.decode(external.encode(name, utf8=utf8), utf8=utf8), name)

    @quick
    @given(st.text("IiNnBbOoXxuser/.^&-AO@fad Other Usrs*", max_size=30).map(str.encode), namespaces(), identities())
    def test_total(self, wire: bytes, namespace: NamespaceSettings, identity: Identity) -> None:
        """Garbage is a name or is refused; what is a name has a form of its own."""
        external = ExternalNames(namespace, identity)
        try:
            name = external.decode(wire)
        except InvalidMailboxName:
            return
        if can_see(identity, name, namespace):
            self.assertEqual(external.decode(external.encode(name)), name)

    @settings(max_examples=200, deadline=None, database=None)
    @given(names(), namespaces(), identities(), st.data())
    def test_scopes_hold_what_matches(
        self, name: MailboxName, namespace: NamespaceSettings, identity: Identity, data: st.DataObject
    ) -> None:
        assume(can_see(identity, name, namespace))
        external = ExternalNames(namespace, identity)
        wire = external.encode(name)
        cut = data.draw(st.integers(0, len(wire)))
        rest = data.draw(st.integers(cut, len(wire)))
        pattern = wire[:cut] + b"*" * (rest > cut) + wire[rest:]
        self.assertTrue(external.matcher(pattern)(wire))
        scopes = external.scopes(pattern)
        self.assertTrue(any(within(scope, identity, name) for scope in scopes), (wire, pattern, scopes))

    def test_scopes_narrow(self) -> None:
        """A listing of one's own folders costs nothing of other people's."""
        settings = NamespaceSettings(virtdomains=VirtualDomains.USERID)
        fred = ExternalNames(settings, Identity("fred", "example.com"))
        self.assertEqual(fred.scopes(b"Sent/%"), [ListScope(Namespace.PERSONAL, path=("Sent",))])
        self.assertEqual(fred.scopes(b"Other Users/bob/*"), [ListScope(Namespace.OTHER, "example.com", "bob")])
        admin = ExternalNames(settings, Identity("cyrus", admin=AdminScope.GLOBAL))
        self.assertEqual(admin.scopes(b"user/fred/%@x.org"), [ListScope(Namespace.OTHER, "x.org", "fred")])
        boss = ExternalNames(settings, Identity("boss", "example.com", admin=AdminScope.DOMAIN))
        for scope in boss.scopes(b"*"):
            self.assertIn(scope.domain, ("example.com", None))
            self.assertTrue(scope.domain == "example.com" or scope.namespace is Namespace.PERSONAL)

    def test_namespace_lines(self) -> None:
        """RFC 9051 section 6.3.10."""
        every = frozenset(Namespace)
        fred, admin = Identity("fred"), Identity("cyrus", admin=AdminScope.GLOBAL)
        self.assertEqual(
            ExternalNames(NamespaceSettings(), fred).namespace_lines(every),
            b'(("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))',
        )
        self.assertEqual(
            ExternalNames(NamespaceSettings(), fred).namespace_lines({Namespace.PERSONAL}), b'(("" "/")) NIL NIL'
        )
        self.assertEqual(
            ExternalNames(NamespaceSettings(unixhierarchysep=False), admin).namespace_lines(every),
            b'(("INBOX." ".")) (("user." ".")) (("" "."))',
        )

    def test_bad_settings(self) -> None:
        for bad in [
            NamespaceSettings(userprefix="a/b"),
            NamespaceSettings(userprefix="Shared Folders"),
            NamespaceSettings(sharedprefix="inbox"),
            NamespaceSettings(altprefix=""),
            NamespaceSettings(altprefix="a*"),
            NamespaceSettings(deletedprefix="user"),
        ]:
            self.assertRaises(BadNamespace, bad.check)
        NamespaceSettings().check()


class Policy(SynchronousTestCase):
    def test_refused(self) -> None:
        for name in [
            MailboxName("", "anyone", ()),
            MailboxName("", "anonymous", ("x",)),
            MailboxName("", None, ("user",)),
            MailboxName("", None, ("Inbox", "x")),
            MailboxName("", None, ("DELETED", "x")),
            MailboxName("", None, ("~x",)),
            MailboxName("", None, (".x",)),
            MailboxName("", None, ("$x",)),
            MailboxName("", "fred", ("INBOX",)),
            MailboxName("", "fred", ("..",)),
            MailboxName("", "fred", ("e\u0301",)),
            MailboxName("", "fred", ("a" * 500,)),
            MailboxName("", "fred", ("a",) * 130),
            *(MailboxName("", "fred", (f"a{character}",)) for character in '!"%/;<>\\`{|}^\x00\n\x7f\u2029'),
        ]:
            with self.assertRaises(InvalidMailboxName, msg=name):
                check_policy(name)

    def test_allowed(self) -> None:
        for name in [
            MailboxName("", "fred", ("a #$'()*+,-.0:=?@Z[]_~",)),
            MailboxName("", "fred", ("é", "日本", "R&D")),
            MailboxName("", None, ("a", "user")),
        ]:
            check_policy(name)


class Patterns(SynchronousTestCase):
    def test_examples(self) -> None:
        for pattern, name, expected in [
            (b"*", b"a/b", True),
            (b"%", b"a", True),
            (b"%", b"a/b", False),
            (b"a/%", b"a/b", True),
            (b"a/%", b"a/b/c", False),
            (b"a/%", b"a", False),
            (b"inbox", b"INBOX", True),
            (b"in%", b"INBOX", True),
            (b"inbox/a", b"INBOX/a", True),
            (b"inbox/A", b"INBOX/a", False),
            (b"sent", b"Sent", False),
            (b"%/%", b"a/b", True),
            (b"*b", b"a/b", True),
            (b"%b", b"a/b", False),
            (b"a%*", b"a/x", True),
            (b"*%*%*a", b"bba", True),
            (b"", b"", True),
            (b"", b"a", False),
            (b"*/", b"a", False),
            (b"i*", b"INBOX", True),
            (b"I*", b"Ix", True),
            (b"i*", b"Ix", False),
            (b"inbox*", b"INBOXES", False),
        ]:
            self.assertEqual(compile_pattern(pattern, b"/")(name), expected, (pattern, name))

    @settings(max_examples=500, deadline=None, database=None)
    @given(
        st.lists(st.sampled_from(["INBOX", "inbox", "in", "X", "box", "a", "/", "*", "%"]), max_size=6).map("".join),
        st.lists(st.sampled_from(["INBOX", "IN", "BOX", "X", "a", "/"]), max_size=5).map("".join),
    )
    def test_as_it_is_written(self, pattern: str, name: str) -> None:
        """The quick ways give the answer of a matcher that tries everything."""
        folded = 5 if name == "INBOX" or name.startswith("INBOX/") else 0

        def matches(at: int, place: int) -> bool:
            if at == len(pattern):
                return place == len(name)
            if pattern[at] in "*%":
                ends = range(place, len(name) + 1)
                return any(matches(at + 1, end) for end in ends if pattern[at] == "*" or "/" not in name[place:end])
            if place == len(name):
                return False
            wanted = pattern[at].upper() if place < folded else pattern[at]
            return wanted == name[place] and matches(at + 1, place + 1)

        self.assertEqual(compile_pattern(pattern.encode(), b"/")(name.encode()), matches(0, 0))

    def test_linear_time(self) -> None:
        """Patterns made to go back and forth cost no more than others."""
        pattern, name = b"*%" * 500 + b"b", b"a/" * 500
        before = time.process_time()
        self.assertFalse(compile_pattern(pattern, b"/")(name))
        matches = compile_pattern(b"%a*" * 300 + b"b", b"/")
        for _ in range(10):
            self.assertFalse(matches(name))
        self.assertLess(time.process_time() - before, 10)

    @settings(max_examples=500, deadline=None, database=None)
    @given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=8))
    def test_as_a_regular_expression(self, pattern: str, name: str) -> None:
        expression = re.escape(pattern).replace(r"\*", ".*").replace("%", "[^/]*")
        self.assertEqual(
            compile_pattern(pattern.encode(), b"/")(name.encode()), re.fullmatch(expression, name) is not None
        )
