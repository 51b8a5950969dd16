"""
C{pycyrus VERB}: the administrator's commands.

Each module beside this one that has a function C{register} has a verb:
C{register} adds its parser to those of the others, and sets C{run} on it, which
takes the parsed arguments and returns the exit code.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import NoReturn

from typing_extensions import override

from pycyrus import __version__, admin
from pycyrus.config.problems import ConfigError


class _Parser(argparse.ArgumentParser):
    """Tells of wrong usage by the exit code of sysexits(3), as Cyrus's tools do."""

    @override
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: error: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """The command line, with all verbs."""
    parser = _Parser(prog="pycyrus", description="Administers a pycyrus server.")
    parser.add_argument("--version", action="version", version=f"pycyrus {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for found in pkgutil.iter_modules(admin.__path__):
        if found.name != "main":
            module = importlib.import_module(f"{admin.__name__}.{found.name}")
            if hasattr(module, "register"):
                module.register(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a verb.

    @return: The exit code.
    """
    parsed = make_parser().parse_args(arguments)
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
