"""Whoever runs all tests in parts runs all, and is told which fail."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.testing.parts import Running, parts


class PartsTests(SynchronousTestCase):
    def test_each_module_is_in_one_part(self) -> None:
        root = Path(__file__).parent
        modules = Counter(module for _, modules in parts(root) for module in modules)
        self.assertEqual(set(modules.values()), {1})
        self.assertEqual(len(modules), len(list(root.rglob("test_*.py"))))
        self.assertIn(__name__, modules)

    def test_what_cannot_be_run_is_bad(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        running = Running(directory / "parts")
        result = running.run("a 1/1", ["pycyrus.test.test_that_is_not_there"])
        self.assertFalse(result.is_good)
        self.assertIn("test_that_is_not_there", result.printed)
        result = running.run("b 1/1", ["pycyrus.test.wire.test_sasl"])
        self.assertTrue(result.is_good, result.printed)
        self.assertGreater(result.tests, 2)
        # It is run again, in the same place, where it failed beside others.
        self.assertEqual(running.run("b 1/1", ["pycyrus.test.wire.test_sasl"]).tests, result.tests)

    def test_what_hangs_is_ended(self) -> None:
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        result = Running(directory / "parts", longest=0).run("a 1/1", ["pycyrus.test.wire.test_sasl"])
        self.assertFalse(result.is_good)
        self.assertEqual(result.tests, 0)
