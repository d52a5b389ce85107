"""
Which S3 operation a request is for, and which of its query parameters have a meaning in that operation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import check_copy_source
from s3proxy.s3.errors import (
    BadRequest,
    InvalidArgument,
    KeyTooLongError,
    MetadataTooLarge,
    MethodNotAllowed,
    NoSuchUpload,
    NotImplementedByProxy,
    S3Error,
)
from s3proxy.s3.head import METHODS, Fields, RequestHead
from s3proxy.s3.limits import MAX_KEY_SIZE, MAX_METADATA_SIZE
from s3proxy.s3.operation import OPERATIONS, Level, Operation
from s3proxy.s3.query import query_items

WRITING_METHODS = frozenset({b"POST", b"PUT"})
"""
The methods of operations that have a body.
"""

_REFUSED_METHODS = frozenset({b"TRACE", b"CONNECT", b"PATCH"})
_METADATA_PREFIX = b"x-amz-meta-"
# MinIO treats any type that matches the regular expression "multipart/form-data*" as a form.
_ANY_FORM_TYPE = b"multipart/form-dat"
_FORM_TYPE = re.compile(rb"multipart/form-data[ \t]*(?:;|\Z)", re.IGNORECASE)

_IGNORED = frozenset({b"x-id", b"x-amz-user-agent", b"x-amz-content-sha256"})
"""
Query names, in lower case, that SDKs add to any request. They have no effect.
"""

_NEVER_EMPTY = frozenset({b"annotationName", b"id", b"partNumber", b"select-type", b"uploadId", b"versionId"})
"""
Query names whose value says what an operation acts on. Ceph 16.2 treats a request with an empty ``uploadId`` as the
operation without it: it deletes the object, or overwrites it with a part.
"""

_NO_NAMES: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Classification:
    """
    The operation of a request, and its query parameters.

    Attributes:
        passed_names: Decoded query names that a backend gets: those that have a meaning in the operation.
        unknown_names: Decoded query names that have no meaning in the operation. S3 ignores them, and a backend does
            not get them.
        extra_names: Those of the unknown names that the signature covers. A backend gets them if they belong to an
            extension that is allowed for it.
    """

    operation: Operation
    passed_names: frozenset[bytes] = _NO_NAMES
    unknown_names: frozenset[bytes] = _NO_NAMES
    extra_names: frozenset[bytes] = _NO_NAMES


class _Place:
    """
    The operations of one method and level. HEAD has the operations of GET, except for its own two.

    Attributes:
        plain: The operation of a request without a sub-resource, by whether it copies.
        by_subresource: The other operations, those with more required names first.
    """

    def __init__(self) -> None:
        self.plain: dict[bool, Classification] = {}
        self.by_subresource: dict[bytes, list[Operation]] = {}


def _index() -> dict[tuple[bytes, Level], _Place]:
    places: dict[tuple[bytes, Level], _Place] = {}
    for operation in OPERATIONS.values():
        place = places.setdefault((operation.method, operation.level), _Place())
        if operation.subresource is None:
            place.plain[operation.copies] = Classification(operation)
        else:
            found = place.by_subresource.setdefault(operation.subresource, [])
            found.append(operation)
            found.sort(key=lambda each: -len(each.required))
    return places


_PLACES = _index()


def _add_heads() -> None:
    # HEAD is GET without the body (RFC 9110, section 9.3.2). S3 names two such operations; backends serve others, too.
    for level in Level:
        read, place = _PLACES[b"GET", level], _PLACES.setdefault((b"HEAD", level), _Place())
        place.plain = read.plain | place.plain
        place.by_subresource = read.by_subresource | place.by_subresource


_add_heads()
_SUBRESOURCES = {
    level: frozenset(
        operation.subresource
        for operation in OPERATIONS.values()
        if operation.level is level and operation.subresource is not None
    )
    - {b"list-type"}
    for level in Level
}


def level_of(address: Address) -> Level:
    """
    Return the level of an address: service, bucket or object.
    """
    if address.key:
        return Level.OBJECT
    return Level.BUCKET if address.bucket else Level.SERVICE


def classify(head: RequestHead, address: Address, covered_names: frozenset[bytes] | None = None) -> Classification:
    """
    Return the operation that a request is for.

    A read may have parameters that S3 does not know: S3 ignores them, and they are not sent. A write with such a
    parameter is refused: the client means an operation that s3proxy does not know, and without the parameter it would
    be another operation. The storage system may have it as an extension of S3, so it is refused only after the backend
    is chosen; see `s3proxy.profiles.allowed.check_taken`.

    Args:
        head: Without the parameters of its authentication; see `s3proxy.authentication.verdict.Authenticated`.
        covered_names: Decoded query names that its signature covers or that may pass uncovered; None for all.

    Raises:
        MethodNotAllowed: S3 has no such operation with this method.
        InvalidArgument: The parameters contradict each other, or one is missing or empty.
        NoSuchUpload: The upload's id is empty.
        NotImplementedByProxy: The signature does not cover the parameters that distinguish the operation from others.
    """
    level = Level.OBJECT if address.key else level_of(address)
    place = _PLACES.get((head.method, level))
    if place is None:
        raise MethodNotAllowed(head.method, level.value)
    is_copy = head.method == b"PUT" and b"x-amz-copy-source" in head.fields
    if not head.raw_query or head.method == b"OPTIONS":
        return place.plain.get(is_copy) or _plain(place, head, level, is_copy=is_copy)
    values: dict[bytes, bytes] = {}
    repeated = set()
    for name, value in query_items(head.raw_query):
        if name in values:
            repeated.add(name)
        values[name] = value
    found = [name for name in values if name in _SUBRESOURCES[level]]
    if level is Level.BUCKET and not found and values.get(b"list-type") == b"2":
        found.append(b"list-type")
    if not found:
        operation = _plain(place, head, level, is_copy=is_copy).operation
    else:
        operation = _by_subresource(place, head, level, found, values, is_copy=is_copy)
    known = operation.query_names & values.keys()
    # One reader uses the first list-type, another the last: two operations.
    _check_not_repeated(repeated & (known | {b"list-type"}), values)
    for name in known & _NEVER_EMPTY:
        # A backend that strips white space reads a value of only white space as empty.
        if not values[name].strip():
            raise _refusal_of_empty(name, values[name])
    passed = known if covered_names is None else known & covered_names
    if covered_names is not None and len(passed) != len(known):
        _check_covered(operation, known - passed)
    unknown = frozenset(name for name in values if name not in known and name.lower() not in _IGNORED)
    if unknown and not operation.is_read and b"versionId" in unknown:
        raise InvalidArgument("This operation does not accept a version-id.", "versionId", values[b"versionId"])
    extra = unknown if covered_names is None else unknown & covered_names
    if not operation.is_read:
        _check_not_repeated(repeated & extra, values)
    return Classification(operation, passed, unknown, extra)


def _check_not_repeated(names: frozenset[bytes] | set[bytes], values: dict[bytes, bytes]) -> None:
    for name in sorted(names):
        raise InvalidArgument("A query parameter must not be repeated", name.decode("latin-1"), values[name])


def _plain(place: _Place, head: RequestHead, level: Level, *, is_copy: bool) -> Classification:
    plain = place.plain.get(is_copy)
    if plain is None:
        if is_copy and place.plain:
            raise _not_copied(head)
        raise MethodNotAllowed(head.method, level.value)
    return plain


def _by_subresource(
    place: _Place, head: RequestHead, level: Level, found: list[bytes], values: dict[bytes, bytes], *, is_copy: bool
) -> Operation:
    if len(found) > 1:
        names = ", ".join(name.decode() for name in found)
        raise InvalidArgument(f"Conflicting query string parameters: {names}", "ResourceType", found[0])
    candidates = place.by_subresource.get(found[0])
    if candidates is None:
        raise MethodNotAllowed(head.method, level.value)
    complete = [operation for operation in candidates if operation.required <= values.keys()]
    if not complete:
        missing = min(candidates[-1].required - values.keys())
        raise InvalidArgument(f"Missing required query parameter {missing.decode()}", missing.decode())
    for operation in complete:
        if operation.copies == is_copy:
            return operation
    raise _not_copied(head)


def _refusal_of_empty(name: bytes, value: bytes) -> S3Error:
    if name == b"uploadId":
        return NoSuchUpload()
    if name == b"versionId":
        return InvalidArgument("Version id cannot be the empty string", "versionId", value)
    return InvalidArgument("A query parameter must not be empty", name.decode(), value)


def _not_copied(head: RequestHead) -> InvalidArgument:
    # One reader would copy, another would store the body.
    source = head.fields.value(b"x-amz-copy-source") or b""
    return InvalidArgument("This operation does not accept a copy source.", "x-amz-copy-source", source)


def _check_covered(operation: Operation, uncovered: frozenset[bytes]) -> None:
    # Without its sub-resource a request would be another operation; so would a write without any of its parameters.
    if not operation.is_read or operation.subresource in uncovered or not operation.required.isdisjoint(uncovered):
        raise NotImplementedByProxy


def is_form(fields: Fields) -> bool:
    """
    Return True if a body is a form that may hold a file.

    Raises:
        BadRequest: There are two Content-Type headers: one reader uses the first, another the last.
    """
    _check_one_type(fields)
    return _FORM_TYPE.match(fields.value(b"content-type") or b"") is not None


def _may_be_form(fields: Fields) -> bool:
    """
    Return True if a backend could treat a body as a form, in any spelling of its type.
    """
    _check_one_type(fields)
    return _ANY_FORM_TYPE in (fields.value(b"content-type") or b"").lower()


def _check_one_type(fields: Fields) -> None:
    if len(fields.get(b"content-type", ())) > 1:
        raise BadRequest


def is_preflight(head: RequestHead) -> bool:
    """
    Return True if a request is a CORS preflight: OPTIONS with Origin and Access-Control-Request-Method.
    """
    return head.method == b"OPTIONS" and {b"origin", b"access-control-request-method"} <= head.fields.keys()


def is_head_bucket(head: RequestHead, address: Address) -> bool:
    """
    Return True if a request is HeadBucket: it asks only whether a bucket exists, and for its region.
    """
    return head.method == b"HEAD" and bool(address.bucket) and not address.key


def check_method(method: bytes) -> None:
    """
    Refuse a method that no S3 operation has.

    Raises:
        BadRequest: The method is unknown. S3's methods are in upper case.
        MethodNotAllowed: The method is known, and never allowed here.
    """
    if method not in METHODS:
        if method in _REFUSED_METHODS:
            raise MethodNotAllowed(method, "OBJECT")
        raise BadRequest


def check_request(head: RequestHead, address: Address, operation: Operation) -> None:
    """
    Refuse an authenticated request that must not be sent to any backend.

    Raises:
        MethodNotAllowed: A form has a signature in its head: its policy would not be checked.
        BadRequest: A POST that could be a form has two Content-Type headers.
        KeyTooLongError: The key has more than 1,024 bytes.
        MetadataTooLarge: The metadata has more than 2 KiB.
        InvalidArgument: A copy source has no key. Such a request crashes Ceph 16.2.
    """
    # Ceph treats a POST to an object as a form, which names another key. In a multipart upload, Content-Type is the
    # type of the object.
    if head.method == b"POST" and not operation.is_part_of_upload and _may_be_form(head.fields):
        raise MethodNotAllowed(head.method, operation.level.value)
    if len(address.key) > MAX_KEY_SIZE:
        raise KeyTooLongError(len(address.key), MAX_KEY_SIZE)
    if head.method in WRITING_METHODS:
        if head.names is None or head.names.has_metadata:
            _check_metadata(head)
        for source in head.fields.get(b"x-amz-copy-source", ()):
            check_copy_source(source)


def _check_metadata(head: RequestHead) -> None:
    size = 0
    for name, values in head.fields.items():
        if name.startswith(_METADATA_PREFIX):
            size += len(name) - len(_METADATA_PREFIX) + sum(map(len, values))
    if size > MAX_METADATA_SIZE:
        raise MetadataTooLarge(size, MAX_METADATA_SIZE)
