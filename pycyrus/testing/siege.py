"""
Stress under kill -9: many clients at work, while workers and the whole server are killed; what was told must hold::

    python -m pycyrus.testing.siege --seconds 300

Stress clients (L{pycyrus.testing.stress}) work on one mailbox, and come back whenever their connection is cut.
Keepers add messages to another user's mailboxes by APPEND and LMTP, and move some to and fro; none may get lost, and
none come twice, but for one whose move was cut.  At the end all clients must see the same, every message that was
acknowledged must be there, and C{pycyrus verify --all} find nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pycyrus.testing.server import ServerError, ServerProcess
from pycyrus.testing.stress import Client, Report, compare
from pycyrus.testing.stress_run import KINDS
from pycyrus.testing.stress_wire import Disconnected, Wire

PATIENCE = 60.0
"""Seconds after which a server that does not answer counts as dead."""
MOVING = (b"Moving", b"Kept")
"""Mailboxes between which messages move."""
_CUT = (Disconnected, OSError)


@dataclass(frozen=True, slots=True)
class Plan:
    """
    What happens.

    @ivar seconds: How long.
    @ivar worker_every: Seconds between two kills of a worker, on average; 0 for none.
    @ivar server_every: Likewise of all processes.
    @ivar clients: Stress clients.
    @ivar keepers: Of those that only add.
    """

    seconds: float
    worker_every: float = 1.0
    server_every: float = 15.0
    clients: int = 10
    keepers: int = 4
    seed: int = 1


@dataclass
class Outcome:
    """
    What was seen.

    @ivar report: Of the stress clients, with all violations.
    @ivar kept: Message ids that were acknowledged.
    @ivar kills: Of workers, and of the whole server.
    @ivar cut: Connections that ended.
    @ivar twice: Messages that are there more than once, for their move was cut.
    """

    report: Report
    kept: set[bytes] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    twice: int = 0


class Siege:
    """A server and all that is done to it."""

    def __init__(self, server: ServerProcess, plan: Plan) -> None:
        self._server = server
        self._plan = plan
        self._stress = server.account("user")
        self._keeper = server.add_user("keeper", "secret")
        self._draw = random.Random(plan.seed)
        self._over = threading.Event()
        self._up = threading.Event()
        self._pool: list[Client | None] = [None] * plan.clients
        self._sent: dict[bytes, bytes] = {}
        self._lock = threading.Lock()
        self.outcome = Outcome(Report())

    def run(self) -> Outcome:
        """
        Do it all.

        @raise ServerError: The server did not come back.
        """
        self._up.set()
        self._with_keeper(lambda wire: [_say(wire, b"CREATE " + name) for name in MOVING])
        works: list[Callable[[], None]] = [
            *(lambda place=place: self._client(place) for place in range(self._plan.clients)),
            *(lambda number=number: self._keep(number) for number in range(self._plan.keepers)),
            self._mover,
        ]
        threads = [threading.Thread(target=self._watched, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        try:
            self._kill_until(time.monotonic() + self._plan.seconds)
        finally:
            self._over.set()
            self._up.set()
            for thread in threads:
                thread.join()
        self._end()
        return self.outcome

    def _watched(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - told to who started all this
            self.outcome.report.violation(f"{error!r}")

    # --- killing ------------------------------------------------------------

    def _kill_until(self, deadline: float) -> None:
        plan = self._plan
        rates = [("worker", plan.worker_every), ("server", plan.server_every)]
        due = {what: time.monotonic() + self._wait(every) for what, every in rates if every}
        while due and (soonest := min(due, key=lambda what: due[what])) and due[soonest] < deadline:
            time.sleep(max(0.0, due[soonest] - time.monotonic()))
            if soonest == "server":
                self._up.clear()
                self._server.kill()
                self._server.start()
                self._up.set()
            else:
                self._kill_worker()
            self.outcome.kills[soonest] += 1
            due[soonest] = time.monotonic() + self._wait(dict(rates)[soonest])
        time.sleep(max(0.0, deadline - time.monotonic()))

    def _wait(self, every: float) -> float:
        return self._draw.uniform(0.5, 1.5) * every

    def _kill_worker(self) -> None:
        workers = json.loads((self._server.home / "ready.json").read_text("utf-8"))["workers"]
        if not workers:
            # All of them are being replaced.
            return
        # One that just ended will be.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._draw.choice(workers), signal.SIGKILL)

    # --- clients ------------------------------------------------------------

    def _address(self) -> tuple[str, int]:
        self._up.wait(PATIENCE)
        return "127.0.0.1", self._server.port("imap")

    def _client(self, place: int) -> None:
        client: Client | None = None
        turn = 0
        while not self._over.is_set():
            try:
                if client is None:
                    turn += 1
                    client = self._begin(place, turn)
                client.step()
            except _CUT:
                self._cut(client)
                client = None
        self._pool[place] = client

    def _begin(self, place: int, turn: int) -> Client:
        kind = KINDS[place % len(KINDS)]
        seed = self._plan.seed * 1_000_000 + place * 1000 + turn
        return kind(self._address(), self._stress.user, self._stress.password, "INBOX", seed, self.outcome.report)

    def _cut(self, client: Client | None) -> None:
        with self._lock:
            self.outcome.cut += 1
        if client is not None:
            client.close()
        time.sleep(0.01)

    # --- keepers ------------------------------------------------------------

    def _keep(self, number: int) -> None:
        """Add messages, each with an id of its own."""
        serial = 0
        draw = random.Random(number)
        while not self._over.is_set():
            with contextlib.suppress(*_CUT):
                if number % 2:
                    with contextlib.closing(self._connect_lmtp()) as lines:
                        while not self._over.is_set():
                            serial += 1
                            self._deliver(lines, *self._message(draw, number, serial))
                else:
                    with contextlib.closing(self._log_in()) as wire:
                        while not self._over.is_set():
                            serial += 1
                            identifier, text = self._message(draw, number, serial)
                            target = MOVING[0] if serial % 2 else b"INBOX"
                            if _say(wire, b"APPEND %b {%d+}\r\n%b" % (target, len(text), text)):
                                self._acknowledged(identifier)
                continue
            self._cut(None)

    def _message(self, draw: random.Random, number: int, serial: int) -> tuple[bytes, bytes]:
        identifier = b"<%d.%d@siege.test>" % (number, serial)
        size = draw.choice((1, 20, 2000))
        text = b"Message-ID: %b\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n%b" % (
            identifier,
            b"line %b of the body\r\n" % identifier * size,
        )
        self._sent[identifier] = text
        return identifier, text

    def _acknowledged(self, identifier: bytes) -> None:
        with self._lock:
            self.outcome.kept.add(identifier)

    def _connect_lmtp(self) -> _Lines:
        self._up.wait(PATIENCE)
        lines = _Lines(self._server.socket("lmtpunix"))
        lines.reply()
        lines.say(b"LHLO siege.test")
        return lines

    def _deliver(self, lines: _Lines, identifier: bytes, text: bytes) -> None:
        lines.say(b"MAIL FROM:<a@b>")
        lines.say(b"RCPT TO:<%b>" % self._keeper.user.encode())
        lines.say(b"DATA")
        if lines.say(text + b".").startswith(b"250"):
            self._acknowledged(identifier)

    def _mover(self) -> None:
        """Move messages to and fro."""
        draw = random.Random(self._plan.seed)
        while not self._over.is_set():
            try:
                with contextlib.closing(self._log_in()) as wire:
                    while not self._over.is_set():
                        for source, target in (MOVING, MOVING[::-1]):
                            _say(wire, b"SELECT " + source)
                            first = draw.randrange(1, 50)
                            _say(wire, b"MOVE %d:%d %b" % (first, first + draw.randrange(20), target))
            except _CUT:
                self._cut(None)

    def _log_in(self) -> Wire:
        wire = Wire(self._address())
        wire.line()
        _say(wire, f"LOGIN {self._keeper.user} {self._keeper.password}".encode("ascii"))
        return wire

    def _with_keeper(self, work: Callable[[Wire], object]) -> None:
        with contextlib.closing(self._log_in()) as wire:
            work(wire)

    # --- the end ------------------------------------------------------------

    def _end(self) -> None:
        outcome = self.outcome
        pool = []
        for place, client in enumerate(self._pool):
            with contextlib.suppress(*_CUT):
                if client is not None:
                    client.command(b"NOOP")
                    pool.append(client)
                    continue
            fresh = self._begin(place, 999)
            fresh.select()
            pool.append(fresh)
        compare(pool, outcome.report)
        found: Counter[bytes] = Counter()
        for mailbox in (b"INBOX", *MOVING):
            self._with_keeper(lambda wire, mailbox=mailbox: found.update(self._held(wire, mailbox)))  # type: ignore[misc] # bound early
        for identifier in sorted(outcome.kept - found.keys())[:10]:
            outcome.report.violation(f"{identifier!r} was acknowledged and is lost")
        outcome.twice = sum(count > 1 for count in found.values())
        self._server.stop()
        try:
            self._server.run("verify", "--all")
        except ServerError as error:
            outcome.report.violation(str(error))

    def _held(self, wire: Wire, mailbox: bytes) -> list[bytes]:
        """Ids of all messages, each compared with what was sent."""
        _say(wire, b"SELECT " + mailbox)
        found: list[bytes] = []
        for line in _ask(wire, b"FETCH 1:* (BODY.PEEK[])"):
            match = re.search(rb"Message-ID: (<[^>]*@siege\.test>)\r\n", line)
            if match is None:
                continue
            found.append(match[1])
            if self._sent[match[1]] not in line:
                self.outcome.report.violation(f"{match[1]!r} is not what was sent")
        for identifier, count in Counter(found).items():
            if count > 1 and mailbox not in MOVING:
                self.outcome.report.violation(f"{identifier!r} is {count} times in {mailbox!r}")
        return found


class _Lines:
    """LMTP, a line at a time."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")

    def reply(self) -> bytes:
        while True:
            line = self._file.readline()
            if not line.endswith(b"\r\n"):
                raise ConnectionError("the server is gone")
            if line[3:4] != b"-":
                return line

    def say(self, line: bytes) -> bytes:
        self._socket.sendall(line + b"\r\n")
        return self.reply()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _ask(wire: Wire, command: bytes) -> list[bytes]:
    """@return: Untagged answers, and the tagged one."""
    wire.send(b"s " + command + b"\r\n")
    answers = [wire.line()]
    while not answers[-1].startswith(b"s "):
        answers.append(wire.line())
    return answers


def _say(wire: Wire, command: bytes) -> bool:
    return _ask(wire, command)[-1].startswith(b"s OK")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; exit status 1 after any violation."""
    parser = argparse.ArgumentParser(description="Kill a server at work, again and again.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--worker-every", type=float, default=1.0)
    parser.add_argument("--server-every", type=float, default=15.0)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    directory = Path(tempfile.mkdtemp(prefix="pyc-"))
    server = ServerProcess(directory, "--workers", str(options.workers))
    try:
        server.start()
        plan = Plan(options.seconds, options.worker_every, options.server_every, options.clients, seed=options.seed)
        outcome = Siege(server, plan).run()
    finally:
        server.kill()
    report = outcome.report
    lines = [
        f"{sum(report.commands.values())} commands, {len(outcome.kept)} messages kept, {outcome.twice} of them twice,"
        f" {outcome.cut} connections cut, kills: {dict(outcome.kills)}",
        f"refused: {report.refused}",
        *(report.violations or ["no violation"]),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if report.violations:
        sys.stdout.write(f"see {directory}\n")
        return 1
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
