#!/usr/bin/env python3
"""
A Murder of pycyrus beside one of Debian's Cyrus, on this machine's loopback, in one run.

    benchmarks/murder.py                        everything that the table in doc/performance.rst has
    benchmarks/murder.py --scenarios 'noop.*' --rounds 3 --no-cyrus
    benchmarks/murder.py --keep                 leave both running, and say where

Each Murder has a MUPDATE master, a backend and a frontend.  mailbench's scenarios are run through both frontends
and, to see what those cost, directly at both backends; all mailboxes are made at the backends, for a frontend of
Cyrus 3.6 may deadlock when a user's mailboxes are changed on both sides.  Needs root, and what
C{peers/murder} names.  Run it with the Python of the environment that bin/run or bin/test made.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import imaplib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import mailbench  # noqa: E402 - it is a program beside this one

from pycyrus.testing.ports import free_ports  # noqa: E402 - likewise

USERS = 100
PASSWORD = "secret"
SCENARIOS = "login.select.*,noop.1,fetch.envelope,fetch.body,append.1,lmtp.1,lmtp.16,pop3.4"
ROLES = ("mupdate", "backend1", "frontend")
CYRUS = {
    "cyrus-frontend": ("14143", "14024", "14110", "frontend"),
    "cyrus-direct": ("15143", "15025", "15110", "backend1"),
}
WANTED = {
    "login.select.8": 2, "noop.1": 1, "fetch.envelope": 3, "append.1": 10, "lmtp.1": 10, "lmtp.16": 4, "pop3.4": 2,
}  # fmt: skip
"""How many times as fast as Cyrus's frontend ours is to be."""


# --- further scenarios --------------------------------------------------------


@mailbench.scenario("login.select.8", "sessions", 8)
@mailbench.scenario("login.select.1", "sessions", 1)
def login_select(srv: Any, clients: int) -> Any:
    """LOGIN, SELECT and LOGOUT."""
    srv.warm_accounts()
    users = itertools.cycle(range(1, srv.opt.users + 1))

    def client() -> Iterator[Any]:
        while (began := mailbench.clock()) < t.end:
            chan = yield from mailbench.imap_login(srv, next(users))
            yield chan, mailbench.TAG + b" SELECT INBOX\r\n", mailbench.tagged, None
            yield from mailbench.imap_logout(chan)
            t.lat.append(mailbench.clock() - began)

    with srv.timed() as t:
        mailbench.drive(client() for _ in range(clients))
    return t


@mailbench.scenario("append.1", "messages", 1)
def append(srv: Any, clients: int) -> Any:
    """As mailbench's, to mailboxes that are there."""
    users = list(mailbench.APPENDERS)[:clients]
    chans = srv.login(users)

    def client(chan: Any) -> Iterator[Any]:
        while (began := mailbench.clock()) < t.end:
            yield from mailbench.imap_append(chan, srv, b"INBOX", [srv.next_message()], b"\\Seen")
            t.lat.append(mailbench.clock() - began)

    with srv.timed() as t:
        mailbench.drive(client(chan) for chan in chans)
    srv.logout(chans)
    srv.empty_inboxes(users)
    return t


mailbench.ORDER[:] = list(dict.fromkeys([*mailbench.ORDER, "login.select.1", "login.select.8", "append.1"]))


# --- Cyrus --------------------------------------------------------------------


@contextlib.contextmanager
def cyrus_running() -> Iterator[list[str]]:
    """Start Cyrus's Murder; gives mailbench's arguments for it."""
    script = str(HERE / "peers" / "murder")
    directory = Path(os.environ.get("PEERS_DIR", "/tmp/peers"))
    environment = os.environ | {"SERVERLIST": "localhost:15143"}
    if not (directory / "cyrus-extra").exists():
        subprocess.run([script, "unpack"], check=True, stdout=subprocess.DEVNULL)
    try:
        # Daemons inherit the output, so it must not be a pipe that somebody waits for.
        subprocess.run(
            [script, "start", *ROLES], check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment
        )
        make_mailboxes(15143)
        yield [
            f"{name}={','.join(ports)},{directory}/murder/{role}/master.pid" for name, (*ports, role) in CYRUS.items()
        ]
    finally:
        subprocess.run([script, "stop", *reversed(ROLES)], check=False, stdout=subprocess.DEVNULL)


# --- pycyrus ------------------------------------------------------------------

_COMMON = """\
configdirectory: {home}/{role}
partition-default: {home}/{role}-spool
defaultpartition: default
cyrus_user: root
servername: localhost:{imap}
admins: cyrus mupduser
allowplaintext: yes
failedloginpause: 0
sasl_pwcheck_method: passwd
workers: {workers}
maxlogins_per_user: 0
maxlogins_per_host: 0
"""
_MEMBER = """\
mupdate_server: localhost:{mupdate}
mupdate_username: mupduser
mupdate_authname: mupduser
mupdate_password: secret
mupdate_retry_delay: 5
proxy_authname: mailproxy
proxy_password: secret
"""
_CONFIGURATION = {
    "mupdate": _COMMON,
    "backend1": _COMMON + _MEMBER + "proxyservers: mailproxy\nlmtp_admins: mailproxy\nallowallsubscribe: yes\n",
    "frontend": _COMMON + _MEMBER + "serverlist: localhost:{backend}\nbackend_ports: {backend_ports}\n",
}
_SERVICES = {
    "mupdate": 'mupdate cmd="mupdate -m" listen="127.0.0.1:{mupdate}"',
    "backend1": """\
  imap cmd="imapd" listen="127.0.0.1:{imap}"
  pop3 cmd="pop3d" listen="127.0.0.1:{pop3}"
  lmtp cmd="lmtpd" listen="127.0.0.1:{lmtp}"
  lmtplocal cmd="lmtpd -a" listen="127.0.0.1:{lmtplocal}"
""",
    "frontend": """\
  mupdate cmd="mupdate" listen="127.0.0.1:{slave}"
  imap cmd="imapd" listen="127.0.0.1:{imap}"
  pop3 cmd="pop3d" listen="127.0.0.1:{pop3}"
  lmtp cmd="lmtpd -a" listen="127.0.0.1:{lmtp}"
""",
}


def write_configuration(home: Path, workers: int) -> dict[str, dict[str, int]]:
    """Write all files; gives each role's ports."""
    names = ("imap", "pop3", "lmtp", "lmtplocal", "slave", "mupdate")
    numbers = iter(free_ports(len(names) * len(ROLES)))
    ports = {role: {name: next(numbers) for name in names} for role in ROLES}
    backend = ports["backend1"]
    shared = {
        "home": home, "workers": workers, "backend": backend["imap"],
        "backend_ports": f"localhost:{backend['imap']}/pop3={backend['pop3']} "
                         f"localhost:{backend['imap']}/lmtp={backend['lmtp']}",
    }  # fmt: skip
    for role in ROLES:
        ports[role]["mupdate"] = ports["mupdate"]["mupdate"]
        values = {**ports[role], **shared, "role": role}
        (home / f"{role}.conf").write_text(_CONFIGURATION[role].format(**values))
        (home / f"{role}-cyrus.conf").write_text("SERVICES {\n" + _SERVICES[role].format(**values) + "\n}\n")
    return ports


def add_users(home: Path) -> None:
    """The accounts of each server."""
    from pycyrus.auth.users import UserDatabase

    users = [f"u{number:04d}" for number in range(1, USERS + 1)]
    for role in ROLES:
        directory = home / role
        directory.mkdir()
        database = UserDatabase(directory / "users.db")
        for name in ["cyrus", "mupduser", "mailproxy", *(users if role != "mupdate" else ())]:
            database.add(name, PASSWORD)
        database.close()


@contextlib.contextmanager
def pycyrus_running(home: Path, workers: int) -> Iterator[list[str]]:
    """Start a Murder of pycyrus; gives mailbench's arguments for it."""
    ports = write_configuration(home, workers)
    add_users(home)
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for role in ROLES:
            running[role] = start(home, role)
        make_mailboxes(ports["backend1"]["imap"])
        frontend, backend = ports["frontend"], ports["backend1"]
        yield [
            f"pycyrus-frontend={frontend['imap']},{frontend['lmtp']},{frontend['pop3']},{running['frontend'].pid}",
            f"pycyrus-direct={backend['imap']},{backend['lmtplocal']},{backend['pop3']},{running['backend1'].pid}",
        ]
    finally:
        for server in reversed(running.values()):
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def start(home: Path, role: str) -> subprocess.Popen[bytes]:
    """Start one server, and wait until it serves."""
    twistd = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile", str(home / f"{role}.pid"), "pycyrus"]
    command = [*twistd, "-C", str(home / f"{role}.conf"), "-M", str(home / f"{role}-cyrus.conf")]
    with (home / f"{role}.log").open("wb") as log:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=HERE.parent)
    deadline = time.monotonic() + 60
    while not (home / role / "ready.json").exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{role} did not start:\n{(home / f'{role}.log').read_text()[-3000:]}")
        time.sleep(0.05)
    return server


# --- both ---------------------------------------------------------------------


def make_mailboxes(port: int) -> None:
    """Give each user an INBOX, at a backend."""
    admin = imaplib.IMAP4("127.0.0.1", port)
    admin.login("cyrus", PASSWORD)
    for number in range(1, USERS + 1):
        status, answer = admin.create(f"user/u{number:04d}")
        if status != "OK" and b"exists" not in answer[0]:
            raise SystemExit(f"no mailbox for u{number:04d}: {answer!r}")
    admin.logout()


def prepare(servers: list[Any], scenarios: list[str]) -> None:
    """Fill mailboxes at the backends, and wait until the frontends know them."""
    wanted = {"small"} if "fetch.envelope" in scenarios else set()
    if "fetch.body" in scenarios:
        wanted.add("body")
    for server in servers:
        if server.name.endswith("-direct"):
            for what in wanted:
                server.fixture(what)
    for server in servers:
        for what in wanted:
            box = server.box(f"{what}-{ {'small': server.opt.small, 'body': mailbench.BODY_COUNT}[what] }")
            deadline = time.monotonic() + 60
            while True:
                with server.session(mailbench.OWNER) as (run, _):
                    if server.count(run, box) >= 0:
                        break
                if time.monotonic() > deadline:
                    raise SystemExit(f"{server.name} does not know {box!r}")
                time.sleep(1)


def report(results: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rates, ratios and what is wanted, a row for each scenario."""
    rows: list[tuple[str, ...]] = [
        ("scenario", "Cyrus", "direct", "pycyrus", "direct", "ratio", "wanted", "of direct", "CPU Cyrus", "CPU pycyrus")
    ]
    for scenario, cells in results.items():
        rates = {name: middle(cell, "rate") for name, cell in cells.items()}
        costs = {name: middle(cell, "per_cpu_s") for name, cell in cells.items()}
        ours, direct = rates.get("pycyrus-frontend", 0), rates.get("pycyrus-direct", 0)
        theirs = rates.get("cyrus-frontend", 0)
        rows.append(
            (
                scenario,
                f"{theirs:,.0f}",
                f"{rates.get('cyrus-direct', 0):,.0f}",
                f"{ours:,.0f}",
                f"{direct:,.0f}",
                f"{ours / theirs:.2f}" if theirs else "-",
                f"{WANTED[scenario]}" if scenario in WANTED else "-",
                f"{ours / direct:.2f}" if direct else "-",
                *(
                    f"{1e6 / costs[name]:,.0f} us" if costs.get(name) else "-"
                    for name in ("cyrus-frontend", "pycyrus-frontend")
                ),
            )
        )
    return rows


def middle(cell: dict[str, Any], key: str) -> float:
    """The median over the rounds; 0 where a scenario failed."""
    found = sorted(sample[key] for sample in cell.get("samples", ()) if sample.get(key))
    return float(found[len(found) // 2]) if found else 0.0


def main() -> int:
    """Start both, measure, and print the ratios."""
    parser = argparse.ArgumentParser(description="Compare a Murder of pycyrus with one of Cyrus.")
    parser.add_argument("--scenarios", default=SCENARIOS)
    parser.add_argument("--seconds", default="1")
    parser.add_argument("--rounds", default="3")
    parser.add_argument("--small", default="500", help="messages in the mailbox for fetch.envelope")
    parser.add_argument("--workers", type=int, default=2, help="of pycyrus's backend and frontend each")
    parser.add_argument("--no-cyrus", action="store_true")
    parser.add_argument("--keep", action="store_true", help="measure nothing: wait for a key")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="pycyrus-murder-"))
    try:
        with contextlib.ExitStack() as stack:
            servers = stack.enter_context(pycyrus_running(home, options.workers))
            if not options.no_cyrus:
                servers += stack.enter_context(cyrus_running())
            print("\n".join(servers), file=sys.stderr, flush=True)
            if options.keep:
                input("Running; Enter ends them. ")
                return 0
            results = measure(servers, options)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print()
    for row in report(results):
        print("".join(f"{cell:>13}" for cell in row))
    return 0


def measure(servers: list[str], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Run mailbench's scenarios."""
    opt = argparse.Namespace(
        host="127.0.0.1", password=PASSWORD, user_format="u%04d", users=USERS, small=int(options.small), large=100_000,
        seconds=float(options.seconds), rounds=int(options.rounds), scenarios=options.scenarios,
        corpus=mailbench.Corpus(), idle=0, idle_rounds=0, idle_settle=0, idle_samples=0, spin=False,
    )  # fmt: skip
    mailbench.QUICKACK = True
    found = [mailbench.parse_server(text, opt) for text in servers]
    wanted = opt.scenarios.split(",")
    names = [name for name in mailbench.ORDER if any(fnmatch.fnmatch(name, each) for each in wanted)]
    prepare(found, names)
    results: dict[str, dict[str, Any]] = mailbench.run(found, opt)
    return results


if __name__ == "__main__":
    sys.exit(main())
