"""The cache of checked passwords."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pycyrus.auth.cache import CachedChecker, CacheSettings
from pycyrus.auth.credentials import MailPassword
from pycyrus.errors import AuthenticationUnavailable
from pycyrus.test.auth.parts import DictChecker


class Slow(DictChecker):
    """Answers when told."""

    def __init__(self) -> None:
        super().__init__({})
        self.answers: list[Deferred[Any]] = []

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        self.answers.append(Deferred())
        return self.answers[-1]


class CachedCheckerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.checker = DictChecker({"fred": b"secret", "fred@example.com": b"other"})
        self.cached = self.make(CacheSettings(accepted=60, refused=5, entries=3))

    def make(self, settings: CacheSettings) -> CachedChecker:
        return CachedChecker(self.checker, self.clock, settings, self.checker.version)

    def ask(self, user_id: str = "fred", password: bytes = b"secret", service: str = "imap") -> Any:
        return self.cached.requestAvatarId(MailPassword(user_id, password, service))

    def accepted(self, *arguments: Any) -> None:
        self.assertIsInstance(self.successResultOf(self.ask(*arguments)), bytes)

    def refused(self, *arguments: Any) -> None:
        self.failureResultOf(self.ask(*arguments), UnauthorizedLogin)

    def test_interface(self) -> None:
        """It is a checker itself."""
        verifyObject(ICredentialsChecker, self.cached)

    def test_right_password(self) -> None:
        """Asked once while it lives."""
        self.accepted()
        self.accepted()
        self.assertEqual(len(self.checker.asked), 1)
        self.clock.advance(60)
        self.accepted()
        self.assertEqual(len(self.checker.asked), 2)

    def test_wrong_password(self) -> None:
        """Remembered for a shorter time, and never instead of another password."""
        for _ in range(3):
            self.refused("fred", b"guess")
        self.assertEqual(len(self.checker.asked), 1)
        self.accepted()
        self.clock.advance(5)
        self.refused("fred", b"guess")
        self.assertEqual(len(self.checker.asked), 3)

    def test_full_identity_is_the_key(self) -> None:
        """Same local part, same password, another domain or service: another question."""
        self.accepted("fred", b"secret", "imap")
        self.refused("fred@example.com", b"secret", "imap")
        self.refused("fred@example.com", b"secret", "lmtp")
        self.accepted("fred", b"secret", "pop3")
        self.assertEqual(len(self.checker.asked), 4)
        # Written one after the other these would be alike.
        self.refused("fred@", b"example.comother", "imap")
        self.refused("", b"fredsecret", "imap")

    def test_change_of_accounts(self) -> None:
        """A changed password counts at once."""
        self.accepted()
        self.checker.passwords["fred"] = b"new"
        self.checker.changes += 1
        self.refused()
        self.accepted("fred", b"new")

    def test_change_while_asking(self) -> None:
        """An answer to the old account is given, but not remembered."""
        self.checker = slow = Slow()
        self.cached = self.make(CacheSettings())
        answer = self.ask()
        slow.changes += 1
        slow.answers[0].callback(b"fred")
        self.assertEqual(self.successResultOf(answer), b"fred")
        self.assertNoResult(self.ask())
        self.assertEqual(len(slow.answers), 2)

    def test_unavailable_is_not_remembered(self) -> None:
        """Nobody is turned away by what cannot be told."""
        self.checker.error = AuthenticationUnavailable()
        self.failureResultOf(self.ask(), AuthenticationUnavailable)
        self.checker.error = None
        self.accepted()

    def test_checker_that_raises(self) -> None:
        """The question can be asked again."""
        self.patch(self.checker, "requestAvatarId", lambda credentials: 1 / 0)
        self.failureResultOf(self.ask(), ZeroDivisionError)
        self.failureResultOf(self.ask(), ZeroDivisionError)

    def test_bounded(self) -> None:
        """Guesses push out the oldest guesses, and no right password."""
        self.accepted()
        for number in range(20):
            self.refused("fred", b"%d" % number)
        self.assertLessEqual(len(self.cached._refused), 3)
        asked = len(self.checker.asked)
        self.accepted()
        self.assertEqual(len(self.checker.asked), asked)

    def test_same_question_at_once(self) -> None:
        """One hash for many connections; one that goes away does not take the answer from the others."""
        self.checker = slow = Slow()
        self.cached = self.make(CacheSettings())
        first, second, third = self.ask(), self.ask(), self.ask()
        other = self.ask("fred", b"else")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(slow.answers), 2)
        slow.answers[0].callback(b"fred")
        self.assertEqual((self.successResultOf(second), self.successResultOf(third)), (b"fred", b"fred"))
        self.assertNoResult(other)
        slow.answers[1].errback(UnauthorizedLogin())
        self.failureResultOf(other, UnauthorizedLogin)

    def test_no_password_is_kept(self) -> None:
        """Nor anything that another process would compute of it."""
        self.accepted()
        other = self.make(CacheSettings())
        credentials: Any = MailPassword("fred", b"secret", "imap")
        self.assertNotEqual(self.cached._key(credentials), other._key(credentials))
        kept = [*vars(self.cached._accepted).values(), credentials]
        self.assertNotIn("secret", repr(kept))

    def test_off(self) -> None:
        """A lifetime of 0 remembers nothing."""
        self.cached = self.make(CacheSettings(accepted=0, refused=0))
        self.accepted()
        self.accepted()
        self.assertEqual(len(self.checker.asked), 2)
