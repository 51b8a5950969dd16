"""What tests of the shared directory stand on."""

from __future__ import annotations

import atexit
import functools
import itertools
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.interfaces import Location
from pycyrus.murder.shared.locations import SharedLocations
from pycyrus.murder.shared.postgresql import Access, Host
from pycyrus.store.locations import Locations
from pycyrus.testing.postgresql import USER, Postgresql


def new_directory() -> Path:
    """A short path through which others may pass."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    directory.chmod(0o755)
    return directory


def access_to(*ports: int, database: str = USER) -> Access:
    """Of the loopback."""
    return Access(tuple(Host("127.0.0.1", port) for port in ports), USER, "", database)


@functools.cache
def one_server() -> Postgresql:
    """One that runs until the tests end: each has a database of its own."""
    directory = new_directory()
    try:
        server = Postgresql(directory)
        server.start()
    except BaseException:
        shutil.rmtree(directory)
        raise

    def end() -> None:
        server.stop()
        shutil.rmtree(directory)

    atexit.register(end)
    return server


class SharedCase(TestCase):
    """One server for all tests, and a database for each."""

    _numbers: ClassVar[Any] = itertools.count()

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = one_server()
        self.database = f"d{next(self._numbers)}"
        with psycopg.connect(self._conninfo(USER), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.database}")

    def _conninfo(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.server.port} user={USER} dbname={database}"

    def sql(self, *statements: str) -> None:
        """Do something to the database."""
        with psycopg.connect(self._conninfo(self.database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def directory(self) -> Path:
        """A server's own."""
        directory = Path(tempfile.mkdtemp(prefix="s-"))
        self.addCleanup(shutil.rmtree, directory)
        return directory

    def master(self, directory: Path | None = None, access: Access | None = None, **settings: Any) -> SharedLocations:
        """One master's."""
        directory = directory or self.directory()
        locations = SharedLocations(
            Locations(directory, self.reactor),
            directory,
            access or access_to(self.server.port, database=self.database),
            self.reactor,
            **settings,
        )
        locations.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(locations.close()))
        return locations


def all_entries(locations: SharedLocations) -> list[Location]:
    """What it has."""
    return list(locations.page("", "", 1_000_000))
