"""Renames that end between two directories of a mailbox, and a mailbox list that is lost as well."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailStoreError
from pycyrus.model.identity import SERVER, Identity
from pycyrus.model.names import MailboxName
from pycyrus.store import files, moves
from pycyrus.store.expiry import Expiry, expire
from pycyrus.store.quarantine import file_guid
from pycyrus.store.settings import ArchiveSettings, StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.test.store.mailboxes import append_to, text, without_syncs
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.promises import all_entries

INBOX = MailboxName("", "fred", ())
FOLDER = INBOX.child("folder")
NAMES = (INBOX, FOLDER, FOLDER.child("below"), MailboxName("", "bob", ()))
LARGE = 20_000
Change = Callable[[MailStore], Coroutine[Any, Any, object]]


class Killed(BaseException):
    """The end of a process."""


class StrayTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.settings = StoreSettings(
            self.root / "config",
            {"default": self.root / "spool", "second": self.root / "second"},
            metapartitions={"default": self.root / "meta"},
            archivepartitions={"default": self.root / "archive"},
            archive=ArchiveSettings(1 << 40, LARGE // 2),
            defaultpartition="default",
            allowusermoves=True,
        )
        self.reactor = BlockingReactor()
        store = open_store(self.settings, self.reactor)
        for name in NAMES:
            self.run_(store.create_inbox(name) if name.is_inbox else store.create(SERVER, name))
            for number in range(4):
                self.run_(self.append(store, name, text(number, LARGE if number == 2 else 40 + len(str(name)))))
        self.run_(expire(store, Expiry(None, None, archive=self.settings.archive)))
        self.run_(store.close())
        self.assertEqual(len(list((self.root / "archive").rglob("3."))), len(NAMES))
        self.before = self.held()
        self.assertTrue(all(None not in messages.values() for messages in self.before.values()))
        self.kept = self.root.with_name("kept")
        shutil.copytree(self.root, self.kept)

    def run_(self, coroutine: Any) -> Any:
        return self.reactor.run(coroutine)

    async def append(self, store: MailStore, name: MailboxName, data: bytes) -> None:
        await append_to(store, Identity(str(name.owner)), name, data)

    def held(self) -> dict[str, dict[int, bytes | None]]:
        """All messages that can be read, by unique id of their mailbox and UID."""
        store = open_store(self.settings, self.reactor)
        found = {}
        for entry in all_entries(store):
            state = self.run_(store.hold(entry))
            columns = state.contents.columns
            found[entry.unique_id] = {
                uid: file_guid(state.paths.where(uid)) for uid in columns.uids[: columns.count].tolist()
            }
            store.release(state)
        self.run_(store.close())
        return found

    def interrupt(self, change: Change) -> None:
        """Let each rename of a directory be the one that does not happen."""
        at = 0
        while True:
            at += 1
            shutil.rmtree(self.root)
            shutil.copytree(self.kept, self.root)
            left = [at]
            original = files.rename

            def rename(source: Any, target: Any, left: list[int] = left, original: Any = original) -> None:
                if os.path.isdir(source):
                    left[0] -= 1
                    if left[0] <= 0:
                        raise OSError(errno.EIO, os.strerror(errno.EIO))
                original(source, target)

            store = open_store(self.settings, self.reactor)
            with patch.object(files, "rename", rename):
                with contextlib.suppress(MailStoreError):
                    self.run_(change(store))
                self.run_(store.close())
            for path in (self.root / "config").glob("mailboxes.db*"):
                path.unlink()
            self.assertEqual(self.held(), self.before, at)
            self.assertEqual(self.held(), self.before, at)
            if left[0] > 0:
                break
        self.assertGreater(at, 3)

    def test_rename(self) -> None:
        """Of a mailbox with another one below."""
        self.interrupt(lambda store: store.rename(SERVER, FOLDER, INBOX.child("other")))

    def test_user(self) -> None:
        """Of all of a user's mailboxes."""
        self.interrupt(lambda store: store.rename(SERVER, INBOX, MailboxName("", "george", ())))

    def test_deletion(self) -> None:
        """A delayed one, which is a rename."""
        self.interrupt(lambda store: store.delete(SERVER, INBOX))

    def test_killed_once_more(self) -> None:
        """Whoever dies while messages are brought to their mailbox leaves the rest for the next; so does an error."""
        behind = self.kept / "spool" / "user" / "fred" / "elsewhere"
        (self.kept / "spool" / "user" / "fred" / "folder").rename(behind)
        for path in (self.kept / "config").glob("mailboxes.db*"):
            path.unlink()
        original = files.rename
        for at in range(1, 7):
            for death in (Killed(), OSError(errno.EIO, os.strerror(errno.EIO))):
                shutil.rmtree(self.root)
                shutil.copytree(self.kept, self.root)
                calls = iter(range(1, 100))

                def rename(
                    source: Any, target: Any, at: int = at, death: BaseException = death, calls: Any = calls
                ) -> None:
                    if "elsewhere" in str(source) and next(calls) == at:
                        raise death
                    original(source, target)

                with patch.object(files, "rename", rename):
                    if isinstance(death, Killed):
                        self.assertRaises(Killed, open_store, self.settings, self.reactor)
                    else:
                        store = open_store(self.settings, self.reactor)
                        self.run_(store.relist(lambda found: True))
                        self.run_(store.close())
                self.assertEqual(self.held(), self.before, at)

    def test_another_partition(self) -> None:
        """What is still in the place that a mailbox left is not taken for the mailbox, although it is found first."""

        def stay(*arguments: object) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        store = open_store(self.settings, self.reactor)
        with patch.object(moves, "_remove", stay):
            with contextlib.suppress(MailStoreError):
                self.run_(store.rename(SERVER, FOLDER, FOLDER, partition="second"))
            self.run_(self.append(store, FOLDER, text(50)))
            self.run_(store.close())
        self.assertEqual(len(list(self.root.rglob("folder/pycyrus.journal"))), 2)
        for path in (self.root / "config").glob("mailboxes.db*"):
            path.unlink()
        store = open_store(self.settings, self.reactor)
        [entry] = [each for each in all_entries(store) if each.name == FOLDER]
        self.assertEqual(entry.partition, "second")
        state = self.run_(store.hold(entry))
        self.assertEqual(state.contents.columns.count, 5)
        store.release(state)
        self.run_(store.close())

    def test_others_are_left(self) -> None:
        """Messages of nobody stay where they are, although mailboxes lack some of these UIDs."""
        lost = next((self.root / "spool").rglob("folder/1."))
        lost.unlink()
        stray = self.root / "spool" / "user" / "nobody"
        stray.mkdir()
        for number in range(1, 9):
            (stray / f"{number}.").write_bytes(text(100 + number))
        for path in (self.root / "config").glob("mailboxes.db*"):
            path.unlink()
        store = open_store(self.settings, self.reactor)
        self.run_(store.close())
        self.assertEqual(len(list(stray.iterdir())), 8)
        self.assertFalse(lost.exists())
