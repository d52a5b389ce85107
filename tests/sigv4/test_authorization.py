"""
What a claim of Signature V4 may name, and the cost of reading it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from time import process_time
from urllib.parse import quote

import pytest

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import verify_claim
from s3proxy.s3.address import parse_address
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import (
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    S3Error,
    SignatureDoesNotMatch,
)
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.limits import MAX_HEADER_COUNT
from s3proxy.sigv4.claims import SignatureClaim
from tests.support.harness import NOW
from tests.support.memory import MemoryProxy
from tests.support.signer import EMPTY, Signer

DATE = NOW.strftime("%Y%m%dT%H%M%SZ")
CREDENTIAL = f"AKIAIOSFODNN7EXAMPLE/{DATE[:8]}/us-east-1/s3/aws4_request"
TOO_MANY = "SignedHeaders must not list more than 256 headers."


def claim_of(data: str) -> SignatureClaim:
    """
    Read the claim of a head.
    """
    head = parse_request_head(data.removesuffix("\r\n\r\n").encode())
    claim = read_claim(head, parse_address(head.raw_path, head.host, ()), Realm(), NOW)
    assert isinstance(claim, SignatureClaim)
    return claim


def in_header(names: list[str], lines: str = "") -> str:
    """
    A request that names its signed headers in the Authorization header.
    """
    return (
        f"GET /b/k HTTP/1.1\r\nHost: h\r\nx-amz-date: {DATE}\r\nx-amz-content-sha256: {EMPTY}\r\n{lines}"
        f"Authorization: AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders={';'.join(names)}, "
        f"Signature={'0' * 64}\r\n\r\n"
    )


def in_query(names: list[str], parameters: str = "", lines: str = "") -> str:
    """
    A presigned request.
    """
    return (
        f"GET /b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(CREDENTIAL, safe='')}&X-Amz-Date={DATE}"
        f"&X-Amz-Expires=600&X-Amz-SignedHeaders={quote(';'.join(names), safe='')}&X-Amz-Signature=0{parameters}"
        f" HTTP/1.1\r\nHost: h\r\n{lines}\r\n"
    )


def cost(read: Callable[[], object]) -> float:
    """
    Return the CPU seconds of a reading: the smallest of several.
    """
    spent = []
    for _ in range(7):
        began = process_time()
        read()
        spent.append(process_time() - began)
    return min(spent)


@pytest.mark.parametrize(
    ("write", "error"),
    [(in_header, AuthorizationHeaderMalformed), (in_query, AuthorizationQueryParametersError)],
    ids=["header", "query"],
)
def test_no_request_signs_more_headers_than_it_may_have(
    write: Callable[[list[str]], str], error: type[S3Error]
) -> None:
    """
    256 names are read; with one more, new or not, the request is refused before a key is looked up.
    """
    names = ["host", "x-amz-date", *(f"a{number}" for number in range(MAX_HEADER_COUNT - 2))]

    assert claim_of(write(names)).signed_headers == tuple(name.encode() for name in names)
    for more in ("b", "host", ""):
        with pytest.raises(error) as raised:
            claim_of(write([*names, more]))
        assert raised.value.message.removeprefix("The authorization header is malformed; ") == TOO_MANY


def test_too_many_names_whoever_sends_them() -> None:
    """
    The client gets the error as S3 writes it, even with an unknown key.
    """
    names = ["host", "x-amz-date", *["a"] * 20_000]
    proxy = MemoryProxy()

    assert proxy.send(in_header(names).encode()).codes == ("AuthorizationHeaderMalformed",)
    assert proxy.send(in_query(names[:5000]).encode()).codes == ("AuthorizationQueryParametersError",)
    assert proxy.send(in_header(names[:200]).encode()).codes == ("SignatureDoesNotMatch",)


def test_a_client_may_sign_two_hundred_headers() -> None:
    """
    The limit is above what any client sends.
    """
    headers = {f"x-amz-meta-{number:x}": "v" for number in range(200)}
    head, _ = Signer().head("GET", "/test-bucket/k", headers)

    assert MemoryProxy().send(head).statuses == (200,)


@pytest.mark.parametrize("write", [in_header, in_query], ids=["header", "query"])
def test_a_name_which_is_listed_again_costs_nothing(write: Callable[..., str]) -> None:
    """
    Its value is written once, however long it is.
    """
    value = "v" * 50_000
    names = ["host", "x-amz-date", *["a"] * 250]
    claim = claim_of(write(names, lines=f"a: {value}\r\n"))

    canonical = claim.canonical_request()

    assert claim.signed_headers == (b"host", b"x-amz-date", b"a")
    assert canonical.count(value.encode()) == 1
    assert claim.raw_signed_headers == ";".join(names).encode()


def test_parameters_are_not_searched_for_in_a_list() -> None:
    """
    A signed name may be a parameter: thousands of parameters cost the same, whether 1 or 250 names are looked up.
    """
    parameters = "&zz=1" * 5_000
    few = claim_of(in_query(["host", "b"], parameters))
    many = claim_of(in_query(["host", *(f"a{number:x}" for number in range(250))], parameters))

    def reading(claim: SignatureClaim) -> Callable[[], object]:
        return lambda: claim._fields_with_query(claim.head.fields)

    assert cost(reading(many)) < 2.5 * cost(reading(few))


def test_headers_are_not_searched_for_in_a_list() -> None:
    """
    Each header is looked up among the signed ones: 240 headers cost the same, whether 2 are signed or 250.
    """
    lines = "".join(f"h{number:x}:\r\n" for number in range(240))
    few = in_header(["host", "x-amz-date"], lines)
    many = in_header(["host", "x-amz-date", *(f"a{number:x}" for number in range(250))], lines)

    assert cost(lambda: claim_of(many)) < 2.5 * cost(lambda: claim_of(few))


@pytest.mark.parametrize(
    ("algorithm", "credential", "form"),
    [
        ("AWS4-HMAC-SHA256", "KEY", "REGION/SERVICE/aws4_request"),
        ("AWS4-HMAC-SHA256", f"KEY/{DATE[:8]}/s3/aws4_request", "REGION/SERVICE/aws4_request"),
        ("AWS4-ECDSA-P256-SHA256", "KEY", "YYYYMMDD/SERVICE/aws4_request"),
        ("AWS4-ECDSA-P256-SHA256", "KEY/", "YYYYMMDD/SERVICE/aws4_request"),
        ("AWS4-ECDSA-P256-SHA256", f"KEY/{DATE[:8]}/us-east-1/s3/aws4_request", "YYYYMMDD/SERVICE/aws4_request"),
        ("AWS4-ECDSA-P256-SHA256", f"KEY/{DATE[:8]}/s3", "YYYYMMDD/SERVICE/aws4_request"),
    ],
)
@pytest.mark.parametrize("carrier", ["header", "query"])
def test_the_form_of_a_credential(carrier: str, algorithm: str, credential: str, form: str) -> None:
    """
    The error names the form that belongs to the algorithm: with SigV4A a scope has no region.
    """
    if carrier == "header":
        data = (
            f"GET /b/k HTTP/1.1\r\nHost: h\r\nx-amz-date: {DATE}\r\nx-amz-content-sha256: {EMPTY}\r\n"
            f"x-amz-region-set: *\r\nAuthorization: {algorithm} Credential={credential}, "
            "SignedHeaders=host;x-amz-date;x-amz-region-set, Signature=00\r\n\r\n"
        )
    else:
        data = (
            f"GET /b/k?X-Amz-Algorithm={algorithm}&X-Amz-Credential={quote(credential, safe='')}&X-Amz-Date={DATE}"
            "&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Region-Set=*&X-Amz-Signature=00 HTTP/1.1\r\n"
            "Host: h\r\n\r\n"
        )

    with pytest.raises((AuthorizationHeaderMalformed, AuthorizationQueryParametersError)) as caught:
        claim_of(data)

    assert f'{form}".' in caught.value.message
    assert ("REGION" in caught.value.message) == ("HMAC" in algorithm)


@pytest.mark.parametrize(
    ("host", "without"),
    [
        ("s3.test:443", b"s3.test"),
        ("s3.test:80", b"s3.test"),
        ("[::1]:443", b"[::1]"),
        ("s3.test:8080", None),
        ("s3.test", None),
        ("s3.test:0443", None),
    ],
)
def test_the_default_port_of_a_host(host: str, without: bytes | None) -> None:
    """
    Only the default port of http or https may be left out of what is signed.
    """
    claim = claim_of(in_header(["host", "x-amz-date"]).replace("Host: h\r\n", f"Host: {host}\r\n"))

    portless = claim.canonical_request_without_port()

    assert f"\nhost:{host}\n".encode() in claim.canonical_request()
    assert (portless is None) is (without is None)
    if portless is not None:
        assert b"\nhost:%b\n" % without in portless


@pytest.mark.parametrize(("sent", "is_believed"), [("s3.test:443", True), ("s3.test:80", True), ("s3.test:81", False)])
def test_a_signature_over_a_host_without_its_port(sent: str, is_believed: bool) -> None:
    """
    It is accepted if the port is the default one, and the accepted text is the one that was signed.
    """
    signer = Signer(host="s3.test")
    data, _ = signer.head("GET", "/b/k", payload=EMPTY)
    data = data.replace(b"host: s3.test\r\n", b"host: %b\r\n" % sent.encode())
    head = parse_request_head(data.removesuffix(b"\r\n\r\n"))
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), Realm(), NOW)
    assert claim is not None
    credential = Credential(signer.access_key_id, (signer.secret,))

    if is_believed:
        verify_claim(claim, credential, Realm(), NOW)
        assert claim.verified_text.endswith(
            hashlib.sha256(claim.canonical_request_without_port() or b"").hexdigest().encode()
        )
    else:
        with pytest.raises(SignatureDoesNotMatch):
            verify_claim(claim, credential, Realm(), NOW)
