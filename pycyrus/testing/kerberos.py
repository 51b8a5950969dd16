"""A Kerberos realm of its own: a key distribution centre on the loopback, with its files in one directory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from pycyrus.testing.ports import free_port
from pycyrus.testing.programs import find_program, is_running, run, wait_until

REALM = "TEST.EXAMPLE"

_CLIENT = """\
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 qualify_shortname = ""
 udp_preference_limit = 1
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {realm}
[logging]
 kdc = FILE:{directory}/kdc.log
 default = FILE:{directory}/krb5.log
"""

_SERVER = """\
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {directory}/principal
  acl_file = {directory}/kadm5.acl
  key_stash_file = {directory}/stash
  max_life = 10h
  supported_enctypes = aes256-cts-hmac-sha1-96:normal
 }}
"""


class Realm:
    """
    One realm.

    @ivar environment: With which programs, and the library, find it.
    @ivar key_table: Of the services.
    """

    def __init__(self, directory: Path) -> None:
        """
        Make it; nothing runs yet.

        @param directory: Empty, its path short and absolute.
        @raise SkipTest: The programs are not installed.
        """
        self._programs = [find_program(name) for name in ("kdb5_util", "kadmin.local", "krb5kdc", "kinit")]
        self._directory = directory
        self.key_table = directory / "services.keytab"
        self.environment = {
            "KRB5_CONFIG": str(directory / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(directory / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{directory}/cache",
            "KRB5RCACHENAME": f"dfl:{directory}/replays",
        }
        values = {"realm": REALM, "port": free_port(), "directory": directory}
        (directory / "krb5.conf").write_text(_CLIENT.format(**values))
        (directory / "kdc.conf").write_text(_SERVER.format(**values))
        self._run(0, "create", "-s", "-r", REALM, "-P", "master")

    def add_user(self, name: str, password: str) -> None:
        """Make a principal with a password."""
        self._run(1, "-q", f"addprinc -pw {password} {name}")

    def add_service(self, name: str) -> None:
        """Make a principal such as C{imap/localhost}, and put its key into the key table."""
        self._run(1, "-q", f"addprinc -randkey {name}")
        self._run(1, "-q", f"ktadd -k {self.key_table} {name}")

    def start(self) -> None:
        """Run the key distribution centre; it listens when this returns."""
        self._run(2, "-P", str(self._directory / "kdc.pid"))

    def stop(self) -> None:
        """End it."""
        path = self._directory / "kdc.pid"
        if path.exists():
            pid = int(path.read_text())
            os.kill(pid, signal.SIGTERM)
            # It removes files of its own at its end.
            wait_until(lambda: not is_running(pid), lambda: "krb5kdc does not end")

    def log_in(self, name: str, password: str) -> None:
        """Get a ticket-granting ticket into the cache, in place of what is there."""
        run([self._programs[3], name], environment=self.environment, given=password.encode() + b"\n")

    def _run(self, program: int, *arguments: str) -> None:
        run([self._programs[program], *arguments], environment=self.environment)
