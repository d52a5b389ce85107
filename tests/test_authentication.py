"""
Which verifier judges a request, stated here once more; and whose session it is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from s3proxy.authentication import Realm, read_claim, verify_claim
from s3proxy.s3.address import parse_address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import InvalidAccessKeyId, InvalidToken, S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.payload import PayloadHash
from tests.harness import NOW, SERVER
from tests.signer import UNSIGNED, Signer

KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
HEX = "0" * 64
REALM = Realm()
EXEMPTIONS = frozenset({"region", "clock-skew", "unsigned-headers", "chunk-size"})


def read(data: str) -> Claim | None:
    """
    Read the claim of a head.
    """
    head = parse_request_head(data.replace("\n", "\r\n").encode())
    return read_claim(head, parse_address(head.raw_path, head.host, []), REALM, NOW)


# Carriers and payload modes

HEADERS = {
    Carrier.V4_HEADER: "Authorization: AWS4-HMAC-SHA256 Credential=K/20260301/us-east-1/s3/aws4_request, "
    f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={HEX}\nx-amz-date: 20260301T120000Z",
    Carrier.V4A_HEADER: "Authorization: AWS4-ECDSA-P256-SHA256 Credential=K/20260301/s3/aws4_request, "
    f"SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-region-set, Signature={HEX}\n"
    "x-amz-date: 20260301T120000Z\nx-amz-region-set: *",
    Carrier.V2_HEADER: "Authorization: AWS K:c2lnbmF0dXJl\nDate: Sun, 01 Mar 2026 12:00:00 GMT",
}
QUERIES = {
    Carrier.V4_QUERY: "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=K%2F20260301%2Fus-east-1%2Fs3%2Faws4_request"
    f"&X-Amz-Date=20260301T120000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature={HEX}",
    Carrier.V4A_QUERY: "X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Credential=K%2F20260301%2Fs3%2Faws4_request"
    f"&X-Amz-Date=20260301T120000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Region-Set=%2A"
    f"&X-Amz-Signature={HEX}",
    Carrier.V2_QUERY: "AWSAccessKeyId=K&Expires=1772366460&Signature=c2lnbmF0dXJl",
}
PLAIN = {HEX, "UNSIGNED-PAYLOAD"}
HMAC = {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"}
ECDSA = {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"}
TRAILER = {"STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
TAKEN = {
    Carrier.V4_HEADER: PLAIN | HMAC | TRAILER,
    Carrier.V4A_HEADER: PLAIN | ECDSA | TRAILER,
    Carrier.V4_QUERY: PLAIN,
    Carrier.V4A_QUERY: PLAIN,
    Carrier.V2_HEADER: PLAIN,
    Carrier.V2_QUERY: PLAIN,
}
ALL = sorted(PLAIN | HMAC | ECDSA | TRAILER)


def request_of(carrier: Carrier, payload: str) -> str:
    """
    A well-formed request of a carrier, with a payload mode.
    """
    target = f"/b/k?{QUERIES[carrier]}" if carrier in QUERIES else "/b/k"
    lines = [f"PUT {target} HTTP/1.1", "Host: s3.test", f"x-amz-content-sha256: {payload}"]
    if carrier in HEADERS:
        lines.append(HEADERS[carrier])
    return "\n".join(lines)


@pytest.mark.parametrize("carrier", TAKEN, ids=lambda carrier: carrier.value)
@pytest.mark.parametrize("payload", ALL)
def test_the_table_of_carriers_and_payloads(carrier: Carrier, payload: str) -> None:
    """
    Each pair has a verifier or is refused: signed chunks that nobody verifies are any bytes at all.
    """
    assert {word.value.decode() for word in PayloadHash} == set(ALL) - {HEX}
    request = request_of(carrier, payload)

    if payload in TAKEN[carrier]:
        claim = read(request)
        assert claim is not None
        assert claim.carrier is carrier
    else:
        with pytest.raises(S3Error) as refusal:
            read(request)
        assert (refusal.value.status, refusal.value.code) == (400, "InvalidRequest")


# Parameters which come twice


def spelled(name: str) -> list[str]:
    """
    A parameter's name, and an escape of it.
    """
    return [name, f"%{ord(name[0]):02x}{name[1:]}"]


@pytest.mark.parametrize(
    ("carrier", "name"),
    [
        pytest.param(carrier, item.partition("=")[0], id=f"{carrier.value}-{item.partition('=')[0]}")
        for carrier, query in QUERIES.items()
        for item in query.split("&")
    ],
)
@pytest.mark.parametrize("is_first", [False, True])
def test_an_authentication_parameter_comes_once(carrier: Carrier, name: str, *, is_first: bool) -> None:
    """
    Of two values one reader takes the first and another one the last. Nor may they be equal, or spelled differently.
    """
    query = QUERIES[carrier]
    value = dict(item.split("=", 1) for item in query.split("&"))[name]
    for spelling in spelled(name):
        for other in (value, "other"):
            added = f"{spelling}={other}"
            both = f"{added}&{query}" if is_first else f"{query}&{added}"
            with pytest.raises(S3Error) as refusal:
                read(f"PUT /b/k?{both} HTTP/1.1\nHost: s3.test")
            assert refusal.value.status == 400
            assert refusal.value.code == "AuthorizationQueryParametersError"


@pytest.mark.parametrize("carrier", QUERIES, ids=lambda carrier: carrier.value)
def test_another_parameter_may_come_twice(carrier: Carrier) -> None:
    """
    It is the backend's to read, and signed as it is.
    """
    assert read(f"PUT /b/k?x=1&{QUERIES[carrier]}&x=2 HTTP/1.1\nHost: s3.test") is not None


# Sessions


def signed_claim(headers: dict[str, str] | None = None, unsigned: dict[str, str] | None = None) -> Claim:
    """
    The claim of a request that was signed well.
    """
    data, _ = Signer().head("GET", "/b/k", headers, payload=UNSIGNED, unsigned=unsigned)
    head = parse_request_head(data.removesuffix(b"\r\n\r\n"))
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), REALM, NOW)
    assert claim is not None
    return claim


def key(**changes: Any) -> Credential:
    """
    The key which signs.
    """
    return Credential(KEY, (SECRET,), **changes)


def test_a_token_of_a_key_without_a_session() -> None:
    """
    A key that has no session takes no token, a signed one neither: it could be one that was ended.
    """
    verify_claim(signed_claim(), key(), REALM, NOW)

    with pytest.raises(InvalidToken):
        verify_claim(signed_claim({"x-amz-security-token": "token"}), key(), REALM, NOW)


def test_a_session_s_own_token() -> None:
    """
    A temporary key passes with its token alone.
    """
    session = key(session_token="token")

    verify_claim(signed_claim({"x-amz-security-token": "token"}), session, REALM, NOW)
    with pytest.raises(InvalidAccessKeyId):
        verify_claim(signed_claim(), session, REALM, NOW)
    with pytest.raises(InvalidToken):
        verify_claim(signed_claim({"x-amz-security-token": "other"}), session, REALM, NOW)
    known = Realm(known_tokens=frozenset({b"other"}))
    with pytest.raises(InvalidAccessKeyId):
        verify_claim(signed_claim({"x-amz-security-token": "other"}), session, known, NOW)


@pytest.mark.parametrize("name", ["x-amz-security-token", "x-amz-copy-source"])
def test_no_exemption_lets_it_be_unsigned(name: str) -> None:
    """
    Whose session it is, and which object is copied, is signed, whatever a key is exempted from.
    """
    with pytest.raises(S3Error) as refusal:
        verify_claim(signed_claim(unsigned={name: "/b/k"}), key(exemptions=EXEMPTIONS), REALM, NOW)

    assert refusal.value.code == "AccessDenied"
    assert dict(refusal.value.elements)["HeadersNotSigned"] == name.encode()


def test_an_exemption_is_for_other_headers() -> None:
    """
    An unsigned x-amz header passes with the exemption, and not without.
    """
    claim = signed_claim(unsigned={"x-amz-acl": "private"})
    assert verify_claim(claim, key(exemptions=EXEMPTIONS), REALM, NOW).exempted == ("unsigned-headers",)

    claim = signed_claim(unsigned={"x-amz-acl": "private"})
    with pytest.raises(S3Error) as refusal:
        verify_claim(claim, key(), REALM, NOW)
    assert refusal.value.code == "AccessDenied"


def test_an_unsigned_host_is_never_exempted() -> None:
    """
    A Host may name the bucket: it is refused before a key is looked up.
    """
    with pytest.raises(S3Error) as refusal:
        read(
            "GET /b/k HTTP/1.1\nHost: s3.test\nx-amz-date: 20260301T120000Z\nx-amz-content-sha256: UNSIGNED-PAYLOAD\n"
            "Authorization: AWS4-HMAC-SHA256 Credential=K/20260301/us-east-1/s3/aws4_request, "
            f"SignedHeaders=x-amz-content-sha256;x-amz-date, Signature={HEX}"
        )

    assert dict(refusal.value.elements)["HeadersNotSigned"] == b"host"


def test_a_moment_is_judged_by_the_key_that_needs_it() -> None:
    """
    A request of yesterday passes with the exemption alone, whatever else it has.
    """
    head: RequestHead = signed_claim().head
    later = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), REALM, later)
    assert claim is not None

    with pytest.raises(S3Error) as refusal:
        verify_claim(claim, key(), REALM, later)
    assert refusal.value.code == "RequestTimeTooSkewed"
    assert verify_claim(claim, key(exemptions=EXEMPTIONS), REALM, later).exempted == ("clock-skew",)
