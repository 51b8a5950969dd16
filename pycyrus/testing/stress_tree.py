"""
Many connections that create, rename and delete one another's mailboxes, and mail that must survive it.

Nothing is expunged and only empty mailboxes are deleted, so at the end each
message that was acknowledged must be in some mailbox, and all connections
must see the same mailboxes::

    python -m pycyrus.testing.stress_tree --port 10143 --user user --password ... --seconds 60
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pycyrus.testing.stress_wire import Disconnected, Wire

ROOT = b"stress-tree"
_NAMES = (b"t", b"t/a", b"t/a/b", b"t/b", b"u", b"u/x", b"u/x/y", b"v")
_LISTED = re.compile(rb'\* LIST \(([^)]*)\) "/" (\S+)\r\n')
_SUBJECT = re.compile(rb"Subject: (stress \d+-\d+)")
_EXISTS = re.compile(rb"\* (\d+) EXISTS")
_MESSAGES = re.compile(rb"MESSAGES (\d+)")
_TROUBLE = (b"UNAVAILABLE", b"SERVERBUG", b"CORRUPTION", b"Internal")
_MANY = 100
"""Messages copied at once, at most: more than the server links in one go."""


@dataclass
class TreeReport:
    """
    What a run saw.

    @ivar violations: What may not happen.
    @ivar acknowledged: Subjects of the messages that must be there.
    """

    violations: list[str] = field(default_factory=list)
    acknowledged: set[bytes] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def violation(self, text: str) -> None:
        """Note one."""
        with self.lock:
            self.violations.append(text)


class TreeClient:
    """One connection."""

    def __init__(self, address: tuple[str, int], user: str, password: str, seed: int, report: TreeReport) -> None:
        """Connect and log in; some are told of everything, and some use QRESYNC."""
        self.random = random.Random(seed)
        self._seed = seed
        self._report = report
        self._wire = Wire(address)
        self._count = 0
        self._exists = 0
        self._wire.line()
        self.command(b"LOGIN %b %b" % (user.encode(), password.encode()))
        if seed % 3 == 0:
            self.command(b"NOTIFY SET (personal (MessageNew MessageExpunge MailboxName))")
        if seed % 4 == 0:
            self.command(b"ENABLE QRESYNC")

    def command(self, command: bytes) -> tuple[bytes, list[bytes]]:
        """Send a command and take what is answered: the tagged line without its tag, and the others."""
        self._count += 1
        tag = b"t%d" % self._count
        self._wire.send(b"%b %b\r\n" % (tag, command))
        untagged: list[bytes] = []
        while not (line := self._wire.line()).startswith(tag + b" "):
            untagged.append(line)
            exists = _EXISTS.match(line)
            if exists:
                self._exists = int(exists[1])
        answer = line[len(tag) + 1 :]
        if answer.startswith(b"BAD") or any(word in answer for word in _TROUBLE):
            self._report.violation(f"client {self._seed}: {command[:100]!r} was answered {answer!r}")
        return answer, untagged

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    # --- what it does ---

    def _name(self) -> bytes:
        return ROOT + b"/" + self.random.choice(_NAMES)

    def step(self) -> None:
        """One random command."""
        name = self._name()
        choice = self.random.random()
        if choice < 0.3:
            self._append(name)
        elif choice < 0.4:
            self._copy(name)
        else:
            other = self._name()
            self.command(
                self.random.choice(
                    (
                        b"CREATE " + name,
                        b"CREATE " + name,
                        b"RENAME %b %b" % (name, other),
                        b"RENAME %b %b" % (name, other),
                        b"STATUS %b (MESSAGES UIDNEXT UNSEEN)" % name,
                        b'LIST "" %b*' % ROOT,
                        b'LIST "" %b/%% RETURN (CHILDREN STATUS (MESSAGES))' % ROOT,
                        b"SUBSCRIBE " + name,
                        b'LSUB "" *',
                        b"GETACL " + name,
                        b"NOOP",
                    )
                )
            )
        if self.random.random() < 0.05:
            self._delete_empty(name)

    def _append(self, name: bytes) -> None:
        subject = b"stress %d-%d" % (self._seed, self._count)
        text = b"Subject: %b\r\n\r\n%b\r\n" % (subject, b"x" * self.random.randint(0, 500))
        answer, _untagged = self.command(b"APPEND %b {%d+}\r\n%b" % (name, len(text), text))
        if answer.startswith(b"OK"):
            with self._report.lock:
                self._report.acknowledged.add(subject)

    def _copy(self, name: bytes) -> None:
        answer, _untagged = self.command(b"SELECT " + self._name())
        if answer.startswith(b"OK") and self._exists:
            self.command(b"COPY 1:%d %b" % (min(self._exists, _MANY), name))

    def _delete_empty(self, name: bytes) -> None:
        """Only one that this client made just now, where nobody else looks."""
        mine = name + b"-%d" % self._seed
        if self.command(b"CREATE " + mine)[0].startswith(b"OK"):
            self.command(b"DELETE " + mine)

    # --- what it finds ---

    def mailboxes(self) -> list[bytes]:
        """All there are in the tree."""
        # What it tells would stand among the answers to LIST.
        self.command(b"NOTIFY NONE")
        _answer, untagged = self.command(b'LIST "" %b*' % ROOT)
        found = [match for line in untagged if (match := _LISTED.match(line))]
        return sorted(match[2] for match in found if b"Noselect" not in match[1])

    def subjects(self, name: bytes) -> Iterator[bytes]:
        """Of all messages in a mailbox, whose numbers must agree."""
        answer, untagged = self.command(b"STATUS %b (MESSAGES)" % name)
        told = next((int(match[1]) for line in untagged if (match := _MESSAGES.search(line))), -1)
        answers = answer, self.command(b"EXAMINE " + name)[0]
        if not all(answer.startswith(b"OK") for answer in answers):
            self._report.violation(f"{name!r} is listed, and cannot be selected: {answers}")
            return
        texts = self.command(b"FETCH 1:* BODY.PEEK[]")[1] if self._exists else []
        found = [match[1] for line in texts if (match := _SUBJECT.search(line))]
        if not told == self._exists == len(found):
            self._report.violation(f"{name!r}: {told} by STATUS, {self._exists} by EXAMINE, {len(found)} by FETCH")
        yield from found


def run_tree(
    address: tuple[str, int], user: str, password: str, *, clients: int, seconds: float, steps: int = sys.maxsize
) -> TreeReport:
    """
    Work on one tree with many connections, and look for all messages at the end.

    @param seconds: How long to work at most.
    @param steps: How many commands each gives at most.
    """
    report = TreeReport()
    pool = [TreeClient(address, user, password, seed, report) for seed in range(clients)]
    pool[0].command(b"CREATE " + ROOT)
    deadline = time.monotonic() + seconds

    def work(client: TreeClient) -> None:
        try:
            for _ in range(steps):
                if time.monotonic() > deadline:
                    break
                client.step()
        except (Disconnected, OSError) as error:
            report.violation(f"a client was disconnected: {error!r}")

    threads = [threading.Thread(target=work, args=(client,)) for client in pool]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _compare(pool, report)
    return report


def _compare(pool: list[TreeClient], report: TreeReport) -> None:
    try:
        listings = [client.mailboxes() for client in pool]
        if any(listing != listings[0] for listing in listings):
            report.violation(f"clients see different mailboxes: {listings}")
        found = {subject for name in listings[0] for subject in pool[-1].subjects(name)}
        lost = report.acknowledged - found
        if lost:
            report.violation(f"{len(lost)} acknowledged messages are lost: {sorted(lost)[:5]}")
    except (Disconnected, OSError) as error:
        report.violation(f"a client was disconnected at the end: {error!r}")
    for client in pool:
        client.close()


def main() -> int:
    """Run from the command line; exit status 1 after any violation."""
    parser = argparse.ArgumentParser(description="Rename mailboxes under mail, and look for the mail.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    report = run_tree((args.host, args.port), args.user, args.password, clients=args.clients, seconds=args.seconds)
    lines = [f"{len(report.acknowledged)} messages"] + (report.violations or ["no violation"])
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
