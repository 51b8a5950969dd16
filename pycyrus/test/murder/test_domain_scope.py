"""What is hidden is not there through a frontend either, also where another server has it than the user's."""

from __future__ import annotations

import re
from collections.abc import Sequence

from typing_extensions import override

from pycyrus.imap.commands.table import COMMANDS
from pycyrus.model.acl import Acl
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.test.murder.cluster import ADMIN, MurderCase
from pycyrus.test.whole.test_domain_scope import HIDDEN, IDENTITIES, NAMESPACE, ON_MAILBOX, SEEN_AS, DomainCase


class ScopeTests(MurderCase):
    namespace = NAMESPACE
    identities = IDENTITIES.settings
    users = dict.fromkeys((*SEEN_AS, "admin", "mailproxy"), "secret")

    @override
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        mine, theirs = (self.stores[server] for server in self.servers)
        for each in DomainCase.others():
            await mine.create(ADMIN, each)
        for each in HIDDEN:
            await theirs.create(ADMIN, each)
        await theirs.annotate(ADMIN, HIDDEN[1], {"/shared/comment": b"secret"})
        await self.directory.catch_up()

    async def _state(self) -> list[tuple[object, object]]:
        """What the server has that has the hidden mailboxes."""
        store = self.stores[self.servers[1]]
        return [(entry, await store.annotations(ADMIN, entry.name)) for entry in store.directory.entries()]

    async def _answer(self, client: ImapLink, command: bytes) -> bytes:
        untagged, status, text = await client.ask(command)
        self.assertNotIn(b"secret", untagged + text, command)
        self.assertNotEqual(status, b"BAD", command)
        return re.sub(rb"MAILBOXID \([0-9a-f-]+\)|[0-9.]+ secs", b"", untagged + status + b" " + text)

    async def _try(self, user: str, forms: Sequence[bytes]) -> None:
        """Hidden and absent are answered alike."""
        client = await self.client(user)
        is_referred = forms[0].startswith(b"RL")
        await self.append(client, b"INBOX", b"Subject: mine\r\n\r\n")
        if is_referred:
            await self.do(client, b'RLIST "" ""')
        for hidden, absent in SEEN_AS[user][1:3]:
            for form in forms:
                answers = []
                for name in (hidden, absent):
                    await self.do(client, b"SELECT INBOX", b"NO" if is_referred else b"OK")
                    below = re.sub(rb"(?=@)", b"/New", name) if user.startswith("da@") else name + b"/New"
                    command = form.replace(b"%b/New", below).replace(b"%b", name).replace(b"%%", b"%")
                    answers.append((await self._answer(client, command)).replace(name, b"-"))
                self.assertEqual(answers[0], answers[1], (user, form, hidden))

    async def _try_all(self, user: str) -> None:
        before = await self._state()
        forms = [form for row in COMMANDS for form in ON_MAILBOX[row.name] or ()]
        # Whoever says RLIST or RLSUB is referred from then on.
        await self._try(user, [form for form in forms if not form.startswith(b"RL")])
        await self._try(user, [b'RLIST "" "%b"', b'RLSUB "" "%b"', b'SELECT "%b"', b'DELETE "%b"', b'RENAME "%b" Mine'])
        self.assertEqual(await self._state(), before)
        # Nor does it show that the server that has it is away.
        await self.stop_backend(self.servers[1])
        await self._try(user, [b'SELECT "%b"', b'STATUS "%b" (MESSAGES)', b'CREATE "%b/New"', b'RENAME Own "%b/New"'])

    async def test_foreign_administrator(self) -> None:
        await self._try_all("da@other.org")

    async def test_foreign_user(self) -> None:
        await self._try_all("eve@other.org")

    async def test_stranger_at_home(self) -> None:
        await self._try_all("mallory@example.com")

    async def test_a_right_given_a_moment_ago(self) -> None:
        """It holds, though the frontend's copy of the directory is older."""
        client = await self.client("mallory@example.com")
        await self.do(client, b'SELECT "Other Users/fred/Work"', b"NO")
        await self.stores[self.servers[1]].set_acl(ADMIN, HIDDEN[1], Acl((("mallory@example.com", frozenset("lr")),)))
        self.assertIn(b"[READ-ONLY]", await self.do(client, b'SELECT "Other Users/fred/Work"'))
