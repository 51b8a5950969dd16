"""The Date field: RFC 5322 section 3.3 with the obsolete forms of section 4.3, and what else is found in mail."""

from __future__ import annotations

import re
from typing import Final

from pycyrus.mime.content import without_comments

_DAY: Final = 86_400
_MONTHS: Final = {
    name: number for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}
_MONTH_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# RFC 5322 section 4.3; the military letters there mean nothing certain.
_ZONES: Final = {
    b"UT": 0, b"UTC": 0, b"GMT": 0, b"Z": 0,
    b"EST": -300, b"EDT": -240, b"CST": -360, b"CDT": -300, b"MST": -420, b"MDT": -360, b"PST": -480, b"PDT": -420,
    b"CET": 60, b"CEST": 120, b"MET": 60, b"MEST": 120, b"EET": 120, b"EEST": 180, b"WET": 0, b"WEST": 60,
    b"BST": 60, b"MSK": 180, b"JST": 540, b"KST": 540,
}  # fmt: skip

_TIME = rb"(\d{1,2})[:.](\d{1,2})(?:[:.](\d{1,2})(?:[.,]\d++)?)?"
_ZONE = rb"([+-]\d{4}|[+-]\d\d:\d\d|[A-Za-z]{1,5})"
_USUAL = re.compile(
    rb"\s*+(?:[A-Za-z]{2,10}\.?\s*+,?\s*+|,\s*+)?(\d{1,2})[\s-]*+([A-Za-z]{3})[A-Za-z]*+\.?[\s,-]*+(\d{2,4})"
    rb"(?![\d:.])(?:[\s,]*+" + _TIME + rb"\s*+" + _ZONE + rb"?)?"
)
_ASCTIME = re.compile(
    rb"\s*+[A-Za-z]{3,9},?\s++([A-Za-z]{3})[A-Za-z]*+\s++(\d{1,2})\s++"
    + _TIME
    + rb"(?:\s*+"
    + _ZONE
    # Not possessive: before Python 3.11.5 such a group of several parts took wrong turns.
    + rb")?\s++(\d{4})(?!\d)"
)
_ISO = re.compile(rb"\s*+(\d{4})-(\d\d)-(\d\d)(?:[Tt\s]\s*+" + _TIME + rb"\s*+" + _ZONE + rb"?)?")


def parse_date(value: bytes) -> tuple[int, int] | None:
    """
    Read a Date field.

    @param value: Unfolded.
    @return: Seconds since the epoch, and the day as written, in days since
        the epoch; None where it is no date.  A zone that makes no sense is
        taken for +0000, and a time for midnight.
    """
    value = value[:200]
    match = _USUAL.match(value)
    if match is None and b"(" in value:
        value = without_comments(value)
        match = _USUAL.match(value)
    if match is not None:
        day, month, year, hour, minute, second, zone = match.groups()
        return _moment(_full_year(year), _MONTHS.get(month.lower(), 0), int(day), (hour, minute, second), zone)
    match = _ASCTIME.match(value)
    if match is not None:
        month, day, hour, minute, second, zone, year = match.groups()
        return _moment(int(year), _MONTHS.get(month.lower(), 0), int(day), (hour, minute, second), zone)
    match = _ISO.match(value)
    if match is not None:
        year, month, day, hour, minute, second, zone = match.groups()
        return _moment(int(year), int(month), int(day), (hour, minute, second), zone)
    return None


def _full_year(digits: bytes) -> int:
    """RFC 5322 section 4.3: two digits, and the three that a year 2000 fault makes."""
    year = int(digits)
    if len(digits) == 2:
        return year + (2000 if year < 50 else 1900)
    return year + 1900 if len(digits) == 3 else year


def _moment(
    year: int, month: int, day: int, time: tuple[bytes | None, bytes | None, bytes | None], zone: bytes | None
) -> tuple[int, int] | None:
    if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month] or (month == 2 and day == 29 and not _is_leap(year)):
        return None
    hour, minute, second = (int(text or 0) for text in time)
    if hour > 24 or minute > 59 or second > 60:
        # RFC 5256 section 2.2
        hour = minute = second = 0
    days = days_of(year, month, day)
    return days * _DAY + hour * 3600 + (minute - zone_minutes(zone)) * 60 + second, days


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def days_of(year: int, month: int, day: int) -> int:
    """
    Days since 1 January 1970 in the Gregorian calendar, for any year.

    @param month: 1 to 12.
    """
    # Years that begin with March have their leap day last.
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719_469


def zone_minutes(zone: bytes | None) -> int:
    """Minutes east of Greenwich; 0 for what is unknown or no zone, such as +9999."""
    if not zone:
        return 0
    if zone[0] not in b"+-":
        return _ZONES.get(zone.upper(), 0)
    digits = zone[1:].replace(b":", b"")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return 0
    offset = hours * 60 + minutes
    return -offset if zone[0] == 0x2D else offset
