"""The database of secrets of Cyrus SASL: what other programs write is read, and nothing breaks on what they do not."""

from __future__ import annotations

import base64
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramMechanism
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.app.checker_parts import checker_names
from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import AuthSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.checkers.passwd import PasswdChecker
from pycyrus.auth.checkers.sasldb import SasldbChecker, SasldbCheckerFactory
from pycyrus.auth.credentials import MailPassword
from pycyrus.auth.delays import DelaySettings
from pycyrus.auth.interfaces import CheckerContext
from pycyrus.auth.sasldb.database import BadSasldb, Sasldb, secrets_of
from pycyrus.auth.sasldb.octets import Damaged
from pycyrus.auth.scram_secrets import DerivedScramKeys
from pycyrus.auth.users import UserDatabase
from pycyrus.config.settings import Settings
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.interfaces import IAuthenticator
from pycyrus.test.auth.parts import CACHE, at_once
from pycyrus.test.auth.services import SecretsChecker, ServiceCase
from pycyrus.testing.programs import find_program, run

LONG = "x" * 2000
"""So long that it has a page of its own."""
ROWS = {("alice", "a.org"): "secret", ("bob", "b.org"): "other", ("long", "a.org"): LONG, ("carol", "here"): "own"}


def saslpasswd2(path: Path, user: str, realm: str, password: str) -> None:
    """Set a password as an administrator does."""
    words: list[str | Path] = [find_program("saslpasswd2"), "-p", "-c", "-f", path, "-u", realm, user]
    run(words, given=password.encode())


def berkeley(path: Path, rows: dict[tuple[str, str], str]) -> None:
    """As Debian's saslpasswd2 writes it."""
    for (user, realm), password in rows.items():
        saslpasswd2(path, user, realm, password)


def _records(rows: dict[tuple[str, str], str]) -> list[tuple[bytes, bytes]]:
    return sorted(
        (f"{user}\0{realm}\0userPassword".encode(), password.encode()) for (user, realm), password in rows.items()
    )


def gdbm(path: Path, rows: dict[tuple[str, str], str]) -> None:
    """As a saslpasswd2 that was made with GNU dbm."""
    lines = ["# GDBM dump file", "#:version=1.1", "#:format=standard", "# End of header"]
    for record in _records(rows):
        for octets in record:
            lines += [f"#:len={len(octets)}", base64.b64encode(octets).decode()]
    dump = path.with_suffix(".dump")
    dump.write_text("\n".join([*lines, f"#:count={len(rows)}", "# End of data", ""]))
    run([find_program("gdbm_load"), dump, path])


def lmdb(path: Path, rows: dict[tuple[str, str], str]) -> None:
    """As a saslpasswd2 that was made with LMDB."""
    lines = ["VERSION=3", "format=bytevalue", "type=btree", "mapsize=4194304", "HEADER=END"]
    for record in _records(rows):
        lines += [f" {octets.hex()}" for octets in record]
    dump = path.with_suffix(".dump")
    dump.write_text("\n".join([*lines, "DATA=END", ""]))
    run([find_program("mdb_load"), "-n", "-f", dump, path])


FORMS = {"Berkeley DB": berkeley, "GNU dbm": gdbm, "LMDB": lmdb}


class FormTests(SynchronousTestCase):
    """Files as they are written by the libraries themselves."""

    def path(self, name: str = "sasldb2") -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return directory / name

    def test_all_forms(self) -> None:
        for name, make in FORMS.items():
            path = self.path()
            make(path, ROWS)
            expected = {key: password.encode() for key, password in ROWS.items()}
            self.assertEqual(dict(Sasldb(path).secrets()), expected, name)

    def test_many(self) -> None:
        """So many that there are pages above pages, and buckets beside buckets."""
        rows = {(f"u{number}", "a.org"): f"{number}" * 20 for number in range(2000)}
        for make in (gdbm, lmdb):
            path = self.path()
            make(path, rows)
            self.assertEqual({key: value.decode() for key, value in Sasldb(path).secrets().items()}, rows)

    def test_same_users_as_theirs(self) -> None:
        """What sasldblistusers2 lists is what is read, also when one has been removed."""
        path = self.path()
        berkeley(path, {(f"u{number}", "a.org"): "secret" for number in range(30)})
        run([find_program("saslpasswd2"), "-d", "-f", path, "-u", "a.org", "u7"])
        listed = run([find_program("sasldblistusers2"), "-f", path])
        theirs = {line.partition(":")[0] for line in listed.splitlines() if line}
        self.assertEqual({f"{user}@{realm}" for user, realm in Sasldb(path).secrets()}, theirs)
        self.assertEqual(len(theirs), 29)

    def test_other_files(self) -> None:
        for data in (b"", b"x", b"SQLite format 3\0" + bytes(5000), bytes(5000)):
            self.assertRaises(Damaged, secrets_of, data)

    def test_says_what_to_mend(self) -> None:
        path = self.path()
        error = self.assertRaises(BadSasldb, Sasldb(path).secrets)
        self.assertIn("saslpasswd2 makes it", str(error))
        path.write_bytes(b"rubbish")
        error = self.assertRaises(BadSasldb, Sasldb(path).secrets)
        self.assertIn("neither of Berkeley DB", str(error))

    def test_damaged_ones(self) -> None:
        """Wherever octets are changed or missing, there is an answer or an error that says so, and always an end."""
        for make in FORMS.values():
            path = self.path()
            make(path, ROWS)
            self._damage(path.read_bytes())

    def _damage(self, whole: bytes) -> None:
        interesting = [at for at in range(len(whole)) if whole[at]]

        @settings(max_examples=150, deadline=None, database=None)
        @given(
            st.lists(st.tuples(st.sampled_from(interesting), st.integers(0, 255)), max_size=8),
            st.one_of(st.just(len(whole)), st.integers(0, len(whole))),
        )
        def change(changes: list[tuple[int, int]], length: int) -> None:
            data = bytearray(whole)
            for at, octet in changes:
                data[at] = octet
            try:
                found = secrets_of(bytes(data[:length]))
            except Damaged:
                return
            self.assertIsInstance(found, dict)

        change()


class CheckerTests(TestCase):
    """What the checker makes of it."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        self.path = directory / "sasldb2"
        berkeley(self.path, {("alice", "a.org"): "secret", ("carol", "here"): "own"})

    def checker(self) -> SasldbChecker:
        options = {"sasl_sasldb_path": str(self.path), "servername": "here"}
        return SasldbCheckerFactory().make_checker(CheckerContext(self.path.parent, options, at_once))

    async def check(self, checker: SasldbChecker, user: str, password: bytes) -> Any:
        return await checker.requestAvatarId(MailPassword(user, password, "imap"))

    async def test_passwords(self) -> None:
        """The realm of users without a domain is the server's name."""
        checker = self.checker()
        self.assertEqual(await self.check(checker, "alice@a.org", b"secret"), b"alice@a.org")
        self.assertEqual(await self.check(checker, "carol", b"own"), b"carol")
        for user, password in (
            ("alice@a.org", b"wrong"), ("alice", b"secret"), ("nobody", b"secret"), ("nobody", b""), ("carol", b""),
        ):  # fmt: skip
            with self.assertRaises(UnauthorizedLogin):
                await self.check(checker, user, password)

    async def test_secrets(self) -> None:
        """CRAM-MD5 and its like have what they need."""
        chain = CheckerChain([self.checker()])
        self.assertTrue(chain.has_shared_secrets)
        self.assertEqual(await chain.shared_secret("alice@a.org"), b"secret")
        self.assertIsNone(await chain.shared_secret("nobody"))

    async def test_changes_are_seen(self) -> None:
        checker = self.checker()
        self.assertEqual(await self.check(checker, "carol", b"own"), b"carol")
        before = checker.version()
        self.assertEqual(checker.version(), before)
        saslpasswd2(self.path, "carol", "here", "new")
        self.assertNotEqual(checker.version(), before)
        self.assertEqual(await self.check(checker, "carol", b"new"), b"carol")

    async def test_gone(self) -> None:
        """A file that is gone turns nobody away for good."""
        checker = self.checker()
        self.path.unlink()
        with self.assertRaises(AuthenticationUnavailable):
            await self.check(checker, "carol", b"own")
        self.assertNotEqual(checker.version(), checker.version())

    async def test_explains(self) -> None:
        (text,) = await self.checker().explain("alice@a.org", "imap")
        self.assertIn("user 'alice', realm 'a.org': a password is stored", text)
        self.assertNotIn("secret", text)

    def test_as_cyrus_names_it(self) -> None:
        """The options of a Cyrus that asks libsasl for secrets mean this checker."""
        path = str(self.path)
        cases: tuple[tuple[dict[str, str], tuple[str, ...]], ...] = (
            ({"sasl_pwcheck_method": "auxprop", "sasl_auxprop_plugin": "sasldb"}, ("sasldb",)),
            ({"sasl_pwcheck_method": "auxprop", "sasl_sasldb_path": path}, ("sasldb",)),
            ({"sasl_pwcheck_method": "saslauthd auxprop", "sasl_auxprop_plugin": "sasldb sql"},
             ("saslauthd", "sasldb", "sql")),
            ({"sasl_pwcheck_method": "sasldb"}, ("sasldb",)),
        )  # fmt: skip
        for options, names in cases:
            self.assertEqual(checker_names(Settings(options)), (names, ()))
        names, missing = checker_names(Settings({"sasl_pwcheck_method": "auxprop", "sasl_auxprop_plugin": "ldapdb"}))
        self.assertEqual((names, missing), (("passwd",), ("auxprop",)))


class MechanismTests(ServiceCase):
    """Every mechanism that stands on a password works with a sasldb that a real saslpasswd2 made, by a real imtest."""

    def authenticator(self, settings: AuthSettings) -> IAuthenticator:
        path = self.directory / "sasldb2"
        berkeley(path, {("alice", "here"): "secret", ("alice", "example.com"): "other"})
        options = {"sasl_sasldb_path": str(path), "servername": "here"}
        checker = SasldbCheckerFactory().make_checker(CheckerContext(self.directory, options, at_once))
        parts = Authentication(Clock(), CheckerChain([checker]), at_once, CACHE, DelaySettings(pause=0))
        return parts.authenticator(self.identities, settings)

    async def test_all(self) -> None:
        mechanisms = ("SCRAM-SHA-256", "SCRAM-SHA-1", "DIGEST-MD5", "CRAM-MD5", "PLAIN")
        port = self.imap(AuthSettings(mechanisms=mechanisms, allow_plaintext=True))
        program = find_program("imtest")
        for mechanism in mechanisms:
            cases = [("alice", "secret", "Authenticated."), ("alice@example.com", "other", "Authenticated.")]
            if mechanism == "SCRAM-SHA-256":
                failed = "Authentication failed"
                cases += [("alice", "other", failed), ("nobody", "secret", failed)]
            for user, password, expected in cases:
                words: list[str | Path] = [program, "-p", str(port), "-m", mechanism, "-a", user, "-u", user]
                command = [*words, "-w", password, "localhost"]
                ask = partial(run, command, status=None, given=b". LOGOUT\r\n")
                said = await self.elsewhere(ask)
                self.assertIn(expected, said, (mechanism, user, password))


class DerivedKeysTests(TestCase):
    """Keys for SCRAM, made of passwords."""

    async def test_nobody_can_tell(self) -> None:
        """Those of users, of nobody and of others in another database differ in nothing but what they are."""
        passwords = SecretsChecker({"alice": "secret"})
        users = UserDatabase(Path(self.mktemp()))
        self.addCleanup(users.close)
        users.add("stored", "secret")
        keys = DerivedScramKeys(passwords, at_once, b"k" * 32, PasswdChecker(users, at_once))
        found = {
            (user, name): await keys.scram_keys(user, name)
            for user in ("alice", "stored", "nobody")
            for name in ("SCRAM-SHA-1", "SCRAM-SHA-256")
        }
        forms = {
            (name, len(each.salt), each.iterations, len(each.stored_key), len(each.server_key))
            for (_, name), each in found.items()
        }
        self.assertEqual(len(forms), 2)
        self.assertEqual(len({each.salt for each in found.values()}), 6)
        usable = {user for (user, _), each in found.items() if each.usable}
        self.assertEqual(usable, {"alice", "stored"})
        again = await keys.scram_keys("alice", "SCRAM-SHA-256")
        self.assertEqual(again, found["alice", "SCRAM-SHA-256"])
        # Another implementation makes the same keys of it.
        _, stored, server, _ = ScramMechanism("SCRAM-SHA-256").make_auth_info(
            "secret", again.iterations, salt=again.salt
        )
        self.assertEqual((stored, server), (again.stored_key, again.server_key))
