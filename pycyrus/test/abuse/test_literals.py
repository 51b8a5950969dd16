"""Literals that are too large, too many, or none."""

from __future__ import annotations

from pycyrus.test.abuse.case import AbuseCase

MEGABYTE = 1 << 20


class SizeTests(AbuseCase):
    """What may stand between the braces (RFC 9051 section 4.3, RFC 7888)."""

    def test_sizes_that_are_none(self) -> None:
        """Abuse case 7: a size that cannot be is refused before any octet of it is taken."""
        for size in (b"4294967296", b"-1", b"99999999999999999999", b"9" * 5000, b"", b"0x10", b"1e3", b" 7"):
            for wire in (self.connect(), self.user()):
                answer = wire.command(b"SELECT {%b}" % size)
                self.assertRegex(answer, rb"^t (NO|BAD) ")
                self.assertTrue(wire.command(b"NOOP").startswith(b"t OK"))

    def test_non_synchronising_sizes_that_are_none(self) -> None:
        """Abuse case 7: nobody knows where such a one ends, so nothing behind it is a command."""
        for size in (b"4294967296", b"99999999999999999999", b"-1", b"", b"9" * 5000):
            for wire in (self.connect(), self.user()):
                wire.send_all_it_takes(b"t SELECT {%b+}\r\nu NOOP\r\n" % size)
                answer = wire.rest()
                self.assertNotIn(b"u OK", answer)
                self.assertIn(b"* BYE", answer)

    def test_leading_zeros(self) -> None:
        """Abuse case 7: C{{00008+}} is eight octets, whoever counts, and no command begins among them."""
        wire = self.user()
        wire.send(b"t SELECT {00008+}\r\nu NOOP\r\n\r\nv NOOP\r\n")
        self.assertRegex(wire.line(), rb"^t (BAD|NO)")
        self.assertTrue(wire.line().startswith(b"v OK"))
        wire.send(b"t SELECT {00005+}\r\nINBOX\r\n")
        self.assertTrue(wire.until(b"t ")[-1].startswith(b"t OK"))

    def test_never_sent(self) -> None:
        """Abuse case 7: a client may announce and go; nothing stays."""
        with self.bounded_memory(16 * MEGABYTE):
            for _ in range(100):
                wire = self.user()
                wire.send(b"a APPEND INBOX {4000000000}\r\n")
                self.assertTrue(wire.line().startswith(b"+"))
                wire.send(b"Subject: x\r\n" * 8000)
                wire.close()
        self.assertTrue(self.user().command(b"NOOP").startswith(b"t OK"))

    def test_empty_ones_by_the_thousand(self) -> None:
        """Abuse case 7: C{{0}} is a literal, and each is answered."""
        wire = self.user()
        sender = wire.send_aside(b"a SELECT {0}\r\n\r\n" * 3000 + b"b NOOP\r\n")
        lines = wire.until(b"b ")
        sender.join()
        self.assertEqual(sum(line.startswith(b"+") for line in lines), 3000)
        self.assertEqual(sum(line.startswith(b"a NO") for line in lines), 3000)

    def test_non_synchronising_ones_that_are_too_large(self) -> None:
        """Abuse case 9: answered when the octets are gone, which nobody keeps; or the connection is closed."""
        with self.bounded_memory(16 * MEGABYTE), self.others_served():
            wire = self.user()
            size = 40 * MEGABYTE
            wire.send_aside(b"a SELECT {%d+}\r\n" % size + b"x" * size + b"\r\nb NOOP\r\n")
            self.assertTrue(wire.line().startswith(b"a NO [TOOBIG]"))
            self.assertTrue(wire.line().startswith(b"b OK"))
            wire.send_aside(b"a SELECT {%d+}\r\n" % (2 * size) + b"x" * size)
            self.assertIn(b"* BYE", wire.rest())
            wire = self.connect()
            wire.send_aside(b"a LOGIN {%d+}\r\n" % MEGABYTE + b"x" * MEGABYTE)
            self.assertIn(b"* BYE", wire.rest())


class CountTests(AbuseCase):
    """Many small ones."""

    def test_in_one_command(self) -> None:
        """Abuse case 8: their number in a command is limited, whichever it is; what follows is read as ever."""
        wire = self.user()
        wire.command(b"SELECT INBOX")
        for text in (
            b"SEARCH" + b" SUBJECT {1+}\r\nx" * 5000,
            b"SEARCH" + b" TEXT {0+}\r\n" * 20_000,
            b'LIST "" (' + b"{1+}\r\nx " * 5000 + b"x)",
            b"STATUS {5+}\r\nINBOX (" + b"{8+}\r\nMESSAGES " * 5000 + b"UIDNEXT)",
            b"ID (" + b"{1+}\r\na {1+}\r\nb " * 3000 + b"c d)",
            b"FETCH 1 BODY[HEADER.FIELDS (" + b"{1+}\r\nx " * 5000 + b"x)]",
            b"APPEND INBOX" + b" {14+}\r\nSubject: x\r\n\r\n" * 2000,
        ):
            answer = wire.command(text)
            self.assertRegex(answer, rb"^t BAD ", text[:20])
            self.assertTrue(wire.command(b"NOOP").startswith(b"t OK"))

    def test_their_total(self) -> None:
        """Abuse case 8: a command is limited as a whole, too."""
        wire = self.user()
        wire.command(b"SELECT INBOX")
        with self.bounded_memory(16 * MEGABYTE):
            answer = wire.command(b"SEARCH" + b" SUBJECT {100000+}\r\n" + b"x" * 100_000)
            self.assertTrue(answer.startswith(b"t OK"))
            answer = wire.command(b"SEARCH" + (b" SUBJECT {100000+}\r\n" + b"x" * 100_000) * 60)
            self.assertTrue(answer.startswith(b"t BAD [LIMIT]"))

    def test_logins(self) -> None:
        """Abuse case 8: before the login there may be a few only."""
        wire = self.connect()
        answer = wire.command(b"LOGIN" + b" {1+}\r\nx" * 4000)
        self.assertTrue(answer.startswith(b"t BAD [LIMIT]"))
        self.assertTrue(wire.command(b"NOOP").startswith(b"t OK"))


class FlagTests(AbuseCase):
    """Other long lists of arguments."""

    def test_flags_by_the_million(self) -> None:
        """Abuse case 8: a line of them is too long, and 9,000 are too many; no keyword is made."""
        wire = self.user()
        wire.command(b"CREATE flags")
        wire.command(b"APPEND flags {14+}\r\nSubject: x\r\n\r\n")
        wire.command(b"SELECT flags")
        many = b" ".join(b"k%d" % number for number in range(9000))
        for text in (
            b"STORE 1 FLAGS (%b)" % many,
            b"APPEND flags (%b) {14+}\r\nSubject: x\r\n\r\n" % many,
            b"STATUS flags (" + b"MESSAGES " * 6000 + b"UIDNEXT)",
            b"FETCH 1 (" + b"UID " * 15_000 + b"UID)",
            b'LIST "" * RETURN (' + b"CHILDREN " * 6000 + b"CHILDREN)",
            b"ENABLE " + b"X " * 20_000 + b"CONDSTORE",
        ):
            self.assertTrue(wire.command(text).startswith(b"t BAD"), text[:20])
        wire.send(b"t SELECT flags\r\n")
        (flags,) = [line for line in wire.until(b"t ") if line.startswith(b"* FLAGS")]
        self.assertNotIn(b"k1", flags)
        for text in (b"APPEND INBOX (" + b"a " * 1_000_000, b"STATUS INBOX (" + b"MESSAGES " * 100_000):
            wire = self.user()
            wire.send_aside(b"t " + text + b")\r\n")
            self.assertNotIn(b"t OK", wire.rest())
