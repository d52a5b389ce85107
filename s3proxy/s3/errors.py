"""
One class for each S3 error code that s3proxy sends: its code, status, message and elements.

Source:
    "Error responses" of the Amazon S3 API Reference.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from s3proxy.s3.limits import MAX_HEADER_COUNT


class S3Error(Exception):
    """
    An error response, as the client gets it.

    Args:
        message: The text of the ``Message`` element; None for the default of the class.
        elements: Name and text of each further element, in the order in which they are written. Text that came from
            the client is bytes, as received.

    Attributes:
        retry_after: Seconds for the Retry-After header, or None to send none.
    """

    code: ClassVar[str] = "InternalError"
    status: ClassVar[int] = 500
    default_message: ClassVar[str] = "We encountered an internal error. Please try again."
    retry_after: ClassVar[int | None] = None

    def __init__(self, message: str | None = None, /, **elements: bytes | str) -> None:
        self.message = message if message is not None else self.default_message
        self.elements: tuple[tuple[str, bytes], ...] = tuple(
            (name.replace("__", "-"), text.encode() if isinstance(text, str) else text)
            for name, text in elements.items()
        )
        super().__init__(self.code)

    @property
    def names_region(self) -> bool:
        """
        Whether the error is about the region that a client signed for, and names the right one.
        """
        return any(name == "Region" for name, _ in self.elements)

    def __repr__(self) -> str:
        # The elements repeat what the client sent, which may hold credentials.
        return f"<{type(self).__name__}: {self.message}>"


def format_iso8601(moment: datetime) -> str:
    """
    Return a moment as S3 writes it in ``ServerTime`` and ``Expires``: ``2026-03-01T12:00:00Z``.
    """
    # strftime writes a year before 1000 without leading zeros.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


class AccessDenied(S3Error):
    code = "AccessDenied"
    status = 403
    default_message = "Access Denied"


class AuthorizationHeaderMalformed(S3Error):
    code = "AuthorizationHeaderMalformed"
    status = 400

    def __init__(self, sentence: str, **elements: bytes | str) -> None:
        super().__init__(f"The authorization header is malformed; {sentence}", **elements)


class AuthorizationQueryParametersError(S3Error):
    code = "AuthorizationQueryParametersError"
    status = 400
    default_message = (
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
        "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
    )


class InvalidAccessKeyId(S3Error):
    code = "InvalidAccessKeyId"
    status = 403
    default_message = "The AWS Access Key Id you provided does not exist in our records."

    def __init__(self, access_key_id: bytes) -> None:
        super().__init__(AWSAccessKeyId=access_key_id)


class SignatureDoesNotMatch(S3Error):
    """
    The signature does not match.

    Args:
        string_to_sign: As s3proxy built it from the request, or from the chunk or trailer whose signature differs.
        claimed_signature: As the client sent it.
        canonical_request: None if the scheme has none (Signature V2, POST policies).
    """

    code = "SignatureDoesNotMatch"
    status = 403
    default_message = (
        "The request signature we calculated does not match the signature you provided. "
        "Check your key and signing method."
    )

    def __init__(
        self,
        access_key_id: bytes,
        string_to_sign: bytes,
        claimed_signature: bytes,
        canonical_request: bytes | None = None,
    ) -> None:
        elements: dict[str, bytes | str] = {
            "AWSAccessKeyId": access_key_id,
            "StringToSign": string_to_sign,
            "SignatureProvided": claimed_signature,
            "StringToSignBytes": string_to_sign.hex(" "),
        }
        if canonical_request is not None:
            elements["CanonicalRequest"] = canonical_request
            elements["CanonicalRequestBytes"] = canonical_request.hex(" ")
        super().__init__(None, **elements)


class RequestTimeTooSkewed(S3Error):
    """
    The request's date is too far from our clock.

    Args:
        request_time: The date as the client sent it.
    """

    code = "RequestTimeTooSkewed"
    status = 403
    default_message = "The difference between the request time and the current time is too large."

    def __init__(self, request_time: bytes, now: datetime, max_skew_milliseconds: int) -> None:
        super().__init__(
            RequestTime=request_time,
            ServerTime=format_iso8601(now),
            MaxAllowedSkewMilliseconds=str(max_skew_milliseconds),
        )


class ExpiredToken(S3Error):
    code = "ExpiredToken"
    status = 400
    default_message = "The provided token has expired."

    def __init__(self, token: bytes) -> None:
        super().__init__(Token__0=token)


class InvalidToken(S3Error):
    code = "InvalidToken"
    status = 400
    default_message = "The provided token is malformed or otherwise invalid."

    def __init__(self, token: bytes) -> None:
        super().__init__(Token__0=token)


class RegionSetMismatch(S3Error):
    code = "RegionSetMismatch"
    status = 400
    default_message = "The provided X-Amz-Region-Set doesn't match against the requested S3 region."


class InvalidArgument(S3Error):
    code = "InvalidArgument"
    status = 400
    default_message = "Invalid Argument"

    def __init__(
        self, message: str, name: str | None = None, value: bytes | None = b"", **elements: bytes | str
    ) -> None:
        argument: dict[str, bytes | str] = {}
        if name is not None:
            argument["ArgumentName"] = name
            if value is not None:
                argument["ArgumentValue"] = value
        super().__init__(message, **argument, **elements)

    @classmethod
    def of_missing_field(cls, name: str) -> InvalidArgument:
        return cls(
            f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the "
            "fields.",
            name,
        )


class InvalidPartNumber(S3Error):
    """
    The object has no part with this number.

    Args:
        number: As the client sent it.
        count: Number of parts that the object has.
    """

    code = "InvalidPartNumber"
    status = 416
    default_message = "The requested partnumber is not satisfiable"

    def __init__(self, number: bytes, count: int) -> None:
        super().__init__(PartNumberRequested=number, ActualPartCount=str(count))


class InvalidRange(S3Error):
    """
    No byte of the object is in the range.

    Args:
        raw_range: The Range header as the client sent it.
    """

    code = "InvalidRange"
    status = 416
    default_message = "The requested range is not satisfiable"

    def __init__(self, raw_range: bytes, size: int) -> None:
        super().__init__(RangeRequested=raw_range, ActualObjectSize=str(size))


class InvalidTag(S3Error):
    code = "InvalidTag"
    status = 400
    default_message = "The tag provided was not a valid tag."


class InvalidRequest(S3Error):
    code = "InvalidRequest"
    status = 400
    default_message = "Invalid Request"


class XAmzContentSHA256Mismatch(S3Error):
    code = "XAmzContentSHA256Mismatch"
    status = 400
    default_message = "The provided 'x-amz-content-sha256' header does not match what was computed."

    def __init__(self, claimed_hash: bytes, computed_hash: bytes) -> None:
        super().__init__(ClientComputedContentSHA256=claimed_hash, S3ComputedContentSHA256=computed_hash)


class InvalidDigest(S3Error):
    code = "InvalidDigest"
    status = 400
    default_message = "The Content-MD5 you specified was invalid."

    def __init__(self, content_md5: bytes) -> None:
        super().__init__(Content__MD5=content_md5)


class BadDigest(S3Error):
    """
    A digest of the body does not match. For Content-MD5 it has both elements, for a checksum its own message.
    """

    code = "BadDigest"
    status = 400
    default_message = "The Content-MD5 you specified did not match what we received."


class IncompleteBody(S3Error):
    """
    The body's framing is broken or cut. Has both sizes if the body is not as long as declared.
    """

    code = "IncompleteBody"
    status = 400
    default_message = "The request body terminated unexpectedly"

    @classmethod
    def of_length(cls, expected_length: int, received_size: int) -> IncompleteBody:
        return cls(
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
            NumberBytesExpected=str(expected_length),
            NumberBytesProvided=str(received_size),
        )


class InvalidChunkSizeError(S3Error):
    code = "InvalidChunkSizeError"
    status = 403
    default_message = "Only the last chunk is allowed to have a size less than 8192 bytes"

    def __init__(self, chunk_number: int, bad_chunk_size: int) -> None:
        super().__init__(Chunk=str(chunk_number), BadChunkSize=str(bad_chunk_size))


class MalformedTrailerError(S3Error):
    code = "MalformedTrailerError"
    status = 400
    default_message = (
        "The request contained trailing data that was not well-formed or did not conform to our published schema."
    )


class MissingContentLength(S3Error):
    code = "MissingContentLength"
    status = 411
    default_message = "You must provide the Content-Length HTTP header."


class EntityTooLarge(S3Error):
    code = "EntityTooLarge"
    status = 400
    default_message = "Your proposed upload exceeds the maximum allowed size"

    def __init__(self, proposed_size: int, max_size: int) -> None:
        super().__init__(ProposedSize=str(proposed_size), MaxSizeAllowed=str(max_size))


class EntityTooSmall(S3Error):
    code = "EntityTooSmall"
    status = 400
    default_message = "Your proposed upload is smaller than the minimum allowed size"

    def __init__(self, proposed_size: int, min_size: int) -> None:
        super().__init__(ProposedSize=str(proposed_size), MinSizeAllowed=str(min_size))


class NoSuchBucket(S3Error):
    code = "NoSuchBucket"
    status = 404
    default_message = "The specified bucket does not exist"

    def __init__(self, bucket: bytes) -> None:
        super().__init__(BucketName=bucket)


class NoSuchKey(S3Error):
    """
    The object does not exist.

    Args:
        key: Decoded.
    """

    code = "NoSuchKey"
    status = 404
    default_message = "The specified key does not exist."

    def __init__(self, key: bytes) -> None:
        super().__init__(Key=key)


class NoSuchUpload(S3Error):
    code = "NoSuchUpload"
    status = 404
    default_message = (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed."
    )


class InvalidPart(S3Error):
    code = "InvalidPart"
    status = 400
    default_message = (
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified "
        "entity tag may not match the part's entity tag."
    )


class InvalidPartOrder(S3Error):
    code = "InvalidPartOrder"
    status = 400
    default_message = "The list of parts was not in ascending order. Parts must be ordered by part number."


class OperationAborted(S3Error):
    code = "OperationAborted"
    status = 409
    default_message = "A conflicting conditional operation is currently in progress against this resource. Try again."


class MissingRequestBodyError(S3Error):
    code = "MissingRequestBodyError"
    status = 400
    default_message = "Request Body is empty"


class MalformedXML(S3Error):
    code = "MalformedXML"
    status = 400
    default_message = "The XML you provided was not well-formed or did not validate against our published schema"


class MissingSecurityHeader(S3Error):
    code = "MissingSecurityHeader"
    status = 400
    default_message = "Your request was missing a required header."

    def __init__(self, header: str) -> None:
        super().__init__(MissingHeaderName=header)


class MalformedACLError(S3Error):
    code = "MalformedACLError"
    status = 400
    default_message = "The XML you provided was not well-formed or did not validate against our published schema"


class UnexpectedContent(S3Error):
    code = "UnexpectedContent"
    status = 400
    default_message = "This request does not support content"


class NoSuchLifecycleConfiguration(S3Error):
    code = "NoSuchLifecycleConfiguration"
    status = 404
    default_message = "The lifecycle configuration does not exist"


class MaxMessageLengthExceeded(S3Error):
    code = "MaxMessageLengthExceeded"
    status = 400
    default_message = "Your request was too big."

    def __init__(self, max_size: int) -> None:
        super().__init__(MaxMessageLengthBytes=str(max_size))


class MaxPostPreDataLengthExceeded(S3Error):
    code = "MaxPostPreDataLengthExceeded"
    status = 400
    default_message = "Your POST request fields preceeding the upload file was too large."

    def __init__(self, max_size: int) -> None:
        super().__init__(MaxPostPreDataLengthBytes=str(max_size))


class MalformedPOSTRequest(S3Error):
    code = "MalformedPOSTRequest"
    status = 400
    default_message = "The body of your POST request is not well-formed multipart/form-data."


class PreconditionFailed(S3Error):
    code = "PreconditionFailed"
    status = 412
    default_message = "At least one of the pre-conditions you specified did not hold"

    def __init__(self, condition: str) -> None:
        super().__init__(Condition=condition)


class InvalidPolicyDocument(S3Error):
    code = "InvalidPolicyDocument"
    status = 400

    def __init__(self, sentence: str) -> None:
        super().__init__(f"Invalid Policy: {sentence}")


class RequestTimeout(S3Error):
    code = "RequestTimeout"
    status = 400
    default_message = (
        "Your socket connection to the server was not read from or written to within the timeout period. "
        "Idle connections will be closed."
    )


class BadRequest(S3Error):
    """
    The request's head or its framing cannot be read. The connection is closed after the response.
    """

    code = "BadRequest"
    status = 400
    default_message = "An error occurred when parsing the HTTP request."


class MethodNotAllowed(S3Error):
    code = "MethodNotAllowed"
    status = 405
    default_message = "The specified method is not allowed against this resource."

    def __init__(self, method: bytes, resource_type: str) -> None:
        super().__init__(Method=method, ResourceType=resource_type)


class NotImplementedByProxy(S3Error):
    """
    S3's ``NotImplemented``. That name would hide Python's own.
    """

    code = "NotImplemented"
    status = 501
    default_message = "A header you provided implies functionality that is not implemented"


class InvalidURI(S3Error):
    code = "InvalidURI"
    status = 400
    default_message = "The specified URI couldn't be parsed."

    def __init__(self, uri: bytes) -> None:
        super().__init__(URI=uri)


class InvalidBucketName(S3Error):
    code = "InvalidBucketName"
    status = 400
    default_message = "The specified bucket is not valid."

    def __init__(self, bucket: bytes) -> None:
        super().__init__(BucketName=bucket)


class KeyTooLongError(S3Error):
    code = "KeyTooLongError"
    status = 400
    default_message = "Your key is too long"

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(Size=str(size), MaxSizeAllowed=str(max_size))


class MetadataTooLarge(S3Error):
    code = "MetadataTooLarge"
    status = 400
    default_message = "Your metadata headers exceed the maximum allowed metadata size"

    def __init__(self, size: int, max_size: int) -> None:
        super().__init__(Size=str(size), MaxSizeAllowed=str(max_size))


class RequestHeaderSectionTooLarge(S3Error):
    code = "RequestHeaderSectionTooLarge"
    status = 400
    default_message = "Your request header section exceeds the maximum allowed size."

    def __init__(self, max_size: int, header_count: int | None = None) -> None:
        if header_count is None:
            super().__init__(MaxSizeAllowed=str(max_size))
        else:
            super().__init__(f"Your request has {header_count} headers, and the maximum is {MAX_HEADER_COUNT}.")


class SlowDown(S3Error):
    code = "SlowDown"
    status = 503
    default_message = "Please reduce your request rate."
    retry_after = 1


class ServiceUnavailable(S3Error):
    code = "ServiceUnavailable"
    status = 503
    default_message = "Service is unable to handle request."
    retry_after = 1


class InternalError(S3Error):
    code = "InternalError"
    status = 500


DOCUMENTED_CODES = frozenset(
    """
    AccessControlListNotSupported AccessDenied AccessPointAlreadyOwnedByYou AccountProblem AllAccessDisabled
    AmbiguousGrantByEmailAddress AuthorizationHeaderMalformed AuthorizationQueryParametersError BadDigest BadRequest
    BucketAlreadyExists BucketAlreadyOwnedByYou BucketHasAccessPointsAttached BucketNotEmpty
    ClientTokenConflict ConditionalRequestConflict ConnectionClosedByRequester CORSConfigurationNotFound
    CredentialsNotSupported CrossLocationLoggingProhibited DeviceNotActiveError EndpointNotFound EntityTooLarge
    EntityTooSmall ExpiredToken IdempotencyException IllegalLocationConstraintException
    IllegalVersioningConfigurationException IncompleteBody IncorrectEndpoint IncorrectNumberOfFilesInPostRequest
    InlineDataTooLarge InternalError InvalidAccessKeyId InvalidAccessPoint InvalidAccessPointAliasError
    InvalidAddressingHeader InvalidArgument InvalidBucketAclWithObjectOwnership InvalidBucketName
    InvalidBucketOwnerAWSAccountID InvalidBucketState InvalidDigest InvalidEncryptionAlgorithmError
    InvalidHostHeader InvalidHttpMethod InvalidLocationConstraint InvalidObjectState InvalidPart InvalidPartOrder
    InvalidPayer InvalidPolicyDocument InvalidRange InvalidRegion InvalidRequest InvalidSecurity
    InvalidSOAPRequest InvalidSessionException InvalidSignature InvalidStorageClass InvalidTag
    InvalidTargetBucketForLogging InvalidToken InvalidURI KeyTooLongError KMS.DisabledException
    KMS.InvalidKeyUsageException KMS.KMSInvalidStateException KMS.NotFoundException MalformedACLError
    MalformedPOSTRequest MalformedPolicy MalformedXML MaxMessageLengthExceeded MaxPostPreDataLengthExceededError
    MetadataTooLarge MethodNotAllowed MissingAttachment MissingAuthenticationToken MissingContentLength
    MissingRequestBodyError MissingSecurityElement MissingSecurityHeader NoLoggingStatusForKey NoSuchAccessPoint
    NoSuchAccessPointPolicy NoSuchAsyncRequest NoSuchBucket NoSuchBucketPolicy NoSuchCORSConfiguration NoSuchKey
    NoSuchLifecycleConfiguration NoSuchMultiRegionAccessPoint NoSuchObjectLockConfiguration NoSuchTagSet
    NoSuchUpload NoSuchVersion NoSuchWebsiteConfiguration NotDeviceOwnerError NotImplemented NotModified
    NotSignedUp NotSupported ObjectAlreadyInActiveTierError ObjectLockConfigurationNotFoundError
    OperationAborted OwnershipControlsNotFoundError PermanentRedirect PermanentRedirectControlError
    PreconditionFailed Redirect ReplicationConfigurationNotFoundError RequestHeaderSectionTooLarge
    RequestIsNotMultiPartContent RequestTimeTooSkewed RequestTimeout RequestTorrentOfBucketError ResponseInterrupted
    RestoreAlreadyInProgress ServerSideEncryptionConfigurationNotFoundError ServiceUnavailable
    SignatureDoesNotMatch SlowDown TagPolicyException TemporaryRedirect TokenCodeInvalidError
    TokenRefreshRequired TooManyAccessPoints TooManyBuckets TooManyMultiRegionAccessPoints
    UnauthorizedAccess UnauthorizedAccessError UnexpectedContent UnexpectedIPError UnresolvableGrantByEmailAddress
    UnsupportedArgument UnsupportedSignature UserKeyMustBeSpecified XAmzContentSHA256Mismatch
    """.split()  # noqa: SIM905
)
"""
The codes of "List of error codes", and of the lists next to it, that a backend may return.
"""
