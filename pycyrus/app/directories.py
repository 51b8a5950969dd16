"""The directories of a server: whether they are there or can be made, and the making."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from pycyrus.app.privileges import UnixUser, as_user
from pycyrus.config.cyrus_conf import ServiceEntry
from pycyrus.config.load import Configuration
from pycyrus.config.problems import ConfigError, Place, Problem

_log = Logger()


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


def partition_directories(configuration: Configuration) -> list[Path]:
    """Where mail lies."""
    return [wanted.path for wanted in wanted_directories(configuration) if wanted.option != "configdirectory"]


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
            elif os.statvfs(path).f_flag & os.ST_RDONLY:
                text = f"{wanted.option}: {path} is on a file system that is mounted read-only"
                mend = "see why (a damaged one is, by the kernel), mount it to be written, or name another directory"
                problems.append(Problem(wanted.place, text, mend))
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


def make_directories(
    configuration: Configuration, user: UnixUser | None, services: Sequence[ServiceEntry] = ()
) -> None:
    """
    Make what is missing.

    @param user: Who gets what is made.
    @param services: Those whose Unix sockets need directories too.
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
    for entry in services:
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
