"""PostgreSQL with its files in one directory, on a port of the loopback."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import find_program, run

USER = "postgres"
"""Its administrator; by the loopback nobody is asked for a password."""
_PROGRAMS = Path("/usr/lib/postgresql")


def _program(name: str) -> Path:
    """Debian has the programs of each version in a directory that is on nobody's path."""
    found = sorted(_PROGRAMS.glob(f"*/bin/{name}"))
    return found[-1] if found else find_program(name)


class Postgresql:
    """One server, which refuses to run as root and so becomes the user that Debian has for it."""

    def __init__(self, directory: Path, *, of: Postgresql | None = None) -> None:
        """
        Make its files; nothing runs yet.

        @param directory: Empty, its path short and absolute; others may pass through it.
        @param of: Be a standby of this one, which runs.
        @raise SkipTest: The programs are not installed.
        """
        initdb, self._control = _program("initdb"), _program("pg_ctl")
        self._as: list[str] = []
        if os.geteuid() == 0:
            entry = pwd.getpwnam(USER)
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            self._as = ["runuser", "-u", USER, "--"]
        self._directory = directory
        self._data = directory / "data"
        self.port = free_port()
        if of is None:
            command: list[str | Path] = [initdb, "-D", self._data, "-A", "trust", "-U", USER]
            command += ["--no-sync", "-E", "UTF8", "--locale=C"]
        else:
            command = [_program("pg_basebackup"), "-D", self._data, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
            command += ["-h", "127.0.0.1", "-p", str(of.port), "-U", USER]
        run([*self._as, *command])

    def start(self, *settings: str) -> None:
        """
        Run it; it answers when this returns.

        @param settings: Further ones, C{NAME=VALUE} without blanks.
        """
        fixed = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "logging_collector=off")
        options = f"-p {self.port} " + " ".join(f"-c {setting}" for setting in (*fixed, *settings))
        # It must not keep what would tell us of its end.
        subprocess.run(
            [
                *self._as, str(self._control), "-D", str(self._data), "-w", "-t", "60", "-o", options,
                "-l", str(self._directory / "log"), "start",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=90, check=True,
        )  # fmt: skip

    def stop(self) -> None:
        """End it at once; does nothing if it does not run."""
        run([*self._as, self._control, "-D", self._data, "-m", "immediate", "-w", "stop"], status=None)

    def promote(self) -> None:
        """Have a standby take changes, which it does when this returns."""
        run([*self._as, self._control, "-D", self._data, "-w", "promote"])
