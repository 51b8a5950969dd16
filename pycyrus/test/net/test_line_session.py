"""Sessions of a small protocol: what the base does for all of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.line_session import COMMANDS_AT_ONCE, MAX_WAITING, Farewells, Goodbye, LineSession
from pycyrus.net.tls import Exporter


@dataclass(frozen=True, slots=True)
class Limits:
    login_timeout: float = 10.0
    close_timeout: float = 5.0
    max_errors: int = 3


class Link:
    """Keeps what is asked of it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_paused = self.is_closed = self.is_aborted = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.pieces.append(data)

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    def start_tls(self) -> None:
        raise NotImplementedError

    def tls_exporter(self) -> Exporter | None:
        return None

    def tls_description(self) -> str:
        return ""

    def client_certificate(self) -> bytes | None:
        return None

    def logged_in(self, user_id: str) -> None:
        raise NotImplementedError

    def logged_out(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def said(self) -> bytes:
        """All since the last time."""
        said = b"".join(self.pieces)
        self.pieces = []
        return said


class Session(LineSession):
    """Repeats lines; C{wait} waits, C{two} takes another one, C{bad} is an error, C{bye} the end, C{crash} a defect."""

    farewells = Farewells(b"going", b"idle", b"errors", b"full", b"defect")

    def __init__(self, link: Link, clock: Clock) -> None:
        super().__init__(link, clock, Limits(), "id")
        self.waiting = b""
        self.held: list[Deferred[None]] = []
        self.gone = self.cancelled = 0

    def keep(self, data: bytes) -> None:
        self.waiting += data

    def kept(self) -> int:
        return len(self.waiting)

    def take(self) -> bytes | None:
        line, end, rest = self.waiting.partition(b"\n")
        if not end:
            return None
        self.waiting = rest
        return line

    async def step(self) -> bool:
        line = self.take()
        if line is None:
            return False
        match line:
            case b"wait":
                self.held.append(Deferred(self.cancel))
                await self.held[-1]
            case b"two":
                while (second := self.take()) is None:
                    await self.more()
                line += second
            case b"bad":
                self.count_error()
            case b"bye":
                raise Goodbye(b"so long")
            case b"crash":
                raise RuntimeError("a defect")
        self.write(line + b"\n")
        return True

    def cancel(self, held: Deferred[None]) -> None:
        self.cancelled += 1

    def due(self, now: float) -> float:
        return (self._heard if self._waits_for_client else now) + 20.0

    def let_go(self) -> None:
        self.gone += 1


class LineSessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.link = Link()
        self.session = Session(self.link, self.clock)
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))
        self.addCleanup(self.session.lost)

    def say(self, data: bytes) -> bytes:
        self.session.receive(data)
        return self.link.said()

    def test_answers_leave_together(self) -> None:
        self.session.receive(b"a\nb\nc\nhalf")
        self.assertEqual(self.link.pieces, [b"a\nb\nc\n"])

    @settings(max_examples=40, deadline=None, database=None)
    @given(
        st.lists(st.sampled_from([b"a\n", b"two\n", b"bad\n", b"bye\n", b"x" * 30 + b"\n", b"\n"]), max_size=20),
        st.integers(1, 40),
    )
    def test_however_it_is_cut(self, lines: list[bytes], size: int) -> None:
        said = []
        for step in (size, 1 << 20):
            link, clock = Link(), Clock()
            session = Session(link, clock)
            data = b"".join(lines)
            for at in range(0, len(data), step):
                session.receive(data[at : at + step])
            said.append((link.said(), link.is_closed))
            session.lost()
            self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(said[0], said[1])

    def test_one_after_another(self) -> None:
        self.assertEqual(self.say(b"a\nwait\nb\n"), b"a\n")
        self.assertEqual(self.say(b"c\n"), b"")
        self.session.held[0].callback(None)
        self.assertEqual(self.link.said(), b"wait\nb\nc\n")

    def test_not_read_while_much_waits(self) -> None:
        self.say(b"wait\n")
        self.say(b"a\n" * (MAX_WAITING // 2))
        self.assertFalse(self.link.is_paused)
        self.say(b"a\n")
        self.assertTrue(self.link.is_paused)
        self.session.held[0].callback(None)
        while self.clock.getDelayedCalls() and self.session.kept():
            self.clock.advance(0)
        self.assertFalse(self.link.is_paused)
        self.assertEqual(self.link.said().count(b"a\n"), MAX_WAITING // 2 + 1)

    def test_others_have_their_turn(self) -> None:
        self.assertEqual(self.say(b"a\n" * (COMMANDS_AT_ONCE + 1)), b"a\n" * COMMANDS_AT_ONCE)
        self.assertEqual(self.say(b"b\n"), b"")
        self.clock.advance(0)
        self.assertEqual(self.link.said(), b"a\nb\n")

    def test_who_does_not_read_is_answered_no_more(self) -> None:
        self.session.hold_back()
        self.assertEqual(self.say(b"a\nb\n"), b"a\n")
        self.session.go_on()
        self.assertEqual(self.link.said(), b"b\n")

    def test_errors(self) -> None:
        self.assertEqual(self.say(b"bad\n" * 9), b"bad\n" * 4 + b"errors\r\n")
        self.assertTrue(self.link.is_closed)

    def test_last_words(self) -> None:
        self.assertEqual(self.say(b"a\nbye\nb\n"), b"a\nso long\r\n")
        self.assertEqual(self.session.gone, 1)
        self.assertEqual(self.say(b"c\n"), b"")
        self.assertFalse(self.link.is_aborted)
        self.clock.advance(5)
        self.assertTrue(self.link.is_aborted)

    def test_a_defect_is_told_and_ends_one_session(self) -> None:
        self.assertEqual(self.say(b"a\ncrash\nb\n"), b"a\ndefect\r\n")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_silence(self) -> None:
        self.say(b"a\n")
        self.clock.pump([5.0] * 3)
        self.assertEqual(self.say(b"b\n"), b"b\n")
        self.clock.pump([5.0] * 3)
        self.assertFalse(self.link.is_closed)
        self.clock.advance(5)
        self.assertEqual(self.link.said(), b"idle\r\n")

    def test_a_long_command_is_no_silence(self) -> None:
        self.say(b"wait\n")
        self.clock.pump([5.0] * 20)
        self.session.held[0].callback(None)
        self.assertEqual(self.link.said(), b"wait\n")

    def test_the_server_goes(self) -> None:
        """What runs is answered first; what waits for the client is not."""
        self.say(b"wait\nb\n")
        self.session.shut_down()
        self.assertFalse(self.link.is_closed)
        self.session.held[0].callback(None)
        self.assertEqual(self.link.said(), b"wait\ngoing\r\n")
        for begun in (b"", b"half", b"two\n"):
            link = Link()
            session = Session(link, self.clock)
            session.receive(begun)
            session.shut_down()
            self.assertEqual(link.said(), b"going\r\n", begun)
            session.lost()

    def test_lost(self) -> None:
        """What waits is cancelled, and nothing is said any more."""
        self.say(b"wait\n")
        self.session.lost()
        self.assertEqual((self.session.cancelled, self.link.said()), (1, b""))

    def test_too_many(self) -> None:
        self.session.refuse()
        self.assertEqual(self.link.said(), b"full\r\n")
