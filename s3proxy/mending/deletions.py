"""
DeleteObjects at a backend that deletes only one object at a time: read the client's document, and write the response's.

Source:
    "DeleteObjects".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s3proxy.mending.results import is_fault
from s3proxy.resign.error_documents import blames_our_signature, error_code, error_message, read_error, translate_error
from s3proxy.resign.error_forms import standard_error
from s3proxy.resign.response import JUDGED_STATUSES
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import InternalError, MalformedXML, S3Error
from s3proxy.s3.head import ResponseHead
from s3proxy.s3.limits import MAX_DELETED_OBJECTS

MAX_MESSAGE_SIZE = 512
"""
Maximum number of characters of a backend's own message that are passed on: one response may have a thousand messages.
"""

_CONDITIONS = frozenset({"ETag", "LastModifiedTime", "Size"})
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Deletion:
    """
    One object of a document.

    Attributes:
        version_id: The version to delete; empty for the object itself.
        is_conditional: Whether the object must be deleted only if it is as the client knows it.
    """

    key: str
    version_id: str = ""
    is_conditional: bool = False


@dataclass(frozen=True, slots=True)
class Deletions:
    """
    The content of a DeleteObjects document.

    Attributes:
        is_quiet: Whether the response has only errors.
    """

    wanted: tuple[Deletion, ...]
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The result for one object.

    Attributes:
        code: The S3 error code; empty if the object is gone.
        marker: The version of the delete marker that was made or deleted; None if there was none.
    """

    code: str = ""
    message: str = ""
    marker: str | None = None

    @classmethod
    def of_error(cls, error: S3Error) -> Outcome:
        """
        Return the outcome for an error of s3proxy.
        """
        return cls(error.code, error.message)


GONE = Outcome()
NOT_ANSWERED = Outcome.of_error(InternalError())
"""
It is not known if the object is gone.
"""


def read_deletions(document: bytes) -> Deletions:
    """
    Read the document of DeleteObjects.

    Args:
        document: The verified document.

    Raises:
        MalformedXML: The document does not have S3's format, names no object, or more than a thousand. An empty key
            would mean the bucket.
    """
    root = parse_document(document)
    if local_name(root) != "Delete":
        raise MalformedXML
    wanted: list[Deletion] = []
    is_quiet: bool | None = None
    for element in root:
        name = local_name(element)
        if name == "Object":
            wanted.append(_read_object(element))
        elif name == "Quiet" and is_quiet is None:
            is_quiet = _BOOLEANS.get(_text(element).strip())
            if is_quiet is None:
                raise MalformedXML
        else:
            raise MalformedXML
    if not 0 < len(wanted) <= MAX_DELETED_OBJECTS:
        raise MalformedXML
    return Deletions(tuple(wanted), bool(is_quiet))


def sets_conditions(document: bytes) -> bool:
    """
    Return True if a DeleteObjects document has a condition on an object.

    Raises:
        MalformedXML: The document cannot be read.
    """
    return any(
        local_name(part) in _CONDITIONS
        for element in parse_document(document)
        if local_name(element) == "Object"
        for part in element
    )


def _read_object(element: Element) -> Deletion:
    texts: dict[str, str] = {}
    for part in element:
        name = local_name(part)
        if name in texts or name not in _CONDITIONS | {"Key", "VersionId"}:
            # To ignore an unknown element could delete more than the client wants.
            raise MalformedXML
        texts[name] = _text(part)
    if not texts.get("Key"):
        raise MalformedXML
    return Deletion(texts["Key"], texts.get("VersionId", ""), not _CONDITIONS.isdisjoint(texts))


def _text(element: Element) -> str:
    if len(element):
        raise MalformedXML
    return element.text or ""


def judge_response(
    response: ResponseHead,
    document: bytes,
    codes: Mapping[bytes, tuple[bytes, bytes]],
    *,
    writes_own_errors: bool = False,
) -> Outcome:
    """
    Return the outcome for an object from the response to its DELETE.

    Args:
        document: The document of the response; empty if it could not be read.
        codes: The profile's error codes, in the form for `translate_error`.
        writes_own_errors: The profile's option: its errors are not S3's, and may contain names of its classes.
    """
    if 200 <= response.status < 300:
        if is_fault(document):
            return NOT_ANSWERED
        if response.fields.value(b"x-amz-delete-marker") != b"true":
            return GONE
        return Outcome(marker=(response.fields.value(b"x-amz-version-id") or b"").decode("utf-8", "replace"))
    error = read_error(translate_error(document, codes, response.status, is_about_object=True))
    code = error_code(error)
    if code == b"NoSuchKey" and response.status == 404:
        return GONE
    if writes_own_errors:
        if response.status < 400 or (response.status == 404 and code is None):
            # The response may not come from the backend at all: it does not show that the object is gone.
            return NOT_ANSWERED
        try:
            error = read_error(standard_error(document, codes, response.status, is_about_object=True))
        except InternalError:
            return NOT_ANSWERED
        code = error_code(error)
    if code is None:
        return NOT_ANSWERED
    return Outcome(code.decode("ascii"), error_message(error)[:MAX_MESSAGE_SIZE])


def is_response_to_all(response: ResponseHead, document: bytes) -> bool:
    """
    Return True if the response to one DELETE is the response to the whole request: the bucket does not exist, or the
    signature of s3proxy was refused.
    """
    if response.status == 404:
        return error_code(read_error(document)) == b"NoSuchBucket"
    return response.status in JUDGED_STATUSES and blames_our_signature(read_error(document))


def result_document(deletions: Deletions, outcomes: Iterable[Outcome]) -> bytes:
    """
    Return the document of the response.

    Args:
        outcomes: One outcome for each object, in order.
    """
    parts = []
    for deletion, outcome in zip(deletions.wanted, outcomes, strict=True):
        name = _element("Key", deletion.key)
        if deletion.version_id:
            name += _element("VersionId", deletion.version_id)
        if outcome.code:
            reason = _element("Code", outcome.code) + _element("Message", outcome.message)
            parts.append(f"<Error>{name}{reason}</Error>")
        elif not deletions.is_quiet:
            if outcome.marker is not None:
                name += "<DeleteMarker>true</DeleteMarker>"
                name += _element("DeleteMarkerVersionId", outcome.marker) if outcome.marker else ""
            parts.append(f"<Deleted>{name}</Deleted>")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}</DeleteResult>'
    ).encode()


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape_text(text)}</{name}>"
