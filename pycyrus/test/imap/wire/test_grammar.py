"""Tests of L{pycyrus.imap.wire.grammar}."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire import grammar
from pycyrus.imap.wire.append import parse_append
from pycyrus.imap.wire.copy import parse_copy, parse_uid_copy, parse_uid_expunge
from pycyrus.imap.wire.dates import encode_date_times
from pycyrus.imap.wire.fetch import parse_fetch, parse_uid_fetch
from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import END, LITERAL, BadSyntax, Cursor
from pycyrus.imap.wire.search import parse_search, parse_uid_search
from pycyrus.imap.wire.select import parse_select
from pycyrus.imap.wire.store import parse_store, parse_uid_store
from pycyrus.model.uids import SequenceSet

quick = settings(max_examples=150, deadline=None, database=None)

Production = Callable[[Cursor], Any]

PARSERS: tuple[Production, ...] = (
    parse_append,
    parse_copy,
    parse_fetch,
    parse_search,
    parse_select,
    parse_store,
    parse_uid_copy,
    parse_uid_expunge,
    parse_uid_fetch,
    parse_uid_search,
    parse_uid_store,
)

WORDS = [
    b" ", b" ", b"1:*", b"1,3:4", b"$", b"INBOX", b"(", b")", b"[", b"]", b"<0.10>", b'"', b"\\Seen", b"FLAGS",
    b"+FLAGS", b".SILENT", b"UID", b"BODY", b"BODY.PEEK[", b"HEADER.FIELDS", b"1.2.MIME", b"NOT", b"OR", b"ALL",
    b"RETURN", b"(MIN)", b"CHARSET", b"UTF-8", b"SUBJECT", b"x", b"1-Feb-1994", b"SINCE", b"MODSEQ", b"12",
    b"(CHANGEDSINCE 5 VANISHED)", b"(QRESYNC (1 2", b'" 7-Feb-1994 21:52:25 -0800"', b"*", b"%", b"{", b"\xff", b"\x00",
]  # fmt: skip


class ProductionTests(SynchronousTestCase):
    """Each production takes what RFC 9051 section 9 says, and leaves what is behind it."""

    def table(self, production: Production, good: dict[bytes, object], bad: list[bytes]) -> None:
        for text, value in good.items():
            for behind in (b"", b" x", b")"):
                cursor = Cursor([text + behind])
                self.assertEqual(production(cursor), value, text)
                self.assertEqual(cursor.peek(), behind[0] if behind else END, text)
        for text in bad:
            self.assertRaises(BadSyntax, production, Cursor([text]))

    def test_atom(self) -> None:
        self.table(Cursor.atom, {b"abc": b"abc", b"+1~$&": b"+1~$&"}, [b"", b" a", b"]", b'"a"', b"\\a", b"\xe9"])

    def test_astring(self) -> None:
        self.table(
            Cursor.astring,
            {b"a]b": b"a]b", b'"a b"': b"a b", rb'"\"\\"': rb'"' + b"\\", b'""': b"", b"NIL": b"NIL"},
            [b"", b'"', b'"a', rb'"\a"', b'"\r"', b'"\n"', b'"\x00"', b'"\xc3\xa9"', b"(", b"%", b"*", b"{"],
        )

    def test_astring_in_utf8(self) -> None:
        """Quoted strings hold UTF-8 only where it was agreed upon (RFC 9051 section 4.3)."""
        self.assertEqual(Cursor(['"é"'.encode()], utf8=True).astring(), "é".encode())
        self.assertRaises(BadSyntax, Cursor([b'"\xe9"'], utf8=True).astring)
        self.assertRaises(BadSyntax, Cursor(["é".encode()], utf8=True).astring)

    def test_nstring(self) -> None:
        self.table(Cursor.nstring, {b"NIL": None, b"nil": None, b'"NIL"': b"NIL"}, [b"", b"x", b"NILS"])

    def test_list_mailbox(self) -> None:
        self.table(
            Cursor.list_mailbox, {b"a/%": b"a/%", b"*": b"*", b"a]": b"a]", b'"a %"': b"a %"}, [b"", b"{", b"\\"]
        )

    def test_number(self) -> None:
        self.table(Cursor.number, {b"0": 0, b"4294967295": 4294967295}, [b"", b"-1", b"4294967296", b"x", b"9" * 30])

    def test_nz_number(self) -> None:
        self.table(Cursor.nz_number, {b"1": 1, b"4294967295": 4294967295}, [b"0", b"01", b"4294967296"])

    def test_number64(self) -> None:
        largest = 0x7FFFFFFFFFFFFFFF
        self.table(Cursor.number64, {b"0": 0, b"%d" % largest: largest}, [b"%d" % (largest + 1), b""])

    def test_sequence_set(self) -> None:
        self.table(
            Cursor.sequence_set,
            {b"1:*": SequenceSet(((1, 0),)), b"*,7:3": SequenceSet(((0, 0), (7, 3)))},
            [b"", b"0", b"1:", b",", b"1:2:3", b"4294967296", b"1,,2", b"$"],
        )

    def test_flag_list(self) -> None:
        self.table(
            Cursor.flag_list,
            {b"()": [], rb"(\Seen $a b)": [rb"\Seen", b"$a", b"b"]},
            [b"", b"(", b"( )", b"(a  b)", b"(a )", b'("a")', rb"(\)", rb"(\*)", b"(a]b)"],
        )

    def test_date(self) -> None:
        day = dt.date(1994, 2, 1)
        self.table(
            Cursor.date,
            {b"1-Feb-1994": day, b'"01-feb-1994"': day},
            [b"", b"31-Feb-1994", b"1-Foo-1994", b'"1-Feb-1994', b"001-Feb-1994", b"1-Feb-0000", b"1-Feb-94"],
        )

    def test_date_time(self) -> None:
        self.table(
            Cursor.date_time,
            {
                b'" 7-Feb-1994 21:52:25 -0800"': 760686745,
                b'"7-Feb-1994 21:52:25 -0800"': 760686745,
                b'"01-Jan-1970 01:00:00 +0100"': 0,
                b'"31-Dec-1998 23:59:60 +0000"': 915148800,
                b'"31-Dec-9999 23:59:59 +0000"': 253402300799,
                b'"01-Jan-0001 00:00:00 +0000"': -62135596800,
            },
            [
                b"",
                b'"-Feb-1994 21:52:25 -0800"',
                b'"07-Feb-1994 24:00:00 +0000"',
                b'"07-Feb-1994 21:52:25 +0060"',
                b'"07-Feb-1994 21:52:25"',
                b'"31-Dec-9999 23:59:59 -9959"',
                b'"01-Jan-0001 00:00:00 +0100"',
                b'" 7-Xyz-1994 21:52:25 -0800"',
            ],
        )

    def test_paren_list(self) -> None:
        self.table(
            lambda cursor: cursor.paren_list(Cursor.atom),
            {b"()": [], b"(a b)": [b"a", b"b"]},
            [b"", b"(", b"(a", b"(a b", b"( a)", b"(a )", b"(a  b)", b"a"],
        )
        self.assertRaises(BadSyntax, Cursor([b"()"]).paren_list, Cursor.atom, least=1)
        self.assertRaises(BadSyntax, Cursor([b"(a b c)"]).paren_list, Cursor.atom, most=2)

    def test_nesting_is_limited(self) -> None:
        """Thousands of open parentheses are refused, not followed."""

        def nested(cursor: Cursor) -> object:
            return cursor.paren_list(nested) if cursor.peek() == 0x28 else cursor.atom()

        self.assertRaises(BadSyntax, nested, Cursor([b"(" * 50_000]))
        self.assertEqual(len(nested(Cursor([b"(" * 50 + b"a" + b")" * 50]))), 1)  # type: ignore[arg-type]

    def test_take(self) -> None:
        cursor = Cursor([b"Charset X"])
        self.assertFalse(cursor.take(b"CHAR"))
        self.assertTrue(cursor.take(b"CHARSET"))
        self.assertRaises(BadSyntax, cursor.end)

    def test_space(self) -> None:
        self.assertRaises(BadSyntax, Cursor([b"\t"]).space)
        cursor = Cursor([b"  a"])
        cursor.space()
        self.assertRaises(BadSyntax, cursor.atom)

    def test_what_is_missing_is_said(self) -> None:
        error = self.assertRaises(BadSyntax, Cursor([]).space)
        self.assertEqual(error.text, b"Missing required argument")


class LiteralTests(SynchronousTestCase):
    """Literals stand between pieces of text."""

    def test_literal_as_string(self) -> None:
        cursor = Cursor([b" ", Literal(b"a b", size=3), b" c"])
        cursor.space()
        self.assertEqual(cursor.peek(), LITERAL)
        self.assertEqual(cursor.astring(), b"a b")
        cursor.space()
        self.assertEqual(cursor.astring(), b"c")
        self.assertTrue(cursor.at_end())

    def test_literals_side_by_side(self) -> None:
        cursor = Cursor([Literal(b"a"), Literal(b"b")])
        self.assertEqual((cursor.string(), cursor.string()), (b"a", b"b"))
        cursor.end()

    def test_no_strings(self) -> None:
        """A literal8 and a literal with NUL are no strings (RFC 9051 section 9)."""
        for literal in (Literal(b"a", binary=True), Literal(b"\0")):
            self.assertRaises(BadSyntax, Cursor([literal]).string)

    def test_no_literal(self) -> None:
        self.assertRaises(BadSyntax, Cursor([b"a"]).literal)
        self.assertRaises(BadSyntax, Cursor([b"", b"a"]).literal)


class EncoderTests(SynchronousTestCase):
    """What is written can be read again."""

    def test_quoted(self) -> None:
        for value, text in (
            (b"", b'""'),
            (b'a"\\', rb'"a\"' + b'\\\\"'),
            (b"a\r\nb", b"{4}\r\na\r\nb"),
            ("é".encode(), b"{2}\r\n\xc3\xa9"),
            (b"x" * 2000, b"{2000}\r\n" + b"x" * 2000),
        ):
            self.assertEqual(grammar.quoted(value), text)
        self.assertEqual(grammar.quoted("é".encode(), utf8=True), '"é"'.encode())
        self.assertEqual(grammar.quoted(b"\xe9", utf8=True), b"{1}\r\n\xe9")

    def test_astring(self) -> None:
        for value, text in ((b"a]", b"a]"), (b"nil", b'"nil"'), (b"", b'""'), (b"a b", b'"a b"'), (b"%", b'"%"')):
            self.assertEqual(grammar.astring(value), text)

    def test_nstring(self) -> None:
        self.assertEqual((grammar.nstring(None), grammar.nstring(b"NIL")), (b"NIL", b'"NIL"'))

    @quick
    @given(st.binary(max_size=40), st.booleans())
    def test_round_trip(self, value: bytes, utf8: bool) -> None:
        value = value.replace(b"\0", b"")
        for encode in (grammar.quoted, grammar.astring):
            text = encode(value, utf8=utf8)
            head, mark, _ = text.partition(b"}\r\n")
            args: list[bytes | Literal] = [text]
            if mark and head[:1] == b"{":
                args = [Literal(value)]
            cursor = Cursor(args, utf8=utf8)
            self.assertEqual(cursor.astring(), value)
            cursor.end()

    @quick
    @given(st.integers(-62135596800, 253402300799))
    def test_date_time_round_trip(self, seconds: int) -> None:
        self.assertEqual(Cursor([*encode_date_times(np.array([seconds]))]).date_time(), seconds)

    def test_date_time_of_a_mad_clock(self) -> None:
        """A date that no calendar has does not make the message unreadable."""
        late, early = encode_date_times(np.array([2**61, -(2**61)]))
        self.assertIn(b"-9999 ", late)
        self.assertIn(b"-0001 ", early)


class GarbageTests(SynchronousTestCase):
    """Whatever comes, it is a command or a L{BadSyntax}."""

    def parse(self, parser: Production, args: list[bytes | Literal]) -> None:
        try:
            parser(Cursor(args))
        except BadSyntax as error:
            self.assertNotIn(b"\n", error.text)

    @quick
    @given(st.sampled_from(PARSERS), st.lists(st.sampled_from(WORDS), max_size=12))
    def test_words(self, parser: Production, words: list[bytes]) -> None:
        self.parse(parser, [b" " + b"".join(words)])

    @quick
    @given(
        st.sampled_from(PARSERS),
        st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=8), st.builds(Literal, st.binary(max_size=4)))),
    )
    def test_pieces(self, parser: Production, pieces: list[bytes | Literal]) -> None:
        self.parse(parser, pieces)

    def test_cost_is_linear(self) -> None:
        """Long garbage costs no more than its length."""
        size = 60_000
        hard = (
            b' "' + b"\\\\" * size,
            b" " + b"1," * size,
            b" 1:* (" + b"(" * size,
            b" 1:* FLAGS (" + b"a " * size,
            b" " + b"OR " * size,
            b" " + b"NOT " * size,
            b" 1 BODY[" + b"1." * size,
            b" 1 BODY[HEADER.FIELDS (" + b"a " * size,
            b" " + b"9" * size,
            b" 1 (" + b"UID " * size,
        )
        begin = perf_counter()
        for text in hard:
            for parser in PARSERS:
                self.parse(parser, [text])
        self.assertLess(perf_counter() - begin, 10)
