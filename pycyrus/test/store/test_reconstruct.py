"""C{reconstruct}: files and records agree again, and nothing that is left of a message is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from pycyrus.model.acl import READ
from pycyrus.store.reconstruct import Order, reconstruct
from pycyrus.store.verify import Finding
from pycyrus.test.store.mailboxes import digests, octets, text
from pycyrus.test.store.test_databases import FRED
from pycyrus.test.store.test_verify import SENT, VerifyCase


class ReconstructTests(VerifyCase):
    def reconstruct(self, **order: Any) -> list[str]:
        store = self.open()
        entry = store.directory.lookup(SENT)
        assert entry is not None
        state = self.run_(store.hold(entry))
        remarks: list[str] = self.run_(reconstruct(state, entry, store.tree.text(entry), Order(**order)))
        store.release(state)
        self.close()
        return remarks

    def held(self) -> dict[int, str]:
        store = self.open()
        box = self.run_(store.open(FRED, SENT, READ))
        try:
            found = digests(box)
            self.last = {uid: octets(box, uid) for uid in found}
            return found
        finally:
            box.close()
            self.close()

    def messages(self) -> list[Finding]:
        return [finding for finding in self.findings() if finding.mailbox == "user.fred.Sent"]

    def test_nothing_to_do(self) -> None:
        """A sound mailbox is the same afterwards, with its cache made again."""
        before = self.held()
        self.assertEqual(self.reconstruct(), [])
        self.assertEqual(self.reconstruct(reparse=True), [])
        self.assertEqual(self.held(), before)
        self.assertEqual(self.findings(), [])

    def test_missing_file(self) -> None:
        """It is expunged; with C{-n} it is only told."""
        os.unlink(self.paths.message(3))
        self.assertEqual(self.reconstruct(dry_run=True), ["3: its file is missing: expunged"])
        self.assertEqual(len(self.messages()), 1)
        self.reconstruct()
        self.assertEqual(list(self.held()), [1, 2, 4, 5, 6])
        self.assertEqual(self.messages(), [])

    def test_unknown_files(self) -> None:
        """Files without records become messages under new UIDs, whatever their names."""
        for uid in (8, 9, 77, 4_000_000):
            Path(self.paths.message(uid)).write_bytes(text(uid))
        self.reconstruct()
        found = self.held()
        self.assertEqual(len(found), 10)
        self.assertLessEqual({text(uid) for uid in (8, 9, 77, 4_000_000)}, set(self.last.values()))
        self.assertEqual(self.messages(), [])
        self.assertEqual(list(found), sorted(found))

    def test_wrong_octets(self) -> None:
        """They are told; C{-R} gives them another UID, C{-U} puts them aside."""
        for uid, order, left in ((2, "renumber", [1, 3, 4, 5, 6, 7]), (3, "remove", [1, 4, 5, 6, 7])):
            whole = Path(self.paths.message(uid)).read_bytes()
            Path(self.paths.message(uid)).write_bytes(whole[:-2])
            self.assertEqual(len(self.reconstruct()), 1)
            self.assertEqual(len(self.messages()), 1)
            self.reconstruct(**{order: True})
            self.assertEqual(list(self.held()), left)
            self.assertEqual(self.messages(), [])
        self.assertEqual(self.last[7], text(0)[:-2])
        self.assertTrue((self.paths.quarantine / "3.0").exists())

    def test_same_size(self) -> None:
        """Only C{-G} sees what does not change the size."""
        path = Path(self.paths.message(2))
        path.write_bytes(path.read_bytes().replace(b"x", b"y"))
        self.assertEqual(self.reconstruct(), [])
        self.assertEqual(len(self.reconstruct(reparse=True, remove=True)), 1)
        self.assertEqual(list(self.held()), [1, 3, 4, 5, 6])

    def test_odd_files(self) -> None:
        """Told, or not, or deleted; directories and our own files stay."""
        (self.paths.data / "core").write_bytes(b"x")
        self.assertEqual(self.reconstruct(), ["core: an odd file"])
        self.assertEqual(self.reconstruct(ignore_odd=True), [])
        self.reconstruct(delete_odd=True)
        self.assertFalse((self.paths.data / "core").exists())
        self.assertEqual(len(self.held()), 6)

    def test_header(self) -> None:
        """It is written again from the list."""
        (self.paths.meta / "pycyrus.header").write_bytes(b"rubbish")
        self.assertEqual(len(self.reconstruct()), 1)
        self.assertEqual(self.messages(), [])

    def test_back_on_the_list(self) -> None:
        """A directory from a backup is a mailbox again, under its own name."""
        shutil.move(str(self.paths.meta), self.root / "backup")
        store = self.open()

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM mailboxes WHERE unique_id = ?", (self.sent.unique_id,))

        self.run_(store.directory.change(forget))
        self.close()
        shutil.move(self.root / "backup", str(self.paths.meta))
        store = self.open()
        tried = self.run_(store.relist(lambda found: True, dry_run=True))
        self.assertEqual([entry.name for entry in tried.added], [SENT])
        self.assertIsNone(store.directory.lookup(SENT))
        done = self.run_(store.relist(lambda found: True))
        self.assertEqual([entry.unique_id for entry in done.added], [self.sent.unique_id])
        self.assertEqual(done.added[0].special_use, (r"\Sent",))
        self.close()
        self.assertEqual(len(self.held()), 6)
        self.assertEqual(self.findings(), [])
