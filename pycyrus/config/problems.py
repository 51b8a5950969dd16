"""
What is wrong with a configuration: each problem says where, what, and what to do.

A whole configuration is read before anything is reported, so that nobody mends
one line only to be told of the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from typing_extensions import override


@dataclass(frozen=True, slots=True)
class Place:
    """
    A line of a file.

    @ivar file: The file; the words of the command line for what was given there.
    @ivar line: Counted from 1; 0 for the file as a whole.
    """

    file: str
    line: int = 0

    @override
    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """
    Something that must be mended before the server can start.

    @ivar text: What is wrong, without a full stop.
    @ivar mend: What to do about it, likewise, or a question with its mark.
    """

    place: Place | None
    text: str
    mend: str

    @override
    def __str__(self) -> str:
        where = f"{self.place}: " if self.place is not None else ""
        if not self.mend:
            return f"{where}{self.text}."
        return f"{where}{self.text}; {self.mend}{'' if self.mend.endswith('?') else '.'}"


class ConfigError(Exception):
    """
    The configuration cannot be used.

    @ivar problems: All that is wrong with it, at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """
    Say which known word may have been meant.

    @return: The mend, such as C{did you mean 'timeout'?}; empty if nothing is near.
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.7)
    return f"did you mean {matches[0]!r}?" if matches else ""
