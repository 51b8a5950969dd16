"""
Connections to the servers of one directory.

A connection belongs to one thread at a time.  Those that search keep their bind;
those that check passwords are bound anew for each.
"""

from __future__ import annotations

import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import ldap3
from ldap3.core.exceptions import LDAPException
from pyasn1.error import PyAsn1Error

from pycyrus.auth.ldap.errors import DirectoryDown
from pycyrus.auth.ldap.settings import LdapSettings
from pycyrus.auth.outside import Refused, Unusable

T = TypeVar("T")

KEPT = 8
"""Connections of each kind that are kept when nobody uses them."""
AVOIDED = 30.0
"""Seconds for which a server that failed is tried after the others."""

_TROUBLE = (LDAPException, PyAsn1Error, OSError, ValueError, TypeError, LookupError, struct.error)
"""What ldap3 raises for a server that fails, and for one that does not speak LDAP."""


@dataclass(slots=True)
class _Kept:
    """A connection, and the server that it is to."""

    uri: str
    connection: ldap3.Connection


@dataclass(slots=True)
class _Kind:
    """
    Connections for one purpose.

    @ivar bound: They are bound as the settings say.
    """

    bound: bool
    idle: list[_Kept] = field(default_factory=list)


class Connections:
    """
    All connections to one directory.  Methods block, and may be called from many threads.

    @param where: What the directory is called in logs.
    """

    def __init__(self, settings: LdapSettings, where: str) -> None:
        self._settings = settings
        self._where = where
        self._lock = threading.Lock()
        self._searching, self._checking = _Kind(bound=True), _Kind(bound=False)
        self._failed: dict[str, float] = {}
        self._closed = False

    def search(self, work: Callable[[ldap3.Connection], T]) -> T:
        """
        Do something with a connection that is bound as the settings say.

        @raise DirectoryDown: No server can be asked.
        """
        return self._use(self._searching, work)

    def check(self, work: Callable[[ldap3.Connection], T]) -> T:
        """
        Do something with a connection that is to be bound.

        @raise DirectoryDown: No server can be asked.
        """
        return self._use(self._checking, work)

    def close(self) -> None:
        """Give those back that are not in use; others are when their use ends."""
        with self._lock:
            self._closed = True
            idle = self._searching.idle + self._checking.idle
            self._searching.idle, self._checking.idle = [], []
        for kept in idle:
            _drop(kept.connection)

    # --- choosing -----------------------------------------------------------

    def _use(self, kind: _Kind, work: Callable[[ldap3.Connection], T]) -> T:
        with self._lock:
            kept = kind.idle.pop() if kind.idle else None
        if kept is not None:
            begun = time.monotonic()
            try:
                return self._work(kind, kept, work)
            except _TROUBLE:
                # It may have died while nobody used it; then the server is well.
                if time.monotonic() - begun >= self._settings.timeout * 0.9:
                    self._avoid(kept.uri)
        reasons = []
        for uri in self._order():
            try:
                return self._work(kind, self._connect(uri, bind=kind.bound), work)
            except (*_TROUBLE, DirectoryDown) as error:
                self._avoid(uri)
                reasons.append(f"{uri}: {error}")
        raise DirectoryDown(f"{self._where}: " + "; ".join(reasons))

    def _work(self, kind: _Kind, kept: _Kept, work: Callable[[ldap3.Connection], T]) -> T:
        try:
            result = work(kept.connection)
        except (Refused, Unusable):
            self._keep(kind, kept)
            raise
        except BaseException:
            _drop(kept.connection)
            raise
        self._keep(kind, kept)
        return result

    def _keep(self, kind: _Kind, kept: _Kept) -> None:
        with self._lock:
            self._failed.pop(kept.uri, None)
            if len(kind.idle) < KEPT and not self._closed and not kept.connection.closed:
                kind.idle.append(kept)
                return
        _drop(kept.connection)

    def _order(self) -> list[str]:
        """The servers, in the order in which to try them."""
        now = time.monotonic()
        with self._lock:
            return sorted(self._settings.uris, key=lambda uri: self._failed.get(uri, 0.0) > now)

    def _avoid(self, uri: str) -> None:
        with self._lock:
            self._failed[uri] = time.monotonic() + AVOIDED

    # --- connecting ---------------------------------------------------------

    def _connect(self, uri: str, *, bind: bool) -> _Kept:
        settings = self._settings
        uses_tls = uri.startswith("ldaps:") or settings.start_tls
        server = ldap3.Server(
            uri,
            connect_timeout=settings.timeout,
            get_info=ldap3.NONE,
            tls=self._tls() if uses_tls else None,
        )
        wanted: dict[str, Any] = {"authentication": ldap3.ANONYMOUS}
        if bind and settings.sasl_mechanism:
            wanted = self._sasl_bind()
        elif bind and settings.bind_dn:
            wanted = {"authentication": ldap3.SIMPLE, "user": settings.bind_dn, "password": settings.password}
        connection = ldap3.Connection(
            server,
            client_strategy=ldap3.SYNC,
            receive_timeout=settings.timeout,
            auto_referrals=False,
            auto_encode=False,
            check_names=False,
            read_only=True,
            return_empty_attributes=False,
            **wanted,
        )
        try:
            connection.open(read_server_info=False)
            if settings.start_tls and not uri.startswith("ldaps:") and not connection.start_tls(read_server_info=False):
                raise DirectoryDown("StartTLS failed")
            if wanted["authentication"] != ldap3.ANONYMOUS and not connection.bind(read_server_info=False):
                # Our own name and password: that is no user's fault.
                raise DirectoryDown(f"cannot bind for searches: {connection.result['description']}")
        except BaseException:
            _drop(connection)
            raise
        return _Kept(uri, connection)

    def _tls(self) -> ldap3.Tls:
        settings = self._settings
        return ldap3.Tls(
            validate=ssl.CERT_REQUIRED if settings.verify_peer else ssl.CERT_NONE,
            ca_certs_file=settings.ca_file or None,
            ca_certs_path=settings.ca_directory or None,
            local_certificate_file=settings.client_certificate or None,
            local_private_key_file=settings.client_key or settings.client_certificate or None,
            ciphers=settings.ciphers or None,
        )

    def _sasl_bind(self) -> dict[str, Any]:
        settings = self._settings
        authz = settings.sasl_authz
        credentials: Any = {
            "EXTERNAL": authz,
            "DIGEST-MD5": (settings.sasl_realm or None, settings.sasl_id, settings.password, authz or None),
            "PLAIN": (authz or None, settings.sasl_id, settings.password),
            "GSSAPI": (None, authz or None),
        }[settings.sasl_mechanism]
        return {
            "authentication": ldap3.SASL,
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_credentials": credentials,
        }


def _drop(connection: ldap3.Connection) -> None:
    try:
        connection.unbind()
    except _TROUBLE:
        # It was dead.
        return
