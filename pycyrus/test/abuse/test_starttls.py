"""STARTTLS, and what somebody in the middle may send around it."""

from __future__ import annotations

from pycyrus.test.abuse.case import AbuseCase, Wire

INJECTED = b"x1 NOOP\r\nx2 LOGIN user wrong\r\nx3 CAPABILITY\r\n"


class ImapTests(AbuseCase):
    """RFC 9051 section 6.2.1."""

    def secured(self, wire: Wire) -> list[bytes]:
        """Shake hands; gives all that is answered then up to a command of ours."""
        wire.start_tls()
        wire.send(b"ours CAPABILITY\r\n")
        return wire.until(b"ours ")

    def test_injected_in_one_segment(self) -> None:
        """Abuse case 1: what comes with STARTTLS in the clear is never answered, nor done."""
        for behind in (INJECTED, b"x1 NO", b"x1 LOGIN {100+}\r\nabc", b"x1 APPEND INBOX {9999999}\r\n", b"\r\n" * 1000):
            wire = self.connect()
            wire.send(b"a STARTTLS\r\n" + behind)
            self.assertTrue(wire.line().startswith(b"a OK"))
            first, last = self.secured(wire)
            self.assertTrue(first.startswith(b"* CAPABILITY "), first)
            self.assertNotIn(b"STARTTLS", first)
            self.assertTrue(last.startswith(b"ours OK"), last)

    def test_split_into_segments(self) -> None:
        """Abuse case 2: octet by octet, and clear text while the server waits for a handshake."""
        wire = self.connect()
        for octet in b"a STARTTLS\r\n":
            wire.send(bytes((octet,)))
        self.assertTrue(wire.line().startswith(b"a OK"))
        self.assertEqual(len(self.secured(wire)), 2)
        wire = self.connect()
        wire.send(b"a STARTTLS\r\n")
        self.assertTrue(wire.line().startswith(b"a OK"))
        wire.send_all_it_takes(INJECTED)
        answer = wire.rest()
        for tag in (b"x1", b"x2", b"x3"):
            self.assertNotIn(tag, answer)

    def test_sent_while_a_login_is_checked(self) -> None:
        """Abuse case 2: STARTTLS waits for the slow command before it, and discards as ever."""
        wire = self.connect()
        wire.send(b"a LOGIN user wrong\r\nb STARTTLS\r\n" + INJECTED)
        self.assertTrue(wire.line().startswith(b"a NO"))
        self.assertTrue(wire.line().startswith(b"b OK"))
        self.assertEqual(len(self.secured(wire)), 2)

    def test_twice(self) -> None:
        """Abuse case 3: there is no TLS within TLS, and none after the login."""
        wire = self.connect()
        wire.send(b"a STARTTLS\r\n")
        wire.line()
        capabilities, _ = self.secured(wire)
        self.assertNotIn(b"STARTTLS", capabilities)
        self.assertTrue(wire.command(b"STARTTLS").startswith(b"t BAD"))
        self.assertTrue(self.user().command(b"STARTTLS").startswith(b"t BAD"))
        self.assertTrue(self.connect("imaps").command(b"STARTTLS").startswith(b"t BAD"))

    def test_in_the_wrong_place(self) -> None:
        """Abuse case 3: within a literal it is text, within an exchange it is a bad response."""
        wire = self.connect()
        wire.send(b"a LOGIN {12}\r\n")
        self.assertTrue(wire.line().startswith(b"+"))
        wire.send(b"b STARTTLS\r\n wrong\r\nc NOOP\r\n")
        self.assertTrue(wire.line().startswith(b"a "))
        self.assertTrue(wire.line().startswith(b"c OK"))
        wire.send(b"a AUTHENTICATE PLAIN\r\n")
        self.assertTrue(wire.line().startswith(b"+"))
        wire.send(b"b STARTTLS\r\nc NOOP\r\n")
        self.assertTrue(wire.line().startswith(b"a BAD"))
        self.assertTrue(wire.line().startswith(b"c OK"))

    def test_nothing_is_remembered(self) -> None:
        """Abuse case 4: who the client said it was in the clear does not count."""
        wire = self.connect()
        wire.command(b'ID ("name" "in the clear")')
        wire.send(b"a STARTTLS\r\n")
        wire.line()
        capabilities, _ = self.secured(wire)
        self.assertIn(b"AUTH=PLAIN", capabilities)
        # Each client may identify itself once: this one has not.
        self.assertTrue(wire.command(b'ID ("name" "under TLS")').startswith(b"t OK"))
        self.assertTrue(wire.command(b"SELECT INBOX").startswith(b"t BAD"))


class LmtpTests(AbuseCase):
    """RFC 3207; where LMTP needs a login, C{pycyrus.test.lmtp} and C{pycyrus.test.net} have the tests."""

    def test_not_where_the_client_is_trusted(self) -> None:
        """Abuse case 3: there it is refused, and what follows is still in the clear and in order."""
        for service in ("lmtp", "lmtpunix"):
            wire = self.connect(service)
            wire.send(b"LHLO x\r\nSTARTTLS\r\nNOOP\r\n")
            lines = wire.until(b"250 ")
            self.assertNotIn(b"250-STARTTLS", lines)
            self.assertTrue(wire.reply().startswith(b"5"))
            self.assertTrue(wire.reply().startswith(b"250"))
