"""Messages on their way: the files they are in meanwhile."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from pycyrus.test.abuse.case import AbuseCase, Wire

PART = b"Subject: staged\r\n\r\n" + b"x" * 300_000


class StageTests(AbuseCase):
    """Kills the server, which is there for other tests again then."""

    def stage(self) -> Path:
        """Where messages are received."""
        return self.server.home / "spool" / "stage."

    def receiving(self) -> Wire:
        """Send half of a message, and wait until the server has it."""
        wire = self.user()
        wire.send(b"a APPEND INBOX {%d}\r\n" % (2 * len(PART)))
        self.assertTrue(wire.line().startswith(b"+"))
        wire.send(PART)
        # An answer to somebody else, after much has been read.
        while not any(path.stat().st_size for path in self._files()):
            self.assertTrue(self.user("imaps").command(b"NOOP").startswith(b"t OK"))
        return wire

    def _files(self) -> list[Path]:
        return list(self.stage().iterdir()) if self.stage().exists() else []

    def test_private_and_unpredictable(self) -> None:
        """Abuse case 38: readable for nobody else, under random names, on the partition's file system."""
        names = set()
        for _ in range(2):
            wire = self.receiving()
            (path,) = self._files()
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(path.parent.stat().st_mode), 0o700)
            self.assertEqual(path.stat().st_dev, (self.server.home / "spool" / "user").stat().st_dev)
            found = re.fullmatch(r"\d+-([0-9a-f]{32})", path.name)
            assert found is not None, path.name
            names.add(found[1])
            wire.close()
            while self._files():
                self.assertTrue(self.user("imaps").command(b"NOOP").startswith(b"t OK"))
        self.assertEqual(len(names), 2)

    def test_nothing_of_messages_is_elsewhere(self) -> None:
        """Abuse case 38: whatever holds octets of mail, or accounts, is private."""
        self.deliver(PART + b"\r\n" + PART)
        for path in self.server.home.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.suffix not in (".pem", ".crt"):
                self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)

    def test_cleaned_at_the_start(self) -> None:
        """Abuse case 38: what a killed server left goes, what others put there is not followed."""
        self.receiving()
        precious = Path(self.mktemp()).absolute()
        precious.write_bytes(b"precious")
        self.server.kill()
        (left,) = self._files()
        (self.stage() / "999999999-link").symlink_to(precious)
        (self.stage() / "999999999-guessed").write_bytes(b"x")
        self.server.start()
        self.assertFalse(left.exists())
        self.assertFalse((self.stage() / "999999999-guessed").exists())
        self.assertEqual(precious.read_bytes(), b"precious")
        (self.stage() / "999999999-link").unlink()
        # Mail comes in as ever.
        self.assertTrue(self.deliver(PART).startswith(b"250 2.1.5"))
