"""
Write a drafted request with a correct signature.

The attacker holds a valid key. The text to sign comes from s3proxy's own readers of claims. So a request is refused for
its content and never for its signature. Other tests check that those readers read as S3 does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from s3proxy.s3.address import parse_address
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.query import query_items
from s3proxy.sigv2 import authorization as sigv2
from s3proxy.sigv4.asymmetric import PADDED_SIGNATURE_SIZE, derive_private_key
from s3proxy.sigv4.header import read_header_claim
from s3proxy.sigv4.query import read_query_claim
from s3proxy.sigv4.verifier import string_to_sign
from tests.fuzz.grammar import DOMAIN, Draft
from tests.support.signer import EMPTY

_HMAC, _ECDSA = "AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"
_REGION = "us-east-1"
_NOT_SIGNED = frozenset({b"authorization", b"connection", b"content-length", b"expect", b"te", b"transfer-encoding"})
_PLACEHOLDER = b"0" * 64
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_PAYLOADS = {
    "unsigned": "UNSIGNED-PAYLOAD",
    "signed chunks": "STREAMING-%s-PAYLOAD",
    "signed trailer": "STREAMING-%s-PAYLOAD-TRAILER",
    "unsigned trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
}


@dataclass
class Attacker:
    """
    A key, and the time.

    Attributes:
        domain: Replaces `tests.fuzz.grammar.DOMAIN`.
    """

    access_key_id: str
    secret: str
    now: datetime
    domain: bytes = DOMAIN
    _keys: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def date(self) -> str:
        return self.now.strftime("%Y%m%dT%H%M%SZ")

    def scope(self, *, is_asymmetric: bool) -> str:
        region = "" if is_asymmetric else f"{_REGION}/"
        return f"{self.date[:8]}/{region}s3/aws4_request"

    def sign(self, text: bytes, *, is_asymmetric: bool) -> bytes:
        """
        Return a signature of Signature V4 or SigV4A.
        """
        if is_asymmetric:
            if "asymmetric" not in self._keys:
                self._keys["asymmetric"] = derive_private_key(self.secret, self.access_key_id.encode())
            signature: bytes = self._keys["asymmetric"].sign(text, _ALGORITHM)
            return signature.hex().encode()
        day = self.date[:8]
        if day not in self._keys:
            key = ("AWS4" + self.secret).encode()
            for part in (day, _REGION, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._keys[day] = key
        return hmac.digest(self._keys[day], text, "sha256").hex().encode()

    def sign_v2(self, text: bytes) -> bytes:
        """
        Return a signature of Signature V2.
        """
        return base64.b64encode(hmac.digest(self.secret.encode(), text, "sha1"))

    def encode(self, draft: Draft) -> bytes:
        """
        Return a request as the bytes that are sent.
        """
        wire = _ENCODERS[draft.carrier](self, draft)
        return wire + draft.after


def _target(draft: Draft, items: list[bytes]) -> bytes:
    target = draft.path + (b"?" + b"&".join(items) if items else b"")
    return b"http://%b%b" % (draft.authority, target) if draft.authority else target


def _head(draft: Draft, target: bytes, lines: list[tuple[bytes, bytes]]) -> bytes:
    request_line = b"%b %b %b\r\n" % (draft.method, target, draft.version)
    return request_line + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n"


def _seen_names(head: bytes) -> list[bytes]:
    """
    Return the names of the head's lines up to the first empty one, in lower case.
    """
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return [line.partition(b":")[0].strip().lower() for line in lines]


def _common_lines(attacker: Attacker, draft: Draft, body_length: int) -> list[tuple[bytes, bytes]]:
    host = draft.host.replace(DOMAIN, attacker.domain)
    lines = [(b"Host", host), *draft.headers]
    if draft.http_chunks:
        lines.append((b"Transfer-Encoding", b"chunked"))
        if not draft.length:
            return lines
    if draft.length is not None:
        if draft.length:
            lines.append((b"Content-Length", draft.length))
    elif body_length or draft.method in {b"PUT", b"POST"}:
        lines.append((b"Content-Length", b"%d" % body_length))
    return lines


def _in_http_chunks(draft: Draft, body: bytes) -> bytes:
    if not draft.http_chunks:
        return body
    pieces = [body[:7], body[7:]]
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), draft.http_extension, piece) for piece in pieces if piece]
    return b"".join(chunks) + b"0%b\r\n%b\r\n" % (draft.http_extension, draft.http_trailer)


# Signature V4 and SigV4A


def _v4_claim_text(head: RequestHead, draft: Draft, now: datetime) -> bytes:
    """
    Return the string to sign of a head that has everything except its signature.
    """
    if draft.carrier.endswith("-query"):
        parameters: dict[bytes, bytes] = {}
        for name, value in query_items(head.raw_query or b""):
            parameters.setdefault(name, value)
        claim = read_query_claim(head, parameters, (_REGION.encode(),), now)
    else:
        scheme, _, components = (head.fields[b"authorization"][0]).partition(b" ")
        claim = read_header_claim(head, scheme, components, (_REGION.encode(),), now)
    return string_to_sign(claim, claim.canonical_request())


def _encode_v4(attacker: Attacker, draft: Draft) -> bytes:
    is_asymmetric = draft.carrier.startswith("v4a")
    algorithm = _ECDSA if is_asymmetric else _HMAC
    body, is_streaming = draft.body, draft.payload.endswith(("chunks", "trailer"))
    payload = _PAYLOADS.get(draft.payload, "")
    payload = payload % algorithm if "%s" in payload else payload or hashlib.sha256(body).hexdigest()
    extra = [(b"x-amz-date", attacker.date.encode()), (b"x-amz-content-sha256", payload.encode())]
    if is_asymmetric:
        extra.append((b"x-amz-region-set", b"*"))
    if is_streaming:
        extra.append((b"x-amz-decoded-content-length", b"%d" % len(body)))
        if draft.payload.endswith("trailer"):
            names = b",".join(name for name, _ in draft.trailers)
            extra.append((b"x-amz-trailer", names if draft.announces is None else draft.announces))
        body = _encode_chunks(attacker, draft, _PLACEHOLDER, is_asymmetric=is_asymmetric)
    lines = [*extra, *_common_lines(attacker, draft, len(body))]
    head = _head(draft, _target(draft, draft.items), lines)
    names = sorted({*_seen_names(head)} - draft.unsigned - _NOT_SIGNED)
    credential = f"{attacker.access_key_id}/{attacker.scope(is_asymmetric=is_asymmetric)}"
    authorization = b"%b Credential=%b, SignedHeaders=%b, Signature=" % (
        algorithm.encode(),
        credential.encode(),
        b";".join(names),
    )
    # First, so that what ends the head early is after the signature.
    lines.insert(0, (b"Authorization", authorization + _PLACEHOLDER))
    head = _head(draft, _target(draft, draft.items), lines)
    signature = _signed(attacker, draft, head, is_asymmetric=is_asymmetric)
    head = head.replace(authorization + _PLACEHOLDER, authorization + signature, 1)
    if is_streaming:
        body = _encode_chunks(attacker, draft, signature, is_asymmetric=is_asymmetric)
    return head + _in_http_chunks(draft, body)


def _signed(attacker: Attacker, draft: Draft, head: bytes, *, is_asymmetric: bool) -> bytes:
    try:
        parsed = parse_request_head(head.partition(b"\r\n\r\n")[0])
        text = _v4_claim_text(parsed, draft, attacker.now)
    except (S3Error, KeyError):
        return _PLACEHOLDER
    return attacker.sign(text, is_asymmetric=is_asymmetric)


def _encode_chunks(attacker: Attacker, draft: Draft, seed: bytes, *, is_asymmetric: bool) -> bytes:
    algorithm = _ECDSA if is_asymmetric else _HMAC
    place = f"{attacker.date}\n{attacker.scope(is_asymmetric=is_asymmetric)}\n".encode()
    previous, wire = seed, []
    has_signatures = draft.payload != "unsigned trailer"
    size = PADDED_SIGNATURE_SIZE if is_asymmetric else 64
    for chunk in [draft.body, b""] if draft.body else [b""]:
        extension = draft.chunk_extra
        if has_signatures:
            digest = hashlib.sha256(chunk).hexdigest()
            text = (
                f"{algorithm}-PAYLOAD\n".encode() + place + b"%b\n%b\n%b" % (previous, EMPTY.encode(), digest.encode())
            )
            previous = attacker.sign(text, is_asymmetric=is_asymmetric)
            extension = b";%b=%b%b" % (draft.chunk_name, previous.ljust(size, b"*"), extension)
        wire.append(b"%x%b\r\n%b" % (len(chunk), extension, chunk + b"\r\n" if chunk else b""))
    if draft.payload.endswith("trailer"):
        wire += [b"%b:%b\r\n" % trailer for trailer in draft.trailers]
        if has_signatures:
            lines = b"".join(b"%b:%b\n" % (name.lower(), value) for name, value in sorted(draft.trailers))
            digest = hashlib.sha256(lines).hexdigest()
            text = f"{algorithm}-TRAILER\n".encode() + place + b"%b\n%b" % (previous, digest.encode())
            signature = attacker.sign(text, is_asymmetric=is_asymmetric).ljust(size, b"*")
            wire.append(b"x-amz-trailer-signature:%b\r\n" % signature)
    return b"".join(wire) + b"\r\n"


def _encode_v4_query(attacker: Attacker, draft: Draft) -> bytes:
    is_asymmetric = draft.carrier.startswith("v4a")
    lines = _common_lines(attacker, draft, len(draft.body))
    head = _head(draft, _target(draft, draft.items), lines)
    names = sorted({*_seen_names(head)} - draft.unsigned - _NOT_SIGNED)
    parameters = {
        "X-Amz-Algorithm": _ECDSA if is_asymmetric else _HMAC,
        "X-Amz-Credential": f"{attacker.access_key_id}/{attacker.scope(is_asymmetric=is_asymmetric)}",
        "X-Amz-Date": attacker.date,
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": b";".join(names),
    }
    if is_asymmetric:
        parameters["X-Amz-Region-Set"] = "*"
    items = [f"{name}={quote(value, safe='')}".encode() for name, value in parameters.items()]
    items = [*draft.items, *items, b"X-Amz-Signature="]
    target = _target(draft, items)
    signature = _signed(attacker, draft, _head(draft, target + _PLACEHOLDER, lines), is_asymmetric=is_asymmetric)
    return _head(draft, target + signature, lines) + _in_http_chunks(draft, draft.body)


# Signature V2


def _v2_text(attacker: Attacker, draft: Draft, head: bytes) -> bytes:
    try:
        parsed = parse_request_head(head.partition(b"\r\n\r\n")[0])
        address = parse_address(parsed.raw_path, parsed.host, (attacker.domain,))
        if draft.carrier == "v2-header":
            claim = sigv2.read_header_claim(parsed, address, b"AWS a:b", attacker.now)
        else:
            parameters: dict[bytes, bytes] = {}
            for name, value in query_items(parsed.raw_query or b""):
                parameters.setdefault(name, value)
            claim = sigv2.read_query_claim(parsed, address, parameters, attacker.now)
    except (S3Error, KeyError):
        return b""
    return claim.strings_to_sign[0]


def _encode_v2(attacker: Attacker, draft: Draft) -> bytes:
    date = attacker.now.strftime("%a, %d %b %Y %H:%M:%S GMT").encode()
    lines = [(b"Date", date), *_common_lines(attacker, draft, len(draft.body))]
    target = _target(draft, draft.items)
    signature = attacker.sign_v2(_v2_text(attacker, draft, _head(draft, target, lines)))
    lines.insert(0, (b"Authorization", b"AWS %b:%b" % (attacker.access_key_id.encode(), signature)))
    return _head(draft, target, lines) + _in_http_chunks(draft, draft.body)


def _encode_v2_query(attacker: Attacker, draft: Draft) -> bytes:
    lines = _common_lines(attacker, draft, len(draft.body))
    expires = int((attacker.now + timedelta(minutes=10)).timestamp())
    own = [b"AWSAccessKeyId=" + attacker.access_key_id.encode(), b"Expires=%d" % expires, b"Signature="]
    target = _target(draft, [*draft.items, *own])
    signature = attacker.sign_v2(_v2_text(attacker, draft, _head(draft, target + b"a", lines)))
    return _head(draft, target + quote(signature, safe="").encode(), lines) + _in_http_chunks(draft, draft.body)


# Forms


def _encode_form(attacker: Attacker, draft: Draft) -> bytes:
    is_v2 = draft.carrier == "v2-form"
    if is_v2:
        own = {"AWSAccessKeyId": attacker.access_key_id}
    else:
        own = {
            "x-amz-algorithm": _HMAC,
            "x-amz-credential": f"{attacker.access_key_id}/{attacker.scope(is_asymmetric=False)}",
            "x-amz-date": attacker.date,
        }
    conditions: list[Any] = [{"bucket": draft.path[1:].decode("utf-8", "replace")}]
    if not is_v2:
        conditions += [{name: value} for name, value in own.items()]
    names = {"key"} | {_meant_name(each.name) for each in draft.fields}
    conditions += [["starts-with", f"${name}", ""] for name in sorted(names)]
    expiration = (attacker.now + timedelta(hours=1)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    document = json.dumps({"expiration": expiration, "conditions": conditions})
    policy = base64.b64encode(document.encode("utf-8", "replace"))
    signature = attacker.sign_v2(policy) if is_v2 else attacker.sign(policy, is_asymmetric=False)
    parts = [_part(draft.boundary, name.encode(), value.encode()) for name, value in own.items()]
    parts.append(_part(draft.boundary, b"policy", policy))
    parts.append(_part(draft.boundary, b"signature" if is_v2 else b"x-amz-signature", signature))
    for each in draft.fields:
        disposition = re.sub(rb"%(b|%)", lambda found: each.name if found[1] == b"b" else b"%", each.disposition)  # noqa: B023
        parts.append(b"--%b\r\n%b\r\n%b\r\n%b\r\n" % (draft.boundary, disposition, each.lines, each.value))
    parts.append(
        b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n%b\r\n%b\r\n--%b--\r\n'
        % (draft.boundary, draft.filename, draft.file_lines, draft.body, draft.boundary)
    )
    body = b"".join(parts)
    lines = _common_lines(attacker, draft, len(body))
    lines.insert(1, (b"Content-Type", draft.content_type.replace(b"%b", draft.boundary)))
    return _head(draft, _target(draft, draft.items), lines) + _in_http_chunks(draft, body)


def _part(boundary: bytes, name: bytes, value: bytes) -> bytes:
    return b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (boundary, name, value)


def _meant_name(raw: bytes) -> str:
    return raw.replace(b'\\"', b'"').decode("utf-8", "replace").lower()


def _encode_unsigned(attacker: Attacker, draft: Draft) -> bytes:
    lines = _common_lines(attacker, draft, len(draft.body))
    return _head(draft, _target(draft, draft.items), lines) + _in_http_chunks(draft, draft.body)


_ENCODERS = {
    "v4-header": _encode_v4,
    "v4a-header": _encode_v4,
    "v4-query": _encode_v4_query,
    "v4a-query": _encode_v4_query,
    "v2-header": _encode_v2,
    "v2-query": _encode_v2_query,
    "v4-form": _encode_form,
    "v2-form": _encode_form,
    "anonymous": _encode_unsigned,
    "preflight": _encode_unsigned,
}
