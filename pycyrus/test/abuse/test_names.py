"""Names of mailboxes that lead elsewhere, and links that do."""

from __future__ import annotations

import os
from pathlib import Path

from pycyrus.test.abuse.case import AbuseCase, Wire

NO_NAMES = (
    b"..", b".", b"../x", b"x/..", b"x/../y", b"/x", b"x//y", b"/", b"//", b"x\x01", b"x\x7f", b"\x1b[31m", b"x\xff",
    b"\xc3\xa9", b"&AC8-", b"&AC4ALg-", b"&AAA-", b"&AA0-", b"&AA0ACg-", b"&", b"&x", b"&AGE-", b"&2AA-", b"&3AA-",
    b"&AOk", b"&AOk-&AOk-", b"&////-", b"x&", b"cafe&AwE-", b"a/" * 10_000 + b"a", b"a" * 60_000,
    b"&" + b"AOkA6QDp" * 1000 + b"-", )  # fmt: skip
"""Refused wherever a name is made."""

ODD_NAMES = (
    b"caf&AOk-", b"#news", b"&AM8-", b"&2D3eAA-", b"&IA4-x", b"a^b", b"^", b"-rf", b"~", b"$HOME", b"%2e%2e%2f",
    b"CON", b"a:b", b"a|b", b"a;b", b"`x`", b"' OR 1=1", b"x.y", b"stage.", b"cyrus.index", b"1.", b"inbox/x", b"&-",
    b"a" * 200, b"/".join([b"d"] * 60), b"uuid", b"domain", b"user", b"DELETED",
)  # fmt: skip
"""Refused or made; if made, then within the spool, and listed as they were given."""


def literal(name: bytes) -> bytes:
    """A name as a literal, which may hold nearly all octets."""
    return b"{%d+}\r\n%b" % (len(name), name)


class MailboxNameTests(AbuseCase):
    """What becomes a path."""

    def paths(self) -> set[Path]:
        """All directories beside the spool and above it."""
        home = self.server.home
        return {*home.parent.iterdir(), *home.iterdir()} | {
            path for path in home.rglob("*") if path.is_dir() and "user" not in path.parts
        }

    def names(self, wire: Wire) -> list[bytes]:
        """What LIST tells, each a line."""
        wire.send(b't LIST "" *\r\n')
        return wire.until(b"t ")[:-1]

    def test_names_that_are_none(self) -> None:
        """Abuse cases 18 and 19: refused by all commands; nothing is made anywhere."""
        wire = self.user()
        before = self.names(wire), self.paths()
        for name in NO_NAMES:
            for text in (
                b"CREATE " + literal(name),
                b"RENAME INBOX " + literal(name),
                b"RENAME %b %b" % (literal(name), literal(name)),
                b"SELECT " + literal(name),
                b"DELETE " + literal(name),
                b"STATUS %b (MESSAGES)" % literal(name),
                b"APPEND %b {1+}\r\nx" % literal(name),
            ):
                answer = wire.command(text)
                self.assertRegex(answer, rb"^t (NO|BAD) ", text[:60])
                self.assertNotIn(b"SERVERBUG", answer)
        self.assertEqual((self.names(wire), self.paths()), before)

    def test_odd_names(self) -> None:
        """Abuse case 19: each is refused, or is a mailbox of its own within the spool; none hides another."""
        wire = self.user()
        before = self.paths()
        answers = {name: wire.command(b"CREATE " + literal(b"odd/" + name)) for name in ODD_NAMES}
        made = [name for name, answer in answers.items() if answer.startswith(b"t OK")]
        for name, answer in answers.items():
            self.assertRegex(answer, rb"^t (OK|NO|BAD) .*(Completed|name|exists)", name)
        self.assertIn(b"caf&AOk-", made)
        for name in made:
            message = b"Subject: in " + name[:60].replace(b"&", b"+") + b"\r\n\r\n"
            self.assertTrue(wire.command(b"APPEND %b {%d+}\r\n%b" % (literal(b"odd/" + name), len(message), message)))
        for name in made:
            wire.send(b"t STATUS %b (MESSAGES)\r\n" % literal(b"odd/" + name))
            self.assertIn(b"(MESSAGES 1)", b"".join(wire.until(b"t ")), name)
        self.assertEqual(self.paths(), before)
        for name in sorted(made, key=len, reverse=True):
            self.assertTrue(wire.command(b"DELETE " + literal(b"odd/" + name)).startswith(b"t OK"), name)

    def test_administrators_names(self) -> None:
        """Abuse case 18: an administrator makes users' mailboxes, and these stay in the spool, too."""
        wire = self.user(role="admin")
        before = self.paths()
        for name in (b"..", b"...", b"../..", b"x/..", b"x//y", b"", b"x\0", b"&AC8-", b"x@../..", b"x@a/b"):
            answer = wire.command(b"CREATE " + literal(b"user/" + name))
            self.assertRegex(answer, rb"^t (NO|BAD) ", name)
        for name in (b"-x", b".x", b"a^b", b"%2f", b"~root", b"x@example.com"):
            if wire.command(b"CREATE " + literal(b"user/" + name)).startswith(b"t OK"):
                wire.command(b"DELETE " + literal(b"user/" + name))
        self.assertEqual(self.paths(), before)


class LinkTests(AbuseCase):
    """Symbolic links in the spool: put there by whoever could, they lead nowhere."""

    SECRET = b"Subject: of somebody else\r\n\r\nsecret octets\r\n"

    def setUp(self) -> None:
        super().setUp()
        self.outside = Path(self.mktemp()).absolute()
        self.outside.mkdir()
        self.secret = self.outside / "secret"
        self.secret.write_bytes(self.SECRET)
        self.wire = self.user()
        # A box of its own for each test.
        self.box = self._testMethodName.encode()
        for name in (self.box, self.box + b"/child"):
            answer = self.wire.command(b"CREATE " + name)
            self.assertTrue(answer.startswith(b"t OK"), answer)
            self.wire.command(b"APPEND %b {14+}\r\nSubject: x\r\n\r\n" % name)
        self.place = self.server.home / "spool" / "user" / "user" / self._testMethodName
        self.assertTrue((self.place / "1.").is_file())

    def tearDown(self) -> None:
        self.assertEqual(self.secret.read_bytes(), self.SECRET)
        self.assertEqual([path.name for path in self.outside.iterdir()], ["secret"])
        super().tearDown()

    def look(self) -> bytes:
        """All that a client may see of the mailbox."""
        wire = self.user()
        wire.send(b"t SELECT %b\r\nt UID FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE BODY[] BODY[TEXT])\r\n" % self.box)
        wire.send(b"t UID FETCH 1:* (BODY.PEEK[])\r\nt SEARCH TEXT secret\r\nt COPY 1 INBOX\r\n")
        return b"".join(b"".join(wire.until(b"t ")) for _ in range(5))

    def test_of_a_message(self) -> None:
        """Abuse case 19: a link in place of a message is not followed."""
        os.unlink(self.place / "1.")
        (self.place / "1.").symlink_to(self.secret)
        self.assertNotIn(b"secret octets", self.look())

    def test_of_a_mailbox_s_own_files(self) -> None:
        """Abuse case 19: nor are links in place of journal, cache and header read, or written through."""
        for path in sorted(self.place.iterdir()):
            if path.is_file():
                path.unlink()
                path.symlink_to(self.secret)
        self.assertNotIn(b"secret octets", self.look())
        self.wire.command(b"APPEND %b {14+}\r\nSubject: x\r\n\r\n" % self.box)
        self.wire.command(b"DELETE %b/child" % self.box)
        self.wire.command(b"DELETE %b" % self.box)
        # Whatever became of it, it keeps nobody from changing others.
        self.assertTrue(self.wire.command(b"CREATE %b-after" % self.box).startswith(b"t OK"))

    def test_where_a_mailbox_shall_be(self) -> None:
        """Abuse case 19: nothing is written through a link in place of a directory to be made."""
        (self.place / "trap").symlink_to(self.outside)
        self.wire.command(b"CREATE %b/trap" % self.box)
        self.wire.command(b"APPEND %b/trap {14+}\r\nSubject: x\r\n\r\n" % self.box)
        self.wire.command(b"RENAME %b/child %b/trap" % (self.box, self.box))

    def test_dangling(self) -> None:
        """Abuse case 19: nor is anything made through one that points to nothing yet."""
        (self.place / "2.").symlink_to(self.outside / "new")
        (self.place / "trap").symlink_to(self.outside / "new")
        self.wire.command(b"APPEND %b {14+}\r\nSubject: x\r\n\r\n" % self.box)
        self.wire.command(b"CREATE %b/trap" % self.box)
        self.wire.command(b"CREATE %b/trap/deep" % self.box)
