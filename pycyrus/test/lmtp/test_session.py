"""LMTP as a client sees it: delivery, login, TLS, limits."""

import errno
from base64 import b64encode
from email import message_from_bytes
from email.message import Message
from typing import cast
from unittest.mock import Mock, patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import OverQuota, StoreFull, StoreUnavailable
from pycyrus.model.names import MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.net.limits import LimitSettings
from pycyrus.test.delivery.doubles import MemoryStore
from pycyrus.test.lmtp.driver import Connection, well_formed

SUCCESS = "250 2.1.5 Success SESSIONID=<ID>"
UNKNOWN = [
    "550-5.1.1 There is no such mailbox, or it may not be seen from here",
    "550 5.1.1 User unknown SESSIONID=<ID>",
]


def two_users() -> MemoryStore:
    store = MemoryStore()
    store.add_user("fred")
    store.add_user("jane")
    return store


def bodies(store: MemoryStore, user: str) -> list[bytes]:
    """Messages in an INBOX, without the fields that delivery put before them."""
    return [
        message.partition(b"X-Sieve: CMU Sieve 3.0\r\n")[2] for message in store.mailboxes[MailboxName("", user, ())]
    ]


TRANSACTION = (
    b"LHLO mx.test\r\nMAIL FROM:<a@example.org> SIZE=30\r\nRCPT TO:<fred@mail.test>\r\nRCPT TO:<nobody@mail.test>\r\n"
    b"RCPT TO:<jane>\r\nDATA\r\nMessage-ID: <1@x>\r\nDate: Thu, 20 Nov 2025 12:00:00 +0000\r\n\r\n"
    b"..dot\r\nbare\nlf\r\n.\r\nQUIT\r\n"
)
MESSAGE = b"Message-ID: <1@x>\r\nDate: Thu, 20 Nov 2025 12:00:00 +0000\r\n\r\n.dot\r\nbare\r\nlf\r\n"
ANSWERS = [
    "250-mail.test", "250-8BITMIME", "250-ENHANCEDSTATUSCODES", "250-PIPELINING", "250-CHUNKING",
    "250-BINARYMIME", "250-SMTPUTF8", "250-SIZE", "250-AUTH EXTERNAL", "250-IGNOREQUOTA", "250 Ok SESSIONID=<ID>",
    "250 2.1.0 ok", "250 2.1.5 ok", *UNKNOWN, "250 2.1.5 ok", "354 go ahead", SUCCESS, SUCCESS, "221 2.0.0 bye",
]  # fmt: skip


class DeliveryTests(SynchronousTestCase):
    def test_one_reply_for_each_accepted_recipient(self) -> None:
        """RFC 2033 section 4.2; all in one packet, as RFC 2920 allows."""
        connection = Connection(two_users())
        self.assertEqual(connection.read(), ["220 mail.test Cyrus LMTP server ready"])
        self.assertEqual(connection.send(TRANSACTION), ANSWERS)
        self.assertTrue(connection.closed)
        for user in ("fred", "jane"):
            self.assertEqual(bodies(connection.store, user), [MESSAGE])

    def test_cuts_change_nothing(self) -> None:
        for pieces in (
            *((TRANSACTION[:i], TRANSACTION[i:]) for i in range(1, len(TRANSACTION))),
            [TRANSACTION[i : i + 1] for i in range(len(TRANSACTION))],
        ):
            connection = Connection(two_users())
            connection.read()
            said = [line for piece in pieces for line in connection.send(piece)]
            self.assertEqual(said, ANSWERS)
            self.assertEqual(bodies(connection.store, "jane"), [MESSAGE])

    def test_replies_come_in_the_order_of_recipients_with_each_its_own(self) -> None:
        store = two_users()
        full = store.add_user("full")
        broken = store.add_user("broken")
        store.append_errors = {full: OverQuota(), broken: StoreUnavailable("EIO")}
        connection = Connection(store)
        connection.lines(
            "LHLO x", "MAIL FROM:<>", "RCPT TO:<full>", "RCPT TO:<jane>", "RCPT TO:<broken>", "RCPT TO:<fred>"
        )
        self.assertEqual(
            connection.lines("DATA", "", "x", ".")[1:],
            [
                "452 4.2.2 Over quota SESSIONID=<ID>",
                SUCCESS,
                "451 4.3.0 System I/O error SESSIONID=<ID>",
                SUCCESS,
            ],
        )
        self.assertEqual([len(store.mailboxes[n]) for n in (full, broken)], [0, 0])

    def test_acknowledged_only_when_the_store_has_said_so(self) -> None:
        store = two_users()
        store.held = []
        connection = Connection(store)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>")
        self.assertEqual(connection.lines("DATA", "", "x", ".", "NOOP"), ["354 go ahead"])
        # Both appends are under way, so that they can share a commit.
        first, second = store.held
        second.callback(None)
        self.assertEqual(connection.read(), [])
        first.callback(None)
        self.assertEqual(connection.read(), [SUCCESS, SUCCESS, "250 2.0.0 ok"])

    def test_a_lost_connection_does_not_stop_a_commit(self) -> None:
        store = two_users()
        store.held = []
        connection = Connection(store)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", "x", ".")
        connection.lose()
        self.assertFalse(store.staged[0].discarded)
        store.held[0].callback(None)
        self.assertEqual(len(store.mailboxes[MailboxName("", "fred", ())]), 1)
        self.assertTrue(store.staged[0].discarded)
        self.assertEqual(store.openings, 0)

    def test_a_lost_connection_leaves_nothing_behind(self) -> None:
        for count in range(1, 8):
            store = two_users()
            connection = Connection(store)
            lines = ("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA", "Subject: x", "text")
            connection.lines(*lines[:count])
            connection.lose()
            self.assertEqual([staged.discarded for staged in store.staged], [True] * len(store.staged))
            self.assertEqual(store.openings, 0)
            self.assertEqual(bodies(store, "fred"), [])
            self.assertEqual(connection.clock.getDelayedCalls(), [])

    def test_disk_errors_in_mid_transaction(self) -> None:
        """Abuse case 34: a temporary failure for each recipient, and nothing visible."""
        for error, reply in (
            (StoreFull(), "451 4.3.1 No room on the file system SESSIONID=<ID>"),
            (StoreUnavailable(), "451 4.3.0 System I/O error SESSIONID=<ID>"),
        ):
            for place in ("write", "finish"):
                store = two_users()
                connection = Connection(store)
                connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA", "A: b", "", "x")
                if place == "write":
                    store.write_errors["default"] = error
                else:
                    store.errors["finish"] = error
                self.assertEqual(connection.lines("y", "."), [reply, reply])
                self.assertEqual(bodies(store, "fred") + bodies(store, "jane"), [])
                # The connection lives, and once the disk does, so does mail.
                store.write_errors.clear()
                store.errors.clear()
                self.assertEqual(connection.lines("MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", "x", ".")[-1], SUCCESS)

    def test_disk_errors_before_the_body(self) -> None:
        store = two_users()
        connection = Connection(store)
        store.open_errors[MailboxName("", "jane", ())] = StoreUnavailable()
        store.errors["stage"] = StoreFull()
        self.assertEqual(
            connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<jane>", "RCPT TO:<fred>", "DATA", "NOOP")[12:],
            [
                "250 2.1.0 ok",
                "451 4.3.0 System I/O error SESSIONID=<ID>",
                "250 2.1.5 ok",
                "451 4.3.1 No room on the file system SESSIONID=<ID>",
                "250 2.0.0 ok",
            ],
        )

    def test_an_unexpected_error_of_one_delivery_is_temporary(self) -> None:
        store = two_users()
        store.append_errors[MailboxName("", "fred", ())] = RuntimeError("bug")
        connection = Connection(store)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA")
        self.assertEqual(connection.lines("", "x", "."), ["451 4.3.0 System I/O error SESSIONID=<ID>", SUCCESS])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_smuggling(self) -> None:
        """Abuse case 11: no other line ends make an end of message or a second envelope."""
        for form in (b"\n.\n", b"\r\n.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\n "[:4]):
            connection = Connection(two_users())
            connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA")
            inside = b"\r\nx" + form + b"MAIL FROM:<evil>\nRCPT TO:<jane>\nDATA\nevil\n.\n"
            self.assertEqual(connection.send(inside), [], form)
            self.assertEqual(connection.send(b"\r\n.\r\n"), [SUCCESS], form)
            self.assertEqual(len(bodies(connection.store, "fred")), 1)
            self.assertEqual(bodies(connection.store, "jane"), [])
            self.assertIn(b"evil", bodies(connection.store, "fred")[0])

    def test_nul_is_refused(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA")
        reply = "554 5.6.0 Message contains NUL characters SESSIONID=<ID>"
        self.assertEqual(connection.send(b"\r\na\0b\r\n.\r\n"), [reply, reply])

    def test_too_big(self) -> None:
        """Abuse case 12: a size that is a lie costs nothing and ends nothing."""
        connection = Connection(two_users(), max_message_size=1000)
        self.assertIn("250-SIZE 1000", connection.lines("LHLO x"))
        self.assertEqual(
            connection.lines("MAIL FROM:<> SIZE=1001"),
            ["552 5.2.3 Message SIZE exceeds fixed maximum message size (1000)"],
        )
        connection.lines("MAIL FROM:<> SIZE=1", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA")
        for _ in range(100):
            self.assertEqual(connection.send(b"\r\n" + b"a" * 98), [])
        self.assertLess(connection.store.staged[0].size, 2000)
        self.assertTrue(connection.store.staged[0].discarded)
        reply = "552 5.2.3 Message size (10002) exceeds fixed maximum message size (1000)"
        self.assertEqual(connection.send(b"\r\n.\r\nNOOP\r\n"), [reply, reply, "250 2.0.0 ok"])
        self.assertEqual(connection.store.openings, 0)

    def test_declared_size_larger_than_sent(self) -> None:
        connection = Connection(two_users(), max_message_size=1000)
        self.assertEqual(
            connection.lines("LHLO x", "MAIL FROM:<> SIZE=900", "RCPT TO:<fred>", "DATA", "", "x", ".")[-1], SUCCESS
        )

    def test_body_is_streamed(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<jane>", "DATA", "Subject: x", "")
        line = b"x" * 998 + b"\r\n"
        for count in range(1, 200):
            connection.send(line * 10)
            self.assertGreater(connection.store.staged[0].size, count * 10_000 - 100)
        self.assertEqual(len(connection.store.staged), 1)

    def test_session_ids(self) -> None:
        connection = Connection(two_users())
        first = connection.protocol.session.session_id
        self.assertRegex(first, r"^mail\.test-\d+-\d+-\d+-\d+$")
        connection.raw()
        connection.protocol.dataReceived(b"LHLO x\r\n")
        self.assertIn(f"SESSIONID=<{first}>".encode(), connection.raw())
        connection.protocol.dataReceived(b"RSET\r\n")
        self.assertEqual(
            connection.raw().decode(), f"250 2.0.0 Ok SESSIONID=<{connection.protocol.session.session_id}>\r\n"
        )
        self.assertNotEqual(connection.protocol.session.session_id, first)


class ChunkTests(SynchronousTestCase):
    """RFC 3030."""

    def deliver(self, chunks: list[bytes], cut: int = 1 << 20) -> tuple[list[str], list[bytes]]:
        connection = Connection(two_users())
        stream = b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<fred>\r\n"
        for number, chunk in enumerate(chunks, 1):
            stream += b"BDAT %d%b\r\n%b" % (len(chunk), b" LAST" * (number == len(chunks)), chunk)
        stream += b"NOOP\r\n"
        answers = [answer for i in range(0, len(stream), cut) for answer in connection.send(stream[i : i + cut])]
        return answers[-len(chunks) - 1 :], connection.store.mailboxes[MailboxName("", "fred", ())]

    def test_any_cut_gives_the_same_message(self) -> None:
        text = b"Message-ID: <1@x>\r\nDate: x\r\n\r\n.\r\n..\r\nQUIT\r\n.\r\nno end"
        for at in range(0, len(text), 5):
            for cut in (1, 7, 1 << 20):
                answers, (message,) = self.deliver([text[:at], text[at:]], cut)
                self.assertEqual(answers, [f"250 2.0.0 {at} octets received", SUCCESS, "250 2.0.0 ok"])
                self.assertTrue(message.endswith(text))

    def test_line_ends_are_mended_as_with_data(self) -> None:
        _, (message,) = self.deliver([b"Subject: x\r", b"\n\r\nbare\nlf\r", b""])
        self.assertTrue(message.endswith(b"bare\r\nlf"), message)

    def test_not_with_data(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "BDAT 3", "a")
        self.assertEqual(connection.lines("DATA"), ["503 5.5.1 Not permitted between BDAT commands"])
        self.assertEqual(connection.lines("RCPT TO:<jane>"), ["503 5.5.1 Not permitted between BDAT commands"])
        self.assertEqual(connection.lines("BDAT 0 LAST"), [SUCCESS])

    def test_octets_of_a_refused_chunk_are_no_commands(self) -> None:
        for unix, refusal in ((True, "503 5.5.1 No recipients"), (False, "430 4.7.0 Authentication required")):
            connection = Connection(two_users(), unix=unix)
            connection.lines("LHLO x")
            self.assertEqual(connection.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), [refusal, "250 2.0.0 ok"])

    def test_a_size_that_is_none_ends_the_connection(self) -> None:
        for size in (b"x", b"-1", b"1 FIRST", b"9" * 21, b""):
            connection = Connection(two_users())
            connection.read()
            self.assertEqual(connection.send(b"BDAT %b\r\nNOOP\r\n" % size), ["501 5.5.4 Syntax error in parameters"])
            self.assertTrue(connection.closed)

    def test_too_big(self) -> None:
        connection = Connection(two_users(), max_message_size=10)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>")
        self.assertEqual(
            connection.send(b"BDAT 20 LAST\r\n" + b"x" * 20),
            ["552 5.2.3 Message size (20) exceeds fixed maximum message size (10)"],
        )


class BinaryTests(SynchronousTestCase):
    """RFC 3030 section 3."""

    HEAD = (
        b"Message-ID: <1@x>\r\nDate: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n"
        b"--q\r\n\r\nplain\nlf\r\n--q\r\nContent-Type: image/x\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    )

    def deliver(self, text: bytes, chunk: int, most: int = 0) -> tuple[list[str], list[bytes], Connection]:
        connection = Connection(two_users(), max_message_size=most)
        connection.lines("LHLO x", "MAIL FROM:<> BODY=BINARYMIME", "RCPT TO:<fred>", "RCPT TO:<jane>")
        chunks = [text[at : at + chunk] for at in range(0, len(text), chunk)]
        answers: list[str] = []
        for number, octets in enumerate(chunks, 1):
            answers = connection.send(b"BDAT %d%b\r\n" % (len(octets), b" LAST" * (number == len(chunks))) + octets)
        for _ in range(len(text) // 500_000 + 1):
            connection.clock.advance(0)
        answers += connection.read()
        return answers, connection.store.mailboxes[MailboxName("", "fred", ())], connection

    def test_any_octets_arrive(self) -> None:
        content = bytes(range(256)) * 3 + b"\r\n.\r\nbare\n\r--qq"
        for chunk in (1, 7, 1 << 20):
            answers, (message,), connection = self.deliver(self.HEAD + content + b"\r\n--q--\r\n", chunk)
            self.assertEqual(answers, [SUCCESS, SUCCESS])
            self.assertNotIn(b"\0", message)
            plain, binary = cast("list[Message]", message_from_bytes(message).get_payload())
            self.assertEqual(plain.get_payload(), "plain\r\nlf")
            self.assertEqual(binary.get_payload(decode=True), content)
            self.assertEqual(connection.store.openings, 0)

    def test_large(self) -> None:
        """It goes to a file, and on in pieces."""
        content = bytes(range(256)) * 8000
        answers, (message,), _ = self.deliver(self.HEAD + content + b"\r\n--q--\r\n", 300_000)
        self.assertEqual(answers, [SUCCESS, SUCCESS])
        _, binary = cast("list[Message]", message_from_bytes(message).get_payload())
        self.assertEqual(binary.get_payload(decode=True), content)

    def test_nul_without_a_label(self) -> None:
        answers, kept, _ = self.deliver(b"Subject: x\r\n\r\na\0b\r\n", 1 << 20)
        self.assertEqual(answers, ["554 5.6.0 Message contains NUL characters SESSIONID=<ID>"] * 2)
        self.assertEqual(kept, [])

    def test_too_big(self) -> None:
        answers, kept, _ = self.deliver(b"x" * 20, 1 << 20, most=10)
        self.assertEqual(answers, ["552 5.2.3 Message size (20) exceeds fixed maximum message size (10)"] * 2)
        self.assertEqual(kept, [])

    def test_no_room_for_it(self) -> None:
        """Where it cannot wait, all recipients are to be tried again."""
        full = Mock(side_effect=OSError(errno.ENOSPC, "full"))
        with patch("tempfile.SpooledTemporaryFile.rollover", full):
            answers, kept, _ = self.deliver(b"Subject: x\r\n\r\n" + b"x" * 300_000, 1 << 20)
        self.assertEqual(answers, ["451 4.3.0 System I/O error SESSIONID=<ID>"] * 2)
        self.assertEqual(kept, [])

    def test_not_with_data(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x", "MAIL FROM:<> BODY=BINARYMIME", "RCPT TO:<fred>")
        self.assertEqual(connection.lines("DATA"), ["503 5.5.1 BODY=BINARYMIME requires BDAT"])

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.sampled_from([HEAD, b"\0", b"\r\n", b"--q\r\n", b"--q--", b":", b"\xff"])))
    def test_whatever_comes(self, pieces: list[bytes]) -> None:
        answers, _, connection = self.deliver(b"".join(pieces) or b"x", 1 << 20)
        self.assertEqual([answer[0] in "25" for answer in answers], [True, True])
        self.assertEqual(connection.store.openings, 0)


class Utf8Tests(SynchronousTestCase):
    """RFC 6531."""

    def test_addresses_and_fields(self) -> None:
        connection = Connection(two_users())
        sent = "LHLO x\r\nMAIL FROM:<jos\u00e9@b\u00fccher.example> SMTPUTF8\r\n"
        sent += "RCPT TO:<fred+Entw\u00fcrfe>\r\nDATA\r\n"
        body = "Message-ID: <1@x>\r\nDate: x\r\nSubject: gr\u00fc\u00dfe\r\n\r\n.\r\n"
        self.assertEqual(connection.send((sent + body).encode())[-1], SUCCESS)
        (message,) = connection.store.mailboxes[MailboxName("", "fred", ())]
        self.assertIn("Return-Path: <jos\u00e9@b\u00fccher.example>\r\n".encode(), message)
        self.assertIn("Subject: gr\u00fc\u00dfe\r\n".encode(), message)
        self.assertIn(b" with UTF8LMTPA;", message)

    def test_only_where_it_was_said(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x")
        bad = ["501 5.5.4 Syntax error in parameters"]
        self.assertEqual(connection.send("MAIL FROM:<jos\u00e9@x>\r\n".encode()), bad)
        self.assertEqual(connection.send(b"MAIL FROM:<\xff@x> SMTPUTF8\r\n"), bad)
        self.assertEqual(connection.send(b'MAIL FROM:<"\xc3\xa9> SMTPUTF8 x"@x>\r\n'), bad)
        connection.lines("MAIL FROM:<>")
        self.assertEqual(connection.send("RCPT TO:<jos\u00e9>\r\n".encode()), bad)


class DialogueTests(SynchronousTestCase):
    def test_order_of_commands(self) -> None:
        connection = Connection(two_users())
        connection.read()
        for line, reply in (
            ("RCPT TO:<fred>", "503 5.5.1 Need MAIL command"),
            ("DATA", "503 5.5.1 No recipients"),
            ("MAIL FROM:<a@b>", "250 2.1.0 ok"),
            ("MAIL FROM:<a@b>", "503 5.5.1 Nested MAIL command"),
            ("DATA", "503 5.5.1 No recipients"),
            ("RCPT TO:<nobody>", UNKNOWN[1]),
            ("DATA", "503 5.5.1 No recipients"),
            ("RSET", "250 2.0.0 Ok SESSIONID=<ID>"),
            ("RCPT TO:<fred>", "503 5.5.1 Need MAIL command"),
            ("noop anything", "250 2.0.0 ok"),
            ("VRFY fred", "252 2.3.3 Cannot VRFY user, but will accept message and attempt delivery"),
            ("HELO x", "502 5.5.1 Command not supported"),
            ("EHLO x", "502 5.5.1 Command not supported"),
            ("BDAT 3\r\na", "503 5.5.1 No recipients"),
            ("MAIL FROM:a@b", "501 5.5.4 Syntax error in parameters"),
            ("MAIL FROM:<a@b> FUTURE", "501 5.5.4 Unrecognized parameters"),
            ("DATA now", "501 5.5.4 Syntax error in parameters"),
            ("LHLO", "501 5.5.4 Syntax error in parameters"),
            ("", "500 5.5.2 Syntax error"),
            ("STARTTLS", "500 5.5.2 Syntax error"),
            ("NOOP \0", "500 5.5.2 Syntax error"),
            ("NOOP\nNOOP", "500 5.5.2 Syntax error"),
            ("NOOP\rNOOP", "500 5.5.2 Syntax error"),
        ):
            self.assertEqual(connection.lines(line)[-1:], [reply], line)

    def test_lhlo_forgets_the_transaction(self) -> None:
        connection = Connection(two_users())
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "LHLO y")
        self.assertEqual(connection.lines("RCPT TO:<fred>"), ["503 5.5.1 Need MAIL command"])
        self.assertEqual(connection.store.openings, 0)

    def test_long_lines_end_the_connection(self) -> None:
        """Abuse case 5."""
        connection = Connection(unix=False)
        connection.read()
        sent = 0
        while not connection.closed:
            connection.protocol.dataReceived(b"a" * 500)
            sent += 500
            self.assertLess(sent, 10_000)
        self.assertEqual(connection.read(), ["500 5.5.2 Line too long"])

    def test_too_many_recipients(self) -> None:
        connection = Connection(two_users(), max_recipients=2)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "RCPT TO:<nobody>", "RCPT TO:<jane>")
        self.assertEqual(connection.lines("RCPT TO:<jane>"), ["452 4.5.3 Too many recipients"])
        self.assertEqual(connection.lines("DATA", "", ".")[1:], [SUCCESS, SUCCESS])

    def test_refused_recipients_are_limited(self) -> None:
        connection = Connection(two_users(), max_recipients=2)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<nobody>", "RCPT TO:<nobody2>")
        self.assertEqual(connection.lines("RCPT TO:<fred>"), ["452 4.5.3 Too many recipients"])

    def test_too_many_errors(self) -> None:
        connection = Connection(max_errors=3)
        connection.read()
        self.assertEqual(connection.lines("A", "B", "C", "D", "NOOP")[-1], "421 4.7.0 bye Too many errors")
        self.assertTrue(connection.closed)

    def test_many_pipelined_commands_leave_others_their_turn(self) -> None:
        connection = Connection()
        connection.read()
        self.assertEqual(len(connection.lines(*["NOOP"] * 250)), 100)
        connection.clock.advance(0)
        connection.clock.advance(0)
        self.assertEqual(len(connection.read()), 150)

    def test_input_stops_while_a_command_waits(self) -> None:
        store = two_users()
        store.held = []
        connection = Connection(store)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", ".")
        self.assertEqual(connection.send(b"NOOP\r\n" * 20_000), [])
        self.assertEqual(connection.transport.producerState, "paused")
        store.held[0].callback(None)
        for _ in range(300):
            connection.clock.advance(0)
        self.assertEqual(connection.transport.producerState, "producing")
        self.assertEqual(len(connection.read()), 20_001)

    def test_who_does_not_read_is_not_read_from(self) -> None:
        connection = Connection()
        connection.read()
        self.assertIs(connection.transport.producer, connection.protocol)
        connection.protocol.pauseProducing()
        self.assertEqual(connection.send(b"NOOP\r\n" * 20_000), ["250 2.0.0 ok"])
        self.assertEqual(connection.transport.producerState, "paused")
        connection.protocol.resumeProducing()
        for _ in range(300):
            connection.clock.advance(0)
        self.assertEqual(connection.transport.producerState, "producing")
        self.assertEqual(len(connection.read()), 19_999)

    def test_who_never_reads_is_sent_away(self) -> None:
        connection = Connection(idle_timeout=300)
        connection.protocol.pauseProducing()
        connection.send(b"NOOP\r\n" * 10)
        connection.clock.advance(301)
        self.assertTrue(connection.closed)


class TimeTests(SynchronousTestCase):
    def test_silence(self) -> None:
        connection = Connection(idle_timeout=300)
        connection.read()
        connection.clock.advance(299)
        connection.send(b"NOOP\r\n")
        connection.clock.pump([150, 149])
        self.assertFalse(connection.closed)
        connection.clock.advance(2)
        self.assertEqual(connection.read(), ["421 4.4.1 bye Timed out"])
        self.assertTrue(connection.closed)

    def test_slow_senders(self) -> None:
        """Abuse case 13: an octet now and then does not keep a transaction for ever."""
        connection = Connection(two_users(), transaction_timeout=3600)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA")
        for _ in range(361):
            connection.send(b"a")
            connection.clock.advance(10)
        self.assertEqual(connection.read(), [])
        self.assertTrue(connection.closed)
        self.assertEqual(connection.store.openings, 0)
        self.assertTrue(connection.store.staged[0].discarded)

    def test_login_must_come_soon(self) -> None:
        connection = Connection(unix=False, login_timeout=60)
        connection.read()
        for _ in range(7):
            connection.send(b"NOOP\r\n")
            connection.clock.advance(9)
        self.assertTrue(connection.closed)

    def test_the_server_may_take_its_time(self) -> None:
        store = two_users()
        store.held = []
        connection = Connection(store, idle_timeout=10)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", ".")
        connection.clock.pump([5] * 10)
        self.assertFalse(connection.closed)
        store.held[0].callback(None)
        self.assertEqual(connection.read(), [SUCCESS])
        connection.clock.advance(5)
        self.assertFalse(connection.closed)

    def test_who_does_not_close_is_aborted(self) -> None:
        connection = Connection()
        connection.lines("QUIT")
        self.assertFalse(connection.transport.disconnected)
        connection.clock.advance(10)
        self.assertTrue(connection.transport.disconnected)

    def test_shutdown_answers_what_is_being_committed(self) -> None:
        store = two_users()
        store.held = []
        connection = Connection(store)
        connection.lines("LHLO x", "MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", ".")
        connection.factory.shut_down()
        self.assertFalse(connection.closed)
        store.held[0].callback(None)
        self.assertEqual(connection.read(), [SUCCESS, "421 4.3.2 Server shutting down"])
        self.assertTrue(connection.closed)

    def test_shutdown_of_an_idle_session(self) -> None:
        connection = Connection()
        connection.read()
        connection.factory.shut_down()
        self.assertEqual(connection.read(), ["421 4.3.2 Server shutting down"])
        connection.lose()
        self.assertEqual(connection.factory.sessions, set())


class AddressTests(SynchronousTestCase):
    def test_8bit_octets(self) -> None:
        """They are refused, or each becomes an X (C{lmtp_strict_rfc2821})."""
        strict = Connection(two_users())
        self.assertEqual(strict.send(b"LHLO x\r\n")[-1], "250 Ok SESSIONID=<ID>")
        self.assertTrue(strict.send(b"MAIL FROM:<fr\xe9d@x>\r\n")[-1].startswith("5"))
        lenient = Connection(two_users(), strict_rfc2821=False)
        lenient.send(b"LHLO x\r\n")
        self.assertEqual(lenient.send(b"MAIL FROM:<fr\xe9d@x>\r\n"), ["250 2.1.0 ok"])
        self.assertEqual(lenient.send(b"RCPT TO:<fred>\r\nDATA\r\n\r\n.\r\n")[-1], SUCCESS)
        (message,) = lenient.store.mailboxes[MailboxName("", "fred", ())]
        self.assertTrue(message.startswith(b"Return-Path: <frXd@x>\r\n"), message)


class LoginTests(SynchronousTestCase):
    PLAIN = b64encode(b"\0cyrus\0secret").decode()

    def test_no_mail_without_login(self) -> None:
        connection = Connection(two_users(), unix=False)
        self.assertIn("250-AUTH PLAIN", connection.lines("LHLO x"))
        self.assertEqual(connection.lines("MAIL FROM:<>"), ["430 4.7.0 Authentication required"])
        connection = Connection(two_users(), unix=False, soft_noauth=False)
        self.assertEqual(connection.lines("MAIL FROM:<>")[-1], "530 5.7.0 Authentication required")

    def test_login(self) -> None:
        for lines in ([f"AUTH PLAIN {self.PLAIN}"], ["AUTH PLAIN", self.PLAIN]):
            connection = Connection(two_users(), unix=False)
            self.assertEqual(connection.lines("LHLO x", *lines)[-1], "235 2.7.0 Authenticated!")
            self.assertNotIn("250-AUTH PLAIN", connection.lines("LHLO x"))
            self.assertEqual(connection.lines("AUTH PLAIN"), ["503 5.5.0 already authenticated"])
            self.assertEqual(connection.lines("MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", ".")[-1], SUCCESS)
            message = connection.store.mailboxes[MailboxName("", "fred", ())][0]
            self.assertIn(
                b"from x ([127.0.0.1])\r\n\t (authenticated user=cyrus bits=0)\r\n\t by mail.test (Cyrus) with LMTPA;",
                message,
            )

    def test_data_with_success_goes_out_as_a_challenge(self) -> None:
        """RFC 4954 section 4."""
        connection = Connection(unix=False)
        connection.read()
        challenge = "334 " + b64encode(b"v=proof").decode()
        self.assertEqual(connection.lines(f"AUTH X-DATA {self.PLAIN}"), [challenge])
        self.assertEqual(connection.lines(""), ["235 2.7.0 Authenticated!"])

    def test_failures(self) -> None:
        """Abuse case 16: one answer for unknown, wrong and not entitled; the session goes on."""
        failed = "535 5.7.8 authentication failed"
        connection = Connection(unix=False)
        connection.read()
        for lines, reply in (
            (["AUTH PLAIN " + b64encode(b"\0nobody\0secret").decode()], failed),
            (["AUTH PLAIN " + b64encode(b"\0cyrus\0wrong").decode()], failed),
            (["AUTH PLAIN " + b64encode(b"\0fred\0secret").decode()], failed),
            (["AUTH PLAIN", "*"], "501 5.7.0 Authentication cancelled"),
            (["AUTH PLAIN", "not base64"], "501 5.5.2 Cannot decode the response"),
            (["AUTH PLAIN ="], failed),
            (["AUTH NTLM"], "504 5.5.4 Unrecognized authentication type"),
            (["AUTH"], "501 5.5.4 Syntax error in parameters"),
        ):
            self.assertEqual(connection.lines(*lines)[-1], reply, lines)
            self.assertEqual(connection.lines("MAIL FROM:<>"), ["430 4.7.0 Authentication required"])

    def test_guessing_ends_the_connection(self) -> None:
        connection = Connection(unix=False, max_errors=5)
        connection.lines(*["AUTH PLAIN " + b64encode(b"\0cyrus\0wrong").decode()] * 10)
        self.assertTrue(connection.closed)

    def test_a_long_response_ends_the_connection(self) -> None:
        connection = Connection(unix=False)
        connection.read()
        connection.lines("AUTH PLAIN")
        self.assertEqual(connection.send(b"A" * 20_000), ["500 5.5.2 Line too long"])

    def test_room_for_tokens(self) -> None:
        """RFC 4954 section 4: an initial response may have 12288 octets with its command; other commands may not."""
        password = b"x" * 8000
        connection = Connection(unix=False)
        connection.read()
        self.assertEqual(
            connection.lines("auth PLAIN " + b64encode(b"\0cyrus\0" + password).decode()),
            ["535 5.7.8 authentication failed"],
        )
        for line in (b"NOOP " + password, b"AUTH PLAIN " + b"A" * 13_000):
            connection = Connection(unix=False)
            connection.read()
            self.assertEqual(connection.send(line), ["500 5.5.2 Line too long"])

    def test_external_on_a_trusted_connection(self) -> None:
        connection = Connection(two_users())
        connection.read()
        self.assertEqual(connection.lines("AUTH EXTERNAL ="), ["235 2.7.0 Authenticated!"])
        self.assertEqual(connection.lines("AUTH EXTERNAL", ""), ["334 ", "235 2.7.0 Authenticated!"])
        self.assertEqual(connection.lines("AUTH PLAIN ="), ["504 5.5.4 Unrecognized authentication type"])
        self.assertEqual(connection.lines("MAIL FROM:<>"), ["250 2.1.0 ok"])

    def test_a_domain_s_administrator_delivers_there_only(self) -> None:
        store = two_users()
        store.add_user("fred", "example.com")
        namespace = NamespaceSettings(virtdomains=VirtualDomains.USERID)
        connection = Connection(store, unix=False, delivery=DeliverySettings("mail.test", namespace=namespace))
        connection.lines("AUTH PLAIN " + b64encode(b"\0da\0secret").decode(), "MAIL FROM:<>")
        self.assertEqual(connection.lines("RCPT TO:<fred@example.com>"), ["250 2.1.5 ok"])
        self.assertEqual(connection.lines("RCPT TO:<fred@internal>"), UNKNOWN)

    def test_connections_per_address(self) -> None:
        """Abuse case 14."""
        connection = Connection(unix=False, limits=LimitSettings(per_address=2))
        connection.connect(False)
        transport = connection.connect(False)
        self.assertEqual(transport.value(), b"421 4.7.0 Too many connections\r\n")
        self.assertTrue(transport.disconnecting)


class TlsTests(SynchronousTestCase):
    CONTEXT = object()

    def test_offered_where_it_makes_sense(self) -> None:
        self.assertIn("250-STARTTLS", Connection(unix=False, tls=self.CONTEXT).lines("LHLO x"))
        self.assertNotIn("250-STARTTLS", Connection(unix=False).lines("LHLO x"))
        connection = Connection(unix=True, tls=self.CONTEXT)
        self.assertNotIn("250-STARTTLS", connection.lines("LHLO x"))
        self.assertEqual(connection.lines("STARTTLS"), ["503 5.5.0 STARTTLS not permitted now"])

    def test_nothing_from_before_survives(self) -> None:
        """Abuse cases 1 to 4."""
        connection = Connection(two_users(), unix=False, tls=self.CONTEXT)
        connection.lines("LHLO before")
        self.assertEqual(
            connection.lines("STARTTLS", "LHLO injected", "AUTH PLAIN " + LoginTests.PLAIN),
            ["220 2.0.0 Begin TLS negotiation now"],
        )
        self.assertIs(connection.transport.tls, self.CONTEXT)
        self.assertIsNone(connection.protocol.session.identity)
        self.assertEqual(connection.lines("STARTTLS"), ["503 5.5.0 STARTTLS not permitted now"])
        self.assertNotIn("250-STARTTLS", connection.lines("LHLO x"))
        connection.lines("AUTH PLAIN " + LoginTests.PLAIN, "MAIL FROM:<>", "RCPT TO:<fred>", "DATA", "", ".")
        self.assertIn(b"with LMTPSA;", connection.store.mailboxes[MailboxName("", "fred", ())][0])

    def test_tls_first(self) -> None:
        connection = Connection(unix=False, tls=self.CONTEXT, tls_required=True)
        self.assertNotIn("250-AUTH PLAIN", connection.lines("LHLO x"))
        reply = ["530 5.7.0 Must issue a STARTTLS command first"]
        self.assertEqual(connection.lines("AUTH PLAIN " + LoginTests.PLAIN), reply)
        self.assertEqual(connection.lines("MAIL FROM:<>"), reply)
        connection.lines("STARTTLS")
        self.assertEqual(connection.lines("AUTH PLAIN " + LoginTests.PLAIN), ["235 2.7.0 Authenticated!"])

    def test_not_after_login(self) -> None:
        connection = Connection(unix=False, tls=self.CONTEXT)
        connection.lines("AUTH PLAIN " + LoginTests.PLAIN)
        self.assertEqual(connection.lines("STARTTLS"), ["503 5.5.0 STARTTLS not permitted now"])


FRAGMENTS = st.one_of(
    st.sampled_from(
        [
            b"LHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<fred>\r\n", b"RCPT TO:<jane+x>\r\n", b"DATA\r\n",
            b".\r\n", b"\r\n.\r\n", b"RSET\r\n", b"AUTH PLAIN\r\n", b"AUTH EXTERNAL\r\n", b"*\r\n", b"STARTTLS\r\n",
            b"\r", b"\n", b".", b"NOOP\r\n", b"\0", b"A: b\r\n\r\n", b"Return-Path: <x>\r\n", b"VRFY\r\n",
            b"MAIL FROM:<> SIZE=5 AUTH=<>\r\n",
        ]
    ),
    st.binary(max_size=20),
)  # fmt: skip


class FuzzTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(FRAGMENTS, max_size=25), st.booleans(), st.sampled_from([0, 40]))
    def test_whatever_comes_in_replies_are_well_formed(self, pieces: list[bytes], unix: bool, limit: int) -> None:
        store = two_users()
        connection = Connection(store, unix=unix, tls=object(), max_message_size=limit)
        for piece in pieces:
            connection.protocol.dataReceived(piece)
        self.assertTrue(well_formed(connection.raw()))
        if not connection.closed:
            connection.lose()
        self.assertEqual(store.openings, 0)
        self.assertTrue(all(staged.discarded for staged in store.staged))
        self.assertEqual(self.flushLoggedErrors(), [])
