"""Tests of the selected state: what a client is told, and what it may do, when things happen behind its back."""

from __future__ import annotations

import re
from collections.abc import Callable
from unittest.mock import patch

import numpy as np
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.errors import MessageRejected, StoreFull, StoreUnavailable
from pycyrus.imap import selected as selected_module
from pycyrus.imap.commands import store as store_command
from pycyrus.imap.incoming import IncomingMessage
from pycyrus.imap.replies import Bad
from pycyrus.imap.selected import SelectedMailbox
from pycyrus.interfaces import Counts, IMailbox, IMailStore, IMessageFile, IStaged
from pycyrus.mime.summary import summarise
from pycyrus.model.acl import Acl
from pycyrus.model.flags import DELETED, FLAGGED, SEEN
from pycyrus.model.identity import Identity
from pycyrus.model.names import MailboxName, inbox_of
from pycyrus.model.uids import SequenceSet
from pycyrus.testing.imap import Client, ImapServer
from pycyrus.testing.memory_mailbox import MemoryFile, MemoryMailbox, MemoryMessage, MemoryStaged, MemoryState
from pycyrus.testing.store import MemoryStore, furnished

MESSAGE = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: s\r\n\r\nbody\r\n"
SUMMARY = summarise(MESSAGE)
ALICE = Identity("alice")
INBOX = inbox_of(ALICE)
EVERYTHING = SequenceSet(((1, 0),))


def fill(state: MemoryState, count: int, data: bytes = MESSAGE, flags: int = 0) -> None:
    """Deliver messages."""
    summary = SUMMARY if data is MESSAGE else summarise(data)
    state.begin()
    for _ in range(count):
        state.add(MemoryMessage(0, 0, data, summary, flags))
    state.membership_changed()


class Lines:
    """Collects what is told."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def take(self) -> list[bytes]:
        data, self.data = self.data, b""
        return data.split(b"\r\n")[:-1]


class MemoryStoreTests(SynchronousTestCase):
    """The double is what it stands for."""

    def test_interfaces(self) -> None:
        store = MemoryStore()
        state = store.add(INBOX)
        for interface, provider in (
            (IMailStore, store),
            (IMailbox, MemoryMailbox(state, ALICE)),
            (IMessageFile, MemoryFile(b"")),
            (IStaged, MemoryStaged()),
            (IStaged, IncomingMessage(MemoryStaged())),
        ):
            if not isinstance(provider, IncomingMessage):
                self.assertTrue(verifyObject(interface, provider))


class SelectedTests(SynchronousTestCase):
    """L{SelectedMailbox}."""

    def setUp(self) -> None:
        self.state = MemoryStore().add(INBOX)
        fill(self.state, 5)
        self.mailbox = MemoryMailbox(self.state, ALICE)
        self.enabled: set[bytes] = set()
        self.selected = SelectedMailbox(self.mailbox, read_only=False, enabled=self.enabled)
        self.lines = Lines()

    def expunge(self, *uids: int) -> None:
        for message in self.state.messages:
            if message.uid in uids:
                message.flags |= DELETED
        other = MemoryMailbox(self.state, ALICE)
        self.successResultOf(Deferred.fromCoroutine(other.expunge()))

    def flag(self, uid: int) -> None:
        for position, message in enumerate(self.state.messages):
            if message.uid == uid:
                message.flags |= FLAGGED
                message.modseq = self.state.begin()
                self.state.flags_changed(message, position)
                self.state.changed()

    def tell(self, may_expunge: bool = True) -> list[bytes]:
        self.selected.tell_updates(self.lines, may_expunge)
        return self.lines.take()

    def test_nothing_happened(self) -> None:
        self.assertEqual(self.tell(), [])
        self.assertIs(self.selected.view, self.mailbox.view())

    def test_the_view_is_shared_again(self) -> None:
        """Once all is told, the session holds nothing of its own."""
        self.expunge(2, 4)
        fill(self.state, 2)
        self.assertEqual(self.tell(False), [])
        self.assertIsNot(self.selected.view, self.mailbox.view())
        self.assertEqual(self.tell(), [b"* 4 EXPUNGE", b"* 2 EXPUNGE", b"* 5 EXISTS", b"* 5 RECENT"])
        self.assertIs(self.selected.view, self.mailbox.view())

    def test_numbers_stay_until_expunges_are_told(self) -> None:
        self.expunge(1)
        self.tell(False)
        self.flag(3)
        self.assertEqual(self.tell(False), [b"* 3 FETCH (FLAGS (\\Recent \\Flagged))"])
        rows = self.selected.rows(self.selected.positions(EVERYTHING, by_uid=False))
        self.assertEqual(rows.uids.tolist(), [1, 2, 3, 4, 5])
        self.assertEqual(rows.flags.tolist()[2], FLAGGED)
        self.assertEqual(self.tell(), [b"* 1 EXPUNGE"])
        rows = self.selected.rows(self.selected.positions(EVERYTHING, by_uid=False))
        self.assertEqual((rows.numbers.tolist(), rows.uids.tolist()), ([1, 2, 3, 4], [2, 3, 4, 5]))

    def test_everything_goes(self) -> None:
        self.enabled.add(b"QRESYNC")
        self.expunge(1, 2, 3, 4, 5)
        self.assertEqual(self.tell(), [b"* VANISHED 1:5"])
        self.assertEqual(len(self.selected.positions(EVERYTHING, by_uid=False)), 0)

    def test_many_changes_are_told_in_turns(self) -> None:
        """A client is not flooded: what is left follows, with what changed meanwhile."""
        self.patch(selected_module, "MAX_FLAG_LINES", 2)
        for uid in (1, 2, 3, 5):
            self.flag(uid)
        self.assertTrue(self.selected.tell_updates(self.lines, True))
        self.assertEqual([line.split()[1] for line in self.lines.take()], [b"1", b"2"])
        self.flag(1)
        self.expunge(2)
        told = []
        while self.selected.tell_updates(self.lines, True):
            told += self.lines.take()
        told += self.lines.take()
        self.assertEqual(told[0], b"* 2 EXPUNGE")
        self.assertEqual({line.split()[1] for line in told[1:]}, {b"1", b"2", b"4"})
        self.assertEqual(self.tell(), [])

    def test_message_numbers(self) -> None:
        def numbers(text: bytes) -> list[int]:
            positions = self.selected.positions(SequenceSet.parse(text), by_uid=False)
            return [position + 1 for position in positions.tolist()]

        self.assertEqual(numbers(b"2,4:3,*"), [2, 3, 4, 5])
        self.assertEqual(numbers(b"9:*"), [5])
        self.assertEqual(numbers(b"1:*,1:*,1:*"), [1, 2, 3, 4, 5])
        for text in (b"6", b"1:6", b"4294967295"):
            self.assertRaises(Bad, numbers, text)

    def test_recent_belongs_to_one_session(self) -> None:
        other = SelectedMailbox(self.mailbox, read_only=False, enabled=set())
        self.assertEqual((self.selected.recent_count(), other.recent_count()), (5, 0))
        fill(self.state, 1)
        other.tell_updates(self.lines, True)
        fill(self.state, 1)
        self.lines.take()
        self.assertEqual(self.tell(), [b"* 7 EXISTS", b"* 6 RECENT"])
        self.assertEqual(self.selected.recent_ranges(), [(1, 5), (7, 7)])
        rows = self.selected.rows(np.arange(7))
        assert rows.recent is not None
        self.assertEqual(rows.recent.tolist(), [True] * 5 + [False, True])

    def test_what_comes_while_recent_is_claimed(self) -> None:
        """All that is told is of one time, whatever claiming catches up with (RFC 7162 section 3.2)."""
        claim = MemoryMailbox.claim_recent

        def late(mailbox: MemoryMailbox) -> int:
            self.expunge(min(message.uid for message in self.state.messages))
            fill(self.state, 1)
            return claim(mailbox)

        self.enabled.add(b"QRESYNC")
        with patch.object(MemoryMailbox, "claim_recent", late):
            self.selected = SelectedMailbox(self.mailbox, read_only=False, enabled=self.enabled)
            self.assertEqual(self.selected.view.uids.tolist(), [2, 3, 4, 5, 6])
            self.assertTrue(self.selected.knows_all_before(self.state.modseq + 1))
            self.assertEqual(self.tell(), [])
            fill(self.state, 1)
            self.assertEqual(self.tell(False), [b"* OK [HIGHESTMODSEQ 4] More to come"])
            self.assertEqual(self.tell(), [b"* VANISHED 2:3", b"* 6 EXISTS", b"* 4 RECENT"])
        self.assertEqual(self.selected.recent_ranges(), [(6, 9)])

    def test_what_comes_behind_what_was_claimed(self) -> None:
        """It is recent for whoever claims it, and for nobody else (RFC 9051 section 2.3.2)."""
        counts = MemoryMailbox.counts

        def late(mailbox: MemoryMailbox) -> Counts:
            counted = counts(mailbox)
            fill(self.state, 1)
            return counted

        with patch.object(MemoryMailbox, "counts", late):
            self.selected = SelectedMailbox(self.mailbox, read_only=False, enabled=self.enabled)
            other = SelectedMailbox(self.mailbox, read_only=False, enabled=set())
            fill(self.state, 1)
            self.tell()
        ranges = [self.selected.recent_ranges(), other.recent_ranges()]
        told = [uid for each in ranges for first, last in each for uid in range(first, last + 1)]
        self.assertEqual(sorted(told), sorted(set(told)))
        self.assertEqual(ranges, [[(7, 8)], [(6, 6)]])

    def test_a_mailbox_that_is_gone_is_empty(self) -> None:
        self.state.is_deleted = True
        self.assertEqual(self.tell(False), [])
        self.assertEqual(len(self.selected.view), 5)
        self.assertEqual(self.tell(), [b"* %d EXPUNGE" % number for number in (5, 4, 3, 2, 1)])
        self.assertEqual(self.tell(), [])


class CommandCase(SynchronousTestCase):
    """A client of a server in memory."""

    def setUp(self) -> None:
        self.store = furnished()
        self.state = self.store.states[INBOX]
        self.server = ImapServer(store=self.store)
        self.addCleanup(self.server.close)
        self.client = self.connect()

    def connect(self, user: bytes = b"alice") -> Client:
        client = self.server.connect()
        client.send(b"l LOGIN %b secret\r\n" % user)
        client.receive()
        return client

    def do(self, command: bytes) -> list[bytes]:
        self.client.send(b"a " + command + b"\r\n")
        return self.client.receive().split(b"\r\n")[:-1]


class FetchTests(CommandCase):
    """FETCH when something is in its way."""

    def test_a_message_without_file(self) -> None:
        """The others are answered, and what is known of it without its file."""
        fill(self.state, 3)
        self.do(b"SELECT INBOX")
        del self.state.messages[1]
        self.state.membership_changed()
        self.assertEqual(
            self.do(b"FETCH 1:3 (UID BODY.PEEK[TEXT])"),
            [
                b"* 1 FETCH (UID 1 BODY[TEXT] {6}",
                b"body",
                b")",
                b"* 2 FETCH (UID 2)",
                b"* 3 FETCH (UID 3 BODY[TEXT] {6}",
                b"body",
                b")",
                b"a NO [EXPUNGEISSUED] Some of the messages no longer exist",
            ],
        )
        self.assertEqual(self.do(b"FETCH 2 ENVELOPE")[-1], b"a OK Completed")
        self.assertEqual(self.do(b"UID FETCH 2 BODY.PEEK[]")[-2:], [b"* 2 EXPUNGE", b"a OK Completed"])

    def test_reading_on_a_full_disk(self) -> None:
        """The seen flag cannot be set, but mail can be read."""
        fill(self.state, 1)
        self.do(b"SELECT INBOX")

        async def fails(*arguments: object) -> None:
            raise StoreFull

        with patch.object(MemoryMailbox, "store", fails):
            self.assertEqual(self.do(b"FETCH 1 BODY[TEXT]")[-1], b"a OK Completed")
            self.assertEqual(self.do(b"STORE 1 +FLAGS (a)")[-1], b"a NO [UNAVAILABLE] System I/O error, no room left")

    def test_a_message_that_cannot_be_read(self) -> None:
        fill(self.state, 2)
        self.do(b"SELECT INBOX")
        real: Callable[[MemoryMailbox, int], object] = MemoryMailbox.message

        def fails(mailbox: MemoryMailbox, uid: int) -> object:
            if uid == 1:
                raise StoreUnavailable
            return real(mailbox, uid)

        with patch.object(MemoryMailbox, "message", fails):
            answer = self.do(b"FETCH 1:2 BODY.PEEK[TEXT]")
        self.assertEqual(answer[0], b"* 2 FETCH (BODY[TEXT] {6}")
        self.assertEqual(answer[-1], b"a NO [UNAVAILABLE] System I/O error")

    def test_rights_are_removed_at_once(self) -> None:
        fill(self.state, 1)
        self.do(b"SELECT INBOX")
        self.state.acl = Acl((("alice", frozenset("l")),))
        self.state.name = MailboxName("", "bob", ("x",))
        for command in (b"FETCH 1 FLAGS", b"SEARCH ALL", b"STORE 1 FLAGS (a)", b"COPY 1 Archive", b"EXPUNGE"):
            self.assertEqual(self.do(command), [b"a NO [NOPERM] Permission denied"], command)
        fill(self.state, 1)
        self.state.acl = Acl()
        self.assertEqual(self.do(b"NOOP"), [b"* 1 EXPUNGE", b"a OK Completed"])
        self.assertEqual(self.do(b"UID FETCH 1:* FLAGS"), [b"a NO [NONEXISTENT] Mailbox does not exist"])
        self.assertEqual(self.do(b"CLOSE"), [b"a OK Completed"])

    def test_a_large_message(self) -> None:
        """It is sent octet by octet, and never joined to what is around it."""
        data = MESSAGE + b"x" * 76 + b"\r\n" * 50_000
        fill(self.state, 1, data)
        fill(self.state, 1)
        self.do(b"SELECT INBOX")
        self.client.send(b"a FETCH 1:2 (BODY.PEEK[] BODY.PEEK[TEXT]<0.3>)\r\n")
        self.assertEqual(
            self.client.receive(),
            b"* 1 FETCH (BODY[] {%d}\r\n%b BODY[TEXT]<0> {3}\r\nbod)\r\n" % (len(data), data)
            + b"* 2 FETCH (BODY[] {%d}\r\n%b BODY[TEXT]<0> {3}\r\nbod)\r\na OK Completed\r\n" % (len(MESSAGE), MESSAGE),
        )

    def test_a_header_too_large_to_cache(self) -> None:
        """HEADER.FIELDS comes from the message, then."""
        data = b"To: " + b",\r\n ".join(b"user%d@example.com" % n for n in range(3000)) + b"\r\nSubject: s\r\n\r\nx\r\n"
        fill(self.state, 1, data)
        self.do(b"SELECT INBOX")
        answer = self.do(b"FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject)]")
        self.assertEqual(
            answer, [b"* 1 FETCH (BODY[HEADER.FIELDS (Subject)] {14}", b"Subject: s", b"", b")", b"a OK Completed"]
        )
        answer = self.do(b"FETCH 1 BODY.PEEK[HEADER.FIELDS (Subject X-Other)]<2.4>")
        self.assertEqual(answer[:2], [b"* 1 FETCH (BODY[HEADER.FIELDS (Subject X-Other)]<2> {4}", b"bjec)"])

    def test_nul_needs_a_literal8(self) -> None:
        data = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nAGEA\r\n"
        fill(self.state, 1, data)
        self.do(b"SELECT INBOX")
        self.assertEqual(self.do(b"FETCH 1 BINARY.PEEK[1]")[:2], [b"* 1 FETCH (BINARY[1] ~{3}", b"\0a\0)"])

    def test_a_slow_reader_costs_bounded_memory(self) -> None:
        """FETCH of everything waits for the client (abuse: a slow reader of a large FETCH)."""
        fill(self.state, 20_000)
        self.do(b"SELECT INBOX")
        self.client.transport.window = 100_000
        self.client.send(b"a FETCH 1:* (UID FLAGS ENVELOPE)\r\n")
        received, most = b"", 0
        for _ in range(10_000):
            most = max(most, len(self.client.pending()))
            received += self.client.receive()
            self.client.settle()
            if received.endswith(b"a OK Completed\r\n"):
                break
        self.assertEqual(len(re.findall(rb"\* \d+ FETCH ", received)), 20_000)
        self.assertLess(most, 500_000)

    def test_it_need_not_wait(self) -> None:
        """A short FETCH, STORE and NOOP are answered in the stack of the octets' arrival."""
        fill(self.state, 50)
        self.do(b"SELECT INBOX")
        for command in (b"FETCH 1:* (UID FLAGS)", b"FETCH 1 BODY[]", b"STORE 1:* +FLAGS.SILENT (a)", b"NOOP"):
            self.client.protocol.dataReceived(b"a " + command + b"\r\n")
            self.assertTrue(self.client.receive().endswith(b"a OK Completed\r\n"), command)

    def test_changes_made_by_reading_are_told(self) -> None:
        fill(self.state, 2, flags=SEEN)
        fill(self.state, 1)
        self.do(b"SELECT INBOX")
        self.assertEqual(self.do(b"FETCH 2 BODY[TEXT]")[0], b"* 2 FETCH (BODY[TEXT] {6}")
        self.assertEqual(
            self.do(b"FETCH 3 BODY[HEADER.FIELDS (X)]")[0],
            rb"* 3 FETCH (FLAGS (\Recent \Seen) BODY[HEADER.FIELDS (X)] {2}",
        )
        self.assertEqual(self.state.messages[2].flags, SEEN)

    def test_sequence_bombs(self) -> None:
        """Thousands of overlapping sets are answered once for each message (abuse: sequence sets)."""
        fill(self.state, 100)
        self.do(b"SELECT INBOX")
        answer = self.do(b"FETCH " + b",".join([b"1:*"] * 10_000) + b" UID")
        self.assertEqual(len(answer), 101)
        self.assertEqual(self.do(b"UID FETCH 4294967295:* UID"), [b"* 100 FETCH (UID 100)", b"a OK Completed"])


class StoreTests(CommandCase):
    """STORE with rights that do not suffice, and limits."""

    def test_flags_without_right(self) -> None:
        """A client that asked for silence is told what it could not know."""
        self.client = self.connect(b"bob")
        fill(self.store.states[MailboxName("", None, ("news",))], 1)
        answer = self.do(b'SELECT "Shared Folders/news"')
        self.assertIn(rb"* OK [PERMANENTFLAGS (\Answered \Flagged \Draft \Seen \*)] Ok", answer)
        self.assertEqual(
            self.do(rb"STORE 1 +FLAGS.SILENT (\Seen \Deleted)"),
            [rb"* 1 FETCH (FLAGS (\Recent \Seen))", b"a OK Completed"],
        )
        self.assertEqual(self.do(b"EXPUNGE"), [b"a NO [NOPERM] Permission denied"])
        self.assertEqual(self.do(b"MOVE 1 INBOX"), [b"a NO [NOPERM] Permission denied"])

    def test_a_mailbox_that_may_only_be_read(self) -> None:
        answer = self.do(b'SELECT "Shared Folders/news"')
        self.assertIn(rb"* OK [PERMANENTFLAGS (\Seen)] Ok", answer)
        self.assertEqual(answer[-1], b"a OK [READ-WRITE] Completed")
        self.store.states[MailboxName("", None, ("news",))].acl = Acl((("anyone", frozenset("lr")),))
        answer = self.do(b'SELECT "Shared Folders/news"')
        self.assertIn(rb"* OK [PERMANENTFLAGS ()] Ok", answer)
        self.assertEqual(answer[-1], b"a OK [READ-ONLY] Completed")

    def test_many_messages(self) -> None:
        """They are changed in blocks; between two of them others have their turn."""
        self.patch(store_command, "MANY_TOLD", 2)
        fill(self.state, 5)
        self.do(b"SELECT INBOX")
        self.client.protocol.dataReceived(b"a STORE 1:* +FLAGS (\\Flagged)\r\n")
        answer = self.client.receive()
        self.assertLess(answer.count(b"FETCH"), 5)
        self.state.messages = [message for message in self.state.messages if message.uid != 4]
        self.state.membership_changed()
        for _ in range(5):
            self.client.settle()
        answer += self.client.receive()
        self.assertEqual(answer.count(b"FETCH (FLAGS (\\Recent \\Flagged))"), 4)
        self.assertTrue(answer.endswith(b"a OK [EXPUNGEISSUED] Some of the messages no longer exist\r\n"), answer)
        self.assertEqual([message.flags for message in self.state.messages], [FLAGGED] * 4)

    def test_too_many_keywords(self) -> None:
        fill(self.state, 1)
        self.do(b"SELECT INBOX")
        self.do(b"STORE 1 +FLAGS.SILENT (%b)" % b" ".join(b"k%d" % number for number in range(128)))
        self.assertEqual(self.do(b"STORE 1 +FLAGS (one)")[-1], b"a NO [LIMIT] Too many user flags in mailbox")
        answer = self.do(b"SELECT INBOX")
        self.assertFalse(any(rb"\*" in line for line in answer if b"PERMANENTFLAGS" in line))


class AppendTests(CommandCase):
    """What no message may contain."""

    def append(self, data: bytes, mark: bytes = b"") -> bytes:
        self.client.send(b"a APPEND INBOX %b{%d+}\r\n%b\r\n" % (mark, len(data), data))
        return self.client.receive().split(b"\r\n")[-2]

    def test_contents(self) -> None:
        self.assertEqual(self.append(b"A: b\r\n\r\na\0b\r\n"), b"a NO [CANNOT] Message contains NUL characters")
        for data in (b"A: b\n\r\nx\r\n", b"A: b\r\n\r\nx\ny\r\n", b"A: b\n\r", b"\n"):
            self.assertEqual(self.append(data), b"a NO [CANNOT] Message contains bare newlines", data)
        self.assertEqual(self.state.messages, [])
        self.assertIn(b"APPENDUID", self.append(b"A: b\r\n\r\nx"))
        self.assertIn(b"APPENDUID", self.append(b"A: b\r\n\r\nends with CR CR LF\r\r\n"))
        self.assertIn(b"APPENDUID", self.append(b"A: b\r\n\r\nbare\nlf", b"~"))
        # RFC 3516 section 4.4: a part that says so may be binary; nothing else may.
        refusal = b"a NO [UNKNOWN-CTE] Can not process the binary data"
        self.assertEqual(self.append(b"A: b\r\n\r\na\0b\r\n", b"~"), refusal)

    def test_binary(self) -> None:
        """It is kept in base64, and decodes to what it was."""
        binary = b"Content-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\na\0\nb"
        self.assertIn(b"APPENDUID", self.append(binary, b"~"))
        self.do(b"SELECT INBOX")
        self.assertEqual(
            self.do(b"FETCH 1 BINARY.PEEK[1]")[:3], [b"* 1 FETCH (BINARY[1] ~{4}", b"a\0\nb)", b"a OK Completed"]
        )
        self.assertIn(b"YQAKYg==", b"".join(self.do(b"FETCH 1 BODY.PEEK[TEXT]")))

    def test_newlines_split_between_packets(self) -> None:
        for data, is_good in ((b"a\r\nb\r\n", True), (b"a\r\r\n", True), (b"a\nb\r\n", False)):
            for cut in range(len(data) + 1):
                incoming = IncomingMessage(MemoryStaged())
                incoming.write(data[:cut])
                incoming.write(data[cut:])
                if is_good:
                    incoming.check(is_binary=False)
                else:
                    self.assertRaises(MessageRejected, incoming.check, is_binary=False)
                incoming.check(is_binary=True)

    def test_over_quota(self) -> None:
        """None of several messages is added."""
        self.state.quota = 20
        data = b"A: b\r\n\r\nx\r\n"
        self.client.send(b"a APPEND INBOX {11+}\r\n%b {11+}\r\n%b\r\n" % (data, data))
        self.assertEqual(self.client.receive(), b"a NO [OVERQUOTA] Over quota\r\n")
        self.assertEqual(self.state.messages, [])
