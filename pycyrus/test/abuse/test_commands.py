"""Commands that are not for everybody, that cost much, or that say what no client would."""

from __future__ import annotations

import zlib

from pycyrus.test.abuse.case import AbuseCase, Wire

MEGABYTE = 1 << 20


class AdministratorTests(AbuseCase):
    """What only administrators and other servers may."""

    def test_by_an_ordinary_user(self) -> None:
        """Abuse case 24: all is refused, and the session goes on; nothing was changed."""
        wire, admin = self.user(), self.user(role="admin")
        login = self.server.account("user")
        inbox = f"user/{login.user}".encode()
        before = self._facts(admin, inbox)
        for command in (
            b"LOCALCREATE user/evil",
            b"LOCALDELETE INBOX",
            b"MUPDATEPUSH INBOX",
            b"XFER INBOX localhost",
            b"DUMP INBOX 1",
            b"UNDUMP INBOX 1",
            b"SYNCAPPLY MAILBOX x",
            b"SYNCRESTORE x",
            b"XKILLMY x",
            b"XFOREVER",
            b"SETQUOTA INBOX (STORAGE 1)",
            b"SETQUOTA %b (STORAGE 1)" % inbox,
            b'SETMETADATA "" (/shared/motd "read me")',
            b'SETMETADATA "" (/shared/vendor/cmu/cyrus-imapd/shutdown "now")',
            b'SETMETADATA "" (/shared/comment "mine")',
            b"CREATE evil other-partition",
            b"RENAME INBOX INBOX default",
            b"DELETE INBOX",
            b'RENAME INBOX "Other Users/admin"',
            b'DELETE "DELETED/%b/x"' % inbox,
        ):
            answer = wire.command(command)
            self.assertTrue(answer.startswith((b"t NO", b"t BAD")), (command, answer))
        self.assertEqual(self._facts(admin, inbox), before)
        for command in (b"RECONSTRUCT INBOX", b"GETQUOTA user/other", b'LIST "" DELETED/*'):
            wire.send(b"t %b\r\n" % command)
            lines = wire.until(b"t ")
            self.assertEqual([line for line in lines if line.startswith(b"* LIST")], [], command)

    def _facts(self, admin: Wire, inbox: bytes) -> list[list[bytes]]:
        facts = []
        for command in (
            b'LIST "" *',
            b"GETQUOTAROOT " + inbox,
            b"GETACL " + inbox,
            b'GETMETADATA "" (/shared/motd /shared/comment)',
        ):
            admin.send(b"t %b\r\n" % command)
            facts.append(admin.until(b"t ")[:-1])
        return facts


class CostTests(AbuseCase):
    """Little to send, much to do."""

    def test_patterns(self) -> None:
        """Abuse case 29: LIST and LSUB match in linear time, whatever the pattern."""
        wire = self.user()
        for number in range(20):
            wire.command(b"CREATE %b/%b%d" % (b"a" * 60, b"ab" * 40, number))
        with self.others_served():
            for pattern in (
                b"*%" * 400 + b"z",
                b"*a" * 400 + b"z",
                b"%a%b" * 200 + b"z",
                b"%/%/" * 200,
                b"*" * 900,
            ):
                for command in (b"LIST", b"LSUB"):
                    answer = wire.command(b'%b "" "%b"' % (command, pattern))
                    self.assertTrue(answer.startswith((b"t OK", b"t NO", b"t BAD")), answer)
        self.assertTrue(wire.command(b'LIST "" (%b)' % b" ".join([b'"*a*b"'] * 900)).startswith((b"t OK", b"t BAD")))

    def test_compressed(self) -> None:
        """Abuse case 32: what little grows to is bounded as if it had been sent, and so is what is kept of it."""
        for text, times in (
            (b"t SEARCH " + b"x" * MEGABYTE, 20),
            (b"t APPEND INBOX {900000000+}\r\n" + b"x" * MEGABYTE, 20),
            (b"t LOGIN " + b"(" * MEGABYTE, 20),
            (b"t NOOP\r\n" * (MEGABYTE // 32), 1),
        ):
            wire = self.user()
            self.assertTrue(wire.command(b"COMPRESS DEFLATE").startswith(b"t OK"))
            deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
            pieces = [deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH) for _ in range(times)]
            with self.bounded_memory(30 * MEGABYTE), self.others_served():
                sender = wire.send_aside(b"".join(pieces) + deflate.compress(b"\r\nu LOGOUT\r\n") + deflate.flush())
                wire.rest()
                sender.join()
            wire.close()

    def test_compression_before_the_login(self) -> None:
        """Abuse case 32: nothing is compressed together with a password."""
        wire = self.connect()
        self.assertTrue(wire.command(b"COMPRESS DEFLATE").startswith(b"t BAD"))

    def test_names_without_number(self) -> None:
        """Abuse case 33: keywords of a mailbox, annotations and subscriptions of a user have a highest number."""
        wire = self.user()
        wire.command(b"CREATE names")
        wire.command(b"APPEND names {8+}\r\na: b\r\n\r\n")
        wire.command(b"SELECT names")
        answers = [wire.command(b"STORE 1 +FLAGS (%b)" % self._words(b"k%d", start)) for start in range(0, 400, 50)]
        self.assertTrue(answers[0].startswith(b"t OK"), answers)
        self.assertTrue(answers[-1].startswith(b"t NO"), answers)
        self.assertTrue(wire.command(b"STORE 1 +FLAGS (%b)" % (b"k" * 5000)).startswith((b"t NO", b"t BAD")))
        for number in range(200):
            wire.command(b'SETMETADATA names (/private/vendor/x/%d "v")' % number)
        self.assertTrue(wire.command(b'SETMETADATA names (/private/comment "v")').startswith(b"t OK"))
        self.assertTrue(wire.command(b"SUBSCRIBE " + b"s" * 5000).startswith((b"t NO", b"t BAD")))
        self.assertTrue(wire.command(b"DELETE names").startswith(b"t OK"))

    def _words(self, form: bytes, start: int) -> bytes:
        return b" ".join(form % number for number in range(start, start + 50))


class LogTests(AbuseCase):
    """What a client says must not be told by the log as if the server said it."""

    def test_one_line_each(self) -> None:
        """Abuse case 41: names, fields of ID and subjects come without control characters, secrets not at all."""
        wire = self.connect()
        evil = b"x\r\n2026-01-01T00:00:00+0000 [forged] accepted\x1b[2J\x07"
        literal = b"{%d+}\r\n%b" % (len(evil), evil)
        login = self.server.account("user")
        wire.command(b"ID (%b %b)" % (literal, literal))
        wire.command(b'LOGIN %b "hidden-secret-1"' % literal)
        wire.command(f"LOGIN {login.user} hidden-secret-2".encode())
        wire.command(f"LOGIN {login.user} {login.password}".encode())
        for command in (b"CREATE", b"SELECT", b"DELETE", b"SUBSCRIBE", b"GETQUOTA", b"GETACL", evil.split()[0]):
            wire.command(b"%b %b" % (command, literal))
        wire.command(b"SETMETADATA INBOX (/private/comment %b)" % literal)
        self.deliver(b"From: a@b\r\nSubject: \x1b[2J\x07 forged\r\nMessage-ID: <\x1b[2J@x>\r\n\r\nhidden-secret-3\r\n")
        log = self.server.log.read_bytes()
        self.assertNotIn(b"\n2026-01-01T00:00:00+0000 [forged]", log)
        self.assertNotIn(b"\x1b", log)
        self.assertNotIn(b"\x07", log)
        self.assertNotIn(b"hidden-secret", log)
        self.assertNotIn(login.password.encode(), log.split(b"Everything is in")[-1])


class DateTests(AbuseCase):
    """Times of other centuries."""

    def test_dates(self) -> None:
        """Abuse case 44: any date there can be is kept to the second and found again; others are refused."""
        wire = self.user()
        wire.command(b"CREATE dates")
        kept = (
            (b" 1-Jan-1900 00:00:00 +0000", b" 1-Jan-1900 00:00:00 +0000"),
            (b"31-Dec-1969 23:59:59 -1200", b" 1-Jan-1970 11:59:59 +0000"),
            (b"29-Feb-2024 23:30:00 -0100", b" 1-Mar-2024 00:30:00 +0000"),
            (b"29-Feb-2000 00:00:00 +1400", b"28-Feb-2000 10:00:00 +0000"),
            (b"19-Jan-2038 03:14:08 +0000", b"19-Jan-2038 03:14:08 +0000"),
            (b"31-Dec-9999 23:59:59 +0000", b"31-Dec-9999 23:59:59 +0000"),
        )
        for given, _told in kept:
            self.assertTrue(wire.command(b'APPEND dates "%b" {8+}\r\na: b\r\n\r\n' % given).startswith(b"t OK"), given)
        for wrong in (
            b"29-Feb-2023 00:00:00 +0000",
            b"31-Apr-2024 00:00:00 +0000",
            b" 1-Jan-2024 24:00:00 +0000",
            b" 1-Jan-2024 00:00:00 +9999",
            b" 1-Jan-0000 00:00:00 +0000",
            b" 1-Jan-10000 00:00:00 +0000",
        ):
            self.assertTrue(wire.command(b'APPEND dates "%b" {8+}\r\na: b\r\n\r\n' % wrong).startswith(b"t BAD"), wrong)
        wire.command(b"SELECT dates")
        wire.send(b"t FETCH 1:* INTERNALDATE\r\n")
        lines = wire.until(b"t ")
        self.assertEqual([line.split(b'"')[1] for line in lines[:-1]], [told for _, told in kept])
        wire.send(b"t SEARCH BEFORE 1-Jan-1970\r\n")
        self.assertEqual(wire.until(b"t ")[0], b"* SEARCH 1")
        wire.send(b"t SORT (REVERSE ARRIVAL) UTF-8 SINCE 1-Jan-2030\r\n")
        self.assertEqual(wire.until(b"t ")[0], b"* SORT 6 5")
        for field in (b"Fri, 31 Dec 9999 23:59:59 +9999", b"Mon, 0 Jan 0000 99:99:99 -9999", b"29 Feb 1900 00:00 EST"):
            text = b"Date: %b\r\n\r\nx\r\n" % field
            self.assertTrue(wire.command(b"APPEND dates {%d+}\r\n%b" % (len(text), text)).startswith(b"t OK"), field)
        self.assertTrue(wire.command(b"SORT (DATE) UTF-8 SENTSINCE 1-Jan-1990").startswith(b"t OK"))
        self.assertTrue(wire.command(b"DELETE dates").startswith(b"t OK"))
