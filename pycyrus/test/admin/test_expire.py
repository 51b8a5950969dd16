"""C{pycyrus expire} and C{bin/cyr_expire}, as an administrator or cyrus.conf calls them."""

from __future__ import annotations

import argparse
import sys

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.durations import read_duration, read_time
from pycyrus.admin.expire import order_of, summary
from pycyrus.admin.main import make_parser
from pycyrus.admin.source import source_of
from pycyrus.app.programs import program_of
from pycyrus.config.load import Configuration, load
from pycyrus.model.names import parse_internal
from pycyrus.store.expiry import Expired
from pycyrus.store.rows import Entry
from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.mailboxes import text

DAY = 86400


class CommandLineTests(SynchronousTestCase):
    def parse(self, *words: str) -> tuple[argparse.Namespace, Configuration]:
        arguments = make_parser().parse_args(["expire", "--home", "/nonexistent/home", *words])
        return arguments, load(source_of(arguments))

    def test_durations(self) -> None:
        """Days by default, units, fractions."""
        for words, seconds in (
            ("7", 7 * DAY),
            ("1.5", 1.5 * DAY),
            ("2h", 7200),
            ("90m", 5400),
            ("30s", 30),
            (".5d", DAY / 2),
        ):
            order = order_of(*self.parse("-X", words), 1e9)
            self.assertEqual((order.expunged_before, order.deleted_before), (1e9 - seconds, None))
        for wrong in ("", "x", "-1", "1y", "1d2"):
            self.assertRaises(ValueError, read_duration, wrong)

    def test_without_durations(self) -> None:
        """The options say what is done; one duration says that only that is."""
        order = order_of(*self.parse(), 1e9)
        self.assertEqual((order.expunged_before, order.deleted_before), (1e9 - 7 * DAY, 1e9 - 7 * DAY))
        order = order_of(*self.parse("--option", "expunge_retention=1d", "--option", "delete_retention=3d"), 1e9)
        self.assertEqual((order.expunged_before, order.deleted_before), (1e9 - DAY, 1e9 - 3 * DAY))
        order = order_of(*self.parse("-E", "3"), 1e9)
        self.assertEqual((order.expunged_before, order.deleted_before), (None, None))
        order = order_of(*self.parse("-E", "3", "-X", "3", "-D", "3", "-x"), 1e9)
        self.assertEqual((order.expunged_before, order.deleted_before), (None, 1e9 - 3 * DAY))

    def test_which(self) -> None:
        """C{-u} means a user's mailboxes, deleted ones too; C{-p} names that begin so."""
        names = ("user.fred", "user.fred.Sent", "user.freda", "shared", "DELETED.user.fred.Old.5F000000")
        for words, expected in (
            (("-u", "fred"), (0, 1, 4)),
            (("-p", "user/fred/", "--option", "unixhierarchysep=yes"), (1,)),
            (("-p", "user.fred", "--option", "unixhierarchysep=no"), (0, 1, 2)),
            ((), (0, 1, 2, 3, 4)),
        ):
            order = order_of(*self.parse("-X", "1", *words), 1e9)
            entries = [Entry(parse_internal(name), "", "", "", 1, None) for name in names]  # type: ignore[arg-type]
            self.assertEqual(tuple(at for at, entry in enumerate(entries) if order.concerns(entry)), expected)

    def test_summary(self) -> None:
        """What Cyrus logs."""
        order = order_of(*self.parse("-t"), 1e9)
        self.assertEqual(
            summary(Expired(expunged=3, seen=10, mailboxes=2, removed=1, keywords=4), order),
            [
                "Expired 0 and expunged 3 out of 10 messages from 2 mailboxes",
                "Expunged 4 user flags",
                "Removed 1 deleted mailboxes",
            ],
        )

    def test_times(self) -> None:
        """Points of time."""
        now = 1_700_000_000.0
        self.assertEqual(read_time("@5", now), 5)
        self.assertEqual(read_time("2h", now), now - 7200)
        self.assertEqual(read_time("1.5d", now), now - 1.5 * DAY)
        self.assertEqual(read_time("2023-11-14T22:13:20+00:00", now), now)
        self.assertTrue(now - DAY < read_time("9:00", now) <= now)
        self.assertTrue(now - DAY < read_time("23:59:59", now) <= now)
        self.assertRaises(ValueError, read_time, "yesterday", now)

    def test_events_run_it(self) -> None:
        """An entry of cyrus.conf that names Cyrus's program runs ours."""
        program = program_of(("/usr/sbin/cyrus", "expire", "-E", "3", "-X", "3"))
        self.assertEqual((program.verb, program.needless, program.executable), ("expire", "", sys.executable))
        self.assertEqual(program.arguments[-5:], ("expire", "-E", "3", "-X", "3"))
        (event,) = load(source_of(make_parser().parse_args(["expire", "--home", "/nonexistent/home"]))).cyrus.events
        self.assertEqual((event.cmd, event.period), (("cyr_expire",), 1440))


class RunTests(BesideStoreTestCase):
    def test_beside_a_server(self) -> None:
        """The whole command, while another process has the store open."""
        world = self.world
        world.append("user.fred", text(1), text(2))
        world.expunge("user.fred", 1)
        self.assertEqual(self.tool("expire", "-X", "1h", "--silent"), ("", ""))
        self.assertEqual(
            self.tool("expire", "-E", "3", "-X", "0", "-D", "0", "-v")[0],
            "user.fred: expunged 1 messages, 0 user flags\n"
            "Expired 0 and expunged 1 out of 2 messages from 1 mailboxes\nRemoved 0 deleted mailboxes\n"
            "duplicate_prune: purged 0 out of 0 entries\n",
        )
        self.assertEqual(world.files("user/fred"), ["2."])
        self.assertEqual(world.view("user.fred"), [2])
