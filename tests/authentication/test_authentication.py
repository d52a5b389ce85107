"""
Which verifier checks a request, stated here independently; and whose session it is.
"""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from s3proxy.authentication.reading import carries_form, read_claim, read_form_claim
from s3proxy.authentication.realm import Anonymous, Realm
from s3proxy.authentication.verdict import Authenticated, admit_anonymous, admit_preflight, verify_claim
from s3proxy.postobject.form import Form
from s3proxy.s3.address import parse_address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.classification import classify
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import AccessDenied, InvalidAccessKeyId, InvalidArgument, InvalidToken, S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.payload import PayloadHash
from tests.fuzz.grammar import Draft
from tests.fuzz.signing import Attacker
from tests.support.harness import NOW, SERVER
from tests.support.memory import MemoryProxy
from tests.support.signer import UNSIGNED, UNSIGNED_TRAILER, Signer

KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
HEX = "0" * 64
REALM = Realm()
EXEMPTIONS = frozenset(Exemption)


def read(data: str, refused: frozenset[str] = frozenset()) -> Claim | None:
    """
    Return the claim of a head.
    """
    head = parse_request_head(data.replace("\n", "\r\n").encode())
    return read_claim(head, parse_address(head.raw_path, head.host, []), Realm(refused=refused), NOW)


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
    Return a well-formed request with a carrier and a payload mode.
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
    Each pair has a verifier or is refused: signed chunks that are not verified could be any bytes.
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


# Parameters that occur twice


def spelled(name: str) -> list[str]:
    """
    Return a parameter's name, and an escaped spelling of it.
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
    Of two values one reader takes the first and another the last. Equal values and other spellings are refused too.
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
    The backend interprets it; it is signed as it is.
    """
    assert read(f"PUT /b/k?x=1&{QUERIES[carrier]}&x=2 HTTP/1.1\nHost: s3.test") is not None


# Sessions


def signed_claim(headers: dict[str, str] | None = None, unsigned: dict[str, str] | None = None) -> Claim:
    """
    Return the claim of a correctly signed request.
    """
    data, _ = Signer().head("GET", "/b/k", headers, payload=UNSIGNED, unsigned=unsigned)
    head = parse_request_head(data.removesuffix(b"\r\n\r\n"))
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), REALM, NOW)
    assert claim is not None
    return claim


def key(**changes: Any) -> Credential:
    """
    Return the key that signs.
    """
    return Credential(KEY, (SECRET,), **changes)


def test_a_token_of_a_key_without_a_session() -> None:
    """
    A key without a session accepts no token, not even a signed one: its session could have ended.
    """
    verify_claim(signed_claim(), key(), REALM, NOW)

    with pytest.raises(InvalidToken):
        verify_claim(signed_claim({"x-amz-security-token": "token"}), key(), REALM, NOW)


def test_a_session_s_own_token() -> None:
    """
    A temporary key passes only with its token.
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
    The session token and the source of a copy must be signed, whatever exemptions a key has.
    """
    with pytest.raises(S3Error) as refusal:
        verify_claim(signed_claim(unsigned={name: "/b/k"}), key(exemptions=EXEMPTIONS), REALM, NOW)

    assert refusal.value.code == "AccessDenied"
    assert dict(refusal.value.elements)["HeadersNotSigned"] == name.encode()


def test_an_exemption_is_for_other_headers() -> None:
    """
    An unsigned x-amz header passes only with the exemption.
    """
    claim = signed_claim(unsigned={"x-amz-acl": "private"})
    assert verify_claim(claim, key(exemptions=EXEMPTIONS), REALM, NOW).exempted == (Exemption.UNSIGNED_HEADERS,)

    claim = signed_claim(unsigned={"x-amz-acl": "private"})
    with pytest.raises(S3Error) as refusal:
        verify_claim(claim, key(), REALM, NOW)
    assert refusal.value.code == "AccessDenied"


def test_an_unsigned_host_is_never_exempted() -> None:
    """
    A Host may name the bucket: an unsigned one is refused before the key is looked up.
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
    A request of yesterday passes only with that exemption, whatever other exemptions the key has.
    """
    head: RequestHead = signed_claim().head
    later = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), REALM, later)
    assert claim is not None

    with pytest.raises(S3Error) as refusal:
        verify_claim(claim, key(), REALM, later)
    assert refusal.value.code == "RequestTimeTooSkewed"
    assert verify_claim(claim, key(exemptions=EXEMPTIONS), REALM, later).exempted == (Exemption.CLOCK_SKEW,)


# What is switched off


@pytest.mark.parametrize("carrier", TAKEN, ids=lambda carrier: carrier.value)
def test_a_carrier_that_is_switched_off_for_a_listener(carrier: Carrier) -> None:
    """
    It is refused before the key is looked up. No other carrier is refused.
    """
    request = request_of(carrier, UNSIGNED)

    assert read(request, frozenset({other.value for other in Carrier if other is not carrier})) is not None
    with pytest.raises(S3Error) as refusal:
        read(request, frozenset({carrier.value}))
    assert refusal.value.status == 400


def test_a_carrier_that_is_switched_off_for_a_key() -> None:
    """
    It is refused once the signature is right.
    """
    with pytest.raises(S3Error) as refusal:
        verify_claim(signed_claim(), key(refused=frozenset({"v4-header"})), REALM, NOW)
    assert refusal.value.code == "InvalidRequest"
    verify_claim(signed_claim(), key(refused=frozenset({"v2-header", "anonymous"})), REALM, NOW)


@pytest.mark.parametrize("switch", ["unsigned-payload", "unsigned-trailer"])
def test_a_payload_mode_that_is_switched_off(switch: str) -> None:
    """
    For a listener or for a key, a body of that kind is refused.
    """
    mode = UNSIGNED if switch == "unsigned-payload" else UNSIGNED_TRAILER
    other = "unsigned-trailer" if switch == "unsigned-payload" else "unsigned-payload"
    head = parse_request_head(Signer().put("/b/k", b"hello", mode).head.removesuffix(b"\r\n\r\n"))
    address = parse_address(head.raw_path, head.host, [])

    for refused in (frozenset({switch}), frozenset({switch, other})):
        with pytest.raises(S3Error) as refusal:
            read_claim(head, address, Realm(refused=refused), NOW)
        assert refusal.value.code == "AccessDenied"
        claim = read_claim(head, address, REALM, NOW)
        assert claim is not None
        with pytest.raises(S3Error) as refusal:
            verify_claim(claim, key(refused=refused), REALM, NOW)
        assert refusal.value.code == "AccessDenied"
    assert read_claim(head, address, Realm(refused=frozenset({other})), NOW) is not None


@pytest.mark.parametrize(
    ("credential", "code"),
    [
        (None, "InvalidAccessKeyId"),
        (Credential(KEY, (SECRET,), is_disabled=True), "InvalidAccessKeyId"),
        (Credential(KEY, (SECRET,), expires_at=NOW), "InvalidAccessKeyId"),
        (Credential(KEY, (SECRET,), session_token="token", expires_at=NOW), "ExpiredToken"),
        (Credential(KEY, ("another",)), "SignatureDoesNotMatch"),
    ],
)
def test_a_key_that_is_none(credential: Credential | None, code: str) -> None:
    """
    The key is unknown, disabled or expired, or the signature is of another secret.
    """
    headers = {"x-amz-security-token": "token"} if credential is not None and credential.session_token else None

    with pytest.raises(S3Error) as refusal:
        verify_claim(signed_claim(headers), credential, REALM, NOW)
    assert refusal.value.code == code


# More than one carrier


@pytest.mark.parametrize("second", QUERIES, ids=lambda carrier: carrier.value)
@pytest.mark.parametrize("first", [*HEADERS, *QUERIES], ids=lambda carrier: carrier.value)
def test_one_carrier_a_request(first: Carrier, second: Carrier) -> None:
    """
    Of two, one reader takes the header and another the query.
    """
    if first is second:
        return
    query = QUERIES[second] if first in HEADERS else f"{QUERIES[first]}&{QUERIES[second]}"
    lines = [f"GET /b/k?{query} HTTP/1.1", "Host: s3.test", f"x-amz-content-sha256: {UNSIGNED}"]
    if first in HEADERS:
        lines.append(HEADERS[first])

    with pytest.raises(S3Error) as refusal:
        read("\n".join(lines))
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "AccessDenied"),
        ("AWS4-HMAC-SHA256", "InvalidArgument"),
        ("Basic QTpC", "InvalidArgument"),
        ("Bearer token", "InvalidArgument"),
        ("AWS3 K:c2ln", "InvalidArgument"),
    ],
)
def test_what_is_no_authorization(authorization: str, code: str) -> None:
    """
    An empty header, or one of another kind, does not make a request anonymous.
    """
    with pytest.raises(S3Error) as refusal:
        read(f"GET /b/k HTTP/1.1\nHost: s3.test\nAuthorization: {authorization}")
    assert refusal.value.code == code


def test_an_authorization_comes_once() -> None:
    """
    Two readers could take one or the other.
    """
    header = HEADERS[Carrier.V2_HEADER]

    with pytest.raises(S3Error) as refusal:
        read(f"GET /b/k HTTP/1.1\nHost: s3.test\n{header}\n{header.partition(chr(10))[0]}")
    assert refusal.value.code == "NotImplemented"


@pytest.mark.parametrize("algorithm", ["AWS4-HMAC-SHA1", "aws4-hmac-sha256", ""])
def test_what_is_no_algorithm(algorithm: str) -> None:
    """
    A query must name an algorithm that s3proxy verifies, exactly.
    """
    query = QUERIES[Carrier.V4_QUERY].replace("AWS4-HMAC-SHA256", algorithm)

    with pytest.raises(S3Error) as refusal:
        read(f"GET /b/k?{query} HTTP/1.1\nHost: s3.test")
    assert refusal.value.code == "AuthorizationQueryParametersError"


# What a signature covers of a query


def sign_v2(text: str) -> str:
    """
    Return the V2 signature with the key's secret.
    """
    return base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()


def test_what_signature_v2_does_not_cover_may_not_pass() -> None:
    """
    V2 covers sub-resources only: anyone could have added another parameter, and s3proxy must not sign it.
    """
    date = "Sun, 01 Mar 2026 12:00:00 GMT"
    header = f"Date: {date}\nAuthorization: AWS {KEY}:{sign_v2(f'GET{chr(10) * 3}{date}{chr(10)}/b/k?acl')}"
    signature = quote(sign_v2(f"GET{chr(10) * 3}1772366460{chr(10)}/b/k?acl"), safe="")
    query = f"AWSAccessKeyId={KEY}&Expires=1772366460&Signature={signature}"
    for request in (
        f"GET /b/k?acl&x=1 HTTP/1.1\nHost: s3.test\n{header}",
        f"GET /b/k?acl&x=1&{query} HTTP/1.1\nHost: s3.test",
    ):
        claim = read(request)
        assert claim is not None

        authenticated = verify_claim(claim, key(), REALM, NOW)

        assert authenticated.covered_names is not None
        assert {b"acl", b"prefix"} <= authenticated.covered_names
        assert b"x" not in authenticated.covered_names
        assert authenticated.head.raw_query == b"acl&x=1"


def test_what_authenticates_a_url_is_cut() -> None:
    """
    The head that s3proxy judges and sends on contains none of it.
    """
    target = Signer().presign("GET", "/b/k")
    claim = read(f"GET {target} HTTP/1.1\nHost: s3.example.test")
    assert claim is not None

    authenticated = verify_claim(claim, key(), REALM, NOW)

    assert claim.head.raw_query is not None
    assert b"X-Amz-Signature=" in claim.head.raw_query
    assert authenticated.head.raw_target == b"/b/k"
    assert authenticated.head.headers == claim.head.headers
    assert authenticated.covered_names is None


def test_a_signed_header_is_not_replaced_by_a_parameter() -> None:
    """
    The header that the sender signed counts, whatever the query of the URL says.
    """
    draft = Draft(
        "v4-query",
        b"PUT",
        b"/test-bucket/k",
        [b"X-Amz-Acl=public-read"],
        [(b"x-amz-acl", b"private")],
        payload="unsigned",
    )

    (stored,) = MemoryProxy().send(Attacker(KEY, SECRET, NOW).encode(draft)).stored

    assert stored.head.fields[b"x-amz-acl"] == (b"private",)
    assert stored.head.raw_target == b"/test-bucket/k"


def presigned(parameters: str, headers: str = "", **changes: Any) -> Authenticated:
    """
    Admit a presigned request whose URL has more parameters than those for authentication. Only the host is signed.
    """
    signer = Signer()
    claim = read(f"PUT {signer.presign('PUT', f'/b/k?{parameters}')} HTTP/1.1\nHost: {signer.host}{headers}")
    assert claim is not None
    return verify_claim(claim, key(**changes), REALM, NOW)


def test_what_an_sdk_writes_into_a_url_becomes_headers() -> None:
    """
    The ``x-amz-*`` parameters of a presigned URL become headers. The signature covers them, and they leave the query.
    """
    authenticated = presigned("x-amz-acl=private&x-amz-meta-a=b&partNumber=2&uploadId=u")

    assert authenticated.head.fields[b"x-amz-acl"] == (b"private",)
    assert authenticated.head.fields[b"x-amz-meta-a"] == (b"b",)
    assert authenticated.signed_headers == {b"host", b"x-amz-acl", b"x-amz-meta-a"}
    assert authenticated.head.raw_target == b"/b/k?partNumber=2&uploadId=u"
    assert authenticated.is_signed_onward


def test_a_url_without_headers_has_none_more() -> None:
    """
    Only the signed header is sent.
    """
    authenticated = presigned("partNumber=2&uploadId=u")

    assert authenticated.signed_headers == {b"host"}
    assert authenticated.head.raw_target == b"/b/k?partNumber=2&uploadId=u"


@pytest.mark.parametrize(
    "name", ["x-amz-checksum-crc32", "x-amz-checksum-sha256", "x-amz-sdk-checksum-algorithm", "x-amz-user-agent"]
)
def test_what_a_url_says_of_the_body_is_no_header(name: str) -> None:
    """
    The SDK for JavaScript signs the checksum of an empty body into the URL of an upload.
    """
    authenticated = presigned(f"{name}=AAAAAA%3D%3D&x-amz-checksum-mode=ENABLED")

    assert name.encode() not in authenticated.head.fields
    assert authenticated.head.fields[b"x-amz-checksum-mode"] == (b"ENABLED",)
    assert authenticated.signed_headers == {b"host", b"x-amz-checksum-mode"}
    assert authenticated.head.raw_target == b"/b/k"


def test_an_unsigned_header_does_not_win_over_a_parameter() -> None:
    """
    If a key may leave headers unsigned, anyone with the URL can send any header. The signature covers the parameter.
    """
    authenticated = presigned("x-amz-acl=private", "\nx-amz-acl: public-read", exemptions=EXEMPTIONS)

    assert authenticated.head.fields[b"x-amz-acl"] == (b"private",)


def test_a_parameter_beside_a_header_s_signature_is_no_header() -> None:
    """
    S3 reads headers only from the query of a presigned URL.
    """
    data, _ = Signer().head("PUT", "/b/k?x-amz-acl=public-read&tagging", payload=UNSIGNED)
    claim = read(data.decode().removesuffix("\r\n\r\n").replace("\r\n", "\n"))
    assert claim is not None

    authenticated = verify_claim(claim, key(), REALM, NOW)

    assert b"x-amz-acl" not in authenticated.head.fields
    assert b"x-amz-acl" not in authenticated.signed_headers
    assert authenticated.head.raw_target == b"/b/k?x-amz-acl=public-read&tagging"


@pytest.mark.parametrize("parameter", ["Signature=x", "AWSAccessKeyId=x", "X-Amz-Algorithm=x"])
@pytest.mark.parametrize("carrier", HEADERS, ids=lambda carrier: carrier.value)
def test_half_a_second_carrier_is_one(carrier: Carrier, parameter: str) -> None:
    """
    A backend could accept even an incomplete one.
    """
    with pytest.raises(InvalidArgument):
        read(f"GET /b/k?{parameter} HTTP/1.1\nHost: s3.test\nx-amz-content-sha256: {UNSIGNED}\n{HEADERS[carrier]}")


@pytest.mark.parametrize("scheme", ["AWS", "aws", "Aws"])
def test_a_foreign_parameter_beside_signature_v2_is_refused_in_any_case(scheme: str) -> None:
    """
    Under V2 it would become a header. A date and a session token are V2's own parameters.
    """
    claim = f"Host: s3.test\nDate: Sun, 01 Mar 2026 12:00:00 GMT\nAuthorization: {scheme} {KEY}:c2ln"

    with pytest.raises(InvalidArgument):
        read(f"GET /b/k?x-amz-credential=a HTTP/1.1\n{claim}")
    assert read(f"GET /b/k?x-amz-date=Sun%2C%2001%20Mar%202026%2012%3A00%3A00%20GMT HTTP/1.1\n{claim}") is not None
    with pytest.raises(InvalidArgument):
        read(f"GET /b/k?x-amz-credential=a&{QUERIES[Carrier.V2_QUERY]} HTTP/1.1\nHost: s3.test")


def test_a_parameter_in_another_case_is_none_of_signature_v4() -> None:
    """
    S3 does not know this spelling, and ignores it, beside a header and without a signature.
    """
    request = f"GET /b/k?x-amz-credential=a HTTP/1.1\nHost: s3.test\nx-amz-content-sha256: {UNSIGNED}"

    assert read(request) is None
    assert read(f"{request}\n{HEADERS[Carrier.V4_HEADER]}") is not None


# Anonymous requests


def nobody(request: str, anonymous: Anonymous, refused: frozenset[str] = frozenset()) -> Any:
    """
    Admit a request without a signature.
    """
    head = parse_request_head(request.replace("\n", "\r\n").encode())
    address = parse_address(head.raw_path, head.host, [])
    if head.method == b"OPTIONS":
        return admit_preflight(head)
    return admit_anonymous(head, address, classify(head, address), Realm(anonymous=anonymous, refused=refused))


PASSES, SIGNS = Anonymous(passes=True), Anonymous(signed_buckets=("public-*",))


@pytest.mark.parametrize(("key_", "may"), [("a%252541", True), ("a%25252541", False), ("%252e%252e/b", False)])
def test_a_key_that_is_escaped_over_and_over_is_not_signed(key_: str, may: bool) -> None:
    """
    A backend that decodes once more could read another bucket. No client escapes a key three times.
    """
    request = f"GET /public-a/{key_} HTTP/1.1\nHost: s3.test"

    if may:
        assert nobody(request, SIGNS).is_signed_onward
    else:
        with pytest.raises(AccessDenied):
            nobody(request, SIGNS)


def test_what_is_anonymous_goes_on_unsigned() -> None:
    """
    If anonymous requests pass, s3proxy signs none of them; if it signs them, it signs reads only.
    """
    assert not nobody("GET /b/k HTTP/1.1\nHost: s3.test", PASSES).is_signed_onward
    assert nobody("GET /public-a/k HTTP/1.1\nHost: s3.test", SIGNS).is_signed_onward
    assert nobody("GET /public-a?list-type=2&prefix=p HTTP/1.1\nHost: s3.test", SIGNS).is_signed_onward


@pytest.mark.parametrize(
    ("request_", "anonymous"),
    [
        ("GET /b/k HTTP/1.1", Anonymous()),
        ("GET /private/k HTTP/1.1", SIGNS),
        ("GET /private/public-a HTTP/1.1", SIGNS),
        ("PUT /public-a/k HTTP/1.1", SIGNS),
        ("DELETE /public-a/k HTTP/1.1", SIGNS),
        ("GET /public-a?acl HTTP/1.1", SIGNS),
        ("GET /public-a/k?tagging HTTP/1.1", SIGNS),
        ("GET / HTTP/1.1", Anonymous(signed_buckets=("*",))),
    ],
)
def test_what_nobody_may(request_: str, anonymous: Anonymous) -> None:
    """
    s3proxy signs no write, no sub-resource, no other bucket and no listing of buckets for an anonymous client.
    """
    with pytest.raises(S3Error) as refusal:
        nobody(f"{request_}\nHost: s3.test", anonymous)
    assert refusal.value.code == "AccessDenied"


def test_nobody_is_switched_off() -> None:
    """
    A listener may refuse anonymous requests, whatever is allowed elsewhere.
    """
    for anonymous, bucket in ((PASSES, "b"), (SIGNS, "public-a")):
        with pytest.raises(S3Error) as refusal:
            nobody(f"GET /{bucket}/k HTTP/1.1\nHost: s3.test", anonymous, frozenset({"anonymous"}))
        assert refusal.value.code == "AccessDenied"


@pytest.mark.parametrize("payload", sorted(HMAC | ECDSA))
def test_nobody_signs_chunks(payload: str) -> None:
    """
    Chunks that claim to be signed would not be verified.
    """
    with pytest.raises(S3Error) as refusal:
        nobody(f"PUT /b/k HTTP/1.1\nHost: s3.test\nx-amz-content-sha256: {payload}", PASSES)
    assert refusal.value.code == "InvalidRequest"


@pytest.mark.parametrize(
    "headers", ["", "Origin: https://a.test", "Access-Control-Request-Method: GET", "Origin: null\nAccept: */*"]
)
def test_what_is_no_preflight(headers: str) -> None:
    """
    Any other OPTIONS is refused, also if anonymous requests pass.
    """
    for anonymous in (Anonymous(), PASSES):
        with pytest.raises(S3Error) as refusal:
            nobody(f"OPTIONS /b/k HTTP/1.1\nHost: s3.test\n{headers}".rstrip(), anonymous)
        assert refusal.value.code == "BadRequest"
    both = "OPTIONS /b/k HTTP/1.1\nHost: s3.test\nOrigin: https://a.test\nAccess-Control-Request-Method: GET"
    assert not nobody(both, Anonymous()).is_signed_onward


@pytest.mark.parametrize("query", ["", "?X-Amz-Credential=a&X-Amz-Signature=b", "?X%2DAmz%2DSignature=b", "?Action=a"])
def test_a_preflight_has_no_query(query: str) -> None:
    """
    A preflight is about the path: the authentication of the request to come is not sent with it.
    """
    lines = "Host: s3.test\nOrigin: https://a.test\nAccess-Control-Request-Method: GET"

    assert nobody(f"OPTIONS /b/k{query} HTTP/1.1\n{lines}", Anonymous()).head.raw_target == b"/b/k"


# Forms

V4_FORM = {
    b"policy": b"e30=",
    b"x-amz-algorithm": b"AWS4-HMAC-SHA256",
    b"x-amz-credential": b"K/20260301/us-east-1/s3/aws4_request",
    b"x-amz-date": b"20260301T120000Z",
    b"x-amz-signature": HEX.encode(),
}
V2_FORM = {b"policy": b"e30=", b"awsaccesskeyid": b"K", b"signature": b"c2ln"}


def form_claim(fields: dict[bytes, bytes], refused: frozenset[str] = frozenset(), headers: str = "") -> Claim | None:
    """
    Return the claim of a form.
    """
    head = parse_request_head(f"POST /b HTTP/1.1\r\nHost: s3.test{headers}".encode())
    return read_form_claim(head, Form(fields), Realm(refused=refused))


@pytest.mark.parametrize(("fields", "word"), [(V4_FORM, "v4-form"), (V2_FORM, "v2-form")])
def test_a_form_is_signed_in_one_way_and_whole(fields: dict[bytes, bytes], word: str) -> None:
    """
    The form has all fields of its kind of signature, and none of another kind; and its kind may be switched off.
    """
    claim = form_claim(fields, frozenset({other.value for other in Carrier} - {word}))
    assert claim is not None
    assert claim.carrier.value == word
    for missing in fields:
        with pytest.raises(S3Error) as refusal:
            form_claim({name: value for name, value in fields.items() if name != missing})
        assert refusal.value.code == "InvalidArgument"
    with pytest.raises(S3Error) as refusal:
        form_claim(fields, frozenset({word}))
    assert refusal.value.code == "InvalidRequest"
    with pytest.raises(S3Error) as refusal:
        form_claim({**V4_FORM, **V2_FORM})
    assert refusal.value.code == "InvalidArgument"
    with pytest.raises(S3Error) as refusal:
        form_claim(fields, headers="\r\nx-amz-security-token: token")
    assert refusal.value.code == "AccessDenied"


def test_a_form_without_a_signature() -> None:
    """
    It is anonymous if it has no policy. A policy without a signature allows nothing.
    """
    assert form_claim({b"key": b"k"}) is None
    with pytest.raises(S3Error) as refusal:
        form_claim({b"key": b"k", b"policy": b"e30="})
    assert refusal.value.code == "InvalidArgument"


def test_what_carries_a_form() -> None:
    """
    A POST to a bucket must be a form.
    """
    form = "POST /b HTTP/1.1\nHost: s3.test\nContent-Type: multipart/form-data; boundary=x"
    for request, carries in (
        (form, True),
        (form.replace("/b", "/b?delete"), False),
        (form.replace("/b", "/b/k"), False),
    ):
        head = parse_request_head(request.replace("\n", "\r\n").encode())
        assert carries_form(head, parse_address(head.raw_path, head.host, [])) is carries
    head = parse_request_head(form.replace("multipart/form-data", "text/plain").replace("\n", "\r\n").encode())
    with pytest.raises(S3Error) as refusal:
        carries_form(head, parse_address(head.raw_path, head.host, []))
    assert refusal.value.code == "PreconditionFailed"
