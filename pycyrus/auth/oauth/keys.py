"""The public keys of an authority (RFC 7517): from a file, or fetched and kept for a while."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pycyrus.errors import AuthenticationUnavailable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

LARGEST = 256 * 1024
"""Octets of a key set."""
MOST_KEYS = 100
LIFETIME = 3600.0
"""Seconds for which fetched keys are believed without asking again."""
PATIENCE = 60.0
"""Seconds between two attempts to fetch keys, whatever tokens name: nobody can make us ask without end."""

Keys = Mapping[str, Mapping[str, Any]]
"""Keys as JSON has them, by their id; empty for the one that has none."""


class KeySource(Protocol):
    """Where keys come from."""

    async def find(self, key_id: str) -> Mapping[str, Any] | None:
        """
        Find a key.

        @param key_id: What the token names; empty for the only one there is.
        @raise AuthenticationUnavailable: There are no keys to be had now.
        """


def parse(text: bytes) -> Keys:
    """
    Read a JSON Web Key Set.

    @raise ValueError: It is none.
    """
    found = json.loads(text)
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise ValueError("not a JSON Web Key Set")
    usable = [
        key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig" and key.get("kty") != "oct"
    ]
    return {str(key.get("kid", "")): key for key in usable}


def choose(keys: Keys, key_id: str) -> Mapping[str, Any] | None:
    """The key of an id; where a token names none, the only one there is."""
    if not key_id and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(key_id)


class KeyFile:
    """Keys in a file, read again when it changes."""

    log = Logger()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: Keys = {}
        self._seen: tuple[int, int, int] | None = None

    async def find(self, key_id: str) -> Mapping[str, Any] | None:
        """See L{KeySource}."""
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                if found.st_size > LARGEST:
                    raise ValueError("too large")
                self._keys = parse(self._path.read_bytes())
                self._seen = seen
        except (OSError, ValueError) as error:
            self.log.error("cannot read keys from {path}: {error}", path=str(self._path), error=error)
            if self._seen is None:
                raise AuthenticationUnavailable("no keys to check tokens with") from error
        return choose(self._keys, key_id)


class FetchedKeys:
    """Keys that an authority publishes."""

    log = Logger()

    def __init__(self, requests: KeyRequests, url: str, clock: IReactorTime) -> None:
        self._requests = requests
        self._url = url
        self._clock = clock
        self._keys: Keys = {}
        self._fetched: float | None = None
        self._tried: float | None = None
        self._waiting: list[Deferred[None]] | None = None

    async def find(self, key_id: str) -> Mapping[str, Any] | None:
        """See L{KeySource}; old keys go on to hold while new ones cannot be had."""
        now = self._clock.seconds()
        is_old = self._fetched is None or now - self._fetched > LIFETIME
        if (is_old or choose(self._keys, key_id) is None) and (
            self._waiting is not None or self._tried is None or now - self._tried >= PATIENCE
        ):
            await self._fetch()
        if self._fetched is None:
            raise AuthenticationUnavailable("no keys to check tokens with")
        return choose(self._keys, key_id)

    async def _fetch(self) -> None:
        """Fetch once, for all who wait for it."""
        if self._waiting is not None:
            turn: Deferred[None] = Deferred()
            self._waiting.append(turn)
            await turn
            return
        self._waiting = []
        try:
            self._keys = parse(await self._requests.get(self._url))
            self._fetched = self._clock.seconds()
        except (AuthenticationUnavailable, ValueError) as error:
            self.log.error("cannot fetch keys from {url}: {error}", url=self._url, error=error)
        finally:
            self._tried = self._clock.seconds()
            waiting, self._waiting = self._waiting, None
            for turn in waiting:
                if not turn.called:
                    turn.callback(None)


class KeyRequests(Protocol):
    """As L{pycyrus.auth.oauth.http.Requests}."""

    async def get(self, url: str) -> bytes:
        """Fetch something."""
