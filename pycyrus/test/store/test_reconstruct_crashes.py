"""C{reconstruct}, killed or refused by the disk at every call that changes something; and no partition."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import Acl
from pycyrus.model.flags import DELETED, FlagAction, FlagChange, Flags
from pycyrus.store import files
from pycyrus.store.expiry import sweep
from pycyrus.store.header import Header
from pycyrus.store.layout import MailboxPaths, create_mailbox
from pycyrus.store.reconstruct import Order, reconstruct
from pycyrus.store.restoring import restore
from pycyrus.store.rows import Entry
from pycyrus.test.store.mailboxes import INBOX, Place, digests, octets, text, uids, without_syncs
from pycyrus.testing.faults import Action
from pycyrus.testing.interrupted import interruptions

ENTRY = Entry(INBOX, "a", "default", "a", 77, Acl(()))
DAMAGED, UNKNOWN = b"Subject: damaged\r\n\r\nx\r\n", b"Subject: unknown\r\n\r\nx\r\n"
RENUMBER = Order(renumber=True, delete_odd=True)
REMOVE = Order(reparse=True, remove=True)


class ReconstructCrashTests(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.template = Path(self.mktemp())
        self.template.mkdir()
        place = Place(self.template)
        box = place.create("a")
        place.append(box, *(text(number) for number in range(1, 8)))
        place.run(box.store(uids(7), FlagChange(FlagAction.ADD, Flags(DELETED))))
        place.run(box.expunge())
        place.close()
        (self.template / "a" / "2.").write_bytes(DAMAGED)
        (self.template / "a" / "7.").write_bytes(DAMAGED + b"7")
        (self.template / "a" / "40.").write_bytes(UNKNOWN)
        (self.template / "a" / "odd").write_bytes(b"")
        (self.template / "a" / "4.").unlink()
        self.root = Path(self.mktemp())

    def fresh(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)

    def begin(self, order: Order) -> Callable[[], object]:
        place = Place(self.root)
        box = place.open("a")
        return lambda: place.run(reconstruct(box.state, ENTRY, "user.fred", order))

    def check(self, context: str, order: Order) -> None:
        """Whatever octets there were are there, and another run does the rest."""
        everything = sorted([*map(text, (1, 3, 5, 6)), DAMAGED, UNKNOWN])
        place = Place(self.root)
        try:
            box = place.open("a")
            found = {path.read_bytes() for path in (self.root / "a").rglob("*[0-9.]") if path.is_file()}
            self.assertLessEqual({*everything, DAMAGED + b"7"}, found, context)
            place.run(reconstruct(box.state, ENTRY, "user.fred", order))
            place.run(sweep(box.state))
            there = [octets(box, uid) for uid in digests(box)]
            if order.remove:
                kept = [path.read_bytes() for path in (self.root / "a" / "pycyrus.quarantine").iterdir()]
                # A link that no record tells of goes there when the mailbox is opened.
                self.assertEqual(sorted(set(kept) - {UNKNOWN}), [DAMAGED, DAMAGED + b"7"], context)
                everything.remove(DAMAGED)
            self.assertEqual(sorted(there), everything, context)
            names = {path.name for path in (self.root / "a").iterdir() if path.name[:-1].isdigit()}
            held = {f"{uid}." for uid in (*digests(box), *box.state.contents.retained["uid"].tolist())}
            self.assertEqual(held - names, {"4."}, context)
            self.assertEqual(names - held, set(), context)
        finally:
            place.close()

    def drive(self, order: Order) -> None:
        actions = (Action.KILL_BEFORE, Action.FAIL, Action.SHORT, Action.READ_ONLY)
        for what in interruptions(partial(self.begin, order), actions, self.fresh, errno.ENOSPC):
            self.check(what, order)

    def test_renumber(self) -> None:
        """With C{-R} the old UID goes when the new one is durable; nobody gets a message twice."""
        self.drive(RENUMBER)

    def test_remove(self) -> None:
        """With C{-U} a file is in quarantine before its record goes."""
        self.drive(REMOVE)


class UnmountedTests(SynchronousTestCase):
    def test_messages_are_elsewhere(self) -> None:
        """The journal is there, and the messages' file system is not, after another start: nothing goes for good."""
        without_syncs(self)
        root = Path(self.mktemp()).absolute()
        paths = MailboxPaths(root / "data", root / "meta", root / "stage.")
        place = Place(root)
        self.patch(place, "paths", lambda name: paths)
        create_mailbox(paths, Header("a", "user.a", 77))
        place.append(place.open("a"), text(1), text(2))
        place.close()
        os.rename(paths.data, root / "away")
        paths.data.mkdir()
        self.patch(files, "boot_id", lambda: b"another boot id!")
        place = Place(root)
        self.patch(place, "paths", lambda name: paths)
        self.assertEqual(digests(place.open("a")), {})
        place.close()
        paths.data.rmdir()
        os.rename(root / "away", paths.data)
        self.patch(files, "boot_id", lambda: b"a third boot id!")
        place = Place(root)
        self.patch(place, "paths", lambda name: paths)
        box = place.open("a")
        place.run(restore(box.state, lambda rows, keywords: rows))
        self.assertEqual(sorted(octets(box, uid) for uid in digests(box)), [text(1), text(2)])
        place.close()
