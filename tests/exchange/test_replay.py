"""
A request that changes something passes once within the window, however often and in whichever spelling it is sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from s3proxy.exchange.replay import ReplayWindow
from s3proxy.resign.presign import presign
from s3proxy.s3.credential import Credential
from s3proxy.sigv4.asymmetric import derive_private_key
from tests.support.harness import NOW, SERVER, data_set_credentials
from tests.support.memory import MemoryProxy
from tests.support.signer import EMPTY, HASH, SIGNED_CHUNKS, UNSIGNED, Signer

KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
HOST = "s3.example.test"

Write = Callable[[str], bytes]
"""
Makes a request with the given text of its signature.
"""


def proxy() -> MemoryProxy:
    """
    Return a proxy with a window. Its clock advances one hour with each request.
    """
    return MemoryProxy(replay_window=ReplayWindow(86400, 100))


def v4a_header(key: str = KEY, secret: str = SECRET, method: str = "PUT") -> tuple[str, Write]:
    """
    Return the signature of a SigV4A request, and what writes the request.
    """
    date = NOW.strftime("%Y%m%dT%H%M%SZ")
    fields = {"host": HOST, "x-amz-content-sha256": EMPTY, "x-amz-date": date, "x-amz-region-set": "*"}
    names = ";".join(fields)
    lines = "".join(f"{name}:{value}\n" for name, value in fields.items())
    canonical = f"{method}\n/test-bucket/k\n\n{lines}\n{names}\n{EMPTY}"
    scope = f"{date[:8]}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-ECDSA-P256-SHA256\n{date}\n{scope}\n{digest}"
    signature = derive_private_key(secret, key.encode()).sign(text.encode(), ec.ECDSA(hashes.SHA256())).hex()
    headers = "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    def write(shown: str) -> bytes:
        return (
            f"{method} /test-bucket/k HTTP/1.1\r\n{headers}Content-Length: 0\r\nAuthorization: AWS4-ECDSA-P256-SHA256 "
            f"Credential={key}/{scope}, SignedHeaders={names}, Signature={shown}\r\n\r\n"
        ).encode()

    return signature, write


def presigned(signature: str, method: str = "PUT") -> tuple[str, Write]:
    """
    Return the signature of a presigned request, and what writes the request.
    """
    url = presign(
        f"http://{HOST}/test-bucket/k", data_set_credentials()[KEY.encode()], NOW, method=method, signature=signature
    )
    parts = urlsplit(url)
    query, mark, made = parts.query.rpartition("Signature=")

    def write(shown: str) -> bytes:
        target = f"{parts.path}?{query}{mark}{shown}"
        return f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n".encode()

    return made, write


def v2_header(
    target: str, resource: str, method: str = "PUT", key: str = KEY, secret: str = SECRET
) -> tuple[str, Write]:
    """
    Return the signature of a Signature V2 request, and what writes the request.
    """
    text = f"{method}\n\n\n{DATE}\n{resource}"
    signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()

    def write(shown: str) -> bytes:
        return (
            f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\nDate: {DATE}\r\nContent-Length: 0\r\n"
            f"Authorization: AWS {key}:{shown}\r\n\r\n"
        ).encode()

    return signature, write


def whole(mode: str) -> bytes:
    """
    Return a whole PUT of Signature V4 in one of the payload modes.
    """
    request = Signer().put("/test-bucket/k", b"hello", mode)
    return request.head + request.body


CARRIERS: dict[str, Callable[[], bytes]] = {
    "v4-header": lambda: whole(HASH),
    "v4-header, unsigned payload": lambda: whole(UNSIGNED),
    "v4-header, chunks": lambda: whole(SIGNED_CHUNKS),
    "v4-query": lambda: written(presigned("v4")),
    "v4a-header": lambda: written(v4a_header()),
    "v4a-query": lambda: written(presigned("v4a")),
    "v2-header": lambda: written(v2_header("/test-bucket/k", "/test-bucket/k")),
    "v2-query": lambda: written(presigned("v2")),
}


def written(signed: tuple[str, Write]) -> bytes:
    """
    Return a request with its original signature.
    """
    signature, write = signed
    return write(signature)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_request_passes_once(carrier: str) -> None:
    """
    With every carrier, and it reaches the backend once.
    """
    sent, harness = CARRIERS[carrier](), proxy()

    first, second = harness.send(sent), harness.send(sent)

    assert (first.statuses, len(first.stored)) == ((200,), 1)
    assert (second.statuses[0], second.codes[0], len(second.stored)) == (403, "AccessDenied", 0)


def other_s(signature: str) -> str:
    """
    Return the second valid ECDSA signature of a text, which anyone can compute from the first.
    """
    r, s = decode_dss_signature(bytes.fromhex(signature))
    return encode_dss_signature(r, ORDER - s).hex()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "one digit in upper case": lambda text: text.replace("a", "A", 1).replace("b", "B", 1),
    "n - s": other_s,
    "n - s in upper case": lambda text: other_s(text).upper(),
}


@pytest.mark.parametrize("signed", [v4a_header, lambda: presigned("v4a")], ids=["header", "query"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_an_ecdsa_signature(spelling: str, signed: Callable[[], tuple[str, Write]]) -> None:
    """
    Each of them verifies, and is the same request. No key is needed to write it.
    """
    signature, write = signed()
    other = write(SPELLINGS[spelling](signature))

    assert proxy().send(other).statuses == (200,), "it does not even verify"
    harness = proxy()
    assert harness.send(write(signature)).statuses == (200,)
    assert harness.send(other).codes == ("AccessDenied",)


@pytest.mark.parametrize("carrier", ["v4a-header", "v4a-query"])
def test_a_request_signed_again_within_its_second(carrier: str) -> None:
    """
    ECDSA makes another signature each time, HMAC the same one: the window treats both alike.
    """
    harness = proxy()

    assert harness.send(CARRIERS[carrier]()).statuses == (200,)
    assert harness.send(CARRIERS[carrier]()).codes == ("AccessDenied",)


@pytest.mark.parametrize(
    ("signed", "spellings"),
    [
        (lambda: presigned("v4"), [str.upper]),
        (
            lambda: v2_header("/test-bucket/k", "/test-bucket/k"),
            # A base64 text of 20 bytes has two unused bits.
            [
                lambda text: text.rstrip("="),
                lambda text: text + "=",
                lambda text: f"{text[:-2]}{chr(ord(text[-2]) + 1)}=",
            ],
        ),
        (
            lambda: presigned("v2"),
            [lambda text: text + "%20", lambda text: text + "%0A", lambda text: text.replace("%3D", "")],
        ),
    ],
    ids=["v4", "v2-header", "v2-query"],
)
def test_another_spelling_of_an_hmac_verifies_nowhere(
    signed: Callable[[], tuple[str, Write]], spellings: list[Callable[[str], str]]
) -> None:
    """
    Hex in upper case, base64 without padding, with white space, or with other unused bits: not a valid signature.
    """
    signature, write = signed()

    assert proxy().send(write(signature)).statuses == (200,)
    for spell in spellings:
        assert spell(signature) != signature
        assert proxy().send(write(spell(signature))).codes == ("SignatureDoesNotMatch",)


def test_an_escape_is_no_other_request() -> None:
    """
    What decodes to the same query and path has the same string to sign.
    """
    signature, write = presigned("v4")
    sent = write(signature)
    harness = proxy()

    assert harness.send(sent).statuses == (200,)
    for other in (
        sent.replace(b"/test-bucket/k?", b"/test-bucket/%6B?"),
        sent.replace(b"X-Amz-SignedHeaders=host", b"X-Amz-SignedHeaders=%68ost"),
        sent.replace(b"?X-Amz-", b"?&X-Amz-", 1),
    ):
        assert other != sent
        assert proxy().send(other).statuses == (200,)
        assert harness.send(other).codes == ("AccessDenied",)


@pytest.mark.parametrize("first", ["/test-bucket", "/test-bucket/"])
def test_two_names_of_a_bucket_under_v2(first: str) -> None:
    """
    boto3 signs the name with a slash and sends it without: one signature passes once, for either path.
    """
    signature, write = v2_header("/test-bucket", "/test-bucket/")
    second = {"/test-bucket": "/test-bucket/", "/test-bucket/": "/test-bucket"}[first]
    sent = write(signature)
    harness = proxy()

    assert harness.send(sent.replace(b"PUT /test-bucket ", b"PUT %b " % first.encode())).statuses == (200,)
    assert harness.send(sent.replace(b"PUT /test-bucket ", b"PUT %b " % second.encode())).codes == ("AccessDenied",)


def test_one_text_of_two_keys() -> None:
    """
    The V2 string to sign names no key: what two clients send in the same second are two requests.
    """
    credentials = data_set_credentials()
    credentials[b"OTHER"] = Credential("OTHER", ("another secret",))
    harness = MemoryProxy(replay_window=ReplayWindow(86400, 100), credentials=credentials)

    assert harness.send(written(v2_header("/test-bucket/k", "/test-bucket/k"))).statuses == (200,)
    other = written(v2_header("/test-bucket/k", "/test-bucket/k", key="OTHER", secret="another secret"))
    assert harness.send(other).statuses == (200,)
    assert harness.send(other).codes == ("AccessDenied",)


@pytest.mark.parametrize("signature", ["v4", "v4a", "v2"])
def test_a_read_passes_again(signature: str) -> None:
    """
    It changes nothing.
    """
    sent, harness = written(presigned(signature, method="GET")), proxy()

    assert [harness.send(sent).statuses for _ in range(3)] == [(200,)] * 3


def test_what_is_not_verified_is_not_remembered() -> None:
    """
    An attacker who knows only the text cannot use up another client's request. An entry has a fixed size.
    """
    window = ReplayWindow(86400, 100)
    harness = MemoryProxy(replay_window=window)
    signature, write = v4a_header()
    wrong = write("30" + signature[2:-1] + ("0" if signature[-1] != "0" else "1"))

    assert harness.send(wrong).codes == ("SignatureDoesNotMatch",)
    assert len(window) == 0
    assert harness.send(write(signature)).statuses == (200,)
    assert {len(fingerprint) for own in window._of_key.values() for fingerprint in own} == {32}
