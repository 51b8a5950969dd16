"""Events of sessions: which are told for what users do, and with what in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import OverQuota
from pycyrus.imap.settings import ImapSettings
from pycyrus.interfaces import (
    Envelope,
    IDeliveryObserver,
    IEventSink,
    IMailbox,
    IMailStore,
    ISessionWatch,
    IStoreObserver,
    Recipient,
    SessionFacts,
)
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import inbox_of
from pycyrus.notices.arrivals import ArrivalEvents
from pycyrus.notices.kinds import Extra, Group
from pycyrus.notices.reporter import Reporter
from pycyrus.notices.settings import ContentMode, EventSettings
from pycyrus.notices.watch import StoreObserver
from pycyrus.testing.imap import ADMIN, Client, MailServer, open_mail_server

MESSAGE = (
    b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <fred@example.com>\r\n"
    b'Subject: hello\r\nMessage-ID: <B27397@Blurdybloop.example>\r\n\r\nThe body.\r\n'
)  # fmt: skip
URL = "imap://mail.test/user/alice;UIDVALIDITY=#"
ALICE = inbox_of(Identity("alice"))


class Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.is_closed = False

    def tell(self, event: Mapping[str, object]) -> None:
        self.events.append(dict(event))

    async def close(self) -> None:
        self.is_closed = True

    def take(self) -> list[dict[str, Any]]:
        """
        What came since, without what is the same everywhere.

        Numbers of UIDVALIDITY are left out; ids of mailboxes are counted, as they come.
        """
        taken, self.events = self.events, []
        for event in taken:
            assert event.pop("pid") == os.getpid()
            assert event.pop("serverFQDN") == "mail.test"
            if "mailboxID" in event:
                if event["mailboxID"] not in self.ids:
                    self.ids.append(event["mailboxID"])
                event["mailboxID"] = self.ids.index(event["mailboxID"])
            for key, value in event.items():
                if isinstance(value, str):
                    event[key] = re.sub(r"UIDVALIDITY=\d+", "UIDVALIDITY=#", value)
        return taken


class EventCase(TestCase):
    """A server whose events go to C{sink}."""

    async def serve(self, **settings: Any) -> Client:
        """Start one with alice logged in; the settings are those of L{EventSettings}."""
        from twisted.internet import reactor

        self.sink = Sink()
        self.server: MailServer = await open_mail_server(
            Path(self.mktemp()), ImapSettings(service="imap"), reactor=cast(Any, reactor)
        )
        self.addCleanup(self.server.shut_down)
        values = {"groups": frozenset(Group), "extras": frozenset(), **settings}
        self.reporter = Reporter(
            EventSettings("mail.test", **values), [cast(IEventSink, self.sink)], self.server.store, self.server.clock
        )
        self.addCleanup(self.reporter.close)
        observer = StoreObserver(self.reporter)
        verifyObject(IStoreObserver, observer)
        self.server.factory.parts = replace(self.server.factory.parts, watcher=cast(Any, observer))
        client = self.server.connect()
        await client.receive_line()
        await self.server.log_in(client, "alice")
        return client

    async def do(self, client: Client, command: bytes) -> list[dict[str, Any]]:
        """Send a command that succeeds; what it makes told."""
        self.sink.take()
        client.send(b"x " + command + b"\r\n")
        while (line := await client.receive_line()) is not None:
            if line.startswith(b"x "):
                self.assertTrue(line.startswith(b"x OK"), line)
                break
        return self.sink.take()

    async def append(self, client: Client, folder: bytes = b"INBOX", text: bytes = MESSAGE) -> list[dict[str, Any]]:
        return await self.do(client, b"APPEND %b {%d+}\r\n%b" % (folder, len(text), text))


class SessionEventTests(EventCase):
    async def test_login_and_logout(self) -> None:
        """They tell both ends of the connection, and nothing is told of a logout twice."""
        client = await self.serve()
        ends = {"serverDomain": "127.0.0.1", "serverPort": 143, "clientIP": "127.0.0.1", "clientPort": 40_000}
        login = {"event": "Login", "uri": "imap://mail.test", "user": "alice", **ends}
        self.assertEqual(self.sink.take(), [login])
        self.assertEqual(await self.do(client, b"LOGOUT"), [{**login, "event": "Logout"}])
        client.drop()
        self.assertEqual(self.sink.take(), [])

    async def test_who_never_came_in(self) -> None:
        await self.serve()
        self.sink.take()
        other = self.server.connect()
        other.send(b"a LOGIN alice wrong\r\n")
        other.drop()
        self.assertEqual(self.sink.take(), [])

    async def test_mailboxes(self) -> None:
        """The id of a mailbox is its own, whatever it is called; URLs have its name as administrators see it."""
        client = await self.serve()
        url = "imap://mail.test/user/alice/My%20Work;UIDVALIDITY=#"
        base = {"mailboxID": 0, "uri": url, "user": "alice", "vnd.cmu.mbtype": "e"}
        self.assertEqual(await self.do(client, b'CREATE "My Work"'), [{"event": "MailboxCreate", **base}])
        bare = "imap://mail.test/user/alice/My%20Work"
        self.assertEqual(
            await self.do(client, b'SUBSCRIBE "My Work"'),
            [{"event": "MailboxSubscribe", "mailboxID": 0, "uri": bare, "user": "alice"}],
        )
        self.assertEqual(
            await self.do(client, b'SETACL "My Work" bob +lr'),
            [{"event": "AclChange", "aclSubject": "bob", "aclRights": "lr", **base}],
        )
        self.assertEqual(
            await self.do(client, b'DELETEACL "My Work" bob'), [{"event": "AclChange", "aclSubject": "bob", **base}]
        )
        base["uri"] = url.replace("My%20Work", "Play")
        self.assertEqual(
            await self.do(client, b'RENAME "My Work" Play'), [{"event": "MailboxRename", "oldMailboxID": url, **base}]
        )
        self.assertEqual(await self.do(client, b"DELETE Play"), [{"event": "MailboxDelete", **base}])
        self.assertEqual(
            await self.do(client, b'UNSUBSCRIBE "My Work"'),
            [{"event": "MailboxUnSubscribe", "uri": bare, "user": "alice"}],
        )

    async def test_renamed_with_those_below(self) -> None:
        client = await self.serve()
        await self.do(client, b"CREATE Old")
        await self.do(client, b"CREATE Old/deep")
        told = await self.do(client, b"RENAME Old New")
        self.assertEqual(
            [(event["event"], event["mailboxID"], event["uri"].partition(";")[0]) for event in told],
            [
                ("MailboxRename", 0, "imap://mail.test/user/alice/New"),
                ("MailboxRename", 1, "imap://mail.test/user/alice/New/deep"),
            ],
        )

    async def test_shared_folder(self) -> None:
        """It is nobody's."""
        await self.serve()
        boss = self.server.connect()
        await boss.receive_line()
        await self.server.log_in(boss, "admin")
        url = "imap://mail.test/news/today;UIDVALIDITY=#"
        self.assertEqual(
            await self.do(boss, b"CREATE news/today"),
            [{"event": "MailboxCreate", "mailboxID": 0, "uri": url, "user": "admin", "vnd.cmu.mbtype": "e"}],
        )

    async def test_messages(self) -> None:
        client = await self.serve()
        await self.do(client, b"CREATE Play")
        base = {"mailboxID": 1, "uri": URL, "vnd.cmu.mbtype": "e", "user": "alice"}
        self.assertEqual(
            await self.append(client),
            [{"event": "MessageAppend", **base, "uri": URL + "/;UID=1"}],
        )
        await self.append(client)
        await self.append(client)
        await self.do(client, b"SELECT INBOX")
        copied = {
            "uri": URL.replace("alice", "alice/Play"),
            "mailboxID": 0,
            "vnd.cmu.mbtype": "e",
            "uidset": "1:2",
            "oldMailboxID": URL,
            "vnd.cmu.oldUidset": "1,3",
            "user": "alice",
        }
        self.assertEqual(
            await self.do(client, b"UID COPY 1,3 Play"), [{"event": "vnd.cmu.MessageCopy", **copied}]
        )  # fmt: skip
        self.assertEqual(
            await self.do(client, b"UID MOVE 1,3 Play"),
            [{"event": "vnd.cmu.MessageMove", **copied, "uidset": "3:4"}],
        )
        self.assertEqual(
            await self.do(client, rb"STORE 1 +FLAGS.SILENT (\Deleted)"),
            [{"event": "MessageTrash", "uidset": "2", **base}],
        )
        self.assertEqual(
            await self.do(client, b"EXPUNGE"),
            [{"event": "MessageExpunge", "uidset": "2", **base}],
        )
        self.assertEqual(await self.do(client, b"EXPUNGE"), [])

    async def test_flags(self) -> None:
        """Only what changed is told: of each message, and of each flag."""
        client = await self.serve(excluded_flags=frozenset((b"$seen-it", b"\\answered")))
        for _ in range(3):
            await self.append(client)
        await self.do(client, b"SELECT INBOX")
        told = await self.do(client, rb"STORE 1:2 +FLAGS (\Seen \Flagged \Answered Work $seen-it)")
        base = {"mailboxID": 0, "uri": URL, "vnd.cmu.mbtype": "e", "user": "alice"}
        self.assertEqual(
            told,
            [
                {"event": "MessageRead", "uidset": "1:2", **base},
                {"event": "FlagsSet", "uidset": "1:2", "flagNames": r"\Flagged Work", **base},
            ],
        )
        self.assertEqual(
            await self.do(client, rb"STORE 1:3 FLAGS (\Seen Work)"),
            [
                {"event": "MessageRead", "uidset": "3", **base},
                {"event": "FlagsSet", "uidset": "3", "flagNames": "Work", **base},
                {"event": "FlagsClear", "uidset": "1:2", "flagNames": r"\Flagged", **base},
            ],
        )
        self.assertEqual(await self.do(client, rb"STORE 1:3 +FLAGS (\Seen)"), [])
        self.assertEqual(
            await self.do(client, rb"STORE 2 -FLAGS (\Seen)"),
            [{"event": "FlagsClear", "uidset": "2", "flagNames": r"\Seen", **base}],
        )

    async def test_fetching_a_body_reads_it(self) -> None:
        client = await self.serve()
        await self.append(client)
        await self.do(client, b"SELECT INBOX")
        (told,) = await self.do(client, b"FETCH 1 BODY[TEXT]")
        self.assertEqual((told["event"], told["uidset"], told["uri"]), ("MessageRead", "1", URL))

    async def test_groups(self) -> None:
        """What was not asked for is not told."""
        client = await self.serve(groups=frozenset((Group.MAILBOX,)))
        self.assertEqual(self.sink.take(), [])
        self.assertEqual(await self.append(client), [])
        await self.do(client, b"SELECT INBOX")
        self.assertEqual(await self.do(client, rb"STORE 1 +FLAGS (\Deleted)"), [])
        self.assertEqual(await self.do(client, b"EXPUNGE"), [])
        self.assertEqual(await self.do(client, b"SUBSCRIBE INBOX"), [])
        self.assertEqual([event["event"] for event in await self.do(client, b"CREATE Play")], ["MailboxCreate"])

    async def test_excluded_special_use(self) -> None:
        client = await self.serve()
        await self.do(client, rb"CREATE Spam (USE (\Junk))")
        self.assertEqual(await self.append(client, b"Spam"), [])
        self.assertEqual(len(await self.append(client)), 1)

    async def test_quotas(self) -> None:
        """Their being full and having room again; those of others are not looked at."""
        client = await self.serve(groups=frozenset((Group.QUOTA,)))
        boss = self.server.connect()
        await boss.receive_line()
        await self.server.log_in(boss, "admin")
        base = {"user": "alice", "uri": "imap://mail.test/user/alice"}
        told = await self.do(boss, b"SETQUOTA user/alice (MESSAGE 2)")
        unlimited = {"diskQuota": -1, "diskUsed": 0}
        self.assertEqual(told, [{"event": "QuotaChange", "maxMessages": 2, "messages": 0, **unlimited, **base}])
        await self.append(client)
        self.assertEqual(await self.append(client), [])
        base["uri"] = URL
        client.send(b"y APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE))
        line = await client.receive_line()
        assert line is not None
        self.assertIn(b"OVERQUOTA", line)
        self.assertEqual(
            self.sink.take(), [{"event": "QuotaExceed", "maxMessages": 2, "messages": 2, **base}]
        )  # fmt: skip
        await self.do(client, b"SELECT INBOX")
        await self.do(client, rb"STORE 1 +FLAGS (\Deleted)")
        self.assertEqual(
            await self.do(client, b"EXPUNGE"), [{"event": "QuotaWithin", "maxMessages": 2, "messages": 1, **base}]
        )
        self.assertEqual(await self.do(client, b"EXPUNGE"), [])

    async def test_extra_params(self) -> None:
        client = await self.serve(extras=frozenset(Extra))
        (event,) = await self.append(client)
        self.assertRegex(event.pop("timestamp"), r"^19\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\d[+-]\d\d:\d\d$")
        self.assertRegex(event.pop("vnd.cmu.sessionId"), r"^\S+$")
        self.assertIn("Blurdybloop", event.pop("vnd.cmu.envelope"))
        self.assertIn('"TEXT" "PLAIN"', event.pop("bodyStructure"))
        self.assertGreater(event.pop("modseq"), 1)
        self.assertEqual(
            event,
            {
                "event": "MessageAppend",
                "service": "imap",
                "mailboxID": 0,
                "uri": URL + "/;UID=1",
                "vnd.cmu.mbtype": "e",
                "vnd.cmu.mailboxACL": "alice\tlrswipkxtecdan\t",
                "messages": 1,
                "vnd.cmu.unseenMessages": 1,
                "uidnext": 2,
                "vnd.cmu.midset": ["<B27397@Blurdybloop.example>"],
                "messageSize": len(MESSAGE),
                "messageContent": MESSAGE.decode(),
                "user": "alice",
            },
        )
        (event,) = await self.append(client, text=b"Subject: no id\r\n\r\n")
        self.assertEqual(event["vnd.cmu.midset"], ["NIL"])
        (event,) = await self.do(client, b"SETACL INBOX bob lr")
        self.assertIn("bob\tlr\t", event["vnd.cmu.mailboxACL"])
        (event,) = await self.do(client, rb"APPEND INBOX (\Seen Work) {4+}" + b"\r\nA:\r\n")
        self.assertEqual(event["flagNames"], r"\Seen Work")

    async def test_ids_of_what_has_gone(self) -> None:
        """They are told, though nobody can ask for them any more."""
        client = await self.serve(extras=frozenset((Extra.MESSAGE_IDS,)))
        for _ in range(3):
            await self.append(client)
        await self.append(client, text=b"Message-ID: <other@x>\r\n\r\n")
        await self.do(client, b"SELECT INBOX")
        await self.do(client, rb"STORE 1,3,4 +FLAGS (\Deleted)")
        usual = "<B27397@Blurdybloop.example>"
        (event,) = await self.do(client, b"UID EXPUNGE 2:3")
        self.assertEqual((event["uidset"], event["vnd.cmu.midset"]), ("3", [usual]))
        (event,) = await self.do(client, b"EXPUNGE")
        self.assertEqual((event["uidset"], event["vnd.cmu.midset"]), ("1,4", [usual, "<other@x>"]))

    async def test_contents(self) -> None:
        """How much of a message is told."""
        header, body = MESSAGE[: MESSAGE.index(b"The body")], b"The body.\r\n"
        cases = (
            (ContentMode.STANDARD, 10, None),
            (ContentMode.STANDARD, 1000, MESSAGE),
            (ContentMode.MESSAGE, 10, MESSAGE[:10]),
            (ContentMode.HEADER, 10, MESSAGE[:10]),
            (ContentMode.HEADER, 0, header),
            (ContentMode.BODY, 3, body[:3]),
            (ContentMode.BODY, 0, body),
            (ContentMode.HEADER_BODY, 3, header + body[:3]),
        )
        client = await self.serve()
        for mode, size, expected in cases:
            self.reporter.settings = replace(
                self.reporter.settings,
                extras=frozenset((Extra.MESSAGE_CONTENT,)), content_mode=mode, content_size=size,
            )  # fmt: skip
            (event,) = await self.append(client)
            self.assertEqual(event.get("messageContent"), None if expected is None else expected.decode(), mode)

    async def test_interfaces(self) -> None:
        await self.serve()
        watch = StoreObserver(self.reporter).watch(self.server.store, SessionFacts("imap", "id"))
        verifyObject(ISessionWatch, watch)
        verifyObject(IMailStore, watch.store)
        mailbox = await watch.store.open(ADMIN, ALICE, "l")
        verifyObject(IMailbox, mailbox)
        mailbox.close()


class ArrivalTests(EventCase):
    async def deliver(self, **settings: Any) -> list[Exception | None]:
        observer = ArrivalEvents(self.reporter)
        verifyObject(IDeliveryObserver, observer)
        agent = DeliveryAgent(
            self.server.store,
            DeliverySettings("mail.test", **settings),
            self.server.clock,
            None,
            cast(IDeliveryObserver, observer),
        )
        delivery = agent.start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id-1", service="lmtpunix"))
        self.addCleanup(delivery.abort)
        await delivery.add_recipient(Recipient("alice", ""))
        await delivery.begin()
        delivery.write(MESSAGE)
        return list(await delivery.commit())

    async def test_new(self) -> None:
        await self.serve(extras=frozenset((Extra.SERVICE, Extra.SESSION_ID, Extra.MESSAGES, Extra.MESSAGE_IDS)))
        self.sink.take()
        self.assertEqual(await self.deliver(), [None])
        self.assertEqual(
            self.sink.take(),
            [
                {
                    "event": "MessageNew",
                    "service": "lmtpunix",
                    "vnd.cmu.sessionId": "id-1",
                    "mailboxID": 0,
                    "uri": URL + "/;UID=1",
                    "vnd.cmu.mbtype": "e",
                    "messages": 1,
                    "vnd.cmu.midset": ["<B27397@Blurdybloop.example>"],
                    "user": "alice",
                }
            ],
        )

    async def test_no_room(self) -> None:
        client = await self.serve()
        boss = self.server.connect()
        await boss.receive_line()
        await self.server.log_in(boss, "admin")
        await self.do(boss, b"SETQUOTA user/alice (MESSAGE 1)")
        await self.append(client)
        self.sink.take()
        with self.assertRaises(OverQuota):
            await self.deliver(strict_quota=True)
        self.assertEqual(
            self.sink.take(),
            [
                {
                    "event": "QuotaExceed",
                    "maxMessages": 1,
                    "messages": 1,
                    "uri": "imap://mail.test/user/alice",
                    "user": "alice",
                }
            ],
        )

    async def test_what_fails_here_fails_nothing_else(self) -> None:
        """A message is delivered, and told so, whatever becomes of its event."""
        await self.serve(extras=frozenset((Extra.MESSAGES,)))
        self.patch(ArrivalEvents, "_params", lambda self, arrival: 1 // 0)
        self.assertEqual(await self.deliver(), [None])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
