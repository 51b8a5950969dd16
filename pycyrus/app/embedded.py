"""
The embedded default: what a server without a configuration makes for itself.

An administrator and a user with random passwords, the user's INBOX with a
welcome message, a self-signed certificate.  All of it stays, so that a second
start changes nothing.
"""

from __future__ import annotations

import json
import secrets
import string
import sys
from collections.abc import Mapping
from contextlib import closing
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from pathlib import Path

from twisted.logger import Logger

from pycyrus.app.ready import NAME, Account, write_private
from pycyrus.auth.checkers.passwd import DATABASE
from pycyrus.auth.users import UserDatabase
from pycyrus.config.listen import InetAddress, UnixAddress
from pycyrus.config.load import EMBEDDED_ADMIN, EMBEDDED_USER, Configuration
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.errors import MailboxNotFound
from pycyrus.interfaces import IMailStore, NewMessage
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import user_inbox
from pycyrus.net import selfsigned

ACCOUNTS = "accounts.json"
_LETTERS = string.ascii_letters + string.digits
_PASSWORD_LENGTH = 16
"""Characters of a random password: 95 bits."""

_log = Logger()

_WELCOME = """\
Welcome to pycyrus.

This message is a file: it lies below

    {spool}

Deliver more by LMTP.  The addresses of all services, and the passwords, are in

    {ready}

while the server runs.  To add a user:

    pycyrus user add NAME --home {home}
"""


# --- accounts ---------------------------------------------------------------


def accounts_of(home: Path) -> dict[str, Account]:
    """
    The accounts of a home, made the first time.

    @raise ConfigError: They cannot be read or written.
    """
    path = home / ACCOUNTS
    try:
        content = json.loads(path.read_text("utf-8"))
        return {role: Account(account["user"], account["password"]) for role, account in content.items()}
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{path} cannot be used: {error}"
        raise ConfigError([Problem(None, text, "remove the file; passwords are then made anew")]) from error
    accounts = {"admin": Account(EMBEDDED_ADMIN, _password()), "user": Account(EMBEDDED_USER, _password())}
    content = {role: {"user": account.user, "password": account.password} for role, account in accounts.items()}
    try:
        write_private(path, json.dumps(content, indent=2) + "\n")
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror}"
        raise ConfigError([Problem(None, text, "choose another directory with --home")]) from error
    return accounts


def _password() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(_PASSWORD_LENGTH))


async def populate(configuration: Configuration, store: IMailStore, accounts: Mapping[str, Account]) -> None:
    """
    Have the accounts in the user database, and mail in the user's INBOX.

    @raise UserDatabaseError: The database cannot be used.
    @raise MailStoreError: The INBOX cannot be made.
    """
    with closing(UserDatabase(configuration.state / DATABASE)) as users:
        for account in accounts.values():
            # Only when it is new: argon2 takes its time, and whoever changed a
            # password by hand wants it to stay.
            if users.password_hash(account.user) is None:
                users.add(account.user, account.password)
    administrator = Identity(accounts["admin"].user, admin=AdminScope.GLOBAL)
    await _welcome(configuration, store, Identity(accounts["user"].user), administrator)


async def _welcome(
    configuration: Configuration, store: IMailStore, identity: Identity, administrator: Identity
) -> None:
    inbox = user_inbox(identity.user)
    try:
        await store.status(identity, inbox)
        return
    except MailboxNotFound:
        pass
    await store.create(administrator, inbox)
    staged = await store.stage(identity, inbox)
    try:
        staged.write(_message(configuration, identity))
        staged.finish()
        mailbox = await store.open(identity, inbox, "i")
        try:
            await mailbox.append([NewMessage(staged)])
        finally:
            mailbox.close()
    finally:
        staged.discard()


def _message(configuration: Configuration, identity: Identity) -> bytes:
    message = EmailMessage(SMTP)
    message["From"] = "pycyrus <postmaster@localhost>"
    message["To"] = f"{identity.user}@localhost"
    message["Subject"] = "Welcome to pycyrus"
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid("welcome", "localhost")
    message.set_content(
        _WELCOME.format(
            spool=configuration.settings.family("partition-")["default"],
            ready=configuration.state / NAME,
            home=configuration.home,
        )
    )
    return message.as_bytes()


# --- the rest ---------------------------------------------------------------


def make_certificate(configuration: Configuration) -> None:
    """
    Make the self-signed certificate, unless it is there.

    @raise ConfigError: It cannot be written.
    """
    settings = configuration.settings
    certificate, key = Path(settings.text("tls_server_cert")), Path(settings.text("tls_server_key"))
    home = configuration.home
    if home is None or not certificate.is_relative_to(home) or certificate.exists():
        return
    try:
        certificate.parent.mkdir(0o700, exist_ok=True)
        selfsigned.generate(certificate, key)
    except OSError as error:
        text = f"the certificate {certificate} cannot be written: {error.strerror}"
        raise ConfigError([Problem(None, text, "choose another directory with --home")]) from error
    _log.info("made a self-signed certificate in {path}", path=str(certificate))


def announce(
    configuration: Configuration,
    services: Mapping[str, InetAddress | UnixAddress],
    accounts: Mapping[str, Account],
) -> None:
    """Print how to log in: on the terminal, not into the log, for it has passwords."""
    terminal = sys.__stdout__
    if terminal is None or terminal.closed:
        return
    lines = ["", "pycyrus serves mail.", ""]
    lines += [f"  {name:<10}{address}" for name, address in services.items()]
    lines += ["", *(f"  {role:<10}{account.user}  password {account.password}" for role, account in accounts.items())]
    lines += ["", f"  Everything is in {configuration.home}; {NAME} there has this for scripts.", ""]
    terminal.write("\n".join(lines) + "\n")
    terminal.flush()
