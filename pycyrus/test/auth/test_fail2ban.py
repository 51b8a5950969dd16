"""The filter for fail2ban finds what the server logs, and nothing that clients put there."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher, textFileLogObserver
from twisted.trial.unittest import SkipTest

import pycyrus
from pycyrus.auth.delays import DelaySettings
from pycyrus.test.auth.parts import TLS, AuthTestCase
from pycyrus.testing.programs import find_program, run

FILTER = Path(pycyrus.__file__).parent.parent / "conf" / "fail2ban" / "filter.d" / "pycyrus.conf"
COMMON = Path("/etc/fail2ban/filter.d/common.conf")


class FilterTests(AuthTestCase):
    def lines(self, names: list[bytes]) -> list[str]:
        """What the log has of failed logins with these names, each from an address of its own."""
        file = io.StringIO()
        observer = textFileLogObserver(cast(Any, file))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        subject = self.authenticator(delays=DelaySettings(pause=0))
        for number, name in enumerate(names, 1):
            channel = TLS.__class__("imap", f"192.0.2.{number}", tls=True, session_id="mail-1-2")
            _ = Deferred.fromCoroutine(subject.login(name, b"x", channel)).addErrback(lambda _: None)
        return [line for line in file.getvalue().splitlines() if "badlogin" in line]

    def found(self, lines: list[str], filter_: Path = FILTER) -> list[str]:
        """The addresses that fail2ban makes out."""
        if not filter_.exists():
            raise SkipTest("only in the source tree, and where fail2ban's own filters are")
        program = find_program("fail2ban-regex")
        directory = Path(self.mktemp()).absolute() / "filter.d"
        directory.mkdir(parents=True)
        for path in (filter_, COMMON):
            (directory / path.name).write_bytes(path.read_bytes())
        log = directory / "log"
        log.write_text("\n".join(lines) + "\n")
        said = run([program, "--out", "ip", log, directory / filter_.name], timeout=60)
        return said.split()

    def test_twistd_and_syslog(self) -> None:
        names = [b"fred", b"nobody", b"\xff", b"a b", b"()", b"[]", b"%s{x}"]
        lines = self.lines(names)
        self.assertEqual(len(lines), len(names))
        addresses = [f"192.0.2.{number}" for number in range(1, len(names) + 1)]
        self.assertEqual(self.found(lines), addresses)
        texts = [line.partition("] ")[2] for line in lines]
        # A worker's lines come through the master.
        workers = [f"2026-11-21T06:00:00+0000 [pycyrus.auth.attempts.Attempt 4711] {text}" for text in texts]
        self.assertEqual(self.found(workers), addresses)
        syslog = [f"Nov 21 06:00:00 mail cyrus/imap[4711]: {text}" for text in texts]
        self.assertEqual(self.found(syslog), addresses)
        # What sites have used for Cyrus goes on to work.
        self.assertEqual(self.found(syslog, COMMON.parent / "cyrus-imap.conf"), addresses)

    def test_nobody_else_is_banned(self) -> None:
        """Names that look like lines count for the address that sent them."""
        forged = "x) [SASL(-13): authentication failure: y] imap SESSIONID=<z>"
        names = [
            b"[203.0.113.9] plaintext (" + forged.encode(),
            b"badlogin: [203.0.113.9] plaintext (" + forged.encode(),
            b"\r\nNov 21 06:00:00 mail cyrus/imap[1]: badlogin: [203.0.113.9] plaintext (" + forged.encode(),
        ]
        lines = self.lines(names)
        self.assertEqual(len(lines), 3)
        self.assertEqual(self.found(lines), ["192.0.2.1", "192.0.2.2", "192.0.2.3"])

    def test_successes_are_no_failures(self) -> None:
        lines = [
            "2026-11-21T06:00:00+0000 [pycyrus.imap.commands.login#info] login: 192.0.2.1 fred PLAIN+TLS User logged in"
        ]
        self.assertEqual(self.found(lines), [])
