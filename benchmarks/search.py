#!/usr/bin/env python3
"""Texts made ready for searches, and threads: seconds for mailboxes of growing size; cost is to grow linearly."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pycyrus.imap.selection import empty_view
from pycyrus.mime.threading import Threaded, by_references
from pycyrus.store.scanning import JoinedForms
from pycyrus.store.textlog import Text, TextLog


async def nothing() -> None:
    """Take no turn."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("it waited")


def timed(work: Callable[[], object]) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    draw = random.Random(1)
    words = [bytes(draw.choices(b"abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 10))) for _ in range(5000)]
    print(
        f"{'messages':>10}{'header field':>15}{'text, first':>15}{'text, again':>15}{'REFERENCES':>15}   milliseconds"
    )
    for count in parser.parse_args().messages:
        uids = np.arange(1, count + 1, dtype=np.uint32)
        guids = np.zeros(count, dtype="V20")
        view = replace(empty_view(), uids=uids, guids=guids)
        forms = JoinedForms()
        forms.add(uids, [b" ".join(draw.choices(words, k=6)) for _ in range(count)])
        field = timed(lambda forms=forms: run(forms.containing(b"no such word", nothing)))
        with tempfile.TemporaryDirectory() as directory:
            texts = TextLog(str(Path(directory) / "text"))
            body = [b" ".join(draw.choices(words, k=150)) for _ in range(100)]
            texts.add(Text(uid, bytes(20), b"subject", body[uid % 100]) for uid in range(1, count + 1))
            needles = iter([b"first", b"second", b"third"])
            text = timed(lambda t=texts, v=view, n=needles: run(t.matches(next(n) + b" #", v, nothing, in_body=True)))
            again = timed(lambda t=texts, v=view: run(t.matches(b"third #", v, nothing, in_body=True)))
        messages = [
            Threaded(b"%d" % n, (b"%d" % draw.randrange(n),) if n and n % 3 else (), f"s{n}", False, n)
            for n in range(count)
        ]
        threads = timed(lambda m=messages, c=count: by_references(m, range(c)))
        print(f"{count:>10}" + "".join(f"{seconds * 1000:>15.2f}" for seconds in (field, text, again, threads)))


if __name__ == "__main__":
    main()
