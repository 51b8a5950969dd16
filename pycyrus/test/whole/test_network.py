"""Servers that are cut off from one another."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pycyrus
from pycyrus.testing.network import own_namespace

_TRY = "from pycyrus.testing.network import Network; n = Network(); n.add('a'); n.close()"
_TIMEOUT = 600.0


class NetworkTests(SynchronousTestCase):
    def _in_network(self, *words: str) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as directory:
            return subprocess.run(
                [*own_namespace(), sys.executable, *words],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": str(Path(pycyrus.__file__).parents[1])},
            )

    def test_cut_off(self) -> None:
        """See L{pycyrus.test.whole.in_network}, which needs a network namespace."""
        tried = self._in_network("-c", _TRY)
        if tried.returncode:
            if os.environ.get("CI") == "true":
                self.fail(tried.stderr)
            self.skipTest(f"there are no network namespaces here: {tried.stderr.strip()[-300:]}")
        done = self._in_network("-m", "twisted.trial", "pycyrus.test.whole.in_network")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
