"""
Durable appends per second, messages of 4 KiB, MIME parse included.

    python benchmarks/append.py [--directory DIR] [--seconds S] [--mode auto|syncfs|fdatasync]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults

from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import OWNER_RIGHTS
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.store.commit import SyncMode
from pycyrus.store.header import Header
from pycyrus.store.mailbox import MailboxPaths, create_mailbox
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.spool import Stage
from pycyrus.store.states import MailboxStates
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.states import make_states

MESSAGE = (
    b"Return-Path: <a.sender@example.org>\r\n"
    b"Received: from mx.example.org ([192.0.2.1]) by mail.example.com with LMTPA;\r\n"
    b"\tTue, 02 Jan 2024 10:00:00 +0000\r\n"
    b"From: A. Sender <a.sender@example.org>\r\nTo: Fred <fred@example.com>, Mary <mary@example.com>\r\n"
    b"Subject: Minutes of the meeting\r\nDate: Tue, 2 Jan 2024 10:00:00 +0000\r\n"
    b"Message-ID: <20240102100000.1234@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
)
MESSAGE += (b"The quick brown fox jumps over the lazy dog, and then over another dog.\r\n" * 60)[: 4096 - len(MESSAGE)]


def opened(root: Path, states: MailboxStates, reactor: BlockingReactor, name: str) -> OpenedMailbox:
    paths = MailboxPaths(root / name, root / name, root / "stage.")
    create_mailbox(paths, Header(name, f"user.{name}", 1))
    state = reactor.run(states.open(name, paths))
    return OpenedMailbox(state, Identity(name), lambda: OWNER_RIGHTS, name=lambda: MailboxName("", name, ()))


async def deliver(stage: Stage, box: OpenedMailbox, until: float, done: list[int]) -> None:
    while time.monotonic() < until:
        message = stage.begin()
        message.write(MESSAGE)
        message.finish()
        await box.append([NewMessage(message)])
        message.discard()
        done[0] += 1


async def to_many(stage: Stage, boxes: list[OpenedMailbox], until: float, done: list[int]) -> None:
    while time.monotonic() < until:
        message = stage.begin()
        message.write(MESSAGE)
        message.finish()
        await gatherResults([Deferred.fromCoroutine(box.append([NewMessage(message)])) for box in boxes])
        message.discard()
        done[0] += len(boxes)


def measure(what: str, reactor: BlockingReactor, seconds: float, work: Callable[[float, list[int]], object]) -> None:
    done = [0]
    wall, processor = time.monotonic(), time.process_time()

    async def run() -> None:
        await work(wall + seconds, done)  # type: ignore[misc] # a coroutine or Deferred

    reactor.run(run())
    took = time.monotonic() - wall
    used = (time.process_time() - processor) / done[0] * 1e6
    print(f"{what:24} {done[0] / took:8.0f}/s   {used:6.0f} us of the processor each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", help="on the file system to measure")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mode", choices=[mode.value for mode in SyncMode], default="auto")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="pycyrus-append-", dir=options.directory))
    reactor = BlockingReactor()
    states = make_states(reactor, interval=1.0, mode=SyncMode(options.mode))
    stage = Stage(root / "stage.")
    try:
        boxes = [opened(root, states, reactor, f"box{number}") for number in range(50)]

        def many(count: int) -> Callable[[float, list[int]], object]:
            return lambda until, done: gatherResults(
                [Deferred.fromCoroutine(deliver(stage, box, until, done)) for box in boxes[:count]]
            )

        measure("alone", reactor, options.seconds, many(1))
        measure("16 at a time", reactor, options.seconds, many(16))
        measure("50 recipients", reactor, options.seconds, lambda until, done: to_many(stage, boxes, until, done))
        reactor.run(states.close())
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
