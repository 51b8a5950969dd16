"""The lists of Cyrus's servers."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.wire.dlist import MOST_DEEP, File, Part, Reader, Value, Word, announced, encode
from pycyrus.imap.wire.grammar import BadSyntax

GUID = b"7637ad79a002cb2bc6ecc189895e4f88a075124a"


def cut(octets: bytes) -> list[Part]:
    """As a session cuts a command: at what its lines announce."""
    parts: list[Part] = []
    while True:
        line, _, rest = octets.partition(b"\r\n")
        follows = announced(line)
        if follows is None:
            return [*parts, line]
        parts.append(follows.text)
        parts.append(rest[: follows.size] if follows.file is None else follows.file)
        octets = rest[follows.size :]


def read(octets: bytes) -> Value:
    reader = Reader(cut(octets))
    value = reader.value()
    reader.end()
    return value


leaves = st.none() | st.binary(max_size=20) | st.text('ab NIL\\"(%{}', max_size=6).map(str.encode)
keys = st.text("ABCDEFG_", min_size=1, max_size=5).filter(lambda key: key != "NIL")
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


class DlistTests(SynchronousTestCase):
    def test_as_seen(self) -> None:
        """What a Cyrus 3.6 said."""
        self.assertEqual(
            read(
                b'%(UNIQUEID s1d8 ACL "fred\tlrs\t" ANNOTATIONS (%(ENTRY /specialuse USERID fred VALUE {5+}\r\n\\Sent))'
                b" RECORD (%(UID 1 FLAGS (\\Seen $Work)) %(UID 2 FLAGS ())))"
            ),
            {
                "UNIQUEID": b"s1d8",
                "ACL": b"fred\tlrs\t",
                "ANNOTATIONS": [{"ENTRY": b"/specialuse", "USERID": b"fred", "VALUE": b"\\Sent"}],
                "RECORD": [{"UID": b"1", "FLAGS": [b"\\Seen", b"$Work"]}, {"UID": b"2", "FLAGS": []}],
            },
        )
        self.assertEqual(
            read(b"(%%{default %b 2}\r\n)\n %%{fast %b 1}\r\nx)" % (GUID, GUID)), [File(GUID, 2), File(GUID, 1)]
        )
        self.assertEqual(encode({"FLAGS": [Word(b"\\Seen")], "N": b"NIL"}, plus=True), b'%(FLAGS (\\Seen) N "NIL")')
        self.assertEqual(encode(b"a\r\nb", plus=True), b"{4+}\r\na\r\nb")
        self.assertEqual(encode(b"a\0b", plus=False), b"{3}\r\na\0b")

    def test_refused(self) -> None:
        for octets in (b"", b")", b"(", b"%(A", b"%(A (B)", b"%((A) B)", b"a b", b'"a', b"%x", b"(" * (MOST_DEEP + 2)):
            self.assertRaises(BadSyntax, read, octets)
        for line in (b"%{default abc 4}", b"{x}", b"{99999999999999}", b"%%{a b %b 1}" % GUID):
            self.assertIsNone(announced(line))

    @settings(max_examples=200, deadline=None, database=None)
    @given(values, st.booleans())
    def test_there_and_back(self, value: Value, plus: bool) -> None:
        self.assertEqual(read(encode(value, plus=plus)), value)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(st.sampled_from([b"(", b")", b"%(", b"a", b" ", b'"', b"\\", b"NIL", b"%", b"{1}\r\nx", b"\0"])))
    def test_anything(self, tokens: list[bytes]) -> None:
        """Whatever comes is read or refused."""
        with contextlib.suppress(BadSyntax):
            read(b"".join(tokens))
