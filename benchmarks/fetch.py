"""
FETCH responses from columns: cost per message at 10^3 to 10^6 messages.

Run as C{python -m benchmarks.fetch [--most 1000000]}.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from pycyrus.imap.commands.fetch import LONG_BLOCK
from pycyrus.imap.selection import BLOCK
from pycyrus.imap.wire.esearch import Result, encode_search
from pycyrus.imap.wire.fetch import Column
from pycyrus.imap.wire.fetch_lines import COLUMN_FORMATS, ItemFormat, LineFormat, Rows, cached_literal
from pycyrus.imap.wire.flags import flag_lists
from pycyrus.mime.header import select_fields
from pycyrus.mime.summary import summarise
from pycyrus.model.view import CachedItem

MESSAGE = (
    b"Return-Path: <anna@example.com>\r\n"
    b"Received: from mx.example.com by mail.example.org; Mon, 7 Feb 1994 21:52:26 -0800\r\n"
    b"From: Anna Schmidt <anna@example.com>\r\nTo: Fred <fred@example.org>, Joe <joe@example.org>\r\n"
    b"Subject: Minutes of the meeting on Thursday\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
    b"Message-ID: <B27397-0100000@example.com>\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello\r\n"
    b"--b\r\nContent-Type: application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    b"aGVsbG8=\r\n--b--\r\n"
)
ITEMS = summarise(MESSAGE).items
KEYWORDS = (b"$Junk", b"$Forwarded", b"work")


def rows(count: int) -> Rows:
    """Messages of many flags, one in ten with keywords."""
    chance = np.random.default_rng(1)
    keywords = np.zeros((count, 2), dtype=np.uint64)
    keywords[::10, 0] = chance.integers(1, 8, len(keywords[::10]), dtype=np.uint64)
    return Rows(
        numbers=np.arange(1, count + 1),
        uids=np.cumsum(chance.integers(1, 3, count)).astype(np.uint32),
        flags=chance.integers(0, 32, count).astype(np.uint32),
        keywords=keywords,
        modseqs=chance.integers(1, 10**6, count).astype(np.uint64),
        recent=None,
        sizes=chance.integers(500, 10**5, count).astype(np.uint32),
        internaldates=chance.integers(10**9, 1_700_000_000, count),
        savedates=chance.integers(10**9, 1_700_000_000, count),
        guids=np.zeros(count, dtype="V20"),
        cached=lambda items: [[ITEMS[item]] * count for item in items],
        flag_lists=flag_lists(KEYWORDS),
    )


def part(whole: Rows, start: int, stop: int) -> Rows:
    """A block of them."""
    return Rows(
        numbers=whole.numbers[start:stop],
        uids=whole.uids[start:stop],
        flags=whole.flags[start:stop],
        keywords=whole.keywords[start:stop],
        modseqs=whole.modseqs[start:stop],
        recent=None,
        sizes=whole.sizes[start:stop],
        internaldates=whole.internaldates[start:stop],
        savedates=whole.savedates[start:stop],
        guids=whole.guids[start:stop],
        cached=lambda items: [[ITEMS[item]] * (min(stop, len(whole)) - start) for item in items],
        flag_lists=whole.flag_lists,
    )


def render(whole: Rows, lines: LineFormat, block: int) -> int:
    """Write all responses; the octets written."""
    return sum(len(lines.encode(part(whole, start, start + block))) for start in range(0, len(whole), block))


def columns(*items: Column) -> Sequence[ItemFormat]:
    """Formats of columns."""
    return [COLUMN_FORMATS[item] for item in items]


def header_fields() -> ItemFormat:
    """What a client lists a mailbox by."""
    names = frozenset((b"FROM", b"TO", b"SUBJECT", b"DATE"))
    return cached_literal(
        b"BODY[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
        CachedItem.HEADERS,
        lambda uid, item: select_fields(item, names),
    )


CASES: dict[str, tuple[LineFormat, int]] = {
    "UID FLAGS": (LineFormat(columns(Column.UID, Column.FLAGS)), BLOCK),
    "FAST": (LineFormat(columns(Column.FLAGS, Column.INTERNALDATE, Column.SIZE)), BLOCK),
    "UID ENVELOPE": (LineFormat(columns(Column.UID, Column.ENVELOPE)), LONG_BLOCK),
    "UID ENVELOPE BODYSTRUCTURE": (
        LineFormat(columns(Column.UID, Column.ENVELOPE, Column.BODYSTRUCTURE)),
        LONG_BLOCK,
    ),
    "UID HEADER.FIELDS (4)": (LineFormat([*columns(Column.UID), header_fields()]), LONG_BLOCK),
}


def timed(work: Callable[[], object], rounds: int) -> float:
    """Median seconds."""
    times = []
    for _ in range(rounds):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return statistics.median(times)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1_000_000, help="messages in the largest mailbox")
    most = parser.parse_args().most
    print(f"{'items':28} {'messages':>9} {'ms':>9} {'messages/s':>12}")
    for name, (lines, block) in CASES.items():
        count = 1000
        while count <= most:
            whole = rows(count)
            seconds = timed(lambda whole=whole, lines=lines, block=block: render(whole, lines, block), 3)  # type: ignore[misc]
            print(f"{name:28} {count:9} {seconds * 1000:9.2f} {count / seconds:12,.0f}")
            count *= 10
    count = 1000
    while count <= most:
        numbers = np.arange(1, count + 1, dtype=np.uint32)
        seconds = timed(lambda numbers=numbers: b"".join(encode_search(Result(numbers))), 3)  # type: ignore[misc]
        print(f"{'* SEARCH':28} {count:9} {seconds * 1000:9.2f} {count / seconds:12,.0f}")
        count *= 10


if __name__ == "__main__":
    main()
