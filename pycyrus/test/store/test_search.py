"""Searches over a view that is made of messages in memory."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.errors import LimitExceeded, MessageGone
from pycyrus.mime.comparison import DEFAULT_COMPARISON, Comparison, WhiteSpace
from pycyrus.mime.dates import days_of
from pycyrus.mime.summary import summarise
from pycyrus.model.flags import ANSWERED, FLAGGED, SEEN
from pycyrus.model.search import (
    AddressField,
    All,
    And,
    AnyHeaderContains,
    BodyContains,
    DateField,
    DateRange,
    HasFlag,
    HasKeyword,
    HeaderContains,
    ModifiedSince,
    Not,
    Or,
    Recent,
    SearchKey,
    SizeRange,
    TextContains,
    UidSet,
    Within,
)
from pycyrus.model.uids import Positions, SequenceSet
from pycyrus.model.view import CachedItem, View
from pycyrus.store.search import DEFAULT_SEARCH_LIMITS, SearchLimits, evaluate
from pycyrus.testing.messages import generate

_DAY = 86_400
_NOW = 1_700_000_000


class Mail:
    """
    Messages in memory with the view of them.

    @ivar reads: UIDs of the messages that were read.
    @ivar cached: Items that were asked for, with the number of messages.
    """

    def __init__(self, messages: Sequence[bytes]) -> None:
        self.messages = messages
        self.summaries = [summarise(message) for message in messages]
        self.reads: list[int] = []
        self.cached: list[tuple[CachedItem, int]] = []
        self.gone: set[int] = set()
        self.pauses = 0
        count = len(messages)
        numbers = np.arange(count)
        times = np.array([s.sent[0] if s.sent else 0 for s in self.summaries], dtype=np.int64)
        self.view = View(
            uids=(numbers * 10 + 10).astype(np.uint32),
            sizes=np.array([len(message) for message in messages], dtype=np.uint32),
            internaldates=(_NOW - numbers * _DAY).astype(np.int64),
            savedates=(_NOW - numbers * 2 * _DAY).astype(np.int64),
            sent_times=times,
            sent_days=np.array([s.sent[1] if s.sent else 0 for s in self.summaries], dtype=np.int32),
            flags=np.zeros(count, dtype=np.uint32),
            keywords=np.zeros((count, 2), dtype=np.uint64),
            modseqs=(numbers + 1).astype(np.uint64),
            guids=np.zeros(count, dtype="V20"),
            cached=self._cached,
        )

    def _cached(self, positions: Positions, items: Sequence[CachedItem]) -> list[list[bytes]]:
        self.cached += [(item, len(positions)) for item in items]
        return [[self.summaries[position].items[item] for position in positions.tolist()] for item in items]

    def read(self, uid: int) -> bytes:
        self.reads.append(uid)
        if uid in self.gone:
            raise MessageGone
        return self.messages[uid // 10 - 1]

    def _pause(self) -> Awaitable[None]:
        self.pauses += 1
        return succeed(None)

    def search(
        self,
        key: SearchKey,
        keyword_names: Sequence[bytes] = (),
        limits: SearchLimits = DEFAULT_SEARCH_LIMITS,
        comparison: Comparison = DEFAULT_COMPARISON,
    ) -> list[int]:
        """Positions that match."""
        found: list[np.ndarray] = []
        failures: list[object] = []
        work = Deferred.fromCoroutine(
            evaluate(key, self.view, keyword_names, _NOW + 0.5, self.read, self._pause, limits, comparison=comparison)
        )
        _ = work.addCallbacks(found.append, failures.append)
        if failures:
            failures[0].raiseException()  # type: ignore[attr-defined]
        return np.flatnonzero(found[0]).tolist()


def _message(header: str = "", body: str = "") -> bytes:
    return f"{header}\r\n{body}".replace("\n", "\r\n").replace("\r\r", "\r").encode()


_SOME = [
    _message(
        "From: Ann <ann@x.org>\nTo: bob@y.org\nSubject: Lunch today\nDate: Mon, 1 Jan 2024 23:30 -0800\n", "pizza"
    ),
    _message("From: Bob <bob@y.org>\nCc: ann@x.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n", "Lunch? No."),
    _message("From: ann@x.org\nBcc: c@z\nX-Odd: some\n thing\nMessage-ID: <1@x.org>\nReferences: <0@a>\n <0@b>\n", "x"),
    _message("Subject:\nList-Id: =?utf-8?q?Z=C3=BCrich?= <zh.x.org>\nReceived: from here\n", "zürich and pizza"),
]


class KeyTests(SynchronousTestCase):
    """Each key alone (RFC 9051 section 6.4.4)."""

    def setUp(self) -> None:
        self.mail = Mail(_SOME)

    def _check(self, table: Sequence[tuple[SearchKey, list[int]]], keyword_names: Sequence[bytes] = ()) -> None:
        for key, positions in table:
            self.assertEqual(self.mail.search(key, keyword_names), positions, key)

    def test_flags(self) -> None:
        """Flags and keywords, those compared without case."""
        self.mail.view.flags[:] = (SEEN, SEEN | FLAGGED, 0, FLAGGED)
        self.mail.view.keywords[:] = ((1, 0), (0, 1 << 36), (1 << 63, 0), (0, 0))
        names = (b"$Junk", *[b""] * 62, b"top", *[b""] * 36, b"hundred")
        self._check(
            (
                (HasFlag(SEEN), [0, 1]), (HasFlag(FLAGGED), [1, 3]), (HasFlag(ANSWERED), []),
                (Not(HasFlag(SEEN)), [2, 3]),
                (HasKeyword(b"$JUNK"), [0]), (HasKeyword(b"Hundred"), [1]), (HasKeyword(b"top"), [2]),
                (HasKeyword(b"other"), []), (HasKeyword(b""), []),
            ),
            names,
        )  # fmt: skip

    def test_numbers(self) -> None:
        """UIDs, sizes and modseqs, also beyond what a column can hold."""
        sizes = [len(message) for message in _SOME]
        self._check(
            (
                (UidSet(SequenceSet.parse(b"20:30,99")), [1, 2]),
                (UidSet(SequenceSet.parse(b"*")), [3]),
                (UidSet(SequenceSet.parse(b"50:*")), [3]),
                (SizeRange(above=sizes[0] - 1, below=sizes[0] + 1), [i for i in range(4) if sizes[i] == sizes[0]]),
                (SizeRange(above=max(sizes)), []),
                (SizeRange(above=2**40), []),
                (SizeRange(below=2**40), [0, 1, 2, 3]),
                (SizeRange(above=-1), [0, 1, 2, 3]),
                (ModifiedSince(3), [2, 3]),
                (ModifiedSince(0), [0, 1, 2, 3]),
                (ModifiedSince(2**64), []),
            )
        )

    def test_dates(self) -> None:
        """Days of arrival and of writing, the latter as the writer's clock had it."""
        first = _NOW // _DAY
        written = days_of(2024, 1, 1)
        self._check(
            (
                (DateRange(DateField.INTERNAL, first, first), [0]),
                (DateRange(DateField.INTERNAL, None, first - 2), [2, 3]),
                (DateRange(DateField.INTERNAL, first - 1, None), [0, 1]),
                (DateRange(DateField.SAVED, first - 2, first - 2), [1]),
                (DateRange(DateField.SENT, written, written), [0]),
                (DateRange(DateField.SENT, written + 1, None), []),
                (DateRange(DateField.SENT, None, 10**12), [0, 1, 2, 3]),
                (DateRange(DateField.INTERNAL, -(10**15), 10**15), [0, 1, 2, 3]),
                (Within(_DAY, younger=True), [0, 1]),
                (Within(_DAY, younger=False), [1, 2, 3]),
            )
        )

    def test_search_forms(self) -> None:
        """FROM and its like: decoded, without case, as substrings."""
        self._check(
            (
                (HeaderContains(AddressField.FROM, "ANN"), [0, 2]),
                (HeaderContains(AddressField.FROM, "n <ann"), [0]),
                (HeaderContains(AddressField.TO, "bob"), [0]),
                (HeaderContains(AddressField.CC, "x.org"), [1]),
                (HeaderContains(AddressField.BCC, "c@z"), [2]),
                (HeaderContains(AddressField.SUBJECT, "GRÜSSE"), [1]),
                (HeaderContains(AddressField.SUBJECT, "unch  TO"), [0]),
                (HeaderContains(AddressField.SUBJECT, "=?utf"), []),
                (HeaderContains(AddressField.FROM, ""), [0, 1, 2]),
            )
        )
        self.assertEqual(self.mail.reads, [])

    def test_comparisons(self) -> None:
        """What counts in fields and in bodies, as C{imapd.conf} says."""
        mail = Mail(
            [
                _message("Subject: =?utf-8?q?un_caf=C3=A9?=\nKeywords: =?utf-8?q?un_caf=C3=A9?=\n", "un café"),
                _message("Subject: un cafe\nKeywords: un cafe\n", "un\n cafe"),
                _message("Content-Type: text/html\n", "<p>un cafe"),
            ]
        )
        accents, skip = Comparison(skips_diacritics=False), Comparison(white_space=WhiteSpace.SKIP)
        keep = Comparison(white_space=WhiteSpace.KEEP)
        for comparison, text, in_fields, in_bodies in (
            (Comparison(), "un cafe", [0, 1], [0, 1, 2]), (Comparison(), "UN  CAFÉ", [0, 1], [0, 1, 2]),
            (accents, "un café", [0], [0]), (accents, "café.", [], []), (accents, "un cafe", [0, 1], [0, 1, 2]),
            (skip, "unc a fé", [0, 1], [0, 1, 2]), (Comparison(), "unc a fé", [], []),
            (keep, "un cafe", [0, 1], [0, 2]), (keep, "un\r\n cafe", [0, 1], [1]),
            (Comparison(skips_markup=True), "cafe", [0, 1], [0, 1]),
        ):  # fmt: skip
            said = (comparison, text)
            self.assertEqual(mail.search(BodyContains(text), comparison=comparison), in_bodies, said)
            self.assertEqual(
                mail.search(HeaderContains(AddressField.SUBJECT, text), comparison=comparison), in_fields, said
            )
            if text != "un\r\n cafe":
                key = AnyHeaderContains(b"Keywords", text)
                self.assertEqual(mail.search(key, comparison=comparison), in_fields, said)

    def test_header(self) -> None:
        """HEADER: presence for an empty string; the message is read only for what is not cached."""
        self._check(
            (
                (AnyHeaderContains(b"Subject", "lunch"), [0]),
                (AnyHeaderContains(b"subject", ""), [0, 1, 3]),
                (AnyHeaderContains(b"Message-Id", "<1@X.ORG>"), [2]),
                (AnyHeaderContains(b"References", "<0@a> <0@b>"), [2]),
                (AnyHeaderContains(b"List-Id", "zürich"), [3]),
                (AnyHeaderContains(b"List-Id", "ZURICH"), [3]),
                (AnyHeaderContains(b"Date", "2024"), [0]),
                (AnyHeaderContains(b"Reply-To", ""), []),
            )
        )
        self.assertEqual(self.mail.reads, [])
        self._check(
            (
                (AnyHeaderContains(b"x-odd", "some thing"), [2]),
                (AnyHeaderContains(b"X-Odd", ""), [2]),
                (AnyHeaderContains(b"Received", "HERE"), [3]),
            )
        )
        self.assertNotEqual(self.mail.reads, [])

    def test_large_header(self) -> None:
        """A header too large for the cache is read from the message."""
        mail = Mail([_message("References: " + "<a@b>\n " * 20_000 + "<c@d>\nMessage-ID: <1>\n"), _SOME[2]])
        self.assertEqual(mail.search(AnyHeaderContains(b"References", "<c@d>")), [0])
        self.assertEqual(mail.reads, [10])

    def test_bodies(self) -> None:
        """BODY does not look at the header, TEXT does."""
        self._check(
            (
                (BodyContains("PIZZA"), [0, 3]),
                (BodyContains("lunch"), [1]),
                (TextContains("lunch"), [0, 1]),
                (BodyContains("Zürich"), [3]),
                (TextContains("received: from"), [3]),
                (BodyContains(""), [0, 1, 2, 3]),
                (TextContains("nowhere"), []),
            )
        )

    def test_gone(self) -> None:
        """A message whose file has gone matches no string, and does not break the search."""
        self.mail.gone = {10}
        self._check(((BodyContains("pizza"), [3]), (AnyHeaderContains(b"X-Odd", "some"), [2])))

    def test_left_over(self) -> None:
        """What the session should have replaced is a fault, not an empty result."""
        self.assertRaises(TypeError, self.mail.search, Recent())

    def test_empty(self) -> None:
        """An empty mailbox."""
        mail = Mail([])
        for key in (All(), HasFlag(SEEN), UidSet(SequenceSet.parse(b"1:*")), TextContains("x"), Or(All(), Not(All()))):
            self.assertEqual(mail.search(key), [])


_leaves = st.sampled_from(
    [
        All(),
        HasFlag(SEEN),
        HasFlag(FLAGGED),
        HeaderContains(AddressField.FROM, "a"),
        BodyContains("e"),
        TextContains("r"),
        SizeRange(above=3_000),
        AnyHeaderContains(b"Date", "7"),
        AnyHeaderContains(b"Received", "9"),
    ]
)
_keys = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda keys: And(tuple(keys))),
        st.builds(Or, inner, inner),
        st.builds(Not, inner),
    ),
    max_leaves=12,
)


class CombinationTests(SynchronousTestCase):
    """AND, OR and NOT."""

    mail = Mail(list(generate(60, 4)))
    mail.view.flags[:] = np.arange(60) % 7 * FLAGGED | np.arange(60) % 2 * SEEN

    def _expected(self, key: SearchKey) -> set[int]:
        if isinstance(key, And):
            return set(range(60)).intersection(*map(self._expected, key.keys))
        if isinstance(key, Or):
            return self._expected(key.left) | self._expected(key.right)
        if isinstance(key, Not):
            return set(range(60)) - self._expected(key.key)
        return set(self.mail.search(key))

    @settings(max_examples=60, deadline=None, database=None)
    @given(_keys)
    def test_algebra(self, key: SearchKey) -> None:
        """Whatever the order of evaluation, the result is that of sets."""
        self.assertEqual(set(self.mail.search(key)), self._expected(key))

    def test_narrowing(self) -> None:
        """Dear keys see only what cheap ones leave, wherever these stand."""
        mail = self.mail
        mail.reads = []
        mail.search(And((BodyContains("absent"), UidSet(SequenceSet.parse(b"10:30")))))
        self.assertEqual(mail.reads, [10, 20, 30])
        mail.reads = []
        mail.search(Or(BodyContains("absent"), Not(UidSet(SequenceSet.parse(b"10:30")))))
        self.assertEqual(mail.reads, [10, 20, 30])
        mail.reads = []
        mail.cached = []
        mail.search(And((TextContains("x"), HeaderContains(AddressField.TO, "x"), Not(All()))))
        self.assertEqual((mail.reads, mail.cached), ([], []))

    def test_long_chains(self) -> None:
        """Thousands of OR within one another, as clients write them."""
        chain: SearchKey = HasFlag(SEEN)
        for number in range(5_000):
            chain = Or(UidSet(SequenceSet.parse(b"%d" % (number * 10 + 10))), chain)
        self.assertEqual(self.mail.search(chain), list(range(60)))

    def test_deep(self) -> None:
        """NOT within NOT by the thousand is refused."""
        key: SearchKey = All()
        for _ in range(5_000):
            key = Not(key)
        self.assertRaises(LimitExceeded, self.mail.search, key)


class CostTests(SynchronousTestCase):
    """Long searches let others work, and end."""

    def test_pauses(self) -> None:
        """Work is cut into turns, and the progress is told."""
        mail = Mail([_message("", "filler " * 20_000)] * 100)
        told: list[tuple[int, int]] = []
        waiting: list[Deferred[None]] = []

        def pause() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        work = Deferred.fromCoroutine(
            evaluate(
                BodyContains("absent"), mail.view, (), _NOW, mail.read, pause,
                progress=lambda done, total: told.append((done, total)),
            )
        )  # fmt: skip
        for turn in itertools.count():
            if turn == len(waiting):
                break
            waiting[turn].callback(None)
        self.assertEqual(self.successResultOf(work).sum(), 0)
        self.assertGreater(len(waiting), 2)
        self.assertEqual(told, sorted(told))
        self.assertEqual({total for _, total in told}, {100})

    def test_limits(self) -> None:
        """Octets and time are limited."""
        mail = Mail([_message("", "filler " * 20_000)] * 30)
        self.assertRaises(LimitExceeded, mail.search, BodyContains("absent"), (), SearchLimits(octets=1_000_000))
        self.assertLess(len(mail.reads), 10)
        self.assertRaises(LimitExceeded, mail.search, BodyContains("absent"), (), SearchLimits(seconds=1e-6))
