"""C{bin/reconstruct}, as an administrator calls it beside a server: every option, and the exit status."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from typing_extensions import override

from pycyrus.model.acl import Acl
from pycyrus.model.names import parse_internal
from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.mailboxes import text
from pycyrus.test.store.test_expiry import ADMIN

BIN = Path(__file__).parents[3] / "bin"
WITH_ANYONE = Acl((("fred", frozenset("lrswipkxtean")), ("anyone", frozenset("lr"))))


class ReconstructTests(BesideStoreTestCase):
    """There are two partitions; messages 1 to 3 are in C{user.fred}, 1 in C{user.fred.Sent}."""

    mailboxes = ("user.fred", "user.fred.Sent", "user.bob")

    @override
    def setUp(self) -> None:
        super().setUp()
        self.world.append("user.fred", text(1), text(2), text(3))
        self.world.append("user.fred.Sent", text(1))
        self.fred = self.home / "spool" / "user" / "fred"

    @override
    def more_configuration(self) -> str:
        return f"partition-second: {self.home}/second\ndefaultpartition: default\n"

    def call(self, *words: str, code: int = 0) -> tuple[str, list[str]]:
        """
        Call what the script calls.

        @return: What it printed, and lines of its complaints.
        """
        output, errors = self.tool("reconstruct", *words, code=code)
        return output, errors.splitlines()

    def call_script(self, *words: str) -> tuple[int, str, str]:
        """Call the script as it is, without the environment that bin/pycyrus makes."""
        tools = self.home / "bin"
        tools.mkdir()
        for name in ("reconstruct", "cyrus-tool"):
            shutil.copy(BIN / name, tools)
        (tools / "pycyrus").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pycyrus.admin.main "$@"\n')
        (tools / "pycyrus").chmod(0o755)
        environment = {**os.environ, "CYRUS_CONFIG": str(self.home / "imapd.conf"), "PYTHONPATH": str(BIN.parent)}
        done = subprocess.run(
            [str(tools / "reconstruct"), *words],
            capture_output=True, text=True, timeout=120, check=False, env=environment,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def rights(self, name: str) -> dict[str, frozenset[str]]:
        """Who has which rights."""
        entry = self.world.store.directory.lookup(parse_internal(name))
        assert entry is not None
        return dict(entry.acl.entries)

    def listed(self) -> list[str]:
        """Internal names of fred's mailboxes that are not deleted."""
        store = self.world.store
        return [store.tree.text(entry) for entry in store.directory.entries() if entry.name.owner == "fred"]

    def test_which_mailboxes(self) -> None:
        """One, C{-r} those below, C{-u} of users, C{-p} of a partition, or all; C{-q} prints no names."""
        self.assertEqual(self.call("user/fred"), ("user/fred\n", []))
        self.assertEqual(
            self.call("-r", "user/fred", "user/bob"),
            ("user/bob\nuser/fred\nuser/fred/Sent\n", []),
        )
        self.assertEqual(self.call("-u", "fred"), ("user/fred\nuser/fred/Sent\n", []))
        self.assertEqual(self.call("-p", "second"), ("", []))
        self.assertEqual(self.call("-p", "default", "-q"), ("", []))
        self.assertEqual(self.call()[0], "user/bob\nuser/fred\nuser/fred/Sent\n")

    def test_script(self) -> None:
        """It finds the configuration as Cyrus's tools do, and gives the exit status back."""
        self.assertEqual(self.call_script("-r", "-M", "user/fred")[:2], (0, "user/fred\nuser/fred/Sent\n"))

    def test_nothing_to_mend(self) -> None:
        """What is said of mailboxes, users and options that are none, or that do nothing here."""
        output, errors = self.call("user/nobody", code=1)
        self.assertEqual(
            (output, errors),
            ("", ["pycyrus: user/nobody: not on the mailbox list; if it is on disk, -f puts it there"]),
        )
        self.assertIn("not on the mailbox list", self.call("-u", "nobody", code=1)[1][0])
        self.assertIn("cannot be a user", self.call("-u", "a/b", code=1)[1][0])
        self.assertEqual(self.call("-R", "-U", "user/fred", code=1), ("", ["pycyrus: -R and -U exclude each other"]))
        self.assertIn("unrecognized arguments: -d", self.call("-d", code=64)[1][-1])
        output, errors = self.call("-M", "-P", "-V", "max", "user/bob")
        self.assertEqual(output, "user/bob\n")
        self.assertEqual([line.split()[1] for line in errors], ["-M", "-P", "-V"])
        self.assertTrue(all("does nothing" in line for line in errors))

    def test_messages(self) -> None:
        """C{-n} changes nothing, C{-s} compares no sizes, C{-G} compares octets, C{-R} renumbers, C{-U} removes."""
        (self.fred / "2.").write_bytes(b"other octets")
        told = "user/fred: 2: its octets are not those that were stored: "
        self.assertEqual(self.call("-s", "user/fred"), ("user/fred\n", []))
        self.assertEqual(self.call("-n", "-R", "user/fred"), ("user/fred\n", [f"{told}gets another UID"]))
        self.assertEqual(self.world.view("user.fred"), [1, 2, 3])
        self.assertEqual(self.call("-R", "user/fred"), ("user/fred\n", [f"{told}gets another UID"]))
        self.assertEqual(self.world.view("user.fred"), [1, 3, 4])
        self.assertEqual((self.fred / "4.").read_bytes(), b"other octets")
        octets = (self.fred / "3.").read_bytes()
        (self.fred / "3.").write_bytes(octets.replace(b"x", b"y"))
        self.assertEqual(self.call("user/fred"), ("user/fred\n", []))
        self.assertEqual(len(self.call("-G", "user/fred")[1]), 1)
        self.assertEqual(self.world.view("user.fred"), [1, 3, 4])
        self.assertEqual(len(self.call("-G", "-U", "user/fred")[1]), 2)
        self.assertEqual(self.world.view("user.fred"), [1, 4])
        self.assertEqual((self.fred / "pycyrus.quarantine" / "3.0").read_bytes(), octets.replace(b"x", b"y"))

    def test_odd_files(self) -> None:
        """Told, C{-o} not told, C{-O} deleted."""
        (self.fred / "core").write_bytes(b"")
        self.assertEqual(self.call("user/fred")[1], ["user/fred: core: an odd file"])
        self.assertEqual(self.call("-o", "user/fred")[1], [])
        self.assertEqual(self.call("-O", "-n", "user/fred")[1], ["user/fred: core: an odd file: deleted"])
        self.assertTrue((self.fred / "core").exists())
        self.call("-O", "user/fred")
        self.assertFalse((self.fred / "core").exists())

    def test_files_are_missing(self) -> None:
        """Most of them: the exit status is 1, and the other mailboxes are done; C{--accept-loss} goes on."""
        for uid in (1, 3):
            (self.fred / f"{uid}.").unlink()
        output, errors = self.call(code=1)
        self.assertEqual(output, "user/bob\nuser/fred/Sent\n")
        (error,) = errors
        self.assertIn("pycyrus: user/fred: 2 of 3 message files are missing", error)
        self.assertIn("--accept-loss", error)
        self.assertEqual(self.world.view("user.fred"), [1, 2, 3])
        output, errors = self.call("--accept-loss", "user/fred")
        self.assertEqual(errors, [f"user/fred: {uid}: its file is missing: expunged" for uid in (1, 3)])
        self.assertEqual(self.world.view("user.fred"), [2])

    def test_find(self) -> None:
        """C{-f} puts what is on disk on the list; C{-n} does not; C{-x} does not believe the header's rights."""
        shutil.copytree(self.fred / "Sent", self.home / "Sent")
        for option in ((), ("-x",)):
            self.world.run(self.world.store.set_acl(ADMIN, parse_internal("user.fred.Sent"), WITH_ANYONE))
            shutil.rmtree(self.home / "Sent")
            shutil.copytree(self.fred / "Sent", self.home / "Sent")
            self.world.run(self.world.store.delete(ADMIN, parse_internal("user.fred.Sent")))
            self.world.expire()
            shutil.copytree(self.home / "Sent", self.fred / "Sent")
            told = self.call("-f", "-n", "user/fred")[1]
            self.assertEqual(told, ["user/fred/Sent: would be on the mailbox list again"])
            self.assertEqual(self.listed(), ["user.fred"])
            output, errors = self.call("-f", *option, "user/fred")
            self.assertEqual(
                (output, errors), ("user/fred\nuser/fred/Sent\n", ["user/fred/Sent: is on the mailbox list again"])
            )
            self.assertEqual("anyone" in self.rights("user.fred.Sent"), not option)
        self.assertEqual(self.world.view("user.fred.Sent"), [1])
