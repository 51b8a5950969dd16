"""
Calling the administrator's commands many times, each in a process of its own.

A command spends most of its time importing: one process does that once, and
forks for each call.  C{python -m pycyrus.testing.commands} is that process.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, NoReturn

from pycyrus.admin.main import main, make_parser


class Commands:
    """The process that calls commands; L{close} ends it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pycyrus.testing.commands"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def call(self, *words: str) -> tuple[int, str, str]:
        """
        Call C{pycyrus} with these arguments.

        @return: Exit status, standard output and standard error.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        code, output, errors = json.loads(self._process.stdout.readline())
        return code, output, errors

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@functools.cache
def commands() -> Commands:
    """One for all tests of this process, which ends with it."""
    started = Commands()
    atexit.register(started.close)
    return started


def serve(orders: IO[str]) -> None:
    """Call what each line asks for, and print how it ended."""
    make_parser()
    for line in orders:
        with tempfile.TemporaryDirectory() as directory:
            output, errors = Path(directory) / "output", Path(directory) / "errors"
            child = os.fork()
            if not child:
                _run(json.loads(line), output, errors)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            sys.stdout.write(json.dumps((code, output.read_text(), errors.read_text())) + "\n")
            sys.stdout.flush()


def _run(words: list[str], output: Path, errors: Path) -> NoReturn:
    """In the child: as the interpreter would, with descriptors of its own."""
    for number, target in ((0, Path(os.devnull)), (1, output), (2, errors)):
        os.dup2(os.open(target, os.O_RDWR | os.O_CREAT, 0o600), number)
    code = 1
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.stdin)
