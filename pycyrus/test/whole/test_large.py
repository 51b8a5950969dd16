"""Memory does not grow with the size of a message."""

from __future__ import annotations

import re
import socket
import threading
from pathlib import Path

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase

MEBIBYTE = 1 << 20
SIZE = 100
ALLOWED = 5
"""MiB."""


class LargeMessageTests(WholeServerCase):
    def deliver(self, recipient: str, mebibytes: int, *, chunks: bool) -> None:
        block = (b"x" * 70 + b"\r\n") * (MEBIBYTE // 72)
        header = b"Subject: large\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as client, client.makefile("rb") as file:
            client.settimeout(TIMEOUT)
            client.connect(str(self.server.socket("lmtpunix")))
            client.sendall(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<%b>\r\n" % recipient.encode())
            while not file.readline().startswith(b"250 2.1.5"):
                pass
            if chunks:
                client.sendall(b"BDAT %d LAST\r\n" % (len(header) + len(block) * mebibytes))
            else:
                client.sendall(b"DATA\r\n")
                self.assertTrue(file.readline().startswith(b"354"))
            client.sendall(header)
            for _ in range(mebibytes):
                client.sendall(block)
            if not chunks:
                client.sendall(b".\r\n")
            self.assertTrue(file.readline().startswith(b"250 2.1.5"))

    def memory(self) -> float:
        """
        What the server has of its own, in MiB.

        Pages of files that it has mapped are the page cache's.
        """
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        found = re.search(r"RssAnon:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) / 1024

    def test_a_hundred_mebibytes(self) -> None:
        user = self.server.account("user").user
        for chunks in (False, True):
            # One that goes all the ways of large ones, a thread's among them.
            self.deliver(user, 2, chunks=chunks)
        before = self.memory()
        for chunks in (False, True):
            seen = [before]
            over = threading.Event()
            watcher = threading.Thread(target=self._watch, args=(seen, over), daemon=True)
            watcher.start()
            try:
                self.deliver(user, SIZE, chunks=chunks)
            finally:
                over.set()
                watcher.join()
            self.assertGreater(len(seen), 2)
            self.assertLess(max(seen) - before, ALLOWED)
        self.server.stop()

    def _watch(self, seen: list[float], over: threading.Event) -> None:
        while not over.wait(0.005):
            seen.append(self.memory())
