"""The value of C{listen=} in cyrus.conf: where a service is to be had."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

WELL_KNOWN_PORTS = {
    "imap": 143,
    "imap2": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "lmtp": 24,
    "sieve": 4190,
    "mupdate": 3905,
    "smmap": 2004,
    "csync": 2005,
    "nntp": 119,
    "nntps": 563,
    "http": 80,
    "https": 443,
    "fud": 4201,
    "kpop": 1109,
}
"""Names that services(5) may lack, or, as for sieve, may have an old number of."""


@dataclass(frozen=True, slots=True)
class InetAddress:
    """
    Where to listen by TCP or UDP.

    @ivar host: Name or address; empty for all.
    """

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """Where to listen by a Unix socket."""

    path: Path

    @override
    def __str__(self) -> str:
        return str(self.path)


def parse_listen(listen: str) -> InetAddress | UnixAddress:
    """
    Read the value of C{listen=}.

    @raise ValueError: Says what is wrong with it.
    """
    if listen.startswith("/"):
        return UnixAddress(Path(listen))
    if listen.startswith("["):
        host, bracket, rest = listen[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ValueError("an address in brackets is followed by a colon and a port")
        return InetAddress(host, _port(rest[1:]))
    host, _, port = listen.rpartition(":")
    if ":" in host:
        raise ValueError("an IPv6 address stands in brackets")
    return InetAddress(host if host != "*" else "", _port(port))


def _port(text: str) -> int:
    if re.fullmatch(r"\d{1,5}", text, re.ASCII):
        number = int(text)
        if number <= 65535:
            return number
        raise ValueError("a port is at most 65535")
    if text.lower() in WELL_KNOWN_PORTS:
        return WELL_KNOWN_PORTS[text.lower()]
    try:
        return socket.getservbyname(text)
    except (OSError, UnicodeError):
        raise ValueError(f"no port is named {text!r} in /etc/services") from None
