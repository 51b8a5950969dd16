"""
The built-in user database: one SQLite file.

Passwords are kept as argon2id hashes, and as the keys that SCRAM wants; neither
gives the password back.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from scramp import ScramException, ScramMechanism
from scramp.utils import saslprep

from pycyrus.auth.interfaces import ScramKeys
from pycyrus.errors import StoreUnavailable
from pycyrus.sqlite.damage import QUARANTINE, KeptDatabase, hold
from pycyrus.sqlite.opening import CHECKSUM_OF, connect_until, make

SCHEMA_VERSION = 2

SCRAM_ITERATIONS = 50000
"""
Of new keys.  RFC 7677 section 4 asks for 4096 at least; more protects the keys of a
stolen database better, and costs the client some 20 ms.
"""

SCRAM_MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}

# RFC 9106 section 4 with less memory, as many hashes run in one server: 19 MiB, two passes.
_hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

SCHEMA = f"""
CREATE TABLE users (
    user TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL,
    {CHECKSUM_OF % "user, password, disabled, changed"}
) STRICT, WITHOUT ROWID;
CREATE TABLE scram (
    user TEXT NOT NULL REFERENCES users (user) ON DELETE CASCADE,
    mechanism TEXT NOT NULL,
    salt BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    {CHECKSUM_OF % "user, mechanism, salt, iterations, stored_key, server_key"},
    PRIMARY KEY (user, mechanism)
) STRICT, WITHOUT ROWID;
CREATE TABLE secret (
    number INTEGER PRIMARY KEY,
    value BLOB NOT NULL,
    {CHECKSUM_OF % "number, value"}
) STRICT
"""
_ANSWERS_LATE = 10.0
"""Seconds that one waits for another process that writes."""


class UserDatabaseError(Exception):
    """The database cannot be used; the text names the file and the mend."""


class UserExists(UserDatabaseError):
    """There is such a user."""


class NoSuchUser(UserDatabaseError):
    """There is no such user."""


@dataclass(frozen=True, slots=True)
class User:
    """
    A row of the database.

    @ivar changed: When the password was set, in seconds since the epoch.
    """

    user_id: str
    disabled: bool
    changed: int


@dataclass(frozen=True, slots=True)
class _Password:
    """A hash, and whether its owner may log in."""

    encoded: str
    disabled: bool


def prepare(password: bytes) -> bytes:
    """
    Bring a password into the form in which it is compared (RFC 4616 section 2, RFC 4013).

    What SASLprep does not allow is compared as it is.
    """
    try:
        return str(saslprep(password.decode("utf-8"))).encode("utf-8")
    except (UnicodeDecodeError, ScramException):
        return password


def verify(encoded: str, password: bytes) -> bool:
    """Compare a password with an argon2 hash; takes some 20 ms."""
    try:
        return _hasher.verify(encoded, prepare(password))
    except (VerificationError, InvalidHashError):
        return False


@cache
def dummy_hash() -> str:
    """A hash that no password has, to spend on unknown users the time that known ones cost."""
    return _hasher.hash(secrets.token_bytes(32))


class UserDatabase:
    """
    The users, read and written by one thread of each process.

    User ids are canonical: whoever writes them has made them so.
    """

    def __init__(self, path: Path) -> None:
        """
        Open the database, or make an empty one (mode 0600).

        @raise UserDatabaseError: It cannot be opened.
        """
        self.path = path
        self._changes = 0
        try:
            with _owned_as_directory(path):
                self._lock = hold(path, _kept(path.name))
            try:
                self._connection = self._open()
            except BaseException:
                os.close(self._lock)
                raise
        except (OSError, sqlite3.Error, StoreUnavailable) as error:
            raise UserDatabaseError(
                f"cannot open the user database {path}: {error}; the server's user must own it and its directory"
            ) from error

    def _open(self) -> sqlite3.Connection:
        with closing(make(self.path, SCHEMA, SCHEMA_VERSION)) as made:
            made.execute("INSERT OR IGNORE INTO secret (number, value) VALUES (1, ?)", (secrets.token_bytes(32),))
        connection = connect_until(self.path, _ANSWERS_LATE, sqlite3.Connection)
        self._secret = bytes(connection.execute("SELECT value FROM secret").fetchone()[0])
        return connection

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        os.close(self._lock)

    def version(self) -> tuple[int, int]:
        """A value that changes whenever a user does, in this process or another; costs a microsecond."""
        return self._changes, self._connection.execute("PRAGMA data_version").fetchone()[0]

    # --- writing ------------------------------------------------------------

    def add(self, user_id: str, password: str) -> None:
        """
        Add a user.  Takes some 100 ms.

        @raise UserExists: Nothing was changed.
        """
        self._write(user_id, password, "INSERT INTO users (password, changed, user) VALUES (?, ?, ?)")

    def passwd(self, user_id: str, password: str) -> None:
        """
        Set a password.  Takes some 100 ms.

        @raise NoSuchUser: Nothing was changed.
        """
        self._write(user_id, password, "UPDATE users SET password = ?, changed = ? WHERE user = ?")

    def delete(self, user_id: str) -> None:
        """
        Remove a user; mailboxes stay.

        @raise NoSuchUser: Nothing was changed.
        """
        self._change("DELETE FROM users WHERE user = ?", (user_id,), user_id)

    def disable(self, user_id: str, disabled: bool = True) -> None:
        """
        Keep a user from logging in, or no longer.

        @raise NoSuchUser: Nothing was changed.
        """
        self._change("UPDATE users SET disabled = ? WHERE user = ?", (int(disabled), user_id), user_id)

    def _write(self, user_id: str, password: str, statement: str) -> None:
        prepared = prepare(password.encode("utf-8"))
        encoded = _hasher.hash(prepared)
        keys = [(user_id, name, *_scram_keys(name, prepared)) for name in SCRAM_MECHANISMS]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                done = self._connection.execute(statement, (encoded, int(time.time()), user_id)).rowcount
                if not done:
                    raise NoSuchUser(f"there is no user {user_id}")
                self._connection.execute("DELETE FROM scram WHERE user = ?", (user_id,))
                self._connection.executemany("INSERT INTO scram VALUES (?, ?, ?, ?, ?, ?)", keys)
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise UserExists(f"there is a user {user_id} already") from error
        except sqlite3.Error as error:
            raise UserDatabaseError(f"cannot write the user database {self.path}: {error}") from error
        self._changes += 1

    def _change(self, statement: str, values: tuple[object, ...], user_id: str) -> None:
        try:
            done = self._connection.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise UserDatabaseError(f"cannot write the user database {self.path}: {error}") from error
        if not done:
            raise NoSuchUser(f"there is no user {user_id}")
        self._changes += 1

    # --- reading ------------------------------------------------------------

    def users(self) -> list[User]:
        """All users, in order of their ids."""
        rows = self._read("SELECT user, disabled, changed FROM users ORDER BY user", ())
        return [User(str(user), bool(disabled), int(str(changed))) for user, disabled, changed in rows]

    def password_hash(self, user_id: str) -> _Password | None:
        """The hash of a user's password; None for an unknown user."""
        rows = self._read("SELECT password, disabled FROM users WHERE user = ?", (user_id,))
        return _Password(str(rows[0][0]), bool(rows[0][1])) if rows else None

    def is_disabled(self, user_id: str) -> bool:
        """Whether a user may not log in; False for an unknown one."""
        found = self.password_hash(user_id)
        return found is not None and found.disabled

    def check(self, user_id: str, password: bytes) -> bool:
        """Whether a user may log in with this password; takes the same time for every reason."""
        found = self.password_hash(user_id)
        verified = verify(dummy_hash() if found is None else found.encoded, password)
        return verified and found is not None and not found.disabled

    def scram_keys(self, user_id: str, mechanism: str) -> ScramKeys:
        """The keys of a user; for an unknown one, some that cannot be told from real ones."""
        rows = self._read(
            "SELECT salt, iterations, stored_key, server_key, disabled FROM scram JOIN users USING (user)"
            " WHERE user = ? AND mechanism = ?",
            (user_id, mechanism),
        )
        if rows:
            salt, iterations, stored_key, server_key, disabled = rows[0]
            assert isinstance(salt, bytes)
            assert isinstance(stored_key, bytes)
            assert isinstance(server_key, bytes)
            assert isinstance(iterations, int)
            return ScramKeys(salt, iterations, stored_key, server_key, not disabled)
        salt = hmac.digest(self._secret, f"{mechanism} {user_id}".encode(), "sha256")
        size = hashlib.new(SCRAM_MECHANISMS[mechanism]).digest_size
        return ScramKeys(salt, SCRAM_ITERATIONS, secrets.token_bytes(size), secrets.token_bytes(size), usable=False)

    def _read(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise UserDatabaseError(f"cannot read the user database {self.path}: {error}") from error


def _scram_keys(mechanism: str, password: bytes) -> tuple[bytes, int, bytes, bytes]:
    """
    Derive salt, iterations, stored key and server key (RFC 5802 section 3).

    A password that SCRAM's clients cannot send, for SASLprep does not allow it, gets
    keys that nothing matches.
    """
    try:
        text = password.decode("utf-8")
        salt, stored, server, count = ScramMechanism(mechanism).make_auth_info(text, SCRAM_ITERATIONS)
    except (UnicodeDecodeError, ScramException):
        unknown = secrets.token_urlsafe(32)
        salt, stored, server, count = ScramMechanism(mechanism).make_auth_info(unknown, SCRAM_ITERATIONS)
    return salt, count, stored, server


def _kept(name: str) -> KeptDatabase:
    return KeptDatabase(name, SCHEMA, SCHEMA_VERSION, "accounts and their passwords: compare pycyrus user list")


@contextmanager
def _owned_as_directory(path: Path) -> Iterator[None]:
    """
    Have the files that are made be those of the directory's owner.

    An administrator's command run as root must not lock the server out.
    """
    before = _files(path)
    # SQLite would make it with another mode.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
    yield
    if os.geteuid() == 0:
        owner = path.parent.stat()
        for made, _ in _files(path) - before:
            os.chown(made, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _files(path: Path) -> set[tuple[Path, int]]:
    """A database's files, and what was set aside, with their inodes."""
    patterns = (f"{path.name}*", QUARANTINE, f"{QUARANTINE}/{path.name}*")
    return {(found, found.lstat().st_ino) for pattern in patterns for found in path.parent.glob(pattern)}
