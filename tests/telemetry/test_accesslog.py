"""
The access log and the metrics contain text from others: it stays within its field, and contains no credential.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from s3proxy.profiles.known import PROFILES
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.telemetry.accesslog import AccessRecord, format_line
from s3proxy.telemetry.metrics import Metrics
from s3proxy.telemetry.requests import CODES, METRICS, RequestCounts

FIELDS = 29
SECRET = "c2VjcmV0LXRoYXQtbm9ib2R5LXJlYWRz"
RECEIVED_AT = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

HOSTILE = [
    b"\r\n",
    b"\n- b [01/Mar/2026:12:00:00 +0000] 192.0.2.7 -",
    b'"',
    b'" 200 - "',
    b"\\",
    b" ",
    b"a b",
    b"\t",
    b"\0",
    b"\x1b[31m",
    b"\x7f",
    b"\x80\xff",
    "\u2028\u0085".encode(),
    b"[]",
    b"-",
    b"%0A",
    b"x" * 65536,
    b"\n" * 65536,
]
CREDENTIALS = [
    f"X-Amz-Signature={SECRET}",
    f"a?b=c&x-amz-security-token={SECRET}&d",
    f"AWS4-HMAC-SHA256 Credential=a/b, Signature={SECRET}",
    f"?%53ignature={SECRET}",
    f"x%3FSignature%3D{SECRET}",
]
HEADERS = {"host": "Host", "referer": "Referer", "user agent": "User-Agent"}
ATTRIBUTES = {
    "access key id": "access_key_id",
    "error code": "error_code",
    "client host": "client_host",
    "request id": "request_id",
    "host id": "host_id",
    "backend": "backend",
    "backend request id": "backend_request_id",
    "cipher suite": "cipher_suite",
    "tls version": "tls_version",
    "signature version": "signature_version",
    "authentication type": "authentication_type",
}
TEXTS = frozenset(ATTRIBUTES.values()) - {"access_key_id", "backend_request_id"}
PLACES = ["target", "query", "method", "bucket", "key", "version id", *HEADERS, *ATTRIBUTES]


def record(place: str, value: bytes) -> AccessRecord:
    """
    Return the log record of a request, with a value in one place.
    """
    names = {name: value if place == name else b"x" for name in PLACES}
    target = b"/b/%s?a=%s&versionId=%s" % (names["target"], names["query"], names["version id"])
    headers = [(HEADERS[name].encode(), names[name]) for name in HEADERS]
    head = RequestHead(names["method"], target, b"HTTP/1.1", headers, index_headers(headers))
    made = AccessRecord(
        received_at=RECEIVED_AT,
        client_host="192.0.2.7",
        request_id="1",
        head=head,
        address=Address(names["bucket"], names["key"], b"", b""),
        status=200,
        object_size=1,
        turn_around_seconds=1.0,
    )
    changes: dict[str, Any] = {
        attribute: names[name].decode("utf-8", "surrogateescape") if attribute in TEXTS else names[name]
        for name, attribute in ATTRIBUTES.items()
    }
    return replace(made, **changes)


def fields(line: bytes) -> int:
    """
    Return the number of fields as a reader of S3's logs counts them: the third is in brackets, and others may be
    quoted.
    """
    owner, _, rest = line.split(b" ", 2)
    time, rest = rest.split(b"] ", 1)
    assert (owner, time) == (b"-", b"[01/Mar/2026:12:00:00 +0000")
    return 3 + len(re.findall(rb'("[^"]*"|[^" ]+)(?: |\n)', rest))


@pytest.mark.parametrize("place", PLACES)
def test_nobody_writes_another_field(place: str) -> None:
    """
    One line with all of its fields, and no byte that a terminal or a reader takes for anything but text.
    """
    for value in HOSTILE:
        line = format_line(record(place, value))

        assert line.endswith(b"\n")
        assert re.fullmatch(rb"[\x20-\x7e]+\n", line), value[:40]
        assert fields(line) == FIELDS, value[:40]
        assert line.count(b'"') == 6, value[:40]


@pytest.mark.parametrize("place", PLACES)
def test_no_field_tells_a_credential(place: str) -> None:
    """
    A reader of the log could send the request again: a signature or a token is masked wherever it is.
    """
    for text in CREDENTIALS:
        line = format_line(record(place, text.encode()))

        assert SECRET.encode() not in line, text


def test_an_ordinary_line() -> None:
    """
    Harmless text stays as it was sent.
    """
    made = replace(record("key", "a b/\u00e9%".encode()), error_code="NoSuchKey", host_id="h", backend="b")

    line = format_line(made)

    assert b" a%20b/%C3%A9%25 " in line
    assert b" 200 NoSuchKey " in line


def test_labels_are_from_a_closed_set() -> None:
    """
    A backend that invents error codes, or a client that invents methods, creates no new label.
    """
    counts = RequestCounts()
    metrics = Metrics()
    metrics.add(METRICS, lambda: [((), counts)])
    for number in range(1000):
        counts.count(b"M%d" % number, None, 404, f"Code{number}", seconds=0.0)
        counts.count(b"", None, 404, "x" * 65536 + str(number), seconds=0.0)
    counts.count(b"", None, 404, "NoSuchKey", seconds=0.0)

    families = text_string_to_metric_families(metrics.document().decode())
    found = {
        (sample.labels["method"], sample.labels["code"]): sample.value
        for family in families
        for sample in family.samples
        if sample.name == "s3proxy_requests_total"
    }

    assert found == {("other", "other"): 2000.0, ("other", "NoSuchKey"): 1.0}


def test_each_code_of_a_profile_leads_to_a_label() -> None:
    """
    The code that replaces a backend's own code has a label, and each label is short.
    """
    led = {code.decode() for profile in PROFILES.values() for pair in profile.error_codes.values() for code in pair}

    assert led - {""} <= CODES
    assert {"NoSuchKey", "NoSuchBucket", "SlowDown", "XAmzContentSHA256Mismatch"} <= CODES
    assert all(re.fullmatch(r"[A-Za-z0-9.]{1,64}", code) for code in CODES)
