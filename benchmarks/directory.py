"""
The mailbox list with 400,000 mailboxes: looking one up, listing one user's tree, what others may see.

Run: python benchmarks/directory.py [--mailboxes N]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from sqlite3 import Connection

from twisted.internet import reactor

from pycyrus.imap.listing import Findings, Line, Wanted
from pycyrus.imap.wire.grammar import astring
from pycyrus.imap.wire.listing import Return, Selection, encode_list_beginning
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings
from pycyrus.model.scopes import ListScope, Namespace
from pycyrus.store import rows
from pycyrus.store.directory import Directory, in_order
from pycyrus.store.rows import Entry

FOLDERS = ("", "Archive", "Drafts", "Junk", "Sent", "Trash", "Lists", "Lists/python", "Lists/debian", "Work")


def fill(connection: Connection, count: int) -> None:
    """Ten mailboxes for each user; every tenth user shares one with the first."""
    for index in range(count // len(FOLDERS)):
        user = f"user{index}"
        own = (user, OWNER_RIGHTS)
        for number, folder in enumerate(FOLDERS):
            name = MailboxName("", user, tuple(folder.split("/")) if folder else ())
            shared = folder == "Work" and index % 1000 == 0
            acl = Acl((own, ("user0", frozenset("lrs")))) if shared else Acl((own,))
            rows.insert(connection, Entry(name, f"{index}-{number}", "default", f"user/{user}/{folder}", 1, acl))


def measure(label: str, work: Callable[[], object], times: int) -> None:
    """Print the mean time of some calls."""
    started = time.perf_counter()
    for _ in range(times):
        work()
    print(f"{label:58s} {(time.perf_counter() - started) / times * 1e6:12.1f} us")


def listing(directory: Directory, names: ExternalNames, identity: Identity, pattern: bytes) -> int:
    """What LIST does between its arguments and its lines."""
    wanted = Wanted(names.matcher(pattern), Selection.NONE, Return.NONE, names.separator, is_extended=False)
    findings = Findings(wanted)
    found = in_order(
        itertools.chain.from_iterable(
            page for scope in names.scopes(pattern) for page in directory.listings(identity, scope)
        )
    )
    for each in found:
        findings.add(Line(names.encode(each.name), each.name, each))
    return sum(1 for line in findings.lines() if findings.attributes(line))


def walk(directory: Directory, names: ExternalNames, identity: Identity, pattern: bytes) -> int:
    """What LIST does for an administrator, but for sending it."""
    wanted = Wanted(names.matcher(pattern), Selection.NONE, Return.NONE, names.separator, is_extended=False)
    findings, known, size = Findings(wanted), dict[object, bytes](), 0
    for page in directory.walk(identity, names.scopes(pattern)):
        lines = []
        for each in page:
            wire = names.encode(each.name)
            if wanted.matches(wire):
                kind = each.has_children, each.special_use
                if kind not in known:
                    told = findings.attributes(Line(wire, each.name, each), has_children=each.has_children)
                    known[kind] = encode_list_beginning(b"LIST", told, names.separator)
                lines.append(b"%b%b\r\n" % (known[kind], astring(wire)))
        size += len(b"".join(lines))
    return size


def shallow(directory: Directory, names: ExternalNames, identity: Identity, pattern: bytes) -> int:
    """LIST of an administrator with a pattern that has no C{*}."""
    wanted = Wanted(names.matcher(pattern), Selection.NONE, Return.NONE, names.separator, is_extended=False)
    findings = Findings(wanted)
    for page in directory.walk(identity, names.scopes(pattern), names.depth([pattern])):
        for each in page:
            findings.add(Line(names.encode(each.name), each.name, each))
    return sum(1 for line in findings.lines() if findings.attributes(line))


def names_in_turn(count: int) -> Iterator[MailboxName]:
    """One mailbox of each user."""
    for index in itertools.cycle(range(count // len(FOLDERS))):
        yield MailboxName("", f"user{index}", ("Sent",))


def main() -> None:
    """Fill a list in a temporary directory, and measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mailboxes", type=int, default=400_000)
    count = parser.parse_args().mailboxes
    with tempfile.TemporaryDirectory() as temporary:
        directory = Directory(Path(temporary), reactor)  # type: ignore[arg-type] # the module is the reactor
        started = time.perf_counter()
        directory.change_now(lambda connection: fill(connection, count))
        print(f"{count} mailboxes filled in {time.perf_counter() - started:.1f} s")
        user, admin = Identity("user77"), Identity("cyrus", admin=AdminScope.GLOBAL)
        names = ExternalNames(NamespaceSettings(), user)
        same, others = MailboxName("", "user77", ("Sent",)), names_in_turn(count)
        measure("lookup, in memory", lambda: directory.lookup(same), 100_000)
        measure("lookup, never asked for before", lambda: directory.lookup(next(others)), min(20_000, count // 20))
        measure('LIST "" * of a user', lambda: listing(directory, names, user, b"*"), 1000)
        measure('LIST "" % of a user', lambda: listing(directory, names, user, b"%"), 1000)
        measure(
            'LIST "" "Other Users/*" with some shared', lambda: listing(directory, names, Identity("user0"), b"*"), 20
        )
        measure("NAMESPACE of a user", lambda: directory.namespaces(user), 1000)
        real = ExternalNames(NamespaceSettings(), admin)
        measure('LIST "" * of an administrator', lambda: walk(directory, real, admin, b"*"), 1)
        measure('LIST "" % of an administrator', lambda: shallow(directory, real, admin, b"%"), 1)
        measure('LIST "" user/% of an administrator', lambda: shallow(directory, real, admin, b"user/%"), 1)
        deep = ListScope(Namespace.OTHER, "", "user77")
        measure("LIST user/user77/* of an administrator", lambda: list(directory.listings(admin, deep)), 1000)
        directory.close()


if __name__ == "__main__":
    main()
