"""ready.json: its form, its mode, its coming and going."""

from __future__ import annotations

import json
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import __version__
from pycyrus.app.ready import Account, ReadyFile
from pycyrus.config.listen import InetAddress, UnixAddress


class ReadyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ready = ReadyFile(self.directory)

    def test_form(self) -> None:
        self.ready.write(
            [124, 125],
            {"imap": InetAddress("127.0.0.1", 1143), "lmtpunix": UnixAddress(Path("/s/lmtp"))},
            {"admin": Account("admin", "x"), "user": Account("user", "y")},
        )
        path = self.directory / "ready.json"
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(
            json.loads(path.read_text()),
            {
                "version": __version__,
                "pid": os.getpid(),
                "workers": [124, 125],
                "services": {"imap": {"host": "127.0.0.1", "port": 1143}, "lmtpunix": {"path": "/s/lmtp"}},
                "accounts": {"admin": {"user": "admin", "password": "x"}, "user": {"user": "user", "password": "y"}},
            },
        )

    def test_no_accounts_with_a_configuration(self) -> None:
        self.ready.write([], {}, {})
        self.assertNotIn("accounts", json.loads((self.directory / "ready.json").read_text()))

    def test_nothing_stays(self) -> None:
        self.ready.write([], {}, {})
        self.ready.write([1], {}, {})
        self.assertEqual(os.listdir(self.directory), ["ready.json"])
        self.ready.remove()
        self.ready.remove()
        self.assertEqual(os.listdir(self.directory), [])
