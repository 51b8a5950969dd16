"""
A real server as a child process: started, watched, and stopped by its id.

For tests that need the whole: other programs as clients, kill -9, restarts.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycyrus.testing.programs import wait_for_end

START_TIMEOUT = 60.0
"""Seconds for the server to say that it is ready, on a machine with much to do."""
STOP_TIMEOUT = 60.0
_LOOK_INTERVAL = 0.02
_LOG_TAIL = 4000


class ServerError(AssertionError):
    """The server did not start, or not stop, as it should; the text ends with its log."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who may log in."""

    user: str
    password: str


class ServerProcess:
    """
    C{twistd -n pycyrus} on the embedded default, in a directory of its own.

    @param directory: For the home, the log and so on; its path must be short
        enough for Unix sockets.
    @param arguments: Further arguments of C{twistd pycyrus}.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.home = directory / "home"
        self.log = directory / "server.log"
        self.arguments = arguments
        self.ready: dict[str, Any] = {}
        self._process: subprocess.Popen[bytes] | None = None

    # --- life ---------------------------------------------------------------------

    def start(self) -> None:
        """
        Start it and wait until all its services listen.

        @raise ServerError: They do not.
        """
        command = [
            str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "pycyrus",
            "--home", str(self.home), "--port-base", "0", *self.arguments,
        ]  # fmt: skip
        # One that was killed could not take this back.
        self._ready_file.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._ready_file.exists():
            if self._process.poll() is not None:
                raise ServerError(f"the server ended with {self._process.returncode}{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"the server was not ready in time{self.log_tail()}")
            time.sleep(_LOOK_INTERVAL)
        self.ready = json.loads(self._ready_file.read_text("utf-8"))

    def stop(self) -> None:
        """
        Stop it with SIGTERM; does nothing if it does not run.

        @raise ServerError: It did not end cleanly.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for_end(process.pid)
            raise ServerError(f"the server did not stop{self.log_tail()}") from error
        # Once all is done, twistd ends by the signal that it was told to end by.
        if status not in (0, -signal.SIGTERM):
            raise ServerError(f"the server ended with {status}{self.log_tail()}")
        if self._ready_file.exists():
            raise ServerError(f"the server left its ready.json{self.log_tail()}")

    def kill(self) -> None:
        """End it, and its workers, as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            # The session that it began holds its workers, too, and nobody else.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for_end(process.pid)

    @property
    def pid(self) -> int:
        """Of the master process."""
        assert self._process is not None
        return self._process.pid

    def log_tail(self) -> str:
        """The end of the log, for messages."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return f"; its log ends:\n{text[-_LOG_TAIL:]}"

    # --- where and who ----------------------------------------------------------------

    def port(self, service: str) -> int:
        """The TCP port of a service, by its name in cyrus.conf."""
        return int(self._service(service)["port"])

    def socket(self, service: str) -> Path:
        """The Unix socket of a service."""
        return Path(str(self._service(service)["path"]))

    def account(self, role: str) -> Login:
        """An account of the embedded default: C{admin} or C{user}."""
        account = self.ready["accounts"][role]
        return Login(account["user"], account["password"])

    def add_user(self, name: str, password: str) -> Login:
        """Make an account with its INBOX, by the administrator's command."""
        self.run("user", "add", name, "--password", password)
        return Login(name, password)

    def run(self, *words: str) -> str:
        """
        Run C{pycyrus VERB ...} on this home.

        @return: What it printed.

        @raise ServerError: It failed.
        """
        command = [str(Path(sys.executable).with_name("pycyrus")), *words, "--home", str(self.home)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ServerError(f"pycyrus {' '.join(words[:2])} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def _service(self, name: str) -> Mapping[str, Any]:
        service: Mapping[str, Any] = self.ready["services"][name]
        return service

    @property
    def _ready_file(self) -> Path:
        return self.home / "ready.json"
