"""Lines: endless ones, deep ones, and octets that belong in none."""

from __future__ import annotations

import contextlib

from pycyrus.test.abuse.case import AbuseCase

MEGABYTE = 1 << 20


class EndlessTests(AbuseCase):
    """What never comes to its end."""

    def test_lines_without_an_end(self) -> None:
        """Abuse case 5: the connection is closed after some kilobytes, and memory stays as it is."""
        with self.bounded_memory(16 * MEGABYTE):
            for service, start in (
                ("imap", b""),
                ("imap", b"a "),
                ("imap", b"a LOGIN "),
                ("imap", b'a LOGIN "'),
                ("imap", b"a AUTHENTICATE PLAIN "),
                ("imaps", b"a "),
                ("lmtp", b""),
                ("lmtp", b"MAIL FROM:<"),
                ("lmtpunix", b"RCPT TO:<"),
            ):
                wire = self.connect(service)
                wire.send_all_it_takes(start + b"x" * 10 * MEGABYTE)
                # A reset may overtake the last words, but not the end.
                self.assertNotIn(b" OK ", wire.rest())

    def test_tags_and_verbs_in_small_segments(self) -> None:
        """Abuse case 5: counted however small the pieces are in which they come."""
        for start in (b"", b"a ", b"a UID "):
            wire = self.connect()
            wire.send(start)
            sent = 0
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                while sent < MEGABYTE:
                    wire.send(b"xxxxxxx")
                    sent += 7
            self.assertLess(sent, MEGABYTE)

    def test_responses_without_an_end(self) -> None:
        """Abuse case 5: also where a line is no command: in an exchange, and in IDLE."""
        for is_user, opening in ((False, b"a AUTHENTICATE PLAIN\r\n"), (True, b"a IDLE\r\n")):
            wire = self.user() if is_user else self.connect()
            wire.send(opening)
            self.assertTrue(wire.line().startswith(b"+"))
            wire.send_all_it_takes(b"x" * MEGABYTE)
            self.assertNotIn(b"a OK", wire.rest())

    def test_pipelines_that_nobody_reads(self) -> None:
        """Abuse case 5: a client that reads no answers is not read from; all are there when it does."""
        count = 60_000
        with self.bounded_memory(32 * MEGABYTE), self.others_served():
            wire = self.user()
            sender = wire.send_aside(b"a NOOP\r\n" * count + b"b NOOP\r\n")
            self.connect().command(b"NOOP")
            self.assertEqual(len(wire.until(b"b ")), count + 1)
            sender.join()

    def test_pipelines_of_lmtp(self) -> None:
        """Abuse case 5: likewise; and one that does read leaves others their turn."""
        count = 60_000
        with self.bounded_memory(32 * MEGABYTE), self.others_served():
            wire = self.postman()
            sender = wire.send_aside(b"NOOP\r\n" * count + b"RSET\r\nQUIT\r\n")
            self.connect().command(b"NOOP")
            self.assertEqual(wire.rest().count(b"\r\n"), count + 2)
            sender.join()

    def test_commands_before_login(self) -> None:
        """Abuse case 5: their number is limited, right and wrong ones."""
        for command, most in (
            (b"a NOOP\r\n", 250),
            (b"\r\n", 30),
            (b"a XYZZY\r\n", 30),
            (b"a LOGIN {1+}\r\nx x\r\n", 30),
        ):
            wire = self.connect()
            wire.send_aside(command * 10_000)
            answer = wire.rest()
            self.assertIn(b"* BYE", answer)
            self.assertLess(answer.count(b"\r\n"), most)


class NestingTests(AbuseCase):
    """Parentheses."""

    def test_nesting(self) -> None:
        """Abuse case 6: refused by depth or by length, before and after the login."""
        for wire, depths in ((self.connect(), (1000,)), (self.user(), (200, 4000))):
            wire.command(b"SELECT INBOX")
            for depth in depths:
                opened = b"(" * depth
                for text in (
                    b"ID " + opened,
                    b"ID " + opened + b")" * depth,
                    b"LIST " + opened,
                    b'LIST "" ' + opened,
                    b"SEARCH " + opened + b"ALL" + b")" * depth,
                    b"SEARCH " + b"NOT " * depth + b"ALL",
                    b"SEARCH " + b"OR " * depth + b"ALL " * depth + b"ALL",
                    b"FETCH 1 " + opened + b"UID" + b")" * depth,
                    b"STATUS INBOX " + opened,
                    b"STORE 1 FLAGS " + opened,
                    b"SELECT INBOX " + opened,
                    b"APPEND INBOX " + opened + b" {1+}\r\nx",
                    b"ENABLE " + opened,
                    opened,
                ):
                    self.assertTrue(wire.command(text).startswith(b"t BAD"), text[:20])


class OctetTests(AbuseCase):
    """NUL, CR and LF where they must not be."""

    def test_in_commands(self) -> None:
        """Abuse case 10: NUL and bare CR make a command bad; none becomes two."""
        wire = self.user()
        for text in (b"NO\0OP", b"NOOP\0", b"NOOP\rx NOOP", b"CREATE a\0b", b'CREATE "a\rb"', b'CREATE "a\0b"', b"\0"):
            wire.send(b"t " + text + b"\r\nu NOOP\r\n")
            first, second = wire.line(), wire.line()
            self.assertTrue(first.startswith(b"t BAD"), first)
            self.assertTrue(second.startswith(b"u OK"), second)

    def test_in_names(self) -> None:
        """Abuse case 10: a literal may carry any octet; names with these are refused, and none is made."""
        wire = self.user()
        for name in (b"a\0b", b"a\rb", b"a\nb", b"a\r\nb", b"a\x01b", b"a\x7fb", b"a\r\n* BYE injected"):
            for verb in (b"CREATE", b"SUBSCRIBE", b"SELECT", b"DELETE", b"STATUS"):
                items = b" (MESSAGES)" if verb == b"STATUS" else b""
                answer = wire.command(b"%b {%d+}\r\n%b%b" % (verb, len(name), name, items))
                self.assertRegex(answer, rb"^t (NO|BAD) ")
        wire.send(b't LIST "" *\r\nt LSUB "" *\r\n')
        listed = b"\n".join(wire.until(b"t ") + wire.until(b"t "))
        for octet in b"\0\r\x01\x7f":
            self.assertNotIn(octet, listed)
        self.assertNotIn(b"injected", listed)

    def test_bare_line_feeds(self) -> None:
        """Abuse case 10: a bare LF ends a command of IMAP, as elsewhere; in LMTP it does not."""
        wire = self.connect()
        wire.send(b"a NOOP\nb NOOP\n")
        self.assertTrue(wire.line().startswith(b"a OK"))
        self.assertTrue(wire.line().startswith(b"b OK"))
        wire = self.postman()
        for line in (b"MAIL FROM:<>\nRCPT TO:<user>", b"NOOP\rNOOP", b"MAIL FROM:<\0>", b"\0"):
            self.assertTrue(wire.say(line).startswith(b"5"), line)
        self.assertTrue(wire.say(b"RCPT TO:<user>").startswith(b"503"))
