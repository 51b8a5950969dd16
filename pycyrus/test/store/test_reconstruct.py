"""C{reconstruct}: files and records agree again, and nothing that is left of a message is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from pycyrus.errors import MailboxNotFound, PermissionDenied, StoreUnavailable
from pycyrus.model.acl import READ
from pycyrus.model.flags import FLAGGED, FlagAction, FlagChange, Flags
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import MailboxName, user_inbox
from pycyrus.store import checkpoint, files
from pycyrus.store import reconstruct as reconstructing
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.reconstruct import Order, TooMuchMissing, reconstruct
from pycyrus.store.restoring import restore
from pycyrus.store.verify import Finding
from pycyrus.test.store.mailboxes import digests, expunge, octets, text, uids
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

    def work(self, what: Callable[[OpenedMailbox], Coroutine[Any, Any, Any]]) -> Any:
        """Do something with the mailbox."""
        store = self.open()
        box = self.run_(store.open(FRED, SENT, READ))
        try:
            return self.run_(what(box))
        finally:
            box.close()
            self.close()

    def change(self, uid: int, flags: Flags) -> None:
        self.work(lambda box: box.store(uids(uid), FlagChange(FlagAction.ADD, flags)))

    def expunge(self, *which: int) -> None:
        self.work(lambda box: expunge(box, *which))

    def unexpunge(self) -> None:
        self.work(lambda box: restore(box.state, lambda rows, keywords: rows))

    def row(self, uid: int) -> tuple[Any, ...]:
        async def work(box: OpenedMailbox) -> tuple[Any, ...]:
            view = box.view()
            at = view.uids.tolist().index(uid)
            return view.internaldates[at], view.flags[at], view.keywords[at].tolist()

        found: tuple[Any, ...] = self.work(work)
        return found

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

    def test_by_a_session(self) -> None:
        """Administrators have it done for a mailbox, or for all below one; others learn no more than they know."""
        os.unlink(self.paths.message(3))
        store = self.open()

        def ask(who: Identity, name: MailboxName, *, recursive: bool = False) -> None:
            self.run_(store.reconstruct(who, name, recursive=recursive))

        admin = Identity("admin", admin=AdminScope.GLOBAL)
        for who, error in ((FRED, PermissionDenied), (Identity("eve"), MailboxNotFound)):
            self.assertRaises(error, ask, who, SENT)
        self.assertRaises(MailboxNotFound, ask, admin, user_inbox("nobody"), recursive=True)
        self.assertRaises(MailboxNotFound, ask, Identity("boss", "example.com", admin=AdminScope.DOMAIN), SENT)
        ask(admin, user_inbox("fred"))
        self.close()
        self.assertEqual(len(self.messages()), 1)
        store = self.open()
        ask(admin, user_inbox("fred"), recursive=True)
        self.close()
        self.assertEqual(list(self.held()), [1, 2, 4, 5, 6])

    def test_missing_file(self) -> None:
        """It is expunged; with C{-n} it is only told.  It comes back if its file does."""
        whole = Path(self.paths.message(3)).read_bytes()
        os.unlink(self.paths.message(3))
        self.assertEqual(self.reconstruct(dry_run=True), ["3: its file is missing: expunged"])
        self.assertEqual(len(self.messages()), 1)
        self.reconstruct()
        self.assertEqual(list(self.held()), [1, 2, 4, 5, 6])
        self.assert_found("3.", "the file of an expunged message is missing")
        Path(self.paths.message(3)).write_bytes(whole)
        self.assertEqual(self.messages(), [])
        self.unexpunge()
        self.assertEqual(list(self.held()), [1, 2, 4, 5, 6, 7])
        self.assertEqual(self.last[7], whole)

    def test_nothing_is_mounted(self) -> None:
        """A mailbox most of whose files are missing is left alone, unless that is accepted."""
        away = self.root / "away"
        away.mkdir()
        for left in (0, 2):
            for uid in range(left + 1, 7):
                os.rename(self.paths.message(uid), away / f"{uid}.")
            for order in ({}, {"dry_run": True}, {"renumber": True}, {"remove": True, "reparse": True}):
                with self.assertRaisesRegex(TooMuchMissing, f"{6 - left} of 6 message files are missing.*accept-loss"):
                    self.reconstruct(**order)
            for uid in range(left + 1, 7):
                os.rename(away / f"{uid}.", self.paths.message(uid))
            self.assertEqual(list(self.held()), [1, 2, 3, 4, 5, 6])
        for uid in range(1, 7):
            os.rename(self.paths.message(uid), away / f"{uid}.")
        self.assertEqual(len(self.reconstruct(accept_loss=True)), 6)
        self.assertEqual(self.held(), {})
        for uid in range(1, 7):
            os.rename(away / f"{uid}.", self.paths.message(uid))
        self.unexpunge()
        self.assertEqual(list(self.held()), [7, 8, 9, 10, 11, 12])

    def test_nothing_is_mounted_at_start(self) -> None:
        """After another start of the machine messages are not taken for lost because none is there."""
        self.patch(files, "boot_id", lambda: b"second boot id !")
        self.assertEqual(len(self.held()), 6)
        os.rename(self.paths.data, self.root / "away")
        self.paths.data.mkdir()
        for path in (self.root / "away").glob("pycyrus.*"):
            shutil.copy(path, self.paths.data)
        self.patch(files, "boot_id", lambda: b"another boot id!")
        self.assertRaises(StoreUnavailable, self.held)
        self.close()
        shutil.rmtree(self.paths.data)
        os.rename(self.root / "away", self.paths.data)
        self.assertEqual(len(self.held()), 6)

    def test_expunged_messages(self) -> None:
        """What is kept is compared as well, also after it was brought back; with C{-U} it goes to quarantine."""
        self.expunge(2, 3, 4)
        for order in ({}, {"reparse": True}):
            self.assertEqual(self.reconstruct(**order), [])
        Path(self.paths.message(3)).write_bytes(b"other")
        path = Path(self.paths.message(4))
        path.write_bytes(path.read_bytes().replace(b"x", b"y"))
        self.assertEqual(len(self.reconstruct()), 1)
        self.assertEqual(len(self.reconstruct(reparse=True, renumber=True)), 2)
        self.assertEqual(len(self.messages()), 2)
        self.reconstruct(reparse=True, remove=True)
        self.assertEqual(self.messages(), [])
        self.unexpunge()
        self.assertEqual(list(self.held()), [1, 5, 6, 7])
        self.assertEqual((self.paths.quarantine / "3.0").read_bytes(), b"other")

    def test_messages_that_came_back(self) -> None:
        """Rows of C{unexpunge} and C{undo} are as good as others for C{verify} and C{reconstruct}."""
        self.expunge(2, 5)
        self.unexpunge()
        for snapshot in (False, True):
            if snapshot:
                checkpoint.take_snapshot(self.paths)
            self.assertEqual(self.messages(), [])
            self.assertEqual(self.reconstruct(reparse=True), [])
            self.assertEqual(list(self.held()), [1, 3, 4, 6, 7, 8])
        Path(self.paths.message(7)).write_bytes(b"other")
        self.assertEqual([Path(finding.file).name for finding in self.messages()], ["7."])
        self.reconstruct(renumber=True)
        self.assertEqual(list(self.held()), [1, 3, 4, 6, 8, 9])
        self.assertEqual(self.last[9], b"other")
        self.assertEqual(self.messages(), [])

    def test_flags_stay(self) -> None:
        """A message that gets another UID keeps flags and date."""
        self.change(2, Flags(FLAGGED, (b"Word",)))
        Path(self.paths.message(2)).write_bytes(b"other")
        before = self.row(2)
        self.reconstruct(renumber=True)
        self.assertEqual(self.row(7), before)

    def test_purged_meanwhile(self) -> None:
        """A file that goes, or comes back, while it is looked at is nobody's damage."""
        os.unlink(self.paths.message(4))
        original = reconstructing._look

        def look(*args: Any) -> Any:
            found = original(*args)
            Path(self.paths.message(4)).write_bytes(text(2))
            return found

        self.patch(reconstructing, "_look", look)
        self.reconstruct()
        self.assertEqual(list(self.held()), [1, 2, 3, 4, 5, 6])
        self.patch(reconstructing, "_look", original)
        self.patch(MailboxPaths, "uids", lambda paths: [1, 2, 3, 4, 5, 6, 77])
        os.rename(self.paths.message(5), self.root / "5.")
        self.assertEqual(self.reconstruct(reparse=True), ["77.: a file without a record"])
        os.rename(self.root / "5.", self.paths.message(5))
        self.assertEqual(list(self.held()), [1, 2, 3, 4, 5, 6])

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
