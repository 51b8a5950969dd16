"""Commands with Cyrus's names that look into mailboxes and databases."""

from __future__ import annotations

import imaplib
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.admin.main import make_parser
from pycyrus.sqlite.opening import define_checksum
from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.commands import call
from pycyrus.testing.server import Login

FLAGS = {
    # Words with which scripts made for Cyrus 3.6 call its programs.
    "cyr_expire": ("-E 3 -X 7d -D 1.5d -A 30 -p user -u fred -t -x -a -c -v", "-E 0"),
    "ctl_cyrusdb": ("-r", "-r -x", "-c"),
    "ctl_deliver": ("-d", "-d -f other.db"),
    "ctl_mboxlist": ("-d", "-d -p default -y", "-u dump", "-u -L", "-v", "-m -w", "-m -a", "-m -i"),
    "reconstruct": ("-r -f -x -p default user/fred", "-u fred jane", "-n -s -q -G -R", "-G -U", "-o",
        "-O -M", "-V max", "-P",
    ),
    "quota": ("", "-f user/fred", "-d example.org", "-u fred", "-q -f", "-n", "-J"),
    "squatter": ("-r user", "-i -s -a -v", "-R -n channel", "-u fred"),
    "cyr_info": ("conf", "conf-all", "conf-default", "conf-lint -n imap -M cyrus.conf", "proc",
        "-s 2.5.0 conf", "version",
    ),
    "unexpunge": ("-l user/fred 1 2", "-a user/fred", "-t 2h -d -v -f Back user/fred", "-u user/fred 1 2"),
    "ipurge": ("-f -d 30", "-x -b 1000 user/fred", "-k 10 -X -i", "-m 1 -s -o -n -v -M user/*"),
    "mbpath": ("-u fred", "-p /x", "-A -l -q -s -7 user/fred", "-D x", "-M x", "-m x", "-S x", "-U x", "-a x", "-j x"),
    "mbexamine": ("user/fred", "-u 1 user/fred", "-s 1 user/fred", "-q user/fred"),
    "cyr_df": ("", "-m"),
    "cyr_deny": ("-s pop3 -m no fred", "-a fred", "-l"),
    "deliver": ("-r a@b -m box -a admin -q fred", "-f a@b fred", "-l"),
    "chk_cyrus": ("", "default", "-P default", "-M user/fred"),
    "cyr_ls": ("-l -m -R -1 -7 -i user/fred", "-p /x"),
    "cyr_userseen": ("", "-d"),
    "cyr_dbtool": ("f.db flat show", "-n -T f.db flat set k v", "-M f.db twoskip consistent"),
    "cyr_synclog": ("-u fred", "-m user.fred -v"),
    "arbitron": ("-d 30 -o -u -l news.*",),
    "mkimap": ("imapd.conf", ""),
    "cyr_buildinfo": ("", "pretty"),
    "tls_prune": ("",),
    "ptexpire": ("-E 10",),
    "master": ("-M cyrus.conf -p pid -l 32 -d -j 10 -L log -D -v",),
}  # fmt: skip


class FlagsTests(SynchronousTestCase):
    def test_flags(self) -> None:
        """Each is known, with C{-C} in front of it."""
        verbs = {"cyr_expire": "expire", "cyr_deny": "deny", "ctl_deliver": "deliveries"}
        for name, lines in FLAGS.items():
            verb = verbs.get(name, name)
            for line in lines:
                arguments = make_parser(verb).parse_args([verb, "-C", "/x/imapd.conf", *line.split()])
                told = str(getattr(arguments, "imapd_conf", "/x/imapd.conf"))
                self.assertEqual(told, "/x/imapd.conf", f"{name} {line}")


class LookingTests(ToolsTestCase):
    def setUp(self) -> None:
        super().setUp()
        login = self.server.account("user")
        self.user = login.user
        with self.client(login) as client:
            for name in ("Sent", "Sent/Old", "Notes"):
                client.create(name)
            client.setacl("Sent", "admin", "lrsi")
        with self.client(self.server.account("admin")) as client:
            client.append(f"user/{self.user}/Sent", "", "", b"Subject: x\r\n\r\n")
            client.create("shared/a/b")

    def client(self, login: Login) -> imaplib.IMAP4:
        """Is logged in, until it is left."""
        client = imaplib.IMAP4("127.0.0.1", self.server.port("imap"), 30.0)
        client.login(login.user, login.password)
        return client

    def test_tools(self) -> None:
        self.look_at_cyr_ls()
        self.look_at_chk_cyrus()
        self.look_at_seen()
        self.look_at_databases()
        self.change_the_flat_one()

    def look_at_cyr_ls(self) -> None:
        name = f"user/{self.user}"
        self.assertEqual(self.look("cyr_ls", "-1", name), f"\n{name}:\n\n Notes\n Sent\n")
        self.assertEqual(self.look("cyr_ls", name).split(), [f"{name}:", "Notes", "Sent"])
        self.assertIn(f"\n{name}/Sent:\n\n Old", self.look("cyr_ls", "-R", name))
        self.assertRegex(self.look("cyr_ls", "-l", name), r"\ndrwx------ \d+ \S+ +\S+ +\d+ \w{3} .*:\d\d  Sent\n")
        self.assertEqual(
            self.look("cyr_ls", "-p", str(self.home / "spool/user" / self.user / "Sent")).split()[1:], ["Old"]
        )
        self.assertEqual(self.look("cyr_ls", "shared/a", code=os.EX_DATAERR), "")
        self.assertRegex(self.look("cyr_ls", "-i", name), r"\n[0-9a-f-]{36}  Notes +\n?[0-9a-f-]{36}  Sent")

    def look_at_chk_cyrus(self) -> None:
        told = self.look("chk_cyrus")
        self.assertTrue(told.startswith("Examining partition: ALL PARTITIONS\n"))
        self.assertIn(f"checking: user.{self.user}.Sent\n", told)
        self.assertEqual(self.look("chk_cyrus", "-P", "other"), "Examining partition: other\n")
        name = f"user/{self.user}/Notes"
        self.assertEqual(self.look("chk_cyrus", "-M", name), f"Examining mailbox: {name}\n")
        (self.home / "spool/user" / self.user / "1.").unlink()
        self.assertIn("1.", self.look("chk_cyrus", code=1))

    def look_at_seen(self) -> None:
        with self.client(self.server.account("admin")) as client:
            client.select(f"user/{self.user}/Sent")
            client.store("1", "+FLAGS", "(\\Seen)")
            client.close()
        # It is in the database a while later, and at the end at the latest.
        self.server.stop()
        sent = f"user.{self.user}.Sent"
        self.assertIn(f"{sent} 1\n", self.look("arbitron"))
        self.assertEqual(self.look("arbitron", "-u", f"{sent}*"), f"{sent} 1 admin\n{sent}.Old 0\n")
        self.assertEqual(self.look("cyr_userseen"), "")
        with closing(sqlite3.connect(self.home / "userstate.db")) as connection, connection:
            define_checksum(connection)
            connection.execute("UPDATE seen SET user_id = ?", (self.user,))
        line = f"removing seen for {self.user} on {sent}\n"
        self.assertEqual([self.look("cyr_userseen", *words) for words in ((), ("-d",), ())], [line, line, ""])

    def look_at_databases(self) -> None:
        path = str(self.home / "mailboxes.db")
        shown = self.look("cyr_dbtool", path, "sqlite", "show", "mailboxes/")
        (line,) = [line for line in shown.splitlines() if "Notes" in line]
        key, _, value = line.partition("\t")
        self.assertEqual(json.loads(value)["partition"], "default")
        self.assertEqual(self.look("cyr_dbtool", path, "twoskip", "get", key), f"{value}\n")
        self.assertEqual(self.look("cyr_dbtool", path, "twoskip", "consistent"), "Yes, consistent\n")
        self.assertEqual(self.look("cyr_dbtool", path, "twoskip", "set", key, "x", code=1), "")
        self.assertEqual(self.look("cyr_dbtool", path, "twoskip", "repack"), "")
        self.assertEqual(self.look("cyr_dbtool", path, "sqlite", "show", "mailboxes/"), shown)
        self.assertEqual(self.look("cyr_dbtool", f"{path}.no", "flat", "show", code=os.EX_TEMPFAIL), "")

    def change_the_flat_one(self) -> None:
        path = str(self.home / "user_deny.db")
        self.look("cyr_dbtool", "-n", path, "flat", "set", "eve", "2\tpop3\tno")
        self.assertEqual(self.look("deny", "-l"), "eve\tpop3\tno\n")
        self.assertEqual(Path(path).read_bytes(), b"eve\t2\xff\x89pop3\xff\x89no\n")
        self.assertEqual(self.look("cyr_dbtool", path, "flat", "get", "eve"), "2\tpop3\tno\n")
        self.look("cyr_dbtool", path, "flat", "delete", "eve")
        self.assertEqual(self.look("cyr_dbtool", path, "flat", "show"), "")

    def test_the_needless_one(self) -> None:
        done = call("cyr_synclog", "-u", "fred")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
