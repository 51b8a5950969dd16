"""What the options say of user ids and of who administers."""

from __future__ import annotations

from pycyrus.app.store_parts import owner_rights
from pycyrus.auth.identity import IdentitySettings
from pycyrus.config.settings import Settings


def identity_settings(settings: Settings) -> IdentitySettings:
    """How user ids are read, and who administers."""
    return IdentitySettings(
        virtdomains=settings.word("virtdomains"),
        default_domain=settings.text("defaultdomain"),
        lower=settings.switch("username_tolower"),
        realms=frozenset(settings.words("loginrealms")),
        admins=settings.words("admins"),
        crossdomains=settings.switch("crossdomains"),
        owner_rights=owner_rights(settings),
        admin_implies_write=settings.switch("acl_admin_implies_write"),
    )
