"""SORT and THREAD: from their arguments to values, and their responses (RFC 5256)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from pycyrus.imap.wire.annotations import parse_entry, parse_sorted
from pycyrus.imap.wire.grammar import BadSyntax, Cursor
from pycyrus.imap.wire.remembered import read_rest
from pycyrus.imap.wire.search import Returns, Search, parse_criteria, parse_returns
from pycyrus.model.sorting import SortCriterion, SortKey, ThreadAlgorithm

MAX_CRITERIA = 32
_KEYS = {key.value: key for key in SortKey}


@dataclass(frozen=True, slots=True)
class Sort:
    """
    A SORT or UID SORT.

    @ivar search: Which messages.
    """

    criteria: tuple[SortCriterion, ...]
    search: Search


@dataclass(frozen=True, slots=True)
class Thread:
    """A THREAD or UID THREAD."""

    algorithm: ThreadAlgorithm
    search: Search


def _parse_sort(cursor: Cursor, *, by_uid: bool) -> Sort:
    cursor.space()
    returns = parse_returns(cursor)
    criteria = tuple(cursor.paren_list(_parse_criterion, least=1, most=MAX_CRITERIA))
    cursor.space()
    charset = cursor.astring().upper()
    cursor.space()
    return Sort(criteria, parse_criteria(cursor, charset, returns, by_uid=by_uid))


def _parse_criterion(cursor: Cursor) -> SortCriterion:
    name = cursor.atom().upper()
    is_reverse = name == b"REVERSE"
    if is_reverse:
        cursor.space()
        name = cursor.atom().upper()
    key = _KEYS.get(name)
    if key is None:
        raise BadSyntax(b"Invalid Sort criterion")
    if key is not SortKey.ANNOTATION:
        return SortCriterion(key, is_reverse)
    cursor.space()
    entry = parse_entry(cursor)
    cursor.space()
    return SortCriterion(key, is_reverse, (parse_sorted(cursor), entry))


def _parse_thread(cursor: Cursor, *, by_uid: bool) -> Thread:
    cursor.space()
    try:
        algorithm = ThreadAlgorithm(cursor.atom().upper())
    except ValueError:
        raise BadSyntax(b"Thread algorithm not supported") from None
    cursor.space()
    charset = cursor.astring().upper()
    cursor.space()
    return Thread(algorithm, parse_criteria(cursor, charset, Returns(), by_uid=by_uid))


_sort_by_number, _sort_by_uid = partial(_parse_sort, by_uid=False), partial(_parse_sort, by_uid=True)
_thread_by_number, _thread_by_uid = partial(_parse_thread, by_uid=False), partial(_parse_thread, by_uid=True)


def parse_sort(cursor: Cursor) -> Sort:
    """C{sort}, behind C{SORT}."""
    return read_rest(cursor, _sort_by_number)


def parse_uid_sort(cursor: Cursor) -> Sort:
    """C{sort}, behind C{UID SORT}."""
    return read_rest(cursor, _sort_by_uid)


def parse_thread(cursor: Cursor) -> Thread:
    """C{thread}, behind C{THREAD}."""
    return read_rest(cursor, _thread_by_number)


def parse_uid_thread(cursor: Cursor) -> Thread:
    """C{thread}, behind C{UID THREAD}."""
    return read_rest(cursor, _thread_by_uid)
