"""The header fields that delivery adds and removes."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.delivery.headers import MAX_HEADER, HeaderFilter, trace_fields
from pycyrus.delivery.settings import DeliverySettings, EightBitHeaders
from pycyrus.errors import MessageRejected
from pycyrus.interfaces import Envelope
from pycyrus.model.identity import POSTMAN, AdminScope, Identity

SETTINGS = DeliverySettings("mail.test", product="Cyrus 3.6")
NOW = 1_700_000_000.0
COMPLETE = b"Message-ID: <1@x>\r\nDate: now\r\n"


def passed(message: bytes, given_: DeliverySettings = SETTINGS, *cuts: int) -> bytes:
    header = HeaderFilter(b"T: race\r\n", given_, NOW)
    pieces = [message[a:b] for a, b in zip((0, *cuts), (*cuts, len(message)), strict=True)]
    written = b"".join(map(header.feed, pieces)) + header.finish()
    assert written.startswith(b"T: race\r\n")
    return written[len(b"T: race\r\n") :]


class TraceTests(SynchronousTestCase):
    def test_fields_in_order(self) -> None:
        envelope = Envelope("a@b", None, POSTMAN, "mx.test", "[unix socket]", "LMTPA", "mail.test-1")
        lines = trace_fields(envelope, SETTINGS, NOW).decode().split("\r\n")
        self.assertEqual(
            lines[:3],
            ["Return-Path: <a@b>", "Received: from mx.test ([unix socket])", "\t by mail.test (Cyrus 3.6) with LMTPA;"],
        )
        self.assertRegex(lines[3], r"^\t \w\w\w, 1[45] Nov 2023 \d\d:\d\d:\d\d [+-]\d{4}$")
        self.assertEqual(lines[4:], ["X-Cyrus-Session-Id: mail.test-1", "X-Sieve: CMU Sieve 3.0", ""])

    def test_senders(self) -> None:
        for sender, path in (
            ("", b"<>"),
            ("fred", b"<fred@mail.test>"),
            ('"a@b"', b'<"a@b"@mail.test>'),
            ("a@b", b"<a@b>"),
        ):
            envelope = Envelope(sender, None, POSTMAN, "x", "y", "LMTPA", "z")
            self.assertTrue(trace_fields(envelope, SETTINGS, NOW).startswith(b"Return-Path: " + path + b"\r\n"))

    def test_nothing_breaks_lines(self) -> None:
        """Abuse case 41."""
        evil = Identity("x\r\nEvil: y", admin=AdminScope.GLOBAL)
        envelope = Envelope("a\r\nb", None, evil, "c\r\nd", "e\nf", "LMTPA", "g\rh")
        for line in trace_fields(envelope, SETTINGS, NOW).split(b"\r\n")[:-1]:
            self.assertRegex(line, rb"^(Return-Path|Received|X-Cyrus-Session-Id|X-Sieve): |^\t ")
            self.assertNotIn(b"\n", line)


class FilterTests(SynchronousTestCase):
    def test_complete_messages_pass_unchanged(self) -> None:
        for message in (
            COMPLETE + b"\r\nbody\r\n",
            COMPLETE + b"\r\n",
            COMPLETE + b"Subject: a\r\n\tb\r\n\r\n\r\n\r\nReturn-Path: <in the body>\r\n",
            b"mEssage-id : <x>\r\nDATE:\r\n\r\n",
            b"From a@b Thu Nov 20\r\n" + COMPLETE + b"\r\nx\r\n",
            COMPLETE + b"a line that is no field\r\nTo: x\r\n\r\nbody\r\n",
            COMPLETE,
        ):
            self.assertEqual(passed(message), message)

    def test_old_return_paths_go(self) -> None:
        message = (
            b"Return-Path: <a@b>\r\n"
            + COMPLETE
            + b"RETURN-PATH:\r\n <folded>\r\nX-Return-Path: stays\r\n\r\nReturn-Path: x\r\n"
        )
        self.assertEqual(passed(message), COMPLETE + b"X-Return-Path: stays\r\n\r\nReturn-Path: x\r\n")

    def test_date_of_the_first_delivery(self) -> None:
        for field, seconds in (
            (b"X-DeliveredInternalDate: Sat, 1 Jan 2022 00:00:00 +0100", 1_640_991_600),
            (b"x-deliveredinternaldate:\r\n\tSat, 1 Jan 2022\r\n 00:00:00 +0100", 1_640_991_600),
            (b"X-DeliveredInternalDate: Sat, 1 Jan 2033 00:00:00 +0100", None),
            (b"X-DeliveredInternalDate: Thu, 1 Jan 1960 00:00:00 +0100", None),
            (b"X-DeliveredInternalDate: yesterday", None),
            (b"X-DeliveredInternalDate:", None),
            (b"Subject: X-DeliveredInternalDate: Sat, 1 Jan 2022 00:00:00 +0100", None),
        ):
            header = HeaderFilter(b"", SETTINGS, NOW)
            text = COMPLETE + field + b"\r\n\r\nX-DeliveredInternalDate: Sat, 1 Jan 2022 00:00:00 +0100\r\n"
            self.assertEqual(header.feed(text) + header.finish(), text)
            self.assertEqual(header.delivered_at, seconds, field)

    def test_missing_fields_are_made(self) -> None:
        for header, rest in (
            (b"Subject: x\r\n", b"\r\nMessage-ID: <y>\r\n"),
            (b"", b"\r\nbody\r\n"),
            (b"", b""),
            (b"", b"\r\nno header at all\r\n"),
            (b"X-Date: 1\r\nX-Message-ID: 2\r\n", b"\r\n"),
        ):
            message = header + rest.removeprefix(b"\r\n") if rest.startswith(b"\r\nno") else header + rest
            whole = passed(message)
            self.assertTrue(whole.startswith(header) and whole.endswith(rest), message)
            self.assertRegex(
                whole[len(header) : len(whole) - len(rest)],
                rb"^Message-ID: <cmu-lmtpd-\d+-1700000000-\d+@mail\.test>\r\nDate: \w\w\w, 1[45] Nov 2023 [^\r]+\r\n\Z",
            )

    def test_they_are_not_made_within_a_field(self) -> None:
        for message in (b"Subject: x", b"To: y\r\n" * (MAX_HEADER // 7 + 1) + b" z\r\n\r\n"):
            self.assertRegex(passed(message), rb"^Message-ID: <cmu-lmtpd-[^\r]+\r\nDate: [^\r]+\r\n" + message[:7])

    def test_8bit_in_header_fields(self) -> None:
        message = COMPLETE + b"Subject: \xc3\xa9\r\n\r\n\xc3\xa9\r\n"
        self.assertEqual(passed(message), COMPLETE + b"Subject: XX\r\n\r\n\xc3\xa9\r\n")
        keep = DeliverySettings("x", eight_bit_headers=EightBitHeaders.KEEP)
        self.assertEqual(passed(message, keep), message)
        reject = DeliverySettings("x", eight_bit_headers=EightBitHeaders.REJECT)
        self.assertRaises(MessageRejected, passed, message, reject)

    def test_8bit_in_names_of_fields(self) -> None:
        """Also of the first one: it does not make a text without a header of the message."""
        message = b"S\xc3\xa9: x\r\n" + COMPLETE + b"\r\nbody\r\n"
        self.assertEqual(passed(message), b"SXX: x\r\n" + COMPLETE + b"\r\nbody\r\n")
        keep = DeliverySettings("x", eight_bit_headers=EightBitHeaders.KEEP)
        self.assertEqual(passed(message, keep), message)
        reject = DeliverySettings("x", eight_bit_headers=EightBitHeaders.REJECT)
        self.assertRaises(MessageRejected, passed, message, reject)

    def test_endless_headers_are_not_held(self) -> None:
        header = HeaderFilter(b"", SETTINGS, NOW)
        line = b"To: " + b"a" * 990 + b"\r\n"
        written = 0
        for count in range(1, 3000):
            written += len(header.feed(line))
            self.assertLess(len(line) * count - written, MAX_HEADER + 2 * len(line))

    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"\r\n",
                    b"A: b\r\n",
                    b"Return-Path: <x>\r\n",
                    b"\tfold\r\n",
                    b"junk\r\n",
                    b"Message-ID: <a@b>\r\n",
                    b"Date: x\r\n",
                    b"\r\n\r\n",
                ]
            ),
            max_size=12,
        ),
        st.lists(st.integers(0, 100), max_size=4),
    )
    def test_cuts_change_nothing(self, lines: list[bytes], cuts: list[int]) -> None:
        message = COMPLETE + b"".join(lines)
        whole = passed(message)
        self.assertEqual(passed(message, SETTINGS, *sorted(min(cut, len(message)) for cut in cuts)), whole)
        self.assertEqual(whole.partition(b"\r\n\r\n")[2], message.partition(b"\r\n\r\n")[2])
        self.assertNotIn(b"\nReturn-Path", whole.partition(b"\r\n\r\n")[0])
