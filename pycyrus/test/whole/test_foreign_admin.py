"""The administrator of one domain at the doors of another, by IMAP and POP3."""

from __future__ import annotations

import base64
import imaplib
import poplib

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase

OWN, FOREIGN = "da@example.com", "da@other.org"
USER = "fred@example.com"


def plain(user: str, by: str) -> str:
    """What PLAIN says for somebody who wants to be somebody (RFC 4616 section 2)."""
    return base64.b64encode(f"{user}\0{by}\0secret".encode()).decode()


class ForeignAdministratorTests(WholeServerCase):
    arguments = tuple(
        word for option in ("virtdomains=userid", f"admins=admin {OWN} {FOREIGN}") for word in ("--option", option)
    )

    def setUp(self) -> None:
        super().setUp()
        admin = self.imap(self.server.account("admin"))
        for user in (USER, OWN, FOREIGN):
            self.server.run("user", "add", user, "--password", "secret", "--no-inbox")
            admin.create(f"user/{user}")
        admin.create("plans@example.com")

    def test_doors(self) -> None:
        """Who administers C{example.com} gets in, who administers C{other.org} learns nothing."""
        for by, gets_in in ((OWN, True), (FOREIGN, False)):
            self.assertEqual(self._becomes_by_imap(by), gets_in, by)
            self.assertEqual(self._becomes_by_pop3(by), gets_in, by)
        self._look_around()

    def _becomes_by_imap(self, by: str) -> bool:
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"), TIMEOUT)
        try:
            status, _ = client._simple_command("AUTHENTICATE", "PLAIN", plain(USER, by))
        finally:
            client.shutdown()
        return bool(status == "OK")

    def _becomes_by_pop3(self, by: str) -> bool:
        client = poplib.POP3("127.0.0.1", self.server.port("pop3"), TIMEOUT)
        try:
            client._shortcmd(f"AUTH PLAIN {plain(USER, by)}")  # type: ignore[attr-defined]
        except poplib.error_proto:
            return False
        finally:
            client.close()
        return True

    def _look_around(self) -> None:
        """With names of their own, and with those that only administrators of everything use."""
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"), TIMEOUT)
        self.addCleanup(client.shutdown)
        client.login(FOREIGN, "secret")
        _, names = client.list('""', "*")
        self.assertEqual([name.split()[-1] for name in names if isinstance(name, bytes)], [b"user/da"])
        for there, absent in (
            ("user/fred@example.com", "user/nope@example.com"),
            ("plans@example.com", "x@example.com"),
        ):
            for command in (
                client.getacl, client.getquotaroot, client.delete, client.select, client.myrights,
                lambda name: client.rename(name, "mine"), lambda name: client.setacl(name, FOREIGN, "lrx"),
                lambda name: client.setquota(name, "(STORAGE 1)"), lambda name: client.status(name, "(MESSAGES)"),
            ):  # fmt: skip
                self.assertEqual(self._answer(command, there), self._answer(command, absent))
                self.assertEqual(self._answer(command, there)[0], "NO")

    @staticmethod
    def _answer(command: object, name: str) -> tuple[str, object]:
        try:
            status, data = command(name)  # type: ignore[operator]
        except imaplib.IMAP4.error as error:
            return "NO", str(error)
        return status, data
