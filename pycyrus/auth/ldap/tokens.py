"""
Filters and names with tokens, as Cyrus and saslauthd have them.

Whatever a client sends can only ever be a value: it is escaped for where it goes
(RFC 4515 section 3, RFC 4514 section 2.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_TOKEN = re.compile(r"%(.)", re.DOTALL)
_IN_FILTER = re.compile(r"[\x00-\x1f\\*()\x7f-\U0010ffff]")
_IN_NAME = re.compile(r'[\x00-\x1f\\,+"<>;=#\x7f]|^ | $')


class BadTemplate(ValueError):
    """A filter or name with a token that does not exist; the text names it."""


def escape_filter(value: str) -> str:
    """Write a value into a filter (RFC 4515 section 3)."""
    return _IN_FILTER.sub(lambda found: "".join(f"\\{octet:02x}" for octet in found[0].encode("utf-8")), value)


def escape_name(value: str) -> str:
    """Write a value into a distinguished name (RFC 4514 section 2.4)."""
    return _IN_NAME.sub(lambda found: "".join(f"\\{octet:02x}" for octet in found[0].encode("utf-8")), value)


def user_tokens(
    user_id: str, *, realm: str = "", service: str = "", dn: str = "", splits: bool = False
) -> Mapping[str, str]:
    """
    What tokens stand for.

    @param user_id: Canonical.
    @param realm: Where the user id has no domain.
    @param dn: Of the user's entry, once it is known.
    @param splits: C{%u} is the local part: SASL hands saslauthd name and realm apart.
    """
    local, at, domain = user_id.rpartition("@")
    if not at:
        local, domain = user_id, ""
    labels = domain.split(".")[::-1] if domain else []
    return {
        "%": "%",
        "u": local if splits else user_id,
        "U": local,
        "d": domain or realm,
        "R": domain or realm,
        "r": domain or realm,
        "s": service,
        "D": dn,
        **{str(number): label for number, label in enumerate(labels[:9], 1)},
    }


def expand(template: str, tokens: Mapping[str, str], escape: Callable[[str], str]) -> str:
    """
    Put values in the place of tokens.

    @raise BadTemplate: There is no such token.
    """

    def value(found: re.Match[str]) -> str:
        token = found[1]
        if token == "%":
            return "%"
        if token in tokens:
            return escape(tokens[token])
        if token.isdigit() and token != "0":
            return ""
        raise BadTemplate(f"%{token} in {template!r} is no token")

    return _TOKEN.sub(value, template)
