"""Dates in bulk: INTERNALDATE as FETCH prints it (RFC 9051 section 9, C{date-time})."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.wire.grammar import MONTHS

_DAY = 86_400
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_DAY = dt.date.max.toordinal() - _EPOCH_DAY
_FIRST_DAY = 1 - _EPOCH_DAY
_MAX_KNOWN_DAYS = 20_000

_WIDTH = len(b'"dd-Mmm-yyyy hh:mm:ss +0000"')
_DAY_WIDTH = len(b"dd-Mmm-yyyy")
_FEW = 100
"""Times that are rather looked up one by one: what a client shows in its window, again and again."""
_TEMPLATE = np.frombuffer(b'"dd-Mmm-yyyy hh:mm:ss +0000"', dtype=np.uint8)
_TWO_DIGITS = np.frombuffer(b"".join(b"%02d" % number for number in range(60)), dtype=np.uint8).reshape(60, 2)


class _DayTexts(dict[int, bytes]):
    """Days since the epoch, as C{dd-Mmm-yyyy}."""

    def __missing__(self, day: int) -> bytes:
        if len(self) > _MAX_KNOWN_DAYS:
            self.clear()
        # A clock gone mad must not make a message unreadable.
        date = dt.date.fromordinal(min(max(day, _FIRST_DAY), _LAST_DAY) + _EPOCH_DAY)
        text = self[day] = b"%2d-%b-%04d" % (date.day, MONTHS[date.month - 1], date.year)
        return text


_day_texts = _DayTexts()


@lru_cache(maxsize=8192)
def _date_time(seconds: int) -> bytes:
    day, rest = divmod(seconds, _DAY)
    minutes, second = divmod(rest, 60)
    return b'"%b %02d:%02d:%02d +0000"' % (_day_texts[day], *divmod(minutes, 60), second)


def encode_date_times(seconds: NDArray[np.int64]) -> list[bytes]:
    """
    Write times as C{date-time}, of UTC.

    @param seconds: Since the epoch.
    """
    if len(seconds) <= _FEW:
        return list(map(_date_time, seconds.tolist()))
    days, rest = np.divmod(seconds, _DAY)
    hours, rest = np.divmod(rest, 3600)
    minutes, rest = np.divmod(rest, 60)
    count = len(seconds)
    texts = np.empty((count, _WIDTH), dtype=np.uint8)
    texts[:] = _TEMPLATE
    day_texts = b"".join([_day_texts[day] for day in days.tolist()])
    texts[:, 1 : 1 + _DAY_WIDTH] = np.frombuffer(day_texts, dtype=np.uint8).reshape(count, _DAY_WIDTH)
    for place, numbers in ((13, hours), (16, minutes), (19, rest)):
        texts[:, place : place + 2] = _TWO_DIGITS[numbers]
    written: list[bytes] = texts.view(f"S{_WIDTH}").ravel().tolist()
    return written
