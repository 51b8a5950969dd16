"""PostgreSQL with its files in one directory, on a port of the loopback."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from pathlib import Path

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

    def __init__(self, directory: Path) -> None:
        """
        Make its files; nothing runs yet.

        @param directory: Empty, its path short and absolute; others may pass through it.
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
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        run([*self._as, initdb, "-D", self._data, "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8", "--locale=C"])

    def start(self) -> None:
        """Run it; it answers when this returns."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
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
