"""
Typed access to what a configuration says.

L{Settings} is immutable and knows values, not where they will be used.  It is
made from assignments in the order in which they were written; those of the
command line replace those of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override

from pycyrus.config.options import Kind, Option, OptionTable, Status, Value, option_table
from pycyrus.config.problems import ConfigError, Place, Problem, nearest
from pycyrus.config.syntax import Assignment

_SERVICE_NAMES = """
    imap imaps imapd pop3 pop3s pop3d lmtp lmtpunix lmtps lmtpd sieve timsieved mupdate smmap smmapd csync
    sync_server sync_client ctl_cyrusdb ctl_mboxlist cyr_expire expire reconstruct quota squatter deliver mbpath
    unexpunge ipurge notify notifyd idle idled fud nntp nntps nntpd http https httpd proxyd pop3proxyd lmtpproxyd
    ptloader tls_prune cyradm arbitron chk_cyrus ctl_deliver cyr_df cyr_info cyr_synclog mbexamine mbtool master
    pycyrus
"""
SERVICE_NAMES = frozenset(_SERVICE_NAMES.split())
"""Services and programs whose names may prefix an option in any configuration."""

_PER_HOST = re.compile(r"[a-z0-9-]+_(?:password|mechs|client_cert|client_key)")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth a line in the log, and no obstacle."""

    place: Place
    text: str

    @override
    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Settings:
    """
    The options as one service, or the server as a whole, sees them.

    Asking for a name that is not in the table is a mistake of ours and raises
    C{KeyError}.
    """

    def __init__(self, values: Mapping[str, str], service: str = "", table: OptionTable | None = None) -> None:
        self._texts = dict(values)
        self._service = service
        self._table = table or option_table()
        self._read: dict[str, Value | None] = {}

    @property
    def texts(self) -> Mapping[str, str]:
        """Everything that was set, as it was written, by key."""
        return self._texts

    @property
    def service(self) -> str:
        """The service whose prefixed options go first; empty for none."""
        return self._service

    def for_service(self, name: str) -> Settings:
        """What a service of cyrus.conf sees: C{imap_timeout} goes before C{timeout}."""
        return Settings(self._texts, name.lower(), self._table)

    def given(self, name: str) -> bool:
        """Whether an option was set, for this service or for all."""
        return self._text(name) is not None

    def text(self, name: str) -> str:
        """A text or the word of an enumeration; empty if unset."""
        value = self._value(name)
        if value is None:
            return ""
        assert isinstance(value, str)
        return value

    def switch(self, name: str) -> bool:
        """A switch; False if unset."""
        value = self._value(name)
        assert value is None or isinstance(value, bool)
        return bool(value)

    def integer(self, name: str) -> int:
        """A number, or octal digits; 0 if unset."""
        value = self._value(name)
        assert value is None or isinstance(value, int)
        return value or 0

    def duration(self, name: str) -> int:
        """A span of time in seconds; 0 if unset."""
        assert self._table[name].kind is Kind.DURATION
        return self.integer(name)

    def words(self, name: str) -> tuple[str, ...]:
        """Words, also of a text that holds some; none if unset."""
        value = self._value(name)
        if isinstance(value, str):
            return tuple(value.split())
        assert value is None or isinstance(value, tuple)
        return value or ()

    def word(self, name: str) -> str:
        """The word of an enumeration, in lower case."""
        assert self._table[name].kind is Kind.ENUM
        return self.text(name)

    def family(self, prefix: str) -> dict[str, str]:
        """All of an open-ended family: what follows the prefix, and the value."""
        found: dict[str, str] = {}
        for key, text in self._texts.items():
            if key.startswith(prefix) and len(key) > len(prefix):
                found[key[len(prefix) :]] = self._substitute(text)
        return found

    def _text(self, name: str) -> str | None:
        option = self._table[name]
        for candidate in (name, *option.former):
            if self._service:
                prefixed = self._texts.get(f"{self._service}_{candidate}")
                if prefixed is not None:
                    return prefixed
        for candidate in (name, *option.former):
            text = self._texts.get(candidate)
            if text is not None:
                return text
        return None

    def _value(self, name: str) -> Value | None:
        if name not in self._read:
            option = self._table[name]
            text = self._text(name)
            if text is None:
                text = option.default
            self._read[name] = option.read(self._substitute(text)) if text else None
        return self._read[name]

    def _substitute(self, text: str) -> str:
        if "{configdirectory}" not in text:
            return text
        return text.replace("{configdirectory}", self._texts.get("configdirectory", ""))


@dataclass(slots=True)
class Checked:
    """
    Assignments that were looked at.

    @ivar values: By key; former names are replaced.
    @ivar places: Where each stands.
    """

    values: dict[str, str]
    places: dict[str, Place]
    problems: list[Problem]
    notices: list[Notice]

    def settings(self) -> Settings:
        """
        Make settings of it.

        @raise ConfigError: There were problems.
        """
        if self.problems:
            raise ConfigError(self.problems)
        return Settings(self.values)


def check(
    assignments: Iterable[Assignment],
    overrides: Sequence[Assignment] = (),
    services: Iterable[str] = (),
    table: OptionTable | None = None,
) -> Checked:
    """
    Look at each option: known, readable, safe, given once.

    @param overrides: From the command line; the last of a name is taken.
    @param services: Names of services in cyrus.conf, which may prefix options.
    """
    checker = _Checker(table or option_table(), {name.lower() for name in services} | SERVICE_NAMES)
    for assignment in assignments:
        checker.add(assignment, replace=False)
    for assignment in overrides:
        checker.add(assignment, replace=True)
    return checker.checked


class _Checker:
    """Looks at assignments one after another."""

    def __init__(self, table: OptionTable, services: set[str]) -> None:
        self._table = table
        self._services = services
        self.checked = Checked({}, {}, [], [])

    def add(self, assignment: Assignment, replace: bool) -> None:
        """Take an assignment, or note what is wrong with it."""
        key, value, place = assignment.key, assignment.value, assignment.place
        prefix, option = self._find(key)
        if option is None:
            if not self._per_host(key):
                self._unknown(key, place)
                return
            self._keep(key, value, place, replace)
            return
        key = self._current_name(key, prefix, option, place)
        if not self._good(key, value, option, place):
            return
        self._keep(key, value, place, replace)
        self._tell_status(key, value, option, place)

    def _find(self, key: str) -> tuple[str, Option | None]:
        """Service prefix and option; an exact name goes before a prefixed one."""
        option = self._table.find(key)
        if option is not None and not option.family:
            return "", option
        for position, letter in enumerate(key):
            if letter == "_" and (key[:position] in self._services or key.startswith("sync_", position + 1)):
                prefixed = self._table.find(key[position + 1 :])
                if prefixed is not None:
                    return key[: position + 1], prefixed
        return "", option

    @staticmethod
    def _per_host(key: str) -> bool:
        return _PER_HOST.fullmatch(key) is not None

    def _unknown(self, key: str, place: Place) -> None:
        known = self._table.names()
        mend = nearest(key, known)
        prefix, _, rest = key.partition("_")
        if self._table.find(rest) is not None:
            mend = f"no service of cyrus.conf is named {prefix}"
        self.checked.problems.append(
            Problem(place, f"{key} is no option", mend or "remove it, or look for its name in the list of options")
        )

    def _current_name(self, key: str, prefix: str, option: Option, place: Place) -> str:
        bare = key[len(prefix) :]
        if bare not in self._table.former:
            return key
        self.checked.notices.append(Notice(place, f"{bare} is a former name; it is {option.name} now"))
        return prefix + option.name

    def _good(self, key: str, value: str, option: Option, place: Place) -> bool:
        problems = self.checked.problems
        try:
            read = option.read(value)
        except ValueError as wanted:
            problems.append(Problem(place, f"{key}: {value!r} cannot be", f"it takes {wanted}"))
            return False
        if option.status is Status.REFUSED and value != option.default:
            problems.append(Problem(place, f"{key} is refused because it is unsafe", "remove the line"))
            return False
        if key == "sasl_pwcheck_method" and isinstance(read, tuple) and "alwaystrue" in read:
            problems.append(
                Problem(place, "sasl_pwcheck_method: alwaystrue lets everybody in", "name auxprop or saslauthd")
            )
            return False
        return True

    def _keep(self, key: str, value: str, place: Place, replace: bool) -> None:
        checked = self.checked
        if key in checked.values and not replace:
            checked.problems.append(
                Problem(place, f"{key} is set a second time", f"remove one; the first is in {checked.places[key]}")
            )
            return
        checked.values[key] = value
        checked.places[key] = place

    def _tell_status(self, key: str, value: str, option: Option, place: Place) -> None:
        # What is set to its default asks for nothing, so it needs no remark.
        if option.status is Status.LATER and (option.family or option.read(value) != _default(option)):
            self.checked.notices.append(Notice(place, f"{key} has no effect yet"))


def _default(option: Option) -> Value | None:
    return option.read(option.default) if option.default else None
