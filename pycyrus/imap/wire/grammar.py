"""
The basic grammar of IMAP (RFC 9051 section 9, RFC 3501 section 9): a cursor over a command, and encoders.

Every command's parser is built from the productions here.  Whatever the octets,
a L{Cursor} raises L{BadSyntax} and nothing else, in time linear in their number.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from pycyrus.model.uids import BadSequenceSet, SequenceSet

if TYPE_CHECKING:
    from pycyrus.imap.wire.frames import Literal

T = TypeVar("T")

MAX_NESTING = 100
"""How deep lists and search keys may be nested."""
MAX_ELEMENTS = 10_000
"""How many elements a list may have, unless its parser says otherwise."""
MAX_QUOTED = 1024
"""Longer strings are sent as literals: some clients' line buffers are small."""

END = -1
"""What L{Cursor.peek} answers behind the last octet."""
LITERAL = 0x7B
"""What L{Cursor.peek} answers before a literal: C{ { }."""

_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_ASTRING_ATOM = re.compile(rb'[^\x00-\x20(){%*"\\\x7f-\xff]+')
_LIST_ATOM = re.compile(rb'[^\x00-\x20(){"\\\x7f-\xff]+')
_NAME = re.compile(rb"[A-Za-z0-9.\-]+")
_QUOTED = re.compile(rb'"([^"\\\x00\r\n]*+(?:\\["\\][^"\\\x00\r\n]*+)*+)"')
_ESCAPE = re.compile(rb'\\(["\\])')
_DIGITS = re.compile(rb"[0-9]+")
_SEQUENCE_SET = re.compile(rb"[0-9*:,]+")
_FLAG = re.compile(rb'\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+')
_FLAG_LIST = re.compile(rb'\(((?:\\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+(?: \\?[^\x00-\x20(){%*"\\\]\x7f-\xff]+)*)?)\)')
_DATE = re.compile(rb"([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_DATE_TIME = re.compile(
    rb'"([ 0-9]?[0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"'
)
_NOT_7BIT = re.compile(rb"[\x80-\xff]")

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}

MAX_NUMBER = 0xFFFFFFFF
MAX_NUMBER64 = 0x7FFFFFFFFFFFFFFF
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class BadSyntax(Exception):
    """
    The octets are no such command: answered with a tagged BAD.

    @ivar text: For the client.
    @ivar names_command: Whether the command's name is told as well.
    """

    def __init__(self, text: bytes, *, names_command: bool = True) -> None:
        super().__init__(text)
        self.text = text
        self.names_command = names_command


class Cursor:
    """
    A place in the arguments of a command, moved on by taking what stands there.

    The first piece begins directly behind the command's name: with the space, if
    there are arguments.  A text piece before a literal ends before the literal's
    announcement (C{{5}}, C{{5+}}, C{~{5}}), which stands in the L{Literal}.
    """

    __slots__ = ("_at", "_depth", "_index", "_pieces", "_text", "_utf8")

    def __init__(self, args: Sequence[bytes | Literal], *, utf8: bool = False) -> None:
        """
        Begin with the first piece.

        @param utf8: Whether quoted strings may hold UTF-8: after ENABLE of
            IMAP4rev2 or UTF8=ACCEPT (RFC 9051 section 4.3).
        """
        self._pieces = args
        self._index = 0
        self._text = b""
        self._at = 0
        self._depth = 0
        self._utf8 = utf8
        if args and isinstance(args[0], bytes):
            self._text = args[0]
            self._index = 1

    # --- where we are ---

    def at_end(self) -> bool:
        """Whether nothing follows."""
        return self._at == len(self._text) and self._index >= len(self._pieces)

    def peek(self) -> int:
        """The next octet; L{LITERAL} before a literal, L{END} at the end."""
        if self._at < len(self._text):
            return self._text[self._at]
        return LITERAL if self._index < len(self._pieces) else END

    @property
    def is_utf8(self) -> bool:
        """Whether quoted strings may hold UTF-8."""
        return self._utf8

    def rest(self) -> bytes | None:
        """All that is left; None if that has a literal."""
        return self._text[self._at :] if self._index >= len(self._pieces) else None

    def remaining(self) -> list[bytes | Literal]:
        """All that is left, as it came."""
        return [self._text[self._at :], *self._pieces[self._index :]]

    def skip_rest(self) -> None:
        """Go to the end of this piece."""
        self._at = len(self._text)

    def end(self) -> None:
        """Demand that nothing follows."""
        if not self.at_end():
            raise BadSyntax(b"Unexpected extra arguments")

    def fail(self, text: bytes) -> BadSyntax:
        """The error to raise where C{text} tells what is wrong here."""
        return BadSyntax(b"Missing required argument" if self.at_end() else text)

    # --- tokens ---

    def space(self) -> None:
        """Demand one space; no more and no fewer (RFC 9051 section 9, note 3)."""
        if self._text[self._at : self._at + 1] != b" ":
            raise self.fail(b"Invalid arguments")
        self._at += 1

    def take(self, token: bytes) -> bool:
        """
        Take C{token}, compared without case, if it stands here.

        A token that ends in a letter or digit must not go on as a longer word.
        """
        stop = self._at + len(token)
        if self._text[self._at : stop].upper() != token.upper():
            return False
        if token[-1:].isalnum() and self._text[stop : stop + 1].isalnum():
            return False
        self._at = stop
        return True

    def expect(self, token: bytes) -> None:
        """Demand C{token}."""
        if not self.take(token):
            raise self.fail(b"Invalid arguments")

    def match(self, pattern: re.Pattern[bytes], complaint: bytes) -> bytes:
        """Take what C{pattern}, which must be linear, matches here; for productions of one command."""
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self.fail(complaint)
        self._at = match.end()
        return match.group()

    def name(self) -> bytes:
        """A keyword of the protocol in upper case: letters, digits, dots and hyphens."""
        return self.match(_NAME, b"Invalid arguments").upper()

    def atom(self) -> bytes:
        """C{atom}"""
        return self.match(_ATOM, b"Invalid atom")

    # --- strings ---

    def astring(self) -> bytes:
        """C{astring}: an atom (which may contain C{]}), a quoted string or a literal."""
        match = _ASTRING_ATOM.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
            return match.group()
        return self.string()

    def string(self) -> bytes:
        """C{string}: quoted, or a literal."""
        following = self.peek()
        if following == 0x22:
            return self._quoted()
        if following == LITERAL:
            literal = self.literal()
            if literal.binary or literal.staged is not None or b"\0" in literal.data:
                raise BadSyntax(b"Invalid string")
            return bytes(literal.data)
        raise self.fail(b"Invalid string")

    def _quoted(self) -> bytes:
        match = _QUOTED.match(self._text, self._at)
        if match is None:
            raise BadSyntax(b"Invalid quoted string")
        value: bytes = match.group(1)
        if _NOT_7BIT.search(value) is not None:
            if not self._utf8:
                raise BadSyntax(b"Invalid quoted string")
            try:
                value.decode()
            except UnicodeDecodeError:
                raise BadSyntax(b"Invalid UTF-8 in quoted string") from None
        self._at = match.end()
        return _ESCAPE.sub(rb"\1", value) if b"\\" in value else value

    def nstring(self) -> bytes | None:
        """C{nstring}: a string, or None for C{NIL}."""
        return None if self.take(b"NIL") else self.string()

    def list_mailbox(self) -> bytes:
        """C{list-mailbox}: as C{astring}, and wildcards may stand in the atom."""
        match = _LIST_ATOM.match(self._text, self._at)
        if match is not None:
            self._at = match.end()
            return match.group()
        return self.string()

    def literal(self) -> Literal:
        """C{literal} or C{literal8}; of an APPEND it may be on disk already."""
        if self._at < len(self._text) or self._index >= len(self._pieces):
            raise self.fail(b"Literal expected")
        piece = self._pieces[self._index]
        if isinstance(piece, bytes):  # two text pieces side by side: no such command
            raise BadSyntax(b"Literal expected")
        self._index += 1
        self._text = b""
        self._at = 0
        if self._index < len(self._pieces):
            text = self._pieces[self._index]
            if isinstance(text, bytes):
                self._text = text
                self._index += 1
        return piece

    # --- numbers ---

    def _number(self, least: int, most: int) -> int:
        digits = self.match(_DIGITS, b"Number expected")
        # Beyond 20 digits int() would be quadratic in an attacker's hands.
        if len(digits) > 20 or (least and digits[0] == 0x30):
            raise BadSyntax(b"Invalid number")
        number = int(digits)
        if not least <= number <= most:
            raise BadSyntax(b"Number out of range")
        return number

    def number(self) -> int:
        """C{number}: 0 to 2^32 - 1."""
        return self._number(0, MAX_NUMBER)

    def nz_number(self) -> int:
        """C{nz-number}: 1 to 2^32 - 1."""
        return self._number(1, MAX_NUMBER)

    def number64(self) -> int:
        """C{number64}, also C{mod-sequence-valzer} (RFC 7162 section 7): 0 to 2^63 - 1."""
        return self._number(0, MAX_NUMBER64)

    def sequence_set(self) -> SequenceSet:
        """C{sequence-set} without C{$}."""
        text = self.match(_SEQUENCE_SET, b"Invalid sequence")
        try:
            return SequenceSet.parse(text)
        except BadSequenceSet:
            raise BadSyntax(b"Invalid sequence") from None

    def sequence_set_or_saved(self) -> SequenceSet | None:
        """C{sequence-set}; None for C{$}, the saved search result (RFC 5182)."""
        return None if self.take(b"$") else self.sequence_set()

    # --- flags ---

    def flag(self) -> bytes:
        r"""C{flag}: an atom, or a backslash and an atom."""
        return self.match(_FLAG, b"Invalid flag")

    def flag_list(self) -> list[bytes]:
        """C{flag-list}: flags in parentheses, perhaps none."""
        match = _FLAG_LIST.match(self._text, self._at)
        if match is None:
            raise self.fail(b"Invalid flag list")
        self._at = match.end()
        return match.group(1).split()

    # --- dates ---

    def date(self) -> dt.date:
        """C{date}: a day such as C{1-Feb-1994}, quoted or not."""
        is_quoted = self.take(b'"')
        match = _DATE.match(self._text, self._at)
        if match is None:
            raise self.fail(b"Invalid date")
        self._at = match.end()
        if is_quoted:
            self.expect(b'"')
        try:
            return dt.date(int(match[3]), _MONTH_NUMBERS[match[2].lower()], int(match[1]))
        except (KeyError, ValueError):
            raise BadSyntax(b"Invalid date") from None

    def date_time(self) -> int:
        """C{date-time}, as seconds since the epoch; also with a day of one digit, as some clients write."""
        match = _DATE_TIME.match(self._text, self._at)
        if match is None:
            raise self.fail(b"Invalid date-time")
        self._at = match.end()
        day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
        try:
            if int(zone_minutes) > 59 or int(second) > 60:
                raise BadSyntax(b"Invalid date-time")
            moment = dt.datetime(
                int(year), _MONTH_NUMBERS[month.lower()], int(day), int(hour), int(minute), tzinfo=dt.UTC
            )
            offset = dt.timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
            # Subtracting here keeps the result within the years 1 to 9999,
            # so that it can be written again.
            moment = moment - offset if sign == b"+" else moment + offset
            # A leap second is the next minute's first.
            moment += dt.timedelta(seconds=int(second))
        except (KeyError, ValueError, OverflowError):
            raise BadSyntax(b"Invalid date-time") from None
        return (moment - _EPOCH) // dt.timedelta(seconds=1)

    # --- lists ---

    def enter(self) -> None:
        """
        Go down one level of nesting.

        @raise BadSyntax: It is one too many.
        """
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise BadSyntax(b"Too many levels of nesting")

    def leave(self) -> None:
        """Come up one level of nesting."""
        self._depth -= 1

    def paren_list(self, item: Callable[[Cursor], T], *, least: int = 0, most: int = MAX_ELEMENTS) -> list[T]:
        """
        A list in parentheses, its elements parted by single spaces.

        @param least: Number of elements that there must be.
        @param most: Number of elements that there may be.
        """
        self.expect(b"(")
        self.enter()
        elements: list[T] = []
        if least or self.peek() != 0x29:
            elements.append(item(self))
            while not self.take(b")"):
                if len(elements) >= most:
                    raise BadSyntax(b"Too many arguments")
                self.space()
                elements.append(item(self))
        else:
            self.expect(b")")
        self.leave()
        return elements


# --- encoders ---------------------------------------------------------------


def quoted(value: bytes, *, utf8: bool = False) -> bytes:
    """
    Write a C{string}: quoted, or as a literal where it must be.

    @param utf8: Whether UTF-8 may stand in quoted strings.
    """
    if len(value) <= MAX_QUOTED and _can_be_quoted(value, utf8):
        if b"\\" in value or b'"' in value:
            value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        return b'"%b"' % value
    return b"{%d}\r\n%b" % (len(value), value)


def _can_be_quoted(value: bytes, utf8: bool) -> bool:
    if b"\r" in value or b"\n" in value or b"\0" in value:
        return False
    if value.isascii():
        return True
    if not utf8:
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def astring(value: bytes, *, utf8: bool = False) -> bytes:
    """Write an C{astring}: an atom if it can be one."""
    # A bare NIL would be taken for the absence of a string.
    if _ASTRING_ATOM.fullmatch(value) is not None and (len(value) != 3 or value.upper() != b"NIL"):
        return value
    return quoted(value, utf8=utf8)


def nstring(value: bytes | None, *, utf8: bool = False) -> bytes:
    """Write an C{nstring}: C{NIL} for None."""
    return b"NIL" if value is None else quoted(value, utf8=utf8)
