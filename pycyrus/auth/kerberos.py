"""
GSSAPI through python-gssapi, which is an optional package: the only file that knows it.

Everything here may read files (key tables, replay caches) or ask a key distribution
centre, and is to be run in a thread.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from pycyrus.errors import AuthenticationFailed, AuthenticationUnavailable, MechanismUnavailable


def _library() -> Any:
    try:
        return import_module("gssapi")
    except ImportError:
        return None


gssapi = _library()
"""None where the package, or the Kerberos library below it, is not installed."""

NO_LAYER = b"\x01\x00\x00\x00"
"""RFC 4752 section 3.3: no security layer, and so no buffer; TLS does that work."""


def is_available() -> bool:
    """Whether the package is installed."""
    return gssapi is not None


class Acceptor:
    """
    The server's side: accepts tickets for the keys of a key table.

    @ivar key_table: Where the server's keys are.
    """

    def __init__(self, key_table: Path) -> None:
        self.key_table = key_table

    def context(self) -> AcceptedContext:
        """
        Begin.

        @raise AuthenticationUnavailable: The key table cannot be used.
        """
        try:
            credentials = gssapi.Credentials(usage="accept", store={"keytab": str(self.key_table)})
            return AcceptedContext(gssapi.SecurityContext(creds=credentials, usage="accept"))
        except gssapi.exceptions.GSSError as error:
            raise AuthenticationUnavailable(f"the key table cannot be used: {_text(error)}") from error


class AcceptedContext:
    """A context that a client establishes with us (RFC 4752 section 3.2)."""

    def __init__(self, context: Any) -> None:
        self._context = context

    @property
    def is_complete(self) -> bool:
        """Whether it is established."""
        return bool(self._context.complete)

    def step(self, token: bytes) -> bytes:
        """
        Take a token; @return: the next one, or nothing.

        @raise AuthenticationFailed: It is none, or not for us, or too old.
        """
        try:
            answer: bytes = self._context.step(token) or b""
        except gssapi.exceptions.GSSError as error:
            raise AuthenticationFailed(f"GSSAPI: {_text(error)}") from error
        return answer

    def offer(self) -> bytes:
        """The message that offers no security layer."""
        return _wrapped(self._context, NO_LAYER)

    def chosen(self, message: bytes) -> bytes:
        """
        Read the client's choice.

        @return: Four octets, and the authorisation identity behind them.
        @raise AuthenticationFailed: It was changed on the way.
        """
        return _unwrapped(self._context, message)

    def service(self) -> bytes:
        """The service that the ticket is for: C{imap} of C{imap/mail.example.com@EXAMPLE.COM}; lower case."""
        return str(self._context.target_name).partition("/")[0].lower().encode("ascii", "replace")

    def user(self) -> bytes:
        """
        Who it is: C{alice} of the realm that is the default here, C{alice@OTHER} of another.

        @raise AuthenticationFailed: The name cannot be told.
        """
        try:
            name = str(self._context.initiator_name)
            local, _, _realm = name.rpartition("@")
            # As libsasl does: whoever is the same without a realm is of ours.
            if local and gssapi.Name(local, gssapi.NameType.user) == self._context.initiator_name:
                return local.encode("utf-8")
        except gssapi.exceptions.GSSError as error:
            raise AuthenticationFailed(f"GSSAPI: {_text(error)}") from error
        return name.encode("utf-8")


class Initiator:
    """The client's side: shows a ticket that the process has, or gets one with its key table."""

    def __init__(self, service: str, host: str) -> None:
        """
        @param service: Of the server, such as C{imap}.
        @param host: Its name, as in its principal.
        @raise MechanismUnavailable: There is no GSSAPI here.
        """
        if gssapi is None:
            raise MechanismUnavailable("GSSAPI: python-gssapi is not installed")
        self._name = (service, host)
        self._context: Any = None

    def step(self, token: bytes | None) -> bytes:
        """
        Go on.

        @param token: Of the server; None to begin.
        @raise AuthenticationUnavailable: There is no ticket to be had.
        @raise AuthenticationFailed: The server is not who it should be.
        """
        try:
            if self._context is None:
                name = gssapi.Name("@".join(self._name), gssapi.NameType.hostbased_service)
                flags = [gssapi.RequirementFlag.mutual_authentication, gssapi.RequirementFlag.integrity]
                self._context = gssapi.SecurityContext(name=name, flags=flags, usage="initiate")
            answer: bytes = self._context.step(token) or b""
        except gssapi.exceptions.GSSError as error:
            if token is None:
                raise AuthenticationUnavailable(f"GSSAPI: {_text(error)}") from error
            raise AuthenticationFailed(f"GSSAPI: {_text(error)}") from error
        return answer

    @property
    def is_complete(self) -> bool:
        """Whether the context is established, and the server has proved itself."""
        return self._context is not None and bool(self._context.complete)

    def answer(self, offer: bytes, acting_as: bytes) -> bytes:
        """
        Answer the offer of security layers: none (RFC 4752 section 3.1).

        @raise AuthenticationFailed: The server insists on one, or it was changed on the way.
        """
        said = _unwrapped(self._context, offer)
        if len(said) != len(NO_LAYER) or not said[0] & 1:
            raise AuthenticationFailed("the server insists on a security layer")
        return _wrapped(self._context, NO_LAYER + acting_as)


def _wrapped(context: Any, data: bytes) -> bytes:
    try:
        message: bytes = context.wrap(data, False).message
    except gssapi.exceptions.GSSError as error:
        raise AuthenticationFailed(f"GSSAPI: {_text(error)}") from error
    return message


def _unwrapped(context: Any, data: bytes) -> bytes:
    try:
        message: bytes = context.unwrap(data).message
    except gssapi.exceptions.GSSError as error:
        raise AuthenticationFailed(f"GSSAPI: {_text(error)}") from error
    return message


def _text(error: Any) -> str:
    """What the library says, on one line."""
    return " ".join(str(error.gen_message()).split())
