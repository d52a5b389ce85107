"""
DeleteObjects: read the client's document, and write the response's if a backend deletes only one object at a time. If
the client may not delete all objects, the backend gets the others, and the response tells of both.

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
from s3proxy.s3.elements import read_listing_elements
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import AccessDenied, InternalError, MalformedXML, S3Error
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
        conditions: Names and values of what the object must be like to be deleted.
    """

    key: str
    version_id: str = ""
    conditions: tuple[tuple[str, str], ...] = ()

    @property
    def is_conditional(self) -> bool:
        """
        Whether the object must be deleted only if it is as the client knows it.
        """
        return bool(self.conditions)


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
    conditions = tuple((name, text) for name, text in texts.items() if name in _CONDITIONS)
    return Deletion(texts["Key"], texts.get("VersionId", ""), conditions)


def _text(element: Element) -> str:
    if len(element):
        raise MalformedXML
    return element.text or ""


def write_deletions(deletions: Deletions) -> bytes:
    """
    Return a DeleteObjects document.
    """
    parts = []
    for deletion in deletions.wanted:
        named = [("Key", deletion.key), ("VersionId", deletion.version_id), *deletion.conditions]
        parts.append(f"<Object>{''.join(_element(name, text) for name, text in named if text)}</Object>")
    quiet = "<Quiet>true</Quiet>" if deletions.is_quiet else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{quiet}{"".join(parts)}</Delete>'
    ).encode()


def add_refused(refused: Iterable[Deletion], document: bytes) -> bytes:
    """
    Return a backend's response to DeleteObjects, with an error for each object that the client may not delete.

    Raises:
        InternalError: The document is not a response to DeleteObjects.
    """
    reading = read_listing_elements(document, ())
    root = reading.root
    if not reading.is_readable or root is None or root.name != "DeleteResult":
        raise InternalError
    outcome = Outcome.of_error(AccessDenied())
    errors = "".join(_result(deletion, outcome, root.prefix) for deletion in refused).encode()
    document, end = reading.document, root.end
    if document.startswith(b"</", end):
        return reading.written(document[:end] + errors + document[end:])
    # The root is one empty tag, which ends here.
    name = (root.prefix + root.name).encode()
    opening = document[root.start : end].rstrip()
    if not opening.endswith(b"/>"):
        raise InternalError
    return reading.written(document[: root.start] + b"%s>%s</%s>" % (opening[:-2], errors, name) + document[end:])


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
    parts = [
        _result(deletion, outcome)
        for deletion, outcome in zip(deletions.wanted, outcomes, strict=True)
        if outcome.code or not deletions.is_quiet
    ]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{"".join(parts)}</DeleteResult>'
    ).encode()


def _result(deletion: Deletion, outcome: Outcome, prefix: str = "") -> str:
    named = [("Key", deletion.key)]
    if deletion.version_id:
        named.append(("VersionId", deletion.version_id))
    if outcome.code:
        named += [("Code", outcome.code), ("Message", outcome.message)]
    elif outcome.marker is not None:
        named.append(("DeleteMarker", "true"))
        if outcome.marker:
            named.append(("DeleteMarkerVersionId", outcome.marker))
    kind = f"{prefix}{'Error' if outcome.code else 'Deleted'}"
    return f"<{kind}>{''.join(_element(prefix + name, text) for name, text in named)}</{kind}>"


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape_text(text)}</{name}>"
