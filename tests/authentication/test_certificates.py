"""
Which access key a client's certificate stands for, and what a request may be that has no other authentication.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from s3proxy.authentication.certificates import admit_certified, certified_key
from s3proxy.authentication.realm import Realm
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import AccessDenied, InvalidAccessKeyId, InvalidArgument, InvalidRequest, InvalidToken, S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from tests.support.harness import NOW

KEYS = {"a.test": b"A", "also.a.test": b"A", "b.test": b"B"}
HEX = "0" * 64


def head_of(*headers: str, method: str = "PUT") -> RequestHead:
    """
    Return the head of a request.
    """
    return parse_request_head("\r\n".join([f"{method} /b/k HTTP/1.1", "Host: s3.test", *headers]).encode())


def admit(*headers: str, credential: Credential | None, refused: frozenset[str] = frozenset()) -> Any:
    """
    Judge a request of the key A.
    """
    return admit_certified(head_of(*headers), b"A", credential, Realm(refused=refused), NOW)


@pytest.mark.parametrize(
    ("names", "refused", "key"),
    [
        (["a.test"], [], b"A"),
        (["other.test", "b.test"], [], b"B"),
        (["a.test", "also.a.test"], [], b"A"),
        (["other.test"], [], None),
        (["*.test", "A.TEST"], [], None),
        ([], [], None),
        (["a.test"], ["certificate"], None),
        (["a.test"], ["v4-header", "anonymous"], b"A"),
    ],
)
def test_the_key_of_a_certificate(names: list[str], refused: list[str], key: bytes | None) -> None:
    """
    The key of a listed name, unless the listener refuses certificates in the place of signatures.
    """
    assert certified_key(names, Realm(client_keys=KEYS, refused=frozenset(refused))) == key


def test_a_certificate_that_stands_for_two_keys_stands_for_none() -> None:
    """
    It would depend on the order of its names.
    """
    with pytest.raises(AccessDenied):
        certified_key(["a.test", "b.test"], Realm(client_keys=KEYS))


def test_a_request_by_certificate() -> None:
    """
    All its headers count as covered: nobody else can have written them.
    """
    known = Credential("A", ("secret",))

    found = admit("x-amz-meta-a: 1", "x-amz-acl: private", credential=known)

    assert (found.access_key_id, found.carrier, found.credential) == (b"A", Carrier.CERTIFICATE, known)
    assert found.signed_headers == {b"host", b"x-amz-meta-a", b"x-amz-acl"}
    assert (found.is_signed_onward, found.chain, found.covered_names, found.exempted) == (True, None, None, ())


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        (None, InvalidAccessKeyId),
        (Credential("A", ("s",), is_disabled=True), InvalidAccessKeyId),
        (Credential("A", ("s",), expires_at=NOW), InvalidAccessKeyId),
        (Credential("A", ("s",), session_token="token"), InvalidAccessKeyId),
        (Credential("A", ("s",), session_token="token", expires_at=NOW + timedelta(days=1)), InvalidAccessKeyId),
        (Credential("A", ("s",), refused=frozenset({"certificate"})), InvalidRequest),
        (Credential("A", ("s",), expires_at=NOW + timedelta(seconds=1)), None),
        (Credential("A", ("s",), refused=frozenset({"v4-header", "anonymous"})), None),
        (Credential("A", ()), None),
    ],
)
def test_the_key_must_be_valid(credential: Credential | None, error: type[S3Error] | None) -> None:
    """
    As for a signature. A temporary key needs its token, which no certificate has.
    """
    if error is None:
        assert admit(credential=credential).access_key_id == b"A"
    else:
        with pytest.raises(error):
            admit(credential=credential)


@pytest.mark.parametrize("session_token", [None, "token"])
def test_a_session_token_is_refused(session_token: str | None) -> None:
    """
    Whichever it is: the request has half of another authentication.
    """
    with pytest.raises(InvalidToken):
        admit("x-amz-security-token: token", credential=Credential("A", ("s",), session_token=session_token))


def test_what_a_web_page_may_have_caused_is_refused() -> None:
    """
    A browser shows its user's certificate also with the requests of other sites' pages, and then names their origin.
    """
    with pytest.raises(AccessDenied) as refusal:
        admit("Origin: https://evil.test", credential=Credential("A", ("s",)))
    assert "Origin" in refusal.value.message


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (None, None),
        (HEX, None),
        ("UNSIGNED-PAYLOAD", None),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", None),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", InvalidRequest),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", InvalidRequest),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", InvalidRequest),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", InvalidRequest),
        ("nonsense", InvalidArgument),
    ],
)
def test_the_payloads_of_a_certificate(payload: str | None, error: type[S3Error] | None) -> None:
    """
    Those that need no signature. Signed chunks have signatures that nothing could verify.
    """
    headers = [] if payload is None else [f"x-amz-content-sha256: {payload}"]
    if error is None:
        found = admit(*headers, credential=Credential("A", ("s",)))
        assert found.payload.sha256 == (HEX.encode() if payload == HEX else None)
    else:
        with pytest.raises(error):
            admit(*headers, credential=Credential("A", ("s",)))


@pytest.mark.parametrize("of_key", [False, True])
@pytest.mark.parametrize(
    ("switch", "payload"),
    [
        ("unsigned-payload", None),
        ("unsigned-payload", "UNSIGNED-PAYLOAD"),
        ("unsigned-trailer", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ],
)
def test_payloads_that_are_switched_off(switch: str, payload: str | None, *, of_key: bool) -> None:
    """
    For a listener or for a key. A body whose hash is given is accepted.
    """
    length = "Content-Length: 1"
    refused, none = frozenset({switch}), frozenset[str]()
    known = Credential("A", ("s",), refused=refused if of_key else none)
    headers = [] if payload is None else [f"x-amz-content-sha256: {payload}"]
    of_listener = none if of_key else refused

    with pytest.raises(AccessDenied):
        admit(length, *headers, credential=known, refused=of_listener)
    admit(length, f"x-amz-content-sha256: {HEX}", credential=known, refused=of_listener)
    admit(*headers, credential=known, refused=of_listener)
