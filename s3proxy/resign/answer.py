"""
The backend's answer as its client may see it: untouched, but for the backend's own name, region and our signature.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import auto

from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, connection_options
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import KIB, MIB

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""
Headers of one connection, lower case (RFC 9110, section 7.6.1).
"""

MAX_JUDGED_SIZE = 64 * KIB
"""
Bytes of an error document which are read to find its code; S3's are below 2 KiB, with a canonical request below 40.
"""

JUDGED_STATUSES = frozenset({400, 401, 403})
"""
Statuses with which backends refuse a signature.
"""

MAX_EDITED_SIZE = 4 * MIB
"""
Bytes of a document which is edited. A listing has a thousand keys of 1,024 bytes, thrice that where they are escaped;
the others are below 4 KiB.
"""

_OUR_FAULTS = frozenset(
    {
        b"SignatureDoesNotMatch",
        b"InvalidAccessKeyId",
        b"RequestTimeTooSkewed",
        b"AuthorizationHeaderMalformed",
        b"InvalidToken",
        b"ExpiredToken",
    }
)
# Walrus has a code of two words.
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]+(?: [A-Za-z]+)*)\s*</Code>")
_CODES_BY_STATUS = {
    400: b"InvalidRequest",
    403: b"AccessDenied",
    404: b"NoSuchKey",
    405: b"MethodNotAllowed",
    411: b"MissingContentLength",
    412: b"PreconditionFailed",
    416: b"InvalidRange",
    501: b"NotImplemented",
    503: b"ServiceUnavailable",
}
_LOCATION = re.compile(rb"(<Location>)\s*(https?)://[^/<]*(?:/?)([^<]*)(</Location>)")
_LOCATION_CONSTRAINT = re.compile(rb"<LocationConstraint([^<>]*?)(?:/>|>[^<]*</LocationConstraint>)")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]+)(.*)", re.DOTALL)


class AnswerUse(IdentityEnum):
    """
    What must happen to an answer's document before its client sees it.
    """

    RELAY = auto()
    "nothing: it streams"
    EXPLAIN = auto()
    "it has no document, and may speak of our own signature"
    JUDGE = auto()
    "its code is read, because it may speak of our own signature"
    EDIT = auto()
    "it names the backend or its region"


@dataclass(frozen=True, slots=True)
class PublicName:
    """
    How the client knows us.

    Attributes:
        scheme: ``http`` or ``https``, as the client's connection is.
        host: The Host header, as the client sent it.
        region: The listener's.
    """

    scheme: bytes
    host: bytes
    region: bytes


def answer_use(request: RequestHead, answer: ResponseHead) -> AnswerUse:
    """
    Say what must happen to an answer's document.
    """
    if request.method == b"HEAD":
        return AnswerUse.EXPLAIN if answer.status in JUDGED_STATUSES else AnswerUse.RELAY
    if answer.content_length == 0:
        return AnswerUse.RELAY
    if answer.status in JUDGED_STATUSES:
        return AnswerUse.JUDGE
    if answer.status == 200 and request.raw_query is not None:
        names = {item.partition(b"=")[0] for item in request.raw_query.split(b"&")}
        if (request.method == b"GET" and b"location" in names) or (request.method == b"POST" and b"uploadId" in names):
            return AnswerUse.EDIT
    return AnswerUse.RELAY


def error_code(document: bytes) -> bytes | None:
    """
    Return the code of an error document, or None where it has none.
    """
    found = _CODE.search(document)
    return found[1] if found is not None else None


def translate_error(
    document: bytes, codes: Mapping[bytes, tuple[bytes, bytes]], status: int, *, is_about_object: bool
) -> bytes:
    """
    Put S3's code where a document has one of the backend's own.

    Args:
        codes: The profile's: S3's code where the operation is about an object, and where it is not.
    """
    found = _CODE.search(document)
    known = codes.get(found[1]) if found is not None else None
    if found is None or known is None:
        return document
    code = known[not is_about_object] or _CODES_BY_STATUS.get(status, b"InternalError")
    return document[: found.start(1)] + code + document[found.end(1) :]


def blames_our_signature(document: bytes) -> bool:
    """
    Say whether an error document speaks of the signature, key or clock which we sent, not of the client's.
    """
    return error_code(document) in _OUR_FAULTS


def edit_document(document: bytes, name: PublicName) -> bytes:
    """
    Put the client's own name for us where a document names the backend, and the listener's region.

    Args:
        document: The answer of CompleteMultipartUpload or GetBucketLocation.
    """
    document = _LOCATION.sub(
        lambda found: b"%s%s://%s/%s%s" % (found[1], name.scheme, name.host, found[3], found[4]), document
    )
    # us-east-1 has an empty element ("GetBucketLocation").
    region = b"" if name.region == b"us-east-1" else name.region
    return _LOCATION_CONSTRAINT.sub(
        lambda found: b"<LocationConstraint%s>%s</LocationConstraint>" % (found[1].rstrip(), region), document
    )


def answer_headers(
    answer: ResponseHead, name: PublicName, backend_host: bytes, request_id: bytes, verified: HeaderList
) -> HeaderList:
    """
    Return the headers which the client gets, framing aside.

    Args:
        backend_host: The authority which we sent to the backend; a Location with it becomes the client's.
        request_id: Ours; the backend's own goes to the log alone.
        verified: ``x-amz-checksum-*`` which we verified; added where the backend answers without them.
    """
    nominated = connection_options(answer.fields) if b"connection" in answer.fields else frozenset()
    headers: HeaderList = [(b"x-amz-request-id", request_id)]
    for header, value in answer.headers:
        lower = header.lower()
        if lower in HOP_BY_HOP or lower in nominated or lower in {b"x-amz-request-id", b"content-length"}:
            continue
        if lower == b"x-amz-bucket-region":
            headers.append((header, name.region))
        elif lower == b"location":
            headers.append((header, _public_location(value, name, backend_host)))
        else:
            headers.append((header, value))
    headers += [(header, value) for header, value in verified if header not in answer.fields]
    return headers


def add_region(headers: HeaderList, name: PublicName) -> None:
    """
    Tell the listener's region where the backend has not told its own: clients ask HeadBucket for it.
    """
    if not any(header.lower() == b"x-amz-bucket-region" for header, _ in headers):
        headers.append((b"x-amz-bucket-region", name.region))


def _public_location(location: bytes, name: PublicName, backend_host: bytes) -> bytes:
    found = _ABSOLUTE.fullmatch(location)
    if found is None or found[2].lower() != backend_host.lower():
        return location
    return b"%s://%s%s" % (name.scheme, name.host, found[3])
