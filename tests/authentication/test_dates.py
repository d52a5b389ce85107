"""
Dates at both ends of the calendar and beyond them, wherever a request has one: S3's own errors, and never a 500.
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.resign.presign import presign
from s3proxy.s3.date import is_day, later, parse_basic_iso, parse_date
from s3proxy.s3.errors import format_iso8601
from s3proxy.s3.exemption import Exemption
from tests.support.forms import BUCKET, form_request, multipart
from tests.support.harness import NOW, SERVER, data_set_credentials
from tests.support.memory import MemoryProxy, Verdict
from tests.support.signer import EMPTY
from tests.support.wire_cases import element

KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
FIRST = datetime(1, 1, 1, tzinfo=UTC)
TODAY = NOW.strftime("%Y%m%d")

# One proxy for all examples: a refused request leaves nothing in it.
PROXY = MemoryProxy()

DATES = (
    "99991231T235959Z",
    "00010101T000000Z",
    "00000101T000000Z",
    "20260230T000000Z",
    "20260301T240000Z",
    "20260301T235960Z",
    "20260301T120000+0000",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Mon, 01 Jan 0001 00:00:00 GMT",
    "Mon, 01 Jan 0000 00:00:00 GMT",
    "Sun, 31 Feb 2026 12:00:00 GMT",
    "Friday, 31-Dec-99 23:59:59 GMT",
    "Friday, 31-Dec-69 23:59:59 GMT",
    "Friday, 29-Feb-00 23:59:59 GMT",
    "Fri Dec 31 23:59:59 9999",
    "Mon Jan  1 00:00:00 0001",
    "Mon Jan  0 00:00:00 0001",
    "9999-12-31T23:59:59Z",
    "9" * 5000,
    "-1",
    "",
    "\u0662\u0660\u0662\u0666",
)
"""
The ends of the calendar, days that do not exist, and digits of another alphabet.
"""

NUMBERS = (
    "0",
    "-0",
    "-1",
    "253402300799",
    "253402300800",
    "99999999999",
    "9" * 12,
    "9" * 19,
    "9" * 5000,
    "+1",
    "1e9",
    "\u0661",
    "",
    " 1",
)
"""
Seconds: up to the last one of the year 9999, the next one, and what is not a number.
"""


def sent(text: str) -> Verdict:
    """
    Send a request; check that the response is not a 500.
    """
    verdict = PROXY.send(text.encode())
    assert len(verdict.statuses) == 1
    assert verdict.statuses[0] in {200, 204, 400, 403}
    return verdict


def v4_header(name: str, date: str) -> str:
    return (
        f"GET /{BUCKET}/k HTTP/1.1\r\nHost: s3.example.test\r\n{name}: {date}\r\nx-amz-content-sha256: {EMPTY}\r\n"
        f"Authorization: AWS4-HMAC-SHA256 Credential={KEY}/{TODAY}/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;{name}, Signature={'0' * 64}\r\n\r\n"
    )


def v4_query(date: str, expires: str, algorithm: str = "AWS4-HMAC-SHA256") -> str:
    region = "us-east-1/" if "HMAC" in algorithm else ""
    credential = f"{KEY}/{date[:8]}/{region}s3/aws4_request"
    query = {
        "X-Amz-Algorithm": algorithm,
        "X-Amz-Credential": credential,
        "X-Amz-Date": date,
        "X-Amz-Expires": expires,
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Region-Set": "*",
        "X-Amz-Signature": "00",
    }
    items = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
    return f"GET /{BUCKET}/k?{items} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n"


def v2_header(name: str, date: str) -> str:
    return f"GET /{BUCKET}/k HTTP/1.1\r\nHost: s3.example.test\r\n{name}: {date}\r\nAuthorization: AWS {KEY}:x\r\n\r\n"


def v2_query(expires: str) -> str:
    target = f"/{BUCKET}/k?AWSAccessKeyId={KEY}&Expires={quote(expires, safe='')}&Signature=x"
    return f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n"


def form(date: str, expiration: str) -> str:
    """
    Return a form with a correct Signature V4, whatever its dates are.
    """
    day = date[:8]
    names = ("key", "bucket", "x-amz-algorithm", "x-amz-credential", "x-amz-date")
    conditions = ", ".join(f'["starts-with", "${name}", ""]' for name in names)
    document = f'{{"expiration": {expiration}, "conditions": [{conditions}]}}'
    text = base64.b64encode(document.encode()).decode()
    key = ("AWS4" + SECRET).encode()
    for part in (day, "us-east-1", "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    fields = {
        "key": "k",
        "policy": text,
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{KEY}/{day}/us-east-1/s3/aws4_request",
        "x-amz-date": date,
        "x-amz-signature": key.hex(),
    }
    request = form_request(multipart(fields.items(), b"hello"))
    return (request.head + request.body).decode()


CARRIERS: dict[str, Any] = {
    "V4 x-amz-date": lambda date: v4_header("x-amz-date", date),
    "V4 date": lambda date: v4_header("date", date),
    "V4 query": lambda date: v4_query(date, "600"),
    "V4A query": lambda date: v4_query(date, "604800", "AWS4-ECDSA-P256-SHA256"),
    "V2 x-amz-date": lambda date: v2_header("x-amz-date", date),
    "V2 date": lambda date: v2_header("date", date),
    "V2 expires": v2_query,
    "V4 expires": lambda number: v4_query(f"{TODAY}T120000Z", number),
    "form date": lambda date: form(date, '"2030-01-01T00:00:00Z"'),
    "policy": lambda date: form(f"{TODAY}T120000Z", f'"{date}"'),
    "policy, a number": lambda date: form(f"{TODAY}T120000Z", f"{date}"),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("date", [*DATES, *NUMBERS])
def test_every_date_has_a_response(carrier: str, date: str) -> None:
    """
    With each carrier, whatever the date is.
    """
    sent(CARRIERS[carrier](date))


@pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"])
@pytest.mark.parametrize("expires", ["0", "1", "600", "604800"])
def test_a_presigned_request_of_the_last_second(algorithm: str, expires: str) -> None:
    """
    It is not yet valid, and it ends with the calendar.
    """
    verdict = sent(v4_query("99991231T235959Z", expires, algorithm))

    assert (verdict.statuses, verdict.codes) == ((403,), ("AccessDenied",))
    document = verdict.responses.partition(b"\r\n\r\n")[2]
    assert element(document, "Message") == "Request is not yet valid"
    assert element(document, "Expires") == "9999-12-31T23:59:59Z"
    assert element(document, "X-Amz-Date") == "99991231T235959Z"


def test_a_presigned_request_of_the_first_second() -> None:
    """
    It has expired, and its year is written with all four digits.
    """
    verdict = sent(v4_query("00010101T000000Z", "600"))

    document = verdict.responses.partition(b"\r\n\r\n")[2]
    assert element(document, "Message") == "Request has expired"
    assert element(document, "Expires") == "0001-01-01T00:10:00Z"


@pytest.mark.parametrize("signature", ["v4", "v4a"])
def test_a_key_without_a_clock_may_sign_for_the_last_second(signature: str) -> None:
    """
    A key that is exempt from the clock is judged by its signature only.
    """
    credentials = data_set_credentials()
    credentials[KEY.encode()] = replace(credentials[KEY.encode()], exemptions=frozenset({Exemption.CLOCK_SKEW}))
    url = presign(f"http://s3.example.test/{BUCKET}/k", credentials[KEY.encode()], LAST, signature=signature)
    target = url.removeprefix("http://s3.example.test")

    proxy = MemoryProxy(credentials=credentials)
    assert proxy.send(f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n".encode()).statuses == (200,)


@pytest.mark.parametrize(
    ("expiration", "status"),
    [("9999-12-31T23:59:59Z", 204), ("9999-12-31T23:59:59.999999999Z", 204), ("0001-01-01T00:00:00Z", 403)],
)
def test_the_ends_of_a_policy(expiration: str, status: int) -> None:
    """
    A policy may be valid until the end of the calendar.
    """
    verdict = PROXY.send(form(f"{TODAY}T120000Z", f'"{expiration}"').encode())

    assert verdict.statuses == (status,)


@pytest.mark.parametrize("expires", ["253402300799", "253402300800", "9" * 5000])
def test_a_url_of_v2_may_live_for_ever(expires: str) -> None:
    """
    S3 has no upper limit there: the signature decides.
    """
    text = f"GET\n\n\n{expires}\n/{BUCKET}/k"
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    request = v2_query(expires).replace("Signature=x", f"Signature={quote(signature, safe='')}")

    assert PROXY.send(request.encode()).statuses == (200,)


_NUMBER = st.integers(0, 99).map(lambda number: f"{number:02d}")
_YEAR = st.one_of(
    st.integers(0, 9999).map(lambda number: f"{number:04d}"), st.sampled_from(["0000", "0001", "1969", "9999"])
)
_MONTH = st.sampled_from(["Jan", "feb", "DEC", "Xyz", ""])
_ANY_DATE = st.one_of(
    st.builds("{}{}{}T{}{}{}Z".format, _YEAR, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    st.builds("Sun, {} {} {} {}:{}:{} GMT".format, _NUMBER, _MONTH, _YEAR, _NUMBER, _NUMBER, _NUMBER),
    st.builds("Sunday, {}-{}-{} {}:{}:{} GMT".format, _NUMBER, _MONTH, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    st.builds("Sun {} {} {}:{}:{} {}".format, _MONTH, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _YEAR),
    st.builds("{}-{}-{}T{}:{}:{}Z".format, _YEAR, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER),
    st.integers(-(10**20), 10**20).map(str),
    st.text("0123456789TZ:-+., GMTJan", max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(carrier=st.sampled_from(list(CARRIERS)), date=_ANY_DATE)
def test_any_date_has_a_response(carrier: str, date: str) -> None:
    """
    Any text in the place of a date.
    """
    sent(CARRIERS[carrier](date))


@settings(max_examples=300, deadline=None)
@given(date=_ANY_DATE)
def test_any_date_is_read_or_is_none(date: str) -> None:
    """
    A date that can be read is a moment of the calendar, and can be compared and written.
    """
    text = date.encode()
    is_day.__wrapped__(text[:8])
    for moment in (parse_date.__wrapped__(text), parse_basic_iso(text)):
        if moment is not None:
            assert abs(NOW - moment) < timedelta(days=4_000_000)
            assert len(format_iso8601(moment)) == 20


@pytest.mark.parametrize(
    ("moment", "seconds", "expected"),
    [
        (NOW, 600, NOW + timedelta(minutes=10)),
        (FIRST, 0, FIRST),
        (LAST, 0, LAST),
        (LAST, 1, LAST),
        (LAST - timedelta(seconds=5), 5, LAST),
        (LAST - timedelta(seconds=5), 604800, LAST),
    ],
)
def test_later(moment: datetime, seconds: int, expected: datetime) -> None:
    """
    The moment plus these seconds, or the last second of the calendar.
    """
    assert later(moment, seconds) == expected
