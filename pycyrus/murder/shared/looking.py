"""How the servers of the shared directory are, for administrators.  All here blocks."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg

from pycyrus.murder.shared.postgresql import Access, Host

_WITHIN = 5
"""Seconds for a connection, and for an answer."""
_STATE = "SELECT pg_is_in_recovery(), (SELECT max(number) FROM pycyrus_head)"


@dataclass(frozen=True, slots=True)
class HostState:
    """
    A server of the database.

    @ivar takes_changes: It is the primary.
    @ivar last_change: The number of the last change that it knows; None if it cannot be asked.
    @ivar problem: Why it cannot be asked; else empty.
    """

    host: str
    takes_changes: bool = False
    last_change: int | None = None
    problem: str = ""


def look(access: Access) -> list[HostState]:
    """Ask each server."""
    return [_look_at(access, host) for host in access.hosts]


def _look_at(access: Access, host: Host) -> HostState:
    name = f"{host.name}:{host.port}"
    tls = "verify-full" if access.authorities else "require" if access.wants_tls else "prefer"
    try:
        with psycopg.connect(
            host=host.name, port=host.port, dbname=access.database, user=access.user or None,
            password=access.password or None, sslmode=tls, sslrootcert=access.authorities or None,
            connect_timeout=_WITHIN, autocommit=True, application_name="pycyrus status", client_encoding="UTF8",
            options=f"-c statement_timeout={_WITHIN}s", tcp_user_timeout=_WITHIN * 1000,
        ) as connection:  # fmt: skip
            row = connection.execute(_STATE).fetchone()
    except psycopg.Error as error:
        return HostState(name, problem=" ".join(str(error).split())[:300])
    assert row is not None
    return HostState(name, takes_changes=not row[0], last_change=row[1])
