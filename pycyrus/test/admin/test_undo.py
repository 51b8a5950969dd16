"""C{pycyrus undo}, as an administrator calls it beside a server."""

from __future__ import annotations

import json
import time

from typing_extensions import override

from pycyrus.model.flags import SEEN, FlagAction
from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.mailboxes import text
from pycyrus.test.store.test_undo import UndoWorld, moment


class UndoCommandTests(BesideStoreTestCase):
    world: UndoWorld

    @override
    def make_world(self) -> UndoWorld:
        return UndoWorld(self.home)

    def call(self, *words: str, code: int = 0) -> tuple[str, str]:
        return self.tool("undo", *words, code=code)

    def test_life(self) -> None:
        """Previewed in words, done, told as JSON; the server that has the mailbox open sees it."""
        world = self.world
        world.append("user.fred", text(1), text(2), text(3))
        world.flag("user.fred", 3, FlagAction.ADD, SEEN, b"Word")
        when = moment()
        world.expunge("user.fred", 1, 2)
        world.flag("user.fred", 3, FlagAction.REMOVE, SEEN)
        world.append("user.fred", text(4))
        printed, _ = self.call("user/fred", "--to", f"@{when}", "--dry-run")
        self.assertEqual(
            printed.splitlines()[1:],
            [
                "  expunged messages that come back under new UIDs: 2 (1:2)",
                "  messages that get the flags that they had: 1",
                "    1 (3): \\Seen Word",
                "  messages that came since, and stay (--exact would expunge them): 1 (4)",
                "nothing was changed (--dry-run)",
            ],
        )
        self.assertEqual(world.view("user.fred"), [3, 4])
        (told,) = json.loads(self.call("user/fred", "--to", f"@{when}", "--json")[0])["mailboxes"]
        self.assertEqual((told["comes_back"], told["came_since"], told["was_deleted"]), ([1, 2], [4], False))
        self.assertEqual(world.view("user.fred"), [3, 4, 5, 6])
        self.assertEqual(world.facts()[text(3)], (SEEN, frozenset((b"Word",))))

    def test_mistakes(self) -> None:
        """One line each, and nothing done."""
        for words, complaint in (
            (("user/nobody", "--to", "1s"), "there is and was no mailbox user/nobody"),
            (("user/fred", "--to", "1d"), "user/fred was not there yet"),
            (("user/fred", "--to", f"@{time.time() + 100}"), "is still to come"),
            (("user/fred", "--to", "noon"), "this is not a time such as"),
        ):
            printed, error = self.call(*words, code=1)
            self.assertIn(complaint, error)
            self.assertEqual((printed, error.count("\n")), ("", 1))
