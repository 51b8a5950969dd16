"""Damaged and missing files: the mailbox opens, with everything that is left."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import MailboxCorrupted
from pycyrus.interfaces import NewMessage
from pycyrus.mime import summary
from pycyrus.model.flags import DELETED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.view import CachedItem
from pycyrus.store import checkpoint, files, journal, loading, snapshot, spool, upkeep
from pycyrus.store.header import Header, read_header
from pycyrus.store.layout import remove_mailbox
from pycyrus.store.locks import try_lock, unlock
from pycyrus.store.opened import OpenedMailbox
from pycyrus.store.spool import clean_stage
from pycyrus.test.store.mailboxes import Place, digests, text, uids, without_syncs
from pycyrus.testing.blocking import BlockingReactor
from pycyrus.testing.disk import Keep, Loss, Recorder
from pycyrus.testing.faults import Action, Faults


class DamageCase(SynchronousTestCase):
    """A mailbox with ten messages, one of them flagged, one expunged."""

    def setUp(self) -> None:
        without_syncs(self)
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.meta = self.root / "a"
        place = Place(self.root)
        box = place.create("a")
        for number in range(10):
            place.append(box, text(number), flags=Flags(0, (b"Word",)))
        place.run(box.store(uids(3), FlagChange(FlagAction.ADD, Flags(SEEN))))
        place.run(box.store(uids(5), FlagChange(FlagAction.ADD, Flags(DELETED))))
        place.run(box.expunge())
        place.close()
        self.paths = place.paths("a")

    def open(self) -> OpenedMailbox:
        self.place = Place(self.root)
        self.addCleanup(self.place.close)
        return self.place.open("a")

    def subjects(self, box: OpenedMailbox) -> list[bytes]:
        return box.view().cached(np.arange(len(box.view())), [CachedItem.SUBJECT])[0]

    EXPECTED = [b"number %d" % number for number in range(10) if number != 4]


class SnapshotTests(DamageCase):
    def test_loads_the_same(self) -> None:
        """With the snapshot or without it the mailbox is the same."""
        before = self.open()
        checkpoint.take_snapshot(self.paths)
        after = self.open()
        self.assertEqual(after.state.upkeep.snapshot_offset, after.state._offset)
        for name in ("uids", "flags", "keywords", "modseqs", "sizes", "savedates"):
            self.assertEqual(getattr(before.view(), name).tolist(), getattr(after.view(), name).tolist())
        self.assertEqual(before.counts(), after.counts())
        self.assertEqual(after.vanished_since(0).tolist(), [5])
        self.assertEqual(after.keyword_names(), (b"Word",))
        self.assertEqual(self.place.append(after, text(20)), (11,))

    def test_any_damage_is_noticed(self) -> None:
        """A flipped or missing octet makes it useless, and nothing else."""
        checkpoint.take_snapshot(self.paths)
        path = self.meta / "pycyrus.columns"
        whole = path.read_bytes()
        draw = random.Random(1)
        for at in [*range(0, 330, 7), *(draw.randrange(len(whole)) for _ in range(100))]:
            damaged = bytearray(whole)
            damaged[at] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            loaded = loading.load(self.paths)
            os.close(loaded.fd)
            if at < 316 or at >= 320:
                self.assertIn(loaded.snapshot_offset, (0, loaded.offset))
            self.assertEqual(len(loaded.contents), 9)
            self.assertEqual(loaded.contents.columns.flags[:9].tolist(), [0, 0, SEEN, 0, 0, 0, 0, 0, 0])
        path.write_bytes(whole[:-8])
        self.assertEqual(self.subjects(self.open()), self.EXPECTED)

    def test_snapshot_of_another_journal(self) -> None:
        """One that stands for what is no end of a record is none, and no message is taken for damaged."""
        box = self.open()
        kept, contents = self.subjects(box), box.state.contents
        data = snapshot.encode(contents, box.state.generation, box.state._offset - 48, box.unique_id)
        box.state.close()
        (self.meta / "pycyrus.columns").write_bytes(data)
        self.assertEqual(self.subjects(self.open()), kept)
        self.assertFalse((self.meta / "pycyrus.quarantine").exists())

    def test_snapshot_of_a_lost_tail(self) -> None:
        """One that stands for more than the journal has says that this was cut off: it was synced before."""
        whole = Path(self.paths.journal).read_bytes()
        checkpoint.take_snapshot(self.paths)
        os.truncate(self.paths.journal, len(whole) - 48)
        self.assertEqual(self.subjects(self.open()), self.EXPECTED)
        self.assertTrue((self.meta / "pycyrus.quarantine").exists())


class CompactionTests(DamageCase):
    def test_same_contents(self) -> None:
        """A rewritten journal says the same, history included; others go on reading it."""
        reader = self.open()
        other = Place(self.root)
        self.addCleanup(other.close)
        writer = other.open("a")
        for _ in range(50):
            other.run(writer.store(uids(3), FlagChange(FlagAction.REMOVE, Flags(SEEN))))
            other.run(writer.store(uids(3), FlagChange(FlagAction.ADD, Flags(SEEN))))
        before = Path(self.paths.journal).stat().st_size
        checkpoint.compact(self.paths)
        self.assertLess(Path(self.paths.journal).stat().st_size, before)
        view = reader.view()
        self.assertEqual(other.append(writer, text(30)), (11,))
        reader.refresh()
        self.assertEqual(reader.view().uids.tolist(), [1, 2, 3, 4, 6, 7, 8, 9, 10, 11])
        self.assertEqual(view.uids.tolist(), [1, 2, 3, 4, 6, 7, 8, 9, 10])
        self.assertEqual(self.subjects(reader), [*self.EXPECTED, b"number 30"])
        fresh = self.open()
        for box in (reader, writer, fresh):
            self.assertEqual(box.view().modseqs.tolist(), writer.view().modseqs.tolist())
            self.assertEqual(box.vanished_since(0).tolist(), [5])
            self.assertEqual(box.keyword_names(), (b"Word",))
            self.assertEqual(len(box.state.contents.retained), 1)
        self.assertEqual(fresh.state.contents.recent_uid, writer.state.contents.recent_uid)

    def test_names_that_last(self) -> None:
        """Whoever wrote before, and whoever writes after it, need only sync what has the journal's name."""
        box = self.open()
        let_go: list[int] = []

        def let_it_go(fd: int) -> None:
            let_go.append(recorder.now)
            unlock(fd)

        self.patch(checkpoint, "unlock", let_it_go)
        with Recorder(self.root) as recorder:
            self.place.run(box.store(uids(3), FlagChange(FlagAction.REMOVE, Flags(SEEN))))
            checkpoint.compact(self.paths)
        renamed = max(change.at for change in recorder.names if change.came and change.came[1] == "pycyrus.journal")
        generations = []
        for number, cut in enumerate((renamed, *let_go)):
            after = Path(self.mktemp())
            recorder.after_power_cut(cut, Loss(Keep.NOTHING, Keep.NOTHING, apart=True), random.Random(1), after)
            place = Place(after)
            loaded = loading.load(place.paths("a"))
            os.close(loaded.fd)
            place.close()
            generations.append(loaded.header.generation)
            self.assertEqual(loaded.contents.columns.flags[:3].tolist(), [0, 0, 0], number)
        self.assertEqual(generations, [1, 2, 2])

    def test_nobody_writes_before_the_name_lasts(self) -> None:
        """Not even who finds the new journal by its name, and has never seen the old one."""
        self.open()
        could: list[bool] = []
        sync_directory = files.sync_directory

        def sync(path: str) -> None:
            fd = os.open(self.paths.journal, os.O_RDWR)
            could.append(try_lock(fd))
            os.close(fd)
            sync_directory(path)

        self.patch(files, "sync_directory", sync)
        checkpoint.compact(self.paths)
        self.assertEqual(could, [False])
        sync(str(self.paths.meta))
        self.assertEqual(could, [False, True])

    def test_compaction_happens(self) -> None:
        """A journal that is much longer than what it says is rewritten unasked."""
        self.patch(checkpoint, "COMPACT_FROM", 20_000)
        self.patch(checkpoint, "SNAPSHOT_TAIL", 10_000)
        self.patch(upkeep, "THINK_EVERY", 1000)
        box = self.open()
        for number in range(400):
            action = FlagAction.REMOVE if number & 1 else FlagAction.ADD
            self.place.run(box.store(uids(3), FlagChange(action, Flags(SEEN))))
            self.place.reactor.settle()
        self.assertGreater(box.state._header.generation, 1)
        self.assertLess(Path(self.paths.journal).stat().st_size, 30_000)
        self.assertEqual(self.subjects(self.open()), self.EXPECTED)


class CacheTests(DamageCase):
    def test_missing(self) -> None:
        """Without its cache a mailbox answers the same, and has one again."""
        (self.meta / "pycyrus.cache").unlink()
        box = self.open()
        self.assertEqual(self.subjects(box), self.EXPECTED)
        self.place.reactor.settle()
        self.assertTrue((self.meta / "pycyrus.cache").exists())
        for path in self.meta.glob("?."):
            path.write_bytes(b"x")
        self.assertEqual(self.subjects(self.open()), self.EXPECTED)

    def test_any_damage_is_noticed(self) -> None:
        """A flipped octet is never served."""
        path = self.meta / "pycyrus.cache"
        whole = path.read_bytes()
        draw = random.Random(2)
        for _ in range(60):
            damaged = bytearray(whole)
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            self.assertEqual(self.subjects(self.open()), self.EXPECTED)
            self.place.close()

    def test_unreadable(self) -> None:
        """Where it cannot be opened or read, items are made of the messages, and a copy is made without it."""
        for number, name in ((errno.EMFILE, "open_file"), (errno.EIO, "pread")):
            box = self.open()
            with Faults(1, Action.FAIL, number, (name,)) as faults:
                self.assertEqual(self.subjects(box), self.EXPECTED)
            self.assertIn(name, faults.calls)
            box.state.items.close()
            with Faults(1, Action.FAIL, number, (name,)):
                self.assertEqual(box.state.items.raw_many(box.state.contents.columns, np.arange(2)), [b"", b""])
            self.place.close()

    def test_scattered_reads(self) -> None:
        """Records that lie far apart are found in any order."""
        box = self.open()
        for number in range(20, 40):
            self.place.append(box, text(number) + b"\r\n", b"Subject: " + b"long " * 20_000 + b"\r\n\r\n")
        positions = np.array([9, 0, 45, 3, 27, 9], dtype=np.intp)
        view = box.view()
        one_by_one = [view.cached(np.array([at]), [CachedItem.SUBJECT])[0][0] for at in positions.tolist()]
        self.assertEqual(view.cached(positions, [CachedItem.SUBJECT])[0], one_by_one)


class JournalTests(DamageCase):
    def test_any_damage_loses_no_message(self) -> None:
        """A flipped octet anywhere: all messages are there, and UIDs are not used again."""
        whole = Path(self.paths.journal).read_bytes()
        kept = Path(self.mktemp())
        shutil.copytree(self.root, kept)
        draw = random.Random(3)
        places = [*range(0, 128, 9), *(draw.randrange(128, len(whole)) for _ in range(60))]
        for at in places:
            shutil.rmtree(self.root)
            shutil.copytree(kept, self.root)
            damaged = bytearray(whole)
            damaged[at] ^= 1 << draw.randrange(8)
            Path(self.paths.journal).write_bytes(damaged)
            box = self.open()
            found = digests(box)
            self.assertLessEqual({1, 2, 3, 4, 6, 7, 8, 9, 10}, found.keys(), at)
            self.assertEqual(box.uidvalidity, 77)
            self.assertGreater(self.place.append(box, text(50))[0], 10, at)
            self.place.close()

    def test_missing(self) -> None:
        """Without journal and snapshot the files are adopted with what the cache knows of them."""
        os.unlink(self.paths.journal)
        box = self.open()
        self.assertEqual(len(box.view()), 10)
        self.assertEqual(box.view().internaldates.tolist(), [1_700_000_000] * 10)
        self.assertEqual((box.uidvalidity, box.unique_id), (77, "a"))

    def test_cut(self) -> None:
        """However much of it is gone, what the snapshot says was there is there, and UIDs are not used again."""
        checkpoint.take_snapshot(self.paths)
        whole = Path(self.paths.journal).read_bytes()
        kept = Path(self.mktemp())
        shutil.copytree(self.root, kept)
        for size in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
            shutil.rmtree(self.root)
            shutil.copytree(kept, self.root)
            os.truncate(self.paths.journal, size)
            box = self.open()
            self.assertLessEqual(set(self.EXPECTED), set(self.subjects(box)), size)
            self.assertEqual(box.uidvalidity, 77)
            if size >= journal.HEADER_SIZE:
                self.assertEqual(self.subjects(box), self.EXPECTED, size)
                self.assertEqual(int(box.view().flags[2]), SEEN, size)
            self.assertGreater(self.place.append(box, text(50))[0], 10, size)
            self.assertTrue(list((self.meta / "pycyrus.quarantine").glob("*journal*")), size)
            self.place.close()

    def test_nothing_left(self) -> None:
        """Without journal and header nobody knows whose mailbox it is."""
        Path(self.paths.journal).write_bytes(b"rubbish")
        (self.meta / "pycyrus.header").unlink()
        with self.assertRaises(MailboxCorrupted):
            self.open()

    def test_unknown_records_are_skipped(self) -> None:
        """A newer program's records do no harm, unless they say that they must be understood."""
        with open(self.paths.journal, "ab") as file:
            file.write(journal.encode_record(200, b"something", count=9, modseq=0, time=1))
        self.assertEqual(len(self.open().view()), 9)
        with open(self.paths.journal, "ab") as file:
            file.write(journal.encode_record(journal.CRITICAL | 200, b"something", count=9, modseq=0, time=1))
        with self.assertRaises(MailboxCorrupted):
            self.open()


class HeaderTests(DamageCase):
    def test_round_trip(self) -> None:
        """What is written is read; anything else is refused."""
        head = Header("id", "user.fred", 5, quota_root="user.fred", acl=(("fred", "lrs"), ("anyone", "p")))
        self.assertEqual(Header.decode(head.encode()), head)
        data = head.encode()
        for at in range(len(data) - 1):
            with self.assertRaises(MailboxCorrupted):
                Header.decode(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])

    def test_lost_header_comes_back_with_a_rebuild(self) -> None:
        """The journal knows enough for a new one."""
        (self.meta / "pycyrus.header").unlink()
        with open(self.paths.journal, "r+b") as file:
            file.seek(140)
            file.write(b"\xff")
        self.open()
        self.assertEqual(read_header(self.meta).unique_id, "a")


class StageTests(SynchronousTestCase):
    def test_clean(self) -> None:
        """Files of the dead go, those of the living stay, and nothing is followed."""
        root = Path(self.mktemp())
        root.mkdir()
        place = Place(root)
        self.addCleanup(place.close)
        stage = root / "stage."
        living = place.stage.begin()
        living.write(b"x" * 100_000)
        (stage / "1-young").write_bytes(b"x")
        (stage / "999999999-dead").write_bytes(b"x")
        (stage / "1-old").write_bytes(b"x")
        os.utime(stage / "1-old", (time.time() - 1000,) * 2)
        (root / "precious").write_bytes(b"x")
        (stage / "999999999-link").symlink_to(root / "precious")
        clean_stage(stage)
        self.assertEqual(
            sorted(path.name for path in stage.iterdir()), sorted(["1-young", "999999999-link", Path(living.path).name])
        )
        living.discard()
        self.assertEqual(clean_stage(root / "none"), 0)

    def test_large_messages(self) -> None:
        """They are taken apart where the connections go on meanwhile, and only once; as they would be here."""
        root = Path(self.mktemp())
        root.mkdir()
        reactor = BlockingReactor()
        threads: list[bool] = []
        inside: list[bool] = []
        in_pool, original = reactor.callInThreadWithCallback, summary.summarise

        def in_thread(told: Callable[[bool, Any], None], function: Callable[..., Any], *args: object) -> None:
            def work(*arguments: object) -> object:
                inside.append(True)
                try:
                    return function(*arguments)
                finally:
                    inside.pop()

            in_pool(told, work, *args)

        def summarise(data: Any) -> Any:
            threads.append(bool(inside))
            return original(data)

        self.patch(reactor, "callInThreadWithCallback", in_thread)
        self.patch(spool, "summarise", summarise)
        messages = [spool.Stage(root, each).begin() for each in (reactor, None)]
        for staged in messages:
            staged.write(b"Subject: large\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\n")
            for _ in range(30):
                staged.write(b"a line of text\r\n" * 4096)
            reactor.run(staged.ready())
            staged.finish()
            staged.discard()
        self.assertEqual(threads, [True, False])
        self.assertEqual(messages[0].packed_items(), messages[1].packed_items())
        self.assertEqual((messages[0].sent, messages[0].guid), (messages[1].sent, messages[1].guid))

    def test_another_worker_starts(self) -> None:
        """However often others clean up meanwhile, no file goes that somebody still writes."""
        root = Path(self.mktemp())
        root.mkdir()
        place = Place(root)
        self.addCleanup(place.close)
        box = place.create("a")
        kept = place.stage.begin()
        kept.write(b"x" * 100_000)
        os.utime(kept.path, (time.time() - 1000,) * 2)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(writing)
                os.set_blocking(reading, False)
                while True:
                    removed = clean_stage(root / "stage.")
                    try:
                        ended = not os.read(reading, 1)
                    except BlockingIOError:
                        ended = False
                    if removed or ended:
                        os._exit(int(bool(removed)))
            finally:
                os._exit(2)
        os.close(reading)
        for number in range(100):
            staged = place.staged(text(number, 70_000))
            self.assertTrue(Path(staged.path).exists())
            place.run(box.append([NewMessage(staged)]))
            staged.discard()
        kept.finish()
        place.run(box.append([NewMessage(kept)]))
        self.assertTrue(Path(kept.path).exists())
        kept.discard()
        os.close(writing)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(len(digests(box)), 101)
        self.assertEqual(list((root / "stage.").iterdir()), [])


class RemovalTests(DamageCase):
    def test_remove(self) -> None:
        """All of it goes, but not what lies below."""
        (self.meta / "child").mkdir()
        for name in ("pycyrus.text", "pycyrus.cache.new.4711"):
            (self.meta / name).write_bytes(b"what messages said")
        remove_mailbox(self.paths)
        self.assertEqual([path.name for path in self.meta.iterdir()], ["child"])
        (self.meta / "child").rmdir()
        remove_mailbox(self.paths)
        self.assertFalse(self.meta.exists())
