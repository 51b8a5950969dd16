"""
A domain's administrator ends at the domain, and a stranger at what was granted.

Every command of every protocol is tried on a mailbox that is hidden and on one
that is not there: the answers are the same, octet for octet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from pycyrus.auth.identity import Identities, IdentitySettings
from pycyrus.delivery.pipeline import DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.delivery.verifier import RecipientVerifier
from pycyrus.errors import AuthenticationFailed, MailStoreError
from pycyrus.imap.commands.command import State
from pycyrus.imap.commands.table import COMMANDS
from pycyrus.interfaces import Authenticated, Channel, Envelope, ListScope, Namespace, NewMessage, Recipient
from pycyrus.model.acl import Acl
from pycyrus.model.acl_changes import AclAction, AclChange
from pycyrus.model.identity import POSTMAN, Identity
from pycyrus.model.names import MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.model.quota import Limit, Resource
from pycyrus.smmap.replies import reply_to_error
from pycyrus.store.watch import WatchReactor
from pycyrus.testing.imap import Client, FixedAuthenticator, MailServer, open_mail_server

NAMESPACE = NamespaceSettings(virtdomains=VirtualDomains.USERID)
IDENTITIES = Identities(
    IdentitySettings(virtdomains="userid", admins=("cyrus", "da@other.org", "da@example.com", "group:none"))
)
BOSS = IDENTITIES.identity("cyrus")
MESSAGE = b"Subject: secret plans\r\n\r\nsesame\r\n"

FRED = MailboxName("example.com", "fred", ())
HIDDEN = (FRED, FRED.child("Work"), MailboxName("example.com", None, ("plans",)))
"""A user, a user's folder and a shared folder; nothing of them may be known outside of the domain."""

SEEN_AS: Mapping[str, Sequence[tuple[bytes, bytes]]] = {
    # Whoever it is: how they could call what is hidden, and something that is not there.
    "da@other.org": (
        (b"user/fred@example.com", b"user/nope@example.com"),
        (b"user/fred/Work@example.com", b"user/fred/Nope@example.com"),
        (b"user/fred/Work@example.com", b"user/nope/Work@example.com"),
        (b"plans@example.com", b"nopes@example.com"),
    ),
    "eve@other.org": (
        (b"Other Users/fred@example.com", b"Other Users/nope@example.com"),
        (b"Other Users/fred@example.com/Work", b"Other Users/fred@example.com/Nope"),
        (b"Shared Folders/plans@example.com", b"Shared Folders/nopes@example.com"),
        (b"Shared Folders/plans", b"Shared Folders/nopes"),
    ),
    "eve": (
        (b"Other Users/fred@example.com", b"Other Users/nope@example.com"),
        (b"Other Users/fred@example.com/Work", b"Other Users/fred@example.com/Nope"),
        (b"Shared Folders/plans@example.com", b"Shared Folders/nopes@example.com"),
    ),
    # In the same domain, where the shared folder is for all.
    "mallory@example.com": (
        (b"Other Users/fred", b"Other Users/nope"),
        (b"Other Users/fred/Work", b"Other Users/fred/Nope"),
        (b"Other Users/fred/Work", b"Other Users/nope/Work"),
    ),
}

NO_MAILBOX = None
ON_MAILBOX: dict[bytes, tuple[bytes, ...] | None] = {
    # What is sent of each command, with the mailbox for %b; NO_MAILBOX for those that name none.
    **dict.fromkeys((b"CAPABILITY", b"NOOP", b"LOGOUT", b"ID", b"STARTTLS", b"AUTHENTICATE", b"LOGIN"), NO_MAILBOX),
    **dict.fromkeys((b"ENABLE", b"COMPRESS", b"UNAUTHENTICATE", b"IDLE", b"NAMESPACE"), NO_MAILBOX),
    b"SELECT": (b'SELECT "%b"', b'SELECT "%b" (CONDSTORE)'),
    b"EXAMINE": (b'EXAMINE "%b"',),
    b"CREATE": (b'CREATE "%b/New"', b'CREATE "%b"', b'CREATE "%b" other', b'CREATE "%b/New" (USE (\\Sent))'),
    b"DELETE": (b'DELETE "%b"',),
    b"RENAME": (b'RENAME "%b" Mine', b'RENAME Own "%b"', b'RENAME Own "%b/New"', b'RENAME "%b" "%b" other'),
    b"SUBSCRIBE": (b'SUBSCRIBE "%b"',),
    b"UNSUBSCRIBE": (b'UNSUBSCRIBE "%b"',),
    b"LIST": (
        b'LIST "" "%b"',
        b'LIST "" "%b/%%"',
        b'LIST "%b" "*"',
        b'LIST (SUBSCRIBED) "" ("%b" "%b/*") RETURN (CHILDREN MYRIGHTS STATUS (MESSAGES SIZE))',
        b'LIST (SPECIAL-USE RECURSIVEMATCH SUBSCRIBED) "" "%b*" RETURN (SPECIAL-USE)',
    ),
    b"RLIST": (b'RLIST "" "%b"',),
    b"RLSUB": (b'RLSUB "" "%b"',),
    b"XLIST": (b'XLIST "" "%b"',),
    b"LSUB": (b'LSUB "" "%b*"',),
    b"SETACL": (b'SETACL "%b" eve lrswipkxtea', b'SETACL "%b" anyone +l'),
    b"DELETEACL": (b'DELETEACL "%b" fred',),
    b"GETACL": (b'GETACL "%b"',),
    b"LISTRIGHTS": (b'LISTRIGHTS "%b" fred', b'LISTRIGHTS "%b" fred@example.com'),
    b"MYRIGHTS": (b'MYRIGHTS "%b"',),
    b"GETQUOTA": (b'GETQUOTA "%b"',),
    b"GETQUOTAROOT": (b'GETQUOTAROOT "%b"',),
    b"SETQUOTA": (b'SETQUOTA "%b" (STORAGE 1)', b'SETQUOTA "%b" ()'),
    b"GETMETADATA": (
        b'GETMETADATA "%b" (/shared/comment /private/comment)',
        b'GETMETADATA (DEPTH infinity) "%b" /shared',
    ),
    b"SETMETADATA": (b'SETMETADATA "%b" (/shared/comment "mine")', b'SETMETADATA "%b" (/private/comment NIL)'),
    b"RECONSTRUCT": (b'RECONSTRUCT "%b"', b'RECONSTRUCT "%b" RECURSIVE'),
    b"STATUS": (b'STATUS "%b" (MESSAGES UIDNEXT UNSEEN SIZE MAILBOXID)',),
    b"APPEND": (b'APPEND "%b" {9+}\r\nSubject: ', b'APPEND "%b" (\\Seen) CATENATE (URL "/INBOX/;UID=1")'),
    b"XFER": (b'XFER "%b" other.example.com',),
    **dict.fromkeys((b"XTRANSFER", b"SYNCAPPLY", b"SYNCGET", b"SYNCRESTART", b"SYNCRESTORE", b"UNDUMP"), NO_MAILBOX),
    b"DUMP": (b'DUMP "%b"', b'DUMP "%b" 7'),
    b"LOCALCREATE": (b'LOCALCREATE "%b/New"', b'LOCALCREATE "%b"'),
    b"LOCALDELETE": (b'LOCALDELETE "%b"',),
    b"MUPDATEPUSH": (b'MUPDATEPUSH "%b"',),
    b"LOCALAPPEND": (b'LOCALAPPEND "%b" INBOX {9+}\r\nSubject: ',),
    **dict.fromkeys((b"CHECK", b"CLOSE", b"UNSELECT", b"EXPUNGE", b"UID EXPUNGE", b"CANCELUPDATE"), NO_MAILBOX),
    b"NOTIFY": (
        b'NOTIFY SET STATUS (mailboxes "%b" (MessageNew MessageExpunge))',
        b'NOTIFY SET (subtree "%b" (MailboxName SubscriptionChange))',
        b"NOTIFY NONE",
    ),
    b"ESEARCH": (
        b'ESEARCH IN (mailboxes "%b") ALL',
        b'ESEARCH IN (subtree "%b" personal) RETURN (COUNT ALL) BODY sesame',
        b'ESEARCH IN (subtree-one ("%b")) ALL',
    ),
    **dict.fromkeys((b"SEARCH", b"UID SEARCH", b"SORT", b"UID SORT", b"THREAD", b"UID THREAD"), NO_MAILBOX),
    **dict.fromkeys((b"FETCH", b"UID FETCH", b"STORE", b"UID STORE"), NO_MAILBOX),
    b"REPLACE": (b'REPLACE 1 "%b" {9+}\r\nSubject: ',),
    b"UID REPLACE": (b'UID REPLACE 1 "%b" {9+}\r\nSubject: ',),
    b"COPY": (b'COPY 1 "%b"',),
    b"UID COPY": (b'UID COPY 1 "%b"',),
    b"MOVE": (b'MOVE 1 "%b"',),
    b"UID MOVE": (b'UID MOVE 1 "%b"',),
}

ON_SELECTED: dict[bytes, bytes] = {
    # What is sent after the right to see the selected mailbox was taken away.
    b"CHECK": b"CHECK",
    b"CANCELUPDATE": b'CANCELUPDATE "a1"',
    b"CLOSE": b"CLOSE",
    b"UNSELECT": b"UNSELECT",
    b"EXPUNGE": b"EXPUNGE",
    b"UID EXPUNGE": b"UID EXPUNGE 1:*",
    b"SEARCH": b"SEARCH BODY sesame",
    b"UID SEARCH": b"UID SEARCH RETURN (ALL) ALL",
    b"SORT": b"SORT (SUBJECT) UTF-8 ALL",
    b"UID SORT": b"UID SORT (DATE) UTF-8 ALL",
    b"THREAD": b"THREAD REFERENCES UTF-8 ALL",
    b"UID THREAD": b"UID THREAD REFERENCES UTF-8 ALL",
    b"FETCH": b"FETCH 1 (BODY[] ENVELOPE)",
    b"UID FETCH": b"UID FETCH 1:* (FLAGS BODY.PEEK[])",
    b"STORE": b"STORE 1 +FLAGS (\\Deleted)",
    b"UID STORE": b"UID STORE 1:* +FLAGS (taken)",
    b"REPLACE": b"REPLACE 1 INBOX {9+}\r\nSubject: ",
    b"UID REPLACE": b"UID REPLACE 1 INBOX {9+}\r\nSubject: ",
    b"COPY": b"COPY 1 INBOX",
    b"UID COPY": b"UID COPY 1:* INBOX",
    b"MOVE": b"MOVE 1 INBOX",
    b"UID MOVE": b"UID MOVE 1:* INBOX",
}


class ScopedAuthenticator(FixedAuthenticator):
    """Everybody says C{secret}; who they are is what the server makes of user ids."""

    def __init__(self, identities: Identities) -> None:
        super().__init__()
        self._identities = identities

    async def login(self, user: bytes, password: bytes, channel: Channel) -> Authenticated:
        if password != b"secret":
            raise AuthenticationFailed
        user_id = self._identities.canonical(user)
        return Authenticated(self._identities.identity(user_id), user_id)


class DomainCase(TestCase):
    """A server with two domains, in one of which there is something to hide."""

    namespace = NAMESPACE
    identities = IDENTITIES

    async def setUp(self) -> None:  # type: ignore[override] # trial awaits it
        from twisted.internet import reactor

        directory = Path(self.mktemp())
        directory.mkdir()
        self.server: MailServer = await open_mail_server(
            directory,
            reactor=cast(WatchReactor, reactor),
            users=(),
            authenticator=ScopedAuthenticator(self.identities),
            namespace=self.namespace,
        )
        self.store = self.server.store
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.shut_down()))
        for each in (*HIDDEN, *self.others()):
            await self.store.create(BOSS, each)
        for each in HIDDEN[:2]:
            await self.deliver(each)
        await self.store.annotate(BOSS, HIDDEN[1], {"/shared/comment": b"secret"})
        await self.store.subscribe(IDENTITIES.identity("fred@example.com"), HIDDEN[1], True)
        # No more folders for fred, which is nobody else's business either.
        await self.store.set_quota(BOSS, FRED, [Limit(Resource.MAILBOX.value, 2), Limit(Resource.STORAGE.value, 1)])

    @staticmethod
    def others() -> list[MailboxName]:
        found = []
        for who in ("da@other.org", "eve@other.org", "eve", "mallory@example.com"):
            user, _, domain = who.partition("@")
            found += [MailboxName(domain, user, ()), MailboxName(domain, user, ("Own",))]
        return found

    async def deliver(self, mailbox: MailboxName) -> None:
        opened = await self.store.open(POSTMAN, mailbox, "p")
        staged = await self.store.stage(POSTMAN, mailbox)
        try:
            staged.write(MESSAGE)
            staged.finish()
            await opened.append([NewMessage(staged)])
        finally:
            staged.discard()
            opened.close()

    async def state(self) -> list[object]:
        """All that could have been changed."""
        found: list[object] = []
        for scope in (ListScope(Namespace.OTHER, "example.com"), ListScope(Namespace.SHARED, "example.com")):
            for listing in await self.store.list(BOSS, [scope]):
                if listing.name.owner == "mallory":
                    continue
                acl: Acl = await self.store.acl(BOSS, listing.name)
                owner = Identity(listing.name.owner or "fred", "example.com")
                found.append((listing, acl, await self.store.annotations(BOSS, listing.name)))
                found.append((await self.store.status(owner, listing.name)) if listing.name.owner else None)
        quota = await self.store.quota(BOSS, FRED)
        return [*found, quota.limits, await self.store.subscriptions(IDENTITIES.identity("fred@example.com"))]

    async def log_in(self, user: str) -> Client:
        client = self.server.connect()
        client.receive()
        await self.server.log_in(client, user)
        return client

    async def say(self, client: Client, command: bytes) -> bytes:
        """Send a command, and have all of the answer."""
        client.send(b"t " + command + b"\r\n")
        answer = b""
        while True:
            line = await client.receive_line()
            if line is None:
                return answer
            answer += line + b"\r\n"
            if line.startswith(b"t "):
                return answer


class ImapScopeTests(DomainCase):
    def test_every_command_has_its_row(self) -> None:
        """Whoever adds a command says here how it could be used on what is hidden."""
        self.assertEqual(set(ON_MAILBOX), {row.name for row in COMMANDS})
        self.assertEqual(set(ON_SELECTED), {row.name for row in COMMANDS if row.states is State.SELECTED})

    async def _try_all(self, user: str) -> None:
        before = await self.state()
        client = await self.log_in(user)
        mailbox = MailboxName(user.partition("@")[2], user.partition("@")[0], ())
        await self.deliver(mailbox)
        for hidden, absent in SEEN_AS[user]:
            for row in COMMANDS:
                for form in ON_MAILBOX[row.name] or ():
                    answers = []
                    for name in (hidden, absent):
                        await self.say(client, b"SELECT INBOX")
                        # For administrators the domain stands at the end.
                        below = re.sub(rb"(?=@)", b"/New", name) if user.startswith("da@") else name + b"/New"
                        command = form.replace(b"%b/New", below).replace(b"%b", name).replace(b"%%", b"%")
                        answer = re.sub(rb"MAILBOXID \([0-9a-f-]+\)", b"", await self.say(client, command))
                        answers.append(answer.replace(name, b"-"))
                        self.assertNotIn(b"secret", answers[-1], command)
                        self.assertNotRegex(answers[-1], rb"\nt BAD", command)
                    self.assertEqual(answers[0], answers[1], (user, form, hidden))
        for pattern in (b'LIST "" *', b'LSUB "" *', b'LIST "" "*@example.com"', b'LIST "" "user/%"'):
            answer = await self.say(client, pattern)
            self.assertNotRegex(answer, rb"fred|Work" if "@example" in user else rb"fred|plans|example\.com")
        self.assertEqual(await self.state(), before)

    def test_foreign_administrator(self) -> Deferred[None]:
        """Of another domain: nothing."""
        return Deferred.fromCoroutine(self._try_all("da@other.org"))

    def test_foreign_user(self) -> Deferred[None]:
        """Of another domain, though C{anyone} may read the shared folder."""
        return Deferred.fromCoroutine(self._try_all("eve@other.org"))

    def test_user_of_the_default_domain(self) -> Deferred[None]:
        """Which is a domain like any other."""
        return Deferred.fromCoroutine(self._try_all("eve"))

    def test_stranger_at_home(self) -> Deferred[None]:
        """Who was granted nothing of another user's."""
        return Deferred.fromCoroutine(self._try_all("mallory@example.com"))

    async def test_own_administrator(self) -> None:
        """The rules are not so strict that nothing can be done."""
        client = await self.log_in("da@example.com")
        self.assertIn(b"t OK", await self.say(client, b"GETACL user/fred/Work"))
        self.assertIn(b"t OK", await self.say(client, b"GETACL user/fred/Work@example.com"))
        listed = await self.say(client, b'LIST "" *')
        self.assertIn(b'"/" user/fred/Work\r\n', listed)
        self.assertNotIn(b"other.org", listed)
        self.assertNotIn(b"user/eve", listed)
        client = await self.log_in("cyrus")
        self.assertIn(b'"/" user/fred/Work@example.com\r\n', await self.say(client, b'LIST "" *@example.com'))
        self.assertNotIn(b"other.org", await self.say(client, b'LIST "" *@example.com'))
        for pattern in (b"*@example.com", b"user/%@example.com", b"*"):
            listed = await self.say(client, b'LIST "" "%b"' % pattern)
            self.assertIn(b'(\\HasChildren) "/" user/fred@example.com\r\n', listed)

    async def test_rights_taken_from_a_selected_session(self) -> None:
        """What was readable a moment ago is not any more, by any command."""
        mallory = "mallory@example.com"
        work = b"Other Users/fred/Work"
        for name, command in ON_SELECTED.items():
            await self.store.change_acl(BOSS, HIDDEN[1], AclChange(mallory, AclAction.REPLACE, frozenset("lrswte")))
            client = await self.log_in(mallory)
            self.assertIn(b"t OK", await self.say(client, b'SELECT "%b"' % work))
            self.assertIn(b"sesame", await self.say(client, b"FETCH 1 BODY.PEEK[]"))
            await self.store.change_acl(BOSS, HIDDEN[1], AclChange(mallory, AclAction.REPLACE, frozenset()))
            before = await self.state()
            answer = await self.say(client, command)
            self.assertNotRegex(answer, rb"sesame|secret|COPYUID|FLAGS \(|SEARCH 1|SORT 1|THREAD \(1|ALL 1", name)
            if name not in (b"CLOSE", b"UNSELECT", b"CHECK", b"CANCELUPDATE"):
                self.assertNotIn(b"t OK", answer, name)
            self.assertEqual(await self.state(), before, name)
            client.drop()


class CrossDomainTests(DomainCase):
    """With C{crossdomains} what was granted to somebody of another domain is theirs, and no more."""

    namespace = replace(NAMESPACE, crossdomains=True)
    identities = Identities(replace(IDENTITIES.settings, crossdomains=True))

    async def test_granted(self) -> None:
        eve = "eve@other.org"
        await self.store.change_acl(BOSS, HIDDEN[1], AclChange(eve, AclAction.REPLACE, frozenset("lr")))
        for user in (eve, "eve", "mallory@example.com"):
            client = await self.log_in(user)
            listed = await self.say(client, b'LIST "" *')
            self.assertIn(b'"Shared Folders/plans@example.com"\r\n', listed, user)
            self.assertEqual(b'"Other Users/fred@example.com/Work"\r\n' in listed, user == eve, user)
            self.assertNotIn(b'"Other Users/fred@example.com"\r\n', listed.replace(b"\\Noselect", b""), user)
            answer = await self.say(client, b'SELECT "Other Users/fred@example.com/Work"')
            self.assertEqual(b"t OK" in answer, user == eve, user)
        client = await self.log_in(eve)
        self.assertIn(b"t OK", await self.say(client, b'EXAMINE "Other Users/fred@example.com/Work"'))
        self.assertIn(b"sesame", await self.say(client, b"FETCH 1 BODY.PEEK[]"))
        self.assertIn(b'"Other Users/"', await self.say(client, b"NAMESPACE"))
        self.assertIn(b"t NO", await self.say(client, b'STATUS "Other Users/fred@example.com" (MESSAGES)'))

    async def test_administrators(self) -> None:
        """They end at their domain all the same."""
        client = await self.log_in("da@other.org")
        self.assertNotIn(b"example.com", await self.say(client, b'LIST "" *'))
        self.assertIn(b"t NO", await self.say(client, b"SELECT plans@example.com"))
        self.assertIn(b"t NO", await self.say(client, b"SETACL plans@example.com da@other.org lrs"))


class DeliveryScopeTests(DomainCase):
    async def _answer_to(self, user: str, recipient: Recipient) -> str:
        settings = DeliverySettings("mail.test", namespace=NAMESPACE, post_user="post")
        agent = DeliveryAgent(self.store, settings, cast(Any, self.server.reactor))
        envelope = Envelope("", None, IDENTITIES.identity(user), "client", "client", "LMTPA", "s1")
        delivery = agent.start(envelope)
        try:
            await delivery.add_recipient(recipient)
        except MailStoreError as error:
            return repr(error)
        finally:
            delivery.abort()
        return "accepted"

    async def test_lmtp(self) -> None:
        """Who delivers as a domain's administrator delivers into that domain."""
        for user in ("da@other.org", "eve@other.org", "eve", "mallory@example.com"):
            for local in ("fred", "fred+Work", "fred+Nope", "post+plans"):
                there = await self._answer_to(user, Recipient(local, "example.com"))
                absent = await self._answer_to(user, Recipient(re.sub("fred|plans", "nope", local), "example.com"))
                self.assertEqual(there, absent, (user, local))
                self.assertNotEqual(there, "accepted", (user, local))
        self.assertEqual(await self._answer_to("da@example.com", Recipient("mallory", "example.com")), "accepted")
        self.assertEqual(await self._answer_to("cyrus", Recipient("eve", "other.org")), "accepted")

    async def test_catchall_of_a_foreign_domain(self) -> None:
        """What is not delivered there by its address is not delivered there by default either."""
        settings = DeliverySettings("mail.test", namespace=NAMESPACE, catchall="mallory@example.com")
        agent = DeliveryAgent(self.store, settings, cast(Any, self.server.reactor))
        for user, accepted in (("da@other.org", False), ("da@example.com", True)):
            envelope = Envelope("", None, IDENTITIES.identity(user), "client", "client", "LMTPA", "s1")
            delivery = agent.start(envelope)
            if accepted:
                await delivery.add_recipient(Recipient("nope", "example.com"))
            else:
                with self.assertRaises(MailStoreError):
                    await delivery.add_recipient(Recipient("nope", "example.com"))
            delivery.abort()

    async def test_smmapd(self) -> None:
        """A socket map knows nobody: what only some may post to is as if it were not there."""
        settings = DeliverySettings("mail.test", namespace=NAMESPACE, post_user="post")
        verifier = RecipientVerifier(self.store, settings)
        await self.store.change_acl(BOSS, HIDDEN[2], AclChange("anyone", AclAction.REPLACE, frozenset()))
        answers = []
        for local in ("post+plans", "post+nopes"):
            try:
                await verifier.verify(Recipient(local, "example.com"))
            except MailStoreError as error:
                answers.append(reply_to_error(error))
        self.assertEqual(answers, [b"NOTFOUND Mailbox does not exist"] * 2)
        # A user of one domain is none of another.
        with self.assertRaises(MailStoreError):
            await verifier.verify(Recipient("fred", "other.org"))
        await verifier.verify(Recipient("mallory", "example.com"))
