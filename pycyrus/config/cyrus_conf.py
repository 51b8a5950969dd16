"""
The syntax of cyrus.conf: text in, entries and problems out.

What the entries' programs are is not known here: see L{pycyrus.app.programs}.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pycyrus.config.problems import ConfigError, Place, Problem, nearest
from pycyrus.config.syntax import read_text

_ENTRY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_ENTRY_WORD = re.compile(
    r"""\s* (?: (?P<key>[A-Za-z0-9_]+) \s* = \s* (?: "(?P<quoted>[^"]*)" | (?P<plain>[^\s"#]+) ) (?=\s|$|\#)
        | (?P<comment>\#.*) )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class StartEntry:
    """
    A program run to its end before the services open.

    @ivar wait: Without effect: the next one always waits.
    """

    name: str
    cmd: tuple[str, ...]
    place: Place
    maxfds: int = 0
    maxforkrate: int = 10
    wait: bool = True


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """
    A service.

    @ivar listen: As written: port, host and port, or path of a Unix socket.
    @ivar prefork: Without effect: workers serve all services.
    @ivar maxchild: Without effect likewise.
    """

    name: str
    cmd: tuple[str, ...]
    place: Place
    listen: str
    proto: str = "tcp"
    prefork: int = 0
    maxchild: int = -1
    maxforkrate: int = 0
    maxfds: int = 0
    babysit: bool = False


@dataclass(frozen=True, slots=True)
class EventEntry:
    """
    A program run at times.

    @ivar period: Minutes between runs, the first at the start; 0 for that one only.
    @ivar at: Hour and minute of every day, local time; goes before C{period}.
    @ivar delay: Minutes from the start to the first run; not from a file.
    """

    name: str
    cmd: tuple[str, ...]
    place: Place
    period: int = 0
    at: tuple[int, int] | None = None
    maxfds: int = 0
    maxforkrate: int = 0
    delay: int = 0


@dataclass(frozen=True, slots=True)
class DaemonEntry:
    """
    A program that runs as long as the server.

    @ivar wait: Go on only when it wrote C{ok} and CRLF to descriptor 3.
    """

    name: str
    cmd: tuple[str, ...]
    place: Place
    wait: bool = False
    maxfds: int = 0
    maxforkrate: int = 10


@dataclass(slots=True)
class CyrusConf:
    """A cyrus.conf; entries in the order of the file."""

    start: list[StartEntry] = field(default_factory=list)
    services: list[ServiceEntry] = field(default_factory=list)
    events: list[EventEntry] = field(default_factory=list)
    daemon: list[DaemonEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class _BadValue(Exception):
    """A value of an entry that cannot be; says what would do."""


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise _BadValue("a number") from None


def _switch(text: str) -> bool:
    first = text[:1].lower()
    if first in ("1", "y", "t") or text.lower().startswith("on"):
        return True
    if first in ("0", "n", "f") or text.lower().startswith("of"):
        return False
    raise _BadValue("yes or no")


def _proto(text: str) -> str:
    if text not in ("tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"):
        raise _BadValue("tcp, tcp4, tcp6, udp, udp4 or udp6")
    return text


def _time_of_day(text: str) -> tuple[int, int]:
    if re.fullmatch(r"\d{4}", text, re.ASCII) is None or int(text[:2]) > 23 or int(text[2:]) > 59:
        raise _BadValue("an hour and a minute, such as 0401")
    return int(text[:2]), int(text[2:])


def _command(text: str) -> tuple[str, ...]:
    words = tuple(text.split())
    if not words:
        raise _BadValue("a program and its arguments")
    return words


@dataclass(frozen=True, slots=True)
class _Section:
    """How the entries of a section are read: keys with their values' readers."""

    keys: dict[str, Callable[[str], object]]
    required: tuple[str, ...]
    add: Callable[[CyrusConf, dict[str, object]], None]


_COMMON: dict[str, Callable[[str], object]] = {"cmd": _command, "maxfds": _integer, "maxforkrate": _integer}

_SECTIONS = {
    "START": _Section(
        {**_COMMON, "wait": _switch},
        ("cmd",),
        lambda conf, values: conf.start.append(StartEntry(**values)),  # type: ignore[arg-type] # by their readers
    ),
    "SERVICES": _Section(
        {
            **_COMMON,
            "listen": str,
            "proto": _proto,
            "prefork": _integer,
            "maxchild": _integer,
            "babysit": _switch,
        },
        ("cmd", "listen"),
        lambda conf, values: conf.services.append(ServiceEntry(**values)),  # type: ignore[arg-type] # by their readers
    ),
    "EVENTS": _Section(
        {**_COMMON, "period": _integer, "at": _time_of_day},
        ("cmd",),
        lambda conf, values: conf.events.append(EventEntry(**values)),  # type: ignore[arg-type] # by their readers
    ),
    "DAEMON": _Section(
        {**_COMMON, "wait": _switch},
        ("cmd",),
        lambda conf, values: conf.daemon.append(DaemonEntry(**values)),  # type: ignore[arg-type] # by their readers
    ),
}


def parse_cyrus_conf(path: Path, read: Callable[[Path], str] = read_text) -> CyrusConf:
    """
    Read a cyrus.conf.

    @return: What was found; problems are collected in it, not raised.
    """
    conf = CyrusConf()
    try:
        text = read(path)
    except ConfigError as error:
        conf.problems.extend(error.problems)
        return conf
    _CyrusConfReader(str(path), conf).read(text)
    return conf


class _CyrusConfReader:
    """Reads one cyrus.conf line by line."""

    def __init__(self, file: str, conf: CyrusConf) -> None:
        self._file = file
        self._conf = conf
        self._section: str | None = None
        self._opened = 0
        self._names: dict[tuple[str, str], int] = {}

    def read(self, text: str) -> None:
        """Read everything."""
        for number, line in enumerate(text.split("\n"), 1):
            line = line.strip()
            if line and not line.startswith("#"):
                self._line(line, Place(self._file, number))
        if self._section is not None:
            self._problem(Place(self._file, self._opened), f"{self._section} has no end", "close it by a line with }")

    def _problem(self, place: Place, text: str, mend: str) -> None:
        self._conf.problems.append(Problem(place, text, mend))

    def _line(self, line: str, place: Place) -> None:
        if self._section is None:
            self._begin(line, place)
        elif line.startswith("}"):
            if line[1:].strip() and not line[1:].strip().startswith("#"):
                self._problem(place, "more follows the closing brace", "put it on a line of its own")
            self._section = None
        else:
            self._entry(self._section, line, place)

    def _begin(self, line: str, place: Place) -> None:
        match = re.fullmatch(r"([A-Za-z]+)\s*\{\s*(?:#.*)?", line)
        if match is None:
            self._problem(place, "is no beginning of a section", "write `SERVICES {`, and its entries on lines below")
            return
        name = match[1].upper()
        self._section, self._opened = name, place.line
        if name not in _SECTIONS:
            hint = nearest(name, _SECTIONS) or "the sections are " + ", ".join(_SECTIONS)
            self._problem(place, f"{match[1]} is no section", hint)

    def _entry(self, section: str, line: str, place: Place) -> None:
        if section not in _SECTIONS:
            return  # said when it began
        rules = _SECTIONS[section]
        match = _ENTRY_NAME.match(line)
        if match is None or (line[match.end() :] and not line[match.end()].isspace()):
            self._problem(place, "does not begin with an entry's name", 'write it as: imap cmd="imapd" listen="imap"')
            return
        name = match.group()
        first = self._names.setdefault((section, name), place.line)
        if first != place.line:
            self._problem(
                place, f"{name} stands in {section} a second time", f"rename it; the first is in line {first}"
            )
            return
        values = self._values(rules, name, line[match.end() :], place)
        if values is None:
            return
        missing = [key for key in rules.required if key not in values]
        if missing:
            self._problem(place, f"{name} has no {missing[0]}=", f"add {missing[0]}= to the entry")
            return
        rules.add(self._conf, {"name": name, "place": place, **values})

    def _values(self, rules: _Section, name: str, text: str, place: Place) -> dict[str, object] | None:
        values: dict[str, object] = {}
        position, good = 0, True
        while text[position:].strip():
            match = _ENTRY_WORD.match(text, position)
            if match is None:
                self._problem(
                    place,
                    f"{name}: cannot read {text[position:].strip()[:40]!r}",
                    'write key=value or key="value with spaces"',
                )
                return None
            position = match.end()
            if match["comment"] is not None:
                break
            value = match["quoted"] if match["quoted"] is not None else match["plain"]
            good &= self._value(rules, name, match["key"].lower(), value, values, place)
        return values if good else None

    def _value(self, rules: _Section, name: str, key: str, text: str, values: dict[str, object], place: Place) -> bool:
        if key not in rules.keys:
            self._problem(
                place,
                f"{name}: {key} is no option here",
                nearest(key, rules.keys) or "there are " + ", ".join(rules.keys),
            )
            return False
        if key in values:
            self._problem(place, f"{name}: {key} is given twice", "remove one")
            return False
        try:
            values[key] = rules.keys[key](text)
        except _BadValue as wanted:
            self._problem(place, f"{name}: {key}={text!r} cannot be", f"it takes {wanted}")
            return False
        return True
