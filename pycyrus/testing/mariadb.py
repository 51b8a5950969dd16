"""MariaDB with its files in one directory, on a port of the loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from pycyrus.net.selfsigned import generate
from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import ProgramFailed, find_program, run, wait_until

USER = "mail"
PASSWORD = "of the database"
DATABASE = "mail"
_ACCOUNT = "mysql"
"""Whom Debian has for it: it does not run as root."""
_WITHIN = 60.0


class Mariadb:
    """One server, with one database, and a user who may do anything there."""

    def __init__(self, directory: Path) -> None:
        """
        Make its files; nothing runs yet.

        @param directory: Empty, its path short and absolute; others may pass through it.
        @raise SkipTest: The programs are not installed.
        """
        self._program, install = find_program("mariadbd"), find_program("mariadb-install-db")
        self._directory = directory
        self._data = directory / "data"
        self._data.mkdir()
        self.port: int = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        generate(directory / "cert.pem", directory / "key.pem")
        self._as: list[str] = []
        if os.geteuid() == 0:
            for path in (self._data, directory / "cert.pem", directory / "key.pem"):
                shutil.chown(path, _ACCOUNT, _ACCOUNT)
            self._as = [f"--user={_ACCOUNT}"]
        accounts = directory / "accounts.sql"
        # While it makes its tables it reads a statement from each line.
        accounts.write_text(
            f"CREATE DATABASE {DATABASE};\n"
            f"FLUSH PRIVILEGES;\n"
            f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1';\n"
        )
        run([
            install, "--no-defaults", f"--datadir={self._data}", "--skip-test-db", "--skip-log-bin", *self._as,
            f"--extra-file={accounts}",
        ])  # fmt: skip

    def start(self, *options: str) -> None:
        """
        Run it; it answers when this returns.

        @raise ProgramFailed: It does not come up.
        """
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    str(self._program), "--no-defaults", f"--datadir={self._data}", f"--port={self.port}",
                    "--bind-address=127.0.0.1", f"--socket={self._data}/s", "--skip-name-resolve",
                    f"--ssl-cert={self._directory}/cert.pem",
                    f"--ssl-key={self._directory}/key.pem", *self._as, *options,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            wait_until(
                self._greets,
                lambda: f"mariadbd does not come up: {(self._directory / 'log').read_text('utf-8', 'replace')[-2000:]}",
                _WITHIN,
                of=self._process,
            )
        except ProgramFailed:
            self.stop()
            raise

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
                return bool(connection.recv(1))
        except OSError:
            return False

    def stop(self) -> None:
        """End it at once; what was committed is there when it runs again.  Does nothing if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
