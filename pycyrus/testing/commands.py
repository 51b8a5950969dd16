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
import pkgutil
import subprocess
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import IO, NoReturn

from pycyrus import admin
from pycyrus.admin.main import main


class Commands:
    """The process that calls commands; L{close} ends it."""

    def __init__(self) -> None:
        # Has this tree, whatever the current directory is.
        tree = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
        self._lock = Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pycyrus.testing.commands"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": tree},
        )  # fmt: skip

    def call(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """
        Call C{pycyrus} with these arguments.

        @param stdin: What it reads.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps((words, stdin)) + "\n")
            self._process.stdin.flush()
            code, output, errors = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(words, code, output, errors)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@functools.cache
def commands() -> Commands:
    """One for all tests of this process, which ends with it."""
    started = Commands()
    atexit.register(started.close)
    return started


def call(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Call C{pycyrus} with these arguments, in the process for all tests."""
    return commands().call(*words, stdin=stdin)


def serve(orders: IO[str]) -> None:
    """Call what each line asks for, and print how it ended."""
    for module in pkgutil.iter_modules(admin.__path__):
        import_module(f"{admin.__name__}.{module.name}")
    # What most of them import when they begin.
    import_module("pycyrus.app.context")
    assert "twisted.internet.reactor" not in sys.modules, "the children would share its descriptors"
    for line in orders:
        with tempfile.TemporaryDirectory() as name:
            words, given = json.loads(line)
            directory = Path(name)
            (directory / "input").write_text(given)
            child = os.fork()
            if not child:
                _run(words, directory)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told = (directory / "output").read_text(), (directory / "errors").read_text()
            sys.stdout.write(json.dumps((code, *told)) + "\n")
            sys.stdout.flush()


def _run(words: list[str], directory: Path) -> NoReturn:
    """In the child: as the interpreter would, with descriptors of its own."""
    for number, target in enumerate(("input", "output", "errors")):
        os.dup2(os.open(directory / target, os.O_RDWR | os.O_CREAT, 0o600), number)
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
