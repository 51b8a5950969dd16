"""Whether LDAP servers answer: C{pycyrus check} tells, and no server waits for it."""

from __future__ import annotations

from dataclasses import replace

import ldap3

from pycyrus.app.checker_parts import directories_used
from pycyrus.app.privileges import UnixUser, as_user
from pycyrus.auth.checkers.ldap import FILE, FILES
from pycyrus.auth.interfaces import BadCheckerOptions
from pycyrus.auth.ldap.connections import Connections
from pycyrus.auth.ldap.errors import DirectoryDown
from pycyrus.auth.ldap.settings import LdapSettings
from pycyrus.auth.outside import Refused, Unusable
from pycyrus.config.load import Configuration


def unreached_directories(configuration: Configuration, user: UnixUser | None) -> list[str]:
    """
    Ask each server of each directory something, as a search for a user would.

    @param user: Whom the server becomes, who must be able to read keys and certificates.
    @return: What kept any from answering, with the option that names it.
    """
    try:
        directories = directories_used(configuration.settings)
    except BadCheckerOptions:
        # That is a problem, which is told elsewhere.
        return []
    if not directories:
        return []
    return as_user(user, lambda: _failures(configuration, directories))


def _failures(configuration: Configuration, directories: dict[str, LdapSettings]) -> list[str]:
    found = []
    for domain, settings in directories.items():
        option = FILES if domain else FILE if configuration.place(FILE) else "ldap_uri"
        place = configuration.place(option)
        where = f"{place}: {option}" if place is not None else option
        for uri in settings.uris:
            reason = _reason(replace(settings, uris=(uri,)), f"{where}: LDAP of {domain}" if domain else where)
            if reason:
                found.append(f"{reason}; logins fail while no server answers")
    return found


def _reason(settings: LdapSettings, where: str) -> str:
    """What keeps a server from answering; empty if it does."""
    connections = Connections(settings, where)
    try:
        connections.search(_ask)
    except (DirectoryDown, Refused, Unusable) as error:
        return str(error)
    finally:
        connections.close()
    return ""


def _ask(connection: ldap3.Connection) -> None:
    """Every server has an entry of its own; that we may not see it is an answer, too."""
    connection.search("", "(objectClass=*)", ldap3.BASE, attributes=["1.1"])
