#!/usr/bin/env python3
"""
How long an IMAP command keeps all other sessions of a process waiting, in a mailbox of 100,000 messages.

    benchmarks/stretches.py [--messages 100000] [--folders 5000] [--only REGEX] [--where MILLISECONDS] [--directory DIR]

The server is a process of its own.  A stretch is what the reactor's thread does between two questions to the kernel.
For each command are told: the longest stretch in milliseconds of that thread's CPU time, and by the clock, which also
counts what threads and other programs took meanwhile; how many stretches were longer than 2 milliseconds of CPU time;
and the time until the answer.  With C{--where} the stacks of longer ones are printed.
"""

from __future__ import annotations

import argparse
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pycyrus.interfaces import NewMessage
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.store import journal
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.imap import ADMIN

LONG = 0.002
SAMPLES = 500
"""Different messages; the others are like them."""
BEGUN = b"ready\n"


# --- the server -----------------------------------------------------------------


class Watched:
    """
    Stands before the reactor's C{epoll} object, and looks at the time between its polls.

    @param where: Of stretches longer than so many seconds stacks are printed; 0 for none.
    """

    def __init__(self, poller: Any, where: float) -> None:
        self.poller = poller
        self.where = where
        self.collecting = 0.0
        self.forget()
        if where:
            signal.signal(signal.SIGALRM, self._show)
            gc.callbacks.append(self._collected)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.poller, name)

    def forget(self) -> None:
        """Begin anew."""
        self.longest = self.longest_by_clock = 0.0
        self.long = 0
        self.began: tuple[float, float] | None = None

    def poll(self, *arguments: Any) -> Any:
        """A stretch ends, another begins."""
        if self.where:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if self.began is not None:
            took = time.thread_time() - self.began[0]
            self.longest = max(self.longest, took)
            self.longest_by_clock = max(self.longest_by_clock, time.perf_counter() - self.began[1])
            self.long += took > LONG
        found = self.poller.poll(*arguments)
        self.began = time.thread_time(), time.perf_counter()
        if self.where:
            signal.setitimer(signal.ITIMER_REAL, self.where, self.where)
        return found

    def _collected(self, phase: str, told: dict[str, int]) -> None:
        if phase == "start":
            self.collecting = time.thread_time()
        elif (took := time.thread_time() - self.collecting) > self.where:
            print(f"    {took * 1000:.1f} ms: garbage of generation {told['generation']}", file=sys.stderr, flush=True)

    def _show(self, number: int, frame: Any) -> None:
        if self.began is not None and time.thread_time() - self.began[0] > self.where * 0.7:
            stack = traceback.extract_stack(frame)[-9:]
            places = " < ".join(f"{Path(each.filename).name}:{each.lineno} {each.name}" for each in reversed(stack))
            print(f"    {(time.thread_time() - self.began[0]) * 1000:.1f} ms: {places}", file=sys.stderr, flush=True)


def sample(number: int) -> bytes:
    """A message like many."""
    return (
        b"From: Sender %d <sender%d@example.org>\r\nTo: Fred <fred@example.com>, Mary <mary@example.com>\r\n"
        b"Subject: Minutes of meeting %d\r\nDate: Tue, %d Jan 2024 10:%02d:00 +0000\r\nReferences: <%d@example.org>\r\n"
        b"Message-ID: <%d@example.org>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nSome text.\r\n"
    ) % (number % 50, number % 50, number % 70, number % 28 + 1, number % 60, number // 3, number)


def fill(reactor: BlockingReactor, store: MailStore, name: MailboxName, count: int) -> None:
    """Messages by the records, not one by one; their files are links."""
    opened: Any = reactor.run(store.open(Identity("alice"), name, "r"))
    state = opened.state
    packed: list[tuple[Any, int, bytes]] = []
    for number in range(SAMPLES):
        staged: Any = reactor.run(store.stage(Identity("alice"), name))
        staged.write(sample(number))
        staged.finish()
        reactor.run(opened.append([NewMessage(staged)]))
        packed.append((staged.packed_items(), staged.size, staged.guid))
        staged.discard()
    first = state.contents.columns.rows(slice(0, SAMPLES))
    rows = np.resize(first, count - SAMPLES)
    rows["uid"] = np.arange(SAMPLES + 1, count + 1)
    records = []
    for uid in range(SAMPLES + 1, count + 1):
        items, size, guid = packed[(uid - 1) % SAMPLES]
        row = first[(uid - 1) % SAMPLES]
        records.append(items.record(uid, size, guid, int(row["sent_day"]), 0, 0, 0))
        os.link(state.paths.data / f"{(uid - 1) % SAMPLES + 1}.", state.paths.data / f"{uid}.")

    async def write() -> None:
        await state.enter(count)
        offset = state.items.append(records)
        rows["cache_length"] = [len(record) for record in records]
        rows["cache_offset"] = offset + np.concatenate(([0], np.cumsum(rows["cache_length"], dtype=np.int64)[:-1]))
        plain = np.zeros(len(rows), dtype=journal.ROW)
        for field in journal.ROW.names or ():
            plain[field] = rows[field]
        state.write(journal.append_record(plain.tobytes(), len(plain), state.next_modseq(), 0))
        state.leave()

    reactor.run(write())
    opened.close()


def serve(directory: Path, count: int, folders: int, where: float) -> None:
    """Serve until standard input ends; each line there has the figures printed, and forgotten."""
    settings = StoreSettings(directory / "config", {"default": directory / "spool"}, defaultpartition="default")
    blocking = BlockingReactor()
    store = open_store(settings, blocking)
    for user in ("alice", "bob"):
        blocking.run(store.create(ADMIN, MailboxName("", user, ())))
    alice = Identity("alice")
    for folder in ("Big", "Copies", "Gone"):
        blocking.run(store.create(alice, MailboxName("", "alice", (folder,))))
    for number in range(folders):
        name = MailboxName(
            "", "bob", (f"Folder{number // 100}", f"Sub{number}") if number % 100 else (f"Folder{number // 100}",)
        )
        blocking.run(store.create(ADMIN, name))
    for folder in ("Big", "Gone"):
        fill(blocking, store, MailboxName("", "alice", (folder,)), count)
    blocking.run(store.close())

    from twisted.internet import reactor as _reactor

    from pycyrus.app.collector import settle
    from pycyrus.imap.protocol import ImapFactory
    from pycyrus.imap.settings import ImapSettings
    from pycyrus.model.names import ExternalNames, NamespaceSettings
    from pycyrus.net.threads import switch_often
    from pycyrus.net.transport import LeanPort, bind_tcp
    from pycyrus.testing.imap import FixedAuthenticator

    reactor: Any = _reactor
    switch_often()
    mailstore = open_store(settings, reactor)
    users: Any = FixedAuthenticator()
    factory = ImapFactory(
        mailstore,
        users,
        ImapSettings(),
        lambda identity: ExternalNames(NamespaceSettings(), identity),
        None,
        None,
        reactor,
    )
    port: Any = LeanPort(reactor, bind_tcp("127.0.0.1", 0), factory)
    port.startListening()
    watched = reactor._poller = Watched(reactor._poller, where)
    settle(reactor)

    class Orders:
        """Reads them."""

        def fileno(self) -> int:
            return 0

        def logPrefix(self) -> str:  # noqa: N802 - ILoggingContext
            return "orders"

        def doRead(self) -> None:  # noqa: N802 - IReadDescriptor
            os.read(0, 100)
            print(watched.longest, watched.longest_by_clock, watched.long, flush=True)
            watched.forget()

        def connectionLost(self, reason: object) -> None:  # noqa: N802 - IReadDescriptor
            reactor.stop()

    reactor.addReader(Orders())
    print(port.getHost().port, flush=True)
    reactor.run()


# --- the client -------------------------------------------------------------------


class Client:
    """One connection."""

    def __init__(self, port: int, user: bytes = b"alice") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._file = self._socket.makefile("rb")
        self._number = 0
        self._file.readline()
        self.do(b"LOGIN %b secret" % user)

    def do(self, command: bytes) -> bytes:
        """
        Do a command.

        @return: The tagged answer.
        """
        self._number += 1
        tag = b"t%d " % self._number
        self._socket.sendall(tag + command + b"\r\n")
        return self.until(tag)

    def until(self, start: bytes) -> bytes:
        """Read up to a line that starts so."""
        left = b"\r\n"
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                raise EOFError("the server closed the connection")
            left += data
            found = left.rfind(b"\r\n" + start)
            if found >= 0 and left.endswith(b"\r\n"):
                return left[found + 2 :]
            if found < 0:
                left = left[-1000:]

    def send(self, data: bytes) -> None:
        """Only that."""
        self._socket.sendall(data)


@dataclass(frozen=True)
class Step:
    """
    What is looked at.

    @ivar who: The number of the session that does it.
    """

    name: str
    command: bytes
    who: int = 0


def many_parts() -> bytes:
    """A message of 42 KB and 800 parts."""
    part = b"--x\r\nContent-Type: text/plain\r\n\r\ntext\r\n"
    head = b"From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n"
    return head + part * 800 + b"--x--\r\n"


def steps(count: int) -> Iterator[Step]:
    """All that is measured, in this order."""
    odd = b",".join(b"%d" % number for number in range(1, min(count, 20_000), 2))
    parts = many_parts()
    yield Step("SELECT, cold", b"SELECT Big")
    yield Step("SELECT, warm", b"SELECT Big", 1)
    yield Step("STATUS", b"STATUS Big (MESSAGES UNSEEN SIZE DELETED)")
    for items in (
        b"FLAGS",
        b"ALL",
        b"BODYSTRUCTURE",
        b"(UID RFC822.SIZE MODSEQ EMAILID)",
        b"BODY.PEEK[HEADER.FIELDS (SUBJECT)]",
    ):
        yield Step(f"FETCH 1:* {items.decode()}", b"FETCH 1:* " + items)
    yield Step("FETCH 1:5000 BODY.PEEK[1]", b"FETCH 1:5000 BODY.PEEK[1]")
    yield Step("FETCH 1:5000 BODY.PEEK[]", b"FETCH 1:5000 BODY.PEEK[]")
    yield Step("FETCH 1:5000 PREVIEW", b"FETCH 1:5000 PREVIEW")
    yield Step("FETCH CHANGEDSINCE", b"FETCH 1:* FLAGS (CHANGEDSINCE 2)")
    yield Step("FETCH odd FLAGS", b"FETCH " + odd + b" FLAGS")
    yield Step("FETCH 1:5000 BODY[], sets Seen", b"FETCH 1:5000 BODY[]")
    yield Step("SEARCH ALL", b"SEARCH ALL")
    yield Step("SEARCH UNSEEN", b"UID SEARCH UNSEEN")
    yield Step("SEARCH ... RETURN (COUNT)", b"SEARCH RETURN (COUNT) UNSEEN SINCE 1-Jan-2020 LARGER 10")
    yield Step("SEARCH odd", b"SEARCH " + odd)
    yield Step("SEARCH KEYWORD OR", b"SEARCH OR KEYWORD x OR SEEN OR FLAGGED DELETED NOT UID 5:500")
    yield Step("SEARCH SUBJECT, first", b'SEARCH SUBJECT "meeting 1"')
    yield Step("SEARCH FROM, first", b"SEARCH FROM sender7")
    yield Step("SEARCH SUBJECT, again", b'SEARCH SUBJECT "meeting 2"')
    yield Step("SEARCH HEADER", b"SEARCH HEADER References 17@example")
    yield Step("SEARCH BODY, first", b"SEARCH BODY text.")
    yield Step("SEARCH TEXT, again", b"SEARCH TEXT nowhere")
    yield Step("SORT (DATE)", b"SORT (DATE) UTF-8 ALL")
    yield Step("SORT (REVERSE FROM SUBJECT)", b"SORT (REVERSE FROM SUBJECT) UTF-8 ALL")
    yield Step("SORT RETURN (PARTIAL)", b"UID SORT RETURN (PARTIAL 1:100) (ARRIVAL) UTF-8 UNSEEN")
    yield Step("SORT (SIZE) odd", b"SORT (SIZE) UTF-8 UNSEEN")
    yield Step("THREAD REFERENCES", b"THREAD REFERENCES UTF-8 ALL")
    yield Step("THREAD ORDEREDSUBJECT", b"THREAD ORDEREDSUBJECT UTF-8 ALL")
    yield Step("APPEND of 800 parts", b"APPEND Big {%d+}\r\n%b" % (len(parts), parts))
    yield Step("APPEND", b"APPEND Big {%d+}\r\n%b" % (len(sample(1)), sample(1)))
    yield Step("NOOP that tells EXISTS", b"NOOP")
    yield Step("THREAD after that", b"THREAD REFERENCES UTF-8 ALL")
    yield Step("THREAD (REFS)", b"THREAD REFS UTF-8 ALL")
    yield Step("SORT after that", b"SORT (REVERSE FROM SUBJECT) UTF-8 ALL")
    at = count + 1
    yield Step("FETCH of 800 parts' BODYSTRUCTURE", b"FETCH %d BODYSTRUCTURE" % at)
    yield Step("FETCH of 800 parts' last", b"FETCH %d (BODY[800] BINARY.SIZE[700] BODY[3.MIME])" % at)
    yield Step("SEARCH BODY in 800 parts", b"SEARCH %d BODY nowhere" % at)
    yield Step("STORE 1:* +FLAGS", b"STORE 1:* +FLAGS (\\Flagged)")
    yield Step("NOOP that tells these", b"NOOP", 1)
    yield Step("STORE odd +FLAGS.SILENT", b"STORE " + odd + b" +FLAGS.SILENT (\\Answered)")
    yield Step("STORE 1:* keyword", b"STORE 1:* +FLAGS.SILENT (Work)")
    yield Step("NOOP that tells these", b"NOOP", 1)
    yield Step("SEARCH RETURN (UPDATE)", b"UID SEARCH RETURN (UPDATE ALL) FLAGGED", 1)
    yield Step("SORT RETURN (UPDATE)", b"UID SORT RETURN (UPDATE ALL) (REVERSE DATE) UTF-8 FLAGGED", 1)
    yield Step("STORE 1:* -FLAGS", b"STORE 1:* -FLAGS.SILENT (\\Flagged)")
    yield Step("NOOP with contexts", b"NOOP", 1)
    yield Step("STORE half +FLAGS", b"STORE 1:%d +FLAGS.SILENT (\\Flagged)" % (count // 2))
    yield Step("NOOP with contexts", b"NOOP", 1)
    yield Step("CANCELUPDATE", b"UNSELECT", 1)
    yield Step("COPY 1:*", b"COPY 1:* Copies")
    yield Step("STATUS of copies", b"STATUS Copies (MESSAGES UNSEEN)", 1)
    yield Step("SELECT Gone", b"SELECT Gone")
    yield Step("SELECT Gone, too", b"SELECT Gone", 1)
    yield Step("STORE \\Deleted odd", b"STORE " + odd + b" +FLAGS.SILENT (\\Deleted)")
    yield Step("EXPUNGE odd", b"EXPUNGE")
    yield Step("NOOP that tells EXPUNGE", b"NOOP", 1)
    yield Step("MOVE half", b"MOVE 1:%d Copies" % (count // 3))
    yield Step("NOOP that tells EXPUNGE", b"NOOP", 1)
    yield Step("ENABLE", b"ENABLE QRESYNC", 1)
    yield Step("SELECT QRESYNC", b"SELECT Gone (QRESYNC (%d 2))", 1)
    yield Step("STORE \\Deleted 1:*", b"STORE 1:* +FLAGS.SILENT (\\Deleted)")
    yield Step("EXPUNGE 1:*", b"EXPUNGE")
    yield Step("NOOP that tells VANISHED", b"NOOP", 1)
    yield Step("DELETE Gone", b"DELETE Gone")
    yield Step("RENAME Copies", b"RENAME Copies Others")
    yield Step("LIST", b'LIST "" *', 2)
    yield Step("LIST %", b'LIST "" %', 2)
    yield Step("LIST-STATUS", b'LIST "" * RETURN (SUBSCRIBED CHILDREN STATUS (MESSAGES UNSEEN))', 2)
    yield Step("LIST-MYRIGHTS", b'LIST "" * RETURN (MYRIGHTS SPECIAL-USE)', 2)
    yield Step("LSUB", b'LSUB "" *', 2)
    yield Step("NOTIFY SET", b"NOTIFY SET STATUS (personal (MessageNew MessageExpunge FlagChange MailboxName))", 2)
    yield Step("NOOP with NOTIFY", b"NOOP", 2)
    yield Step("ESEARCH of all", b"ESEARCH IN (personal) RETURN (COUNT) UNSEEN", 2)
    yield Step("RENAME of 100 folders", b"RENAME Folder1 Folder1x", 2)
    yield Step("GETMETADATA", b'GETMETADATA (DEPTH infinity) "" (/shared/comment)', 2)


def measure(port: int, server: subprocess.Popen[str], count: int, only: re.Pattern[str]) -> None:
    """Print a line for each step."""
    clients = [Client(port), Client(port), Client(port, b"bob")]
    assert server.stdin is not None
    assert server.stdout is not None

    def figures() -> tuple[float, float, int]:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("?\n")
        server.stdin.flush()
        longest, by_clock, long = server.stdout.readline().split()
        return float(longest) * 1000, float(by_clock) * 1000, int(long)

    print(f"{'':<36}{'CPU, ms':>10}{'clock, ms':>12}{'long':>8}{'answer, ms':>14}")
    for step in steps(count):
        figures()
        command = step.command
        if b"(QRESYNC (%d" in command:
            clients[0].send(b"s STATUS Gone (UIDVALIDITY)\r\n")
            said = b""
            while b"s OK" not in said:
                said += clients[0]._socket.recv(10_000)
            command = command % int(said.split(b"UIDVALIDITY ")[1].split(b")")[0])
            figures()
        began = time.perf_counter()
        answer = clients[step.who].do(command)
        took = (time.perf_counter() - began) * 1000
        longest, by_clock, long = figures()
        said_no = "" if b" OK" in answer[:12] else "   " + answer[:100].decode("latin-1").strip()
        if only.search(step.name):
            print(f"{step.name:<36}{longest:>10.2f}{by_clock:>12.2f}{long:>8}{took:>14.1f}{said_no}", flush=True)


def main() -> None:
    """Start the server, and be its clients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--folders", type=int, default=5_000)
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    parser.add_argument("--where", type=float, default=0.0)
    parser.add_argument("--directory")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve), arguments.messages, arguments.folders, arguments.where / 1000)
        return
    directory = Path(tempfile.mkdtemp(prefix="pycyrus-stretches-", dir=arguments.directory))
    try:
        server = subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:], "--serve", str(directory)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            measure(port, server, arguments.messages, arguments.only)
        finally:
            assert server.stdin is not None
            server.stdin.close()
            server.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
