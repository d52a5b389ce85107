"""
From a header or a query of Signature V2 to a claim: what is refused before a key is looked up.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from s3proxy.s3.address import Address
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.sigv2.authorization import read_form_claim, read_header_claim, read_query_claim
from tests.support.harness import NOW

ADDRESS = Address(b"b", b"k", b"b", b"k")
DATE = (b"Date", b"Sun, 01 Mar 2026 12:00:00 GMT")
PARAMETERS = {b"AWSAccessKeyId": b"K", b"Expires": b"1772366460", b"Signature": b"c2lnbmF0dXJl"}


def head_of(*headers: tuple[bytes, bytes], target: bytes = b"/b/k") -> RequestHead:
    """
    A head with these headers.
    """
    return RequestHead(b"GET", target, b"HTTP/1.1", list(headers), index_headers(headers))


def refusal_of_header(authorization: bytes = b"AWS K:c2ln", *headers: tuple[bytes, bytes]) -> str:
    """
    The error code of a header; empty if it makes a claim.
    """
    try:
        claim = read_header_claim(head_of(*(headers or (DATE,))), ADDRESS, authorization, NOW)
    except S3Error as error:
        return error.code
    return claim.waivable[0][1].code if claim.waivable else ""


def refusal_of_query(target: bytes = b"/b/k", *, passed: float = 0.0, **changes: bytes) -> str:
    """
    The same for a query.
    """
    parameters = {**PARAMETERS, **{name.encode(): value for name, value in changes.items()}}
    try:
        read_query_claim(head_of(target=target), ADDRESS, parameters, NOW + timedelta(seconds=passed))
    except S3Error as error:
        return error.code
    return ""


def test_what_is_right() -> None:
    """
    Both make a claim.
    """
    assert [refusal_of_header(), refusal_of_query()] == ["", ""]


@pytest.mark.parametrize("authorization", [b"AWS K:c2ln x", b"AWS  K:c2ln", b"AWS K", b"AWS "])
def test_what_is_no_key_and_signature(authorization: bytes) -> None:
    """
    There must be one space, one key and one signature.
    """
    assert refusal_of_header(authorization) == "InvalidArgument"


@pytest.mark.parametrize(
    ("date", "code"),
    [
        (b"Sun, 01 Mar 2026 11:45:00 GMT", ""),
        (b"Sun, 01 Mar 2026 11:44:59 GMT", "RequestTimeTooSkewed"),
        (b"Sun, 01 Mar 2026 12:15:01 GMT", "RequestTimeTooSkewed"),
        (b"yesterday", "AccessDenied"),
        (b"", "AccessDenied"),
    ],
)
def test_the_date_of_a_header_request(date: bytes, code: str) -> None:
    """
    There must be one date, and it must be close to ours.
    """
    assert refusal_of_header(b"AWS K:c2ln", (b"Date", date)) == code
    assert refusal_of_header(b"AWS K:c2ln", (b"x-amz-date", date)) == code


def test_a_header_request_without_a_date() -> None:
    """
    It would be valid forever.
    """
    assert refusal_of_header(b"AWS K:c2ln", (b"Host", b"s3.test")) == "AccessDenied"


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_each_parameter_is_needed(name: bytes) -> None:
    """
    A missing parameter is refused.
    """
    parameters = {key: value for key, value in PARAMETERS.items() if key != name}

    with pytest.raises(S3Error) as refusal:
        read_query_claim(head_of(), ADDRESS, parameters, NOW)
    assert refusal.value.code == "AccessDenied"


@pytest.mark.parametrize(
    ("expires", "passed", "code"),
    [
        (b"1772366460", 60, ""),
        (b"1772366460", 61, "AccessDenied"),
        (b"-1", 0, "AccessDenied"),
        (b"0", 0, "AccessDenied"),
        (b"tomorrow", 0, "AccessDenied"),
        (b"1772366460.5", 0, "AccessDenied"),
        (b"", 0, "AccessDenied"),
        (b"99999999999", 0, ""),
        (b"253402300799", 0, ""),
        (b"999999999999", 0, ""),
        (b"9" * 5000, 0, ""),
        (b"000000000001772366460", 60, ""),
        (b"000000000001772366460", 61, "AccessDenied"),
    ],
)
def test_when_a_url_is_good(expires: bytes, passed: float, code: str) -> None:
    """
    Until its second. A time beyond the calendar does not raise an exception of Python.
    """
    assert refusal_of_query(passed=passed, Expires=expires) == code


@pytest.mark.parametrize("escape", [b"%0d%0aX: 1", b"%0a", b"%0d", b"%00", b"%7f", b"%1f", b"a%0bb"])
def test_an_amz_parameter_is_no_way_into_the_head(escape: bytes) -> None:
    """
    It becomes a header: a line end in it would begin another header, signed with our key.
    """
    assert refusal_of_query(b"/b/k?x-amz-meta-a=" + escape) == "InvalidArgument"
    assert refusal_of_query(b"/b/k?x-amz-meta-a=a%09b") == ""


def test_no_text_of_a_claim_holds_its_signature() -> None:
    """
    The signature could be sent again.
    """
    signature = b"c2lnbmF0dXJl"
    form = {b"awsaccesskeyid": b"K", b"signature": signature, b"policy": b"e30="}

    for claim in (
        read_header_claim(head_of(DATE), ADDRESS, b"AWS K:" + signature, NOW),
        read_query_claim(head_of(), ADDRESS, PARAMETERS, NOW),
        read_form_claim(head_of(), form),
    ):
        assert claim.claimed_signature == signature
        assert signature.decode() not in repr(claim)


def test_a_moment_before_the_epoch_is_told_as_the_epoch() -> None:
    """
    A refusal reports when the URL expired.
    """
    with pytest.raises(S3Error) as refusal:
        read_query_claim(head_of(), ADDRESS, {**PARAMETERS, b"Expires": b"-1"}, NOW)

    assert dict(refusal.value.elements)["Expires"] == b"1970-01-01T00:00:00Z"
