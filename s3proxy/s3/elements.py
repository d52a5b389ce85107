"""
Finds elements in a backend's document, and replaces some of them while every other byte stays the same.

expat reads the document as the client's own parser does, so prefixes, attributes, entities, CDATA sections and comments
cannot hide anything from it. All functions take linear time.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError, ParserCreate, XMLParserType

from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.forbidden import Hidden, hide_forbidden, write_name

MAX_TAGS = 32_000
"""
Most tags of a document that is read. A listing of a thousand keys, each with nine elements, has 18,000.
"""

MAX_DEPTH = 32
"""
Most levels of nested elements. S3's documents have at most six.
"""

_WHITE_SPACE = b" \t\r\n"
_TAG = re.compile(rb"<(?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*>")
_DECLARATION = re.compile(rb"<\?xml[^>]*+>")
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class Element:
    """
    One element of a document, and its place.

    Attributes:
        name: Without its prefix.
        prefix: With its colon; empty if there is none.
        parent: Name of the element around it; empty for the root.
        start: Offset of its start tag.
        end: Offset of its end tag, or of the end of its only tag.
        text: Its own character data, decoded. In a listing it may contain characters that XML forbids.
        pieces: The pieces of the text while the document is read.
    """

    name: str
    prefix: str
    parent: str
    start: int
    end: int = -1
    text: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def name_bytes(self) -> bytes:
        """
        The text as the bytes of a name.
        """
        return name_bytes(self.text)


@dataclass(slots=True)
class Reading:
    """
    What was found in a document.

    Attributes:
        document: The document that the places of elements refer to: in UTF-8 if it was UTF-16, else as received.
        is_readable: Whether the document is well-formed to its end, or as far as it was read.
        root: None if there is none.
        elements: The wanted elements, each complete.
        hidden: What replaces the characters that XML forbids; None if the document has none.
    """

    document: bytes
    is_readable: bool = False
    root: Element | None = None
    elements: list[Element] = field(default_factory=list)
    hidden: Hidden | None = None

    def written(self, document: bytes) -> bytes:
        """
        Return an edited `document` as the client gets it: with the characters that were hidden.
        """
        return document if self.hidden is None else self.hidden.document(document)

    @property
    def root_name(self) -> str:
        """
        The name of the root; empty if there is none.
        """
        return self.root.name if self.root is not None else ""

    def texts(self, name: str, parent: str | None = None) -> list[str]:
        """
        Return the character data of each element with this name.
        """
        return [
            element.text
            for element in self.elements
            if element.name == name and (parent is None or element.parent == parent)
        ]

    def root_text(self, name: str) -> str:
        """
        Return the stripped character data of the first child of the root with this name; empty if there is none.
        """
        return "".join(self.texts(name, self.root_name)[:1]).strip()


class _UnreadableError(Exception):
    """
    Raised for a document type, because it could define entities, and for a document deeper than any of S3.
    """


def read_listing_elements(document: bytes, wanted: Container[str]) -> Reading:
    """
    Return the wanted elements of a listing, even if its keys contain characters that XML forbids.

    Pass the edited `document` through `Reading.written` before it is sent.
    """
    reading = read_elements(document, wanted)
    if reading.is_readable or document.count(b"<") > MAX_TAGS:
        return reading
    found = hide_forbidden(reading.document)
    if found is None:
        return reading
    reading = read_elements(found[0], wanted)
    reading.hidden = found[1]
    for element in reading.elements:
        element.text = reading.hidden.text(element.text)
    return reading


def read_elements(document: bytes, wanted: Container[str], *, is_whole: bool = True) -> Reading:
    """
    Return the wanted elements of a document.

    Args:
        document: As the backend sent it.
        wanted: Names of elements, without prefixes.
        is_whole: False if the document is only the beginning of one.
    """
    document = _with_ascii(document)
    reading = Reading(document)
    if document.count(b"<") > MAX_TAGS:
        return reading
    # S3 and others send white space before the document while they work.
    offset = len(document) - len(document.lstrip(_WHITE_SPACE))
    parser = ParserCreate()
    parser.buffer_text = True
    names: list[str] = [""]
    open_elements: list[Element | None] = []

    def start(raw_name: str, attributes: object) -> None:
        if len(open_elements) == MAX_DEPTH:
            raise _UnreadableError
        prefix, colon, name = raw_name.rpartition(":")
        element = None
        if name in wanted or not open_elements:
            element = Element(name, prefix + colon, names[-1], parser.CurrentByteIndex + offset)
            if reading.root is None:
                reading.root = element
        open_elements.append(element)
        names.append(name)

    def end(raw_name: str) -> None:
        element = open_elements.pop()
        name = names.pop()
        if element is not None:
            element.end = parser.CurrentByteIndex + offset
            element.text = "".join(element.pieces)
            if name in wanted:
                reading.elements.append(element)

    def characters(text: str) -> None:
        element = open_elements[-1]
        if element is not None:
            element.pieces.append(text)

    def doctype(*ignored: object) -> None:
        raise _UnreadableError

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = doctype
    reading.is_readable = _parse(parser, document[offset:] if offset else document, is_whole=is_whole)
    return reading


def _parse(parser: XMLParserType, document: bytes, *, is_whole: bool) -> bool:
    """
    Give a document to the handlers of a parser, which has none afterwards. Return True if all of it was read.
    """
    try:
        parser.Parse(document, is_whole)
    except (ExpatError, ValueError, LookupError, _UnreadableError):
        # Not well-formed, or in a coding that neither expat nor Python knows.
        return False
    finally:
        # The functions refer to the parser, and it to them: without the circle all is gone now.
        parser.StartElementHandler = parser.EndElementHandler = None
        parser.CharacterDataHandler = parser.StartDoctypeDeclHandler = None
    return True


def _with_ascii(document: bytes) -> bytes:
    """
    Return a UTF-16 document in UTF-8, and any other document unchanged.
    """
    coding = "utf-16"
    if document[:2] not in _BYTE_ORDER_MARKS:
        if b"\0" not in document[:2]:
            return document
        coding = "utf-16-be" if document[:1] == b"\0" else "utf-16-le"
    text = document.decode(coding, "replace").encode("utf-8", "replace")
    declaration = _DECLARATION.match(text)
    return text[declaration.end() :] if declaration is not None else text


def replace_contents(document: bytes, contents: Iterable[tuple[Element, bytes]]) -> bytes:
    """
    Return a document with everything between the tags of some elements replaced.

    Args:
        document: Of a `Reading` that is readable.
        contents: Elements with their new content, escaped. An element inside another one of them is replaced with it.
    """
    return edit_elements(document, contents, ())


def remove_elements(document: bytes, elements: Iterable[Element]) -> bytes:
    """
    Return a document without some elements and their tags.
    """
    return edit_elements(document, (), elements)


def edit_elements(
    document: bytes,
    contents: Iterable[tuple[Element, bytes]],
    removed: Iterable[Element],
    added: tuple[bytes, int] = (b"", 0),
) -> bytes:
    """
    Return a document with some contents replaced, some elements removed, and some elements added.

    Args:
        contents: As for `replace_contents`.
        removed: Elements to remove with their tags, even if they are in `contents`, too.
        added: XML of further elements, and its offset, which is after all other edits.
    """
    pieces: list[bytes] = []
    done = 0
    edits: list[tuple[Element, bytes | None]] = [(element, None) for element in removed]
    edits += contents
    for element, content in sorted(edits, key=lambda edit: edit[0].start):
        if element.start < done:
            continue
        opening = _start_tag(document, element)
        pieces.append(document[done : element.start])
        done = element.end
        if content is None:
            if not opening.endswith(b"/>"):
                done = document.index(b">", done) + 1
        elif opening.endswith(b"/>"):
            closing = b"</%s>" % (element.prefix + element.name).encode()
            pieces += opening[:-2].rstrip(), b">", content, closing
        else:
            pieces += opening, content
    written, place = added
    if written:
        pieces += document[done:place], written
        done = place
    pieces.append(document[done:])
    return b"".join(pieces)


def _start_tag(document: bytes, element: Element) -> bytes:
    tag = _TAG.match(document, element.start)
    assert tag is not None
    return tag[0]


def name_bytes(text: str) -> bytes:
    """
    Return the bytes of a name in a listing. In the text, a byte that is not UTF-8 is a surrogate.
    """
    return text.encode("utf-8", "surrogateescape")


def name_data(name: bytes) -> bytes:
    """
    Return a name of a listing as character data. The name may contain characters that XML forbids.
    """
    return write_name(name) or character_data(name)


def character_data(text: bytes) -> bytes:
    """
    Return text as character data that is the same in every encoding that includes ASCII.
    """
    return escape_text(text.decode("utf-8", "replace")).encode("ascii", "xmlcharrefreplace")
