"""Results kept up to date: what the client makes of what it is told is the result."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pycyrus.imap.contexts import MAX_CONTEXTS, out_of_order
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, open_mail_server, settings_of

_CHANGE = re.compile(rb'\* ESEARCH \(TAG "(s\d)"\) UID (ADDTO|REMOVEFROM) \(([\d ,:]+)\)\r\n')


class OrderTests(SynchronousTestCase):
    """Which members move."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.permutations(range(12)), st.permutations(range(12)))
    def test_the_others_stay_in_order(self, old: list[int], new: list[int]) -> None:
        moved = set(out_of_order(old, new))
        self.assertEqual([x for x in old if x not in moved], [x for x in new if x not in moved])

    def test_as_few_as_can_be(self) -> None:
        self.assertEqual(out_of_order([1, 2, 3, 4], [4, 1, 2, 3]), [4])
        self.assertEqual(out_of_order([1, 2, 3], [1, 2, 3]), [])
        self.assertEqual(out_of_order([], []), [])


class FollowingTests(TestCase):
    """A client that does what it is told has what a new search finds."""

    def test_follow(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._follow())

    async def _follow(self) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        server = await open_mail_server(directory, settings_of("@as alice\n"), reactor=cast(WatchReactor, reactor))
        try:
            watcher, other = server.connect(), server.connect()
            for client in (watcher, other):
                await _command(client, b"a LOGIN alice secret")
                await _command(client, b"b SELECT INBOX")
            chance = random.Random(5)
            await _command(watcher, b"s1 UID SEARCH RETURN (ALL UPDATE) UNFLAGGED UNDELETED")
            await _command(watcher, b"s2 UID SORT RETURN (ALL UPDATE) (SUBJECT) UTF-8 UNSEEN")
            await _command(watcher, b"s3 UID SORT RETURN (ALL UPDATE) (REVERSE MODSEQ) UTF-8 ALL")
            results: dict[bytes, list[int]] = {b"s1": [], b"s2": [], b"s3": []}
            for _ in range(60):
                await _change(other, chance)
                if chance.random() < 0.4:
                    _follow(results, await _command(watcher, b"n NOOP"))
                    self.assertEqual(sorted(results[b"s1"]), await _found(watcher, b"UID SEARCH UNFLAGGED UNDELETED"))
                    self.assertEqual(results[b"s2"], await _found(watcher, b"UID SORT (SUBJECT) UTF-8 UNSEEN"))
                    self.assertEqual(results[b"s3"], await _found(watcher, b"UID SORT (REVERSE MODSEQ) UTF-8 ALL"))
            self.assertTrue(results[b"s3"])
        finally:
            await server.shut_down()

    def test_too_many(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._too_many())

    async def _too_many(self) -> None:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        server = await open_mail_server(directory, settings_of("@as alice\n"), reactor=cast(WatchReactor, reactor))
        try:
            client = server.connect()
            await _command(client, b"a LOGIN alice secret")
            await _command(client, b"b SELECT INBOX")
            for number in range(MAX_CONTEXTS):
                self.assertNotIn(b"NOUPDATE", await _command(client, b"t%d SEARCH RETURN (UPDATE ALL) ALL" % number))
            # One more is none; the same tag again is the same one anew.
            answer = await _command(client, b"u SEARCH RETURN (UPDATE COUNT) ALL")
            self.assertIn(b'* NO [NOUPDATE "u"]', answer)
            self.assertIn(b"COUNT 0", answer)
            self.assertNotIn(b"NOUPDATE", await _command(client, b"t1 SEARCH RETURN (UPDATE ALL) ALL"))
            await _command(client, b'v CANCELUPDATE "t3"')
            self.assertNotIn(b"NOUPDATE", await _command(client, b"u SEARCH RETURN (UPDATE COUNT) ALL"))
        finally:
            await server.shut_down()


async def _command(client: Client, line: bytes) -> bytes:
    client.send(line + b"\r\n")
    tag = line.partition(b" ")[0] + b" "
    answer: list[bytes] = []
    while not answer or not answer[-1].startswith(tag):
        received = await client.receive_line()
        assert received is not None, answer
        answer.append(received if received.endswith(b"\r\n") else received + b"\r\n")
    assert answer[-1].startswith(tag + b"OK"), answer[-1]
    return b"".join(answer)


async def _change(client: Client, chance: random.Random) -> None:
    kind = chance.randrange(4)
    if kind == 0:
        text = b"Subject: %d\r\n\r\nx\r\n" % chance.randrange(20)
        await _command(client, b"c APPEND INBOX {%d+}\r\n%b" % (len(text), text))
    elif kind == 1:
        await _command(client, b"c EXPUNGE")
    else:
        flag = chance.choice((rb"\Seen", rb"\Flagged", rb"\Deleted"))
        sign = chance.choice((b"+", b"-"))
        await _command(client, b"c UID STORE %d %bFLAGS.SILENT (%b)" % (chance.randint(1, 12), sign, flag))


def _follow(results: dict[bytes, list[int]], told: bytes) -> None:
    for tag, what, changes in _CHANGE.findall(told):
        words = changes.split()
        for place, numbers in zip(words[::2], words[1::2], strict=True):
            for uid in _members(numbers):
                if what == b"REMOVEFROM":
                    if int(place):
                        assert results[tag][int(place) - 1] == uid
                    results[tag].remove(uid)
                else:
                    results[tag].insert(int(place) - 1 if int(place) else 0, uid)


def _members(numbers: bytes) -> list[int]:
    members: list[int] = []
    for each in numbers.split(b","):
        low, _, high = each.partition(b":")
        members += range(int(low), int(high or low) + 1)
    return members


async def _found(client: Client, search: bytes) -> list[int]:
    (line,) = re.findall(rb"\* (?:SEARCH|SORT)([\d ]*)", await _command(client, b"f " + search))
    return [int(number) for number in line.split()]
