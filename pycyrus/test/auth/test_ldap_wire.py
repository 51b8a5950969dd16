"""What is sent to directories, and what they answer, octet by octet."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from ldap3.operation.bind import bind_operation
from ldap3.operation.search import search_operation
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils.asn1 import encode
from twisted.trial.unittest import SynchronousTestCase

from pycyrus.auth.ldap import operations
from pycyrus.auth.ldap.ber import ENUMERATED, SEQUENCE, SET, element, integer, octets
from pycyrus.auth.ldap.filters import BadFilter, filter_octets
from pycyrus.auth.ldap.tokens import escape_filter
from pycyrus.auth.ldap.wire import LONGEST_MESSAGE, BadMessage, Message, Search, bind_request, entry_of, result_of, take

NAMES = st.sampled_from(["uid", "mail", "memberUid", "1.2.840.113556.1.4.803", "cn;lang-de"])
# The library drops spaces at the ends of values, which are parts of them.
VALUES = st.text(max_size=12).map(lambda text: escape_filter(text.strip()))
ITEMS = st.one_of(
    st.tuples(NAMES, st.sampled_from(["=", ">=", "<=", "~="]), VALUES).map("".join),
    NAMES.map(lambda name: f"{name}=*"),
    st.tuples(NAMES, st.lists(VALUES.filter(bool), min_size=2, max_size=4)).map(
        lambda found: f"{found[0]}={'*'.join(found[1])}"
    ),
    st.tuples(NAMES, VALUES).map(lambda found: f"{found[0]}:1.2.840.113556.1.4.1941:={found[1]}"),
    st.tuples(NAMES, VALUES).map(lambda found: f"{found[0]}:dn:caseExactMatch:={found[1]}"),
).map(lambda item: f"({item})")
FILTERS = st.recursive(
    ITEMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(&{''.join(parts)})"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"(|{''.join(parts)})"),
        inner.map(lambda part: f"(!{part})"),
    ),
    max_leaves=6,
)


def theirs(number: int, operation: str, request: Any) -> bytes:
    """The same message, written by the library."""
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(operation, request)
    return bytes(encode(message))


def answer(number: int, kind: int, *parts: bytes) -> bytes:
    """A message of a directory."""
    return element(SEQUENCE, integer(number) + element(kind, b"".join(parts)))


def done(number: int, kind: int = 0x65, code: int = 0, text: str = "") -> bytes:
    """How something ended."""
    return answer(number, kind, integer(code, ENUMERATED), octets(""), octets(text))


def entry(number: int, dn: str, **attributes: list[str]) -> bytes:
    """An entry that was found."""
    rows = (
        element(SEQUENCE, octets(name) + element(SET, b"".join(map(octets, values))))
        for name, values in attributes.items()
    )
    return answer(number, 0x64, octets(dn), element(SEQUENCE, b"".join(rows)))


def message(data: bytes) -> Message:
    """The one message that octets are."""
    taken = take(data)
    assert taken is not None
    return taken[0]


class RequestTests(SynchronousTestCase):
    """Requests are those that the library would have sent."""

    @settings(max_examples=150, deadline=None, database=None)
    @given(FILTERS, st.integers(1, 2**31 - 1), st.text(max_size=20), st.integers(0, 300))
    def test_searches(self, filter_: str, number: int, base: str, most: int) -> None:
        wanted = Search(base, filter_octets(filter_), "LEVEL", "BASE", ["uid", "memberOf"], most, 5)
        attributes = ["uid", "memberOf"]
        request = search_operation(
            base, filter_, "LEVEL", "FINDING_BASE", attributes, most, 5, False, False, False, None, None
        )
        self.assertEqual(wanted.request(number), theirs(number, "searchRequest", request))

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.text(min_size=1, max_size=200), st.binary(min_size=1, max_size=200), st.integers(1, 2**31 - 1))
    def test_binds(self, name: str, password: bytes, number: int) -> None:
        request = bind_operation(3, "SIMPLE", name, password, auto_encode=False)
        self.assertEqual(bind_request(number, name, password), theirs(number, "bindRequest", request))

    def test_filters(self) -> None:
        """Spaces, no parentheses, and octets that are escaped."""
        self.assertEqual(filter_octets("uid=fred"), filter_octets("(uid=fred)"))
        self.assertEqual(filter_octets("( & (uid=a) ( ! (uid=b) ) )"), filter_octets("(&(uid=a)(!(uid=b)))"))
        self.assertEqual(filter_octets(r"(uid=\2a\28\C3\bc)"), b"\xa3\x0b\x04\x03uid\x04\x04*(\xc3\xbc")
        self.assertEqual(filter_octets("(uid=**)"), filter_octets("(uid=*)"))
        self.assertEqual(filter_octets("(uid= a )"), b"\xa3\x0a\x04\x03uid\x04\x03 a ")
        # What is always so, and what never.
        self.assertEqual((filter_octets("(&)"), filter_octets("(|)")), (b"\xa0\0", b"\xa1\0"))

    def test_no_filters(self) -> None:
        for text in (
            "", "(", ")", "()", "(uid)", "(uid=a", "(uid=a))", "(&(uid=a)", "(!)", "(uid=(a))", r"(uid=\2)",
            r"(uid=\zz)", r"(uid=\ 1)", "(=a)", "(uid=a)(uid=b)", "(:=a)", "(&uid=a)", "(!" * 60 + "(uid=a)" + ")" * 60,
        ):  # fmt: skip
            self.assertRaises(BadFilter, filter_octets, text)

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text(alphabet=st.sampled_from(r"()&|!=*\:<>~a1. "), max_size=30))
    def test_any_text(self, text: str) -> None:
        """Understood, or refused as no filter."""
        with contextlib.suppress(BadFilter):
            self.assertTrue(filter_octets(text))


class AnswerTests(SynchronousTestCase):
    """Answers, and octets that are none."""

    def test_entries(self) -> None:
        dn, found = entry_of(message(entry(7, "cn=Fred,dc=x", MemberOf=["a", "b"], memberof=["c"], mail=[])))
        self.assertEqual((dn, found), ("cn=Fred,dc=x", {"memberof": [b"a", b"b", b"c"], "mail": []}))
        result = result_of(message(done(7, 0x61, 49, "no")))
        self.assertEqual((result.code, result.text, operations.description(result)), (49, "no", "invalidCredentials"))

    def test_in_pieces(self) -> None:
        whole = entry(1, "cn=a", uid=["x" * 300]) + done(1)
        for cut in range(len(entry(1, "cn=a", uid=["x" * 300]))):
            self.assertIsNone(take(whole[:cut]))
        taken = take(whole)
        assert taken is not None
        self.assertEqual(taken[1], done(1))

    def test_too_long(self) -> None:
        """Refused before it has come."""
        self.assertRaises(BadMessage, take, b"\x30\x84" + (LONGEST_MESSAGE + 1).to_bytes(4, "big"))
        self.assertRaises(BadMessage, take, b"\x30\x80")
        self.assertRaises(BadMessage, take, b"HTTP/1.1 400 Bad Request\r\n" + bytes(100))

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.data())
    def test_anything(self, data: st.DataObject) -> None:
        """Whatever comes is understood, waited for, or no message."""
        good = bytearray(data.draw(st.sampled_from([entry(1, "cn=a", uid=["x", "y"], mail=["z"]), done(1, text="no")])))
        for at, octet in data.draw(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4)):
            good[at] = octet
        try:
            taken = take(bytes(good) if data.draw(st.booleans()) else data.draw(st.binary(max_size=40)))
        except BadMessage:
            return
        readers: tuple[Callable[[Message], object], ...] = (entry_of, result_of)
        for read in readers:
            with contextlib.suppress(BadMessage):
                if taken is not None:
                    read(taken[0])


class _Socket(SynchronousTestCase):
    """A directory at the other end of a pair of sockets."""

    def ask(self, *answers: bytes, close: bool = False) -> Callable[[], Any]:
        ours, theirs_ = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs_.close)
        ours.settimeout(60)

        def speak() -> None:
            theirs_.recv(65536)
            for each in answers:
                theirs_.sendall(each)
            if close:
                theirs_.close()

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        self.addCleanup(speaker.join, 5)
        connection: Any = SimpleNamespace(socket=ours, server=SimpleNamespace(next_message_id=lambda: 5))
        wanted = Search("dc=x", filter_octets("(uid=a)"), "SUBTREE", "NEVER", [], 2, 5)
        return lambda: operations.search(connection, wanted, 10)


class OperationTests(_Socket):
    """What is made of whole answers."""

    def test_answer(self) -> None:
        """References are left alone, and messages may come in one piece or in many."""
        whole = answer(5, 0x73, octets("ldap://elsewhere/")) + entry(5, "cn=a", uid=["x"]) + done(5)
        for pieces in ([whole], [bytes((octet,)) for octet in whole]):
            result, found = self.ask(*pieces)()
            self.assertEqual((result.code, found), (0, [("cn=a", {"uid": [b"x"]})]))

    def test_liars(self) -> None:
        """An answer to something else, of another kind, to nobody, rubbish, and nothing at all."""
        for data in (done(6), done(5, 0x61), b"rubbish\r\n\r\n", element(SEQUENCE, b""), answer(5, 0x65)):
            self.assertRaises(BadMessage, self.ask(data))
        self.assertRaises(OSError, self.ask(done(0, 0x78, 52, "unavailable")))
        self.assertRaises(OSError, self.ask(entry(5, "cn=a"), close=True))

    def test_no_end(self) -> None:
        """Entries without an end are not read on for ever."""
        self.assertRaises(BadMessage, self.ask(entry(5, "cn=a") * 11000))
