"""C{pycyrus quota}, in a process of its own beside an open store."""

from __future__ import annotations

import json

from typing_extensions import override

from pycyrus.model.names import MailboxName, parse_internal
from pycyrus.store.usage import UsageMap, mark_of
from pycyrus.test.admin.tools import BesideStoreTestCase
from pycyrus.test.store.test_expiry import ADMIN


class QuotaTests(BesideStoreTestCase):
    @override
    def setUp(self) -> None:
        super().setUp()
        self.world.run(self.world.store.create(ADMIN, MailboxName("example.org", "jane", ())))

    @override
    def more_configuration(self) -> str:
        return "virtdomains: userid\nunixhierarchysep: yes\n"

    def call(self, *words: str, code: int = 0) -> str:
        output, errors = self.tool("quota", *words, code=code)
        return output if not code else errors

    def test_life(self) -> None:
        """Set, told in Cyrus's columns, as JSON, and removed; the open store knows at once."""
        self.world.append("user.fred", b"Subject: x\r\n\r\n" + b"x" * 3000)
        self.call("--set", "storage=4", "--set", "MESSAGE=0", "user/fred")
        printed = self.call().splitlines()
        self.assertEqual(
            printed,
            [
                "   Quota   % Used     Used             Resource Root",
                "       4       50        2              STORAGE user/fred",
                "       0                 1              MESSAGE user/fred",
                "                         0 X-ANNOTATION-STORAGE user/fred",
                "                         1        X-NUM-FOLDERS user/fred",
            ],
        )
        self.call("--set", "STORAGE=10", "-u", "jane@example.org")
        self.assertEqual(list(json.loads(self.call("-J"))), ["user/fred", "user/jane@example.org"])
        told = json.loads(self.call("-J", "-d", "example.org"))
        self.assertEqual(told["user/jane@example.org"]["STORAGE"], {"used": 0, "limit": 10})
        self.assertEqual(json.loads(self.call("-J", "user/f")).keys(), {"user/fred"})
        quota = self.world.run(self.world.store.quota(ADMIN, parse_internal("user.fred")))
        self.assertEqual([limit.value for limit in quota.limits], [4, 0])
        self.call("--remove", "user/fred")
        self.assertEqual(list(json.loads(self.call("-J"))), ["user/jane@example.org"])

    def test_counting_again(self) -> None:
        self.world.append("user.fred", b"Subject: x\r\n\r\n")
        self.call("--set", "STORAGE=4", "user/fred")
        entry = self.world.store.directory.lookup(parse_internal("user.fred"))
        assert entry is not None
        slots = UsageMap(self.home / "config")
        slots.put(entry.number, mark_of(entry.unique_id), 5, 5, 5, 5)
        slots.close()
        lines = ["user/fred: STORAGE usage was 5, now 14", "user/fred: MESSAGE usage was 5, now 1"]
        self.assertEqual(self.call("-f", "-q").splitlines(), lines)
        self.assertEqual(self.call("-f", "-q"), "")

    def test_mistakes(self) -> None:
        self.assertIn("'FRIENDS=3' is not RESOURCE=NUMBER", self.call("--set", "FRIENDS=3", "x", code=64))
        self.assertIn("need names", self.call("--remove", code=1))
        self.call("--set", "STORAGE=1", "user/nobody", code=1)
