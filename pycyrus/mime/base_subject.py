"""The base subject of a message, for SORT and THREAD (RFC 5256 section 2.1)."""

from __future__ import annotations

import re
from functools import lru_cache

_SPACE = re.compile(r"[ \t]+")
_BLOB = r"\[[^\[\]]*+\][ \t]*+"
_TRAILER = "(fwd)"
_LONGEST = 1000
"""Characters of a subject that are looked at: what others wrote must not cost time without bounds."""
# The group of several parts is not possessive: before Python 3.11.5 such a group took wrong turns.
_LEADER = re.compile(rf"(?:{_BLOB})*(?:re|fwd?)[ \t]*(?:{_BLOB})?:", re.IGNORECASE)
_PREFIX_BLOB = re.compile(_BLOB)
_MOST_TURNS = 100
"""Prefixes of one subject that are taken off."""


@lru_cache(maxsize=4096)
def base_subject(subject: str) -> tuple[str, bool]:
    """
    Take a subject's marks of replies and forwards off.

    @param subject: Decoded and unfolded.
    @return: The base subject, and whether there was a mark.
    """
    text = _SPACE.sub(" ", subject[:_LONGEST])
    is_marked = False
    for _ in range(_MOST_TURNS):
        text, was_trailed = _without_trailers(text)
        text, was_led = _without_leaders(text)
        is_marked = is_marked or was_trailed or was_led
        if not (text[:5].lower() == "[fwd:" and text.endswith("]")):
            break
        text = text[5:-1]
        is_marked = True
    return text.strip(" "), is_marked


def _without_trailers(text: str) -> tuple[str, bool]:
    is_marked = False
    while True:
        text = text.rstrip(" ")
        if text[-len(_TRAILER) :].lower() != _TRAILER:
            return text, is_marked
        text = text[: -len(_TRAILER)]
        is_marked = True


def _without_leaders(text: str) -> tuple[str, bool]:
    is_marked = False
    for _ in range(_MOST_TURNS):
        text = text.lstrip(" ")
        leader = _LEADER.match(text)
        if leader is not None:
            text = text[leader.end() :]
            is_marked = True
            continue
        blob = _PREFIX_BLOB.match(text)
        if blob is None or not text[blob.end() :].strip(" "):
            break
        text = text[blob.end() :]
    return text, is_marked
