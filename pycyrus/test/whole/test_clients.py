"""Other people's clients: curl, imaplib, swaks, and those of Cyrus."""

from __future__ import annotations

import imaplib
import ssl
import time

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.programs import find_program, run

MESSAGE = b"Subject: by hand\r\nFrom: a@example.org\r\n\r\nfirst\r\nsecond\r\n"


class CurlTests(WholeServerCase):
    def curl(self, path: str, *words: str, status: int = 0) -> str:
        login = self.server.account("user")
        url = f"imap://127.0.0.1:{self.server.port('imap')}/{path}"
        return run(
            [find_program("curl"), "-sS", "--max-time", "20", "--user", f"{login.user}:{login.password}", *words, url],
            status=status,
        )

    def test_curl(self) -> None:
        find_program("curl")
        self.assertIn("INBOX", self.curl(""))
        self.assertIn("* SEARCH 1", self.curl("INBOX", "-X", "SEARCH ALL"))
        file = self.directory / "message.eml"
        file.write_bytes(MESSAGE)
        self.curl("INBOX", "-T", str(file))
        self.assertIn("* SEARCH 2", self.curl("INBOX", "-X", "SEARCH SUBJECT hand"))
        self.assertEqual(self.curl("INBOX;MAILINDEX=2").encode(), MESSAGE.replace(b"\r\n", b"\r\n"))
        self.assertIn("Subject: by hand", self.curl("INBOX;MAILINDEX=2;SECTION=HEADER.FIELDS%20(SUBJECT)"))
        self.assertEqual(self.curl("INBOX;MAILINDEX=2;SECTION=TEXT"), "first\r\nsecond\r\n")
        self.assertIn("EXISTS", self.curl("", "-X", "EXAMINE INBOX"))
        self.assertEqual((self.message_directory(self.server.account("user").user) / "2.").read_bytes(), MESSAGE)
        # STARTTLS, without looking at the self-signed certificate.
        self.assertIn("INBOX", self.curl("", "--ssl-reqd", "-k"))
        login = self.server.account("user")
        url = f"imap://127.0.0.1:{self.server.port('imap')}/"
        run([find_program("curl"), "-sS", "--user", f"{login.user}:wrong", url], status=67)
        self.server.stop()


class ImaplibTests(WholeServerCase):
    def test_reading_and_writing(self) -> None:
        login = self.server.account("user")
        client = self.imap(login)
        self.assertEqual(client.list()[0], "OK")
        self.assertEqual(client.create("Drafts/2025")[0], "OK")
        self.assertIn(b"Drafts/2025", b" ".join(line for line in client.list()[1] if isinstance(line, bytes)))
        status, answer = client.append("Drafts/2025", r"(\Draft)", None, MESSAGE)
        self.assertEqual(status, "OK", answer)
        self.assertEqual(list(fetch_all(client, "Drafts/2025").values()), [MESSAGE])
        client.select("Drafts/2025")
        self.assertEqual(client.search(None, "DRAFT", "FROM", "example.org")[1], [b"1"])
        self.assertEqual(client.copy("1", "INBOX")[0], "OK")
        self.assertEqual(client.store("1", "+FLAGS", r"(\Deleted)")[0], "OK")
        self.assertEqual(client.expunge()[1], [b"1"])
        self.assertEqual(len(fetch_all(client)), 2)
        self.assertEqual(client.select("Absent")[0], "NO")
        self.assertEqual(client.logout()[0], "BYE")
        self.server.stop()

    def test_idle_tells_of_a_delivery_at_once(self) -> None:
        login = self.server.account("user")
        client = self.imap(login)
        client.select("INBOX")
        client.send(b"x1 IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+ "))
        began = time.monotonic()
        (reply,) = self.lmtp().deliver("a@b", [login.user], MESSAGE)
        self.assertTrue(reply.startswith(b"250 2.1.5 "), reply)
        told = client.readline()
        self.assertEqual(told, b"* 2 EXISTS\r\n")
        self.assertLess(time.monotonic() - began, 30)
        client.send(b"DONE\r\n")
        while not client.readline().startswith(b"x1 OK"):
            pass
        self.server.stop()

    def test_tls_from_the_first_octet(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = imaplib.IMAP4_SSL("127.0.0.1", self.server.port("imaps"), ssl_context=context, timeout=TIMEOUT)
        self.addCleanup(client.shutdown)
        login = self.server.account("user")
        client.login(login.user, login.password)
        self.assertEqual(len(fetch_all(client)), 1)


class LmtpClientTests(WholeServerCase):
    def test_swaks_at_the_unix_socket(self) -> None:
        swaks = find_program("swaks")
        first, second = self.server.account("user").user, self.server.add_user("jane", "secret").user
        printed = run(
            [
                swaks, "--protocol", "LMTP", "--socket", self.server.socket("lmtpunix"), "--from", "a@example.org",
                "--to", f"{first}@x.example,nobody@x.example,{second}+Sent@x.example", "--body", "hello",
            ],
            timeout=TIMEOUT,
        )  # fmt: skip
        self.assertIn("550 5.1.1 User unknown", printed)
        self.assertEqual(printed.count("250 2.1.5 Success SESSIONID=<"), 2)
        self.assertTrue(
            (self.message_directory(second) / "1.").read_bytes().startswith(b"Return-Path: <a@example.org>\r\n")
        )

    def test_swaks_over_tcp(self) -> None:
        swaks = find_program("swaks")
        user = self.server.account("user").user
        printed = run(
            [
                swaks, "--protocol", "LMTP", "--server", f"127.0.0.1:{self.server.port('lmtp')}",
                "--from", "a@example.org", "--to", f"{user}@x.example", "--body", "hello", "--pipeline",
            ],
            timeout=TIMEOUT,
        )  # fmt: skip
        self.assertIn("250 2.1.5 Success SESSIONID=<", printed)
        stored = (self.message_directory(user) / "2.").read_bytes()
        self.assertIn(b"([127.0.0.1])\r\n\t by ", stored)

    def test_lmtptest_of_cyrus(self) -> None:
        user = self.server.account("user").user
        lines = (
            "LHLO client.test", "MAIL FROM:<a@example.org>", f"RCPT TO:<{user}@x.example>", "DATA",
            "Subject: by lmtptest", "", "text", ".", "QUIT", "",
        )  # fmt: skip
        printed = run(
            [find_program("lmtptest"), "-p", str(self.server.port("lmtp")), "127.0.0.1"],
            timeout=TIMEOUT,
            given="\r\n".join(lines).encode(),
            status=None,
        )
        self.assertIn("250 2.1.5 Success SESSIONID=<", printed)
        stored = (self.message_directory(user) / "2.").read_bytes()
        self.assertRegex(stored, rb"(?s)\r\nSubject: by lmtptest\r\n.+\r\n\r\ntext\r\n\Z")
