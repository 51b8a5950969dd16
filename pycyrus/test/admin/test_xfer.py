"""C{pycyrus xfer}, where the other server is not there; see also L{pycyrus.test.whole.test_murder}."""

from __future__ import annotations

import json

from pycyrus.test.admin.tools import ToolsTestCase
from pycyrus.testing.commands import call


class XferTests(ToolsTestCase):
    def test_nowhere(self) -> None:
        """Nothing moves, and what became of it is told."""
        self.assertEqual(self.tool("xfer", "status"), "")
        self.tool("user", "add", "fred", "--password", "secret")
        done = call("xfer", "user", "fred", "nobody", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("user/fred: 127.0.0.1:1: ", done.stderr)
        self.assertIn("user/nobody: no such user or mailbox", done.stderr)
        (told,) = json.loads(self.tool("xfer", "status", "--json"))
        self.assertEqual((told["mailbox"], told["server"], told["state"]), ("user/fred", "127.0.0.1:1", "failed"))
        self.assertIn("127.0.0.1:1", told["error"])
        self.assertIn("user/fred to 127.0.0.1:1: failed", self.tool("xfer", "status"))
        self.assertEqual(self.tool("xfer", "accept"), "")
        done = call("xfer", "partition", "default", "none", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("none: no such partition", done.stderr)
        done = call("xfer", "partition", "default", "--to", "127.0.0.1:1", "--home", str(self.home))
        self.assertIn("user/fred: 127.0.0.1:1: ", done.stderr)
        self.tool("xfer", "accept", "abcdef", code=1)
        done = call("xfer", "cancel", told["id"], "--home", str(self.home))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("not on its way", done.stderr)
