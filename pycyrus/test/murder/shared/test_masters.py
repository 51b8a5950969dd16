"""Two masters as whole servers, on one PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import signal
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from pycyrus.auth.client import ClientCredentials
from pycyrus.auth.users import UserDatabase
from pycyrus.interfaces import Location
from pycyrus.mupdate.client import MupdateClient
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.test.app.launch import Launched
from pycyrus.test.murder.shared.parts import SharedCase
from pycyrus.testing.commands import call
from pycyrus.testing.postgresql import USER

FRED = Location("user.fred", "b1", "default", "fred\tl\t")
JANE = Location("user.jane", "b2", "default", "jane\tl\t")


class MastersTests(SharedCase):
    timeout = 120

    def _write(self) -> Path:
        home = self.directory()
        (home / "c").mkdir()
        database = UserDatabase(home / "c" / "users.db")
        database.add("mupdate", "secret")
        database.close()
        options = {
            "configdirectory": home / "c",
            "partition-default": home / "s",
            "cyrus_user": pwd.getpwuid(os.geteuid()).pw_name,
            "mupdate_admins": "mupdate",
            "allowplaintext": "yes",
            "workers": 0,
            "mboxlist_db": "sql",
            "sql_engine": "pgsql",
            "sql_hostnames": f"127.0.0.1:{self.server.port}, 127.0.0.1:1",
            "sql_user": USER,
            "sql_database": self.database,
        }
        (home / "imapd.conf").write_text("".join(f"{key}: {value}\n" for key, value in options.items()))
        (home / "cyrus.conf").write_text('SERVICES {\n  mupdate cmd="mupdate -m" listen="127.0.0.1:0"\n}\n')
        return home

    async def _start(self, home: Path) -> tuple[Launched, MupdateClient]:
        files = ["-C", str(home / "imapd.conf"), "-M", str(home / "cyrus.conf")]
        server = await deferToThread(lambda: Launched(home / "c", files).__enter__())
        self.addCleanup(lambda: deferToThread(server.stop))
        port = server.ready()["services"]["mupdate"]["port"]
        settings = MasterSettings(
            MasterAddress("127.0.0.1", port), ClientCredentials("mupdate", "mupdate", password="secret")
        )
        client = await connect_to_master(self.reactor, settings)
        self.addCleanup(client.log_out)
        return server, client

    async def test_both(self) -> None:
        """What one is told the other knows; one that was killed has missed nothing; and all is told of the database."""
        homes = [self._write(), self._write()]
        (first, client), (_, other) = [await self._start(home) for home in homes]
        await client.activate(FRED)
        await other.noop()
        self.assertEqual(await other.find("user.fred"), FRED)
        await deferToThread(first.stop, signal.SIGKILL)
        await other.activate(JANE)
        _, client = await self._start(homes[0])
        await client.noop()
        self.assertEqual(await client.find("user.jane"), JANE)
        done = await deferToThread(call, "murder", "status", "--json", "-C", str(homes[0] / "imapd.conf"))
        status: dict[str, Any] = json.JSONDecoder().raw_decode(done.stdout)[0]
        database = status["database"]
        self.assertEqual(database["hosts"][f"127.0.0.1:{self.server.port}"], "takes changes")
        self.assertEqual(database["copy"], database["last_change"])
        self.assertEqual(status["problems"], [f"database {self.database}: 127.0.0.1:1 cannot be asked"])
        self.assertEqual(done.returncode, 1)
