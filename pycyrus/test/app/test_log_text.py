"""Lines of the log: what twistd would write, octet for octet."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.application.service import Application
from twisted.logger import FileLogObserver, ILogObserver, LogEvent, Logger, LogLevel, formatEventAsClassicLogText
from twisted.python.failure import Failure
from twisted.scripts._twistd_unix import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.log_text import event_line, quicken


class Unwilling:
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no")


class LineTests(SynchronousTestCase):
    def assert_as_twistd(self, **event: Any) -> None:
        whole: LogEvent = {"log_time": 1795250000.25, "log_level": LogLevel.info, "log_namespace": "a.b"} | event
        self.assertEqual(event_line(dict(whole)), formatEventAsClassicLogText(dict(whole)))

    def test_plain_fields(self) -> None:
        for log_format in ("login of {user}", "{user}{user} 100% {{x}} %s", "", "no field", "{user} and {count}"):
            self.assert_as_twistd(log_format=log_format, user="fred\nb\u20ac", count=3)

    def test_fields_of_other_kinds(self) -> None:
        for log_format in ("{user!r}", "{path.name}", "{count:04d}", "{call()}", "{gone}", "{", "{}", "{bad}", None):
            self.assert_as_twistd(
                log_format=log_format, user="f", path=Path("/a/b"), count=3, call=lambda: "called", bad=Unwilling()
            )

    def test_systems_and_times(self) -> None:
        self.assert_as_twistd(log_format="x", log_system="lmtp 12")
        self.assert_as_twistd(log_format="x", log_time=None, log_level=None)
        self.assert_as_twistd(log_format="x", log_failure=Failure(ValueError("broken")))

    @given(st.text(max_size=40), st.text(max_size=20))
    @settings(max_examples=200, deadline=None, database=None)
    def test_any(self, log_format: str, value: str) -> None:
        self.assert_as_twistd(log_format=log_format, a=value, log_namespace=value)


class QuickenTests(SynchronousTestCase):
    def observer(self, *words: str) -> Any:
        options = ServerOptions(stdout=io.StringIO())
        options.parseOptions(list(words))
        application = Application("test")
        quicken(application, options)
        return application.getComponent(ILogObserver, None)

    def test_a_file(self) -> None:
        """The lines go where C{--logfile} says."""
        path = Path(self.mktemp())
        observer = self.observer("-n", "--logfile", str(path))
        self.assertIsInstance(observer, FileLogObserver)
        Logger("here", observer=observer).info("login of {user}", user="fred")
        self.assertTrue(path.read_text().endswith(" [here#info] login of fred\n"))

    def test_logs_of_other_kinds(self) -> None:
        """They stay what they are."""
        self.assertIsNone(self.observer("-n", "--syslog"))
        self.assertIsNone(self.observer("-n", "--logger", "twisted.logger.STDLibLogObserver"))
