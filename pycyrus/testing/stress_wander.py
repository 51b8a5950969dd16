"""
Clients that go from mailbox to mailbox, while these come, go and are renamed.

Unlike L{pycyrus.testing.stress}, which keeps to one mailbox, each client reads
every response strictly, and checks it against what it was told of the mailbox
that it has selected; what is true for all, such as the size of the message of
a UID, or in which session it is recent, is checked against what all were told::

    python -m pycyrus.testing.stress_wander --port 10143 --user user --password ... --seconds 60
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pycyrus.testing.stress import expanded
from pycyrus.testing.stress_grammar import TAGGED, BadResponse, attributes, is_known
from pycyrus.testing.stress_wire import Disconnected, TlsAddress, Wire

BOXES = (b"INBOX", b"wander-a", b"wander-b", b"wander-a/x", b"INBOX/wander")
_SYSTEM = (rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft")
_KEYWORDS = tuple(b"$wander%d" % number for number in range(8))
_NUMBERED = re.compile(rb"\* (\d+) (EXISTS|EXPUNGE|RECENT|FETCH) ?")
_CODE = re.compile(rb"\* OK \[([A-Z]+) ?([^\]]*)\]")
_APPENDED = re.compile(rb"OK \[APPENDUID (\d+) ([\d:,]+)\]")
_COPIED = re.compile(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]")
_TROUBLE = re.compile(rb"UNAVAILABLE|SERVERBUG|CORRUPTION|Internal")
_KEEPS_NUMBERS = frozenset((b"FETCH", b"STORE", b"SEARCH", b"SORT", b"THREAD"))
"""Commands during which nothing is expunged (RFC 9051 section 7.5.1)."""
_ITEMS = (
    b"(UID FLAGS)",
    b"(FLAGS RFC822.SIZE INTERNALDATE)",
    b"FULL",
    b"(UID BODY.PEEK[])",
    b"(UID BODY[HEADER.FIELDS (SUBJECT)] BODYSTRUCTURE)",
    b"(UID BINARY.PEEK[1] PREVIEW EMAILID)",
)
_KEYS = (b"ALL", b"UNSEEN", b"RECENT", b"KEYWORD $wander3", b"1:*", b"NOT 1", b"BODY yyy", b"OR SEEN FLAGGED", b"$")
_RETURNS = (b"", b"RETURN (COUNT) ", b"RETURN (MIN MAX) ", b"RETURN (SAVE) ", b"RETURN (PARTIAL 1:5) ", b"RETURN () ")


@dataclass
class WanderReport:
    """
    What a run saw.

    @ivar violations: What the server said that it may not say.
    @ivar answered: How many commands were answered.
    @ivar sizes: Of the message of each UIDVALIDITY and UID.
    @ivar recent: In which session each is recent.
    """

    violations: list[str] = field(default_factory=list)
    answered: int = 0
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    recent: dict[tuple[int, int], str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Wanderer:
    """One connection, and what it knows of the mailbox that it has selected."""

    def __init__(self, address: tuple[str, int], user: str, password: str, number: int, report: WanderReport) -> None:
        """Connect and log in; some enable QRESYNC, and some compress."""
        self.random = random.Random(number)
        self.name = f"wanderer {number}"
        self._report = report
        self._wire = Wire(address)
        self._tag = 0
        self._verb = b""
        self._leave()
        self._wire.line()
        self.command(b"LOGIN", b"%b %b" % (user.encode(), password.encode()))
        self._is_qresync = number % 3 == 1
        if self._is_qresync:
            self.command(b"ENABLE", b"QRESYNC")
        if number % 4 == 2 and self.command(b"COMPRESS", b"DEFLATE")[0].startswith(b"OK"):
            self._wire.compress()

    def _leave(self) -> None:
        self.box: bytes | None = None
        self._uids: list[int | None] = []
        self._keywords: frozenset[bytes] | None = None
        self._validity = 0
        self._is_read_only = self._is_annotate = False

    def _violation(self, text: str) -> None:
        with self._report.lock:
            self._report.violations.append(f"{self.name} in {self._verb.decode()}: {text}")

    # --- commands ---

    def command(self, verb: bytes, arguments: bytes = b"") -> tuple[bytes, list[bytes]]:
        """Send a command, and take all up to its tagged answer, which is returned without the tag."""
        tag = self._send(verb, arguments)
        if verb == b"IDLE":
            line = self._wire.line()
            while line.startswith(b"* "):
                self._untagged(line)
                line = self._wire.line()
            time.sleep(self.random.random() / 50)
            self._wire.send(b"DONE\r\n")
        return self._until(tag, verb)

    def _send(self, verb: bytes, arguments: bytes) -> bytes:
        self._tag += 1
        self._verb = verb
        self._wire.send(b"t%d %b%b\r\n" % (self._tag, verb, b" " + arguments if arguments else b""))
        return b"t%d " % self._tag

    def _until(self, tag: bytes, verb: bytes) -> tuple[bytes, list[bytes]]:
        self._verb = verb
        told: list[bytes] = []
        while True:
            line = self._wire.line()
            if line.startswith(tag):
                break
            self._untagged(line)
            told.append(line)
        answer = line[len(tag) :]
        if not TAGGED.fullmatch(answer) or answer.startswith(b"BAD") or _TROUBLE.search(answer):
            self._violation(f"answered {answer!r}")
        with self._report.lock:
            self._report.answered += 1
        return answer, told

    # --- what it is told ---

    def _untagged(self, line: bytes) -> None:
        numbered = _NUMBERED.match(line)
        if numbered is not None:
            self._numbered(int(numbered[1]), numbered[2], line[numbered.end() :])
            return
        if not is_known(line):
            self._violation(f"told {line[:200]!r}")
        code = _CODE.match(line)
        if code is not None and code[1] == b"CLOSED":
            self._leave()
        elif code is not None and code[1] == b"UIDVALIDITY":
            self._validity = int(code[2])
        elif line.startswith(b"* FLAGS "):
            self._keywords = frozenset(line.lower()[9:-3].split())
        elif line.startswith(b"* VANISHED ") and not line.startswith(b"* VANISHED (EARLIER)"):
            for uid in expanded(line.split()[2]):
                self._vanished(uid)

    def _numbered(self, number: int, what: bytes, rest: bytes) -> None:
        if what == b"EXISTS":
            known = 0 if self._verb in (b"SELECT", b"EXAMINE") else len(self._uids)
            if number < known:
                self._violation(f"EXISTS went from {known} to {number}")
            self._uids = self._uids[:known] + [None] * (number - known)
        elif not (what == b"RECENT" or 1 <= number <= len(self._uids)):
            self._violation(f"{what.decode()} of message {number} of {len(self._uids)}")
        elif what == b"RECENT" and number > len(self._uids):
            self._violation(f"{number} of {len(self._uids)} messages are recent")
        elif what == b"EXPUNGE":
            if self._is_qresync or self._verb in _KEEPS_NUMBERS:
                self._violation(f"EXPUNGE {number} is not allowed here")
            del self._uids[number - 1]
        elif what == b"FETCH":
            self._fetched(number, rest)

    def _vanished(self, uid: int) -> None:
        if not self._is_qresync or self._verb in _KEEPS_NUMBERS:
            self._violation(f"VANISHED {uid} is not allowed here")
        after = next((at for at, known in enumerate(self._uids) if known is not None and known >= uid), len(self._uids))
        place = after if self._uids[after : after + 1] == [uid] else after - 1
        if place < 0 or self._uids[place] not in (uid, None):
            self._violation(f"VANISHED {uid}, which was not there")
        else:
            del self._uids[place]

    def _fetched(self, number: int, rest: bytes) -> None:
        try:
            items = attributes(rest)
        except BadResponse as error:
            self._violation(str(error))
            return
        known = self._uids[number - 1]
        told = items.get(b"UID")
        if isinstance(told, bytes):
            self._uids[number - 1] = int(told)
            if known not in (None, int(told)) or not self._is_in_order(number - 1):
                self._violation(f"message {number} had UID {known}, has {told!r}, among {self._uids}")
        uid = self._uids[number - 1]
        flags = items.get(b"FLAGS")
        if isinstance(flags, list):
            self._check_flags(uid, [flag for flag in flags if isinstance(flag, bytes)])
        # RFC 5257 section 4.3: names only, and only to those who want them.
        if b"ANNOTATION" in items and (not self._is_annotate or items[b"ANNOTATION"] != [b"/comment"]):
            self._violation(f"told unasked: {rest!r}")
        size, body = items.get(b"RFC822.SIZE"), items.get(b"BODY[]")
        if uid is not None and self._validity:
            for length in (int(size) if isinstance(size, bytes) else None, None if body is None else len(body)):
                self._check_size(self._validity, uid, length)

    def _is_in_order(self, place: int) -> bool:
        around = [uid for uid in self._uids[max(place - 1, 0) : place + 2] if uid is not None]
        return around == sorted(set(around))

    def _check_size(self, validity: int, uid: int, size: int | None) -> None:
        if size is not None:
            with self._report.lock:
                known = self._report.sizes.setdefault((validity, uid), size)
            if known != size:
                self._violation(f"UID {uid} has {size} octets, and had {known}")

    def _check_flags(self, uid: int | None, flags: Sequence[bytes]) -> None:
        """Each is told once, was defined before, and makes the message recent in one session only."""
        if len(set(map(bytes.lower, flags))) != len(flags):
            self._violation(f"flags twice: {flags}")
        unknown = {flag.lower() for flag in flags} - {rb"\recent"} - (self._keywords or frozenset())
        if unknown and self._keywords is not None:
            self._violation(f"flags that were not defined: {sorted(unknown)}")
        if rb"\Recent" in flags and uid is not None and self._validity and not self._is_read_only:
            with self._report.lock:
                whose = self._report.recent.setdefault((self._validity, uid), self.name)
            if whose != self.name:
                self._violation(f"UID {uid} is recent for {whose} too")

    # --- what it does ---

    def step(self) -> None:
        """One random thing."""
        actions: list[Callable[[], object]] = [
            self._select,
            self._append,
            self._append,
            self._change_tree,
            lambda: self.command(b"NOOP"),
            lambda: self.command(b"IDLE"),
            lambda: self.command(b"LIST", b'"" * RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY) SUBSCRIBED)'),
            lambda: self.command(b"STATUS", self._any_box() + b" (MESSAGES UIDNEXT UNSEEN SIZE DELETED)"),
        ]
        if self.box is None:
            actions += [self._select] * 6
        elif self._uids:
            actions += [*self._reading(), *([] if self._is_read_only else self._changing())]
        self.random.choice(actions)()

    def _reading(self) -> list[Callable[[], object]]:
        choice = self.random.choice
        return [
            lambda: self.command(b"FETCH", b"%b %b" % (self._some(), choice(_ITEMS))),
            lambda: self.command(b"UID FETCH", b"%d:* (FLAGS RFC822.SIZE)" % self._uid()),
            lambda: self.command(choice((b"SEARCH", b"UID SEARCH")), choice(_RETURNS) + choice(_KEYS)),
            lambda: self.command(b"SORT", b"(REVERSE SUBJECT SIZE) UTF-8 ALL"),
            lambda: self.command(b"THREAD", b"REFERENCES UTF-8 ALL"),
            lambda: self.command(b"UID COPY", b"%d %b" % (self._uid(), self._any_box())),
            self._unselect,
            self._pipeline,
        ]

    def _changing(self) -> list[Callable[[], object]]:
        choice = self.random.choice
        return [
            lambda: self.command(b"STORE", b"%b %b (%b)" % (self._some(), self._sign(), self._flags())),
            lambda: self.command(b"UID STORE", b"%d:* %b (%b)" % (self._uid(), self._sign(), self._flags())),
            lambda: self.command(
                b"STORE",
                b"%b ANNOTATION (/comment (value.shared %b))" % (self._some(), choice((b'"a"', b'"b"', b"NIL"))),
            ),
            lambda: self.command(choice((b"EXPUNGE", b"NOOP"))),
            lambda: self.command(b"UID EXPUNGE", b"%d:*" % self._uid()),
            self._move,
        ]

    def _any_box(self) -> bytes:
        return self.random.choice(BOXES)

    def _some(self) -> bytes:
        first, last = sorted(self.random.choices(range(1, len(self._uids) + 1), k=2))
        return b"%d:%d" % (first, min(last, first + 20))

    def _uid(self) -> int:
        return self.random.choice([uid for uid in self._uids if uid is not None] or [1])

    def _sign(self) -> bytes:
        return self.random.choice((b"+FLAGS", b"-FLAGS", b"FLAGS", b"+FLAGS.SILENT"))

    def _flags(self) -> bytes:
        return b" ".join(self.random.sample(_SYSTEM + _KEYWORDS, self.random.randint(1, 3)))

    def _select(self) -> None:
        box, verb = self._any_box(), self.random.choice((b"SELECT", b"SELECT", b"SELECT", b"EXAMINE"))
        self._keywords = None
        is_annotate = self.random.random() < 0.5
        answer, _told = self.command(verb, box + (b" (ANNOTATE)" if is_annotate else b""))
        if answer.startswith(b"OK"):
            self.box, self._is_read_only, self._is_annotate = box, verb == b"EXAMINE", is_annotate
        else:
            self._leave()

    def _unselect(self) -> None:
        if self.command(self.random.choice((b"UNSELECT", b"CLOSE")))[0].startswith(b"OK"):
            self._leave()

    def _append(self) -> None:
        body = b"Subject: wander %d\r\n\r\n%b\r\n" % (self.random.getrandbits(30), b"y" * self.random.randint(1, 900))
        arguments = b"%b (%b) {%d+}\r\n%b" % (self._any_box(), self._flags(), len(body), body)
        found = _APPENDED.match(self.command(b"APPEND", arguments)[0])
        if found is not None:
            self._check_size(int(found[1]), int(found[2]), len(body))

    def _move(self) -> None:
        """What was moved must have gone from here when the command ends (RFC 6851 section 3.1)."""
        answer, told = self.command(b"UID MOVE", b"%d %b" % (self._uid(), self._any_box()))
        copied = _COPIED.search(b"".join(told))
        left = set(expanded(copied[2])).intersection(filter(None, self._uids)) if copied else set()
        if left and answer.startswith(b"OK"):
            self._violation(f"moved, and still there: {sorted(left)}")

    def _change_tree(self) -> None:
        verb = self.random.choice((b"CREATE", b"CREATE", b"DELETE", b"RENAME", b"SUBSCRIBE", b"UNSUBSCRIBE"))
        boxes = self.random.sample(BOXES[1:], 2 if verb == b"RENAME" else 1)
        self.command(verb, b" ".join(boxes))

    def _pipeline(self) -> None:
        """Numbers hold until a command that may expunge is answered."""
        commands = [
            (b"FETCH", self._some() + b" (UID FLAGS)"),
            (b"UID FETCH", b"%d (FLAGS)" % self._uid()),
            (b"SEARCH", b"ALL"),
            (b"NOOP", b""),
            (b"FETCH", b"1:* (UID FLAGS)"),
        ]
        tags = [self._send(*command) for command in commands]
        for tag, (verb, _arguments) in zip(tags, commands, strict=True):
            self._until(tag, verb)

    def close(self) -> None:
        """Hang up."""
        self._wire.close()


def run_wanderers(
    address: tuple[str, int],
    user: str,
    password: str,
    *,
    clients: int,
    seconds: float,
    seed: int = 1,
    steps: int | None = None,
) -> WanderReport:
    """
    Have many connections of one user wander.

    @param seconds: How long.
    @param steps: How many commands each gives at most; None for as many as there is time for.
    """
    report = WanderReport()
    pool = [Wanderer(address, user, password, seed * 1000 + number, report) for number in range(clients)]
    deadline = time.monotonic() + seconds

    def work(client: Wanderer) -> None:
        try:
            for _ in range(steps) if steps is not None else itertools.count():
                if time.monotonic() > deadline:
                    break
                client.step()
        except (Disconnected, OSError) as error:
            with report.lock:
                report.violations.append(f"{client.name} was disconnected: {error!r}")

    threads = [threading.Thread(target=work, args=(client,)) for client in pool]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in pool:
        client.close()
    return report


def main() -> int:
    """Run from the command line; exit status 1 after any violation."""
    parser = argparse.ArgumentParser(
        description="Wander through the mailboxes of an IMAP server and check what it says."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", action="store_true", help="of the port, from the beginning")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    address = TlsAddress(args.host, args.port) if args.tls else (args.host, args.port)
    report = run_wanderers(
        address, args.user, args.password, clients=args.clients, seconds=args.seconds, seed=args.seed
    )
    lines = [f"{report.answered} commands"] + (report.violations[:100] or ["no violation"])
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
