"""
A user who moves between two servers of a Murder while mail comes and is written, and servers die.

All steps, and all that can happen at them, has L{pycyrus.test.whole.every_step}.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import signal
import smtplib
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable

from typing_extensions import override

from pycyrus.test.whole.test_murder import TIMEOUT, MurderCase
from pycyrus.testing.commands import call
from pycyrus.testing.ports import free_ports
from pycyrus.testing.wire import Event, Wire

_PATIENCE = 90.0
_SUBJECT = re.compile(rb"Subject: (\w+)")
_UID = re.compile(rb"APPENDUID \d+ (\d+)")


class Traffic:
    """
    Mail for one user, by LMTP and by APPEND, with a flag set on the latter; each message has a word of its own.

    @ivar accepted: Words of messages that were.
    @ivar marked: Those on which the flag was set.
    @ivar wrong: Refusals that would have a sender give up.
    """

    def __init__(self, lmtp: tuple[str, int], log_in: Callable[[], imaplib.IMAP4]) -> None:
        self.accepted: set[str] = set()
        self.marked: set[str] = set()
        self.wrong: list[str] = []
        self._lmtp, self._log_in = lmtp, log_in
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._deliver, self._write)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop it."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _deliver(self) -> None:
        number = 0
        while not self._is_over.wait(0.02):
            number += 1
            word = f"L{number}"
            try:
                with smtplib.LMTP(*self._lmtp, timeout=TIMEOUT) as client:
                    client.sendmail("a@example.com", ["fred"], f"Subject: {word}\r\n\r\nx\r\n")
                self.accepted.add(word)
            except (smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused) as error:
                refused = getattr(error, "recipients", {}).values()
                codes = [code for code, _ in refused] or [getattr(error, "smtp_code", 0)]
                if any(code // 100 != 4 for code in codes):
                    self.wrong.append(str(error))
            except (OSError, smtplib.SMTPException):
                """Nobody said that it was accepted."""

    def _write(self) -> None:
        client, number = None, 0
        while not self._is_over.wait(0.02):
            number += 1
            try:
                client = client or self._selected()
                if client is not None and not self._append(client, f"A{number}"):
                    client.shutdown()
                    client = None
            except (OSError, imaplib.IMAP4.error):
                client = None

    def _selected(self) -> imaplib.IMAP4 | None:
        client = self._log_in()
        return client if client.select()[0] == "OK" else None

    def _append(self, client: imaplib.IMAP4, word: str) -> bool:
        status, answer = client.append("INBOX", "", "", f"Subject: {word}\r\n\r\nx\r\n".encode())
        if status != "OK":
            return False
        self.accepted.add(word)
        found = _UID.search(answer[0])
        assert found is not None
        status, answer = client.uid("STORE", found[1].decode(), "+FLAGS", "(\\Flagged)")
        if status == "OK" and answer != [None]:
            self.marked.add(word)
        return status == "OK"


class MovingCase(MurderCase):
    """
    Two backends, each behind a wire.

    @ivar wires_at: The address of the wires.
    @ivar stopped_for: Seconds; others give up after three.
    """

    backends = ("backend", "backend2")
    wires_at = "127.0.0.1"
    stopped_for = 4.0

    @override
    def setUp(self) -> None:
        self.wires: dict[str, Wire] = {}
        self._pauses: list[threading.Timer] = []
        super().setUp()
        self.at = "backend"
        admin = self.imap("cyrus")
        said = admin._simple_command("CREATE", "user/fred", f"{self.name(self.at)}!default")
        self.assertEqual(said[0], "OK", said)
        self.assertEqual(admin.setacl("user/fred", "mailproxy", "lrs")[0], "OK")
        fred = self.imap("fred")
        self.assertEqual(fred.create("Sent")[0], "OK")
        large = b"Subject: S\r\n\r\n" + b"x" * 300_000
        self.assertEqual(fred.append("Sent", "\\Flagged", "", large)[0], "OK")
        lmtp = self.address("frontend"), self.ports["lmtp"]
        self.traffic = Traffic(lmtp, lambda: self.log_in("fred"))
        self.addCleanup(self.traffic.stop)

    def log_in(self, user: str) -> imaplib.IMAP4:
        """As C{imap}, but whoever asked ends it."""
        client = imaplib.IMAP4(self.address("frontend"), self.ports["imap"], TIMEOUT)
        client.login(user, "secret")
        return client

    @override
    def name(self, backend: str) -> str:
        if backend not in self.wires:
            (port,) = free_ports(1)
            target = self.ports[f"{backend}-imap"]
            self.wires[backend] = Wire(port, target, self.address(backend), self.wires_at)
            self.addCleanup(self.wires[backend].close)
            self.ports[f"{backend}-wire"] = port
        return f"{self.wires_at}:{self.ports[f'{backend}-wire']}"

    def at_backend(self, backend: str) -> imaplib.IMAP4:
        """An administrator at a backend."""
        client = imaplib.IMAP4(self.address(backend), self.ports[f"{backend}-imap"], 2 * _PATIENCE)
        client.login("mailproxy", "secret")
        return client

    def move(self, command: bytes, when: str, who: str, how: str) -> None:
        """
        Move the user to the other server; when it says, or has said, a command, something happens.

        @param when: C{before} or C{after}.
        @param who: The C{source}, the C{target}, the C{master}, or the C{wire} between the former.
        @param how: C{cut}, C{kill} or C{stop}.
        """
        (other,) = (each for each in self.backends if each != self.at)
        role = {"source": self.at, "target": other}.get(who, who)
        killed: list[str] = []

        def happen(cut: Callable[[], None]) -> None:
            if how == "cut":
                cut()
            elif how == "kill":
                self.stop(role, signal.SIGKILL)
                killed.append(role)
            else:
                self.pause(role)

        wire = self.wires[other]
        wire.plan(Event(command, when == "after", happen))
        asking = threading.Thread(target=self._ask, args=(other,))
        asking.start()
        while asking.is_alive() and not wire.happened.is_set():
            asking.join(0.02)
        # Who is killed answers before it is known that it is dead.
        self.assertTrue(wire.happened.wait(TIMEOUT), (command, when, who, how))
        for each in killed:
            self.start(each)
        asking.join()
        while self._pauses:
            self._pauses.pop().join()
        self.check(f"{command!r} {when} {who} {how}")

    def pause(self, role: str) -> None:
        """Have a server do nothing for a while."""
        pid = self.servers[role].pid
        os.kill(pid, signal.SIGSTOP)
        self.later(os.kill, pid, signal.SIGCONT)

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Have it end."""
        timer = threading.Timer(self.stopped_for, function, arguments)
        timer.start()
        self._pauses.append(timer)

    def _ask(self, other: str) -> None:
        # What is answered if the one who is asked dies: nothing.
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            self.at_backend(self.at).xatom("XFER", "user/fred", self.name(other))

    def check(self, what: str) -> None:
        """All is whole, in one place, and there the user finds it."""
        deadline = time.monotonic() + _PATIENCE
        while any(self.is_under_way(each) for each in self.backends):
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)
        (self.at,) = (each for each in self.backends if self._has(each))
        accepted, marked = set(self.traffic.accepted), set(self.traffic.marked)
        while (fred := self.log_in("fred")).select()[0] != "OK":
            self.assertLess(time.monotonic(), deadline, what)
            fred.shutdown()
            time.sleep(0.05)
        found = fred.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1]
        words: Counter[str] = Counter()
        flagged = set()
        for each in found:
            if not isinstance(each, tuple) or (subject := _SUBJECT.search(each[1])) is None:
                continue
            word = subject[1].decode()
            words[word] += 1
            if b"\\Flagged" in each[0]:
                flagged.add(word)
        self.assertEqual(fred.select("Sent")[1], [b"1"], what)
        fred.logout()
        self.assertEqual(accepted - words.keys(), set(), what)
        self.assertEqual([word for word, count in words.items() if count > 1], [], what)
        self.assertEqual(marked - flagged, set(), what)
        self.assertEqual(self.traffic.wrong, [], what)

    def _has(self, backend: str) -> bool:
        client = self.at_backend(backend)
        try:
            return bool(client.select("user/fred", readonly=True)[0] == "OK")
        finally:
            client.logout()

    def is_under_way(self, backend: str) -> bool:
        """Whether something is left to be done of a move from there."""
        path = self.root / backend / "transfers.db"
        if not path.exists():
            return False
        connection = sqlite3.connect(path, timeout=TIMEOUT)
        try:
            found = connection.execute("SELECT count(*) FROM outgoing WHERE state NOT IN ('done', 'failed')")
            return int(found.fetchone()[0]) > 0
        finally:
            connection.close()


class MovingTests(MovingCase):
    def test_some_steps(self) -> None:
        """Where most can go wrong: the other server has everything, and may or may not have been told to keep it."""
        self.move(b"XTRANSFER PREPARE", "after", "source", "kill")
        self.move(b"XTRANSFER ACTIVATE", "after", "target", "kill")
        # By an administrator at the frontend, as cyradm says it, and by the tool.
        (other,) = (each for each in self.backends if each != self.at)
        status, answer = self.imap("cyrus").xatom("XFER", "user/fred", self.name(other))
        self.assertEqual(status, "OK", answer)
        self.check("at the frontend")
        (other,) = (each for each in self.backends if each != self.at)
        done = call("xfer", "user", "fred", "--to", self.name(other), "-C", str(self.root / f"{self.at}.conf"))
        self.assertEqual((done.stdout, done.stderr), (f"user/fred: moved to {self.name(other)}\n", ""))
        self.traffic.stop()
        self.check("by the tool")
        self.assertGreater(len(self.traffic.marked), 0)
        (other,) = (each for each in self.backends if each != self.at)
        self.assertEqual(list((self.root / f"{other}-spool").glob("**/[0-9]*.")), [])
