"""The body of a message by LMTP: where it ends, and how large it is."""

from __future__ import annotations

from pycyrus.test.abuse.case import TIGHT, AbuseCase, Wire

NOT_THE_END = (
    b"\n.\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n..\r\n",
    b"\r\n. \r\n",
)


class EndTests(AbuseCase):
    """RFC 5321 section 4.1.1.4: CRLF, dot, CRLF, and nothing else."""

    def begun(self) -> Wire:
        """Come to where the body begins."""
        wire = self.postman()
        wire.say(b"MAIL FROM:<>")
        wire.say(b"RCPT TO:<user>")
        self.assertTrue(wire.say(b"DATA").startswith(b"354"))
        return wire

    def test_what_does_not_end_a_message(self) -> None:
        """Abuse case 11: a second envelope behind a wrong end is text of the first message."""
        for number, end in enumerate(NOT_THE_END):
            wire = self.begun()
            wire.send(
                b"Subject: smuggled%d\r\n\r\nbody%bMAIL FROM:<evil@x>\r\nRCPT TO:<user>\r\nDATA\r\n" % (number, end)
            )
            wire.send(b"Subject: second\r\n\r\nx\r\n.\r\nNOOP\r\n")
            # One reply for the one message; the next is of NOOP.
            self.assertTrue(wire.reply().startswith(b"250 2.1.5"), end)
            self.assertEqual(wire.reply(), b"250 2.0.0 ok")
        reader = self.user()
        reader.command(b"SELECT INBOX")
        reader.send(b"t SEARCH SUBJECT second\r\n")
        self.assertEqual(reader.until(b"t ")[0].strip(), b"* SEARCH")
        reader.send(b"t SEARCH SUBJECT smuggled BODY evil\r\n")
        self.assertEqual(len(reader.until(b"t ")[0].split()) - 2, len(NOT_THE_END))

    def test_ends_in_pieces(self) -> None:
        """Abuse case 11: the true end is found wherever segments are cut, and only there."""
        wire = self.begun()
        for octet in b"Subject: x\r\n\r\n.\n\r\n.\r\nNOOP\r\n":
            wire.send(bytes((octet,)))
        self.assertTrue(wire.reply().startswith(b"250 2.1.5"))
        self.assertEqual(wire.reply(), b"250 2.0.0 ok")

    def test_nul(self) -> None:
        """Abuse case 11: what no message may have is refused, and the session goes on."""
        wire = self.begun()
        wire.send(b"Subject: x\r\n\r\na\0b\r\n.\r\n")
        self.assertTrue(wire.reply().startswith(b"554"))
        self.assertTrue(wire.say(b"RSET").startswith(b"250"))

    def test_transactions_in_a_pipeline(self) -> None:
        """Abuse case 12: RSET, DATA and commands within bodies, pipelined: each answer is of its command."""
        count = 300
        body = b"Subject: x\r\n\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n.\r\n"
        wire = self.postman()
        wire.send_aside(
            (b"MAIL FROM:<>\r\nRCPT TO:<user>\r\nRCPT TO:<nobody>\r\nDATA\r\n%bMAIL FROM:<>\r\nDATA\r\nRSET\r\n" % body)
            * count
            + b"QUIT\r\n"
        )
        codes = []
        while (code := wire.reply()[:3]) != b"221":
            codes.append(code)
        self.assertEqual(codes, [b"250", b"250", b"550", b"354", b"250", b"250", b"503", b"250"] * count)


class SizeTests(AbuseCase):
    """RFC 1870, RFC 3030."""

    arguments = TIGHT

    def test_sizes_that_are_not_true(self) -> None:
        """Abuse case 12: what was declared does not matter to what is kept, nor to where it ends."""
        for declared, size, code in (
            (1, 1000, b"250"),
            (0, 1000, b"250"),
            (99_999, 10, b"250"),
            (1, 200_000, b"552"),
            (1, 5_000_000, b"552"),
        ):
            wire = self.postman()
            self.assertTrue(wire.say(b"MAIL FROM:<> SIZE=%d" % declared).startswith(b"250"))
            wire.say(b"RCPT TO:<user>")
            wire.say(b"DATA")
            wire.send(b"Subject: x\r\n\r\n" + b"x" * size + b"\r\n.\r\n")
            self.assertTrue(wire.reply().startswith(code), declared)
            self.assertTrue(wire.say(b"NOOP").startswith(b"250"))
        for declared in (100_001, 4_294_967_296, 99_999_999_999_999_999_999):
            self.assertTrue(self.postman().say(b"MAIL FROM:<> SIZE=%d" % declared).startswith(b"552"), declared)
        for text in (b"-1", b"1e9", b"", b"9" * 21, b"1 SIZE=2"):
            self.assertTrue(self.postman().say(b"MAIL FROM:<> SIZE=" + text).startswith(b"5"), text)

    def test_chunks(self) -> None:
        """Abuse case 12: BDAT mixes with nothing, and what it announces is not kept."""
        wire = self.postman()
        wire.say(b"MAIL FROM:<>")
        wire.say(b"RCPT TO:<user>")
        wire.send(b"BDAT 5\r\nhello")
        self.assertTrue(wire.reply().startswith(b"250"))
        self.assertTrue(wire.say(b"DATA").startswith(b"503"))
        wire.say(b"RSET")
        wire.say(b"MAIL FROM:<>")
        wire.say(b"RCPT TO:<user>")
        self.assertTrue(wire.say(b"DATA").startswith(b"354"))
        wire.send(b"BDAT 5\r\nhello\r\n.\r\n")
        self.assertTrue(wire.reply().startswith(b"250"))

    def test_recipients(self) -> None:
        """Abuse case 12: recipients beyond the limit are told to wait, the others get their mail."""
        wire = self.postman()
        wire.say(b"MAIL FROM:<>")
        count = 20_000
        with self.others_served():
            wire.send_aside(b"RCPT TO:<user>\r\n" * count + b"DATA\r\n")
            codes = [wire.reply()[:3] for _ in range(count + 1)]
        self.assertEqual(codes, [b"250"] * 1000 + [b"452"] * (count - 1000) + [b"354"])
        wire.send(b"Subject: x\r\n\r\n.\r\n")
        self.assertEqual({wire.reply()[:3] for _ in range(1000)}, {b"250"})
