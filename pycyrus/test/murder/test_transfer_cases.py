"""Users who move as something else happens to them, and what of theirs is out of the ordinary."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from pycyrus.errors import MailboxNotFound
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import Identity
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.names import inbox_of
from pycyrus.model.quota import Limit
from pycyrus.murder.moving.transfer_link import TransferLink
from pycyrus.store.transfer_log import Leaving
from pycyrus.test.murder.cluster import ADMIN
from pycyrus.test.murder.test_transfers import ALICE, INBOX, MESSAGE, TransferServers

CAROL = Identity("carol")
BOB = Identity("bob")


class Meanwhile(TransferServers):
    """Between copying and holding the user does this or that."""

    async def move_while(self, work: Callable[[], Awaitable[object]], status: bytes = b"OK") -> bytes:
        """Move alice; @return: the answer."""
        real = TransferLink.sync

        async def sync(link: TransferLink) -> None:
            await work()
            await real(link)

        self.patch(TransferLink, "sync", sync)
        said = await self.do(self.admin, b"XFER user.alice " + self.servers[1].encode(), status)
        (transfer,) = self.logs[self.servers[0]].outgoing()
        self.assertIs(transfer.state, Leaving.DONE if status == b"OK" else Leaving.FAILED)
        for parts in map(self.partitions, self.servers):
            while list(parts.data_root("default").glob("uuid/incoming/*")):
                # It goes when the connection does.
                await self.turn()
        return said

    def partitions(self, server: str) -> Any:
        """Of a server."""
        return self.stores[server].transfer_parts().partitions

    def names(self, number: int, owner: str = "alice") -> list[str]:
        """Paths of somebody's mailboxes at a server, deleted ones too."""
        directory = self.stores[self.servers[number]].directory
        entries = [*directory.entries(deleted=False), *directory.entries(deleted=True)]
        return sorted(".".join(each.name.path) for each in entries if each.name.owner == owner)

    async def test_folders(self) -> None:
        """Folders that come, go and get other names meanwhile are there as they are at the end."""
        alice = await self.client("alice", self.port(0))
        for folder in (b"Old", b"Going", b"Going.Below"):
            await self.do(alice, b"CREATE INBOX." + folder)
            await self.append(alice, b"INBOX." + folder, MESSAGE)
        await self.append(alice, b"INBOX", MESSAGE)

        async def change() -> None:
            await self.do(alice, b"RENAME INBOX.Old INBOX.New")
            await self.do(alice, b"DELETE INBOX.Going.Below")
            await self.do(alice, b"CREATE INBOX.Late")
            await self.append(alice, b"INBOX.Late", MESSAGE)
            # RFC 9051 section 6.3.6: the messages of INBOX go, and it stays.
            await self.do(alice, b"RENAME INBOX INBOX.Archive")
            await self.append(alice, b"INBOX", MESSAGE + b"later\r\n")

        await self.move_while(change)
        self.assertEqual(self.names(0), [])
        # What was deleted waits there for its end, as it did here.
        self.assertEqual(self.names(1), ["", "Archive", "Going", "Going.Below", "Late", "New", "Sent"])
        there = await self.client("alice", self.port(1))
        for folder, body in (
            (b"INBOX", MESSAGE + b"later\r\n"),
            (b"INBOX.Archive", MESSAGE),
            (b"INBOX.New", MESSAGE),
            (b"INBOX.Late", MESSAGE),
            (b"INBOX.Going", MESSAGE),
        ):
            self.assertIn(b"* 1 EXISTS", await self.do(there, b"SELECT " + folder))
            self.assertIn(body, await self.do(there, b"FETCH 1 BODY.PEEK[]"))
        await self.do(there, b"SELECT INBOX.Old", b"NO")

    async def test_user_renamed(self) -> None:
        """Who has another name by then does not move."""
        await self.stores[self.servers[0]].create(ALICE, INBOX.child("More"))
        first = self.stores[self.servers[0]]
        object.__setattr__(first.transfer_parts().settings, "allowusermoves", True)
        said = await self.move_while(lambda: first.rename(ADMIN, INBOX, inbox_of(CAROL)), b"NO")
        self.assertIn(b"* NO USER alice (", said)
        self.assertEqual(
            (self.names(0, "carol"), self.names(1), self.names(1, "carol")), (["", "More", "Sent"], [], [])
        )
        self.assertEqual(self.master.places[inbox_of(CAROL)], (self.servers[0], True))
        opened = await first.open(CAROL, inbox_of(CAROL), "r")
        opened.close()

    async def test_user_removed(self) -> None:
        """Who is gone by then is not brought back."""
        first = self.stores[self.servers[0]]
        await self.move_while(lambda: first.delete(ADMIN, INBOX), b"NO")
        for number in (0, 1):
            with self.assertRaises(MailboxNotFound):
                await self.stores[self.servers[number]].open(ALICE, INBOX, "r")
        self.assertNotIn(INBOX, self.master.places)

    async def test_made_there(self) -> None:
        """Somebody else got that name there."""
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE)
        second = self.stores[self.servers[1]]
        await self.stores[self.servers[0]].delete(ALICE, INBOX.child("Sent"))
        await self.move_while(lambda: second.create(ADMIN, INBOX), b"NO")
        self.assertEqual([await self.bodies(server) for server in self.servers], [[MESSAGE], []])
        await self.append(alice, b"INBOX", MESSAGE)


class OutOfTheOrdinary(TransferServers):
    async def move(self, root: MailboxName = INBOX) -> None:
        """Move something to the second server."""
        await self.transfers[self.servers[0]].move(ADMIN, root, self.servers[1], "", lambda moved: None)

    async def test_names(self) -> None:
        """Users with dots and domains, and mailboxes with what separators are elsewhere."""
        first, second = (self.stores[name] for name in self.servers)
        for name in ("a.b", "c@example.com", "d.e@example.com"):
            user = Identity(name)
            root = inbox_of(user)
            folder = root.child("y.z \u00e4").child("~ x")
            await first.create(ADMIN, root)
            await first.create(ADMIN, folder)
            before = await first.status(user, folder)
            await self.move(root)
            after = await second.status(user, folder)
            self.assertEqual(after, before)
            self.assertIsNone(first.directory.lookup(folder))

    async def test_rights(self) -> None:
        """Groups, negative rights, and those who have seen something there."""
        first, second = (self.stores[name] for name in self.servers)
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE, MESSAGE)
        for identifier, rights in (("group:staff", "lrs"), ("-group:guests", "r"), ("anyone", "p"), ("bob", "lrs")):
            await first.change_acl(ADMIN, INBOX, AclChange(identifier, AclAction.REPLACE, frozenset(rights)))
        seen = await first.open(BOB, INBOX, "r")
        await seen.store(np.array([2], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        seen.close()
        before = await first.acl(ADMIN, INBOX)
        await self.move()
        self.assertEqual(await second.acl(ADMIN, INBOX), before)
        seen = await second.open(BOB, INBOX, "r")
        self.assertEqual((seen.view().flags & SEEN != 0).tolist(), [False, True])
        seen.close()

    async def test_over_quota(self) -> None:
        """Who has more than the limit moves, and is told so there as here."""
        first, second = (self.stores[name] for name in self.servers)
        alice = await self.client("alice", self.port(0))
        await self.append(alice, b"INBOX", MESSAGE + b"x" * 5000)
        await first.set_quota(ADMIN, INBOX, [Limit("STORAGE", 1)])
        await self.move()
        self.assertEqual((await second.quota(ADMIN, INBOX)).limits, (Limit("STORAGE", 1),))
        there = await self.client("alice", self.port(1))
        said = await self.do(there, b"APPEND INBOX {%d+}\r\n%b" % (len(MESSAGE), MESSAGE), b"NO")
        self.assertIn(b"OVERQUOTA", said)

    async def test_quota_above(self) -> None:
        """A limit that a shared mailbox has from above stays where that is."""
        first, second = (self.stores[name] for name in self.servers)
        above = MailboxName("", None, ("dept",))
        for each in (above, above.child("a"), above.child("a").child("b")):
            await first.create(ADMIN, each)
        await first.set_quota(ADMIN, above, [Limit("STORAGE", 1000)])
        await first.set_quota(ADMIN, above.child("a"), [Limit("MESSAGE", 9)])
        await self.move(above.child("a"))
        self.assertEqual((await first.quota(ADMIN, above)).limits, (Limit("STORAGE", 1000),))
        # Also what is still here below it has its limit.
        self.assertEqual((await first.quota(ADMIN, above.child("a"))).limits, (Limit("MESSAGE", 9),))
        self.assertEqual((await second.quota(ADMIN, above.child("a"))).limits, (Limit("MESSAGE", 9),))

    async def test_there_and_back(self) -> None:
        """Sessions that look for what came back, and went by another way, are not told that it is elsewhere."""
        first = self.stores[self.servers[0]]
        await self.move()
        (unique_id,) = (
            each.unique_id for each in self.stores[self.servers[1]].directory.entries() if each.name == INBOX
        )
        log = self.logs[self.servers[0]]
        self.assertTrue(log.has_departed(unique_id))
        await self.transfers[self.servers[1]].move(ADMIN, INBOX, self.servers[0], "", lambda moved: None)
        self.assertFalse(log.has_departed(unique_id))
        self.assertIsNotNone(first.directory.lookup(INBOX))
