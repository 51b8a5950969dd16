"""The table of abuse in the manual is true: each test that it names is there, and says for which case."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import pycyrus

_TABLE = Path(pycyrus.__file__).parent.parent / "doc" / "abuse-cases.rst"
_TEST = re.compile(r"``([a-z_.]+)\.([A-Z]\w+)\.(test_\w+)``")
HELD = {*range(1, 27), *range(29, 43), 44, 45}
"""The cases that have to be held by now."""


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not _TABLE.exists():
            raise SkipTest("only in the source tree")
        rows = re.split(r"^   \* - ", _TABLE.read_text("utf-8"), flags=re.MULTILINE)[2:]
        self.rows = {int(row.partition("\n")[0]): row for row in rows}

    def test_tests_are_there(self) -> None:
        """Every test in the table exists."""
        self.assertEqual(set(self.rows), HELD)
        for number, row in self.rows.items():
            tests = _TEST.findall(row)
            self.assertTrue(tests, number)
            for module, case, test in tests:
                found = getattr(importlib.import_module(f"pycyrus.test.{module}"), case)
                self.assertTrue(callable(getattr(found, test, None)), (module, case, test))

    def test_tests_are_named(self) -> None:
        """Every test that says for which case it is stands in the row of that case."""
        for path in sorted(Path(__file__).parent.glob("test_*.py")):
            text = path.read_text("utf-8")
            for test, cases in re.findall(r'def (test_\w+)\(self\) -> None:\n +"""Abuse cases? ([\d, and]+):', text):
                for number in map(int, re.findall(r"\d+", cases)):
                    self.assertIn(f".{test}``", self.rows[number], (path.name, number))
