"""Tools called as an administrator does, beside a server that runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase
from typing_extensions import override

from pycyrus.admin.main import main
from pycyrus.testing.server import ServerProcess


def environment() -> dict[str, str]:
    """Has this tree, whatever the current directory is."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)}


def call(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a verb of C{pycyrus}."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "pycyrus.admin.main", *words],
        capture_output=True,
        input=stdin,
        text=True,
        check=False,
        timeout=120,
        env=environment(),
    )


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
