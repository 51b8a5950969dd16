"""
Logins by LDAP: how many a second, and what one directory that hangs costs the users of another.

    python benchmarks/ldap_logins.py [--users N] [--clients N] [--workers N]

Starts two slapd and a server on the loopback.  Every login is another user's, so no
answer is remembered.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from pycyrus.testing.server import ServerProcess
from pycyrus.testing.slapd import PASSWORD, Slapd


def people(count: int) -> list[str]:
    return [
        f"dn: uid=u{number},ou=people,dc=rfc\nobjectClass: inetOrgPerson\nuid: u{number}\ncn: u{number}\nsn: u"
        f"\nuserPassword: {PASSWORD}"
        for number in range(count)
    ]


class Client:
    """Logs in, one connection for each login."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def login(self, user: str) -> str:
        """@return: The tagged answer."""
        with socket.create_connection(self._address, 60) as connection:
            file = connection.makefile("rb")
            file.readline()
            connection.sendall(f"a LOGIN {user} {PASSWORD}\r\n".encode())
            while not (line := file.readline()).startswith(b"a "):
                if not line:
                    raise ConnectionError("closed")
            return line.decode()


def run_all(address: tuple[str, int], users: Iterable[str], clients: int) -> tuple[float, list[float]]:
    """@return: Seconds for all, and for each login."""
    waiting = iter(list(users))
    lock = threading.Lock()
    times: list[float] = []
    wrong: list[str] = []

    def work() -> None:
        client = Client(address)
        while True:
            with lock:
                user = next(waiting, None)
            if user is None:
                return
            begun = time.perf_counter()
            answer = client.login(user)
            times.append(time.perf_counter() - begun)
            if not answer.startswith("a OK"):
                wrong.append(f"{user}: {answer}")

    threads = [threading.Thread(target=work) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"{len(wrong)} logins failed: {wrong[0]}")
    return time.perf_counter() - begun, times


def start(directory: Path, users: int) -> Slapd:
    directory.mkdir()
    slapd = Slapd(directory)
    slapd.start()
    slapd.load()
    slapd.add("rfc", people(users))
    return slapd


def report(label: str, took: float, times: list[float]) -> None:
    times.sort()
    print(
        f"{label:44} {len(times) / took:7.0f}/s   median {statistics.median(times) * 1e3:7.1f} ms"
        f"   95 % {times[int(len(times) * 0.95)] * 1e3:7.1f} ms"
    )


def configure(directory: Path, one: Slapd, two: Slapd) -> list[str]:
    """@return: Arguments of the server."""
    domains = directory / "domains"
    domains.mkdir()
    for name, slapd in (("one.example", one), ("two.example", two)):
        (domains / f"{name}.conf").write_text(
            f"ldap_servers: {slapd.uri}\nldap_search_base: ou=people,dc=rfc\nldap_filter: (uid=%U)\n"
        )
    options = (
        "sasl_pwcheck_method=ldap",
        f"ldap_config_dir={domains}",
        "virtdomains=userid",
        "allowplaintext=yes",
        # One address has all the clients here.
        "connections_per_address=1000",
    )
    return [word for option in options for word in ("--option", option)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=4000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--workers", default="2")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    running: list[Slapd] = []
    server: ServerProcess | None = None
    try:
        running = [start(directory / name, arguments.users) for name in ("one", "two")]
        server = ServerProcess(directory, "--workers", arguments.workers, *configure(directory, *running))
        server.start()
        address = ("127.0.0.1", server.port("imap"))
        run_all(address, [f"u{number}@{name}" for number in range(50) for name in ("one.example", "two.example")], 4)
        half = arguments.users // 2
        took, times = run_all(address, [f"u{number}@one.example" for number in range(50, half)], arguments.clients)
        report(f"{arguments.clients} clients, no answer remembered", took, times)
        paced(address, running[0], half, arguments)
    finally:
        if server is not None:
            server.stop()
        for slapd in running:
            slapd.stop()
        shutil.rmtree(directory, ignore_errors=True)


def paced(address: tuple[str, int], hanging: Slapd, half: int, arguments: argparse.Namespace) -> None:
    """Logins of one domain while the directory of the other is well, and while it hangs and is asked all the time."""
    users = [f"u{number}@two.example" for number in range(50, half)]
    took, times = run_all(address, users, 4)
    report("4 clients of two.example, nothing hangs", took, times)
    before = statistics.median(times)
    hanging.hang()
    stopped = threading.Event()

    def ask() -> None:
        client, number = Client(address), half
        while not stopped.is_set():
            client.login(f"u{number}@one.example")
            number += 1
            # Where the directory is known to hang the answer comes at once; clients come again later.
            stopped.wait(0.2)

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(arguments.clients)]
    for asker in askers:
        asker.start()
    # All threads of that directory are busy then.
    time.sleep(1)
    users = [f"u{number}@two.example" for number in range(half, arguments.users)]
    took, times = run_all(address, users, 4)
    report("4 clients of two.example, one.example hangs", took, times)
    print(f"median: {statistics.median(times) / before:.2f} of before")
    stopped.set()
    hanging.go_on()
    for asker in askers:
        asker.join(60)


if __name__ == "__main__":
    main()
