"""LOGIN and AUTHENTICATE: from their arguments to values (RFC 9051 sections 6.2.2 and 6.2.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pycyrus.imap.wire.grammar import Cursor


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, as they were sent."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """
    The beginning of a SASL exchange.

    @ivar mechanism: In upper case.
    @ivar initial: The initial response (RFC 4959), still in base64; None if
        there is none.
    """

    mechanism: str
    initial: bytes | None = field(repr=False)


def parse_login(cursor: Cursor) -> Login:
    """C{login}, behind C{LOGIN}."""
    cursor.space()
    user = cursor.astring()
    cursor.space()
    password = cursor.astring()
    cursor.end()
    return Login(user, password)


def parse_authenticate(cursor: Cursor) -> Authenticate:
    """C{authenticate}, behind C{AUTHENTICATE}."""
    cursor.space()
    mechanism = cursor.atom().decode("ascii").upper()
    initial = None
    if not cursor.at_end():
        cursor.space()
        initial = cursor.atom()
        cursor.end()
    return Authenticate(mechanism, initial)
