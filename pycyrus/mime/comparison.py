"""
How strings are compared: for order, and for search.

Both are the sense of i;unicode-casemap (RFC 5051) by today's Unicode.  For order, case
and composition do not count.  For search, neither do compatibility forms nor, if so
wanted, accents.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Literal

_SLICE: Final = 512
# But for U+0345, the iota below a letter: a cached field has an iota for it.
_DIACRITICS: Final = re.compile("[\u0300-\u0344\u0346-\u036f]+")
"""The block of combining diacritical marks, of all that combines."""
_IOTA_BELOW: Final = re.compile("[\u0345\u1f80-\u1fff]")
"""Greek letters that have an iota below, and some that have not."""


class WhiteSpace(enum.Enum):
    """What white space counts for in a search (option C{search_whitespace})."""

    MERGE = "merge"
    SKIP = "skip"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    What counts where a text is searched for another.

    @ivar skips_diacritics: An accent does not count (C{search_skipdiacrit}).
    @ivar white_space: C{search_whitespace}.
    @ivar skips_markup: HTML is not looked through (C{search_skiphtml}).
    """

    skips_diacritics: bool = True
    white_space: WhiteSpace = WhiteSpace.MERGE
    skips_markup: bool = False

    @property
    def code(self) -> int:
        """A small number that is another for each comparison."""
        return self.skips_diacritics + 2 * self.skips_markup + 4 * tuple(WhiteSpace).index(self.white_space)

    def fold(self, text: str) -> str:
        """The form in which strings are looked for."""
        return self.space(self.letters(text))

    def letters(self, text: str) -> str:
        """A part of L{fold}: all but white space."""
        if text.isascii():
            return text.lower()
        plain = self._decomposed(text)
        if plain.isascii():
            return plain.lower()
        # Capitals first: RFC 5051 section 2 makes one letter of some that have a capital in common.
        folded = plain.upper().casefold()
        return folded if unicodedata.is_normalized("NFKD", folded) else self._decomposed(folded)

    def _decomposed(self, text: str) -> str:
        decomposed = _normalised("NFKD", text)
        return _DIACRITICS.sub("", decomposed) if self.skips_diacritics else decomposed

    def space(self, text: str) -> str:
        """A part of L{fold}: white space."""
        if self.white_space is WhiteSpace.MERGE:
            return merge_space(text)
        if self.white_space is WhiteSpace.KEEP:
            return text
        joined = "".join(text.split())
        # Marks that were apart may be of one letter now, and in another order.
        return joined if unicodedata.is_normalized("NFKD", joined) else self._decomposed(joined)

    def form(self, folded: bytes) -> bytes:
        """
        What L{pycyrus.mime.text.search_form} gave, as it is searched.

        White space was merged there, and stays so.
        """
        skips = self.white_space is WhiteSpace.SKIP
        if folded.isascii():
            return folded.replace(b" ", b"") if skips else folded
        # Some letters are made of a space and something else.
        text = merge_space(self.letters(folded.decode("utf-8", "replace")))
        return (self.space(text) if skips else text).encode("utf-8", "replace")

    def needle(self, text: str) -> bytes:
        """What is looked for in that L{form}."""
        folded = self.fold(text)
        return (merge_space(folded) if self.white_space is WhiteSpace.KEEP else folded).encode("utf-8", "replace")


DEFAULT_COMPARISON: Final = Comparison()


def fold(text: str) -> str:
    """
    The form of which L{collation} makes order, and that is cached of header fields.

    White space of any length counts as one space, as fields and paragraphs
    are broken anywhere.
    """
    return merge_space(_fold_case(text))


def collation(text: str) -> str:
    """
    Folded text as i;unicode-casemap puts it in order: in capitals, decomposed (RFC 5051 section 2).

    @param text: As from L{fold}.
    """
    if text.isascii():
        return text.upper()
    # Decomposition takes the square of the length of a run of combining marks.
    return unicodedata.normalize("NFKD", text[:_SLICE].upper())


def merge_space(text: str) -> str:
    """Make one space of each run of white space."""
    merged = " ".join(text.split())
    if not merged:
        return " " if text else ""
    if text[0].isspace():
        merged = " " + merged
    return merged + " " if text[-1].isspace() else merged


def _fold_case(text: str) -> str:
    if text.isascii():
        return text.lower()
    if _IOTA_BELOW.search(text) is not None:
        # It becomes a letter of its own: marks of the one above must stand before it by then.
        text = _normalised("NFD", text)
    return _normalised("NFC", text.casefold())


def _normalised(form: Literal["NFC", "NFD", "NFKD"], text: str) -> str:
    """
    A normalisation form, in slices.

    Sorting a run of combining marks takes the square of its length, so runs
    must not grow with what a sender likes to write.
    """
    if len(text) <= _SLICE:
        return unicodedata.normalize(form, text)
    slices = []
    start = 0
    while start < len(text):
        stop = start + _SLICE
        # Nothing composes across a space.
        space = text.find(" ", stop, stop + _SLICE)
        if space >= 0:
            stop = space
        slices.append(unicodedata.normalize(form, text[start:stop]))
        start = stop
    return "".join(slices)
