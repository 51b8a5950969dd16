"""Programs of other people that tests drive, and where Debian has them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

PACKAGES = {
    "postfix": "postfix",
    "postqueue": "postfix",
    "mbsync": "isync",
    "curl": "curl",
    "swaks": "swaks",
    "lmtptest": "cyrus-clients",
    "imtest": "cyrus-clients",
    "pop3test": "cyrus-clients",
    "cyradm": "cyrus-admin",
    "fail2ban-regex": "fail2ban",
    "krb5kdc": "krb5-kdc",
    "kadmin.local": "krb5-admin-server",
    "kinit": "krb5-user",
    "slapd": "slapd",
    "initdb": "postgresql",
    "pg_ctl": "postgresql",
    "ldapadd": "ldap-utils",
    "saslauthd": "sasl2-bin",
    "getmail": "getmail6",
    "offlineimap": "offlineimap3",
    "mupdate": "cyrus-murder",
    "imapd": "cyrus-imapd",
    "saslpasswd2": "sasl2-bin",
    "sasldblistusers2": "sasl2-bin",
    "gsasl": "gsasl",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "gdbm_load": "gdbmtool",
    "mdb_load": "lmdb-utils",
    "cyr_buildinfo": "cyrus-common",
}
_DIRECTORIES = "/usr/sbin:/sbin:/usr/lib/cyrus/bin:/usr/local/lib/cyrus-peer/usr/lib/cyrus/bin"
"""The last one is for packages that cannot be installed beside others: C{bin/test} unpacks them there."""


class ProgramFailed(AssertionError):
    """A program ended with a status that says so; the text has what it printed."""


def find_program(name: str) -> Path:
    """
    Find an installed program.

    @raise SkipTest: It is not there, and this is not continuous integration.
    @raise ProgramFailed: It is not there, although it must be.
    """
    found = shutil.which(name) or shutil.which(name, path=_DIRECTORIES)
    if found is not None:
        return Path(found)
    text = f"{name} is not installed: apt-get install {PACKAGES.get(name, name)}"
    if os.environ.get("CI") == "true":
        raise ProgramFailed(text)
    raise SkipTest(text)


def run(
    command: Sequence[str | Path],
    *,
    timeout: float = 60.0,
    status: int | None = 0,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
) -> str:
    """
    Run a program to its end.

    @param status: What it must end with; None for anything.
    @param given: Its standard input.

    @return: What it printed.

    @raise ProgramFailed: It ended otherwise, or took too long.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        text = (error.stdout or b"").decode("utf-8", "replace")
        raise ProgramFailed(f"{words[0]} took longer than {timeout} s: {text}") from error
    printed = done.stdout.decode("utf-8", "replace")
    if status is not None and done.returncode != status:
        raise ProgramFailed(f"{' '.join(words)} ended with {done.returncode}: {printed}")
    return printed


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_running(pid: int) -> bool:
    """Whether a process runs, and does not only wait for somebody to ask how it ended."""
    fields = _fields_of(pid)
    return bool(fields) and fields[0] not in "ZX"


def wait_until(
    is_so: Callable[[], bool],
    otherwise: Callable[[], str],
    timeout: float = 60.0,
    *,
    of: subprocess.Popen[bytes] | None = None,
) -> None:
    """
    Look again and again, for programs that tell nobody what happened.

    @param otherwise: What to say if it is not so in time.
    @param timeout: Seconds.
    @param of: The process that is to bring it about; when it has ended there is nothing to wait for.
    @raise ProgramFailed: It is not so, in time.
    """
    deadline = time.monotonic() + timeout
    while not is_so():
        if time.monotonic() > deadline or (of is not None and of.poll() is not None):
            raise ProgramFailed(otherwise())
        time.sleep(0.01)


def wait_for_end(group: int, timeout: float = 60.0) -> None:
    """
    Wait until all processes of a group that was killed are gone, with all that they held.

    @raise ProgramFailed: They are not, in time.
    """
    wait_until(lambda: not _is_group_running(group), lambda: f"processes of the group {group} do not end", timeout)


def greets(port: int) -> bool:
    """Whether an SMTP server answers at a port of the loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(100).startswith(b"220")
    except OSError:
        return False


def _is_group_running(group: int) -> bool:
    # Asking the kernel for the group would find those that nobody has asked about, too.
    found = (_fields_of(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
    return any(fields[0] not in "ZX" and int(fields[2]) == group for fields in found if fields)


def _fields_of(pid: int) -> list[str]:
    """What the kernel tells of a process, from its state on; nothing if it is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def python_of(user: int) -> str:
    """
    Find a command by which another user can run what is tested here: this Python, or else Debian's own.

    @raise SkipTest: There is none.
    """
    places = ":".join(path for path in sys.path if path and Path(path).is_dir())
    for words in ([sys.executable], ["/usr/bin/env", f"PYTHONPATH={places}", "/usr/bin/python3"]):
        try:
            subprocess.run([*words, "-c", "import pycyrus, numpy"], user=user, check=True, cwd="/")
        except (OSError, subprocess.CalledProcessError):
            continue
        return " ".join(words)
    raise SkipTest("other users cannot run Python: install python3, of the same version")
