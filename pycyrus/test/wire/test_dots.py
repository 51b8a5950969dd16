"""Dot-stuffing: what ends a body, and what must not."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.wire.dots import DotReader, DotWriter, crlf_ended, stuff

PIECES = st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\0"]), max_size=30)


def read(*pieces: bytes) -> tuple[bytes, bytes, bool]:
    reader = DotReader()
    content, rest = [], b""
    for piece in pieces:
        body, behind = reader.feed(piece)
        content.append(body)
        rest += behind
    return b"".join(content), rest, reader.ended


def octets(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class ReaderTests(SynchronousTestCase):
    CASES = [
        (b".\r\n", b"", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", b""),
    ]

    def test_body_ends_at_a_dot_alone_on_its_line(self) -> None:
        for wire, content, rest in self.CASES:
            self.assertEqual(read(wire), (content, rest, True), wire)

    def test_cuts_change_nothing(self) -> None:
        for wire, content, rest in self.CASES:
            self.assertEqual(read(*octets(wire)), (content, rest, True), wire)
            for cut in range(len(wire)):
                self.assertEqual(read(wire[:cut], wire[cut:]), (content, rest, True), (wire, cut))

    def test_no_other_line_ends_make_an_end(self) -> None:
        """Abuse case 11: forms with which an envelope is smuggled."""
        for form in (
            b"\n.\n",
            b"\r\n.\n",
            b"\r.\r",
            b"\n.\r\n",
            b"\r.\r\n",
            b"\r\n.\r",
            b"\r\n.\r\r\n",
            b"\n\n.\n\n",
            b"\r\n\0.\r\n",
        ):
            wire = b"a" + form + b"MAIL FROM:<x>"
            for pieces in ([wire], octets(wire)):
                content, rest, ended = read(*pieces)
                self.assertFalse(ended, form)
                self.assertEqual(rest, b"", form)
                self.assertTrue(content.endswith(b"MAIL FROM:<x>"), form)

    @settings(max_examples=300, deadline=None, database=None)
    @given(PIECES, PIECES)
    def test_what_is_stuffed_is_read_back(self, pieces: list[bytes], behind: list[bytes]) -> None:
        body = b"".join(pieces)
        writer = DotWriter()
        wire = b"".join(writer.write(piece) for piece in pieces) + writer.end()
        self.assertEqual(wire, stuff(body))
        ended = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
        rest = b"".join(behind)
        self.assertEqual(read(*octets(wire), rest), (ended, rest, True))
        self.assertEqual(read(wire + rest), (ended, rest, True))


class LineEndTests(SynchronousTestCase):
    def test_line_ends_become_crlf(self) -> None:
        for given_, expected in (
            (b"a\r\nb\r\n", b"a\r\nb\r\n"),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\rb\r\n", b"ab\r\n"),
            (b"a\r\r\n", b"a\r\n"),
            (b"\n.\n", b"\r\n.\r\n"),
        ):
            self.assertEqual(crlf_ended(given_), expected)

    @settings(max_examples=200, deadline=None, database=None)
    @given(PIECES)
    def test_pieces_come_to_the_same(self, pieces: list[bytes]) -> None:
        whole = crlf_ended(b"".join(pieces) + b"\r\n")
        self.assertEqual(b"".join(map(crlf_ended, [*pieces, b"\r\n"])), whole)
        self.assertEqual(whole.count(b"\n"), whole.count(b"\r"))
        self.assertEqual(whole.count(b"\n"), whole.count(b"\r\n"))
