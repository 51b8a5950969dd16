"""
What must be there before a server can start: services, certificates, programs, values that can be used.

Everything is looked at before anything is changed, and all that is wrong is
told at once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pycyrus.app import logs
from pycyrus.app.checker_parts import check_checkers
from pycyrus.app.directories import check_directories
from pycyrus.app.events import missing_programs
from pycyrus.app.identity_parts import identity_settings
from pycyrus.app.mail_service import mail_services
from pycyrus.app.privileges import UnixUser, as_user
from pycyrus.app.programs import program_of, service_program
from pycyrus.app.tls_parts import tls_settings
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.config.cyrus_conf import ServiceEntry
from pycyrus.config.load import Configuration
from pycyrus.config.problems import Problem, nearest
from pycyrus.model.acl_text import BadAcl, parse_default_acl
from pycyrus.net.tls import ServerContext, TLSConfigurationError

# --- services ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Offered:
    """
    The SERVICES entries, sorted out.

    @ivar served: Those whose protocol is installed.
    @ivar left_out: Those that Cyrus has and we do not, with the program's name.
    """

    served: tuple[ServiceEntry, ...]
    left_out: tuple[tuple[ServiceEntry, str], ...]
    problems: tuple[Problem, ...]


def offered_services(configuration: Configuration) -> Offered:
    """Find out which services can be served."""
    installed = mail_services()
    served: list[ServiceEntry] = []
    left_out: list[tuple[ServiceEntry, str]] = []
    problems: list[Problem] = []
    for entry in configuration.cyrus.services:
        program = service_program(entry.cmd)
        if program in installed:
            served.append(entry)
        elif program_of(entry.cmd).known:
            left_out.append((entry, program))
        else:
            mend = nearest(program, installed) or "the programs are " + ", ".join(sorted(installed))
            problems.append(Problem(entry.place, f"{entry.name}: no service is called {program}", mend))
    if not served and not problems:
        text = "there is no service to start"
        problems.append(Problem(None, text, 'add `imap cmd="imapd" listen="imap"` to SERVICES in cyrus.conf'))
    return Offered(tuple(served), tuple(left_out), tuple(problems))


# --- everything -------------------------------------------------------------


_TLS_FILES = ("tls_server_cert", "tls_server_key", "tls_server_ca_file", "tls_client_ca_file")


def _unreadable(configuration: Configuration, entry: ServiceEntry, user: UnixUser | None) -> dict[str, Problem]:
    """TLS files that we can read, and the user that we become cannot."""
    if user is None:
        return {}
    settings = configuration.settings.for_service(entry.name)
    paths = {option: settings.text(option) for option in _TLS_FILES if settings.text(option)}
    refused = as_user(user, lambda: [option for option, path in paths.items() if not os.access(path, os.R_OK)])
    problems: dict[str, Problem] = {}
    for option in refused:
        if Path(paths[option]).exists():
            place = configuration.place(f"{entry.name}_{option}") or configuration.place(option)
            text = f"{option}: {paths[option]} cannot be read by {user.name}"
            problems[text] = Problem(place, text, f"let {user.name} read it, and pass through its directories")
    return problems


def check_certificates(configuration: Configuration, offered: Offered, user: UnixUser | None) -> list[Problem]:
    """Look whether TLS can be offered where it is configured."""
    found: dict[str, Problem] = {}
    for entry in offered.served:
        settings = configuration.settings.for_service(entry.name)
        tls = tls_settings(settings)
        if tls is None:
            if "-s" in entry.cmd:
                text = f"{entry.name}: there is no certificate for TLS"
                found[entry.name] = Problem(entry.place, text, "set tls_server_cert and tls_server_key")
            continue
        if configuration.home is not None and not tls.certificate.exists():
            continue  # made at the start
        found.update(_unreadable(configuration, entry, user))
        try:
            ServerContext(tls)
        except TLSConfigurationError as error:
            option = str(error).partition(":")[0]
            place = configuration.place(f"{entry.name}_{option}") or configuration.place(option)
            found[str(error)] = Problem(place, str(error), "")
    return list(found.values())


def check_values(configuration: Configuration, offered: Offered) -> list[Problem]:
    """Look whether values that have a form of their own have it."""
    problems: dict[str, Problem] = {}

    def add(option: str, service: str, text: str, mend: str) -> None:
        place = configuration.place(f"{service}_{option}") or configuration.place(option)
        problems.setdefault(text, Problem(place, text, mend))

    for entry in offered.served:
        settings = configuration.settings.for_service(entry.name)
        for option in ("admins", "proxyservers"):
            for word in settings.words(option):
                try:
                    Identities(replace(identity_settings(settings), admins=(word,)))
                except InvalidUserId as error:
                    add(option, entry.name, f"{option}: {word!r} is no user name: {error}", "correct or remove it")
        try:
            parse_default_acl(settings.text("defaultacl"))
        except BadAcl as error:
            add("defaultacl", entry.name, f"defaultacl: {error}", "write it as: anyone lrs")
    name = configuration.settings.text("syslog_facility")
    if name and logs.facility_code(name) is None:
        add("syslog_facility", "", f"syslog_facility: {name!r} is none", "name one such as mail or local6")
    return list(problems.values())


def find_problems(configuration: Configuration, user: UnixUser | None) -> tuple[Offered, list[Problem]]:
    """
    Look at all that must be there, and change nothing.

    @return: What will be served, and all that is wrong.
    """
    offered = offered_services(configuration)
    problems = [
        *offered.problems,
        *missing_programs(configuration.cyrus),
        *check_values(configuration, offered),
        *check_checkers(configuration, user),
        *check_directories(configuration, user),
        *check_certificates(configuration, offered, user),
    ]
    return offered, problems
