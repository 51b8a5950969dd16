"""Two servers that would use the same mail."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.lock import lock_partitions
from pycyrus.config.problems import ConfigError


class PartitionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.roots = [Path(self.mktemp()).absolute() for _ in range(3)]
        for root in self.roots[:2]:
            root.mkdir()

    def test_one_server(self) -> None:
        """The other one is told which partition it is, and holds none of its own; one that is missing is nobody's."""
        first, second, missing = self.roots
        held = lock_partitions([first, missing, first])
        error = self.assertRaises(ConfigError, lock_partitions, [second, first])
        self.assertIn(f"another server uses {first}; stop it first", str(error))
        lock_partitions([second]).close()
        held.close()
        lock_partitions(self.roots).close()
