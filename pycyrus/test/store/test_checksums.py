"""Checksums of the rows of databases."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.sqlite.opening import row_checksum

VALUES = st.one_of(st.text(), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(), st.none())


class ChecksumTests(SynchronousTestCase):
    def test_what_is_in_files(self) -> None:
        """Those of rows that were written long ago."""
        for values, text in (
            ((), b""),
            (("user.fred", 17, ""), b"t9 user.fredn2 17t0 "),
            (("é", -5, 0), "t2 én2 -5n1 0".encode()),
            ((None, b"\xff\0", "a"), b"n4 Noneb2 \xff\0t1 a"),
            (("\udc80",), b"t1 \x80"),
        ):
            self.assertEqual(row_checksum(*values), zlib.crc32(text), values)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(VALUES, max_size=6))
    def test_any(self, values: list[str | bytes | int | None]) -> None:
        """Of whatever kinds they are together, each counts as it does alone."""
        crc = 0
        for value in values:
            octets = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            octets = octets if isinstance(octets, bytes) else str(octets).encode()
            kind = b"t" if isinstance(value, str) else b"b" if isinstance(value, bytes) else b"n"
            crc = zlib.crc32(kind + str(len(octets)).encode() + b" " + octets, crc)
        self.assertEqual(row_checksum(*values), crc)
