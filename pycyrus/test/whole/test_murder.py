"""A Murder of three servers, set up from the samples in C{conf/murder}: what its users and administrators see."""

from __future__ import annotations

import imaplib
import os
import poplib
import pwd
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.users import UserDatabase
from pycyrus.test.app.launch import Launched
from pycyrus.testing.ports import free_ports

SAMPLES = Path(__file__).parents[3] / "conf" / "murder"
MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"
TIMEOUT = 60.0


class MurderCase(SynchronousTestCase):
    """
    Servers from the samples.

    @ivar backends: Their names; the first is C{backend}.
    @ivar frontends: Likewise; there may be none.
    @ivar client_timeout: Seconds after which servers give one another up.
    """

    timeout = 150
    backends: tuple[str, ...] = ("backend",)
    frontends: tuple[str, ...] = ("frontend",)
    client_timeout = 30

    def setUp(self) -> None:
        if not SAMPLES.is_dir():
            self.skipTest("only in a checkout")
        self.root = Path(tempfile.mkdtemp(prefix="pm-"))
        self.addCleanup(shutil.rmtree, self.root)
        names = ["master", "copy", "imap", "pop3", "lmtp"]
        names += [f"{backend}-{service}" for backend in self.backends for service in ("imap", "pop3", "lmtp")]
        roles = ("master", *self.backends, *self.frontends)
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.servers: dict[str, Launched] = {}
        self.addCleanup(lambda: [server.stop() for server in self.servers.values()])
        for role in roles:
            self.configure(role)
        users = {
            "master": ["mupdate"],
            **{each: ["cyrus", "fred", "jane"] for each in self.frontends},
            **{each: ["mailproxy"] for each in self.backends},
        }
        for role in roles:
            (self.root / role).mkdir(mode=0o700, exist_ok=True)
            database = UserDatabase(self.root / role / "users.db")
            for user in users[role]:
                database.add(user, "secret")
            database.close()
        self.start("master")
        # What the others want first is a master; each other they find when there is something to do.
        self.start(*roles[1:])

    def address(self, role: str) -> str:
        """Where a server is."""
        return "127.0.0.1"

    def prefix(self, role: str) -> tuple[str, ...]:
        """What starts it there."""
        return ()

    def name(self, backend: str) -> str:
        """As locations have it."""
        return f"{self.address(backend)}:{self.ports[f'{backend}-imap']}"

    def configure(self, role: str) -> None:
        """Fill in a sample what is different here: places, ports and the names that have them."""
        ports = self.ports
        kind = "backend" if role in self.backends else role
        text = (SAMPLES / f"{kind}-imapd.conf").read_text("utf-8")
        for old, new in {
            "/var/lib/cyrus": f"{self.root}/{role}",
            "/var/spool/cyrus/mail": f"{self.root}/{role}-spool",
            "cyrus_user: cyrus": f"cyrus_user: {pwd.getpwuid(os.geteuid()).pw_name}",
            "mupdate_server: mupdate.example.com": f"mupdate_server: {self.address('master')}:{ports['master']}",
            "backend1.example.com": self.name(role if kind == "backend" else "backend"),
        }.items():
            text = text.replace(old, new)
        if role == "frontend":
            words = [
                f"{self.name(backend)}/{service}={ports[f'{backend}-{service}']}"
                for backend in self.backends
                for service in ("pop3", "lmtp")
            ]
            text += f"backend_ports: {' '.join(words)}\n"
        # Faults must show soon.
        text += "failedloginpause: 0\nmupdate_retry_delay: 1\nworkers: 0\n" * (role != "master")
        text += f"client_timeout: {self.client_timeout}\n" * (role != "master")
        (self.root / f"{role}.conf").write_text(text)
        services = (SAMPLES / f"{kind}-cyrus.conf").read_text("utf-8").partition("EVENTS")[0]
        prefix = f"{role}-" if kind == "backend" else ""
        for name in ("imap", "pop3", "lmtp"):
            if f'listen="{name}"' in services:
                services = services.replace(f'listen="{name}"', f'listen="{self.address(role)}:{ports[prefix + name]}"')
        mupdate = ports["master" if role == "master" else "copy"]
        services = services.replace('listen="3905"', f'listen="{self.address(role)}:{mupdate}"')
        (self.root / f"{role}-cyrus.conf").write_text(services)

    def pycyrus(self, role: str, *words: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "pycyrus.admin.main", *words, "-C", str(self.root / f"{role}.conf")]
        done = subprocess.run(
            [*self.prefix(role), *command],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout

    def start(self, *roles: str) -> None:
        """Start servers, and wait until they are ready."""
        for role in roles:
            files = ["-C", str(self.root / f"{role}.conf"), "-M", str(self.root / f"{role}-cyrus.conf")]
            self.servers[role] = Launched(self.root / role, files, prefix=self.prefix(role))
        for role in roles:
            self.servers[role].__enter__()

    def stop(self, role: str, number: int) -> None:
        self.servers.pop(role).stop(number)

    def imap(self, user: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4(self.address("frontend"), self.ports["imap"], TIMEOUT)
        self.addCleanup(client.shutdown)
        client.login(user, "secret")
        return client

    def deliver(self, user: str) -> None:
        with smtplib.LMTP(self.address("frontend"), self.ports["lmtp"], timeout=TIMEOUT) as client:
            client.sendmail("a@example.com", [user], MESSAGE)

    def count(self, client: imaplib.IMAP4) -> bytes:
        status, answer = client.status("INBOX", "(MESSAGES)")
        self.assertEqual(status, "OK", answer)
        return bytes(answer[0])


class MurderTests(MurderCase):
    def test_life_and_death(self) -> None:
        admin = self.imap("cyrus")
        self.assertEqual(admin.create("user/fred")[0], "OK")
        fred = self.imap("fred")
        self.assertEqual(fred.create("Sent")[0], "OK")
        self.assertEqual(fred.select()[0], "OK")
        self.assertEqual(fred.append("INBOX", "", "", MESSAGE)[0], "OK")
        self.deliver("fred")
        self.assertEqual(fred.noop()[0], "OK")
        self.assertEqual(fred.copy("1:2", "Sent")[0], "OK")
        fetched = fred.fetch("1", "(BODY.PEEK[])")[1][0]
        assert isinstance(fetched, tuple)
        self.assertEqual(fetched[1], MESSAGE)
        drop = poplib.POP3("127.0.0.1", self.ports["pop3"], TIMEOUT)
        drop.user("fred")
        drop.pass_("secret")
        self.assertEqual(drop.stat()[0], 2)
        drop.quit()
        # The mail is where it should be, and nowhere else.
        self.assertEqual(len(list((self.root / "backend-spool").glob("**/[0-9]*."))), 4)
        self.assertEqual(list((self.root / "frontend-spool").glob("**/[0-9]*.")), [])

        # Without the master all goes on but what needs a new name.
        self.stop("master", signal.SIGKILL)
        self.assertEqual(self.count(self.imap("fred")), b'"INBOX" (MESSAGES 2)'.replace(b'"', b""))
        self.deliver("fred")
        self.assertEqual(self.imap("fred").create("New")[0], "NO")
        self.start("master")

        # Without the backend its users are told so, and can log in.
        self.stop("backend", signal.SIGKILL)
        status, answer = self.imap("fred").status("INBOX", "(MESSAGES)")
        self.assertEqual((status, b"UNAVAILABLE" in answer[0]), ("NO", True))
        with self.assertRaises(smtplib.SMTPDataError) as raised:
            self.deliver("fred")
        self.assertEqual(raised.exception.smtp_code // 100, 4)
        self.start("backend")
        fred = self.imap("fred")
        while fred.status("INBOX", "(MESSAGES)")[0] != "OK":
            fred.noop()
        self.assertEqual(self.count(fred), b"INBOX (MESSAGES 3)")
        while fred.create("New")[0] != "OK":
            fred.noop()
        self.assertIn(b'"/" New', b" ".join(each for each in fred.list()[1] if isinstance(each, bytes)))
