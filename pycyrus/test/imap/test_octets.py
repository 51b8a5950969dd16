"""Tests of L{pycyrus.imap.octets}."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.octets import field_selector, is_cacheable
from pycyrus.imap.wire.fetch import Section, parse_fetch
from pycyrus.imap.wire.grammar import Cursor
from pycyrus.mime.header import HEADERS_NOT_CACHED, select_fields
from pycyrus.mime.summary import summarise
from pycyrus.model.view import CachedItem

PIECES = [
    b"To",
    b"to",
    b"From",
    b"Subject",
    b"X-Label",
    b":",
    b": ",
    b" ",
    b"\t",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"a",
    b"\xe9",
]


def section(text: bytes) -> Section:
    """The item of a FETCH."""
    [item] = parse_fetch(Cursor([b" 1 " + text])).items
    assert isinstance(item, Section)
    return item


class FieldSelectorTests(SynchronousTestCase):
    """HEADER.FIELDS from the cached header is what the message's header would give."""

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join))
    def test_as_from_the_message(self, header: bytes) -> None:
        item = section(b"BODY.PEEK[HEADER.FIELDS (To Subject)]")
        assert item.fields is not None
        cached = summarise(header + b"\r\n\r\nbody").items[CachedItem.HEADERS]
        self.assertEqual(field_selector(item)(cached), select_fields(cached, item.fields))

    def test_partial(self) -> None:
        cached = b"To: a@example.com\r\nSubject: s\r\n folded\r\n"
        whole = field_selector(section(b"BODY[HEADER.FIELDS (SUBJECT)]"))(cached)
        self.assertEqual(whole, b"Subject: s\r\n folded\r\n\r\n")
        self.assertEqual(field_selector(section(b"BODY[HEADER.FIELDS (SUBJECT)]<9.3>"))(cached), b"s\r\n")

    def test_not_cached(self) -> None:
        self.assertIsNone(field_selector(section(b"BODY[HEADER.FIELDS (To)]"))(HEADERS_NOT_CACHED))
        for text, answer in (
            (b"BODY[HEADER.FIELDS (To)]", True),
            (b"BODY[HEADER.FIELDS (To X-Never-Heard-Of)]", False),
            (b"BODY[HEADER.FIELDS.NOT (To)]", False),
            (b"BODY[1.HEADER.FIELDS (To)]", False),
            (b"BODY[HEADER]", False),
        ):
            self.assertEqual(is_cacheable(section(text)), answer, text)
