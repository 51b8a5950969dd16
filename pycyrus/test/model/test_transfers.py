"""What goes with mailboxes to another server, as octets."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.model.acl import Acl
from pycyrus.model.mailbox_name import MailboxName
from pycyrus.model.transfers import (
    BadTransfer,
    FileFacts,
    Inventory,
    Manifest,
    MovedMailbox,
    MovedRoot,
    Note,
    Piece,
    SeenBy,
    decode_pieces,
    encode_pieces,
)

FRED = MailboxName("example.com", "fred", ())
MANIFEST = Manifest(
    FRED,
    (
        MovedMailbox("a1", FRED, 7, Acl((("fred", frozenset("lrs")),)), (), 5, (Note("", "/comment", b"\xff"),)),
        MovedMailbox("a2", FRED.child("Gelöscht"), 8, Acl(()), ("\\Trash",), 5, (), (SeenBy("bob", "1:3", 3),)),
    ),
    (FRED.child("Sent"),),
    (MovedRoot(FRED, (("STORAGE", 5),)),),
)
INVENTORY = Inventory({"a1": {"1.": FileFacts(3, "ab")}, "a2": {}})
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


class TransferTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        self.assertEqual(Manifest.decode(MANIFEST.encode()), MANIFEST)
        self.assertEqual(Inventory.decode(INVENTORY.encode()), INVENTORY)
        pieces = [Piece("a1", "1.", 0, 5, False), Piece("", "manifest", 9, 0, True)]
        self.assertEqual(decode_pieces(encode_pieces(pieces)), pieces)

    def test_refused(self) -> None:
        fields = json.loads(MANIFEST.encode())
        for key, value in (
            ("version", 2),
            ("root", ["", "x\u0001y", [], None]),
            ("root", ["", "", [], None]),
            ("root", ["", "x", [""], None]),
            ("mailboxes", [{}]),
            ("quotas", [1]),
        ):
            with self.assertRaises(BadTransfer, msg=f"{key} {value}"):
                Manifest.decode(json.dumps(fields | {key: value}).encode())

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.sampled_from(["version", "root", "mailboxes", "subscriptions", "quotas"]), anything)
    def test_anything(self, key: str, value: Any) -> None:
        """Whatever another server says is read or refused."""
        octets = json.dumps(json.loads(MANIFEST.encode()) | {key: value}).encode()
        for decode in (Manifest.decode, Inventory.decode, decode_pieces):
            with contextlib.suppress(BadTransfer):
                decode(octets)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=40) | anything.map(lambda value: json.dumps(value).encode()))
    def test_any_octets(self, octets: bytes) -> None:
        for decode in (Manifest.decode, Inventory.decode, decode_pieces):
            with contextlib.suppress(BadTransfer):
                decode(octets)
