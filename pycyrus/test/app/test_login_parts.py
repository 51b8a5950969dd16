"""What options say of logins."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.login_parts import auth_settings, denials, inbox_administrators, mail_denials, tickets, tokens
from pycyrus.config.settings import Settings
from pycyrus.interfaces import IMailStore
from pycyrus.model.acl import OWNER_RIGHTS, Acl
from pycyrus.model.identity import Identity
from pycyrus.model.names import inbox_of
from pycyrus.testing.store import MemoryStore


class LoginPartsTests(SynchronousTestCase):
    def test_services_have_settings_of_their_own(self) -> None:
        """C{imap_sasl_mech_list} goes before C{sasl_mech_list}."""
        settings = Settings({"sasl_mech_list": "plain scram-sha-256", "imap_sasl_mech_list": "GSSAPI"})
        self.assertEqual(auth_settings(settings.for_service("imap"), "imapd").mechanisms, ("GSSAPI",))
        self.assertEqual(auth_settings(settings.for_service("pop3"), "pop3d").mechanisms, ("PLAIN", "SCRAM-SHA-256"))

    def test_services_between_servers(self) -> None:
        for program, only in (("lmtpd", True), ("mupdate", True), ("imapd", False)):
            self.assertEqual(auth_settings(Settings({}), program).admins_only, only)

    def test_a_layer_is_tls(self) -> None:
        self.assertFalse(auth_settings(Settings({}), "imapd").tls_required)
        self.assertTrue(auth_settings(Settings({"sasl_minimum_layer": "56"}), "imapd").tls_required)

    def test_tokens(self) -> None:
        """Nobody's tokens are taken unless it is said whose, and for whom they must be."""
        texts = {"oauth_jwks_url": "https://login.test/keys", "oauth_issuer": "https://login.test"}
        self.assertIsNone(tokens(Settings({}), Clock()))
        self.assertIsNone(tokens(Settings(texts), Clock()))
        verifier = tokens(Settings({**texts, "oauth_audience": "mail", "oauth_scope": "imap"}), Clock())
        assert verifier is not None
        self.assertEqual(verifier.refusal(), {"scope": "imap"})

    def test_tickets(self) -> None:
        """GSSAPI is offered where the key table can be read."""
        self.assertIsNone(tickets(Settings({"sasl_keytab": "/nowhere/at/all"})))

    def test_denials(self) -> None:
        """The file lies in configdirectory, or where an option says."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "user_deny.db").write_bytes(b"fred\t2\timap\t\n")
        (directory / "other").write_bytes(b"mary\t2\timap\t\n")
        here = denials(Settings({"configdirectory": str(directory)}))
        there = denials(Settings({"configdirectory": "/", "userdeny_db_path": str(directory / "other")}))
        self.assertTrue(here("fred", "imap"))
        self.assertFalse(there("fred", "imap"))
        self.assertTrue(there("mary", "imap"))
        (directory / "user_deny.db").write_bytes(b"fred\t2\tlmtp\t\n")
        self.assertFalse(here("fred", "imap"))
        self.assertTrue(mail_denials(Settings({"configdirectory": str(directory)}))("fred"))

    def test_inbox_administrators(self) -> None:
        """C{loginuseacl}: the right a on the INBOX."""
        store = MemoryStore()
        mary, fred = Identity("mary"), Identity("fred")
        self.assertIsNone(inbox_administrators(Settings({}), cast(IMailStore, store)))
        administers = inbox_administrators(Settings({"loginuseacl": "yes"}), cast(IMailStore, store))
        assert administers is not None
        for rights, expected in (("lrs", False), ("la", True)):
            store.add(inbox_of(mary), Acl((("mary", OWNER_RIGHTS), ("fred", frozenset(rights)))))
            answer = self.successResultOf(Deferred.fromCoroutine(administers(fred, mary)))
            self.assertEqual(answer, expected)
        self.assertFalse(self.successResultOf(Deferred.fromCoroutine(administers(fred, Identity("nobody")))))
