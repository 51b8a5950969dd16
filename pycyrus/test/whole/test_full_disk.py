"""A file system without room, all of it: mail, databases and the record of deliveries."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.test.whole.case import WholeServerCase

SIZE = "8m"
LARGE = 400_000
DELIVERIES = 60


class FullDiskTests(WholeServerCase):
    def prepare(self) -> None:
        home = self.directory / "home"
        home.mkdir(mode=0o700)
        if not self.mount(f"size={SIZE}"):
            raise SkipTest("only who may mount file systems can fill one")
        # A lazy one: the server still runs then.
        self.addCleanup(subprocess.run, ["umount", "-l", str(home)], check=True)

    def mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(self.directory / "home")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def deliver(self, user: str, number: int) -> bytes:
        client = self.lmtp()
        client.say(b"MAIL FROM:<a@example.org>")
        self.assertEqual(client.say(b"RCPT TO:<%b>" % user.encode())[:3], b"250")
        answer = client.say(b"DATA")
        if answer.startswith(b"354"):
            body = b"x" * 70 + b"\r\n"
            text = b"Message-ID: <%d@full.test>\r\nDate: x\r\n\r\n" % number + body * (LARGE // 72 if number % 2 else 1)
            answer = client.say(text + b".")
        client.close()
        return answer

    def found(self, directory: Path) -> Counter[bytes]:
        """How often each message is there, by number; whole ones only."""
        numbers: Counter[bytes] = Counter()
        for path in directory.glob("[0-9]*."):
            header, _, body = path.read_bytes().partition(b"\r\n\r\n")
            if b"@full.test>" in header:
                number = header.partition(b"Message-ID: <")[2].partition(b"@")[0]
                self.assertEqual(len(body), 72 * (LARGE // 72 if int(number) % 2 else 1))
                numbers[number] += 1
        return numbers

    def test_full_and_again_with_room(self) -> None:
        """Whoever hears 451 comes again, and each message is there once; what was taken stays."""
        user = self.server.account("user").user
        refused = []
        for number in range(DELIVERIES):
            answer = self.deliver(user, number)
            if not answer.startswith(b"250"):
                self.assertEqual(answer.partition(b" SESSIONID")[0], b"451 4.3.1 No room on the file system")
                refused.append(number)
        self.assertGreater(len(refused), 3)
        directory = self.message_directory(user)
        taken = {b"%d" % number for number in range(DELIVERIES) if number not in refused}
        self.assertEqual(self.found(directory), Counter(taken))
        # Killed with the disk full, too.
        self.server.kill()
        self.assertTrue(self.mount("remount,size=200m"))
        self.server.start()
        for number in refused:
            self.assertEqual(self.deliver(user, number)[:3], b"250")
        self.assertEqual(self.found(directory), Counter(b"%d" % number for number in range(DELIVERIES)))
        self.server.stop()
