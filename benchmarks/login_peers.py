"""Dovecot and Cyrus with a directory behind them, for L{ldap_logins}.  Root and Debian's packages are needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pycyrus.testing.cyrus import CyrusServer, free_port
from pycyrus.testing.programs import find_program
from pycyrus.testing.slapd import Slapd

_DOVECOT = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/dovecot.log
listen = 127.0.0.1
protocols = imap
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
passdb {{
  driver = ldap
  args = {directory}/ldap.conf
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/home/%n
}}
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:~/Maildir
default_client_limit = 8192
mail_max_userip_connections = 4096
service imap {{
  process_limit = 4096
}}
service imap-login {{
  service_count = {count}
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
_DOVECOT_LDAP = """\
uris = {uri}
ldap_version = 3
base = ou=people,dc=rfc
auth_bind = yes
pass_filter = (uid=%n)
"""
_SASLAUTHD = """\
ldap_servers: {uri}
ldap_search_base: ou=people,dc=rfc
ldap_filter: (uid=%U)
"""
_WITHIN = 20.0


def _wait(path: Path) -> None:
    deadline = time.monotonic() + _WITHIN
    while not path.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"{path} does not appear")
        time.sleep(0.02)


@contextmanager
def dovecot(directory: Path, slapd: Slapd, count: int) -> Iterator[int]:
    """
    Run Dovecot: everything as it comes, no cache of logins, searches and binds at the directory.

    @param count: Logins that one login process serves; 0 for any, its high-performance mode.
    @return: The port of IMAP.
    """
    for name in ("run", "state", "home"):
        (directory / name).mkdir(parents=True)
    directory.chmod(0o755)
    shutil.chown(directory / "home", "mail", "mail")
    port = free_port()
    (directory / "ldap.conf").write_text(_DOVECOT_LDAP.format(uri=slapd.uri))
    (directory / "dovecot.conf").write_text(_DOVECOT.format(directory=directory, port=port, count=count))
    subprocess.run(
        [find_program("dovecot"), "-c", directory / "dovecot.conf"], stdin=subprocess.DEVNULL, check=True, timeout=60
    )
    pid_file = directory / "run" / "master.pid"
    _wait(pid_file)
    pid = int(pid_file.read_text())
    try:
        yield port
    finally:
        os.kill(pid, signal.SIGTERM)
        while pid_file.exists():
            time.sleep(0.02)


@contextmanager
def cyrus(directory: Path, slapd: Slapd, processes: int = 5) -> Iterator[int]:
    """
    Run Cyrus, and saslauthd with its LDAP, without its cache.

    @param processes: Of saslauthd; 5 is what it does when nobody says.
    @return: The port of IMAP.
    """
    sockets = directory / "sasl"
    sockets.mkdir(parents=True)
    directory.chmod(0o755)
    configuration = directory / "saslauthd.conf"
    configuration.write_text(_SASLAUTHD.format(uri=slapd.uri))
    daemon = subprocess.Popen(
        [find_program("saslauthd"), "-d", "-a", "ldap", "-O", configuration, "-m", sockets, "-n", str(processes)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    server: CyrusServer | None = None
    try:
        _wait(sockets / "mux")
        (directory / "cyrus").mkdir()
        server = CyrusServer(directory / "cyrus", "imapd", users=(), virtdomains="off", loginrealms="one.example")
        text = server.configuration.read_text().replace(
            "sasl_pwcheck_method: auxprop", f"sasl_pwcheck_method: saslauthd\nsasl_saslauthd_path: {sockets}/mux"
        )
        server.configuration.write_text(text)
        server.start()
        yield server.port
    finally:
        if server is not None:
            server.stop()
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()
