"""
Parses the XML document of a client. A document is refused at the first event of the parser that is not allowed.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers.expat import ExpatError, ParserCreate

from s3proxy.s3.errors import MalformedXML
from s3proxy.s3.limits import KIB, MAX_READ_ATTRIBUTES, MAX_READ_DEPTH, MAX_READ_ELEMENTS

_PIECE_SIZE = 16 * KIB
# Characters of a namespace; S3's has 41. The parser copies it into the name of each element.
_MAX_NAME_SPACE_SIZE = 256
# Encodings in which every reader decodes these bytes to the same text. Python's ElementTree can write "utf8".
_UTF_8 = frozenset({"utf-8", "utf8"})
_ASCII = frozenset({"us-ascii", "ascii"})


def parse_document(document: bytes, max_elements: int = MAX_READ_ELEMENTS) -> Element:
    """
    Return the root of a document, without attributes: no operation that is read here uses one.

    Args:
        document: Verified.
        max_elements: Higher than the default only if the document is read in a thread of its own.

    Raises:
        MalformedXML: The document is not XML 1.0 in UTF-8 or US-ASCII, which every reader reads alike. Or it has a
            document type, or more elements, attributes or levels than any S3 document. Or a tag, a comment or a
            processing instruction is longer than 32 KiB; one of at most 16 KiB is always accepted.
    """
    # Given an encoding, expat ignores the declared one. It still switches to UTF-16 for a byte order mark, or for a
    # zero byte at the start. In UTF-16 and UTF-32 each "<" has a zero byte, with or without a mark.
    if b"\0" in document:
        raise MalformedXML
    reader = _DocumentReader(document.isascii(), max_elements)
    try:
        return reader.read(document)
    except (ExpatError, UnicodeError, ValueError):
        raise MalformedXML from None


def local_name(element: Element) -> str:
    """
    Return an element's name without its namespace. S3's documents may have one or not.
    """
    return element.tag.rpartition("}")[2]


class _DocumentReader:
    """
    Builds the elements of one document, and refuses it as soon as it exceeds a limit.
    """

    def __init__(self, is_ascii: bool, max_elements: int) -> None:
        self._is_ascii = is_ascii
        self._max_elements = max_elements
        self._builder = TreeBuilder()
        self._depth = 0
        self._count = 0

    def read(self, document: bytes) -> Element:
        # Not kept in an attribute: the parser refers to the reader, so that would be a reference cycle.
        parser = ParserCreate("utf-8", "}")
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.XmlDeclHandler = self._declared
        # Entities are declared only inside a document type: none is ever expanded.
        parser.StartDoctypeDeclHandler = self._doctype_began
        parser.StartNamespaceDeclHandler = self._name_space_began
        parser.StartElementHandler = self._element_began
        parser.EndElementHandler = self._element_ended
        parser.CharacterDataHandler = self._builder.data
        for start in range(0, len(document), _PIECE_SIZE):
            piece = document[start : start + _PIECE_SIZE]
            parser.Parse(piece, False)
            # expat stops before a tag that is not complete. It would keep all attributes of one tag, 380,000 in 4 MiB,
            # before it reports the first, and expat before 2.6 scans an incomplete tag again for each piece.
            if start + len(piece) - parser.CurrentByteIndex > _PIECE_SIZE:
                raise MalformedXML
        parser.Parse(b"", True)
        root: Element = self._builder.close()
        return root

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        name = "utf-8" if encoding is None else encoding.lower()
        # XML 1.1 has other characters and other line ends.
        if version != "1.0" or not (name in _UTF_8 or (name in _ASCII and self._is_ascii)):
            raise MalformedXML

    def _doctype_began(self, *declared: object) -> None:
        raise MalformedXML

    def _name_space_began(self, prefix: str | None, uri: str | None) -> None:
        if uri is not None and len(uri) > _MAX_NAME_SPACE_SIZE:
            raise MalformedXML

    def _element_began(self, name: str, attributes: list[str]) -> None:
        self._depth += 1
        self._count += 1
        if (
            self._count > self._max_elements
            or self._depth > MAX_READ_DEPTH
            or len(attributes) > 2 * MAX_READ_ATTRIBUTES
        ):
            raise MalformedXML
        self._builder.start(name, {})

    def _element_ended(self, name: str) -> None:
        self._depth -= 1
        self._builder.end(name)
