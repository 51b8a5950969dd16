"""Two servers that are each a backend and a frontend, and two that share one spool (C{mupdate_config})."""

from __future__ import annotations

import imaplib
import shutil
import signal
import smtplib

from typing_extensions import override

from pycyrus.auth.users import UserDatabase
from pycyrus.test.whole.test_murder import MESSAGE, TIMEOUT, MurderCase
from pycyrus.testing.ports import free_ports


class UsersCase(MurderCase):
    """Servers with users of their own."""

    def add_users(self, server: str, *users: str) -> None:
        (self.root / server).mkdir(mode=0o700)
        database = UserDatabase(self.root / server / "users.db")
        for user in users:
            database.add(user, "secret")
        database.close()

    def at(self, server: str, user: str) -> imaplib.IMAP4:
        client = imaplib.IMAP4("127.0.0.1", self.ports[f"{server}-imap"], TIMEOUT)
        self.addCleanup(client.shutdown)
        client.login(user, "secret")
        return client


class UnifiedTests(UsersCase):
    backends = ("backend", "backend2")

    @override
    def configure(self, role: str) -> None:
        super().configure(role)
        if role not in self.backends:
            return
        with (self.root / f"{role}.conf").open("a") as file:
            ports = " ".join(f"{self.name(each)}/lmtp={self.ports[f'{each}-lmtp']}" for each in self.backends)
            file.write(f"mupdate_config: unified\nbackend_ports: {ports}\n")
        services = self.root / f"{role}-cyrus.conf"
        services.write_text(services.read_text().replace('"lmtpd"', '"lmtpd -a"'))
        self.add_users(role, "cyrus", "fred", "jane")

    def done(self, client: imaplib.IMAP4, verb: str, *words: str) -> bytes:
        status, said = client._simple_command(verb, *words)
        self.assertEqual(status, "OK", said)
        return b" ".join(each for each in said if isinstance(each, bytes))

    def messages(self, client: imaplib.IMAP4, mailbox: str) -> int:
        status, said = client.status(mailbox, "(MESSAGES)")
        self.assertEqual(status, "OK", said)
        return int(said[0].rstrip(b")").split()[-1])

    def test_each_has_all(self) -> None:
        """Whichever server one comes to, all mailboxes are there; who dies takes only its own along."""
        for server, user in (("backend", "fred"), ("backend2", "jane")):
            self.done(self.at(server, "cyrus"), "CREATE", f"user/{user}")
        fred, jane = self.at("backend2", "fred"), self.at("backend2", "jane")
        self.done(jane, "SETACL", "INBOX", "fred", "lrswite")
        for server in self.backends:
            with smtplib.LMTP("127.0.0.1", self.ports[f"{server}-lmtp"], timeout=TIMEOUT) as lmtp:
                for user in ("fred", "jane"):
                    lmtp.sendmail("a@example.com", [user], MESSAGE)
        self.assertEqual((self.messages(fred, "INBOX"), self.messages(jane, "INBOX")), (2, 2))
        for client in (fred, self.at("backend", "fred"), self.imap("fred")):
            self.assertEqual(client.select()[0], "OK")
            self.assertEqual(client.copy("1", '"Other Users/jane"')[0], "OK")
            self.assertEqual(client.select('"Other Users/jane"')[0], "OK")
            self.done(client, "MOVE", "1", "INBOX")
        self.assertEqual((self.messages(fred, "INBOX"), self.messages(jane, "INBOX")), (5, 2))
        # What is new is where its parent is, and soon known everywhere.
        self.done(fred, "CREATE", "Work")
        for client in (self.at("backend", "fred"), self.imap("fred")):
            while rb'(\HasNoChildren) "/" Work' not in client.list()[1]:
                client.noop()

        self.stop("backend", signal.SIGKILL)
        status, said = fred.status("INBOX", "(MESSAGES)")
        self.assertEqual((status, b"UNAVAILABLE" in said[0]), ("NO", True))
        self.assertEqual(self.messages(self.at("backend2", "jane"), "INBOX"), 2)
        self.start("backend")
        fred = self.at("backend2", "fred")
        while fred.status("INBOX", "(MESSAGES)")[0] != "OK":
            fred.noop()
        self.assertEqual(self.messages(fred, "INBOX"), 5)


class ReplicatedTests(UsersCase):
    """C{other} stands by to have the files of C{backend}."""

    frontends = ()

    @override
    def configure(self, role: str) -> None:
        super().configure(role)
        if role != "backend":
            return
        with (self.root / "backend.conf").open("a") as file:
            file.write("mupdate_config: replicated\n")
        services = (self.root / "backend-cyrus.conf").read_text()
        other = dict(zip(("imap", "pop3", "lmtp"), free_ports(3), strict=True))
        for name, port in other.items():
            services = services.replace(str(self.ports[f"backend-{name}"]), str(port))
            self.ports[f"other-{name}"] = port
        (self.root / "other-cyrus.conf").write_text(services)
        shutil.copy(self.root / "backend.conf", self.root / "other.conf")
        self.add_users("backend", "cyrus", "fred")

    def test_one_spool(self) -> None:
        """Of a mailbox the directory knows no server; who has the files has them all, and one at a time."""
        (self.root / "other").symlink_to("backend")
        self.assertEqual(self.at("backend", "cyrus").create("user/fred")[0], "OK")
        fred = self.at("backend", "fred")
        self.assertEqual(fred.append("INBOX", "", "", MESSAGE)[0], "OK")
        self.assertEqual(fred.create("Work")[0], "OK")
        self.stop("backend", signal.SIGKILL)
        self.start("other")
        fred = self.at("other", "fred")
        self.assertEqual(fred.select()[1], [b"1"])
        self.assertEqual(fred.append("Work", "", "", MESSAGE)[0], "OK")
        self.assertEqual(fred.rename("Work", "Play")[0], "OK")
        self.assertEqual(fred.create("Work")[0], "OK")
        self.assertIn('"problems": []', self.pycyrus("other", "murder", "status", "--json"))
        self.assertEqual(fred.select("Play")[1], [b"1"])
