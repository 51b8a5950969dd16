"""
External names: how the mailboxes look to one identity.

Three views (RFC 2342): administrators see real names (C{user/fred/Sent@example.com});
others see their own folders either at the top level (C{altnamespace}) or below
INBOX.  The separator is C{/} or C{.}.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from pycyrus.errors import InvalidMailboxName
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.internal_names import (
    DELETED_PREFIX,
    MAX_INTERNAL_NAME,
    USER_ROOT,
    check_component,
    check_owner,
    from_real_components,
    internal,
    is_domain,
    parse_internal,
    real_components,
)
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.patterns import compile_pattern, has_wildcard, literal_prefix
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.model.utf7 import BadUtf7, modified_utf7_decode, modified_utf7_encode

INBOX = "INBOX"
_LONGEST_EXTERNAL = 4 * MAX_INTERNAL_NAME
_SPECIAL_IDENTIFIERS = frozenset(("anyone", "anonymous"))
_KNOWN = 32
"""Names that a session's codec remembers."""
_DOTS = str.maketrans(".", "^")
_CIRCUMFLEXES = str.maketrans("^", ".")
_BAD_PREFIX = re.compile(r"[^\x20-\x7e]|[%*\"\\^&]")


class VirtualDomains(enum.Enum):
    """The option C{virtdomains}."""

    OFF = "off"
    USERID = "userid"
    ON = "on"


class BadNamespace(ValueError):
    """The namespace options contradict each other; the message names the option."""


@dataclass(frozen=True, slots=True)
class NamespaceSettings:
    """
    The options that shape external names.

    @ivar altnamespace: Own folders at the top level, for all but administrators.
    @ivar unixhierarchysep: The separator is C{/}, not C{.}.
    @ivar userprefix: Parent of other users' mailboxes under altnamespace.
    @ivar sharedprefix: Parent of shared mailboxes under altnamespace.
    @ivar altprefix: Parent of own folders whose names clash with one of these.
    @ivar crossdomains: Names of other domains are told with their domain.
    @ivar crossdomains_onlyother: Names of one's own domain without it.
    @ivar username_tolower: User ids are in lower case.
    @ivar deletedprefix: Root of delayed-deleted mailboxes.
    """

    altnamespace: bool = True
    unixhierarchysep: bool = True
    userprefix: str = "Other Users"
    sharedprefix: str = "Shared Folders"
    altprefix: str = "Alt Folders"
    virtdomains: VirtualDomains = VirtualDomains.OFF
    defaultdomain: str = "internal"
    crossdomains: bool = False
    crossdomains_onlyother: bool = False
    deletedprefix: str = DELETED_PREFIX
    username_tolower: bool = True

    @property
    def separator(self) -> str:
        """One character."""
        return "/" if self.unixhierarchysep else "."

    def check(self) -> None:
        """
        Refuse prefixes that could not be told from one another.

        @raise BadNamespace: Naming the option at fault.
        """
        prefixes = {"userprefix": self.userprefix, "sharedprefix": self.sharedprefix, "altprefix": self.altprefix}
        seen: set[str] = {INBOX}
        for option, prefix in prefixes.items():
            if not prefix or self.separator in prefix or "/" in prefix or _BAD_PREFIX.search(prefix):
                raise BadNamespace(f"{option} must be printable and free of separators and wildcards")
            if prefix.upper() in seen:
                raise BadNamespace(f"{option} is the same as another prefix or as INBOX")
            seen.add(prefix.upper())
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.deletedprefix) or self.deletedprefix.lower() == USER_ROOT:
            raise BadNamespace("deletedprefix must be letters and digits, and not the root of users")


class ExternalNames:
    """
    Reads and writes names as one identity sees them.

    C{utf8} on a call says that the client enabled IMAP4rev2 or UTF8=ACCEPT:
    names are then UTF-8 and not modified UTF-7 (RFC 9051 section 5.1, RFC 6855
    section 3).

    @ivar separator: The hierarchy separator, one octet.
    @ivar administrative: The identity sees real names.
    """

    __slots__ = (
        "_decoded", "_domain", "_names_domain", "_separator", "_settings", "_user", "administrative", "separator",
    )  # fmt: skip

    def __init__(self, settings: NamespaceSettings, identity: Identity) -> None:
        self._settings = settings
        self._decoded: dict[tuple[bytes, bool], MailboxName] = {}
        self._separator = settings.separator
        self._domain = identity.domain
        self._user = identity.user
        self.separator = self._separator.encode("ascii")
        self.administrative = identity.admin is not AdminScope.NONE
        virtual = settings.virtdomains is not VirtualDomains.OFF
        # Whether a domain may stand at the end of a name.
        self._names_domain = virtual and (identity.admin is AdminScope.GLOBAL or settings.crossdomains)

    @property
    def altnamespace(self) -> bool:
        """Own folders stand at the top level, beside INBOX."""
        return self._settings.altnamespace and not self.administrative

    # --- reading --------------------------------------------------------

    def decode(self, wire: bytes, *, utf8: bool = False) -> MailboxName:
        """
        Read a name that a client gave.

        One trailing separator is dropped (RFC 9051 section 6.3.4).

        @raise InvalidMailboxName: No mailbox can have it.
        """
        known = self._decoded.get((wire, utf8))
        if known is not None:
            return known
        if len(wire) > _LONGEST_EXTERNAL:
            raise InvalidMailboxName("too long")
        name = self._name_of(self._components(_text(wire, utf8)))
        if len(internal(name, self._settings.deletedprefix)) > MAX_INTERNAL_NAME:
            raise InvalidMailboxName("too long")
        # Clients ask for the same few names again and again.
        if len(self._decoded) >= _KNOWN:
            self._decoded.clear()
        self._decoded[wire, utf8] = name
        return name

    def _components(self, text: str) -> list[str]:
        components = text.split(self._separator)
        if len(components) > 1 and not components[-1]:
            components.pop()
        if self._settings.unixhierarchysep:
            for component in components:
                check_component(component)
            return components
        restored = [component.translate(_CIRCUMFLEXES) for component in components]
        for component in restored:
            check_component(component)
        return restored

    def _name_of(self, components: list[str]) -> MailboxName:
        first, rest = components[0], components[1:]
        if first.upper() == INBOX and (not self.altnamespace or not rest):
            return self._own(rest)
        if not self.altnamespace:
            return self._real_name(components)
        if first == self._settings.userprefix:
            return self._name_of_other(rest)
        if first == self._settings.sharedprefix:
            if not rest:
                raise InvalidMailboxName("a namespace, not a mailbox")
            return self._real_name(rest, shared=True)
        if first == self._settings.altprefix:
            if not rest or not self._clashes(rest[0]):
                raise InvalidMailboxName("nothing can be there")
            return self._own(rest)
        if first.upper() == INBOX:
            # As in Cyrus these lie below an own folder named INBOX, which need not be there.
            if rest[0].upper() == INBOX:
                raise InvalidMailboxName("INBOX below INBOX")
            return self._own([INBOX, *rest])
        return self._own(components)

    def _own(self, path: list[str]) -> MailboxName:
        return MailboxName(self._domain, self._user, tuple(path))

    def _name_of_other(self, components: list[str]) -> MailboxName:
        if not components:
            raise InvalidMailboxName("a namespace, not a mailbox")
        owner, domain = self._split_owner(components[0])
        return MailboxName(domain, owner, tuple(components[1:]))

    def _split_owner(self, component: str) -> tuple[str, str]:
        owner, domain = component, self._domain
        if self._settings.virtdomains is not VirtualDomains.OFF and "@" in component:
            owner, _, text = component.rpartition("@")
            domain = self._parse_domain(text)
        check_owner(owner)
        return owner, domain

    def _parse_domain(self, text: str) -> str:
        domain = text.lower()
        if domain == self._settings.defaultdomain.lower():
            return ""
        if not is_domain(domain):
            raise InvalidMailboxName("domain")
        return domain

    def _real_name(self, components: list[str], *, shared: bool = False) -> MailboxName:
        """
        The name of a path from the root.

        @param shared: It is below the prefix of shared folders, where neither
            users nor deleted mailboxes are.
        """
        domain = self._domain
        user = not shared and components[0] == USER_ROOT and len(components) > 1
        if user and not self.administrative:
            return self._name_of_other(components[1:])
        before, told = self._cut_domain(components)
        if told and self._names_domain:
            domain = self._parse_domain(told)
            components = before
        elif told and self.administrative and told.lower() == (self._domain or self._settings.defaultdomain).lower():
            # A domain's administrator may write the domain, but is not told it.
            components = before
        elif told and self.administrative and self._settings.virtdomains is not VirtualDomains.OFF:
            # The name is meant to be another domain's, and must not become one of this.
            raise InvalidMailboxName("foreign domain")
        if shared and components[0] in (USER_ROOT, self._settings.deletedprefix):
            raise InvalidMailboxName("not a shared mailbox")
        return from_real_components(domain, components, self._settings.deletedprefix)

    def _cut_domain(self, components: list[str]) -> tuple[list[str], str]:
        """
        Take off the domain at the end of a name.

        @return: Components without it, and the domain; empty if there is none.
        """
        index = len(components) - 1
        if self._separator == ".":
            # The dots of the domain were taken for separators.
            index = next((i for i in reversed(range(len(components))) if "@" in components[i]), index)
        head, _, tail = components[index].rpartition("@")
        if not head:
            return components, ""
        return [*components[:index], head], ".".join((tail, *components[index + 1 :]))

    # --- writing --------------------------------------------------------

    def encode(self, name: MailboxName, *, utf8: bool = False) -> bytes:
        """
        Write a name for the client.

        What it gives, C{decode} reads back, for every name that the identity
        may see.
        """
        if self.administrative and name.deleted is None and self._settings.unixhierarchysep:
            # Administrators list whole servers: the usual names take the short way.
            text = "/".join(name.path if name.owner is None else (USER_ROOT, name.owner, *name.path))
            if "@" not in text:
                told = self._domain_to_tell(name.domain, ())
                text = text if told is None else f"{text}@{told}"
                return text.encode("utf-8") if utf8 else modified_utf7_encode(text)
        components, domain = self._external(name)
        if not self._settings.unixhierarchysep:
            components = [component.translate(_DOTS) for component in components]
        text = self._separator.join(components)
        if domain is not None:
            text = f"{text}@{domain}"
        return text.encode("utf-8") if utf8 else modified_utf7_encode(text)

    def _external(self, name: MailboxName) -> tuple[list[str], str | None]:
        """Components, and the domain to put at the end."""
        own = name.owner == self._user and name.domain == self._domain and name.deleted is None
        if own and not self.administrative:
            return self._external_own(name.path), None
        if name.owner is None or self.administrative or name.deleted is not None:
            components = real_components(name, self._settings.deletedprefix)
            if self.altnamespace:
                components.insert(0, self._settings.sharedprefix)
            return components, self._domain_to_tell(name.domain, components)
        owner = name.owner
        domain = self._domain_to_tell(name.domain, [owner])
        if domain is not None:
            owner = f"{owner}@{domain}"
        return [self._settings.userprefix if self.altnamespace else USER_ROOT, owner, *name.path], None

    def _external_own(self, path: tuple[str, ...]) -> list[str]:
        if not path or not self.altnamespace:
            return [INBOX, *path]
        if path[0] == INBOX and len(path) > 1 and path[1].upper() != INBOX:
            return list(path)
        return [self._settings.altprefix, *path] if self._clashes(path[0]) else list(path)

    def _clashes(self, component: str) -> bool:
        settings = self._settings
        return component.upper() == INBOX or component in (
            settings.userprefix,
            settings.sharedprefix,
            settings.altprefix,
        )

    def _domain_to_tell(self, domain: str, components: Sequence[str]) -> str | None:
        """
        The domain to put behind a name.

        @param components: What it will stand behind: if something there could
            be taken for a domain, the true one must be told.
        """
        if self._settings.virtdomains is VirtualDomains.OFF:
            return domain or None
        if self.administrative:
            needed = domain != ("" if self._names_domain else self._domain)
        elif self._settings.crossdomains and not self._settings.crossdomains_onlyother:
            needed = True
        else:
            needed = domain != self._domain
        if not needed and (self._names_domain or self.administrative):
            needed = bool(components) and bool(self._cut_domain(list(components))[1])
        return (domain or self._settings.defaultdomain) if needed else None

    # --- listing --------------------------------------------------------

    def matcher(self, pattern: bytes) -> Callable[[bytes], bool]:
        """
        A function that tells whether an external name matches a LIST pattern.

        Its time is linear in the name, whatever the pattern.
        """
        return compile_pattern(pattern, self.separator)

    def depth(self, patterns: Iterable[bytes]) -> int | None:
        """
        How many components a name has at most that matches one of the patterns.

        @return: None where there is no such number.
        """
        if self._separator == "." or not patterns:
            # The dots of a domain cannot be told from separators.
            return None
        depths = [None if b"*" in pattern else pattern.count(self.separator) + 1 for pattern in patterns]
        return None if None in depths else max(depth for depth in depths if depth is not None)

    def scopes(self, pattern: bytes, *, utf8: bool = False) -> list[ListScope]:
        """
        Where names that match a LIST pattern can be.

        Every name that matches is within one of the scopes, or is a parent of
        one that is.
        """
        try:
            if not has_wildcard(pattern):
                return self._exact_scopes(pattern, utf8)
            prefix = literal_prefix(pattern)
            cut = prefix[: prefix.rfind(self.separator) + 1]
            begin = self._certain_components(_text(cut, utf8))
        except InvalidMailboxName:
            return []
        if self.altnamespace:
            return self._alternate_scopes(begin)
        return self._real_scopes(begin, prefix[len(cut) :], self._pattern_domain(pattern))

    def _exact_scopes(self, pattern: bytes, utf8: bool) -> list[ListScope]:
        try:
            name = self.decode(pattern, utf8=utf8)
        except InvalidMailboxName:
            # It may still be the parent of something, such as a namespace.
            begin = self._certain_components(_text(pattern, utf8))
            return self._alternate_scopes(begin) if self.altnamespace else self._real_scopes(begin, b"", None)
        if name.deleted is not None:
            return [ListScope(Namespace.SHARED, name.domain, deleted=True)]
        if name.owner is None:
            scope = ListScope(Namespace.SHARED, name.domain, path=name.path)
            # For administrators a path into the deleted tree can be a parent.
            return [scope, ListScope(Namespace.SHARED, name.domain, deleted=True)] if self.administrative else [scope]
        if name.owner == self._user and name.domain == self._domain:
            return [ListScope(Namespace.PERSONAL, path=name.path)]
        return [ListScope(Namespace.OTHER, name.domain, name.owner, name.path)]

    def _certain_components(self, text: str) -> list[str]:
        """Components of the beginning of a name, as far as no domain can be in them."""
        components = self._components(text) if text else []
        if self._settings.virtdomains is VirtualDomains.OFF or not (self._names_domain or self.administrative):
            return components
        certain = next((i for i, component in enumerate(components) if "@" in component), len(components))
        return components[:certain]

    def _alternate_scopes(self, begin: list[str]) -> list[ListScope]:
        settings = self._settings
        if not begin:
            return [ListScope(Namespace.PERSONAL), ListScope(Namespace.OTHER), ListScope(Namespace.SHARED)]
        first, rest = begin[0], tuple(begin[1:])
        if first == settings.userprefix:
            return self._other_scope(rest)
        if first == settings.sharedprefix:
            return [ListScope(Namespace.SHARED, path=rest)]
        if first == settings.altprefix:
            return [ListScope(Namespace.PERSONAL, path=rest)]
        if first.upper() == INBOX:
            return [ListScope(Namespace.PERSONAL)]
        return [ListScope(Namespace.PERSONAL, path=tuple(begin))]

    def _real_scopes(self, begin: list[str], partial: bytes, domain: str | None) -> list[ListScope]:
        """
        Scopes where the namespaces have no prefixes but C{user} and C{INBOX}.

        @param begin: Components that matching names begin with.
        @param partial: What the next component begins with.
        @param domain: Domain of matching names; None for any.
        """
        if begin:
            first, rest = begin[0], tuple(begin[1:])
            if first.upper() == INBOX:
                return [ListScope(Namespace.PERSONAL, path=rest)]
            if first == USER_ROOT:
                return self._other_scope(rest, domain)
            if first == self._settings.deletedprefix:
                return [ListScope(Namespace.SHARED, domain, deleted=True)]
            return [ListScope(Namespace.SHARED, domain, path=(first, *rest))]
        scopes = []
        if INBOX.encode().startswith(partial.upper()[:5]) or self.administrative:
            scopes.append(ListScope(Namespace.PERSONAL))
        if USER_ROOT.encode().startswith(partial):
            scopes.append(ListScope(Namespace.OTHER, domain))
        scopes.append(ListScope(Namespace.SHARED, domain))
        if self.administrative and self._settings.deletedprefix.encode().startswith(partial):
            scopes.append(ListScope(Namespace.SHARED, domain, deleted=True))
        return scopes

    def _other_scope(self, rest: tuple[str, ...], domain: str | None = None) -> list[ListScope]:
        """Scopes of C{user/<rest>}; for administrators these include themselves."""
        if not rest:
            own = [ListScope(Namespace.PERSONAL)] if self.administrative else []
            return [*own, ListScope(Namespace.OTHER, domain)]
        owner, path = rest[0], rest[1:]
        if not self.administrative:
            try:
                owner, domain = self._split_owner(rest[0])
            except InvalidMailboxName:
                return []
        if owner == self._user and domain in (None, self._domain):
            return [ListScope(Namespace.PERSONAL, path=path), ListScope(Namespace.OTHER, domain, owner, path)]
        return [ListScope(Namespace.OTHER, domain, owner, path)]

    def _pattern_domain(self, pattern: bytes) -> str | None:
        """The domain that every matching name has, where that can be known."""
        if not self._names_domain:
            return self._domain
        if not self.administrative:
            return None
        tail = re.split(rb"[*%]", pattern)[-1]
        _, mark, text = tail.rpartition(b"@")
        try:
            return self._parse_domain(text.decode("ascii")) if mark else None
        except (InvalidMailboxName, UnicodeDecodeError):
            return None

    # --- other forms ----------------------------------------------------

    def namespace_lines(self, visible: Collection[Namespace]) -> bytes:
        """
        The three parts of a NAMESPACE response (RFC 9051 section 6.3.10).

        @param visible: Namespaces in which the identity has something to see;
            the others are told as NIL.
        """
        settings, end = self._settings, self._separator
        if self.altnamespace:
            prefixes = ("", f"{settings.userprefix}{end}", f"{settings.sharedprefix}{end}")
        else:
            prefixes = (f"{INBOX}{end}", f"{USER_ROOT}{end}", "")
        order = (Namespace.PERSONAL, Namespace.OTHER, Namespace.SHARED)
        return b" ".join(
            b'(("%b" "%b"))' % (prefix.encode("ascii"), self.separator) if namespace in visible else b"NIL"
            for namespace, prefix in zip(order, prefixes, strict=True)
        )

    # --- identifiers in access control lists ----------------------------

    def identifier(self, text: str) -> str:
        """
        Read an identifier that a client gave: C{fred}, C{fred@example.com}, C{group:staff}, C{anyone}.

        A user id without a domain is of the identity's own; the default domain is left out.
        """
        sign, word = ("-", text[1:]) if text.startswith("-") else ("", text)
        if word in _SPECIAL_IDENTIFIERS or word.startswith("group:"):
            return sign + word
        virtual = self._settings.virtdomains is not VirtualDomains.OFF
        user, mark, domain = word.rpartition("@")
        if virtual and not mark:
            user, mark, domain = word.rpartition("%")
        if not virtual:
            user, domain = word, ""
        elif not mark:
            user, domain = word, self._domain
        if self._settings.username_tolower:
            user = user.lower()
        domain = domain.lower()
        if domain == self._settings.defaultdomain.lower():
            domain = ""
        return f"{sign}{user}@{domain}" if domain else sign + user

    def internal(self, name: MailboxName) -> str:
        """The internal name, as in logs and quota roots."""
        return internal(name, self._settings.deletedprefix)

    def parse_internal(self, text: str) -> MailboxName:
        """
        Read an internal name.

        @raise InvalidMailboxName: It is none.
        """
        return parse_internal(text, self._settings.deletedprefix)


def _text(wire: bytes, utf8: bool) -> str:
    try:
        return wire.decode("utf-8") if utf8 else modified_utf7_decode(wire)
    except (BadUtf7, UnicodeDecodeError) as problem:
        raise InvalidMailboxName("encoding") from problem
