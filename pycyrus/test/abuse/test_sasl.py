"""Exchanges that are broken off, broken, or not about who they seem to be."""

from __future__ import annotations

from base64 import b64encode

from pycyrus.test.abuse.case import AbuseCase

MEGABYTE = 1 << 20

BAD_RESPONSES = (
    b"*", b"!", b"=", b"====", b"AAA", b"AAAA=", b"A===", b"AA AA", b"AAAA\0", b"\xff\xfe", b"* ", b"NOOP", b"b NOOP",
    b64encode(b"no NUL"), b64encode(b"\0"), b64encode(b"\0\0"), b64encode(b"\0a\0b\0c"), b"A" * 12_000, b"A" * 15_000,
)  # fmt: skip

HOSTILE_NAMES = (
    b"a%s%n", b"%(user)s", b"{}", b"{0.__class__}", b"${user}", b"*", b"(", b")", b"*)(uid=*", b"\\", b"a\\5c",
    b"' OR 1=1 --", b'"; DROP TABLE users; --', b"user' --", b"\xff\xfe", b"us\xc3", b"\xc3\xa9", b"user\x7f",
    b"user\n", b"user\r\nx", b"us er", "\uff55\uff53\uff45\uff52".encode(), "us\u200ber".encode(),
    "u\u017fer".encode(), b"anyone", b"anonymous", b"group:staff", b"user+x", b"x" * 2000,
)  # fmt: skip
"""Abuse case 17."""

HOSTILE_PATHS = (
    b"/", b"../user", b"user/..", b"..", b".", b".user", b"user.", b"us^er", b"%2f..%2f", b"us\\er", b"us/er",
    b"@", b"user@", b"@user", b"user@@x", b"user@..", b"user@../..", b"user@/etc", b"user@.x", b"user@-x", b"user@x..y",
    b"user@a/b", b"user@%2f",
)  # fmt: skip
"""Abuse case 18."""

OPTIONS = (b"-user", b"--help")
"""Nothing here hands names to programs: to us a dash is a letter like others."""


class ExchangeTests(AbuseCase):
    """RFC 9051 section 6.2.2, RFC 4954."""

    def test_responses(self) -> None:
        """Abuse case 16: whatever comes as a response ends the exchange; the connection, and others, go on."""
        other = self.connect()
        other.send(b"a AUTHENTICATE PLAIN\r\n")
        other.line()
        for mechanism in (b"PLAIN", b"LOGIN", b"SCRAM-SHA-256"):
            wire = self.connect("imaps")
            for response in BAD_RESPONSES:
                if response == BAD_RESPONSES[8]:
                    # Patience with one connection ends.
                    wire = self.connect("imaps")
                wire.send(b"a AUTHENTICATE %b\r\n" % mechanism)
                self.assertTrue(wire.line().startswith(b"+"))
                wire.send(response + b"\r\n")
                while (answer := wire.line()).startswith(b"+"):
                    wire.send(b"*\r\n")
                self.assertRegex(answer, rb"^a (BAD|NO) ", (mechanism, response[:20]))
            self.assertTrue(wire.command(b"NOOP").startswith(b"t OK"))
        login = self.server.account("user")
        other.send(b64encode(f"\0{login.user}\0{login.password}".encode()) + b"\r\n")
        self.assertRegex(other.line(), rb"^a OK ")

    def test_initial_responses(self) -> None:
        """Abuse case 16: likewise those of SASL-IR."""
        for response in BAD_RESPONSES:
            if len(response) > 8000 or b" " in response or b"\0" in response:
                continue
            answer = self.connect("imaps").command(b"AUTHENTICATE PLAIN " + response)
            self.assertRegex(answer, rb"^t (BAD|NO) ", response)

    def test_a_megabyte(self) -> None:
        """Abuse case 16: a response of a megabyte ends the connection at once, and is not kept."""
        with self.bounded_memory(8 * MEGABYTE):
            for behind in (b"", b"\r\nb NOOP\r\n"):
                wire = self.connect()
                wire.send(b"a AUTHENTICATE PLAIN\r\n")
                wire.line()
                wire.send_all_it_takes(b"A" * MEGABYTE + behind)
                self.assertNotIn(b"b OK", wire.rest())

    def test_broken_off(self) -> None:
        """Abuse case 16: clients that go in the middle leave nothing behind."""
        with self.bounded_memory(8 * MEGABYTE):
            for number in range(200):
                wire = self.connect()
                wire.send(b"a AUTHENTICATE " + (b"PLAIN", b"LOGIN", b"SCRAM-SHA-1")[number % 3] + b"\r\n")
                wire.line()
                wire.close()
        self.assertTrue(self.user().command(b"NOOP").startswith(b"t OK"))

    def test_lmtp(self) -> None:
        """Abuse case 16: LMTP's exchanges end likewise."""
        for response in (b"*", b"!", b"AAA", b"AA AA", b"\xff", b"A" * 12_001):
            wire = self.postman()
            self.assertTrue(wire.say(b"AUTH EXTERNAL").startswith(b"334"))
            self.assertTrue(wire.say(response).startswith(b"501"), response[:20])
            self.assertTrue(wire.say(b"NOOP").startswith(b"250"))
        wire = self.postman()
        wire.say(b"AUTH EXTERNAL")
        wire.send_all_it_takes(b"A" * MEGABYTE)
        self.assertNotIn(b"235", wire.rest())


class UserNameTests(AbuseCase):
    """Names of users that mean something to somebody else."""

    def test_at_the_login(self) -> None:
        """Abuse cases 17 and 18: all are unknown users, by either command; the reply tells nothing more."""
        login = self.server.account("user")
        for name in HOSTILE_NAMES + HOSTILE_PATHS + OPTIONS:
            wire = self.connect()
            wire.send(b"a LOGIN {%d+}\r\n%b %b\r\n" % (len(name), name, login.password.encode()))
            plain = b64encode(b"\0" + name + b"\0" + login.password.encode())
            wire.send(b"b AUTHENTICATE PLAIN " + plain + b"\r\n")
            for tag in (b"a", b"b"):
                answer = wire.line()
                self.assertEqual(answer, tag + b" NO [AUTHENTICATIONFAILED] Login failed: authentication failure", name)

    def test_acting_as(self) -> None:
        """Abuse cases 17 and 18: nor may anybody act as such a user, not even the administrator."""
        login = self.server.account("admin")
        for name in HOSTILE_PATHS:
            plain = b64encode(name + f"\0{login.user}\0{login.password}".encode())
            answer = self.connect().command(b"AUTHENTICATE PLAIN " + plain)
            self.assertTrue(answer.startswith(b"t NO ["), (name, answer))
        login = self.server.account("user")
        for name in (b"admin", b"somebody", *HOSTILE_PATHS):
            plain = b64encode(name + f"\0{login.user}\0{login.password}".encode())
            answer = self.connect().command(b"AUTHENTICATE PLAIN " + plain)
            self.assertTrue(answer.startswith(b"t NO ["), (name, answer))

    def test_far_too_long(self) -> None:
        """Abuse case 17: a name of 10 KB does not come so far."""
        for command in (b'LOGIN "%b" x', b"LOGIN {10000+}\r\n%b x"):
            wire = self.connect()
            wire.send_all_it_takes(b"a " + command % (b"x" * 10_000) + b"\r\n")
            self.assertNotIn(b"OK", wire.line())

    def test_logs(self) -> None:
        """Abuse case 17: in the log each attempt is one line, without control characters."""
        wire = self.connect()
        name = b"evil\r\n2026-01-01 forged: line\x1b[31m"
        self.assertTrue(wire.command(b"LOGIN {%d+}\r\n%b x" % (len(name), name)).startswith(b"t NO"))
        log = self.server.log.read_bytes()
        self.assertIn(b"evil", log)
        self.assertNotIn(b"\n2026-01-01 forged", log)
        self.assertNotIn(b"\x1b", log)


class RecipientTests(AbuseCase):
    """The same names as recipients of mail."""

    def test_recipients(self) -> None:
        """Abuse cases 17 and 18: nobody has these, and details of such forms end up in the INBOX."""
        wire = self.postman()
        wire.say(b"MAIL FROM:<>")
        for name in (*(name for name in HOSTILE_PATHS if b"@" not in name[1:]), *OPTIONS):
            for path in (name, b'"' + name.replace(b"\\", b"\\\\") + b'"'):
                self.assertRegex(wire.say(b"RCPT TO:<%b>" % path), rb"^(550|501) ", path)
                if self.count_refused() >= 15:
                    wire = self.postman()
                    wire.say(b"MAIL FROM:<>")
        before = self.directories()
        for detail in (
            b"../../x",
            b"..",
            b"/",
            b"/etc",
            b"&AC8-",
            b"&AC4ALg-",
            b"%2e%2e",
            b"a/" * 300,
            b"-x",
            b"^",
            b"#x",
        ):
            wire = self.postman()
            wire.say(b"MAIL FROM:<>")
            self.assertTrue(wire.say(b"RCPT TO:<user+%b>" % detail).startswith(b"250"), detail)
            wire.say(b"DATA")
            wire.send(b"Subject: detail\r\n\r\n.\r\n")
            self.assertTrue(wire.reply().startswith(b"250"))
        self.assertEqual(self.directories(), before)

    def count_refused(self) -> int:
        """Commands that made no sense count, and end the connection."""
        self.refused = getattr(self, "refused", 0) + 1
        count = self.refused
        if count >= 15:
            self.refused = 0
        return count

    def directories(self) -> set[str]:
        """All directories of the home."""
        return {str(path) for path in self.server.home.rglob("*") if path.is_dir()}
