"""
Address lists of header fields (RFC 5322 section 3.4), read leniently.

Nearly all addresses in real mail match one regular expression; the rest goes
through a tokenizer that makes sense of anything.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

NO_DOMAIN: Final = b"unspecified-domain"
"""Host of an address without one: NIL would begin a group (RFC 9051 section 7.5.2)."""


class Address(NamedTuple):
    """
    An address as ENVELOPE tells it (RFC 9051 section 7.5.2).

    @ivar name: Display name, quotes removed, encoded words as they are.
    @ivar route: Source route.
    @ivar mailbox: Local part, quotes removed; the name at the start of a
        group; None at its end.
    @ivar host: Domain; None at both ends of a group.
    """

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END: Final = Address(None, None, None, None)

_ATOM = rb'[^\s"(),:;<>@\[\]\\]++'
_SIMPLE = re.compile(
    rb'\s*+(?:(?:"([^"\\]*+)"|([^"(),:;<>@\[\]\\]*+))\s*+<(' + _ATOM + rb")@(" + _ATOM + rb")>"
    rb"|(" + _ATOM + rb")@(" + _ATOM + rb"))\s*+(?:,|\Z)"
)
_TOKEN = re.compile(
    rb"(?P<space>\s++)"
    rb'|"(?P<quoted>[^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\\?\Z)'
    rb"|(?P<atom>" + _ATOM + rb"|\[[^\[\]\\]*+\]|\\.?|[\[\]])"
    rb"|(?P<special>[(),:;<>@])"
    rb"|(?P<rest>.)",
    re.DOTALL,
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(rb"[()\\]")


def parse_addresses(value: bytes, most: int) -> list[Address]:
    """
    Read an address list.

    @param value: Unfolded.
    @param most: Addresses at most; the rest is left out.
    """
    addresses: list[Address] = []
    position = 0
    size = len(value)
    match = _SIMPLE.match
    while position < size:
        if len(addresses) >= most:
            return addresses
        simple = match(value, position)
        if simple is None:
            return _Reader(value, position, addresses, most).read()
        quoted, phrase, mailbox, host, bare_mailbox, bare_host = simple.groups()
        if bare_mailbox:
            addresses.append(Address(None, None, bare_mailbox, bare_host))
        else:
            name = quoted or (phrase and b" ".join(phrase.split())) or None
            addresses.append(Address(name, None, mailbox, host))
        position = simple.end()
    return addresses


class _Reader:
    """
    Reads any octets as an address list, token by token, in linear time.

    @ivar words: Tokens since the last separator, quotes removed; an empty one
        is white space.
    @ivar at: Where in C{words} the last C{@} stands; -1 for nowhere.
    @ivar phrase: Display name, once C{<} was seen.
    """

    def __init__(self, value: bytes, position: int, addresses: list[Address], most: int) -> None:
        self.value = value
        self.position = position
        self.addresses = addresses
        self.most = most
        self.in_group = False
        self._begin()

    def _begin(self) -> None:
        self.words: list[bytes] = []
        self.phrase: bytes | None = None
        self.route: bytes | None = None
        self.comment: bytes | None = None
        self.at = -1
        self.in_angle = False
        self.angle_done = False

    def read(self) -> list[Address]:
        """Read to the end."""
        value = self.value
        while self.position < len(value) and len(self.addresses) < self.most:
            token = _TOKEN.match(value, self.position)
            assert token is not None  # it matches any octet
            self.position = token.end()
            kind = token.lastgroup
            if kind == "special":
                self._special(token.group())
            elif self.angle_done:
                continue
            elif kind == "space":
                if self.words:
                    self.words.append(b"")
            elif kind == "quoted":
                quoted = token.group("quoted")
                if quoted:
                    self.words.append(_unquote(quoted))
            else:
                self.words.append(token.group())
        self._finish()
        if self.in_group:
            self.addresses.append(GROUP_END)
        return self.addresses

    def _special(self, mark: bytes) -> None:
        if mark == b"(":
            self._read_comment()
        elif mark == b"<" and not self.in_angle:
            self.phrase = _join(self.words)
            self.words = []
            self.at = -1
            self.in_angle = True
        elif mark == b">":
            self.angle_done = self.angle_done or self.in_angle
        elif mark == b"@" and not self.angle_done:
            self.at = len(self.words)
            self.words.append(mark)
        elif self.in_angle and not self.angle_done and self.words[:1] == [b"@"] and mark in b",:":
            self._route(mark)
        elif mark == b":" and not self.in_angle and not self.in_group:
            self._begin_group()
        elif mark in (b",", b";"):
            self._finish()
            if mark == b";" and self.in_group:
                self.in_group = False
                self.addresses.append(GROUP_END)

    def _route(self, mark: bytes) -> None:
        """A source route, C{<@a,@b:c@d>} (RFC 5322 section 4.4)."""
        if mark == b":":
            self.route = _join(self.words)
            self.words = []
            self.at = -1
        else:
            self.words.append(mark)

    def _begin_group(self) -> None:
        name = _join(self.words)
        self._begin()
        self.in_group = True
        self.addresses.append(Address(None, None, name, None))

    def _finish(self) -> None:
        """Take what was read since the last separator for an address."""
        words, at = self.words, self.at
        if at >= 0:
            mailbox = _join(_tight(words[:at]))
            host = _join(_tight(words[at + 1 :])) or NO_DOMAIN
        else:
            mailbox = _join(words)
            host = NO_DOMAIN
        if mailbox or at >= 0 or self.phrase:
            self.addresses.append(Address(self.phrase or self.comment or None, self.route, mailbox, host))
        self._begin()

    def _read_comment(self) -> None:
        """Skip a comment; the last one behind it names an address that has no other name."""
        before = not self.words and self.phrase is None
        start = self.position
        depth = 1
        while depth:
            mark = _COMMENT_MARK.search(self.value, self.position)
            if mark is None:
                self.position = len(self.value)
                if not before:
                    self.comment = _unquote(self.value[start:]).strip()
                return
            self.position = mark.end()
            if mark.group() == b"(":
                depth += 1
            elif mark.group() == b")":
                depth -= 1
            else:
                self.position += 1
        self.position = min(self.position, len(self.value))
        if not before:
            self.comment = _unquote(self.value[start : self.position - 1]).strip()
        if self.words:
            self.words.append(b"")


def _unquote(text: bytes) -> bytes:
    """Resolve quoted pairs (RFC 5322 section 3.2.1)."""
    return _QUOTED_PAIR.sub(rb"\1", text) if b"\\" in text else text


def _join(words: list[bytes]) -> bytes:
    """The words with white space as single spaces, none of it at the ends."""
    joined: list[bytes] = []
    space = False
    for word in words:
        if not word:
            space = True
            continue
        if space and joined:
            joined.append(b" ")
        joined.append(word)
        space = False
    return b"".join(joined)


def _tight(words: list[bytes]) -> list[bytes]:
    """Without the white space that obsolete syntax allows around dots (RFC 5322 section 4.4)."""
    kept: list[bytes] = []
    for word in words:
        if not word and kept and kept[-1].endswith(b"."):
            continue
        if word.startswith(b".") and kept and not kept[-1]:
            kept.pop()
        kept.append(word)
    return kept
