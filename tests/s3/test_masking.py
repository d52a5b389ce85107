from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3 import masking
from s3proxy.s3.masking import mask_credentials

SECRET = "0123456789abcdefSECRET"

NAMES = (
    "X-Amz-Signature",
    "x-amz-signature",
    "Signature",
    "X-Amz-Security-Token",
    "x-amz-security-token",
    "SecurityToken",
    "X-Amz-S3session-Token",
    "x-amz-server-side-encryption-customer-key",
)


def escaped(text: str, times: int) -> str:
    """
    Escape every character this many times.
    """
    for time in range(times):
        text = "".join(f"%{ord(c):02X}" for c in text) if time == 0 else quote(text, safe="")
    return text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [0, 1, 2, 3, 4])
def test_a_credential_in_a_query_is_masked(name: str, times: int) -> None:
    """
    In upper and lower case, and however often its name is escaped; the rest stays.
    """
    masked = mask_credentials(f"/b/k?versionId=3&{escaped(name, times)}={SECRET}&partNumber=1".encode())

    assert SECRET.encode() not in masked
    assert masked.startswith(b"/b/k?versionId=3&")
    assert masked.endswith(b"=-masked-&partNumber=1")


@pytest.mark.parametrize("times", [0, 1, 2, 3])
def test_a_presigned_url_within_a_value_is_masked(times: int) -> None:
    """
    A Referer or a query may hold a presigned URL.
    """
    url = f"https://h/b/k?X-Amz-Expires=9&X-Amz-Signature={SECRET}"
    for _ in range(times):
        url = quote(url, safe="")

    assert SECRET.encode() not in mask_credentials(f"/b/k?u={url}&x=1".encode())
    assert SECRET.encode() not in mask_credentials(url.encode())


@pytest.mark.parametrize(
    "text",
    [
        f"AWS4-HMAC-SHA256 Credential=AK/20260301/us-east-1/s3/aws4_request, SignedHeaders=host, Signature={SECRET}",
        f"AWS4-HMAC-SHA256 Credential=AK/d/r/s/aws4_request,SignedHeaders=host,Signature={SECRET}",
        f"agent x-amz-security-token: {SECRET}".replace(": ", ":"),
        f"<a href='?Signature={SECRET}'>",
    ],
)
def test_a_credential_in_other_text_is_masked(text: str) -> None:
    """
    A User-Agent may repeat an Authorization header.
    """
    assert SECRET.encode() not in mask_credentials(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"/bucket/some/key%20with?versionId=1&continuation-token=abc&x-id=GetObject",
        b"/bucket/Signature",
        b"/bucket/k?X-Amz-SignedHeaders=host&X-Amz-Credential=AK%2F20260301",
        b"Boto3/1.44 md/Botocore#1.44 token/none",
        b"",
        b"%",
        b"%%%",
    ],
)
def test_other_text_stays(text: bytes) -> None:
    """
    A log is useful only if it shows what was requested.
    """
    assert mask_credentials(text) == text


@given(
    before=st.text("ab=&%?/;", max_size=20),
    name=st.sampled_from(NAMES),
    after=st.text("ab&?;", max_size=10),
)
def test_whatever_stands_around_it_a_credential_is_masked(before: str, name: str, after: str) -> None:
    """
    No text before or after a parameter prevents its masking.
    """
    assert SECRET.encode() not in mask_credentials(f"{before}&{name}={SECRET}&{after}".encode())


def test_short_items_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A Referer with thousands of one-byte items does not cost a call for each.
    """
    looked_at: list[bytes] = []
    mask_item = masking._mask_item
    monkeypatch.setattr(masking, "_mask_item", lambda found: (looked_at.append(found[0]), mask_item(found))[1])

    assert mask_credentials(b"?token&" + b"a=b&" * 16_000) == b"?token&" + b"a=b&" * 16_000
    assert looked_at == []
    assert mask_credentials(b"?a&signature:&Signature=x&b") == b"?a&-masked-&Signature=-masked-&b"
    assert looked_at == [b"signature:", b"Signature=x"]
