"""Names of mailboxes among servers of ours and Cyrus's: what MUPDATE carries means the same to both."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator

from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.threads import deferToThread

from pycyrus.auth.client import ClientCredentials
from pycyrus.imap.wire.grammar import Cursor
from pycyrus.interfaces import Location
from pycyrus.model.identity import AdminScope, Identity
from pycyrus.model.internal_names import internal
from pycyrus.model.names import ExternalNames, MailboxName, NamespaceSettings, VirtualDomains
from pycyrus.murder.directory.master_link import connect_to_master
from pycyrus.murder.servers.backends import Backends
from pycyrus.murder.servers.imap_link import ImapLink
from pycyrus.murder.servers.naming import NamesDiffer
from pycyrus.murder.servers.responses import split_responses
from pycyrus.murder.servers.settings import BackendSettings
from pycyrus.test.murder.test_cyrus import CyrusCase, net
from pycyrus.testing.cyrus import PASSWORD, CyrusServer

BOSS = Identity("cyrus", admin=AdminScope.GLOBAL)
PATHS = (
    ("Sent",),
    ("Entwürfe",),
    ("sp ace",),
    ("a(b)c*d",),
    ("it's",),
    ("R&D",),
    ("v1.2",),
    ("v1.2", "deep.er"),
    ("日本語",),
)
DOTS = NamespaceSettings(unixhierarchysep=False, altnamespace=False, virtdomains=VirtualDomains.USERID)
SLASHES = NamespaceSettings(virtdomains=VirtualDomains.OFF)


def names_for(namespace: NamespaceSettings) -> Iterator[MailboxName]:
    """Parents first."""
    is_virtual = namespace.virtdomains is not VirtualDomains.OFF
    for domain in ("", "d1.example") if is_virtual else ("",):
        for user in ("fred", "a.b-c_d", *(() if is_virtual else ("u@d1.example",))):
            for path in ((), *PATHS):
                yield MailboxName(domain, user, path)
        for path in (("pub",), ("pub", "x.y"), ("müll",)):
            yield MailboxName(domain, None, path)


def options(namespace: NamespaceSettings) -> dict[str, str]:
    return {
        "unixhierarchysep": "yes" if namespace.unixhierarchysep else "no",
        "altnamespace": "yes" if namespace.altnamespace else "no",
        "virtdomains": namespace.virtdomains.value,
        "defaultdomain": namespace.defaultdomain,
    }


class NamesTests(CyrusCase):
    async def link_to(self, server: CyrusServer, user: str, port: int | None = None) -> ImapLink:
        link = ImapLink("cyrus", net)
        await connectProtocol(TCP4ClientEndpoint(net, "127.0.0.1", port or server.port), link)
        await link.greeted()
        word = b64encode(f"{user}\0cyrus\0{PASSWORD}".encode())
        _, status, text = await link.ask(b"AUTHENTICATE PLAIN " + word)
        self.assertEqual(status, b"OK", text)
        self.addCleanup(link.abort, "the test is over")
        return link

    async def listed(self, link: ImapLink) -> set[bytes]:
        untagged, status, _ = await link.ask(b'LIST "" *')
        self.assertEqual(status, b"OK")
        found = set()
        for pieces in split_responses(untagged):
            cursor = Cursor(pieces, utf8=True)
            cursor.expect(b"* LIST ")
            cursor.paren_list(Cursor.flag)
            cursor.space()
            cursor.string()
            cursor.space()
            found.add(cursor.astring())
        return found

    def member(self, program: str, namespace: NamespaceSettings, **more: str) -> CyrusServer:
        """A Cyrus that has our master."""
        return self.make(
            program,
            users=["cyrus", "mailproxy"],
            others=("imapd",) if program == "mupdate" else (),
            admins="cyrus",
            mupdate_server=f"localhost:{self.port}",
            mupdate_username="admin",
            mupdate_authname="admin",
            mupdate_password="secret",
            **options(namespace),
            **more,
        )

    async def _live(self, namespace: NamespaceSettings) -> None:
        backend = self.member("imapd", namespace, proxyservers="mailproxy")
        await self.start(backend)
        admin = await self.link_to(backend, "")
        external = ExternalNames(namespace, BOSS)
        names = list(names_for(namespace))
        for name in names:
            wire = external.encode(name)
            _, status, text = await admin.ask(b"CREATE {%d+}\r\n%b" % (len(wire), wire))
            self.assertEqual(status, b"OK", (name, text))
        # What Cyrus tells our master is what we call it.
        known = {each.mailbox: each for each in self.locations.page("", "", 1000)}
        self.assertEqual(set(known), set(map(internal, names)))
        for name in names:
            if name.is_inbox:
                self.assertTrue(known[internal(name)].acl.startswith(f"{name.owner_id}\t"), name)
        # Its comparison at the start (ctl_mboxlist -m) finds the same names again.
        await deferToThread(backend.stop)
        for name in names[::3]:
            await self.locations.delete(internal(name))
        await self.start(backend)
        self.assertEqual({each.mailbox: each for each in self.locations.page("", "", 1000)}, known)
        # Its frontend shows our master's names as we would.
        frontend = self.member("mupdate", namespace, serverlist=backend.name)
        await self.start(frontend)
        port = frontend.ports["imapd"]
        self.assertEqual(await self.listed(await self.link_to(frontend, "", port)), set(map(external.encode, names)))
        fred = Identity("fred")
        own = ExternalNames(namespace, fred)
        expected = {
            own.encode(name) for name in names if name.owned_by(fred) or (name.owner, name.domain) == (None, "")
        }
        self.assertEqual(await self.listed(await self.link_to(frontend, "fred", port)), expected)
        await self._check_agreement(backend, namespace)

    async def _check_agreement(self, backend: CyrusServer, namespace: NamespaceSettings) -> None:
        """Our frontend uses that backend if its own options are the same, and not if they are others."""
        for ours in (DOTS, SLASHES):
            credentials = {"": ClientCredentials("mailproxy", password=PASSWORD)}
            links = Backends(BackendSettings(credentials, namespace=ours), net)
            self.addCleanup(links.close)
            for identity in (Identity("fred"), Identity("cyrus", admin=AdminScope.GLOBAL)):
                if ours is namespace:
                    async with links.borrowed(backend.name, identity) as link:
                        self.assertIsNone(link.lost_reason)
                else:
                    with self.assertRaises(NamesDiffer):
                        await links.link(backend.name, identity)

    async def test_dots_and_domains(self) -> None:
        await self._live(DOTS)

    async def test_slashes(self) -> None:
        await self._live(SLASHES)

    async def test_a_master_of_cyrus(self) -> None:
        """It gives back what our servers tell it, though it keeps names otherwise."""
        master = self.make("mupdate", "-m", users=["mupduser"], admins="mupduser")
        await self.start(master)
        client = await connect_to_master(net, self.settings(master))
        self.addCleanup(client.log_out)
        names = {*map(internal, names_for(DOTS)), *map(internal, names_for(SLASHES))}
        names |= {internal(MailboxName(domain, "a.b", ("v1.2",), "5F00")) for domain in ("", "d1.example")}
        for name in names:
            await client.activate(Location(name, "b1:143", "default", "x\tl\t"))
        self.assertEqual({each.mailbox for each in await client.list_begun("b1:143!")}, names)
