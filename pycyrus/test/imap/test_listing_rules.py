"""Options that have listings leave something out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.imap.settings import ImapSettings, ListingRules
from pycyrus.model.scopes import Namespace
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, open_mail_server

ALL = {"INBOX", "Spam", '"Other Users/bob"', '"Shared Folders/news"'}
OWN = {"INBOX", "Spam"}

LISTED: tuple[tuple[dict[str, Any], bytes, set[str]], ...] = (
    # What is switched, a command, and the names that it tells.
    ({}, b'LIST "" *', ALL),
    ({}, b'LIST "Shared Folders/" *', {'"Shared Folders/news"'}),
    ({"ignores_reference": True}, b'LIST "Shared Folders/" *', ALL),
    ({"is_star_personal": True}, b'LIST "" *', OWN),
    ({"is_star_personal": True}, b'LSUB "" *', {"Spam"}),
    ({"is_star_personal": True}, b'LIST "" "Shared Folders/*"', {'"Shared Folders/news"'}),
    ({"hidden": frozenset((Namespace.OTHER,))}, b'LIST "" *', ALL - {'"Other Users/bob"'}),
    ({"hidden": frozenset((Namespace.OTHER,))}, b'LIST "" "Other Users/bob"', set()),
    ({}, b'LIST "" %', OWN | {'"Other Users"', '"Shared Folders"'}),
    ({"hidden": frozenset((Namespace.OTHER, Namespace.SHARED))}, b'LIST "" %', OWN),
    ({"hidden": frozenset((Namespace.OTHER, Namespace.SHARED))}, b'LIST (SUBSCRIBED) "" *', {"Spam"}),
)


class ListingRulesTests(TestCase):
    """Alice has a folder, and sees one of Bob's mailboxes and a shared one."""

    def test_names(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_names())

    async def _test_names(self) -> None:
        for changes, command, expected in LISTED:
            lines = await self._ask(ListingRules(**changes), command)
            told = {line.partition(') "/" ')[2] for line in lines}
            self.assertEqual(told, expected, (changes, command))

    def test_special_uses(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_special_uses())

    async def _test_special_uses(self) -> None:
        unasked = ListingRules(always_tells_uses=False)
        for rules, command, is_told in (
            (ListingRules(), b'LIST "" Spam', True),
            (unasked, b'LIST "" Spam', False),
            (unasked, b'LSUB "" Spam', False),
            (unasked, b'LIST "" Spam RETURN (SPECIAL-USE)', True),
            (unasked, b'LIST (SPECIAL-USE) "" *', True),
            (unasked, b'XLIST "" Spam', True),
        ):
            self.assertEqual(rb"\Junk" in "".join(await self._ask(rules, command)).encode(), is_told, command)

    def test_namespace(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._test_namespace())

    async def _test_namespace(self) -> None:
        (line,) = await self._ask(ListingRules(hidden=frozenset((Namespace.OTHER,))), b"NAMESPACE")
        self.assertEqual(line, '* NAMESPACE (("" "/")) NIL (("Shared Folders/" "/"))')

    async def _ask(self, rules: ListingRules, command: bytes) -> list[str]:
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        settings = ImapSettings(listing=rules, plaintext_alert="Use TLS")
        server = await open_mail_server(directory, settings, reactor=cast(WatchReactor, reactor))
        try:
            admin, bob, alice = server.connect(), server.connect(), server.connect()
            await self._say(admin, b"a LOGIN admin secret", b"b CREATE news")
            await self._say(bob, b"a LOGIN bob secret", b"b SETACL INBOX alice lr")
            (said, *_) = await self._say(
                alice, b"a LOGIN alice secret", b"b CREATE Spam (USE (\\Junk))", b"c SUBSCRIBE Spam",
                b'd SUBSCRIBE "Shared Folders/news"',
            )  # fmt: skip
            self.assertEqual(said, "* OK [ALERT] Use TLS")
            return await self._say(alice, b"x " + command)
        finally:
            await server.shut_down()

    async def _say(self, client: Client, *lines: bytes) -> list[str]:
        """All untagged lines that commands are answered; each must be done."""
        heard: list[str] = []
        for line in lines:
            client.send(line + b"\r\n")
            tag = line.split()[0].decode()
            while True:
                answer = await client.receive_line()
                assert answer is not None
                text = answer.decode().rstrip("\r\n")
                if text.startswith(f"{tag} "):
                    self.assertTrue(text.startswith(f"{tag} OK"), text)
                    break
                heard.append(text)
        return [text for text in heard if not text.startswith("* OK [CAPABILITY")]
