"""Logins while something goes wrong: certificates that are replaced, directories that go, somebody who guesses."""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import shutil
import signal
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pycyrus.net.selfsigned import generate
from pycyrus.test.whole.case import TIMEOUT, WholeServerCase
from pycyrus.testing.ldap_trees import PASSWORD
from pycyrus.testing.slapd import Slapd

CLIENTS = 4


def read_line(connection: socket.socket, heard: bytearray) -> bytes:
    """The next line; C{heard} is what has come behind the last one."""
    while b"\n" not in heard:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError(f"closed after {bytes(heard)!r}")
        heard += data
    line, _, rest = bytes(heard).partition(b"\n")
    heard[:] = rest
    return line + b"\n"


def log_in(connection: socket.socket, user: str, password: str) -> str:
    """Log in; @return: what the answer says: C{OK}, or the code that stands in it."""
    heard = bytearray()
    read_line(connection, heard)
    connection.sendall(f"a LOGIN {user} {password}\r\n".encode())
    while not (line := read_line(connection, heard)).startswith(b"a "):
        pass
    words = line.decode().split()
    return "OK" if words[1] == "OK" else words[2].strip("[]")


class Load:
    """Something that clients do again and again, each in a thread of its own, until they are told to end."""

    def __init__(self, count: int, work: Callable[[], str]) -> None:
        """@param work: Gives a word for what came of it."""
        self._work = work
        self._changed = threading.Condition()
        self._ended = False
        self.found: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._ended:
            try:
                word = self._work()
            except (OSError, ssl.SSLError) as error:
                word = f"{type(error).__name__}: {error}"
            with self._changed:
                self.found[word] += 1
                self._changed.notify_all()

    def until(self, *words: str, more: int = CLIENTS) -> None:
        """Wait until each of some words has come that many times more."""
        with self._changed:
            wanted = {word: self.found[word] + more for word in words}
            done = self._changed.wait_for(
                lambda: all(self.found[word] >= count for word, count in wanted.items()), 2 * TIMEOUT
            )
            assert done, f"{words} do not come; there were {self.found}"

    def end(self) -> Counter[str]:
        """@return: What came how often."""
        self._ended = True
        for thread in self._threads:
            thread.join(2 * TIMEOUT)
        return self.found


class CertificateTests(WholeServerCase):
    """Certificates are replaced while clients come and go."""

    arguments = ("--workers", "2", "--option", "connections_per_address=1000")

    def prepare(self) -> None:
        home = self.server.home / "tls"
        self.certificate, self.key = home / "certificate.pem", home / "key.pem"

    def visit(self) -> str:
        """@return: The serial number of the certificate that was shown, where everything went well."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.server.port("imaps")), TIMEOUT) as plain,
            context.wrap_socket(plain) as connection,
        ):
            shown = connection.getpeercert(True) or b""
            user = self.server.account("user")
            answer = log_in(connection, user.user, user.password)
            return str(hash(shown)) if answer == "OK" else answer

    def replace(self, certificate: Path, key: Path) -> None:
        """As renewals do: each file at once, one after the other, and then a signal."""
        for new, place in ((key, self.key), (certificate, self.certificate)):
            temporary = place.with_suffix(".new")
            shutil.copy(new, temporary)
            shutil.chown(temporary, place.stat().st_uid, place.stat().st_gid)
            os.replace(temporary, place)
        os.kill(self.server.pid, signal.SIGHUP)

    def test_replaced_under_load(self) -> None:
        """No connection fails, no session ends, new ones see the new certificate; rubbish changes nothing."""
        new = [(self.directory / f"{number}.pem", self.directory / f"{number}.key") for number in range(2)]
        for certificate, key in new:
            generate(certificate, key)
        rubbish = self.directory / "rubbish.pem"
        rubbish.write_text("-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
        stays = self.imap(self.server.account("user"))
        load = Load(CLIENTS, self.visit)
        try:
            seen = {self.visit()}
            for certificate, key in new:
                self.replace(certificate, key)
                wanted = str(hash(ssl.PEM_cert_to_DER_cert(certificate.read_text())))
                load.until(wanted)
                self.replace(rubbish, key)
                load.until(wanted)
                seen.add(wanted)
        finally:
            found = load.end()
        self.assertEqual(set(found), seen)
        self.assertEqual(stays.noop()[0], "OK")


class DirectoryTests(WholeServerCase):
    """One directory is stopped and started while users of two domains log in."""

    def prepare(self) -> None:
        self.slapd = [self.make(name) for name in ("one", "two")]
        domains = self.directory / "domains"
        domains.mkdir()
        for name, slapd in zip(("one", "two"), self.slapd, strict=True):
            # Everybody has the same entry, so that there are users enough for no login to be remembered.
            settings = (f"ldap_servers: {slapd.uri}", "ldap_search_base: ou=people,dc=rfc", "ldap_filter: (uid=alice)")
            (domains / f"{name}.example.conf").write_text("\n".join(settings) + "\n")
        options = (
            "sasl_pwcheck_method=ldap",
            f"ldap_config_dir={domains}",
            "virtdomains=userid",
            "allowplaintext=yes",
            "connections_per_address=1000",
            "autocreate_quota=-1",
        )
        self.server.arguments = ("--workers", "2", *(word for option in options for word in ("--option", option)))

    def make(self, name: str) -> Slapd:
        """One directory."""
        directory = self.directory / name
        directory.mkdir()
        slapd = Slapd(directory)
        slapd.start()
        self.addCleanup(slapd.stop)
        slapd.load("rfc")
        return slapd

    def logging_in(self, domain: str) -> Load:
        """Users of a domain, one after another."""
        numbers: Iterator[int] = itertools.count()
        lock = threading.Lock()

        def work() -> str:
            with lock:
                number = next(numbers)
            with socket.create_connection(("127.0.0.1", self.server.port("imap")), TIMEOUT) as connection:
                word = log_in(connection, f"u{number}@{domain}", PASSWORD)
            if word == "UNAVAILABLE":
                # As clients do: they come again later.
                pause.wait(0.05)
            return word

        pause = threading.Event()
        return Load(CLIENTS, work)

    def test_stopped_and_started(self) -> None:
        """Its users are told to come again, never that their passwords are wrong; others notice nothing."""
        one, two = self.logging_in("one.example"), self.logging_in("two.example")
        with contextlib.ExitStack() as stack:
            stack.callback(one.end)
            stack.callback(two.end)
            one.until("OK")
            self.slapd[0].stop()
            one.until("UNAVAILABLE")
            two.until("OK")
            self.slapd[0].start()
            one.until("OK")
            two.until("OK")
        self.assertEqual(set(one.found), {"OK", "UNAVAILABLE"})
        self.assertEqual(set(two.found), {"OK"})


class GuessingTests(WholeServerCase):
    """Somebody guesses one user's password from many addresses, over all workers, and waits for no answer."""

    arguments = (
        "--workers", "2", "--option", "allowplaintext=yes", "--option", "failedloginpause=2s",
        "--option", "connections_total=2000", "--option", "unauthenticated_connections=1000",
    )  # fmt: skip

    def connect(self, address: str) -> socket.socket:
        """From an address of the loopback."""
        return socket.create_connection(("127.0.0.1", self.server.port("imap")), TIMEOUT, source_address=(address, 0))

    def attempt(self, address: str, user: str, password: str) -> str:
        with self.connect(address) as connection:
            return log_in(connection, user, password)

    def guess(self, addresses: Sequence[str], user: str, passwords: int) -> list[socket.socket]:
        """Send guesses, and wait for none."""
        sent = [self.connect(address) for address in addresses for _ in range(passwords)]
        for connection in sent:
            self.addCleanup(connection.close)
            connection.recv(4096)
        for number, connection in enumerate(sent):
            connection.sendall(f"a LOGIN {user} guess{number}\r\n".encode())
        return sent

    def test_from_many_addresses(self) -> None:
        """The user, from where they are known, and everybody else log in meanwhile as ever; no guess is right."""
        victim = self.server.account("user")
        other = self.server.add_user("bob", "other")
        self.assertEqual(self.attempt("127.0.0.9", victim.user, victim.password), "OK")
        addresses = [f"127.0.{block}.{number}" for block in (1, 2, 3) for number in range(1, 21)]
        guesses = self.guess(addresses, victim.user, 2)
        for _ in range(2):
            self.assertEqual(self.attempt("127.0.0.9", victim.user, victim.password), "OK")
            self.assertEqual(self.attempt("127.0.9.9", other.user, other.password), "OK")
            # Somebody beside the guesser, behind the same address.
            self.assertEqual(self.attempt(addresses[0], other.user, other.password), "OK")
        # Not all are even looked at; what is answered by now is never right.
        answers: Counter[str] = Counter()
        with selectors.DefaultSelector() as selector:
            for connection in guesses:
                selector.register(connection, selectors.EVENT_READ)
            ready = selector.select(TIMEOUT)
            while ready:
                for key, _ in ready:
                    selector.unregister(key.fileobj)
                    assert isinstance(key.fileobj, socket.socket)
                    answers[read_line(key.fileobj, bytearray()).decode().split()[2]] += 1
                ready = selector.select(0 if answers["[UNAVAILABLE]"] else TIMEOUT)
        self.assertGreater(answers["[UNAVAILABLE]"], 0)
        self.assertEqual(set(answers) - {"[AUTHENTICATIONFAILED]", "[UNAVAILABLE]"}, set())
