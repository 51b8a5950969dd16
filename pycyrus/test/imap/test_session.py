"""A session as its client sees it, apart from mailboxes: order, limits, time, failures."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pycyrus.errors import AuthenticationUnavailable, LimitExceeded, StoreFull, StoreUnavailable
from pycyrus.imap.command_log import CommandLog
from pycyrus.imap.commands import table
from pycyrus.imap.commands.command import ANY, Command, Seqs
from pycyrus.imap.session import Session
from pycyrus.imap.settings import ImapSettings, ServerInfo
from pycyrus.imap.wire.frames import FrameLimits
from pycyrus.interfaces import Authenticated, Channel, IStaged
from pycyrus.net.limits import ConnectionLimits, LimitSettings
from pycyrus.testing.imap import Client, EmptyStore, FixedAuthenticator, ImapServer

CAPABILITY = (
    b"[CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE CREATE-SPECIAL-USE LIST-EXTENDED METADATA SPECIAL-USE "
)


class SlowAuthenticator(FixedAuthenticator):
    """Answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Deferred[None]] = []
        self.cancelled: list[bytes] = []

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        asked: Deferred[None] = Deferred(lambda deferred: self.cancelled.append(user))
        self.asked.append(asked)
        await asked
        return await super().login(user, password, channel)


@implementer(IStaged)
class Staged:
    """A message that is not kept."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.size = 0
        self.octets = b""
        self.is_discarded = False
        self._failure = failure

    def write(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        self.octets += data

    async def ready(self) -> None:
        pass

    def finish(self, *, is_shared: bool = False) -> None:
        pass

    def read(self, offset: int, length: int) -> bytes:
        return self.octets[offset : offset + length]

    def discard(self) -> None:
        self.is_discarded = True


class StagingStore(EmptyStore):
    """Stages messages, and has no mailbox to put them in."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.staged: list[Staged] = []

    async def stage(self, identity: object, name: object) -> Any:
        message = Staged(self.failure)
        self.staged.append(message)
        return message


class SessionCase(SynchronousTestCase):
    """Has servers, and clients that were greeted."""

    def server(self, settings: ImapSettings = ImapSettings(), **parts: Any) -> ImapServer:  # noqa: B008 - frozen
        server = ImapServer(settings, **parts)
        self.addCleanup(server.close)
        return server

    def client(self, settings: ImapSettings = ImapSettings(), **parts: Any) -> Client:  # noqa: B008 - frozen
        client = self.server(settings, **parts).connect()
        client.receive()
        return client

    def user(self, settings: ImapSettings = ImapSettings(), **parts: Any) -> Client:  # noqa: B008 - frozen
        client = self.client(settings, **parts)
        client.send(b"l LOGIN alice secret\r\n")
        self.assertTrue(client.receive().startswith(b"l OK"))
        return client

    def command(self, function: Any, name: bytes = b"XTEST") -> None:
        """Add a command for the time of the test."""
        row = Command(name, ANY, None, function, Seqs.NONE)
        for rows in (table.NOT_AUTHENTICATED_COMMANDS, table.AUTHENTICATED_COMMANDS, table.KNOWN_COMMANDS):
            self.patch(table, "COMMANDS", (*table.COMMANDS, row))
            rows[name] = row
            self.addCleanup(rows.pop, name)


class GreetingTests(SessionCase):
    """The first line, by C{serverinfo}."""

    def greeting(self, **options: Any) -> bytes:
        return self.server(ImapSettings(server_name="mail.example", **options)).connect().receive()

    def test_texts(self) -> None:
        self.assertRegex(
            self.greeting(), rb"^\* OK \[CAPABILITY .*\] mail\.example Cyrus IMAP 3\.6\.7-\S+ server ready\r\n$"
        )
        self.assertTrue(self.greeting(server_info=ServerInfo.MINIMAL).endswith(b"] mail.example server ready\r\n"))
        self.assertTrue(self.greeting(server_info=ServerInfo.OFF).endswith(b"] server ready\r\n"))

    def test_capabilities_follow_the_channel(self) -> None:
        tls = self.server(authenticator=FixedAuthenticator(plaintext=False), tls=object()).connect()
        self.assertIn(CAPABILITY + b"STARTTLS LOGINDISABLED] ", tls.receive())
        plain = self.server().connect()
        self.assertIn(CAPABILITY + b"AUTH=PLAIN SASL-IR] ", plain.receive())

    def test_suppressed_capabilities(self) -> None:
        self.assertNotIn(b"IMAP4rev2", self.greeting(suppressed_capabilities=frozenset({"imap4REV2"})))

    def test_a_server_of_a_murder(self) -> None:
        """Frontends of Cyrus's look whether a backend has a directory."""
        self.assertIn(b" ENABLE MUPDATE=mupdate://m.example:3905/ ", self.greeting(mupdate_server="m.example:3905"))

    def test_literal_minus(self) -> None:
        self.assertIn(b" LITERAL- ", self.greeting(is_literal_minus=True))

    def test_too_many_connections(self) -> None:
        limits = ConnectionLimits(LimitSettings(per_address=1))
        server = self.server(limits=limits)
        first, second = server.connect(), server.connect()
        self.assertTrue(first.receive().startswith(b"* OK "))
        self.assertEqual(second.receive(), b"* BYE Too many open connections from your address\r\n")
        self.assertTrue(second.is_closed)
        first.drop()
        self.assertEqual(limits.total, 0)
        self.assertTrue(server.connect().receive().startswith(b"* OK "))


class DispatchTests(SessionCase):
    """Which commands there are, when."""

    def answer(self, client: Client, command: bytes) -> bytes:
        client.send(command + b"\r\n")
        return client.receive()

    def test_before_login(self) -> None:
        client = self.client()
        self.assertEqual(self.answer(client, b"a1 XYZZY"), b"a1 BAD Unrecognized command\r\n")
        self.assertEqual(self.answer(client, b"a2 ENABLE CONDSTORE"), b"a2 BAD Please login first\r\n")
        self.assertEqual(self.answer(client, b"a3 CHECK"), b"a3 BAD Please login first\r\n")
        self.assertEqual(self.answer(client, b"a4 NOOP x"), b"a4 BAD Unexpected extra arguments to Noop\r\n")
        self.assertEqual(self.answer(client, b"a5"), b"a5 BAD Null command\r\n")
        self.assertEqual(self.answer(client, b""), b"* BAD Invalid tag\r\n")
        self.assertEqual(self.answer(client, b"a6 LOGIN"), b"a6 BAD Missing required argument to Login\r\n")
        self.assertEqual(self.answer(client, b"a7 LOGIN a b c"), b"a7 BAD Unexpected extra arguments to Login\r\n")

    def test_after_login(self) -> None:
        client = self.user()
        self.assertEqual(self.answer(client, b"a1 LOGIN alice secret"), b"a1 BAD Already logged in\r\n")
        self.assertEqual(self.answer(client, b"a2 STARTTLS"), b"a2 BAD Already logged in\r\n")
        self.assertEqual(self.answer(client, b"a3 CHECK"), b"a3 BAD Please select a mailbox first\r\n")
        self.assertEqual(self.answer(client, b"a4 noop"), b"a4 OK Completed\r\n")

    def test_a_literal_for_a_command_that_is_none(self) -> None:
        client = self.client()
        self.assertEqual(self.answer(client, b"a1 XYZZY {5}"), b"a1 BAD Unrecognized command\r\n")
        self.assertEqual(self.answer(client, b"a2 NOOP {5}"), b"a2 BAD Unexpected extra arguments to Noop\r\n")
        self.assertEqual(self.answer(client, b"a3 ENABLE {5}"), b"a3 BAD Please login first\r\n")

    def test_pipelined_answers_leave_together(self) -> None:
        client = self.client()
        writes: list[bytes] = []
        self.patch(client.transport, "write", writes.append)
        client.send(b"".join(b"a%d NOOP\r\n" % i for i in range(50)))
        self.assertEqual(writes, [b"".join(b"a%d OK Completed\r\n" % i for i in range(50))])

    def test_very_long_pipelines_let_others_run(self) -> None:
        client = self.user()
        client.protocol.dataReceived(b"a NOOP\r\n" * 1000)
        self.assertTrue(0 < client.pending().count(b"\r\n") < 1000)
        self.assertTrue(client.transport.is_paused)
        for _ in range(20):
            client.settle()
        self.assertEqual(client.receive(), b"a OK Completed\r\n" * 1000)
        self.assertFalse(client.transport.is_paused)


class RefusalTests(SessionCase):
    """What configuration does not let anybody do."""

    def test_texts_of_cyrus(self) -> None:
        read_only = ImapSettings(is_read_only=True)
        fixed = ImapSettings(is_setacl_allowed=False)
        for settings, command, answer in (
            (read_only, b"CREATE x", b"NO [NOPERM] This connection is configured for read-only access"),
            (read_only, b"EXPUNGE", b"BAD Please select a mailbox first"),
            (fixed, b"SETACL INBOX fred lr", b"NO Command is disabled by configuration"),
            (ImapSettings(), b'SETACL INBOX "" lr', b"BAD Invalid identifier in Setacl"),
            (ImapSettings(), b"CREATE x (SERVER other.example)", b"NO [CANNOT] Invalid server requested"),
            (ImapSettings(), b"CREATE x (TYPE CALENDAR)", b"NO [CANNOT] Invalid mailbox type"),
        ):
            client = self.user(settings)
            client.send(b"a1 " + command + b"\r\n")
            self.assertEqual(client.receive(), b"a1 " + answer + b"\r\n")


class OrderTests(SessionCase):
    """Commands run one after another."""

    def test_what_follows_waits(self) -> None:
        authenticator = SlowAuthenticator()
        client = self.client(authenticator=authenticator)
        client.send(b"a1 LOGIN alice secret\r\na2 NOOP\r\na3 LOGIN alice secret\r\n")
        client.send(b"a4 NOOP\r\n")
        self.assertEqual(client.receive(), b"")
        authenticator.asked[0].callback(None)
        client.settle()
        self.assertRegex(
            client.receive(),
            rb"^a1 OK .*\r\na2 OK Completed\r\na3 BAD Already logged in\r\na4 OK Completed\r\n$",
        )

    def test_much_that_follows_pauses_the_transport(self) -> None:
        authenticator = SlowAuthenticator()
        client = self.client(authenticator=authenticator)
        client.send(b"a1 LOGIN alice secret\r\n")
        for _ in range(3):
            client.send(b"a2 NOOP\r\n" * 1000)
        self.assertTrue(client.transport.is_paused)
        authenticator.asked[0].callback(None)
        for _ in range(50):
            client.settle()
        self.assertFalse(client.transport.is_paused)
        self.assertEqual(client.receive().count(b"a2 OK"), 3000)

    def test_a_lost_connection_ends_what_runs(self) -> None:
        authenticator = SlowAuthenticator()
        client = self.client(authenticator=authenticator)
        client.send(b"a1 LOGIN alice secret\r\n")
        client.drop()
        self.assertEqual(authenticator.cancelled, [b"alice"])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_cancelled_from_below(self) -> None:
        authenticator = SlowAuthenticator()
        client = self.client(authenticator=authenticator)
        client.send(b"a1 LOGIN alice secret\r\n")
        authenticator.asked[0].cancel()
        client.settle()
        self.assertEqual(client.receive(), b"* BYE Fatal error: Command was interrupted\r\n")
        self.assertTrue(client.is_closed)

    def test_a_slow_reader_stops_the_pipeline(self) -> None:
        client = self.user()
        client.transport.window = 1000
        for _ in range(100):
            client.send(b"a CAPABILITY\r\n" * 100)
        self.assertLess(len(client.pending()), 100_000)
        self.assertTrue(client.transport.is_paused)
        heard = 0
        for _ in range(1000):
            heard += client.receive().count(b"a OK")
            client.settle()
        self.assertEqual(heard, 10_000)

    def test_drain_waits_for_the_reader(self) -> None:
        steps: list[int] = []

        async def talk(session: Session, arguments: None) -> None:
            for step in range(5):
                session.write(b"* OK " + b"x" * 70_000 + b"\r\n")
                await session.drain()
                steps.append(step)

        self.command(talk)
        client = self.client()
        client.transport.window = 100_000
        client.send(b"a1 XTEST\r\n")
        self.assertEqual(steps, [0])
        while not client.receive().endswith(b"a1 OK Completed\r\n"):
            pass
        self.assertEqual(steps, [0, 1, 2, 3, 4])

    def test_pause_lets_time_pass(self) -> None:
        async def work(session: Session, arguments: None) -> None:
            await session.pause()

        self.command(work)
        client = self.client()
        client.protocol.dataReceived(b"a1 XTEST\r\n")
        self.assertEqual(client.pending(), b"")
        client.settle()
        self.assertEqual(client.receive(), b"a1 OK Completed\r\n")

    def test_many_pipelines_leave_the_others_their_turn(self) -> None:
        """However many send commands without an end: what is done between two looks at the network is little."""
        server = self.server()
        clock = server.clock

        async def work(session: Session, arguments: None) -> None:
            clock.rightNow += 0.001

        self.command(work)
        clients = [server.connect() for _ in range(50)]
        begun = clock.seconds()
        for client in clients:
            client.receive()
            client.protocol.dataReceived(b"a XTEST\r\n" * 100)
        self.assertLess(clock.seconds() - begun, 0.060)
        served = [client.receive().count(b"a OK") for client in clients]
        while sum(served) < 5000:
            begun = clock.seconds()
            # What the reactor does between two looks.
            due, clock.calls = [call for call in clock.calls if call.getTime() <= begun], clock.calls
            for call in due:
                clock.calls.remove(call)
                call.func(*call.args)
            self.assertLess(clock.seconds() - begun, 0.010)
            for number, client in enumerate(clients):
                served[number] += client.receive().count(b"a OK")
            self.assertLessEqual(max(served) - min(served), 3)
        self.assertEqual(served, [100] * 50)

    def test_who_waits_for_octets_is_sent_them(self) -> None:
        """A command that has a part of what it needs goes on reading, however long it took to come so far."""
        server = self.server()

        async def work(session: Session, arguments: None) -> None:
            server.clock.rightNow += 0.01
            await session.read_line()

        self.command(work)
        client = server.connect()
        client.receive()
        client.send(b"a XTEST\r\nhalf a")
        client.settle()
        self.assertFalse(client.transport.is_paused)
        client.send(b" line\r\n")
        self.assertEqual(client.receive(), b"a OK Completed\r\n")


class FailureTests(SessionCase):
    """What a client sees when something breaks."""

    def test_a_bug(self) -> None:
        async def crash(session: Session, arguments: None) -> None:
            session.write(b"* OK half\r\n")
            raise ZeroDivisionError("secret detail")

        self.command(crash)
        client = self.client()
        client.send(b"a1 XTEST\r\na2 NOOP\r\n")
        self.assertEqual(client.receive(), b"* OK half\r\n* BYE Fatal error: Internal error\r\n")
        self.assertTrue(client.is_closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_store_that_fails(self) -> None:
        async def fail(session: Session, arguments: None) -> None:
            raise StoreUnavailable("/dev/sda1 is on fire")

        self.command(fail)
        client = self.client()
        with capturedLogs() as events:
            client.send(b"a1 XTEST\r\na2 NOOP\r\n")
        self.assertEqual(client.receive(), b"a1 NO [UNAVAILABLE] System I/O error\r\na2 OK Completed\r\n")
        self.assertIn("on fire", str(events))

    def test_limits_tell_their_reason(self) -> None:
        async def fail(session: Session, arguments: None) -> None:
            raise LimitExceeded("Too much")

        self.command(fail)
        client = self.client()
        client.send(b"a1 XTEST\r\n")
        self.assertEqual(client.receive(), b"a1 NO [LIMIT] Too much\r\n")


class LoginTests(SessionCase):
    """LOGIN, its log lines and its limits; AUTHENTICATE is in the conversations."""

    def test_success(self) -> None:
        client = self.client()
        with capturedLogs() as events:
            client.send(b'a1 LOGIN "alice" {6+}\r\nsecret\r\n')
        self.assertRegex(
            client.receive(),
            rb"^a1 OK \[CAPABILITY IMAP4rev1 .*IDLE APPENDLIMIT\] User logged in SESSIONID=<[^ >]+>\r\n$",
        )
        (event,) = events
        self.assertEqual(event["log_format"][:6], "login:")
        self.assertEqual((event["peer"], event["user"], event["mechanism"]), ("127.0.0.1", "alice", "plaintext"))

    def test_failures_look_alike_and_the_log_is_the_authenticators(self) -> None:
        client = self.client()
        with capturedLogs() as events:
            client.send(b"a1 LOGIN alice hunter2\r\na2 LOGIN nobody hunter2\r\n")
        text = b" NO [AUTHENTICATIONFAILED] Login failed: authentication failure\r\n"
        self.assertEqual(client.receive(), b"a1" + text + b"a2" + text)
        self.assertEqual(list(events), [])

    def test_plaintext_refused(self) -> None:
        client = self.client(authenticator=FixedAuthenticator(plaintext=False))
        client.send(b"a1 LOGIN alice secret\r\na2 AUTHENTICATE PLAIN\r\n")
        text = b" NO [PRIVACYREQUIRED] Login only available under a layer\r\n"
        self.assertEqual(client.receive(), b"a1" + text + b"a2" + text)

    def test_authentication_unavailable(self) -> None:
        class Broken(FixedAuthenticator):
            async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
                raise AuthenticationUnavailable

        client = self.client(authenticator=Broken())
        client.send(b"a1 LOGIN alice secret\r\n")
        self.assertEqual(client.receive(), b"a1 NO [UNAVAILABLE] Login failed: temporary failure\r\n")

    def test_too_many_sessions_of_a_user(self) -> None:
        server = self.server(limits=ConnectionLimits(LimitSettings(per_user=1)))
        first, second = server.connect(), server.connect()
        for client in (first, second):
            client.receive()
            client.send(b"a1 LOGIN alice secret\r\n")
        self.assertIn(b"a1 OK ", first.receive())
        self.assertEqual(second.receive(), b"a1 NO [LIMIT] Too many open connections of this user\r\n")
        second.send(b"a2 LOGIN bob secret\r\n")
        self.assertIn(b"a2 OK ", second.receive())

    def test_sasl_responses_are_bounded(self) -> None:
        client = self.client()
        client.send(b"a1 AUTHENTICATE PLAIN\r\n")
        self.assertEqual(client.receive(), b"+ \r\n")
        for _ in range(20):
            client.send(b"QUJD" * 1024)
        self.assertEqual(client.receive(), b"* BYE [TOOBIG] Line too long\r\n")
        self.assertTrue(client.is_closed)

    def test_commands_behind_authenticate_are_responses(self) -> None:
        client = self.client()
        client.send(b"a1 AUTHENTICATE PLAIN\r\na2 STARTTLS\r\na3 NOOP\r\n")
        self.assertRegex(client.receive(), rb"^\+ \r\na1 BAD .*\r\na3 OK Completed\r\n$")

    def test_the_connection_goes_in_mid_exchange(self) -> None:
        client = self.client()
        client.send(b"a1 AUTHENTICATE PLAIN\r\n")
        client.drop()
        self.assertEqual(self.flushLoggedErrors(), [])


class StartTlsTests(SessionCase):
    """STARTTLS: nothing from before may survive it."""

    def test_what_was_sent_behind_is_discarded(self) -> None:
        client = self.client(tls=object())
        client.send(b"a1 STARTTLS\r\na2 LOGIN alice secret\r\na3 LOGIN {10+}\r\n")
        self.assertEqual(client.receive(), b"a1 OK Begin TLS negotiation now\r\n")
        self.assertTrue(client.transport.is_secure)
        client.send(b"a4 NOOP\r\n")
        self.assertEqual(client.receive(), b"a4 OK Completed\r\n")

    def test_identification_is_forgotten(self) -> None:
        client = self.client(tls=object())
        client.send(b'a1 ID ("name" "x")\r\na2 ID ("name" "y")\r\n')
        self.assertRegex(client.receive(), rb"^\* ID .*\r\na1 OK .*\r\n\* ID .*\r\na2 OK .*\r\n$")
        session = client.protocol.session
        self.assertEqual(session.client_id, ((b"name", b"x"),))
        client.send(b"a3 STARTTLS\r\n")
        client.receive()
        client.send(b'a4 ID ("name" "z")\r\n')
        self.assertIn(b"a4 OK", client.receive())
        self.assertEqual(session.client_id, ((b"name", b"z"),))

    def test_twice(self) -> None:
        client = self.client(tls=object())
        client.send(b"a1 STARTTLS\r\n")
        client.receive()
        client.send(b"a2 STARTTLS\r\na3 CAPABILITY\r\n")
        heard = client.receive()
        self.assertIn(b"a2 BAD TLS already active\r\n", heard)
        self.assertNotIn(b"STARTTLS", heard)

    def test_within_a_literal_it_is_none(self) -> None:
        client = self.client(tls=object())
        client.send(b"a1 LOGIN {13+}\r\na2 STARTTLS\r\n x\r\n")
        self.assertIn(b"a1 NO ", client.receive())
        self.assertFalse(client.transport.is_secure)

    def test_not_configured(self) -> None:
        client = self.client()
        client.send(b"a1 STARTTLS\r\na2 NOOP\r\n")
        self.assertEqual(client.receive(), b"a1 BAD Starttls not available\r\na2 OK Completed\r\n")


class LimitTests(SessionCase):
    """What a client may cost."""

    def test_long_lines(self) -> None:
        for client in (self.client(), self.user()):
            for _ in range(20):
                client.send(b"x" * 8000)
            self.assertEqual(client.receive(), b"* BYE [TOOBIG] Line too long\r\n")
            self.assertTrue(client.is_closed)

    def test_parentheses_by_the_thousand(self) -> None:
        for client in (self.client(), self.user()):
            client.send(b"a1 ID " + b"(" * 8000 + b"\r\na2 NOOP\r\n")
            self.assertRegex(client.receive(), rb"^a1 BAD .*\r\na2 OK Completed\r\n$")

    def test_literals_before_login(self) -> None:
        client = self.client()
        client.send(b"a1 LOGIN {5000}\r\n")
        self.assertEqual(client.receive(), b"a1 NO [TOOBIG] Literal size exceeds fixed limit\r\n")
        client.send(b"a2 LOGIN {5000+}\r\n" + b"a3 NOOP\r\n" * 555 + b"xxxxx y\r\na4 NOOP\r\n")
        self.assertEqual(client.receive(), b"a2 NO [TOOBIG] Literal size exceeds fixed limit\r\na4 OK Completed\r\n")
        client.send(b"a5 LOGIN {4294967295+}\r\n")
        self.assertEqual(client.receive(), b"* BYE [TOOBIG] Literal size exceeds fixed limit\r\n")

    def test_literals_by_the_thousand(self) -> None:
        client = self.user(ImapSettings(limits=FrameLimits(literals=100)))
        client.send(b"a1 ID (" + b" ".join([b"{1+}\r\nx"] * 200) + b")\r\na2 NOOP\r\n")
        self.assertEqual(
            client.receive(),
            b"a1 BAD [LIMIT] Command arguments total size exceeds fixed limit\r\na2 OK Completed\r\n",
        )

    def test_total_of_literals(self) -> None:
        client = self.user(ImapSettings(limits=FrameLimits(literal=1000, command=1500)))
        client.send(b"a1 ID ({1000+}\r\n" + b"x" * 1000 + b" {1000}\r\n")
        self.assertEqual(client.receive(), b"a1 BAD [LIMIT] Command arguments total size exceeds fixed limit\r\n")

    def test_literal_minus(self) -> None:
        client = self.user(ImapSettings(is_literal_minus=True))
        client.send(b"a1 ID {4097+}\r\n" + b"x" * 4097 + b"\r\na2 ID {4097}\r\n")
        self.assertEqual(
            client.receive(), b"a1 BAD [TOOBIG] Non-synchronizing literal size exceeds 4K\r\n+ go ahead\r\n"
        )

    def test_bad_commands_before_login(self) -> None:
        client = self.client(ImapSettings(max_bad_commands=5))
        client.send(b"a NOOP\r\nb\r\n" * 100)
        heard = client.receive()
        self.assertEqual(heard.count(b"b BAD"), 5)
        self.assertTrue(heard.endswith(b"* BYE Too many invalid commands\r\n"))
        self.assertTrue(client.is_closed)

    def test_guesses_before_login(self) -> None:
        client = self.client(ImapSettings(max_bad_commands=5))
        client.send(b"a LOGIN alice wrong\r\n" * 100)
        self.assertEqual(client.receive().count(b"a NO"), 5)
        self.assertTrue(client.is_closed)

    def test_commands_before_login(self) -> None:
        client = self.client(ImapSettings(max_commands_before_login=10))
        client.send(b"a NOOP\r\n" * 100)
        self.assertEqual(client.receive(), b"a OK Completed\r\n" * 10 + b"* BYE Too many commands before login\r\n")

    def test_bad_commands_after_login(self) -> None:
        client = self.user(ImapSettings(max_bad_commands=5))
        client.send(b"b\r\n" * 50)
        self.assertEqual(client.receive().count(b"b BAD"), 50)
        self.assertFalse(client.is_closed)


class TimeTests(SessionCase):
    """How long a session may be silent."""

    def test_login_takes_too_long(self) -> None:
        server = self.server(ImapSettings(login_timeout=60))
        client = server.connect()
        client.receive()
        for _ in range(12):
            client.send(b"a")
            server.advance(5)
        self.assertEqual(client.receive(), b"* BYE idle for too long\r\n")
        self.assertTrue(client.is_closed)

    def test_passwords_in_the_open_take_longer(self) -> None:
        """C{plaintextloginpause}."""
        server = self.server(ImapSettings(plaintext_pause=3.0))
        client = server.connect()
        client.receive()
        client.send(b"a LOGIN alice secret\r\n")
        server.advance(2.9)
        self.assertEqual(client.receive(), b"")
        server.advance(0.2)
        self.assertTrue(client.receive().startswith(b"a OK [CAPABILITY "))

    def test_commands_are_logged(self) -> None:
        """C{chatty} and C{commandmintimer}: no arguments, and no command that only waits."""

        async def work(session: Session, arguments: None) -> None:
            await done

        done: Deferred[None] = Deferred()
        self.command(work)
        with capturedLogs() as events:
            client = self.user(ImapSettings(command_log=CommandLog(each=True, slow=1.0)))
            client.send(b"a1 XTEST\r\n")
            client._server.advance(1.5)
            done.callback(None)
            client.send(b"a2 IDLE\r\n")
            client._server.advance(5)
            client.send(b"DONE\r\n")
            self.assertIn(b"a2 OK", client.receive())
        logged = [text for text in map(formatEvent, events) if text.startswith(("command:", "cmdtimer:"))]
        self.assertEqual(
            logged, ["command:  LOGIN", "command: alice XTEST", "cmdtimer: alice XTEST - 1.500", "command: alice IDLE"]
        )

    def test_silence_after_login(self) -> None:
        client = self.user(ImapSettings(timeout=60))
        server = client._server
        server.advance(1799)
        client.send(b"a1 NOOP\r\n")
        self.assertEqual(client.receive(), b"a1 OK Completed\r\n")
        server.advance(1799)
        self.assertFalse(client.is_closed)
        server.advance(2)
        self.assertEqual(client.receive(), b"* BYE idle for too long\r\n")
        self.assertTrue(client.is_closed)

    def test_idle_has_its_own(self) -> None:
        client = self.user(ImapSettings(idle_timeout=7200))
        client.send(b"a1 IDLE\r\n")
        self.assertEqual(client.receive(), b"+ idling\r\n")
        client._server.advance(7199)
        self.assertFalse(client.is_closed)
        client._server.advance(2)
        self.assertEqual(client.receive(), b"* BYE idle for too long\r\n")

    def test_work_that_takes_long_is_no_silence(self) -> None:
        async def work(session: Session, arguments: None) -> None:
            await done

        done: Deferred[None] = Deferred()
        self.command(work)
        client = self.user()
        client.send(b"a1 XTEST\r\n")
        client._server.advance(5000)
        self.assertFalse(client.is_closed)
        done.callback(None)
        self.assertEqual(client.receive(), b"a1 OK Completed\r\n")
        client._server.advance(5000)
        self.assertTrue(client.is_closed)

    def test_who_reads_nothing_for_too_long_is_silent(self) -> None:
        async def talk(session: Session, arguments: None) -> None:
            for _ in range(5):
                session.write(b"x" * 70_000)
                await session.drain()

        self.command(talk)
        client = self.user()
        client.transport.window = 100_000
        client.send(b"a1 XTEST\r\n")
        client._server.advance(2000)
        self.assertTrue(client.is_closed)

    def test_who_does_not_read_is_cut_off(self) -> None:
        client = self.user(ImapSettings(close_timeout=30))
        self.patch(client, "settle", lambda: None)
        client.send(b"a1 LOGOUT\r\n")
        server = client._server
        self.assertTrue(client.transport.disconnecting)
        self.assertFalse(client.transport.was_aborted)
        server.advance(31)
        self.assertTrue(client.transport.was_aborted)

    def test_nothing_is_left_behind(self) -> None:
        client = self.user()
        client.send(b"a1 LOGOUT\r\n")
        self.assertEqual(client.receive(), b"* BYE LOGOUT received\r\na1 OK Completed\r\n")
        self.assertTrue(client.is_closed)
        self.assertEqual(client._server.clock.getDelayedCalls(), [])
        self.assertEqual(client._server.factory.sessions, set())

    def test_shutdown(self) -> None:
        client = self.user()
        client._server.factory.shut_down()
        client.settle()
        self.assertEqual(client.receive(), b"* BYE Server shutting down\r\n")
        self.assertTrue(client.is_closed)

    def test_shutdown_answers_what_is_being_done(self) -> None:
        async def commit(session: Session, arguments: None) -> None:
            await done

        done: Deferred[None] = Deferred()
        self.command(commit)
        client = self.user()
        client.send(b"a1 XTEST\r\na2 NOOP\r\n")
        client._server.factory.shut_down()
        self.assertFalse(client.is_closed)
        done.callback(None)
        client.settle()
        self.assertEqual(client.receive(), b"a1 OK Completed\r\n* BYE Server shutting down\r\n")
        self.assertTrue(client.is_closed)

    def test_shutdown_ends_idle(self) -> None:
        client = self.user()
        client.send(b"a1 IDLE\r\n")
        client._server.factory.shut_down()
        client.settle()
        self.assertEqual(client.receive(), b"+ idling\r\n* BYE Server shutting down\r\n")
        self.assertTrue(client.is_closed)


class AppendLiteralTests(SessionCase):
    """Where the octets of messages go, before any APPEND is done."""

    def test_staged_as_they_come(self) -> None:
        store = StagingStore()
        client = self.user(store=store)
        client.send(b"a1 APPEND INBOX {10}\r\n")
        self.assertEqual(client.receive(), b"+ go ahead\r\n")
        client.send(b"01234")
        self.assertEqual(store.staged[0].octets, b"01234")
        client.send(b"56\r\n\r\n")
        self.assertEqual(store.staged[0].octets, b"0123456\r\n\r"[:10])

    def test_the_name_may_be_a_literal(self) -> None:
        store = StagingStore()
        client = self.user(store=store)
        client.send(b"a1 APPEND {5+}\r\nINBOX (\\Seen) {2+}\r\nhi")
        self.assertEqual(store.staged[0].octets, b"hi")

    def test_discarded_when_the_connection_goes(self) -> None:
        store = StagingStore()
        client = self.user(store=store)
        client.send(b"a1 APPEND INBOX {10+}\r\n01234")
        client.drop()
        self.assertTrue(store.staged[0].is_discarded)

    def test_discarded_when_the_command_fails(self) -> None:
        store = StagingStore()
        client = self.user(store=store)
        client.send(b"a1 APPEND INBOX {2+}\r\nhi {3+}\r\nyou)\r\na2 NOOP\r\n")
        self.assertRegex(client.receive(), rb"^a1 (BAD|NO) .*\r\na2 OK Completed\r\n$")
        self.assertEqual([staged.is_discarded for staged in store.staged], [True, True])

    def test_no_such_mailbox(self) -> None:
        client = self.user()
        client.send(b"a1 APPEND nowhere {9}\r\na2 NOOP\r\n")
        self.assertEqual(client.receive(), b"a1 NO [NONEXISTENT] Mailbox does not exist\r\na2 OK Completed\r\n")
        client.send(b"a3 APPEND nowhere {9+}\r\na4 NOOP\r\n\r\na5 NOOP\r\n")
        self.assertEqual(client.receive(), b"a3 NO [NONEXISTENT] Mailbox does not exist\r\na5 OK Completed\r\n")

    def test_too_large(self) -> None:
        client = self.user(ImapSettings(max_message_size=100), store=StagingStore())
        client.send(b"a1 APPEND INBOX {101}\r\n")
        self.assertEqual(client.receive(), b"a1 NO [TOOBIG] Message size exceeds fixed limit\r\n")
        client.send(b"a2 APPEND INBOX {101+}\r\n" + b"x" * 101 + b"\r\na3 NOOP\r\n")
        self.assertEqual(client.receive(), b"a2 NO [TOOBIG] Message size exceeds fixed limit\r\na3 OK Completed\r\n")
        client.send(b"a4 CAPABILITY\r\n")
        self.assertIn(b" APPENDLIMIT=100\r\n", client.receive())

    def test_empty(self) -> None:
        client = self.user(store=StagingStore())
        client.send(b"a1 APPEND INBOX {0}\r\n")
        self.assertEqual(client.receive(), b"a1 NO Zero-length message literal\r\n")

    def test_no_room(self) -> None:
        store = StagingStore(StoreFull("device full"))
        client = self.user(store=store)
        client.send(b"a1 APPEND INBOX {9+}\r\na2 NOOP\r\n")
        client.send(b"\r\na3 NOOP\r\n")
        self.assertEqual(client.receive(), b"a1 NO [UNAVAILABLE] System I/O error, no room left\r\na3 OK Completed\r\n")
        self.assertTrue(store.staged[0].is_discarded)

    def test_not_before_login(self) -> None:
        client = self.client(store=StagingStore())
        client.send(b"a1 APPEND INBOX {9}\r\n")
        self.assertEqual(client.receive(), b"a1 BAD Please login first\r\n")


class IdentificationTests(SessionCase):
    """ID (RFC 2971)."""

    def test_answers(self) -> None:
        client = self.client()
        client.send(b"a1 ID NIL\r\n")
        self.assertRegex(
            client.receive(),
            rb'^\* ID \("name" "Cyrus IMAPD" "version" "3\.6\.7-[^"]*" "vendor" "[^"]*" "os" "[^"]*"\)\r\na1 OK ',
        )
        quiet = self.client(ImapSettings(server_info=ServerInfo.OFF))
        quiet.send(b"a1 ID NIL\r\n")
        self.assertEqual(quiet.receive(), b'* ID ("name" "Cyrus IMAPD")\r\na1 OK Completed\r\n')
        silent = self.client(ImapSettings(is_id_answered=False))
        silent.send(b"a1 ID NIL\r\n")
        self.assertEqual(silent.receive(), b"* ID NIL\r\na1 OK Completed\r\n")

    def test_fields_are_logged_harmlessly(self) -> None:
        client = self.client()
        with capturedLogs() as events:
            client.send(b'a1 ID ("name" {10+}\r\nx\r\n\x1b[2J{0} "os" NIL)\r\n')
        self.assertIn(b"a1 OK", client.receive())
        self.assertEqual(events[0]["fields"], r"name=x\x0d\x0a\x1b[2J{0} os=NIL")

    def test_limits(self) -> None:
        client = self.user()
        many = b" ".join(b'"f%d" "v"' % i for i in range(31))
        client.send(b"a1 ID (%b)\r\n" % many)
        self.assertTrue(client.receive().startswith(b"a1 BAD "))
        client.send(b'a2 ID ("name" "%b")\r\n' % (b"x" * 1025))
        self.assertTrue(client.receive().startswith(b"a2 BAD "))
