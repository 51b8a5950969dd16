"""What options say of partitions, special uses, users and rights."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pycyrus.app.identity_parts import identity_settings
from pycyrus.app.store_parts import owner_rights, store_settings
from pycyrus.auth.identity import Identities
from pycyrus.config.settings import Settings
from pycyrus.store.partition_choice import ChoiceSettings, SelectMode
from pycyrus.testing.logs import captured

MUST = {"configdirectory": "/c", "partition-a": "/a", "partition-b": "/b"}


class StorePartsTests(SynchronousTestCase):
    def test_store(self) -> None:
        made = store_settings(
            Settings(
                MUST
                | {
                    "partition_select_mode": "freespace-percent-weighted",
                    "partition_select_exclude": "B",
                    "partition_select_soft_usage_limit": "80",
                    "partition_select_usage_reinit": "5",
                    "allowusermoves": "yes",
                    "specialuse_extra": r"\\Scheduled",
                    "specialuse_protect": r"\\Sent",
                    "specialuse_nochildren": r"\\Trash",
                    "delete_unsubscribe": "yes",
                }
            )
        )
        choice = ChoiceSettings(SelectMode.FREESPACE_PERCENT_WEIGHTED, frozenset("b"), 80, 5)
        self.assertEqual(made.partition_choice, choice)
        self.assertTrue(made.allowusermoves)
        self.assertEqual(made.special_uses[-1], r"\\Scheduled")
        self.assertEqual(made.protected_uses, {r"\\Sent"})
        self.assertEqual(made.childless_uses, {r"\\Trash"})
        self.assertTrue(made.delete_unsubscribe)

    def test_identities(self) -> None:
        """What options say of rights is part of whoever logs in."""
        options = {"crossdomains": "yes", "virtdomains": "userid", "implicit_owner_rights": "la", "admins": "boss"}
        settings = Settings(MUST | options | {"acl_admin_implies_write": "yes"})
        identities = Identities(identity_settings(settings))
        fred = identities.identity("fred@example.com")
        self.assertEqual((fred.crosses_domains, fred.writes_administered, fred.owner_rights), (True, True, {"l", "a"}))
        self.assertFalse(identities.identity("boss").crosses_domains)

    def test_rights_that_are_none(self) -> None:
        """A mistake leaves owners what they have by default, and is told."""
        self.assertEqual(owner_rights(Settings(MUST)), frozenset("lkxan"))
        with captured() as found:
            self.assertEqual(owner_rights(Settings(MUST | {"implicit_owner_rights": "l!"})), frozenset("lkxan"))
        self.assertEqual(found.texts(), ["implicit_owner_rights: l! are no rights; the default holds"])
