"""
What is to be done with the body of an authenticated request: how it is decoded, and how much of it is held.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from s3proxy.authentication.verdict import Authenticated
from s3proxy.awschunked.checksums import BodyDigests, has_integrity, parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.body.form import FormBody
from s3proxy.body.guard import BodyDecoder, HeldBody
from s3proxy.body.plain import PlainDecoder
from s3proxy.body.spool import SpoolDirectory, SpooledBody
from s3proxy.postobject.form import FileDecoder
from s3proxy.postobject.policy import SizeRange
from s3proxy.s3.errors import (
    EntityTooLarge,
    InvalidRequest,
    MalformedPOSTRequest,
    MaxMessageLengthExceeded,
    MissingContentLength,
    MissingRequestBodyError,
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
from s3proxy.s3.operation import UPLOAD_PART, BodyUse, Operation
from s3proxy.s3.payload import EMPTY_SHA256, Payload, PayloadHash


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """
    How large a body may be, in bytes.

    Attributes:
        small_body: Up to this it is verified whole before a backend hears of it.
        document: The XML of an operation.
        object_size: One PUT or part.
        spools_unknown_length: Whether a PUT without a length is verified on disk; else it is refused.
        streams_forms: Whether the length of a form's file is predicted, so that it need not be verified on disk.
    """

    small_body: int = SMALL_BODY_SIZE
    document: int = MAX_XML_BODY_SIZE
    object_size: int = MAX_OBJECT_SIZE
    spools_unknown_length: bool = False
    streams_forms: bool = False


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """
    How a body is taken.

    Attributes:
        decoder: Verifies it; None where there is no body, and nothing was claimed of one.
        length: Bytes, decoded; None where only the end tells, and then it is held.
        streams: Whether it goes to the backend as it arrives; otherwise it is held and verified whole.
        max_held: Bytes which are held.
        memory_size: Bytes which are held in memory; above them the body is on disk.
        trailer_name: Of the checksum which comes after it, lower case; None where none was announced.
        digests: Those which run over it; None if there is no body.
    """

    use: BodyUse
    decoder: BodyDecoder | None
    length: int | None
    streams: bool
    max_held: int
    memory_size: int
    trailer_name: bytes | None = None
    digests: BodyDigests | None = None

    @property
    def memory(self) -> int:
        """
        Bytes of the body which will be in memory at most.
        """
        if self.streams or self.length == 0:
            return 0
        most = min(self.memory_size, self.max_held)
        return most if self.length is None else min(self.length, most)

    def make_held(self, spool: SpoolDirectory, held: Callable[[int], None] | None = None) -> HeldBody | SpooledBody:
        """
        Make what holds the body.

        Args:
            held: Called with how many bytes of it are in memory more than before; fewer than 0 have left.
        """
        too_large = partial(_too_large, self.use, self.max_held)
        if self.memory_size < self.max_held:
            return SpooledBody(spool, self.memory_size, self.max_held, too_large, held)
        return HeldBody(self.max_held, too_large, held)


NO_BODY = BodyPlan(BodyUse.NONE, None, 0, False, 0, 0)
"""
The plan of most requests without a body: there is nothing to verify.
"""

_WITHOUT_BODY = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
_BODY_CLAIMS = frozenset({b"content-md5", b"x-amz-trailer", b"x-amz-sdk-checksum-algorithm"})


def plan_body(
    head: RequestHead,
    operation: Operation,
    authenticated: Authenticated,
    limits: BodyLimits,
    *,
    spooled_size: int = 0,
    computes_md5: bool = False,
) -> BodyPlan:
    """
    Look at the headers once more, now that they are believed.

    Args:
        spooled_size: Bytes up to which an object must be verified whole before it is sent; 0 for none.
        computes_md5: Whether the MD5 of an object is wanted, whoever sent it.

    Raises:
        MissingContentLength: An object came without a length.
        NotImplementedByProxy: It came in chunked transfer coding alone.
        EntityTooLarge: It is larger than one PUT may be.
        MaxMessageLengthExceeded: A document is larger than we hold.
        MissingRequestBodyError: A document is needed, and none came.
        InvalidRequest: A body came where none is meant, or a checksum cannot be used, or is missing where S3 wants one.
        InvalidDigest: Content-MD5 is no MD5.
        MalformedTrailerError: A trailer was declared which cannot come.
    """
    payload = authenticated.payload
    if not head.has_body and _claims_nothing(head, payload):
        return NO_BODY
    use = operation.body
    if payload.is_streaming and use is not BodyUse.OBJECT:
        raise InvalidRequest("The value of x-amz-content-sha256 header is invalid.")
    if operation.requires_integrity and not has_integrity(head.fields):
        raise InvalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    if operation.requires_document and not head.has_body:
        raise MissingRequestBodyError
    digests = parse_body_digests(
        head.fields,
        claimed_sha256=payload.sha256,
        has_trailer=payload.has_trailer,
        describes_object=operation.describes_object,
        is_part=operation is UPLOAD_PART,
        computes_md5=computes_md5 and use is BodyUse.OBJECT,
    )
    length = _decoded_length(head) if payload.is_streaming else _plain_length(head, use, limits)
    memory_size = limits.small_body if use in {BodyUse.OBJECT, BodyUse.NONE} else limits.document
    max_held = memory_size
    if use is BodyUse.OBJECT:
        if length is not None and length > limits.object_size:
            raise EntityTooLarge(length, limits.object_size)
        if length is None or length <= spooled_size:
            max_held = limits.object_size
    elif length is not None and length > max_held:
        raise _too_large(use, max_held)
    decoder = _make_decoder(length, digests, authenticated)
    streams = use is BodyUse.OBJECT and length is not None and length > max_held
    return BodyPlan(use, decoder, length, streams, max_held, memory_size, digests.trailer_name, digests)


def plan_form(
    form_length: int,
    asked: RequestHead,
    fields_size: int,
    boundary: bytes,
    size_ranges: Sequence[SizeRange],
    limits: BodyLimits,
    *,
    computes_md5: bool = False,
) -> BodyPlan:
    """
    Plan for a form's file, once its policy is believed.

    Args:
        form_length: Bytes of the whole form.
        asked: What it asks for, as a request of its own.
        fields_size: Bytes before the file's first byte.
        size_ranges: Of the policy.
        computes_md5: As `plan_body` takes it.

    Raises:
        MalformedPOSTRequest: The form is shorter than its own end.
        InvalidRequest: A checksum cannot be used.
        InvalidDigest: Content-MD5 is no MD5.
    """
    digests = parse_body_digests(asked.fields, computes_md5=computes_md5)
    decoder = FileDecoder(boundary)
    length = None
    if limits.streams_forms:
        length = form_length - fields_size - decoder.closing_size
        if length < 0:
            raise MalformedPOSTRequest
    body = FormBody(decoder, digests, size_ranges, limits.object_size, length)
    streams = length is not None and length > limits.small_body
    max_held = limits.object_size if length is None else limits.small_body
    return BodyPlan(BodyUse.OBJECT, body, length, streams, max_held, limits.small_body, None, digests)


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


def _claims_nothing(head: RequestHead, payload: Payload) -> bool:
    """
    Say whether an operation which has no body claims nothing of one, or only that it is empty.
    """
    return (
        head.method in _WITHOUT_BODY
        and (payload.sha256 == EMPTY_SHA256 if payload.word is None else payload.word is PayloadHash.UNSIGNED_PAYLOAD)
        and _BODY_CLAIMS.isdisjoint(head.fields)
        and not [name for name in head.fields if name.startswith(b"x-amz-checksum-")]
    )


def _decoded_length(head: RequestHead) -> int:
    declared = head.fields.value(b"x-amz-decoded-content-length")
    if declared is None or not declared.isdigit() or len(declared) > MAX_CONTENT_LENGTH_DIGITS:
        raise MissingContentLength
    if head.content_length is None and not head.is_chunked:
        raise MissingContentLength
    return int(declared)


def _plain_length(head: RequestHead, use: BodyUse, limits: BodyLimits) -> int | None:
    if head.content_length is not None:
        return head.content_length
    if use is BodyUse.OBJECT and not (head.is_chunked and limits.spools_unknown_length):
        if head.is_chunked:
            raise NotImplementedByProxy(None, Header="Transfer-Encoding")
        raise MissingContentLength
    return None if head.is_chunked else 0


def _too_large(use: BodyUse, max_held: int) -> S3Error:
    if use is BodyUse.OBJECT:
        return EntityTooLarge(max_held + 1, max_held)
    if use is BodyUse.NONE:
        return InvalidRequest("This operation has no body.")
    return MaxMessageLengthExceeded(max_held)
