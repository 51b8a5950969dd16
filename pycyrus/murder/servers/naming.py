"""
Whether another server names mailboxes as this one does.

Commands are passed on as clients write them, so a name must mean the same there: with another
separator, C{a.b} would be another mailbox.  NAMESPACE (RFC 2342) tells what a server's options make
of names, before anything is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.logger import Logger

from pycyrus.errors import StoreUnavailable
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, NamespaceSettings
from pycyrus.model.scopes import Namespace
from pycyrus.murder.servers.imap_link import ImapLink

_KIND = rb"(NIL|\(\(.*?\)\))"
_RESPONSE = re.compile(rb"\* NAMESPACE " + rb" ".join((_KIND,) * 3) + rb"\s*\Z", re.IGNORECASE | re.DOTALL)
_FIRST = re.compile(rb'\(\("((?:[^"\\]|\\.)*)" (?:"(.)"|NIL)')
_OPTIONS = ("altnamespace", "userprefix", "sharedprefix")
"""What shapes the prefixes of a response, in its order."""
_LONGEST = 4096
"""Octets of a response."""
_AGREES_FOR = 300.0
"""Seconds for which a server is not looked at again."""
_HALF_SEEN_FOR = 60.0
"""Seconds likewise, where a user was not told all: who sees nothing shared is told no prefix of it."""
_DIFFERS_FOR = 30.0
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Prefix:
    """One namespace of a response."""

    prefix: bytes
    separator: bytes


def parse_namespaces(untagged: bytes) -> Sequence[Prefix | None]:
    """
    Read a response: personal, others', shared.

    @return: None for what is NIL; nothing at all if it cannot be understood.
    """
    begin = untagged.upper().rfind(b"* NAMESPACE ")
    match = _RESPONSE.match(untagged[begin : begin + _LONGEST].partition(b"\r\n")[0]) if begin >= 0 else None
    if match is None:
        return ()
    found = [_FIRST.match(kind) for kind in match.groups()]
    return [None if each is None else Prefix(each[1], each[2] or b"") for each in found]


def difference(said: Sequence[Prefix | None], namespace: NamespaceSettings, identity: Identity) -> str:
    """
    What differs, in the words of the options.

    @param said: What the other server told this identity.  Of administrators only the separator is
        compared: who is one here need not be one there.
    @return: Empty if nothing does.
    """
    ours = ExternalNames(namespace, identity).namespace_lines(frozenset(Namespace))
    pairs = zip(_OPTIONS, said, parse_namespaces(b"* NAMESPACE " + ours), strict=False)
    told = [(option, there, here) for option, there, here in pairs if there is not None and here is not None]
    for _, there, here in told:
        if there.separator and there.separator != here.separator:
            return f"unixhierarchysep: the separator there is {there.separator.decode('ascii', 'replace')!r}"
    if identity.admin is not AdminScope.NONE or not identity.user_id:
        return ""
    for option, there, here in told:
        if there.prefix != here.prefix:
            text = there.prefix.decode("utf-8", "replace")
            return f"{option}: the prefix there is {text!r}, here {here.prefix.decode('utf-8', 'replace')!r}"
    return ""


class NamesDiffer(StoreUnavailable):
    """
    A server would take a name for another mailbox's.

    @ivar problem: The option, and what it makes of names there.
    """

    def __init__(self, server: str, problem: str) -> None:
        super().__init__(f"{server} names mailboxes otherwise: {problem}")
        self.problem = problem


class NamingCheck:
    """
    Looks at servers now and then, and remembers what was found.

    @param namespace: How names look here.
    @param seconds: The time.
    """

    log = Logger()

    def __init__(self, namespace: NamespaceSettings, seconds: Callable[[], float]) -> None:
        self._namespace = namespace
        self._seconds = seconds
        self._agreed: dict[tuple[str, bool], float] = {}
        self._differs: dict[tuple[str, str], tuple[float, str]] = {}
        self._told: dict[str, str] = {}

    def check_known(self, server: str, identity: Identity) -> None:
        """
        Save the connection to a server of which it is known.

        @raise NamesDiffer: That its names mean other mailboxes.
        """
        until, problem = self._differs.get((server, identity.user_id), (0.0, ""))
        if self._seconds() < until:
            raise NamesDiffer(server, problem)

    async def check(self, link: ImapLink, identity: Identity) -> None:
        """
        See whether a server names mailboxes as this one does.

        @param link: Logged in for the identity.
        @raise NamesDiffer: It does not.
        @raise StoreUnavailable: The connection went.
        """
        is_plain = identity.admin is AdminScope.NONE and bool(identity.user_id)
        if self._agreed.get((link.server, is_plain), 0.0) > self._seconds():
            return
        untagged, status, _ = await link.ask(b"NAMESPACE")
        said = parse_namespaces(untagged) if status == b"OK" else ()
        problem = difference(said, self._namespace, identity)
        now = self._seconds()
        if not problem:
            is_all = bool(said) and (None not in said or not is_plain)
            self._agreed[link.server, is_plain] = now + (_AGREES_FOR if is_all else _HALF_SEEN_FOR)
            if is_plain and self._told.pop(link.server, None) is not None:
                self.log.info("{server} names mailboxes as this server does", server=link.server)
            return
        self._agreed.pop((link.server, is_plain), None)
        if len(self._differs) >= _MOST_REMEMBERED:
            self._differs.clear()
        self._differs[link.server, identity.user_id] = now + _DIFFERS_FOR, problem
        if self._told.get(link.server) != problem:
            self._told[link.server] = problem
            self.log.error(
                "{server} names mailboxes otherwise than this server, and is not used: {problem} (for {user})",
                server=link.server,
                problem=problem,
                user=identity.user_id,
            )
        raise NamesDiffer(link.server, problem)
