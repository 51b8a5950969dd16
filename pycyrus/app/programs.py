"""
The programs that cyrus.conf may name, and what becomes of each.

Names of Cyrus never run what a Cyrus installation has under them: its programs
would take our files for theirs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

_WRAPPERS = frozenset({"cyrus"})
"""Debian starts Cyrus's programs through this one, with the name as its argument."""

_SHORT_NAMES = {
    "expire": "cyr_expire", "dbtool": "cyr_dbtool", "df": "cyr_df", "info": "cyr_info", "ls": "cyr_ls",
    "userseen": "cyr_userseen",
}  # fmt: skip

_PROXIES = {"proxyd": "imapd", "pop3proxyd": "pop3d", "lmtpproxyd": "lmtpd"}
"""Programs of older versions for frontends; today's servers do their work."""

SEARCH_PATH = "/usr/lib/cyrus/bin:/usr/local/libexec:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

NEEDLESS = {
    "ctl_cyrusdb": "databases recover when they are opened",
    "tls_prune": "TLS sessions resume by ticket, and leave nothing to prune",
    "idled": "the kernel tells of changes",
    "squatter": "the search index is kept as mail comes",
    "ptexpire": "there is no cache of groups on disk",
    "ptloader": "groups are looked up directly",
    "notifyd": "notices are sent by the server itself",
    "promstatsd": "the server collects its own statistics",
    "cyr_synclog": "changes are read from the journals",
}
"""Programs of Cyrus that have nothing to do here, and why."""

LATER = frozenset(
    {
        "backupd",
        "ctl_conversationsdb",
        "fud",
        "httpd",
        "mupdate",
        "nntpd",
        "pop3d",
        "sync_client",
        "sync_server",
    }
)
"""Programs of Cyrus that are not part of pycyrus today."""


VERBS = {
    "arbitron": "arbitron",
    "chk_cyrus": "chk_cyrus",
    "cyr_dbtool": "cyr_dbtool",
    "cyr_ls": "cyr_ls",
    "cyr_userseen": "cyr_userseen",
    "ctl_deliver": "deliveries",
    "ctl_mboxlist": "ctl_mboxlist",
    "cyr_buildinfo": "cyr_buildinfo",
    "cyr_df": "cyr_df",
    "cyr_expire": "expire",
    "cyr_info": "cyr_info",
    "cyr_deny": "deny",
    "deliver": "deliver",
    "ipurge": "ipurge",
    "mbexamine": "mbexamine",
    "mbpath": "mbpath",
    "mkimap": "mkimap",
    "quota": "quota",
    "reconstruct": "reconstruct",
    "unexpunge": "unexpunge",
}
"""Programs of Cyrus that are verbs of C{pycyrus} here."""

_CHECKPOINT = ("ctl_cyrusdb", "-c")
"""What has something to do of a program that otherwise has not."""


@dataclass(frozen=True, slots=True)
class Program:
    """
    A command of cyrus.conf.

    @ivar name: Of the program, without directory and wrapper.
    @ivar needless: Why it is left out; empty if it is not.
    @ivar known: It is a program of Cyrus.
    @ivar verb: The verb of C{pycyrus} that it is here; else empty.
    @ivar executable: What to run; None if nothing of that name was found.
    """

    name: str
    arguments: tuple[str, ...]
    known: bool
    needless: str
    executable: str | None
    verb: str = ""


def program_of(cmd: Sequence[str]) -> Program:
    """Take a command apart and look its program up."""
    words = list(cmd)
    name = PurePath(words[0]).name
    if name in _WRAPPERS and len(words) > 1:
        words = words[1:]
        name = PurePath(words[0]).name
        name = _SHORT_NAMES.get(name, name)
    if name in VERBS or (name, *words[1:2]) == _CHECKPOINT:
        verb = VERBS.get(name, name)
        # -P: what lies in the current directory, which may be anybody's, is no module of ours.
        command = ("-P", "-m", "pycyrus.admin.main", verb)
        return Program(name, (*command, *words[1:]), True, "", sys.executable, verb)
    if name in NEEDLESS or name in LATER:
        return Program(name, tuple(words[1:]), True, NEEDLESS.get(name, "it is not part of pycyrus yet"), None)
    return Program(name, tuple(words[1:]), False, "", _executable(words[0]))


def service_program(cmd: Sequence[str]) -> str:
    """The name by which a SERVICES entry's server is found."""
    name = program_of(cmd).name
    return _PROXIES.get(name, name)


def _executable(word: str) -> str | None:
    if "/" in word:
        return word if os.access(word, os.X_OK) and not os.path.isdir(word) else None  # noqa: PTH112 - a str it is
    return shutil.which(word, path=f"{os.environ.get('PATH', '')}:{SEARCH_PATH}")
