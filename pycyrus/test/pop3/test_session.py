"""What conversations do not show: time, limits, slow readers, rubbish."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError
from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import Acl
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.pop3 import replies
from pycyrus.pop3.commands import ROWS
from pycyrus.test.pop3.driver import MESSAGES, Line, Server


def subclasses(kind: type[MailStoreError]) -> list[type[MailStoreError]]:
    return [kind, *(each for below in kind.__subclasses__() for each in subclasses(below))]


class SessionCase(SynchronousTestCase):
    def server(self, **settings: object) -> Server:
        server = Server(**settings)  # type: ignore[arg-type] # by name
        self.successResultOf(Deferred.fromCoroutine(server.fill()))
        return server

    def logged_in(self, server: Server) -> Line:
        line = server.connect()
        line.send(b"USER alice\r\nPASS secret\r\n")
        self.assertIn(b"locked and ready", line.read())
        return line


class TimeTests(SessionCase):
    def test_silence(self) -> None:
        """After ten minutes the session ends, and what was marked stays."""
        server = self.server(timeout=1.0)
        line = self.logged_in(server)
        line.send(b"DELE 1\r\n")
        server.clock.advance(599)
        self.assertFalse(line.is_closed)
        server.clock.advance(2)
        self.assertTrue(line.is_closed)
        # Without a word (RFC 1939 section 3).
        self.assertTrue(line.read().endswith(b"+OK message deleted\r\n"))
        again = self.logged_in(server)
        again.send(b"STAT\r\n")
        self.assertEqual(again.read(), b"+OK 3 99\r\n")

    def test_login(self) -> None:
        """Whoever does not log in must go, however much is said."""
        line = self.server().connect()
        server = line._server
        for _ in range(6):
            server.clock.advance(9)
            line.send(b"USER a\r\n")
        server.clock.advance(9)
        self.assertTrue(line.is_closed)

    def test_passwords_in_the_open_take_longer(self) -> None:
        """C{plaintextloginpause}."""
        server = self.server(plaintext_pause=3.0)
        line = server.connect()
        line.send(b"USER alice\r\nPASS secret\r\n")
        server.clock.advance(2.9)
        self.assertNotIn(b"locked and ready", line.read())
        server.clock.advance(0.2)
        self.assertIn(b"locked and ready", line.read())


class LimitTests(SessionCase):
    def test_long_line(self) -> None:
        """A line without an end is not kept."""
        line = self.server().connect()
        line.read()
        line.send(b"USER " + b"x" * 600)
        self.assertEqual(line.read(), replies.LINE_TOO_LONG + b"\r\n")
        self.assertTrue(line.is_closed)

    def test_room_for_tokens(self) -> None:
        """An AUTH with its initial response may be long, though not without end."""
        line = self.server().connect()
        line.read()
        line.send(b"auth PLAIN " + b64encode(b"\0alice\0" + b"x" * 8000) + b"\r\n")
        self.assertTrue(line.read().startswith(b"-ERR [AUTH]"))
        self.assertFalse(line.is_closed)
        line.send(b"AUTH PLAIN " + b"A" * 17_000)
        self.assertEqual(line.read(), replies.LINE_TOO_LONG + b"\r\n")

    def test_guessing(self) -> None:
        """Passwords cannot be tried for ever on one connection."""
        line = self.server(max_errors=3).connect()
        for _ in range(10):
            if not line.is_closed:
                line.send(b"USER alice\r\nPASS guess\r\n")
        self.assertEqual(line.read().count(b"Invalid login"), 4)
        self.assertTrue(line.is_closed)

    def test_pipelining(self) -> None:
        """Many commands in a packet are answered in their order (RFC 2449 section 6.6)."""
        line = self.logged_in(self.server())
        line.send(b"NOOP\r\nSTAT\r\n" * 500)
        line._server.clock.pump([0.0] * 20)
        self.assertEqual(line.read(), b"+OK\r\n+OK 3 99\r\n" * 500)

    def test_slow_reader(self) -> None:
        """A large message is sent as the client reads it."""
        server = self.server()
        identity = Identity("bob")

        async def fill() -> None:
            mailbox = await server.store.open(identity, inbox_of(identity), "i")
            staged = await server.store.stage(identity, inbox_of(identity))
            staged.write(b"Subject: large\r\n\r\n" + b".line\r\n" * 200_000)
            staged.finish()
            await mailbox.append([NewMessage(staged)])

        self.successResultOf(Deferred.fromCoroutine(fill()))
        line = server.connect()
        line.send(b"USER bob\r\nPASS secret\r\n")
        line.read()
        line.protocol.pauseProducing()
        line.send(b"RETR 1\r\n")
        self.assertLess(len(line.transport.value()), 200_000)
        heard = b""
        while not heard.endswith(b"\r\n.\r\n"):
            line.protocol.resumeProducing()
            heard += line.transport.value()
            line.transport.clear()
        self.assertEqual(heard.count(b"\r\n..line"), 200_000)


class MailboxTests(SessionCase):
    def test_what_others_do(self) -> None:
        """New messages are not seen, and numbers stay as they were."""
        server = self.server()
        line = self.logged_in(server)
        self.successResultOf(Deferred.fromCoroutine(server.fill()))
        line.send(b"STAT\r\nLIST 4\r\n")
        self.assertEqual(line.read(), b"+OK 3 99\r\n-ERR No such message\r\n")

    def test_imap_flags(self) -> None:
        r"""Messages with C{\Deleted} are hidden, and those retrieved become C{\Seen}."""
        server = self.server(uses_imap_flags=True)
        line = self.logged_in(server)
        line.send(b"RETR 2\r\nQUIT\r\n")
        identity = Identity("alice")
        mailbox = self.successResultOf(Deferred.fromCoroutine(server.store.open(identity, inbox_of(identity), "r")))
        self.assertEqual([bool(flags & 16) or bool(flags) for flags in mailbox.view().flags], [False, True, False])

    def test_rights(self) -> None:
        """They count with C{popuseacl} only; without it the maildrop is its owner's."""
        inbox = inbox_of(Identity("alice"))
        for uses_acl, rights, answers, left in (
            (False, "lr", [b"+OK message deleted", b"+OK"], 2),
            (True, "lrt", [b"-ERR [SYS/PERM] Permission denied", b"+OK"], 3),
            (True, "lrte", [b"+OK message deleted", b"+OK"], 2),
        ):
            server = self.server(uses_acl=uses_acl, uses_imap_flags=True)
            server.store.states[inbox].acl = Acl((("alice", frozenset(rights)),))
            line = self.logged_in(server)
            line.send(b"RETR 2\r\n")
            line.read()
            line.send(b"DELE 1\r\nQUIT\r\n")
            self.assertEqual(line.read().split(b"\r\n")[:-1], answers)
            self.assertEqual(len(server.store.states[inbox].messages), left)
            self.assertEqual(any(message.flags for message in server.store.states[inbox].messages), not uses_acl)

    def test_show_after(self) -> None:
        """Messages that came before a date are not there; what is no date hides nothing."""
        server = self.server()
        inbox = inbox_of(Identity("alice"))
        for value, count in ((b" 1-Jan-2100 00:00:00 +0000", 0), (b"1-Jan-2000 00:00:00 +0100", 3), (b"whenever", 3)):
            server.store.annotated[inbox] = {"/shared/vendor/cmu/cyrus-imapd/pop3showafter": value}
            line = self.logged_in(server)
            line.send(b"STAT\r\nQUIT\r\n")
            self.assertTrue(line.read().startswith(b"+OK %d " % count), value)


class ReplyTests(SynchronousTestCase):
    def test_every_error_has_a_row(self) -> None:
        known = [each for each in subclasses(MailStoreError) if each.__module__ == MailStoreError.__module__]
        self.assertEqual([each for each in known if each not in replies.REPLIES], [])


WORDS = st.sampled_from(
    [*ROWS, b"1", b"2", b"99999999999", b"-1", b"alice", b"secret", b"\xff\x00", b"PLAIN", b"*", b""]
)


class FuzzTests(SessionCase):
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(st.lists(WORDS, max_size=4).map(b" ".join) | st.binary(max_size=40), max_size=12), st.booleans())
    def test_every_line_is_answered(self, lines: list[bytes], is_logged_in: bool) -> None:
        """Whatever is said, each line has an answer that begins as it must, and nothing breaks."""
        server = self.server(max_errors=1000)
        line = self.logged_in(server) if is_logged_in else server.connect()
        line.read()
        for each in lines:
            line.send(each.replace(b"\n", b"") + b"\r\n")
            heard = line.read()
            if line.is_closed:
                break
            self.assertRegex(heard, rb"\A(\+OK|-ERR|\+ )")
            self.assertTrue(heard.endswith(b"\r\n"))
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(len(MESSAGES), 3)
