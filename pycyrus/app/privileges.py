"""Giving up root: who the server becomes, and the becoming."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from pycyrus.config.load import Configuration
from pycyrus.config.problems import ConfigError, Problem

DEFAULT_USER = "cyrus"


@dataclass(frozen=True, slots=True)
class UnixUser:
    """
    Whom to become.

    @ivar home: Goes into HOME.
    """

    name: str
    uid: int
    gid: int
    home: str


def user_to_become(configuration: Configuration, environment: Mapping[str, str] = os.environ) -> UnixUser | None:
    """
    Say who a server with this configuration runs as.

    Without a configuration, and where root did not start it, it stays who it is.

    @return: None for nobody else.
    @raise ConfigError: There is no such user or group.
    """
    if os.geteuid() != 0 or configuration.home is not None:
        return None
    settings = configuration.settings
    name = settings.text("cyrus_user") or environment.get("CYRUS_USER", "") or DEFAULT_USER
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        mend = f"create it (adduser --system --group {name}), or set cyrus_user to another"
        raise ConfigError([Problem(configuration.place("cyrus_user"), f"there is no user {name}", mend)]) from None
    gid = entry.pw_gid
    group = settings.text("cyrus_group")
    if group:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError:
            mend = f"create it (addgroup --system {group}), or set cyrus_group to another"
            place = configuration.place("cyrus_group")
            raise ConfigError([Problem(place, f"there is no group {group}", mend)]) from None
    if entry.pw_uid == 0 and gid == 0:
        return None
    return UnixUser(name, entry.pw_uid, gid, entry.pw_dir)


def become(user: UnixUser) -> None:
    """
    Become a user, with all of their groups, for good.

    @raise OSError: The system does not let us.
    """
    os.initgroups(user.name, user.gid)
    os.setgid(user.gid)
    os.setuid(user.uid)
    os.environ["HOME"] = user.home
    os.environ["USER"] = os.environ["LOGNAME"] = user.name
