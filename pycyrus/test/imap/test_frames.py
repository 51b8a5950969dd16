"""Cutting octets into commands: L{pycyrus.imap.wire.frames}."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire.frames import (
    Announced,
    Chunk,
    Event,
    Frame,
    FrameLimits,
    FrameReader,
    Literal,
    Overflow,
    Refused,
)

DEFAULTS = FrameLimits()
PROFILE = settings(max_examples=150, deadline=None, database=None)


class Body:
    """A staged message that only remembers."""

    def __init__(self) -> None:
        self.size = 0
        self.octets = b""

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self.octets += data

    def finish(self) -> None:
        pass

    def discard(self) -> None:
        pass


def accept(reader: FrameReader, announced: Announced) -> Event | None:
    reader.accept()
    return None


def refuse(reader: FrameReader, announced: Announced) -> Event | None:
    return reader.refuse(announced.frame.tag + b" NO\r\n")


def cut(
    pieces: Iterable[bytes],
    limits: FrameLimits = DEFAULTS,
    decide: Callable[[FrameReader, Announced], Event | None] = accept,
) -> list[Event]:
    """Feed pieces, and collect what comes but announcements."""
    reader = FrameReader(limits)
    events: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next()) is not None:
            if isinstance(event, Announced):
                event = decide(reader, event)
                if event is None:
                    continue
            if isinstance(event, Chunk):
                event.staged.write(event.data)
                continue
            events.append(event)
            if isinstance(event, Overflow):
                return events
    return events


def literal(data: bytes, *, binary: bool = False) -> Literal:
    return Literal(data, binary, None, len(data))


class CuttingTests(SynchronousTestCase):
    """Lines and literals become frames."""

    def test_simple_commands(self) -> None:
        self.assertEqual(
            cut([b"a1 NOOP\r\na2 select INBOX\r\na3 uid fetch 1:* (FLAGS)\r\na4 UID\r\na5 uId Store\r\n"]),
            [
                Frame(b"a1", b"NOOP", []),
                Frame(b"a2", b"SELECT", [b" INBOX"]),
                Frame(b"a3", b"UID FETCH", [b" 1:* (FLAGS)"]),
                Frame(b"a4", b"UID", []),
                Frame(b"a5", b"UID STORE", []),
            ],
        )

    def test_bare_lf_ends_a_line(self) -> None:
        self.assertEqual(cut([b"a1 NOOP\na2 NOOP\n"]), [Frame(b"a1", b"NOOP", []), Frame(b"a2", b"NOOP", [])])

    def test_literals(self) -> None:
        self.assertEqual(
            cut([b"a1 LOGIN {5}\r\nal\r\ne {0+}\r\n\r\na2 X ~{1+}\r\n\0{2}\r\nab c\r\n"]),
            [
                Frame(b"a1", b"LOGIN", [b" ", literal(b"al\r\ne"), b" ", literal(b"")]),
                Frame(b"a2", b"X", [b" ", literal(b"\0", binary=True), literal(b"ab"), b" c"]),
            ],
        )

    def test_braces_in_quoted_strings_announce_nothing(self) -> None:
        self.assertEqual(cut([b'a1 X "{5}"\r\n']), [Frame(b"a1", b"X", [b' "{5}"'])])

    def test_staged_octets_are_not_kept(self) -> None:
        body = Body()

        def stage(reader: FrameReader, announced: Announced) -> Event | None:
            reader.accept(body)
            return None

        (frame,) = cut([b"a1 APPEND INBOX {10+}\r\n01234", b"56789\r\n"], decide=stage)
        assert isinstance(frame, Frame)
        self.assertEqual(frame.args, [b" INBOX ", Literal(b"", False, body, 10)])
        self.assertEqual(body.octets, b"0123456789")

    def test_bad_tags_and_empty_commands(self) -> None:
        self.assertEqual(
            cut([b"\r\n* NOOP\r\na+b NOOP\r\na1\r\na2 \r\n\xff NOOP\r\n"]),
            [
                Refused(b"* BAD Invalid tag\r\n"),
                Refused(b"* BAD Invalid tag\r\n"),
                Refused(b"* BAD Invalid tag\r\n"),
                Refused(b"a1 BAD Null command\r\n"),
                Refused(b"a2 BAD Null command\r\n"),
                Refused(b"* BAD Invalid tag\r\n"),
            ],
        )

    def test_nul_and_bare_cr_are_bad(self) -> None:
        bad = Refused(b"a1 BAD Invalid characters in command\r\n")
        for line in (b"a1 LOGIN a\0b c\r\n", b'a1 LOGIN "a\rb" c\r\n', b"a1 NOOP\r\r\n"):
            self.assertEqual(cut([line]), [bad])

    def test_a_bad_line_does_not_make_its_literal_a_command(self) -> None:
        self.assertEqual(
            cut([b"a1 X \0 {9+}\r\na2 NOOP\r\n\r\na3 NOOP\r\n"]),
            [Refused(b"a1 BAD Invalid characters in command\r\n"), Frame(b"a3", b"NOOP", [])],
        )

    def test_clear_forgets_everything(self) -> None:
        reader = FrameReader(FrameLimits())
        reader.feed(b"a1 LOGIN {5}\r\n")
        self.assertIsInstance(reader.next(), Announced)
        reader.feed(b"abc")
        reader.clear()
        self.assertEqual(reader.waiting, 0)
        reader.feed(b"a2 NOOP\r\n")
        self.assertEqual(reader.next(), Frame(b"a2", b"NOOP", []))


class RefusalTests(SynchronousTestCase):
    """Literals that are not wanted, or are none."""

    def test_a_synchronising_one_ends_the_command(self) -> None:
        self.assertEqual(
            cut([b"a1 X {5}\r\na2 NOOP\r\n"], decide=refuse), [Refused(b"a1 NO\r\n"), Frame(b"a2", b"NOOP", [])]
        )

    def test_the_octets_of_others_are_thrown_away(self) -> None:
        self.assertEqual(
            cut([b"a1 X {9+}\r\na2 NOOP\r\n {9+}\r\na3 NOOP\r\n y\r\na4 NOOP\r\n"], decide=refuse),
            [Refused(b"a1 NO\r\n"), Frame(b"a4", b"NOOP", [])],
        )

    def test_discarding_ends_at_a_synchronising_one(self) -> None:
        self.assertEqual(
            cut([b"a1 X {1+}\r\nx {3}\r\na2 NOOP\r\n"], decide=refuse),
            [Refused(b"a1 NO\r\n"), Frame(b"a2", b"NOOP", [])],
        )

    def test_abandoned_in_the_middle(self) -> None:
        def stage(reader: FrameReader, announced: Announced) -> Event | None:
            reader.accept(Body())
            reader.abandon(b"a1 NO full\r\n")
            return None

        self.assertEqual(
            cut([b"a1 X {9+}\r\na2 NOOP\r\n\r\na3 NOOP\r\n"], decide=stage),
            [Refused(b"a1 NO full\r\n"), Frame(b"a3", b"NOOP", [])],
        )

    def test_sizes_that_are_none(self) -> None:
        bad = Refused(b"a1 BAD Invalid literal size\r\n")
        for size in (b"-1", b"99999999999999999999", b"", b"1-", b"x", b"+1", b"1.5"):
            self.assertEqual(cut([b"a1 X {%b}\r\na2 NOOP\r\n" % size]), [bad, Frame(b"a2", b"NOOP", [])])

    def test_unknown_octets_follow(self) -> None:
        for size in (b"-1+", b"99999999999999999999+", b"+", b"1++"):
            (event,) = cut([b"a1 X {%b}\r\na2 NOOP\r\n" % size])
            self.assertIsInstance(event, Overflow)

    def test_leading_zeros(self) -> None:
        """RFC 9051's C{number64} may have some; its octets are as many either way."""
        first, second = cut([b"a1 X {0009+}\r\na2 NOOP\r\n\r\na3 NOOP\r\n"])
        assert isinstance(first, Frame)
        self.assertEqual(first.args, [b" ", Literal(b"a2 NOOP\r\n"[:9], False, None, 9)])
        self.assertEqual(second, Frame(b"a3", b"NOOP", []))
        self.assertIsInstance(cut([b"a1 X {%b1+}\r\n" % (b"0" * 18)])[0], Overflow)


class LimitTests(SynchronousTestCase):
    """Nothing is kept beyond the limits."""

    limits = FrameLimits(line=100, literal=50, literals=3, command=120, discard=1000)

    def test_lines(self) -> None:
        self.assertEqual(cut([b"a1 " + b"x" * 97 + b"\r\n"], self.limits), [Frame(b"a1", b"X" * 97, [])])
        self.assertEqual(cut([b"a1 " + b"x" * 98 + b"\r\n"], self.limits), [Overflow(b"Line too long")])
        self.assertEqual(cut([b"x" * 60, b"x" * 60], self.limits), [Overflow(b"Line too long")])

    def test_lines_between_literals(self) -> None:
        line = b"a1 X {1+}\r\nx" + b"y" * 102
        self.assertEqual(cut([line], self.limits), [Overflow(b"Line too long")])

    def test_number_of_literals(self) -> None:
        self.assertEqual(
            cut([b"a1 X" + b" {1+}\r\nx" * 4 + b"\r\na2 NOOP\r\n"], self.limits),
            [
                Refused(b"a1 BAD [LIMIT] Command arguments total size exceeds fixed limit\r\n"),
                Frame(b"a2", b"NOOP", []),
            ],
        )

    def test_total(self) -> None:
        (event,) = cut([b"a1 X {50+}\r\n" + b"x" * 50 + b" " + b"y" * 60 + b" {1+}\r\nx\r\n"], self.limits)
        self.assertEqual(event, Refused(b"a1 BAD [LIMIT] Command arguments total size exceeds fixed limit\r\n"))

    def test_discarding_ends_somewhere(self) -> None:
        self.assertEqual(
            cut([b"a1 X {4294967296+}\r\n"], self.limits, refuse), [Overflow(b"Literal size exceeds fixed limit")]
        )
        self.assertEqual(
            cut([b"a1 X" + b" {600+}\r\n" + b"x" * 600 + b" {600+}\r\n"], self.limits, refuse),
            [Overflow(b"Literal size exceeds fixed limit")],
        )

    def test_lines_that_are_no_commands(self) -> None:
        reader = FrameReader(self.limits)
        reader.feed(b"QUJD\r\nx")
        self.assertEqual(reader.next_line(10), b"QUJD")
        self.assertIsNone(reader.next_line(10))
        reader.feed(b"x" * 11)
        self.assertIsInstance(reader.next_line(10), Overflow)


_TEXT = st.text(st.sampled_from('abc {}"\\()*%~+'), max_size=8).map(str.encode)
_PIECE = st.one_of(
    _TEXT,
    st.binary(max_size=12).map(lambda data: b"{%d}\r\n%b" % (len(data), data)),
    st.binary(max_size=12).map(lambda data: b"~{%d+}\r\n%b" % (len(data), data)),
)
_COMMAND = st.lists(_PIECE, max_size=4).map(lambda pieces: b"a1 X " + b" ".join(pieces) + b"\r\n")


def _split(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in pairwise(bounds) if start < stop]


class PropertyTests(SynchronousTestCase):
    """What holds for all octets."""

    @PROFILE
    @given(st.lists(_COMMAND, max_size=4), st.lists(st.integers(0, 10_000), max_size=8))
    def test_packets_make_no_difference(self, commands: list[bytes], places: list[int]) -> None:
        data = b"".join(commands) + b"z1 NOOP\r\n"
        whole = cut([data])
        self.assertEqual(cut(_split(data, places)), whole)
        self.assertEqual(cut([data[i : i + 1] for i in range(len(data))]), whole)

    @PROFILE
    @given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
    def test_garbage(self, pieces: list[bytes], is_wanted: bool) -> None:
        limits = FrameLimits(line=50, literal=30, literals=2, command=80, discard=100)
        for event in cut(pieces, limits, accept if is_wanted else refuse):
            self.assertIsInstance(event, (Frame, Refused, Overflow))

    @PROFILE
    @given(
        st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([b"{", b"}", b"+}", b"\r\n", b"a {9+}\r\n"]))),
        st.booleans(),
    )
    def test_garbage_that_looks_like_commands(self, pieces: list[bytes], is_wanted: bool) -> None:
        data = b"".join(pieces)
        limits = FrameLimits(line=50, literal=30, literals=2, command=80, discard=100)
        decide = accept if is_wanted else refuse
        self.assertEqual(cut([data], limits, decide), cut([data[i : i + 1] for i in range(len(data))], limits, decide))
