"""kill -9 of workers and of the whole server, while many work: L{pycyrus.testing.siege}, a little of it."""

from __future__ import annotations

from pycyrus.test.whole.case import WholeServerCase
from pycyrus.testing.siege import Plan, Siege


class SiegeTests(WholeServerCase):
    arguments = ("--workers", "3")

    def test_workers_die(self) -> None:
        """Sessions of others go on, those of the dead come back, and all see the same."""
        outcome = Siege(self.server, Plan(4.0, 1.0, 0.0, clients=12, keepers=2)).run()
        self.assertEqual(outcome.report.violations, [])
        self.assertGreater(outcome.kills["worker"], 0)
        self.assertGreater(outcome.cut, 0)
        self.assertTrue(outcome.kept)

    def test_all_die(self) -> None:
        """Abuse case 35, with all that clients can do."""
        outcome = Siege(self.server, Plan(6.0, 2.0, 2.5, clients=6, keepers=2)).run()
        self.assertEqual(outcome.report.violations, [])
        self.assertGreater(outcome.kills["server"], 0)
        self.assertTrue(outcome.kept)
