"""
A user who moves to a real Cyrus and back, and whatever may happen: an hour.

C{trial pycyrus.test.whole.every_step_with_cyrus}, as root.  As L{pycyrus.test.whole.every_step}, where the second
backend is a Cyrus 3.6.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from pathlib import Path

from typing_extensions import override

from pycyrus.test.whole.every_step import HAPPENS
from pycyrus.test.whole.test_moving import MovingCase
from pycyrus.testing.cyrus import PASSWORD, CyrusServer

OURS, CYRUS = "backend", "backend2"
_PATIENCE = 90.0
_LOOK_EVERY = 0.1


class CyrusMovingCase(MovingCase):
    """
    One backend is a Cyrus.

    @ivar cyrus: It.
    """

    timeout = 7200
    client_timeout = 3
    cyrus: CyrusServer

    @override
    def configure(self, role: str) -> None:
        if role != CYRUS:
            super().configure(role)
            if role == OURS:
                # What Cyrus says must be heard on the wire.
                with (self.root / f"{OURS}.conf").open("a") as configuration:
                    configuration.write("suppress_capabilities: COMPRESS=DEFLATE\n")
            return
        directory = Path(tempfile.mkdtemp(prefix="c-"))
        self.addCleanup(shutil.rmtree, directory)
        directory.chmod(0o755)
        # Its ports are chosen before its name, by which others reach it through the wire.
        name = self.name(CYRUS)
        self.cyrus = CyrusServer(
            directory,
            "imapd",
            others=["lmtpd"],
            users=["cyrus", "mailproxy", "fred"],
            name=name,
            admins="cyrus mailproxy",
            unixhierarchysep="yes",
            altnamespace="yes",
            proxyservers="mailproxy",
            lmtp_admins="mailproxy",
            proxy_authname="mailproxy",
            proxy_password=PASSWORD,
            mupdate_server=f"{self.address('master')}:{self.ports['master']}",
            mupdate_username="mupdate",
            mupdate_authname="mupdate",
            mupdate_password=PASSWORD,
            mupdate_retry_delay="1",
            allowusermoves="yes",
            allowallsubscribe="yes",
        )
        self.cyrus.port = self.ports[f"{CYRUS}-imap"]
        self.cyrus.ports["lmtpd"] = self.ports[f"{CYRUS}-lmtp"]
        self.addCleanup(self.cyrus.stop)

    @override
    def start(self, *roles: str) -> None:
        super().start(*(role for role in roles if role != CYRUS))
        if CYRUS in roles:
            self.cyrus.start()

    @override
    def stop(self, role: str, number: int) -> None:
        if role == CYRUS:
            self.cyrus.kill()
        else:
            super().stop(role, number)

    @override
    def pause(self, role: str) -> None:
        if role == CYRUS:
            self.cyrus.signal(signal.SIGSTOP)
            self.later(self.cyrus.signal, signal.SIGCONT)
        else:
            super().pause(role)

    @override
    def check(self, what: str) -> None:
        # What Cyrus let go and did not hand over is taken over after ten seconds.
        deadline = time.monotonic() + _PATIENCE
        while sum(self._has(each) for each in self.backends) != 1:
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(_LOOK_EVERY)
        super().check(what)

    def each(self, start: str, step: bytes) -> None:
        """All that can happen before and after a step of a move from there."""
        for when in ("before", "after"):
            for who, how in HAPPENS:
                if self.at != start:
                    status, said = self.at_backend(self.at).xatom("XFER", "user/fred", self.name(start))
                    self.assertEqual(status, "OK", said)
                    self.check("back")
                self.move(step, when, who, how)


class ToCyrus(CyrusMovingCase):
    def test_capabilities(self) -> None:
        self.each(OURS, b"SYNCAPPLY CAPABILITIES")

    def test_what_is_there(self) -> None:
        self.each(OURS, b"SYNCGET USER")

    def test_messages(self) -> None:
        self.each(OURS, b"SYNCAPPLY MESSAGE")

    def test_mailboxes(self) -> None:
        self.each(OURS, b"SYNCAPPLY LOCAL_MAILBOX")

    def test_told(self) -> None:
        self.each(OURS, b"MUPDATEPUSH")


class FromCyrus(CyrusMovingCase):
    def test_what_is_here(self) -> None:
        self.each(CYRUS, b"SYNCGET USER")

    def test_messages(self) -> None:
        self.each(CYRUS, b"SYNCAPPLY MESSAGE")

    def test_mailboxes(self) -> None:
        self.each(CYRUS, b"SYNCAPPLY LOCAL_MAILBOX")

    def test_compared(self) -> None:
        self.each(CYRUS, b"SYNCGET ANNOTATION")

    def test_told(self) -> None:
        self.each(CYRUS, b"MUPDATEPUSH")


# What has tests is not one itself.
del CyrusMovingCase, MovingCase
