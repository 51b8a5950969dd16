"""Putting authentication together: what services share, and what each has of its own."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted.cred.portal import Portal

from pycyrus.auth.acting import IsDenied, IsInboxAdministrator
from pycyrus.auth.authenticator import Authenticator, AuthSettings
from pycyrus.auth.cache import CachedChecker, CacheSettings
from pycyrus.auth.checkers.chain import CheckerChain
from pycyrus.auth.delays import DelaySettings, FailureDelays
from pycyrus.auth.groups import LIFETIME, KnownGroups
from pycyrus.auth.identity import Identities, IdentitySettings
from pycyrus.auth.interfaces import IGroups, IReloadable, IScramKeyStore, ISharedSecrets, Run
from pycyrus.auth.local_domains import LocalDomains
from pycyrus.auth.mechanisms.gssapi import Tickets
from pycyrus.auth.mechanisms.oauth import Tokens
from pycyrus.auth.mechanisms.table import Sources
from pycyrus.auth.realm import MailRealm, ProvedChecker
from pycyrus.auth.scram_secrets import DerivedScramKeys
from pycyrus.auth.shared_answers import SharedMemory
from pycyrus.interfaces import IUserDefaults

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime


class Authentication:
    """
    What all services of a process share: checkers, their cache, and the delays.

    @ivar user_defaults: Knows what is laid down for single users.
    @ivar cache: C{cache.forget()} after a change that nobody else can see.
    """

    def __init__(
        self,
        clock: IReactorTime,
        checkers: CheckerChain,
        run: Run,
        cache: CacheSettings = CacheSettings(),  # noqa: B008 - frozen
        delays: DelaySettings = DelaySettings(),  # noqa: B008 - frozen
        shared: SharedMemory | None = None,
        tickets: Tickets | None = None,
        tokens: Tokens | None = None,
        groups: IGroups | None = None,
        group_lifetime: float = LIFETIME,
    ) -> None:
        """
        @param checkers: As made by L{pycyrus.auth.checkers.chain.make_checkers}.
        @param run: For the reverse look-ups of C{virtdomains: on}, and for GSSAPI.
        @param shared: Memory that the workers of a server share.
        @param tickets: Whose tickets GSSAPI takes.
        @param tokens: Says whose access tokens are.
        @param groups: Knows groups beside those that checkers know, and perhaps what is laid down for users.
        @param group_lifetime: Seconds for which groups are believed.
        """
        self._checkers = checkers
        self._group_source: object = groups
        knows = IUserDefaults.providedBy(self._group_source)
        self.user_defaults = IUserDefaults(self._group_source if knows else checkers)
        self._scram_keys = self._find_scram_keys(run, secrets.token_bytes(32) if shared is None else shared.secret)
        self._run, self._tickets, self._tokens = run, tickets, tokens
        self.cache = CachedChecker(checkers, clock, cache, checkers.version, shared)
        self.delays = FailureDelays(clock, delays, shared)
        sources = [*([checkers] if checkers.has_groups else []), *([groups] if groups is not None else [])]
        self._groups = KnownGroups(sources, clock, group_lifetime) if sources else None
        self._local_domains = LocalDomains(clock, run)

    def _find_scram_keys(self, run: Run, secret: bytes) -> IScramKeyStore | None:
        """Where SCRAM finds keys: stored ones, or passwords that they are made of."""
        stored = IScramKeyStore(self._checkers) if self._checkers.has_scram_keys else None
        if not self._checkers.has_shared_secrets:
            return stored
        return IScramKeyStore(DerivedScramKeys(ISharedSecrets(self._checkers), run, secret, stored))

    def reload(self, options: Mapping[str, str]) -> None:
        """
        Have checkers take up other options, as far as they can.

        @raise BadCheckerOptions: One cannot use them; it goes on as before.
        """
        self._checkers.reload(options)
        if IReloadable.providedBy(self._group_source):
            IReloadable(self._group_source).reload(options)
        if self._groups is not None:
            self._groups.doubt()

    def authenticator(
        self,
        identities: IdentitySettings,
        settings: AuthSettings,
        *,
        is_inbox_administrator: IsInboxAdministrator | None = None,
        is_denied: IsDenied | None = None,
    ) -> Authenticator:
        """
        Make the authenticator of one service.

        @param is_inbox_administrator: As L{pycyrus.auth.acting.ActingRules}.
        @param is_denied: As L{pycyrus.auth.acting.ActingRules}.
        @raise pycyrus.auth.identity.InvalidUserId: In C{admins} or C{proxyservers}.
        """
        made = Identities(identities)
        if self._groups is not None:
            made = Identities(identities, self._groups.of, self._groups.fetch)
        return Authenticator(
            Portal(MailRealm(made), [self.cache, ProvedChecker(self._checkers)]),
            made,
            settings,
            self.delays,
            sources=Sources(
                keys=self._scram_keys,
                secrets=self._checkers if self._checkers.has_shared_secrets else None,
                tickets=self._tickets,
                tokens=self._tokens,
                run=self._run,
                anonymous=settings.anonymous,
                server_name=settings.server_name,
                services=settings.services,
            ),
            local_domain=self._local_domains.domain if identities.virtdomains == "on" else None,
            is_inbox_administrator=is_inbox_administrator,
            is_denied=is_denied,
        )
