"""
The plan for the body of an authenticated request: how it is decoded, and how much of it is held.
"""

from __future__ import annotations

from collections import Counter
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
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.header_names import KNOWN_SETS, MAX_KNOWN_SETS, HeaderNames, is_known
from s3proxy.s3.known import Known
from s3proxy.s3.limits import (
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_OBJECT_SIZE,
    MAX_XML_BODY_SIZE,
    SMALL_BODY_SIZE,
)
from s3proxy.s3.operation import UPLOAD_PART, BodyUse, Operation
from s3proxy.s3.payload import EMPTY_SHA256, Payload, PayloadHash


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """
    The limits of a body, in bytes.

    Attributes:
        small_body: A body up to this size is verified whole before s3proxy sends anything to a backend.
        document: Maximum size of the XML document of an operation.
        object_size: Maximum size of one PUT or part.
        spools_unknown_length: Whether a PUT without a length is verified on disk; otherwise it is refused.
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
    How a body is received.

    Attributes:
        decoder: Decodes and verifies the body; None if there is no body, and the request claims nothing of one.
        length: Bytes of the body, decoded; None if only the end shows them. Such a body is held.
        streams: Whether the body goes to the backend as it arrives; otherwise it is held and verified whole.
        max_held: Maximum bytes of a body that is held.
        memory_size: Maximum bytes of a body that is held in memory; a larger one is held on disk.
        trailer_name: Lower-case name of the checksum trailer after the body; None if none was announced.
        digests: The digests of the body; None if there is no body.
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
        Maximum bytes of the body that will be in memory.
        """
        if self.streams or self.length == 0:
            return 0
        most = min(self.memory_size, self.max_held)
        return most if self.length is None else min(self.length, most)

    def make_held(self, spool: SpoolDirectory, held: Callable[[int], None] | None = None) -> HeldBody | SpooledBody:
        """
        Return the sink that holds the body.

        Args:
            held: Called with the change in the number of its bytes in memory; negative when bytes have left.
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
_NO_FIELDS = Fields()
_KNOWN_SILENT: Known[HeaderNames, bool] = Known(MAX_KNOWN_SETS, about=KNOWN_SETS)


def plan_body(
    head: RequestHead,
    operation: Operation,
    authenticated: Authenticated,
    limits: BodyLimits,
    *,
    spooled_size: int = 0,
    computes_md5: bool = False,
    exempted: Counter[Exemption] | None = None,
) -> BodyPlan:
    """
    Return the plan for the body of a request whose headers are verified.

    Args:
        spooled_size: An object up to this size must be verified whole before it is sent; 0 for none.
        computes_md5: Whether the MD5 of an object is computed even if the client sent none.
        exempted: Counts the exemption that the body needs, once it does; None if nothing counts it.

    Raises:
        MissingContentLength: An object has no length.
        NotImplementedByProxy: An object has only chunked transfer coding.
        EntityTooLarge: An object is larger than one PUT may be.
        MaxMessageLengthExceeded: A document is larger than s3proxy holds.
        MissingRequestBodyError: The operation requires a document, and there is none.
        InvalidRequest: The operation has no body, but the request does; or a checksum cannot be used, or is missing
            although S3 requires one.
        InvalidDigest: Content-MD5 is not an MD5.
        MalformedTrailerError: A trailer was declared that cannot follow this body.
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
        _NO_FIELDS if _is_silent(head) else head.fields,
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
    decoder = _make_decoder(length, digests, authenticated, exempted)
    streams = use is BodyUse.OBJECT and length is not None and length > max_held
    return BodyPlan(use, decoder, length, streams, max_held, memory_size, digests.trailer_name, digests)


def plan_stream(
    head: RequestHead, authenticated: Authenticated, max_size: int, exempted: Counter[Exemption] | None = None
) -> BodyDecoder | None:
    """
    Return the decoder of a body that an application's own resource receives as it arrives; None if there is no body,
    and the request claims nothing of one.

    Args:
        head: The authenticated head.
        max_size: Maximum bytes of the body. A body of unknown length is yet to be counted.
        exempted: As `plan_body` takes it.

    Raises:
        MissingContentLength: The length of an aws-chunked body is missing.
        EntityTooLarge: The body is larger than `max_size`.
        InvalidRequest: A checksum cannot be used.
        InvalidDigest: Content-MD5 is not an MD5.
        MalformedTrailerError: A trailer was declared that cannot follow this body.
    """
    payload = authenticated.payload
    if not head.has_body and _claims_nothing(head, payload):
        return None
    digests = parse_body_digests(head.fields, claimed_sha256=payload.sha256, has_trailer=payload.has_trailer)
    if payload.is_streaming:
        length: int | None = _decoded_length(head)
    elif head.content_length is not None:
        length = head.content_length
    else:
        length = None if head.is_chunked else 0
    if length is not None and length > max_size:
        raise EntityTooLarge(length, max_size)
    return _make_decoder(length, digests, authenticated, exempted)


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
    Return the plan for a form's file, once its policy is verified.

    Args:
        form_length: Bytes of the whole form.
        asked: What it asks for, as a request of its own.
        fields_size: Bytes before the file's first byte.
        size_ranges: Of the policy.
        computes_md5: As `plan_body` takes it.

    Raises:
        MalformedPOSTRequest: The form is too short for its closing delimiter.
        InvalidRequest: A checksum cannot be used.
        InvalidDigest: Content-MD5 is not an MD5.
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


def _make_decoder(
    length: int | None,
    digests: BodyDigests,
    authenticated: Authenticated,
    exempted: Counter[Exemption] | None,
) -> BodyDecoder:
    payload = authenticated.payload
    if not payload.is_streaming:
        return PlainDecoder(length, digests)
    assert length is not None
    small_chunk = None
    if Exemption.CHUNK_SIZE in authenticated.credential.exemptions:
        small_chunk = partial((Counter() if exempted is None else exempted).update, (Exemption.CHUNK_SIZE,))
    return AwsChunkedDecoder(
        length,
        digests,
        verifier=authenticated.chain,
        has_trailer=payload.has_trailer,
        small_chunk=small_chunk,
    )


def _claims_nothing(head: RequestHead, payload: Payload) -> bool:
    """
    Return True if the request of an operation without a body claims nothing of one, or only that it is empty.
    """
    return (
        head.method in _WITHOUT_BODY
        and (payload.sha256 == EMPTY_SHA256 if payload.word is None else payload.word is PayloadHash.UNSIGNED_PAYLOAD)
        and _is_silent(head)
    )


def _is_silent(head: RequestHead) -> bool:
    """
    Return True if no header claims anything of the bytes of a body.
    """
    names = head.names
    found = None if names is None else _KNOWN_SILENT.get(names)
    if found is None:
        found = _BODY_CLAIMS.isdisjoint(head.fields) and not any(
            name.startswith(b"x-amz-checksum-") for name in head.fields
        )
        if names is not None and is_known(names):
            _KNOWN_SILENT.keep(names, found)
    return found


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
