"""The connection to the master, with TLS and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.ssl import Certificate, optionsForClientTLS
from typing_extensions import override

from pycyrus.auth.client import ClientCredentials
from pycyrus.errors import StoreUnavailable
from pycyrus.mupdate.protocol import MupdateFactory
from pycyrus.mupdate.settings import MupdateSettings
from pycyrus.murder.directory.master_link import MasterAddress, MasterSettings, connect_to_master
from pycyrus.net.selfsigned import generate
from pycyrus.net.tls import ServerContext, TLSSettings
from pycyrus.test.mupdate.test_master import FRED, MasterCase
from pycyrus.testing.imap import FixedAuthenticator

net: Any = reactor


class TLSTests(MasterCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.certificate = self.directory / "cert.pem"
        generate(self.certificate, self.directory / "key.pem")
        context = ServerContext(TLSSettings(self.certificate, self.directory / "key.pem"))
        settings = MupdateSettings("m", version="3.6")
        factory = MupdateFactory(self.locations, FixedAuthenticator(), settings, None, context, net)
        port = net.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.shut_down)
        self.tls_port = port.getHost().port

    def trust(self, certificate: Path, name: str = "localhost") -> object:
        return optionsForClientTLS(name, trustRoot=Certificate.loadPEM(certificate.read_bytes()))

    def settings(self, port: int) -> MasterSettings:
        address = MasterAddress.parse(f"127.0.0.1:{port}/tls")
        return MasterSettings(address, ClientCredentials("admin", password="secret"))

    async def test_tls(self) -> None:
        """It is begun where it is offered, and the banner that counts is the one within it."""
        await self.locations.follow([FRED])
        client = await connect_to_master(net, self.settings(self.tls_port), tls=self.trust(self.certificate))
        self.addCleanup(client.log_out)
        self.assertFalse(client.banner.can_start_tls)
        self.assertEqual(await client.find("user.fred"), FRED)

    async def test_another_certificate(self) -> None:
        """Nobody who shows another one, or one of another name, is told a password."""
        other = self.directory / "other.pem"
        generate(other, self.directory / "other.key")
        for tls in (self.trust(other), self.trust(self.certificate, "master.example")):
            with self.assertRaises(StoreUnavailable):
                await connect_to_master(net, self.settings(self.tls_port), tls=tls)

    async def test_no_tls(self) -> None:
        """C{/tls} is not to be had without."""
        with self.assertRaises(StoreUnavailable):
            await connect_to_master(net, self.settings(self.port), tls=self.trust(self.certificate))
