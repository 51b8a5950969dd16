"""SEARCH: from its arguments to values (RFC 9051 section 6.4.4, RFC 4731, RFC 5182, RFC 7162 section 3.1.5)."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pycyrus.imap.wire.annotations import parse_nil_or_text, parse_pattern, parse_searched
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.partial import Partial, parse_partial
from pycyrus.imap.wire.remembered import read_rest
from pycyrus.model.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN
from pycyrus.model.search import (
    AddressField,
    All,
    And,
    AnnotationContains,
    AnyHeaderContains,
    BodyContains,
    DateField,
    DateRange,
    HasFlag,
    HasGuid,
    HasKeyword,
    HeaderContains,
    MessageNumbers,
    ModifiedSince,
    Not,
    Or,
    Recent,
    SavedResult,
    SearchKey,
    SizeRange,
    TextContains,
    UidSet,
    Within,
)

if TYPE_CHECKING:
    from pycyrus.imap.wire.fetch import FetchItem

MAX_KEYS = 10_000
MAX_FIELD_NAME = 998
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_OBJECT_ID = re.compile(rb"[A-Za-z0-9_-]{1,255}")
_EMAILID = re.compile(r"M[0-9a-f]{24}")

CHARSETS: dict[bytes, str] = {
    b"US-ASCII": "ascii",
    b"UTF-8": "utf-8",
    **{b"ISO-8859-%d" % part: f"iso8859-{part}" for part in (*range(1, 12), *range(13, 17))},
    **{b"WINDOWS-%d" % page: f"cp{page}" for page in range(1250, 1259)},
    b"KOI8-R": "koi8-r",
    b"KOI8-U": "koi8-u",
    b"SHIFT_JIS": "shift_jis",
    b"EUC-JP": "euc-jp",
    b"ISO-2022-JP": "iso2022-jp",
    b"EUC-KR": "euc-kr",
    b"GB2312": "gb2312",
    b"GBK": "gbk",
    b"GB18030": "gb18030",
    b"BIG5": "big5",
}
"""Charsets for CHARSET, with Python's names for them."""


class Return(enum.Enum):
    """C{search-return-opt}: what the client wants to know of the result."""

    MIN = b"MIN"
    MAX = b"MAX"
    ALL = b"ALL"
    COUNT = b"COUNT"
    SAVE = b"SAVE"
    PARTIAL = b"PARTIAL"
    CONTEXT = b"CONTEXT"
    UPDATE = b"UPDATE"


@dataclass(frozen=True, slots=True)
class Search:
    """
    A SEARCH or UID SEARCH.

    @ivar key: What to find; None where the charset is unknown, or a string is
        not of the charset: answered with BADCHARSET.
    @ivar returns: What to return; None for a SEARCH without RETURN.
    @ivar uses_modseq: MODSEQ is among the keys, so it is returned, too.
    @ivar partial: What C{PARTIAL} among the returns is about.
    @ivar update_items: What C{UPDATE} is to tell of messages that come (RFC 5465 section 7).
    @ivar contradicts_utf8: A charset is given where one may be left out, or
        another than UTF-8: not with UTF8=ACCEPT (RFC 9755 section 3).
    """

    by_uid: bool
    key: SearchKey | None
    returns: frozenset[Return] | None = None
    uses_modseq: bool = False
    partial: Partial | None = None
    contradicts_utf8: bool = False
    update_items: tuple[FetchItem, ...] = ()


def parse_search(cursor: Cursor) -> Search:
    """C{search}, behind C{SEARCH}."""
    return read_rest(cursor, _parse_by_number)


def parse_uid_search(cursor: Cursor) -> Search:
    """C{search}, behind C{UID SEARCH}."""
    return read_rest(cursor, _parse_by_uid)


def parse_cancelupdate(cursor: Cursor) -> tuple[bytes, ...]:
    """The tags of searches, quoted (RFC 5267 section 4.3.1)."""
    tags: list[bytes] = []
    while not tags or not cursor.at_end():
        cursor.space()
        tags.append(cursor.string())
    return tuple(tags)


def _parse(cursor: Cursor, *, by_uid: bool) -> Search:
    cursor.space()
    return parse_search_program(cursor, by_uid=by_uid)


def parse_search_program(cursor: Cursor, *, by_uid: bool) -> Search:
    """C{search-return-opts} and C{search-program}, to the end of a command."""
    returns = parse_returns(cursor)
    charset = None
    if cursor.take(b"CHARSET"):
        cursor.space()
        charset = cursor.astring().upper()
        cursor.space()
    search = parse_criteria(cursor, charset, returns, by_uid=by_uid)
    return search if charset is None else replace(search, contradicts_utf8=True)


class Returns(NamedTuple):
    """
    What is to be returned.

    @ivar options: None where there is no RETURN.
    @ivar partial: What C{PARTIAL} is about.
    @ivar update_items: What C{UPDATE} has.
    """

    options: frozenset[Return] | None = None
    partial: Partial | None = None
    update_items: tuple[FetchItem, ...] = ()


def parse_returns(cursor: Cursor) -> Returns:
    """C{search-return-opts} with the space behind them, where there are any."""
    if not cursor.take(b"RETURN"):
        return Returns()
    cursor.space()
    given = cursor.paren_list(_parse_return, most=10)
    cursor.space()
    partials = [more for _, more in given if isinstance(more, Partial)]
    items = [more for _, more in given if isinstance(more, tuple)]
    returns = frozenset(item for item, _ in given) or frozenset((Return.ALL,))
    # RFC 9394 section 3.1
    if len(partials) > 1 or (partials and Return.ALL in returns):
        raise BadSyntax(b"Invalid Search return options")
    return Returns(returns, partials[0] if partials else None, items[0] if items else ())


def parse_criteria(cursor: Cursor, charset: bytes | None, returns: Returns, *, by_uid: bool) -> Search:
    """
    The search keys to the end of a command.

    @param charset: In upper case; None if the client announced none.
    """
    is_other = charset not in (None, b"UTF-8")
    if charset is not None and charset not in CHARSETS:
        return Search(by_uid, None, returns.options, partial=returns.partial, contradicts_utf8=is_other)
    parser = SearchKeyParser(cursor, charset)
    try:
        keys = parser.keys()
    except _NotOfCharset:
        return Search(by_uid, None, returns.options, partial=returns.partial, contradicts_utf8=is_other)
    cursor.end()
    return Search(by_uid, keys, returns.options, parser.uses_modseq, returns.partial, is_other, returns.update_items)


_parse_by_number = partial(_parse, by_uid=False)
_parse_by_uid = partial(_parse, by_uid=True)


def _parse_return(cursor: Cursor) -> tuple[Return, Partial | tuple[FetchItem, ...] | None]:
    try:
        item = Return(cursor.name())
    except ValueError:
        raise BadSyntax(b"Invalid Search return option") from None
    if item is Return.UPDATE and cursor.take(b" ("):
        # FETCH itself has parts of SEARCH.
        from pycyrus.imap.wire.fetch import parse_items

        return item, parse_items(cursor)
    if item is not Return.PARTIAL:
        return item, None
    cursor.space()
    return item, parse_partial(cursor)


class _NotOfCharset(Exception):
    """A string is not of the charset announced."""


class SearchKeyParser:
    """
    Reads C{search-key}s; SORT and THREAD have them, too.

    @ivar uses_modseq: Whether C{MODSEQ} was among them.
    """

    def __init__(self, cursor: Cursor, charset: bytes | None) -> None:
        """
        Read from C{cursor}.

        @param charset: One of L{CHARSETS}; None if the client announced none.
        """
        self._cursor = cursor
        # UTF-8 is what RFC 9051 makes of no charset, and what clients send
        # that forget to tell.
        self._codec = CHARSETS[charset] if charset is not None else "utf-8"
        self._count = 0
        self.uses_modseq = False

    def keys(self) -> SearchKey:
        """One or more keys, parted by spaces, up to the end or a closing parenthesis."""
        cursor = self._cursor
        keys = [self.key()]
        while cursor.peek() == 0x20:
            cursor.space()
            keys.append(self.key())
        return keys[0] if len(keys) == 1 else And(tuple(keys))

    def key(self) -> SearchKey:
        """
        One key.

        Clients write long lists as C{OR a OR b OR c ...}: these cost no depth,
        and become a tree as flat as can be.
        """
        cursor = self._cursor
        alternatives: list[SearchKey] = []
        while cursor.take(b"OR"):
            self._counted()
            cursor.space()
            cursor.enter()
            alternatives.append(self.key())
            cursor.leave()
            cursor.space()
        alternatives.append(self._single())
        return _balanced(alternatives)

    def _counted(self) -> None:
        self._count += 1
        if self._count > MAX_KEYS:
            raise BadSyntax(b"Too many search keys")

    def _single(self) -> SearchKey:
        self._counted()
        cursor = self._cursor
        following = cursor.peek()
        if following == 0x28:
            cursor.expect(b"(")
            cursor.enter()
            keys = self.keys()
            cursor.leave()
            cursor.expect(b")")
            return keys
        if following == 0x2A or 0x30 <= following <= 0x39:
            return MessageNumbers(cursor.sequence_set())
        if cursor.take(b"$"):
            return SavedResult()
        name = cursor.name()
        simple = SIMPLE_KEYS.get(name)
        if simple is not None:
            return simple
        parse = ARGUMENT_KEYS.get(name)
        if parse is None:
            raise BadSyntax(b"Invalid Search criteria")
        cursor.space()
        return parse(self)

    # --- arguments ---

    def text(self) -> str:
        """C{astring} in the charset of the command."""
        try:
            return self._cursor.astring().decode(self._codec)
        except UnicodeDecodeError:
            raise _NotOfCharset from None

    def field_name(self) -> bytes:
        """C{header-fld-name}"""
        name = self._cursor.astring()
        if len(name) > MAX_FIELD_NAME or not name.isascii():
            raise BadSyntax(b"Invalid header field name")
        return name

    def keyword(self) -> bytes:
        """C{flag-keyword}"""
        return self._cursor.atom()

    def day(self) -> int:
        """C{date}, in days since the epoch."""
        return self._cursor.date().toordinal() - _EPOCH_DAY

    def number(self) -> int:
        """C{number64}"""
        return self._cursor.number64()

    def interval(self) -> int:
        """Seconds, for OLDER and YOUNGER (RFC 5032)."""
        return self._cursor.nz_number()

    def negation(self) -> SearchKey:
        """What follows C{NOT}."""
        self._cursor.enter()
        key = self.key()
        self._cursor.leave()
        return Not(key)

    def uid_set(self) -> SearchKey:
        """What follows C{UID}."""
        uids = self._cursor.sequence_set_or_saved()
        return SavedResult() if uids is None else UidSet(uids)

    def header(self) -> SearchKey:
        """What follows C{HEADER}."""
        name = self.field_name()
        self._cursor.space()
        text = self.text()
        field = _CACHED_FIELDS.get(name.upper())
        # The empty string asks whether there is such a field at all.
        return HeaderContains(field, text) if field is not None and text else AnyHeaderContains(name, text)

    def annotation(self) -> SearchKey:
        """What follows C{ANNOTATION} (RFC 5257 section 4.7)."""
        cursor = self._cursor
        entry = parse_pattern(cursor)
        cursor.space()
        scopes = parse_searched(cursor)
        cursor.space()
        value = parse_nil_or_text(cursor)
        try:
            return AnnotationContains(entry, scopes, None if value is None else value.decode(self._codec))
        except UnicodeDecodeError:
            raise _NotOfCharset from None

    def emailid(self) -> SearchKey:
        """What follows C{EMAILID} (RFC 8474 section 6)."""
        text = self._object_id()
        return HasGuid(bytes.fromhex(text[1:])) if _EMAILID.fullmatch(text) else Not(All())

    def threadid(self) -> SearchKey:
        """What follows C{THREADID}: threads have no ids here, so nothing has this one."""
        self._object_id()
        return Not(All())

    def _object_id(self) -> str:
        name = self._cursor.astring()
        if not _OBJECT_ID.fullmatch(name):
            raise BadSyntax(b"Invalid object id")
        return name.decode("ascii")

    def fuzzy(self) -> SearchKey:
        """What follows C{FUZZY}: the exact matches, which RFC 6203 section 3 leaves to the server."""
        self._cursor.enter()
        key = self._single()
        self._cursor.leave()
        return key

    def modseq(self) -> SearchKey:
        """What follows C{MODSEQ}: per-flag mod-sequences are not kept, so an entry is disregarded."""
        cursor = self._cursor
        if cursor.peek() == 0x22:
            entry = cursor.string()
            if not entry.lower().startswith(b"/flags/"):
                raise BadSyntax(b"Invalid entry name")
            cursor.space()
            if cursor.name() not in (b"ALL", b"PRIV", b"SHARED"):
                raise BadSyntax(b"Invalid entry type")
            cursor.space()
        self.uses_modseq = True
        return ModifiedSince(cursor.number64())


def _balanced(alternatives: Sequence[SearchKey]) -> SearchKey:
    if len(alternatives) == 1:
        return alternatives[0]
    middle = len(alternatives) // 2
    return Or(_balanced(alternatives[:middle]), _balanced(alternatives[middle:]))


_CACHED_FIELDS = {field.value.upper().encode(): field for field in AddressField}

_FLAG_KEYS = (
    (b"ANSWERED", ANSWERED),
    (b"DELETED", DELETED),
    (b"DRAFT", DRAFT),
    (b"FLAGGED", FLAGGED),
    (b"SEEN", SEEN),
)

SIMPLE_KEYS: dict[bytes, SearchKey] = {
    b"ALL": All(),
    # RFC 8514 section 4.3: all mailboxes keep it.
    b"SAVEDATESUPPORTED": All(),
    b"RECENT": Recent(),
    b"OLD": Not(Recent()),
    b"NEW": And((Recent(), Not(HasFlag(SEEN)))),
    **{name: HasFlag(bit) for name, bit in _FLAG_KEYS},
    **{b"UN" + name: Not(HasFlag(bit)) for name, bit in _FLAG_KEYS},
}
"""Keys without an argument."""


def _contains(field: AddressField) -> Callable[[SearchKeyParser], SearchKey]:
    def parse(parser: SearchKeyParser) -> SearchKey:
        text = parser.text()
        return HeaderContains(field, text) if text else AnyHeaderContains(field.value.encode(), text)

    return parse


def _date_keys(prefix: bytes, field: DateField) -> dict[bytes, Callable[[SearchKeyParser], SearchKey]]:
    def on(parser: SearchKeyParser) -> SearchKey:
        day = parser.day()
        return DateRange(field, day, day)

    return {
        prefix + b"BEFORE": lambda parser: DateRange(field, None, parser.day() - 1),
        prefix + b"ON": on,
        prefix + b"SINCE": lambda parser: DateRange(field, parser.day(), None),
    }


ARGUMENT_KEYS: dict[bytes, Callable[[SearchKeyParser], SearchKey]] = {
    **{field.value.upper().encode(): _contains(field) for field in AddressField},
    **_date_keys(b"", DateField.INTERNAL),
    **_date_keys(b"SENT", DateField.SENT),
    **_date_keys(b"SAVED", DateField.SAVED),
    b"ANNOTATION": SearchKeyParser.annotation,
    b"EMAILID": SearchKeyParser.emailid,
    b"THREADID": SearchKeyParser.threadid,
    b"FUZZY": SearchKeyParser.fuzzy,
    b"BODY": lambda parser: BodyContains(parser.text()),
    b"TEXT": lambda parser: TextContains(parser.text()),
    b"HEADER": SearchKeyParser.header,
    b"KEYWORD": lambda parser: HasKeyword(parser.keyword()),
    b"UNKEYWORD": lambda parser: Not(HasKeyword(parser.keyword())),
    b"LARGER": lambda parser: SizeRange(above=parser.number()),
    b"SMALLER": lambda parser: SizeRange(below=parser.number()),
    b"NOT": SearchKeyParser.negation,
    b"UID": SearchKeyParser.uid_set,
    b"MODSEQ": SearchKeyParser.modseq,
    b"OLDER": lambda parser: Within(parser.interval(), younger=False),
    b"YOUNGER": lambda parser: Within(parser.interval(), younger=True),
}
"""Keys with an argument, which follows a space."""
