"""Mailboxes become what they were; journals that are written anew still know."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxExists, MailboxNotFound, PermissionDenied
from pycyrus.interfaces import IMailbox
from pycyrus.model.acl import Acl
from pycyrus.model.annotations import AnnotationScope
from pycyrus.model.flags import ANSWERED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.names import parse_internal
from pycyrus.store import checkpoint, history, journal
from pycyrus.store.layout import MailboxPaths
from pycyrus.store.loading import load
from pycyrus.store.undo import NoHistory, Plan, plan_undo, undo
from pycyrus.test.store.mailboxes import FRED, Place, digests, octets, text, uids, without_syncs
from pycyrus.test.store.test_expiry import ADMIN, World
from pycyrus.testing.faults import Action
from pycyrus.testing.interrupted import interruptions

Facts = dict[bytes, tuple[int, frozenset[bytes]]]


def moment() -> float:
    """A time between two changes."""
    now = time.time()
    while time.time() < now + 0.001:
        pass
    return (now + time.time()) / 2


class UndoWorld(World):
    def facts(self, mailbox: str = "user.fred") -> Facts:
        """Flags of messages by content."""

        async def work() -> Facts:
            opened = await self.store.open(FRED, parse_internal(mailbox), "r")
            opened.refresh()
            view, names = opened.view(), opened.keyword_names()
            found = {}
            for at, uid in enumerate(view.uids.tolist()):
                low, high = view.keywords[at].tolist()
                having = frozenset(name for bit, name in enumerate(names) if (low | high << 64) >> bit & 1)
                found[octets(opened, uid)] = (int(view.flags[at]), having)  # type: ignore[arg-type] # it is
            opened.close()
            return found

        return self.run(work())

    def flag(self, mailbox: str, which: int, action: FlagAction, *flags: bytes | int) -> None:
        async def work() -> None:
            opened: IMailbox = await self.store.open(FRED, parse_internal(mailbox), "w")
            bits = sum(flag for flag in flags if isinstance(flag, int))
            words = tuple(flag for flag in flags if isinstance(flag, bytes))
            await opened.store(uids(which), FlagChange(action, Flags(bits, words)))
            opened.close()

        self.run(work())

    def plan(
        self, when: float, mailbox: str = "user.fred", *, inferiors: bool = False, exact: bool = False
    ) -> list[Plan]:
        return self.run(plan_undo(self.store, parse_internal(mailbox), when, inferiors=inferiors, exact=exact))

    def undo(
        self, when: float, mailbox: str = "user.fred", *, inferiors: bool = False, exact: bool = False
    ) -> list[Plan]:
        plans = self.plan(when, mailbox, inferiors=inferiors, exact=exact)
        self.run(undo(self.store, ADMIN, plans))
        return plans


class UndoCase(SynchronousTestCase):
    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp()).absolute()
        self.world = UndoWorld(self.root)
        self.addCleanup(self.close_world)
        self.world.run(self.world.store.create(ADMIN, parse_internal("user.fred")))
        self.paths = MailboxPaths(
            self.root / "spool/user/fred", self.root / "spool/user/fred", self.root / "spool/stage."
        )

    def close_world(self) -> None:
        """The last one that was opened."""
        self.world.close()

    def mess_about(self) -> tuple[float, Facts]:
        """@return: A time, and what the mailbox was like then; much has changed since."""
        world = self.world
        world.append("user.fred", *(text(number) for number in range(1, 6)))
        world.flag("user.fred", 1, FlagAction.ADD, SEEN, b"Old")
        world.flag("user.fred", 2, FlagAction.ADD, FLAGGED)
        world.flag("user.fred", 3, FlagAction.ADD, SEEN)
        when, then = moment(), world.facts()
        world.flag("user.fred", 1, FlagAction.REMOVE, SEEN, b"Old")
        world.flag("user.fred", 2, FlagAction.ADD, ANSWERED, b"New")
        world.expunge("user.fred", 3, 4)
        world.append("user.fred", text(7))
        return when, then


class UndoTests(UndoCase):
    def test_messages_and_flags(self) -> None:
        """All is as it was, but that what came since is there, too; doing it again changes nothing."""
        world = self.world
        when, then = self.mess_about()
        (plan,) = world.plan(when)
        self.assertEqual(plan.back.tolist(), [3, 4])
        self.assertEqual(plan.lost.tolist(), [])
        self.assertEqual(plan.since.tolist(), [6])
        self.assertEqual([(group.uids.tolist(), group.system, group.keywords) for group in plan.flags],
                         [([1], SEEN, (b"Old",)), ([2], FLAGGED, ())])  # fmt: skip
        self.assertEqual(world.view("user.fred"), [1, 2, 5, 6])
        world.undo(when)
        self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())})
        self.assertEqual(world.view("user.fred"), [1, 2, 5, 6, 7, 8])
        (plan,) = world.undo(when)
        self.assertTrue(plan.is_empty)
        world.expunge("user.fred", 7)
        world.undo(when)
        self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())})

    def test_annotations(self) -> None:
        """Those of messages that are there, and of those that come back."""
        world = self.world

        def annotate(uid: int, **values: bytes | None) -> None:
            async def work() -> None:
                opened = await world.store.open(FRED, parse_internal("user.fred"), "r")
                entries = {(AnnotationScope.SHARED, f"/{name}"): value for name, value in values.items()}
                await opened.annotate(uids(uid), entries)
                opened.close()

            world.run(work())

        def found() -> dict[bytes, list[bytes]]:
            async def work() -> dict[bytes, list[bytes]]:
                opened = await world.store.open(FRED, parse_internal("user.fred"), "r")
                opened.refresh()
                values = {
                    octets(opened, uid): sorted(opened.annotations(uid).values())  # type: ignore[arg-type] # it is
                    for uid in opened.view().uids.tolist()
                }
                opened.close()
                return values

            return world.run(work())

        world.append("user.fred", text(1), text(2), text(3))
        annotate(1, comment=b"one", altsubject=b"other")
        annotate(2, comment=b"two")
        when, then = moment(), found()
        annotate(1, comment=b"changed", altsubject=None)
        annotate(2, comment=None)
        annotate(3, comment=b"new")
        world.expunge("user.fred", 2)
        (plan,) = world.plan(when)
        self.assertEqual(sorted(group.uids.tolist() for group in plan.notes), [[1], [2], [3]])
        self.assertFalse(plan.is_empty)
        world.undo(when)
        self.assertEqual(found(), then)
        self.assertTrue(world.plan(when)[0].is_empty)

    def test_exact(self) -> None:
        """What came since goes as well; that can be undone, too."""
        world = self.world
        when, then = self.mess_about()
        later, now = moment(), world.facts()
        world.undo(when, exact=True)
        self.assertEqual(world.facts(), then)
        world.undo(later, exact=True)
        self.assertEqual(world.facts(), now)

    def test_keywords_whose_bits_are_others_now(self) -> None:
        """They are told by name."""
        world = self.world
        when, then = self.mess_about()
        world.flag("user.fred", 2, FlagAction.REMOVE, b"New")
        self.assertEqual(world.expire(None, None, drop_keywords=True).keywords, 2)
        world.flag("user.fred", 5, FlagAction.ADD, b"Third")
        world.undo(when)
        self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())})

    def test_files_that_are_gone(self) -> None:
        """What was purged stays away, and the plan says so."""
        world = self.world
        when, then = self.mess_about()
        world.expire()
        (plan,) = world.undo(when)
        self.assertEqual((plan.back.tolist(), plan.lost.tolist()), ([], [3, 4]))
        del then[text(3)], then[text(4)]
        self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())})

    def test_access(self) -> None:
        """The access control list as it was, however often it was changed since."""
        world = self.world
        name = parse_internal("user.fred")
        first = world.store.directory.lookup(name)
        assert first is not None
        when = moment()
        for letters in ("lr", "lrs"):
            world.run(world.store.set_acl(ADMIN, name, Acl((*first.acl.entries, ("bob", frozenset(letters))))))
        (plan,) = world.undo(when)
        self.assertEqual(plan.acl, first.acl)
        entry = world.store.directory.lookup(name)
        assert entry is not None
        self.assertEqual(entry.acl, first.acl)
        self.assertTrue(world.plan(when)[0].is_empty)

    def test_too_long_ago(self) -> None:
        self.assertRaises(NoHistory, self.world.plan, time.time() - 10)
        self.assertRaises(MailboxNotFound, self.world.plan, time.time(), "user.nobody")


class FolderTests(UndoCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("user.fred.A", "user.fred.A.B", "user.bob", "user.bob.Sent"):
            self.world.run(self.world.store.create(ADMIN, parse_internal(name)))

    def delete(self, name: str) -> None:
        self.world.run(self.world.store.delete(ADMIN, parse_internal(name)))

    def names(self) -> list[str]:
        tree = self.world.store.tree
        return [tree.text(entry) for entry in self.world.store.directory.entries(deleted=False)]

    def wait(self) -> float:
        """Deletions are told in whole seconds: this time is in another one."""
        when = moment()
        self.patch(time, "time", lambda real=time.time: real() + 2)
        return when

    def test_a_deleted_folder(self) -> None:
        """It comes back with its messages as they were, its rights and its name."""
        world = self.world
        world.append("user.fred.A.B", text(1), text(2))
        world.run(world.store.set_acl(ADMIN, parse_internal("user.fred.A.B"), Acl((("fred", frozenset("lrswite")),))))
        when, then = self.wait(), world.facts("user.fred.A.B")
        world.expunge("user.fred.A.B", 2)
        self.delete("user.fred.A.B")
        (plan,) = world.plan(when, "user.fred.A.B")
        self.assertTrue(plan.undeletes)
        self.assertEqual(plan.back.tolist(), [2])
        world.undo(when, "user.fred.A.B")
        self.assertEqual(world.facts("user.fred.A.B"), then)
        entry = world.store.directory.lookup(parse_internal("user.fred.A.B"))
        assert entry is not None
        self.assertEqual(entry.acl, Acl((("fred", frozenset("lrswite")),)))
        self.assertTrue((self.root / "spool/user/fred/A/B/1.").exists())
        self.assertEqual(list(world.store.directory.entries(deleted=True)), [])

    def test_a_deleted_user(self) -> None:
        """All that went with the INBOX comes back with it; a folder alone does not."""
        world = self.world
        when = self.wait()
        self.delete("user.bob")
        self.assertEqual(self.names(), ["user.fred", "user.fred.A", "user.fred.A.B"])
        self.assertRaises(PermissionDenied, world.undo, when, "user.bob.Sent")
        self.assertEqual(len(world.undo(when, "user.bob")), 2)
        self.assertEqual(self.names(), ["user.bob", "user.bob.Sent", "user.fred", "user.fred.A", "user.fred.A.B"])

    def test_a_tree(self) -> None:
        """What was deleted one by one below, and what stayed."""
        world = self.world
        world.append("user.fred", text(1))
        when = self.wait()
        world.expunge("user.fred", 1)
        self.delete("user.fred.A.B")
        self.delete("user.fred.A")
        plans = world.undo(when, inferiors=True)
        self.assertEqual([plan.name.path for plan in plans], [(), ("A",), ("A", "B")])
        self.assertEqual(self.names()[2:], ["user.fred", "user.fred.A", "user.fred.A.B"])
        self.assertEqual(list(world.facts()), [text(1)])

    def test_another_has_its_name(self) -> None:
        world = self.world
        when = self.wait()
        self.delete("user.fred.A.B")
        self.patch(time, "time", lambda real=time.time: real() + 2)
        world.run(world.store.create(ADMIN, parse_internal("user.fred.A.B")))
        self.assertRaises(MailboxExists, world.plan, when, "user.fred.A.B")


class CompactionTests(UndoCase):
    def compact(self, since: float) -> None:
        now = round(time.time() * 1_000_000)
        self.patch(checkpoint, "microseconds", lambda: now)
        # Seconds since the epoch are exact to a quarter of a microsecond only.
        checkpoint.compact(self.paths, retention=(now - round(since * 1_000_000) + 1) / 1_000_000)

    def test_history_is_kept(self) -> None:
        """A journal written anew says the same of any time that it keeps, and of now."""
        world = self.world
        when, then = self.mess_about()
        now = world.facts()
        size = Path(self.paths.journal).stat().st_size
        before = [record.type for _, found in self.records() for record in found]
        for _ in range(3):
            self.compact(when)
            self.assertEqual(world.facts(), now)
        after = [record.type for _, found in self.records() for record in found]
        self.assertEqual(after[-6:], before[-6:])
        self.assertIn(journal.STATE, after)
        self.assertLess(abs(Path(self.paths.journal).stat().st_size - size), 600)
        world.undo(when)
        self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())})

    def records(self) -> list[tuple[int, list[journal.Record]]]:
        loaded = load(self.paths)
        try:
            return list(history.chunks(loaded.fd, journal.HEADER_SIZE, loaded.offset))
        finally:
            os.close(loaded.fd)

    def test_older_history_goes(self) -> None:
        """What is before the retention is told as a state, and cannot be undone."""
        world = self.world
        world.append("user.fred", text(1))
        before = moment()
        world.expunge("user.fred", 1)
        world.append("user.fred", text(2))
        when, then = moment(), world.facts()
        world.expunge("user.fred", 2)
        self.compact(when)
        self.assertRaises(NoHistory, world.plan, before)
        world.undo(when)
        self.assertEqual(world.facts(), then)

    def test_nothing_to_fold(self) -> None:
        """A journal of which all is to be kept stays."""
        self.mess_about()
        octets_before = Path(self.paths.journal).read_bytes()
        self.compact(time.time() - 3600)
        self.assertEqual(Path(self.paths.journal).read_bytes(), octets_before)

    def test_without_retention(self) -> None:
        when, _ = self.mess_about()
        checkpoint.compact(self.paths)
        self.assertRaises(NoHistory, self.world.plan, when)

    def test_too_much(self) -> None:
        """Beyond a size the oldest goes, however young."""
        world = self.world
        world.append("user.fred", text(1))
        self.patch(checkpoint, "HISTORY_MOST", 4000)
        self.patch(checkpoint, "COMPACT_FROM", 1000)
        for _ in range(100):
            world.flag("user.fred", 1, FlagAction.ADD, SEEN)
            world.flag("user.fred", 1, FlagAction.REMOVE, SEEN)
        when, then = moment(), world.facts()
        world.flag("user.fred", 1, FlagAction.ADD, SEEN)
        offset = Path(self.paths.journal).stat().st_size
        self.assertGreater(offset, 12_000)
        self.assertTrue(checkpoint.keeps_too_much(self.paths, offset, 104, 7 * 86400.0))
        self.compact(time.time() - 7 * 86400)
        offset = Path(self.paths.journal).stat().st_size
        self.assertLess(offset, 3000)
        self.assertFalse(checkpoint.keeps_too_much(self.paths, offset, 104, 7 * 86400.0))
        world.undo(when)
        self.assertEqual(world.facts(), then)

    def test_processes_follow(self) -> None:
        """Who has the mailbox open goes on in the new journal, whatever it read of the old."""
        root = Path(self.mktemp())
        root.mkdir()
        places = [Place(root), Place(root)]
        first = places[0].create("a")
        second = places[1].open("a")
        places[0].append(first, text(1), text(2))
        second.refresh()
        when = moment()
        places[0].append(first, text(3))
        checkpoint.compact(places[0].paths("a"), retention=time.time() - when)
        places[1].append(second, text(4))
        places[0].append(first, text(5))
        for box in (first, second):
            box.refresh()
            self.assertEqual(list(digests(box)), [1, 2, 3, 4, 5])
        third = Place(root)
        self.assertEqual(list(digests(third.open("a"))), [1, 2, 3, 4, 5])
        for place in (*places, third):
            place.close()


class UndoCrashTests(UndoCase):
    """Killed, or refused by the disk, at every call that changes something: the next undo has the rest."""

    def test_every_call(self) -> None:
        when, then = self.mess_about()
        self.world.close()
        template = Path(self.mktemp()).absolute()
        self.root.rename(template)
        shutil.copytree(template, self.root)

        def fresh() -> None:
            shutil.rmtree(self.root)
            shutil.copytree(template, self.root)

        def begin() -> Callable[[], object]:
            world = UndoWorld(self.root)
            return lambda: world.undo(when)

        for what in interruptions(begin, (Action.KILL_BEFORE, Action.FAIL, Action.READ_ONLY), fresh, least=10):
            world = UndoWorld(self.root)
            world.undo(when)
            self.assertEqual(world.facts(), {**then, text(7): (0, frozenset())}, what)
            world.close()
        self.world = UndoWorld(self.root)
