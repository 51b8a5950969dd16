"""Sets, searches, patterns and fetches that ask for more than anybody can read."""

from __future__ import annotations

from pycyrus.test.abuse.case import AbuseCase, Wire

MEGABYTE = 1 << 20
COUNT = 200


class BoxCase(AbuseCase):
    """Has a mailbox of small messages."""

    def setUp(self) -> None:
        super().setUp()
        self.wire = self.user()
        if not self.wire.command(b"SELECT small").startswith(b"t OK"):
            self.wire.command(b"CREATE small")
            message = b"Subject: small\r\nTo: a@example.com\r\n\r\nhello\r\n"
            self.wire.send((b"a APPEND small {%d+}\r\n%b\r\n" % (len(message), message)) * COUNT)
            for _ in range(COUNT):
                self.assertTrue(self.wire.line().startswith(b"a OK"))
            self.wire.command(b"SELECT small")

    def answers(self, wire: Wire, text: bytes) -> int:
        """How many untagged lines a command has, which must be done."""
        wire.send(b"t " + text + b"\r\n")
        lines = wire.until(b"t ")
        self.assertTrue(lines[-1].startswith(b"t OK"), (text[:30], lines[-1]))
        return len(lines) - 1


class SetTests(BoxCase):
    """Sequence sets (RFC 9051 section 9)."""

    def test_long_and_overlapping_sets(self) -> None:
        """Abuse case 30: each message is answered once, however often it is named; too many ranges are refused."""
        wire = self.wire
        for text in (
            b"FETCH " + b",".join([b"1:*"] * 10_000) + b" UID",
            b"UID FETCH " + b",".join(b"%d:%d" % (n, 4_294_967_295 - n) for n in range(1, 3000)) + b" UID",
            b"UID FETCH " + b",".join([b"*:1"] * 10_000) + b" UID",
            b"FETCH " + b",".join(b"%d" % (n % COUNT + 1) for n in range(10_000)) + b" UID",
        ):
            self.assertEqual(self.answers(wire, text), COUNT)
        self.assertEqual(self.answers(wire, b"UID FETCH 4294967295:* UID"), 1)
        self.assertEqual(self.answers(wire, b"FETCH 4294967295:* UID"), 1)
        self.assertEqual(self.answers(wire, b"UID FETCH 4294967295 UID"), 0)
        for numbers in (
            b",".join(b"%d" % n for n in range(1, 12_000, 2)),
            b"4294967296:*",
            b"0",
            b"1:",
            b"1,,2",
            b"*" * 99,
        ):
            self.assertTrue(wire.command(b"UID FETCH " + numbers + b" UID").startswith((b"t BAD", b"t OK")))
        self.assertTrue(wire.command(b"UID COPY %b nowhere" % b",".join([b"1:*"] * 10_000)).startswith(b"t NO"))
        self.assertTrue(wire.command(b"UID EXPUNGE " + b",".join([b"1:*"] * 10_000)).startswith(b"t OK"))
        ranges = b",".join(b"%d:%d" % (n, n + 1) for n in range(1, 9000, 3))
        for text in (
            b"SELECT small (QRESYNC (1 1 %b))" % ranges,
            b"SELECT small (QRESYNC (1 1 1:* (%b %b)))" % (ranges, ranges),
        ):
            self.assertRegex(wire.command(text), rb"^t (OK|BAD) ")

    def test_searches(self) -> None:
        """Abuse case 30: thousands of keys are refused, or cost others nothing."""
        wire = self.wire
        with self.others_served():
            for text, is_done in (
                (b"SEARCH " + b"OR SEEN " * 4000 + b"ALL", True),
                (b"SEARCH " + b"NOT " * 90 + b"ALL", True),
                (b"SEARCH " + b"OR SEEN " * 7000 + b"ALL", False),
                (b"SEARCH " + b"NOT SEEN " * 6000 + b"ALL", False),
                (b"SEARCH " + b"".join(b"OR TEXT q%d " % n for n in range(4000)) + b"ALL", True),
                (b"SEARCH " + b"NOT TEXT absent " * 200 + b"ALL", True),
                (b"SEARCH " + b"UID %b " % b",".join([b"1:*"] * 3000) * 4, False),
            ):
                answer = wire.command(text)
                self.assertEqual(answer.startswith(b"t OK"), is_done, (text[:20], answer))

    def test_patterns(self) -> None:
        """Abuse case 30: patterns of nothing but wildcards are matched in linear time."""
        wire = self.wire
        for number in range(30):
            wire.command(b"CREATE " + b"/".join([b"a" * 8] * (number % 10 + 1)) + b"%d" % number)
        with self.others_served():
            for pattern in (b"*%" * 300 + b"b", b"*a" * 400 + b"b", b"%a" * 400, b"%/" * 100 + b"*", b"*%" * 30_000):
                answer = wire.command(b'LIST "" ' + pattern)
                self.assertRegex(answer, rb"^t (OK|BAD) ")
            many = b" ".join([b"*a%" * 200 + b"b"] * 100)
            self.assertTrue(wire.command(b'LIST "" (%b) RETURN (STATUS (MESSAGES))' % many).startswith(b"t OK"))
            self.assertTrue(wire.command(b'LIST "" (%b x)' % many).startswith(b"t BAD"))


class CostTests(BoxCase):
    """Responses much larger than their commands, or than memory should be."""

    def append(self, box: bytes, message: bytes) -> None:
        self.wire.command(b"CREATE " + box)
        self.wire.send_aside(b"a APPEND %b {%d+}\r\n%b\r\n" % (box, len(message), message))
        self.assertTrue(self.wire.line().startswith(b"a OK"))

    def test_many_items_of_a_large_message(self) -> None:
        """Abuse case 30: hundreds of decoded parts and header subsets of one message are made one by one."""
        line = b"A" * 76 + b"\r\n"
        header = b"".join(b"X-%d: %b" % (number, line) for number in range(20_000))
        message = header + b"Content-Transfer-Encoding: base64\r\n\r\n" + line * 15_000
        self.append(b"items", message)
        reader = self.user()
        reader.command(b"SELECT items")
        for items in (
            b" ".join(b"BINARY.PEEK[1]<0.%d>" % (10_000_000 + n) for n in range(40)),
            b" ".join(b"BODY.PEEK[HEADER.FIELDS.NOT (Q%d)]" % n for n in range(20)),
            b" ".join(b"BODY.PEEK[HEADER.FIELDS (X-%d)]" % n for n in range(50)),
            b" ".join(b"BODY.PEEK[HEADER.FIELDS (TO)]<%d.9>" % n for n in range(50)),
            b" ".join(b"BODY.PEEK[]<%d.9000000>" % n for n in range(40)),
        ):
            with self.bounded_memory(48 * MEGABYTE), self.others_served():
                reader.send(b"t FETCH 1 (%b)\r\n" % items)
                self.assertGreater(reader.drain(b"\r\nt OK"), 1000)

    def test_many_items_of_many_messages(self) -> None:
        """Abuse case 30: likewise hundreds of pieces of each of many messages."""
        with self.bounded_memory(32 * MEGABYTE), self.others_served():
            items = b" ".join(b"BODY.PEEK[]<%d.10>" % n for n in range(499))
            self.wire.send(b"t FETCH 1:* (%b)\r\n" % items)
            self.assertGreater(self.wire.drain(b"\r\nt OK"), COUNT * 499 * 15)

    def test_structures_that_are_large(self) -> None:
        """Abuse case 30: blocks of responses are bounded by their octets, not only by their number."""
        message = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 5000 + b"--b--\r\n"
        self.append(b"parts", message)
        self.wire.command(b"SELECT parts")
        for _ in range(7):
            self.assertTrue(self.wire.command(b"COPY 1:* parts").startswith(b"t OK"))
        with self.bounded_memory(48 * MEGABYTE), self.others_served():
            self.wire.send(b"t FETCH 1:* (BODYSTRUCTURE BODY)\r\n")
            self.assertGreater(self.wire.drain(b"\r\nt OK"), 40 * MEGABYTE)
