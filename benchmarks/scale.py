#!/usr/bin/env python3
"""
One mailbox of 1,000 to 1,000,000 messages: what IMAP commands cost in it, and what a further session keeps.

Usage: C{python benchmarks/scale.py [--messages N ...]}.  Milliseconds of CPU time, from octets to octets; the
transport is memory.  Costs are to grow linearly or better, SELECT not at all, nor what a session keeps.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from columns import MESSAGE, fill
from imap_commands import NullTransport
from twisted.internet.address import IPv4Address

from pycyrus.imap.protocol import ImapProtocol
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import OWNER_RIGHTS
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.store.header import Header
from pycyrus.store.mailbox import MailboxPaths, create_mailbox
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.spool import Stage
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.imap import EmptyStore, ImapServer
from pycyrus.testing.states import make_states

SESSIONS = 50
COMMANDS = (
    ("SELECT", b"SELECT INBOX"),
    ("NOOP", b"NOOP"),
    ("STATUS", b"STATUS INBOX (MESSAGES UNSEEN)"),
    ("FETCH 1:* FLAGS", b"FETCH 1:* (UID FLAGS)"),
    ("UID FETCH of the last", b"UID FETCH * (FLAGS ENVELOPE)"),
    ("SEARCH UNSEEN", b"SEARCH UNSEEN"),
    ("SEARCH FLAGGED", b"UID SEARCH RETURN (COUNT) FLAGGED"),
    ("SEARCH SINCE", b"UID SEARCH RETURN (MIN) SINCE 1-Jan-2020"),
    ("STORE of one", b"STORE 1 +FLAGS.SILENT (\\Seen)"),
    ("STORE of all", b"STORE 1:* +FLAGS.SILENT (\\Flagged)"),
    ("SORT (DATE)", b"SORT (DATE) UTF-8 ALL"),
)


class OneMailbox(EmptyStore):
    """A store that has one mailbox."""

    def __init__(self, root: Path, reactor: BlockingReactor) -> None:
        self.paths = MailboxPaths(root / "box", root / "box", root / "stage.")
        self.reactor = reactor
        self.states = make_states(reactor)
        create_mailbox(self.paths, Header("box", "user.alice", 77))

    async def open(self, identity: Identity, name: MailboxName, right: str) -> OpenedMailbox:
        """Any name is its."""
        state = await self.states.open("box", self.paths)
        return OpenedMailbox(
            state, identity, lambda: OWNER_RIGHTS, name=lambda: name, closed=lambda: self.states.release(state)
        )

    async def status(self, identity: Identity, name: MailboxName) -> Any:
        """As the real one's."""
        from pycyrus.interfaces import MailboxStatus

        box = await self.open(identity, name, "r")
        try:
            box.refresh()
            return MailboxStatus(box.counts(), box.uidnext(), box.uidvalidity, box.highest_modseq(), box.unique_id)
        finally:
            box.close()

    async def quota_of(self, identity: Identity, name: MailboxName) -> None:
        """There is none."""


class Run:
    """A server with one mailbox of so many messages."""

    def __init__(self, root: Path, count: int) -> None:
        self.reactor = BlockingReactor()
        self.store = OneMailbox(root, self.reactor)
        self.stage = Stage(root / "stage.")
        self.box = self.reactor.run(self.store.open(Identity("alice"), MailboxName("", "alice", ()), "r"))
        fill(self.reactor, self.box, self.stage, count)
        self.server = ImapServer(ImapSettings(), store=self.store)  # type: ignore[arg-type] # as much as is asked for

    def connect(self, select: bytes | None = b"SELECT INBOX") -> ImapProtocol:
        """A session that has the mailbox selected."""
        address = IPv4Address("TCP", "127.0.0.1", 40_000)
        protocol: Any = self.server.factory.buildProtocol(address)
        protocol.makeConnection(NullTransport(address))
        self.send(protocol, b"LOGIN alice secret")
        if select is not None:
            self.send(protocol, select)
        return protocol  # type: ignore[no-any-return] # what a factory builds

    def send(self, protocol: ImapProtocol, line: bytes) -> None:
        """Do a command to its end."""
        protocol.dataReceived(b"a " + line + b"\r\n")
        while protocol.session.is_busy:
            self.server.advance(0)
            self.reactor.settle()

    def deliver(self) -> None:
        """One more message."""
        message = self.stage.begin()
        message.write(MESSAGE)
        message.finish()
        self.reactor.run(self.box.append([NewMessage(message)]))
        message.discard()


def timed(work: Any, rounds: int) -> float:
    """The best of some rounds, in milliseconds of CPU time."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best * 1000


def measure(count: int) -> list[tuple[str, float]]:
    """All figures for one size."""
    root = Path(tempfile.mkdtemp(prefix="pycyrus-scale-"))
    try:
        run = Run(root, count)
        protocol = run.connect()
        figures = [
            (name, timed(lambda line=line: run.send(protocol, line), 5 if count < 1_000_000 else 3))
            for name, line in COMMANDS
        ]

        def after_delivery(line: bytes) -> float:
            best = float("inf")
            for _ in range(3):
                run.deliver()
                run.send(protocol, b"NOOP")
                best = min(best, timed(lambda: run.send(protocol, line), 1))
            return best

        run.deliver()
        figures.append(("NOOP that tells EXISTS", timed(lambda: run.send(protocol, b"NOOP"), 1)))
        figures.append(("SORT after a delivery", after_delivery(b"SORT (DATE) UTF-8 ALL")))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = [run.connect() for _ in range(SESSIONS)]
        figures.append(("a further session, KiB", (tracemalloc.get_traced_memory()[0] - before) / len(kept) / 1024))
        tracemalloc.stop()
        return figures
    finally:
        shutil.rmtree(root)


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    sizes = parser.parse_args().messages
    columns = [measure(count) for count in sizes]
    print(f"{'':<26}" + "".join(f"{count:>12,}" for count in sizes))
    for index, (name, _) in enumerate(columns[0]):
        print(f"{name:<26}" + "".join(f"{column[index][1]:>12.3f}" for column in columns))


if __name__ == "__main__":
    main()
