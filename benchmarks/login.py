"""
Logins per second: with the password's hash, from the cache, and by SCRAM.

    python benchmarks/login.py
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from scramp import ScramClient
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from pycyrus.auth import users
from pycyrus.auth.assemble import Authentication
from pycyrus.auth.authenticator import Authenticator, AuthSettings
from pycyrus.auth.cache import CacheSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.checkers.passwd import PasswdChecker
from pycyrus.auth.identity import IdentitySettings
from pycyrus.auth.users import UserDatabase
from pycyrus.interfaces import Channel
from pycyrus.tasks import Tasks

CHANNEL = Channel("imap", "127.0.0.1", tls=True)
USERS = 200


async def at_once(function: Callable[[], Any]) -> Any:
    """Hashes on this thread: their cost is the same, and one core is measured."""
    return function()


def make(database: UserDatabase, cache: CacheSettings) -> Authenticator:
    checkers = CheckerChain([PasswdChecker(database, at_once)])
    return Authentication(Clock(), checkers, at_once, cache).authenticator(
        IdentitySettings(virtdomains="userid"), AuthSettings()
    )


def measure(label: str, count: int, login: Callable[[int], Coroutine[Deferred[Any], Any, None]]) -> None:
    def failed(failure: Any) -> None:
        failure.raiseException()

    tasks = Tasks()
    start = time.process_time()
    for number in range(count):
        tasks.spawn(login(number), failed)
    spent = time.process_time() - start
    assert not len(tasks), "some did not end at once"
    print(f"{label:28} {count / spent:9.0f}/s  {spent / count * 1e6:9.1f} us CPU each")


def main() -> None:
    # Keys with fewer iterations: what making the users costs is not the question.
    users.SCRAM_ITERATIONS = 4096
    with tempfile.TemporaryDirectory() as directory:
        database = UserDatabase(Path(directory) / "users.db")
        for number in range(USERS):
            database.add(f"user{number}@example.com", "secret")
        hashed = make(database, CacheSettings(accepted=0, refused=0))
        cached = make(database, CacheSettings())

        async def by_password(authenticator: Authenticator, number: int) -> None:
            await authenticator.login(b"user%d@example.com" % (number % USERS), b"secret", CHANNEL)

        async def by_plain(number: int) -> None:
            exchange = cached.start("PLAIN", CHANNEL)
            await exchange.step(b"\0user%d@example.com\0secret" % (number % USERS))

        measure("argon2id hash", 100, lambda number: by_password(hashed, number))
        measure("first login of each user", USERS, lambda number: by_password(cached, number))
        measure("LOGIN, cached", 20000, lambda number: by_password(cached, number))
        measure("AUTHENTICATE PLAIN, cached", 20000, by_plain)

        # Only the server's part counts, so the client's answers are made before.
        client = ScramClient(["SCRAM-SHA-256"], "user1@example.com", "secret")
        first = client.get_client_first().encode()

        async def by_scram(number: int) -> None:
            exchange = cached.start("SCRAM-SHA-256", CHANNEL)
            await exchange.step(first)

        measure("SCRAM-SHA-256, first step", 5000, by_scram)
        database.close()


if __name__ == "__main__":
    main()
