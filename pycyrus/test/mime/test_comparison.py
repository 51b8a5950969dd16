"""How strings are compared for search (RFC 5051; the options C{search_skipdiacrit} and C{search_whitespace})."""

# ruff: noqa: RUF001 - letters that look alike are what is told apart here

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.comparison import Comparison, WhiteSpace, collation, fold
from pycyrus.mime.text import search_form

_QUICK = settings(max_examples=150, deadline=None, database=None)


class ComparisonTests(SynchronousTestCase):
    """What is found in what."""

    def test_alike(self) -> None:
        """Neither accents nor compatibility forms count, nor whether a letter was composed."""
        for left, right in (
            ("café", "CAFE"), ("cafe\u0301", "cafe"), ("Ångström", "angstrom"), ("việt", "viet"), ("naïve", "naive"),
            ("ά", "α"), ("ὰ", "α"), ("ᾴ", "αι"), ("й", "и"), ("ё", "е"), ("が", "か\u3099"), ("ﾊﾟ", "パ"),
            ("한", "\u1112\u1161\u11ab"),
            ("İstanbul", "ıstanbul"), ("ſ", "S"), ("\u212a", "k"), ("straße", "STRASSE"), ("ﬁne", "fine"), ("①", "1"),
            ("…", "..."), ("™", "tm"), ("ĳ", "ij"), ("ｆｕｌｌ", "full"), ("a\u00a0 b", "a b"), ("ΣΑΣ", "σας"),
        ):  # fmt: skip
            self.assertEqual(Comparison().fold(left), Comparison().fold(right), (left, right))

    def test_different(self) -> None:
        """Letters of their own, and marks that are more than accents."""
        for left, right in (("ø", "o"), ("ł", "l"), ("が", "か"), ("שׁ", "ש"), ("٠", "0"), ("ab", "a b"), ("", " ")):
            self.assertNotEqual(Comparison().fold(left), Comparison().fold(right), (left, right))

    def test_accents(self) -> None:
        """Where they count, they count for order of marks and composition no more than else."""
        strict = Comparison(skips_diacritics=False)
        self.assertNotEqual(strict.fold("café"), strict.fold("cafe"))
        self.assertEqual(strict.fold("Ệ"), strict.fold("e\u0302\u0323"))

    def test_order_is_another_matter(self) -> None:
        """SORT and THREAD see accents whatever is searched."""
        self.assertNotEqual(collation(fold("cafe")), collation(fold("café")))

    def test_white_space(self) -> None:
        """It is one space, or nothing, or what it is."""
        for white_space, folded in ((WhiteSpace.MERGE, " a b "), (WhiteSpace.SKIP, "ab"), (WhiteSpace.KEEP, "\ta  b ")):
            self.assertEqual(Comparison(white_space=white_space).fold("\tA  B "), folded)

    def test_codes(self) -> None:
        """Each comparison has its own."""
        codes = {
            Comparison(skips, white_space, html).code
            for skips in (False, True)
            for white_space in WhiteSpace
            for html in (False, True)
        }
        self.assertEqual(len(codes), 12)

    def test_many_marks(self) -> None:
        """Any number of combining marks costs no more than other text."""
        self.assertEqual(Comparison().fold("a" + "\u0301\u0323" * 200_000), "a")

    def test_iota_below_a_letter(self) -> None:
        """It is a letter of its own where case does not count; further marks stay with the one above."""
        comparison = Comparison(skips_diacritics=False)
        for text in ("\u03b1\u0345\u0301", "\u1fb3\u0301", "\u1f83\u0304", "\u1f98\u0340\u0341", "x\u0345\u0323"):
            with self.subTest(text=ascii(text)):
                self.assertEqual(comparison.needle(text), comparison.form(search_form(text.encode())))

    @_QUICK
    @given(st.text(max_size=40), st.sampled_from(WhiteSpace), st.booleans())
    def test_found_in_itself(self, text: str, white_space: WhiteSpace, skips: bool) -> None:
        """A field that a user copies is found, in the form that the cache has of it too."""
        comparison = Comparison(skips, white_space)
        self.assertEqual(comparison.fold(comparison.fold(text)), comparison.fold(text))
        field = text.replace("=?", "").encode("utf-8", "replace")
        self.assertIn(comparison.needle(text.replace("=?", "").strip()), comparison.form(search_form(field)))
