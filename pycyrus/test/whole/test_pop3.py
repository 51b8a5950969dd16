"""POP3 with other people's clients: poplib, curl, fetchmail, getmail, pop3test."""

from __future__ import annotations

import mailbox
import os
import poplib
import shutil
import ssl
import textwrap
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all
from pycyrus.testing.programs import find_program, run

BODIES = [b"From: a@example.org\r\nSubject: number %d\r\n\r\nline\r\n.\r\n..\r\n" % number for number in range(4)]


class Pop3Case(WholeServerCase):
    """A user with some messages."""

    def setUp(self) -> None:
        super().setUp()
        self.login = self.server.add_user("reader", "secret word")
        self.client = self.imap(self.login)
        for body in BODIES:
            self.client.append("INBOX", None, None, body)

    def pop(self) -> poplib.POP3:
        """Logged in."""
        client = poplib.POP3("127.0.0.1", self.server.port("pop3"), TIMEOUT)
        self.addCleanup(client.close)
        client.user(self.login.user)
        client.pass_(self.login.password)
        return client


class PoplibTests(Pop3Case):
    def test_session(self) -> None:
        """Messages are the same as by IMAP; what was deleted is gone at QUIT, and only then."""
        client = self.pop()
        self.assertEqual(client.stat(), (len(BODIES), sum(map(len, BODIES))))
        self.assertEqual([b"\r\n".join(client.retr(number + 1)[1]) + b"\r\n" for number in range(4)], BODIES)
        self.assertEqual(len(client.top(2, 0)[1]), 3)
        client.dele(2)
        self.assertEqual(len(fetch_all(self.client)), 4)
        with self.assertRaises(poplib.error_proto) as caught:
            self.pop()
        self.assertIn(b"[IN-USE]", caught.exception.args[0])
        client.quit()
        self.assertEqual(sorted(fetch_all(self.client).values()), sorted([BODIES[0], BODIES[2], BODIES[3]]))
        again = self.pop()
        self.assertEqual([line.split()[1].split(b".")[1] for line in again.uidl()[1]], [b"1", b"3", b"4"])
        again.dele(1)
        # The connection is cut: nothing goes, and the next one comes in.
        again.close()
        self.assertEqual(self.wait_for_pop().stat()[0], 3)

    def wait_for_pop(self) -> poplib.POP3:
        """The server sees the end of a connection a moment later."""
        for _ in range(100):
            try:
                return self.pop()
            except poplib.error_proto as error:
                self.assertIn(b"[IN-USE]", error.args[0])
        raise AssertionError("the maildrop stays locked")

    def test_tls(self) -> None:
        """By STLS, and from the first octet."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = poplib.POP3("127.0.0.1", self.server.port("pop3"), TIMEOUT)
        client.stls(context)
        self.assertNotIn("STLS", client.capa())
        client.user(self.login.user)
        client.pass_(self.login.password)
        self.assertEqual(client.stat()[0], 4)
        client.quit()
        secure = poplib.POP3_SSL("127.0.0.1", self.server.port("pop3s"), timeout=TIMEOUT, context=context)
        secure.user(self.login.user)
        secure.pass_(self.login.password)
        self.assertEqual(b"\r\n".join(secure.retr(4)[1]) + b"\r\n", BODIES[3])
        secure.quit()

    def test_kill(self) -> None:
        """A server that is killed in a session lets the maildrop go, and has deleted nothing."""
        client = self.pop()
        client.dele(1)
        self.server.kill()
        self.server.start()
        again = self.pop()
        self.assertEqual(again.stat()[0], 4)
        again.quit()


class ProgramTests(Pop3Case):
    def test_curl(self) -> None:
        curl = find_program("curl")
        words: list[str | Path] = [
            curl,
            "-sS",
            "--max-time",
            "20",
            "--user",
            f"{self.login.user}:{self.login.password}",
        ]
        url = f"pop3://127.0.0.1:{self.server.port('pop3')}/"
        self.assertEqual(run([*words, url]).split()[::2], ["1", "2", "3", "4"])
        self.assertEqual(run([*words, url + "3"]).encode(), BODIES[2])
        self.assertEqual(run([*words, "--ssl-reqd", "-k", url + "1"]).encode(), BODIES[0])
        run([*words, "-X", "DELE 1", "-I", url])
        self.client.noop()
        self.assertEqual(len(fetch_all(self.client)), 3)

    def test_fetchmail(self) -> None:
        program = find_program("fetchmail")
        box, home = self.directory / "got", self.directory / "fetchmail"
        home.mkdir()
        settings = self.directory / "fetchmailrc"
        settings.write_text(
            textwrap.dedent(
                f"""\
                set no bouncemail
                poll 127.0.0.1 proto POP3 port {self.server.port("pop3")} uidl
                  user "{self.login.user}" password "{self.login.password}"
                  sslproto "" mda "cat >> {box}" keep no rewrite
                """
            )
        )
        settings.chmod(0o600)
        words: list[str | Path] = [program, "-f", settings, "--pidfile", home / "pid"]
        run(words, environment={"FETCHMAILHOME": str(home)})
        # It has seen them all.
        run(words, environment={"FETCHMAILHOME": str(home)}, status=1)
        got = box.read_bytes()
        for number in range(4):
            self.assertEqual(got.count(b"Subject: number %d\n" % number), 1)

    def test_getmail(self) -> None:
        program = find_program("getmail")
        local, state = self.directory / "got", self.directory / "state"
        state.mkdir()
        for part in ("cur", "new", "tmp"):
            (local / part).mkdir(parents=True)
        # It refuses to write mail as root.
        as_user = ""
        if os.geteuid() == 0:
            as_user = "user = nobody"
            for path in (local, *local.iterdir()):
                shutil.chown(path, "nobody")
        (state / "getmailrc").write_text(
            textwrap.dedent(
                f"""\
                [retriever]
                type = SimplePOP3Retriever
                server = 127.0.0.1
                port = {self.server.port("pop3")}
                username = {self.login.user}
                password = {self.login.password}
                [destination]
                type = Maildir
                path = {local}/
                {as_user}
                [options]
                delete = true
                """
            )
        )
        words: list[str | Path] = [program, "--getmaildir", state, "--rcfile", "getmailrc"]
        run(words)
        self.assertEqual(len(mailbox.Maildir(local)), 4)
        self.client.noop()
        self.assertEqual(fetch_all(self.client), {})

    def test_pop3test(self) -> None:
        """With PLAIN and SCRAM, in the clear and after STLS."""
        program = find_program("pop3test")
        for mechanism in ("PLAIN", "SCRAM-SHA-256"):
            for words in ((), ("-t", "")):
                printed = run(
                    [
                        program, "-p", str(self.server.port("pop3")), "-m", mechanism, "-a", self.login.user,
                        "-u", self.login.user, "-w", self.login.password, *words, "127.0.0.1",
                    ],
                    given=b"STAT\r\nQUIT\r\n",
                    status=None,
                )  # fmt: skip
                self.assertIn("+OK Mailbox locked and ready", printed)
                self.assertIn("Authenticated.", printed)
