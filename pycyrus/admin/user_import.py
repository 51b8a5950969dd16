"""C{pycyrus user import}: accounts of C{saslpasswd2} become accounts of the built-in user database."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname

from pycyrus.app.identity_parts import identity_settings
from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.auth.sasldb.database import Sasldb
from pycyrus.auth.users import UserDatabase, UserExists
from pycyrus.config.load import Configuration


@dataclass(frozen=True, slots=True)
class Account:
    """
    An account of the file.

    @ivar name: As it stands there.
    @ivar user_id: Canonical; None if nobody can have it here.
    """

    name: str
    user_id: str | None
    password: str = field(default="", repr=False)


def accounts_of(path: Path, configuration: Configuration) -> list[Account]:
    """
    Read the accounts.

    @raise pycyrus.auth.sasldb.database.BadSasldb: The file cannot be read.
    """
    identities = Identities(identity_settings(configuration.settings))
    own = configuration.settings.text("servername") or gethostname()
    found = []
    for (user, realm), secret in sorted(Sasldb(path).secrets().items()):
        name = user if realm in ("", own) else f"{user}@{realm}"
        try:
            found.append(Account(name, identities.canonical(os.fsencode(name)), secret.decode("utf-8")))
        except (InvalidUserId, UnicodeDecodeError):
            found.append(Account(name, None))
    return found


def add_accounts(accounts: Iterable[Account], users: UserDatabase) -> tuple[int, list[str]]:
    """
    Add them, each for itself: after an interruption it can be done again.

    @return: How many were added, and for each of the others why not.
    """
    added = 0
    others = []
    for account in accounts:
        if account.user_id is None:
            others.append(f"{account.name}: cannot be a user here")
        elif not account.password:
            others.append(f"{account.user_id}: has no password")
        else:
            try:
                users.add(account.user_id, account.password)
                added += 1
            except UserExists:
                others.append(f"{account.user_id}: has an account, which stays as it is")
    return added, others
