"""Programs that hand mail over by LMTP on TCP, where one must log in under TLS: swaks, lmtptest, smtplib."""

from __future__ import annotations

import os
import pwd
import shutil
import smtplib
import ssl
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.selfsigned import generate
from pycyrus.test.app.launch import Launched
from pycyrus.testing.commands import call
from pycyrus.testing.programs import find_program, run

ADMIN = ("postmaster", "root secret")
USER = ("fred", "other secret")
TIMEOUT = 60.0


class LmtpClientTests(SynchronousTestCase):
    """C{lmtpd} without C{-a}: only C{lmtp_admins} deliver, and their passwords travel under TLS only."""

    timeout = 150

    def setUp(self) -> None:
        root = Path(tempfile.mkdtemp(prefix="plc-"))
        self.addCleanup(shutil.rmtree, root)
        for name in ("config", "spool"):
            (root / name).mkdir()
        certificate, key = root / "certificate.pem", root / "key.pem"
        generate(certificate, key)
        (root / "imapd.conf").write_text(
            f"configdirectory: {root}/config\npartition-default: {root}/spool\n"
            f"cyrus_user: {pwd.getpwuid(os.getuid())[0]}\nworkers: 0\n"
            f"tls_server_cert: {certificate}\ntls_server_key: {key}\nlmtp_admins: {ADMIN[0]}\n"
        )
        (root / "cyrus.conf").write_text('SERVICES {\n\tlmtp cmd="lmtpd" listen="127.0.0.1:0"\n}\n')
        files = ["-C", str(root / "imapd.conf"), "-M", str(root / "cyrus.conf")]
        for name, password in (ADMIN, USER):
            added = call("user", "add", name, "--password", password, *files)
            self.assertEqual(added.returncode, 0, added.stderr)
        server = Launched(root / "config", files)
        self.addCleanup(server.stop)
        server.__enter__()
        self.port = str(server.ready()["services"]["lmtp"]["port"])
        self.inbox = root / "spool" / "user" / "fred"

    def delivered(self) -> list[bytes]:
        """The headers of what is there."""
        return [path.read_bytes() for path in sorted(self.inbox.glob("[0-9]*."))]

    def test_programs(self) -> None:
        for program in (self.swaks, self.lmtptest, self.smtplib):
            program()
        first, second, third = self.delivered()
        self.assertRegex(
            first,
            rb"\(authenticated user=postmaster bits=0\)\r\n\t by .* with LMTPSA\r\n"
            rb"\t \(version=TLSv1\.[23] cipher=\S+ bits=\d+/\d+ verify=NO\);\r\n",
        )
        self.assertRegex(second, rb"(?s)\r\nSubject: by lmtptest\r\n.+\r\n\r\ntext\r\n\Z")
        self.assertRegex(third, rb"(?s)\r\nSubject: by smtplib\r\n.+\r\n\r\n\.\r\n\Z")

    def swaks(self) -> None:
        common: list[str | Path] = [
            find_program("swaks"),
            "--protocol",
            "LMTP",
            "--server",
            "127.0.0.1",
            "--port",
            self.port,
        ]
        common += ["--from", "a@example.org", "--to", "fred@example.org", "--auth", "PLAIN"]
        for options, reply in (
            (["--tls", "--auth-user", ADMIN[0], "--auth-password", ADMIN[1]], "235 2.7.0 Authenticated!"),
            (["--tls", "--auth-user", USER[0], "--auth-password", USER[1]], "535 5.7.8 authentication failed"),
            (["--auth-user", ADMIN[0], "--auth-password", ADMIN[1]], "Auth not attempted"),
        ):
            said = run([*common, *options], status=None, timeout=TIMEOUT)
            self.assertIn(reply, said)

    def lmtptest(self) -> None:
        dialogue = (
            b"MAIL FROM:<a@example.org>\r\nRCPT TO:<fred>\r\nRCPT TO:<nobody>\r\nDATA\r\n"
            b"Subject: by lmtptest\r\n\r\ntext\r\n.\r\nQUIT\r\n"
        )
        options = ["-t", "", "-m", "PLAIN", "-a", ADMIN[0], "-u", ADMIN[0], "-w", ADMIN[1], "-p", self.port]
        said = run([find_program("lmtptest"), *options, "localhost"], status=None, given=dialogue, timeout=TIMEOUT)
        for line in ("TLS connection established", "Authenticated.", "250 2.1.5 ok", "550 5.1.1 User unknown"):
            self.assertIn(line, said)

    def smtplib(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with smtplib.LMTP("127.0.0.1", int(self.port), local_hostname="mx.test") as client:
            client.ehlo()
            self.assertNotIn("PLAIN", client.esmtp_features["auth"].split())
            self.assertEqual(client.mail("a@example.org")[0], 430)
            client.starttls(context=context)
            client.ehlo()
            client.login(*ADMIN)
            body = b"Subject: by smtplib\r\n\r\n.\r\n"
            refused = client.sendmail("a@example.org", ["fred@example.org", "nobody"], body)
        self.assertEqual({name: code for name, (code, _) in refused.items()}, {"nobody": 550})
