"""What a reload may change, and what it takes a restart for."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pycyrus.config.load import Configuration
from pycyrus.config.options import option_table
from pycyrus.config.settings import Settings

RELOADABLE_AREAS = frozenset({"IMAP", "Delivery and mail sent", "LDAP", "Own options: limits", "TLS"})
"""Areas of the option table whose options belong to services or checkers, not to the store."""

RELOADABLE = frozenset({"debug", "serverinfo", "specialusealways"})

FIXED = frozenset(
    {
        "acl_admin_implies_write",
        "allowallsubscribe",
        "defaultacl",
        "delete_mode",
        "delete_unsubscribe",
        "duplicatesuppression",
        "expunge_mode",
        "implicit_owner_rights",
        "lmtpsocket",
        "maxmessagesize",
        "singleinstancestore",
    }
)
"""Options of those areas that the store or the delivery agent has once and for all."""


@dataclass(frozen=True, slots=True)
class Changes:
    """
    What a new configuration changes.

    @ivar settings: The former options with those that may change changed.
    @ivar used: Keys of these.
    @ivar restart: What else changed.
    """

    configuration: Configuration
    settings: Settings
    used: tuple[str, ...]
    restart: tuple[str, ...]


def changes(former: Configuration, new: Configuration) -> Changes:
    """Compare configurations."""
    old_texts, new_texts = former.settings.texts, new.settings.texts
    texts = dict(old_texts)
    used: list[str] = []
    restart: list[str] = []
    for key in sorted(old_texts.keys() | new_texts.keys()):
        if old_texts.get(key) == new_texts.get(key):
            continue
        if not is_reloadable(key):
            restart.append(key)
            continue
        used.append(key)
        if key in new_texts:
            texts[key] = new_texts[key]
        else:
            del texts[key]
    if (former.cyrus.start, former.cyrus.services, former.cyrus.events, former.cyrus.daemon) != (
        new.cyrus.start,
        new.cyrus.services,
        new.cyrus.events,
        new.cyrus.daemon,
    ):
        restart.append("cyrus.conf")
    settings = Settings(texts)
    return Changes(replace(former, settings=settings), settings, tuple(used), tuple(restart))


def is_reloadable(key: str) -> bool:
    """Whether an option, possibly with a service's prefix, can change while the server runs."""
    table = option_table()
    option = table.find(key)
    while option is None and "_" in key:
        key = key.partition("_")[2]
        option = table.find(key)
    if option is None or option.name in FIXED:
        return False
    return option.name in RELOADABLE or option.area in RELOADABLE_AREAS
