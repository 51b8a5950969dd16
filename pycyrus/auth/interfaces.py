"""The seams within authentication: avatars, credentials, checkers, keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from twisted.cred.credentials import ICredentials, IUsernamePassword
from zope.interface import Attribute, Interface, classImplements

from pycyrus.model.identity import Identity

T = TypeVar("T")

Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs something that takes long where it holds nobody up, and gives its result."""


class IMailUser(Interface):
    """The avatar: who somebody is once logged in.  Provided by L{Identity}."""

    user_id = Attribute("str: the id as it stands in ACLs and logs.")
    user = Attribute("str: its local part.")
    domain = Attribute("str: its domain; empty for the default domain.")
    admin = Attribute("AdminScope")

    def administers(domain: str) -> bool:
        """Whether administrator's rights reach into a domain."""


classImplements(Identity, IMailUser)


class IMailPassword(IUsernamePassword):
    """
    A user name and a password, as a mail service got them.

    C{username} is the canonical user id, as bytes.
    """

    user_id = Attribute("str: the canonical user id.")
    service = Attribute("str: the service's name in cyrus.conf.")
    peer = Attribute("str: the client's address, or empty; for those who log it, as answers are remembered without it.")


class IProved(ICredentials):
    """Who has proved to a SASL mechanism who they are, without a password that we saw."""

    user_id = Attribute("str: the canonical user id.")


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """
    What the server keeps of a password for SCRAM (RFC 5802 section 3).

    @ivar usable: False where nobody may log in with them: unknown or disabled.
    """

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes
    usable: bool = True


class IAccounts(Interface):
    """Accounts behind a checker, as far as others than the checker must know of them."""

    def version() -> object:
        """A value that changes when accounts do, so that what was remembered of them is forgotten."""

    def is_disabled(user_id: str) -> bool:
        """
        Whether somebody may not log in, however they prove themselves.

        @raise AuthenticationUnavailable: It cannot be told now.
        """


class IScramKeyStore(Interface):
    """Where SCRAM finds its keys."""

    async def scram_keys(user_id: str, mechanism: str) -> ScramKeys:
        """
        Keys of a user, or for an unknown one keys that cannot be told from real ones.

        They are the same each time, in each process.

        @param mechanism: C{SCRAM-SHA-1} or C{SCRAM-SHA-256}.
        @raise AuthenticationUnavailable: They cannot be read now.
        """


class ISharedSecrets(Interface):
    """Where CRAM-MD5, DIGEST-MD5 and APOP find passwords: they need them as they are, which no hash gives back."""

    async def shared_secret(user_id: str) -> bytes | None:
        """
        The password of a user, in UTF-8; None where there is none to be had.

        @param user_id: Canonical.
        @raise AuthenticationUnavailable: It cannot be read now.
        """


class IGroups(Interface):
    """Who knows the groups of users."""

    async def groups_of(user_id: str) -> frozenset[str]:
        """
        Names of a user's groups, without C{group:}.

        @param user_id: Canonical.
        @raise AuthenticationUnavailable: It cannot be told now.
        """


class IExplains(Interface):
    """Who can tell how a login would be decided."""

    async def explain(user_id: str, service: str) -> list[str]:
        """
        The steps, in order; never a secret.

        @raise AuthenticationUnavailable: It cannot be told now.
        """


class IReloadable(Interface):
    """Who can take up other options while they are in use."""

    def reload(options: Mapping[str, str]) -> None:
        """
        Go on by other options, and by files as they are now.

        @param options: All options as they were written, by name.
        @raise BadCheckerOptions: They cannot be used; the former stay in use.
        """


class BadCheckerOptions(ValueError):
    """What a checker is told cannot be used; the text begins with the option or the file, and says what to mend."""


@dataclass(frozen=True, slots=True)
class CheckerContext:
    """
    What a checker may use.

    @ivar directory: C{configdirectory}.
    @ivar options: All options as they were written, by name.
    @ivar run: For what takes long: hashes, blocking libraries.
    @ivar reactor: For threads and times of one's own.
    """

    directory: Path
    options: Mapping[str, str]
    run: Run
    reactor: Any = None


class ICheckerFactory(Interface):
    """
    Makes a credentials checker; found by twistd's plugin system.

    C{sasl_pwcheck_method} names checkers by their C{name}, in the order in which
    they are asked.
    """

    name = Attribute("str: what stands in sasl_pwcheck_method.")
    summary = Attribute("str: one line for the administrator.")

    def make_checker(context: CheckerContext) -> object:
        """
        Make the checker: an ICredentialsChecker for L{IMailPassword}; nothing outside of this machine is asked.

        Its C{requestAvatarId} gives the canonical user id in UTF-8; it fails
        with C{UnauthorizedLogin}, one answer for every reason, or with
        L{pycyrus.errors.AuthenticationUnavailable}.

        A checker that also provides L{IScramKeyStore} makes SCRAM available, one that
        provides L{ISharedSecrets} makes CRAM-MD5, DIGEST-MD5 and APOP available; one
        that provides L{IAccounts} has its cached answers forgotten when accounts
        change, and a say in logins without a password; one that provides L{IGroups} gives
        users their groups, and one that provides L{IExplains} is heard by C{pycyrus explain}.

        @raise BadCheckerOptions: The options cannot be used.
        """
