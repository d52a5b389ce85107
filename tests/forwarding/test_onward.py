"""
What is sent to a backend: each object of a document is checked like a separate request.
"""

from __future__ import annotations

from typing import Any, cast

import pytest

from s3proxy.authentication.verdict import NOBODY, Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.forwarding.besides import delete_one
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.deletions import Deletion
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.account import Account
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.s3.operation import BodyUse
from s3proxy.s3.payload import UNSIGNED
from s3proxy.sigv4.signing_key import SigningKeys
from tests.support.harness import BACKEND_KEY, NOW

HEADERS = [(b"Host", b"s3.test"), (b"content-md5", b"AA==")]


def onward(
    profile: str, bucket: bytes = b"b", *, is_signed: bool = True, method: bytes = b"POST", query: bytes = b"?delete"
) -> Onward:
    """
    Return a request to the backend.
    """
    head = RequestHead(method, b"/" + bucket + query, b"HTTP/1.1", HEADERS, index_headers(HEADERS))
    account = Account(PROFILES[profile], BACKEND_KEY, b"backend", "v4", SigningKeys(4))
    authenticated = Authenticated(
        b"K", Carrier.V4_HEADER, NOBODY, frozenset({b"host"}), UNSIGNED, None, head, is_signed_onward=is_signed
    )
    address = Address(bucket, b"", bucket, b"")
    backend = Backend("b", cast("Any", None), account)
    return Onward(head, address, classify(head, address), authenticated, backend, ())


def refusal(profile: str, deletion: Deletion, bucket: bytes = b"b") -> str:
    """
    Return the error code for an object; empty if it is sent to the backend.
    """
    try:
        request = delete_one(onward(profile, bucket), deletion, NOW)
    except S3Error as error:
        return error.code
    assert request.head.startswith(b"DELETE /")
    return ""


@pytest.mark.parametrize(
    ("deletion", "bucket", "code"),
    [
        (Deletion("k"), b"b", ""),
        (Deletion("k", "v1"), b"b", ""),
        (Deletion("k" * 1024), b"b", ""),
        (Deletion("k" * 1025), b"b", "KeyTooLongError"),
        (Deletion("k", conditions=(("ETag", "e"),)), b"b", "NotImplemented"),
        (Deletion("k"), b"services", "AccessDenied"),
        (Deletion("a\x01"), b"b", "InvalidArgument"),
        (Deletion("k", " \t"), b"b", "InvalidArgument"),
    ],
)
def test_each_object_is_judged(deletion: Deletion, bucket: bytes, code: str) -> None:
    """
    Checked are its key, its condition, the backend's private paths, and what the backend cannot store.
    """
    assert refusal("walrus-3.4", deletion, bucket) == code


def test_keys_of_a_document_are_looked_at() -> None:
    """
    A backend that confuses two keys would delete the wrong one.
    """
    document = b"<Delete><Object><Key>a//b</Key></Object></Delete>"

    with pytest.raises(S3Error) as refused:
        onward("versitygw").read_document(document)
    assert refused.value.code == "InvalidArgument"
    onward("generic").read_document(document)
    onward("versitygw").read_document(document.replace(b"//", b"/"))


@pytest.mark.parametrize("is_signed", [True, False])
def test_what_nobody_signed_does_not_get_our_signature(is_signed: bool) -> None:
    """
    The backend judges it as anonymous.
    """
    asked = onward("generic", is_signed=is_signed, method=b"GET", query=b"")

    request = asked.request(BodyUse.NONE, b"", [], NOW)

    assert (b"Authorization: " in request.head) is is_signed
    assert (b"BACKENDKEY" in request.head) is is_signed
