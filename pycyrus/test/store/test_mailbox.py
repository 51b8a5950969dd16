"""What one mailbox does, on a real disk."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.errors import (
    MessageGone,
    OperationNotSupported,
    OverQuota,
    PermissionDenied,
    StoreUnavailable,
    TooManyKeywords,
)
from pycyrus.interfaces import IMailbox, IMessageFile, IStaged, NewMessage
from pycyrus.model.flags import DELETED, FLAGGED, SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN
from pycyrus.model.search import HasFlag
from pycyrus.model.uids import UidArray, number_ranges
from pycyrus.model.view import CachedItem
from pycyrus.store import appending, writing
from pycyrus.store.opened import MailboxPolicy, OpenedMailbox
from pycyrus.test.store.mailboxes import Place, digests, octets, text, uids


class MailboxCase(SynchronousTestCase):
    """A place with one mailbox called a."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        self.place = Place(self.root)
        self.addCleanup(self.place.close)
        self.box = self.place.create("a")

    def again(self) -> None:
        """What another process, or the next one, finds."""
        self.place.close()
        self.place = Place(self.root)
        self.box = self.place.open("a")


class AppendTests(MailboxCase):
    def test_interfaces(self) -> None:
        """The objects are what the seams promise."""
        self.place.append(self.box, text(1))
        verifyObject(IMailbox, self.box)
        verifyObject(IStaged, self.place.staged(text(1)))
        file = self.box.message(1)
        verifyObject(IMessageFile, file)
        file.close()

    def test_file_is_the_message(self) -> None:
        """The file C{1.} holds the octets as they came, for its owner only."""
        self.assertEqual(self.place.append(self.box, text(1)), (1,))
        path = self.root / "a" / "1."
        self.assertEqual(path.read_bytes(), text(1))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_large_message_goes_through_stage_file(self) -> None:
        """A large body is on disk in private before it is appended, and then linked."""
        message = self.place.stage.begin()
        data = text(1, 300_000)
        for start in range(0, len(data), 10_000):
            message.write(data[start : start + 10_000])
        message.finish()
        staged = list((self.root / "stage.").iterdir())
        self.assertEqual([stat.S_IMODE(each.stat().st_mode) for each in staged], [0o600])
        self.place.run(self.box.append([NewMessage(message)]))
        message.discard()
        self.assertEqual(list((self.root / "stage.").iterdir()), [])
        self.assertEqual(octets(self.box, 1), data)
        self.assertEqual(self.box.view().guids[0].tobytes(), hashlib.sha1(data).digest())

    def test_one_message_in_many_mailboxes_is_one_file(self) -> None:
        """Several recipients share the octets on disk."""
        other = self.place.create("b")
        message = self.place.staged(text(1))
        for box in (self.box, other):
            self.place.run(box.append([NewMessage(message)]))
        self.assertEqual((self.root / "a" / "1.").stat().st_ino, (self.root / "b" / "1.").stat().st_ino)

    def test_while_the_directory_is_moved(self) -> None:
        """A message that comes while somebody renames the mailbox waits for the directory, and so does a copy."""
        mailbox, other = self.box, self.place.create("b", 88)
        self.place.append(mailbox, text(1))
        self.place.append(other, text(3))
        here, away = self.root / "a", self.root / "elsewhere"
        for count in (2, 3):
            # As after a start: nothing is known of the place.
            self.again()
            mailbox, other = self.box, self.place.open("b")
            here.rename(away)
            self.place.reactor.callLater(0.05, away.rename, here)
            if count == 2:
                self.place.append(mailbox, text(2))
            else:
                self.place.run(other.copy(uids(1), mailbox))
            mailbox.refresh()
            self.assertEqual(len(mailbox.view()), count)
        here.rename(away)
        # What is there can be read meanwhile.
        file = self.box.message(2)
        self.assertEqual(file.read(0, 1000), text(2))
        file.close()
        self.patch(appending, "_MOVED_WITHIN", 0.02)
        self.assertRaises(StoreUnavailable, self.place.append, mailbox, text(4))
        away.rename(here)
        self.assertEqual(self.place.append(mailbox, text(4)), (4,))

    def test_survives_reopening(self) -> None:
        """All that was said of a message is there again."""
        self.place.append(self.box, text(1), text(2), flags=Flags(FLAGGED, (b"Work", b"$Later")))
        before = self.box.view()
        items = before.cached(np.arange(2), list(CachedItem))
        self.again()
        after = self.box.view()
        for name in ("uids", "sizes", "internaldates", "savedates", "sent_times", "sent_days", "flags", "keywords"):
            self.assertEqual(getattr(before, name).tolist(), getattr(after, name).tolist(), name)
        self.assertEqual(after.internaldates.tolist(), [1_700_000_000] * 2)
        self.assertEqual(after.sent_times.tolist(), [1_704_103_200] * 2)
        self.assertEqual(self.box.keyword_names(), (b"Work", b"$Later"))
        self.assertEqual(after.cached(np.arange(2), list(CachedItem)), items)
        self.assertEqual(self.box.uidnext(), 3)

    def test_flags_without_their_right_are_left_out(self) -> None:
        """RFC 4314 section 4: APPEND is not refused for its flags."""
        box = self.place.open("a", "lri")
        self.place.append(box, text(1), flags=Flags(SEEN | DELETED, (b"Work",)))
        self.assertEqual(box.view().flags.tolist(), [0])
        self.assertEqual(box.keyword_names(), ())

    def test_insert_right(self) -> None:
        """Without right i nothing is appended, but the postman needs p alone."""
        with self.assertRaises(PermissionDenied):
            self.place.append(self.place.open("a", "lrp"), text(1))
        self.place.append(self.place.open("a", "lp", identity=POSTMAN), text(1))
        self.assertEqual(self.box.counts().messages, 1)

    def test_too_many_keywords(self) -> None:
        """The 129th keyword is refused, and with it the message."""
        names = tuple(b"k%d" % number for number in range(128))
        self.place.append(self.box, text(1), flags=Flags(0, names))
        with self.assertRaises(TooManyKeywords):
            self.place.append(self.box, text(2), flags=Flags(0, (b"one-more",)))
        self.assertEqual(self.box.counts().messages, 1)
        self.assertEqual(sorted(path.name for path in (self.root / "a").glob("*.")), ["1."])

    def test_unused_keyword_makes_room(self) -> None:
        """A keyword that no message has any more gives up its bit."""
        names = tuple(b"k%d" % number for number in range(128))
        self.place.append(self.box, text(1), flags=Flags(0, names))
        self.place.run(self.box.store(uids(1), FlagChange(FlagAction.REMOVE, Flags(0, (b"K5",)))))
        self.place.append(self.box, text(2), flags=Flags(0, (b"one-more",)))
        self.assertEqual(self.box.keyword_names()[5], b"one-more")


class FlagTests(MailboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.place.append(self.box, *(text(number) for number in range(5)))

    def store(self, numbers: UidArray, action: FlagAction, flags: Flags, since: int | None = None) -> list[list[int]]:
        stored = self.place.run(self.box.store(numbers, FlagChange(action, flags), since))
        return [stored.changed.tolist(), stored.modified.tolist()]

    def test_add_remove_replace(self) -> None:
        """The three ways of STORE, with system flags and keywords."""
        self.store(uids(1, 2, 3), FlagAction.ADD, Flags(SEEN | FLAGGED, (b"Work",)))
        self.store(uids(2), FlagAction.REMOVE, Flags(SEEN, (b"work",)))
        self.store(uids(3), FlagAction.REPLACE, Flags(DELETED, (b"Play",)))
        for _ in range(2):
            self.assertEqual(self.box.view().flags.tolist(), [SEEN | FLAGGED, FLAGGED, DELETED, 0, 0])
            self.assertEqual(self.box.view().keywords[:, 0].tolist(), [1, 0, 2, 0, 0])
            counts = self.box.counts()
            self.assertEqual((counts.unseen, counts.deleted, counts.first_unseen), (4, 1, 2))
            self.again()

    def test_modseq_changes_only_where_flags_do(self) -> None:
        """RFC 7162 section 3.1: no change, no new modseq; and the same after replay."""
        self.store(uids(2), FlagAction.ADD, Flags(SEEN))
        self.store(uids(1, 2, 3, 4, 5), FlagAction.ADD, Flags(SEEN))
        before = self.box.view().modseqs.tolist()
        self.assertEqual(len(set(before)), 2)
        self.assertLess(before[1], before[0])
        self.again()
        self.assertEqual(self.box.view().modseqs.tolist(), before)

    def test_unchanged_since(self) -> None:
        """RFC 7162 section 3.1.3: what changed later is told and left alone."""
        since = self.box.highest_modseq()
        self.store(uids(2), FlagAction.ADD, Flags(SEEN))
        told = self.store(uids(1, 2, 3), FlagAction.ADD, Flags(FLAGGED), since)
        self.assertEqual(told, [[1, 3], [2]])
        self.assertEqual(self.box.view().flags.tolist(), [FLAGGED, SEEN, FLAGGED, 0, 0])

    def test_uids_that_do_not_exist_are_ignored(self) -> None:
        """RFC 9051 section 6.4.9."""
        self.assertEqual(self.store(uids(4, 9, 11), FlagAction.ADD, Flags(SEEN)), [[4], []])
        self.assertEqual(self.store(uids(9), FlagAction.ADD, Flags(SEEN)), [[], []])

    def test_one_range_is_one_small_record(self) -> None:
        """STORE 1:* costs the same octets for any number of messages."""
        journal = self.root / "a" / "pycyrus.journal"
        before = journal.stat().st_size
        self.store(uids(1, 2, 3, 4, 5), FlagAction.ADD, Flags(SEEN))
        self.assertEqual(journal.stat().st_size - before, 80)

    def test_rights(self) -> None:
        """Each flag needs its right; PermissionDenied only when nothing is left."""
        self.box = self.place.open("a", "lrs")
        self.store(uids(1), FlagAction.ADD, Flags(SEEN | FLAGGED))
        self.assertEqual(self.box.view().flags[0], SEEN)
        with self.assertRaises(PermissionDenied):
            self.store(uids(1), FlagAction.ADD, Flags(DELETED, (b"Work",)))
        self.store(uids(1), FlagAction.REPLACE, Flags())
        self.assertEqual(self.box.view().flags[0], 0)

    def test_views_are_live_in_flags_only(self) -> None:
        """A session that lags sees new flags of the messages it knows, and no other messages."""
        old = self.box.view()
        self.store(uids(2), FlagAction.ADD, Flags(DELETED))
        self.place.run(self.box.expunge())
        self.place.append(self.box, *(text(number) for number in range(50)))
        self.store(uids(3, 4), FlagAction.ADD, Flags(SEEN))
        self.assertEqual(old.uids.tolist(), [1, 2, 3, 4, 5])
        self.assertEqual(old.flags.tolist(), [0, DELETED, SEEN, SEEN, 0])
        self.assertEqual(old.cached(np.array([2, 4]), [CachedItem.SUBJECT]), [[b"number 2", b"number 4"]])
        self.assertEqual(len(self.box.view()), 54)


class ExpungeTests(MailboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.place.append(self.box, *(text(number) for number in range(6)))

    def delete(self, *numbers: int) -> None:
        self.place.run(self.box.store(uids(*numbers), FlagChange(FlagAction.ADD, Flags(DELETED))))

    def test_expunge_only_what_is_deleted(self) -> None:
        """RFC 4315 section 2.1: among the UIDs given, those with the flag."""
        self.delete(2, 4, 5)
        expunged = self.place.run(self.box.expunge(uids(1, 2, 4)))
        self.assertEqual(expunged.uids.tolist(), [2, 4])
        self.assertEqual(self.box.view().uids.tolist(), [1, 3, 5, 6])
        self.assertEqual(self.box.counts().deleted, 1)

    def test_vanished_since(self) -> None:
        """RFC 7162 section 3.2.5.2, also after reopening and with a snapshot."""
        self.delete(2, 4, 6)
        self.place.run(self.box.expunge(uids(2)))
        middle = self.box.highest_modseq()
        self.place.run(self.box.expunge())
        for _ in range(2):
            self.assertEqual(self.box.vanished_since(0).tolist(), [2, 4, 6])
            self.assertEqual(self.box.vanished_since(middle).tolist(), [4, 6])
            self.assertEqual(self.box.vanished_since(self.box.highest_modseq()).tolist(), [])
            self.again()

    def test_delayed_files_stay_until_purged(self) -> None:
        """The file goes when it is purged, and not before."""
        self.delete(2)
        self.place.run(self.box.expunge())
        path = self.root / "a" / "2."
        self.assertEqual(self.place.run(writing.purge(self.box.state, 0)), 0)
        self.assertTrue(path.exists())
        self.again()
        self.assertEqual(self.place.run(writing.purge(self.box.state, 1 << 40)), 1)
        self.assertFalse(path.exists())
        self.again()
        self.assertEqual(self.box.vanished_since(0).tolist(), [2])

    def test_immediate(self) -> None:
        """By policy the file goes at once, and reading it says so."""
        box = self.place.open("a", policy=MailboxPolicy(keep_expunged=False))
        self.delete(2)
        self.place.run(box.expunge())
        self.assertFalse((self.root / "a" / "2.").exists())
        with self.assertRaises(MessageGone):
            box.message(2)

    def test_uids_are_not_used_again(self) -> None:
        """RFC 9051 section 2.3.1.1: also when the last messages went."""
        self.delete(5, 6)
        self.place.run(self.box.expunge())
        self.again()
        self.assertEqual(self.place.append(self.box, text(9)), (7,))

    def test_right(self) -> None:
        """Right e."""
        with self.assertRaises(PermissionDenied):
            self.place.run(self.place.open("a", "lrswit").expunge())


class MostMessagesTests(MailboxCase):
    """The option C{mailbox_maxmessages_email}."""

    def test_full(self) -> None:
        """No more come by any way, nor one of several that are too many together."""
        self.place.append(self.box, text(1))
        self.place.create("b", 88)
        full = self.place.open("b", policy=MailboxPolicy(most_messages=2))
        with self.assertRaises(OverQuota):
            self.place.append(full, text(1), text(2), text(3))
        self.assertEqual(len(full.view()), 0)
        self.place.append(full, text(1), text(2))
        for attempt in (
            lambda: self.place.append(full, text(3)),
            lambda: self.place.run(self.box.copy(self.box.view().uids[:1], full)),
            lambda: self.place.run(self.box.move(self.box.view().uids[:1], full)),
            lambda: self.place.run(full.check_quota(messages=1)),
        ):
            self.assertRaises(OverQuota, attempt)
        self.assertEqual((len(full.view()), len(self.box.view())), (2, 1))
        self.place.run(full.check_quota(octets=1))


class CopyTests(MailboxCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = self.place.create("b", 88)
        self.place.append(self.other, text(100), flags=Flags(0, (b"There",)))
        self.place.append(self.box, text(1), flags=Flags(SEEN, (b"One", b"There")))
        self.place.append(self.box, text(2), flags=Flags(0, (b"Two",)))
        self.place.append(self.box, text(3))

    def test_copy(self) -> None:
        """Flags, keywords by name, dates and octets are the same; what is not there is left out."""
        copied = self.place.run(self.box.copy(uids(1, 3, 9), self.other))
        self.assertEqual(
            (copied.uidvalidity, copied.source_uids.tolist(), copied.target_uids.tolist()), (88, [1, 3], [2, 3])
        )
        view = self.other.view()
        names = self.other.keyword_names()
        self.assertEqual(view.flags.tolist(), [0, SEEN, 0])
        words = int(view.keywords[1, 0])
        self.assertEqual({names[bit] for bit in range(len(names)) if words >> bit & 1}, {b"One", b"There"})
        self.assertEqual(view.internaldates.tolist(), [1_700_000_000] * 3)
        self.assertEqual([octets(self.other, uid) for uid in (2, 3)], [text(1), text(3)])
        self.assertEqual(view.cached(np.array([1, 2]), [CachedItem.SUBJECT]), [[b"number 1", b"number 3"]])
        self.assertEqual(digests(self.box).keys(), {1, 2, 3})

    def test_copy_onto_itself(self) -> None:
        """A mailbox may be its own target."""
        copied = self.place.run(self.box.copy(uids(1, 2, 3), self.box))
        self.assertEqual(copied.target_uids.tolist(), [4, 5, 6])
        self.assertEqual(len(self.box.view()), 6)

    def test_many(self) -> None:
        """A copy of many messages is made apart from the reactor, under the same rules."""
        self.place.append(self.box, *(text(number) for number in range(200)))
        everything = self.box.view().uids.copy()
        copied = self.place.run(self.box.copy(everything, self.other))
        self.assertEqual(copied.source_uids.tolist(), everything.tolist())
        self.assertEqual(number_ranges(copied.target_uids), [(2, 204)])
        self.assertEqual(sorted(digests(self.other).values())[:0], [])

    def test_move(self) -> None:
        """RFC 6851: there, and no longer here."""
        copied, expunged = self.place.run(self.box.move(uids(2), self.other))
        self.assertEqual(copied.target_uids.tolist(), [2])
        self.assertEqual(expunged.uids.tolist(), [2])
        self.assertEqual(self.box.view().uids.tolist(), [1, 3])
        self.assertEqual(octets(self.other, 2), text(2))

    def test_all_or_none(self) -> None:
        """When one file is missing nothing is copied."""
        (self.root / "a" / "2.").unlink()
        with self.assertRaises(MessageGone):
            self.place.run(self.box.copy(uids(1, 2, 3), self.other))
        self.assertEqual(self.other.counts().messages, 1)
        self.assertEqual(sorted(path.name for path in (self.root / "b").glob("*.")), ["1."])

    def test_rights(self) -> None:
        """RFC 4314 section 4: r here, i there; the flags that one may set there."""
        with self.assertRaises(PermissionDenied):
            self.place.run(self.place.open("a", "l").copy(uids(1), self.other))
        with self.assertRaises(PermissionDenied):
            self.place.run(self.box.copy(uids(1), self.place.open("b", "lr")))
        self.place.run(self.box.copy(uids(1), self.place.open("b", "lri")))
        self.assertEqual(self.other.view().flags.tolist(), [0, 0])
        with self.assertRaises(PermissionDenied):
            self.place.run(self.place.open("a", "lri").move(uids(1), self.other))

    def test_foreign_mailbox(self) -> None:
        """What is not of this store cannot be a target."""
        with self.assertRaises(OperationNotSupported):
            self.place.run(self.box.copy(uids(1), object()))  # type: ignore[arg-type]


class RecentTests(MailboxCase):
    def test_one_session_gets_them(self) -> None:
        """RFC 3501 section 2.3.2: recent in one session only, also across restarts."""
        self.place.append(self.box, text(1), text(2))
        self.assertEqual(self.box.counts().recent, 2)
        self.assertEqual(self.box.claim_recent(), 1)
        self.assertEqual(self.box.counts().recent, 0)
        self.assertEqual(self.place.open("a").claim_recent(), 3)
        self.again()
        self.assertEqual(self.box.counts().recent, 0)
        self.place.append(self.box, text(3))
        self.assertEqual(self.box.claim_recent(), 3)

    def test_claiming_nothing_writes_nothing(self) -> None:
        """SELECT of a mailbox without news does not touch the disk."""
        self.place.append(self.box, text(1))
        self.box.claim_recent()
        journal = self.root / "a" / "pycyrus.journal"
        before = journal.stat()
        self.box.claim_recent()
        self.assertEqual(journal.stat().st_mtime_ns, before.st_mtime_ns)


class Seen:
    """What a user has seen, in memory."""

    def __init__(self) -> None:
        self.counter = 0
        self.recent_uid = 0
        self._uids: set[int] = set()

    def seen_uids(self) -> list[tuple[int, int]]:
        return number_ranges(np.array(sorted(self._uids), dtype=np.uint32))

    def set(self, uids: UidArray, seen: bool) -> None:
        self._uids = self._uids | set(uids.tolist()) if seen else self._uids - set(uids.tolist())
        self.counter += 1

    def set_recent(self, uid: int) -> None:
        self.recent_uid = uid

    def refresh(self) -> None:
        pass

    async def save(self) -> None:
        pass


class SeenTests(MailboxCase):
    def test_own_seen_state(self) -> None:
        """Others see each message for themselves; all else is shared."""
        self.place.append(self.box, text(1), text(2), text(3))
        guest = self.place.open("a", "lrsw", seen=Seen())
        view = guest.view()
        version, modseq = guest.refresh(), guest.highest_modseq()
        stored = self.place.run(guest.store(uids(2), FlagChange(FlagAction.ADD, Flags(SEEN | FLAGGED))))
        self.assertEqual(stored.changed.tolist(), [2])
        self.assertNotEqual(guest.refresh(), version)
        self.assertGreater(guest.highest_modseq(), modseq)
        self.assertIs(guest.view(), view)
        self.assertEqual(guest.view().flags.tolist(), [0, SEEN | FLAGGED, 0])
        self.assertEqual(self.box.view().flags.tolist(), [0, FLAGGED, 0])
        self.assertEqual((guest.counts().unseen, guest.counts().first_unseen), (2, 1))
        self.assertEqual(self.box.counts().unseen, 3)
        self.place.run(self.box.store(uids(1, 2), FlagChange(FlagAction.REPLACE, Flags(SEEN))))
        guest.refresh()
        self.assertEqual(guest.view().flags.tolist(), [0, SEEN, 0])

    def test_seen_state_comes_with_its_modseq(self) -> None:
        """
        RFC 7162 section 3.1.2.1: who was told of a modseq was told of all before it.

        Other sessions of the user, in other processes as well, see the change
        when the modseq that tells of it is there, and not before.
        """
        shown: list[tuple[list[int], int]] = []
        other: list[OpenedMailbox] = []

        class Watched(Seen):
            async def save(self) -> None:
                (box,) = other
                box.refresh()
                shown.append((box.view().flags.tolist(), box.highest_modseq()))

        self.place.append(self.box, text(1), text(2))
        seen = Watched()
        guest = self.place.open("a", "lrswi", seen=seen)
        other.append(self.place.open("a", "lrswi", seen=seen))
        other[0].view()
        before = self.box.highest_modseq()
        stored = self.place.run(guest.store(uids(1), FlagChange(FlagAction.ADD, Flags(SEEN))))
        self.assertEqual(shown, [([0, 0], before)])
        self.assertEqual(stored.modseq, before + 1)
        other[0].refresh()
        self.assertEqual(other[0].view().flags.tolist(), [SEEN, 0])
        self.assertEqual(other[0].view().modseqs.tolist()[0], before + 1)
        # Until it is looked at again a view is of one moment, whatever happens.
        view = other[0].view()
        self.place.run(self.box.store(uids(2), FlagChange(FlagAction.ADD, Flags(FLAGGED, (b"Key",)))))
        self.assertEqual((view.flags.tolist(), view.keywords.any()), ([SEEN, 0], False))
        self.assertEqual(view.modseqs.tolist()[1], before)
        other[0].refresh()
        self.assertIs(other[0].view(), view)
        self.assertEqual((view.flags.tolist(), view.modseqs.tolist()), ([SEEN, FLAGGED], [before + 1, before + 2]))
        self.assertTrue(view.keywords[1].any())
        before += 2
        stored = self.place.run(guest.store(uids(1, 2), FlagChange(FlagAction.REPLACE, Flags(0)), before - 1))
        self.assertEqual((stored.changed.tolist(), stored.modified.tolist()), ([1], [2]))
        self.place.append(guest, text(3), flags=Flags(SEEN))
        other[0].refresh()
        self.assertEqual(other[0].view().flags.tolist(), [0, FLAGGED, SEEN])

    def test_own_recent(self) -> None:
        """What is recent to others does not take it from the owner."""
        self.place.append(self.box, text(1))
        guest = self.place.open("a", "lrsw", seen=Seen())
        self.assertEqual(guest.claim_recent(), 1)
        self.assertEqual(guest.counts().recent, 0)
        self.assertEqual(self.box.claim_recent(), 1)

    def test_copy_takes_own_flags(self) -> None:
        """A copy is seen where its original was seen by the one who copies."""
        self.place.append(self.box, text(1), text(2))
        guest = self.place.open("a", "lrsw", seen=Seen())
        self.place.run(guest.store(uids(1), FlagChange(FlagAction.ADD, Flags(SEEN))))
        other = self.place.create("b")
        self.place.run(guest.copy(uids(1, 2), other))
        self.assertEqual(other.view().flags.tolist(), [SEEN, 0])


class SearchTests(MailboxCase):
    def test_search(self) -> None:
        """Search keys are asked of the view."""
        self.place.append(self.box, text(1), text(2))
        self.place.run(self.box.store(uids(2), FlagChange(FlagAction.ADD, Flags(FLAGGED))))
        self.assertEqual(self.place.run(self.box.search(HasFlag(FLAGGED))).tolist(), [2])


class StatesTests(MailboxCase):
    def test_memory_and_descriptors_are_bounded(self) -> None:
        """Mailboxes that nobody has open do not stay for good."""
        place = Place(self.root, kept=5)
        self.addCleanup(place.close)
        for number in range(20):
            place.create(f"m{number}").close()
        descriptors = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        targets = [path.readlink() for path in descriptors if path.exists()]
        inside = [path.relative_to(self.root.resolve()) for path in targets if path.is_relative_to(self.root.resolve())]
        self.assertEqual(len([path for path in inside if any(part.startswith("m") for part in path.parts)]), 5)
        self.assertEqual(len(place.states), 5)

    def test_shared(self) -> None:
        """All openings in a process share one state, and hear of each other at once."""
        other = self.place.open("a")
        told: list[int] = []
        stop = other.watch(lambda: told.append(1))
        self.place.append(self.box, text(1))
        self.place.reactor.settle()
        self.assertEqual(len(other.view()), 1)
        self.assertEqual(told, [1])
        stop()
        self.place.append(self.box, text(1))
        self.place.reactor.settle()
        self.assertEqual(told, [1])
