"""An LMTP connection without a network, over the real pipeline and a store in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import AuthenticationFailed, MechanismUnavailable
from pycyrus.interfaces import Authenticated, Challenge, Channel, IAuthenticator, ISaslExchange
from pycyrus.lmtp.protocol import LmtpFactory, LmtpProtocol
from pycyrus.lmtp.settings import LmtpSettings
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.test.delivery.doubles import MemoryStore

NOW = 1_700_000_000.0


class Transport(StringTransport):
    """Keeps what is asked of it."""

    tls: object = None
    no_delay = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def startTLS(self, context: object) -> None:
        self.tls = context


class Exchange:
    """PLAIN, or a mechanism C{X-DATA} that sends data with success."""

    def __init__(self, mechanism: str, users: dict[bytes, Identity]) -> None:
        self.mechanism = mechanism
        self.users = users

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        if response is None:
            return Challenge(b"")
        user = response.split(b"\0")[1] if response.count(b"\0") == 2 else b""
        if user not in self.users or not response.endswith(b"\0secret"):
            raise AuthenticationFailed
        identity = self.users[user]
        return Authenticated(identity, identity.user_id, b"v=proof" if self.mechanism == "X-DATA" else None)


class Authenticator:
    """Knows an administrator, an administrator of a domain, and a user; all say C{secret}."""

    users = {
        b"cyrus": Identity("cyrus", admin=AdminScope.GLOBAL),
        b"da": Identity("da", "example.com", admin=AdminScope.DOMAIN),
        b"fred": Identity("fred"),
    }

    def mechanisms(self, channel: Channel) -> Sequence[str]:
        return ["PLAIN"]

    def start(self, mechanism: str, channel: Channel) -> ISaslExchange:
        if mechanism not in ("PLAIN", "X-DATA"):
            raise MechanismUnavailable
        return cast(ISaslExchange, Exchange(mechanism, self.users))


class Connection:
    """
    One connection and its server.

    @ivar said: Everything that the server sent, with volatile parts replaced.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        unix: bool = True,
        tls: object = None,
        delivery: DeliverySettings | None = None,
        limits: LimitSettings | None = None,
        **settings: Any,
    ) -> None:
        self.store = store or MemoryStore()
        self.clock = Clock()
        self.clock.rightNow = NOW
        agent = DeliveryAgent(self.store.as_store(), delivery or DeliverySettings("mail.test"), self.clock)
        self.factory = LmtpFactory(
            agent,
            cast(IAuthenticator, Authenticator()),
            LmtpSettings("mail.test", preauthenticated=unix, **settings),
            ConnectionLimits(limits or LimitSettings()),
            cast(Any, tls),
            self.clock,
        )
        self.transport = self.connect(unix)

    def connect(self, unix: bool) -> Transport:
        address = UNIXAddress(None) if unix else IPv4Address("TCP", "127.0.0.1", 4242)
        transport = Transport(hostAddress=address, peerAddress=address)
        self.protocol = cast(LmtpProtocol, self.factory.buildProtocol(address))
        self.protocol.makeConnection(transport)
        return transport

    def raw(self) -> bytes:
        """What was sent since the last call."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def read(self) -> list[str]:
        """Its lines, with session ids replaced."""
        data = self.raw()
        assert not data or data.endswith(b"\r\n"), data
        return [re.sub(r"=<mail[^>]*>", "=<ID>", line) for line in data.decode("ascii").split("\r\n")[:-1]]

    def send(self, data: bytes) -> list[str]:
        """Send octets and read what comes back at once."""
        self.protocol.dataReceived(data)
        return self.read()

    def lines(self, *lines: str) -> list[str]:
        return self.send("".join(f"{line}\r\n" for line in lines).encode())

    @property
    def closed(self) -> bool:
        return bool(self.transport.disconnecting) or bool(self.transport.disconnected)

    def lose(self) -> None:

        self.transport.disconnected = True
        self.protocol.connectionLost(Failure(ConnectionLost()))


def well_formed(data: bytes) -> bool:
    """Whether octets are replies by the grammar of RFC 5321 section 4.2."""
    text = rb"[\x20-\x7e]*\r\n"
    code = rb"[2-5][0-9][0-9]"
    last = rb"(?: " + text + rb"|\r\n)"
    reply = rb"(?:(" + code + rb")-" + text + rb"(?:\1-" + text + rb")*\1" + last + rb"|" + code + last + rb")"
    return re.fullmatch(rb"(?:" + reply + rb")*", data) is not None
