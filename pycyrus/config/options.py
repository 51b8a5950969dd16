"""
The table of options: what each is called, what it takes, and what becomes of it.

The rows stand in C{options.toml}; this module reads them and the text of a
value.  It knows no file of anybody's configuration.
"""

from __future__ import annotations

import enum
import functools
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources

Value = str | int | bool | tuple[str, ...]
"""A value as its option's type reads it."""


class Kind(enum.Enum):
    """What an option takes."""

    TEXT = "text"
    WORDS = "words"
    INTEGER = "integer"
    SWITCH = "switch"
    OCTAL = "octal"
    DURATION = "duration"
    ENUM = "enum"
    DATABASE = "database"


class Status(enum.Enum):
    """What becomes of an option that is set."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Option:
    """
    A row of the table.

    @ivar name: With C{*} at its end for a family of options.
    @ivar unit: Of a duration written as a bare number: C{d}, C{h}, C{m} or C{s}.
    @ivar choices: Of an enumeration.
    @ivar default: As it would be written; empty if unset.
    @ivar former: Names that it had before.
    """

    name: str
    area: str
    kind: Kind
    unit: str
    choices: tuple[str, ...]
    default: str
    status: Status
    meaning: str
    former: tuple[str, ...]

    @property
    def family(self) -> bool:
        """Whether it stands for all keys that begin so."""
        return self.name.endswith("*")

    def read(self, text: str) -> Value:
        """
        Read a value.

        @raise ValueError: Says what the option takes.
        """
        return _READERS[self.kind](text, self)


class OptionTable:
    """All options, by name."""

    def __init__(self, options: Mapping[str, Option]) -> None:
        self.options = options
        self.former = {old: option.name for option in options.values() for old in option.former}
        self._families = sorted(
            (option for option in options.values() if option.family), key=lambda option: -len(option.name)
        )

    def find(self, key: str) -> Option | None:
        """
        Find the option that a key means, without regard to service prefixes.

        @param key: In lower case.
        @return: The option, which may be a family; None if there is none.
        """
        exact = self.options.get(self.former.get(key, key))
        if exact is not None:
            return exact
        for family in self._families:
            prefix = family.name[:-1]
            if key.startswith(prefix) and (len(key) > len(prefix) or not prefix.endswith(("-", "_"))):
                return family
        return None

    def __getitem__(self, name: str) -> Option:
        return self.options[name]

    def names(self) -> list[str]:
        """What may be written, former names left out."""
        return [name for name in self.options if not name.endswith("*")]


@functools.cache
def option_table() -> OptionTable:
    """Read the table that comes with the program."""
    text = (resources.files("pycyrus.config") / "options.toml").read_text("utf-8")
    options: dict[str, Option] = {}
    for area, rows in tomllib.loads(text).items():
        for name, (type_, default, status, meaning, *former) in rows.items():
            word, *parameters = type_.split()
            kind = Kind(word)
            options[name] = Option(
                name=name,
                area=area,
                kind=kind,
                unit=parameters[0] if kind is Kind.DURATION else "",
                choices=tuple(parameters) if kind is Kind.ENUM else (),
                default=default,
                status=Status(status),
                meaning=meaning,
                former=tuple(former),
            )
    return OptionTable(options)


# --- values -----------------------------------------------------------------

_UNIT_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_INTEGER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_DURATION = re.compile(r"([+-]?)((?:[0-9]+[dhmsDHMS])*)([0-9]*)")
_MAX_DIGITS = 18
"""More digits than any octet count needs, and few enough for int() to be cheap."""


def read_integer(text: str) -> int:
    """
    Read a whole number: decimal, C{0x...} or, with a leading 0, octal.

    @raise ValueError: It is none.
    """
    if _INTEGER.fullmatch(text) is None or len(text) > _MAX_DIGITS + 3:
        raise ValueError("a whole number")
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    try:
        return int(text, base)
    except ValueError:
        raise ValueError("a whole number") from None


def read_switch(text: str) -> bool:
    """
    Read yes or no, on or off, true or false, 1 or 0, by the first letters.

    @raise ValueError: It is none of these.
    """
    lower = text.lower()
    if lower[:1] in ("1", "y", "t") or lower[:2] == "on":
        return True
    if lower[:1] in ("0", "n", "f") or lower[:2] == "of":
        return False
    raise ValueError("yes or no")


def read_duration(text: str, unit: str) -> int:
    """
    Read a span of time such as C{1d12h}.

    @param unit: That of a bare number.
    @return: Seconds; negative with a sign.
    @raise ValueError: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not (match[2] or match[3]) or len(text) > _MAX_DIGITS:
        raise ValueError("a time such as 90s, 32m, 1d12h")
    seconds = sum(
        int(number) * _UNIT_SECONDS[letter.lower()] for number, letter in re.findall(r"([0-9]+)([a-zA-Z])", match[2])
    )
    if match[3]:
        # A number behind other units continues in seconds, as in 1m30.
        seconds += int(match[3]) * _UNIT_SECONDS["s" if match[2] else unit]
    return -seconds if match[1] == "-" else seconds


def _read_octal(text: str, option: Option) -> int:
    if re.fullmatch(r"0?[0-7]{1,4}", text, re.ASCII) is None:
        raise ValueError("octal digits such as 077")
    return int(text, 8)


_SPOKEN = {"yes": "on", "true": "on", "t": "on", "1": "on", "no": "off", "false": "off", "f": "off", "0": "off"}


def _read_enum(text: str, option: Option) -> str:
    word = text.lower()
    if word not in option.choices:
        word = _SPOKEN.get(word, word)
    if word not in option.choices:
        raise ValueError("one of " + ", ".join(option.choices))
    return word


_READERS: dict[Kind, Callable[[str, Option], Value]] = {
    Kind.TEXT: lambda text, option: text,
    Kind.DATABASE: lambda text, option: text,
    Kind.WORDS: lambda text, option: tuple(text.split()),
    Kind.INTEGER: lambda text, option: read_integer(text),
    Kind.SWITCH: lambda text, option: read_switch(text),
    Kind.DURATION: lambda text, option: read_duration(text, option.unit),
    Kind.OCTAL: _read_octal,
    Kind.ENUM: _read_enum,
}
