"""
C{pycyrus check}: looks for everything that would keep a server from starting.

It changes nothing.  Ports are tried by binding them for a moment, and LDAP servers are asked
something: one that is away keeps no server from starting, so it is remarked upon.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.ldap_reach import unreached_directories
from pycyrus.app.prepare import find_problems, offered_services
from pycyrus.app.privileges import user_to_become
from pycyrus.app.sockets import probe
from pycyrus.config.load import Configuration, load
from pycyrus.config.problems import ConfigError, Problem


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser("check", help="look for what is wrong with a configuration")
    add_source_options(parser)
    parser.add_argument("--port-base", metavar="N", type=int, help="as for the server")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """
    Check, and print what was found.

    @return: 0 only if a server would start.
    """
    remarks: list[str] = []
    try:
        configuration = load(source_of(arguments, arguments.port_base, serves=True))
    except ConfigError as error:
        problems = list(error.problems)
    else:
        remarks, problems = _find(configuration)
    if arguments.json:
        json.dump({"problems": [_as_json(problem) for problem in problems], "remarks": remarks}, sys.stdout, indent=2)
        print()
    else:
        for remark in remarks:
            print(f"remark: {remark}")
        for problem in problems:
            print(problem)
        print(f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "nothing is wrong")
    return 1 if problems else 0


def _find(configuration: Configuration) -> tuple[list[str], list[Problem]]:
    """What may surprise, and all that would keep a server of this configuration from starting."""
    problems: list[Problem] = []
    user = None
    try:
        user = user_to_become(configuration)
    except ConfigError as error:
        problems += error.problems
    offered, found = find_problems(configuration, user)
    remarks = [*_remarks(configuration), *unreached_directories(configuration, user)]
    return remarks, [*problems, *found, *probe(offered.served)]


def _remarks(configuration: Configuration) -> list[str]:
    remarks = [str(notice) for notice in configuration.notices]
    for entry, program in offered_services(configuration).left_out:
        remarks.append(f"{entry.place}: service {entry.name} is left out: {program} is not part of pycyrus")
    return remarks


def _as_json(problem: Problem) -> dict[str, object]:
    place = problem.place
    return {
        "file": place.file if place is not None else None,
        "line": place.line or None if place is not None else None,
        "problem": problem.text,
        "mend": problem.mend,
    }
