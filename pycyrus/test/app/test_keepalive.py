"""C{tcp_keepalive} and its like, from the options to the socket."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.server import keepalive_of
from pycyrus.config.settings import Settings


class KeepaliveTests(SynchronousTestCase):
    def test_options(self) -> None:
        self.assertIsNone(keepalive_of(Settings({})))
        made = keepalive_of(
            Settings(
                {
                    "tcp_keepalive": "yes",
                    "tcp_keepalive_idle": "5m",
                    "tcp_keepalive_intvl": "20",
                    "tcp_keepalive_cnt": "4",
                }
            )
        )
        assert made is not None
        with socket.socket() as sock:
            made.apply(sock)
            told = [
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]
            self.assertEqual(told, [300, 20, 4])
            self.assertTrue(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
