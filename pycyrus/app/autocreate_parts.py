"""What the options say of new users' mailboxes, and where it is done: at each login, and when mail comes."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger
from zope.interface import implementer

from pycyrus.auth.identity import Identities, InvalidUserId
from pycyrus.config.settings import Settings
from pycyrus.interfaces import (
    Authenticated,
    Challenge,
    Channel,
    IAuthenticator,
    IAutocreation,
    ISaslExchange,
    IUserDefaults,
)
from pycyrus.model.acl_text import BadAcl, parse_rights
from pycyrus.model.identity import Identity
from pycyrus.store.autocreate import AutocreateSettings, Autocreation
from pycyrus.store.store import MailStore

_log = Logger()

WELCOMING = frozenset({"imapd", "pop3d"})
"""Programs at which a first login makes mailboxes."""


def autocreation(
    settings: Settings, store: MailStore, identities: Identities, user_defaults: IUserDefaults | None = None
) -> Autocreation | None:
    """
    What makes new users' mailboxes; None where C{autocreate_quota} does not say so.

    @param user_defaults: Knows what is laid down for single users.
    """
    if settings.integer("autocreate_quota") < 0:
        return None
    servers = frozenset(settings.words("proxyservers"))

    def recipient(user_id: str) -> Identity | None:
        try:
            if identities.canonical(user_id.encode("ascii", "replace")) != user_id or user_id in servers:
                return None
        except InvalidUserId:
            return None
        return identities.identity(user_id)

    return Autocreation(store, autocreate_settings(settings), recipient, user_defaults)


def autocreate_settings(settings: Settings) -> AutocreateSettings:
    """What a new user gets."""
    separator = "/" if settings.switch("unixhierarchysep") else "."

    def paths(option: str) -> list[tuple[str, ...]]:
        words = (word.strip() for word in settings.text(option).split("|"))
        return [tuple(word.split(separator)) for word in words if word]

    folders = paths("autocreate_inbox_folders")
    uses: dict[tuple[str, ...], str] = {}
    for use, folder in settings.family("xlist-").items():
        path = tuple(folder.split(separator))
        if path in folders:
            uses.setdefault(path, f"\\{use.capitalize()}")
    return AutocreateSettings(
        storage=settings.integer("autocreate_quota"),
        messages=settings.integer("autocreate_quota_messages"),
        users=frozenset(settings.words("autocreate_users")),
        when_mail_comes=settings.switch("autocreate_post"),
        folders=folders,
        subscribed=frozenset(paths("autocreate_subscribe_folders")),
        special_uses=uses,
        rights=_rights(settings.text("autocreate_acl"), separator),
        shared=paths("autocreate_subscribe_sharedfolders"),
        all_shared=settings.switch("autocreate_subscribe_sharedfolders_all"),
    )


def _rights(text: str, separator: str) -> list[tuple[tuple[str, ...], str, frozenset[str]]]:
    """Read C{autocreate_acl}: folder, identifier and rights."""
    if not text:
        return []
    # The folder may have spaces in its name; the others have none.
    words = text.rsplit(maxsplit=2)
    try:
        folder, identifier, rights = words
        return [(tuple(folder.strip('"').split(separator)), identifier, parse_rights(rights))]
    except (ValueError, BadAcl):
        _log.warn("autocreate_acl: not a folder, an identifier and rights: {text}", text=text)
        return []


@implementer(IAuthenticator)
class WelcomingAuthenticator:
    """An authenticator that has mailboxes made for whoever came in, before they are told."""

    def __init__(self, authenticator: IAuthenticator, autocreation: IAutocreation) -> None:
        self._authenticator = authenticator
        self._autocreation = autocreation

    def mechanisms(self, channel: Channel) -> Sequence[str]:
        """See L{IAuthenticator.mechanisms}."""
        return self._authenticator.mechanisms(channel)

    def allows_plaintext(self, channel: Channel) -> bool:
        """See L{IAuthenticator.allows_plaintext}."""
        return self._authenticator.allows_plaintext(channel)

    def start(self, mechanism: str, channel: Channel) -> ISaslExchange:
        """See L{IAuthenticator.start}."""
        exchange: ISaslExchange = _WelcomingExchange(self._authenticator.start(mechanism, channel), self._autocreation)
        return exchange

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        """See L{IAuthenticator.login}."""
        return await self._welcome(await self._authenticator.login(user, password, channel))

    async def act(self, user_id: str, acting_as: bytes, channel: Channel) -> Authenticated:
        """See L{IAuthenticator.act}."""
        return await self._welcome(await self._authenticator.act(user_id, acting_as, channel))

    def apop_timestamp(self, channel: Channel) -> bytes:
        """See L{IAuthenticator.apop_timestamp}."""
        return self._authenticator.apop_timestamp(channel)

    async def apop(self, user: bytes, digest: bytes, said: bytes, channel: Channel) -> Authenticated:
        """See L{IAuthenticator.apop}."""
        return await self._welcome(await self._authenticator.apop(user, digest, said, channel))

    async def _welcome(self, authenticated: Authenticated) -> Authenticated:
        await self._autocreation.logged_in(authenticated.identity)
        return authenticated


@implementer(ISaslExchange)
class _WelcomingExchange:
    """One exchange of it."""

    __slots__ = ("_autocreation", "_exchange")

    def __init__(self, exchange: ISaslExchange, autocreation: IAutocreation) -> None:
        self._exchange = exchange
        self._autocreation = autocreation

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        """See L{ISaslExchange.step}."""
        outcome = await self._exchange.step(response)
        if isinstance(outcome, Authenticated):
            await self._autocreation.logged_in(outcome.identity)
        return outcome
