"""Tests of the parsers of commands: L{pycyrus.imap.wire}."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire import esearch as esearch_module
from pycyrus.imap.wire.append import Append, AppendMessage, encode_appenduid, parse_append
from pycyrus.imap.wire.copy import Copy, UidExpunge, encode_copyuid, parse_copy, parse_uid_copy, parse_uid_expunge
from pycyrus.imap.wire.esearch import Result, encode_esearch, encode_search
from pycyrus.imap.wire.fetch import Binary, Column, Fetch, Section, parse_fetch, parse_uid_fetch
from pycyrus.imap.wire.flags import FlagLists
from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.search import Return, Search, parse_search, parse_uid_search
from pycyrus.imap.wire.select import Resync, Select, parse_select
from pycyrus.imap.wire.store import Store, parse_store, parse_uid_store
from pycyrus.mime.sections import SectionText
from pycyrus.model import search as keys
from pycyrus.model.flags import ANSWERED, DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.uids import SequenceSet

ALL = SequenceSet(((1, 0),))


class CommandTests(SynchronousTestCase):
    """What clients write, and what it means."""

    def good(self, parser: Callable[[Cursor], Any], text: bytes, value: object) -> None:
        self.assertEqual(parser(Cursor([text])), value, text)
        self.assertRaises(BadSyntax, parser, Cursor([text + b" )"]))

    def bad(self, parser: Callable[[Cursor], Any], *texts: bytes) -> None:
        for text in texts:
            self.assertRaises(BadSyntax, parser, Cursor([text]))

    def items(self, text: bytes) -> tuple[object, ...]:
        return parse_fetch(Cursor([b" 1 " + text])).items


class FetchTests(CommandTests):
    """FETCH (RFC 9051 section 6.4.5)."""

    def test_macros(self) -> None:
        fast = (Column.FLAGS, Column.INTERNALDATE, Column.SIZE)
        self.assertEqual(self.items(b"fast"), fast)
        self.assertEqual(self.items(b"ALL"), (*fast, Column.ENVELOPE))
        self.assertEqual(self.items(b"FULL"), (*fast, Column.ENVELOPE, Column.BODY))
        self.bad(
            parse_fetch, b" 1 (ALL)", b" 1 ()", b" 1", b" 1 ", b" 1 NOSUCH", b"1 ALL", b" 1 (UID FLAGS", b" 1 UID FLAGS"
        )

    def test_uid_is_always_in_uid_fetch(self) -> None:
        self.good(parse_uid_fetch, b" 1:* FLAGS", Fetch(ALL, True, (Column.UID, Column.FLAGS)))
        self.good(parse_uid_fetch, b" $ (FLAGS UID)", Fetch(None, True, (Column.FLAGS, Column.UID)))

    def test_the_same_twice(self) -> None:
        self.assertEqual(self.items(b"(UID FLAGS uid BODY[] BODY[])"), (Column.UID, Column.FLAGS, Section(b"BODY[]")))

    def test_sections(self) -> None:
        text = SectionText
        for wire, section in (
            (b"BODY[]", Section(b"BODY[]")),
            (b"body.peek[]", Section(b"BODY[]", peek=True)),
            (b"BODY[TEXT]", Section(b"BODY[TEXT]", text=text.TEXT)),
            (b"BODY[1.2]", Section(b"BODY[1.2]", (1, 2))),
            (b"BODY[1.header]", Section(b"BODY[1.HEADER]", (1,), text.HEADER)),
            (b"BODY[3.MIME]<5.10>", Section(b"BODY[3.MIME]<5>", (3,), text.MIME, origin=5, length=10)),
            (
                b'BODY.PEEK[HEADER.FIELDS ("to" From)]',
                Section(
                    b"BODY[HEADER.FIELDS (to From)]",
                    text=text.HEADER,
                    fields=frozenset((b"TO", b"FROM")),
                    peek=True,
                ),
            ),
            (
                b"BODY[2.HEADER.FIELDS.NOT (X)]",
                Section(b"BODY[2.HEADER.FIELDS.NOT (X)]", (2,), text.HEADER, frozenset((b"X",)), True),
            ),
            (b"RFC822", Section(b"RFC822")),
            (b"RFC822.HEADER", Section(b"RFC822.HEADER", text=text.HEADER, peek=True)),
            (b"RFC822.TEXT", Section(b"RFC822.TEXT", text=text.TEXT)),
            (b"BINARY[1]", Binary(b"BINARY[1]", (1,))),
            (b"BINARY.PEEK[]<0.5>", Binary(b"BINARY[]<0>", (), 0, 5, True)),
            (b"BINARY.SIZE[1.1]", Binary(b"BINARY.SIZE[1.1]", (1, 1), peek=True, size=True)),
        ):
            self.assertEqual(self.items(wire), (section,), wire)
            self.assertEqual(self.items(b"(UID " + wire + b" FLAGS)")[1], section, wire)

    def test_no_sections(self) -> None:
        for item in (
            b"BODY[", b"BODY[MIME]", b"BODY[0]", b"BODY[1.]", b"BODY[.1]", b"BODY[1..2]", b"BODY[01]", b"BODY[FOO]",
            b"BODY[HEADER.FIELDS]", b"BODY[HEADER.FIELDS ()]", b"BODY[HEADER.FIELDS (\xff)]", b"BODY[]<0>",
            b"BODY[]<0.0>", b"BODY[]<-1.5>", b"BODY[]<0.9223372036854775808>", b"BODY[1.99999999999]", b"FLAGS[]",
            b"BINARY[TEXT]", b"BINARY", b"BINARY.SIZE[1]<0.5>", b"BODY.PEEK", b"BODY []", b"BODY[" + b"1." * 200 + b"1]"
        ):  # fmt: skip
            self.bad(parse_fetch, b" 1 " + item)

    def test_sets_seen(self) -> None:
        for item, answer in ((b"BODY[]", True), (b"RFC822.HEADER", False), (b"ALL", False), (b"(UID RFC822)", True)):
            self.assertEqual(parse_fetch(Cursor([b" 1 " + item])).sets_seen, answer)

    def test_modifiers(self) -> None:
        columns = (Column.UID, Column.FLAGS, Column.MODSEQ)
        self.good(parse_uid_fetch, b" 1:* FLAGS (CHANGEDSINCE 12)", Fetch(ALL, True, columns, 12))
        self.good(parse_uid_fetch, b" 1:* (FLAGS) (changedsince 12 VANISHED)", Fetch(ALL, True, columns, 12, True))
        self.bad(parse_uid_fetch, b" 1:* FLAGS (VANISHED)", b" 1 FLAGS ()", b" 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 2)")
        self.bad(parse_uid_fetch, b" 1:* FLAGS (FOO 1)", b" 1:* FLAGS (CHANGEDSINCE)", b" 1:* FLAGS (CHANGEDSINCE -1)")
        self.bad(parse_fetch, b" 1:* FLAGS (CHANGEDSINCE 12 VANISHED)")


class StoreTests(CommandTests):
    """STORE (RFC 9051 section 6.4.6)."""

    def test_store(self) -> None:
        add = FlagChange(FlagAction.ADD, Flags(SEEN | DELETED, (b"$Junk",)))
        self.good(parse_store, rb" 1:* +FLAGS (\Seen \deleted $Junk $junk)", Store(ALL, False, add))
        self.good(parse_store, rb" 1:* +flags.silent \Seen \Deleted $Junk", Store(ALL, False, add, True))
        self.good(parse_uid_store, b" $ FLAGS ()", Store(None, True, FlagChange(FlagAction.REPLACE, Flags())))
        remove = FlagChange(FlagAction.REMOVE, Flags(0, (b"a",)))
        self.good(parse_uid_store, b" 1:* (UNCHANGEDSINCE 0) -FLAGS.SILENT (a)", Store(ALL, True, remove, True, 0))

    def test_no_store(self) -> None:
        self.bad(
            parse_store,
            rb" 1 FLAGS (\Recent)",
            rb" 1 FLAGS (\*)",
            rb" 1 FLAGS (\Foo)",
            b" 1 FLAGS",
            b" 1 FLAGS ",
            b" 1 * FLAGS (a)",
            b" 1 +BODY (a)",
            b" 1 FLAGS.LOUD (a)",
            b" 1 FLAGS (a",
            b" 1 FLAGS (%b)" % (b"x" * 300),
            b" 1 FLAGS (%b)" % b" ".join(b"k%d" % number for number in range(300)),
            b" 1 () FLAGS (a)",
            b" 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 2) FLAGS (a)",
        )


class SelectTests(CommandTests):
    """SELECT (RFC 9051 section 6.3.2, RFC 7162 section 3.2.5)."""

    def test_select(self) -> None:
        self.good(parse_select, b" INBOX", Select(b"INBOX"))
        self.good(parse_select, b' "a b" (CONDSTORE)', Select(b"a b", True))
        self.good(parse_select, b" x (QRESYNC (7 8))", Select(b"x", False, Resync(7, 8)))
        known = SequenceSet(((1, 5),))
        match = SequenceSet(((1, 1), (3, 3))), SequenceSet(((4, 4), (9, 9)))
        self.good(parse_select, b" x (QRESYNC (7 8 1:5))", Select(b"x", False, Resync(7, 8, known)))
        self.good(parse_select, b" x (QRESYNC (7 8 1:5 (1,3 4,9)))", Select(b"x", False, Resync(7, 8, known, match)))
        self.good(parse_select, b" x (QRESYNC (7 8 (1,3 4,9)))", Select(b"x", False, Resync(7, 8, None, match)))

    def test_no_select(self) -> None:
        self.bad(
            parse_select,
            b"",
            b" x ()",
            b" x (FOO)",
            b" x (QRESYNC)",
            b" x (QRESYNC (0 8))",
            b" x (QRESYNC (7 0))",
            b" x (QRESYNC (7 8 1:*))",
            b" x (QRESYNC (7 8 1:5 (1:* 1:5)))",
            b" x (QRESYNC (7 8 ))",
            b" x (QRESYNC (7 8) QRESYNC (7 8))",
        )


class CopyTests(CommandTests):
    """COPY, MOVE, UID EXPUNGE."""

    def test_copy(self) -> None:
        self.good(parse_copy, b" 1:* Sent", Copy(ALL, False, b"Sent"))
        self.good(parse_uid_copy, b' $ "a b"', Copy(None, True, b"a b"))
        self.bad(parse_copy, b" Sent", b" 1", b" 1 ", b" 0 Sent", b" 1 a b")

    def test_uid_expunge(self) -> None:
        self.good(parse_uid_expunge, b" 1:*", UidExpunge(ALL))
        self.bad(parse_uid_expunge, b"", b" x")

    def test_codes(self) -> None:
        """Both sets of COPYUID run in parallel, so neither is sorted (RFC 4315 section 3)."""
        sources, targets = np.array([1, 2, 9, 3], dtype=np.uint32), np.array([5, 6, 7, 8], dtype=np.uint32)
        self.assertEqual(encode_copyuid(3, sources, targets), b"[COPYUID 3 1:2,9,3 5:8]")
        self.assertEqual(encode_appenduid(3, targets[:1]), b"[APPENDUID 3 5]")


class AppendTests(CommandTests):
    """APPEND (RFC 9051 section 6.3.12, RFC 3502)."""

    def test_append(self) -> None:
        first, second = Literal(b"1"), Literal(b"2", binary=True)
        args: list[bytes | Literal] = [
            rb' INBOX (\Seen) " 7-Feb-1994 21:52:25 -0800" ',
            first,
            b" (a) ",
            second,
        ]
        message = AppendMessage(first, Flags(SEEN), 760686745)
        self.assertEqual(
            parse_append(Cursor(args)),
            Append(b"INBOX", (message, AppendMessage(second, Flags(0, (b"a",)), None))),
        )
        self.assertEqual(
            parse_append(Cursor([b" ", Literal(b"a b"), b" ", first])),
            Append(b"a b", (AppendMessage(first, Flags(), None),)),
        )

    def test_no_append(self) -> None:
        literal = Literal(b"1")
        bad: tuple[list[bytes | Literal], ...] = (
            [b" INBOX"],
            [b" INBOX "],
            [b" INBOX (a)"],
            [b" INBOX", literal],
            [b" INBOX ", literal, b" "],
            [b" INBOX ", literal, literal],
            [rb" INBOX (\Foo) ", literal],
            [rb" INBOX (\Seen \Recent) ", literal],
            [b' INBOX "yesterday" ', literal],
            [b' INBOX "x"'],
        )
        for args in bad:
            self.assertRaises(BadSyntax, parse_append, Cursor(args))


class SearchTests(CommandTests):
    """SEARCH (RFC 9051 section 6.4.4)."""

    def key(self, text: bytes) -> object:
        return parse_search(Cursor([b" " + text])).key

    def test_keys(self) -> None:
        day = dt.date(1994, 2, 1).toordinal() - dt.date(1970, 1, 1).toordinal()
        internal, sent = keys.DateField.INTERNAL, keys.DateField.SENT
        subject = keys.HeaderContains(keys.AddressField.SUBJECT, "x")
        for text, key in (
            (b"ALL", keys.All()),
            (b"answered", keys.HasFlag(ANSWERED)),
            (b"UNFLAGGED", keys.Not(keys.HasFlag(FLAGGED))),
            (b"NEW", keys.And((keys.Recent(), keys.Not(keys.HasFlag(SEEN))))),
            (b"OLD", keys.Not(keys.Recent())),
            (b"KEYWORD $a", keys.HasKeyword(b"$a")),
            (b"UNKEYWORD a", keys.Not(keys.HasKeyword(b"a"))),
            (b"BEFORE 1-Feb-1994", keys.DateRange(internal, None, day - 1)),
            (b"ON 1-Feb-1994", keys.DateRange(internal, day, day)),
            (b'SINCE "1-Feb-1994"', keys.DateRange(internal, day, None)),
            (b"SENTBEFORE 1-Feb-1994", keys.DateRange(sent, None, day - 1)),
            (b"SENTSINCE 1-Feb-1994", keys.DateRange(sent, day, None)),
            (b"LARGER 5000000000", keys.SizeRange(above=5_000_000_000)),
            (b"SMALLER 5", keys.SizeRange(below=5)),
            (b"SUBJECT x", subject),
            (b"HEADER Subject x", subject),
            (b'HEADER Subject ""', keys.AnyHeaderContains(b"Subject", "")),
            (b"HEADER X-Foo bar", keys.AnyHeaderContains(b"X-Foo", "bar")),
            (b"BODY x", keys.BodyContains("x")),
            (b'TEXT "x y"', keys.TextContains("x y")),
            (b"1:*", keys.MessageNumbers(ALL)),
            (b"*", keys.MessageNumbers(SequenceSet(((0, 0),)))),
            (b"UID 1:*", keys.UidSet(ALL)),
            (b"$", keys.SavedResult()),
            (b"UID $", keys.SavedResult()),
            (b"NOT SEEN", keys.Not(keys.HasFlag(SEEN))),
            (b"OR SEEN SUBJECT x", keys.Or(keys.HasFlag(SEEN), subject)),
            (b"(SEEN)", keys.HasFlag(SEEN)),
            (b"SEEN (ALL SUBJECT x)", keys.And((keys.HasFlag(SEEN), keys.And((keys.All(), subject))))),
            (b"NOT OR SEEN ALL", keys.Not(keys.Or(keys.HasFlag(SEEN), keys.All()))),
            (b"MODSEQ 620162338", keys.ModifiedSince(620162338)),
            (b'MODSEQ "/flags/\\\\draft" all 620162338', keys.ModifiedSince(620162338)),
            (b"OLDER 60", keys.Within(60, younger=False)),
        ):
            self.assertEqual(self.key(text), key, text)
        self.assertTrue(parse_search(Cursor([b" NOT MODSEQ 1"])).uses_modseq)

    def test_no_keys(self) -> None:
        self.bad(
            parse_search,
            *(b"", b" ", b" FOO", b" ALL ", b" ()", b" (ALL", b" ALL)", b" OR ALL", b" NOT", b" SUBJECT"),
            *(b" KEYWORD \\Seen", b" SINCE 99-Feb-1994", b" HEADER x", b" UID x", b" LARGER -1", b" MODSEQ"),
            *(b' MODSEQ "/foo" all 1', b' MODSEQ "/flags/x" some 1', b" RETURN (FOO) ALL", b" RETURN ALL", b" 0"),
            *(b" CHARSET UTF-8", b" OR  ALL ALL", b" NOT(ALL", b' SUBJECT "\xc3\xa9"'),
        )

    def test_deep_and_wide(self) -> None:
        """Long OR chains, as clients write them, are no nesting; real nesting has an end."""
        chain = b"OR SUBJECT a " * 2000 + b"SUBJECT b"
        key = self.key(chain)
        depth = 0
        while isinstance(key, keys.Or):
            key, depth = key.right, depth + 1
        self.assertLess(depth, 15)
        self.bad(parse_search, b" " + b"NOT " * 200 + b"ALL", b" " + b"(" * 200 + b"ALL" + b")" * 200)
        self.bad(parse_search, b" " + b"ALL " * 10_001 + b"ALL")
        self.assertIsInstance(self.key(b"NOT " * 50 + b"ALL"), keys.Not)

    def test_charsets(self) -> None:
        def parse(charset: bytes, text: bytes) -> object:
            return parse_search(Cursor([b" CHARSET %b SUBJECT " % charset, Literal(text)])).key

        subject = keys.HeaderContains(keys.AddressField.SUBJECT, "é")
        self.assertEqual(parse(b"utf-8", "é".encode()), subject)
        self.assertEqual(parse(b'"ISO-8859-1"', b"\xe9"), subject)
        self.assertIsNone(parse(b"UTF-8", b"\xe9"))
        self.assertIsNone(parse(b"US-ASCII", b"\xe9"))
        self.assertIsNone(parse(b"X-NONE", b"e"))
        self.assertIsNone(parse(b"UTF-7", b"e"))
        self.assertEqual(parse_search(Cursor([b" SUBJECT ", Literal("é".encode())])).key, subject)

    def test_returns(self) -> None:
        for text, returns in (
            (b"RETURN () ALL", {Return.ALL}),
            (b"return (min MAX COUNT) ALL", {Return.MIN, Return.MAX, Return.COUNT}),
            (b"RETURN (SAVE) CHARSET UTF-8 ALL", {Return.SAVE}),
        ):
            charset = b"CHARSET" in text
            expected = Search(True, keys.All(), frozenset(returns), contradicts_utf8=charset)
            self.assertEqual(parse_uid_search(Cursor([b" " + text])), expected)

    def test_long_responses(self) -> None:
        """They are written in pieces, and are the same."""
        numbers = np.arange(40, 0, -1, dtype=np.uint32)
        for block in (3, 40, 100):
            with patch.object(esearch_module, "BLOCK", block):
                told = encode_esearch(b"a", Result(numbers, is_sorted=True), frozenset((Return.ALL,)), by_uid=False)
                self.assertEqual(
                    told, b'* ESEARCH (TAG "a") ALL %b\r\n' % b",".join(b"%d" % n for n in range(40, 0, -1))
                )
                plain = b"".join(encode_search(Result(numbers)))
                self.assertEqual(plain, b"* SEARCH %b\r\n" % b" ".join(b"%d" % n for n in range(40, 0, -1)))

    def test_responses(self) -> None:
        numbers = np.array([2, 3, 5], dtype=np.uint32)
        none = numbers[:0]
        self.assertEqual(b"".join(encode_search(Result(numbers))), b"* SEARCH 2 3 5\r\n")
        self.assertEqual(b"".join(encode_search(Result(none, 7))), b"* SEARCH\r\n")
        self.assertEqual(b"".join(encode_search(Result(numbers, 7))), b"* SEARCH 2 3 5 (MODSEQ 7)\r\n")
        every = frozenset((Return.MIN, Return.MAX, Return.ALL, Return.COUNT))
        self.assertEqual(
            encode_esearch(b"a", Result(numbers, 9), every, by_uid=True),
            b'* ESEARCH (TAG "a") UID MIN 2 MAX 5 ALL 2:3,5 COUNT 3 MODSEQ 9\r\n',
        )
        self.assertEqual(encode_esearch(b"a", Result(none, 9), every, by_uid=False), b'* ESEARCH (TAG "a") COUNT 0\r\n')


class FlagListTests(SynchronousTestCase):
    """Lists of flags as FETCH prints them."""

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 2**128 - 1), st.booleans()), max_size=8))
    def test_each_flag_is_told(self, messages: list[tuple[int, int, bool]]) -> None:
        names = tuple(b"k%d" % number if number % 3 else b"" for number in range(128))
        flags = np.array([system for system, _, _ in messages], dtype=np.uint32)
        words = [(bits & 0xFFFFFFFFFFFFFFFF, bits >> 64) for _, bits, _ in messages]
        keywords = np.array(words, dtype=np.uint64).reshape(-1, 2)
        recent = np.array([each for _, _, each in messages], dtype=np.bool_)
        system_names = (rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft", rb"\Seen")
        for (system, bits, is_recent), text in zip(
            messages, FlagLists(names).encode(flags, keywords, recent), strict=True
        ):
            expected = {name for bit, name in enumerate(system_names) if system >> bit & 1}
            expected |= {name for bit, name in enumerate(names) if name and bits >> bit & 1}
            expected |= {rb"\Recent"} if is_recent else set()
            told = text[1:-1].split()
            self.assertEqual((set(told), len(told)), (expected, len(expected)))
