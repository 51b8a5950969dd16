"""Commands that are nearly right, by the hundred: each is answered, once, and nothing breaks."""

from __future__ import annotations

import contextlib
import random
import re
from pathlib import Path
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.imap.commands.table import COMMANDS
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, ImapServer, MailServer, open_mail_server

ROUNDS = 1500
SEED = 20_210_830

MESSAGE = b"Subject: hello\r\nFrom: <a@example.com>\r\n\r\ntext\r\n"

CORPUS = (
    b"NOOP",
    b"CAPABILITY",
    b"CHECK",
    b"ENABLE CONDSTORE QRESYNC IMAP4rev2",
    b'ID ("name" "x" "version" NIL)',
    b"NAMESPACE",
    b'LIST "" "*"',
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" ("*" "%/%") RETURN (CHILDREN STATUS (MESSAGES SIZE))',
    b'LSUB "" "%"',
    b"CREATE Folder/Sub",
    b"CREATE Sent (USE (\\Sent))",
    b"RENAME Folder Other",
    b"SUBSCRIBE Folder",
    b"UNSUBSCRIBE Folder",
    b"DELETE Folder/Sub",
    b"STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ)",
    b"SELECT INBOX",
    b"SELECT INBOX (QRESYNC (1 1 1:10 (1 1)))",
    b"EXAMINE INBOX (CONDSTORE)",
    b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE MODSEQ)",
    b"FETCH 1 (BODY[] BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]<0.10> BODY[1.MIME] RFC822)",
    b"FETCH 1:2 ALL (CHANGEDSINCE 1)",
    b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)",
    b"UID FETCH 1,2,3:4 BINARY.PEEK[1]",
    b"STORE 1:2 +FLAGS.SILENT (\\Seen \\Deleted $Junk)",
    b"UID STORE 1:* (UNCHANGEDSINCE 12345) -FLAGS (\\Seen)",
    b"STORE 1 FLAGS ()",
    b'SEARCH RETURN (MIN MAX COUNT ALL) OR (FROM "a" NOT SEEN) 1:5 UID 1:* SINCE 1-Feb-2020 LARGER 10',
    b'UID SEARCH CHARSET UTF-8 TEXT {3+}\r\nabc HEADER Subject "hello" MODSEQ 1',
    b"SEARCH $",
    b"COPY 1 Other",
    b"UID MOVE 1:2 Other",
    b"UID EXPUNGE 1:*",
    b"EXPUNGE",
    b"CLOSE",
    b"UNSELECT",
    b"GETACL INBOX",
    b"ESEARCH IN (selected mailboxes (INBOX a) subtree-one INBOX) RETURN (COUNT PARTIAL 1:2) UNSEEN",
    b"UID SEARCH RETURN (ALL UPDATE CONTEXT) UNSEEN",
    b'CANCELUPDATE "t1" "t2"',
    b"NOTIFY SET STATUS (selected (MessageNew (FLAGS) MessageExpunge)) (personal (MailboxName SubscriptionChange))",
    b"NOTIFY SET (subtree (INBOX a) (MessageNew MessageExpunge FlagChange)) (subscribed NONE)",
    b'LIST "" % RETURN (METADATA (/shared/comment) STATUS (MESSAGES))',
    b'APPEND INBOX (\\Seen) "01-Jan-2020 00:00:00 +0000" {%d+}\r\n%b' % (len(MESSAGE), MESSAGE),
)
PIECES: tuple[bytes, ...] = (
    b"(",
    b")",
    b" ",
    b'"',
    b"\\",
    b"*",
    b"%",
    b"[",
    b"]",
    b"<",
    b"0",
    b"4294967295",
    b"99999999999",
    b"\xff",
    b"\0",
)
PIECES += (b":", b",", b"$", b"NIL", b"{3+}\r\nxyz", b"~{1+}\r\n\0", b"{0+}\r\n", b"&", b"/", b"..", b"UID", b"-", b"+")


def mutate(rng: random.Random, command: bytes) -> bytes:
    """Change a command in a few places; its literals stay literals."""
    if b"{" in command:
        return command
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        place = rng.randrange(len(command) + 1)
        end = place + rng.choice((0, 0, 1, 3))
        command = command[:place] + rng.choice(PIECES) + command[end:]
        if b"{" in command:
            break
    return command


class FuzzTests(TestCase):
    """Against the real store."""

    def test_every_command_is_answered(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._fuzz())

    async def _fuzz(self) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        server = await open_mail_server(directory, reactor=cast(WatchReactor, reactor))
        try:
            await self._talk(server)
        finally:
            await server.shut_down()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def _talk(self, server: MailServer) -> None:
        rng = random.Random(SEED)
        client = await self._connect(server)
        for number in range(ROUNDS):
            tag = b"t%d" % number
            command = mutate(rng, rng.choice(CORPUS))
            client.send(tag + b" " + command + b"\r\n")
            heard = await self._answer(client, tag)
            self.assertNotIn(b"Fatal error", heard, command)
            if client.is_closed:
                self.assertRegex(heard, rb"\* BYE (LOGOUT|\[TOOBIG\])", command)
                client = await self._connect(server)
            elif rng.random() < 0.1:
                client.send(b"s%d SELECT INBOX\r\n" % number)
                await self._answer(client, b"s%d" % number)

    async def _connect(self, server: MailServer) -> Client:
        client = server.connect()
        await client.receive_line()
        await server.log_in(client, "alice")
        return client

    async def _answer(self, client: Client, tag: bytes) -> bytes:
        lines: list[bytes] = []
        while True:
            line = await client.receive_line()
            self.assertTrue(line is not None or client.is_closed, (tag, lines))
            if line is None:
                break
            lines.append(line)
            if line.startswith((tag + b" ", b"* BAD ")):
                break
        # After NOTIFY something may be told at any time.
        if not client.is_closed and client.protocol.session.telling.notices is None:
            self.assertEqual(client.pending(), b"")
        return b"\n".join(lines)


class GarbageTests(SynchronousTestCase):
    """Whatever octets come."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(
        st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([*PIECES, *CORPUS, b"\r\n", b"a1 "]))), st.booleans()
    )
    def test_sessions_survive_or_say_goodbye(self, pieces: list[bytes], is_logged_in: bool) -> None:
        server = ImapServer()
        client = server.connect()
        client.receive()
        if is_logged_in:
            client.send(b"l LOGIN alice secret\r\n")
            client.receive()
        for piece in pieces:
            client.send(piece)
        heard = client.receive()
        self.assertNotIn(b"Fatal error", heard)
        self.assertTrue(not client.is_closed or re.search(rb"^\* BYE ", heard, re.MULTILINE))
        server.close()
        self.assertEqual(self.flushLoggedErrors(), [])

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.sampled_from([row for row in COMMANDS if row.parser is not None]), st.data())
    def test_parsers_raise_bad_syntax_only(self, row: object, data: st.DataObject) -> None:
        parser = row.parser  # type: ignore[attr-defined] # sampled from the table
        words = st.sampled_from(
            [piece for piece in PIECES if b"{" not in piece] + [b"INBOX", b"1:*", b"FLAGS", b"BODY["]
        )
        text = b" " + b"".join(data.draw(st.lists(st.one_of(words, st.binary(max_size=5)), max_size=12)))
        with contextlib.suppress(BadSyntax):
            parser(Cursor([text]))
