"""
A real Cyrus IMAP 3.6 of one's own, for the other side of a Murder.

Nothing of the machine's own is touched.  It must be started by root, as its
programs become the user cyrus.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import ProgramFailed, find_program, run, wait_for_end, wait_until

PASSWORD = "secret"

_COMMON = """\
configdirectory: {directory}/conf
defaultpartition: default
partition-default: {directory}/spool
sievedir: {directory}/sieve
servername: {name}
allowplaintext: yes
failedloginpause: 0
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/sasldb2
sasl_mech_list: PLAIN
lmtpsocket: {directory}/conf/socket/lmtp
idlesocket: {directory}/conf/socket/idle
notifysocket: {directory}/conf/socket/notify
"""
_START_WITHIN = 60.0
_STOP_WITHIN = 60.0


class CyrusServer:
    """
    A Cyrus master process and its services.

    @param directory: Its path must be short enough for Unix sockets.
    @ivar port: Of its service.
    @ivar ports: Of further services, by program.
    @ivar name: As it stands in locations.
    """

    def __init__(
        self,
        directory: Path,
        program: str,
        *words: str,
        users: Sequence[str],
        others: Sequence[str] = (),
        name: str = "",
        **options: str,
    ) -> None:
        """
        @param program: Of its one service, with its arguments.
        @param others: Programs of further services.
        @param name: If others call it by another one.
        @param users: Who have passwords, all of them L{PASSWORD}.
        @param options: Of its imapd.conf.
        @raise SkipTest: It cannot be run here, and this is not continuous integration.
        """
        if os.geteuid() != 0:
            raise SkipTest("Cyrus's programs must be started by root")
        # Postfix and we have programs of the same names.
        self._tools = find_program("cyr_buildinfo").resolve().parent
        self._master = self._tools / "master"
        self._program = find_program(program)
        self.directory = directory
        self.port = free_port()
        self.ports = {other: free_port() for other in others}
        self.name = name or f"localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._words = words
        self._greeting = b"* OK MUPDATE" if program == "mupdate" else b"* OK"
        self._users = users
        self._publishes = "proxyservers" in options
        self._set_up(options)

    @property
    def configuration(self) -> Path:
        """Its imapd.conf."""
        return self.directory / "imapd.conf"

    def _set_up(self, options: Mapping[str, str]) -> None:
        for name in ("conf/socket", "conf/db", "conf/log", "conf/msg", "conf/proc", "spool", "sieve"):
            (self.directory / name).mkdir(parents=True)
        text = _COMMON.format(directory=self.directory, name=self.name)
        text += "".join(f"{key.replace('__', '-')}: {value}\n" for key, value in options.items())
        self.configuration.write_text(text)
        for user in self._users:
            words = ("-p", "-c", "-f", self.directory / "sasldb2", "-u", self.name, user)
            run([find_program("saslpasswd2"), *words], given=PASSWORD.encode())
        for path in (self.directory, *self.directory.rglob("*")):
            shutil.chown(path, "cyrus", "mail")

    def start(self) -> None:
        """
        Start it, and wait until it greets.

        @raise ProgramFailed: It does not.
        """
        service = " ".join((str(self._program), "-C", str(self.configuration), *self._words))
        services = f'  {self._program.name} cmd="{service}" listen="127.0.0.1:{self.port}" prefork=1\n'
        for name, port in self.ports.items():
            services += f'  {name} cmd="{find_program(name)} -C {self.configuration}" listen="127.0.0.1:{port}"\n'
        conf = self.directory / "cyrus.conf"
        conf.write_text(f"START {{\n{self._start_entries()}}}\nSERVICES {{\n{services}}}\n")
        with (self.directory / "master.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._master, "-C", self.configuration, "-M", conf, "-p", self.directory / "master.pid", "-D"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(
                self._greets,
                lambda: f"Cyrus's {self._program.name} does not greet: {self._log()}",
                _START_WITHIN,
                of=self._process,
            )
        except ProgramFailed:
            self.stop()
            raise

    def _start_entries(self) -> str:
        if not self._publishes:
            return ""
        return f'  push cmd="{self._tools}/ctl_mboxlist -C {self.configuration} -m"\n'

    def _log(self) -> str:
        return (self.directory / "master.log").read_text("utf-8", "replace")[-2000:]

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10.0) as connection:
                heard = b""
                while data := connection.recv(4096):
                    heard += data
                    if any(line.startswith(self._greeting) for line in heard.split(b"\r\n")):
                        return True
        except OSError:
            pass
        return False

    def stop(self) -> None:
        """Stop it, and all that it started; does nothing if it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Its services are of the session that it began.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        wait_for_end(process.pid)

    def kill(self) -> None:
        """End it, and all that it started, as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            wait_for_end(process.pid)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def tool(self, name: str, *words: str) -> str:
        """
        Run one of its administrator's programs.

        @return: What it printed.
        """
        become = ("setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups")
        return run([*become, str(self._tools / name), "-C", str(self.configuration), *words])
