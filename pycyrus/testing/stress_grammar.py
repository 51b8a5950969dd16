"""Untagged responses, read as strictly as RFC 9051 section 9 writes them, for clients that put servers under stress."""

from __future__ import annotations

import re

Item = bytes | list["Item"]
"""An atom, a string, or a parenthesised list."""

TAGGED = re.compile(rb"(OK|NO|BAD) (\[[A-Z0-9-]+( [^\]]*)?\] )?[^\r\n]*\r\n")
_OTHERS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        rb"\* (SEARCH|SORT)( \d+)*( \(MODSEQ \d+\))?\r\n",
        rb"\* ESEARCH \(TAG \"[^\"]*\"( MAILBOX \S+ UIDVALIDITY \d+)?\)[^\r\n]*\r\n",
        rb"\* THREAD( [ ()0-9]+)?\r\n",
        rb"\* (LIST|LSUB) \([^)]*\) \"/\" (\"[^\"]*\"|[^ \r]+)( \(.*\))?\r\n",
        rb"\* STATUS (\"[^\"]*\"|\S+) \([^\r\n]*\)\r\n",
        rb"\* VANISHED( \(EARLIER\))? [\d:,]+\r\n",
        rb"\* FLAGS \([^)]*\)\r\n",
        rb"\* ENABLED( [A-Z0-9=]+)*\r\n",
        rb"\* CAPABILITY [^\r\n]+\r\n",
        rb"\* (OK|NO) (\[[A-Z0-9-]+( [^\]]*)?\] )?[^\r\n]*\r\n",
    )
)
_QUOTED = re.compile(rb'"((?:[^"\\\r\n\0]|\\["\\])*)"')
_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n")
_ATOM = re.compile(rb"(?:BODY|BINARY|BINARY\.SIZE)\[[^\]]*\](?:<\d+>)?|\\?[^\x00-\x20\x7f-\xff(){%*\"\\]+|\\\*")


class BadResponse(ValueError):
    """The server said what the grammar does not have."""


def is_known(line: bytes) -> bool:
    """Whether an untagged line, but C{* n FETCH} and its like, is of the grammar."""
    return any(pattern.fullmatch(line) for pattern in _OTHERS)


def attributes(octets: bytes) -> dict[bytes, Item]:
    """
    The items of a FETCH response.

    @param octets: From the opening parenthesis to the line's end.
    @raise BadResponse: They are none.
    """
    reader = _Reader(octets)
    items = reader.item()
    if not isinstance(items, list) or len(items) % 2 or octets[reader.at :] != b"\r\n":
        raise BadResponse(f"no list of items: {octets[:100]!r}")
    names = [name for name in items[::2] if isinstance(name, bytes)]
    if len(set(names)) != len(items) // 2:
        raise BadResponse(f"an item twice: {octets[:100]!r}")
    return dict(zip(names, items[1::2], strict=True))


class _Reader:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.at = 0

    def item(self) -> Item:
        if self._octets[self.at : self.at + 1] == b"(":
            return self._list()
        for pattern in (_QUOTED, _LITERAL, _ATOM):
            found = pattern.match(self._octets, self.at)
            if found is None:
                continue
            self.at = found.end()
            if pattern is not _LITERAL:
                return found[1] if pattern is _QUOTED else found[0]
            start, self.at = self.at, self.at + int(found[1])
            return self._octets[start : self.at]
        raise BadResponse(f"neither atom, string nor list: {self._octets[self.at : self.at + 40]!r}")

    def _list(self) -> list[Item]:
        self.at += 1
        items: list[Item] = []
        while self._octets[self.at : self.at + 1] != b")":
            if items and self._octets[self.at : self.at + 1] == b" ":
                self.at += 1
            elif items and self._octets[self.at : self.at + 1] != b"(":
                raise BadResponse(f"a space is missing: {self._octets[self.at : self.at + 40]!r}")
            items.append(self.item())
        self.at += 1
        return items
