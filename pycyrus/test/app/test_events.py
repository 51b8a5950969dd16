"""The programs of cyrus.conf: run in order, at their time, as long as wanted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.app.events import Programs, missing_programs, seconds_until
from pycyrus.config.cyrus_conf import parse_cyrus_conf
from pycyrus.testing.logs import captured

reactor: Any = installed


def conf(text: str) -> Any:
    found = parse_cyrus_conf(Path("cyrus.conf"), lambda path: text)
    assert not found.problems, found.problems
    return found


class ProgramsTests(TestCase):
    def programs(self, text: str) -> Programs:
        programs = Programs(conf(text), {"CYRUS_CONFIG": "/etc/imapd.conf"}, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(programs.stop(5.0)))
        return programs

    def script(self, text: str) -> str:
        path = Path(self.mktemp()).absolute()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    async def test_start_runs_in_order_and_goes_on_after_a_failure(self) -> None:
        out = Path(self.mktemp()).absolute()
        first = self.script(f"sleep 0.1; echo first $CYRUS_CONFIG >> {out}; exit 3")
        second = self.script(f"echo second $1 >> {out}; echo said")
        programs = self.programs(f'START {{\n r cmd="ctl_cyrusdb -r"\n a cmd="{first}"\n b cmd="{second} x"\n}}')
        with captured() as events:
            await programs.start()
        self.assertEqual(out.read_text(), "first /etc/imapd.conf\nsecond x\n")
        texts = events.texts()
        self.assertIn("START r: ctl_cyrusdb is not run: databases recover when they are opened", texts)
        self.assertIn("a ended with 3", texts)
        self.assertIn("b: said", texts)

    async def test_a_daemon_is_waited_for(self) -> None:
        out = Path(self.mktemp()).absolute()
        daemon = self.script(f"sleep 0.1; echo up > {out}; printf 'ok\\r\\n' >&3; exec sleep 60")
        programs = self.programs(f'DAEMON {{\n d cmd="{daemon}" wait=yes\n}}')
        await programs.start_daemons()
        self.assertEqual(out.read_text(), "up\n")
        await programs.stop(5.0)

    async def test_a_daemon_that_ends_is_started_again(self) -> None:
        self.patch(__import__("pycyrus.app.events", fromlist=["x"]), "DAEMON_PAUSE", 0.01)
        out = Path(self.mktemp()).absolute()
        programs = self.programs(f'DAEMON {{\n d cmd="{self.script(f"echo x >> {out}")}"\n}}')
        with captured(LogLevel.warn):
            await programs.start_daemons()
            while not (out.exists() and len(out.read_text()) >= 4):
                await deferLater(reactor, 0.01, lambda: None)

    async def test_events_run_at_once_and_again(self) -> None:
        out = Path(self.mktemp()).absolute()
        programs = self.programs(f'EVENTS {{\n e cmd="{self.script(f"echo x > {out}")}" period=30\n}}')
        programs.start_events()
        while not out.exists():
            await deferLater(reactor, 0.01, lambda: None)
        self.assertEqual(len(programs._timers), 1)
        self.assertTrue(1700 < programs._timers["event e"].getTime() - reactor.seconds() <= 1800)

    async def test_verbs_know_which_server_they_are_about(self) -> None:
        """Cyrus's cyr_expire is ours, with the configuration that the server has."""
        home = Path(self.mktemp()).absolute()
        home.mkdir()
        found = conf('EVENTS {\n e cmd="cyr_expire -E 3 -X 3 -D 3"\n}')
        programs = Programs(found, {}, reactor, ("--home", str(home)))
        self.addCleanup(lambda: Deferred.fromCoroutine(programs.stop(5.0)))
        with captured() as events:
            programs.start_events()
            while "e: Removed 0 deleted mailboxes" not in events.texts():
                await deferLater(reactor, 0.02, lambda: None)
        self.assertIn("e: Expired 0 and expunged 0 out of 0 messages from 0 mailboxes", events.texts())
        self.assertTrue((home / "spool").is_dir())


class MissingProgramsTests(SynchronousTestCase):
    def test_missing(self) -> None:
        found = conf('START {\n a cmd="nothing-such -x"\n b cmd="idled"\n c cmd="sh"\n}')
        self.assertEqual(
            [str(problem) for problem in missing_programs(found)],
            ["cyrus.conf:2: a: there is no program nothing-such; write its whole path, or remove the entry."],
        )


class TimeTests(SynchronousTestCase):
    def test_seconds_until(self) -> None:
        now = time.mktime((2026, 1, 15, 4, 1, 30, 0, 0, -1))
        self.assertEqual(seconds_until((4, 2), now), 30)
        self.assertEqual(seconds_until((4, 1), now), 86400 - 30)
        self.assertEqual(seconds_until((4, 0), now), 86400 - 90)
