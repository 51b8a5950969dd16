"""
The socket map protocol of sendmail and Postfix; no I/O.

A request is a netstring with a map's name, a space and a key; a reply is a
netstring with a word and, mostly, a text.
"""

from __future__ import annotations

import re

MAX_REQUEST = 4096
"""Octets within the netstring: addresses are as long as LMTP takes them."""

_LENGTH = re.compile(rb"(0|[1-9][0-9]{0,3}):")
_LONGEST_LENGTH = 5
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ROUTE = re.compile(r"@[^@:,]+(?:,@[^@:,]+)*:")


class BadRequest(ValueError):
    """What came in is no netstring, or is too long; nothing after it can be read."""


class NetstringReader:
    """Cuts a stream into the contents of its netstrings."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        """
        Take octets.

        @return: What is complete.
        @raise BadRequest: There is no telling where the next begins.
        """
        held = self._held + data
        found = []
        position = 0
        while position < len(held):
            length = _LENGTH.match(held, position)
            if length is None:
                rest = held[position : position + _LONGEST_LENGTH]
                if b":" in rest or len(rest) == _LONGEST_LENGTH or not rest.isdigit():
                    raise BadRequest("missing length")
                break
            size = int(length[1])
            if size > MAX_REQUEST:
                raise BadRequest("too long")
            end = length.end() + size
            if len(held) <= end:
                break
            if held[end : end + 1] != b",":
                raise BadRequest("missing terminator")
            found.append(held[length.end() : end])
            position = end + 1
        self._held = held[position:]
        return found


def netstring(text: bytes) -> bytes:
    """Write one."""
    return b"%d:%b," % (len(text), text)


def parse_request(request: bytes) -> tuple[str, str] | None:
    """
    Take the address from a request.

    @return: Its local part, unquoted and with its detail, and its domain; None
        if there is no address in it.
    @raise BadRequest: There is no key.
    """
    _, space, octets = request.partition(b" ")
    if not space:
        raise BadRequest("missing key")
    try:
        key = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    key = key.removeprefix("<").removesuffix(">")
    if route := _ROUTE.match(key):
        key = key[route.end() :]
    if quoted := _QUOTED.match(key):
        local_part, rest = re.sub(r"\\(.)", r"\1", quoted[1]), key[quoted.end() :]
        if rest and not rest.startswith("@"):
            return None
        domain = rest[1:]
    else:
        local_part, _, domain = key.rpartition("@") if "@" in key else (key, "", "")
    return (local_part, domain) if local_part else None
