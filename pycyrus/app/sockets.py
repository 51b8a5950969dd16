"""
The listening sockets of a configuration: all of them are bound, or none.

They are bound before the server gives up root, and handed on by descriptor.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.error import CannotListenError

from pycyrus.config.cyrus_conf import ServiceEntry
from pycyrus.config.listen import InetAddress, UnixAddress, parse_listen
from pycyrus.config.problems import ConfigError, Problem
from pycyrus.net.transport import bind_tcp, bind_unix

LONGEST_PATH = 107
"""Octets in the path of a Unix socket (unix(7))."""

_FAMILIES = {"tcp": socket.AF_UNSPEC, "tcp4": socket.AF_INET, "tcp6": socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Listener:
    """
    A service and its listening sockets.

    @ivar address: Where a client on this machine reaches it.
    """

    entry: ServiceEntry
    sockets: tuple[socket.socket, ...]
    address: InetAddress | UnixAddress

    def give_to(self, uid: int, gid: int) -> None:
        """Have a socket file belong to a user, who will remove it."""
        if isinstance(self.address, UnixAddress):
            # The directory may be that user's, who could have put a link there by now.
            os.chown(self.address.path, uid, gid, follow_symlinks=False)

    def close(self) -> None:
        """Close the sockets; a socket file is removed."""
        for listening in self.sockets:
            listening.close()
        if isinstance(self.address, UnixAddress):
            with suppress(OSError):
                self.address.path.unlink()


def bind_all(entries: Iterable[ServiceEntry], backlog: int, socket_mode: int) -> list[Listener]:
    """
    Bind the sockets of all services.

    @raise ConfigError: Some cannot be bound; then none is.
    """
    listeners: list[Listener] = []
    problems: list[Problem] = []
    for entry in entries:
        try:
            listeners.append(_bind(entry, backlog, socket_mode))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        for listener in listeners:
            listener.close()
        raise ConfigError(problems)
    return listeners


def probe(entries: Iterable[ServiceEntry]) -> list[Problem]:
    """
    Say which services could not listen, and leave everything as it was.

    Unix sockets are not tried: only their names are looked at.
    """
    problems: list[Problem] = []
    for entry in entries:
        try:
            if entry.listen.startswith("/"):
                _probe_path(entry, Path(entry.listen))
            else:
                _bind(entry, 1, 0).close()
        except ConfigError as error:
            problems.extend(error.problems)
    return problems


def _probe_path(entry: ServiceEntry, path: Path) -> None:
    number = 0
    if len(os.fsencode(path)) > LONGEST_PATH:
        number = errno.ENAMETOOLONG
    elif path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            if client.connect_ex(os.fspath(path)) != errno.ECONNREFUSED:
                number = errno.EADDRINUSE
    elif path.exists():
        number = errno.EEXIST
    if number:
        raise ConfigError([_path_problem(entry, path, OSError(number, os.strerror(number)))])


def _bind(entry: ServiceEntry, backlog: int, socket_mode: int) -> Listener:
    try:
        address = parse_listen(entry.listen)
    except ValueError as error:
        mend = 'write listen="imap", listen="host:port" or listen="/path"'
        raise ConfigError([Problem(entry.place, f"{entry.name}: listen={entry.listen!r}: {error}", mend)]) from error
    if isinstance(address, UnixAddress):
        return _bind_path(entry, address, backlog, socket_mode)
    if entry.proto not in _FAMILIES:
        problem = Problem(entry.place, f"{entry.name}: proto={entry.proto!r} is not for this program", "use tcp")
        raise ConfigError([problem])
    return _bind_address(entry, address, backlog)


def _bind_path(entry: ServiceEntry, address: UnixAddress, backlog: int, socket_mode: int) -> Listener:
    try:
        listening = bind_unix(address.path, socket_mode, backlog)
    except CannotListenError as error:
        raise ConfigError([_path_problem(entry, address.path, error.socketError)]) from error
    return Listener(entry, (listening,), address)


def _path_problem(entry: ServiceEntry, path: Path, error: BaseException) -> Problem:
    number = error.errno if isinstance(error, OSError) else None
    text = f"{entry.name}: cannot listen at {path}: {_reason(error)}"
    mend = {
        errno.EADDRINUSE: "stop the server that listens there, or change listen=",
        errno.EEXIST: "move the file away, or change listen=",
        errno.ENOENT: f"create the directory {path.parent}",
        errno.EACCES: f"let the server write to {path.parent}",
        errno.ENAMETOOLONG: "choose a shorter path",
    }.get(number or 0, "change listen=")
    return Problem(entry.place, text, mend)


def _bind_address(entry: ServiceEntry, address: InetAddress, backlog: int) -> Listener:
    bound: list[socket.socket] = []
    failure: Problem | None = None
    for host in _hosts(entry, address):
        try:
            bound.append(bind_tcp(host, address.port, backlog))
        except (CannotListenError, OSError) as error:
            reason = error.socketError if isinstance(error, CannotListenError) else error
            # A machine may be without IPv6.
            missing = isinstance(reason, OSError) and reason.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
            if not (missing and ":" in host and bound):
                failure = failure or _address_problem(entry, host, address.port, reason)
        if address.port == 0:
            break
    if failure is not None or not bound:
        for listening in bound:
            listening.close()
        text = f"{entry.name}: there is no address to listen at"
        raise ConfigError([failure or Problem(entry.place, text, "change listen=")])
    return Listener(entry, tuple(bound), _reachable(bound[0]))


def _hosts(entry: ServiceEntry, address: InetAddress) -> Sequence[str]:
    """Numeric addresses, those of IPv4 first."""
    family = _FAMILIES[entry.proto]
    try:
        found = socket.getaddrinfo(
            address.host or None, address.port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        problem = Problem(entry.place, f"{entry.name}: no address is known of {address.host}", "change listen=")
        raise ConfigError([problem]) from error
    hosts = dict.fromkeys(str(info[4][0]) for info in sorted(found, key=lambda info: info[0] != socket.AF_INET))
    return list(hosts)


def _address_problem(entry: ServiceEntry, host: str, port: int, error: BaseException) -> Problem:
    number = error.errno if isinstance(error, OSError) else None
    embedded = not entry.place.line
    other = "choose other ports with --port-base" if embedded else "change listen="
    mend = {
        errno.EADDRINUSE: f"stop the program that uses it (ss -ltnp 'sport = :{port}' shows it), or {other}",
        errno.EACCES: "start the server as root: ports below 1024 are for root",
        errno.EADDRNOTAVAIL: "name an address of this machine in listen=",
    }.get(number or 0, other)
    where = f"[{host}]" if ":" in host else host
    return Problem(entry.place, f"{entry.name}: cannot listen at {where}:{port}: {_reason(error)}", mend)


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        if error.errno == errno.EADDRINUSE:
            return "it is in use"
        if error.strerror:
            return error.strerror.lower()
    return str(error)


def _reachable(listening: socket.socket) -> InetAddress:
    host, port = listening.getsockname()[:2]
    # ready.json is for programs on this machine, and nobody connects to a wildcard.
    return InetAddress({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)
