"""MUPDATE's lines (RFC 3656 section 3)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.interfaces import Location, LocationState
from pycyrus.mupdate.wire import decode, gone_line, literal, location_line, split_where
from pycyrus.wire.words import BadLine, LineReader, LineTooLong, Word, quoted


def read(data: bytes, size: int = 1 << 20) -> list[list[Word] | None]:
    """All lines; None where one was bad."""
    reader = LineReader()
    lines: list[list[Word] | None] = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while True:
            try:
                line = reader.next_line()
            except LineTooLong:
                return lines
            except BadLine:
                lines.append(None)
                continue
            if line is None:
                break
            lines.append(line)
    return lines


class WireTests(SynchronousTestCase):
    def test_words(self) -> None:
        data = b'a FIND "x \\\\ \\"y\\"" {3+}\r\na\r\n {0}\r\n "z"\r\nb\r\n'
        first, second = read(data)
        assert first is not None and second is not None
        self.assertEqual([word.value for word in first], [b"a", b"FIND", b'x \\ "y"', b"a\r\n", b"", b"z"])
        self.assertEqual([word.is_string for word in first], [False, False, True, True, True, True])
        self.assertEqual(second, [Word(b"b", False)])

    def test_lines_that_are_none(self) -> None:
        for line in (b'a "b', b"a  b", b"a (b)", b'a "b"c', b'a"b"', b"a ", b" a", b"a \x00"):
            self.assertEqual(read(line + b"\r\n"), [None], line)
        self.assertEqual(read(b"a{3+}\r\nabc\r\n"), [None])
        self.assertEqual(read(b"a {3+}\r\nabcd\r\n"), [None])

    def test_limits(self) -> None:
        self.assertEqual(read(b"a " + b"b" * 20_000 + b"\r\n"), [])
        self.assertEqual(read(b"a {1000000+}\r\n"), [])
        self.assertEqual(read(b"a " + b"x " * 200 + b"x\r\n"), [None])
        many = b"a" + b" {200000+}\r\n" + b"x" * 200_000
        self.assertEqual(read(many + many[1:] + many[1:] + b"\r\n"), [])

    def test_data_lines(self) -> None:
        location = Location("example.com!user.fred", "b1:143", "default", "fred\tlrs\t")
        self.assertEqual(
            location_line(b"U01", location),
            b"U01 MAILBOX {21+}\r\nexample.com!user.fred {14+}\r\nb1:143!default {9+}\r\nfred\tlrs\t\r\n",
        )
        reserved = Location("a", "b1", "", "", LocationState.RESERVED)
        self.assertEqual(location_line(b"X1", reserved), b"X1 RESERVE {1+}\r\na {3+}\r\nb1!\r\n")
        self.assertEqual(gone_line(b"U01", "a"), b"U01 DELETE {1+}\r\na\r\n")
        self.assertEqual([split_where(each) for each in ("a!b", "a!", "b")], [("a", "b"), ("a", ""), ("", "b")])
        for where in ("a!b", "a!", "b", "!b", "!", ""):
            self.assertEqual(Location("x", *split_where(where)).where, where)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.integers(1, 64))
    def test_what_is_written_is_read(self, values: list[bytes], size: int) -> None:
        """However it is cut into packets."""
        line = b"a " + b" ".join(
            quoted(value) if number % 2 else literal(decode(value)) for number, value in enumerate(values)
        )
        (words,) = read(line + b"\r\n", size)
        assert words is not None
        self.assertEqual([word.value for word in words], [b"a", *values])

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.binary(max_size=300), st.integers(1, 50))
    def test_any_octets(self, data: bytes, size: int) -> None:
        """They are read the same way however they come, and never hurt."""
        self.assertEqual(read(data, size), read(data))
