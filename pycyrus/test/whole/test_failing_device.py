"""
A disk that fails: an ext4 on a device whose blocks cannot be written any more.

The device is a file on a tmpfs that becomes full, which the file system does
not know: it has room, and whoever syncs hears EIO.  In the end it allows no
writing at all.
"""

from __future__ import annotations

import re
import smtplib
import subprocess
import time
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SkipTest

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase
from pycyrus.testing.postfix import DOMAIN, Postfix

DEVICE = "64m"
FAILS_AT = "12m"
BODY = (b"x" * 70 + b"\r\n") * 8000
MESSAGES = 24


class FailingDeviceTests(WholeServerCase):
    def prepare(self) -> None:
        self.disk = self.directory / "disk"
        self.home = self.directory / "home"
        self.disk.mkdir()
        self.home.mkdir(mode=0o700)
        if not self.call("mount", "-t", "tmpfs", "-o", f"size={FAILS_AT}", "none", self.disk):
            raise SkipTest("only who may mount file systems has one that fails")
        self.addCleanup(self.call, "umount", "-l", self.disk)
        self.call("truncate", "-s", DEVICE, self.image)
        self.assertTrue(self.call("mkfs.ext4", "-q", "-F", "-J", "size=4", "-E", "lazy_itable_init=1", self.image))
        self.addCleanup(self.call, "umount", "-l", self.home)
        self.mount()

    @property
    def image(self) -> Path:
        return self.disk / "image"

    def mount(self) -> None:
        if not self.call("mount", "-o", "loop", self.image, self.home):
            raise SkipTest("there are no loop devices")

    @staticmethod
    def call(*words: str | Path) -> bool:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def send(self, postfix: Postfix) -> None:
        with smtplib.SMTP("127.0.0.1", postfix.port, timeout=TIMEOUT) as smtp:
            for number in range(MESSAGES):
                text = b"Message-ID: <%d@failing.test>\r\nDate: x\r\n\r\n" % number
                smtp.sendmail("a@example.org", [f"{self.user}@{DOMAIN}"], text + BODY)

    def found(self, *, is_refused_there: bool = False) -> Counter[int]:
        numbers: Counter[int] = Counter()
        for path in self.message_directory(self.user).glob("[0-9]*."):
            header, _, body = path.read_bytes().partition(b"\r\n\r\n")
            # What was refused may have left a part of a file, until its UID is given to the next.
            if b"@failing.test>" in header and (body == BODY or not is_refused_there):
                self.assertEqual(body, BODY)
                numbers[int(header.partition(b"Message-ID: <")[2].partition(b"@")[0])] += 1
        return numbers

    def test_nothing_is_lost_or_refused_for_good(self) -> None:
        self.user = self.server.account("user").user
        postfix = Postfix(self.directory / "pf", f"lmtp:unix:{self.server.socket('lmtpunix')}")
        self.addCleanup(postfix.stop)
        postfix.start()
        self.send(postfix)
        self.wait_until_all_were_tried(postfix)
        taken = postfix.log_text().count("status=sent")
        self.assertNotIn("status=bounced", postfix.log_text())
        # The disk is replaced by one that works, with what was on it.
        self.server.kill()
        self.assertTrue(self.call("umount", self.home))
        self.assertTrue(self.call("mount", "-o", "remount,size=100m", self.disk))
        subprocess.run(["fsck.ext4", "-f", "-y", self.image], capture_output=True, check=False)
        self.mount()
        self.server.start()
        self.assertGreaterEqual(len(self.found(is_refused_there=True)), taken)
        postfix.flush()
        postfix.wait_until_empty(60)
        self.assertEqual(self.found(), Counter(range(MESSAGES)))
        self.assertNotIn("status=bounced", postfix.log_text())
        self.server.stop()

    def wait_until_all_were_tried(self, postfix: Postfix) -> None:
        """Wait until each message was taken or refused for now, and some were refused."""
        deadline = time.monotonic() + 2 * TIMEOUT
        while True:
            deferred = {str(message["queue_id"]) for message in postfix.queue()}
            log = postfix.log_text()
            tried = set(re.findall(r"(\w+): to=.* status=deferred", log))
            if deferred and deferred <= tried and len(deferred) + log.count("status=sent") == MESSAGES:
                return
            if time.monotonic() > deadline:
                raise AssertionError(postfix.log_tail())
            time.sleep(0.1)
