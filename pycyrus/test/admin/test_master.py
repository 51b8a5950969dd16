"""C{pycyrus master}: started, watched and ended as init scripts do with Cyrus's."""

from __future__ import annotations

import imaplib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.testing.programs import is_running

IMAPD_CONF = """\
configdirectory: {root}/conf
partition-default: {root}/spool
defaultpartition: default
admins: cyrus
cyrus_user: {user}
workers: 1
servername: localhost
shutdown_timeout: 2
log_json: {root}/log.json
"""
CYRUS_CONF = """\
START {{
  first cmd="{root}/first"
  recover cmd="ctl_cyrusdb -r"
  second cmd="/bin/cp {root}/order {root}/seen"
}}
SERVICES {{
  imap cmd="imapd" listen="127.0.0.1:0"
}}
"""
FIRST = """\
#!/bin/sh
echo first >> {root}/order
sleep 600 &
echo $! > {root}/left
"""
"""It leaves a child behind that has its standard output."""


class MasterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        user = subprocess.check_output(["id", "-un"], text=True).strip()
        for name, text in (("imapd.conf", IMAPD_CONF), ("cyrus.conf", CYRUS_CONF), ("first", FIRST)):
            (self.root / name).write_text(text.format(root=self.root, user=user))
        (self.root / "first").chmod(0o755)
        self.pid_file = self.root / "pid"

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "pycyrus.admin.main", "master", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            # This tree, whatever the current directory is.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)},
        )

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = self.call(
            "-C", f"{self.root}/imapd.conf", "-M", f"{self.root}/cyrus.conf", "-p", str(self.pid_file), *words
        )
        if done.returncode == 0:
            self.addCleanup(self.end, int(self.pid_file.read_text()))
        return done

    def end(self, pid: int) -> None:
        if is_running(pid):
            os.kill(pid, signal.SIGTERM)
        self.wait(lambda: not is_running(pid))

    def wait(self, condition: Any) -> None:
        """For what no event tells: the end of a process that is not our child."""
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_a_daemon(self) -> None:
        """It returns when the services listen; START ran to its end in order; its whole process group ends with it."""
        done = self.start("-d", "-l", "7", "-j", "10", "-L", f"{self.root}/errors")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        ready = json.loads((self.root / "conf" / "ready.json").read_text())
        client = imaplib.IMAP4("127.0.0.1", ready["services"]["imap"]["port"])
        self.assertIn(b"Cyrus IMAP", client.welcome)
        client.shutdown()
        pid = int(self.pid_file.read_text())
        self.assertEqual((pid, os.getsid(pid), os.getpgid(pid)), (ready["pid"],) * 3)
        self.assertEqual((self.root / "seen").read_text(), "first\n")
        self.assertIn("START recover: ctl_cyrusdb is not run", (self.root / "errors").read_text())
        left = int((self.root / "left").read_text())
        self.assertTrue(is_running(left))
        again = self.start("-d")
        self.assertEqual((again.returncode, again.stderr.split()[-1]), (71, str(pid)))
        workers = ready["workers"]
        os.kill(pid, signal.SIGQUIT)
        self.wait(lambda: not any(map(is_running, (pid, left, *workers))))
        self.assertFalse(self.pid_file.exists() or (self.root / "conf" / "ready.json").exists())

    def test_what_is_wrong(self) -> None:
        """It is told at once, with Cyrus's exit code, and nothing is left behind."""
        with (self.root / "imapd.conf").open("a") as file:
            file.write("nonsense: yes\n")
        done = self.start("-d")
        self.assertEqual(done.returncode, 78)
        self.assertIn("nonsense is no option", done.stderr)
        self.assertFalse(self.pid_file.exists())

    def test_a_stale_pid_file(self) -> None:
        """A file that nobody has locked is left over from a machine that crashed."""
        self.pid_file.write_text("1\n")
        self.assertEqual(self.start("-d").returncode, 0)
        self.assertNotEqual(self.pid_file.read_text(), "1\n")

    def test_version(self) -> None:
        self.assertRegex(self.call("-V").stdout, re.compile(r"^pycyrus \S+ \(as Cyrus IMAP 3\.6\."))
