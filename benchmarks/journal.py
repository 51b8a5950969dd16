"""
The journal's octets: encoding, scanning and replaying records.

    python benchmarks/journal.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pycyrus.store import journal
from pycyrus.store.contents import Contents

ROUNDS = 5


def best(work: Callable[[], object]) -> float:
    took = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return min(took)


def row(uid: int) -> bytes:
    when = 1_700_000_000
    return journal.pack_row(uid, 4096, when, when, when, when // 86400, 0, (0, 0), 64, 512, bytes(20))


def replayed(data: bytes) -> Contents:
    contents = Contents()
    contents.apply(journal.scan(data)[0])
    return contents


def main() -> None:
    count = 100_000
    singles = b"".join(journal.append_record(row(uid), 1, uid, 0) for uid in range(1, count + 1))
    batch = journal.append_record(b"".join(row(uid) for uid in range(1, count + 1)), count, 1, 0)
    stores = b"".join(
        journal.flags_record(journal.FlagMasks(0, 16), [(uid, uid)], count + uid, 0) for uid in range(1, 10_001)
    )
    expunges = b"".join(journal.ranges_record(journal.EXPUNGE, [(uid, uid)], count + uid, 0) for uid in range(1, 1_001))

    def show(what: str, seconds: float, records: int) -> None:
        print(f"{what:44} {seconds * 1e3:9.2f} ms {seconds / records * 1e6:9.3f} us each")

    show("encode one append", best(lambda: [journal.append_record(row(9), 1, 9, 0) for _ in range(1000)]), 1000)
    masks = journal.FlagMasks(0, 16)
    show("encode one STORE", best(lambda: [journal.flags_record(masks, [(9, 9)], 9, 0) for _ in range(1000)]), 1000)
    show("scan 100,000 appends", best(lambda: journal.scan(singles)), count)
    show("replay 100,000 appends, one record each", best(lambda: replayed(singles)), count)
    show("replay 100,000 appends in one record", best(lambda: replayed(batch)), count)
    show("... and 10,000 STOREs of one message", best(lambda: replayed(batch + stores)), 10_000)
    show("... and 1,000 EXPUNGEs of one message", best(lambda: replayed(batch + expunges)), 1_000)


if __name__ == "__main__":
    main()
