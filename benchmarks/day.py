"""
A day's sessions in minutes, and what they leave behind in the server's memory.

    python benchmarks/day.py [--sessions 50000] [--users 100] [--at-once 16] [--workers 2]

Logins, selects, fetches, changes of flags, searches, deliveries, expunges, POP3 sessions, and clients that go away
without a word, against a server of its own.  After each tenth it tells of each worker: its own memory, descriptors,
threads; and expunged mail is removed for good, as each night.  It ends with 1 if a worker grew after the first third
by more than C{--growth} KiB, or C{--descriptors} descriptors.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from pycyrus.testing.server import ServerProcess

PASSWORD = "secret"
FEW = 40
"""Messages from which a client cleans up."""
TEXT = (
    "Return-Path: <a@example.com>\r\nFrom: Ann <ann@example.com>\r\nTo: Bob <bob@example.com>\r\nSubject: {0}\r\n"
    "Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{0}@example.com>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\n\r\nHello {0}\r\n"
    + "The quick brown fox jumps over the lazy dog.\r\n"
    * 40
)


@dataclass(frozen=True, slots=True)
class State:
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> State:
        status = dict(
            line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if ":" in line
        )
        memory = int(status["RssAnon"].split()[0])
        return cls(memory, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"]))


def children(pid: int) -> list[int]:
    """Processes below one, with it."""
    found = [pid]
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split():
        found += children(int(each))
    return found


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0

    async def line(self) -> bytes:
        found = await self._reader.readline()
        if not found:
            raise ConnectionError("closed")
        return found

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def command(self, text: str) -> list[bytes]:
        """An IMAP command and its answers."""
        self._number += 1
        tag = b"t%d" % self._number
        self.send(b"%s %s\r\n" % (tag, text.encode("ascii")))
        answers = []
        while True:
            found = await self.line()
            answers.append(found)
            while found.endswith(b"}\r\n"):
                size = int(found[found.rindex(b"{") + 1 : -3])
                await self._reader.readexactly(size)
                found = await self.line()
            if found.startswith(tag + b" "):
                return answers

    async def ask(self, data: bytes) -> bytes:
        """A line, and one of answer."""
        self.send(data)
        return await self.line()

    def close(self) -> None:
        self._writer.close()


class Day:
    """The clients."""

    def __init__(self, server: ServerProcess, users: list[str]) -> None:
        self._server = server
        self._users = users
        self._draw = random.Random(7)
        self._message = 0
        self.counts: dict[str, int] = {}

    def text(self) -> bytes:
        self._message += 1
        return TEXT.format(self._message).encode("ascii")

    async def _connect(self, service: str) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self._server.port(service), limit=1 << 20))

    async def session(self) -> None:
        kinds: list[tuple[Callable[[str], Awaitable[None]], int]] = [
            (self._imap, 70),
            (self._lmtp, 22),
            (self._pop3, 8),
        ]
        work = self._draw.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        await work(self._draw.choice(self._users))
        self.counts[work.__name__[1:]] = self.counts.get(work.__name__[1:], 0) + 1

    async def _imap(self, user: str) -> None:
        client = await self._connect("imap")
        draw = self._draw
        try:
            await client.line()
            assert b" OK " in (await client.command(f"LOGIN {user} {PASSWORD}"))[-1]
            selected = await client.command(draw.choice(("SELECT INBOX", "SELECT INBOX (CONDSTORE)", "EXAMINE INBOX")))
            count = next(int(each.split()[1]) for each in selected if each.endswith(b" EXISTS\r\n"))
            steps = [
                lambda: client.command('LIST "" "*"'),
                lambda: client.command("STATUS INBOX (MESSAGES UNSEEN UIDNEXT)"),
                lambda: client.command("NOOP"),
                lambda: client.command("UID SEARCH UNSEEN"),
                lambda: client.command("SEARCH TEXT fox"),
                lambda: self._append(client),
                lambda: self._idle(client),
            ]
            if count:
                last = f"{max(1, count - 9)}:{count}"
                steps += [
                    lambda: client.command(f"FETCH {last} (FLAGS ENVELOPE)"),
                    lambda: client.command(f"FETCH {count} (BODY.PEEK[])"),
                    lambda: client.command(f"STORE {last} +FLAGS (\\Seen keyword{draw.randrange(9)})"),
                    lambda: client.command("SORT (REVERSE DATE) UTF-8 ALL"),
                ]
            for step in draw.sample(steps, 5):
                await step()
            if count > FEW:
                await client.command(f"STORE 1:{count - 5} +FLAGS.SILENT (\\Deleted)")
                await client.command("EXPUNGE")
            ending = draw.random()
            if ending < 0.7:
                await client.command("LOGOUT")
            elif ending < 0.8:
                client.send(b"x FETCH 1:* (BODY.PEEK[])\r\n")
            elif ending < 0.9:
                client.send(b"x APPEND INBOX {4000}\r\nhalf of it")
        finally:
            client.close()

    async def _append(self, client: Client) -> None:
        text = self.text()
        client.send(b"a APPEND INBOX {%d+}\r\n%s\r\n" % (len(text), text))
        while not (await client.line()).startswith(b"a "):
            pass

    async def _idle(self, client: Client) -> None:
        client.send(b"i IDLE\r\n")
        while not (await client.line()).startswith(b"+"):
            pass
        client.send(b"DONE\r\n")
        while not (await client.line()).startswith(b"i "):
            pass

    async def _lmtp(self, user: str) -> None:
        client = await self._connect("lmtp")
        try:
            await client.line()
            client.send(b"LHLO localhost\r\n")
            while (await client.line())[3:4] == b"-":
                pass
            assert (await client.ask(b"MAIL FROM:<ann@example.com>\r\n")).startswith(b"250")
            others = self._draw.sample(self._users, 2)
            for each in (user, *others):
                await client.ask(f"RCPT TO:<{each}>\r\n".encode("ascii"))
            await client.ask(b"DATA\r\n")
            client.send(self.text() + b".\r\n")
            for _ in {user, *others}:
                assert (await client.line()).startswith(b"250")
            if self._draw.random() < 0.8:
                await client.ask(b"QUIT\r\n")
        finally:
            client.close()

    async def _pop3(self, user: str) -> None:
        client = await self._connect("pop3")
        try:
            await client.line()
            await client.ask(f"USER {user}\r\n".encode("ascii"))
            if not (await client.ask(f"PASS {PASSWORD}\r\n".encode("ascii"))).startswith(b"+OK"):
                return
            count = int((await client.ask(b"STAT\r\n")).split()[1])
            if count and (await client.ask(b"RETR 1\r\n")).startswith(b"+OK"):
                while await client.line() != b".\r\n":
                    pass
                await client.ask(b"DELE 1\r\n")
            await client.ask(b"QUIT\r\n")
        finally:
            client.close()


async def live(day: Day, sessions: int, at_once: int, told: Callable[[], Awaitable[None]]) -> None:
    """Have the day's sessions, some of them at once."""
    left = sessions
    failures: list[str] = []

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            if left % (sessions // 10) == 0:
                await told()
            try:
                await asyncio.wait_for(day.session(), 60)
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                failures.append(repr(error))

    await asyncio.gather(*(work() for _ in range(at_once)))
    if failures:
        print(f"{len(failures)} sessions were ended by the server: {failures[:3]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--growth", type=int, default=16_384, help="KiB of a worker, at most")
    parser.add_argument("--descriptors", type=int, default=64, help="of a worker, at most")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="day-"))
    server = ServerProcess(directory, "--workers", str(arguments.workers))
    try:
        server.start()
        users = [f"u{number}" for number in range(arguments.users)]
        for user in users:
            server.add_user(user, PASSWORD)
        return _measure(server, users, arguments)
    finally:
        server.stop()
        shutil.rmtree(directory)


def _measure(server: ServerProcess, users: list[str], arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    states: list[dict[int, State]] = []
    day = Day(server, users)

    async def look() -> None:
        await asyncio.to_thread(server.run, "expire", "-X", "0", "--silent")
        now = {pid: State.of(pid) for pid in children(server.pid)}
        states.append(now)
        told = "; ".join(
            f"{state.memory:7} KiB {state.descriptors:4} fds {state.threads:2} thr" for state in now.values()
        )
        print(f"{time.monotonic() - started:6.1f} s  {told}", flush=True)

    asyncio.run(live(day, arguments.sessions, arguments.at_once, look))
    took = time.monotonic() - started
    print(f"{sum(day.counts.values())} sessions ({day.counts}) in {took:.0f} s")
    first, last = states[len(states) // 3], states[-1]
    if first.keys() != last.keys():
        print("workers died")
        return 1
    grown = max(last[pid].memory - first[pid].memory for pid in last)
    more = max(last[pid].descriptors - first[pid].descriptors for pid in last)
    print(f"since the first third: {grown} KiB, {more} descriptors")
    return int(grown > arguments.growth or more > arguments.descriptors)


if __name__ == "__main__":
    sys.exit(main())
