"""Header fields: subsets, the cached ones, dates, encoded words."""

from __future__ import annotations

import email.header
import email.utils
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.dates import days_of, parse_date
from pycyrus.mime.encoded_words import decode_words
from pycyrus.mime.header import (
    CACHED_HEADER_NAMES,
    field_values,
    header_end,
    select_fields,
)
from pycyrus.mime.limits import DEFAULT_LIMITS
from pycyrus.mime.summary import sent_at, summarise
from pycyrus.model.view import CachedItem

_HEADER = (
    b"Received: one;\r\n\ttwo\r\nFROM: a@b\r\nSubject : folded\r\n text\r\nno colon\r\n"
    b"To: c@d\r\nReceived: three\r\n\r\n"
)


class SelectTests(SynchronousTestCase):
    """RFC 9051 section 6.4.5.1, HEADER.FIELDS and HEADER.FIELDS.NOT."""

    def test_select(self) -> None:
        """Lines come as they stand, in their order, with a blank line."""
        for names, lines in (
            ((b"FROM",), b"FROM: a@b\r\n"),
            ((b"TO", b"FROM"), b"FROM: a@b\r\nTo: c@d\r\n"),
            ((b"RECEIVED",), b"Received: one;\r\n\ttwo\r\nReceived: three\r\n"),
            ((b"SUBJECT",), b"Subject : folded\r\n text\r\n"),
            ((b"CC",), b""),
        ):
            self.assertEqual(select_fields(_HEADER, frozenset(names)), lines + b"\r\n")

    def test_invert(self) -> None:
        """The others; what is no field is among them."""
        self.assertEqual(
            select_fields(_HEADER, frozenset((b"RECEIVED", b"SUBJECT", b"TO")), True),
            b"FROM: a@b\r\nno colon\r\n\r\n",
        )
        self.assertEqual(select_fields(_HEADER, frozenset(), True), _HEADER)
        self.assertEqual(select_fields(b"To\r\nCc: x\r\n\r\n", frozenset((b"TO",)), True), b"To\r\nCc: x\r\n\r\n")
        self.assertEqual(select_fields(b"To\r\nCc: x\r\n\r\n", frozenset((b"TO",))), b"\r\n")

    def test_torn(self) -> None:
        """A message that ends within its header."""
        for header in (b"To: x", b"To: x\r", b"To: x\r\n", b"To: x\r\n\r\n"):
            self.assertEqual(select_fields(header, frozenset((b"TO",))), b"To: x\r\n\r\n")
        self.assertEqual(select_fields(b"", frozenset((b"TO",))), b"\r\n")

    def test_cached(self) -> None:
        """What the cache has answers like the message."""
        item = summarise(_HEADER + b"body").items[CachedItem.HEADERS]
        self.assertEqual(item, b"FROM: a@b\r\nSubject : folded\r\n text\r\nTo: c@d\r\n")
        for names in ((b"FROM", b"TO"), (b"CC",), (b"SUBJECT", b"DATE")):
            wanted = frozenset(names)
            self.assertEqual(select_fields(item, wanted), select_fields(_HEADER, wanted))
        self.assertEqual(select_fields(b"", frozenset((b"FROM",))), b"\r\n")

    def test_thunderbird(self) -> None:
        """What a widespread client asks for when it lists a mailbox is cached."""
        asked = (
            b"From To Cc Bcc Subject Date Message-ID Priority X-Priority References Newsgroups In-Reply-To "
            b"Content-Type Reply-To"
        )
        self.assertLessEqual({name.upper() for name in asked.split()}, CACHED_HEADER_NAMES)

    def test_values(self) -> None:
        """All values of a name, unfolded."""
        self.assertEqual(field_values(_HEADER, b"received"), [b"one;\ttwo", b"three"])
        self.assertEqual(field_values(_HEADER, b"Subject"), [b"folded text"])

    def test_end(self) -> None:
        """The body begins after the first blank line."""
        for data, end in (
            (b"", 0), (b"\r\n", 2), (b"\r\nbody", 2), (b"\nbody", 1), (b"A: b", 4), (b"A: b\r\n", 6),
            (b"A: b\r\n\r\nc\r\n\r\n", 8), (b"A: b\n\nc", 6), (b"A: b\r\n \r\n\r\nc", 11), (b"A: b\r\n\nc", 7),
            (b"A: b\r\r\n\r\nc", 9),
        ):  # fmt: skip
            self.assertEqual(header_end(data, 0, len(data)), end, data)


class DateTests(SynchronousTestCase):
    """RFC 5322 sections 3.3 and 4.3."""

    def _check(self, value: bytes, expected: str | None) -> None:
        found = parse_date(value)
        if expected is None:
            self.assertIsNone(found, value)
            return
        moment = datetime.fromisoformat(expected)
        day = (moment.replace(tzinfo=None) - datetime(1970, 1, 1)).days
        seconds = moment - datetime(1970, 1, 1, tzinfo=UTC)
        self.assertEqual(found, (seconds.days * 86400 + seconds.seconds, day), value)

    def test_forms(self) -> None:
        """Dates as they are found in mail."""
        for value, expected in (
            (b"Mon, 7 Feb 1994 21:52:25 -0800", "1994-02-07T21:52:25-08:00"),
            (b"Mon, 7 Feb 1994 21:52:25 -0800 (PST)", "1994-02-07T21:52:25-08:00"),
            (b"7 Feb 1994 21:52 +0100", "1994-02-07T21:52:00+01:00"),
            (b"Thu,\t13\r\n Feb 1969 23:32 -0330 (Newfoundland Time)", "1969-02-13T23:32:00-03:30"),
            (b"Thu (x), 13 (y) Feb (z) 1969 23:32:00 GMT", "1969-02-13T23:32:00+00:00"),
            (b"21 Nov 97 09:55:06 EST", "1997-11-21T09:55:06-05:00"),
            (b"21 Nov 07 09:55:06 pdt", "2007-11-21T09:55:06-07:00"),
            (b"21 Nov 102 09:55:06 UT", "2002-11-21T09:55:06+00:00"),
            (b"21-Nov-2002 09.55.06 +0000", "2002-11-21T09:55:06+00:00"),
            (b"Monday, 01 January 2024 00:00:00 Z", "2024-01-01T00:00:00+00:00"),
            (b"Fri Nov 20 23:42:39 2026", "2026-11-20T23:42:39+00:00"),
            (b"Fri Nov 20 23:42:39 EST 2026", "2026-11-20T23:42:39-05:00"),
            (b"2026-11-20T23:42:39+02:00", "2026-11-20T23:42:39+02:00"),
            (b"2026-11-20 23:42:39.123 +0200", "2026-11-20T23:42:39+02:00"),
            (b"1 Jan 2020", "2020-01-01T00:00:00+00:00"),
            (b"29 Feb 2024 12:00 +0000", "2024-02-29T12:00:00+00:00"),
            (b"Fri, 31 Dec 9999 23:59:59 +0000", "9999-12-31T23:59:59+00:00"),
            (b"Mon, 1 Jan 1900 00:00:00 +0000", "1900-01-01T00:00:00+00:00"),
            (b"Mon, 1 Jan 2001 00:00:00 +9999", "2001-01-01T00:00:00+00:00"),
            (b"Mon, 1 Jan 2001 00:00:00 XYZ", "2001-01-01T00:00:00+00:00"),
            (b"29 Feb 2023 12:00 +0000", None),
            (b"31 Apr 2023 12:00 +0000", None),
            (b"1 Foo 2023 12:00 +0000", None),
            (b"1 Jan 2023 25:00 +0000", "2023-01-01T00:00:00+00:00"),
            (b"tomorrow", None),
            (b"12:00:00", None),
            (b"", None),
        ):
            self._check(value, expected)

    def test_leap_second(self) -> None:
        """A leap second is the second after it."""
        self.assertEqual(parse_date(b"31 Dec 2016 23:59:60 +0000"), (1483228800, 17166))

    @settings(max_examples=200, deadline=None, database=None)
    @given(
        st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 30)),
        st.integers(-14 * 60, 14 * 60),
    )
    def test_all(self, moment: datetime, minutes: int) -> None:
        """What the standard library writes."""
        moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=minutes)))
        self._check(email.utils.format_datetime(moment).encode(), moment.isoformat())
        self.assertEqual(days_of(moment.year, moment.month, moment.day), moment.date().toordinal() - 719_163)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text("0123456789 :+-,()/JanfebMonGMT\\", max_size=40))
    def test_garbage(self, text: str) -> None:
        """Anything is a date or none."""
        parse_date(text.encode())


class EncodedWordTests(SynchronousTestCase):
    """RFC 2047."""

    def test_table(self) -> None:
        """The examples of section 8, and what is sent instead."""
        for value, text in (
            (b"plain", "plain"),
            (b"(=?ISO-8859-1?Q?a?=)", "(a)"),
            (b"(=?ISO-8859-1?Q?a?= b)", "(a b)"),
            (b"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"),
            (b"(=?ISO-8859-1?Q?a?=   =?ISO-8859-2?Q?_b?=)", "(a b)"),
            (b"=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
            (b"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
             "If you can read this you understand the example."),
            (b"=?utf-8?b?w?= =?utf-8?b?6Q=?=", "é"),
            (b"=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä"),
            (b"=?utf-8*de?q?=C3=A4?=", "ä"),
            (b"=?utf-8?q?two words?=", "two words"),
            (b"=?utf-8?Q?a?=b=?utf-8?Q?c?=", "abc"),
            (b"=?no-such?q?=E4?=", "ä"),
            (b"=?idna?q?xn--?=", "xn--"),
            (b"=?utf-8?x?a?=", "=?utf-8?x?a?="),
            (b"=?utf-8?q?open", "=?utf-8?q?open"),
            (b"\xc3\xa4", "ä"),
            (b"\xe4", "ä"),
            (b"=?iso-2022-jp?B?GyRCMnE1RBsoQg==?=", "会議"),
        ):  # fmt: skip
            self.assertEqual(decode_words(value), text, value)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.text('aé会 "?=_', max_size=60).map(str.strip), st.sampled_from(["utf-8", "iso-2022-jp", "gb2312"]))
    def test_standard(self, text: str, charset: str) -> None:
        """What the standard library encodes."""
        try:
            text.encode(charset)
        except UnicodeEncodeError:
            return
        written = email.header.Header(text, charset, maxlinelen=40).encode(splitchars="")
        self.assertEqual(decode_words(written.replace("\n", "").encode()), text)


class SentTests(SynchronousTestCase):
    """The Date field alone says what it says in the whole."""

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Date: Tue, 2 Jan 2024 10:00:00 +0000",
                    b"date : 1 Feb 2023 01:02:03 -0800",
                    b"Date: \r\n Wed, 3 Jan 2024\r\n 10:00:00 +0100",
                    b"Date:",
                    b"Date",
                    b"Subject: Date: 1 Feb 2023 01:02:03 +0000",
                    b"\tDate: 1 Feb 2023 01:02:03 +0000",
                    b"",
                    b"X: \xff\x00",
                ]
            ),
            max_size=6,
        ),
        st.sampled_from([b"\r\n", b"\n"]),
    )
    @settings(max_examples=200, deadline=None, database=None)
    def test_as_in_the_whole(self, lines: list[bytes], end: bytes) -> None:
        data = end.join(lines)
        self.assertEqual(sent_at(data), summarise(data).sent)

    def test_long_headers(self) -> None:
        """Within the limits, and beyond them."""
        date = b"Date: Tue, 2 Jan 2024 10:00:00 +0000\r\n"
        for many in (10, DEFAULT_LIMITS.fields - 1, DEFAULT_LIMITS.fields, DEFAULT_LIMITS.header // 4):
            data = b"a:b\r\n" * many + date + b"\r\nbody"
            self.assertEqual(sent_at(data), summarise(data).sent)
