"""
DeleteObjects at a backend which deletes only one at a time: what its document asks for, and the document which answers.

Source:
    "DeleteObjects".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from s3proxy.mending.results import is_fault
from s3proxy.resign.answer import JUDGED_STATUSES
from s3proxy.resign.error_documents import blames_our_signature, error_code, error_message, read_error, translate_error
from s3proxy.resign.error_forms import standard_error
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import InternalError, MalformedXML, S3Error
from s3proxy.s3.head import ResponseHead
from s3proxy.s3.limits import MAX_DELETED_OBJECTS

MAX_MESSAGE_SIZE = 512
"""
Characters of a backend's own message which are passed on: there may be a thousand in one answer.
"""

_CONDITIONS = frozenset({"ETag", "LastModifiedTime", "Size"})
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Deletion:
    """
    One object of a document.

    Attributes:
        version_id: Empty for the object as it is.
        is_conditional: Whether it is only to be deleted if it is as the client knows it.
    """

    key: str
    version_id: str = ""
    is_conditional: bool = False


@dataclass(frozen=True, slots=True)
class Deletions:
    """
    All that a document asks for.

    Attributes:
        is_quiet: Whether only errors are answered.
    """

    wanted: tuple[Deletion, ...]
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    What became of one object.

    Attributes:
        code: S3's; empty where the object is gone.
        marker: Version of the delete marker which was made, or was deleted; None where there was none.
    """

    code: str = ""
    message: str = ""
    marker: str | None = None

    @classmethod
    def of_error(cls, error: S3Error) -> Outcome:
        """
        Return what a refusal of our own is.
        """
        return cls(error.code, error.message)


GONE = Outcome()
NOT_ANSWERED = Outcome.of_error(InternalError())
"""
Nobody knows whether it is gone.
"""


def read_deletions(document: bytes) -> Deletions:
    """
    Read the document of DeleteObjects.

    Args:
        document: Verified.

    Raises:
        MalformedXML: It is not as S3 wants it; it names no object, or more than a thousand. A key which is empty would
            be the bucket.
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
    Return True if a DeleteObjects deletes an object only as its client knows it.

    Raises:
        MalformedXML: It cannot be read.
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
            # Whoever leaves out what he does not know deletes more than he was asked to.
            raise MalformedXML
        texts[name] = _text(part)
    if not texts.get("Key"):
        raise MalformedXML
    return Deletion(texts["Key"], texts.get("VersionId", ""), not _CONDITIONS.isdisjoint(texts))


def _text(element: Element) -> str:
    if len(element):
        raise MalformedXML
    return element.text or ""


def judge_answer(
    answer: ResponseHead,
    document: bytes,
    codes: Mapping[bytes, tuple[bytes, bytes]],
    *,
    writes_own_errors: bool = False,
) -> Outcome:
    """
    Say what became of an object by the answer to its DELETE.

    Args:
        document: Of the answer; empty where it could not be read.
        codes: The profile's, as `translate_error` takes them.
        writes_own_errors: The profile's, too: its errors are none of S3's, and may tell names of its classes.
    """
    if 200 <= answer.status < 300:
        if is_fault(document):
            return NOT_ANSWERED
        if answer.fields.value(b"x-amz-delete-marker") != b"true":
            return GONE
        return Outcome(marker=(answer.fields.value(b"x-amz-version-id") or b"").decode("utf-8", "replace"))
    error = read_error(translate_error(document, codes, answer.status, is_about_object=True))
    code = error_code(error)
    if code == b"NoSuchKey" and answer.status == 404:
        return GONE
    if writes_own_errors:
        if answer.status < 400 or (answer.status == 404 and code is None):
            # It may not come from the storage at all: the object is not known to be gone.
            return NOT_ANSWERED
        try:
            error = read_error(standard_error(document, codes, answer.status, is_about_object=True))
        except InternalError:
            return NOT_ANSWERED
        code = error_code(error)
    if code is None:
        return NOT_ANSWERED
    return Outcome(code.decode("ascii"), error_message(error)[:MAX_MESSAGE_SIZE])


def answers_all(answer: ResponseHead, document: bytes) -> bool:
    """
    Say whether the answer to one DELETE is the answer to the whole request: there is no such bucket, or our own
    signature was refused.
    """
    if answer.status == 404:
        return error_code(read_error(document)) == b"NoSuchBucket"
    return answer.status in JUDGED_STATUSES and blames_our_signature(read_error(document))


def result_document(deletions: Deletions, outcomes: Iterable[Outcome]) -> bytes:
    """
    Write the answer.

    Args:
        outcomes: One for each object, in order.
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
