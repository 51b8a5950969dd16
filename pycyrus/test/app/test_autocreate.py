"""New users: what they get when they first log in, or when mail comes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from pycyrus.app.autocreate_parts import WelcomingAuthenticator, autocreation
from pycyrus.app.identity_parts import identity_settings
from pycyrus.auth.identity import Identities
from pycyrus.config.settings import Settings
from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import MailboxNotFound, QuotaRootNotFound, StoreUnavailable
from pycyrus.interfaces import (
    Authenticated,
    Channel,
    Envelope,
    IAuthenticator,
    IAutocreation,
    ListScope,
    Namespace,
    Recipient,
    UserDefaults,
)
from pycyrus.model.acl import Acl
from pycyrus.model.identity import POSTMAN, AdminScope, Identity
from pycyrus.model.names import MailboxName
from pycyrus.store import files
from pycyrus.store.settings import StoreSettings
from pycyrus.store.store import MailStore, open_store
from pycyrus.testing.imap import FixedAuthenticator
from pycyrus.testing.user_defaults import LaidDown

BOSS = Identity("cyrus", admin=AdminScope.GLOBAL)
NEW = Identity("newbie")
INBOX = MailboxName("", "newbie", ())
OPTIONS = {
    "admins": "cyrus",
    "proxyservers": "murder",
    "autocreate_quota": "1000",
    "autocreate_quota_messages": "50",
    "autocreate_post": "yes",
    "autocreate_inbox_folders": "Sent|Old Mail|Old Mail/2024 | bad{name",
    "autocreate_subscribe_folders": "Sent|Old Mail/2024",
    "xlist-sent": "Sent",
    "xlist-junk": "Not There",
    "autocreate_acl": "Old Mail anyone p",
    "autocreate_subscribe_sharedfolders": "news|hidden|absent",
}


class AutocreateTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.root = Path(self.mktemp())
        self.reactor: Any = reactor
        partitions = {"default": self.root / "spool", "fast": self.root / "fast"}
        self.settings = StoreSettings(self.root / "config", partitions, defaultpartition="default")
        self.store = self.open()

    def open(self) -> MailStore:
        store = open_store(self.settings, self.reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(store.close()))
        return store

    def autocreation(self, laid_down: LaidDown | None = None, **changed: str) -> IAutocreation:
        texts = {**OPTIONS, **changed}
        options = Settings({key: text for key, text in texts.items() if text})
        made = autocreation(options, self.store, Identities(identity_settings(options)), laid_down)
        assert made is not None
        verifyObject(IAutocreation, made)
        return cast(IAutocreation, made)

    async def names(self, user: str = "newbie") -> list[str]:
        listings = await self.store.list(BOSS, [ListScope(Namespace.OTHER, "", user)])
        return ["/".join(listing.name.path) for listing in listings]

    async def test_everything(self) -> None:
        """At a login: INBOX, folders, special use, rights, subscriptions and the quota."""
        await self.store.create(BOSS, MailboxName("", None, ("news",)))
        await self.store.create(BOSS, MailboxName("", None, ("hidden",)))
        await self.store.set_acl(BOSS, MailboxName("", None, ("hidden",)), Acl((("anyone", frozenset("p")),)))
        welcoming = WelcomingAuthenticator(FixedAuthenticator({"newbie": "secret"}), self.autocreation())
        verifyObject(IAuthenticator, welcoming)
        result = await welcoming.login(b"newbie", b"secret", Channel("imap", "127.0.0.1", tls=False))
        self.assertEqual(result.identity, NEW)
        self.assertEqual(await self.names(), ["", "Old Mail", "Old Mail/2024", "Sent"])
        (sent,) = await self.store.list(NEW, [ListScope(Namespace.PERSONAL, path=("Sent",))])
        self.assertEqual(sent.special_use, (r"\Sent",))
        acl = dict((await self.store.acl(NEW, INBOX.child("Old Mail"))).entries)
        self.assertEqual(acl["anyone"], frozenset("p"))
        self.assertIn("newbie", acl)
        wanted = {INBOX, INBOX.child("Sent"), INBOX.child("Old Mail").child("2024"), MailboxName("", None, ("news",))}
        self.assertEqual(await self.store.subscriptions(NEW), wanted)
        quota = await self.store.quota(NEW, INBOX)
        self.assertEqual([(limit.name, limit.value) for limit in quota.limits], [("STORAGE", 1000), ("MESSAGE", 50)])

    async def test_what_is_there_stays(self) -> None:
        """The second login changes nothing, whatever the user did meanwhile."""
        made = self.autocreation()
        await made.logged_in(NEW)
        await self.store.delete(NEW, INBOX.child("Old Mail").child("2024"))
        await self.store.subscribe(NEW, INBOX.child("Sent"), False)
        await made.logged_in(NEW)
        self.assertEqual(await self.names(), ["", "Old Mail", "Sent"])
        self.assertNotIn(INBOX.child("Sent"), await self.store.subscriptions(NEW))

    async def test_at_once(self) -> None:
        """A client that opens several connections has all of it once, on each of them."""
        made = self.autocreation()
        await gatherResults([Deferred.fromCoroutine(made.logged_in(NEW)) for _ in range(4)])
        self.assertEqual(await self.names(), ["", "Old Mail", "Old Mail/2024", "Sent"])

    async def test_who_gets_none(self) -> None:
        made = self.autocreation(autocreate_users="group:staff fred")
        await made.logged_in(BOSS)
        await made.logged_in(POSTMAN)
        await made.logged_in(Identity("anonymous"))
        await made.logged_in(NEW)
        for user in ("cyrus", "postman", "anonymous", "newbie"):
            self.assertEqual(await self.names(user), [], user)
        await made.logged_in(Identity("fred"))
        await made.logged_in(Identity("amy", groups=frozenset({"staff"})))
        self.assertEqual(await self.names("fred"), await self.names("amy"))
        self.assertIn("", await self.names("fred"))
        off = Settings({"autocreate_quota": "-1"})
        self.assertIsNone(autocreation(off, self.store, Identities(identity_settings(off))))

    async def test_mail(self) -> None:
        """With C{autocreate_post} a recipient has a mailbox; but nobody who could never log in."""
        agent = DeliveryAgent(self.store, DeliverySettings("mail.test"), self.reactor, autocreation=self.autocreation())
        envelope = Envelope("", None, POSTMAN, "client", "client", "LMTP", "s1")
        delivery = agent.start(envelope)
        for refused in ("anyone", "cyrus", "murder", 'we"ird', "a..b"):
            with self.assertRaises(MailboxNotFound):
                await delivery.add_recipient(Recipient(refused, ""))
        await delivery.add_recipient(Recipient("newbie+Sent", ""))
        await delivery.begin()
        delivery.write(b"Subject: welcome\r\n\r\n")
        self.assertEqual(list(await delivery.commit()), [None])
        status = await self.store.status(NEW, INBOX)
        self.assertEqual(status.counts.messages, 1)
        delivery = DeliveryAgent(
            self.store, DeliverySettings("mail.test"), self.reactor, autocreation=self.autocreation(autocreate_post="")
        ).start(envelope)
        with self.assertRaises(MailboxNotFound):
            await delivery.add_recipient(Recipient("other", ""))

    async def test_laid_down(self) -> None:
        """A directory may say of single users how much they get, and where; what it says wrongly does not count."""
        known = {
            "newbie": UserDefaults(7, "fast"), "amy": UserDefaults(partition="nowhere"), "joe": UserDefaults(0),
        }  # fmt: skip
        made = self.autocreation(LaidDown(known), autocreate_quota_messages="")
        found = {}
        for user in ("newbie", "amy", "joe", "fred"):
            await made.logged_in(Identity(user))
            inbox = MailboxName("", user, ())
            entry = self.store.directory.lookup(inbox)
            assert entry is not None
            try:
                limits = [limit.value for limit in (await self.store.quota(BOSS, inbox)).limits]
            except QuotaRootNotFound:
                limits = []
            found[user] = (entry.partition, limits)
        expected = {
            "newbie": ("fast", [7]),
            "amy": ("default", [1000]),
            "joe": ("default", []),
            "fred": ("default", [1000]),
        }
        self.assertEqual(found, expected)

    async def test_outage(self) -> None:
        """While it cannot be told what somebody gets, they get nothing yet: senders are told to come again."""
        laid_down = LaidDown({"newbie": UserDefaults(7)})
        made = self.autocreation(laid_down)
        laid_down.is_down = True
        await made.logged_in(NEW)
        with self.assertRaises(StoreUnavailable):
            await made.mail_came(INBOX)
        self.assertEqual(await self.names(), [])
        laid_down.is_down = False
        self.assertTrue(await made.mail_came(INBOX))
        (storage, _) = (await self.store.quota(NEW, INBOX)).limits
        self.assertEqual(storage.value, 7)

    async def test_interrupted(self) -> None:
        """Wherever it breaks off, the user has nothing or all of it; the next login makes it whole."""
        made = self.autocreation()
        names: list[str] = []
        finished, number = False, 0
        while not finished:
            user = Identity(f"user{number}")
            inbox = MailboxName("", user.user, ())
            calls = 0

            def failing(*args: Any, real: Any = files.replace_file, at: int = number, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls > at:
                    raise OSError("cut off")
                return real(*args, **more)

            patched = self.patch(files, "replace_file", failing)
            await made.logged_in(user)
            patched.restore()
            names = await self.names(user.user)
            finished = calls <= number
            if self.store.directory.lookup(inbox) is None:
                self.assertEqual(names, [])
                self.flushLoggedErrors()
                await made.logged_in(user)
                names = await self.names(user.user)
                self.assertEqual(names, ["", "Old Mail", "Old Mail/2024", "Sent"], number)
            number += 1
        self.assertGreater(number, 1)
        self.assertEqual(names, ["", "Old Mail", "Old Mail/2024", "Sent"])

    def test_authenticated_is_handed_on(self) -> None:
        """SASL exchanges make mailboxes too."""

        async def play() -> Authenticated:
            welcoming = WelcomingAuthenticator(FixedAuthenticator({"newbie": "secret"}), self.autocreation())
            exchange = welcoming.start("PLAIN", cast(Any, None))
            outcome = await exchange.step(b"\0newbie\0secret")
            assert isinstance(outcome, Authenticated)
            self.assertIn("", await self.names())
            return outcome

        return Deferred.fromCoroutine(play())  # type: ignore[return-value] # trial waits for it
