"""Servers that are cut off from one another: run by L{pycyrus.test.whole.test_network} in a network of its own."""

from __future__ import annotations

import smtplib
import threading
import time
from collections.abc import Callable, Sequence

from typing_extensions import override

from pycyrus.test.whole.network_case import NetworkCase
from pycyrus.test.whole.test_murder import TIMEOUT

PATIENCE = 40.0
"""Seconds within which everybody must be told, on a machine with much to do."""


class Senders:
    """
    They send without end, each to one user, and send again what was not accepted, as any queue does.

    @ivar accepted: How many messages were, by user.
    @ivar refused: How many times one was not, likewise.
    """

    def __init__(self, address: str, port: int, users: tuple[str, ...]) -> None:
        self.accepted = dict.fromkeys(users, 0)
        self.refused = dict.fromkeys(users, 0)
        self.wrong: list[Exception] = []
        self._address, self._port = address, port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(user,)) for user in users]
        for thread in self._threads:
            thread.start()

    def _send(self, user: str) -> None:
        while not self._is_over.is_set():
            message = b"Message-ID: <%d@%b>\r\nSubject: x\r\n\r\nx\r\n" % (self.accepted[user], user.encode())
            try:
                with smtplib.LMTP(self._address, self._port, timeout=60) as client:
                    client.sendmail("a@example.com", [user], message)
                self.accepted[user] += 1
            except (smtplib.SMTPException, OSError) as error:
                self.refused[user] += 1
                codes = [code for code, _ in getattr(error, "recipients", {}).values()] or [
                    getattr(error, "smtp_code", 400)
                ]
                if codes[0] // 100 != 4:
                    self.wrong.append(error)
                    return

    def stop(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()


class NetworkTests(NetworkCase):
    backends = ("backend", "backend2")
    client_timeout = 3

    @override
    def setUp(self) -> None:
        super().setUp()
        self.admin = self.imap("cyrus")
        for user, backend in (("fred", "backend"), ("jane", "backend2")):
            said = self.admin._simple_command("CREATE", f"user/{user}", f"{self.name(backend)}!default")
            self.assertEqual(said[0], "OK", said)
        self.fred, self.jane = self.imap("fred"), self.imap("jane")
        self.senders = Senders(self.address("frontend"), self.ports["lmtp"], ("fred", "jane"))
        self.addCleanup(self.senders.stop)

    def told(self, answer: Callable[[], tuple[str, Sequence[object]]], status: str) -> bytes:
        """What is answered, which must be soon."""
        began = time.monotonic()
        found, said = answer()
        self.assertEqual(found, status, said)
        self.assertLess(time.monotonic() - began, PATIENCE)
        return b" ".join(each for each in said if isinstance(each, bytes))

    def more(self, user: str) -> None:
        """Mail for somebody goes on."""
        wanted = self.senders.accepted[user] + 2
        self.until(lambda: self.senders.accepted[user] >= wanted)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 2 * TIMEOUT
        while not condition():
            self.assertFalse(self.senders.wrong)
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_cut_off(self) -> None:
        """Each pair in turn: what does not need the other goes on, the rest is told so soon, and all heals alone."""
        self.told(self.fred.select, "OK")
        idle = self.imap("fred")
        self.told(idle.select, "OK")
        idle.send(b"I1 IDLE\r\n")
        idle.readline()
        self.more("fred")

        self.network.cut("frontend", "backend")
        self.assertIn(b"UNAVAILABLE", self.told(lambda: self.fred.fetch("1", "(FLAGS)"), "NO"))
        while not (line := idle.readline()).startswith(b"I1 "):
            pass
        self.assertIn(b"UNAVAILABLE", line)
        self.assertIn(b"UNAVAILABLE", self.told(lambda: self.imap("fred").select(), "NO"))
        self.assertIn(b"INBOX", self.told(self.fred.list, "OK"))
        self.told(self.jane.select, "OK")
        self.told(lambda: self.jane.create("during"), "OK")
        self.more("jane")
        refused = self.senders.refused["fred"]
        self.until(lambda: self.senders.refused["fred"] > refused)
        self.assertIn("cannot be reached", self.pycyrus("frontend", "murder", "status", status=1))
        self.network.heal("frontend", "backend")
        self.more("fred")
        # Its services are looked at one by one.
        self.until(lambda: self.fred.select()[0] == "OK")

        for one in ("frontend", "backend"):
            self.network.cut(one, "master")
        self.told(self.fred.noop, "OK")
        self.told(lambda: self.imap("fred").select(), "OK")
        self.assertIn(b"UNAVAILABLE", self.told(lambda: self.fred.create("nowhere"), "NO"))
        self.told(lambda: self.fred.setacl("INBOX", "jane", "lrs"), "OK")
        self.told(lambda: self.jane.select("nothing"), "NO")
        with smtplib.LMTP(self.address("frontend"), self.ports["lmtp"], timeout=TIMEOUT) as client:
            client.mail("a@example.com")
            # It might be there, as far as this server knows.
            self.assertEqual(client.rcpt("nobody")[0] // 100, 4)
        self.more("fred")
        self.more("jane")
        for one in ("frontend", "backend"):
            self.network.heal(one, "master")
        self.until(lambda: self.fred.create("after")[0] == "OK")
        self.until(lambda: b"after" in self.told(self.fred.list, "OK"))
        self.until(lambda: b"fred" in self.told(lambda: self.jane.list('""', "*"), "OK"))

        self.senders.stop()
        self.assertEqual(self.senders.wrong, [])
        for user, mailbox in (("fred", self.imap("fred")), ("jane", self.imap("jane"))):
            status, answer = mailbox.status("INBOX", "(MESSAGES)")
            # Nothing was lost, and nothing is there twice.
            self.assertEqual((status, answer), ("OK", [b"INBOX (MESSAGES %d)" % self.senders.accepted[user]]))
