"""
How a body is received, and which ones are refused before a byte of them is requested.
"""

from __future__ import annotations

import sys

import pytest

from s3proxy.authentication.verdict import NOBODY, Authenticated
from s3proxy.body.intake import FormIntake
from s3proxy.body.plan import BodyLimits, plan_body, plan_form
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier
from s3proxy.s3.classification import classify
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.limits import MAX_OBJECT_SIZE, MAX_POST_REST_SIZE
from s3proxy.s3.operation import PUT_OBJECT
from s3proxy.s3.payload import UNSIGNED, parse_payload

STREAM = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
BUCKET, OBJECT = Address(b"b", b"", b"b", b""), Address(b"b", b"k", b"b", b"k")
GIB = 1 << 30


def head_of(request: str) -> RequestHead:
    """
    A head.
    """
    method, _, headers = request.partition("\n")
    lines = [f"{method} HTTP/1.1", "Host: s3.test", *headers.split("\n")]
    return parse_request_head("\r\n".join(line for line in lines if line).encode())


def refusal(request: str, *, limits: BodyLimits | None = None, credential: Credential = NOBODY) -> str:
    """
    The error code of a plan; empty if there is none.
    """
    head = head_of(request)
    value = head.fields.value(b"x-amz-content-sha256")
    payload = UNSIGNED if value is None else parse_payload(value)
    authenticated = Authenticated(b"K", Carrier.V4_HEADER, credential, frozenset(), payload, None, head)
    address = OBJECT if head.raw_path == b"/b/k" else BUCKET
    try:
        plan_body(head, classify(head, address).operation, authenticated, limits or BodyLimits())
    except S3Error as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("PUT /b/k\nContent-Length: 5", ""),
        (f"PUT /b/k\nContent-Length: {MAX_OBJECT_SIZE}", ""),
        (f"PUT /b/k\nContent-Length: {MAX_OBJECT_SIZE + 1}", "EntityTooLarge"),
        ("PUT /b/k", "MissingContentLength"),
        ("PUT /b/k\nTransfer-Encoding: chunked", "NotImplemented"),
        (f"PUT /b/k\nContent-Length: 99\nx-amz-content-sha256: {STREAM}", "MissingContentLength"),
        (f"PUT /b/k\nContent-Length: 99\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: 5", ""),
        (f"PUT /b/k\nTransfer-Encoding: chunked\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: 5", ""),
        (f"PUT /b/k\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: 5", "MissingContentLength"),
        (
            f"PUT /b/k\nContent-Length: 99\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: +5",
            "MissingContentLength",
        ),
        (
            f"PUT /b/k\nContent-Length: 99\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: {'0' * 20}",
            "MissingContentLength",
        ),
        (
            f"PUT /b/k\nContent-Length: 99\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: {GIB * 6}",
            "EntityTooLarge",
        ),
        (
            f"PUT /b?acl\nContent-Length: 99\nx-amz-content-sha256: {STREAM}\nx-amz-decoded-content-length: 5",
            "InvalidRequest",
        ),
        (f"POST /b/k?uploadId=1\nContent-Length: 99\nx-amz-content-sha256: {STREAM}", "InvalidRequest"),
        ("POST /b?delete\nContent-Length: 99", "InvalidRequest"),
        ("POST /b?delete\nContent-Length: 99\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==", ""),
        ("POST /b?delete\nContent-Length: 99\nx-amz-checksum-crc32: AAAAAA==", ""),
        ("POST /b?delete\nContent-Length: 0\nx-amz-checksum-crc32: AAAAAA==", "MissingRequestBodyError"),
        ("PUT /b?cors\nContent-Length: 99", "InvalidRequest"),
        (f"POST /b/k?uploadId=1\nContent-Length: {4 << 20}", ""),
        (f"POST /b/k?uploadId=1\nContent-Length: {(4 << 20) + 1}", "MaxMessageLengthExceeded"),
        ("DELETE /b/k\nContent-Length: 65536", ""),
        ("DELETE /b/k\nContent-Length: 65537", "InvalidRequest"),
        ("PUT /b/k\nx-amz-copy-source: /b/o\nContent-Length: 65537", "InvalidRequest"),
    ],
)
def test_which_bodies_are_refused(request_: str, code: str) -> None:
    """
    Without a length, too long, without anything that verifies them, or for an operation without a body.
    """
    assert refusal(request_) == code


def test_an_object_of_unknown_length_where_there_is_room() -> None:
    """
    In chunked transfer coding, and then with a limit.
    """
    limits = BodyLimits(spools_unknown_length=True)

    assert refusal("PUT /b/k\nTransfer-Encoding: chunked", limits=limits) == ""
    assert refusal("PUT /b/k", limits=limits) == "MissingContentLength"


@pytest.mark.parametrize(("spools", "streams"), [(False, True), (True, False)])
def test_a_backend_that_commits_short_bodies_gets_verified_ones(spools: bool, streams: bool) -> None:
    """
    Nothing streams to it. A small body never streams to any backend.
    """
    for length, large in ((65537, True), (65536, False)):
        head = head_of(f"PUT /b/k\nContent-Length: {length}")
        authenticated = Authenticated(b"K", Carrier.V4_HEADER, NOBODY, frozenset(), UNSIGNED, None, head)

        plan = plan_body(head, PUT_OBJECT, authenticated, BodyLimits(), spooled_size=sys.maxsize if spools else 0)

        assert plan.streams is (streams and large)
        assert plan.max_held >= length or plan.streams


@pytest.mark.parametrize(("length", "streams"), [(65536, False), (65537, False), (100_000, False), (100_001, True)])
def test_bodies_are_verified_whole_up_to_a_size(length: int, streams: bool) -> None:
    """
    Above that size the end of a body is withheld.
    """
    head = head_of(f"PUT /b/k\nContent-Length: {length}")
    authenticated = Authenticated(b"K", Carrier.V4_HEADER, NOBODY, frozenset(), UNSIGNED, None, head)

    plan = plan_body(head, PUT_OBJECT, authenticated, BodyLimits(), spooled_size=100_000)

    assert plan.streams is streams
    assert plan.max_held >= length or plan.streams


@pytest.mark.parametrize(
    ("exemptions", "code"),
    [
        (frozenset[Exemption](), "InvalidChunkSizeError"),
        (frozenset(Exemption) - {Exemption.CHUNK_SIZE}, "InvalidChunkSizeError"),
        (frozenset({Exemption.CHUNK_SIZE}), ""),
    ],
)
def test_only_an_exempted_key_sends_small_chunks(exemptions: frozenset[Exemption], code: str) -> None:
    """
    A signature for each byte would cost more than it is worth.
    """
    head = head_of("PUT /b/k\nContent-Length: 99\nx-amz-decoded-content-length: 2")
    payload = parse_payload(STREAM.encode())
    credential = Credential("K", ("s",), exemptions=exemptions)
    authenticated = Authenticated(b"K", Carrier.V4_HEADER, credential, frozenset(), payload, None, head)
    decoder = plan_body(head, PUT_OBJECT, authenticated, BodyLimits()).decoder
    assert decoder is not None
    found = ""
    try:
        decoder.feed(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
    except S3Error as error:
        found = error.code

    assert found == code


# Forms


def form_refusal(headers: str) -> str:
    """
    The error code of a form before its first byte.
    """
    head = head_of(f"POST /b\nContent-Type: multipart/form-data; boundary=b\n{headers}")
    try:
        FormIntake(head, BUCKET, BodyLimits(object_size=GIB), lambda: None, lambda error: None)
    except S3Error as error:
        return error.code
    return ""


def test_how_long_a_form_may_be() -> None:
    """
    It must declare its length, which is at most that of an object with the form around it.
    """
    most = GIB + MAX_POST_REST_SIZE

    assert form_refusal("Content-Length: 99") == ""
    assert form_refusal(f"Content-Length: {most}") == ""
    assert form_refusal(f"Content-Length: {most + 1}") == "EntityTooLarge"
    assert form_refusal("Transfer-Encoding: chunked") == "MissingContentLength"
    assert form_refusal("") == "MissingContentLength"


def test_a_form_that_is_shorter_than_its_own_end() -> None:
    """
    If the file's length is predicted, it is not negative.
    """
    head = head_of("PUT /b/k")
    limits = BodyLimits(streams_forms=True)
    end = len(b"\r\n--b--\r\n")

    assert plan_form(100 + end, head, 100, b"b", (), limits).length == 0
    with pytest.raises(S3Error) as refused:
        plan_form(99 + end, head, 100, b"b", (), limits)
    assert refused.value.code == "MalformedPOSTRequest"
    assert plan_form(99 + end, head, 100, b"b", (), BodyLimits()).length is None
