"""Several masters with one directory, in a PostgreSQL server."""

from __future__ import annotations

import socket
from threading import Event
from typing import Any

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from pycyrus.errors import InvalidMailboxName, MailboxExists, MailboxNotFound, StoreUnavailable
from pycyrus.interfaces import Location, LocationState
from pycyrus.murder.shared import asking, entries, postgresql
from pycyrus.murder.shared import locations as module
from pycyrus.murder.shared.entries import Mark
from pycyrus.murder.shared.position import Position
from pycyrus.murder.shared.postgresql import Connection, Postgresql
from pycyrus.store.locations import Locations
from pycyrus.store.threads import sleep
from pycyrus.tasks import gather
from pycyrus.test.murder.shared.parts import SharedCase, access_to, all_entries

RESERVED = LocationState.RESERVED
FRED = Location("user.fred", "b1", "default", "fred\tlrs\t")


class SeveralMastersTests(SharedCase):
    async def test_what_one_is_told_all_know(self) -> None:
        one, other = self.master(), self.master()
        await one.reserve(FRED)
        await other.catch_up()
        self.assertEqual(other.find("user.fred"), Location("user.fred", "b1", "default", "", RESERVED))
        await other.activate(FRED)
        self.assertEqual(other.find("user.fred"), FRED)
        await one.catch_up()
        self.assertEqual(one.find("user.fred"), FRED)
        await one.deactivate(FRED)
        await other.delete("user.fred")
        self.assertIsNone(other.find("user.fred"))
        await one.catch_up()
        self.assertIsNone(one.find("user.fred"))

    async def test_refusals(self) -> None:
        """By what any master was told, at once."""
        one, other = self.master(), self.master()
        await one.activate(FRED)
        with self.assertRaises(MailboxExists):
            await other.reserve(Location("user.fred", "b2", "default"))
        with self.assertRaises(MailboxNotFound):
            await other.delete("user.barney")
        await one.reserve(Location("user.barney", "b1", "default"))
        with self.assertRaises(MailboxNotFound):
            await other.deactivate(Location("user.barney", "b1", "default"))
        with self.assertRaises(InvalidMailboxName):
            await other.activate(Location("user.\0", "b1", "default"))

    async def test_one_of_many_reserves(self) -> None:
        """Of those who want a name at the same time, one gets it, and all masters agree which."""
        masters = [self.master() for _ in range(3)]
        names = [f"user.u{number}" for number in range(20)]
        attempts = [
            masters[number % 3].reserve(Location(name, f"b{number}", "default"))
            for name in names
            for number in range(6)
        ]
        outcomes = await gather(attempts)
        won: dict[str, list[str]] = {name: [] for name in names}
        for index, outcome in enumerate(outcomes):
            if outcome is None:
                won[names[index // 6]].append(f"b{index % 6}")
            else:
                self.assertIsInstance(outcome.value, MailboxExists)
        for master in masters:
            await master.catch_up()
            self.assertEqual({each.mailbox: [each.server] for each in all_entries(master)}, won)

    async def test_listeners_hear(self) -> None:
        """Changes made elsewhere wake who listens, and can be told from their numbers."""
        one, other = self.master(), self.master()
        await other.catch_up()
        heard: Deferred[None] = Deferred()
        before = other.last_change()

        def listener() -> None:
            if not heard.called and other.last_change() > before:
                heard.callback(None)

        self.addCleanup(other.listen(listener))
        await one.activate(FRED)
        await heard
        (change,) = other.changes(before, 10)
        self.assertEqual(change.location, FRED)

    async def test_processes_of_one_server(self) -> None:
        """One has its copy follow, and the others wait for that."""
        directory = self.directory()
        one, other = self.master(directory), self.master(directory)
        await other.activate(FRED)
        self.assertEqual(other.find("user.fred"), FRED)
        self.assertEqual(one.find("user.fred"), FRED)
        await one.close()
        await other.delete("user.fred")
        self.assertIsNone(other.find("user.fred"))

    async def test_all_characters(self) -> None:
        """That names and lists may have, as each octet is a character."""
        one, other = self.master(), self.master()
        text = "".join(map(chr, range(1, 256)))
        location = Location(f"user.{text}", text, text, text)
        await one.activate(location)
        await other.catch_up()
        self.assertEqual(other.find(location.mailbox), location)
        self.assertEqual(all_entries(other), [location])


class CopyTests(SharedCase):
    """What becomes of a copy that is not as the directory."""

    async def test_first_master_brings_what_it_knows(self) -> None:
        directory = self.directory()
        before = Locations(directory, self.reactor)
        entries_before = [Location(f"user.u{number:04}", "b1", "default", "x\tlrs\t") for number in range(450)]
        await before.follow(entries_before)
        await before.reserve(Location("user.z", "b2", "default"))
        await before.close()
        one = self.master(directory)
        await one.catch_up()
        other = self.master()
        await other.catch_up()
        self.assertEqual(len(all_entries(one)), 451)
        self.assertEqual(all_entries(one), all_entries(other))

    async def test_later_master_forgets_what_it_knew(self) -> None:
        await self.master().activate(FRED)
        directory = self.directory()
        before = Locations(directory, self.reactor)
        await before.follow([Location(f"user.u{number:04}", "b1", "default") for number in range(450)])
        await before.close()
        one = self.master(directory)
        await one.catch_up()
        self.assertEqual(all_entries(one), [FRED])

    async def test_mark_that_is_not_there(self) -> None:
        """A copy that knows what no server has any more, as after a failover, compares all."""
        directory = self.directory()
        one = self.master(directory)
        for name in ("user.a", "user.b", "user.c"):
            await one.activate(Location(name, "b1", "default", "x\tlrs\t"))
        await one.close()
        mark = Position(directory).mark()
        assert mark is not None
        stray = Locations(directory, self.reactor)
        await stray.follow([Location("user.b", "b9", "lost"), Location("user.lost", "b9", "lost"), "user.c"])
        await stray.close()
        Position(directory).set(Mark(mark.number, "another"))
        again = self.master(directory)
        await again.catch_up()
        self.assertEqual(
            [(each.mailbox, each.server) for each in all_entries(again)],
            [("user.a", "b1"), ("user.b", "b1"), ("user.c", "b1")],
        )

    async def test_far_behind(self) -> None:
        """What is gone is not remembered for ever; who missed it compares."""
        directory = self.directory()
        one, other = self.master(directory), self.master()
        await one.activate(FRED)
        await one.activate(Location("user.a", "b1", "default"))
        await one.close()
        self.patch(entries, "KEPT", 0)
        self.patch(entries, "_PRUNE_EVERY", 1)
        await other.delete("user.fred")
        await other.activate(Location("user.b", "b1", "default"))
        again = self.master(directory)
        await again.catch_up()
        self.assertEqual([each.mailbox for each in all_entries(again)], ["user.a", "user.b"])

    async def test_many_changes(self) -> None:
        """More transactions than are looked at together."""
        self.patch(entries, "BATCHES_AT_ONCE", 3)
        directory = self.directory()
        one, other = self.master(directory), self.master()
        await one.catch_up()
        await one.close()
        for number in range(10):
            await other.activate(Location(f"user.u{number}", "b1", "default"))
        again = self.master(directory)
        await again.catch_up()
        self.assertEqual(all_entries(again), all_entries(other))


class AwayTests(SharedCase):
    """No server answers."""

    async def test_never_whole(self) -> None:
        """Nobody is told a directory without its mailboxes."""
        one = self.master(access=access_to(1))
        for asked in (lambda: one.find("user.fred"), lambda: one.page("", "", 10)):
            with self.assertRaises(StoreUnavailable):
                asked()
        with self.assertRaises(StoreUnavailable):
            await one.catch_up()

    async def test_reads_go_on(self) -> None:
        directory = self.directory()
        one = self.master(directory)
        await one.activate(FRED)
        await one.close()
        again = self.master(directory, access_to(1))
        self.assertEqual(again.find("user.fred"), FRED)
        self.assertEqual(all_entries(again), [FRED])
        for attempt in (again.delete("user.fred"), again.reserve(FRED), again.catch_up()):
            with self.assertRaises(StoreUnavailable):
                await attempt
        self.assertEqual(again.find("user.fred"), FRED)

    async def test_newer_tables(self) -> None:
        await self.master().activate(FRED)
        self.sql("UPDATE pycyrus_head SET version = version + 1")
        with self.assertRaises(StoreUnavailable):
            await self.master().activate(FRED)

    async def test_connections_that_died(self) -> None:
        """Are made again, and nobody notices."""
        one, other = self.master(), self.master()
        await one.activate(FRED)
        await other.catch_up()
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pycyrus'")
        await one.delete("user.fred")
        await other.catch_up()
        self.assertIsNone(other.find("user.fred"))

    async def test_no_room_for_its_position(self) -> None:
        """What is done is answered, and the copy goes on when there is room."""
        directory = self.directory()
        one, other = self.master(directory), self.master()
        await one.activate(FRED)
        (directory / "mupdate.new").mkdir()
        second = Location("user.a", "b1", "default", "x\tl\t")
        await one.activate(second)
        self.assertEqual(one.find("user.a"), second)
        with self.assertRaises(StoreUnavailable):
            await one.catch_up()
        (directory / "mupdate.new").rmdir()
        await other.delete("user.a")
        while one.find("user.a") is not None:
            await sleep(self.reactor, 0.01)
        await one.catch_up()

    async def test_a_copy_that_is_busy(self) -> None:
        """Nobody who changes something waits until a million mailboxes were compared; who wants to know all is told."""
        self.patch(module, "_WAIT", 0.2)
        directory = self.directory()
        one, other = self.master(directory), self.master()
        await one.activate(FRED)
        compared: Deferred[None] = Deferred()

        async def pull() -> None:
            await compared

        usual: Any = one._pull
        one._pull = pull  # type: ignore[method-assign] # a comparison that takes its time
        second = Location("user.a", "b1", "default", "x\tl\t")
        await one.activate(second)
        with self.assertRaises(StoreUnavailable):
            await one.catch_up()
        await other.catch_up()
        self.assertEqual(other.find("user.a"), second)
        one._pull = usual  # type: ignore[method-assign] # as before
        compared.callback(None)
        while one.find("user.a") is None:
            await sleep(self.reactor, 0.01)


class HangingTests(SharedCase):
    """A server that hangs."""

    async def test_notices_that_do_not_come(self) -> None:
        """What others do is found all the same, as where connections are pooled."""
        self.patch(asking, "CHANNEL", "another")
        self.patch(asking, "_PING_EVERY", 0.1)
        one, other = self.master(), self.master()
        await one.catch_up()
        await other.activate(FRED)
        while one.find("user.fred") is None:
            await sleep(self.reactor, 0.01)

    async def test_a_master_that_hangs(self) -> None:
        """One that was cut off in the middle of a change does not keep others from theirs for long."""
        self.patch(postgresql, "_SETTINGS", {"of_another_engine": "1", "idle_in_transaction_session_timeout": "500"})
        one = self.master()
        await one.activate(FRED)
        hung, goes_on = Event(), Event()

        def hang(connection: Connection) -> None:
            with connection.transaction():
                connection.execute("SELECT number FROM pycyrus_head FOR UPDATE")
                connection.execute("DELETE FROM pycyrus_locations")
                hung.set()
                goes_on.wait()

        database = Postgresql(access_to(self.server.port, database=self.database), entries.prepare)
        self.addCleanup(database.close)
        hanging = deferToThread(database.run, hang)
        await deferToThread(hung.wait)
        await one.activate(Location("user.a", "b1", "default"))
        goes_on.set()
        with self.assertRaises(StoreUnavailable):
            await hanging
        await one.catch_up()
        self.assertEqual([each.mailbox for each in all_entries(one)], ["user.a", "user.fred"])

    async def test_first_of_two(self) -> None:
        """One that takes connections and says nothing is passed over."""
        self.patch(postgresql, "CONNECT_WITHIN", 2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            access = access_to(silent.getsockname()[1], self.server.port, database=self.database)
            one = self.master(access=access)
            await one.activate(FRED)
            self.assertEqual(one.find("user.fred"), FRED)

    async def test_locked(self) -> None:
        """Who waits is told so, and what was cut is not done later."""
        one = self.master()
        await one.activate(FRED)
        writer: Any = one._writer
        # Once there is a connection: to make one takes its time.
        usual, writer._patience = writer._patience, 2.0
        with psycopg.connect(self._conninfo(self.database)) as connection:
            connection.execute("SELECT number FROM pycyrus_head FOR UPDATE")
            waiting: Any = Deferred.fromCoroutine(one.delete("user.fred"))
            with self.assertRaises(StoreUnavailable):
                await waiting
        writer._patience = usual
        await one.activate(Location("user.a", "b1", "default"))
        await one.catch_up()
        self.assertEqual([each.mailbox for each in all_entries(one)], ["user.a", "user.fred"])
