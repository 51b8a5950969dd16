"""
C{pycyrus verify}: looks for damage, and changes nothing.

It works beside a running server.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from typing import Any

from pycyrus.admin.command import CommandError, act_as_server, mailbox_named, reported
from pycyrus.admin.source import add_source_options, source_of
from pycyrus.app.store_parts import store_settings
from pycyrus.config.load import load
from pycyrus.errors import StoreUnavailable
from pycyrus.model.internal_names import internal
from pycyrus.store.partitions import BadPartition, Partitions
from pycyrus.store.rows import Entry
from pycyrus.store.settings import StoreSettings
from pycyrus.store.verify import Finding, open_list, verify_databases, verify_mailbox, verify_places

_BAR = 30
_REDRAW = 0.1


def register(verbs: Any) -> None:
    """Add the verb."""
    parser = verbs.add_parser(
        "verify",
        help="look for damaged files, and change nothing",
        description="Compares every checksum and every message with what was stored, files with records, and"
        " mailboxes with the mailbox list.  The exit status is 0 only if nothing is wrong.",
    )
    parser.add_argument("mailboxes", metavar="MAILBOX", nargs="*", help="only these, with what lies below them")
    parser.add_argument("--all", action="store_true", help="all mailboxes, which is what happens without a name")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_source_options(parser)
    parser.set_defaults(run=reported(run))


def run(arguments: argparse.Namespace) -> int:
    """
    Look, and print what was found.

    @return: 0 if nothing is wrong.
    """
    configuration = load(source_of(arguments))
    names = [mailbox_named(text, configuration) for text in arguments.mailboxes]
    if names and arguments.all:
        raise CommandError("give mailboxes, or --all, not both")
    act_as_server(configuration)
    settings = store_settings(configuration.settings)
    try:
        partitions = Partitions(settings)
    except BadPartition as error:
        raise CommandError(str(error)) from error
    found = [] if names else list(verify_databases(settings))
    entries: list[Entry] = []
    try:
        entries = open_list(settings)
    except StoreUnavailable as error:
        if not found:
            raise CommandError(str(error)) from error
    if names:
        wanted = [entry for entry in entries if any(entry.name == name or entry.name.is_below(name) for name in names)]
        missing = [name for name in names if not any(entry.name == name for entry in wanted)]
        if missing:
            raise CommandError(f"there is no mailbox {internal(missing[0], settings.deletedprefix)}")
        entries = wanted
    messages = _verify(entries, settings, partitions, found)
    if not names:
        found += verify_places(settings, partitions, entries)
    _tell(found, len(entries), messages, as_json=arguments.json)
    return 1 if found else 0


def _verify(entries: list[Entry], settings: StoreSettings, partitions: Partitions, found: list[Finding]) -> int:
    """
    Check mailboxes.

    @return: How many messages they have.
    """
    progress = _Progress(len(entries))
    for number, entry in enumerate(entries):
        progress.mailboxes = number
        found += verify_mailbox(entry, settings, partitions, progress.more)
    progress.clear()
    return progress.messages


def _tell(found: list[Finding], mailboxes: int, messages: int, *, as_json: bool) -> None:
    if as_json:
        findings = [asdict(finding) for finding in found]
        print(json.dumps({"mailboxes": mailboxes, "messages": messages, "findings": findings}, indent=2))
        return
    for finding in found:
        of = f"{finding.mailbox}: " if finding.mailbox else ""
        print(f"{of}{finding.file}: {finding.problem}\n    mend: {finding.mend}")
    count = _counted(len(found), "finding") if found else "nothing is wrong"
    print(f"{_counted(mailboxes, 'mailbox', 'es')}, {_counted(messages, 'message')}: {count}")


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


class _Progress:
    """A bar on the terminal, if standard error is one."""

    def __init__(self, total: int) -> None:
        self.mailboxes = 0
        self.messages = 0
        self._total = max(total, 1)
        self._shown = sys.stderr.isatty()
        self._drawn = 0.0

    def more(self, messages: int) -> None:
        """So many more messages were looked at."""
        self.messages += messages
        now = time.monotonic()
        if self._shown and now - self._drawn > _REDRAW:
            self._drawn = now
            full = _BAR * self.mailboxes // self._total
            bar = "#" * full + "." * (_BAR - full)
            text = f"\r[{bar}] {self.mailboxes}/{self._total} mailboxes, {self.messages} messages"
            print(text, end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._shown and self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
