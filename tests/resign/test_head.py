"""
What a signature covers of a body, and the entity tag of an object made of parts.
"""

from __future__ import annotations

import base64
import hashlib

import pytest

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from s3proxy.resign.account import Account
from s3proxy.resign.head import etag_of_parts, sha256_of
from s3proxy.sigv4.signing_key import SigningKeys

HELLO = b"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
NOTHING = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED = b"UNSIGNED-PAYLOAD"


@pytest.mark.parametrize(
    ("signature", "payload", "hello", "nothing"),
    [
        ("v4", "auto", HELLO, NOTHING),
        ("v4", "chunks", HELLO, NOTHING),
        ("v4", "unsigned", UNSIGNED, UNSIGNED),
        ("v2", "auto", UNSIGNED, UNSIGNED),
        ("none", "auto", UNSIGNED, UNSIGNED),
    ],
)
def test_what_a_signature_covers_of_a_body(signature: str, payload: str, hello: bytes, nothing: bytes) -> None:
    """
    The body's SHA-256 if the signature covers it ("Signature Calculations for the Authorization Header"). Signature V2
    never does.
    """
    account = Account(
        PROFILES["generic"], BackendKey("KEY", "secret"), b"store.example.test", signature, SigningKeys(4), payload
    )

    assert account.payload_for(b"hello") == hello
    assert account.payload_for(b"") == nothing
    # A known hash is not computed again.
    known = b"0" * 64
    assert account.payload_for(b"hello", known) == (known if hello == HELLO else UNSIGNED)


def test_a_verified_sha256() -> None:
    """
    The checksum SHA-256 is the hash that Signature V4 covers, in hex; no other checksum is.
    """
    digest = hashlib.sha256(b"hello").digest()
    crc32 = (b"x-amz-checksum-crc32", b"NhCmhg==")

    assert sha256_of([crc32, (b"x-amz-checksum-sha256", base64.b64encode(digest))]) == digest.hex().encode()
    assert sha256_of([crc32]) is None


def md5(content: bytes) -> str:
    """
    Return the digits of an entity tag.
    """
    return hashlib.md5(content).hexdigest()


FIRST = f"<Part><PartNumber>1</PartNumber><ETag>{md5(b'1')}</ETag></Part>"
SECOND = f'<s:Part xmlns:s="u"><s:ETag> &quot;{md5(b"2").upper()}&quot; </s:ETag></s:Part>'


def test_the_entity_tag_of_parts() -> None:
    """
    It is the MD5 of the parts' MD5s, with the number of parts ("Checking object integrity").
    """
    both = hashlib.md5(bytes.fromhex(md5(b"1") + md5(b"2"))).hexdigest()

    assert etag_of_parts(f"<C>{FIRST}</C>".encode()) == f'"{md5(bytes.fromhex(md5(b"1")))}-1"'.encode()
    assert etag_of_parts(f"<C>{FIRST}{SECOND}</C>".encode()) == f'"{both}-2"'.encode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        f"{FIRST}<Part><PartNumber>2</PartNumber></Part>",
        f"{FIRST}<Part><ETag>{md5(b'2')}</ETag><ETag>{md5(b'3')}</ETag></Part>",
        f"{FIRST}<Other><ETag>{md5(b'2')}</ETag></Other>",
        f"{FIRST}<Part><ETag>{md5(b'2')}-2</ETag></Part>",
        f"{FIRST}<Part>",
        f"{FIRST}\0",
    ],
)
def test_no_entity_tag_is_made_up(content: str) -> None:
    """
    If a part has no entity tag, or two, or one that is not an MD5, or if the document is invalid, the backend is to
    judge it.
    """
    assert etag_of_parts(f"<C>{content}</C>".encode()) == b""
