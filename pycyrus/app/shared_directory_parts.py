"""The MUPDATE master's directory in PostgreSQL, built from the options (C{mboxlist_db: sql})."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pycyrus.config.problems import ConfigError, Problem
from pycyrus.config.settings import Settings
from pycyrus.store.locations import Locations

if TYPE_CHECKING:
    from pycyrus.murder.shared.locations import SharedLocations
    from pycyrus.murder.shared.postgresql import Access

ENGINE = "sql"
"""What C{mboxlist_db} says."""


def is_shared(settings: Settings) -> bool:
    """Whether a master of this server shares its directory with others."""
    return settings.text("mboxlist_db").lower() == ENGINE


def access(settings: Settings) -> Access:
    """
    Where the database is.

    @raise ConfigError: The options do not say, or the driver is missing.
    """
    engine = settings.text("sql_engine").lower()
    if engine != "pgsql":
        mend = "set sql_engine: pgsql"
        raise ConfigError([Problem(None, f"sql_engine: {engine!r} cannot keep the directory of a Murder", mend)])
    try:
        from pycyrus.murder.shared.postgresql import Access, Host
    except ImportError as error:
        mend = "pip install 'pycyrus[pgsql]'"
        raise ConfigError([Problem(None, "sql_engine: pgsql needs the package psycopg", mend)]) from error
    if not settings.text("sql_database"):
        raise ConfigError([Problem(None, "sql_database is missing", "name the database")])
    try:
        hosts = tuple(map(Host.parse, settings.text("sql_hostnames").replace(",", " ").split()))
    except ValueError as error:
        raise ConfigError([Problem(None, f"sql_hostnames: {error}", "name servers as HOST or HOST:PORT")]) from error
    return Access(
        hosts or (Host("localhost"),),
        settings.text("sql_user"),
        settings.text("sql_passwd"),
        settings.text("sql_database"),
        settings.switch("sql_usessl"),
        settings.text("tls_client_ca_file"),
    )


def make_shared_locations(settings: Settings, copy: Locations, reactor: Any) -> SharedLocations:
    """
    The directory that all masters share.

    @param copy: This server's.
    @raise ConfigError: As L{access}.
    """
    where = access(settings)
    from pycyrus.murder.shared.locations import SharedLocations

    is_strict = settings.word("mupdate_config") == "standard"
    return SharedLocations(copy, Path(settings.text("configdirectory")), where, reactor, strict=is_strict)
