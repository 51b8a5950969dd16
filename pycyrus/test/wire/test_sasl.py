"""Base64 lines of SASL exchanges."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import AuthenticationCancelled, MalformedExchange
from pycyrus.wire.sasl import decode_response, encode_challenge


class SaslLineTests(SynchronousTestCase):
    def test_responses(self) -> None:
        """Empty lines and C{=} are empty responses."""
        self.assertEqual(decode_response(b"AGZyZWQAc2VjcmV0"), b"\0fred\0secret")
        self.assertEqual(decode_response(b""), b"")
        self.assertEqual(decode_response(b"="), b"")

    def test_cancelled(self) -> None:
        """A star alone ends the exchange."""
        self.assertRaises(AuthenticationCancelled, decode_response, b"*")

    def test_malformed(self) -> None:
        """Nothing but canonical base64 is taken."""
        for line in (
            b"**",
            b"AGZ",
            b"AG=Z",
            b"AGZy\r",
            b" AGZy",
            b"AGZy\n",
            b"A===",
            b"AGZy====",
            b"\xff\xff\xff\xff",
            b"AGZ-",
        ):
            self.assertRaises(MalformedExchange, decode_response, line)

    def test_too_long(self) -> None:
        """A megabyte is refused before it is decoded."""
        self.assertRaises(MalformedExchange, decode_response, b"A" * (1 << 20))
        self.assertEqual(decode_response(b"AAAA", 4), b"\0\0\0")
        self.assertRaises(MalformedExchange, decode_response, b"AAAAAAAA", 4)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=200))
    def test_round_trip(self, data: bytes) -> None:
        """What is encoded decodes to the same."""
        self.assertEqual(decode_response(encode_challenge(data)), data)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.binary(max_size=60))
    def test_garbage(self, line: bytes) -> None:
        """Garbage decodes, or is refused by one of the two errors."""
        with contextlib.suppress(AuthenticationCancelled, MalformedExchange):
            decode_response(line)
