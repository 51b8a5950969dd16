"""A user who gets another id, or goes: with all that is theirs, wherever it breaks off."""

from __future__ import annotations

from typing import Any

import numpy as np

from pycyrus.errors import QuotaRootNotFound
from pycyrus.interfaces import ListScope, Namespace
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.flags import SEEN, FlagAction, FlagChange, Flags
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Limit
from pycyrus.store.settings import DeleteMode
from pycyrus.store.store import MailStore
from pycyrus.test.store.dying import die_at
from pycyrus.test.store.test_store import ADMIN, BOB, FRED, StoreCase, name

FRIEDA = Identity("frieda")
NOTE = "/private/comment"
SHARED = name("user.bob.team")


class UserCase(StoreCase):
    """Has a user with folders, a quota, subscriptions, notes, and messages of another's seen."""

    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        await super().setUp()
        await self.reopen(allowusermoves=True, delete_mode=DeleteMode.IMMEDIATE)
        await self.store.create(BOB, SHARED)
        everybody = ("anyone", frozenset("lrs"))
        await self.store.set_acl(BOB, SHARED, Acl((("bob", OWNER_RIGHTS), everybody)))
        await self.append(POSTMAN, "user.bob.team")

    async def reopen(self, **changes: Any) -> MailStore:
        return await super().reopen(**{"allowusermoves": True, "delete_mode": DeleteMode.IMMEDIATE, **changes})

    async def furnish(self) -> None:
        """Have fred as he is before each attempt, and nobody called frieda."""
        for user in (FRED, FRIEDA):
            if self.store.directory.lookup(MailboxName("", user.user, ())) is not None:
                await self.store.delete(ADMIN, MailboxName("", user.user, ()))
        await self.store.create(ADMIN, name("user.fred"))
        await self.store.create(FRED, name("user.fred.a"), special_use=[r"\Sent"])
        await self.append(FRED, "user.fred.a")
        acl = Acl((("fred", OWNER_RIGHTS), ("-fred", frozenset("9")), ("bob", frozenset("l"))))
        await self.store.set_acl(FRED, name("user.fred.a"), acl)
        for mailbox in (name("user.fred.a"), SHARED):
            await self.store.subscribe(FRED, mailbox, True)
            await self.store.annotate(FRED, mailbox, {NOTE: b"mine"})
        await self.store.set_quota(ADMIN, name("user.fred"), [Limit("STORAGE", 77)])
        opened = await self.store.open(FRED, SHARED, "r")
        await opened.store(np.array([1], np.uint32), FlagChange(FlagAction.ADD, Flags(SEEN)))
        opened.close()
        await self.reopen()

    async def belongings(self, user: Identity) -> dict[str, object]:
        """All that is somebody's."""
        store, inbox = self.store, MailboxName("", user.user, ())
        listings = await store.list(user, [ListScope(Namespace.PERSONAL)])
        found: dict[str, object] = {
            "mailboxes": [(each.name.path, each.special_use) for each in listings],
            "subscriptions": {
                str(each.path) + str(each.owner == user.user) for each in await store.subscriptions(user)
            },
            "seen": (await store.status(user, SHARED)).counts.unseen == 0,
            "notes": (await store.annotations(user, SHARED)).get(NOTE) == b"mine",
        }
        try:
            found["quota"] = (await store.quota(ADMIN, inbox)).limits
        except QuotaRootNotFound:
            found["quota"] = None
        if listings:
            folder = inbox.child("a")
            found["messages"] = (await store.status(user, folder)).counts.messages
            found["own notes"] = (await store.annotations(user, folder)).get(NOTE) == b"mine"
            held = dict((await store.acl(user, folder)).entries)
            found["rights"] = {who.replace(user.user, "*"): letters for who, letters in held.items()}
        return found


class RenamingUsers(UserCase):
    async def test_whole(self) -> None:
        await self.furnish()
        nothing, before = await self.belongings(FRIEDA), await self.belongings(FRED)
        self.assertEqual(before["mailboxes"], [((), ()), (("a",), (r"\Sent",))])
        self.assertTrue(before["seen"] and before["notes"] and before["quota"])
        self.assertFalse(nothing["seen"] or nothing["notes"] or nothing["quota"])
        await self.store.rename(ADMIN, name("user.fred"), name("user.frieda"))
        self.assertEqual(await self.belongings(FRIEDA), before)
        self.assertEqual(await self.belongings(FRED), nothing)
        self.assertTrue((self.root / "spool/user/frieda/a/1.").exists())

    async def die_at(self, point: int) -> bool:
        calls = ("rename", "makedirs", "rmdir", "syncfs", "write_all", "replace_file")
        return await die_at(
            self, point, lambda: self.store.rename(ADMIN, name("user.fred"), name("user.frieda")), calls
        )

    async def test_interrupted(self) -> None:
        """Wherever it breaks off, who opens the store next finds the whole user under one id."""
        await self.furnish()
        nothing, whole = await self.belongings(FRIEDA), await self.belongings(FRED)
        ids = set()
        for point in range(1, 60):
            await self.furnish()
            died = await self.die_at(point)
            await self.reopen()
            found = await self.belongings(FRED), await self.belongings(FRIEDA)
            self.assertIn(found, [(whole, nothing), (nothing, whole)], point)
            ids.add(found[0] == whole)
            if not died:
                break
        else:
            raise self.failureException("never came to its end")
        self.assertEqual(ids, {True, False})
        self.assertGreater(point, 8)

    async def test_deleted(self) -> None:
        """Whoever gets the id of somebody who is gone gets nothing else of theirs."""
        await self.furnish()
        await self.store.delete(ADMIN, name("user.fred"))
        await self.store.create(ADMIN, name("user.fred"))
        self.assertEqual(await self.store.subscriptions(FRED), frozenset())
        self.assertEqual((await self.store.status(FRED, SHARED)).counts.unseen, 1)
        with self.assertRaises(QuotaRootNotFound):
            await self.store.quota(ADMIN, name("user.fred"))
