"""The dialogue of a SASL exchange, without a mechanism."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Coroutine
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pycyrus.errors import AuthenticationCancelled, MailStoreError, MalformedExchange
from pycyrus.interfaces import Authenticated, Challenge, ISaslExchange
from pycyrus.model.identity import Identity
from pycyrus.sasl import SaslDialogue, converse


@implementer(ISaslExchange)
class Scripted:
    """Says what it was told to say, and keeps what it heard."""

    def __init__(self, *says: bytes, final: bytes | None = None) -> None:
        self._says = list(says)
        self._final = final
        self.heard: list[bytes | None] = []

    async def step(self, response: bytes | None) -> Challenge | Authenticated:
        self.heard.append(response)
        if self._says:
            return Challenge(self._says.pop(0))
        return Authenticated(Identity("fred"), "fred", self._final)


def outcome(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What something gives that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits")


class DialogueTests(SynchronousTestCase):
    def dialogue(self, exchange: Scripted, *, data_with_success: bool = False) -> SaslDialogue:
        return SaslDialogue(cast(ISaslExchange, exchange), data_with_success=data_with_success)

    def test_challenges_and_responses(self) -> None:
        exchange = Scripted(b"one", b"")
        dialogue = self.dialogue(exchange)
        self.assertEqual(outcome(dialogue.begin(None)), b64encode(b"one"))
        self.assertEqual(outcome(dialogue.answer(b64encode(b"two"))), b"")
        self.assertIsNone(outcome(dialogue.answer(b"")))
        self.assertEqual(dialogue.result.authenticated_as, "fred")
        self.assertEqual(exchange.heard, [None, b"two", b""])

    def test_initial_responses(self) -> None:
        """None, empty (RFC 4959 section 3), and another: three things."""
        for initial, heard in ((None, None), (b"=", b""), (b"eA==", b"x")):
            exchange = Scripted()
            self.assertIsNone(outcome(self.dialogue(exchange).begin(initial)))
            self.assertEqual(exchange.heard, [heard])

    def test_final_data(self) -> None:
        """As a challenge that is answered with nothing, or with success where a protocol has room for it."""
        dialogue = self.dialogue(Scripted(final=b"v=1"))
        self.assertEqual(outcome(dialogue.begin(b"=")), b64encode(b"v=1"))
        self.assertIsNone(outcome(dialogue.answer(b"")))
        dialogue = self.dialogue(Scripted(final=b"v=1"))
        outcome(dialogue.begin(b"="))
        self.assertRaises(MalformedExchange, outcome, dialogue.answer(b"eA=="))
        dialogue = self.dialogue(Scripted(final=b"v=1"), data_with_success=True)
        self.assertIsNone(outcome(dialogue.begin(b"=")))
        self.assertEqual(dialogue.result.data, b"v=1")

    def test_cancelled_and_malformed(self) -> None:
        for line, error in (
            (b"*", AuthenticationCancelled),
            (b"a", MalformedExchange),
            (b"eA=", MalformedExchange),
            (b"eB==", MalformedExchange),
            (b"A" * 20_000, MalformedExchange),
        ):
            dialogue = self.dialogue(Scripted(b"one"))
            outcome(dialogue.begin(None))
            self.assertRaises(error, outcome, dialogue.answer(line))
            with self.assertRaises(MalformedExchange):
                _ = dialogue.result

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.binary(max_size=5), max_size=3), st.lists(st.binary(max_size=8), max_size=6))
    def test_anything(self, says: list[bytes], lines: list[bytes]) -> None:
        """It ends with somebody who logged in, with an error of ours, or wants more."""
        left = list(lines)

        class NoMore(Exception):
            pass

        async def ask(challenge: bytes) -> bytes:
            if not left:
                raise NoMore
            return left.pop(0)

        try:
            result = outcome(converse(cast(ISaslExchange, Scripted(*says)), None, ask))
        except (MailStoreError, NoMore):
            return
        self.assertEqual(result.identity, Identity("fred"))
        self.assertEqual(len(lines) - len(left), len(says))
