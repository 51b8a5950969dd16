"""Which of the other servers answer, so that nobody waits for one that does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pycyrus.errors import StoreUnavailable
from pycyrus.murder.servers.connection import ServerConnection
from pycyrus.murder.servers.lines import LineClient
from pycyrus.tasks import Tasks

LOOK_EVERY = 3.0
"""Seconds between two looks whether a server that did not answer is back."""

Connect = Callable[[str, str, Protocol], Awaitable[None]]


@dataclass(slots=True)
class _Down:
    """
    A service that does not answer.

    @ivar reason: Why, for logs.
    @ivar is_wanted: Somebody wanted it since it was last looked at.
    """

    reason: str
    look: IDelayedCall | None = None
    is_wanted: bool = True


class Health:
    """
    What is known of other servers' services.

    One that could not be reached is refused at once, while it is looked at now and then until it answers, or
    nobody wants it any more.  One that is silent in the middle of a command is looked at by a new
    connection: if it greets that, it may think on; if not, those who wait for it are told.
    """

    log = Logger()

    def __init__(self, connect: Connect, reactor: Any, patience: float) -> None:
        """
        @param connect: Connects a protocol to a service of a server; raises L{StoreUnavailable}.
        @param patience: Seconds of silence after which a server is looked at, and which it has to greet.
        """
        self._connect = connect
        self._patience = patience
        self._reactor = reactor
        self._down: dict[tuple[str, str], _Down] = {}
        self._suspects: dict[tuple[str, str], list[ServerConnection]] = {}
        self._tasks = Tasks()

    def check(self, server: str, service: str) -> None:
        """@raise StoreUnavailable: It did not answer when it was last looked at."""
        down = self._down.get((server, service))
        if down is not None:
            down.is_wanted = True
            raise StoreUnavailable(down.reason)

    def note_down(self, server: str, service: str, reason: str) -> None:
        """It does not answer."""
        key = (server, service)
        if key in self._down:
            return
        self.log.warn("{service} of a backend is not available: {error}", service=service, error=reason)
        down = self._down[key] = _Down(reason)
        down.look = self._reactor.callLater(LOOK_EVERY, self._look, key)

    def watch(self, link: ServerConnection, service: str) -> None:
        """Look at a server when a connection to it is silent for too long."""
        link.on_silence = self._patience, lambda: self._suspect(link, service)

    def forget(self) -> None:
        """Take all servers for well."""
        for down in self._down.values():
            if down.look is not None and down.look.active():
                down.look.cancel()
        self._down.clear()

    def close(self) -> None:
        """Look no more."""
        self._tasks.cancel_all()
        self.forget()

    # --- looking ------------------------------------------------------------------

    def _look(self, key: tuple[str, str]) -> None:
        down = self._down[key]
        if down.is_wanted:
            down.is_wanted = False
            self._tasks.spawn(self._look_again(key, down), self._failed)
        else:
            # The next who wants it finds out.
            del self._down[key]

    async def _look_again(self, key: tuple[str, str], down: _Down) -> None:
        reason = await self._ask(*key)
        if self._down.get(key) is not down:
            return
        if reason:
            down.reason = reason
            down.look = self._reactor.callLater(LOOK_EVERY, self._look, key)
        else:
            self.log.info("{service} of {server} answers again", service=key[1], server=key[0])
            del self._down[key]

    async def _ask(self, server: str, service: str) -> str:
        """Why a service does not greet; empty if it does."""
        link = LineClient(server, self._reactor)
        try:
            await self._connect(server, service, link)
            await link.line(self._patience)
        except StoreUnavailable as error:
            return str(error)
        finally:
            link.abort("it was only looked at")
        return ""

    def _suspect(self, link: ServerConnection, service: str) -> None:
        key = (link.server, service)
        waiting = self._suspects.get(key)
        if waiting is not None:
            waiting.append(link)
            return
        self._suspects[key] = [link]
        self._tasks.spawn(self._look_at_suspect(key), self._failed)

    async def _look_at_suspect(self, key: tuple[str, str]) -> None:
        try:
            reason = await self._ask(*key)
        finally:
            suspects = self._suspects.pop(key)
        if reason:
            self.note_down(*key, reason)
            for link in suspects:
                link.abort("it answers nobody")

    def _failed(self, failure: Failure) -> None:
        self.log.failure("a server could not be looked at", failure)
