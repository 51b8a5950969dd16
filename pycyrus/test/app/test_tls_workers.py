"""TLS with several workers: one set of ticket keys, one set of certificates."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.selfsigned import generate
from pycyrus.test.app.launch import Launched
from pycyrus.test.app.test_launch import until


class ResumptionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        generate(self.root / "cert.pem", self.root / "key.pem")
        (self.root / "imapd.conf").write_text(
            f"configdirectory: {self.root}/lib\npartition-default: {self.root}/spool\nworkers: 2\n"
            f"tls_server_cert: {self.root}/cert.pem\ntls_server_key: {self.root}/key.pem\n"
        )
        (self.root / "cyrus.conf").write_text('SERVICES {\n imaps cmd="imapd -s" listen="127.0.0.1:0"\n}\n')
        # Sessions belong to this context.
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE

    def visit(self, port: int, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool, bytes]:
        """The session, whether it was resumed, and what the server called itself in it."""
        with (
            socket.create_connection(("127.0.0.1", port), 20) as sock,
            self.context.wrap_socket(sock, session=session) as secured,
        ):
            greeting = secured.recv(4096)
            self.assertTrue(greeting.startswith(b"* OK"), greeting)
            return secured.session, bool(secured.session_reused), secured.getpeercert(True) or b""

    def test_any_worker_and_after_a_reload(self) -> None:
        options = ["-C", str(self.root / "imapd.conf"), "-M", str(self.root / "cyrus.conf")]
        if os.geteuid() == 0:
            options += ["--option", "cyrus_user=root"]
        with Launched(self.root / "lib", options) as server:
            port = server.ready()["services"]["imaps"]["port"]
            session, was_resumed, before = self.visit(port)
            self.assertFalse(was_resumed)
            # Eight connections in a row do not all meet the same of two workers.
            for _ in range(8):
                session, was_resumed, _ = self.visit(port, session)
                self.assertTrue(was_resumed)
            generate(self.root / "cert.pem", self.root / "key.pem")
            server.send(signal.SIGHUP)
            until(lambda: all(self.visit(port)[2] != before for _ in range(8)))
            for _ in range(8):
                session, was_resumed, _ = self.visit(port, session)
                self.assertTrue(was_resumed)
