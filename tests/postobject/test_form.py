"""
Forms as browsers and other clients write them: the same fields and the same file, however the network cuts them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.postobject.form import FieldsDecoder, FileDecoder, Form, parse_boundary
from s3proxy.s3.errors import InvalidArgument, MalformedPOSTRequest, MaxPostPreDataLengthExceeded, S3Error
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE, MAX_POST_PART_HEAD_SIZE
from tests.support.forms import BOUNDARY, multipart

BOUNDARY_BYTES = BOUNDARY.encode()


def read(body: bytes, cuts: list[int], boundary: bytes = BOUNDARY_BYTES) -> tuple[Form, bytes, bool]:
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
        st.sampled_from([b"x", b"\r", b"\n", b"\r\n--", BOUNDARY_BYTES[:9], b"\r\n--" + BOUNDARY_BYTES + b"x"]),
        max_size=12,
    ).map(b"".join),
    fields=st.dictionaries(st.text("abcdef-", min_size=1, max_size=8), st.text("xyz\r\n- é", max_size=20), max_size=4),
    after=st.booleans(),
    cuts=st.lists(st.integers(0, 5000), max_size=8),
)
def test_a_form_is_read_as_it_was_written(file: bytes, fields: dict[str, str], after: bool, cuts: list[int]) -> None:
    """
    The file may hold anything except its delimiter, and the network may cut anywhere.
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
    With and without quotation marks or a path, and with the parameters in any order.
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
    It is refused with S3's own error, whole and byte by byte alike.
    """
    with pytest.raises(error):
        read(body, [])
    if len(body) < 30_000:
        with pytest.raises(error):
            read(body, list(range(len(body))))


def test_a_file_without_an_end() -> None:
    """
    A cut form is distinguished from a whole one, wherever it was cut.
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
    With and without quotation marks.
    """
    assert parse_boundary(content_type) == boundary


@pytest.mark.parametrize(
    "content_type", [b"multipart/form-data", b"multipart/form-data; boundary=", b"x; boundary=\xff"]
)
def test_no_boundary(content_type: bytes) -> None:
    """
    A form without a boundary cannot be read.
    """
    with pytest.raises(MalformedPOSTRequest):
        parse_boundary(content_type)


def fields_of(size: int) -> bytes:
    """
    Return a form whose file begins after this many bytes.
    """
    body = multipart([("key", "k"), ("a", "")], b"hello")
    return body.replace(b'name="a"\r\n\r\n', b'name="a"\r\n\r\n' + b"a" * (size - body.index(b"hello")))


@pytest.mark.parametrize("step", [1, 100, 1 << 20])
def test_what_comes_before_the_file_is_counted(step: int) -> None:
    """
    It is counted exactly, however the network cuts it.
    """
    decoder = FieldsDecoder(BOUNDARY_BYTES)
    body = fields_of(5_000)

    assert decoder.size == 0
    rest = feed_fields_of(decoder, body, step)

    assert decoder.size == 5_000
    assert rest is not None
    assert body[5_000:].startswith(rest)


@pytest.mark.parametrize("over", [0, 1])
def test_fields_are_bounded_to_the_byte(over: int) -> None:
    """
    The limit applies to everything before the head of the file's part.
    """
    head = len(multipart([], b"hello").partition(b"\r\n")[2].partition(b"hello")[0]) + 2
    decoder = FieldsDecoder(BOUNDARY_BYTES)
    body = fields_of(MAX_POST_FIELDS_SIZE + head + over)

    if not over:
        assert decoder.feed(body) is not None
        assert decoder.size == MAX_POST_FIELDS_SIZE + head
    else:
        with pytest.raises(MaxPostPreDataLengthExceeded):
            decoder.feed(body)


def test_what_has_no_end_is_bounded_to_the_byte() -> None:
    """
    A value, a head or a preamble without an end.
    """
    limit = MAX_POST_FIELDS_SIZE + MAX_POST_PART_HEAD_SIZE
    decoder = FieldsDecoder(BOUNDARY_BYTES)

    assert decoder.feed(b"a" * limit) is None
    with pytest.raises(MaxPostPreDataLengthExceeded):
        decoder.feed(b"a")


def feed_fields_of(decoder: FieldsDecoder, body: bytes, step: int) -> bytes | None:
    """
    Feed in steps until the file begins; return the bytes of the file.
    """
    pieces = (body[start : start + step] for start in range(0, len(body), step))
    return next((rest for rest in map(decoder.feed, pieces) if rest is not None), None)


def test_a_delimiter_with_blanks_cut_anywhere() -> None:
    """
    Blanks after a boundary belong to it; a cut between them and the line's end changes nothing.
    """
    delimiter = b"--" + BOUNDARY_BYTES
    body = multipart([("key", "k")], b"hello", after=[("submit", "go")]).replace(
        delimiter + b"\r\n", delimiter + b" \t \r\n"
    )
    whole = read(body, [])

    assert whole == (Form({b"key": b"k"}, b"file.txt"), b"hello", True)
    for cut in range(len(body)):
        assert read(body, [cut]) == whole


def test_a_carriage_return_is_not_held_back() -> None:
    """
    Only bytes that may begin the delimiter are kept back. Without input there is no output.
    """
    decoder = FileDecoder(BOUNDARY_BYTES)

    assert b"".join(decoder.feed(b"a\rb")) == b"a\rb"
    assert decoder.feed(b"") == []
    assert b"".join(decoder.feed(b"a\r\n-")) == b"a"
    assert b"".join(decoder.feed(b"b")) == b"\r\n-b"
    assert decoder.is_closed is False
    assert decoder.closing_size == len(b"\r\n--%b--\r\n" % BOUNDARY_BYTES)


def test_preamble_and_transport_padding() -> None:
    """
    Bytes before the first delimiter are skipped, and so are blanks after a delimiter.
    """
    body = b"preamble\r\n" + multipart([("key", "k")], b"hello").replace(
        b"--" + BOUNDARY_BYTES + b"\r\n", b"--" + BOUNDARY_BYTES + b" \t\r\n"
    )

    assert read(body, []) == (Form({b"key": b"k"}, b"file.txt"), b"hello", True)


def with_part_head(*lines: bytes, boundary: bytes = BOUNDARY_BYTES) -> bytes:
    """
    Write a form whose first part has these header lines; its file follows.
    """
    file = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello'
    parts = (b"\r\n".join(lines) + b"\r\n\r\nvalue", file)
    return b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


NAMED = b'Content-Disposition: form-data; name="acl"'


@pytest.mark.parametrize(
    "lines",
    [
        [b'Content-Disposition: form-data; name="x-amz-meta-a:1\\\rX-Injected"'],
        [b'Content-Disposition: form-data; name="x-amz-meta-a\rX-Injected"'],
        [b'Content-Disposition: form-data; name="x-amz-meta-a\nX-Injected: "'],
        [b'Content-Disposition: form-data; name="a\0b"'],
        [b'Content-Disposition: form-data; name="a\tb"'],
        [b'Content-Disposition: form-data; name="a\x7fb"'],
        [b"Content-Disposition: form-data; name=a\rb"],
        [b'Content-Disposition: form-data; name="a\\"b"'],
        [b'Content-Disposition: form-data; name="a\\\\b"'],
        [b'Content-Disposition: form-data; name="a\\b"'],
        [NAMED + b"; name*=utf-8''key"],
        [NAMED + b"; name*0=key"],
        [b"Content-Disposition: form-data; name*=utf-8''key"],
        [b"Content-Disposition: form-data; name*0=k; name*1=ey"],
        [NAMED + b'; NAME="key"'],
        [NAMED + b", key"],
        [NAMED, b'Content-Disposition: form-data; name="key"'],
        [NAMED, b'content-disposition: attachment; name="key"'],
        [NAMED + b";", b' name="key"'],
        [b"Content-Disposition: form-data;", b'\tname="acl"'],
        [NAMED, b"no value"],
        [NAMED, b": no name"],
        [NAMED, b"X-Spaced : 1"],
        [NAMED, b"X-\xff: 1"],
        [NAMED, b'Content-Type: a\nContent-Disposition: form-data; name="key"'],
        [NAMED, b"Content-Type: a\rb"],
        [NAMED, b"Content-Type: a\0b"],
        [b"Content-Disposition:"],
        [b"Content-Disposition: form-data"],
        [b"Content-Disposition: form-dataset; name=acl"],
        [NAMED, b"Content-Transfer-Encoding: base64"],
        [NAMED, b"content-transfer-encoding: Quoted-Printable"],
        [NAMED, b"Content-Transfer-Encoding:"],
    ],
)
def test_a_part_has_one_meaning(lines: list[bytes]) -> None:
    """
    A part that two readers could read as two fields, or as two values, is refused.
    """
    with pytest.raises(MalformedPOSTRequest):
        read(with_part_head(*lines), [])


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([NAMED, b"Content-Type: text/plain; charset=ISO-8859-1", b"Content-Transfer-Encoding: 8bit"], b"acl"),
        (
            [b"content-transfer-encoding: BINARY", b"Content-Length: 5", b"content-disposition: form-data; name=acl"],
            b"acl",
        ),
        ([b"Content-Disposition: form-data; name=acl; filename=a; filename*=utf-8''b"], b"acl"),
        ([NAMED + b";", b"X-Empty:"], b"acl"),
        ([b'Content-Disposition: form-data; name="=?utf-8?q?key?="'], b"=?utf-8?q?key?="),
        ([b'Content-Disposition: form-data; name="_charset_"'], b"_charset_"),
        ([b'Content-Disposition: form-data; name="user[a b]"'], b"user[a b]"),
        (['Content-Disposition: form-data; name="größe"'.encode()], "größe".encode()),
    ],
)
def test_parts_which_clients_send(lines: list[bytes], name: bytes) -> None:
    """
    Java, Ruby and .NET send more headers and parameters than browsers; a name is never decoded twice.
    """
    form, content, is_closed = read(with_part_head(*lines), [])

    assert form.fields == {name: b"value"}
    assert (content, is_closed) == (b"hello", True)


def test_a_boundary_inside_a_part_s_head() -> None:
    """
    A boundary with a colon looks like a header line, but still separates parts.
    """
    body = with_part_head(NAMED, b"--a:b", b"X: y", boundary=b"a:b")

    with pytest.raises(MalformedPOSTRequest):
        read(body, [], b"a:b")
    assert read(with_part_head(NAMED, boundary=b"a:b"), [], b"a:b")[0].fields == {b"acl": b"value"}


@pytest.mark.parametrize("filename", [b"a\rb", b"a\\\rb", b"a\nb", b"a\0b", b"a\x7f", b"a\tb", b"a\\\tb"])
def test_no_control_character_in_a_file_s_name(filename: bytes) -> None:
    """
    The name may become part of the key.
    """
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % (BOUNDARY_BYTES, filename)

    with pytest.raises(MalformedPOSTRequest):
        read(head, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"key", b"k\xff"),
        (b"k\xe9y", b"k"),
        (b"x-amz-meta-a", b"\xc3"),
        (b"key", b"\xed\xa0\x80"),
        (b"key", b"\xc0\xaf"),
    ],
)
def test_fields_are_utf8(name: bytes, value: bytes) -> None:
    """
    Other text is refused as S3 refuses it.
    """
    body = with_part_head(b'Content-Disposition: form-data; name="%b"' % name).replace(b"\r\nvalue", b"\r\n" + value)

    with pytest.raises(InvalidArgument) as raised:
        read(body, [])

    assert raised.value.message == "Malformed Unicode code sequence in the field."
    assert raised.value.elements == (("ArgumentName", b"formField"),)


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=a; BOUNDARY=a",
        b"multipart/form-data; boundary=a,text/plain",
        b"multipart/form-data; boundary=a, text/plain",
        b"multipart/form-data; boundary=a b",
        b'multipart/form-data; boundary="a "',
        b'multipart/form-data; boundary="a\\"b"',
        b'multipart/form-data; boundary="a\\b"',
        b'multipart/form-data; boundary="a"b',
        b'multipart/form-data; boundary="a',
        b"multipart/form-data; boundary*=us-ascii''a",
        b"multipart/form-data; boundary=a; boundary*=us-ascii''b",
        b"multipart/form-data; boundary*0=a; boundary*1=b",
        b"multipart/form-data; boundary=" + b"a" * 71,
    ],
)
def test_boundaries_with_two_meanings(content_type: bytes) -> None:
    """
    A boundary that two readers could read differently is refused.
    """
    with pytest.raises(MalformedPOSTRequest):
        parse_boundary(content_type)


def spent(step: Callable[[], object]) -> float:
    """
    Return the CPU seconds of a step: the smallest of several.
    """
    times = []
    for _ in range(5):
        began = process_time()
        step()
        times.append(process_time() - began)
    return min(times)


def feed_fields(body: bytes, step: int) -> None:
    """
    Feed a body in pieces, until the decoder accepts no more.
    """
    decoder = FieldsDecoder(BOUNDARY_BYTES)
    try:
        for start in range(0, len(body), step):
            decoder.feed(body[start : start + step])
    except S3Error:
        return


PART = b'--%b\r\nContent-Disposition: form-data; name="x-ignore-"\r\n\r\n\r\n' % BOUNDARY_BYTES


@pytest.mark.parametrize(
    ("piece", "step"),
    [
        pytest.param(piece, step, id=f"{name}-{step}")
        for name, piece in {
            "preamble": b"\r",
            "prefixes": b"\r\n--" + BOUNDARY_BYTES[:-1],
            "fields": PART,
            "padding": b"--" + BOUNDARY_BYTES + b" " * 9_000,
            "quotes": PART[:-10] + b'";a="\\"',
            "parameters": PART.split(b"\r\n\r\n")[0] + b";a=b" * 1_000,
        }.items()
        for step in (1, 1 << 20)
    ],
)
def test_fields_cost_what_their_bytes_cost(piece: bytes, step: int) -> None:
    """
    Twice the bytes cost about twice the time, whatever the bytes are and however they are cut.
    """
    short, long = (piece * (size // len(piece) + 1) for size in (5_000, 20_000))

    assert spent(lambda: feed_fields(long, step)) < 12 * spent(lambda: feed_fields(short, step)) + 0.01


def test_a_large_read_of_fields_is_not_read_to_its_end() -> None:
    """
    Parts beyond the limit of the fields are not read, however much arrives at once.
    """
    decoder = FieldsDecoder(BOUNDARY_BYTES)
    names = [
        b'--%b\r\nContent-Disposition: form-data; name="a%d"\r\n\r\n\r\n' % (BOUNDARY_BYTES, n) for n in range(9_000)
    ]

    with pytest.raises(MaxPostPreDataLengthExceeded):
        decoder.feed(b"".join(names))

    assert len(decoder.form.fields) < 300


def test_a_file_of_prefixes_of_its_boundary() -> None:
    """
    Each byte costs as much as in another file.
    """

    def feed(size: int) -> None:
        piece = b"\r\n--" + BOUNDARY_BYTES[:-1]
        decoder = FileDecoder(BOUNDARY_BYTES)
        for _ in range(size // 65_536):
            decoder.feed(piece * (65_536 // len(piece)))

    assert spent(lambda: feed(4 << 20)) < 12 * spent(lambda: feed(1 << 20)) + 0.01
