"""What is known of a directory: Cyrus's C{ldap_*} options, and saslauthd.conf as it is."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pycyrus.auth.interfaces import BadCheckerOptions
from pycyrus.auth.ldap.defaults import UNITS, DefaultAttributes
from pycyrus.auth.ldap.filters import BadFilter, filter_octets
from pycyrus.auth.ldap.tokens import BadTemplate, escape_filter, escape_name, expand, user_tokens

T = TypeVar("T")


class BadDirectory(BadCheckerOptions):
    """A directory is misconfigured; the text says what to mend."""


class AuthMethod(enum.Enum):
    """How a password is checked (C{ldap_auth_method})."""

    BIND = "bind"
    """The user is searched, and bound as."""
    CUSTOM = "custom"
    """The user is searched, and the hash in the entry compared."""
    FASTBIND = "fastbind"
    """The filter is the name to bind as."""


class Form(enum.Enum):
    """Whose meaning options have, where two programs have the same names for them."""

    IMAPD = "imapd.conf"
    SASLAUTHD = "saslauthd.conf"


_SCOPES = {"sub": "SUBTREE", "one": "LEVEL", "base": "BASE", "subtree": "SUBTREE", "onelevel": "LEVEL"}
_URI = re.compile(r"(ldap[si]?)://((?:\[[0-9a-f:.]+\]|[^/?:\[\]]*)(?::[0-9]{1,5})?)(?:[/?].*)?", re.IGNORECASE)
_SOCKET = "%2Fvar%2Frun%2Fslapd%2Fldapi"
"""Where Debian's slapd listens for C{ldapi:///}."""
_DEREF = {"never": "NEVER", "search": "SEARCH", "find": "BASE", "always": "ALWAYS"}
_MECHANISMS = {name.lower(): name for name in ("EXTERNAL", "DIGEST-MD5", "PLAIN", "GSSAPI")}
_ALIASES = {
    "ldap_servers": "ldap_uri",
    "ldap_search_base": "ldap_base",
    "ldap_bind_pw": "ldap_password",
    "ldap_default_domain": "ldap_default_realm",
    "ldap_tls_check_peer": "ldap_verify_peer",
    "ldap_tls_cacert_file": "ldap_ca_file",
    "ldap_tls_cacert_dir": "ldap_ca_dir",
    "ldap_tls_cert": "ldap_client_cert",
    "ldap_tls_key": "ldap_client_key",
    "ldap_tls_ciphers": "ldap_ciphers",
    "ldap_sasl_authc": "ldap_id",
    "ldap_sasl_authc_id": "ldap_id",
    "ldap_sasl_authz": "ldap_authz",
    "ldap_authz_id": "ldap_authz",
    "ldap_sasl_mech": "ldap_mech",
    "ldap_sasl_realm": "ldap_realm",
    "ldap_use_sasl": "ldap_sasl",
}
"""saslauthd's and older names, and what they are called here."""
_WITHOUT_EFFECT = frozenset(
    {
        # Of saslauthds of long ago, and of the descriptions that people still follow.
        "ldap_cache_mem",
        "ldap_cache_ttl",
        "ldap_verbose",
        "ldap_debug",
        "ldap_domain_name_attribute",
        "ldap_member_scope",
        "ldap_referrals",
        "ldap_restart",
        "ldap_sasl_secprops",
        "ldap_size_limit",
        "ldap_version",
    }
)
"""What a file may say, and has no effect here."""
_DOMAIN_FILTER = "(&(objectclass=domainrelatedobject)(associateddomain=%s))"
_DOMAIN_ROOT = "inetdomainbasedn"
_LINE = re.compile(r"([A-Za-z_]+)\s*[:=]?\s*(.*)")
_TRUE = frozenset({"1", "yes", "on", "true", "t"})
_FALSE = frozenset({"0", "no", "off", "false", "f", ""})


@dataclass(frozen=True, slots=True)
class LdapSettings:
    """
    One directory.  Times are in seconds.

    @ivar uris: Servers, in the order in which they are tried.
    @ivar base: Where users are searched; may have tokens.
    @ivar filter: How; with L{AuthMethod.FASTBIND} the name to bind as.
    @ivar scope: As ldap3 calls it.
    @ivar bind_dn: As whom to search; empty for anonymously.
    @ivar realm: The domain of users who have none.
    @ivar user_attribute: Holds the user id to go on with; empty for the one given.
    @ivar password_attribute: For L{AuthMethod.CUSTOM}.
    @ivar splits_user: C{%u} is what stands before the C{@}, as saslauthd has it.
    @ivar group_dn: Only members of this group come in; empty for all.
    @ivar required: Only those for whom this filter finds something come in; empty for all.
    @ivar member_method: C{attribute} of the user's entry, or C{filter}: how groups are found.
    @ivar member_attribute: With C{attribute} what names groups, with C{filter} a group's name.
    @ivar nesting: Groups of groups are looked for so many levels up.
    @ivar defaults: What entries say of users' mailboxes.
    @ivar domain_base: Where entries of domains are; the users of each are below its root then.
    @ivar domain_filter: Finds a domain's entry; C{%s} is its name.
    @ivar domain_result_attribute: Of such an entry, the domain's root.
    @ivar timeout: For the network.
    @ivar time_limit: For a search.
    """

    uris: tuple[str, ...]
    base: str = ""
    filter: str = "(uid=%u)"
    scope: str = "SUBTREE"
    method: AuthMethod = AuthMethod.BIND
    bind_dn: str = ""
    password: str = field(default="", repr=False)
    realm: str = ""
    user_attribute: str = ""
    password_attribute: str = "userPassword"
    group_dn: str = ""
    group_attribute: str = "uniqueMember"
    required: str = ""
    required_base: str = ""
    required_scope: str = "SUBTREE"
    splits_user: bool = False
    member_method: str = "attribute"
    member_attribute: str = ""
    member_filter: str = "(member=%D)"
    group_base: str = ""
    group_scope: str = "SUBTREE"
    nesting: int = 0
    start_tls: bool = False
    verify_peer: bool = True
    ca_file: str = ""
    ca_directory: str = ""
    client_certificate: str = ""
    client_key: str = ""
    ciphers: str = ""
    deref: str = "NEVER"
    sasl_mechanism: str = ""
    sasl_id: str = ""
    sasl_authz: str = ""
    sasl_realm: str = ""
    defaults: DefaultAttributes = DefaultAttributes()  # noqa: RUF009 - frozen
    domain_base: str = ""
    domain_filter: str = _DOMAIN_FILTER
    domain_scope: str = "SUBTREE"
    domain_result_attribute: str = _DOMAIN_ROOT
    timeout: int = 5
    time_limit: int = 5

    @property
    def has_groups(self) -> bool:
        """Whether it tells groups."""
        return bool(self.member_attribute) or (self.member_method == "filter" and bool(self.group_base))


def read_saslauthd_conf(path: Path) -> dict[str, str]:
    """
    Read a file in saslauthd.conf's form: C{key: value} lines.

    @raise BadDirectory: It cannot be read, or a line is none.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadDirectory(f"{path}: {error}") from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadDirectory(f"{path}:{number}: not KEY: VALUE")
        values[found[1].lower()] = found[2].strip().strip('"')
    return values


class _Values:
    """Options by the names they have here, as what they should be."""

    def __init__(self, options: Mapping[str, str], where: str) -> None:
        self.values = {_ALIASES.get(name, name): value for name, value in options.items()}
        self.where = where
        self._asked: set[str] = set()

    def unknown(self) -> list[str]:
        """What was given, and nobody has asked for."""
        return sorted(self.values.keys() - self._asked - _WITHOUT_EFFECT)

    def bad(self, problem: str) -> BadDirectory:
        """The error to be raised."""
        return BadDirectory(f"{self.where}: {problem}")

    def text(self, name: str, default: str = "") -> str:
        """A text; an empty one is as none."""
        self._asked.add(name)
        return self.values.get(name, default) or default

    def switch(self, name: str, *, default: bool = False) -> bool:
        """Yes or no, in all their spellings."""
        self._asked.add(name)
        value = self.values.get(name, "yes" if default else "no").lower()
        if value not in _TRUE | _FALSE:
            raise self.bad(f"{name}: {value!r} is neither yes nor no")
        return value in _TRUE

    def seconds(self, name: str, default: int) -> int:
        """A time."""
        value = self.text(name, str(default)).removesuffix("s")
        if not value.isdecimal() or not 1 <= int(value) <= 300:
            raise self.bad(f"{name}: {value!r} is not a number of seconds from 1 to 300")
        return int(value)

    def one_of(self, name: str, default: str, known: Mapping[str, T]) -> T:
        """What one of some words means."""
        value = self.text(name, default).lower()
        if value not in known:
            raise self.bad(f"{name}: {value!r} is none of {', '.join(known)}")
        return known[value]


def ldap_settings(options: Mapping[str, str], where: str = "imapd.conf", form: Form = Form.IMAPD) -> LdapSettings:
    """
    Understand options, in Cyrus's names or saslauthd's.

    @param form: Whose meaning the options have.
    @param where: Named in errors.
    @raise BadDirectory: One has a value that it cannot have, or one is missing.
    """
    given = _Values(options, where)
    text, switch = given.text, given.switch
    uris = tuple(_server(given, uri) for uri in text("ldap_uri", "ldap://localhost/").replace(",", " ").split())
    # Of imapd.conf a SASL bind is the default, of which nothing is said where there is no identity for it.
    uses_sasl = switch("ldap_sasl", default="ldap_mech" in given.values or "ldap_id" in given.values)
    matches_filter = text("ldap_group_match_method").lower() == "filter"
    if matches_filter and not text("ldap_group_filter"):
        raise given.bad("ldap_group_match_method: filter needs an ldap_group_filter")
    made = LdapSettings(
        uris=uris,
        base=text("ldap_base"),
        filter=text("ldap_filter", "(uid=%u)"),
        scope=given.one_of("ldap_scope", "sub", _SCOPES),
        method=given.one_of("ldap_auth_method", "bind", {each.value: each for each in AuthMethod}),
        bind_dn=text("ldap_bind_dn"),
        password=text("ldap_password"),
        realm=text("ldap_default_realm"),
        user_attribute=text("ldap_user_attribute"),
        password_attribute=text("ldap_password_attr", "userPassword"),
        group_dn="" if matches_filter else text("ldap_group_dn"),
        group_attribute=text("ldap_group_attr", "uniqueMember"),
        required=text("ldap_group_filter") if matches_filter else "",
        required_base=text("ldap_group_search_base") or text("ldap_base"),
        required_scope=given.one_of("ldap_group_scope", "sub", _SCOPES),
        splits_user=form is Form.SASLAUTHD,
        member_method=given.one_of("ldap_member_method", "attribute", {"attribute": "attribute", "filter": "filter"}),
        member_attribute=text("ldap_member_attribute"),
        member_filter=text("ldap_member_filter", "(member=%D)"),
        group_base=text("ldap_group_base") or text("ldap_member_base"),
        group_scope=given.one_of("ldap_group_scope", "sub", _SCOPES),
        nesting=given.one_of("ldap_group_nesting", "0", {str(number): number for number in range(21)}),
        start_tls=switch("ldap_start_tls"),
        # Not as in Cyrus: passwords go to nobody who cannot be known.
        verify_peer=switch("ldap_verify_peer", default=True),
        ca_file=text("ldap_ca_file"),
        ca_directory=text("ldap_ca_dir"),
        client_certificate=text("ldap_client_cert"),
        client_key=text("ldap_client_key"),
        ciphers=text("ldap_ciphers"),
        deref=given.one_of("ldap_deref", "never", _DEREF),
        sasl_mechanism=given.one_of("ldap_mech", "external", _MECHANISMS) if uses_sasl else "",
        sasl_id=text("ldap_id"),
        sasl_authz=text("ldap_authz"),
        sasl_realm=text("ldap_realm"),
        defaults=DefaultAttributes(
            quota=text("ldap_quota_attribute"),
            unit=given.one_of("ldap_quota_unit", "k", {name.lower(): octets for name, octets in UNITS.items()}),
            partition=text("ldap_partition_attribute"),
            mail_host=text("ldap_mail_host_attribute"),
        ),
        domain_base=text("ldap_domain_base_dn"),
        domain_filter=text("ldap_domain_filter", _DOMAIN_FILTER),
        domain_scope=given.one_of("ldap_domain_scope", "sub", _SCOPES),
        domain_result_attribute=text("ldap_domain_result_attribute", _DOMAIN_ROOT),
        timeout=given.seconds("ldap_timeout", 5),
        time_limit=given.seconds("ldap_time_limit", 5),
    )
    if form is Form.SASLAUTHD:
        if unknown := given.unknown():
            raise given.bad(f"{unknown[0]} is no option")
        if uses_sasl and "ldap_use_sasl" in options:
            raise given.bad("ldap_use_sasl: users are bound by name and password here; ldap_mech is for searches")
    _check(made, where)
    return made


def _server(given: _Values, uri: str) -> str:
    """A server by its URI (RFC 4516 section 2), of which what stands behind the host says nothing of servers."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise given.bad(f"ldap_uri: {uri!r} is none of ldap://HOST:PORT, ldaps://HOST:PORT and ldapi://%2FPATH")
    scheme, host = found[1].lower(), found[2]
    if not host:
        host = _SOCKET if scheme == "ldapi" else "localhost"
    return f"{scheme}://{host}"


def _names(settings: LdapSettings) -> tuple[str, ...]:
    names = (settings.base, settings.group_base, settings.group_dn, settings.required_base)
    return (*names, settings.filter) if settings.method is AuthMethod.FASTBIND else names


def _filters(settings: LdapSettings) -> tuple[str, ...]:
    filters = (settings.member_filter, settings.required)
    return filters if settings.method is AuthMethod.FASTBIND else (*filters, settings.filter)


def _check(settings: LdapSettings, where: str) -> None:
    if settings.method is not AuthMethod.FASTBIND and not settings.base and not settings.domain_base:
        raise BadDirectory(f"{where}: ldap_base is missing: say where users are searched")
    tokens = user_tokens("user@example.com", dn="cn=user")
    try:
        for template in _names(settings):
            expand(template, tokens, escape_name)
        for template in filter(None, _filters(settings)):
            filter_octets(expand(template, tokens, escape_filter))
        filter_octets(expand(settings.domain_filter, {"s": "example.com", "%": "%"}, escape_filter))
    except (BadTemplate, BadFilter) as error:
        raise BadDirectory(f"{where}: {error}") from error
