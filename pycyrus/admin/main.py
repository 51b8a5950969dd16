"""
C{pycyrus VERB}: the administrator's commands.

L{MODULES} says which module beside this one has which verb; only that one is
imported.  Its function C{register} adds the verb's parser, and sets C{run} on
it, which takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from pycyrus import __version__, admin
from pycyrus.config.problems import ConfigError

MODULES = {
    "acl": "mailbox",
    "arbitron": "seen",
    "check": "check",
    "chk_cyrus": "chk",
    "ctl_cyrusdb": "cyrusdb",
    "ctl_mboxlist": "mboxlist",
    "cyr_buildinfo": "buildinfo",
    "cyr_dbtool": "dbtool",
    "cyr_df": "df",
    "cyr_info": "info",
    "cyr_ls": "ls",
    "cyr_synclog": "nothing",
    "cyr_userseen": "seen",
    "deliver": "deliver",
    "deliveries": "deliveries",
    "deny": "deny",
    "expire": "expire",
    "explain": "explain",
    "ipurge": "ipurge",
    "mailbox": "mailbox",
    "master": "master",
    "mbexamine": "mbexamine",
    "mbpath": "mbpath",
    "mkimap": "mkimap",
    "murder": "murder",
    "ptexpire": "nothing",
    "quota": "quota",
    "reconstruct": "reconstruct",
    "squatter": "nothing",
    "tls_prune": "nothing",
    "undo": "undo",
    "unexpunge": "unexpunge",
    "user": "user",
    "verify": "verify",
    "xfer": "xfer",
}
"""The verbs, and the modules beside this one that have them."""


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage by the exit code of sysexits(3), as Cyrus's tools do."""

    @override
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {message}\n")


def make_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """
    The command line.

    @param verb: Of the verbs only this one; all of them if there is no such.
    """
    parser = _Parser(prog="pycyrus", description="Administers a pycyrus server.")
    parser.add_argument("--version", action="version", version=f"pycyrus {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    modules = [MODULES[verb]] if verb in MODULES else sorted(set(MODULES.values()))
    for name in modules:
        importlib.import_module(f"{admin.__name__}.{name}").register(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a verb.

    @return: The exit code.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    parsed = make_parser(words[0] if words else None).parse_args(words)
    try:
        code: int = parsed.run(parsed)
    except ConfigError as error:
        for problem in error.problems:
            print(f"pycyrus: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
