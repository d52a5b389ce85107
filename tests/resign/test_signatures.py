"""
What a backend gets is signed as public signers sign it, and has nothing of the client's credentials.
"""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey, Profile
from s3proxy.resign.account import Account
from s3proxy.resign.head import backend_head, strip_checksum_elements
from s3proxy.resign.headers import strike_aws_chunked
from s3proxy.resign.target import backend_query
from s3proxy.resign.v2 import string_to_sign
from s3proxy.s3.head import parse_request_head
from s3proxy.sigv4.signing_key import SigningKeys
from tests.support.harness import VECTORS

KEY = BackendKey("BACKENDKEY", "the/backend+secret")
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def account(signature: str, profile: str = "generic") -> Account:
    """
    Our account on a backend.
    """
    return Account(PROFILES[profile], KEY, b"store.example.test:7480", signature, SigningKeys(4))


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/bucket/key",
        "/bucket/a%20b%C3%A4",
        "/bucket/a//b/../c",
        "/b/k?uploads",
        "/b?prefix=a%2Fb&list-type=2&x=",
        "/b/~",
    ],
)
def test_v4_as_botocore_signs(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If botocore signs the same request over the headers that s3proxy signs, the signature is the same.
    """
    head = backend_head(
        account("v4"),
        b"GET",
        target.encode(),
        [(b"Content-Type", b"text/plain"), (b"x-amz-meta-a", b" b   c "), (b"User-Agent", b"x")],
        None,
        b"UNSIGNED-PAYLOAD",
        NOW,
    )
    parsed = parse_request_head(head[:-4])
    authorization = parsed.fields.value(b"authorization")
    assert authorization is not None
    request = AWSRequest("GET", f"http://store.example.test:7480{target}")
    for name, value in parsed.headers:
        if name.lower() not in {b"authorization", b"user-agent", b"host"}:
            request.headers[name.decode()] = value.decode()
    request.context["timestamp"] = "20260301T120000Z"
    auth = S3SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), "s3", "us-east-1")
    monkeypatch.setattr(auth, "payload", lambda request: "UNSIGNED-PAYLOAD")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    wanted = auth.signature(text, request)

    assert authorization.rpartition(b"Signature=")[2].decode() == wanted


V2 = [v for v in json.loads((VECTORS / "vectors" / "s3-sigv2.json").read_text())["vectors"] if v["carrier"] == "header"]


@pytest.mark.parametrize("vector", V2, ids=lambda vector: vector["name"])
def test_v2_as_published(vector: dict[str, Any]) -> None:
    """
    The string to sign and the signature are those of the documentation.
    """
    request = vector["request"]
    target = (vector.get("resource_prefix") or "") + request["target"]
    headers = [(name.encode(), value.encode()) for name, value in request["headers"] if name.lower() != "authorization"]

    text = string_to_sign(request["method"].encode(), target.encode(), headers, Profile("x"))

    assert text.decode() == vector["expected"]["string_to_sign"]
    digest = base64.b64encode(hmac.digest(vector["credentials"]["secret_key"].encode(), text, "sha1")).decode()
    assert digest == vector["expected"]["signature"]


def test_walrus_gets_no_iso_date() -> None:
    """
    Only an RFC 1123 Date, below the service path.
    """
    head = backend_head(account("v2", "walrus-3.4"), b"PUT", b"/services/Walrus/b/k", [], 5, b"", NOW)

    parsed = parse_request_head(head[:-4])
    assert parsed.fields.value(b"date") == b"Sun, 01 Mar 2026 12:00:00 GMT"
    assert b"x-amz-date" not in parsed.fields
    assert b"x-amz-content-sha256" not in parsed.fields


@pytest.mark.parametrize(
    ("coding", "kept"),
    [
        (b"aws-chunked", b""),
        (b"aws-chunked,gzip", b"gzip"),
        (b"gzip,aws-chunked", b"gzip"),
        (b"gzip, aws-chunked, br", b"gzip, br"),
        (b"AWS-Chunked", b""),
        (b"gzip", b"gzip"),
    ],
)
def test_aws_chunked_is_struck(coding: bytes, kept: bytes) -> None:
    """
    The rest of Content-Encoding and its order stay.
    """
    assert strike_aws_chunked(coding) == kept


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (None, None),
        (b"", b""),
        (b"X-Amz-Signature=a", None),
        (b"a&X-Amz-Signature=a&b", b"a&b"),
        (b"x&&a=", b"a="),
        (b"&&a=&", b"&&a=&"),
        (b"&&", b"&&"),
        (b"X%2DAmz-Signature=a&b=%2b+", b"b=%2b+"),
        (b"%61=1&%62", b"a=1&b"),
    ],
)
def test_what_is_not_known_is_cut_out_of_the_query(query: bytes | None, kept: bytes | None) -> None:
    """
    Each unknown parameter is removed with one ``&``. What passes has its name in S3's spelling, and its value byte for
    byte.
    """
    assert backend_query(query, frozenset({b"a", b"b"})) == kept


def test_checksum_elements_are_removed() -> None:
    """
    A backend that does not support checksums gets none in CompleteMultipartUpload.
    """
    document = b"<C><Part><ETag>a</ETag><ChecksumCRC32>x==</ChecksumCRC32><PartNumber>1</PartNumber></Part></C>"

    assert strip_checksum_elements(document) == b"<C><Part><ETag>a</ETag><PartNumber>1</PartNumber></Part></C>"


def test_a_key_does_not_tell_its_secret() -> None:
    """
    Neither in its repr, nor in that of an object that holds it.
    """
    assert KEY.secret_access_key not in repr(KEY)
    assert KEY.secret_access_key not in repr(account("v4"))


@pytest.mark.parametrize(
    ("query", "generic", "ceph"),
    [
        (b"object-lock=", b"/b?object-lock", b"/b"),
        (b"encryption", b"/b?encryption", b"/b"),
        (b"restore&versionId=1", b"/b?restore&versionId=1", b"/b?versionId=1"),
        (b"tagging&policyStatus", b"/b?policyStatus&tagging", b"/b?policyStatus&tagging"),
    ],
)
def test_v2_covers_what_the_backend_covers(query: bytes, generic: bytes, ceph: bytes) -> None:
    """
    Ceph RGW 16.2 leaves the sub-resources that it supports only since later versions out of Signature V2.
    """
    signed = {
        name: string_to_sign(b"GET", b"/b?" + query, [(b"Date", b"x")], PROFILES[name]).rpartition(b"\n")[2]
        for name in ("generic", "ceph-rgw")
    }

    assert signed == {"generic": generic, "ceph-rgw": ceph}
