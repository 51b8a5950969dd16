"""Logins with directories behind them: domains of their own, groups, outages; with real threads and a real slapd."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from pycyrus.app.checker_parts import group_lifetime, group_source
from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import Authenticator, AuthSettings
from pycyrus.auth.cache import CacheSettings
from pycyrus.auth.checkers.chain import make_checkers
from pycyrus.auth.checkers.ldap import LdapChecker
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.groups import KnownGroups
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.interfaces import CheckerContext
from pycyrus.auth.ldap.settings import BadDirectory
from pycyrus.auth.outside import THREADS, Outside
from pycyrus.auth.unix_groups import UnixGroups
from pycyrus.auth.users import UserDatabase
from pycyrus.config.settings import Settings
from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable
from pycyrus.interfaces import Authenticated
from pycyrus.model.identity import AdminScope
from pycyrus.test.auth.parts import TLS, at_once
from pycyrus.test.auth.test_ldap import AD, GON, RFC
from pycyrus.testing.slapd import Slapd


class DirectoryCase(TestCase):
    """Three domains, each with its directory; two servers, of which one may go."""

    ldap_timeout = "60"

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.servers = [self.server("one", "rfc"), self.server("two", "gon", "ad")]
        (self.directory / "domains").mkdir()
        for domain, server, said in (
            ("rfc.example", self.servers[0], RFC),
            ("gon.example", self.servers[1], {**GON, "ldap_filter": "(mail=%u@%r)"}),
            ("ad.example", self.servers[1], AD),
        ):
            options = {"ldap_uri": server.uri, "ldap_timeout": self.ldap_timeout, **said}
            text = "".join(f"{key}: {value}\n" for key, value in options.items())
            (self.directory / "domains" / f"{domain}.conf").write_text(text)
        options = {"ldap_config_dir": str(self.directory / "domains")}
        self.authenticator = self.made(options)

    def server(self, name: str, *trees: str) -> Slapd:
        directory = self.directory / name
        directory.mkdir()
        slapd = Slapd(directory)
        slapd.start()
        self.addCleanup(slapd.stop)
        slapd.load(*trees)
        return slapd

    def made(self, options: Mapping[str, str], *more: str) -> Authenticator:
        """An authenticator over directories, and further checkers, that remembers nothing."""
        self.checkers = make_checkers(["ldap", *more], CheckerContext(self.directory, options, at_once, self.reactor))
        checker = self.checkers.checkers[0]
        assert isinstance(checker, LdapChecker)
        self.checker = checker
        self.addCleanup(self.checker.close)
        parts = Authentication(
            self.reactor, self.checkers, at_once, CacheSettings(0, 0), DelaySettings(pause=0.01, longest=0.01)
        )
        identities = IdentitySettings(
            virtdomains="userid", admins=("root", "group:admins@rfc.example", "group:staff", "group:boss@gon.example")
        )
        return parts.authenticator(identities, AuthSettings())

    async def login(self, user: str, password: bytes = b"secret") -> Authenticated:
        return await self.authenticator.login(user.encode(), password, TLS)

    async def fails(self, user: str, error: type[Exception], password: bytes = b"secret") -> None:
        """Not so."""
        await self.assertFailure(Deferred.fromCoroutine(self.login(user, password)), error)


class DomainTests(DirectoryCase):
    async def test_domains(self) -> None:
        """Everybody by their own directory, with its groups, which have the domain in their names."""
        alice = (await self.login("alice@rfc.example")).identity
        self.assertEqual(alice.groups, {"staff@rfc.example", "admins@rfc.example"})
        # The administrators' group of a domain administers that domain, and no other.
        self.assertIs(alice.admin, AdminScope.DOMAIN)
        self.assertFalse(alice.administers("gon.example"))
        bob = (await self.login("bob@rfc.example")).identity
        # A group of the same name without a domain is not theirs to give.
        self.assertEqual((bob.groups, bob.admin), ({"staff@rfc.example"}, AdminScope.NONE))
        self.assertEqual((await self.login("alice@gon.example")).identity.groups, {"team@gon.example"})
        self.assertEqual((await self.login("alice@ad.example")).identity.groups, {"mail users@ad.example"})
        for user, password in (
            ("alice@other.example", b"secret"),
            ("alice", b"secret"),
            ("bob@gon.example", b"secret"),
            ("alice@ad.example", b"wrong"),
        ):
            await self.fails(user, AuthenticationFailed, password)

    async def test_never_mixed(self) -> None:
        """What is remembered of one user lets nobody in as another of that name, nor at another service."""
        self.servers[1].add(
            "gon",
            [
                "dn: uid=bob,ou=people,dc=gon\nobjectClass: inetOrgPerson\nuid: bob\ncn: bob\nsn: b"
                "\nmail: bob@gon.example\nuserPassword: another"
            ],
        )
        asked: list[str] = []
        for domain, asked_of in self.checker.directories.items():
            real = asked_of.directory.check

            def check(*args: Any, real: Any = real, domain: str = domain) -> str:
                asked.append(domain)
                return str(real(*args))

            self.patch(asked_of.directory, "check", check)
        parts = Authentication(self.reactor, self.checkers, at_once, delays=DelaySettings(pause=0))
        remembering = parts.authenticator(IdentitySettings(virtdomains="userid"), AuthSettings())
        for _ in range(2):
            for user, password, right in (
                ("bob@rfc.example", b"secret", True),
                ("bob@gon.example", b"another", True),
                ("bob@gon.example", b"secret", False),
                ("bob@rfc.example", b"another", False),
                ("bob", b"secret", False),
            ):
                login = Deferred.fromCoroutine(remembering.login(user.encode(), password, TLS))
                if right:
                    self.assertEqual((await login).identity.user_id, user)
                else:
                    await self.assertFailure(login, AuthenticationFailed)
        # The second time all is remembered.
        self.assertEqual(sorted(asked), ["gon.example"] * 2 + ["rfc.example"] * 2)
        await remembering.login(b"bob@rfc.example", b"secret", replace(TLS, service="pop3"))
        self.assertEqual(len(asked), 5)

    async def test_one_for_all(self) -> None:
        """Options of imapd.conf; a group makes global administrators of those who have no domain."""
        self.authenticator = self.made({"ldap_uri": self.servers[0].uri, **RFC})
        bob = (await self.login("bob")).identity
        self.assertEqual((bob.groups, bob.admin), ({"staff"}, AdminScope.GLOBAL))
        self.assertIs((await self.login("carol")).identity.admin, AdminScope.NONE)

    async def test_acting_as(self) -> None:
        """Whoever acts as another has the other's groups."""
        exchange = self.authenticator.start("PLAIN", TLS)
        done = await exchange.step(b"bob@rfc.example\0alice@rfc.example\0secret")
        assert isinstance(done, Authenticated)
        self.assertEqual(done.identity.groups, {"staff@rfc.example"})
        self.assertEqual(done.identity.user_id, "bob@rfc.example")

    async def test_groups_only(self) -> None:
        """An imapd.conf of Cyrus with ptloader: passwords are checked by others, and the directory tells groups."""
        written = {
            "sasl_pwcheck_method": "saslauthd",
            "auth_mech": "pts",
            "pts_module": "ldap",
            "ptloader_sock": "/var/lib/cyrus/ptclient/ptsock",
            "ptscache_timeout": "7200",
            "ldap_uri": self.servers[1].uri,
            "ldap_base": "cn=Users,dc=ad",
            "ldap_sasl": "0",
            "ldap_bind_dn": AD["ldap_bind_dn"],
            "ldap_password": AD["ldap_password"],
            "ldap_filter": "(sAMAccountName=%u)",
            "ldap_member_method": "attribute",
            "ldap_member_attribute": "memberOf",
            "ldap_member_base": "cn=Users,dc=ad",
            "ldap_group_base": "cn=Users,dc=ad",
            "ldap_group_filter": "(cn=%u)",
            "ldap_restart": "yes",
            "ldap_version": "3",
        }
        options = Settings(written)
        source: Any = group_source(options, self.reactor)
        self.assertIsInstance(source, LdapChecker)
        self.addCleanup(source.close)
        self.assertEqual(await source.groups_of("alice"), {"mail users"})
        self.assertEqual(group_lifetime(options), 7200.0)
        self.assertIsNone(group_source(Settings({**written, "sasl_pwcheck_method": "ldap"}), self.reactor))
        self.assertIsNone(group_source(Settings({**written, "pts_module": "afskrb"}), self.reactor))
        self.assertIsInstance(group_source(Settings({}), self.reactor), UnixGroups)
        self.assertEqual(group_lifetime(Settings({})), 300.0)

    async def test_explain(self) -> None:
        """The steps of the directory of that domain, without a password."""
        steps = "\n".join(await self.checkers.explain("alice@ad.example", "imap"))
        self.assertIn("cn=Alice Liddell,cn=Users,dc=ad", steps)
        self.assertNotIn("secret", steps)
        self.assertIn("no directory", "\n".join(await self.checkers.explain("alice@x.example", "imap")))

    async def test_reload(self) -> None:
        """
        Files are read again, at once and for whom they are.

        One domain moves to another directory, one comes, one goes; a mistake changes nothing; and who is being
        asked at that moment has an answer.
        """
        files = self.directory / "domains"
        options = {"ldap_config_dir": str(files)}
        await self.login("alice@rfc.example")
        gon = self.checker.directories["gon.example"]
        asked = Deferred.fromCoroutine(self.login("bob@rfc.example"))
        moved = f"ldap_servers: {self.servers[1].uri}\nldap_search_base: dc=gon\nldap_filter: (uid=%U)\n"
        (files / "rfc.example.conf").write_text(moved)
        (files / "new.example.conf").write_text(moved)
        (files / "ad.example.conf").unlink()
        before = self.checkers.version()
        self.checkers.reload(options)
        self.assertNotEqual(self.checkers.version(), before)
        self.assertEqual((await asked).identity.user_id, "bob@rfc.example")
        await self.login("dora@rfc.example")
        await self.login("dora@new.example")
        await self.fails("bob@rfc.example", AuthenticationFailed)
        await self.fails("alice@ad.example", AuthenticationFailed)
        # What has not changed keeps its connections.
        self.assertIs(self.checker.directories["gon.example"], gon)
        before = self.checkers.version()
        (files / "new.example.conf").write_text("ldap_servers: http://elsewhere\n")
        self.assertRaises(BadDirectory, self.checkers.reload, options)
        await self.login("dora@new.example")
        self.assertEqual(self.checkers.version(), before)

    def test_misconfigured(self) -> None:
        """Said at start: nothing configured, a file that is not there, an option that cannot be."""
        for options in (
            {},
            {"ldap_config": "/nowhere"},
            {"ldap_config_dir": "/nowhere"},
            {"ldap_uri": "ldap://x", "ldap_scope": "far"},
        ):
            self.assertRaises(BadDirectory, self.made, options)


class OutageTests(DirectoryCase):
    # Others must have been served before it is over.
    ldap_timeout = "6"

    async def test_one_hangs(self) -> None:
        """Its own domain is told to come again, in bounded time; no other login waits for it."""
        await self.login("alice@rfc.example")
        self.servers[0].hang()
        # More than there are threads.
        waiting = [Deferred.fromCoroutine(self.login("alice@rfc.example")) for _ in range(20)]
        for domain in ("gon.example", "ad.example"):
            await self.login(f"alice@{domain}")
        self.assertFalse(any(each.called for each in waiting))
        for each in waiting:
            await self.assertFailure(each, AuthenticationUnavailable)
        # Known to be down: told at once.
        await self.fails("bob@rfc.example", AuthenticationUnavailable)
        self.flushLoggedErrors()
        self.servers[0].go_on()

    async def test_back_again(self) -> None:
        """A directory that was away is asked again after a while."""
        self.checker.directories["rfc.example"].outside.rest = 0.0
        await deferToThread(self.servers[0].stop)
        await self.fails("alice@rfc.example", AuthenticationUnavailable)
        await deferToThread(self.servers[0].start)
        await self.login("alice@rfc.example")

    async def test_groups_in_an_outage(self) -> None:
        """Those of before count; who was never told is told to come again."""
        groups = KnownGroups([self.checker], self.reactor, lifetime=0.0)
        await groups.fetch("alice@rfc.example")
        await deferToThread(self.servers[0].stop)
        await groups.fetch("alice@rfc.example")
        self.assertEqual(groups.of("alice@rfc.example"), {"staff@rfc.example", "admins@rfc.example"})
        await self.assertFailure(Deferred.fromCoroutine(groups.fetch("bob@rfc.example")), AuthenticationUnavailable)

    async def test_administrator(self) -> None:
        """One who is known here, and by name, comes in without any directory; others come again later."""
        users = UserDatabase(self.directory / "users.db")
        for user in ("root", "dan"):
            users.add(user, "secret")
        users.close()
        self.authenticator = self.made({"ldap_uri": self.servers[0].uri, **RFC}, "passwd")
        self.assertIs((await self.login("root")).identity.admin, AdminScope.GLOBAL)
        self.assertIs((await self.login("dan")).identity.admin, AdminScope.NONE)
        self.authenticator = self.made({"ldap_uri": self.servers[0].uri, **RFC}, "passwd")
        await deferToThread(self.servers[0].stop)
        self.assertIs((await self.login("root")).identity.admin, AdminScope.GLOBAL)
        await self.fails("dan", AuthenticationUnavailable)

    async def test_no_end(self) -> None:
        """A question without an end is given up, and what waits behind it is never asked."""
        go_on, asked = threading.Event(), []
        self.addCleanup(go_on.set)
        outside = Outside("somewhere", 0.05, lambda: None, self.reactor)
        self.addCleanup(outside.close)
        hanging: list[Deferred[Any]] = [Deferred.fromCoroutine(outside.ask(go_on.wait)) for _ in range(THREADS)]
        behind: Deferred[Any] = Deferred.fromCoroutine(outside.ask(lambda: asked.append(1)))
        for each in (*hanging, behind):
            await self.assertFailure(each, AuthenticationUnavailable)
        go_on.set()
        outside.forgive()
        outside._patience = 60.0
        self.assertEqual(await outside.ask(lambda: 5), 5)
        self.assertEqual(asked, [])
