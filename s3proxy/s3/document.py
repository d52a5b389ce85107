"""
The XML document of a client, read as a backend would read it.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, fromstring

from s3proxy.s3.errors import MalformedXML
from s3proxy.s3.limits import MAX_READ_TAGS


def parse_document(document: bytes) -> Element:
    """
    Return the root of a document.

    Args:
        document: Verified.

    Raises:
        MalformedXML: It is no XML, or not the kind which has one meaning for every reader: it has a document type, or
            characters of another width. Or it is far longer than any that S3 would take.
    """
    # A document type could say what an entity stands for; a NUL is in every other width of characters.
    if document.count(b"<") > MAX_READ_TAGS or b"\0" in document:
        raise MalformedXML
    if b"<!" in document.replace(b"<![CDATA[", b"").replace(b"<!--", b""):
        raise MalformedXML
    try:
        return fromstring(document)  # noqa: S314
    except (ParseError, ValueError, LookupError):
        raise MalformedXML from None


def local_name(element: Element) -> str:
    """
    Return an element's name without its name space: S3's, or none.
    """
    return element.tag.rpartition("}")[2]
