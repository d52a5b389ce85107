"""
Forms as browsers and others write them: the same fields and the same file, however the network cuts them.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.postobject.form import FieldsDecoder, FileDecoder, Form, parse_boundary
from s3proxy.s3.errors import InvalidArgument, MalformedPOSTRequest, MaxPostPreDataLengthExceeded, S3Error
from tests.forms import BOUNDARY, multipart

BOUNDARY_OCTETS = BOUNDARY.encode()


def read(body: bytes, cuts: list[int], boundary: bytes = BOUNDARY_OCTETS) -> tuple[Form, bytes, bool]:
    """
    Read a whole form, cut at these places.
    """
    fields, file = FieldsDecoder(boundary), FileDecoder(boundary)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    content = b""
    has_begun = False
    for start, end in pairwise(places):
        data: bytes | None = body[start:end]
        assert data is not None
        if not has_begun:
            data = fields.feed(data)
            has_begun = data is not None
        if data is not None:
            content += b"".join(file.feed(data))
    if not has_begun:
        fields.finish()
    return fields.form, content, file.is_closed


@given(
    file=st.lists(
        st.sampled_from([b"x", b"\r", b"\n", b"\r\n--", BOUNDARY_OCTETS[:9], b"\r\n--" + BOUNDARY_OCTETS + b"x"]),
        max_size=12,
    ).map(b"".join),
    fields=st.dictionaries(st.text("abcdef-", min_size=1, max_size=8), st.text("xyz\r\n- é", max_size=20), max_size=4),
    after=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
)
def test_a_form_is_read_as_it_was_written(file: bytes, fields: dict[str, str], after: bool, cuts: list[int]) -> None:
    """
    Whatever a file holds short of its delimiter, and wherever the network cuts.
    """
    body = multipart(fields.items(), file, after=[("submit", "Upload")] if after else [])

    form, content, is_closed = read(body, cuts)

    assert form.fields == {name.encode(): value.encode() for name, value in fields.items()}
    assert (content, is_closed) == (file, True)
    assert read(body, list(range(len(body)))) == (form, content, True)


@pytest.mark.parametrize(
    ("head", "filename"),
    [
        ('form-data; name="file"; filename="a b.txt"', b"a b.txt"),
        ("form-data; name=file; filename=a.txt", b"a.txt"),
        ('form-data; filename="C:\\dir\\a.txt"; name="file"', b"C:\\dir\\a.txt"),
        ('FORM-DATA; NAME="file"; FILENAME="say \\"hi\\".txt"', b'say "hi".txt'),
        ('form-data; name="file"', b""),
        ('form-data; name="File"; filename="é.txt"', "é.txt".encode()),
    ],
)
def test_names_of_files(head: str, filename: bytes) -> None:
    """
    Quoted or not, with a path or without, in any order of the parameters.
    """
    body = f"--{BOUNDARY}\r\nContent-Disposition: {head}\r\n\r\nhello\r\n--{BOUNDARY}--".encode()

    form, content, _ = read(body, [])

    assert (form.filename, content) == (filename, b"hello")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", MalformedPOSTRequest),
        (b"no form at all", MalformedPOSTRequest),
        (multipart([("a", "b")], None), InvalidArgument),
        (multipart([("a", "b"), ("A", "c")], b"x"), InvalidArgument),
        (multipart([("a", "b" * 20_481)], b"x"), MaxPostPreDataLengthExceeded),
        (multipart([("x-ignore-a", "b" * 700_000)], b"x"), MaxPostPreDataLengthExceeded),
        (multipart([("", "b")], b"x"), MalformedPOSTRequest),
        (f"--{BOUNDARY}\r\nno header\r\n\r\nx\r\n--{BOUNDARY}--".encode(), MalformedPOSTRequest),
        (f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nx\r\n--{BOUNDARY}--".encode(), MalformedPOSTRequest),
        (f"--{BOUNDARY}\r\n\r\nx\r\n--{BOUNDARY}--".encode(), MalformedPOSTRequest),
        (f'--{BOUNDARY}\r\nContent-Disposition: attachment; name="key"\r\n\r\n'.encode(), MalformedPOSTRequest),
        (f"--{BOUNDARY}x\r\n".encode(), MalformedPOSTRequest),
        (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n'.encode(), MalformedPOSTRequest),
        (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a" b\r\n\r\n'.encode(), MalformedPOSTRequest),
    ],
)
def test_what_is_no_form(body: bytes, error: type[S3Error]) -> None:
    """
    It is refused with S3's own error, whole and octet by octet alike.
    """
    with pytest.raises(error):
        read(body, [])
    if len(body) < 30_000:
        with pytest.raises(error):
            read(body, list(range(len(body))))


def test_a_file_without_an_end() -> None:
    """
    A cut form is told from a whole one, wherever it was cut.
    """
    body = multipart([("key", "k")], b"hello", after=[("submit", "go")])

    for end in range(body.index(b"hello"), len(body) - 2):
        assert not read(body[:end], [])[2]
    assert read(body[:-2], [])[2]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        (b"Multipart/Form-Data;boundary=--x", b"--x"),
    ],
)
def test_boundaries(content_type: bytes, boundary: bytes) -> None:
    """
    In quotation marks or not.
    """
    assert parse_boundary(content_type) == boundary


@pytest.mark.parametrize(
    "content_type", [b"multipart/form-data", b"multipart/form-data; boundary=", b"x; boundary=\xff"]
)
def test_no_boundary(content_type: bytes) -> None:
    """
    A form without one cannot be read.
    """
    with pytest.raises(MalformedPOSTRequest):
        parse_boundary(content_type)


def test_preamble_and_transport_padding() -> None:
    """
    What stands before the first delimiter is skipped, blanks after a delimiter too.
    """
    body = b"preamble\r\n" + multipart([("key", "k")], b"hello").replace(
        b"--" + BOUNDARY_OCTETS + b"\r\n", b"--" + BOUNDARY_OCTETS + b" \t\r\n"
    )

    assert read(body, []) == (Form({b"key": b"k"}, b"file.txt"), b"hello", True)
