"""
Logins by LDAP: how many a second, and what one directory that hangs costs the users of another.

    python benchmarks/ldap_logins.py [--users N] [--clients N] [--workers N] [--peers]

Starts two slapd and a server on the loopback.  Every login is another user's, so no
answer is remembered.  With --peers, Dovecot and Cyrus are asked in turn with it, by the
same directory; that needs root.
"""

from __future__ import annotations

import argparse
import re
import selectors
import shutil
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from login_peers import cyrus, dovecot

from pycyrus.testing.ldap_trees import PASSWORD
from pycyrus.testing.server import ServerProcess
from pycyrus.testing.slapd import Slapd


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
            heard = b""
            while b"\n" not in heard:
                heard = self._more(connection, heard)
            connection.sendall(b"a LOGIN %s %s\r\n" % (user.encode(), PASSWORD.encode()))
            heard = b""
            while not (found := _TAGGED.search(heard)):
                heard = self._more(connection, heard)
            return found[0].decode()

    def _more(self, connection: socket.socket, heard: bytes) -> bytes:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("closed")
        return heard + data


_TAGGED = re.compile(rb"^a [^\r\n]*\r\n", re.MULTILINE)


class _Login:
    """A login on its way."""

    def __init__(self, address: tuple[str, int], user: str) -> None:
        self.user = user
        self.begun = time.perf_counter()
        self.heard = b""
        self.is_asked = False
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)

    def answer(self) -> str | None:
        """@return: The tagged answer, once it is there."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"{self.user}: closed after {self.heard!r}")
        self.heard += data
        if not self.is_asked and b"\n" in self.heard:
            self.is_asked, self.heard = True, b""
            self.socket.send(b"a LOGIN %s %s\r\n" % (self.user.encode(), PASSWORD.encode()))
        found = _TAGGED.search(self.heard) if self.is_asked else None
        return None if found is None else found[0].decode()


def run_all(address: tuple[str, int], users: Iterable[str], clients: int) -> tuple[float, list[float]]:
    """
    Log all in, so many at a time.  One thread does it: what it takes itself is little.

    @return: Seconds for all, and for each login.
    """
    waiting = iter(list(users))
    times: list[float] = []
    selector = selectors.DefaultSelector()
    begun = time.perf_counter()

    def next_one() -> None:
        user = next(waiting, None)
        if user is not None:
            login = _Login(address, user)
            selector.register(login.socket, selectors.EVENT_READ, login)

    for _ in range(clients):
        next_one()
    while selector.get_map():
        for key, _ in selector.select():
            login: _Login = key.data
            answer = login.answer()
            if answer is None:
                continue
            times.append(time.perf_counter() - login.begun)
            selector.unregister(login.socket)
            login.socket.close()
            if not answer.startswith("a OK"):
                raise SystemExit(f"{login.user}: {answer}")
            next_one()
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
    parser.add_argument("--peers", action="store_true", help="also Dovecot and Cyrus")
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison with them")
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
        if arguments.peers:
            beside(directory, address, running[0], arguments)
        took, times = run_all(address, [f"u{number}@one.example" for number in range(50, half)], arguments.clients)
        report(f"{arguments.clients} clients, no answer remembered", took, times)
        paced(address, running[0], half, arguments)
    finally:
        if server is not None:
            server.stop()
        for slapd in running:
            slapd.stop()
        shutil.rmtree(directory, ignore_errors=True)


def beside(directory: Path, address: tuple[str, int], slapd: Slapd, arguments: argparse.Namespace) -> None:
    """Dovecot, Cyrus and we in turn, each with users whom it has not seen before."""
    with ExitStack() as stack:
        addresses = {
            "pycyrus": address,
            "Dovecot": ("127.0.0.1", stack.enter_context(dovecot(directory / "dovecot", slapd, 1))),
            "Dovecot, service_count = 0": ("127.0.0.1", stack.enter_context(dovecot(directory / "fast", slapd, 0))),
            "Cyrus, saslauthd -a ldap": ("127.0.0.1", stack.enter_context(cyrus(directory / "cyrus", slapd))),
        }
        count = arguments.users // 2 // arguments.rounds
        rates: dict[str, list[float]] = {name: [] for name in addresses}
        for round_ in range(arguments.rounds):
            for name, where in addresses.items():
                begin = arguments.users // 2 + round_ * count
                users = [f"u{number}@one.example" for number in range(begin, begin + count)]
                took, times = run_all(where, users, arguments.clients)
                rates[name].append(count / took)
                report(f"{arguments.clients} clients, {name}", took, times)
        for name in list(rates)[1:]:
            print(f"{statistics.median(rates['pycyrus']) / statistics.median(rates[name]):.2f} x {name}")


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
