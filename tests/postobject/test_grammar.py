"""
The grammar of a form's parts and a policy's conditions, and what only looks like it.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s3proxy.postobject.form import FieldsDecoder
from s3proxy.postobject.policy import Condition, Policy
from s3proxy.postobject.upload import form_response
from s3proxy.s3.address import Address
from s3proxy.s3.errors import AccessDenied, MaxPostPreDataLengthExceeded, S3Error
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE, MAX_POST_PART_HEAD_SIZE
from tests.support.harness import NOW

FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhello\r\n--b--\r\n'


def verdict(body: bytes, step: int = 0) -> str:
    """
    The error code of a form; empty if its file is reached.
    """
    decoder = FieldsDecoder(b"b")
    try:
        for start in range(0, len(body), step or len(body)):
            if decoder.feed(body[start : start + (step or len(body))]) is not None:
                return ""
    except S3Error as error:
        return error.code
    return "unfinished"


def part(disposition: bytes, value: bytes = b"v") -> bytes:
    """
    A part with a header, before the file.
    """
    return b"--b\r\n%s\r\n\r\n%s\r\n" % (disposition, value) + FILE


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "disposition",
    [
        b'Content-Disposition: form-data; name="key"',
        b"content-disposition: FORM-DATA; name=key",
        b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="key"; x="\\"y"',
        b'Content-Disposition: form-data ; name="key" ;',
    ],
)
def test_what_is_a_part(disposition: bytes, step: int) -> None:
    """
    As browsers and libraries write it.
    """
    assert verdict(part(disposition), step) == ""


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize(
    "disposition",
    [
        b'Content-Disposition form-data; name="key"',
        b"no header",
        b'no header\r\nContent-Disposition: form-data; name="key"',
        b'Content-Disposition: attachment; name="key"',
        b'Content-Disposition: form-datax; name="key"',
        b'Content-Disposition: name="key"',
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; name=""',
        b'Content-Disposition: form-data; name="key"; name="acl"',
        b'Content-Disposition: form-data; name="key" x; y=z',
        b'Content-Disposition: form-data; name="key" x',
        b'Content-Disposition: form-data; name="key',
        b'Content-Disposition: form-data; x; name="key"',
        b'Content-Type: text/plain; name="key"',
    ],
)
def test_what_is_no_part(disposition: bytes, step: int) -> None:
    """
    Two readers could find two names in it, or one of them could find none.
    """
    assert verdict(part(disposition), step) == "MalformedPOSTRequest"


@pytest.mark.parametrize("after", [b"x", b"-", b"-x", b" x"])
def test_a_longer_word_is_no_delimiter(after: bytes) -> None:
    """
    A line that only begins like the boundary.
    """
    assert verdict(b"--b" + after + b'\r\nContent-Disposition: form-data; name="key"\r\n\r\nv\r\n' + FILE) != ""
    assert verdict(b'--b \t\r\nContent-Disposition: form-data; name="key"\r\n\r\nv\r\n' + FILE) == ""


@pytest.mark.parametrize("step", [0, 1000])
def test_what_comes_before_a_file_has_a_bound(step: int) -> None:
    """
    It is kept before the signature is verified, with or without a file after it.
    """
    name = b'Content-Disposition: form-data; name="key"'

    assert verdict(part(name, b"v" * (MAX_POST_FIELDS_SIZE - 200)), step) == ""
    assert verdict(part(name, b"v" * (MAX_POST_FIELDS_SIZE + 1)), step) == "MaxPostPreDataLengthExceeded"
    decoder = FieldsDecoder(b"b")
    with pytest.raises(MaxPostPreDataLengthExceeded):
        decoder.feed(b"x" * (MAX_POST_FIELDS_SIZE + MAX_POST_PART_HEAD_SIZE + 1))


@pytest.mark.parametrize(
    ("is_prefix", "found", "holds"),
    [
        (False, b"private", True),
        (False, b"private-x", False),
        (False, b"privat", False),
        (False, b"Private", False),
        (True, b"private", True),
        (True, b"private-x", True),
        (True, b"privat", False),
        (True, b"x-private", False),
    ],
)
def test_a_condition(is_prefix: bool, found: bytes, holds: bool) -> None:
    """
    The whole value, or its beginning. Neither condition holds for a missing field, or for a name without its dollar
    sign.
    """
    condition = Condition(b"acl", b"private", is_prefix, "")

    assert condition.holds({b"acl": found}, b"") is holds
    assert not condition.holds({}, b"")
    assert not Condition(b"acl", b"private", is_prefix, "", False).holds({b"acl": found}, b"")


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (b"image/png", True),
        (b"image/png, image/gif", True),
        (b"image/png,text/html", False),
        (b"text/html,image/png", False),
    ],
)
def test_a_condition_on_content_types(found: bytes, holds: bool) -> None:
    """
    Each of several types begins with the prefix.
    """
    policy = Policy(NOW, (Condition(b"content-type", b"image/", True, ""),), ())
    is_allowed = True
    try:
        policy.check({b"content-type": found}, NOW)
    except AccessDenied:
        is_allowed = False

    assert is_allowed is holds


ADDRESS = Address(b"b", b"<k>&", b"b", b"%3Ck%3E%26")


@pytest.mark.parametrize(
    "redirect",
    [
        b"javascript:alert(1)",
        b"data:text/html,x",
        b"ftp://a.test/",
        b"//a.test/",
        b"/relative",
        b"https:a.test",
        b"http://a.test/\r\nSet-Cookie: a=b",
        b"http://a.test/\nX: 1",
        b"http://a.test/\x00",
        b"http://a.test/\x7f",
        b"http://a.test:99999/",
        b"http://a test/",
        b"http://a.test/\xff",
    ],
)
def test_where_a_browser_is_not_sent(redirect: bytes) -> None:
    """
    Only to an http or https URL without a line end: anything else is left out, and the file is stored.
    """
    status, _, headers, _ = form_response(
        {b"success_action_redirect": redirect}, ADDRESS, b"http://s3.test/b/k", b'"e"'
    )

    assert (status, headers) == (204, [(b"Location", b"http://s3.test/b/k")])


def test_where_a_browser_is_sent() -> None:
    """
    The stored object is added to the query.
    """
    fields = {b"success_action_redirect": b"https://a.test/done?x=1"}

    status, _, headers, _ = form_response(fields, ADDRESS, b"http://s3.test/b/k", b'"e"')

    assert status == 303
    assert headers == [(b"Location", b"https://a.test/done?x=1&bucket=b&key=%3Ck%3E%26&etag=%22e%22")]


def test_the_document_of_a_response() -> None:
    """
    A key remains text.
    """
    status, _, _, document = form_response({b"success_action_status": b"201"}, ADDRESS, b"http://s3.test/<b>", b'"e"')

    root = ElementTree.fromstring(document)

    assert status == 201
    assert [(element.tag, element.text) for element in root] == [
        ("Location", "http://s3.test/<b>"),
        ("Bucket", "b"),
        ("Key", "<k>&"),
        ("ETag", '"e"'),
    ]
