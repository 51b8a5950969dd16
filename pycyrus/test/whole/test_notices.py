"""Sessions of several workers on one mailbox: each hears of what others do, and who dies harms no others."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.stress_wire import Disconnected, Wire

SESSIONS = 9
ROUNDS = 12
SOON = 1.0
"""Seconds, in the best of all rounds: a machine with much to do is slower now and then."""


class NoticeTests(WholeServerCase):
    arguments = ("--workers", "3")

    def setUp(self) -> None:
        super().setUp()
        self.login = self.server.account("user")
        self.port = self.server.port("imap")
        self.writer = self.begin()
        self.append()
        self.idlers = [self.begin() for _ in range(SESSIONS)]
        for wire in self.idlers:
            wire.send(b"i IDLE\r\n")
            while not wire.line().startswith(b"+"):
                pass

    def begin(self) -> Wire:
        wire = Wire(("127.0.0.1", self.port))
        self.addCleanup(wire.close)
        wire.line()
        self.say(wire, f"LOGIN {self.login.user} {self.login.password}")
        self.say(wire, "SELECT INBOX")
        return wire

    def say(self, wire: Wire, command: str) -> list[bytes]:
        wire.send(b"t %b\r\n" % command.encode("ascii"))
        answers = [wire.line()]
        while not answers[-1].startswith(b"t "):
            answers.append(wire.line())
        self.assertTrue(answers[-1].startswith(b"t OK"), answers[-1])
        return answers

    def append(self) -> int:
        """Add a message; @return: How many there are."""
        answers = self.say(self.writer, "APPEND INBOX {22+}\r\nSubject: new\r\n\r\nnew\r\n\r\n")
        answers += self.say(self.writer, "NOOP")
        return max(int(found[1]) for each in answers if (found := re.match(rb"\* (\d+) EXISTS", each)))

    def test_all_hear_of_it(self) -> None:
        """Of new messages and of flags, all of them, and soon."""
        times = []
        for turn in range(ROUNDS):
            count = self.append()
            self.say(self.writer, f"STORE 1 +FLAGS.SILENT (k{turn})")
            started = time.monotonic()
            for wire in self.idlers:
                wanted = [rb"\* %d EXISTS" % count, rb"\* 1 FETCH \(.*k%d" % turn]
                while wanted:
                    line = wire.line()
                    wanted = [each for each in wanted if not re.match(each, line)]
            times.append(time.monotonic() - started)
        self.assertLess(min(times), SOON, times)

    def until(self, wire: Wire, pattern: bytes) -> list[bytes]:
        told = [wire.line()]
        while not re.match(pattern, told[-1]):
            told.append(wire.line())
        return told

    def test_one_dies(self) -> None:
        """Its sessions end; those of the others hear of what comes, and whoever comes next is served."""
        homes = [self.worker_of(wire) for wire in self.idlers]
        home = self.worker_of(self.writer)
        victims = [pid for pid in set(homes) if pid != home]
        if not victims:
            # All came to one worker: then another one has nobody, and nothing happens to anybody.
            victims = [pid for pid in self.workers() if pid != home]
        os.kill(victims[0], signal.SIGKILL)
        count = self.append()
        for wire, at in zip(self.idlers, homes, strict=True):
            if at == victims[0]:
                self.assertRaises((Disconnected, OSError), self.until, wire, b"never")
            else:
                self.until(wire, b"\\* %d EXISTS" % count)
        self.assertGreaterEqual(len(self.say(self.begin(), "UID FETCH 1:* (FLAGS)")), count)

    def workers(self) -> list[int]:
        pids: list[int] = json.loads((self.server.home / "ready.json").read_text("utf-8"))["workers"]
        return pids

    def worker_of(self, wire: Wire) -> int:
        """The process that has the other end of a connection."""
        own = wire.port()
        for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
            words = line.split()
            here, there = (int(each.rpartition(":")[2], 16) for each in words[1:3])
            if (here, there) == (self.port, own):
                name = f"socket:[{words[9]}]"
                return next(pid for pid in self.workers() if name in _descriptors(pid))
        raise AssertionError("the connection is not there")


def _descriptors(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(each.readlink()))
        except FileNotFoundError:
            continue
    return found
