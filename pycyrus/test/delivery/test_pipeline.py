"""From an envelope into mailboxes."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.delivery.pipeline import Delivery, DeliveryAgent
from pycyrus.delivery.settings import DeliverySettings
from pycyrus.errors import MailboxDisabled, MailboxNotFound, OverQuota, PermissionDenied, StoreFull, StoreUnavailable
from pycyrus.interfaces import Envelope, IDelivery, IDeliveryAgent, Recipient
from pycyrus.model.identity import POSTMAN
from pycyrus.model.names import MailboxName
from pycyrus.model.quota import Enforcement
from pycyrus.test.delivery.doubles import MemoryStore

FRED = MailboxName("", "fred", ())
JANE = MailboxName("", "jane", ())
BODY = b"Message-ID: <1@x>\r\nDate: x\r\n\r\ntext\r\n"


class PipelineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore()
        self.store.add_user("fred")
        self.store.add_user("jane")

    def agent(self, **settings: object) -> DeliveryAgent:
        return DeliveryAgent(self.store.as_store(), DeliverySettings("mail.test", **settings), self.clock)  # type: ignore[arg-type]

    def start(self, auth: str | None = None, **settings: object) -> Delivery:
        return self.agent(**settings).start(Envelope("a@b", None, POSTMAN, "x", "y", "LMTPA", "id", auth=auth))

    def add(self, delivery: Delivery, *local_parts: str) -> None:
        for local_part in local_parts:
            self.successResultOf(Deferred.fromCoroutine(delivery.add_recipient(Recipient(local_part, ""))))

    def deliver(self, delivery: Delivery, body: bytes = BODY) -> list[Exception | None]:
        self.successResultOf(Deferred.fromCoroutine(delivery.begin()))
        delivery.write(body)
        results = list(self.successResultOf(Deferred.fromCoroutine(delivery.commit())))
        self.assertEqual(self.store.openings, 0)
        self.assertTrue(all(staged.discarded for staged in self.store.staged))
        return results

    def count(self, *names: MailboxName) -> list[int]:
        return [len(self.store.mailboxes[name]) for name in names]

    def test_denied_users_get_no_mail(self) -> None:
        """Whom C{user_deny.db} names is told of; others, and whoever catches all, are not touched."""
        denied = {"jane"}
        delivery = self.start(is_denied=denied.__contains__, catchall="fred")
        self.add(delivery, "fred", "nobody")
        for local_part in ("jane", "jane+folder"):
            result = Deferred.fromCoroutine(delivery.add_recipient(Recipient(local_part, "")))
            self.failureResultOf(result, MailboxDisabled)
        self.assertEqual(self.deliver(delivery), [None, None])
        self.assertEqual(self.count(FRED, JANE), [1, 0])
        denied.clear()
        delivery = self.start(is_denied=denied.__contains__)
        self.add(delivery, "jane")
        self.assertEqual(self.deliver(delivery), [None])

    def test_interfaces(self) -> None:
        verifyObject(IDeliveryAgent, self.agent())
        verifyObject(IDelivery, self.start())

    def test_one_stage_for_each_partition(self) -> None:
        self.store.add_user("joe")
        self.store.partitions[JANE] = "other"
        delivery = self.start()
        self.add(delivery, "fred", "jane", "joe")
        self.assertEqual(self.deliver(delivery), [None, None, None])
        self.assertEqual(sorted(staged.partition for staged in self.store.staged), ["default", "other"])
        self.assertEqual(self.store.mailboxes[FRED], self.store.mailboxes[JANE])

    def test_a_full_partition_harms_its_own_recipients_only(self) -> None:
        self.store.partitions[JANE] = "other"
        self.store.write_errors["other"] = StoreFull()
        delivery = self.start()
        self.add(delivery, "jane", "fred")
        full, fine = self.deliver(delivery)
        self.assertIsInstance(full, StoreFull)
        self.assertIsNone(fine)
        self.assertEqual(self.count(FRED, JANE), [1, 0])

    def test_the_same_mailbox_twice_gets_one_copy_and_two_answers(self) -> None:
        delivery = self.start()
        self.add(delivery, "fred", "FRED", "jane", "fred")
        self.assertEqual(self.deliver(delivery), [None] * 4)
        self.assertEqual(self.count(FRED, JANE), [1, 1])

    def test_room_is_looked_for_when_a_recipient_is_named(self) -> None:
        self.store.full.add(FRED)
        delivery = self.start()
        refused = delivery.add_recipient(Recipient("fred", ""))
        self.failureResultOf(Deferred.fromCoroutine(refused), OverQuota)
        self.assertEqual(self.store.openings, 0)
        accepted = delivery.add_recipient(Recipient("fred", "", ignore_quota=True))
        self.successResultOf(Deferred.fromCoroutine(accepted))
        self.add(delivery, "jane")
        self.assertEqual(self.deliver(delivery), [None, None])
        self.assertEqual(self.store.checks, [(0, 0), (0, 0)])
        self.assertEqual(self.store.enforcements, [Enforcement.NONE, Enforcement.LENIENT])

    def test_strict_quota_counts_the_message(self) -> None:
        envelope = Envelope("a@b", 4711, POSTMAN, "x", "y", "LMTPA", "id")
        delivery = self.agent(strict_quota=True).start(envelope)
        self.add(delivery, "fred")
        self.deliver(delivery)
        self.assertEqual((self.store.checks, self.store.enforcements), ([(4711, 1)], [Enforcement.FULL]))

    def test_internal_date(self) -> None:
        """Now, or what the message says of an earlier delivery."""
        self.clock.advance(1e9)
        for field in (b"", b"X-DeliveredInternalDate: Fri, 2 Jan 1970 00:00:00 +0000\r\n"):
            delivery = self.start()
            self.add(delivery, "fred")
            self.assertEqual(self.deliver(delivery, field + BODY), [None])
        self.assertEqual(self.store.dates, [None, 86_400])

    def test_unknown_recipients(self) -> None:
        delivery = self.start()
        for local_part in ("nobody", "nobody+Sent", "a/b", ""):
            self.failureResultOf(
                Deferred.fromCoroutine(delivery.add_recipient(Recipient(local_part, ""))), MailboxNotFound
            )

    def test_catchall(self) -> None:
        delivery = self.start(catchall="jane")
        self.add(delivery, "nobody", "a/b", "fred")
        self.assertEqual(self.deliver(delivery), [None, None, None])
        self.assertEqual(self.count(FRED, JANE), [1, 1])

    def test_a_detail_names_a_folder_where_anyone_may_post(self) -> None:
        open_ = self.store.add(MailboxName("", "fred", ("Lists",)), ("anyone", "p"))
        closed = self.store.add(MailboxName("", "fred", ("Private",)), ("fred", "lrswipkxtea"))
        delivery = self.start()
        self.add(delivery, "fred+Lists", "fred+Private", "fred+Absent")
        self.assertEqual(self.deliver(delivery), [None, None, None])
        self.assertEqual(self.count(open_, closed), [1, 0])
        self.assertEqual(self.count(FRED), [2])

    def test_a_detail_with_a_sender_who_may_post(self) -> None:
        folder = self.store.add(MailboxName("", "fred", ("Team",)), ("jane", "p"))
        for auth, expected in (("jane", 1), ("joe", 1), ("", 1)):
            delivery = self.start(auth)
            self.add(delivery, "fred+Team")
            self.assertEqual(self.deliver(delivery), [None])
            self.assertEqual(self.count(folder), [expected], auth)

    def test_a_folder_that_goes_meanwhile(self) -> None:
        folder = self.store.add(MailboxName("", "fred", ("Lists",)), ("anyone", "p"))
        self.store.append_errors[folder] = MailboxNotFound()
        delivery = self.start()
        self.add(delivery, "fred+Lists")
        self.assertEqual(self.deliver(delivery), [None])
        self.assertEqual(self.count(FRED), [1])

    def test_a_folder_that_cannot_be_read_now(self) -> None:
        folder = self.store.add(MailboxName("", "fred", ("Lists",)), ("anyone", "p"))
        self.store.open_errors[folder] = StoreUnavailable()
        delivery = self.start()
        self.add(delivery, "fred+Lists", "jane")
        failed, fine = self.deliver(delivery)
        self.assertIsInstance(failed, StoreUnavailable)
        self.assertIsNone(fine)
        self.assertEqual(self.count(FRED, JANE), [0, 1])

    def test_shared_mailboxes_want_the_right_to_post(self) -> None:
        """Abuse case 25: hidden and absent look the same."""
        shared = self.store.add(MailboxName("", None, ("list",)), ("anyone", "p"))
        self.store.add(MailboxName("", None, ("seen",)), ("anyone", "lr"))
        self.store.add(MailboxName("", None, ("hidden",)), ("jane", "lrp"))
        delivery = self.start()
        self.add(delivery, "+list", "fred")
        for local_part, error in (
            ("+seen", PermissionDenied),
            ("+hidden", MailboxNotFound),
            ("+absent", MailboxNotFound),
        ):
            self.failureResultOf(Deferred.fromCoroutine(delivery.add_recipient(Recipient(local_part, ""))), error)
        self.assertEqual(self.deliver(delivery), [None, None])
        self.assertEqual(self.count(shared, FRED), [1, 1])

    def test_a_folder_spelt_alike_may_do(self) -> None:
        lists = self.store.add(MailboxName("", "fred", ("Mailing-Lists",)), ("anyone", "p"))
        closed = self.store.add(MailboxName("", "fred", ("Mailing-Lists", "Old")), ("fred", "lr"))
        shared = self.store.add(MailboxName("", None, ("Team Box",)), ("anyone", "p"))
        delivery = self.start(fuzzy_mailbox_match=True)
        self.add(delivery, "fred+mailing_lists", "fred+Mailing lists/new", "+team-box", "fred+absent")
        self.assertEqual(self.deliver(delivery), [None] * 4)
        self.assertEqual(self.count(lists, closed, shared, FRED), [2, 0, 1, 1])

    def test_folders_with_an_excluded_special_use(self) -> None:
        """They get nothing by a detail, which goes to the INBOX then; others do."""
        snoozed = self.store.add(MailboxName("", "fred", ("Later",)), ("anyone", "p"))
        drafts = self.store.add(MailboxName("", "fred", ("Notes",)), ("anyone", "p"))
        self.store.uses = {snoozed: (r"\Snoozed",), drafts: (r"\Drafts",)}
        delivery = self.start(excluded_special_uses=frozenset((r"\snoozed",)), fuzzy_mailbox_match=True)
        self.add(delivery, "fred+Later", "fred+later", "fred+Notes")
        self.assertEqual(self.deliver(delivery), [None] * 3)
        self.assertEqual(self.count(snoozed, drafts, FRED), [0, 1, 2])

    def test_all_recipients_are_appended_side_by_side(self) -> None:
        names = [f"u{number}" for number in range(20)]
        for name in names:
            self.store.add_user(name)
        self.store.held = []
        delivery = self.start()
        self.add(delivery, *names)
        self.successResultOf(Deferred.fromCoroutine(delivery.begin()))
        delivery.write(BODY)
        done = Deferred.fromCoroutine(delivery.commit())
        self.assertEqual(len(self.store.held), 20)
        self.assertNoResult(done)
        for each in reversed(self.store.held):
            each.callback(None)
        self.assertEqual(self.successResultOf(done), [None] * 20)

    def test_abort_in_any_state(self) -> None:
        delivery = self.start()
        delivery.abort()
        self.add(delivery, "fred")
        delivery.abort()
        delivery.abort()
        self.assertEqual(self.store.openings, 0)

    def test_written_bytes(self) -> None:
        delivery = self.start()
        self.add(delivery, "fred")
        self.deliver(delivery, b"Return-Path: <old>\r\nMessage-ID: <1@x>\r\nDate: x\r\n\r\nbare\nlf\r\nand\rcr\r\n")
        message = self.store.mailboxes[FRED][0]
        self.assertTrue(
            message.startswith(b"Return-Path: <a@b>\r\nReceived: from x (y)\r\n\t by mail.test (Cyrus) with LMTPA;\r\n")
        )
        self.assertTrue(message.endswith(b"\r\nMessage-ID: <1@x>\r\nDate: x\r\n\r\nbare\r\nlf\r\nandcr\r\n"))
        self.assertNotIn(b"old", message)
