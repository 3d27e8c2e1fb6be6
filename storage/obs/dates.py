"""Dates as HTTP writes them: `Sun, 06 Nov 1994 08:49:37 GMT`. One in every request, two in every answer."""

from __future__ import annotations

import re
import time
from datetime import datetime, timezone
from typing import Optional, Tuple

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_USUAL = re.compile(
    f"(?:{'|'.join(_DAYS)}), ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}}) ([0-9]{{2}}):([0-9]{{2}}):([0-9]{{2}}) GMT"
)

_written: Tuple[int, str] = (-1, "")
_read: Tuple[str, float] = ("", 0.0)
"""The last one each: the next is most often the same. Replaced whole, so no lock is needed."""


def http_date(seconds: float) -> str:
    """Of POSIX seconds."""
    global _written
    moment = int(seconds)
    last, text = _written
    if moment != last:
        at = time.gmtime(moment)
        clock = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
        text = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year:04} {clock} GMT"
        _written = moment, text
    return text


def http_seconds(text: str) -> Optional[float]:
    """POSIX seconds; None if it is no date. The rarer forms are left to Python's reader of mail."""
    global _read
    known, seconds = _read
    if text == known and text:
        return seconds
    try:
        match = _USUAL.fullmatch(text)
        if match is None:
            from email.utils import parsedate_to_datetime

            return parsedate_to_datetime(text).timestamp()
        day, month, year, hour, minute, second = match.groups()
        moment = (int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second))
        seconds = datetime(*moment, tzinfo=timezone.utc).timestamp()
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    _read = text, seconds
    return seconds
