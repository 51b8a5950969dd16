"""A Murder whose names have dots for separators and domains, and one server of it that is set up otherwise."""

from __future__ import annotations

import json
import poplib

from typing_extensions import override

from pycyrus.auth.users import UserDatabase
from pycyrus.test.whole.test_murder import MESSAGE, TIMEOUT, MurderCase

USERS = ("a.b@d1.example", "da@d1.example", "eve@d2.example")
OPTIONS = {
    "unixhierarchysep": "no",
    "altnamespace": "no",
    "virtdomains": "userid",
    "defaultdomain": "default.example",
    "admins": "cyrus mailproxy da@d1.example",
}


class DottedNamesTests(MurderCase):
    backends = ("backend", "second")

    @override
    def configure(self, role: str) -> None:
        super().configure(role)
        path = self.root / f"{role}.conf"
        options = dict(OPTIONS)
        if role == "second":
            options |= {"unixhierarchysep": "yes"}
        if role == "master":
            options = {}
        kept = [line for line in path.read_text().splitlines() if line.partition(":")[0] not in options]
        path.write_text("\n".join(kept) + "\n" + "".join(f"{key}: {value}\n" for key, value in options.items()))
        if role == "frontend":
            (self.root / role).mkdir(mode=0o700)
            database = UserDatabase(self.root / role / "users.db")
            for user in USERS:
                database.add(user, "secret")
            database.close()

    def test_a_user_with_a_dot_and_a_domain(self) -> None:
        """IMAP, LMTP with a folder, and POP3 all mean the same mailbox; other domains see nothing of it."""
        admin = self.imap("cyrus")
        backend, second = self.name("backend"), self.name("second")
        self.assertEqual(admin.create(f"user.a^b@d1.example {backend}!default")[0], "OK")
        user = self.imap("a.b@d1.example")
        self.assertEqual(user.create("INBOX.Lists.v1^2")[0], "OK")
        self.assertEqual(user.setacl("INBOX.Lists.v1^2", "anyone", "p")[0], "OK")
        self.deliver("a.b@d1.example")
        self.deliver("a.b+Lists.v1^2@d1.example")
        self.assertEqual(user.status("INBOX.Lists.v1^2", "(MESSAGES)")[1], [b"INBOX.Lists.v1^2 (MESSAGES 1)"])
        drop = poplib.POP3("127.0.0.1", self.ports["pop3"], TIMEOUT)
        drop.user("a.b@d1.example")
        drop.pass_("secret")
        self.assertEqual(b"\r\n".join(drop.retr(1)[1])[-6:], MESSAGE[-8:-2])
        drop.quit()
        listed = [each for each in self.imap("da@d1.example").list()[1] if isinstance(each, bytes)]
        self.assertIn(b'(\\HasNoChildren) "." user.a^b.Lists.v1^2', listed)
        stranger = self.imap("eve@d2.example")
        self.assertNotIn(b"a^b", b"".join(each for each in stranger.list()[1] if isinstance(each, bytes)))
        self.assertIn("NONEXISTENT", str(stranger.status("user.a^b", "(MESSAGES)")))
        self.assertEqual(json.loads(self.pycyrus("frontend", "murder", "status", "--json"))["problems"], [])

        # A server that would take the dot for a part of the name is used for nothing.
        status, answer = admin.create(f"user.jane.Work {second}!default")
        self.assertEqual((status, "UNAVAILABLE" in str(answer)), ("NO", True), answer)
        self.pycyrus("second", "user", "add", "jane", "--password", "x")
        status, answer = self.imap("jane").select()
        self.assertEqual((status, "UNAVAILABLE" in str(answer)), ("NO", True), answer)
        found = json.loads(self.pycyrus("frontend", "murder", "status", "--json", status=1))
        (problem,) = found["problems"]
        self.assertIn(f"{second} names mailboxes otherwise: unixhierarchysep", problem)
