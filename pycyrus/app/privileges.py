"""Giving up root: who the server becomes, and the becoming."""

from __future__ import annotations

import grp
import json
import os
import pwd
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
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


def as_user(user: UnixUser | None, function: Callable[[], list[str]]) -> list[str]:
    """
    Find something out with a user's rights, in a child process.

    @param user: None for our own.
    @param function: Only looks: what it changes in memory is lost.
    """
    if user is None:
        return function()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            become(user)
            with open(writer, "w", encoding="utf-8") as file:
                json.dump(function(), file)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    found: list[str] = json.loads(text or "[]")
    return found


def raise_descriptor_limit(wanted: int) -> int:
    """
    Let this process and its children have many open files, as far as the system allows.

    @param wanted: How many.
    @return: How many it may have now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if hard != unlimited and hard < wanted and os.geteuid() == 0:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
            hard = wanted
    aim = wanted if hard == unlimited else min(wanted, hard)
    if soft != unlimited and soft < aim:
        resource.setrlimit(resource.RLIMIT_NOFILE, (aim, hard))
        soft = aim
    return soft


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
