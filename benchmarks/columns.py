"""
A mailbox in memory: load, refresh, counts, STORE, expunge, and the items of the cache.

    python benchmarks/columns.py [--messages N ...]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pycyrus.interfaces import NewMessage
from pycyrus.model.acl import OWNER_RIGHTS
from pycyrus.model.flags import DELETED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.view import CachedItem
from pycyrus.store import checkpoint, journal, loading
from pycyrus.store.header import Header
from pycyrus.store.mailbox import MailboxPaths, create_mailbox
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.spool import Stage
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.states import make_states

MESSAGE = (
    b"From: A. Sender <a.sender@example.org>\r\nTo: Fred <fred@example.com>, Mary <mary@example.com>\r\n"
    b"Subject: Minutes of the meeting\r\nDate: Tue, 2 Jan 2024 10:00:00 +0000\r\n"
    b"Message-ID: <20240102100000.1234@example.org>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nSome text.\r\n"
)


def fill(reactor: BlockingReactor, box: OpenedMailbox, stage: Stage, count: int) -> None:
    """Messages by the records, not one by one: their cache records are there, their files are not."""
    message = stage.begin()
    message.write(MESSAGE)
    message.finish()
    reactor.run(box.append([NewMessage(message)]))
    state = box.state
    rows = np.repeat(state.contents.columns.rows(slice(0, 1)), count - 1)
    rows["uid"] = np.arange(2, count + 1)
    one = message.packed_items()
    records = [one.record(uid, message.size, message.guid, 19724, 0, 0, 0) for uid in range(2, count + 1)]

    async def write() -> None:
        await state.enter(count)
        offset = state.items.append(records)
        rows["cache_offset"] = offset + np.arange(count - 1, dtype=np.uint64) * len(records[0])
        plain = np.zeros(len(rows), dtype=journal.ROW)
        for name in journal.ROW.names or ():
            plain[name] = rows[name]
        state.write(journal.append_record(plain.tobytes(), len(plain), state.next_modseq(), 0))
        state.leave()

    reactor.run(write())


def best(work: Callable[[], object], repeat: int = 7, inner: int = 1) -> float:
    """Seconds of one call in the best of several rounds."""
    took = []
    for _ in range(repeat):
        started = time.perf_counter()
        for _ in range(inner):
            work()
        took.append((time.perf_counter() - started) / inner)
    return min(took)


def measure(root: Path, count: int) -> None:
    reactor = BlockingReactor()
    states = make_states(reactor)
    paths = MailboxPaths(root / f"m{count}", root / f"m{count}", root / "stage.")
    create_mailbox(paths, Header(f"m{count}", "user.m", 1))
    state = reactor.run(states.open(f"m{count}", paths))
    box = OpenedMailbox(state, Identity("m"), lambda: OWNER_RIGHTS, name=lambda: MailboxName("", "m", ()))
    fill(reactor, box, Stage(root / "stage."), count)
    print(f"{count} messages")

    def show(what: str, seconds: float, each: int = 0) -> None:
        per = f"{each / seconds:14,.0f} messages/s" if each else ""
        print(f"  {what:34} {seconds * 1e6:12,.1f} us {per}")

    def load() -> None:
        os.close(loading.load(paths).fd)

    show("load, journal only", best(load, 3), count)
    checkpoint.take_snapshot(paths)
    show("load, snapshot", best(load), count)
    show("refresh, nothing new", best(state.refresh, inner=1000))
    show("counts", best(box.counts, inner=1000))
    show("view", best(box.view, inner=1000))
    everything = box.view().uids.copy()
    one = everything[count // 2 : count // 2 + 1].copy()
    turn = [0]

    def store(uids: np.ndarray) -> None:
        turn[0] += 1
        action = FlagAction.ADD if turn[0] & 1 else FlagAction.REMOVE
        reactor.run(box.store(uids, FlagChange(action, Flags(SEEN))))

    def store_keyword() -> None:
        turn[0] += 1
        action = FlagAction.ADD if turn[0] & 1 else FlagAction.REMOVE
        reactor.run(box.store(everything, FlagChange(action, Flags(0, (b"Work",)))))

    show("STORE of one message", best(lambda: store(one), inner=200))
    show("STORE 1:* of a flag", best(lambda: store(everything)), count)
    store_keyword()
    show("STORE 1:* of a keyword", best(store_keyword), count)
    view = box.view()
    items = [CachedItem.ENVELOPE, CachedItem.BODYSTRUCTURE]
    blocks = [np.arange(start, min(start + 1000, count)) for start in range(0, count, 1000)]

    def gather() -> None:
        for block in blocks:
            view.cached(block, items)

    show("cached, first time (checksums)", best(gather, 1), count)
    show("cached ENVELOPE BODYSTRUCTURE", best(gather, 5), count)
    scattered = np.sort(np.random.default_rng(1).permutation(count)[: min(1000, count)])
    show("cached, 1000 scattered", best(lambda: view.cached(scattered, items)), len(scattered))

    def expunge() -> None:
        last = box.view().uids[-1:].copy()
        reactor.run(box.store(last, FlagChange(FlagAction.ADD, Flags(DELETED))))
        reactor.run(box.expunge(last))

    show("STORE and EXPUNGE of one, durable", best(expunge, 5))
    show("vanished since", best(lambda: box.vanished_since(1), inner=100))
    reactor.run(states.close())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="pycyrus-columns-"))
    try:
        for count in options.messages:
            measure(root, count)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
