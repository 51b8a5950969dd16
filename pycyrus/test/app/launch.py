"""
The program as a child process, however it is started: with a configuration, by bin/run, or in error.

L{pycyrus.testing.server} is for tests that only need a server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

TWISTD = (sys.executable, "-P", "-c", "from twisted.scripts.twistd import run; run()")
_READY = "pycyrus is ready"


class DidNotStart(AssertionError):
    """It ended, or took too long; has what it printed."""


class Launched:
    """
    A started program; a context manager, which waits until it is ready.

    At the end it is stopped, and killed if it does not.

    @ivar state: The directory that gets ready.json.
    """

    def __init__(
        self,
        state: Path,
        arguments: Sequence[str],
        *,
        twistd: Sequence[str] = ("-n", "--pidfile="),
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        timeout: float = 120.0,
        prefix: Sequence[str] = (),
    ) -> None:
        """
        @param arguments: Behind C{pycyrus}.
        @param twistd: Before it.
        @param directory: Where it is started.
        @param timeout: Seconds until it must be ready, and until it must have stopped.
        @param prefix: What starts it, in another network for example.
        """
        self.state = state
        self._timeout = timeout
        self._lines: list[str] = []
        self._ready = threading.Event()
        self._is_ready = False
        self._process = subprocess.Popen(
            [*prefix, *TWISTD, *twistd, "pycyrus", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            cwd=directory,
            env={
                **os.environ,
                # This tree, whatever the current directory is.
                "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
                **(environment or {}),
            },
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def embedded(cls, home: Path, *arguments: str, directory: Path | None = None) -> Launched:
        """A server without a configuration, on free ports."""
        return cls(home, ["--home", str(home), "--port-base", "0", *arguments], directory=directory)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line)
            if _READY in line:
                self._is_ready = True
                self._ready.set()
        self._ready.set()

    @property
    def output(self) -> str:
        """What it has printed so far, log included."""
        return "".join(self._lines)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ready(self) -> dict[str, Any]:
        """What ready.json says now."""
        content: dict[str, Any] = json.loads((self.state / "ready.json").read_text("utf-8"))
        return content

    def wait(self) -> int:
        """Wait until it ends by itself, and give the exit code."""
        code = self._process.wait(self._timeout)
        self._reader.join(self._timeout)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()
        return code

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end, and give the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.wait()
            raise DidNotStart(f"it did not stop: {self.output}") from None

    def __enter__(self) -> Launched:
        self._ready.wait(self._timeout)
        # A ready.json may be one that another left.
        if not self._is_ready:
            self._process.kill()
            self.wait()
            raise DidNotStart(self.output)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
