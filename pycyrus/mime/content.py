"""Values with parameters: Content-Type, Content-Disposition and their like (RFC 2045 section 5.1)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeAlias
from urllib.parse import quote_from_bytes

from pycyrus.mime.limits import Budget, Limits

Parameters: TypeAlias = tuple[tuple[bytes, bytes], ...]
"""Upper-case names and values, quotes removed; RFC 2231 pieces put together, but not decoded."""

TEXT_PLAIN: Final = (b"TEXT", b"PLAIN", ((b"CHARSET", b"us-ascii"),))
"""What a part without a usable Content-Type is (RFC 2045 section 5.2)."""
MESSAGE_RFC822: Final[tuple[bytes, bytes, Parameters]] = (b"MESSAGE", b"RFC822", ())
"""What a part of multipart/digest without a Content-Type is (RFC 2046 section 5.1.5)."""

_LONGEST_COMMON: Final = 64
_TOKEN = rb'[^\s"(),;:<>@\[\]\\/?=]++'
_TYPE = re.compile(rb"\s*+(" + _TOKEN + rb")\s*+/\s*+(" + _TOKEN + rb")")
_VALUE = re.compile(rb"\s*+([^\s;=]*+)")
_PARAMETER = re.compile(rb';\s*+([^\s=;"]++)\s*+=\s*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)(?:"|\\?\Z)|([^;]*+))', re.DOTALL)
_PIECE = re.compile(rb"(.+)\*(0|[1-9][0-9]{0,3})(\*?)", re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(rb'[()"\\]')


def parse_content_type(value: bytes, limits: Limits, budget: Budget) -> tuple[bytes, bytes, Parameters]:
    """
    Read a Content-Type.

    @param value: Unfolded.
    @return: Type and subtype in upper case, and the parameters; text/plain
        where the value makes no sense (RFC 2045 section 5.2).
    """
    media_type, subtype, parameters = (
        _parse_common(value) if len(value) <= _LONGEST_COMMON else _parse_type(value, limits.parameters)
    )
    parameters = _within(parameters, budget)
    if subtype == b"PLAIN" and media_type == b"TEXT" and not any(name[:7] == b"CHARSET" for name, _ in parameters):
        # RFC 2046 section 4.1.2: that is what it means without a charset.
        parameters = (*TEXT_PLAIN[2], *parameters)
    return media_type, subtype, parameters


def _parse_type(value: bytes, most: int) -> tuple[bytes, bytes, Parameters]:
    if b"(" in value:
        value = without_comments(value)
    match = _TYPE.match(value)
    if match is None:
        return TEXT_PLAIN
    media_type, subtype = match.groups()
    return media_type.upper(), subtype.upper(), _parse_parameters(value, match.end(), most)


@lru_cache(maxsize=512)
def _parse_common(value: bytes) -> tuple[bytes, bytes, Parameters]:
    """Most parts of most messages have one of a few types."""
    return _parse_type(value, _LONGEST_COMMON)


def _within(parameters: Parameters, budget: Budget) -> Parameters:
    """As many of the parameters as the message may still have."""
    if len(parameters) > budget.parameters:
        parameters = parameters[: budget.parameters]
    budget.parameters -= len(parameters)
    return parameters


def parse_disposition(value: bytes, limits: Limits, budget: Budget) -> tuple[bytes, Parameters] | None:
    """
    Read a Content-Disposition (RFC 2183).

    @param value: Unfolded.
    @return: Its type in upper case and the parameters; None if it is empty.
    """
    if b"(" in value:
        value = without_comments(value)
    match = _VALUE.match(value)
    kind = match.group(1).upper() if match else b""
    if not kind:
        return None
    return kind, _within(_parse_parameters(value, 0, limits.parameters), budget)


def parse_token(value: bytes) -> bytes:
    """The first word of a value such as Content-Transfer-Encoding, in upper case."""
    return _common_token(value) if len(value) <= _LONGEST_COMMON else _parse_token(value)


def _parse_token(value: bytes) -> bytes:
    if b"(" in value:
        value = without_comments(value)
    match = _VALUE.match(value)
    return match.group(1).upper() if match else b""


_common_token = lru_cache(maxsize=64)(_parse_token)


def _parse_parameters(value: bytes, position: int, most: int) -> Parameters:
    if b";" not in value:
        return ()
    parameters: list[tuple[bytes, bytes]] = []
    for match in _PARAMETER.finditer(value, position):
        if len(parameters) >= most:
            break
        name, quoted, bare = match.groups()
        if quoted is None:
            quoted = bare.strip()
        elif b"\\" in quoted:
            quoted = _QUOTED_PAIR.sub(rb"\1", quoted)
        parameters.append((name.upper(), quoted))
    return tuple(_joined(parameters)) if b"*" in value else tuple(parameters)


def _joined(parameters: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """
    Put pieces together: they have numbers from 0 (RFC 2231 section 3).

    Section 6 wants that of IMAP servers.  Where a number is missing, what comes
    behind it stays as it is.  If a piece is encoded, so is the whole.
    """
    pieces: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    places: dict[bytes, tuple[bytes, int]] = {}
    for name, value in parameters:
        match = _PIECE.fullmatch(name)
        if match is not None:
            base, number = match[1], int(match[2])
            pieces.setdefault(base, {}).setdefault(number, (value, bool(match[3])))
            places[name] = base, number
    lasts = {base: _last_of(found) for base, found in pieces.items()}
    joined = []
    told: set[bytes] = set()
    for name, value in parameters:
        base, number = places.get(name, (b"", 0))
        if number > lasts.get(base, -1):
            joined.append((name, value))
        elif base not in told:
            told.add(base)
            joined.append(_whole(base, [pieces[base][each] for each in range(lasts[base] + 1)]))
    return joined


def _last_of(pieces: dict[int, tuple[bytes, bool]]) -> int:
    """The last number of those from 0 on; -1 for none."""
    return next(number for number in range(len(pieces) + 1) if number not in pieces) - 1


def _whole(base: bytes, pieces: list[tuple[bytes, bool]]) -> tuple[bytes, bytes]:
    if not any(is_encoded for _, is_encoded in pieces):
        return base, b"".join(value for value, _ in pieces)
    value = b"".join(
        value if is_encoded else quote_from_bytes(value, "").encode("ascii") for value, is_encoded in pieces
    )
    # Without a charset in the first piece there is none, nor a language.
    return base + b"*", value if pieces[0][1] else b"''" + value


def without_comments(value: bytes) -> bytes:
    """Leave out comments (RFC 5322 section 3.2.2), but not within quotes."""
    kept = []
    depth = 0
    quoted = False
    start = position = 0
    while True:
        mark = _COMMENT_MARK.search(value, position)
        if mark is None:
            break
        position = mark.end()
        char = mark.group()
        if char == b"\\":
            position += 1
        elif char == b'"':
            quoted = not quoted if not depth else quoted
        elif quoted:
            continue
        elif char == b"(":
            if not depth:
                kept.append(value[start : mark.start()])
            depth += 1
        elif depth:
            depth -= 1
            start = position
    if not depth:
        kept.append(value[start:])
    return b" ".join(kept)


def parameter(parameters: Parameters, name: bytes) -> bytes | None:
    """The first parameter of an upper-case name; if that is encoded (RFC 2231), it stays so."""
    for found, value in parameters:
        if found == name:
            return value
    prefix = name + b"*"
    pieces = [value for found, value in parameters if found.startswith(prefix)]
    return b"".join(pieces) if pieces else None
