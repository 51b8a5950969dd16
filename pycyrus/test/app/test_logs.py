"""What becomes of events between processes."""

from __future__ import annotations

import io
import threading
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.logs import PipeObserver, facility_code, publish
from pycyrus.config.settings import Settings
from pycyrus.testing.logs import captured


class PipeTests(SynchronousTestCase):
    log = Logger()

    def through_the_pipe(self, lines: bytes) -> list[str]:
        with captured() as events:
            for line in lines.splitlines():
                publish(line, 124)
        return events.texts()

    def sent(self, settings: Settings) -> bytes:
        """What a worker writes of a debug line, an ordinary line and a failure."""
        pipe = io.BytesIO()
        observer = PipeObserver(pipe, settings)
        with captured(observe=observer):
            self.log.debug("a detail of {user}", user="fred")
            self.log.info("login of {user}", user="fred")
            try:
                raise ValueError("what went wrong")
            except ValueError:
                self.log.failure("it failed")
        self.flushLoggedErrors(ValueError)
        return pipe.getvalue()

    def test_events_arrive(self) -> None:
        """With their fields filled in, and a failure with its text and its place."""
        texts = self.through_the_pipe(self.sent(Settings({})))
        self.assertEqual(texts[0], "login of fred")
        self.assertTrue(texts[1].startswith("it failed"))
        self.assertIn("ValueError: what went wrong", texts[1])
        self.assertIn("test_logs.py", texts[1])
        self.assertEqual(len(texts), 2)

    def test_debug_asks_for_all(self) -> None:
        self.assertEqual(len(self.sent(Settings({"debug": "yes"})).splitlines()), 3)

    def test_fields_of_all_kinds(self) -> None:
        """Whatever a field is, and however the format shows it, the master's text is the worker's."""
        pipe = io.BytesIO()
        with captured(observe=PipeObserver(pipe, Settings({}))) as events:
            self.log.info("{count} of {text} and {text!r}", count=3, text="{a}\u20ac")
            self.log.info("{text}, {text}", text="twice")
            self.log.info("{path.name} {nothing}", path=Path("/a/b"), nothing=None)
            self.log.info("{{no field}}")
            here = events.texts()
        self.assertEqual(self.through_the_pipe(pipe.getvalue()), here)

    def test_lines_leave_together(self) -> None:
        """In order; what is worse than informative does not wait."""
        pipe, clock = io.BytesIO(), Clock()
        observer = PipeObserver(pipe, Settings({}), clock)
        lengths = []
        with captured(observe=observer):
            for wait, text in ((0.0, "one"), (0.1, "two"), (0.0, "three"), (0.0, "x" * 20000), (0.1, "four")):
                self.log.info(text)
                clock.advance(wait)
                lengths.append(len(pipe.getvalue().splitlines()))
            self.log.warn("five")
            lengths.append(len(pipe.getvalue().splitlines()))
            self.log.info("six")
            observer.flush()
        self.assertEqual(lengths, [0, 2, 2, 4, 5, 6])
        self.assertEqual(
            self.through_the_pipe(pipe.getvalue()), ["one", "two", "three", "x" * 20000, "four", "five", "six"]
        )

    def test_threads_do_not_wait(self) -> None:
        pipe = io.BytesIO()
        with captured(observe=PipeObserver(pipe, Settings({}), Clock())):
            thread = threading.Thread(target=self.log.info, args=("from a thread",))
            thread.start()
            thread.join()
        self.assertEqual(self.through_the_pipe(pipe.getvalue()), ["from a thread"])

    def test_what_is_no_event(self) -> None:
        """It is shown, without what could trick a terminal."""
        self.assertEqual(self.through_the_pipe(b"\x1b[31mred\n"), ["worker 124 wrote: ?[31mred"])


class FacilityTests(SynchronousTestCase):
    def test_names(self) -> None:
        self.assertEqual(facility_code("mail"), 2 << 3)
        self.assertEqual(facility_code("LOG_LOCAL6"), facility_code("local6"))
        self.assertIsNone(facility_code("post"))
