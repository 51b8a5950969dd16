"""
A connection to whichever of several PostgreSQL servers takes changes now.

All here blocks, but for L{Postgresql.cut}, which ends what blocks.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable

T = TypeVar("T")
Connection = psycopg.Connection[tuple[object, ...]]

PORT = 5432
CONNECT_WITHIN = 3
"""Seconds for each server; the driver knows whole seconds, two at least."""
_UNANSWERED_WITHIN = 5_000
"""Milliseconds after which a server that does not even acknowledge is given up."""
_SETTINGS = {
    "idle_in_transaction_session_timeout": "10s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
"""
What a server is asked for, so that it lets go of what a client holds that was cut off in the middle of a
change: all others wait for that.  Not every engine that speaks its protocol knows them.
"""


@dataclass(frozen=True, slots=True)
class Host:
    """
    Where a server may be.

    @ivar name: A host's, or the directory of a Unix socket.
    """

    name: str
    port: int = PORT

    @classmethod
    def parse(cls, text: str) -> Host:
        """
        Read C{HOST}, C{HOST:PORT}, C{[V6]:PORT} or C{/DIRECTORY}.

        @raise ValueError: It is none of them.
        """
        if text.startswith("/"):
            return cls(text)
        name, mark, digits = text.rpartition(":")
        if not mark or "]" in digits:
            name, digits = text, str(PORT)
        if not name or not digits.isdigit() or not 0 < int(digits) < 65536:
            raise ValueError(f"{text!r} is not HOST or HOST:PORT")
        return cls(name.strip("[]"), int(digits))


@dataclass(frozen=True, slots=True)
class Access:
    """
    Where the database may be, and who we are there.

    @ivar hosts: In the order in which they are tried.
    @ivar wants_tls: Not without TLS.
    @ivar authorities: A file of certificates, one of which has signed the servers'; empty for any server.
    """

    hosts: tuple[Host, ...]
    user: str
    password: str = field(repr=False)
    database: str
    wants_tls: bool = False
    authorities: str = ""


class Postgresql:
    """
    One connection, made when it is needed, and again where another server takes changes now.

    @param prepare: Run on each new connection before anything else.
    """

    log = Logger()

    def __init__(self, access: Access, prepare: Callable[[Connection], None] = lambda connection: None) -> None:
        self._access = access
        self._prepare = prepare
        self._first = 0
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    def run(self, work: Callable[[Connection], T]) -> T:
        """
        Do something with it.

        @param work: One transaction.  It may be begun twice where the connection had died before, but
            never after its end was sent.
        @raise StoreUnavailable: No server takes changes now, or it went while we worked: nobody knows whether what
            was done last is there.
        """
        kept = self._connection
        if kept is not None:
            try:
                self._probe(kept)
            except psycopg.Error as error:
                self.log.debug("an idle connection is of no use any more: {error}", error=str(error))
                self._drop()
        connection = self._connection or self._connect()
        try:
            return work(connection)
        except psycopg.Error as error:
            self._drop()
            raise StoreUnavailable(f"PostgreSQL: {_told(error)}") from error
        except BaseException:
            if connection.closed or connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._drop()
            raise

    def _probe(self, connection: Connection) -> None:
        """A server that became a standby, or died, shows it here, where nothing is done yet."""
        row = connection.execute("SHOW transaction_read_only").fetchone()
        if row is None or row[0] != "off":
            raise psycopg.OperationalError("it takes no changes")

    def _connect(self) -> Connection:
        hosts, reasons = self._access.hosts, []
        for offset in range(len(hosts)):
            at = (self._first + offset) % len(hosts)
            if self._is_closed:
                raise StoreUnavailable("PostgreSQL: shutting down")
            try:
                connection = self._connect_to(hosts[at])
            except psycopg.Error as error:
                reasons.append(f"{hosts[at].name}:{hosts[at].port}: {_told(error)}")
                continue
            self._first = at
            return connection
        raise StoreUnavailable(f"PostgreSQL: no server takes changes: {'; '.join(reasons)}")

    def _connect_to(self, host: Host) -> Connection:
        access = self._access
        tls = "verify-full" if access.authorities else "require" if access.wants_tls else "prefer"
        connection: Connection = psycopg.connect(
            host=host.name, port=host.port, dbname=access.database, user=access.user or None,
            password=access.password or None, sslmode=tls, sslrootcert=access.authorities or None,
            connect_timeout=CONNECT_WITHIN, target_session_attrs="read-write", autocommit=True,
            tcp_user_timeout=_UNANSWERED_WITHIN, keepalives_idle=10, keepalives_interval=5, keepalives_count=3,
            application_name="pycyrus", client_encoding="UTF8",
        )  # fmt: skip
        try:
            with self._lock:
                self._connection = connection
            for name, value in _SETTINGS.items():
                with contextlib.suppress(psycopg.Error):
                    connection.execute(f"SET {name} = '{value}'")
            self._prepare(connection)
        except BaseException:
            self._drop()
            raise
        return connection

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def cut(self) -> None:
        """
        End what blocks: from another thread.

        The driver would wait for ever for one that hangs; of a socket that is shut down it hears at once.
        """
        with self._lock, contextlib.suppress(OSError, psycopg.Error):
            if self._connection is not None and not self._connection.closed:
                with socket.socket(fileno=os.dup(self._connection.fileno())) as same:
                    same.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Make no connection any more, and end what blocks: from another thread."""
        self._is_closed = True
        self.cut()


def _told(error: psycopg.Error) -> str:
    """What went wrong, in one line."""
    return " ".join(str(error).split()) or type(error).__name__
