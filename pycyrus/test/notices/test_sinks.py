"""Where events go: programs and web servers that are slow, broken or away hold nobody up."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from zope.interface import implementer
from zope.interface.verify import verifyObject

from pycyrus.app import notice_parts
from pycyrus.app.notice_parts import Notices, event_settings
from pycyrus.config.settings import Settings
from pycyrus.interfaces import Arrival, IEventSink, IEventSinkFactory
from pycyrus.model.names import MailboxName
from pycyrus.notices import queue
from pycyrus.notices.forms import Notice
from pycyrus.notices.http import HttpSink
from pycyrus.notices.kinds import Extra, Group
from pycyrus.notices.losses import Losses
from pycyrus.notices.program import ExternalProgram
from pycyrus.notices.queue import CAPACITY, MAX_WAITING, PAUSES, Refused, SendQueue, TryAgain
from pycyrus.notices.settings import ContentMode
from pycyrus.testing.logs import captured
from pycyrus.testing.ports import free_port
from pycyrus.testing.store import MemoryStore


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.losses = Losses("there")
        self.sent: list[str] = []
        self.outcomes: list[Exception | None] = []
        self.queue: SendQueue[str] = SendQueue(self.send, self.clock, self.losses)

    async def send(self, item: str) -> None:
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome is not None:
            raise outcome
        self.sent.append(item)

    def test_in_order_and_again(self) -> None:
        """What fails is tried again before what comes after it."""
        self.outcomes = [TryAgain("away"), TryAgain("away")]
        for item in "abc":
            self.queue.put(item, 1)
        self.assertEqual(self.sent, [])
        self.clock.pump(PAUSES[:2])
        self.assertEqual(self.sent, ["a", "b", "c"])
        self.assertEqual(self.losses.count, 0)

    def test_what_is_refused_is_lost(self) -> None:
        self.outcomes = [Refused("bad")]
        with captured():
            for item in "ab":
                self.queue.put(item, 1)
        self.assertEqual(self.sent, ["b"])
        self.assertEqual(self.losses.count, 1)

    def test_limits(self) -> None:
        """However long it is away, no more than so much waits; what waits is not lost."""
        self.outcomes = [TryAgain("away")]
        with captured() as log:
            for number in range(CAPACITY + 5):
                self.queue.put(str(number), 1)
        self.assertEqual(len(self.queue), CAPACITY)
        self.assertEqual(self.losses.count, 5)
        self.assertEqual(len([text for text in log.texts() if "lost" in text]), 1)
        self.clock.advance(PAUSES[0])
        self.assertEqual(len(self.sent), CAPACITY)

    def test_octets(self) -> None:
        self.outcomes = [TryAgain("away")]
        with captured():
            for item in "abc":
                self.queue.put(item, MAX_WAITING // 2)
        self.assertEqual((len(self.queue), self.losses.count), (2, 1))
        self.clock.advance(PAUSES[0])
        self.queue.put("d", MAX_WAITING)
        self.assertEqual(self.sent, ["a", "b", "d"])

    def test_a_defect_ends_one_notice_only(self) -> None:
        self.outcomes = [ZeroDivisionError()]
        with captured():
            self.queue.put("a", 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.queue.put("b", 1)
        self.assertEqual(self.sent, ["b"])

    def test_end(self) -> None:
        """What waits has a moment at the end."""
        self.outcomes = [TryAgain("away"), TryAgain("away"), TryAgain("away")]
        with captured():
            for item in "ab":
                self.queue.put(item, 1)
            end = Deferred.fromCoroutine(self.queue.close())
            self.assertNoResult(end)
            self.clock.pump([1.0, queue.LAST_MOMENT])
            self.successResultOf(end)
        self.assertEqual((self.sent, self.losses.count), ([], 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_end_in_time(self) -> None:
        self.outcomes = [TryAgain("away")]
        self.queue.put("a", 1)
        end = Deferred.fromCoroutine(self.queue.close())
        self.clock.advance(PAUSES[0])
        self.successResultOf(end)
        self.assertEqual(self.sent, ["a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ProgramTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.patch(queue, "LAST_MOMENT", 60.0)
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def program(self, text: str) -> ExternalProgram:
        path = self.directory / "notify"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return ExternalProgram(str(path), self.reactor)

    async def test_what_it_is_told(self) -> None:
        """Arguments as notifyd gives them; nothing of them is seen by a shell."""
        out = self.directory / "out"
        program = self.program(f'for word; do echo "<$word>"; done >> {out}; cat >> {out}')
        program.send(Notice("external", "MAIL", "fred", "Work; rm -rf *", "text\n"))
        program.send(Notice("external", "EVENT", text="{}\n"))
        await program.close()
        self.assertEqual(
            out.read_text().split("\n"),
            [
                *("<-c>", "<MAIL>", "<-p>", "<>", "<-u>", "<fred>", "<-m>", "<Work; rm -rf *>", "<-f>", "<>", "text"),
                *("<-c>", "<EVENT>", "<-p>", "<>", "<-u>", "<>", "<-m>", "<>", "<-f>", "<>", "{}", ""),
            ],
        )
        self.assertEqual(program.losses.count, 0)

    async def test_failures(self) -> None:
        """One that fails, reads nothing, or is not there, loses its notice and no other."""
        program = self.program("exit 3")
        with captured() as log:
            program.send(Notice("external", "MAIL", text="x" * 1_000_000))
            program.send(Notice("external", "MAIL"))
            await program.close()
            self.assertEqual(program.losses.count, 2)
            absent = ExternalProgram(str(self.directory / "absent"), self.reactor)
            absent.send(Notice("external", "MAIL"))
            await absent.close()
        self.assertEqual(absent.losses.count, 1)
        self.assertTrue(all("notices are lost" in text for text in log.texts() if "{" not in text and "lost" in text))

    async def test_one_that_hangs(self) -> None:
        """The end of the server does not wait for it."""
        self.patch(queue, "LAST_MOMENT", 0.05)
        program = self.program("exec sleep 1000")
        with captured():
            program.send(Notice("external", "MAIL"))
            await program.close()
        self.assertEqual(program.losses.count, 1)


class Hook(Resource):
    """A web server that answers with what is due, and good news when nothing is."""

    isLeaf = True  # noqa: N815 - Resource

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.fields: list[tuple[bytes | None, bytes | None]] = []
        self.came: Callable[[], None] = lambda: None

    def render_POST(self, request: Request) -> bytes:
        code = self.answers.pop(0) if self.answers else 204
        request.setResponseCode(code)
        self.fields.append((request.getHeader(b"content-type"), request.getHeader(b"authorization")))
        content: Any = request.content
        if code < 300:
            self.bodies.append(json.loads(content.read()))
            self.came()
        return b"" if code == 204 else b"thanks"


class HttpTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.hook = Hook()
        self.patch(queue, "PAUSES", (0.01,))
        self.patch(queue, "LAST_MOMENT", 60.0)
        self.number = free_port()
        self.port = self.listen(self.number)

    def listen(self, number: int) -> Any:
        port = self.reactor.listenTCP(number, Site(self.hook), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port

    def sink(self, authorization: str = "") -> HttpSink:
        sink = HttpSink(f"http://127.0.0.1:{self.number}/hook", self.reactor, authorization)
        verifyObject(IEventSink, sink)
        return sink

    async def test_each_is_posted(self) -> None:
        """In order, with the answer's errors of the moment tried again, and refusals not."""
        self.hook.answers = [200, 503, 429, 201, 400, 204]
        sink = self.sink("Bearer sesame")
        with captured():
            for number in range(4):
                sink.tell({"event": "MessageNew", "uidset": str(number)})
            await sink.close()
        self.assertEqual([body["uidset"] for body in self.hook.bodies], ["0", "1", "3"])
        self.assertEqual(sink.losses.count, 1)
        self.assertEqual(set(self.hook.fields), {(b"application/json", b"Bearer sesame")})

    async def test_server_away(self) -> None:
        """What happened meanwhile is told when it is back."""
        await self.port.stopListening()
        sink = self.sink()
        with captured() as log:
            sink.tell({"event": "Login"})
            told: Deferred[None] = Deferred()
            self.hook.came = lambda: told.callback(None)
            while not any("sent again" in text for text in log.texts()):
                turn: Deferred[None] = Deferred()
                self.reactor.callLater(0.005, turn.callback, None)
                await turn
            self.assertEqual(self.hook.bodies, [])
            self.listen(self.number)
            await told
            await sink.close()
        self.assertEqual(self.hook.bodies, [{"event": "Login"}])
        self.assertEqual(len([text for text in log.texts() if "sent again" in text]), 1)


@implementer(IPlugin, IEventSinkFactory)
class Factory:
    """A plugin."""

    name = "elsewhere"

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.texts: Any = None

    def make(self, texts: Any, reactor: object) -> IEventSink:
        self.texts = texts
        return cast(IEventSink, self)

    def tell(self, event: Any) -> None:
        self.events.append(event)

    async def close(self) -> None:
        pass


class OptionTests(SynchronousTestCase):
    def test_settings(self) -> None:
        options = Settings(
            {
                "event_groups": "message access calendar",
                "event_extra_params": "Timestamp vnd.cmu.midset modseq unheardOf",
                "event_content_inclusion_mode": "headerbody",
                "event_content_size": "77",
                "event_exclude_flags": r"\Recent $Label1",
                "event_exclude_specialuse": r"\Junk \Trash",
            }
        )
        with captured() as log:
            settings = event_settings(options, "mail.test")
        self.assertEqual(settings.groups, {Group.MESSAGE, Group.ACCESS})
        self.assertEqual(settings.extras, {Extra.TIMESTAMP, Extra.MESSAGE_IDS, Extra.MODSEQ})
        self.assertEqual((settings.content_mode, settings.content_size), (ContentMode.HEADER_BODY, 77))
        self.assertEqual(settings.excluded_flags, {b"\\recent", b"$label1"})
        self.assertEqual(settings.excluded_uses, {"\\junk", "\\trash"})
        self.assertEqual(
            log.texts(), ["event_groups: there is no calendar here", "event_extra_params: there is no unheardOf here"]
        )

    def test_defaults(self) -> None:
        settings = event_settings(Settings({}), "mail.test")
        self.assertEqual(settings.groups, {Group.MESSAGE, Group.MAILBOX})
        self.assertEqual(settings.extras, {Extra.TIMESTAMP})
        self.assertEqual(settings.excluded_uses, {"\\junk"})

    def test_nobody_wants_to_know(self) -> None:
        store = MemoryStore()
        notices = Notices(Settings({}), "mail.test", cast(Any, store), Clock())
        self.assertIsNone(notices.deliveries)
        self.assertIsNone(notices.sessions)
        self.successResultOf(Deferred.fromCoroutine(notices.close()))

    def test_plugin(self) -> None:
        factory = Factory()
        verifyObject(IEventSinkFactory, factory)
        self.patch(notice_parts, "sink_factories", lambda: {"elsewhere": factory})
        options = Settings({"event_notifier": "elsewhere", "servername": "x", "event_exclude_specialuse": ""})
        notices = Notices(options, "mail.test", cast(Any, MemoryStore()), Clock())
        assert notices.deliveries is not None
        notices.deliveries.delivered(Arrival(MailboxName("", "fred", ()), 7, 42, 1000, "a@b", "session-1"))
        self.assertEqual([event["event"] for event in factory.events], ["MessageNew"])
        self.assertEqual(factory.texts["servername"], "x")
        self.assertIsNotNone(notices.sessions)
        self.successResultOf(Deferred.fromCoroutine(notices.close()))
