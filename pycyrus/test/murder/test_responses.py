"""Streams of responses, cut where they may be cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.murder.servers.responses import ResponseScanner, split_responses

_TEXTS = st.sampled_from(
    [
        b"* 1 EXISTS\r\n",
        b"* OK [X] text that ends so {5}\r\n",
        b"* 1 FETCH (FLAGS () BODY[] {12}\r\na1 OK no\r\n\r\n)\r\n",
        b"* 2 FETCH (BODY[] {0}\r\n)\r\n",
        b"* 3 FETCH (BODY[1] {6}\r\n* BYE  BODY[2] {3}\r\n}\r\n)\r\n",
        b"* SEARCH" + b" 1234567" * 1000 + b"\r\n",
        b'* LIST () "/" "{7}"\r\n',
        b"a11 OK another tag\r\n",
        b'* 4 FETCH (X "' + b"y" * 5000 + b'" BODY[] {4}\r\na1 O)\r\n',
    ]
)


class ScannerTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(_TEXTS, max_size=8), st.lists(st.integers(1, 6000), min_size=1, max_size=20))
    def test_whatever_the_pieces_the_same_is_passed_on(self, texts: list[bytes], sizes: list[int]) -> None:
        """However TCP cuts the stream, what stands before the tagged line is passed on, and only that."""
        tagged = b"a1 OK [READ-WRITE] done {3}\r\n"
        stream = b"".join(texts) + tagged + b"* rest"
        scanner = ResponseScanner()
        passed = b""
        line = None
        at = turn = 0
        while line is None:
            size = sizes[turn % len(sizes)]
            turn += 1
            self.assertLess(at, len(stream))
            scanner.feed(stream[at : at + size])
            at += size
            data, line = scanner.take(b"a1")
            passed += data
        self.assertEqual(passed, b"".join(texts))
        self.assertEqual(line, tagged)

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(st.binary(max_size=40), max_size=10))
    def test_rubbish_is_passed_on_or_kept(self, pieces: list[bytes]) -> None:
        """Nothing is lost or made up, whatever comes."""
        scanner = ResponseScanner()
        passed = b""
        for piece in pieces:
            scanner.feed(piece)
            data, line = scanner.take(b"t")
            passed += data + (line or b"")
        self.assertTrue(b"".join(pieces).startswith(passed))

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(_TEXTS, max_size=8), st.lists(st.integers(1, 60), min_size=1, max_size=20), st.integers(0, 40_000))
    def test_what_is_not_looked_at(self, texts: list[bytes], sizes: list[int], skipped: int) -> None:
        """From the middle of anything: the line with a tag that is nowhere else is found, all else passed on."""
        tagged = b"5f3a1 NO [X] {3}\r\n"
        stream = b"".join(texts)
        skipped = min(skipped, len(stream))
        scanner = ResponseScanner()
        scanner.feed(stream[:10])
        passed, line = scanner.take(b"5f3a1")
        passed += scanner.look_away()
        self.assertFalse(scanner.is_whole)
        at = max(skipped, len(passed))
        passed += stream[len(passed) : at]
        stream += tagged
        turn = 0
        while line is None:
            self.assertLess(at, len(stream))
            scanner.feed(stream[at : at + sizes[turn % len(sizes)]])
            at += sizes[turn % len(sizes)]
            turn += 1
            data, line = scanner.take(b"5f3a1")
            passed += data
        self.assertEqual(passed + line, stream)
        self.assertEqual(line, tagged)
        self.assertTrue(scanner.is_whole)

    def test_long_lines(self) -> None:
        """What a line is stays known until its end: braces announce nothing in a text, and a literal elsewhere."""
        long = b"x" * 10_000
        for begin, rest in ((b"* NO ", b" {13}\r\n"), (b"* 1 FETCH (BODY[", b"] {13}\r\na OK in it\r\n)\r\n")):
            scanner = ResponseScanner()
            scanner.feed(begin + long)
            passed, line = scanner.take(b"a")
            self.assertIsNone(line)
            scanner.feed(long)
            passed += scanner.take(b"a")[0]
            scanner.feed(rest + b"a OK done\r\n")
            more, line = scanner.take(b"a")
            self.assertEqual((passed + more, line), (begin + long + long + rest, b"a OK done\r\n"))

    def test_a_goodbye_is_ours(self) -> None:
        """A backend's BYE is not the frontend's."""
        scanner = ResponseScanner()
        scanner.feed(b"* 1 EXISTS\r\n* BYE shutting down\r\n")
        self.assertEqual(scanner.take(b"a"), (b"* 1 EXISTS\r\n", None))
        self.assertEqual(scanner.take(b"a"), (b"", None))

    def test_responses_are_split(self) -> None:
        """Literals are cut out, as the parsers of names take them."""
        responses = split_responses(b'* LIST () "/" {3}\r\na\r\n\r\n* OK {3}\r\n')
        self.assertEqual([len(response) for response in responses], [2, 1])
        self.assertEqual(responses[0][1].data, b"a\r\n")  # type: ignore[union-attr] # a literal
