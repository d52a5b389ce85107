"""
Keys that a source gives in place of a secret: each verifies what it was made for, and nothing else.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import InvalidRequest
from s3proxy.sigv4.asymmetric import derive_private_key
from s3proxy.sigv4.given_key import GivenKey, give_public_key, give_signing_key
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import derive_signing_key
from tests.support.carriers import KEY, SECRET, send, signed_by
from tests.support.signer import MODES, SIGNED_CHUNKS, SIGNED_TRAILER, Signer

SCOPE = CredentialScope(b"20260301", b"us-east-1")
SIGNING_KEY = derive_signing_key(SECRET, SCOPE)
PRIVATE = derive_private_key(SECRET, KEY.encode())
DER = PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEM = PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

V4 = ("v4-header", "v4-query", "v4-form", "unsigned-payload", "unsigned-trailer")
V4A = ("v4a-header", "v4a-query")
V2 = ("v2-header", "v2-query", "v2-form")


def credentials(key: GivenKey) -> dict[bytes, Credential]:
    """
    Return a key without its secret.
    """
    return {KEY.encode(): Credential(KEY, (), given_key=key)}


def signing_key(scope: CredentialScope = SCOPE) -> GivenKey:
    """
    Return the signing key of a scope.
    """
    return give_signing_key(derive_signing_key(SECRET, scope), bytes(scope))


async def outcome(carrier: str, key: GivenKey) -> tuple[int, str, int]:
    """
    Send a valid request; return the status, the error code, and how many requests the backend got.
    """
    response, harness = await send(signed_by(carrier), credentials=credentials(key))
    code = response.body.partition(b"<Code>")[2].partition(b"<")[0].decode()
    return response.status, code, len(harness.backend.requests)


@pytest.mark.parametrize("carrier", V4)
@pytest_twisted.ensureDeferred
async def test_a_signing_key_verifies_signature_v4_of_its_scope(carrier: str) -> None:
    """
    In a header, in a query and in a form. That of another day, or of another region, verifies none.
    """
    assert (await outcome(carrier, signing_key()))[1:] == ("", 1)
    for other in (CredentialScope(b"20260302", b"us-east-1"), CredentialScope(b"20260301", b"eu-west-1")):
        assert await outcome(carrier, signing_key(other)) == (403, "SignatureDoesNotMatch", 0)


@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_signing_key_verifies_each_kind_of_body(mode: str) -> None:
    """
    Also the signatures of chunks and of a trailer.
    """
    body = bytes(range(256)) * 600
    response, harness = await send(Signer().put("/b/k", body, mode), credentials=credentials(signing_key()))

    assert response.status == 200
    assert [request.body for request in harness.backend.requests] == [body]


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
@pytest_twisted.ensureDeferred
async def test_a_chunk_that_another_key_signed(mode: str) -> None:
    """
    A signing key that verified the head verifies every chunk.
    """
    body = bytes(200_000)
    request = Signer().put("/b/k", body, mode)
    seed = request.head.rpartition(b"Signature=")[2].strip().decode()
    request.body = Signer(secret="another").encode(body, mode, seed, 65536)

    response, harness = await send(request, credentials=credentials(signing_key()))

    assert (response.status, harness.backend.requests) == (403, [])
    assert b"SignatureDoesNotMatch" in response.body


@pytest_twisted.ensureDeferred
async def test_a_wrong_signing_key() -> None:
    """
    It is for the right scope, and derived from another secret.
    """
    wrong = give_signing_key(derive_signing_key("another", SCOPE), bytes(SCOPE))

    assert await outcome("v4-header", wrong) == (403, "SignatureDoesNotMatch", 0)


@pytest.mark.parametrize("carrier", [*V2, *V4A])
@pytest_twisted.ensureDeferred
async def test_a_signing_key_verifies_nothing_else(carrier: str) -> None:
    """
    The error is that of S3 for a region that knows only Signature V4, and says what to use.
    """
    response, harness = await send(signed_by(carrier), credentials=credentials(signing_key()))

    assert (response.status, harness.backend.requests) == (400, [])
    assert b"<Code>InvalidRequest</Code>" in response.body
    assert b"Please use AWS4-HMAC-SHA256." in response.body


@pytest.mark.parametrize("encoded", [PEM, base64.b64encode(DER).decode(), "\n" + PEM])
@pytest.mark.parametrize("carrier", V4A)
@pytest_twisted.ensureDeferred
async def test_a_public_key_verifies_signature_v4a(carrier: str, encoded: str) -> None:
    """
    In a header and in a query, for any scope.
    """
    assert (await outcome(carrier, give_public_key(encoded)))[1:] == ("", 1)


@pytest_twisted.ensureDeferred
async def test_another_public_key() -> None:
    """
    The key of another access key with the same secret.
    """
    other = derive_private_key(SECRET, b"OTHER").public_key()
    key = give_public_key(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())

    assert await outcome("v4a-header", key) == (403, "SignatureDoesNotMatch", 0)


@pytest.mark.parametrize("carrier", [*V2, *V4])
@pytest_twisted.ensureDeferred
async def test_a_public_key_verifies_nothing_else(carrier: str) -> None:
    """
    The error says what to use.
    """
    response, harness = await send(signed_by(carrier), credentials=credentials(give_public_key(PEM)))

    assert (response.status, harness.backend.requests) == (400, [])
    assert b"Please use AWS4-ECDSA-P256-SHA256." in response.body


def _encoded(key: Any) -> str:
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


PRIVATE_PEM = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "x",
        PRIVATE_PEM,
        base64.b64encode(DER[:-1]).decode(),
        base64.b64encode(DER).decode() + "!",
        PEM.replace("PUBLIC", "CERTIFICATE"),
        _encoded(ec.generate_private_key(ec.SECP384R1()).public_key()),
        _encoded(ed25519.Ed25519PrivateKey.generate().public_key()),
        "\u00e4" + PEM,
        "-----BEGIN \u00e4",
    ],
)
def test_what_is_no_public_key(encoded: str) -> None:
    """
    The message has nothing of it: it may be a private key.
    """
    with pytest.raises(ValueError, match=r"^(neither PEM nor|not a key of the curve)") as raised:
        give_public_key(encoded)

    assert raised.value.__cause__ is None
    assert encoded[30:60] not in str(raised.value) or len(encoded) < 60


@pytest.mark.parametrize("size", [0, 31, 33])
def test_what_is_no_signing_key(size: int) -> None:
    """
    HMAC accepts a key of any length, also an empty one.
    """
    with pytest.raises(ValueError, match="32 bytes"):
        give_signing_key(bytes(size), bytes(SCOPE))


def test_a_signing_key_is_a_secret() -> None:
    """
    No text has it.
    """
    key = signing_key()

    for shown in (repr(key), str(key), f"{Credential(KEY, (), given_key=key)!r}"):
        assert SIGNING_KEY.hex() not in shown
        assert repr(SIGNING_KEY) not in shown


def test_a_key_is_for_its_carriers_and_its_scope() -> None:
    """
    A key with no scope is for any.
    """
    assert len(signing_key().keys_for(Carrier.V4_HEADER, bytes(SCOPE))) == 1
    assert signing_key().keys_for(Carrier.V4_HEADER, b"") == ()
    assert len(give_public_key(PEM).keys_for(Carrier.V4A_QUERY, b"any")) == 1
    for carrier in Carrier:
        if not carrier.value.startswith("v4-"):
            with pytest.raises(InvalidRequest):
                signing_key().keys_for(carrier, bytes(SCOPE))
        if not carrier.value.startswith("v4a-"):
            with pytest.raises(InvalidRequest):
                give_public_key(PEM).keys_for(carrier, bytes(SCOPE))


@pytest.mark.parametrize("carrier", [*V2, *V4, *V4A])
@pytest_twisted.ensureDeferred
async def test_a_credential_with_nothing_to_verify_with(carrier: str) -> None:
    """
    It verifies nothing, rather than everything.
    """
    response, harness = await send(signed_by(carrier), credentials={KEY.encode(): Credential(KEY, ())})

    assert (response.status, harness.backend.requests) == (403, [])
    assert b"SignatureDoesNotMatch" in response.body
