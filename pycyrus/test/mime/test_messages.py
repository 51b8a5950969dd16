"""The generator of messages: what tests and benchmarks rely on."""

from __future__ import annotations

import email
import email.policy
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.testing.messages import generate


class GenerateTests(SynchronousTestCase):
    """L{pycyrus.testing.messages.generate}."""

    def test_repeatable(self) -> None:
        """The seed decides, and a longer run begins like a shorter one."""
        self.assertEqual(list(generate(20, 5)), list(generate(30, 5))[:20])
        self.assertNotEqual(list(generate(5, 5)), list(generate(5, 6)))

    def test_well_formed(self) -> None:
        """CRLF line ends, no NUL, lines of bounded length, nothing that the standard library finds wrong."""
        for data in generate(200, 8):
            self.assertTrue(data.endswith(b"\r\n"))
            for line in data.split(b"\r\n"):
                self.assertLess(len(line), 998)
                self.assertFalse(set(line) & set(b"\r\n\0"))
            message = email.message_from_bytes(data, policy=email.policy.compat32)
            for part in message.walk():
                self.assertEqual(part.defects, [])

    def test_variety(self) -> None:
        """All that mail has: alternatives, attachments, forwards, charsets, encodings."""
        types: Counter[str] = Counter()
        found: Counter[str] = Counter()
        for data in generate(300, 9):
            for part in email.message_from_bytes(data).walk():
                types[part.get_content_type()] += 1
                found.update([str(part.get_content_charset()), str(part.get("Content-Transfer-Encoding"))])
        for name in (
            "text/plain",
            "text/html",
            "multipart/alternative",
            "multipart/mixed",
            "message/rfc822",
            "image/png",
        ):
            self.assertGreater(types[name], 5, name)
        for name in ("utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "base64", "quoted-printable", "8bit"):
            self.assertGreater(found[name], 0, name)
