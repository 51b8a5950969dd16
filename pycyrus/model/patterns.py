"""
LIST patterns (RFC 9051 section 6.3.9): C{*} and C{%}, matched in linear time.

A pattern is a set of states, kept as the bits of one integer: an octet of the
name moves all of them at once, so that no pattern, however many wildcards it
has, can make the matcher go back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

_STAR, _PERCENT = 0x2A, 0x25

Matcher = Callable[[bytes], bool]


def literal_prefix(pattern: bytes) -> bytes:
    """What every matching name begins with, but for the case of INBOX."""
    for position, octet in enumerate(pattern):
        if octet in (_STAR, _PERCENT):
            return pattern[:position]
    return pattern


def has_wildcard(pattern: bytes) -> bool:
    """Whether the pattern can match more than one name."""
    return b"*" in pattern or b"%" in pattern


def compile_pattern(pattern: bytes, separator: bytes) -> Matcher:
    """
    Make a function that tells whether an external name matches.

    INBOX as the first component of the name matches in any case; other
    components are compared octet by octet.

    @param separator: One octet, which C{%} does not match.
    """
    prefix = literal_prefix(pattern)
    rest = pattern[len(prefix) :]
    # The usual patterns cost one call of a bytes method.
    if not prefix:
        if rest == b"*":
            return _anything
        if rest == b"%":
            return partial(_one_level, separator)
    elif rest == b"*" and not b"INBOX".startswith(prefix[:5].upper()):
        return partial(_begins, prefix)
    automaton = _Automaton(pattern, separator).matches
    if rest and not has_wildcard(rest[1:]) and not (prefix and b"INBOX".startswith(prefix[:5].upper())):
        barred = separator if rest[0] == _PERCENT else b""
        return partial(_one_wildcard, prefix, rest[1:], barred, separator, automaton)
    return automaton


def _anything(name: bytes) -> bool:
    return True


def _one_level(separator: bytes, name: bytes) -> bool:
    return separator not in name


def _begins(prefix: bytes, name: bytes) -> bool:
    return name.startswith(prefix)


def _one_wildcard(
    prefix: bytes, suffix: bytes, barred: bytes, separator: bytes, automaton: Matcher, name: bytes
) -> bool:
    """
    Match a pattern with one wildcard.

    @param barred: What the wildcard does not match; empty for nothing.
    @param automaton: For names whose first component is INBOX, in which case does not count.
    """
    if not name.startswith(prefix):
        return False
    if name[:5] == b"INBOX" and name[5:6] in (b"", separator):
        return automaton(name)
    if not name.endswith(suffix) or len(name) < len(prefix) + len(suffix):
        return False
    return not barred or barred not in name[len(prefix) : len(name) - len(suffix)]


class _Automaton:
    """
    The states of one pattern.

    State i means that i elements of the pattern have been consumed.  A
    wildcard's state stays where it is on an octet that it matches, and passes
    on to the next state without one.
    """

    __slots__ = ("_accepting", "_folded", "_literal", "_separator", "_start", "_stays", "_stays_at_separator", "_wild")

    def __init__(self, pattern: bytes, separator: bytes) -> None:
        self._separator = separator[0]
        self._literal: dict[int, int] = {}
        stars = percents = 0
        elements = _without_repeated_wildcards(pattern)
        for index, element in enumerate(elements):
            if element == _STAR:
                stars |= 1 << index
            elif element == _PERCENT:
                percents |= 1 << index
            else:
                self._literal[element] = self._literal.get(element, 0) | 1 << index
        self._folded = {octet: self._literal.get(octet, 0) | self._literal.get(octet + 0x20, 0) for octet in b"INBOX"}
        self._stays = stars | percents
        self._stays_at_separator = stars
        self._wild = stars | percents
        self._accepting = 1 << len(elements)
        self._start = self._close(1)

    def _close(self, states: int) -> int:
        """Pass wildcards without an octet; two in a row are the most there are."""
        states |= (states & self._wild) << 1
        return states | (states & self._wild) << 1

    def matches(self, name: bytes) -> bool:
        """Whether the whole name matches."""
        states = self._start
        inbox = name[:5] == b"INBOX" and name[5:6] in (b"", bytes((self._separator,)))
        for position, octet in enumerate(name):
            table = self._folded if inbox and position < 5 else self._literal
            stays = self._stays_at_separator if octet == self._separator else self._stays
            states = self._close((states & table.get(octet, 0)) << 1 | states & stays)
            if not states:
                return False
        return bool(states & self._accepting)


def _without_repeated_wildcards(pattern: bytes) -> bytes:
    """A run of wildcards with a C{*} in it is one C{*}, and otherwise one C{%}."""
    elements = bytearray()
    for octet in pattern:
        if octet in (_STAR, _PERCENT) and elements and elements[-1] in (_STAR, _PERCENT):
            if octet == _STAR:
                elements[-1] = _STAR
            continue
        elements.append(octet)
    return bytes(elements)
