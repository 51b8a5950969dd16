"""
A sendmail of one's own: unpacked from Debian's packages, which cannot be installed beside Postfix.

Its configuration is made with m4; its queue and log are in a directory.  It
must be started by root, as it changes the host name of its own name space.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import ProgramFailed, find_program, greets, run, wait_until

PACKAGES = ("sendmail-bin", "sendmail-base", "sendmail-cf")

_OWN = """\
define(`confDOMAIN_NAME', `mx.test.example')dnl
define(`confPID_FILE', `{directory}/run/sendmail.pid')dnl
define(`QUEUE_DIR', `{directory}/queue')dnl
define(`STATUS_FILE', `{directory}/log/statistics')dnl
define(`HELP_FILE', `{directory}/tree/etc/mail/helpfile')dnl
define(`ALIAS_FILE', `{directory}/etc/aliases')dnl
define(`confSERVICE_SWITCH_FILE', `{directory}/etc/switch')dnl
define(`confDELIVERY_MODE', `background')dnl
define(`confTO_IDENT', `0')dnl
define(`confMIN_QUEUE_AGE', `0')dnl
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,TrustStickyBit')dnl
define(`confREFUSE_LA', `999')dnl
define(`confQUEUE_LA', `999')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nouucp', `reject')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
DAEMON_OPTIONS(`Family=inet, Addr=127.0.0.1, Port={port}, Name=MTA')dnl
"""
_OSTYPE = "OSTYPE(`linux')dnl\n"


class Sendmail:
    """
    One instance.

    @param directory: Its own.
    @param configuration: The sample, an m4 text; what this instance needs beyond
        is put behind its OSTYPE.
    """

    def __init__(self, directory: Path, configuration: str) -> None:
        self.directory = directory
        self.port = 0
        self._configuration = configuration

    def start(self) -> None:
        """
        Unpack it, start it and wait for its greeting.

        @raise SkipTest: It cannot be had.
        """
        m4 = find_program("m4")
        if os.geteuid():
            raise SkipTest("only root can start a sendmail")
        self._unpack()
        self.port = free_port()
        for name in ("etc", "queue", "run", "log"):
            (self.directory / name).mkdir()
        (self.directory / "queue").chmod(0o700)
        etc = self.directory / "etc"
        (etc / "switch").write_text("hosts files\naliases files\n")
        (etc / "aliases").write_text("postmaster: root\n")
        own = _OWN.format(directory=self.directory, port=self.port)
        text = self._configuration.replace("/usr/share/sendmail/cf/", f"{self._tree}/usr/share/sendmail/cf/")
        before, found, after = text.partition(_OSTYPE)
        if not found:
            raise ProgramFailed("the sample has no OSTYPE")
        given = f"divert(-1)dnl\ndefine(`_CF_DIR_', `{self._tree}/usr/share/sendmail/cf/')dnl\n"
        (etc / "sendmail.mc").write_text(given + before + found + own + after)
        (etc / "sendmail.cf").write_text(run([m4, etc / "sendmail.mc"]))
        binary = self._tree / "usr/libexec/sendmail/sendmail"
        script = self.directory / "sm"
        # Without a dot in the host's name it would sleep for a minute.
        script.write_text(
            '#!/bin/sh\nexec unshare -u sh -c \'hostname mx.test.example; exec "$0" "$@"\' '
            f'{shlex.quote(str(binary))} -C {shlex.quote(str(etc / "sendmail.cf"))} "$@"\n'
        )
        script.chmod(0o755)
        run([script, "-bi"])
        run([script, "-bd", "-q2s", "-X", self.directory / "log" / "traffic"])
        wait_until(lambda: greets(self.port), lambda: "sendmail does not greet")

    @property
    def _tree(self) -> Path:
        return self.directory / "tree"

    def _unpack(self) -> None:
        packages = self.directory / "packages"
        packages.mkdir(parents=True)
        self.directory.chmod(0o755)
        for path in (self.directory, packages):
            path.chmod(0o755)
        given = os.environ.get("SENDMAIL_PACKAGES")
        try:
            if given:
                for path in Path(given).glob("*.deb"):
                    shutil.copy(path, packages)
            else:
                run(["sh", "-c", f"cd {shlex.quote(str(packages))} && apt-get -q download {' '.join(PACKAGES)}"])
        except ProgramFailed as error:
            if os.environ.get("CI") == "true":
                raise
            raise SkipTest(f"the packages of sendmail cannot be had: {error}") from error
        for path in packages.glob("*.deb"):
            run(["dpkg", "-x", path, self._tree])

    def stop(self) -> None:
        """Stop it; does nothing if it does not run."""
        pid_file = self.directory / "run" / "sendmail.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not pid_file.exists(), lambda: "sendmail did not stop")

    def wait_until_empty(self, timeout: float) -> None:
        """
        Wait until all was delivered.

        @raise ProgramFailed: It was not, in time.
        """
        queue = self.directory / "queue"
        wait_until(
            lambda: not any(queue.iterdir()), lambda: f"mail is left in the queue: {self.traffic()[-3000:]}", timeout
        )

    def traffic(self) -> str:
        """Every line that was said, by SMTP and LMTP."""
        path = self.directory / "log" / "traffic"
        return path.read_text("utf-8", "replace") if path.exists() else ""
