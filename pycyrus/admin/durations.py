"""Spans and points of time as commands take them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})([smhdw]?)", re.ASCII | re.IGNORECASE)


def read_duration(text: str, unit: str = "d") -> float:
    """
    Read a span of time such as C{7}, C{1.5d} or C{90m}.

    @param unit: That of a bare number.
    @return: Seconds.
    @raise ValueError: It is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("a time such as 7d, 1.5h, 30m, 90s")
    return float(match[1]) * _SECONDS[match[2].lower() or unit]


def read_time(text: str, now: float) -> float:
    """
    Read a point of time: ISO 8601, a time of day, C{@SECONDS}, or a span of time ago such as C{2h}.

    Without an offset it is local time.

    @return: Seconds since the epoch.
    @raise ValueError: It is none.
    """
    if text.startswith("@"):
        return float(text[1:])
    if _DURATION.fullmatch(text) and not text[-1].isdigit():
        return now - read_duration(text)
    present = datetime.fromtimestamp(now).astimezone()
    if re.fullmatch(r"\d{1,2}:\d\d(:\d\d)?", text, re.ASCII):
        text = text.rjust(len(text) + (text.index(":") == 1), "0")
        moment = datetime.fromisoformat(f"{present:%Y-%m-%d}T{text}")
        # At nine in the morning, ten in the evening is yesterday's.
        return (moment if moment.timestamp() <= now else moment - timedelta(days=1)).timestamp()
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError("a time such as 2026-11-20T14:30, 14:30, 2h (ago) or @1795182600") from None


def time_text(seconds: float) -> str:
    """Write a point of time in local time."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S %z}"
