"""Searches and binds over a connection that the library for LDAP has opened.  They block."""

from __future__ import annotations

import time
from collections.abc import Iterator

import ldap3
from ldap3.core.results import RESULT_CODES

from pycyrus.auth.ldap.wire import (
    BIND_RESPONSE,
    SEARCH_DONE,
    SEARCH_ENTRY,
    SEARCH_REFERENCE,
    BadMessage,
    Message,
    Result,
    Search,
    bind_request,
    entry_of,
    result_of,
    take,
)

Entry = tuple[str, dict[str, list[bytes]]]

_MOST_ENTRIES = 10_000
"""Entries and references of one answer, whatever was asked for."""
_READ = 65536


class ClosedByDirectory(OSError):
    """The directory has closed the connection."""


def search(connection: ldap3.Connection, wanted: Search, seconds: float) -> tuple[Result, list[Entry]]:
    """
    Search.  References to other directories are not followed.

    @param seconds: For all of it.
    @raise OSError: No answer came.
    @raise BadMessage: It is none.
    """
    number = _number(connection)
    found: list[Entry] = []
    for count, message in enumerate(_exchange(connection, wanted.request(number), number, seconds)):
        if message.kind == SEARCH_DONE:
            return result_of(message), found
        if message.kind == SEARCH_ENTRY:
            found.append(entry_of(message))
        elif message.kind != SEARCH_REFERENCE:
            raise BadMessage(f"{message.kind:#x} in answer to a search")
        if count > _MOST_ENTRIES:
            raise BadMessage("an answer without an end")
    raise AssertionError("messages end with an error only")


def bind(connection: ldap3.Connection, name: str, password: bytes, seconds: float) -> Result:
    """
    Bind by name and password.

    @raise OSError: No answer came.
    @raise BadMessage: It is none.
    """
    number = _number(connection)
    for message in _exchange(connection, bind_request(number, name, password), number, seconds):
        if message.kind != BIND_RESPONSE:
            raise BadMessage(f"{message.kind:#x} in answer to a bind")
        return result_of(message)
    raise AssertionError("messages end with an error only")


def description(result: Result) -> str:
    """What a result is called."""
    return str(RESULT_CODES.get(result.code, result.code))


def _number(connection: ldap3.Connection) -> int:
    number: int = connection.server.next_message_id()
    return number


def _exchange(connection: ldap3.Connection, request: bytes, number: int, seconds: float) -> Iterator[Message]:
    """Send, and read the answers to it one by one; the socket itself waits for each no longer than it is set to."""
    until = time.monotonic() + seconds
    connection.socket.sendall(request)
    buffer = b""
    while True:
        taken = take(buffer)
        if taken is None:
            data = connection.socket.recv(_READ)
            if not data:
                raise ClosedByDirectory("the directory closed the connection")
            if time.monotonic() > until:
                # It says a little now and then, and never comes to an end.
                raise TimeoutError(f"no end of an answer in {seconds:g} s")
            buffer += data
            continue
        message, buffer = taken
        if message.number == 0:
            # RFC 4511 section 4.4.1: it is about to close the connection.
            raise ClosedByDirectory(f"the directory leaves: {result_of(message).text}")
        if message.number != number:
            raise BadMessage(f"an answer to {message.number}, not to {number}")
        yield message
