"""
What a form asks for, as a request of its own.
"""

from __future__ import annotations

import pytest

from s3proxy.postobject.form import Form
from s3proxy.postobject.upload import form_key, upload_request
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InvalidArgument, MalformedXML
from s3proxy.s3.head import RequestHead, parse_request_head

HEAD = parse_request_head(b"POST /b HTTP/1.1\r\nHost: h\r\nUser-Agent: browser\r\nCookie: a=b\r\nContent-Length: 9")
ADDRESS = Address(b"b", b"", b"b", b"")

NAMESPACED = (
    '<?xml version="1.0"?><Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>'
    "<Tag><Key>a=&amp;</Key><Value>é</Value></Tag><Tag><Key>b</Key><Value>c</Value></Tag></TagSet></Tagging>"
)


def asked(**fields: str) -> RequestHead:
    """
    The request which a form asks for.
    """
    named = {name.replace("_", "-").encode(): value.encode() for name, value in {"key": "k", **fields}.items()}
    return upload_request(HEAD, ADDRESS, Form(named, b"file.txt"))[0]


def test_the_request() -> None:
    """
    A PUT of the key, with the form's fields, and of its own head only what names the client.
    """
    head, address = upload_request(HEAD, ADDRESS, Form({b"key": "a/ü %&".encode()}, b""))

    assert (head.method, head.raw_target) == (b"PUT", b"/b/a/%C3%BC%20%25%26")
    assert address == Address(b"b", "a/ü %&".encode(), b"b", b"a/%C3%BC%20%25%26")
    assert head.fields.keys() == {b"host", b"user-agent", b"content-type"}
    assert head.raw_path == head.raw_target
    assert head.raw_query is None


@pytest.mark.parametrize(
    ("key", "filename", "whole"),
    [
        (b"a/${filename}", b"b.txt", b"a/b.txt"),
        (b"${filename}/${filename}", b"b", b"b/b"),
        (b"${filename}", b"/home/me/b.txt", b"b.txt"),
        (b"${filename}", b"C:\\dir\\b.txt", b"b.txt"),
        (b"k", b"b", b"k"),
        (b"${Filename}", b"b", b"${Filename}"),
        (b"a${filename}", b"", b"a"),
    ],
)
def test_keys(key: bytes, filename: bytes, whole: bytes) -> None:
    """
    The variable is the file's own name, without its path.
    """
    assert form_key(Form({b"key": key}, filename)) == whole


@pytest.mark.parametrize("fields", [{}, {b"key": b""}, {b"key": b"${filename}"}])
def test_no_key(fields: dict[bytes, bytes]) -> None:
    """
    A form must name one.
    """
    with pytest.raises(InvalidArgument):
        form_key(Form(fields, b""))


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\x00b", "a\x7f"])
def test_a_field_is_no_way_into_the_head(value: str) -> None:
    """
    What would end a header's line is refused, wherever it would become a header.
    """
    with pytest.raises(InvalidArgument):
        asked(x_amz_meta_a=value)
    assert b"utf8" not in asked(utf8=value).fields


@pytest.mark.parametrize(
    ("document", "header"),
    [
        ("<Tagging><TagSet/></Tagging>", b""),
        ("<Tagging><TagSet><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>", b"a="),
        (NAMESPACED, b"a%3D%26=%C3%A9&b=c"),
    ],
)
def test_tags(document: str, header: bytes) -> None:
    """
    The document becomes a header.
    """
    assert asked(tagging=document).fields.value(b"x-amz-tagging") == header


@pytest.mark.parametrize(
    "document",
    [
        "",
        "tags",
        "<Tagging>",
        "<Other/>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key/><Value>a</Value></Tag></TagSet></Tagging>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><Tagging><TagSet/></Tagging>",
        "<Tagging><!-- --><TagSet/></Tagging>",
        '<?xml version="1.0" encoding="no-such"?><Tagging/>',
        "<Tagging>\x00</Tagging>",
    ],
)
def test_what_are_no_tags(document: str) -> None:
    """
    S3's own error, and no entity is ever expanded.
    """
    with pytest.raises(MalformedXML):
        asked(tagging=document)
