"""What a user's entry says of their mailboxes: a quota, a partition, a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted.logger import Logger

from pycyrus.interfaces import UserDefaults

UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Octets; of a number behind which there is none C{ldap_quota_unit} says it."""

_QUOTA = re.compile(r"([0-9]{1,18})\s*([BKMGT])?(?:I?B)?(?:YTES?)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:_-]{0,253})")
_LARGEST = (1 << 63) - 1
_log = Logger()


@dataclass(frozen=True, slots=True)
class DefaultAttributes:
    """
    Attributes of users' entries; an empty name is for none.

    @ivar quota: How much a user may store (C{ldap_quota_attribute}).
    @ivar unit: Octets of one, where a value has no unit of its own (C{ldap_quota_unit}).
    @ivar partition: C{ldap_partition_attribute}.
    @ivar mail_host: C{ldap_mail_host_attribute}.
    """

    quota: str = ""
    unit: int = UNITS["K"]
    partition: str = ""
    mail_host: str = ""

    @property
    def names(self) -> list[str]:
        """Those that are asked for."""
        return [name for name in (self.quota, self.partition, self.mail_host) if name]

    def read(self, dn: str, values: Callable[[str], list[bytes]]) -> UserDefaults:
        """
        Understand an entry.  Of several values the first counts; what cannot be understood is logged, and says nothing.

        @param values: Gives those of an attribute.
        """

        def first(name: str) -> str:
            found = values(name) if name else []
            return found[0].decode("utf-8", "replace").strip() if found else ""

        quota = first(self.quota)
        kibibytes = parse_quota(quota, self.unit)
        if quota and kibibytes is None:
            _log.error("{dn}: {value} in {name} is no quota", dn=dn, value=quota, name=self.quota)
        return UserDefaults(kibibytes, self._name(dn, first, self.partition), self._name(dn, first, self.mail_host))

    def _name(self, dn: str, first: Callable[[str], str], attribute: str) -> str:
        value = first(attribute)
        if not value or _NAME.fullmatch(value):
            return value.lower()
        _log.error("{dn}: {value} in {name} is no name", dn=dn, value=value, name=attribute)
        return ""


def parse_quota(text: str, unit: int) -> int | None:
    """
    Understand C{500M}, C{2 GB}, C{1048576} or C{0}, which is none.

    @param unit: Octets of one, where the text does not say.
    @return: KiB, at least one for what is more than nothing; None if it is no quota.
    """
    found = _QUOTA.fullmatch(text)
    if found is None:
        return None
    octets = int(found[1]) * (UNITS[found[2].upper()] if found[2] else unit)
    return min(-(-octets // 1024), _LARGEST)
