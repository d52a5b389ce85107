"""
Bytes which nobody should send: whole requests of the data set and of the suite's own signers, changed at random.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.harness import VECTORS, in_transfer_chunks, load_cases, material
from tests.support.signer import MODES, UNSIGNED, SignedRequest, Signer

MAX_SEED_SIZE = 30_000
"Longer cases of the data set are left to the tests that run them unchanged."

TOKENS = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\x00",
    b"\xff",
    b"\xc3\xa9",
    b"%00",
    b"%",
    b"%2F",
    b"/../",
    b"?",
    b"&",
    b"=",
    b";chunk-signature=",
    b"0;chunk-signature=",
    b"0\r\n\r\n",
    b"x-amz-checksum-crc32:",
    b"x-amz-trailer-signature:",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 18446744073709551616\r\n",
    b"Content-Length: -1\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close, host\r\n",
    b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n",
    b"x-amz-decoded-content-length: 99999999999999999999\r\n",
    b"x-amz-copy-source: /a\r\n",
    b"Authorization: AWS a:b\r\n",
    b"Authorization: AWS4-HMAC-SHA256 \r\n",
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256",
    b"X-Amz-Expires=-1",
    b"Signature=",
    b"Expires=99999999999999999999999",
    b"AWS4-ECDSA-P256-SHA256",
    b"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    b"HTTP/1.0",
    b"HTTP/1.1 ",
    b"ffffffffffffffff",
    b"100000000",
    b"7fffffffffffffff",
    b"00000000000000000001",
    b"-1",
    b"--",
    b'"',
    b"\\",
    b"${filename}",
    b'form-data; name="file"',
    b"[[[[[[[[[[[[[[[[",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b" " * 300,
    b"a" * 9000,
    b"A: b\r\n" * 300,
)
_NUMBER = re.compile(rb"[0-9]{1,20}")
_NUMBERS = (b"0", b"1", b"-1", b"65536", b"65537", b"4294967296", b"9223372036854775807", b"18446744073709551615")


def seeds() -> list[bytes]:
    """
    Return whole requests: good ones, and those that the data set expects to be refused.
    """
    found: list[bytes] = []
    paths = [*VECTORS.glob("negative/*"), *VECTORS.glob("chunked/*")]
    names = sorted(str(path.relative_to(VECTORS))[:-5] for path in paths)
    for case in load_cases(names):
        if "raw" in case:
            wire = material(case["raw"])
        else:
            request = case["request"]
            lines = [f"{request['method']} {request['target']} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in request["headers"]]
            body = material(case["wire"]) if "wire" in case else material(request.get("payload"))
            if case.get("http_chunked") or case.get("http_transfer_encoding"):
                body = in_transfer_chunks(body)
            wire = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        if len(wire) < MAX_SEED_SIZE:
            found.append(wire)
    signer = Signer()
    body = bytes(range(256)) * 40
    made = [signer.put("/test-bucket/k", body, mode, chunk_size=8192) for mode in MODES]
    made += [signer.put("/test-bucket/k", body, mode, chunk_size=8192, transfer_chunks=777) for mode in MODES[2:]]
    made += [signer.put("/test-bucket/k", b"hello", mode, headers={"content-type": "a/b"}) for mode in MODES]
    made.append(_document(signer, "POST", "/test-bucket/k?uploadId=a", b"<CompleteMultipartUpload/>"))
    made.append(form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="${filename}"), body)))
    after = multipart(v2_fields([["starts-with", "$key", ""]], key="k"), b"hello", after=[("a", "b")])
    made.append(form_request(after))
    found += [request.head + request.body for request in made]
    return found


def _document(signer: Signer, method: str, target: str, body: bytes) -> SignedRequest:
    head, _ = signer.head(method, target, payload=UNSIGNED, unsigned={"Content-Length": str(len(body))})
    return SignedRequest(head, body)


def mutate(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    """
    Change some bytes, once or a few times.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        wire = rng.choice(_KINDS)(rng, wire, others)
    return wire


def _place(rng: random.Random, wire: bytes) -> int:
    # Heads are short and bodies long: half of the changes are in the head.
    end = wire.find(b"\r\n\r\n") + 4
    return rng.randrange(end if end > 3 and rng.random() < 0.5 else len(wire) + 1)


def _flip(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = min(_place(rng, wire), len(wire) - 1)
    return wire[:place] + bytes([wire[place] ^ (1 << rng.randrange(8))]) + wire[place + 1 :] if wire else wire


def _set(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = _place(rng, wire)
    return wire[:place] + rng.randbytes(1) + wire[place + 1 :]


def _insert(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = _place(rng, wire)
    return wire[:place] + rng.choice(TOKENS) + wire[place:]


def _insert_line(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = wire.find(b"\r\n", _place(rng, wire)) + 2
    return wire[:place] + rng.choice(TOKENS) + wire[place:]


def _delete(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = _place(rng, wire)
    return wire[:place] + wire[place + rng.choice((1, 2, 16, 300)) :]


def _repeat(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    place = _place(rng, wire)
    return wire[: place + rng.choice((1, 2, 60, 2000))] + wire[place:]


def _cut(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    return wire[: _place(rng, wire)]


def _splice(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return wire[: _place(rng, wire)] + other[_place(rng, other) :]


def _splice_body(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    return wire.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + rng.choice(others).partition(b"\r\n\r\n")[2]


def _number(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    found = list(_NUMBER.finditer(wire[:20_000]))
    if not found:
        return wire
    number = rng.choice(found)
    return wire[: number.start()] + rng.choice(_NUMBERS) + wire[number.end() :]


def _follow(rng: random.Random, wire: bytes, others: list[bytes]) -> bytes:
    return wire + rng.choice(others)


_KINDS: tuple[Callable[[random.Random, bytes, list[bytes]], bytes], ...] = (
    _flip,
    _set,
    _insert,
    _insert_line,
    _delete,
    _repeat,
    _cut,
    _splice,
    _splice_body,
    _number,
    _follow,
)


_QUERIES = ("uploads", "uploadId=a", "partNumber=1&uploadId=a", "delete", "acl", "x-id=a", "tagging")


def signed_request(rng: random.Random) -> bytes:
    """
    Return a correctly signed request with any head and body: s3proxy reads them after it verified the signature.
    """
    signer = Signer()
    target = "/test-bucket/" + "".join(rng.choice("ab/.%~+ é&=?;") for _ in range(rng.randrange(12)))
    target = re.sub("%(?![0-9A-F]{2})", "%25", target.replace(" ", "%20").replace("é", "%C3%A9"))
    if "?" not in target and rng.random() < 0.3:
        target += "?" + rng.choice(_QUERIES)
    names = rng.sample(list(_SIGNED_HEADERS), rng.randrange(4))
    headers = {name: rng.choice(_SIGNED_HEADERS[name]) for name in names}
    if rng.random() < 0.6:
        body = rng.randbytes(rng.choice((0, 1, 100, 9000, 70_000)))
        made = signer.put(
            target,
            body,
            rng.choice(MODES),
            chunk_size=rng.choice((8192, 65536)),
            transfer_chunks=rng.choice((0, 1000)),
            headers={name: value for name, value in headers.items() if not name.startswith("content-encoding")},
        )
        wire, end = made.head + made.body, len(made.head)
    else:
        content = rng.choice((b"", b"<a/>", b"x" * 70_000))
        unsigned = {"Content-Length": str(len(content))} if rng.random() < 0.8 else {"Transfer-Encoding": "chunked"}
        payload = rng.choice((UNSIGNED, "0" * 64, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
        method = rng.choice(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"))
        head, _ = signer.head(method, target, headers, payload=payload, unsigned=unsigned)
        wire, end = head + content, len(head)
    if rng.random() < 0.7:
        # The bytes after the head are changed.
        place = rng.randrange(end, len(wire) + 1)
        added = rng.choice((b"", b"\r\n", b"0\r\n\r\n", rng.randbytes(3), rng.choice(TOKENS)))
        wire = wire[:place] + added + wire[place + rng.choice((0, 1, 5)) :]
    return wire


_SIGNED_HEADERS = {
    "x-amz-checksum-crc32": ("AAAAAA==", "x", ""),
    "x-amz-checksum-sha256": ("A" * 43 + "=", "x"),
    "x-amz-sdk-checksum-algorithm": ("CRC32", "MD5", "x"),
    "content-md5": ("A" * 22 + "==", "x", ""),
    "content-type": ("text/plain", "multipart/form-data; boundary=x"),
    "x-amz-copy-source": ("/a/b", "/a", "", "a/b?versionId=1"),
    "x-amz-meta-a": ("b", "c" * 3000, "é"),
    "range": ("bytes=0-1", "x"),
    "x-amz-trailer": ("x-amz-checksum-crc32", "x-amz-checksum-crc32,", "a"),
    "x-amz-security-token": ("t",),
}
