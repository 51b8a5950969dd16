"""
C{twistd pycyrus}: the command line, and the service that twistd runs.

Whatever is wrong is found here, before twistd writes a pid file or leaves the
terminal: it is printed, and the exit code says so.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.python import usage
from typing_extensions import override

from pycyrus.config.load import DEFAULT_HOME, DEFAULT_PORT_BASE, Source, load
from pycyrus.config.problems import ConfigError


class Options(usage.Options):
    """What may stand behind C{twistd pycyrus}."""

    longdesc = (
        "Serves mail by IMAP and LMTP.  With -C and -M it reads the files of a Cyrus server; without, it serves from "
        "a directory of its own on high ports of 127.0.0.1, and prints how to log in."
    )
    optParameters = [
        ["imapd-conf", "C", None, "imapd.conf to read; the one beside cyrus.conf if only that is given."],
        ["cyrus-conf", "M", None, "cyrus.conf to read; the one beside imapd.conf if only that is given."],
        ["home", None, None, f"Directory of a server without configuration. [default: {DEFAULT_HOME}]"],
        ["workers", None, None, "Processes that serve clients: a number, 0 for none beside this, or auto."],
        [
            "port-base",
            None,
            None,
            f"IMAP is at this plus 143, IMAPS plus 993, LMTP plus 24; 0 for free ports. [default: {DEFAULT_PORT_BASE}]",
        ],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Twisted's
        self["option"] = []

    def opt_option(self, value: str) -> None:
        """Set an option of imapd.conf, as name=value; may be repeated."""
        self["option"].append(value)

    @override
    def postOptions(self) -> None:
        base = self["port-base"]
        if base is not None and not (base.isascii() and base.isdigit()):
            raise usage.UsageError(f"--port-base {base}: it takes a number")

    @property
    def source(self) -> Source:
        """What this says about the configuration."""
        overrides = list(self["option"])
        if self["workers"] is not None:
            overrides.append(f"workers={self['workers']}")
        return Source(
            imapd_conf=_path(self["imapd-conf"]),
            cyrus_conf=_path(self["cyrus-conf"]),
            home=_path(self["home"]),
            port_base=None if self["port-base"] is None else int(self["port-base"]),
            overrides=tuple(overrides),
        )


def _path(text: str | None) -> Path | None:
    # Absolute, as twistd changes to another directory when it becomes a daemon.
    return None if text is None else Path(text).expanduser().absolute()


def makeService(options: Options) -> IService:
    """
    Make the master, with all sockets bound.

    @raise SystemExit: The configuration cannot be used; all that is wrong was
        printed.
    """
    from twisted.internet import reactor as installed

    from pycyrus.app.master import Master, prepare

    reactor: Any = installed
    try:
        master: IService = Master(prepare(load(options.source)), reactor, options.parent)
    except ConfigError as error:
        for problem in error.problems:
            print(f"pycyrus: {problem}", file=sys.stderr)  # noqa: T201 - the log has not begun
        sys.exit(1)
    return master
