"""Tools of Cyrus that have nothing to do here, so that scripts and cron jobs that call them go on working."""

from __future__ import annotations

import argparse
from typing import Any

from pycyrus.app.programs import NEEDLESS

VERBS = ("cyr_synclog", "squatter", "tls_prune", "ptexpire")


def register(verbs: Any) -> None:
    """Add the verbs."""
    for name in VERBS:
        parser = verbs.add_parser(name, help=f"does nothing: {NEEDLESS[name]}", add_help=False, prefix_chars="\0")
        # Whatever options Cyrus's has: with this prefix, all of them are mere words.
        parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        parser.set_defaults(run=run, name=name)


def run(arguments: argparse.Namespace) -> int:
    """Do nothing, and say so only if asked to; returns the exit code."""
    if {"-v", "-h", "--help", "--verbose"}.intersection(arguments.words):
        print(f"{arguments.name} does nothing: {NEEDLESS[arguments.name]}")
    return 0
