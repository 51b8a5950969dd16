"""The built-in user database."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from scramp import ScramMechanism
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth import users
from pycyrus.auth.users import NoSuchUser, UserDatabase, UserDatabaseError, UserExists
from pycyrus.testing.logs import captured


class UserDatabaseTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir(parents=True)
        self.path = directory / "users.db"
        # As strong as in use would make the tests slow, and show nothing more.
        self.patch(users, "SCRAM_ITERATIONS", 4096)
        self.database = UserDatabase(self.path)
        self.addCleanup(self.close)

    def close(self) -> None:
        self.database.close()

    def test_life_of_a_user(self) -> None:
        """Added, checked, changed, disabled, deleted."""
        database = self.database
        database.add("fred", "secret")
        self.assertTrue(database.check("fred", b"secret"))
        self.assertFalse(database.check("fred", b"Secret"))
        self.assertFalse(database.check("nobody", b"secret"))
        database.passwd("fred", "other")
        self.assertFalse(database.check("fred", b"secret"))
        self.assertTrue(database.check("fred", b"other"))
        database.disable("fred")
        self.assertFalse(database.check("fred", b"other"))
        self.assertFalse(database.scram_keys("fred", "SCRAM-SHA-256").usable)
        self.assertTrue(database.users()[0].disabled)
        database.disable("fred", False)
        self.assertTrue(database.check("fred", b"other"))
        database.delete("fred")
        self.assertEqual(database.users(), [])
        self.assertFalse(database.check("fred", b"other"))

    def test_errors(self) -> None:
        """Adding twice, and changing what is not there, are told and change nothing."""
        database = self.database
        database.add("fred", "secret")
        self.assertRaises(UserExists, database.add, "fred", "other")
        self.assertTrue(database.check("fred", b"secret"))
        for call in (database.delete, database.disable):
            self.assertRaises(NoSuchUser, call, "mary")
        self.assertRaises(NoSuchUser, database.passwd, "mary", "x")
        self.assertEqual([user.user_id for user in database.users()], ["fred"])

    def test_private(self) -> None:
        """The files are the owner's alone, and no password is in them."""
        self.database.add("fred", "swordfish")
        for path in self.path.parent.iterdir():
            self.assertEqual(path.stat().st_mode & 0o077, 0, path)
            self.assertNotIn(b"swordfish", path.read_bytes())

    def test_hostile_names(self) -> None:
        """A name is a value, never part of a statement."""
        for name in ("'; DROP TABLE users; --", "%s", 'a" OR 1=1'):
            self.assertFalse(self.database.check(name, b"x"))
            self.assertFalse(self.database.scram_keys(name, "SCRAM-SHA-1").usable)
        self.assertEqual(self.database.users(), [])

    def test_version_tells_changes(self) -> None:
        """A change here or by another process is seen; reading is none."""
        other = UserDatabase(self.path)
        self.addCleanup(other.close)
        before = self.database.version()
        self.database.users()
        self.assertEqual(self.database.version(), before)
        other.add("fred", "secret")
        after = self.database.version()
        self.assertNotEqual(after, before)
        self.database.disable("fred")
        self.assertNotEqual(self.database.version(), after)

    def test_unknown_user_looks_like_a_known_one(self) -> None:
        """Salt and iterations are alike in form, and stay the same between processes."""
        self.database.add("fred", "secret")
        real = self.database.scram_keys("fred", "SCRAM-SHA-256")
        first = self.database.scram_keys("nobody", "SCRAM-SHA-256")
        other = UserDatabase(self.path)
        self.addCleanup(other.close)
        second = other.scram_keys("nobody", "SCRAM-SHA-256")
        self.assertEqual((first.salt, first.iterations), (second.salt, second.iterations))
        self.assertEqual((len(first.salt), first.iterations), (len(real.salt), real.iterations))
        self.assertNotEqual(first.salt, other.scram_keys("nobody", "SCRAM-SHA-1").salt)
        self.assertNotEqual(first.salt, other.scram_keys("nobody2", "SCRAM-SHA-256").salt)

    def test_scram_keys_are_those_of_the_rfc(self) -> None:
        """Made of the password as another implementation makes them."""
        self.database.add("fred", "secret")
        keys = self.database.scram_keys("fred", "SCRAM-SHA-1")
        _, stored, server, _ = ScramMechanism("SCRAM-SHA-1").make_auth_info("secret", keys.iterations, keys.salt)
        self.assertEqual((keys.stored_key, keys.server_key), (stored, server))

    def test_prepared_passwords(self) -> None:
        """What SASLprep takes for the same password is the same (RFC 4013 section 3)."""
        self.database.add("fred", "I\u00adX\u2168")
        self.assertTrue(self.database.check("fred", b"IXIX"))
        self.database.add("mary", "bell\x07")
        self.assertTrue(self.database.check("mary", b"bell\x07"))
        self.assertFalse(self.database.check("mary", b"\xff\xfe"))

    def test_unusable_files(self) -> None:
        """The message names the file."""
        absent = self.path.with_name("absent") / "u.db"
        self.assertIn(str(absent), str(self.assertRaises(UserDatabaseError, UserDatabase, absent)))
        later = self.path.with_name("later.db")
        connection = sqlite3.connect(later)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        self.assertIn("newer version", str(self.assertRaises(UserDatabaseError, UserDatabase, later)))

    def test_damaged(self) -> None:
        """Accounts that can be read are kept, and the server starts."""
        self.database.add("user0", "secret")
        connection = self.database._connection
        for number in range(1, 60):
            connection.execute(
                "INSERT INTO users SELECT ?, password, disabled, changed FROM users WHERE user = 'user0'",
                (f"user{number}",),
            )
            connection.execute(
                "INSERT INTO scram SELECT ?, mechanism, salt, iterations, stored_key, server_key FROM scram"
                " WHERE user = 'user0'",
                (f"user{number}",),
            )
        real = self.database.scram_keys("user0", "SCRAM-SHA-256")
        unknown = self.database.scram_keys("nobody", "SCRAM-SHA-256").salt
        self.database.close()
        whole = self.path.read_bytes()
        self.assertGreater(len(whole), 5 * 4096)
        for page in range(0, len(whole), 4096):
            damaged = bytearray(whole)
            damaged[page + 1000 : page + 1100] = bytes(100)
            for data in (damaged, whole[:page]):
                self.path.write_bytes(data)
                with captured() as events:
                    database = UserDatabase(self.path)
                found = {user.user_id for user in database.users()}
                self.assertLessEqual(found, {f"user{number}" for number in range(60)})
                if data is damaged:
                    self.assertGreater(len(found), 10, page)
                if len(found) < 60:
                    self.assertIn("could be read" if data else "is missing or empty", "\n".join(events.texts()))
                if "user0" in found and database.scram_keys("user0", "SCRAM-SHA-256").usable:
                    self.assertEqual(database.scram_keys("user0", "SCRAM-SHA-256"), real)
                for user in sorted(found)[:1]:
                    database.disable(user)
                    self.assertTrue(database.is_disabled(user))
                database.close()
        self.path.write_bytes(b"rubbish" * 1000)
        with captured():
            self.database = database = UserDatabase(self.path)
        self.assertEqual(database.users(), [])
        database.add("new", "secret")
        self.assertTrue(database.check("new", b"secret"))
        self.assertNotEqual(database.scram_keys("nobody", "SCRAM-SHA-256").salt, unknown)
        self.assertTrue(list((self.path.parent / "quarantine").iterdir()))

    def test_broken_hash(self) -> None:
        """A hash that is none is like a wrong password."""
        self.assertFalse(users.verify("not a hash", b"x"))
