"""One directory: who somebody is there, whether a password is theirs, and which groups they are in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.core.results import (
    RESULT_BUSY,
    RESULT_CONSTRAINT_VIOLATION,
    RESULT_INAPPROPRIATE_AUTHENTICATION,
    RESULT_INVALID_CREDENTIALS,
    RESULT_INVALID_DN_SYNTAX,
    RESULT_NO_SUCH_OBJECT,
    RESULT_SIZE_LIMIT_EXCEEDED,
    RESULT_SUCCESS,
    RESULT_UNAVAILABLE,
    RESULT_UNWILLING_TO_PERFORM,
)
from twisted.logger import Logger

from pycyrus.auth.ldap import operations
from pycyrus.auth.ldap.connections import Connections
from pycyrus.auth.ldap.errors import DirectoryDown
from pycyrus.auth.ldap.filters import BadFilter, filter_octets
from pycyrus.auth.ldap.passwords import UnknownScheme, matches
from pycyrus.auth.ldap.settings import AuthMethod, LdapSettings
from pycyrus.auth.ldap.tokens import escape_filter, escape_name, expand, user_tokens
from pycyrus.auth.ldap.wire import Result, Search
from pycyrus.auth.outside import Refused, Unusable
from pycyrus.interfaces import UserDefaults

_REFUSALS = frozenset(
    {
        RESULT_INVALID_CREDENTIALS,
        RESULT_NO_SUCH_OBJECT,
        RESULT_INVALID_DN_SYNTAX,
        RESULT_INAPPROPRIATE_AUTHENTICATION,
        RESULT_UNWILLING_TO_PERFORM,
        RESULT_CONSTRAINT_VIOLATION,
    }
)
"""Answers to a bind that mean: not with this name and password.  Locked accounts are among them."""
_NOTHING = frozenset({RESULT_NO_SUCH_OBJECT, RESULT_INVALID_DN_SYNTAX})
"""Answers to a search that mean: there is no such user.  A base with tokens may be no name for some."""
_OUTAGES = frozenset({RESULT_BUSY, RESULT_UNAVAILABLE})
_MOST_GROUPS = 1000
_FOUND_FOR = 5.0
"""Seconds for which an entry that let somebody in is used for further questions about them."""
_MOST_FOUND = 500


@dataclass(slots=True)
class Looked:
    """
    What was found out about a user, for L{LdapDirectory.explain}.

    @ivar steps: What was asked and answered, in order; never a secret.
    """

    steps: list[str] = field(default_factory=list)

    def note(self, step: str) -> None:
        """Add a step."""
        self.steps.append(step)


@dataclass(frozen=True, slots=True)
class UserEntry:
    """
    An entry that was found.

    @ivar attributes: By their names in lower case.
    """

    dn: str
    attributes: Mapping[str, list[bytes]]

    def values(self, name: str) -> list[bytes]:
        """All values of an attribute, whatever case its name has."""
        wanted = name.lower()
        found = self.attributes.get(wanted)
        if found:
            return found
        # Active Directory has so many values in pieces, and sends the first.
        piece = next((each for each in self.attributes if each.startswith(f"{wanted};range=")), None)
        return self.attributes[piece] if piece is not None else []


class LdapDirectory:
    """
    One directory.  All methods block, and may be called from many threads.

    @param settings: How to ask.
    @param where: What it is called in logs.
    """

    log = Logger()

    def __init__(self, settings: LdapSettings, where: str) -> None:
        self.settings = settings
        self.where = where
        self._connections = Connections(settings, where)
        self._found: dict[str, tuple[float, UserEntry]] = {}
        self._patience = float(settings.timeout + settings.time_limit)

    # --- what is asked ------------------------------------------------------------

    def check(self, user_id: str, password: bytes, service: str, looked: Looked | None = None) -> str:
        """
        Check a password.

        @return: The user id to go on with.
        @raise Refused: Unknown, ambiguous, wrong, locked or not a member: one answer
            for the client.
        @raise DirectoryDown: It cannot be told now.
        """
        told = looked or Looked()
        settings = self.settings
        if not password or b"\0" in password:
            # An empty one would be an anonymous bind, which succeeds (RFC 4513 section 5.1.2).
            raise Refused("empty password")
        if not _is_utf8(password):
            # RFC 4513 section 5.1.3: passwords are sent in UTF-8, so nobody has this one.
            raise Refused("password not in UTF-8")
        tokens = self._tokens(user_id, service)
        if settings.method is AuthMethod.FASTBIND:
            dn = expand(settings.filter, tokens, escape_name)
            self._bind_as(dn, password, told)
            return user_id
        entry = self._find(tokens, told)
        if entry is None:
            # As long as for one who exists.
            with suppress(Refused):
                self._bind_as(f"cn=nobody,{settings.base}" if "%" not in settings.base else "cn=nobody", password, told)
            raise Refused("no such user")
        if settings.method is AuthMethod.CUSTOM:
            self._compare(entry, password, told)
        else:
            self._bind_as(entry.dn, password, told)
        self._check_member(entry, user_id, service, told)
        self._keep(user_id, entry)
        return self._user_id(entry, user_id)

    def groups(self, user_id: str, looked: Looked | None = None) -> frozenset[str]:
        """
        Groups of a user; none of one who is not there.

        @raise DirectoryDown: It cannot be told now.
        """
        told = looked or Looked()
        settings = self.settings
        if not settings.has_groups:
            return frozenset()
        entry = self._entry(user_id, told)
        return frozenset() if entry is None else self._groups_of(entry, user_id, told)

    def defaults(self, user_id: str) -> UserDefaults:
        """
        What a user's entry says of their mailboxes.

        @raise DirectoryDown: It cannot be told now.
        """
        attributes = self.settings.defaults
        if not attributes.names or self.settings.method is AuthMethod.FASTBIND:
            return UserDefaults()
        entry = self._entry(user_id, Looked())
        return UserDefaults() if entry is None else attributes.read(entry.dn, entry.values)

    def _groups_of(self, entry: UserEntry, user_id: str, told: Looked) -> frozenset[str]:
        settings = self.settings
        if settings.member_method == "attribute":
            found = self._named_groups(entry.values(settings.member_attribute)[:_MOST_GROUPS])
        else:
            found = self._searched_groups(user_id, entry.dn, told)
        told.note(f"groups: {', '.join(sorted(found)) or 'none'}")
        return frozenset(filter(None, found))

    def explain(self, user_id: str, service: str) -> list[str]:
        """What would be asked for a user, and what is answered but for the password."""
        told = Looked()
        tokens = self._tokens(user_id, service)
        if self.settings.method is AuthMethod.FASTBIND:
            told.note(f"would bind as {expand(self.settings.filter, tokens, escape_name)}")
            return told.steps
        try:
            entry = self._find(tokens, told)
            if entry is not None:
                self._check_member(entry, user_id, service, told)
                if self.settings.has_groups:
                    self._groups_of(entry, user_id, told)
                if self.settings.defaults.names:
                    told.note(f"new mailboxes: {self.settings.defaults.read(entry.dn, entry.values)}")
        except (Refused, DirectoryDown) as error:
            told.note(str(error))
        return told.steps

    def _tokens(self, user_id: str, service: str = "", dn: str = "") -> Mapping[str, str]:
        settings = self.settings
        return user_tokens(user_id, realm=settings.realm, service=service, dn=dn, splits=settings.splits_user)

    # --- entries that were just found ---------------------------------------------

    def _keep(self, user_id: str, entry: UserEntry) -> None:
        """Right after the password groups are asked for, and perhaps more: that needs no further search."""
        # Threads do this at the same time, each step of it alone; whoever is late loses no more than a search.
        if len(self._found) >= _MOST_FOUND:
            self._found = {}
        self._found[user_id] = (time.monotonic() + _FOUND_FOR, entry)

    def _entry(self, user_id: str, told: Looked) -> UserEntry | None:
        """The entry of a user; None of nobody, and of several."""
        until, entry = self._found.get(user_id, (0.0, None))
        if entry is not None and time.monotonic() < until:
            return entry
        try:
            return self._find(self._tokens(user_id), told)
        except Refused:
            return None

    # --- steps --------------------------------------------------------------------

    def _find(self, tokens: Mapping[str, str], told: Looked) -> UserEntry | None:
        settings = self.settings
        base = expand(settings.base, tokens, escape_name)
        if settings.domain_base and tokens["d"]:
            root = self._root_of(tokens["d"], told)
            if root is None:
                return None
            base = root
        filter_ = expand(settings.filter, tokens, escape_filter)
        wanted = [settings.user_attribute, settings.member_attribute, *settings.defaults.names]
        if settings.method is AuthMethod.CUSTOM:
            wanted.append(settings.password_attribute)
        entries = self._search(base, filter_, settings.scope, [name for name in wanted if name], 2)
        told.note(f"{self.where}: searched {base} for {filter_}: {len(entries)} found")
        if len(entries) > 1:
            self.log.error(
                "{where}: {filter} finds more than one user below {base}: nobody gets in", where=self.where,
                filter=filter_, base=base,
            )  # fmt: skip
            raise Refused("more than one user")
        if not entries:
            return None
        if not entries[0].dn:
            # A bind with an empty name is anonymous, whatever the password.
            raise Refused("an entry without a name")
        told.note(f"entry: {entries[0].dn}")
        return entries[0]

    def _root_of(self, domain: str, told: Looked) -> str | None:
        """Where the users of a domain are; None of one that is not there."""
        settings = self.settings
        filter_ = expand(settings.domain_filter, {"s": domain, "%": "%"}, escape_filter)
        wanted = settings.domain_result_attribute
        entries = self._search(settings.domain_base, filter_, settings.domain_scope, [wanted], 2)
        told.note(f"{self.where}: searched {settings.domain_base} for {filter_}: {len(entries)} found")
        if len(entries) > 1:
            raise Refused("more than one domain of that name")
        if not entries:
            return None
        roots = entries[0].values(wanted)
        if roots:
            return roots[0].decode("utf-8", "replace")
        return ",".join(f"dc={escape_name(label)}" for label in domain.split("."))

    def _search(self, base: str, filter_: str, scope: str, attributes: list[str], most: int) -> list[UserEntry]:
        settings = self.settings

        try:
            asked = filter_octets(filter_)
        except BadFilter as error:
            # Where a token stands for more than a value; that is the user's doing, and no outage.
            raise Refused(str(error)) from error
        wanted = Search(base, asked, scope, settings.deref, attributes, most, settings.time_limit)

        def search(connection: ldap3.Connection) -> list[UserEntry]:
            result, entries = operations.search(connection, wanted, self._patience)
            if result.code in _NOTHING:
                return []
            if result.code not in (RESULT_SUCCESS, RESULT_SIZE_LIMIT_EXCEEDED):
                raise self._trouble("search", result)
            return [UserEntry(dn, found) for dn, found in entries]

        return self._connections.search(search)

    def _compare(self, entry: UserEntry, password: bytes, told: Looked) -> None:
        values = entry.values(self.settings.password_attribute)
        told.note(f"compares with {len(values)} values of {self.settings.password_attribute}")
        try:
            if not any(matches(value, password) for value in values):
                raise Refused("wrong password")
        except UnknownScheme as error:
            raise Unusable(f"{self.where}: {entry.dn}: {error}") from error

    def _check_member(self, entry: UserEntry, user_id: str, service: str, told: Looked) -> None:
        """Only members of a group come in, where one is named."""
        settings = self.settings
        if not settings.group_dn and not settings.required:
            return
        tokens = self._tokens(user_id, service, entry.dn)
        if settings.required:
            base = expand(settings.required_base, tokens, escape_name)
            filter_ = expand(settings.required, tokens, escape_filter)
            found = self._search(base, filter_, settings.required_scope, [], 1)
        else:
            base = expand(settings.group_dn, tokens, escape_name)
            filter_ = f"({settings.group_attribute}={escape_filter(entry.dn)})"
            found = self._search(base, filter_, "BASE", [], 1)
        told.note(f"{filter_} in {base}, which lets in: {'yes' if found else 'no'}")
        if not found:
            raise Refused("not in the group that lets in")

    def _named_groups(self, names: list[bytes]) -> set[str]:
        """Groups that an attribute names, and those that these name so in turn."""
        settings = self.settings
        found = {_group_name(value) for value in names}
        seen = set(names)
        for _ in range(settings.nesting):
            above: list[bytes] = []
            for name in names:
                dn = name.decode("utf-8", "replace")
                if not _is_dn(dn) or len(seen) > _MOST_GROUPS:
                    continue
                for entry in self._search(dn, "(objectClass=*)", "BASE", [settings.member_attribute], 1):
                    above += [value for value in entry.values(settings.member_attribute) if value not in seen]
            seen.update(above)
            found.update(_group_name(value) for value in above)
            names = above
        return found

    def _searched_groups(self, user_id: str, dn: str, told: Looked) -> set[str]:
        settings = self.settings
        name = settings.member_attribute or "cn"
        found: set[str] = set()
        seen = {dn.lower()}
        members = [dn]
        for _ in range(settings.nesting + 1):
            above: list[str] = []
            for member in members:
                tokens = self._tokens(user_id, dn=member)
                base = expand(settings.group_base or settings.base, tokens, escape_name)
                filter_ = expand(settings.member_filter, tokens, escape_filter)
                entries = self._search(base, filter_, settings.group_scope, [name], _MOST_GROUPS)
                told.note(f"searched {base} for {filter_}: {len(entries)} groups")
                for entry in entries:
                    found.update(_group_name(value) for value in entry.values(name)[:1])
                    if entry.dn.lower() not in seen and len(seen) < _MOST_GROUPS:
                        seen.add(entry.dn.lower())
                        above.append(entry.dn)
            members = above
        return found

    def _user_id(self, entry: UserEntry, user_id: str) -> str:
        """With C{ldap_user_attribute}: nobody comes into another domain by it."""
        values = entry.values(self.settings.user_attribute) if self.settings.user_attribute else []
        if not values:
            return user_id
        told = values[0].decode("utf-8", "replace").lower()
        _, _, domain = user_id.rpartition("@") if "@" in user_id else ("", "", "")
        local, at, other = told.rpartition("@")
        if at and other != domain:
            raise Refused(f"{self.settings.user_attribute} is of another domain")
        name = local if at else told
        return f"{name}@{domain}" if domain else name

    def _bind_as(self, dn: str, password: bytes, told: Looked) -> None:
        if not dn:
            raise Refused("an empty name")

        def bind(connection: ldap3.Connection) -> None:
            result = operations.bind(connection, dn, password, self._patience)
            if result.code == RESULT_SUCCESS:
                return
            if result.code in _REFUSALS:
                raise Refused(f"bind: {operations.description(result)}")
            raise self._trouble("bind", result)

        told.note(f"binds as {dn}")
        self._connections.check(bind)

    def _trouble(self, what: str, result: Result) -> Exception:
        """
        What an answer means that is neither yes nor no.

        Only what is no user's doing is an outage: else one user could make one for all.
        """
        text = f"{self.where}: {what}: {operations.description(result)}"
        return DirectoryDown(text) if result.code in _OUTAGES else Unusable(text)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()


def _group_name(value: bytes) -> str:
    """A group's name: of a distinguished name the value of its first part."""
    text = value.decode("utf-8", "replace")
    head = ldap3.utils.dn.parse_dn(text)[0][1] if "=" in text and _is_dn(text) else text
    return head.strip().lower()


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_dn(text: str) -> bool:
    try:
        return bool(ldap3.utils.dn.parse_dn(text))
    except LDAPException:
        return False
