"""
How many messages a second are taken apart.

Usage: C{python benchmarks/mime.py [messages]}.  Aim: 5,000 realistic messages
a second on one core, all items included.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from pycyrus.mime.address import parse_addresses
from pycyrus.mime.dates import parse_date
from pycyrus.mime.envelope import render_envelope
from pycyrus.mime.header import cached_lines, select_fields
from pycyrus.mime.limits import DEFAULT_LIMITS, Budget
from pycyrus.mime.preview import make_preview
from pycyrus.mime.render import render_bodies
from pycyrus.mime.sections import SectionText, encode_sections, locate
from pycyrus.mime.structure import parse
from pycyrus.mime.summary import summarise
from pycyrus.mime.text import search_form, searchable
from pycyrus.testing.messages import generate

_BLOCK = 50
_ROUNDS = 7
_NAMES = frozenset((b"DATE", b"FROM", b"TO", b"SUBJECT", b"REFERENCES", b"CONTENT-TYPE"))


def rate(name: str, count: int, work: Callable[[int], object]) -> None:
    """Print the time each call takes: the best of several rounds, block by block, as machines are shared."""
    blocks = [range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    seconds = sum(min(_time(block, work) for _ in range(_ROUNDS)) for block in blocks)
    print(f"{name:<34}{seconds / count * 1e6:9.2f} us{count / seconds:12,.0f}/s")


def _time(block: range, work: Callable[[int], object]) -> float:
    start = time.perf_counter()
    for index in block:
        work(index)
    return time.perf_counter() - start


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    messages = list(generate(count, 7))
    size = sum(map(len, messages))
    print(f"{count} messages, {size / count:,.0f} octets on average")
    rate("summarise: everything", count, lambda i: summarise(messages[i]))
    parsed = [parse(message) for message in messages]
    summaries = [summarise(message) for message in messages]
    limits = DEFAULT_LIMITS
    budget = Budget(limits, 1 << 40)
    budget.addresses = budget.parameters = 1 << 40
    rate("  structure", count, lambda i: parse(messages[i]))
    rate("  envelope", count, lambda i: render_envelope(parsed[i].root.fields, budget))
    rate("    addresses of To", count, lambda i: parse_addresses(parsed[i].root.fields[b"to"], 1000))
    rate("  body and bodystructure", count, lambda i: render_bodies(parsed[i].root, limits, budget))
    rate("  sections", count, lambda i: encode_sections(parsed[i].root))
    rate("  cached header", count, lambda i: cached_lines(parsed[i].cached, limits.cached_headers))
    rate("  preview", count, lambda i: make_preview(messages[i], parsed[i].root))
    rate("  search form of From", count, lambda i: search_form(parsed[i].root.fields[b"from"]))
    rate("  search form of Subject", count, lambda i: search_form(parsed[i].root.fields[b"subject"]))
    rate("  date", count, lambda i: parse_date(parsed[i].root.fields[b"date"]))
    print("on request:")
    rate("  HEADER.FIELDS from the cache", count, lambda i: select_fields(summaries[i].items[4], _NAMES))
    rate("  where part 1 is", count, lambda i: locate(summaries[i].items[3], (1,), SectionText.WHOLE))
    rate("  text of the body", count, lambda i: list(searchable(messages[i], summaries[i].items[3], "absent")))


if __name__ == "__main__":
    main()
