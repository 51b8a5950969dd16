"""Commands with the names of Cyrus's tools that look at a server, or at its databases."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import pwd
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import admin
from pycyrus.admin.main import MODULES, make_parser
from pycyrus.app.programs import VERBS, program_of
from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.commands import call

_BIN = Path(__file__).parents[3] / "bin"


class ToolsTests(ToolsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.user = self.server.account("user").user
        self.inbox = self.home / "spool" / "user" / self.user

    def test_mailboxes(self) -> None:
        self.look_at_mbpath()
        self.look_at_the_dump()
        self.restore()

    def test_the_server(self) -> None:
        self.look_at_databases()
        self.look_at_room()
        self.look_at_options()
        told = json.loads(self.look("cyr_buildinfo"))
        self.assertEqual((told["component"]["idled"], told["database"]["sqlite"]), (True, True))
        self.assertIn("component.idled=true\n", self.look("cyr_buildinfo", "flat"))

    def look_at_mbpath(self) -> None:
        name = f"user/{self.user}"
        self.assertEqual(self.look("mbpath", name), f"{self.inbox}\n")
        self.assertTrue((self.inbox / "1.").exists())
        self.assertEqual(self.look("mbpath", "-u", self.user, "-M"), f"{self.inbox}\n")
        self.assertEqual(self.look("mbpath", "-p", f"{self.inbox}/"), f"{name}\n")
        labels = [line.partition(": ")[0] for line in self.tool("mbpath", "-a", name).splitlines()]
        self.assertEqual(labels, ["Archive", "Data", "Meta", "Sieve", "User"])
        told = json.loads(self.look("mbpath", "-j", name))
        self.assertEqual((told["data"], told["user"]["seen"]), (str(self.inbox), f"{self.home}/userstate.db"))
        self.assertEqual(self.look("mbpath", "-q", "-s", "user/nobody", name, code=os.EX_DATAERR), "")
        self.assertEqual(self.look("mbpath", "user/nobody", name), f"{self.inbox}\n")

    def look_at_the_dump(self) -> None:
        dump = self.look("ctl_mboxlist", "-d")
        entry = json.loads(dump)[f"user.{self.user}"]
        self.assertEqual((entry["partition"], entry["acl"]), ("default", {self.user: "lrswipkxtean"}))
        self.assertEqual(
            entry["uniqueid"], json.loads((self.inbox / "pycyrus.header").read_text().splitlines()[0])["unique_id"]
        )
        self.assertEqual(json.loads(self.look("ctl_mboxlist", "-d", "-p", "other")), {})
        self.assertEqual(self.look("ctl_mboxlist", "-v"), "")
        stray = self.home / "spool" / "user" / "stray"
        shutil.copytree(self.inbox, stray)
        try:
            self.assertIn(str(stray), self.look("ctl_mboxlist", "-v", code=os.EX_DATAERR))
        finally:
            shutil.rmtree(stray)

    def restore(self) -> None:
        """Mailboxes that are not there are made, with their rights; in the form of old dumps too; twice is once."""
        new = {"user.amy": {"acl": {"amy": "lrs", "anyone": "p"}, "partition": "default", "mbtype": "e"}}
        told = "0 found on disk, {} created, {} with other rights\n"
        self.assertEqual(self.tool("ctl_mboxlist", "-u", "-n", stdin=json.dumps(new)), told.format(1, 0))
        for created in (1, 0):
            self.assertEqual(self.tool("ctl_mboxlist", "-u", stdin=json.dumps(new)), told.format(created, 0))
        old = "user.amy\t0 default amy\tlrswipcda\tanyone\tp\t>4ee5 1795245254 3 4 5 \n"
        self.assertEqual(self.tool("ctl_mboxlist", "-u", "-L", stdin=old), told.format(0, 1))
        acl = json.loads(self.look("ctl_mboxlist", "-d"))["user.amy"]["acl"]
        self.assertEqual((set(acl["amy"]) >= set("lrswipkxtea"), acl["anyone"]), (True, "p"))
        self.tool("ctl_mboxlist", "-u", stdin="no dump", code=os.EX_DATAERR)

    def look_at_databases(self) -> None:
        """Copies that can be read, of this time and the last."""
        self.assertEqual(self.tool("ctl_cyrusdb", "-r"), "")
        for _ in range(3):
            self.assertEqual(self.look("ctl_cyrusdb", "-c"), "")
        for name in ("db.backup1", "db.backup2"):
            with closing(sqlite3.connect(self.home / name / "mailboxes.db")) as connection:
                keys = [row[0] for row in connection.execute("SELECT owner FROM mailboxes")]
                self.assertIn(self.user, " ".join(map(str, keys)))
        self.assertFalse((self.home / "db.backup1.new").exists())

    def look_at_room(self) -> None:
        head, line = self.look("cyr_df").splitlines()
        self.assertEqual(head.split(), ["Partition", "1k-blocks", "Used", "Available", "Use%", "Location"])
        self.assertRegex(line, rf"^default +\d+ +\d+ +\d+ +\d+% {re.escape(str(self.home))}/spool$")
        self.assertGreater(json.loads(self.look("cyr_df", "--json"))["default"]["total"], 0)

    def look_at_options(self) -> None:
        conf = self.look("cyr_info", "conf").splitlines()
        self.assertIn(f"configdirectory: {self.home}", conf)
        self.assertIn(f"partition-default: {self.home}/spool", conf)
        self.assertFalse([line for line in conf if line.startswith("timeout:")])
        everything = self.look("cyr_info", "conf-all", "--option", "imap_timeout=2h", "-n", "imap").splitlines()
        self.assertIn("timeout: 7200", everything)
        self.assertIn("allowplaintext: yes", everything)
        self.assertIn("allowplaintext: no", self.look("cyr_info", "conf-default").splitlines())
        self.assertEqual(self.look("cyr_info", "conf-lint"), "")


class CommandLineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        self.conf = self.root / "imapd.conf"
        self.conf.write_text(f"configdirectory: {self.root}/conf\npartition-default: {self.root}/spool\n")

    def test_lint(self) -> None:
        """Lines that cannot be used, as they are; services of cyrus.conf may prefix options."""
        (self.root / "cyrus.conf").write_text('SERVICES {\n mine cmd="imapd" listen="143"\n}\n')
        with self.conf.open("a") as file:
            file.write("mine_timeout: 30\nyours_timeout: 30\nnonsense: yes\n")
        done = call("cyr_info", "-C", str(self.conf), "conf-lint")
        self.assertEqual((done.returncode, done.stdout), (0, "yours_timeout: 30\nnonsense: yes\n"))

    def test_without_cyrus_conf(self) -> None:
        """Tools need none, as Cyrus's do not, whatever services have options."""
        with self.conf.open("a") as file:
            file.write("mine_timeout: 30\n")
        done = call("cyr_info", "-C", str(self.conf), "conf")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("mine_timeout: 30\n", done.stdout)

    def test_mkimap(self) -> None:
        done = call("mkimap", str(self.conf), "--option", f"cyrus_user={pwd.getpwuid(os.geteuid()).pw_name}")
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in (f"i saw partition {self.root}/spool.", f"configuring {self.root}/conf...", "done"):
            self.assertIn(line, done.stdout.splitlines())
        self.assertTrue((self.root / "conf" / "proc").is_dir() and (self.root / "spool" / "stage.").is_dir())

    def test_wrong_usage(self) -> None:
        self.assertEqual(call("mbpath", "--nonsense").returncode, os.EX_USAGE)

    def test_verbs(self) -> None:
        """Each verb is found in the module that has it, and no module has one that is not found."""
        registered: dict[str, str] = {}
        for found in pkgutil.iter_modules(admin.__path__):
            module = importlib.import_module(f"{admin.__name__}.{found.name}")
            if hasattr(module, "register"):
                verbs = argparse.ArgumentParser().add_subparsers()
                module.register(verbs)
                registered.update(dict.fromkeys(verbs.choices, found.name))
        self.assertEqual(registered, MODULES)

    def test_scripts(self) -> None:
        """Each of Cyrus's names is a script of ours, and can be in cyrus.conf."""
        called: dict[str, str] = {}
        for path in _BIN.iterdir():
            found = re.search(r"^run_verb (\S+) ", path.read_text(), re.M)
            if found is not None:
                called[path.name] = found[1]
        self.assertEqual({name: called.get(name) for name in VERBS}, VERBS)
        known = make_parser().format_help()
        for name, verb in called.items():
            self.assertIn(f"\n    {verb}", known)
            self.assertTrue(os.access(_BIN / name, os.X_OK), name)
        self.assertEqual(program_of(("ctl_cyrusdb", "-c")).verb, "ctl_cyrusdb")
        self.assertTrue(program_of(("ctl_cyrusdb", "-r")).needless)
