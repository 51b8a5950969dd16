"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.net.peer_credentials import Credentials, credentials_of


class CredentialsTests(SynchronousTestCase):
    def test_the_kernel_says_it(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        with ours, theirs, socket.socket() as other:
            self.assertEqual(credentials_of(ours), Credentials(os.getpid(), os.getuid()))
            self.assertIsNone(credentials_of(other))
        self.assertIsNone(credentials_of(None))
