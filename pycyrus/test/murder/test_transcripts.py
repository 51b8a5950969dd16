"""
Plays the conversations of C{test/transcripts/imap} through a frontend.

alice's mailboxes are on one server, and bob's on another.  What a client sees is what it
would see there, but for the few differences that are listed here.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.test.murder.frontend import Frontend
from pycyrus.testing.imap import settings_of
from pycyrus.testing.transcript import Player, add_tests

CONVERSATIONS = Path(__file__).parents[1] / "transcripts" / "imap"

DIFFERENCES: dict[str, tuple[tuple[str, str], ...]] = {
    # The server that had it says goodbye to the frontend, whose client learns of it by its next command.
    "2180-3.3-vanished-mailbox": (("S: * BYE Selected", "C: a3 NOOP\nS: * BYE Selected"),),
    # A frontend answers by itself what asks for no special uses; its directory does not have them.
    "2193-5-rlist": ((r"S: * LIST (\HasNoChildren \Sent)", r"S: * LIST (\HasNoChildren)"),),
    "5258-3.1-administrators": (
        (r"(\HasChildren \Junk)", r"(\HasChildren)"),
        # Lists of a whole Murder come page by page, and without them, too.
        ("fred\nS: * LIST (\\HasChildren \\Junk)", "fred\nS: * LIST (\\HasChildren)"),
    ),
    "6154-3-create-special-use": (
        (r"S: * LIST (\HasNoChildren \Drafts)", r"S: * LIST (\HasNoChildren)"),
        (r"S: * LIST (\HasNoChildren \Sent)", r"S: * LIST (\HasNoChildren)"),
    ),
    "6154-4-special-use-metadata": ((r"S: * LIST (\HasNoChildren \Sent \Drafts)", r"S: * LIST (\HasNoChildren)"),),
    # It takes a literal before the server says that it need not come.
    "4469-3-catenate": (('1" TEXT {3}\nS: d2', '1" TEXT {3+}\nC: abc)\nS: d2'),),
    "9051-6.3.12-append": (("{0}\nS: a1", "{0}\n\nC:\nS: a1"), ("S: a4 NO", "S: + go ahead\nS: a4 NO")),
    # Annotations of messages stay behind when these are copied to another server.
    "5257-4.6-copy": (
        (
            '2 FETCH (ANNOTATION (/comment (value.priv "mine" value.shared "ours")',
            "2 FETCH (ANNOTATION (/comment (value.priv NIL value.shared NIL)",
        ),
        (
            '2 FETCH (ANNOTATION (/comment (value.priv NIL value.shared "ours")',
            "2 FETCH (ANNOTATION (/comment (value.priv NIL value.shared NIL)",
        ),
    ),
    # Limits are each server's own, and are not announced.
    "9738-3-messagelimit": (("S: * CAPABILITY ... MESSAGELIMIT=3", "S: * CAPABILITY ..."),),
}
"""By conversation: what stands there, and what stands there on a frontend."""


class ConversationTests(TestCase):
    """Each file is a test, named for it."""

    def play(self, file: Path) -> Deferred[None]:
        text = file.read_text("utf-8")
        for there, here in DIFFERENCES.get(file.stem, ()):
            self.assertIn(there, text)
            text = text.replace(there, here, 1)
        return Deferred.fromCoroutine(self._play(text))

    async def _play(self, text: str) -> None:
        from twisted.internet import reactor

        frontend = Frontend(Path(self.mktemp()), settings_of(text), reactor, tls=object())
        await frontend.add_users("alice", "bob")
        try:
            await Player(frontend).play(text)
        finally:
            await frontend.shut_down()


add_tests(ConversationTests, CONVERSATIONS)
