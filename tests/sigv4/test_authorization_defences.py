"""
From a header, a query or a form to a claim: what is refused before a key is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from s3proxy.s3.claim import Waivable
from s3proxy.s3.errors import AuthorizationHeaderMalformed, S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.sigv4 import credential as credentials
from s3proxy.sigv4.claims import SignatureClaim
from s3proxy.sigv4.form import read_form_claim
from s3proxy.sigv4.header import read_header_claim
from s3proxy.sigv4.query import read_query_claim
from tests.support.harness import NOW

REGIONS = (b"us-east-1", b"eu-west-1")
HEX = b"0" * 64
CREDENTIAL = b"K/20260301/us-east-1/s3/aws4_request"
COMPONENTS = b"Credential=%s, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=%s" % (CREDENTIAL, HEX)
HEADERS = (
    (b"Host", b"s3.test"),
    (b"x-amz-date", b"20260301T120000Z"),
    (b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
)
PARAMETERS = {
    b"X-Amz-Algorithm": b"AWS4-HMAC-SHA256",
    b"X-Amz-Credential": CREDENTIAL,
    b"X-Amz-Date": b"20260301T120000Z",
    b"X-Amz-Expires": b"600",
    b"X-Amz-SignedHeaders": b"host",
    b"X-Amz-Signature": HEX,
}
FORM = {
    b"policy": b"e30=",
    b"x-amz-algorithm": b"AWS4-HMAC-SHA256",
    b"x-amz-credential": CREDENTIAL,
    b"x-amz-date": b"20260301T120000Z",
    b"x-amz-signature": HEX,
}


def head_of(*headers: tuple[bytes, bytes], version: bytes = b"HTTP/1.1") -> RequestHead:
    """
    A head with these headers.
    """
    return RequestHead(b"GET", b"/b/k", version, list(headers), index_headers(headers))


def refusal(read: Callable[[], SignatureClaim]) -> str:
    """
    The error code of a claim that is refused, or would be without an exemption; empty if it is a claim.
    """
    try:
        claim = read()
    except S3Error as error:
        return error.code
    return claim.waivable[0][1].code if claim.waivable else ""


def refusal_of_header(components: bytes = COMPONENTS, *headers: tuple[bytes, bytes]) -> str:
    """
    The same for a header.
    """
    head = head_of(*(headers or HEADERS))
    return refusal(lambda: read_header_claim(head, b"AWS4-HMAC-SHA256", components, REGIONS, NOW))


def refusal_of_query(**changes: bytes) -> str:
    """
    The same for a query.
    """
    parameters = {**PARAMETERS, **{f"X-Amz-{name}".encode(): value for name, value in changes.items()}}
    return refusal(lambda: read_query_claim(head_of(HEADERS[0]), parameters, REGIONS, NOW))


def refusal_of_form(**changes: bytes) -> str:
    """
    The same for a form.
    """
    fields = {**FORM, **{f"x-amz-{name}".encode(): value for name, value in changes.items()}}
    return refusal(lambda: read_form_claim(head_of(HEADERS[0]), fields, REGIONS))


def test_what_is_right() -> None:
    """
    Each of them makes a claim.
    """
    assert [refusal_of_header(), refusal_of_query(), refusal_of_form()] == ["", "", ""]


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"K",
        b"K/20260301/us-east-1/s3",
        b"K/20260301/us-east-1/s3/aws4_request/",
        b"/20260301/us-east-1/s3/aws4_request",
        b"K/20260301//s3/aws4_request",
        b"K/20260301/us-west-2/s3/aws4_request",
        b"K/20260301/us-east-1/ec2/aws4_request",
        b"K/20260301/us-east-1/s3/aws5_request",
        b"K/20260302/us-east-1/s3/aws4_request",
        b"K/20261301/us-east-1/s3/aws4_request",
        b"K/2026031/us-east-1/s3/aws4_request",
    ],
)
def test_a_credential_with_a_fault(credential: bytes) -> None:
    """
    It is refused at every place, and also the second time: the cache of credentials hides no fault.
    """
    for _ in range(2):
        assert refusal_of_header(COMPONENTS.replace(CREDENTIAL, credential)) == "AuthorizationHeaderMalformed"
        assert refusal_of_query(Credential=credential) == "AuthorizationQueryParametersError"
        assert refusal_of_form(credential=credential) == "InvalidArgument"


def test_only_short_credentials_are_remembered() -> None:
    """
    Long ones from unknown clients would fill memory.
    """
    remembered = credentials._read_sound_credential.cache_info
    name = b"K" * 300
    before = remembered().currsize + remembered().misses

    assert refusal_of_header(COMPONENTS.replace(b"=K/", b"=" + name + b"/")) == ""

    assert remembered().currsize + remembered().misses == before
    assert remembered().maxsize is not None


@pytest.mark.parametrize(
    "components",
    [
        COMPONENTS + b", Signature=" + HEX,
        COMPONENTS + b", Credential=" + CREDENTIAL,
        COMPONENTS + b", more",
        COMPONENTS + b",",
        COMPONENTS.replace(b"Signature=" + HEX, b"Signature="),
        COMPONENTS.replace(b", Signature=" + HEX, b""),
        COMPONENTS.replace(b"Credential=", b"Credentials="),
        COMPONENTS.replace(b"SignedHeaders=host;x-amz-content-sha256;x-amz-date", b"SignedHeaders="),
        b"",
    ],
)
def test_components_come_once_and_are_no_other(components: bytes) -> None:
    """
    If there are two, two readers could use different ones; and readers skip what they do not know.
    """
    assert refusal_of_header(components) == "AuthorizationHeaderMalformed"


def test_components_in_another_order() -> None:
    """
    They are read one by one.
    """
    first, second, third = COMPONENTS.split(b", ")

    assert refusal_of_header(b"%s ,%s,\t%s" % (third, first, second)) == ""


@pytest.mark.parametrize(
    "header",
    [(b"x-amz-acl", b"private"), (b"X-Amz-Copy-Source", b"/b/k"), (b"content-md5", b"AA=="), (b"x-amz-meta-a", b"1")],
)
def test_a_header_that_no_signature_covers(header: tuple[bytes, bytes]) -> None:
    """
    Anyone on the way could have added it.
    """
    assert refusal_of_header(COMPONENTS, *HEADERS, header) == "AccessDenied"
    assert refusal_of_header(COMPONENTS, *HEADERS, (b"accept", b"*/*")) == ""


def test_a_host_is_signed_also_where_there_is_none() -> None:
    """
    HTTP/1.0 may have no Host; whoever added one would choose the bucket.
    """
    components = COMPONENTS.replace(b"host;", b"")

    assert refusal_of_header(components) == "AccessDenied"
    assert refusal_of_header(components, *HEADERS[1:]) == "AccessDenied"
    assert refusal_of_header(COMPONENTS, *HEADERS[1:]) == ""


@pytest.mark.parametrize(
    ("expires", "code"),
    [
        (b"604800", ""),
        (b"+0000604800", ""),
        (b"0", ""),
        (b"604801", "AuthorizationQueryParametersError"),
        (b"999999999", "AuthorizationQueryParametersError"),
        (b"1000000000", "AuthorizationQueryParametersError"),
        (b"9" * 5000, "AuthorizationQueryParametersError"),
        (b"-1", "AuthorizationQueryParametersError"),
        (b"-0", "AuthorizationQueryParametersError"),
        (b"1e3", "AuthorizationQueryParametersError"),
        (b" 1", "AuthorizationQueryParametersError"),
        (b"", "AuthorizationQueryParametersError"),
    ],
)
def test_for_how_long_a_url_is_good(expires: bytes, code: str) -> None:
    """
    A number of seconds, at most a week; thousands of digits do not raise an exception of Python.
    """
    assert refusal_of_query(Expires=expires) == code


@pytest.mark.parametrize(
    ("passed", "code"),
    [
        (timedelta(seconds=-901), "AccessDenied"),
        (timedelta(seconds=-900), ""),
        (timedelta(seconds=600), ""),
        (timedelta(seconds=601), "AccessDenied"),
    ],
)
def test_when_a_url_is_good(passed: timedelta, code: str) -> None:
    """
    From 15 minutes before its date to its end.
    """
    try:
        claim = read_query_claim(head_of(HEADERS[0]), PARAMETERS, REGIONS, NOW + passed)
    except S3Error as error:
        found = error.code
    else:
        found = claim.waivable[0][1].code if claim.waivable else ""

    assert found == code


@pytest.mark.parametrize(
    ("passed", "code"),
    [
        (timedelta(seconds=-901), "RequestTimeTooSkewed"),
        (timedelta(seconds=-900), ""),
        (timedelta(seconds=900), ""),
        (timedelta(seconds=901), "RequestTimeTooSkewed"),
    ],
)
def test_when_a_header_is_good(passed: timedelta, code: str) -> None:
    """
    15 minutes before and after its date.
    """
    claim = read_header_claim(head_of(*HEADERS), b"AWS4-HMAC-SHA256", COMPONENTS, REGIONS, NOW + passed)

    assert [error.code for _, error in claim.waivable] == ([code] if code else [])


@pytest.mark.parametrize("name", sorted(PARAMETERS.keys() - {b"X-Amz-Algorithm"}))
@pytest.mark.parametrize("is_there", [False, True])
def test_each_parameter_is_needed(name: bytes, *, is_there: bool) -> None:
    """
    A missing or empty parameter is refused.
    """
    parameters = {**PARAMETERS, name: b""}
    if not is_there:
        del parameters[name]

    with pytest.raises(S3Error) as refusal:
        read_query_claim(head_of(HEADERS[0]), parameters, REGIONS, NOW)
    assert refusal.value.code == "AuthorizationQueryParametersError"


def test_the_first_fault_is_told() -> None:
    """
    A fault that a key may be exempted from is reported before the faults after it.
    """
    late = (HEADERS[0], (b"x-amz-date", b"20260201T120000Z"), HEADERS[2])

    assert refusal_of_header(COMPONENTS.replace(b"/s3/", b"/ec2/"), *late) == "RequestTimeTooSkewed"
    assert refusal_of_header(COMPONENTS.replace(b"/20260301/", b"/20260201/"), *late) == "RequestTimeTooSkewed"
    assert refusal_of_header(b"Credential=x", *late) == "RequestTimeTooSkewed"
    other = COMPONENTS.replace(b"/us-east-1/s3/", b"/us-west-2/ec2/")
    assert refusal_of_header(other, *late) == "RequestTimeTooSkewed"
    assert refusal_of_header(COMPONENTS.replace(b"/us-east-1/", b"/us-west-2/"), *late) == "RequestTimeTooSkewed"


@pytest.mark.parametrize("algorithm", [b"AWS4-ECDSA-P256-SHA256", b"aws4-hmac-sha256", b""])
def test_the_algorithm_of_a_form(algorithm: bytes) -> None:
    """
    Only one is accepted.
    """
    assert refusal_of_form(algorithm=algorithm) == "InvalidArgument"


@pytest.mark.parametrize("date", [b"20260301", b"Sun, 01 Mar 2026 12:00:00 GMT", b"20260301T120000", b""])
def test_the_date_of_a_form(date: bytes) -> None:
    """
    It is in the basic format.
    """
    assert refusal_of_form(date=date) == "InvalidArgument"


def test_a_payload_must_be_named_in_a_header_request() -> None:
    """
    Without x-amz-content-sha256, nothing says what covers the body.
    """
    assert refusal_of_header(COMPONENTS, *HEADERS[:2]) == "InvalidRequest"


# The contents of a claim's canonical request


def claim_of_header(target: bytes = b"/b/k", components: bytes = COMPONENTS) -> SignatureClaim:
    """
    The claim of a header request.
    """
    head = RequestHead(b"GET", target, b"HTTP/1.1", list(HEADERS), index_headers(HEADERS))
    return read_header_claim(head, b"AWS4-HMAC-SHA256", components, REGIONS, NOW)


def claim_of_query(query: bytes = b"", **changes: bytes) -> SignatureClaim:
    """
    The claim of a presigned request.
    """
    parameters = {**PARAMETERS, **{f"X-Amz-{name}".encode(): value for name, value in changes.items()}}
    target = b"/b/k?" + b"&".join([b"%s=%s" % item for item in parameters.items()]) + query
    return read_query_claim(
        RequestHead(b"GET", target, b"HTTP/1.1", [HEADERS[0]], index_headers([HEADERS[0]])), parameters, REGIONS, NOW
    )


def test_a_header_request_signs_its_whole_query() -> None:
    """
    This includes a parameter with the name of a URL's signature: anyone could have added it.
    """
    claim = claim_of_header(b"/b/k?X-Amz-Signature=1&a=2")

    assert claim.canonical_request().split(b"\n")[2] == b"X-Amz-Signature=1&a=2"
    assert not claim.is_presigned
    assert not claim.is_asymmetric


def test_a_url_signs_all_of_its_query_but_the_signature() -> None:
    """
    Names and values, sorted.
    """
    claim = claim_of_query(b"&b=1&a=2")

    query = claim.canonical_request().split(b"\n")[2]
    assert query.startswith(b"X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    assert query.endswith(b"&a=2&b=1")
    assert b"X-Amz-Signature" not in query
    assert claim.is_presigned


def test_a_header_in_a_query() -> None:
    """
    In a presigned URL, a parameter may stand for a signed header that was not sent. In a header request none may.
    """
    claim = claim_of_query(b"&x-amz-acl=private", SignedHeaders=b"host;x-amz-acl")
    assert b"x-amz-acl:private\n" in claim.canonical_request()
    assert claim.head.fields.value(b"x-amz-acl") is None or claim.head.fields.value(b"x-amz-acl") == b"private"

    claim = claim_of_header(b"/b/k?x-amz-acl=private", COMPONENTS.replace(b"x-amz-date,", b"x-amz-acl;x-amz-date,"))
    assert b"x-amz-acl:\n" in claim.canonical_request()


def test_the_first_fault_of_a_url_is_told() -> None:
    """
    If the URL is not valid yet, this is reported before a fault of its credential.
    """
    early = NOW - timedelta(hours=1)
    for credential in (b"x", b"K/20260301/us-east-1/ec2/aws4_request", b"K/20260302/us-east-1/s3/aws4_request"):
        with pytest.raises(S3Error) as refusal:
            read_query_claim(head_of(HEADERS[0]), {**PARAMETERS, b"X-Amz-Credential": credential}, REGIONS, early)
        assert (refusal.value.code, refusal.value.message) == ("AccessDenied", "Request is not yet valid")


def test_a_refusal_names_the_first_of_our_regions() -> None:
    """
    The client signs again for that region.
    """
    wrong = b"K/20260301/us-west-2/s3/aws4_request"
    claim = claim_of_header(components=COMPONENTS.replace(CREDENTIAL, wrong))
    assert dict(claim.waivable[0][1].elements)["Region"] == b"us-east-1"

    head = head_of(*HEADERS, (b"x-amz-region-set", b"us-west-2"))
    components = COMPONENTS.replace(CREDENTIAL, b"K/20260301/s3/aws4_request").replace(
        b"date,", b"date;x-amz-region-set,"
    )
    claim = read_header_claim(head, b"AWS4-ECDSA-P256-SHA256", components, REGIONS, NOW)
    assert dict(claim.waivable[0][1].elements)["RequestedRegion"] == b"us-east-1"
    assert claim.is_asymmetric


def test_no_text_of_a_claim_holds_its_signature() -> None:
    """
    The signature could be sent again.
    """
    form = read_form_claim(head_of(HEADERS[0]), FORM, REGIONS)

    for claim in (claim_of_header(), claim_of_query(), form):
        assert HEX.decode() not in repr(claim)


@pytest.mark.parametrize(("size", "is_waivable"), [(64, True), (65, False), (60_000, False)])
def test_no_exemption_accepts_a_long_region(size: int, is_waivable: bool) -> None:
    """
    The signing key of each region is kept before the signature is verified.
    """
    waivable: Waivable = []
    credential = b"AKIDEXAMPLE/20260301/%s/s3/aws4_request" % (b"r" * size)

    if is_waivable:
        credentials.read_credential(credential, (b"us-east-1",), AuthorizationHeaderMalformed, waivable)
        assert [exemption for exemption, _ in waivable] == [Exemption.REGION]
    else:
        with pytest.raises(AuthorizationHeaderMalformed):
            credentials.read_credential(credential, (b"us-east-1",), AuthorizationHeaderMalformed, waivable)
        assert waivable == []
