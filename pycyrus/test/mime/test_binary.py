"""Binary parts become base64, and decode to what they were."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.mime.binary import without_binary

_MIXED = (
    b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n"
    b"Content-Transfer-Encoding:\r\n binary\r\n\r\n--q\r\n\r\nplain\r\n"
    b"--q\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: BINARY\r\nX: y\r\n\r\n%b\r\n--q--\r\n"
)


class BinaryTests(SynchronousTestCase):
    """L{without_binary}."""

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.binary(max_size=300))
    def test_decodes_to_the_same(self, content: bytes) -> None:
        """Whatever it is that the part has, and the rest stays as it was."""
        if b"--q" in content:
            return
        pieces = without_binary(_MIXED % content)
        assert pieces is not None
        made = b"".join(pieces)
        self.assertNotIn(b"\0", made)
        message = message_from_bytes(made)
        plain, binary = cast("list[Message]", message.get_payload())
        self.assertEqual(plain.get_payload(), "plain")
        self.assertEqual(binary.get_payload(decode=True), content)
        self.assertEqual(binary["X"], "y")
        self.assertEqual((message["Content-Transfer-Encoding"], message["Subject"]), ("8bit", "x"))

    def test_long_lines(self) -> None:
        pieces = without_binary(b"Content-Transfer-Encoding: binary\r\n\r\n" + b"\0" * 1_000_000)
        assert pieces is not None
        made = b"".join(pieces)
        self.assertLess(max(map(len, made.splitlines())), 78)
        self.assertEqual(message_from_bytes(made).get_payload(decode=True), b"\0" * 1_000_000)

    def test_elsewhere(self) -> None:
        """A NUL that no label covers has no place in a message."""
        self.assertIsNone(without_binary(b"Subject: a\0b\r\n\r\nx"))
        self.assertIsNone(without_binary(b"Subject: a\r\n\r\n\0"))
        self.assertIsNone(without_binary((_MIXED % b"a").replace(b"plain", b"pl\0ain")))

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(st.sampled_from([_MIXED, b"\0", b"--q\r\n", b"Content-Transfer-Encoding: binary\r\n", b"\r\n", b":"]))
    )
    def test_whatever_comes(self, pieces: list[bytes]) -> None:
        made = without_binary(b"".join(pieces))
        self.assertTrue(made is None or b"\0" not in b"".join(made))
