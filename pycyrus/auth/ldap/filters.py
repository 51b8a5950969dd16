"""Search filters, from their text to what is sent (RFC 4515, RFC 4511 section 4.5.1.7)."""

from __future__ import annotations

import re

from pycyrus.auth.ldap.ber import SEQUENCE, element, octets

_SETS = {"&": 0xA0, "|": 0xA1}
_NOT, _SUBSTRINGS, _PRESENT, _EXTENSIBLE = 0xA2, 0xA4, 0x87, 0xA9
_COMPARISONS = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82
_RULE, _TYPE, _VALUE, _DN_ATTRIBUTES = 0x81, 0x82, 0x83, 0x84

_ITEM = re.compile(r"([A-Za-z0-9][A-Za-z0-9.;_-]*)\s*(=|>=|<=|~=)([^()]*)", re.DOTALL)
_MATCH = re.compile(r"([A-Za-z0-9][A-Za-z0-9.;_-]*)?((?i::dn))?(?::([A-Za-z0-9.-]+))?:=([^()]*)", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.{0,2})", re.DOTALL)
_DEEPEST = 50


class BadFilter(ValueError):
    """A text is no filter; it says where."""


def filter_octets(text: str) -> bytes:
    """
    Understand a filter.

    @raise BadFilter: It is none.
    """
    text = text.strip()
    if not text.startswith("("):
        # As older ones were written, and libldap still takes.
        text = f"({text})"
    made, end = _filter(text, 0, 0)
    if end != len(text):
        raise BadFilter(f"{text!r} goes on behind its end")
    return made


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def _filter(text: str, at: int, depth: int) -> tuple[bytes, int]:
    """One in parentheses, and where it ends."""
    if depth > _DEEPEST:
        raise BadFilter(f"{text!r} is too deep")
    if text[at : at + 1] != "(":
        raise BadFilter(f"{text!r} has no ( at {at}")
    at = _skip(text, at + 1)
    sign = text[at : at + 1]
    if sign in _SETS:
        parts = []
        at = _skip(text, at + 1)
        while text[at : at + 1] == "(":
            part, at = _filter(text, at, depth + 1)
            parts.append(part)
            at = _skip(text, at)
        made = element(_SETS[sign], b"".join(parts))
    elif sign == "!":
        part, at = _filter(text, _skip(text, at + 1), depth + 1)
        made, at = element(_NOT, part), _skip(text, at)
    else:
        made, at = _item(text, at)
    if text[at : at + 1] != ")":
        raise BadFilter(f"{text!r} has no ) at {at}")
    return made, at + 1


def _item(text: str, at: int) -> tuple[bytes, int]:
    found = _ITEM.match(text, at)
    if found is None:
        return _extensible(text, at)
    name, sign, value = found[1], found[2], found[3]
    if sign != "=" or "*" not in value:
        return element(_COMPARISONS[sign], octets(name) + octets(_value(value))), found.end()
    if not value.strip("*"):
        return element(_PRESENT, name.encode("ascii")), found.end()
    initial, *middle, final = value.split("*")
    parts = [
        *([element(_INITIAL, _value(initial))] if initial else []),
        *(element(_ANY, _value(part)) for part in middle if part),
        *([element(_FINAL, _value(final))] if final else []),
    ]
    return element(_SUBSTRINGS, octets(name) + element(SEQUENCE, b"".join(parts))), found.end()


def _extensible(text: str, at: int) -> tuple[bytes, int]:
    found = _MATCH.match(text, at)
    if found is None or not (found[1] or found[3]):
        raise BadFilter(f"{text!r} has no comparison at {at}")
    body = element(_RULE, found[3].encode("ascii")) if found[3] else b""
    body += element(_TYPE, found[1].encode("ascii")) if found[1] else b""
    body += element(_VALUE, _value(found[4]))
    body += element(_DN_ATTRIBUTES, b"\xff") if found[2] else b""
    return element(_EXTENSIBLE, body), found.end()


def _value(text: str) -> bytes:
    r"""The octets of a value, in which C{\2a} is one of them (RFC 4515 section 3)."""
    written = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(_unescaped, written) if b"\\" in written else written


def _unescaped(found: re.Match[bytes]) -> bytes:
    try:
        if len(found[1]) == 2 and found[1].isalnum():
            return bytes((int(found[1], 16),))
    except ValueError:
        pass
    raise BadFilter(f"{found[0]!r} is no escaped octet")
