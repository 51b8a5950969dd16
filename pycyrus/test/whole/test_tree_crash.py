"""kill -9 while mailboxes are made, renamed and deleted, users renamed, and quotas set, all by IMAP."""

from __future__ import annotations

import imaplib
import json
import random
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pycyrus.test.whole.case import TIMEOUT, WholeServerCase, fetch_all, in_threads
from pycyrus.testing.commands import call
from pycyrus.testing.server import Login

USERS = ("fred", "jane")
ROUNDS = 2
BEFORE_KILL = 50
"""Commands that were answered OK, in all sessions, after which the server is killed."""
GONE = (OSError, imaplib.IMAP4.abort, imaplib.IMAP4.error)

Tree = Mapping[str, frozenset[str]]
"""Mailboxes of a user, and the subjects of the messages in each."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    A command, and what there is when it was done.

    @ivar words: The command and its arguments, as imaplib takes them.
    """

    words: tuple[object, ...]
    after: Tree


def changes(before: Tree, draw: random.Random, serial: int) -> Change:
    """Some command that changes something."""
    folders = sorted(name for name in before if name != "INBOX")
    name, folder = f"F{serial}", draw.choice(folders or ["INBOX"])
    kind = draw.choice(("create", "append", "append", "rename", "delete")) if folders else "create"
    rest = {other: subjects for other, subjects in before.items() if other != folder}
    if kind == "create":
        return Change(("create", name), {**before, name: frozenset()})
    if kind == "rename":
        return Change(("rename", folder, name), {**rest, name: before[folder]})
    if kind == "delete":
        return Change(("delete", folder), rest)
    body = f"Subject: {serial}\r\n\r\n".encode() + b"text\r\n" * draw.randrange(200)
    return Change(("append", folder, None, None, body), {**rest, folder: before[folder] | {str(serial)}})


class TreeCrashTests(WholeServerCase):
    arguments = ("--option", "allowusermoves=yes")

    def setUp(self) -> None:
        super().setUp()
        self.logins = [self.server.add_user(name, "secret") for name in USERS]
        self.trees: list[tuple[Tree, ...]] = [({"INBOX": frozenset()},) for _ in USERS]
        self.left: set[str] = set()
        self.limits: tuple[int, ...] = (1000,)
        self.wanderers: tuple[str, ...] = ("user/ann",)
        admin = self.imap(self.server.account("admin"))
        for name in ("user/ann", "user/ann/Notes"):
            admin.create(name)
        admin.setacl("user/ann/Notes", "admin", "lrsi")
        admin.append("user/ann/Notes", None, None, b"Subject: one\r\n\r\n")
        admin.setquota("user/ann", "(MESSAGE 50)")
        admin.setquota("user/fred", "(MESSAGE 1000)")

    def test_kill(self) -> None:
        """What was answered has happened; what was not has happened as a whole, or not at all."""
        for round_ in range(ROUNDS):
            self._work_until_killed(round_)
            self.server.start()
            asked = {
                f"user.{login.user}.{name}"
                for login, trees in zip(self.logins, self.trees, strict=True)
                for name in set(trees[0]) ^ set(trees[-1])
            }
            for number, login in enumerate(self.logins):
                self.trees[number] = (self._check_tree(login, self.trees[number]),)
            self._check_quotas()
            self._check_files(asked)
            self.assertNotIn("usage was", self.server.run("quota", "-f"))
        self.server.stop()

    # --- working ----------------------------------------------------------------

    def _work_until_killed(self, round_: int) -> None:
        enough, done = threading.Event(), [0]

        def count() -> None:
            done[0] += 1
            if done[0] >= BEFORE_KILL:
                enough.set()

        def work(number: int) -> None:
            steps = self._user_steps(number, round_) if number < len(USERS) else self._admin_steps()
            try:
                for status in steps:
                    self.assertEqual(status, "OK")
                    count()
            except GONE:
                # Nothing else may end it, such as a command that was refused.
                self.assertTrue(enough.is_set())

        def kill() -> None:
            enough.wait(4 * TIMEOUT)
            self.server.kill()

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        failures = in_threads(len(USERS) + 1, work)
        killer.join()
        self.assertEqual(failures, [])
        self.assertTrue(enough.is_set())

    def _user_steps(self, number: int, round_: int) -> Iterator[str]:
        client, draw = self.imap(self.logins[number]), random.Random(round_)
        (tree,) = self.trees[number]
        for serial in range(round_ * 1_000_000, (round_ + 1) * 1_000_000):
            change = changes(tree, draw, serial)
            self.trees[number] = (tree, change.after)
            command, *arguments = change.words
            status, _ = getattr(client, str(command))(*arguments)
            tree = change.after
            self.trees[number] = (tree,)
            yield status

    def _admin_steps(self) -> Iterator[str]:
        client = self.imap(self.server.account("admin"))
        while True:
            (here,) = self.wanderers
            there = "user/bea" if here == "user/ann" else "user/ann"
            self.wanderers = (here, there)
            status, _ = client.rename(here, there)
            self.wanderers = (there,)
            yield status
            (limit,) = self.limits
            self.limits = (limit, limit + 1)
            status, _ = client.setquota("user/fred", f"(MESSAGE {limit + 1})")
            self.limits = (limit + 1,)
            yield status

    # --- looking ----------------------------------------------------------------

    def _check_tree(self, login: Login, possible: tuple[Tree, ...]) -> Tree:
        client = self.imap(login)
        _, lines = client.list('""', "*")
        names = [line.split()[-1].decode() for line in lines if isinstance(line, bytes)]
        found = {
            name: frozenset(re.findall(r"Subject: (\d+)\r\n", b"".join(fetch_all(client, name).values()).decode()))
            for name in names
        }
        self.assertIn(found, possible)
        return found

    def _check_files(self, asked: set[str]) -> None:
        """
        Nothing is damaged.

        @param asked: Mailboxes that a command was about that was not answered: the directory of one that was to be
            made may be there, and is made anew by whoever makes the mailbox.
        """
        told = json.loads(call("verify", "--json", "--home", str(self.server.home)).stdout)
        left = {each["mailbox"] for each in told["findings"] if "not on the mailbox list" in each["problem"]}
        self.assertEqual(len(left), len(told["findings"]), told)
        self.left |= asked
        self.assertLessEqual(left, self.left)

    def _check_quotas(self) -> None:
        admin = self.imap(self.server.account("admin"))
        (tree,) = self.trees[0]
        used, limit = self._quota(admin, "user/fred")
        self.assertEqual(used, sum(map(len, tree.values())))
        self.assertIn(limit, self.limits)
        self.limits = (limit,)
        _, lines = admin.list('""', "user/%")
        here = [name for name in ("user/ann", "user/bea") if any(name.encode() in (line or b"") for line in lines)]
        self.assertEqual(len(here), 1)
        self.assertIn(here[0], self.wanderers)
        self.wanderers = (here[0],)
        # The quota root and all folders have come along.
        self.assertEqual(self._quota(admin, here[0]), (1, 50))
        self.assertEqual(len(fetch_all(admin, f"{here[0]}/Notes")), 1)

    @staticmethod
    def _quota(client: imaplib.IMAP4, root: str) -> tuple[int, int]:
        """Messages, and how many there may be."""
        _, (line,) = client.getquota(root)
        found = re.search(rb"\(MESSAGE (\d+) (\d+)\)", line)
        assert found is not None, line
        return int(found[1]), int(found[2])
