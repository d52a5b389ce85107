"""
The PUT request that a form stands for.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s3proxy.postobject.form import Form
from s3proxy.postobject.upload import form_fields, form_key, form_response, upload_request
from s3proxy.s3.address import Address
from s3proxy.s3.errors import (
    BadRequest,
    InvalidArgument,
    InvalidTag,
    KeyTooLongError,
    MalformedXML,
    MaxPostPreDataLengthExceeded,
    S3Error,
)
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE

HEAD = parse_request_head(b"POST /b HTTP/1.1\r\nHost: h\r\nUser-Agent: browser\r\nCookie: a=b\r\nContent-Length: 9")
ADDRESS = Address(b"b", b"", b"b", b"")

NAMESPACED = (
    '<?xml version="1.0"?><Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>'
    "<Tag><Key>a=&amp;</Key><Value>é</Value></Tag><Tag><Key>b</Key><Value>c</Value></Tag></TagSet></Tagging>"
)


def asked(**fields: str) -> RequestHead:
    """
    Return the request that a form stands for.
    """
    named = {name.replace("_", "-").encode(): value.encode() for name, value in {"key": "k", **fields}.items()}
    return upload_request(HEAD, ADDRESS, Form(named, b"file.txt"))[0]


def test_the_request() -> None:
    """
    A PUT of the key, with the form's fields. From its own head, only what identifies the client remains.
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
    A form must name a key.
    """
    with pytest.raises(InvalidArgument):
        form_key(Form(fields, b""))


@pytest.mark.parametrize("value", ["a\r\nx-amz-acl: public-read", "a\nb", "a\x00b", "a\x7f"])
def test_a_field_is_no_way_into_the_head(value: str) -> None:
    """
    A value that would end a header line is refused in every field that becomes a header.
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
        "<Other><TagSet/></Other>",
        "<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><Tagging><TagSet/></Tagging>",
        "<Tagging/>",
        "<Tagging><TagSet/><TagSet/></Tagging>",
        "<Tagging><Tag><Key>a</Key><Value>b</Value></Tag></Tagging>",
        "<Tagging><TagSet><Other/></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value><Value>c</Value></Tag></TagSet></Tagging>",
        "<Tagging><TagSet><Tag><Key>a<b/></Key><Value>b</Value></Tag></TagSet></Tagging>",
        '<?xml version="1.0" encoding="no-such"?><Tagging/>',
        "<Tagging>\x00</Tagging>",
    ],
)
def test_what_are_no_tags(document: str) -> None:
    """
    They get S3's own error, and no entity is ever expanded.
    """
    with pytest.raises(MalformedXML):
        asked(tagging=document)


def tag_set(*tags: tuple[str, str]) -> str:
    """
    Write a Tagging document.
    """
    written = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{written}</TagSet></Tagging>"


@pytest.mark.parametrize(
    ("tags", "error", "message"),
    [
        ([("a", "é" * 256), ("é" * 128, "b")], None, ""),
        ([(str(number), "b") for number in range(10)], None, ""),
        ([(str(number), "b") for number in range(11)], BadRequest, "Object tags cannot be greater than 10"),
        ([("", "b")], InvalidTag, "The TagKey you have provided is invalid"),
        ([("a" * 129, "b")], InvalidTag, "The TagKey you have provided is invalid"),
        ([("a", "b" * 257)], InvalidTag, "The TagValue you have provided is invalid"),
        ([("a", "b"), ("a", "c")], InvalidTag, "Cannot provide multiple Tags with the same key"),
    ],
)
def test_tags_are_bounded(tags: list[tuple[str, str]], error: type[S3Error] | None, message: str) -> None:
    """
    At most ten tags of 128 and 256 characters, as in S3: so the header that they become is limited, too.
    """
    if error is None:
        assert len(asked(tagging=tag_set(*tags)).fields.value(b"x-amz-tagging") or b"") < 4_000
        return

    with pytest.raises(error) as raised:
        asked(tagging=tag_set(*tags))

    assert raised.value.message == message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_no_entity_in_characters_of_another_width(encoding: str) -> None:
    """
    In UTF-16, a search for ``<!`` finds no document type.
    """
    document = (
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE t [<!ENTITY a "b">]>'
        "<Tagging><TagSet><Tag><Key>k</Key><Value>&a;</Value></Tag></TagSet></Tagging>"
    ).encode(encoding)

    with pytest.raises(MalformedXML):
        upload_request(HEAD, ADDRESS, Form({b"key": b"k", b"tagging": document}, b""))


@pytest.mark.parametrize(
    "name",
    [
        *(
            b"x-amz-meta-a%b" % rest
            for rest in (b" b", b"\tb", b": b", b";x", b"\rb", b"\nb", b"\0", b"\x7f", b"(b)", b'"')
        ),
        b"x-amz-meta-",
        b"x-amz-meta-=?utf-8?q?a?=",
        "x-amz-meta-é".encode(),
        b"x-amz-meta-\x85",
        b"x-amz-checksum-",
        b"x-amz-checksum-crc_32",
        b"x-amz-grant-full_control",
        b"x-amz-object-lock-legal_hold",
        b"x-amz-object-lock-mode ",
        b"x-amz-server-side-encryption_customer-key",
        b"x-amz-server-side-encryption:",
        b"x-amz-server-side-encryption-",
    ],
)
def test_a_field_s_name_is_no_way_into_the_head(name: bytes) -> None:
    """
    A field becomes a header only if its name is a token, and if a CGI backend cannot take it for another name.
    """
    with pytest.raises(InvalidArgument):
        upload_request(HEAD, ADDRESS, Form({b"key": b"k", name: b"v"}, b""))


@pytest.mark.parametrize(
    "name",
    [
        b"x-amz-meta-a_b",
        b"x-amz-meta-!#$%&'*+-.^_`|~0",
        b"x-amz-checksum-crc32",
        b"x-amz-grant-read",
        b"x-amz-object-lock-mode",
        b"x-amz-server-side-encryption",
        b"x-amz-server-side-encryption-customer-key",
    ],
)
def test_fields_that_are_headers(name: bytes) -> None:
    """
    Each keeps its own name.
    """
    head = upload_request(HEAD, ADDRESS, Form({b"key": b"k", name: b"v"}, b""))[0]

    assert (name, b"v") in head.headers


@pytest.mark.parametrize(
    "name",
    [
        b"x_amz_acl",
        b"x-amz-acl",
        b"content_type",
        b"content-length",
        b"transfer-encoding",
        b" x-amz-meta-a",
        b"x-amz-metadata-directive",
        b"x-amz-copy-source",
        b"x-amz-security-token",
        b"x-amz-tagging",
        b"host",
        b"_charset_",
        b"a\r\nb: c",
    ],
)
def test_other_fields_go_nowhere(name: bytes) -> None:
    """
    The table of headers is closed.
    """
    head = upload_request(HEAD, ADDRESS, Form({b"key": b"k", name: b"v"}, b""))[0]

    assert head.fields.keys() == {b"host", b"user-agent", b"content-type"}
    assert b"v" not in [value for _, value in head.headers]


@pytest.mark.parametrize(
    ("key", "filename"),
    [
        (b"k\xff", b""),
        (b"${filename}", b"k\xff"),
        (b"user/..", b""),
        (b"user/../other/k", b""),
        (b"./k", b""),
        (b"..", b""),
        (b"user/${filename}", b".."),
        (b"user/${filename}", b"C:\\."),
        (b"user/${filename}/k", b".."),
        (b".${filename}/k", b"."),
    ],
)
def test_keys_that_mean_another(key: bytes, filename: bytes) -> None:
    """
    A key is UTF-8, and stays below the prefix that its policy allows, however a backend reads it.
    """
    with pytest.raises(InvalidArgument):
        form_key(Form({b"key": key}, filename))


def test_a_key_of_dots_is_refused_in_words_of_its_own() -> None:
    """
    The message is about the form: the backend may be able to hold the key, and PUT accepts it.
    """
    with pytest.raises(InvalidArgument) as refused:
        form_key(Form({b"key": b"a/../b"}, b""))

    assert refused.value.message == 'The key of a form must not have a segment "." or "..".'


@pytest.mark.parametrize("key", [b"/k", b"//", b".k", b"..k", b"a/...", b"a/.b/", b"k\n", b"k" * 1024])
def test_keys_that_S3_takes(key: bytes) -> None:
    """
    They pass unchanged.
    """
    assert form_key(Form({b"key": key}, b"")) == key


@pytest.mark.parametrize(
    ("key", "filename", "size"),
    [
        (b"k" * 1025, b"", 1025),
        (b"k" * 1000 + b"${filename}", b"n" * 25, 1025),
        (b"${filename}" * 1800, b"n" * 10_000, 18_000_000),
    ],
)
def test_long_keys(key: bytes, filename: bytes, size: int) -> None:
    """
    A key's length is checked with the name of its file, before the key is built.
    """
    with pytest.raises(KeyTooLongError) as raised:
        form_key(Form({b"key": key}, filename))

    assert raised.value.elements[0] == ("Size", b"%d" % size)
    assert form_key(Form({b"key": b"k" * 1000 + b"${filename}"}, b"n" * 24)) == b"k" * 1000 + b"n" * 24


@pytest.mark.parametrize(
    "redirect",
    [
        b"http://example.test/\r\nSet-Cookie: a=b",
        b"http://example.test/\nSet-Cookie: a=b",
        b"http://example.test/a\tb",
        b"http://example.test/a b",
        b" http://example.test/",
        b"http://example.test/\x7f",
        "http://example.test/é".encode(),
        b"ht\ntp://example.test/",
        b"http://example.test\x00/",
        b"data:text/html,x",
        b"http:///path",
        b"http://example.test:x/",
    ],
)
def test_a_redirect_is_no_way_into_the_response(redirect: bytes) -> None:
    """
    Only a plain URL is a redirect.
    """
    for name in (b"success_action_redirect", b"redirect"):
        status, _, headers, document = form_response({name: redirect}, ADDRESS, b"http://h/b/k", b'"e"')

        assert (status, headers, document) == (204, [(b"Location", b"http://h/b/k")], b"")


def test_what_was_stored_is_no_way_into_the_response() -> None:
    """
    A key with line ends and markup is escaped in a redirect's query and in the document; characters that XML cannot
    hold are replaced.
    """
    key = "a\r\nb: <c> & \x00\x0b\ufffe".encode()
    address = Address(b"b", key, b"b", b"")

    _, _, ((_, location),), _ = form_response({b"redirect": b"http://h/?q"}, address, b"", b'"e\r\n"')
    status, _, _, document = form_response({b"success_action_status": b"201"}, address, b"http://h/%0D%0A", b'"e"')

    assert location == (b"http://h/?q&bucket=b&key=a%0D%0Ab%3A+%3Cc%3E+%26+%00%0B%EF%BF%BE&etag=%22e%0D%0A%22")
    assert status == 201
    assert ElementTree.fromstring(document).findtext("Key") == "a\r\nb: <c> & \ufffd\ufffd\ufffd"


@pytest.mark.parametrize(
    "name",
    [b"policy", b"signature", b"awsaccesskeyid", b"x-amz-credential", b"x-amz-date", b"x-amz-security-token"],
)
def test_who_signed_is_never_expanded(name: bytes) -> None:
    """
    A field of the authentication stays as it was when its signature was verified.
    """
    fields = form_fields(Form({b"key": b"k", name: b"${filename}", b"acl": b"${filename}"}, b"n"))

    assert (fields[name], fields[b"acl"]) == (b"${filename}", b"n")


@pytest.mark.parametrize(
    ("value", "filename", "whole"),
    [
        (b"${filename}", b"${filename}", b"${filename}"),
        (b"${filename}${filename}", b"a${filename}", b"a${filename}a${filename}"),
        (b"${file${filename}name}", b"", b"${filename}"),
        (b"$filename {filename}", b"a", b"$filename {filename}"),
        (b"${filename}", b"/a/b\\c", b"c"),
        (b"<${filename}>", b"", b"<>"),
    ],
)
def test_the_variable_is_replaced_once(value: bytes, filename: bytes, whole: bytes) -> None:
    """
    A variable in the file's name is not replaced, in the key or in any other field.
    """
    fields = form_fields(Form({b"key": b"k" + value, b"x-amz-meta-a": value}, filename))

    assert (fields[b"key"], fields[b"x-amz-meta-a"]) == (b"k" + whole, whole)


def test_expanded_fields_are_bounded() -> None:
    """
    A form of 20 KB does not grow by the name of its file: two thousand variables, each for a long name.
    """
    form = Form({b"key": b"k", b"x-ignore-a": b"${filename}" * 1800}, b"n" * 4000)

    with pytest.raises(MaxPostPreDataLengthExceeded):
        form_fields(form)
    assert len(form_fields(Form({b"key": b"k", b"a": b"${filename}" * 1800}, b"n"))[b"a"]) == 1800


@pytest.mark.parametrize("over", [0, 1])
def test_expanded_fields_are_bounded_to_the_byte(over: int) -> None:
    """
    The limit is the same as for the fields as they are sent.
    """
    fields = {b"key": b"k", b"x-ignore-a": b"${filename}", b"x-ignore-b": b""}
    form = Form(fields, b"n" * (MAX_POST_FIELDS_SIZE - 1 + over))

    if over:
        with pytest.raises(MaxPostPreDataLengthExceeded):
            form_fields(form)
    else:
        assert sum(map(len, form_fields(form).values())) == MAX_POST_FIELDS_SIZE


@pytest.mark.parametrize(
    ("wanted", "status", "reason"),
    [(b"200", 200, b"OK"), (b"201", 201, b"Created"), (b"204", 204, b"No Content"), (b"404", 204, b"No Content")],
)
def test_the_status_that_a_form_asks_for(wanted: bytes, status: int, reason: bytes) -> None:
    """
    One of three; any other value gets 204.
    """
    assert form_response({b"success_action_status": wanted}, ADDRESS, b"http://h/b/k", b'"e"')[:2] == (status, reason)


def test_an_expanded_field_is_text() -> None:
    """
    A name that is not UTF-8 becomes no header; if no field uses it, it does not matter.
    """
    with pytest.raises(InvalidArgument):
        form_fields(Form({b"key": b"k", b"x-amz-meta-a": b"${filename}"}, b"\xff"))
    assert form_fields(Form({b"key": b"k"}, b"\xff")) == {b"key": b"k"}
