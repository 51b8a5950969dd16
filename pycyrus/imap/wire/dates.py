"""Dates in bulk: INTERNALDATE as FETCH prints it (RFC 9051 section 9, C{date-time})."""

from __future__ import annotations

import datetime as dt

import numpy as np
from numpy.typing import NDArray

from pycyrus.imap.wire.grammar import MONTHS

DATE_TIME = b'"%b %02d:%02d:%02d +0000"'
"""Takes what L{date_time_columns} gives."""

_DAY = 86_400
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()
_LAST_DAY = dt.date.max.toordinal() - _EPOCH_DAY
_FIRST_DAY = 1 - _EPOCH_DAY
_MAX_KNOWN_DAYS = 20_000


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


def date_time_columns(seconds: NDArray[np.int64]) -> tuple[list[bytes], list[int], list[int], list[int]]:
    """
    Take times apart, for L{DATE_TIME}.

    @param seconds: Since the epoch.
    @return: Days as text, hours, minutes and seconds, of UTC.
    """
    days, rest = np.divmod(seconds, _DAY)
    hours, rest = np.divmod(rest, 3600)
    minutes, rest = np.divmod(rest, 60)
    return [_day_texts[day] for day in days.tolist()], hours.tolist(), minutes.tolist(), rest.tolist()


def encode_date_time(seconds: int) -> bytes:
    """Write one C{date-time}."""
    columns = date_time_columns(np.array([seconds], dtype=np.int64))
    return DATE_TIME % tuple(column[0] for column in columns)
