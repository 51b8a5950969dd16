"""C{pycyrus verify} finds what is damaged, names it, and finds nothing where nothing is."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from pycyrus.model.acl import READ
from pycyrus.model.names import MailboxName
from pycyrus.store import checkpoint, verify
from pycyrus.store.moves import mailbox_paths
from pycyrus.store.partitions import Partitions
from pycyrus.store.verify import Finding, open_list, verify_databases, verify_mailbox, verify_places
from pycyrus.test.store.mailboxes import append_to, text
from pycyrus.test.store.test_databases import FRED, INBOX, DatabaseCase

SENT = INBOX.child("Sent")


class VerifyCase(DatabaseCase):
    """C{Sent} has the messages 1 to 6, and a snapshot."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(verify, "_AGAIN", 0.0)
        self.partitions = Partitions(self.settings)
        store = self.open()
        for number in range(5):
            self.run_(append_to(store, FRED, SENT, text(number)))
        self.run_(self.complete(SENT))
        self.close()
        (self.sent,) = (entry for entry in self.entries if entry.name == SENT)
        self.paths = mailbox_paths(self.partitions, self.sent.partition, self.sent.location)
        checkpoint.take_snapshot(self.paths)

    async def complete(self, name: MailboxName) -> None:
        """Let there be cached items of all messages."""
        box = await self.store.open(FRED, name, READ)
        await box.complete()
        box.close()

    def findings(self) -> list[Finding]:
        entries = open_list(self.settings)
        found = list(verify_databases(self.settings))
        for entry in entries:
            found += verify_mailbox(entry, self.settings, self.partitions)
        return [*found, *verify_places(self.settings, self.partitions, entries)]

    def assert_found(self, file: str, problem: str) -> None:
        (finding,) = self.findings()
        self.assertEqual(finding.mailbox, "user.fred.Sent")
        self.assertEqual(Path(finding.file).name, file)
        self.assertIn(problem, finding.problem)
        self.assertTrue(finding.mend)


class VerifyTests(VerifyCase):
    def test_nothing(self) -> None:
        """A sound store, also while it is open."""
        self.assertEqual(self.findings(), [])
        self.open()
        self.assertEqual(self.findings(), [])
        self.close()

    def test_any_flip_is_found(self) -> None:
        """In messages, journal, columns, cache and header; in all of their octets that mean something."""
        draw = random.Random(4)
        skipped: dict[str, Callable[[int], bool]] = {
            # Filling, and what is after the checksum of a head.
            "pycyrus.journal": lambda at: 124 <= at < 128,
            "pycyrus.cache": lambda at: 60 <= at < 64,
        }
        for name in ("2.", "pycyrus.journal", "pycyrus.columns", "pycyrus.cache", "pycyrus.header"):
            path = self.paths.meta / name
            whole = path.read_bytes()
            for at in draw.sample(range(len(whole) - 1), 25):
                if skipped.get(name, lambda at: False)(at):
                    continue
                damaged = bytearray(whole)
                damaged[at] ^= 1 << draw.randrange(8)
                path.write_bytes(damaged)
                found = verify_mailbox(self.sent, self.settings, self.partitions)
                self.assertIn(str(path), [finding.file for finding in found], at)
            path.write_bytes(whole)
        self.assertEqual(self.findings(), [])

    def test_files_and_records(self) -> None:
        """One without the other."""
        os.rename(self.paths.message(3), self.root / "3.")
        self.assert_found("3.", "missing")
        os.rename(self.root / "3.", self.paths.message(3))
        (self.paths.data / "77.").write_bytes(b"")
        self.assert_found("77.", "without a record")

    def test_list_and_places(self) -> None:
        """A mailbox that is not on the list, and one that is only there."""
        shutil.copytree(self.paths.meta, self.root / "spool" / "user" / "fred" / "Copy")
        self.assert_found("Copy", "not on the mailbox list")
        shutil.rmtree(self.root / "spool" / "user" / "fred" / "Copy")
        shutil.move(str(self.paths.meta), self.root / "elsewhere")
        self.assert_found("Sent", "directory is missing")

    def test_databases(self) -> None:
        """A database that is none."""
        (self.root / "config" / "userstate.db").write_bytes(b"rubbish" * 1000)
        (finding,) = self.findings()
        self.assertTrue(finding.file.endswith("userstate.db"))
