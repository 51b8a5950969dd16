"""Texts made ready for searches: they find what is there, and whatever happens to their file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.imap.selection import empty_view
from pycyrus.mime.comparison import Comparison
from pycyrus.mime.text import whole_text
from pycyrus.model.search import AddressField, BodyContains, HeaderContains, SearchKey, TextContains
from pycyrus.model.view import CachedItem
from pycyrus.store.scanning import FormsBudget, JoinedForms, scan
from pycyrus.store.search import evaluate
from pycyrus.store.searchtexts import SearchTexts
from pycyrus.store.textlog import MAX_NEEDLE, MAX_TEXT, Text, TextLog
from pycyrus.test.store.test_mailbox import MailboxCase as _MailboxCase
from pycyrus.testing.messages import generate


async def nothing() -> None:
    """Take no turn."""


class ScanTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(
        st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), max_size=12),
        st.binary(min_size=1, max_size=3),
    )
    def test_as_in(self, texts: list[bytes], needle: bytes) -> None:
        """It finds what C{in} finds, and nothing across two texts."""
        octets = b"".join(texts)
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        found = self.successResultOf(Deferred.fromCoroutine(scan(octets, ends, needle, nothing)))
        self.assertEqual((found >= 0).tolist(), [needle in text for text in texts])

    def test_windows(self) -> None:
        """A match across the bounds of what is looked at in a turn is found."""
        self.patch(__import__("pycyrus.store.scanning", fromlist=["WINDOW"]), "WINDOW", 8)
        octets = b"x" * 6 + b"needle" + b"y" * 30
        for cut in range(1, len(octets)):
            ends = np.array([cut, len(octets)])
            found = self.successResultOf(Deferred.fromCoroutine(scan(octets, ends, b"needle", nothing)))
            self.assertEqual((found >= 0).tolist(), [b"needle" in octets[:cut], b"needle" in octets[cut:]])

    def test_growing(self) -> None:
        """Texts of new messages are added; those of another view replace all."""
        forms = JoinedForms()
        uids = np.array([1, 2, 5], dtype=np.uint32)
        self.assertEqual(forms.missing_from(uids[:2]), 0)
        forms.add(uids[:2], [b"one", b"two"])
        self.assertEqual(forms.missing_from(uids), 2)
        forms.add(uids, [b"five"])
        self.assertEqual(forms.missing_from(uids), 3)
        found = self.successResultOf(Deferred.fromCoroutine(forms.containing(b"e", nothing)))
        self.assertEqual(found.tolist(), [True, False, True])
        self.assertEqual(forms.missing_from(uids[1:]), 0)


class _Owner:
    def __init__(self) -> None:
        self.forgotten: list[object] = []

    def forget_forms(self, item: object) -> None:
        self.forgotten.append(item)


class BudgetTests(SynchronousTestCase):
    def test_oldest_go(self) -> None:
        """What was not used for the longest time makes room; what is used now stays, however large."""
        budget = FormsBudget(100)
        one, other = _Owner(), _Owner()
        budget.note(one, "a", 40)
        budget.note(one, "b", 40)
        budget.note(one, "a", 45)
        budget.note(other, "a", 30)
        self.assertEqual((one.forgotten, other.forgotten), (["b"], []))
        budget.note(other, "b", 500)
        self.assertEqual((one.forgotten, other.forgotten), (["b", "a"], ["a"]))

    def test_owners_that_are_gone(self) -> None:
        """Nobody keeps them for it."""
        budget = FormsBudget(100)
        budget.note(_Owner(), "a", 90)
        budget.note(_Owner(), "a", 90)


class TextLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.texts = TextLog(str(self.path))
        self.view = replace(empty_view(), uids=np.array([1, 2, 3], dtype=np.uint32), guids=guids(1, 2, 3))

    def text(self, uid: int, body: bytes, header: bytes = b"subject: x") -> Text:
        return Text(uid, bytes((uid,)) * 20, header, body)

    def found(
        self, needle: bytes, texts: TextLog | None = None, *, in_body: bool = False
    ) -> tuple[list[int], list[int]]:
        """Which messages certainly have it, and which may."""
        texts = texts or self.texts
        texts.load()
        matches = self.successResultOf(
            Deferred.fromCoroutine(texts.matches(needle, self.view, nothing, in_body=in_body))
        )
        uids = self.view.uids
        return uids[matches.certain].tolist(), uids[matches.undecided].tolist()

    def test_two_writers(self) -> None:
        """What another process added is read, and not written over."""
        other = TextLog(str(self.path))
        self.texts.add([self.text(1, b"apple")])
        self.assertEqual(self.found(b"apple"), ([1], [2, 3]))
        other.add([self.text(2, b"pear")])
        self.texts.add([self.text(3, b"apple pie")])
        for texts in (self.texts, other):
            self.assertEqual(self.found(b"apple", texts), ([1, 3], []))
            self.assertEqual(self.found(b"pear", texts), ([2], []))
            self.assertEqual(self.found(b"nothing", texts), ([], []))

    def test_body(self) -> None:
        """What is in the header only is not in the body."""
        self.texts.add([self.text(1, b"apple", b"subject: pear"), self.text(2, b"pear", b"subject: pear")])
        self.assertEqual(self.found(b"pear", in_body=True), ([2], [3]))
        self.assertEqual(self.found(b"pear"), ([1, 2], [3]))
        self.assertEqual(self.found(b"apple", in_body=True), ([1], [3]))

    def test_unknown(self) -> None:
        """What is not in it, is too long for it, or is of another message, may contain anything."""
        self.texts.add([self.text(1, b"apple"), self.text(2, b"x" * (MAX_TEXT + 1))])
        self.texts.add([Text(3, b"?" * 20, b"", b"zebra")])
        self.assertEqual(self.found(b"zebra"), ([], [2, 3]))
        self.assertEqual(self.texts.unknown(self.view).tolist(), [False, False, True])

    def test_damage(self) -> None:
        """Wherever it is flipped or cut, no message is taken for what it is not; the next writer mends it."""
        every = {1: self.text(1, b"apple"), 2: self.text(2, b"pear"), 3: self.text(3, b"apple")}
        self.texts.add(every.values())
        whole = self.path.read_bytes()
        for at in range(len(whole)):
            for damaged in (whole[:at], whole[:at] + bytes((whole[at] ^ 4,)) + whole[at + 1 :]):
                self.path.write_bytes(damaged)
                fresh = TextLog(str(self.path))
                certain, undecided = self.found(b"apple", fresh)
                self.assertLessEqual(set(certain), {1, 3})
                self.assertLessEqual({1, 3}, {*certain, *undecided})
                fresh.add([every[uid] for uid in self.view.uids[fresh.unknown(self.view)].tolist()])
                self.assertEqual(self.found(b"apple", TextLog(str(self.path))), ([1, 3], []))
                self.path.unlink()

    def test_heads(self) -> None:
        """What stands between the texts is no text."""
        uids = np.arange(1, 201, dtype=np.uint32)
        self.view = replace(empty_view(), uids=uids, guids=guids(*uids.tolist()))
        self.texts.add(self.text(uid, b"hello", b"") for uid in uids.tolist())
        for octet in range(1, 256):
            if octet not in b"hello\n":
                self.assertEqual(self.found(bytes((octet,))), ([], []), octet)

    def test_never_shorter(self) -> None:
        """A file that others look into is not cut where it is: they would be killed."""
        self.texts.add([self.text(1, b"apple")])
        self.assertEqual(self.found(b"apple"), ([1], [2, 3]))
        for damage in (b"?", self.path.read_bytes()[:-2]):
            with self.path.open("r+b") as file:
                file.write(damage)
            inode = self.path.stat().st_ino
            TextLog(str(self.path)).add([self.text(2, b"pear")])
            self.assertTrue(damage != b"?" or self.path.stat().st_ino != inode)
            matches = self.texts.matches(b"apple", self.view, nothing, in_body=False)
            self.successResultOf(Deferred.fromCoroutine(matches))

    def test_messages_that_are_gone(self) -> None:
        """What they said is nowhere in the file; of the others everything is, for those who had read it as well."""
        other = TextLog(self.texts.path)
        other.load()
        texts = [Text(uid, bytes([uid]) * 20, b"", b"says %d." % uid) for uid in (1, 2, 3)]
        self.texts.add(texts)
        other.load()
        self.texts.keep(np.array([1, 3], dtype=np.uint32))
        octets = Path(self.texts.path).read_bytes()
        self.assertEqual([b"says %d." % uid in octets for uid in (1, 2, 3)], [True, False, True])
        inode = Path(self.texts.path).stat().st_ino
        self.texts.keep(np.array([1, 3], dtype=np.uint32))
        self.assertEqual(Path(self.texts.path).stat().st_ino, inode)
        other.add([Text(4, bytes([4]) * 20, b"", b"says 4.")])
        fresh = TextLog(self.texts.path)
        fresh.load()
        self.assertIn(b"says 4.", Path(self.texts.path).read_bytes())
        self.assertEqual(len(Path(self.texts.path).read_bytes().split(b"says ")), 4)
        Path(self.texts.path).unlink()
        self.texts.keep(np.array([1], dtype=np.uint32))
        self.assertFalse(Path(self.texts.path).exists())

    def test_no_file(self) -> None:
        """Where it cannot be written, nothing is known."""
        texts = TextLog(str(self.path / "absent" / "file"))
        texts.add([self.text(1, b"apple")])
        self.assertEqual(self.found(b"apple", texts), ([], [1, 2, 3]))


def guids(*numbers: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(bytes((number,)) * 20 for number in numbers), dtype="V20")


class MailboxSearchTests(_MailboxCase):
    def found(self, key: SearchKey) -> list[int]:
        return [int(uid) for uid in self.place.run(self.box.search(key))]

    def test_texts(self) -> None:
        """Bodies and headers, decoded; again, after more came, after the log went, and with a fresh log."""
        self.place.append(
            self.box,
            b"Subject: first\r\n\r\nHello   World\r\n",
            b"Subject: =?utf-8?q?Caf=C3=A9?=\r\nContent-Type: text/html\r\n\r\n<b>Hel</b>lo\r\n",
            b"Subject: third\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gYmFzZTY0\r\n",
        )
        (log,) = [self.box.state.texts]
        for _ in range(2):
            self.assertEqual(self.found(BodyContains("hello world")), [1])
            self.assertEqual(self.found(TextContains("hello")), [1, 2, 3])
            self.assertEqual(self.found(TextContains("CAFÉ")), [2])
            self.assertEqual(self.found(TextContains("cafe")), [2])
            self.assertEqual(self.found(BodyContains("café")), [])
            self.assertEqual(self.found(BodyContains("base64")), [3])
            self.assertEqual(self.found(TextContains("x" * (MAX_NEEDLE + 10))), [])
        self.place.append(self.box, b"Subject: fourth\r\n\r\nhello again\r\n")
        self.assertEqual(self.found(BodyContains("hello")), [1, 2, 3, 4])
        path = Path(log._texts.path) if log._texts is not None else Path()
        self.assertTrue(path.exists())
        path.write_bytes(path.read_bytes()[:-3])
        self.assertEqual(self.found(BodyContains("again")), [4])
        path.unlink()
        self.assertEqual(self.found(BodyContains("hello")), [1, 2, 3, 4])

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.data())
    def test_as_without_a_log(self, data: st.DataObject) -> None:
        """Any piece of any message is found just where a look at all octets finds it."""
        if not len(self.box.view()):
            self.place.append(self.box, *generate(25, 9))
        view = self.box.view()
        number = data.draw(st.integers(0, 24))
        ((item,),) = view.cached(np.array([number]), (CachedItem.SECTIONS,))
        header, body = whole_text(self.box._octets(int(view.uids[number])), item, MAX_NEEDLE)
        text = data.draw(st.sampled_from([header, *body]))
        start = data.draw(st.integers(0, max(len(text) - 1, 0)))
        piece = text[start : start + data.draw(st.integers(1, 12))]
        piece = data.draw(st.sampled_from([piece, piece.upper(), piece[::-1], f"{piece}?"]))
        key = TextContains(piece) if data.draw(st.booleans()) else BodyContains(piece)
        mask = self.place.run(evaluate(key, view, (), 0.0, self.box._octets, self.box._pause))
        self.assertEqual(self.found(key), view.uids[mask].tolist(), key)

    def test_another_folding(self) -> None:
        """What was written under other options counts for nothing, and is written anew."""
        self.place.append(self.box, "Subject: é\r\n\r\nété\r\n".encode())
        self.assertEqual(self.found(BodyContains("ete")), [1])
        texts = self.box.state.texts
        before = self._written(texts)
        strict = SearchTexts(texts._paths, texts._reactor, Comparison(skips_diacritics=False))
        for needle, found in (("ete", []), ("\N{COMBINING ACUTE ACCENT}te", [True])):
            matches = self.place.run(
                strict.matches(needle, self.box.view(), np.ones(1, bool), self._step, in_body=True)
            )
            self.assertEqual([mark for mark in matches.certain.tolist() if mark], found, needle)
            self.assertEqual(matches.undecided.tolist(), [False])
        self.assertNotEqual(self._written(strict)[:8], before[:8])
        self.assertEqual(self.found(BodyContains("ete")), [1])

    def _written(self, texts: SearchTexts) -> bytes:
        return Path(texts._log().path).read_bytes()

    async def _step(self) -> None:
        pass

    def test_forms(self) -> None:
        """Header fields of a mailbox that grows."""
        self.place.append(self.box, b"Subject: apple\r\n\r\n", b"Subject: pear\r\n\r\n")
        self.assertEqual(self.found(HeaderContains(AddressField.SUBJECT, "APPLE")), [1])
        self.place.append(self.box, b"Subject: apple pie\r\n\r\n")
        self.assertEqual(self.found(HeaderContains(AddressField.SUBJECT, "apple")), [1, 3])
        self.assertEqual(self.found(HeaderContains(AddressField.SUBJECT, "le pe")), [])
