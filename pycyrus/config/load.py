"""
From files and the command line to one L{Configuration}.

With C{-C} and C{-M} the two files of a Cyrus server are read; without, the
embedded default is made: everything under one directory, on high ports of
127.0.0.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pycyrus.config.cyrus_conf import CyrusConf, EventEntry, ServiceEntry, parse_cyrus_conf
from pycyrus.config.problems import ConfigError, Place, Problem
from pycyrus.config.settings import Checked, Notice, Settings, check
from pycyrus.config.syntax import Assignment, parse_imapd_conf, parse_override
from pycyrus.model.namespace import BadNamespace, NamespaceSettings, VirtualDomains

DEFAULT_HOME = Path("~/.pycyrus")
DEFAULT_PORT_BASE = 10000
EXPIRE_DELAY = 10
"""Minutes from a start to the first expiry; then it is daily."""
EMBEDDED_ADMIN = "admin"
EMBEDDED_USER = "user"
_EMBEDDED = Place("the embedded default")


@dataclass(frozen=True, slots=True)
class Source:
    """
    What the command line says about the configuration.

    @ivar imapd_conf: None unless given.
    @ivar cyrus_conf: None unless given.
    @ivar home: Of the embedded default; None for the usual one.
    @ivar port_base: Added to the ports of the embedded default; 0 for any
        ports that are free.  None for the usual one.
    @ivar overrides: Texts C{name=value}.
    @ivar serves: It is about a server; commands of an administrator can do
        without a cyrus.conf.
    """

    imapd_conf: Path | None = None
    cyrus_conf: Path | None = None
    home: Path | None = None
    port_base: int | None = None
    overrides: Sequence[str] = ()
    serves: bool = True

    @property
    def embedded(self) -> bool:
        """Whether the embedded default is asked for."""
        return self.imapd_conf is None and self.cyrus_conf is None

    def words(self) -> tuple[str, ...]:
        """The command line that says the same to a verb of C{pycyrus}."""
        # Not -M, which is another option of some.
        given = (("-C", self.imapd_conf), ("--cyrus-conf", self.cyrus_conf), ("--home", self.home))
        words = [text for option, path in given if path is not None for text in (option, str(path))]
        return (*words, *(text for override in self.overrides for text in ("--option", override)))


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    A configuration without faults that can be seen in its text.

    @ivar home: Of the embedded default, else None.
    @ivar places: Where each option was set.
    """

    source: Source
    settings: Settings
    cyrus: CyrusConf
    home: Path | None
    places: dict[str, Place] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def state(self) -> Path:
        """The directory of ready.json: the home, or configdirectory."""
        return self.home or Path(self.settings.text("configdirectory"))

    def place(self, option: str) -> Place | None:
        """Where an option was set; None if it was not."""
        return self.places.get(option)


def load(source: Source) -> Configuration:
    """
    Read a configuration.

    @raise ConfigError: With all that is wrong with its text.
    """
    problems: list[Problem] = []
    overrides = _overrides(source, problems)
    home: Path | None = None
    if source.embedded:
        home, assignments, cyrus = _embedded(source, problems)
    else:
        assignments, cyrus = _from_files(source, problems)
    checked = check(assignments, overrides, _service_names(source, assignments, cyrus))
    problems.extend(checked.problems)
    problems.extend(cyrus.problems)
    if not problems:
        problems.extend(_whole(checked, checked.settings()))
    if problems:
        raise ConfigError(problems)
    settings = checked.settings()
    if home is not None:
        sockets = {
            "lmtpunix": settings.text("lmtpsocket"),
            "smmap": f"{settings.text('configdirectory')}/socket/smmap",
        }
        cyrus.services = [
            replace(entry, listen=sockets[entry.name]) if entry.name in sockets else entry for entry in cyrus.services
        ]
    return Configuration(source, settings, cyrus, home, checked.places, tuple(checked.notices))


def _overrides(source: Source, problems: list[Problem]) -> list[Assignment]:
    overrides: list[Assignment] = []
    for text in source.overrides:
        try:
            overrides.append(parse_override(text))
        except ConfigError as error:
            problems.extend(error.problems)
    return overrides


def _from_files(source: Source, problems: list[Problem]) -> tuple[list[Assignment], CyrusConf]:
    given = source.imapd_conf or source.cyrus_conf
    assert given is not None
    imapd_conf = source.imapd_conf or given.parent / "imapd.conf"
    cyrus_conf = source.cyrus_conf or given.parent / "cyrus.conf"
    if source.home is not None:
        problems.append(Problem(None, "--home is for a server without a configuration", "leave it, or -C and -M, out"))
    if source.port_base is not None:
        problems.append(
            Problem(None, "--port-base is for a server without a configuration", "change listen= in cyrus.conf instead")
        )
    found = parse_imapd_conf(imapd_conf)
    problems.extend(found.problems)
    if _is_without_services(source) and not cyrus_conf.exists():
        return found.values, CyrusConf()
    return found.values, parse_cyrus_conf(cyrus_conf)


def _is_without_services(source: Source) -> bool:
    """Whether there need not be a cyrus.conf."""
    return not source.serves and source.cyrus_conf is None


def _service_names(source: Source, assignments: Sequence[Assignment], cyrus: CyrusConf) -> set[str]:
    """Which services may have options of their own; where none are known, any that an option names."""
    names = {entry.name for entry in cyrus.services}
    if not names and _is_without_services(source):
        names = {assignment.key.partition("_")[0] for assignment in assignments}
    return names


# --- the embedded default ---------------------------------------------------


def _embedded(source: Source, problems: list[Problem]) -> tuple[Path, list[Assignment], CyrusConf]:
    try:
        home = (source.home or DEFAULT_HOME).expanduser().absolute()
    except RuntimeError:
        problems.append(Problem(None, "no home directory is known for this user", "name a directory with --home"))
        home = Path("/nonexistent")
    base = DEFAULT_PORT_BASE if source.port_base is None else source.port_base
    if base != 0 and not 0 < base <= 65535 - 995:
        problems.append(Problem(None, f"--port-base {base} cannot be", "choose a number from 1 to 64540, or 0 for any"))
        base = DEFAULT_PORT_BASE
    values = {
        "configdirectory": str(home),
        "partition-default": str(home / "spool"),
        "defaultpartition": "default",
        "admins": EMBEDDED_ADMIN,
        "allowplaintext": "yes",
        "workers": "0",
        "servername": "localhost",
        "tls_server_cert": str(home / "tls" / "certificate.pem"),
        "tls_server_key": str(home / "tls" / "key.pem"),
    }
    assignments = [Assignment(key, value, _EMBEDDED) for key, value in values.items()]
    return home, assignments, _embedded_services(base)


def _embedded_services(base: int) -> CyrusConf:
    def port(number: int) -> str:
        return f"127.0.0.1:{base + number if base else 0}"

    return CyrusConf(
        services=[
            ServiceEntry("imap", ("imapd",), _EMBEDDED, port(143)),
            ServiceEntry("imaps", ("imapd", "-s"), _EMBEDDED, port(993)),
            ServiceEntry("pop3", ("pop3d",), _EMBEDDED, port(110)),
            ServiceEntry("pop3s", ("pop3d", "-s"), _EMBEDDED, port(995)),
            ServiceEntry("lmtp", ("lmtpd", "-a"), _EMBEDDED, port(24)),
            ServiceEntry("lmtpunix", ("lmtpd",), _EMBEDDED, "/"),
            ServiceEntry("smmap", ("smmapd",), _EMBEDDED, "/"),
        ],
        events=[EventEntry("expire", ("cyr_expire",), _EMBEDDED, period=24 * 60, delay=EXPIRE_DELAY)],
    )


# --- what only the whole tells ----------------------------------------------

_PARTITION_NAME = re.compile(r"[a-z0-9]+")


def _whole(checked: Checked, settings: Settings) -> list[Problem]:
    """Check what no single option tells (Cyrus's checks at the start)."""
    problems: list[Problem] = []
    file = Place(next(iter(checked.places.values())).file) if checked.places else None
    if not settings.given("configdirectory"):
        problems.append(Problem(file, "configdirectory is not set", "add `configdirectory: /var/lib/cyrus`"))
    problems.extend(_partitions(checked, settings, file))
    problems.extend(_absolute(checked, settings))
    problems.extend(_namespace(checked, settings))
    problems.extend(_workers(checked, settings))
    return problems


def _partitions(checked: Checked, settings: Settings, file: Place | None) -> list[Problem]:
    problems: list[Problem] = []
    partitions = settings.family("partition-")
    frontend = settings.given("mupdate_server") and not settings.given("proxyservers")
    frontend = frontend and settings.word("mupdate_config") == "standard"
    if not partitions and not frontend:
        problems.append(Problem(file, "there is no partition", "add `partition-default: /var/spool/cyrus/mail`"))
    for prefix in ("partition-", "metapartition-", "archivepartition-"):
        for name in settings.family(prefix):
            place = checked.places[prefix + name]
            if not _PARTITION_NAME.fullmatch(name):
                problems.append(Problem(place, f"{name!r} is no name for a partition", "use letters and digits only"))
            elif prefix != "partition-" and name not in partitions:
                problems.append(
                    Problem(place, f"there is no partition {name}", f"add `partition-{name}:` or remove it")
                )
    default = settings.text("defaultpartition")
    if default and partitions and default.lower() not in partitions:
        mend = f"add `partition-{default}: /path`, or name one of: {', '.join(sorted(partitions))}"
        problems.append(Problem(checked.places["defaultpartition"], f"there is no partition {default}", mend))
    return problems


def _absolute(checked: Checked, settings: Settings) -> list[Problem]:
    names = ["configdirectory", "lmtpsocket", "log_json"]
    names += ["tls_server_cert", "tls_server_key", "tls_client_ca_file"]
    values = {name: settings.text(name) for name in names if settings.given(name)}
    for prefix in ("partition-", "metapartition-", "archivepartition-"):
        values |= {prefix + name: path for name, path in settings.family(prefix).items()}
    return [
        Problem(checked.places[name], f"{name}: {value!r} is no absolute path", "begin it with /")
        for name, value in values.items()
        if name in checked.places and not value.startswith("/") and value != "disabled"
    ]


def namespace_settings(settings: Settings) -> NamespaceSettings:
    """The options that shape mailbox names."""
    return NamespaceSettings(
        altnamespace=settings.switch("altnamespace"),
        unixhierarchysep=settings.switch("unixhierarchysep"),
        userprefix=settings.text("userprefix"),
        sharedprefix=settings.text("sharedprefix"),
        altprefix=settings.text("altprefix"),
        virtdomains=VirtualDomains(settings.word("virtdomains")),
        defaultdomain=settings.text("defaultdomain"),
        crossdomains=settings.switch("crossdomains"),
        crossdomains_onlyother=settings.switch("crossdomains_onlyother"),
        deletedprefix=settings.text("deletedprefix"),
        username_tolower=settings.switch("username_tolower"),
    )


def _namespace(checked: Checked, settings: Settings) -> list[Problem]:
    try:
        namespace_settings(settings).check()
    except BadNamespace as error:
        option = str(error).partition(" ")[0]
        return [Problem(checked.places.get(option), str(error), "choose another value")]
    return []


def _workers(checked: Checked, settings: Settings) -> list[Problem]:
    text = settings.text("workers")
    if text == "auto" or (text.isascii() and text.isdigit() and int(text) <= 256):
        return []
    return [Problem(checked.places["workers"], f"workers: {text!r} cannot be", "it takes auto or a number up to 256")]
