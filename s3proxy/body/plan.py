"""
What is to be done with the body of an authenticated request: how it is decoded, and how much of it is held.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.authentication import Authenticated
from s3proxy.awschunked.checksums import BodyDigests, has_integrity, parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.body.guard import BodyDecoder, HeldBody
from s3proxy.body.plain import PlainDecoder
from s3proxy.s3.address import Address
from s3proxy.s3.errors import (
    EntityTooLarge,
    InvalidRequest,
    MaxMessageLengthExceeded,
    MissingContentLength,
    NotImplementedByProxy,
    S3Error,
)
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import (
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_OBJECT_SIZE,
    MAX_XML_BODY_SIZE,
    MIN_CHUNK_SIZE,
    SMALL_BODY_SIZE,
)
from s3proxy.s3.operation import BodyUse, body_use, describes_object, query_names, requires_integrity


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """
    How large a body may be, in bytes.

    Attributes:
        small_body: Up to this it is verified whole before a backend hears of it.
        document: The XML of an operation.
        object_size: One PUT or part.
    """

    small_body: int = SMALL_BODY_SIZE
    document: int = MAX_XML_BODY_SIZE
    object_size: int = MAX_OBJECT_SIZE


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """
    How a body is taken.

    Attributes:
        length: Bytes, decoded; None where only the end tells, and then it is held.
        streams: Whether it goes to the backend as it arrives; otherwise it is held and verified whole.
        max_held: Bytes which are held.
    """

    use: BodyUse
    decoder: BodyDecoder
    length: int | None
    streams: bool
    max_held: int

    def make_held(self) -> HeldBody:
        """
        Make what holds the body.
        """
        return HeldBody(self.max_held, _too_large(self.use, self.max_held))


def plan_body(head: RequestHead, address: Address, authenticated: Authenticated, limits: BodyLimits) -> BodyPlan:
    """
    Look at the headers once more, now that they are believed.

    Raises:
        MissingContentLength: An object came without a length.
        NotImplementedByProxy: It came in chunked transfer coding alone.
        EntityTooLarge: It is larger than one PUT may be.
        MaxMessageLengthExceeded: A document is larger than we hold.
        InvalidRequest: A body came where none is meant, or a checksum cannot be used, or is missing where S3 wants one.
        InvalidDigest: Content-MD5 is no MD5.
        MalformedTrailerError: A trailer was declared which cannot come.
    """
    use = body_use(head, address)
    payload = authenticated.payload
    if payload.is_streaming and use is BodyUse.NONE:
        raise InvalidRequest("A streaming payload does not go with an operation without a body.")
    if requires_integrity(head, address) and not has_integrity(head.fields):
        raise InvalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    digests = parse_body_digests(
        head.fields,
        claimed_sha256=payload.sha256,
        has_trailer=payload.has_trailer,
        describes_object=use is not BodyUse.OBJECT and describes_object(head),
        is_part=bool(head.raw_query) and b"partNumber" in query_names(head.raw_query),
    )
    length = _decoded_length(head) if payload.is_streaming else _plain_length(head, use)
    max_held = limits.small_body if use in {BodyUse.OBJECT, BodyUse.NONE} else limits.document
    if use is BodyUse.OBJECT:
        assert length is not None
        if length > limits.object_size:
            raise EntityTooLarge(length, limits.object_size)
    elif length is not None and length > max_held:
        raise _too_large(use, max_held)
    decoder = _make_decoder(length, digests, authenticated)
    return BodyPlan(use, decoder, length, use is BodyUse.OBJECT and length is not None and length > max_held, max_held)


def _make_decoder(length: int | None, digests: BodyDigests, authenticated: Authenticated) -> BodyDecoder:
    payload = authenticated.payload
    if not payload.is_streaming:
        return PlainDecoder(length, digests)
    assert length is not None
    return AwsChunkedDecoder(
        length,
        digests,
        verifier=authenticated.chain,
        has_trailer=payload.has_trailer,
        min_chunk_size=0 if "chunk-size" in authenticated.credential.exemptions else MIN_CHUNK_SIZE,
    )


def _decoded_length(head: RequestHead) -> int:
    declared = head.fields.value(b"x-amz-decoded-content-length")
    if declared is None or not declared.isdigit() or len(declared) > MAX_CONTENT_LENGTH_DIGITS:
        raise MissingContentLength
    if head.content_length is None and not head.is_chunked:
        raise MissingContentLength
    return int(declared)


def _plain_length(head: RequestHead, use: BodyUse) -> int | None:
    if head.content_length is not None:
        return head.content_length
    if use is BodyUse.OBJECT:
        if head.is_chunked:
            raise NotImplementedByProxy(None, Header="Transfer-Encoding")
        raise MissingContentLength
    return None if head.is_chunked else 0


def _too_large(use: BodyUse, max_held: int) -> S3Error:
    if use is BodyUse.NONE:
        return InvalidRequest("This operation has no body.")
    return MaxMessageLengthExceeded(max_held)
