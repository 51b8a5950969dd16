"""
What must be there before a server can start: directories, certificates, programs.

Everything is looked at before anything is changed, and all that is wrong is
told at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twisted.logger import Logger

from pycyrus.app import logs
from pycyrus.app.checker_parts import check_checkers
from pycyrus.app.context import identity_settings
from pycyrus.app.events import missing_programs
from pycyrus.app.mail_service import mail_services
from pycyrus.app.privileges import UnixUser, as_user
from pycyrus.app.programs import program_of, service_program
from pycyrus.app.tls_parts import tls_settings
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.config.cyrus_conf import ServiceEntry
from pycyrus.config.load import Configuration
from pycyrus.config.problems import ConfigError, Place, Problem, nearest
from pycyrus.model.acl_text import BadAcl, parse_default_acl
from pycyrus.net.tls import ServerContext, TLSConfigurationError

_log = Logger()


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


# --- directories ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wanted:
    """A directory that must be there, and which option says so."""

    option: str
    path: Path
    place: Place | None


def wanted_directories(configuration: Configuration) -> Iterator[Wanted]:
    """Directories of state and mail, each after its parent."""
    settings = configuration.settings
    yield Wanted("configdirectory", Path(settings.text("configdirectory")), configuration.place("configdirectory"))
    for prefix in ("partition-", "metapartition-"):
        for name, path in settings.family(prefix).items():
            yield Wanted(prefix + name, Path(path), configuration.place(prefix + name))


def check_directories(configuration: Configuration, user: UnixUser | None) -> list[Problem]:
    """
    Look whether the directories are there or can be made.

    @param user: Who will write there; None for this process's user.
    """
    problems: list[Problem] = []
    fresh = is_fresh(configuration)
    for wanted in wanted_directories(configuration):
        path = wanted.path
        try:
            if not path.exists():
                problems.extend(_check_creatable(wanted, fresh))
            elif not path.is_dir():
                text = f"{wanted.option}: {path} is no directory"
                problems.append(Problem(wanted.place, text, "name a directory, or move the file away"))
            elif not _may_write(path, user):
                name = user.name if user is not None else f"user {os.geteuid()}"
                text = f"{wanted.option}: {path} cannot be written by {name}"
                problems.append(Problem(wanted.place, text, f"chown {name} {path}, or name another directory"))
        except OSError as error:
            text = f"{wanted.option}: {path}: {error.strerror}"
            problems.append(Problem(wanted.place, text, "give the server access to it"))
    return problems


def others_serve(configuration: Configuration, problems: Sequence[Problem]) -> bool:
    """
    Whether nothing is wrong but partitions, and not with all: the mailboxes of the others are served.

    At the first start all must be there, as a misspelt name is likelier than a dead disk.
    """
    if not problems:
        return True
    failed = {problem.text.partition(": ")[0] for problem in problems}
    partitions = {wanted.option for wanted in wanted_directories(configuration)} - {"configdirectory"}
    names = {option.rpartition("-")[2] for option in failed & partitions}
    whole = {option for option in partitions if option.rpartition("-")[2] not in names}
    return not is_fresh(configuration) and failed <= partitions and bool(whole)


def is_fresh(configuration: Configuration) -> bool:
    """
    Whether this will be the first start.

    Then missing parents are made as well; later, a directory whose parent is
    missing more likely lies on a disk that is not mounted.
    """
    return not Path(configuration.settings.text("configdirectory")).exists()


def _check_creatable(wanted: Wanted, fresh: bool) -> list[Problem]:
    parent = wanted.path.parent
    while fresh and not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        text = f"{wanted.option}: {wanted.path} is not there, and neither is {parent}"
        return [Problem(wanted.place, text, f"mount its disk, or mkdir -p {parent}")]
    if not os.access(parent, os.W_OK | os.X_OK):
        text = f"{wanted.option}: {wanted.path} is not there, and {parent} cannot be written"
        return [Problem(wanted.place, text, f"mkdir {wanted.path}, and give it to the server's user")]
    return []


def _may_write(path: Path, user: UnixUser | None) -> bool:
    return not as_user(user, lambda: [] if os.access(path, os.W_OK | os.X_OK) else [str(path)])


def make_directories(configuration: Configuration, user: UnixUser | None) -> None:
    """
    Make what is missing, and that of the Unix sockets.

    @param user: Who gets what is made.
    @raise ConfigError: One cannot be made.
    """
    if configuration.home is not None:
        # Others may pass through to the LMTP socket (Postfix's delivery agent is
        # a user of its own), and see nothing: all else is the owner's alone.
        _make(configuration.home, 0o711, user, "--home", None)
    problems: list[Problem] = []
    fresh = is_fresh(configuration)
    for wanted in wanted_directories(configuration):
        # Whoever is in the group, as Postfix may be, reaches the sockets; mail is the server's alone.
        mode = 0o750 if wanted.option == "configdirectory" else 0o700
        if not fresh and not wanted.path.exists() and (missed := _check_creatable(wanted, fresh)):
            problems += missed
            continue
        try:
            _make(wanted.path, mode, user, wanted.option, wanted.place)
        except ConfigError as error:
            problems += error.problems
    if not others_serve(configuration, problems):
        raise ConfigError(problems)
    for entry in offered_services(configuration).served:
        if entry.listen.startswith("/"):
            _make(Path(entry.listen).parent, 0o711 if configuration.home else 0o750, user, entry.name, entry.place)


def _make(path: Path, mode: int, user: UnixUser | None, option: str, place: Place | None) -> None:
    wanted, missing = path, list[Path]()
    while not path.exists():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        try:
            directory.mkdir(0o755)
            if directory == wanted:
                _give(directory, mode, user)
        except OSError as error:
            text = f"{option}: {directory} cannot be made: {error.strerror}"
            raise ConfigError([Problem(place, text, "make it, and give it to the server's user")]) from error
        _log.info("made the directory {path}", path=str(directory))


def _give(directory: Path, mode: int, user: UnixUser | None) -> None:
    # Its parent may be that user's, who could have put a link there by now: root follows none.
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, mode)
        if user is not None:
            os.fchown(fd, user.uid, user.gid)
    finally:
        os.close(fd)


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
