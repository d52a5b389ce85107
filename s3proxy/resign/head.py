"""
Makes the head that a backend gets: the target, some of the client's headers, our own, and our signature.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime

from s3proxy.awschunked.encoder import BodyEncoder, ChunkEncoder, UnsignedChunkEncoder, encoded_length
from s3proxy.profiles.profile import Restrictions
from s3proxy.resign.account import Account, SignatureVersion
from s3proxy.resign.gate import write_head
from s3proxy.resign.v2 import sign_v2
from s3proxy.resign.v4 import STREAMING_PAYLOAD, STREAMING_PAYLOAD_TRAILER, STREAMING_UNSIGNED_PAYLOAD_TRAILER, sign_v4
from s3proxy.s3.date import format_basic_iso
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.errors import MalformedXML, RequestHeaderSectionTooLarge
from s3proxy.s3.head import HeaderList
from s3proxy.s3.native import NATIVE
from s3proxy.sigv4.scope import scope_of_day, write_scope

_MD5 = re.compile(r"[0-9A-Fa-f]{32}")
# No white space before it: a document of nothing else would be read again from each of its bytes.
_CHECKSUM_ELEMENT = re.compile(rb"<(Checksum[A-Z0-9]{1,16}+)>[^<]*+</\1>")


def backend_head(
    account: Account,
    method: bytes,
    target: bytes,
    passed: HeaderList,
    length: int | None,
    payload: bytes,
    now: datetime,
    *,
    expects_continue: bool = False,
) -> bytes:
    """
    Return a signed head with the empty line at its end.

    Args:
        target: From `s3proxy.resign.target.backend_target`.
        passed: Headers in order, without Host and framing.
        length: Bytes of the body; None to send no Content-Length, for a method that has no body.
        payload: For Signature V4: the body's SHA-256 in lower-case hex, if the account signs hashes, or
            ``UNSIGNED-PAYLOAD``.
        now: Aware, UTC.

    Raises:
        InvalidRequest: The head does not pass the gate; see `s3proxy.resign.gate.write_head`.
        RequestHeaderSectionTooLarge: The head is larger than the backend accepts.
    """
    if (
        NATIVE is not None
        and account.key is not None
        and account.signature == SignatureVersion.V4
        and account.profile.restrictions is None
    ):
        date = format_basic_iso(now)
        scope = scope_of_day(date[:8], account.key.region)
        known: bytes | None = NATIVE.signed_head(
            account.signing_keys.derive(account.key.secret_access_key, scope).native,
            account.key.access_key_id.encode(),
            write_scope(scope),
            *(date, payload, method, target, account.host, passed, length, expects_continue),
        )
        if known is not None:
            return known
    headers: HeaderList = [(b"Host", account.host), *passed]
    if length is not None:
        headers.append((b"Content-Length", b"%d" % length))
    head = write_head(method, target, headers)
    if account.key is None or account.signature == SignatureVersion.NONE:
        signed: HeaderList = []
    elif account.signature == SignatureVersion.V2:
        signed = sign_v2(method, target, headers, account.profile, account.key, now)
    else:
        signed, _ = sign_v4(method, target, headers, payload, account.key, account.signing_keys, now)
    head = _finish(head, signed, expects_continue=expects_continue)
    if account.profile.restrictions is not None:
        _check_size(account.profile.restrictions, head)
    return head


def chunked_head(
    account: Account,
    method: bytes,
    target: bytes,
    passed: HeaderList,
    length: int,
    now: datetime,
    trailer_name: bytes | None = None,
    *,
    expects_continue: bool = False,
) -> tuple[bytes, BodyEncoder]:
    """
    Return a signed head for a body in chunks, and the encoder for the body.

    x-amz-content-sha256 says that the body is aws-chunked. Content-Encoding does not, because Ceph 16.2 and versitygw
    1.8 would store it.

    Args:
        length: Bytes of the body before it is encoded.
        trailer_name: Name of the checksum in the trailer, lower case; None for no trailer, only if chunks are signed.

    Raises:
        InvalidRequest: The head does not pass the gate; see `s3proxy.resign.gate.write_head`.
    """
    assert account.key is not None
    is_signed = account.signs_chunks
    headers: HeaderList = [
        (b"Host", account.host),
        *passed,
        (b"x-amz-decoded-content-length", b"%d" % length),
        (b"Content-Length", b"%d" % encoded_length(length, trailer_name, is_signed=is_signed)),
    ]
    payload = STREAMING_PAYLOAD
    if trailer_name is not None:
        headers.append((b"x-amz-trailer", trailer_name))
        payload = STREAMING_PAYLOAD_TRAILER if is_signed else STREAMING_UNSIGNED_PAYLOAD_TRAILER
    head = write_head(method, target, headers)
    signed, signer = sign_v4(method, target, headers, payload, account.key, account.signing_keys, now)
    encoder: BodyEncoder
    if signer is not None:
        encoder = ChunkEncoder(length, signer.sign, trailer_name=trailer_name, sign_trailer=signer.sign_trailer)
    else:
        assert trailer_name is not None
        encoder = UnsignedChunkEncoder(length, trailer_name)
    head = _finish(head, signed, expects_continue=expects_continue)
    if account.profile.restrictions is not None:
        _check_size(account.profile.restrictions, head)
    return head, encoder


def _check_size(restrictions: Restrictions, head: bytes) -> None:
    line_size = head.index(b"\r\n")
    if restrictions.max_line_size and line_size > restrictions.max_line_size:
        raise RequestHeaderSectionTooLarge(restrictions.max_line_size)
    # The header lines include neither the CRLF of the first line nor that of the empty line.
    if restrictions.max_headers_size and len(head) - line_size - 4 > restrictions.max_headers_size:
        raise RequestHeaderSectionTooLarge(restrictions.max_headers_size)


def _finish(head: bytes, signed: HeaderList, *, expects_continue: bool) -> bytes:
    for name, value in signed:
        head += b"%s: %s\r\n" % (name, value)
    return head + (b"Expect: 100-continue\r\n\r\n" if expects_continue else b"\r\n")


def sha256_of(verified: HeaderList) -> bytes | None:
    """
    Return the SHA-256 of a body in lower-case hex; None if it is not among the verified checksums.
    """
    for name, value in verified:
        if name == b"x-amz-checksum-sha256":
            return base64.b64decode(value).hex().encode()
    return None


def content_md5(content: bytes) -> bytes:
    """
    Return the value of Content-MD5 for a body that is held in memory.
    """
    return base64.b64encode(hashlib.md5(content).digest())


def etag_of_parts(document: bytes) -> bytes:
    """
    Return the entity tag of the object that a CompleteMultipartUpload makes, with its quotation marks; empty if the tag
    of a part is not an MD5.

    Args:
        document: Verified.

    Source:
        "Checking object integrity", Content-MD5 and ETags of multipart uploads.
    """
    try:
        root = parse_document(document)
    except MalformedXML:
        return b""
    digests = []
    for part in root:
        tags = [(child.text or "").strip().strip('"') for child in part if local_name(child) == "ETag"]
        if local_name(part) != "Part" or len(tags) != 1 or _MD5.fullmatch(tags[0]) is None:
            return b""
        digests.append(bytes.fromhex(tags[0]))
    if not digests:
        return b""
    return b'"%s-%d"' % (hashlib.md5(b"".join(digests)).hexdigest().encode(), len(digests))


def strip_checksum_elements(document: bytes) -> bytes:
    """
    Return a verified CompleteMultipartUpload without the checksums of parts: a backend without checksums refuses them.
    """
    return _CHECKSUM_ELEMENT.sub(b"", document)
