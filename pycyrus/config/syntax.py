"""
The syntax of imapd.conf: text in, assignments and problems out.

What options exist and what their values mean is not known here: see
L{pycyrus.config.options}.  The only I/O is reading a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pycyrus.config.problems import ConfigError, Place, Problem

MAX_FILE_SIZE = 4 * 1024 * 1024
"""Octets in a configuration file; a larger one is the wrong file."""

_KEY = re.compile(r"[A-Za-z0-9_-]+")

# --- files ------------------------------------------------------------------


def read_text(path: Path) -> str:
    """
    Read a configuration file.

    @raise ConfigError: It cannot be read, or is no text.
    """
    place = Place(str(path))
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise ConfigError([Problem(place, f"cannot be read: {reason}", _unreadable_mend(error))]) from error
    if len(data) > MAX_FILE_SIZE:
        raise ConfigError([Problem(place, "is too large for a configuration file", "name another file")])
    return decode_text(data, str(path))


def _unreadable_mend(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "create it, or name another file"
    if isinstance(error, PermissionError):
        return "let the user that starts the server read it"
    return "name a file that can be read"


def decode_text(data: bytes, file: str) -> str:
    """
    Decode the octets of a configuration file.

    @raise ConfigError: They are not UTF-8, or hold a NUL.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(Place(file, line), "is not UTF-8 text", "save the file as UTF-8")]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ConfigError([Problem(Place(file, line), "holds a NUL character", "remove it")])
    return text


# --- imapd.conf -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assignment:
    """A line C{key: value}; the key is folded to lower case."""

    key: str
    value: str
    place: Place


@dataclass(slots=True)
class Assignments:
    """What stands in an imapd.conf and the files that it includes, in order."""

    values: list[Assignment] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse_imapd_conf(path: Path, read: Callable[[Path], str] = read_text) -> Assignments:
    """
    Read an imapd.conf with all that it includes.

    @param read: Gives the text of a file, or raises L{ConfigError}.
    @return: What was found; problems are collected, not raised.
    """
    found = Assignments()
    _parse_file(path, read, found, set())
    return found


def _parse_file(path: Path, read: Callable[[Path], str], found: Assignments, seen: set[Path]) -> None:
    seen.add(path.absolute())
    try:
        text = read(path)
    except ConfigError as error:
        found.problems.extend(error.problems)
        return
    for number, line in logical_lines(text):
        if not line or line.startswith("#"):
            continue
        place = Place(str(path), number)
        if line.lower().startswith("@include:"):
            _include(line.partition(":")[2].strip(), path, place, read, found, seen)
        else:
            _assign(line, place, found)


def _include(
    name: str, parent: Path, place: Place, read: Callable[[Path], str], found: Assignments, seen: set[Path]
) -> None:
    if not name:
        found.problems.append(Problem(place, "@include: names no file", "write `@include: /path/to/file`"))
        return
    target = parent.parent / name
    if target.absolute() in seen:
        found.problems.append(Problem(place, f"{name} is included a second time", "remove this line"))
        return
    before = len(found.problems)
    _parse_file(target, read, found, seen)
    if any(problem.place == Place(str(target)) for problem in found.problems[before:]):
        found.problems.append(Problem(place, f"{name} is included here", "mend or remove this line"))


def logical_lines(text: str) -> list[tuple[int, str]]:
    """
    Cut text into lines: joined where a backslash ends one, stripped at both ends.

    @return: Number of the first line, and the text, of each.
    """
    lines: list[tuple[int, str]] = []
    start, pieces = 0, list[str]()
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not pieces:
            start = number
        if line.endswith("\\"):
            pieces.append(line[:-1])
            continue
        pieces.append(line)
        lines.append((start, "".join(pieces).strip(" \t\r\f\v")))
        pieces = []
    if pieces:
        lines.append((start, "".join(pieces).strip(" \t\r\f\v")))
    return lines


def _assign(line: str, place: Place, found: Assignments) -> None:
    match = _KEY.match(line)
    rest = line[match.end() :].lstrip() if match is not None else ""
    if match is None or not rest.startswith(":"):
        found.problems.append(Problem(place, "is no `name: value`", "write the option's name, a colon and its value"))
        return
    key, value = match.group().lower(), rest[1:].strip()
    if not value:
        found.problems.append(Problem(place, f"{key} has no value", "give it one, or remove the line"))
        return
    found.values.append(Assignment(key, value, place))


def parse_override(text: str) -> Assignment:
    """
    Read an option from the command line: C{name=value}.

    @raise ConfigError: It is not of that form.
    """
    name, equals, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not value or not _KEY.fullmatch(name) or "\n" in value or "\0" in value:
        raise ConfigError([Problem(None, f"--option {text!r} is no name=value", "write it as --option timeout=40m")])
    return Assignment(name.lower(), value, Place(f"--option {name}={value}"))
