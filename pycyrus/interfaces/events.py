"""Who is told what happens in the mail store (RFC 5423)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from pycyrus.model.identity import Identity

if TYPE_CHECKING:
    from pycyrus.interfaces.mailboxes import IMailStore


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """
    What is told of the session in which something happens.

    @ivar service: The name in cyrus.conf.
    @ivar client_address: Empty on a Unix socket; then the ports are 0.
    """

    service: str
    session_id: str
    client_address: str = ""
    client_port: int = 0
    server_address: str = ""
    server_port: int = 0


class ISessionWatch(Interface):
    """One session that is watched."""

    store = Attribute("IMailStore: what the session works on, so that it is seen what it does.")

    def logged_in(identity: Identity) -> None:
        """Somebody has come in."""

    def logged_out() -> None:
        """Who came in has gone; nothing if nobody had, or it was told before."""


class IStoreObserver(Interface):
    """Who watches sessions; it holds nobody up, and lets no failure of its own reach them."""

    def watch(store: IMailStore, facts: SessionFacts) -> ISessionWatch:
        """A session begins."""


class IEventSink(Interface):
    """
    Where events go.

    A plugin provides it through L{IEventSinkFactory}.
    """

    def tell(event: Mapping[str, object]) -> None:
        """
        Take an event: parameters by their names, as JSON has them.

        It neither waits nor raises: what cannot be taken is lost.
        """

    async def close() -> None:
        """Nothing more is told; a moment may be spent on what still waits."""


class IEventSinkFactory(Interface):
    """A kind of sink, found by twistd's plugin system."""

    name = Attribute("str: what stands in event_notifier.")

    def make(texts: Mapping[str, str], reactor: object) -> IEventSink:
        """
        Make a sink.

        @param texts: All that was set in imapd.conf.
        @param reactor: Provides all interfaces of an epoll reactor.
        """
