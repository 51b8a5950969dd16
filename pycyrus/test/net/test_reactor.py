"""The reactor of workers, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.disk_waits import DISK_WAITS
from pycyrus.net import reactor

PROGRAM = """
import socket
from pycyrus.net import reactor as lean
lean.install()
from twisted.internet import reactor

class Reader:
    def __init__(self, sock, read):
        self.sock, self.read = sock, read
    def fileno(self):
        return self.sock.fileno()
    def logPrefix(self):
        return "reader"
    def doRead(self):
        return self.read(self.sock.recv(100))
    def connectionLost(self, reason):
        said.append(reason.type.__name__)
        reactor.callLater(0.01, thrice, 3)

said = []
here, there = socket.socketpair()
broken, other = socket.socketpair()

def heard(data):
    # Nothing but events, one after another, and then something for later and something from a thread.
    said.append(data.decode())
    if len(said) < ROUNDS:
        there.send(b"%d" % len(said))
    elif len(said) == ROUNDS:
        reactor.callInThread(reactor.callFromThread, from_thread)

def from_thread():
    said.append("thread")
    other.send(b"x")

def crash(data):
    raise ZeroDivisionError

def thrice(left):
    said.append("timer")
    if left > 1:
        reactor.callLater(0, thrice, left - 1)
    else:
        never.cancel()
        raised()

def raised():
    reactor.callLater(0, reactor.stop)
    raise ValueError

never = reactor.callLater(3600, said.append, "never")
for sock, read in ((here, heard), (broken, crash)):
    sock.setblocking(False)
    reactor.addReader(Reader(sock, read))
there.send(b"0")
reactor.run()
print(*said)
"""


ROUNDS = 3 * reactor.IN_A_ROW
"""Events in quick succession, so many that the reactor does not sleep between the last of them."""


class ReactorTests(SynchronousTestCase):
    """L{pycyrus.net.reactor.LeanReactor}."""

    def test_everything_has_its_turn(self) -> None:
        """Events, timed calls, threads, a reader and a timed call that fail, and the end."""
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("ROUNDS", str(ROUNDS))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        said = done.stdout.split()
        self.assertEqual(said[: ROUNDS + 2], [*map(str, range(ROUNDS)), "thread", "ZeroDivisionError"])
        # The last one is who still read when it ended.
        self.assertEqual(said[ROUNDS + 2 :], ["timer", "timer", "timer", "ConnectionLost"])


class WaitTests(SynchronousTestCase):
    """Who looks for an event before he sleeps."""

    def setUp(self) -> None:
        self.waits: list[float] = []
        self.takes = 0.0
        self.now = 1000.0
        self.patch(reactor, "perf_counter", self.tick)
        self.reactor = reactor.LeanReactor.__new__(reactor.LeanReactor)
        self.reactor._selectables = {}
        self.reactor._poller = Mock(poll=self.poll)
        self.reactor._short_waits = 0
        self.reactor._spare = reactor.Spare()

    def tick(self) -> float:
        self.now += reactor.MOMENT / 10
        return self.now

    def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
        self.waits.append(timeout)
        self.now += self.takes if timeout else 0.0
        return []

    def looks(self) -> bool:
        """Whether it looks first."""
        self.waits.clear()
        self.reactor._wait(7.0)
        self.assertEqual(self.waits[-1], 7.0)
        return len(self.waits) > 1

    def test_quick_clients(self) -> None:
        """After short waits in a row it does, until one was long."""
        self.assertEqual([self.looks() for _ in range(reactor.IN_A_ROW)], [False] * reactor.IN_A_ROW)
        self.assertTrue(self.looks())
        self.assertFalse(self.looks())

    def test_the_disk_is_no_client(self) -> None:
        """A wait in which somebody waits for the disk says nothing, however long it is."""
        for _ in range(reactor.IN_A_ROW):
            self.looks()
            self.patch(DISK_WAITS, "count", 1)
            self.takes = 1.0
            self.assertFalse(self.looks())
            self.patch(DISK_WAITS, "count", 0)
            self.takes = 0.0
        self.assertTrue(self.looks())


class SpareTests(SynchronousTestCase):
    """A processor that others want."""

    def test_who_waits_for_it_sleeps(self) -> None:
        """Where others had the processor for long, nobody looks for events instead of sleeping; for a while."""
        ran, waited = 5000, 9000
        spare = reactor.Spare()
        self.patch(reactor.Spare, "_times", lambda spare: (ran, waited))
        # What happened before it began to look counts once.
        for _ in range(reactor.LOOKS):
            spare.is_there(0.0)
        now = reactor.REST
        self.assertTrue(all(spare.is_there(now) for _ in range(3 * reactor.LOOKS)))
        ran, waited = ran + 800, waited + 200
        self.assertTrue(all(spare.is_there(now) for _ in range(reactor.LOOKS)))
        ran, waited = ran + 500, waited + 500
        self.assertFalse(all(spare.is_there(now) for _ in range(reactor.LOOKS)))
        self.assertFalse(any(spare.is_there(now + reactor.REST / 2) for _ in range(3 * reactor.LOOKS)))
        self.assertTrue(all(spare.is_there(now + reactor.REST) for _ in range(3 * reactor.LOOKS)))

    def test_a_kernel_that_does_not_tell(self) -> None:
        """It is taken for spare, then."""
        spare = reactor.Spare()
        for failure in (OSError(2, "No such file"), ValueError("not three numbers")):
            self.patch(os, "open", Mock(return_value=-1))
            self.patch(os, "pread", Mock(side_effect=failure))
            self.assertTrue(all(spare.is_there(1.0) for _ in range(3 * reactor.LOOKS)))


class TurnTests(SynchronousTestCase):
    """How long it waits for events."""

    def setUp(self) -> None:
        self.reactor = reactor.LeanReactor.__new__(reactor.LeanReactor)
        self.reactor.threadCallQueue = []
        self.reactor._newTimedCalls = []
        self.reactor._pendingTimedCalls = []
        self.reactor._justStopped = False
        self.reactor.running = True
        self.patch(self.reactor, "seconds", lambda: 1000.0)
        self.waits: list[float | None] = []

    def wait(self) -> float | None:
        """The wait of one turn."""

        def poll(timeout: float | None) -> None:
            self.waits.append(timeout)
            self.reactor._started = False

        self.patch(self.reactor, "doPoll", poll)
        self.reactor._started = True
        self.reactor.mainLoop()
        return self.waits.pop()

    def test_until_the_next_timed_call(self) -> None:
        """For ever if there is none; not at all when the reactor ends."""
        self.assertIsNone(self.wait())
        self.reactor._pendingTimedCalls = [Mock(time=1005.0)]
        self.assertEqual(self.wait(), 5.0)
        self.reactor._pendingTimedCalls = [Mock(time=1e12)]
        self.assertEqual(self.wait(), 2147483)
        self.reactor.running = False
        self.assertEqual(self.wait(), 0)

    def test_what_is_due_is_done_first(self) -> None:
        """Be it by the clock, from a thread, or just said to be done later."""
        done: list[str] = []

        def run() -> None:
            done.append("run")
            self.reactor._pendingTimedCalls = []
            self.reactor._newTimedCalls = []
            self.reactor.threadCallQueue = []

        self.patch(self.reactor, "runUntilCurrent", run)
        self.reactor._pendingTimedCalls = [Mock(time=1000.0)]
        self.assertIsNone(self.wait())
        self.reactor._newTimedCalls = [Mock()]
        self.assertIsNone(self.wait())
        self.reactor.threadCallQueue = [(print, (), {})]
        self.assertIsNone(self.wait())
        self.assertEqual(done, ["run"] * 3)

    def test_a_failure_is_not_the_end(self) -> None:
        """What fails outside any connection is logged, and the loop goes on."""
        failures = [ZeroDivisionError()]

        def poll(timeout: float | None) -> None:
            if failures:
                raise failures.pop()
            self.reactor._started = False

        self.patch(self.reactor, "doPoll", poll)
        self.reactor._started = True
        self.reactor.mainLoop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
