"""
All tests in parts, some of which run at a time: C{python -m pycyrus.testing.parts}.

Tests wait a lot: for servers to start, for disks, for other people's programs.
C{trial -j} would not do, as tests that fork would talk through its pipes.

What fails beside others is run once more alone: it is told which it is that
fails always, and which by chance, for a limit of time or a place that others
took.  Either is a defect; only the first says that the change is bad.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pycyrus.test

_MODULES_AT_MOST = 8
_LONGEST_FIRST = ("whole", "murder", "store", "abuse", "admin", "auth")
"""So that no long part is left for the end."""
_TEMPORARY = "_trial_temp-parts"
_COUNT = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_SLOWEST = 5
_AGAIN_AT_MOST = 2
"""Parts: where more fail it is no chance."""
LONGEST = 900.0
"""Seconds after which a part hangs."""
_ENDS_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """
    How a part went.

    @ivar tests: How many there were.
    @ivar seconds: From its start to its end.
    """

    name: str
    printed: str
    tests: int
    seconds: float
    is_good: bool


def parts(root: Path) -> list[tuple[str, list[str]]]:
    """
    Find all test modules.

    @param root: The directory of the package of tests.
    @return: Names of parts, and the modules of each; those first that take longest.
    """
    packages: dict[str, list[str]] = defaultdict(list)
    for path in sorted(root.rglob("test_*.py")):
        words = path.relative_to(root).with_suffix("").parts
        packages[words[0] if len(words) > 1 else "others"].append(".".join(("pycyrus", "test", *words)))

    def rank(package: str) -> tuple[int, str]:
        return _LONGEST_FIRST.index(package) if package in _LONGEST_FIRST else len(_LONGEST_FIRST), package

    return [part for package in sorted(packages, key=rank) for part in _pieces(package, packages[package])]


def _pieces(package: str, modules: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    count = -(-len(modules) // _MODULES_AT_MOST)
    for number in range(count):
        # Neighbours are often alike, and take as long as each other.
        yield f"{package} {number + 1}/{count}", list(modules[number::count])


class Running:
    """
    The processes that run now.

    @ivar is_stopped: No more are to run.
    """

    def __init__(self, directory: Path, longest: float = LONGEST) -> None:
        """
        @param directory: For what tests leave behind; made anew.
        @param longest: Seconds that a part may take.
        """
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        self._directory = directory
        self._longest = longest
        self._processes: set[subprocess.Popen[bytes]] = set()
        self.is_stopped = False

    def run(self, name: str, modules: Sequence[str]) -> Result:
        """Run a part to its end."""
        temporary = self._directory / re.sub(r"\W", "-", name)
        trial = Path(sys.executable).with_name("trial")
        words = ["--reporter=text", f"--temp-directory={temporary}", *modules]
        command = [sys.executable, "-X", "faulthandler", str(trial), *words]
        began = time.monotonic()
        # No pipe: a program that a test left behind would keep it open.
        with temporary.with_suffix(".printed").open("w+", errors="replace") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
            self._processes.add(process)
            if self.is_stopped:
                process.terminate()
            self._wait(process)
            self._processes.discard(process)
            output.seek(0)
            printed = output.read()
        count = _COUNT.search(printed)
        # A run without a single test is none: a module that is not there, or that dies.
        tests = int(count[1]) if count is not None else 0
        return Result(name, printed, tests, time.monotonic() - began, process.returncode == 0 and tests > 0)

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        try:
            process.wait(self._longest)
        except subprocess.TimeoutExpired:
            # It tells where its threads are.
            process.send_signal(signal.SIGABRT)
            try:
                process.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop(self) -> None:
        """End those that run, and begin no others."""
        self.is_stopped = True
        for process in list(self._processes):
            process.send_signal(signal.SIGINT)


def main() -> int:
    """
    Run all tests, and print what each part printed when it has ended.

    @return: The status to end with.
    """
    running = Running(Path(_TEMPORARY))

    def stop(number: int, frame: FrameType | None) -> None:
        running.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    # One more than there are processors, as one part or another always waits.
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) + 1) as threads:
        everything = dict(parts(Path(pycyrus.test.__path__[0])))
        waiting = [threads.submit(running.run, *part) for part in everything.items()]
        results = {}
        for done in as_completed(waiting):
            result = done.result()
            results[result.name] = result
            _tell_of(result)
    bad = [name for name, result in results.items() if not result.is_good]
    unsteady = []
    for name in bad if len(bad) <= _AGAIN_AT_MOST and not running.is_stopped else ():
        result = results[name] = running.run(name, everything[name])
        _tell_of(result, ", once more, alone")
        if result.is_good:
            unsteady.append(name)
    return _summary(list(results.values()), unsteady)


def _tell_of(result: Result, how: str = "") -> None:
    _tell(f"\n-- tests of {result.name}{how}: {result.seconds:.0f} s\n{result.printed}")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _summary(results: Sequence[Result], unsteady: Sequence[str]) -> int:
    slowest = sorted(results, key=lambda result: -result.seconds)[:_SLOWEST]
    _tell(f"{sum(result.tests for result in results)} tests in {len(results)} parts; the longest:")
    for result in slowest:
        _tell(f"  {result.name}: {result.tests} tests, {result.seconds:.0f} s")
    if unsteady:
        _tell(f"Failed beside others, and not alone; that is a defect, too: {', '.join(sorted(unsteady))}")
    bad = [result.name for result in results if not result.is_good]
    if bad:
        _tell(f"Failed: {', '.join(sorted(bad))}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
