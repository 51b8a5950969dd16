"""PREVIEW: the beginning of what a message says (RFC 8970 section 3)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from typing import Final

from pycyrus.mime.charsets import decode_charset
from pycyrus.mime.content import parameter
from pycyrus.mime.header import Octets
from pycyrus.mime.structure import Kind, Part
from pycyrus.mime.transfer import UnknownEncoding, decode

PREVIEW_LENGTH: Final = 200
"""Characters at most (RFC 8970 section 3.2)."""
_MOST_CHARACTERS: Final = 4 * PREVIEW_LENGTH

# How much of a part is decoded: the next step only where the one before says too little.
_PLAIN_OCTETS: Final = (640, 8_192)
_HTML_OCTETS: Final = (4_096, 32_768)
_TAG_NAME: Final = re.compile(r"/?([a-zA-Z][a-zA-Z0-9]*+)")
_UNSEEN: Final = {
    name: re.compile("</" + name, re.IGNORECASE) for name in ("head", "style", "script", "title", "template")
}
# fmt: off
_INLINE: Final = frozenset((
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "ins", "kbd", "mark", "q", "s", "small",
    "span", "strong", "sub", "sup", "u", "wbr",
))
# fmt: on
# Control characters, and the invisible ones with which newsletters pad their preview.
_CONTROLS: Final[dict[int, str | None]] = {
    **dict.fromkeys((*range(32), *range(127, 160)), " "),
    **dict.fromkeys((0xAD, 0x34F, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF)),
}


def make_preview(data: Octets, root: Part) -> bytes:
    """
    Build the preview of a message.

    It is taken from the first text/plain part that is no attachment, or else
    from the first HTML part.

    @return: UTF-8 without line ends; empty if there is no text.
    """
    plain, rich = _text_parts(root)
    text = ""
    if plain is not None:
        text = _beginning(data, plain, _PLAIN_OCTETS, _unquoted)
    if not text and rich is not None:
        text = _beginning(data, rich, _HTML_OCTETS, html_text)
    return text.encode("utf-8", "replace")


def _beginning(data: Octets, part: Part, steps: Iterable[int], reduce: Callable[[str], str]) -> str:
    text = ""
    for most in steps:
        text = _collapse(reduce(_decoded(data, part, most)))
        if len(text) >= PREVIEW_LENGTH or part.end - part.body_start <= most:
            break
    return text[:PREVIEW_LENGTH].rstrip()


def _text_parts(root: Part) -> tuple[Part | None, Part | None]:
    """The first plain and the first HTML part, in the order of the message."""
    rich = None
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if part.kind is Kind.MULTIPART:
            waiting.extend(reversed(part.children))
        elif part.media_type == b"TEXT" and not part.fields.get(b"content-disposition", b"").lower().startswith(
            b"attachment"
        ):
            if part.subtype == b"PLAIN":
                return part, rich
            if part.subtype == b"HTML" and rich is None:
                rich = part
    return None, rich


def _decoded(data: Octets, part: Part, most: int) -> str:
    body = data[part.body_start : min(part.end, part.body_start + most)]
    try:
        body = decode(body, part.encoding)
    except UnknownEncoding:
        return ""
    return decode_charset(_whole_characters(body), parameter(part.parameters, b"CHARSET") or b"")


def _whole_characters(text: bytes) -> bytes:
    """Without a UTF-8 character that the cut tore; in other charsets one letter less does no harm."""
    end = len(text)
    while end > len(text) - 4 and end > 0 and text[end - 1] & 0xC0 == 0x80:
        end -= 1
    if end > 0 and text[end - 1] >= 0xC0:
        lead = text[end - 1]
        needed = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if len(text) - end + 1 < needed:
            return text[: end - 1]
    return text


def _unquoted(text: str) -> str:
    """What is not quoted from another message; all, where nothing else is said."""
    if ">" not in text:
        return text
    lines = [line for line in text.split("\n") if not line.startswith(">")]
    own = "\n".join(lines)
    return own if own.strip() else text


def _collapse(text: str) -> str:
    """One line, with single spaces and nothing invisible; somewhat more than a preview takes."""
    line = " ".join(text.split())[:_MOST_CHARACTERS]
    if line.isprintable() and "\u034f" not in line:
        return line
    return " ".join(line.translate(_CONTROLS).split())


def html_text(markup: str) -> str:
    """
    The text of an HTML document's beginning.

    A preview needs no document tree: one pass, linear in the input, stops
    when it has enough.
    """
    pieces: list[str] = []
    size = 0
    position = 0
    while size < 2 * PREVIEW_LENGTH:
        mark = markup.find("<", position)
        text = markup[position : mark if mark >= 0 else len(markup)]
        if text and not text.isspace():
            pieces.append(html.unescape(text) if "&" in text else text)
            size += len(pieces[-1])
        elif text:
            pieces.append(" ")
        if mark < 0:
            break
        position = _after_tag(markup, mark, pieces)
        if position <= mark:
            break
    return "".join(pieces)


def _after_tag(markup: str, mark: int, pieces: list[str]) -> int:
    """
    Skip a comment, a tag, or an element that is not shown.

    @return: Where to go on; 0 if the markup ends within it.
    """
    if markup.startswith("<!--", mark):
        end = markup.find("-->", mark + 4)
        return end + 3 if end >= 0 else 0
    name = _TAG_NAME.match(markup, mark + 1)
    if name is None:
        if markup.startswith(("<!", "<?"), mark):
            return markup.find(">", mark) + 1
        pieces.append("<")
        return mark + 1
    element = name.group(1).lower()
    if element in _UNSEEN and markup[mark + 1] != "/":
        close = _UNSEEN[element].search(markup, name.end())
        if close is None:
            return 0
        mark = close.start()
    elif element not in _INLINE:
        pieces.append(" ")
    return markup.find(">", mark) + 1
