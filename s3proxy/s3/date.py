"""
Reads and writes the date of a request, in every form that S3 accepts.

Source:
    "Signature Calculations for the Authorization Header".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_DAY = re.compile(rb"[0-9]{8}")
_BASIC_ISO = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")

_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
_TIME = rb"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_RFC_1123 = re.compile(
    rb"(?:[A-Za-z]{3}, *)?([0-9]{1,2}) ([A-Za-z]{3}) ([0-9]{4}) "
    + _TIME
    + rb" (?:GMT|UTC|Z|([+-])([0-9]{2})([0-9]{2}))"
)
_RFC_850 = re.compile(rb"[A-Za-z]{6,9}, ([0-9]{2})-([A-Za-z]{3})-([0-9]{2}) " + _TIME + rb" GMT")
_ASCTIME = re.compile(rb"[A-Za-z]{3} ([A-Za-z]{3}) +([0-9]{1,2}) " + _TIME + rb" ([0-9]{4})")


# Most requests in one second have the same date.
@lru_cache(maxsize=16)
def is_day(text: bytes) -> bool:
    """
    Return True if a text is a day of the calendar, written ``yyyyMMdd``.
    """
    if _DAY.fullmatch(text) is None:
        return False
    return _moment(int(text[:4]), int(text[4:6]), int(text[6:]), 0, 0, 0) is not None


def parse_basic_iso(text: bytes) -> datetime | None:
    """
    Return the moment of a text such as ``20260301T120000Z``; None for any other text.
    """
    found = _BASIC_ISO.fullmatch(text)
    return _moment(*map(int, found.groups())) if found is not None else None


def later(moment: datetime, seconds: int) -> datetime:
    """
    Return the moment that many seconds later, or the last second of the year 9999 if the calendar has none that late.
    """
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return _LAST


# All requests of one second have the same moment, as far as a signature says it.
@lru_cache(maxsize=16)
def format_basic_iso(moment: datetime) -> bytes:
    """
    Return a moment in the form ``20260301T120000Z``.
    """
    return b"%04d%02d%02dT%02d%02d%02dZ" % (
        moment.year,
        moment.month,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
    )


@lru_cache(maxsize=16)
def parse_date(text: bytes) -> datetime | None:
    """
    Return the moment of a date in any form that S3 accepts: basic ISO, RFC 1123, RFC 850, asctime; None if it has none.

    An RFC 1123 date may have a zone offset, as in e-mail. Old SDKs write local time in this way.
    """
    moment = parse_basic_iso(text)
    if moment is not None:
        return moment
    found = _RFC_1123.fullmatch(text)
    if found is not None:
        day, month, year, hour, minute, second, sign, *offset = found.groups()
        moment = _moment(int(year), _MONTHS.get(month.lower(), 0), int(day), int(hour), int(minute), int(second))
        return moment if sign is None or moment is None else _in_utc(moment, sign, *map(int, offset))
    found = _RFC_850.fullmatch(text)
    if found is not None:
        day, month, year, hour, minute, second = found.groups()
        # Two digits: 70 to 99 are 1970 to 1999, 00 to 69 are 2000 to 2069 ("HTTP-date", RFC 9110, section 5.6.7).
        full_year = int(year) + (1900 if int(year) >= 70 else 2000)
        return _moment(full_year, _MONTHS.get(month.lower(), 0), int(day), int(hour), int(minute), int(second))
    found = _ASCTIME.fullmatch(text)
    if found is not None:
        month, day, hour, minute, second, year = found.groups()
        return _moment(int(year), _MONTHS.get(month.lower(), 0), int(day), int(hour), int(minute), int(second))
    return None


def format_rfc1123(moment: datetime) -> bytes:
    """
    Return a moment in the form ``Sun, 01 Mar 2026 12:00:00 GMT``, in any locale.
    """
    return b"%s, %02d %s %04d %02d:%02d:%02d GMT" % (
        _WEEKDAYS[moment.weekday()],
        moment.day,
        _MONTH_NAMES[moment.month - 1],
        moment.year,
        moment.hour,
        moment.minute,
        moment.second,
    )


_WEEKDAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTH_NAMES = tuple(month.capitalize() for month in _MONTHS)


def _in_utc(local: datetime, sign: bytes, hours: int, minutes: int) -> datetime | None:
    if hours > 23 or minutes > 59:
        return None
    offset = timedelta(hours=hours, minutes=minutes)
    try:
        return local - offset if sign == b"+" else local + offset
    except OverflowError:
        return None


def _moment(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
