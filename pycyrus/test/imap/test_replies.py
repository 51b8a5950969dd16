"""Every error has its reply: L{pycyrus.imap.replies}."""

from __future__ import annotations

import inspect
import re

from twisted.trial.unittest import SynchronousTestCase

from pycyrus import errors
from pycyrus.imap.commands.table import COMMANDS
from pycyrus.imap.replies import REPLIES, Bad, No, tagged
from pycyrus.imap.wire.grammar import BadSyntax

CLASSES = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.MailStoreError)}


class RepliesTests(SynchronousTestCase):
    """The table, and lines made from it."""

    def test_every_error_has_a_row(self) -> None:
        self.assertEqual(CLASSES - REPLIES.keys(), set())

    def test_lines_are_lines(self) -> None:
        for kind in CLASSES:
            takes_reason = kind in (errors.MessageRejected, errors.LimitExceeded)
            line = tagged(b"a1", kind("/var/spool") if not takes_reason else kind("Reason"))
            self.assertRegex(line, rb"^a1 (NO|BAD) (\[[A-Z]+\] )?[ -~]+\r\n$")
            self.assertNotIn(b"/var/spool", line)

    def test_texts_of_cyrus(self) -> None:
        """What administrators' scripts look for, and people ask their search engines."""
        for kind, text in (
            (errors.PermissionDenied, b"Permission denied"),
            (errors.MailboxNotFound, b"Mailbox does not exist"),
            (errors.MailboxExists, b"Mailbox already exists"),
            (errors.InvalidMailboxName, b"Invalid mailbox name"),
            (errors.MailboxHasChildren, b"[HASCHILDREN] Mailbox has inferior hierarchical names"),
            (errors.SpecialUseConflict, b"[USEATTR] SPECIAL-USE flag conflict"),
            (errors.OperationNotSupported, b"Operation is not supported on mailbox"),
            (errors.UnknownPartition, b"Unknown/invalid partition"),
            (errors.OverQuota, b"Over quota"),
            (errors.QuotaRootNotFound, b"Quota root does not exist"),
            (errors.MessageTooLarge, b"[TOOBIG] Message size exceeds fixed limit"),
            (errors.TooManyKeywords, b"Too many user flags in mailbox"),
            (errors.MailboxCorrupted, b"Mailbox format corruption detected"),
            (errors.StoreUnavailable, b"System I/O error"),
            (errors.MailStoreError, b"Internal Error"),
            (errors.AuthenticationFailed, b"Login failed: authentication failure"),
            (errors.PlaintextRefused, b"Login only available under a layer"),
        ):
            line = tagged(b"a1", kind("why"))
            self.assertTrue(line.startswith(b"a1 NO ") and line.endswith(text + b"\r\n"), line)
        self.assertEqual(tagged(b"a1", errors.AuthenticationCancelled()), b"a1 BAD Client cancelled authentication\r\n")

    def test_unknown_kinds_answer_as_what_they_are(self) -> None:
        class Odd(errors.StoreFull):
            pass

        self.assertEqual(tagged(b"a1", Odd()), tagged(b"a1", errors.StoreFull()))

    def test_trycreate_only_where_it_helps(self) -> None:
        missing = errors.MailboxNotFound(creatable=True)
        self.assertEqual(tagged(b"a1", missing, may_create=True), b"a1 NO [TRYCREATE] Mailbox does not exist\r\n")
        self.assertEqual(tagged(b"a1", missing), b"a1 NO [NONEXISTENT] Mailbox does not exist\r\n")
        absent = tagged(b"a1", errors.MailboxNotFound(), may_create=True)
        self.assertEqual(absent, b"a1 NO [NONEXISTENT] Mailbox does not exist\r\n")

    def test_what_commands_raise(self) -> None:
        self.assertEqual(tagged(b"a1", No(b"text")), b"a1 NO text\r\n")
        self.assertEqual(tagged(b"a1", No(b"text", b"CODE")), b"a1 NO [CODE] text\r\n")
        self.assertEqual(tagged(b"a1", Bad(b"text")), b"a1 BAD text\r\n")
        self.assertEqual(tagged(b"a1", BadSyntax(b"text")), b"a1 BAD text\r\n")
        self.assertRaises(TypeError, tagged, b"a1", ZeroDivisionError())


OF_NO_RFC = frozenset(
    (
        b"RECONSTRUCT XFER XTRANSFER DUMP UNDUMP LOCALCREATE LOCALDELETE MUPDATEPUSH "
        b"SYNCAPPLY SYNCGET SYNCRESTART SYNCRESTORE"
    ).split()
)
"""Commands of Cyrus's, and what servers say to one another."""


class TableTests(SynchronousTestCase):
    """The rows of the command table."""

    def test_names_are_unique(self) -> None:
        names = [row.name for row in COMMANDS]
        self.assertEqual(len(names), len(set(names)))

    def test_every_row_cites_its_rfc(self) -> None:
        for row in COMMANDS:
            if row.name in OF_NO_RFC:
                self.assertEqual(row.rfc, "", row.name)
            else:
                self.assertTrue(re.fullmatch(r"\d{4} \d+(\.\d+)*", row.rfc), row.name)
