"""
A stress client for IMAP servers that knows what it was told.

Any number of connections work at random on one mailbox.  Each keeps what the
server told it (how many messages, which UID has which number, flags) and
checks every response against that and against RFC 3501 and RFC 9051; at the
end all must agree.  Violations are collected, not raised.
L{pycyrus.testing.stress_run} is its command line.
"""

from __future__ import annotations

import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pycyrus.testing.stress_wire import Disconnected, Wire

FLAGS = (rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Deleted", rb"\Draft", b"$Forwarded", b"$Label1")
_FETCH = re.compile(rb"\* (\d+) FETCH \(")
_UID = re.compile(rb"[( ]UID (\d+)")
_FLAGS = re.compile(rb"[( ]FLAGS \(([^)]*)\)")
_SIZE = re.compile(rb"[( ]RFC822\.SIZE (\d+)")
_DATE = re.compile(rb'[( ]INTERNALDATE ("[^"]*")')
_COUNT = re.compile(rb"\A\* ESEARCH .* COUNT (\d+)")
_MODSEQ = re.compile(rb"[( ]MODSEQ \((\d+)\)")
_APPENDED = re.compile(rb"\[APPENDUID \d+ ([\d:,]+)\]")
VANISHING = (
    b"EXPUNGE",
    b"MOVE",
    b"NOOP",
    b"CHECK",
    b"IDLE",
    b"APPEND",
    b"COPY",
    b"UID",
    b"STATUS",
    b"LIST",
    b"SELECT",
    b"REPLACE",
    b"UNSELECT",
)
"""Commands during which EXPUNGE may be sent; UID commands among them (RFC 9051 section 7.5.1)."""


@dataclass
class Report:
    """
    What a run saw.

    @ivar violations: What the server said that it may not say.
    @ivar commands: Commands answered, by verb.
    @ivar refused: Tagged NO answers, by verb.
    @ivar appended: UIDs of acknowledged APPENDs with their size.
    @ivar states: Flags of a UID at a modseq, whoever was told.
    """

    violations: list[str] = field(default_factory=list)
    commands: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    appended: dict[int, int] = field(default_factory=dict)
    states: dict[tuple[str, int, int], frozenset[bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def violation(self, text: str) -> None:
        """Note one, up to a hundred."""
        with self.lock:
            if len(self.violations) < 100:
                self.violations.append(text)

    def count(self, verb: bytes, accepted: bool) -> None:
        """Note a tagged answer."""
        with self.lock:
            table = self.commands if accepted else self.refused
            name = verb.decode()
            table[name] = table.get(name, 0) + 1


def expanded(numbers: bytes) -> list[int]:
    """The numbers of a set without C{*}, in its order."""
    found: list[int] = []
    for part in numbers.split(b","):
        first, _, last = part.partition(b":")
        found += range(int(first), int(last or first) + 1)
    return found


class Client:
    """
    One connection and what it was told.

    @cvar vanishing: Commands during which messages may go.
    @ivar private: Flags that are each user's own; other sessions may show a
        change of them a moment before the modseq that tells of it.
    """

    vanishing = VANISHING
    private: frozenset[bytes] = frozenset()

    def __init__(
        self, address: tuple[str, int], user: str, password: str, mailbox: str, seed: int, report: Report
    ) -> None:
        """Connect and log in."""
        self.random = random.Random(seed)
        self.report = report
        self.mailbox = mailbox
        self.user = user
        self.name = f"client {seed}"
        self._wire = Wire(address)
        self._tag = 0
        self._verb = b""
        self.uids: list[int | None] = []
        self.flags: dict[int, frozenset[bytes]] = {}
        self.modseqs: dict[int, int] = {}
        self.fixed: dict[tuple[int, str], bytes] = {}
        self._is_selected = False
        self._wire.line()
        self.command(b"LOGIN", b"%b %b" % (user.encode(), password.encode()))
        self._prepare(seed)

    def _prepare(self, seed: int) -> None:
        """What this kind of client says before it selects anything."""
        if seed % 3 == 0:
            # To be told of changes between commands as well, but of no other numbers.
            self.command(b"NOTIFY", b"SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
        if seed % 4 == 2 and self.command(b"COMPRESS", b"DEFLATE")[0].startswith(b"OK"):
            self._wire.compress()

    # --- commands ---

    def command(
        self, verb: bytes, arguments: bytes = b"", *, literal: bytes | None = None
    ) -> tuple[bytes, list[bytes]]:
        """
        Send a command and take all responses until its tagged one.

        @return: The tagged line without its tag, and the untagged ones.
        """
        self._tag += 1
        tag = b"t%d" % self._tag
        self._verb = verb
        line = b"%b %b%b" % (tag, verb, b" " + arguments if arguments else b"")
        if literal is not None:
            line += b" {%d+}\r\n%b" % (len(literal), literal)
        self._wire.send(line + b"\r\n")
        if verb == b"IDLE":
            self._idle()
        answer, untagged = self._until(tag)
        self._verb = b""
        status = answer[:3].rstrip()
        self.report.count(verb, status == b"OK")
        if status == b"BAD" and verb != b"NOTIFY":
            self._violation(f"BAD to {line[:200]!r}: {answer!r}")
        return answer, untagged

    def _until(self, tag: bytes) -> tuple[bytes, list[bytes]]:
        untagged: list[bytes] = []
        while True:
            line = self._wire.line()
            if line.startswith(tag + b" "):
                return line[len(tag) + 1 :], untagged
            if line.startswith(b"* "):
                self._untagged(line)
                untagged.append(line)
            elif not line.startswith(b"+"):
                self._violation(f"neither untagged nor {tag!r}: {line[:200]!r}")

    def _idle(self) -> None:
        line = self._wire.line()
        while line.startswith(b"* "):
            self._untagged(line)
            line = self._wire.line()
        if not line.startswith(b"+"):
            self._violation(f"IDLE was answered {line!r}")
        time.sleep(self.random.random() / 20)
        self._wire.send(b"DONE\r\n")

    # --- what we are told ---

    def _violation(self, text: str) -> None:
        self.report.violation(f"{self.name} in {self._verb.decode()}: {text}")

    def _untagged(self, line: bytes) -> None:
        if line.startswith(b"* BYE"):
            return
        if line.startswith(b"* OK [CLOSED]"):
            self.uids, self.flags, self.modseqs = [], {}, {}
            return
        words = line[2:].split(None, 2)
        if words[0].isdigit() and len(words) > 1:
            number, what = int(words[0]), words[1].upper()
            if what == b"EXISTS":
                self._exists(number)
            elif what == b"EXPUNGE":
                self._expunge(number)
            elif what == b"FETCH":
                self._fetch(number, line)

    def _exists(self, number: int) -> None:
        if self._verb == b"SELECT":
            self.uids, self.flags, self.modseqs = [None] * number, {}, {}
            self._is_selected = True
        elif number < len(self.uids):
            self._violation(f"EXISTS went from {len(self.uids)} to {number}")
        else:
            self.uids += [None] * (number - len(self.uids))

    def _expunge(self, number: int) -> None:
        if not self._verb.startswith(self.vanishing):
            self._violation(f"EXPUNGE {number} is not allowed here")
        if not 1 <= number <= len(self.uids):
            self._violation(f"EXPUNGE {number} of {len(self.uids)}")
            return
        uid = self.uids.pop(number - 1)
        if uid is not None:
            self._forget(uid)

    def _forget(self, uid: int) -> None:
        self.flags.pop(uid, None)
        self.modseqs.pop(uid, None)

    def _check_size(self, uid: int, size: int) -> None:
        """Of a message that a client of this run appended, the size is known."""
        if self.report.appended.get(uid, size) != size:
            self._violation(f"UID {uid} has {size} octets, and was appended with {self.report.appended[uid]}")

    def _fetch(self, number: int, line: bytes) -> None:
        if not 1 <= number <= len(self.uids):
            self._violation(f"FETCH of message {number} of {len(self.uids)}")
            return
        found = _UID.search(line)
        if found:
            self._learn_uid(number, int(found[1]))
        uid = self.uids[number - 1]
        if uid is None:
            return
        for name, pattern in (("size", _SIZE), ("date", _DATE)):
            value = pattern.search(line)
            if value and self.fixed.setdefault((uid, name), value[1]) != value[1]:
                self._violation(f"{name} of UID {uid} changed from {self.fixed[uid, name]!r} to {value[1]!r}")
        size = _SIZE.search(line)
        if size:
            self._check_size(uid, int(size[1]))
        self._learn_flags(uid, line)

    def _learn_flags(self, uid: int, line: bytes) -> None:
        """Flags, which are the same for all at each modseq, and modseqs, which grow."""
        flags, modseq = _FLAGS.search(line), _MODSEQ.search(line)
        if modseq:
            number = int(modseq[1])
            if number < self.modseqs.get(uid, 0):
                self._violation(f"modseq of UID {uid} went from {self.modseqs[uid]} to {number}")
            self.modseqs[uid] = number
        if flags:
            self.flags[uid] = frozenset(flags[1].split()) - {rb"\Recent"}
        if flags and modseq:
            shared = self.flags[uid] - self.private
            known = self.report.states.setdefault((self.user, uid, int(modseq[1])), shared)
            if known != shared:
                self._violation(
                    f"UID {uid} has {sorted(self.flags[uid])} at modseq {int(modseq[1])}, and had {sorted(known)} there"
                )

    def _learn_uid(self, number: int, uid: int) -> None:
        known = self.uids[number - 1]
        if known is None:
            self.uids[number - 1] = uid
        elif known != uid:
            self._violation(f"message {number} had UID {known}, now {uid}")
        before = next((other for other in reversed(self.uids[: number - 1]) if other is not None), 0)
        after = next((other for other in self.uids[number:] if other is not None), 1 << 32)
        if not before < uid < after:
            self._violation(f"UID {uid} of message {number} is not between {before} and {after}")

    # --- what we do ---

    def select(self) -> None:
        """Begin anew with the mailbox; until it says so the server may tell of the old one."""
        self.command(b"SELECT", self.mailbox.encode())

    def step(self) -> None:
        """One random command."""
        if not self._is_selected:
            self.select()
        action = self.random.choice(self._actions())
        action()

    def _actions(self) -> Sequence[Callable[[], object]]:
        always: list[Callable[[], object]] = [
            lambda: self.command(b"NOOP"),
            self._append,
            lambda: self.command(b"STATUS", self.mailbox.encode() + b" (MESSAGES UIDNEXT UNSEEN)"),
            lambda: self.command(b"IDLE"),
            self._reselect,
        ]
        if not self.uids:
            return always
        return [
            *always,
            lambda: self.command(b"FETCH", self._numbers() + b" (UID FLAGS RFC822.SIZE INTERNALDATE)"),
            lambda: self.command(b"FETCH", self._numbers() + b" (UID ENVELOPE BODYSTRUCTURE)"),
            lambda: self.command(b"UID FETCH", b"1:* (FLAGS RFC822.SIZE)"),
            lambda: self.command(b"FETCH", b"%d (UID BODY.PEEK[])" % self.random.randint(1, len(self.uids))),
            self._store,
            self._store,
            lambda: self.command(b"UID STORE", b"%b +FLAGS (%b)" % (self._some_uid(), self.random.choice(FLAGS))),
            lambda: self.command(b"SEARCH", self.random.choice((b"UNSEEN", b"DELETED", b"ALL", b"SUBJECT stress"))),
            lambda: self.command(b"EXPUNGE"),
            lambda: self.command(b"UID MOVE", b"%b %b" % (self._some_uid(), self.mailbox.encode())),
            lambda: self.command(b"UID EXPUNGE", self._some_uid()),
            lambda: self.command(b"SORT", b"(REVERSE SUBJECT ARRIVAL) UTF-8 UNDELETED"),
            self._pipeline,
            lambda: self.command(b"UID COPY", b"%b %b" % (self._some_uid(), self.mailbox.encode())),
            lambda: self.command(b"CHECK"),
            self._replace,
            self._count,
            self._saved_result,
        ]

    def _numbers(self) -> bytes:
        first, last = sorted(self.random.choices(range(1, len(self.uids) + 1), k=2))
        return b"%d:%d" % (first, last)

    def _some_uid(self) -> bytes:
        known = [uid for uid in self.uids if uid is not None]
        return b"%d" % self.random.choice(known) if known else b"1"

    def _reselect(self) -> None:
        if self.random.random() < 0.2:
            self.select()

    def _append(self) -> None:
        """One message, or two at once (RFC 3502)."""
        texts = [self._text() for _ in range(self.random.choice((1, 1, 1, 2)))]
        arguments = self.mailbox.encode() + b"".join(b" {%d+}\r\n%b" % (len(text), text) for text in texts)
        answer, _untagged = self.command(b"APPEND", arguments)
        self._note_appended(answer, texts)

    def _replace(self) -> None:
        """A message in the place of another (RFC 8508)."""
        text = self._text()
        answer, untagged = self.command(
            b"UID REPLACE", b"%b %b {%d+}\r\n%b" % (self._some_uid(), self.mailbox.encode(), len(text), text)
        )
        told = next((line for line in untagged if _APPENDED.search(line)), answer)
        self._note_appended(told if answer.startswith(b"OK") else answer, [text])

    def _text(self) -> bytes:
        body = b"x" * self.random.randint(1, 3000)
        return b"From: stress@example.com\r\nSubject: stress %d\r\n\r\n%b\r\n" % (self.random.getrandbits(30), body)

    def _note_appended(self, answer: bytes, texts: Sequence[bytes]) -> None:
        found = _APPENDED.search(answer)
        if not found:
            return
        uids = expanded(found[1])
        if len(uids) != len(texts):
            self._violation(f"{len(texts)} messages were appended, and {answer!r} told")
        with self.report.lock:
            for uid, text in zip(uids, texts, strict=False):
                if uid in self.report.appended:
                    self.report.violations.append(f"UID {uid} was given twice")
                self.report.appended[uid] = len(text)

    def _count(self) -> None:
        """ESEARCH counts what the client knows of, but perhaps not what others removed (RFC 2180 section 4.1.2)."""
        before = len(self.uids)
        _answer, untagged = self.command(b"SEARCH", b"RETURN (MIN MAX COUNT ALL) ALL")
        for line in untagged:
            count = _COUNT.search(line)
            if count and int(count[1]) > max(before, len(self.uids)):
                self._violation(f"{line!r} with {before} to {len(self.uids)} messages")

    def _saved_result(self) -> None:
        """$ of RFC 5182, by number and by UID."""
        key = self.random.choice((b"DELETED", b"FLAGGED", b"1:*", b"UNSEEN"))
        self.command(b"SEARCH", b"RETURN (SAVE) " + key)
        verb = self.random.choice((b"FETCH", b"UID FETCH"))
        self.command(verb, b"$ (UID FLAGS)")

    def _pipeline(self) -> None:
        """Several commands at once: the numbers hold until one that may expunge has been answered."""
        number = self.random.randint(1, len(self.uids))
        commands = [
            (b"FETCH", b"%d (UID FLAGS)" % number),
            (b"STORE", b"%d +FLAGS (%b)" % (number, self.random.choice(FLAGS))),
            (b"SEARCH", b"%d:* UNDELETED" % number),
            (b"FETCH", b"%d (UID FLAGS RFC822.SIZE)" % number),
            (b"NOOP", b""),
        ]
        tags = [b"p%d" % (self._tag + place) for place in range(len(commands))]
        self._tag += len(commands)
        lines = zip(tags, commands, strict=True)
        self._wire.send(b"".join(b" ".join((tag, *filter(None, command))) + b"\r\n" for tag, command in lines))
        for tag, (verb, _) in zip(tags, commands, strict=True):
            self._verb = verb
            answer, _untagged = self._until(tag)
            self.report.count(verb, answer.startswith(b"OK"))
            if answer.startswith(b"BAD"):
                self._violation(f"BAD to a pipelined command: {answer!r}")
        self._verb = b""

    def _store(self) -> None:
        number = self.random.randint(1, len(self.uids))
        uid = self.uids[number - 1]
        flag = self.random.choice(FLAGS)
        sign = self.random.choice((b"+", b"-"))
        answer, untagged = self.command(b"STORE", b"%d %bFLAGS (%b)" % (number, sign, flag))
        if not answer.startswith(b"OK") or uid is None:
            return
        if any(line.startswith(b"* %d FETCH" % number) and _FLAGS.search(line) for line in untagged):
            return
        # Another connection may have expunged it, which may only be told now.
        self.command(b"NOOP")
        if uid in self.uids:
            self._violation(f"STORE of message {number} told no flags")

    def synchronise(self) -> list[tuple[int, frozenset[bytes]]]:
        """What this client believes after NOOP; compared with what it is told then."""
        self.command(b"NOOP")
        believed = {uid: self.flags.get(uid) for uid in self.uids if uid is not None}
        self.command(b"UID FETCH", b"1:* (FLAGS)")
        told = [(uid, self.flags.get(uid, frozenset())) for uid in self.uids if uid is not None]
        if len(told) != len(self.uids):
            self._violation(f"UID FETCH 1:* told {len(told)} of {len(self.uids)} messages")
        for uid, flags in told:
            before = believed.get(uid)
            if before is not None and before != flags:
                self._violation(f"flags of UID {uid} were {sorted(before)}, are {sorted(flags)}, and nobody said so")
        return [(uid, flags - self.private) for uid, flags in told]

    def close(self) -> None:
        """Hang up."""
        self._wire.close()


def run(
    address: tuple[str, int],
    users: Sequence[tuple[str, str]],
    *,
    mailbox: str,
    clients: int,
    seconds: float,
    seed: int = 1,
    steps: int | None = None,
    kinds: Sequence[type[Client]] = (Client,),
) -> Report:
    """
    Work on one mailbox with many connections.

    @param users: Names and passwords, used in turn; with several the mailbox
        must be one that they all may change.
    @param seconds: How long to work before all compare what they know.
    @param steps: How many commands each gives at most; None for as many as there is time for.
    @param kinds: Of clients, used in turn.
    """
    report = Report()
    pool = [
        kinds[n % len(kinds)](address, *users[n % len(users)], mailbox, seed * 1000 + n, report) for n in range(clients)
    ]
    for client in pool:
        client.private = frozenset() if len(users) == 1 else frozenset((rb"\Seen",))
    deadline = time.monotonic() + seconds

    def work(client: Client) -> None:
        try:
            for _ in range(steps) if steps is not None else itertools.count():
                if time.monotonic() > deadline:
                    break
                client.step()
        except (Disconnected, OSError) as error:
            report.violation(f"{client.name} was disconnected: {error!r}")

    threads = [threading.Thread(target=work, args=(client,)) for client in pool]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    compare(pool, report)
    return report


def compare(pool: Sequence[Client], report: Report) -> None:
    """All connections must end with the same messages and flags."""
    states = list(_states(pool, report))
    for client, state in states[1:]:
        if state != states[0][1]:
            difference = set(state) ^ set(states[0][1])
            report.violation(f"{client.name} ended differently from {states[0][0].name}: {sorted(difference)[:6]}")
    for client in pool:
        client.close()


def _states(pool: Sequence[Client], report: Report) -> Iterator[tuple[Client, list[tuple[int, frozenset[bytes]]]]]:
    for client in pool:
        try:
            yield client, client.synchronise()
        except (Disconnected, OSError) as error:
            report.violation(f"{client.name} was disconnected at the end: {error!r}")
