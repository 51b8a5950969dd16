"""Requests to an authority: bounded in time and size, its certificate checked, no redirects."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, ResponseFailed
from twisted.web.error import Error, SchemeNotSupported
from twisted.web.http_headers import Headers

from pycyrus.auth.oauth.settings import OAuthConfigurationError
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.net.http_body import BodyCutShort, ShortBody, read_body

LARGEST = 256 * 1024
"""Octets of an answer."""

_FAILURES = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    Error,
    OSError,
    ResponseFailed,
    SchemeNotSupported,
    defer.TimeoutError,
)


class Requests:
    """Asks the servers of an authority."""

    def __init__(self, reactor: Any, timeout: float, authorities: Path | None = None) -> None:
        """
        @param timeout: Seconds for all of a request.
        @param authorities: Certificates that vouch for the servers; None for the system's.
        @raise OAuthConfigurationError: They cannot be read.
        """
        self._reactor = reactor
        self._timeout = timeout
        policy = BrowserLikePolicyForHTTPS(_trusted(authorities) if authorities is not None else None)
        self._agent = Agent(reactor, policy, connectTimeout=timeout)

    async def get(self, url: str) -> bytes:
        """
        Fetch something.

        @raise AuthenticationUnavailable: It cannot be had now.
        """
        return await self._ask(b"GET", url, Headers({b"Accept": [b"application/json"]}), None)

    async def post(self, url: str, fields: Mapping[str, str], user: str, password: str) -> bytes:
        """
        Send a form.

        @raise AuthenticationUnavailable: There is no answer now.
        """
        headers = Headers({b"Accept": [b"application/json"], b"Content-Type": [b"application/x-www-form-urlencoded"]})
        if user:
            # RFC 6749 section 2.3.1: both are encoded as in forms first.
            pair = urlencode({user: password}).replace("=", ":", 1)
            headers.setRawHeaders(b"Authorization", [b"Basic " + b64encode(pair.encode("ascii"))])
        return await self._ask(b"POST", url, headers, urlencode(fields).encode("ascii"))

    async def _ask(self, method: bytes, url: str, headers: Headers, body: bytes | None) -> bytes:
        whole = Deferred.fromCoroutine(
            self._exchange(method, url, headers, ShortBody(body) if body is not None else None)
        )
        try:
            return await whole.addTimeout(self._timeout, self._reactor)
        except _FAILURES as error:
            raise AuthenticationUnavailable(f"{url}: {type(error).__name__}") from error

    async def _exchange(self, method: bytes, url: str, headers: Headers, form: ShortBody | None) -> bytes:
        response = await self._agent.request(method, url.encode("ascii"), headers, form)
        try:
            body = await read_body(response, LARGEST)
        except BodyCutShort as error:
            raise AuthenticationUnavailable(str(error)) from error
        if response.code != 200:
            raise AuthenticationUnavailable(f"{url} answers with {response.code}")
        return body


def _trusted(path: Path) -> Any:
    try:
        text = path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise OAuthConfigurationError(f"oauth_ca_file: cannot read {path}") from error
    found = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", text, re.DOTALL)
    if not found:
        raise OAuthConfigurationError(f"oauth_ca_file: {path} holds no certificate in PEM form")
    return trustRootFromCertificates([Certificate.loadPEM(one) for one in found])
