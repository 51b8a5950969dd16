"""
The header fields that delivery adds, removes and completes; no I/O.

RFC 5321 section 4.4 (Return-Path, Received), RFC 5322 section 3.6 (Message-ID,
Date).
"""

from __future__ import annotations

import itertools
import os
import re
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache

from pycyrus.delivery.settings import DeliverySettings, EightBitHeaders
from pycyrus.errors import MessageRejected
from pycyrus.interfaces import Envelope
from pycyrus.mime.dates import parse_date

MAX_HEADER = 1 << 20
"""Octets of a header that are looked at; what comes after them passes as it is."""

_FOLD, _FOLDED = "\r\n\t ", b"\r\n\t "
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# Names with octets that have no place there are those of fields all the same, for EightBitHeaders to judge.
_FIELD = re.compile(rb"[\x21-\x39\x3b-\x7e\x80-\xff]+[ \t]*:|>?From ")
_RETURN_PATH = re.compile(rb"^return-path[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)", re.IGNORECASE | re.MULTILINE)
_DELIVERED_DATE = re.compile(rb"^x-deliveredinternaldate:([^\n]*(?:\n[ \t][^\n]*)*)", re.IGNORECASE | re.MULTILINE)
_MUNGED = bytes(range(128)) + b"X" * 128
_REMEMBERED = 1024
"""Senders, and sessions, whose trace fields need not be made again."""
_message_number = itertools.count(1)


def trace_fields(envelope: Envelope, settings: DeliverySettings, now: float) -> bytes:
    """
    The fields put before the message.

    @param now: Seconds since the epoch.
    """
    # As in Cyrus the author whom MAIL's AUTH names comes before the client; no mechanism here has a layer of its own.
    author = envelope.auth or ("" if envelope.identity.postman else envelope.identity.user_id)
    authenticated = f"{_FOLD}(authenticated user={author} bits=0)" if author else ""
    protection = f"{_FOLD}({envelope.tls})" if envelope.tls else ""
    sender = _complete(envelope.sender, settings)
    received, session = _of_session(
        f"{envelope.client_name} ({envelope.client_host}){authenticated}"
        f"{_FOLD}by {settings.server_name} ({settings.product}) with {envelope.protocol}{protection}",
        envelope.session_id,
        envelope.utf8,
    )
    return b"".join((_return_path(sender, envelope.utf8), received, _date(int(now)).encode("ascii"), session))


@lru_cache(maxsize=_REMEMBERED)
def _return_path(sender: str, utf8: bool) -> bytes:
    return b"Return-Path: <%b>\r\n" % _safe(sender, utf8)


@lru_cache(maxsize=_REMEMBERED)
def _of_session(client: str, session_id: str, utf8: bool) -> tuple[bytes, bytes]:
    """What stands before and after the date of arrival in all messages that come by one session."""
    received = _FOLDED.join(_safe(piece, utf8) for piece in client.split(_FOLD))
    session = b"\r\nX-Cyrus-Session-Id: %b\r\nX-Sieve: CMU Sieve 3.0\r\n" % _safe(session_id, utf8)
    return b"Received: from %b;%b" % (received, _FOLDED), session


def _complete(sender: str, settings: DeliverySettings) -> str:
    """Give a bare local part our domain; the null sender stays so."""
    bare = "@" not in sender or sender.endswith('"')
    return f"{sender}@{settings.server_name}" if sender and bare else sender


def _safe(text: str, utf8: bool) -> bytes:
    """
    Text without the characters that have no place in a line of a header.

    @param utf8: RFC 6531 section 3.7.3: addresses in trace fields are as they came.
    """
    return (_CONTROLS if utf8 else _UNPRINTABLE).sub("?", text).encode("utf-8")


@lru_cache(maxsize=8)
def _date(now: int) -> str:
    return format_datetime(datetime.fromtimestamp(now).astimezone())


class HeaderFilter:
    """
    Completes the header of a message that passes through.

    The header is held back until it is all there, so that what is missing is
    known; the body is not.

    @param trace: Fields to put before it, complete lines.
    @param utf8: Its fields may be UTF-8 (RFC 6532), whatever becomes of others.
    @ivar header: As it came in, once it is all there.
    @ivar delivered_at: When the message was delivered for the first time, in seconds since the epoch,
        if it says so (C{X-DeliveredInternalDate}, as Cyrus has it); None if it does not.
    """

    header = b""
    delivered_at: int | None = None

    def __init__(self, trace: bytes, settings: DeliverySettings, now: float, *, utf8: bool = False) -> None:
        self._trace = trace
        self._utf8 = utf8
        self._settings = settings
        self._now = now
        self._held = bytearray()
        self._in_body = False

    def feed(self, data: bytes) -> bytes:
        """
        Take a piece of the message.

        @param data: With CRLF line ends; pieces may be cut anywhere.

        @return: What goes to the store.

        @raise MessageRejected: Octets above 127 in a header field, where
            these are refused.
        """
        if self._in_body:
            return data
        held = self._held
        if not held:
            end = 0 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 2
            if end != 1:
                return self._release(data[:end], data[end:])
        searched = max(len(held) - 3, 0)
        held += data
        if held.startswith(b"\r\n"):
            return self._release(b"", self._taken())
        end = held.find(b"\r\n\r\n", searched)
        if end >= 0:
            octets = self._taken()
            return self._release(octets[: end + 2], octets[end + 2 :])
        return self._release(self._taken(), b"") if len(held) > MAX_HEADER else b""

    def _taken(self) -> bytes:
        """What was held back, which is not any more."""
        held, self._held = bytes(self._held), bytearray()
        return held

    def finish(self) -> bytes:
        """
        The message ends here.

        @return: What was still held back.

        @raise MessageRejected: As C{feed}.
        """
        return b"" if self._in_body else self._release(self._taken(), b"")

    def _release(self, header: bytes, rest: bytes) -> bytes:
        """Let the header, which is whole, and the beginning of the body go."""
        self._in_body = True
        if header and not _FIELD.match(header):
            # A text without a header: it gets one.
            return b"".join((self._trace, self._missing(b""), b"\r\n", header, rest))
        self.header = header
        if not header.isascii() and not (self._utf8 and _is_utf8(header)):
            header = self._without_8bit(header)
        lowered = header.lower()
        missing = self._missing(lowered)
        if b"x-deliveredinternaldate:" in lowered:
            self.delivered_at = self._date_said(header)
        if b"return-path" in lowered:
            header = _RETURN_PATH.sub(b"", header)
        if len(header) > MAX_HEADER or not header.endswith(b"\r\n"):
            # Its end is not known, or in the middle of a line.
            return b"".join((self._trace, missing, header, rest))
        return b"".join((self._trace, header, missing, rest))

    def _without_8bit(self, header: bytes) -> bytes:
        match self._settings.eight_bit_headers:
            case EightBitHeaders.MUNGE:
                return header.translate(_MUNGED)
            case EightBitHeaders.REJECT:
                raise MessageRejected("Message contains non-ASCII characters in headers")
            case EightBitHeaders.KEEP:
                return header

    def _date_said(self, header: bytes) -> int | None:
        found = _DELIVERED_DATE.search(header)
        date = parse_date(found.group(1).replace(b"\r\n", b"")) if found is not None else None
        # The past is for whoever moves mail here; the future is for nobody.
        return date[0] if date is not None and 0 < date[0] <= self._now else None

    def _missing(self, lowered: bytes) -> bytes:
        missing = b""
        if not _has_field(lowered, b"message-id"):
            number = f"{os.getpid()}-{int(self._now)}-{next(_message_number)}"
            missing += f"Message-ID: <cmu-lmtpd-{number}@{self._settings.server_name}>\r\n".encode("ascii", "replace")
        if not _has_field(lowered, b"date"):
            missing += f"Date: {_date(int(self._now))}\r\n".encode("ascii")
        return missing


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _has_field(lowered: bytes, name: bytes) -> bool:
    """
    Whether a field is there.

    @param lowered: The header in lower case.
    """
    if lowered.find(b"\n%b:" % name) >= 0 or lowered.startswith(b"%b:" % name):
        return True
    # RFC 5322 section 4.5.3: spaces before the colon, which nobody sends any more.
    return re.search(rb"(?:\A|\n)" + name + rb"[ \t]+:", lowered) is not None
