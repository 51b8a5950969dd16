"""ANNOTATE's arguments: whatever comes, they are understood or refused, and what is told can be read."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire.annotations import Annotation, encode_annotation, parse_fetched, parse_values
from pycyrus.imap.wire.catenate import Place, Whereabouts
from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.search import parse_search
from pycyrus.imap.wire.sort import parse_sort
from pycyrus.imap.wire.store import parse_store
from pycyrus.model.annotations import BOTH, SHARED, AnnotationScope

_WORDS = st.sampled_from(
    [
        b"(",
        b")",
        b" ",
        b"/comment",
        b'"/1/%"',
        b"value",
        b"value.priv",
        b"size.shared",
        b"NIL",
        b'"x"',
        b"*",
        b"/",
        b"{",
    ]
)
_TEXT = st.lists(_WORDS, max_size=14).map(b"".join)
_ENTRIES = st.sampled_from(["/comment", "/altsubject", "/1.2/flags/seen", "/vendor/x/y"])
_VALUES = st.dictionaries(st.tuples(st.sampled_from(AnnotationScope), _ENTRIES), st.binary(max_size=20), max_size=5)


class ParserTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(_TEXT, st.booleans())
    def test_anything(self, text: bytes, with_literal: bool) -> None:
        """Nothing but L{BadSyntax}."""
        pieces: list[bytes | Literal] = [text, Literal(b"\0")] if with_literal else [text]
        for parse, before in (
            (parse_fetched, b""),
            (parse_values, b""),
            (parse_store, b" 1 ANNOTATION "),
            (parse_search, b" ANNOTATION "),
            (parse_sort, b" (ANNOTATION "),
        ):
            try:
                parse(Cursor([before + text, *pieces[1:]]))
            except BadSyntax:
                continue

    @settings(max_examples=150, deadline=None, database=None)
    @given(_VALUES)
    def test_told_as_stored(self, values: dict[tuple[AnnotationScope, str], bytes]) -> None:
        """What FETCH tells can be given to STORE, and is the same then."""
        told = encode_annotation(Annotation(("/*",), BOTH, frozenset()), values)
        pieces: list[bytes | Literal] = []
        # As the frame reader cuts it.
        while (match := re.search(rb"~?\{(\d+)\}\r\n", told)) is not None:
            pieces += [told[: match.start()], Literal(told[match.end() : match.end() + int(match[1])])]
            told = told[match.end() + int(match[1]) :]
        if not values:
            self.assertEqual(told, b"()")
            return
        found = dict(parse_values(Cursor([*pieces, told])))
        self.assertEqual({name: value for name, value in found.items() if value is not None}, values)

    def test_told(self) -> None:
        """Names without wildcards are told of in any case, each once."""
        values = {(AnnotationScope.SHARED, "/comment"): b"x", (AnnotationScope.PRIVATE, "/altsubject"): b"y"}
        asked = Annotation(("/comment", "/*", "/1/comment"), SHARED, frozenset())
        self.assertEqual(
            encode_annotation(asked, values), b'(/comment (value.shared "x") /1/comment (value.shared NIL))'
        )

    def test_whereabouts(self) -> None:
        """A literal in an annotation is no message, wherever parentheses stand."""
        places = Whereabouts()
        self.assertIs(places.read(b" (\\Seen) ANNOTATION (/comment (value.priv "), Place.OTHER)
        self.assertIs(places.read(b') /altsubject (value.shared "(" value.priv '), Place.OTHER)
        self.assertIs(places.read(b")) "), Place.MESSAGE)
        self.assertIs(places.read(b" ANNOTATION (/comment (value.priv x)) CATENATE (TEXT "), Place.TEXT)
