"""The table of RFCs is true: what the code cites is in it, and what is done there has been shown."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import pycyrus

_PACKAGE = Path(pycyrus.__file__).parent
_TABLE = _PACKAGE.parent / "doc" / "rfc-support.toml"
_TRANSCRIPTS = _PACKAGE / "test" / "transcripts"
_CITED = re.compile(r"""\bRFC[ \n]+(\d{3,5})\b|rfc="(\d{3,5})[ "]""")
_STATUSES = {"done", "partial", "later"}
_KEYS = {"number", "title", "status", "protocol", "shown_in", "note"}


@cache
def _rows() -> list[dict[str, Any]]:
    if not _TABLE.exists():
        raise SkipTest("only in the source tree")
    with _TABLE.open("rb") as file:
        rows: list[dict[str, Any]] = tomllib.load(file)["rfc"]
    return rows


def _cited(path: Path) -> set[int]:
    return {int(one or other) for one, other in _CITED.findall(path.read_text("utf-8"))}


def _shown(protocol: str) -> set[int]:
    """RFCs that have a conversation: it cites them, or its name begins with their number."""
    shown = set()
    for path in (_TRANSCRIPTS / protocol).rglob("*.txt"):
        shown |= _cited(path)
        number = path.name.partition("-")[0]
        if number.isdigit():
            shown.add(int(number))
    return shown


def _is_shown(row: dict[str, Any]) -> bool:
    if "shown_in" in row:
        return (_TRANSCRIPTS / str(row["shown_in"])).is_file()
    return int(row["number"]) in _shown(row["protocol"])


class RfcSupportTests(SynchronousTestCase):
    """C{doc/rfc-support.toml}."""

    def test_form(self) -> None:
        """Rows are in order, each once, with a known status."""
        numbers = [row["number"] for row in _rows()]
        self.assertEqual(numbers, sorted(set(numbers)))
        for row in _rows():
            self.assertLessEqual(set(row), _KEYS, row)
            self.assertIn(row["status"], _STATUSES, row)
            self.assertTrue(row["title"], row)

    def test_cited(self) -> None:
        """Every RFC that the code cites has a row."""
        known = {row["number"] for row in _rows()}
        missing = {
            f"RFC {number} in {path.relative_to(_PACKAGE)}"
            for path in [*_PACKAGE.rglob("*.py"), *_PACKAGE.rglob("*.toml"), *_TRANSCRIPTS.rglob("*.txt")]
            for number in _cited(path) - known
        }
        self.assertEqual(missing, set())

    def test_shown(self) -> None:
        """Every RFC of a protocol that is done has a conversation."""
        missing = [
            f"RFC {row['number']}: no conversation under transcripts/{row['protocol']}"
            for row in _rows()
            if row["status"] == "done" and "protocol" in row and not _is_shown(row)
        ]
        self.assertEqual(missing, [])
