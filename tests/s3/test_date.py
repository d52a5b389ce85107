"""
The forms of a date: an invalid day is refused in each of them.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s3proxy.s3.date import format_basic_iso, format_rfc1123, is_day, later, parse_basic_iso, parse_date

MOMENT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (b"20260301", True),
        (b"20240229", True),
        (b"20260229", False),
        (b"20261301", False),
        (b"20260001", False),
        (b"20260332", False),
        (b"00000101", False),
        (b"2026031", False),
        (b"202603010", False),
        (b"2026-3-1", False),
        (b"2026030\xb2", False),
        (b"", False),
    ],
)
def test_what_is_a_day(text: bytes, is_one: bool) -> None:
    """
    Eight digits, and a day of the calendar.
    """
    assert is_day(text) is is_one


@pytest.mark.parametrize(
    "text",
    [
        b"20260301T120000Z",
        b"Sun, 01 Mar 2026 12:00:00 GMT",
        b"Sun, 1 Mar 2026 12:00:00 +0000",
        b"Sun, 1 Mar 2026 12:00:00 -0000",
        b"Sun, 01 Mar 2026 20:00:00 +0800",
        b"Sun, 1 Mar 2026 05:00:00 -0700",
        b"1 Mar 2026 17:30:00 +0530",
        b"Sun, 01 Mar 2026 08:30:00 -0330",
        b"Mon, 02 Mar 2026 02:00:00 +1400",
        b"Sat, 28 Feb 2026 23:59:00 -1201",
        b"Mon, 02 Mar 2026 11:59:00 +2359",
        b"01 mar 2026 12:00:00 UTC",
        b"Sunday, 01-Mar-26 12:00:00 GMT",
        b"Sun Mar  1 12:00:00 2026",
    ],
)
def test_spellings(text: bytes) -> None:
    """
    All of them mean the same time.
    """
    assert parse_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"20260301T120000",
        b"20260301T120000z",
        b"20260301T240000Z",
        b"20260301T126000Z",
        b"20260301T120060Z",
        b" 20260301T120000Z",
        b"20260301T120000Z ",
        b"20260301 120000Z",
        b"Sun, 01 Mar 2026 12:00:00",
        b"Sun, 01 Mar 2026 12:00:00 EST",
        b"Sun, 01 Mar 2026 12:00:00 +9900",
        b"Sun, 01 Mar 2026 12:00:00 +2400",
        b"Sun, 01 Mar 2026 12:00:00 +0860",
        b"Sun, 01 Mar 2026 12:00:00 +08",
        b"Sun, 01 Mar 2026 12:00:00 +08:00",
        b"Sun, 01 Mar 2026 12:00:00 0800",
        b"Sun, 01 Mar 2026 12:00:00 +0800 (CST)",
        b"Mon, 01 Jan 0001 00:00:00 +0800",
        b"Fri, 31 Dec 9999 23:59:59 -0800",
        b"Sun, 01 Foo 2026 12:00:00 GMT",
        b"Sunday, 01-Foo-26 12:00:00 GMT",
        b"Sun Foo  1 12:00:00 2026",
        b"Sun, 31 Feb 2026 12:00:00 GMT",
        b"Sun, 01 Mar 0000 12:00:00 GMT",
        b"2026-03-01T12:00:00Z",
        b"1772366400",
        b"tomorrow",
    ],
)
def test_what_is_no_date(text: bytes) -> None:
    """
    It is refused, never read as another time.
    """
    assert parse_date(text) is None


@pytest.mark.parametrize(("year", "full"), [(b"69", 2069), (b"70", 1970), (b"99", 1999), (b"00", 2000)])
def test_years_of_two_digits(year: bytes, full: int) -> None:
    """
    As RFC 9110 defines them.
    """
    moment = parse_date(b"Sunday, 01-Mar-%s 12:00:00 GMT" % year)

    assert moment is not None
    assert moment.year == full


def test_what_is_written() -> None:
    """
    It can be read again.
    """
    assert parse_basic_iso(format_basic_iso(MOMENT)) == MOMENT
    assert format_rfc1123(MOMENT) == b"Sun, 01 Mar 2026 12:00:00 GMT"
    assert parse_date(format_rfc1123(MOMENT)) == MOMENT


def test_the_calendar_has_an_end() -> None:
    """
    A later time becomes its last second.
    """
    assert later(MOMENT, 60) == datetime(2026, 3, 1, 12, 1, 0, tzinfo=UTC)
    assert later(datetime(9999, 12, 31, 23, 59, 58, tzinfo=UTC), 2) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
