"""
A Postfix of one's own: its configuration, queue and log in a directory.

Nothing of the machine's own Postfix is touched, and no mail leaves: what is not
for the domain under test is thrown away.  It must be started by root.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import ProgramFailed, find_program, greets, run, wait_until

DOMAIN = "test.example"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log/maillog
maillog_file_prefixes = {directory}/log, /dev/stdout
syslog_name = pft
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.{domain}
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
default_database_type = hash
virtual_mailbox_domains = {domain}
virtual_mailbox_maps = static:all
virtual_transport = {transport}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = permit_mynetworks, reject
disable_dns_lookups = yes
smtp_dns_support_level = disabled
default_transport = discard:not on this test network
lmtp_destination_recipient_limit = 50
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s
in_flow_delay = 0
notify_classes =
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
"""


class Postfix:
    """
    One instance.

    @param directory: Its own; it and what is above must be passable for
        Postfix's user.
    @param transport: Where mail for L{DOMAIN} goes, such as
        C{lmtp:unix:/path}.
    @param main: More of main.cf, which holds before what is there.
    @param master: More of master.cf.
    """

    def __init__(self, directory: Path, transport: str, main: str = "", master: str = "") -> None:
        self._main = main
        self._master = master
        self.directory = directory
        self.transport = transport
        self.port = 0

    def start(self) -> None:
        """
        Start it and wait for its greeting.

        @raise SkipTest: There is no Postfix, or nobody who may start one.
        """
        find_program("postfix")
        if os.geteuid():
            raise SkipTest("only root can start a Postfix")
        self.port = free_port()
        for name in ("etc", "queue", "data", "log"):
            path = self.directory / name
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        self.directory.chmod(0o755)
        postfix = pwd.getpwnam("postfix")
        os.chown(self.directory / "data", postfix.pw_uid, postfix.pw_gid)
        values = {"directory": self.directory, "domain": DOMAIN, "transport": self.transport, "port": self.port}
        given = set(re.findall(r"(?m)^(\w+) *=", self._main))
        lines = _MAIN.format(**values).splitlines(keepends=True)
        kept = "".join(line for line in lines if line.partition(" =")[0] not in given)
        (self.directory / "etc" / "main.cf").write_text(kept + self._main)
        (self.directory / "etc" / "master.cf").write_text(_MASTER.format(**values) + self._master)
        self._command("postfix", "start")
        wait_until(lambda: greets(self.port), lambda: f"Postfix does not greet: {self.log_tail()}")

    def stop(self) -> None:
        """Stop it; does nothing if it does not run."""
        pid_file = self.directory / "queue" / "pid" / "master.pid"
        if not pid_file.exists():
            return
        try:
            os.kill(int(pid_file.read_text().strip()), signal.SIGTERM)
        except ProcessLookupError:
            return
        wait_until(lambda: not self._master_runs(), lambda: f"Postfix did not stop: {self.log_tail()}")

    def queue(self) -> list[dict[str, object]]:
        """What waits to be delivered."""
        return [json.loads(line) for line in self._command("postqueue", "-j").splitlines()]

    def flush(self) -> None:
        """Try everything now."""
        self._command("postqueue", "-f")

    def wait_until_empty(self, timeout: float) -> None:
        """
        Wait until all was delivered.

        @raise ProgramFailed: It was not, in time.
        """
        # A message may go from a directory that is read later to one that was read already, but not again at once.
        wait_until(
            lambda: not (self.queue() or self.queue()), lambda: f"mail is left in the queue: {self.log_tail()}", timeout
        )

    def log_text(self) -> str:
        """The whole mail log."""
        path = self.directory / "log" / "maillog"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def log_tail(self) -> str:
        """Its end."""
        return self.log_text()[-3000:]

    def _command(self, program: str, *words: str) -> str:
        return run([find_program(program), "-c", self.directory / "etc", *words])

    def _master_runs(self) -> bool:
        # The command looks at the lock on the pid file.
        try:
            self._command("postfix", "status")
        except ProgramFailed:
            return False
        return True
