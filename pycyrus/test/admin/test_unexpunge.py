"""C{pycyrus unexpunge}, as an administrator calls it beside a server."""

from __future__ import annotations

import json

from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.mailboxes import text


class UnexpungeTests(BesideStoreTestCase):
    def call(self, *words: str, code: int = 0) -> tuple[str, str]:
        return self.tool("unexpunge", *words, code=code)

    def test_life(self) -> None:
        """Listed, previewed, brought back; the server that has the mailbox open sees them."""
        world = self.world
        world.append("user.fred", text(1), text(2), text(3))
        world.expunge("user.fred", 1, 2)
        printed, _ = self.call("-l", "user/fred", "1")
        lines = printed.splitlines()
        self.assertEqual(lines[0], "UID: 1")
        self.assertIn("\tSubj: number 1", lines)
        self.assertIn("\tFrom: a@example.org", lines)
        self.assertEqual(printed.count("UID:"), 1)
        listed = json.loads(self.call("-l", "--json", "user/fred")[0])
        self.assertEqual([facts["uid"] for facts in listed], [1, 2])

        printed, _ = self.call("-n", "-t", "1h", "user/fred")
        self.assertIn("2 expunged messages would come back; nothing was changed", printed)
        self.assertEqual(world.view("user.fred"), [3])

        printed, _ = self.call("-u", "-d", "-f", "Back", "-v", "user/fred", "2")
        self.assertEqual(printed, "Unexpunged user/fred: 2 => 4\nrestored 1 expunged messages\n")
        self.assertEqual(world.view("user.fred"), [3, 4])
        self.assertEqual(self.call("-a", "user/fred")[0], "restored 1 expunged messages\n")
        self.assertEqual(world.view("user.fred"), [3, 4, 5])

    def test_mistakes(self) -> None:
        """One line each."""
        for words, code, complaint in (
            (("-a", "user/nobody"), 1, "pycyrus: there is no mailbox user/nobody\n"),
            (("-u", "user.fred"), 64, "pycyrus: UIDs go with -u, and may go with -l\n"),
            (("-a", "-f", "two words", "user.fred"), 1, "pycyrus: two words cannot be a user flag\n"),
        ):
            self.assertEqual(self.call(*words, code=code), ("", complaint))
