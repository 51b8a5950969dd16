"""Tools called as an administrator does, beside a server that runs or a store that is open."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from pycyrus.admin.main import main
from pycyrus.model.names import parse_internal
from pycyrus.test.store.test_expiry import ADMIN, World
from pycyrus.testing.commands import call
from pycyrus.testing.server import ServerProcess


def configure(home: Path, extra: str = "") -> Path:
    """
    Write C{cyrus.conf} and C{imapd.conf} for a store in a directory.

    @param extra: Further lines of C{imapd.conf}.
    @return: C{imapd.conf}.
    """
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "imapd.conf"
    configuration.write_text(
        f"configdirectory: {home}/config\npartition-default: {home}/spool\n"
        f"cyrus_user: {pwd.getpwuid(os.geteuid()).pw_name}\n{extra}"
    )
    (home / "cyrus.conf").write_text('SERVICES {\n  imap cmd="imapd" listen="127.0.0.1:0"\n}\n')
    return configuration


class BesideStoreTestCase(SynchronousTestCase):
    """Has a store open; tools look at it from processes of their own."""

    mailboxes: ClassVar[tuple[str, ...]] = ("user.fred",)

    @override
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.configuration = configure(self.home, self.more_configuration())
        self.world = self.make_world()
        self.addCleanup(self.world.close)
        for name in self.mailboxes:
            self.world.run(self.world.store.create(ADMIN, parse_internal(name)))

    def more_configuration(self) -> str:
        """Further lines of C{imapd.conf}."""
        return ""

    def make_world(self) -> World:
        """The open store."""
        return World(self.home)

    def tool(self, verb: str, *words: str, code: int = 0) -> tuple[str, str]:
        """
        Run a verb.

        @param code: That it is to end with.
        @return: What it printed, and what it complained of.
        """
        done = call(verb, "-C", str(self.configuration), *words)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout, done.stderr


class ToolsTestCase(SynchronousTestCase):
    """Has a server."""

    arguments: ClassVar[tuple[str, ...]] = ()

    @override
    def setUp(self) -> None:
        root = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, root)
        self.server = ServerProcess(root, *self.arguments)
        self.server.start()
        self.addCleanup(self.server.stop)
        self.home = self.server.home

    def tool(self, *words: str, stdin: str = "", code: int = 0) -> str:
        """
        Run a verb on the server's directory, as a program.

        @param code: That it is to end with.
        @return: What it printed.
        """
        done = call(*words, "--home", str(self.home), stdin=stdin)
        self.assertEqual(done.returncode, code, done.stderr)
        return done.stdout

    def look(self, *words: str, code: int = 0) -> str:
        """Run a verb that needs no reactor, in this process, which takes less time."""
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            self.assertEqual(main([*words, "--home", str(self.home)]), code, errors.getvalue())
        return output.getvalue()
