"""Netstrings and the addresses in them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.smmap.wire import MAX_REQUEST, BadRequest, NetstringReader, netstring, parse_request


class NetstringTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.binary(max_size=60), max_size=5), st.integers(1, 9))
    def test_cut_anywhere(self, texts: list[bytes], size: int) -> None:
        stream = b"".join(map(netstring, texts))
        reader = NetstringReader()
        found = [text for i in range(0, len(stream), size) for text in reader.feed(stream[i : i + size])]
        self.assertEqual(found, texts)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.binary(max_size=80))
    def test_garbage_is_refused_or_waited_for(self, octets: bytes) -> None:
        reader = NetstringReader()
        try:
            for octet in octets:
                for text in reader.feed(bytes((octet,))):
                    self.assertLessEqual(len(text), MAX_REQUEST)
                    parse_request(text)
        except BadRequest:
            pass

    def test_limits(self) -> None:
        self.assertEqual(NetstringReader().feed(netstring(b"x" * MAX_REQUEST)), [b"x" * MAX_REQUEST])
        for bad in (b"4097:", b"99999", b"3:abcd", b"-1:,", b" 3:abc,", b"03:abc,", b"GET / HTTP/1.1\r\n", b":"):
            self.assertRaises(BadRequest, NetstringReader().feed, bad)

    def test_addresses(self) -> None:
        for request, address in {
            b"cyrus bob@test.example": ("bob", "test.example"),
            b"virtual bob+a/b@test.example": ("bob+a/b", "test.example"),
            b"m bob": ("bob", ""),
            b'm "a b+\\"x"@d': ('a b+"x', "d"),
            b"m <@relay.example:bob@d>": ("bob", "d"),
            b"m @test.example": None,
            b"m ": None,
            b"m \xff@d": None,
            b'm "a"b@d': None,
        }.items():
            self.assertEqual(parse_request(request), address, request)
        self.assertRaises(BadRequest, parse_request, b"nokey")
