"""
The requests, replies and errors of a `LegacyStore`, without a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any, BinaryIO
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError, ParserCreate

from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.limits import MAX_XML_BODY_SIZE
from s3proxy.testing.legacy_objects import Folder, IncomingBody, StoredObject
from s3proxy.testing.legacy_quirks import Quirks

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
XSI_NAMESPACE = "http://www.w3.org/2001/XMLSchema-instance"


class Stage(Enum):
    """
    The place where a request was refused. It decides the form of the error.
    """

    SERVER = "server"
    "the HTTP server, or POST"
    BINDING = "binding"
    "authentication, or finding the operation"
    OPERATION = "operation"
    "the operation itself"


class Refusal(Exception):
    """
    An error response to the client.

    Args:
        code: The error code of S3, or of Walrus if it has a code of its own.
        headers: Headers to send with the error.
        resource: The bucket or the key.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str = "",
        headers: Mapping[bytes, bytes] | None = None,
        *,
        stage: Stage = Stage.OPERATION,
        resource: str = "",
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code
        self.headers = dict(headers or {})
        self.stage = stage
        self.resource = resource


class Fault(Exception):
    """
    An error of the store itself, for which S3 has no code.
    """

    def __init__(self, message: str, *, stage: Stage = Stage.OPERATION) -> None:
        super().__init__(message)
        self.message = message
        self.stage = stage


class NoReply(Exception):
    """
    The store never responds.
    """


class Fields(dict[bytes, bytes]):
    """
    The values of headers, by name in lower case.

    Attributes:
        spelled: The names as the client spelled them, by name in lower case.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spelled: dict[bytes, bytes] = {}


@dataclass(slots=True)
class Call:
    """
    An authenticated request.

    Attributes:
        bucket: The decoded name of the bucket; empty for the service itself.
        key: The decoded key; empty for a bucket.
        query: The decoded parameters.
        fields: The values of headers, by name in lower case. Repeated headers are joined with a comma.
        body: The complete body; None if its length is 0.
        is_nobody: Whether the request has no signature.
    """

    method: bytes
    bucket: str
    key: str
    query: Mapping[str, str]
    fields: Mapping[bytes, bytes]
    body: IncomingBody | None
    is_nobody: bool = False

    def spelled(self, name: bytes) -> bytes:
        """
        Return the name of a header as the client spelled it.

        Args:
            name: The name in lower case.
        """
        return self.fields.spelled.get(name, name) if isinstance(self.fields, Fields) else name


@dataclass(slots=True)
class Reply:
    """
    The response to the client.

    Attributes:
        headers: The headers. Names are in lower case, or as they are to be sent.
        content: The document; empty if there is a file.
        file: The file to send, positioned at the first byte. The sender closes it.
        size: Bytes of the file to send. In response to HEAD, the length to declare.
        is_bare: Whether the response has no headers at all.
        lacks_length: Whether the length is not declared, though there is a body and the connection stays open.
        documents_head: Whether the content is sent even in response to HEAD.
        closes: Whether the connection ends after the response. A header says so, unless the response is bare.
        closes_silently: Whether the connection ends after the response, and no header says so.
    """

    status: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""
    file: BinaryIO | None = None
    size: int | None = None
    is_bare: bool = False
    lacks_length: bool = False
    documents_head: bool = False
    closes: bool = False
    closes_silently: bool = False


Operation = Callable[[Call, Folder], Reply]
"""
A function that carries out a call in an existing bucket.
"""

OperationTable = dict[tuple[bytes, frozenset[str]], Operation]
"""
Operations by the method and the sub-resources of a request.
"""


def document_bytes(text: str) -> bytes:
    """
    Return the bytes of an XML document.
    """
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def element(name: str, text: str) -> str:
    """
    Return an element with text.
    """
    return f"<{name}>{escape_text(text)}</{name}>"


def name_element(quirks: Quirks) -> Callable[[str, str], str]:
    """
    Return the function that writes an element with the name of an object.
    """
    return woodstox_element if quirks.writes_as_woodstox else element


_UNWRITTEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
_REFERRED_TO = re.compile("[\r\ufffe\uffff]")
_END_OF_CDATA = re.compile("(?:^|(?<=]))>")


def woodstox_element(name: str, text: str) -> str:
    """
    Return an element as Woodstox 4.2 writes it. Seen with 4.2.0 below JiBX 1.2.5.

    Raises:
        Refusal: The text has a control character. Nothing of the document is sent then.
    """
    unwritten = _UNWRITTEN.search(text)
    if unwritten is not None:
        number = f"0x{ord(unwritten[0]):x}"
        why = f"Error writing to stream: Invalid white space character ({number}) in text to output"
        raise Refusal(400, "InvalidRequest", f"failed to marshall type caused by: {why}", stage=Stage.SERVER)
    written = text.replace("&", "&amp;").replace("<", "&lt;")
    # Woodstox escapes ">" only if it could be the end of a CDATA section.
    written = _END_OF_CDATA.sub("&gt;", written)
    # XML forbids two of these characters in every form.
    written = _REFERRED_TO.sub(lambda found: f"&#x{ord(found[0]):x};", written)
    return f"<{name}>{written}</{name}>"


def document(name: str, content: str) -> Reply:
    """
    Return a reply with a document of S3's namespace.
    """
    text = f'<{name} xmlns="{NAMESPACE}">{content}</{name}>'
    return Reply(200, {b"content-type": b"application/xml"}, document_bytes(text))


def iso_date(seconds: float) -> str:
    """
    Return a time in the form that documents have.

    Args:
        seconds: Seconds since the epoch.
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def written_etag(stored: StoredObject, quirks: Quirks) -> str:
    """
    Return an entity tag as the store writes it, with or without quotation marks.
    """
    return stored.etag if quirks.unquoted_etags else f'"{stored.etag}"'


MAX_DOCUMENT_SIZE = 102_400
"""
The maximum size of a document in bytes, for a storage system that ignores a larger one.
"""


def parse_document(body: IncomingBody | None, quirks: Quirks) -> Any:
    """
    Return the root of a request's document, without namespaces.

    Raises:
        Refusal: MalformedXML.
    """
    if quirks.loses_documents:
        return _found_of(body)
    if body is None or body.size > MAX_XML_BODY_SIZE:
        raise Refusal(400, "MalformedXML")
    content = body.read()
    if b"<!" in content:
        # No document of S3 needs a DTD or entities.
        raise Refusal(400, "MalformedXML")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        # The encoding that the document names may not exist.
        raise Refusal(400, "MalformedXML") from None
    for item in root.iter():
        item.tag = item.tag.rpartition("}")[2]
    return root


def _found_of(body: IncomingBody | None) -> Any:
    """
    Return the root of a document. Element names keep their prefixes, so an element with a prefix is not found.

    A document that cannot be parsed, or is too large, gives an empty element.
    """
    content = b"" if body is None or body.size > MAX_DOCUMENT_SIZE else body.read()
    builder = ElementTree.TreeBuilder()
    parser = ParserCreate()
    parser.StartElementHandler = lambda name, attributes: builder.start(name, {})
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        if b"<!DOCTYPE" in content:
            raise ValueError
        parser.Parse(content, True)
        return builder.close()
    except (ExpatError, ValueError, LookupError, AssertionError):
        return ElementTree.Element("nothing")


# Errors

_OWN_CODES = {
    "BadDigest": "ContentMismatch",
    "InternalError": "UNKNOWN",
    "InvalidRange": "Invalid Range",
    "MethodNotAllowed": "UNKNOWN",
    "NoSuchKey": "NoSuchEntity",
}
_REASONS = {400: "Bad Request", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}


def error_reply(error: Refusal | Fault, method: bytes, request_id: str, quirks: Quirks) -> Reply:
    """
    Return the response for an error.
    """
    if isinstance(error, Fault):
        if quirks.fault_responses == "200" and error.stage is Stage.OPERATION:
            content = element("_return", "false")
            content = element("source", "walrus") + element("message", error.message) + content
            namespace = "http://msgs.eucalyptus.com"
            text = f'<ExceptionResponse xmlns="{namespace}">{content}</ExceptionResponse>'
            return Reply(200, {b"content-type": b"application/xml"}, text.encode())
        if quirks.fault_responses == "400":
            # A fault of an operation has null as its code, and the store cannot write an error without a code.
            message = "null" if error.stage is Stage.OPERATION else error.message
            error = Refusal(400, "InvalidRequest", message, stage=Stage.SERVER)
        else:
            error = Refusal(500, "InternalError", error.message, stage=error.stage)
    code = _OWN_CODES.get(error.code, error.code) if quirks.own_codes else error.code
    # All storage systems of the family have the same HTTP server.
    is_servers = error.stage is Stage.SERVER and quirks.writes_as_woodstox
    if not (quirks.three_error_forms or is_servers):
        text = f"<Error>{element('Code', code)}{element('Message', error.message)}</Error>"
        headers = {b"content-type": b"application/xml", **error.headers}
        reply = Reply(error.status, headers, document_bytes(text), closes=quirks.closes_on_errors)
    elif error.stage is Stage.OPERATION:
        if quirks.bare_heads and method == b"HEAD":
            return Reply(error.status, is_bare=True)
        content = element("Code", code) + element("Message", error.message)
        content += element("Resource", error.resource) + element("RequestId", request_id)
        text = f'<Error xmlns="{NAMESPACE}" xmlns:xsi="{XSI_NAMESPACE}">{content}</Error>'
        return Reply(error.status, {b"content-type": b"application/xml"}, text.encode())
    elif error.stage is Stage.BINDING:
        content = element("Code", code) + element("Message", error.message)
        content += element("Resource", error.resource) + element("RequestId", request_id)
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error>{content}</Error>'
        reply = Reply(error.status, {b"content-type": b"text/xml; charset=UTF-8"}, text.encode(), closes=True)
    else:
        reason = f"{error.status} {_REASONS.get(error.status, 'Error')}"
        inner = f"<Error>{element('Code', reason)}{element('Message', error.message)}</Error>"
        text = f'<?xml version="1.0"?><Response><Errors>{inner}</Errors>'
        text += f"{element('RequestID', error.message)}</Response>"
        reply = Reply(error.status, {b"content-type": b"text/plain; charset=UTF-8"}, text.encode(), closes=True)
    reply.documents_head = quirks.head_documents and error.stage is not Stage.OPERATION
    return reply
