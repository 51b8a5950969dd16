"""SCRAM for users whose passwords are known as they are: keys are made of them at each login."""

from __future__ import annotations

import hashlib
import hmac
from functools import partial

from zope.interface import implementer

from pycyrus.auth.interfaces import IScramKeyStore, ISharedSecrets, Run, ScramKeys
from pycyrus.auth.users import SCRAM_ITERATIONS, SCRAM_MECHANISMS, prepare


@implementer(IScramKeyStore)
class DerivedScramKeys:
    """
    Keys made of passwords (RFC 5802 section 3), where there is one; else those that are stored.

    Who is known, and where, does not show: keys of nobody have a salt of the same kind, and
    cost the same time.
    """

    def __init__(
        self, passwords: ISharedSecrets, run: Run, secret: bytes, stored: IScramKeyStore | None = None
    ) -> None:
        """
        @param run: Where keys are computed.
        @param secret: What salts are made with, the same in all processes.
        @param stored: Asked for those without a password here.
        """
        self._passwords = passwords
        self._run = run
        self._secret = secret
        self._stored = stored

    async def scram_keys(self, user_id: str, mechanism: str) -> ScramKeys:
        """See L{IScramKeyStore}."""
        password = await self._passwords.shared_secret(user_id)
        salt = hmac.digest(self._secret, f"scram {mechanism} {user_id}".encode(), "sha256")
        made: ScramKeys = await self._run(
            partial(_keys, mechanism, password or self._secret, salt, usable=password is not None)
        )
        if password is None and self._stored is not None:
            return await self._stored.scram_keys(user_id, mechanism)
        return made


def _keys(mechanism: str, password: bytes, salt: bytes, *, usable: bool) -> ScramKeys:
    """Compute them; takes some 20 ms."""
    name = SCRAM_MECHANISMS[mechanism]
    salted = hashlib.pbkdf2_hmac(name, prepare(password), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", name)
    stored_key = hashlib.new(name, client_key).digest()
    return ScramKeys(salt, SCRAM_ITERATIONS, stored_key, hmac.digest(salted, b"Server Key", name), usable=usable)
