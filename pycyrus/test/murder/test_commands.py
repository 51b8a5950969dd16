"""C{pycyrus murder} and C{ctl_mboxlist -m}, in processes of their own."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from typing_extensions import override

from pycyrus.interfaces import Location, LocationState
from pycyrus.store.locations import Locations
from pycyrus.test.mupdate.test_master import FRED, MasterCase
from pycyrus.testing.commands import call

OWN = "b1.example"
net: Any = reactor


class CommandTests(MasterCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.home = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home)
        self.write(proxyservers="mailproxy")

    def write(self, **options: str) -> None:
        options = {
            "configdirectory": f"{self.home}/c",
            "partition-default": f"{self.home}/s",
            "cyrus_user": pwd.getpwuid(os.geteuid()).pw_name,
            "servername": OWN,
            "mupdate_server": f"127.0.0.1:{self.port}",
            "mupdate_authname": "admin",
            "mupdate_password": "secret",
            **options,
        }
        (self.home / "imapd.conf").write_text("".join(f"{key}: {value}\n" for key, value in options.items() if value))
        (self.home / "cyrus.conf").write_text('SERVICES {\n  imap cmd="imapd" listen="127.0.0.1:0"\n}\n')

    async def call(self, *words: str, code: int = 0) -> str:
        """Run it, while our master goes on; @return: what it printed."""
        done = await deferToThread(call, *words, *self.conf)
        printed: str = done.stdout + (done.stderr if code else "")
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return printed

    async def answer(self, given: str, *words: str) -> None:
        """Run it, and answer its questions."""
        command = [sys.executable, "-m", "pycyrus.admin.main", *words, *self.conf]
        await deferToThread(subprocess.run, command, input=given, stdout=subprocess.DEVNULL, text=True, check=True)

    @property
    def conf(self) -> tuple[str, str]:
        return "-C", str(self.home / "imapd.conf")

    def known(self) -> dict[str, str]:
        return {each.mailbox: each.where for each in self.locations.page("", "", 100)}

    async def status(self, code: int = 0) -> dict[str, Any]:
        printed = await self.call("murder", "status", "--json", code=code)
        # Behind it may be what went wrong.
        found: dict[str, Any] = json.JSONDecoder().raw_decode(printed)[0]
        return found

    async def test_a_backend(self) -> None:
        await self.call("user", "add", "fred", "--password", "x")
        self.assertEqual(self.known(), {"user.fred": f"{OWN}!default"})
        self.assertEqual((await self.status())["untold"], 0)
        await self.locations.delete("user.fred")
        await self.locations.activate(Location("user.gone", OWN, "default", "x\tl\t"))
        status = await self.status(code=1)
        self.assertEqual((status["roles"], status["untold"], len(status["problems"])), (["backend"], 2, 1))
        printed = await self.call("ctl_mboxlist", "-m", "-w")
        self.assertEqual(set(printed.splitlines()), {"Force Activate: user.fred", "Remove from MUPDATE: user.gone"})
        self.assertEqual(set(self.known()), {"user.gone"})
        await self.answer("y\nn\n", "murder", "push", "-i")
        self.assertEqual(set(self.known()), {"user.gone", "user.fred"})
        await self.call("ctl_mboxlist", "-m")
        self.assertEqual(set(self.known()), {"user.fred"})

    async def test_a_conflict(self) -> None:
        """What is here and elsewhere is told, and stays in both places."""
        await self.call("user", "add", "fred", "--password", "x")
        await self.locations.activate(FRED)
        printed = await self.call("ctl_mboxlist", "-m", code=1)
        self.assertIn("Conflict: user.fred", printed)
        self.assertEqual((await self.status(code=1))["conflicts"], ["user.fred"])
        self.assertEqual(self.locations.find("user.fred"), FRED)
        await self.call("ctl_mboxlist", "-m", "-a")
        self.assertEqual(self.known(), {"user.fred": f"{OWN}!default"})

    async def test_a_dump(self) -> None:
        """What is elsewhere is told as Cyrus does, and what is here once; such a dump lists nothing here again."""
        self.write(mupdate_config="unified")
        await self.call("user", "add", "fred", "--password", "x")
        copy = Locations(self.home / "c", net, is_copy=True)
        half = Location("user.half", "b2:143", "", "", LocationState.RESERVED)
        await copy.follow([FRED, Location("ex.com!user.eve", "b2:143", "fast", "eve@ex.com\tlr\tanyone\tl\t"), half])
        await copy.close()
        dump = await self.call("ctl_mboxlist", "-d")
        told = json.loads(dump)
        self.assertEqual(set(told), {"user.fred", "user.half", "ex.com!user.eve"})
        self.assertNotIn("server", told["user.fred"])
        eve = told["ex.com!user.eve"]
        self.assertEqual((eve["mbtype"], eve["server"], eve["partition"]), ("er", "b2:143", "fast"))
        self.assertEqual(eve["acl"], {"eve@ex.com": "lr", "anyone": "l"})
        self.assertEqual((told["user.half"]["mbtype"], told["user.half"]["acl"]), ("erz", {}))
        self.assertEqual(set(json.loads(await self.call("ctl_mboxlist", "-d", "-p", "fast"))), {"ex.com!user.eve"})
        other = str(shutil.copy(self.home / "c" / "mailboxes.db", self.home / "other.db"))
        self.assertEqual(set(json.loads(await self.call("ctl_mboxlist", "-d", "-f", other))), {"user.fred"})
        self.assertIn("-f goes with -d", await self.call("ctl_mboxlist", "-v", "-f", other, code=1))
        (self.home / "dump").write_text(dump)
        printed = await self.call("ctl_mboxlist", "-u", str(self.home / "dump"))
        self.assertEqual(printed, "0 found on disk, 0 created, 0 with other rights\n")

    async def test_a_server_that_is_no_more(self) -> None:
        """What it claimed, or had, is forgotten when an administrator says so, and nothing else is."""
        reserved = LocationState.RESERVED
        await self.locations.follow(
            [
                Location("user.half", "dead", "default", "", reserved),
                Location("user.whole", "dead", "default", "x\tl\t"),
                Location("user.other", "alive", "default", "", reserved),
                Location("user.own", OWN, "default", "", reserved),
            ]
        )
        before = self.known()
        printed = await self.call("murder", "forget", "--server", "dead", "-w", code=1)
        self.assertIn("Remove from MUPDATE: user.half at dead\n", printed)
        self.assertIn("user.whole: it is in use at dead", printed)
        printed = await self.call("murder", "forget", "user/own", "user/whole", "user/none", code=1)
        for why in ("own: it is this server's", "whole: it is in use at dead", "none: the master does not know it"):
            self.assertIn(why, printed)
        self.assertEqual(self.known(), before)
        await self.call("murder", "forget", "user/half")
        self.assertEqual(set(self.known()), {"user.whole", "user.other", "user.own"})
        await self.call("murder", "forget", "--server", "dead", "--active")
        self.assertEqual(set(self.known()), {"user.other", "user.own"})
        # What a server claimed itself, and did not come to use, goes when it tells what it has.
        await self.call("murder", "push")
        self.assertEqual(set(self.known()), {"user.other"})

    async def test_without_a_master(self) -> None:
        """No name is taken that nobody can say is free; and the reason is told."""
        self.write(proxyservers="mailproxy", mupdate_server="127.0.0.1:1")
        printed = await self.call("user", "add", "fred", "--password", "x", code=1)
        self.assertIn("MUPDATE master", printed)
        self.assertIn("PROBLEM: the master cannot be used", await self.call("murder", "status", code=1))

    async def test_outside(self) -> None:
        self.write(mupdate_server="")
        self.assertIn("not part of a Murder", await self.call("murder", "status", code=1))
        self.write()
        self.assertIn("no mailboxes to tell a master of", await self.call("murder", "push", code=1))
