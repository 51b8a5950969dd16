"""
A Murder answers as one server would that had all of its mailboxes.

What a frontend shows is in its own spelling, whichever server it comes from, so the two can be
compared octet for octet, but for times and numbers that are chance.
"""

from __future__ import annotations

import re

from typing_extensions import override

from pycyrus.auth.identity import IdentitySettings
from pycyrus.model.acl import Acl
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.store.store import MailStore
from pycyrus.test.murder.cluster import ADMIN, MurderCase

MINE = MailboxName("d1.example", "a.b", ())
OTHER = MailboxName("d1.example", "jane", ())
NEWS = MailboxName("d1.example", None, ("news",))
TALK = MailboxName("d1.example", None, ("talk",))
HIDDEN = MailboxName("d1.example", "eve", ())
FOREIGN = MailboxName("d2.example", "fred", ())
HERE, THERE = (MINE, NEWS), (OTHER, TALK, HIDDEN, FOREIGN, TALK.child("v1.2"))
NAMES = {
    "mine": MINE,
    "lists": MINE.child("Entwürfe").child("v1.2"),
    "old": MINE.child("(sp ace)*"),
    "other": OTHER,
    "new": OTHER.child("R&D"),
    "news": NEWS,
    "talk": TALK,
    "below": TALK.child("v1.2"),
    "hidden": HIDDEN,
    "foreign": FOREIGN,
    "nobody": MailboxName("d1.example", "nobody", ()),
    "nothing": MailboxName("d1.example", None, ("nothing",)),
}
"""What commands call mailboxes; the frontend's user is on the first server."""

USER = """
NAMESPACE
CREATE {lists}
CREATE {old}
CREATE {new}
SUBSCRIBE {lists}
SUBSCRIBE {talk}
APPEND {lists} (\\Flagged) {{6+}}
a: b

APPEND {talk} {{6+}}
a: b

SELECT {lists}
UID COPY 1 {other}
UID COPY 1 {talk}
UID COPY 1 iNbOx
UID MOVE 1 {old}
UID COPY 1 {nothing}
UID COPY 1 {hidden}
CLOSE
STATUS {below} (MESSAGES UIDNEXT)
STATUS InBox (MESSAGES UNSEEN)
EXAMINE {other}
UNSELECT
LIST "" *
LIST "" %
LIST "" ""
LIST "" (iNboX {lists} {other}) RETURN (STATUS (MESSAGES) MYRIGHTS CHILDREN SUBSCRIBED)
LIST (SUBSCRIBED) "" * RETURN (CHILDREN)
LSUB "" *
XLIST "" %
UNSUBSCRIBE {talk}
LSUB "" *
SETACL {lists} jane@d1.example lr
SETACL {lists} eve +l
GETACL {lists}
DELETEACL {lists} jane
MYRIGHTS {below}
LISTRIGHTS {lists} jane
GETACL {other}
MYRIGHTS {hidden}
GETACL {foreign}
GETQUOTAROOT {lists}
GETQUOTAROOT {talk}
GETQUOTA {mine}
SETMETADATA {lists} (/private/comment "note")
SETMETADATA {talk} (/private/comment "other")
GETMETADATA (DEPTH infinity) {lists} /private
GETMETADATA {talk} (/private/comment /shared/comment)
GETMETADATA {hidden} (/shared/comment)
ESEARCH IN (mailboxes ({lists} {old} {talk})) ALL
ESEARCH IN (subtree {talk} personal) RETURN (COUNT) ALL
ESEARCH IN (mailboxes {hidden}) ALL
NOTIFY SET STATUS (mailboxes ({lists} {talk}) (MessageNew MessageExpunge))
NOTIFY NONE
RENAME {lists} {nothing}
RENAME {lists} {talk}
RENAME {lists} {hidden}
RENAME {lists} {foreign}
RENAME {old} {lists}
RENAME {old} "a{{}}b"
RENAME {nothing} {old}
RENAME {new} {hidden}
SELECT {hidden}
SELECT {foreign}
STATUS {nobody} (MESSAGES)
CREATE {hidden}
CREATE {nobody}
CREATE "a!b"
DELETE {news}
DELETE {talk}
DELETE {hidden}
DELETE {mine}
DELETE {new}
DELETE {lists}
LIST "" *
"""

ADMINISTRATOR = """
NAMESPACE
LIST "" {mine}
LIST "" *@d1.example
LIST "" % RETURN (CHILDREN)
SETACL {mine} {me} +lrx
GETACL {mine}
SETACL {talk} {me} +lrx
GETACL {talk}
LISTRIGHTS {talk} jane@d1.example
SETQUOTA {other} (STORAGE 1000)
GETQUOTA {other}
GETQUOTAROOT {other}
CREATE {new}
CREATE {nobody}
GETQUOTAROOT {new}
SETMETADATA {below} (/shared/comment "c")
GETMETADATA {below} (/shared/comment)
STATUS {talk} (MESSAGES)
RENAME {new} {mine}
RENAME {new} {news}
RENAME {talk} {news}
RENAME {below} {nothing}
RENAME {nothing} {below}
CREATE {other}
SETACL {foreign} {me} +x
DELETE {talk}
DELETE {below}
DELETE {nothing}
SELECT {foreign}
LIST "" *
"""

_CHANCE = re.compile(
    rb"(?<=UIDVALIDITY )[0-9]+|(?<=APPENDUID )[0-9]+|(?<=COPYUID )[0-9]+|(?<=MAILBOXID \()[^)]+|[0-9.]+ secs"
    rb'|(?<=\(TAG ")[^"]+|(?<=[./])[0-9A-F]{8}(?=[@"\r])|(?<=HIGHESTMODSEQ )[0-9]+'
)


class AlikeCase(MurderCase):
    users = dict.fromkeys(("a.b@d1.example", "da@d1.example", "admin", "mailproxy"), "secret")
    identities = IdentitySettings(virtdomains="userid", admins=("da@d1.example",))

    @override
    async def setUp(self) -> None:  # type: ignore[override] # trial waits
        await super().setUp()
        self.alone = self.start_backend()
        store = self.stores.pop(self.alone)
        for server, names in zip(self.servers, (HERE, THERE), strict=True):
            for each in (self.stores[server], store):
                await self._fill(each, names)
        for user in ("alice", "bob"):
            await store.create(ADMIN, MailboxName("", user, ()))
        await self.directory.catch_up()

    async def _fill(self, store: MailStore, names: tuple[MailboxName, ...]) -> None:
        for name in names:
            await store.create(ADMIN, name)
            if name.owner is None:
                await store.set_acl(ADMIN, name, Acl((("anyone", frozenset("lrswipkxte")),)))
        if OTHER in names:
            await store.set_acl(ADMIN, OTHER, Acl((("a.b@d1.example", frozenset("lrswipkxte")),)))

    async def _say(self, client: ImapLink, command: bytes) -> list[bytes]:
        untagged, status, text = await client.ask(command)
        lines = _CHANCE.sub(b"-", untagged).split(b"\r\n")
        # Of several servers some answer before the others.
        return [*sorted(lines), status + b" " + _CHANCE.sub(b"-", text)]

    async def _compare(self, user: str, identity: Identity, script: str) -> None:
        external = ExternalNames(self.namespace, identity)
        names = {key: '"' + external.encode(name).decode("ascii") + '"' for key, name in NAMES.items()}
        murder = await self.client(user)
        alone = await self.client(user, int(self.alone.rpartition(":")[2]))
        for command in re.split(r"\n(?=[A-Z])", script.strip()):
            command = command.format(me=user, **names)
            sent = command.replace("\n", "\r\n").rstrip("\r\n") + "\r\n\r\n" * ("{6+}" in command)
            found = await self._say(murder, sent.encode("ascii"))
            self.assertEqual(found, await self._say(alone, sent.encode("ascii")), (user, command))

    async def test_a_user(self) -> None:
        await self._compare("a.b@d1.example", Identity("a.b", "d1.example"), USER)

    async def test_administrators(self) -> None:
        """Of everything, and of a domain."""
        everything = Identity("admin", admin=AdminScope.GLOBAL)
        await self._compare("admin", everything, ADMINISTRATOR)
        domain = Identity("da", "d1.example", admin=AdminScope.DOMAIN)
        await self._compare("da@d1.example", domain, re.sub(r".*\{foreign\}.*\n", "", ADMINISTRATOR))


class DotsTests(AlikeCase):
    namespace = NamespaceSettings(unixhierarchysep=False, altnamespace=False, virtdomains=VirtualDomains.USERID)


class SlashesTests(AlikeCase):
    namespace = NamespaceSettings(
        userprefix="Colleagues", sharedprefix="Public", virtdomains=VirtualDomains.USERID, crossdomains=True
    )
    identities = IdentitySettings(virtdomains="userid", admins=("da@d1.example",), crossdomains=True)


del AlikeCase
