"""OpenLDAP's slapd on the loopback, with trees of several schemas."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pycyrus.net.selfsigned import generate
from pycyrus.testing.ldap_trees import PASSWORD, SCHEMA, TREES
from pycyrus.testing.ports import free_ports
from pycyrus.testing.programs import find_program, run, wait_until

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
include {directory}/own.schema
pidfile {directory}/slapd.pid
argsfile {directory}/slapd.args
TLSCACertificateFile {directory}/directory.pem
TLSCertificateFile {directory}/directory.pem
TLSCertificateKeyFile {directory}/directory.key
TLSVerifyClient never
"""

_DATABASE = """
database mdb
suffix "dc={name}"
rootdn "cn=admin,dc={name}"
rootpw {password}
directory {directory}/{name}
maxsize 67108864
index objectClass,cn,{indexed} eq
{overlay}
access to attrs=userPassword by anonymous auth by * none
access to * by {readers} read by anonymous auth
"""


class Slapd:
    """
    One server.

    @ivar certificate: What clients of C{ldaps} and StartTLS must trust; of C{localhost}.
    """

    def __init__(self, directory: Path) -> None:
        """
        Make its files; nothing runs yet.

        @param directory: Empty, its path short and absolute.
        @raise SkipTest: The programs are not installed.
        """
        self._slapd, self._add = find_program("slapd"), find_program("ldapadd")
        self._directory = directory
        self.certificate = directory / "directory.pem"
        generate(self.certificate, directory / "directory.key")
        (directory / "own.schema").write_text(SCHEMA)
        text = _CONFIGURATION.format(directory=directory)
        for name, tree in TREES.items():
            (directory / name).mkdir()
            text += _DATABASE.format(
                name=name,
                password=PASSWORD,
                directory=directory,
                indexed=tree.indexed,
                overlay=tree.overlay,
                readers=tree.readers,
            )
        (directory / "slapd.conf").write_text(text)
        self.port, self.tls_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        """In clear."""
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_uri(self) -> str:
        """With TLS from the start, by the name in the certificate."""
        return f"ldaps://localhost:{self.tls_port}"

    @property
    def local_uri(self) -> str:
        """By its Unix socket."""
        return "ldapi://" + str(self._directory / "ldapi").replace("/", "%2F")

    def start(self) -> None:
        """Run it; it answers when this returns."""
        with (self._directory / "slapd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._slapd, "-f", self._directory / "slapd.conf", "-d", "stats",
                    "-h", f"{self.uri} ldaps://127.0.0.1:{self.tls_port} {self.local_uri}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self._listens, lambda: f"slapd does not come up: {self.log()[-2000:]}", of=self._process)

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1):
                return True
        except OSError:
            return False

    def load(self, *names: str) -> None:
        """Fill trees: those named, or those of RFC 2307, of groups of names and of Active Directory."""
        for name in names or ("rfc", "gon", "ad"):
            self.add(name, TREES[name].entries())

    def add(self, tree: str, entries: Sequence[str]) -> None:
        """Add entries, written as LDIF."""
        run(
            [self._add, "-x", "-H", self.uri, "-D", f"cn=admin,dc={tree}", "-w", PASSWORD],
            given=("\n\n".join(entries) + "\n").encode("utf-8"),
        )

    def log(self) -> str:
        """What it was asked."""
        return (self._directory / "slapd.log").read_text("utf-8", "replace")

    def hang(self) -> None:
        """Answer nothing any more; connections are still accepted, by the kernel."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")
        # Each stops when it is its turn, which may be later.
        while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads.iterdir()):
            time.sleep(0.001)

    def go_on(self) -> None:
        """Answer again."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; its databases need nothing else."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
