"""C{cyr_info}: tells how a server is configured, and who uses it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycyrus import COMPATIBLE_VERSION, __version__
from pycyrus.admin.command import reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.proc import directory_of, sessions
from pycyrus.config.cyrus_conf import parse_cyrus_conf
from pycyrus.config.load import load
from pycyrus.config.options import Kind, Option, option_table
from pycyrus.config.settings import Settings, check
from pycyrus.config.syntax import parse_imapd_conf


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "cyr_info",
        help="tell how a server is configured, and who uses it",
        description="conf: options that are not at their defaults; conf-all: all options; conf-default: all defaults;"
        " conf-lint: lines of imapd.conf that cannot be used; proc: sessions; version.",
    )
    parser.add_argument("-n", "--service", dest="service", metavar="NAME", default="", help="as this service sees it")
    parser.add_argument("-s", "--since", metavar="VERSION", help="taken, and without effect")
    parser.add_argument("command", choices=sorted(_COMMANDS))
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for; returns the exit code."""
    for line in _COMMANDS[arguments.command](arguments):
        print(line)
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    settings = load(source_of(arguments)).settings
    return settings.for_service(arguments.service) if arguments.service else settings


def value_text(option: Option, settings: Settings) -> str:
    """The value of an option as C{cyr_info} prints it: durations in seconds, switches as yes or no."""
    match option.kind:
        case Kind.SWITCH:
            return "yes" if settings.switch(option.name) else "no"
        case Kind.OCTAL:
            return f"{settings.integer(option.name):03o}"
        case Kind.INTEGER | Kind.DURATION:
            return str(settings.integer(option.name))
        case Kind.WORDS:
            return " ".join(settings.words(option.name))
        case _:
            return settings.text(option.name)


def _options() -> list[Option]:
    table = option_table()
    return [table[name] for name in sorted(table.names())]


def _conf(arguments: argparse.Namespace) -> Iterator[str]:
    settings = _settings(arguments)
    # Defaults are looked at beside the same directory, which some of them name.
    defaults = Settings({"configdirectory": settings.text("configdirectory")})
    for option in _options():
        value = value_text(option, settings)
        if option.name == "configdirectory" or value != value_text(option, defaults):
            yield f"{option.name}: {value}"
    yield from _families(settings)


def _conf_all(arguments: argparse.Namespace) -> Iterator[str]:
    settings = _settings(arguments)
    for option in _options():
        yield f"{option.name}: {value_text(option, settings)}"
    yield from _families(settings)


def _families(settings: Settings) -> Iterator[str]:
    """What is of no fixed name: partitions, options of services."""
    known = option_table().options
    former = option_table().former
    for key, text in sorted(settings.texts.items()):
        if key not in known and key not in former:
            yield f"{key}: {text}"


def _conf_default(arguments: argparse.Namespace) -> Iterator[str]:
    for option in _options():
        yield f"{option.name}: {option.default}"


def _conf_lint(arguments: argparse.Namespace) -> Iterator[str]:
    source = source_of(arguments)
    if source.embedded:
        return
    given = source.imapd_conf or source.cyrus_conf
    assert given is not None
    cyrus_conf = parse_cyrus_conf(source.cyrus_conf or given.parent / "cyrus.conf")
    services = {entry.name for entry in cyrus_conf.services}
    for assignment in parse_imapd_conf(source.imapd_conf or given.parent / "imapd.conf").values:
        if check([assignment], (), services).problems:
            yield f"{assignment.key}: {assignment.value}"


def _proc(arguments: argparse.Namespace) -> Iterator[str]:
    settings = load(source_of(arguments)).settings
    for session in sessions(directory_of(settings.text("proc_path"), Path(settings.text("configdirectory")))):
        yield str(session)


def _version(arguments: argparse.Namespace) -> Iterator[str]:
    yield f"{COMPATIBLE_VERSION}-pycyrus-{__version__}"


_COMMANDS = {
    "conf": _conf,
    "conf-all": _conf_all,
    "conf-default": _conf_default,
    "conf-lint": _conf_lint,
    "proc": _proc,
    "version": _version,
}
