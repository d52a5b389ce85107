"""
Makes the response that a client may see: the backend's, without the backend's name and region and our signature.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from enum import auto
from typing import NamedTuple

from s3proxy.resign.error_documents import public_error, read_error
from s3proxy.resign.public_name import PublicName, public_value
from s3proxy.s3.elements import character_data, read_elements, replace_contents
from s3proxy.s3.errors import InternalError
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, connection_options
from s3proxy.s3.header_names import KNOWN_SETS, MAX_KNOWN_SETS, HeaderNames, is_known
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.known import Known, picker
from s3proxy.s3.limits import KIB, MIB
from s3proxy.s3.operation import Operation

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
Headers for one connection only, lower case (RFC 9110, section 7.6.1).
"""

MAX_JUDGED_SIZE = 64 * KIB
"""
Bytes of an error document that are read to find its code: S3's have less than 2 KiB, 40 with a canonical request.
"""

JUDGED_STATUSES = frozenset({400, 401, 403})
"""
Status codes with which backends refuse a signature.
"""

MAX_NAMING_SIZE = 64 * KIB
"""
Bytes of a document that names the backend: GetBucketLocation and CompleteMultipartUpload return less than 16 KiB.
"""

READABLE_CODINGS = frozenset({b"deflate", b"gzip", b"identity", b"x-gzip"})
"""
Content codings of a document that s3proxy can decode, lower case.
"""

MAX_EDITED_SIZE = 4 * MIB
"""
Bytes of a listing that is rewritten: a thousand keys of 1,024 bytes, or three times as many if they are escaped.
"""

# Their documents name the backend or its region. ``?location`` of an object is not one of them: it is ignored.
_NAMING_OPERATIONS = frozenset({"CompleteMultipartUpload", "GetBucketLocation"})
_NAMING_ELEMENTS = frozenset({"ETag", "Location", "LocationConstraint"})
# With 32 added to the window's bits, zlib detects whether the header is its own or gzip's.
_ZLIB_OR_GZIP = zlib.MAX_WBITS | 32
_MAX_CODINGS = 2
_EDITED_HEADERS = frozenset({b"x-amz-bucket-region", b"location", b"content-location", b"link", b"refresh"})
# Alt-Svc would send clients to another authority than s3proxy.
_DROPPED_HEADERS = HOP_BY_HOP | {b"x-amz-request-id", b"content-length", b"alt-svc"}
_METADATA = b"x-amz-meta-"
_ABOUT_CONTENT = frozenset({b"content-encoding", b"content-md5", b"content-digest", b"digest", b"repr-digest"})
_NOT_IN_304 = _ABOUT_CONTENT | {
    b"accept-ranges",
    b"content-disposition",
    b"content-language",
    b"content-length",
    b"content-range",
    b"content-type",
}
_BODILESS = frozenset({204, 205, 304})
_NONE: frozenset[bytes] = frozenset()


class ResponseUse(IdentityEnum):
    """
    What must happen to the document of a response before the client gets it.
    """

    RELAY = auto()
    "nothing: it is streamed"
    EXPLAIN = auto()
    "it has no document, and may be an error about our own signature"
    JUDGE = auto()
    "its code is read, because it may be an error about our own signature"
    EDIT = auto()
    "it names the backend or its region"
    WATCH = auto()
    "its status is 200, but it may still be an error"
    CONVERT = auto()
    "it is a listing that must be rewritten"
    CHECK = auto()
    "it may not be a valid response to the operation"


MAX_SIZES = {
    ResponseUse.JUDGE: MAX_JUDGED_SIZE,
    ResponseUse.EDIT: MAX_NAMING_SIZE,
    ResponseUse.WATCH: MAX_JUDGED_SIZE,
    ResponseUse.CONVERT: MAX_EDITED_SIZE,
    ResponseUse.CHECK: MAX_EDITED_SIZE,
}
"""
Bytes of a document that are read, by its use.
"""


def response_use(request: RequestHead, response: ResponseHead, operation: Operation) -> ResponseUse:
    """
    Return what must happen to the document of a response.

    Source:
        "CopyObject", Response and special errors: a copy takes long, and may fail after the backend responded 200.
    """
    status = response.status
    if request.method == b"HEAD":
        return ResponseUse.EXPLAIN if status in JUDGED_STATUSES else ResponseUse.RELAY
    if response.content_length == 0 or status in _BODILESS:
        return ResponseUse.RELAY
    if status < 300:
        if operation.name in _NAMING_OPERATIONS:
            return ResponseUse.EDIT
        return ResponseUse.WATCH if operation.copies else ResponseUse.RELAY
    return ResponseUse.JUDGE if status in JUDGED_STATUSES or _may_be_error(response) else ResponseUse.RELAY


def _may_be_error(response: ResponseHead) -> bool:
    """
    Return True if the document may be an error, or a web page of a redirect.
    """
    kind = response.fields.value(b"content-type")
    if kind is None:
        return True
    kind = kind.partition(b";")[0].lower()
    return b"xml" in kind or (response.status < 400 and kind.strip().startswith(b"text/"))


def read_content(content: bytes, response: ResponseHead, use: ResponseUse, *, is_whole: bool) -> bytes:
    """
    Return the document of a backend's response, without its content coding.

    A proxy between s3proxy and the backend may have compressed it.

    Args:
        content: The bytes that were read.
        is_whole: Whether they are the whole body.

    Returns:
        Empty if an error is in a coding that s3proxy cannot decode: it could be about our own signature.

    Raises:
        InternalError: The document names the backend or must be rewritten, but cannot be read or is too large. Or it is
            an error that is both large and encoded.
    """
    codings = _codings(response)
    if use is ResponseUse.WATCH and codings:
        return _decoded(content, codings, MAX_JUDGED_SIZE) or b""
    if use in {ResponseUse.JUDGE, ResponseUse.WATCH}:
        if not codings:
            return content
        if not is_whole:
            raise InternalError
        return _decoded(content, codings, MAX_JUDGED_SIZE) or b""
    if not is_whole:
        raise InternalError
    found = _decoded(content, codings, MAX_SIZES[use])
    if found is None:
        raise InternalError
    return found


def is_coded(response: ResponseHead) -> bool:
    """
    Return True if a document is in a content coding.
    """
    return bool(_codings(response))


def _codings(response: ResponseHead) -> list[bytes]:
    """
    Return the codings of a document in the order in which they were applied.
    """
    lines = response.fields.get(b"content-encoding")
    if lines is None:
        return []
    words = [word.strip(b" \t").lower() for word in b",".join(lines).split(b",")]
    return [word for word in words if word not in {b"", b"identity"}]


def _decoded(content: bytes, codings: list[bytes], max_size: int) -> bytes | None:
    """
    Return a document without its codings; None if it cannot be decoded, or is larger than allowed.
    """
    if len(codings) > _MAX_CODINGS:
        return None
    for coding in reversed(codings):
        found = _decompress(content, max_size, _ZLIB_OR_GZIP) if coding in READABLE_CODINGS else None
        if found is None and coding == b"deflate":
            # Some servers omit the zlib header, and clients accept both.
            found = _decompress(content, max_size, -zlib.MAX_WBITS)
        if found is None:
            return None
        content = found
    return content


def _decompress(content: bytes, max_size: int, window: int) -> bytes | None:
    """
    Return the content; None if it cannot be decompressed, or is larger than allowed.
    """
    decompressor = zlib.decompressobj(window)
    try:
        found = decompressor.decompress(content, max_size)
    except zlib.error:
        return None
    return found if decompressor.eof and not decompressor.unused_data else None


def edit_document(document: bytes, name: PublicName, etag: bytes = b"") -> bytes:
    """
    Return a document with the client's own URL instead of the backend's, and the listener's region instead of its own.

    Args:
        document: The response to CompleteMultipartUpload or GetBucketLocation.
        etag: The object's, for a document that does not have it.

    Raises:
        InternalError: The document cannot be read, so it could name the backend.

    Source:
        "CompleteMultipartUpload", "GetBucketLocation".
    """
    if not document.strip():
        return document
    reading = read_elements(document, _NAMING_ELEMENTS)
    if not reading.is_readable:
        raise InternalError
    if reading.root_name == "Error":
        return public_error(read_error(document), name)
    # us-east-1 has an empty element ("GetBucketLocation").
    region = b"" if name.region == b"us-east-1" else character_data(name.region)
    contents = {"Location": character_data(name.object_url), "LocationConstraint": region, "ETag": character_data(etag)}
    found = [
        (element, contents[element.name])
        for element in reading.elements
        # mountpoint-s3 and the AWS SDK for Rust treat an upload with an empty entity tag as failed.
        if element.name != "ETag" or (etag and not element.text.strip())
    ]
    return replace_contents(reading.document, found) if found else document


class _Choice(NamedTuple):
    """
    What is decided from the names of a response's headers alone.

    Attributes:
        pick: Picks the headers that the client gets out of all headers.
        edited: Those whose name or value is edited: the place among them, the name that the client gets, and the
            lower-case name.
    """

    pick: Callable[[HeaderList], Sequence[tuple[bytes, bytes]]]
    edited: tuple[tuple[int, bytes, bytes], ...]


_KNOWN_CHOICES: Known[tuple[HeaderNames, bool], _Choice] = Known(MAX_KNOWN_SETS, about=KNOWN_SETS)


def response_headers(
    response: ResponseHead,
    request_id: bytes,
    host_id: bytes,
    verified: HeaderList,
    public_name: Callable[[], PublicName],
) -> HeaderList:
    """
    Return the headers that the client gets, except framing.

    Args:
        request_id: Our own. The backend's is only logged.
        host_id: Our own.
        verified: ``x-amz-checksum-*`` headers that s3proxy verified. Added if the backend's response lacks them.
        public_name: Returns the client's names, for headers that may name the backend.
    """
    is_error = response.status >= 400
    names = response.names
    if names is not None and b"connection" not in response.fields:
        key = (names, is_error)
        choice = _KNOWN_CHOICES.get(key) or _decide(key)
    else:
        sent = [name for name, _ in response.headers]
        choice = _choose(sent, connection_options(response.fields), is_error=is_error)
    headers: HeaderList = [(b"x-amz-request-id", request_id)]
    if is_error:
        headers.append((b"x-amz-id-2", host_id))
    first = len(headers)
    headers += choice.pick(response.headers)
    for place, shown, lower in choice.edited:
        value = headers[first + place][1]
        headers[first + place] = (
            shown,
            public_value(lower, value, public_name()) if lower in _EDITED_HEADERS else value,
        )
    if verified:
        headers += [(header, value) for header, value in verified if header not in response.fields]
    return headers


def _decide(key: tuple[HeaderNames, bool]) -> _Choice:
    """
    Return the choice for a set of names, and remember it.
    """
    names, is_error = key
    choice = _choose(names.sent, _NONE, is_error=is_error)
    return _KNOWN_CHOICES.keep(key, choice) if is_known(names) else choice


def _choose(names: Sequence[bytes], nominated: frozenset[bytes], *, is_error: bool) -> _Choice:
    """
    Choose the headers of a response that the client gets, by their names.

    Args:
        nominated: The names that the Connection header lists.
    """
    places: list[int] = []
    edited: list[tuple[int, bytes, bytes]] = []
    for place, name in enumerate(names):
        lower = name.lower()
        if lower in _DROPPED_HEADERS or lower in nominated or (is_error and lower == b"x-amz-id-2"):
            continue
        # S3 has the names of metadata in lower case, and SDKs hand them to programs as received.
        shown = lower if lower.startswith(_METADATA) else name
        if shown != name or lower in _EDITED_HEADERS:
            edited.append((len(places), shown, lower))
        places.append(place)
    return _Choice(picker(places), tuple(edited))


def not_modified_headers(headers: HeaderList) -> HeaderList:
    """
    Return the headers of an object for a 304 that s3proxy sends itself: none about content, because none is sent. The
    AWS SDK for Ruby and OpenDAL wait for as many bytes as Content-Length says.

    Source:
        RFC 9110, section 15.4.5; "GetObject", If-None-Match.
    """
    return [header for header in headers if header[0].lower() not in _NOT_IN_304]


def origin_headers(response: ResponseHead) -> HeaderList:
    """
    Return the headers with which a backend lets pages of another origin read its response.

    Source:
        "Configuring cross-origin resource sharing"; Fetch, "CORS protocol".
    """
    if b"access-control-allow-origin" not in response.fields:
        return []
    nominated = connection_options(response.fields) if b"connection" in response.fields else frozenset()
    return [
        (name, value)
        for name, value in response.headers
        if ((lower := name.lower()).startswith(b"access-control-") or lower == b"vary") and lower not in nominated
    ]


def read_headers(headers: HeaderList) -> HeaderList:
    """
    Return the headers of a response whose document was read, without those about its bytes.
    """
    kept = [header for header in headers if header[0].lower() not in _ABOUT_CONTENT]
    return [
        (header, b"application/xml" if header.lower() == b"content-type" and b"utf-16" in value.lower() else value)
        for header, value in kept
    ]
