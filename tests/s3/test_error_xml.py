"""
The document of an error: what a client sent remains text, and the document remains XML.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import InvalidArgument

TEXTS = [
    b"</Message><Code>OK</Code>",
    b"<!DOCTYPE x>",
    b"&lt;&amp;&#60;&undefined;",
    b"]]>",
    b"\x00\x01\x08\x0b\x0c\x1f",
    b"\r\n\t",
    b"\xff\xfe",
    "\ufffe\uffff\ud7ff".encode(),
    b"\"quoted\" 'text'",
]


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_client_sent_stays_text(text: bytes) -> None:
    """
    It does not become an element or an entity, and parsers accept it.
    """
    error = InvalidArgument(text.decode("utf-8", "replace"), "name", text)

    root = ElementTree.fromstring(error_document(error, text.decode("latin-1"), "host"))

    assert [element.tag for element in root] == [
        "Code",
        "Message",
        "ArgumentName",
        "ArgumentValue",
        "RequestId",
        "HostId",
    ]
    assert all(not len(element) for element in root)
    assert root.findtext("Code") == "InvalidArgument"


@pytest.mark.parametrize("text", ["a<b>&c", "&amp;", "line\rend", "quoted \" and '", "\u00e4\U0001f600"])
def test_text_is_read_back(text: str) -> None:
    """
    A parser returns what was sent, even a carriage return.
    """
    root = ElementTree.fromstring(error_document(InvalidArgument(text, "name", text.encode()), "id", "host"))

    assert root.findtext("Message") == text
    assert root.findtext("ArgumentValue") == text


def test_no_text_of_an_error_repeats_what_was_sent() -> None:
    """
    It may hold a credential; only the document repeats it, for its sender.
    """
    error = InvalidArgument("A sentence", "Authorization", b"the-signature")

    assert "the-signature" not in repr(error)
    assert "the-signature" not in str(error)
