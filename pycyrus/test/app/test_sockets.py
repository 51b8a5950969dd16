"""Binding all of a configuration's sockets, or none."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from pycyrus.app.sockets import Listener, bind_all, probe
from pycyrus.config.cyrus_conf import ServiceEntry
from pycyrus.config.listen import InetAddress, UnixAddress
from pycyrus.config.problems import ConfigError, Place


def entry(name: str, listen: str, proto: str = "tcp") -> ServiceEntry:
    return ServiceEntry(name, ("imapd",), Place("cyrus.conf", 7), listen, proto)


class SocketTests(SynchronousTestCase):
    def path(self) -> Path:
        # Short, for the path of a Unix socket has little room.
        directory = Path(tempfile.mkdtemp(prefix="pc-"))
        self.addCleanup(shutil.rmtree, directory)
        return directory / "socket"

    def bound(self, *entries: ServiceEntry) -> list[Listener]:
        listeners = bind_all(entries, 5, 0o777)
        for listener in listeners:
            self.addCleanup(listener.close)
        return listeners

    def refused(self, *entries: ServiceEntry) -> str:
        return str(self.assertRaises(ConfigError, bind_all, entries, 5, 0o777))

    def busy_port(self) -> int:
        other = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(other.close)
        port: int = other.getsockname()[1]
        return port

    def test_addresses(self) -> None:
        """They can be connected to where ready.json will say, also those bound to everything."""
        path = self.path()
        for listener in self.bound(entry("a", "127.0.0.1:0"), entry("b", "0", "tcp4"), entry("c", str(path))):
            address = listener.address
            if isinstance(address, UnixAddress):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(address.path))
            else:
                self.assertEqual(address.host, "127.0.0.1")
                socket.create_connection((address.host, address.port)).close()
        self.assertEqual(path.stat().st_mode & 0o777, 0o777)

    def test_localhost_is_all_its_addresses(self) -> None:
        (listener,) = self.bound(entry("a", "localhost:0"))
        self.assertIsInstance(listener.address, InetAddress)

    def test_port_in_use(self) -> None:
        """Nothing stays bound, and the message says where and what to do."""
        port = self.busy_port()
        path = self.path()
        text = self.refused(entry("lmtp", str(path)), entry("imap", f"127.0.0.1:{port}"))
        self.assertIn(f"cyrus.conf:7: imap: cannot listen at 127.0.0.1:{port}: it is in use; stop the program", text)
        self.assertFalse(path.exists())

    def test_all_are_told_at_once(self) -> None:
        port = self.busy_port()
        text = self.refused(entry("a", f"127.0.0.1:{port}"), entry("b", "203.0.113.7:9"), entry("c", "nonsense-port"))
        self.assertEqual(len(text.splitlines()), 3)
        self.assertIn("name an address of this machine", text)
        self.assertIn("no port is named 'nonsense-port'", text)

    def test_paths(self) -> None:
        there = self.path()
        there.write_text("mine")
        self.assertIn("move the file away", self.refused(entry("a", str(there))))
        self.assertEqual(there.read_text(), "mine")
        self.assertIn("create the directory", self.refused(entry("a", "/nonexistent/directory/socket")))
        self.assertIn("choose a shorter path", self.refused(entry("a", "/tmp/" + "x" * 120)))

    def test_stale_sockets_are_taken_over_and_live_ones_are_not(self) -> None:
        path = self.path()
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        self.bound(entry("a", str(path)))
        self.assertIn("stop the server that listens there", self.refused(entry("b", str(path))))
        self.assertTrue(path.is_socket())

    def test_root_follows_no_link(self) -> None:
        """Whoever owns the directory gets no other file by putting a link in the socket's place."""
        if os.geteuid():
            raise SkipTest("only root can give files away")
        path = self.path()
        precious = path.parent / "precious"
        precious.write_text("root's")
        (listener,) = self.bound(entry("a", str(path)))
        path.unlink()
        path.symlink_to(precious)
        listener.give_to(12345, 12345)
        self.assertEqual(precious.stat().st_uid, 0)

    def test_udp_is_refused(self) -> None:
        self.assertIn("proto='udp' is not for this program", self.refused(entry("a", "127.0.0.1:0", "udp")))

    def test_probing_leaves_no_trace(self) -> None:
        port = self.busy_port()
        path = self.path()
        problems = probe([entry("a", f"127.0.0.1:{port}"), entry("b", str(path)), entry("c", "127.0.0.1:0")])
        self.assertEqual([problem.text.partition(":")[0] for problem in problems], ["a"])
        self.assertFalse(path.exists())
        self.bound(entry("b", str(path)))
        self.assertIn("in use", str(probe([entry("b", str(path))])[0]))
        self.assertTrue(os.path.exists(path))
