"""Every domain error has its reply."""

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import errors
from pycyrus.lmtp import replies
from pycyrus.lmtp.replies import ERROR_REPLIES, reply_to_error
from pycyrus.lmtp.wire import Reply
from pycyrus.test.lmtp.driver import well_formed


def all_errors() -> set[type[errors.MailStoreError]]:
    return {
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.MailStoreError)
    }


class ReplyTests(SynchronousTestCase):
    def test_every_error_has_a_row(self) -> None:
        self.assertEqual(all_errors() - set(ERROR_REPLIES), set())

    def test_codes_agree_with_enhanced_codes(self) -> None:
        for error, reply in ERROR_REPLIES.items():
            self.assertEqual(reply.enhanced[0], str(reply.code)[0], error)
            self.assertTrue(well_formed(reply.encode()))

    def test_enhanced_codes(self) -> None:
        """RFC 2034 section 4: all but those that ask for more have one, of the same class."""
        fixed = [value for value in vars(replies).values() if isinstance(value, Reply)]
        self.assertGreater(len(fixed), 20)
        for reply in fixed:
            self.assertEqual(reply.enhanced[:1], "" if reply.code // 100 == 3 else str(reply.code)[0], reply)

    def test_storage_failures_are_temporary(self) -> None:
        for error in (errors.StoreUnavailable, errors.StoreFull, errors.MailboxCorrupted, errors.MailStoreError):
            self.assertEqual(reply_to_error(error()).code // 100, 4, error)

    def test_codes_of_cyrus(self) -> None:
        """What relays act upon."""
        for error, codes in (
            (errors.MailboxNotFound, "550 5.1.1"),
            (errors.OverQuota, "452 4.2.2"),
            (errors.PermissionDenied, "550 5.7.1"),
            (errors.MailboxCorrupted, "451 4.2.0"),
            (errors.MailboxMoving, "451 4.2.0"),
            (errors.MailboxDisabled, "451 4.2.1"),
            (errors.StoreUnavailable, "451 4.3.0"),
            (errors.MailStoreError, "451 4.3.0"),
            (errors.StoreFull, "451 4.3.1"),
            (errors.MessageTooLarge, "552 5.2.3"),
        ):
            reply = reply_to_error(error("why"))
            self.assertEqual(f"{reply.code} {reply.enhanced}", codes, error)
        self.assertEqual(reply_to_error(errors.MessageRejected("why")).encode()[:9], b"554 5.6.0")

    def test_hidden_and_absent_look_the_same(self) -> None:
        self.assertEqual(
            reply_to_error(errors.MailboxNotFound("why")), reply_to_error(errors.InvalidMailboxName("because"))
        )

    def test_over_quota_by_option(self) -> None:
        self.assertEqual(reply_to_error(errors.OverQuota()).encode(), b"452 4.2.2 Over quota\r\n")
        self.assertEqual(
            reply_to_error(errors.OverQuota(), over_quota_permanent=True).encode(), b"552 5.2.2 Over quota\r\n"
        )

    def test_a_reason_cannot_make_lines(self) -> None:
        reply = reply_to_error(errors.MessageRejected("a\r\n250 ok"), session_id="x")
        self.assertEqual(reply.encode(), b"554 5.6.0 a??250 ok SESSIONID=<x>\r\n")
