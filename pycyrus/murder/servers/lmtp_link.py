"""The client's side of LMTP (RFC 2033), as a frontend delivers to backends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pycyrus.auth.client import ClientExchange
from pycyrus.errors import (
    MailStoreError,
    MechanismUnavailable,
    MessageRejected,
    MessageTooLarge,
    OverQuota,
    PermissionDenied,
    StoreUnavailable,
)
from pycyrus.interfaces import Envelope, Recipient
from pycyrus.murder.servers.lines import LineClient
from pycyrus.murder.spool import Spool
from pycyrus.wire.dots import DotWriter

_MOST_LINES = 100
_PIECE = 65_536
_CHUNK = 262_144
"""Octets of a message that is sent before it is known whether it is wanted."""
_ALL_WELL = re.compile(rb"(?:2[0-9]{2} [^\r\n]*+\r\n){4}")
"""What RSET, MAIL, RCPT and the message are nearly always answered by."""
_AT_ONCE = 100
"""Recipients asked for before answers are read."""


@dataclass(frozen=True, slots=True)
class LmtpReply:
    """
    An answer.

    @ivar enhanced: C{2.1.5} and the like; empty if there is none.
    @ivar text: Of its last line.
    """

    code: int
    enhanced: str
    text: str

    @property
    def is_ok(self) -> bool:
        """Whether what was asked for was done."""
        return 200 <= self.code < 300

    def error(self, *, at_recipient: bool) -> MailStoreError | None:
        """
        What it means for a recipient.

        An unknown user is no permanent failure: the directory here may be older
        than what the backend knows, and the sender shall try again.

        @param at_recipient: It answers RCPT.
        @return: None for success.
        """
        if self.is_ok:
            return None
        detail = self.enhanced.partition(".")[2]
        if detail in ("2.2", "3.4"):
            return OverQuota(self.text)
        if self.code < 500 or detail == "1.1":
            return StoreUnavailable(self.text)
        if detail == "2.3":
            return MessageTooLarge(self.text)
        if detail == "7.1":
            return PermissionDenied(self.text)
        return StoreUnavailable(self.text) if at_recipient else MessageRejected(self.text)


class LmtpLink(LineClient):
    """
    A connection to a backend's LMTP, logged in as the frontend itself.

    @ivar extensions: By name, in upper case, with their parameters.
    """

    service = "lmtp"

    def __init__(self, server: str, own_name: str, reactor: Any, within: float) -> None:
        """
        @param own_name: Whom LHLO names.
        @param within: Seconds for each answer (C{lmtptxn_timeout}).
        """
        super().__init__(server, reactor)
        self._own_name = own_name
        self.extensions: dict[str, list[str]] = {}
        self._answer_within = within
        self._is_used = False

    async def reply(self) -> LmtpReply:
        """
        Take an answer (RFC 5321 section 4.2.1).

        @raise StoreUnavailable: There is none.
        """
        lines = await self._lines()
        text = lines[-1][4:].decode("utf-8", "replace")
        enhanced, _, rest = text.partition(" ")
        if enhanced.count(".") != 2 or not enhanced.replace(".", "").isdigit():
            enhanced, rest = "", text
        return LmtpReply(int(lines[-1][:3]), enhanced, rest)

    async def _lines(self) -> list[bytes]:
        lines: list[bytes] = []
        while len(lines) < _MOST_LINES:
            line = await self.line(self._answer_within)
            if not line[:3].isdigit() or line[3:4] not in (b"", b" ", b"-"):
                break
            lines.append(line)
            if line[3:4] != b"-":
                return lines
        self.abort("this is no LMTP")
        self.check()
        raise StoreUnavailable(self.server)

    async def greet(self) -> None:
        """
        Begin, and learn what the server can (RFC 2033 section 4.1).

        @raise StoreUnavailable: It will not.
        """
        if not self._is_used:
            self._is_used = True
            if not (await self.reply()).is_ok:
                raise StoreUnavailable(f"{self.server}: refused")
        self.send(b"LHLO %b\r\n" % self._own_name.encode("ascii", "replace"))
        lines = await self._lines()
        if lines[-1][:3] != b"250":
            raise StoreUnavailable(f"{self.server}: LHLO was refused")
        words = [line[4:].decode("ascii", "replace").upper().split() for line in lines[1:]]
        self.extensions = {each[0]: each[1:] for each in words if each}

    @property
    def mechanisms(self) -> list[str]:
        """SASL mechanisms that are offered."""
        return self.extensions.get("AUTH", [])

    @property
    def can_start_tls(self) -> bool:
        """Whether the server offers TLS."""
        return "STARTTLS" in self.extensions

    async def start_tls(self, context: object) -> None:
        """
        Go over to TLS (RFC 3207).

        @param context: What the transport's C{startTLS} takes.
        @raise MechanismUnavailable: The server will not.
        @raise StoreUnavailable: The connection went.
        """
        self.send(b"STARTTLS\r\n")
        if not (await self.reply()).is_ok:
            raise MechanismUnavailable("no TLS")
        self.begin_tls(context)
        await self.greet()

    async def authenticate(self, exchange: ClientExchange) -> None:
        """
        Log in (RFC 4954).

        @raise AuthenticationFailed: One side did not accept the other.
        @raise MalformedExchange: This is no such exchange.
        @raise StoreUnavailable: The connection went.
        """
        await self.exchange_lines(b"AUTH", exchange, b"334 ", lambda line: line.startswith(b"235"))

    async def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], message: Spool
    ) -> list[MailStoreError | None]:
        """
        Deliver a message; each recipient has an answer of its own (RFC 2033 section 4.2).

        @return: In the order of the recipients; None for success.
        @raise StoreUnavailable: The connection went before there was an answer for anybody.
        """
        mail = self._mail(envelope, message.size)
        if len(recipients) == 1 and message.size <= _CHUNK and {"PIPELINING", "CHUNKING"} <= self.extensions.keys():
            return [await self._deliver_chunk(b"RSET\r\n" + mail, recipients[0], message)]
        if "PIPELINING" in self.extensions and len(recipients) <= _AT_ONCE:
            return await self._deliver_at_once(b"RSET\r\n" + mail, recipients, message)
        self.send(b"RSET\r\n")
        await self.reply()
        self.send(mail)
        sender = await self.reply()
        if not sender.is_ok:
            return [sender.error(at_recipient=True) for _ in recipients]
        outcomes: list[MailStoreError | None] = []
        at_once = _AT_ONCE if "PIPELINING" in self.extensions else 1
        for start in range(0, len(recipients), at_once):
            some = recipients[start : start + at_once]
            self.send(b"".join(map(self._recipient, some)))
            outcomes += [(await self.reply()).error(at_recipient=True) for _ in some]
        if None in outcomes:
            self.send(b"DATA\r\n")
            await self._send_message(outcomes, await self.reply(), message)
        return outcomes

    async def _deliver_chunk(self, begin: bytes, recipient: Recipient, message: Spool) -> MailStoreError | None:
        """
        The message leaves with all that comes before it (RFC 3030 section 2).

        So only for one recipient: whatever is refused, each line then has one answer.
        """
        chunk = b"BDAT %d LAST\r\n%b" % (message.size, message.read(0, message.size))
        self.send(b"%b%b%b" % (begin, self._recipient(recipient), chunk))
        await self.drain(self._answer_within)
        if not self._buffer:
            await self.more(self._answer_within)
        if _ALL_WELL.fullmatch(self._buffer):
            self._buffer = b""
            return None
        await self.reply()
        sender, asked, outcome = await self.reply(), await self.reply(), await self.reply()
        refused = sender.error(at_recipient=True) or asked.error(at_recipient=True)
        return refused or outcome.error(at_recipient=False)

    async def _deliver_at_once(
        self, begin: bytes, recipients: Sequence[Recipient], message: Spool
    ) -> list[MailStoreError | None]:
        """All that comes before the message leaves together (RFC 2920 section 3.1)."""
        self.send(b"%b%bDATA\r\n" % (begin, b"".join(map(self._recipient, recipients))))
        await self.reply()
        sender = await self.reply()
        outcomes = [(await self.reply()).error(at_recipient=True) for _ in recipients]
        if not sender.is_ok:
            outcomes = [sender.error(at_recipient=True) for _ in recipients]
        go_ahead = await self.reply()
        if None in outcomes:
            await self._send_message(outcomes, go_ahead, message)
        elif go_ahead.code == 354:
            # It wants a message for nobody, whose end it need not answer.
            self.abort("no recipient, and a message was wanted")
        return outcomes

    async def _send_message(self, outcomes: list[MailStoreError | None], go_ahead: LmtpReply, message: Spool) -> None:
        accepted = [place for place, error in enumerate(outcomes) if error is None]
        if go_ahead.code != 354:
            for place in accepted:
                outcomes[place] = go_ahead.error(at_recipient=True) or StoreUnavailable(go_ahead.text)
            return
        writer = DotWriter()
        for offset in range(0, max(message.size, 1), _PIECE):
            data = writer.write(message.read(offset, _PIECE))
            if offset + _PIECE >= message.size:
                # The last piece and its end leave together.
                data += writer.end()
            self.send(data)
            await self.drain(self._answer_within)
        for place in accepted:
            # Until it is told otherwise nobody knows, and the sender tries again.
            outcomes[place] = StoreUnavailable(f"{self.server}: no answer")
        for place in accepted:
            try:
                outcomes[place] = (await self.reply()).error(at_recipient=False)
            except StoreUnavailable as error:
                outcomes[place] = error
                return

    def _mail(self, envelope: Envelope, size: int) -> bytes:
        parameters = ""
        if "SIZE" in self.extensions:
            parameters += f" SIZE={size}"
        if envelope.utf8 and "SMTPUTF8" in self.extensions:
            parameters += " SMTPUTF8"
        if "AUTH" in self.extensions:
            # RFC 4954 section 5: for whose rights to post.
            parameters += f" AUTH={_xtext(envelope.auth)}" if envelope.auth else " AUTH=<>"
        return f"MAIL FROM:<{envelope.sender}>{parameters}\r\n".encode()

    def _recipient(self, recipient: Recipient) -> bytes:
        local = recipient.local_part
        if not local or not all(each.isalnum() or each in "!#$%&'*+-/=?^_`{|}~." for each in local) or ".." in local:
            local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        address = f"{local}@{recipient.domain}" if recipient.domain else local
        ignore = " IGNOREQUOTA" if recipient.ignore_quota and "IGNOREQUOTA" in self.extensions else ""
        return f"RCPT TO:<{address}>{ignore}\r\n".encode()


def _xtext(text: str) -> str:
    """RFC 3461 section 4."""
    octets = text.encode("utf-8")
    return "".join(chr(each) if 0x21 <= each <= 0x7E and each not in b"+=" else f"+{each:02X}" for each in octets)
