"""LIST, LSUB, CREATE, RENAME and STATUS as octets."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire.frames import Literal
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.listing import List, Return, Selection, canonical_pattern, encode_list, parse_list, parse_lsub
from pycyrus.imap.wire.mailboxes import (
    Create,
    Named,
    Rename,
    Status,
    StatusItem,
    encode_status,
    parse_create,
    parse_named,
    parse_rename,
    parse_status,
)

PARSERS = (parse_list, parse_lsub, parse_create, parse_rename, parse_status, parse_named)


class Parsing(SynchronousTestCase):
    def test_list(self) -> None:
        for text, expected in [
            (b' "" *', List(b"", (b"*",))),
            (b' "" ""', List(b"", (b"",))),
            (b' foo/ "%/b c"', List(b"foo/", (b"%/b c",))),
            (b' () "" (a %)', List(b"", (b"a", b"%"), is_extended=True)),
            (
                b' (subscribed RECURSIVEMATCH) "" % RETURN (CHILDREN SPECIAL-USE)',
                List(
                    b"",
                    (b"%",),
                    Selection.SUBSCRIBED | Selection.RECURSIVEMATCH,
                    Return.CHILDREN | Return.SPECIAL_USE,
                    is_extended=True,
                ),
            ),
            (
                b' "" % return (STATUS (messages SIZE))',
                List(
                    b"",
                    (b"%",),
                    Selection.NONE,
                    Return.STATUS,
                    is_extended=True,
                    status=frozenset((StatusItem.MESSAGES, StatusItem.SIZE)),
                ),
            ),
            (b' "" % RETURN ()', List(b"", (b"%",), is_extended=True)),
        ]:
            self.assertEqual(parse_list(Cursor([text])), expected)
        self.assertEqual(
            parse_list(Cursor([b" ", Literal(b"", size=0), b" ", Literal(b"a*", size=2)])), List(b"", (b"a*",))
        )
        self.assertEqual(parse_lsub(Cursor([b' "" *'])), List(b"", (b"*",), Selection.SUBSCRIBED))

    def test_others(self) -> None:
        self.assertEqual(parse_create(Cursor([b" a"])), Create(b"a"))
        self.assertEqual(parse_create(Cursor([b" a part"])), Create(b"a", partition="part"))
        self.assertEqual(parse_create(Cursor([b" a srv!part"])), Create(b"a", partition="part", server="srv"))
        self.assertEqual(
            parse_create(Cursor([b" a (PARTITION p USE (\\Sent \\Junk) TYPE EMAIL)"])),
            Create(b"a", (r"\Sent", r"\Junk"), "p", None, "EMAIL"),
        )
        self.assertEqual(parse_rename(Cursor([b' a "b c"'])), Rename(b"a", b"b c"))
        self.assertEqual(parse_rename(Cursor([b" a a p2"])), Rename(b"a", b"a", "p2"))
        self.assertEqual(parse_named(Cursor([b" inbox"])), Named(b"inbox"))
        self.assertEqual(
            parse_status(Cursor([b" a (Messages unseen)"])),
            Status(b"a", frozenset((StatusItem.MESSAGES, StatusItem.UNSEEN))),
        )

    def test_refused(self) -> None:
        for parser, texts in [
            (
                parse_list,
                [
                    b"",
                    b" ",
                    b' ""',
                    b' "" * x',
                    b' "" * RETURN',
                    b' "" * RETURN x',
                    b' (REMOTE RECURSIVEMATCH) "" *',
                    b' "" ()',
                    b' (X) "" *',
                    b' "" (' + b"a " * 200 + b")",
                    b' "" ' + b"%" * 3000,
                ],
            ),
            (parse_lsub, [b' () "" *', b' "" * RETURN ()']),
            (parse_create, [b"", b" a ()", b" a (USE)", b" a (USE (\\X) USE (\\Y))", b" a (X y)", b" a b c"]),
            (parse_rename, [b" a", b" a b c d"]),
            (parse_status, [b" a", b" a ()", b" a MESSAGES", b" a (X)", b" a (MESSAGES) "]),
            (parse_named, [b"", b" a b", b" a*"]),
        ]:
            for text in texts:
                with self.assertRaises(BadSyntax, msg=text[:80]):
                    parser(Cursor([text]))

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.text('(){}"\\ %*aA\r\n\0RETUNSBCIDLS', max_size=40).map(str.encode))
    def test_garbage(self, text: bytes) -> None:
        for parser in PARSERS:
            try:
                parser(Cursor([b" " + text]))
            except BadSyntax:
                continue


class Writing(SynchronousTestCase):
    def test_list(self) -> None:
        for line, expected in [
            (encode_list(b"LIST", (rb"\Noselect",), b"/", b"", utf8=False), b'* LIST (\\Noselect) "/" ""\r\n'),
            (encode_list(b"LIST", (), b".", b"a b", utf8=False), b'* LIST () "." "a b"\r\n'),
            (encode_list(b"LSUB", (), b"/", b'a"b', utf8=False), b'* LSUB () "/" "a\\"b"\r\n'),
            (encode_list(b"LIST", (), b"/", b"NIL", utf8=False), b'* LIST () "/" "NIL"\r\n'),
            (encode_list(b"LIST", (), b"/", "é".encode(), utf8=True), '* LIST () "/" "é"\r\n'.encode()),
        ]:
            self.assertEqual(line, expected)

    def test_status(self) -> None:
        line = encode_status(b"a b", [(StatusItem.MESSAGES, b"1"), (StatusItem.MAILBOXID, b"(x)")], utf8=False)
        self.assertEqual(line, b'* STATUS "a b" (MESSAGES 1 MAILBOXID (x))\r\n')

    def test_reference(self) -> None:
        for reference, pattern, expected in [
            (b"", b"a", b"a"),
            (b"a/", b"%", b"a/%"),
            (b"a/", b"/b", b"a/b"),
            (b"a", b"*", b"a*"),
        ]:
            self.assertEqual(canonical_pattern(reference, pattern, b"/"), expected)
