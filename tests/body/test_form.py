"""
A form's file on its way: its size, its end, and the pause of the client before it.
"""

from __future__ import annotations

from typing import Any

import pytest

from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.body.form import FormBody, FormReader
from s3proxy.postobject.form import FieldsDecoder, FileDecoder
from s3proxy.postobject.policy import SizeRange
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import index_headers

END = b"\r\n--b--\r\n"


def verdict(data: bytes, *, length: int | None = None, ranges: tuple[SizeRange, ...] = (), crc32: bytes = b"") -> str:
    """
    The error code of a file; empty if it is stored.
    """
    headers = [(b"x-amz-checksum-crc32", crc32)] if crc32 else []
    body = FormBody(FileDecoder(b"b"), parse_body_digests(index_headers(headers)), ranges, 20, length)
    try:
        body.feed(data)
        body.finish()
    except S3Error as error:
        return error.code
    return ""


def test_sizes_of_a_file() -> None:
    """
    All ranges of the policy apply, both ends included, and so does the limit of objects.
    """
    both = (SizeRange(2, 9), SizeRange(4, 5))

    assert [verdict(b"x" * size + END, ranges=both) for size in (3, 4, 5, 6)] == [
        "EntityTooSmall",
        "",
        "",
        "EntityTooLarge",
    ]
    assert [verdict(b"x" * size + END) for size in (0, 20, 21)] == ["", "", "EntityTooLarge"]


def test_a_file_has_its_end_and_its_predicted_length() -> None:
    """
    Otherwise it may be cut, or be followed by fields that were not checked.
    """
    assert verdict(b"hello" + END, length=5) == ""
    assert verdict(b"hello" + END, length=6) == "MalformedPOSTRequest"
    assert verdict(b"hello" + END, length=4) == "MalformedPOSTRequest"
    for data in (b"hello", b"hello\r\n--b", b"hello\r\n--b\r\n", b"hello\r\n--bx--"):
        assert verdict(data) == "MalformedPOSTRequest"


def test_a_file_s_checksum() -> None:
    """
    It is compared with the file alone.
    """
    assert verdict(b"hello" + END, crc32=b"NhCmhg==") == ""
    assert verdict(b"hello" + END, crc32=b"AAAAAA==") == "BadDigest"


class Producer:
    """
    A client's socket.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        """
        Stop.
        """
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """
        Continue.
        """
        self.calls.append("resume")


class File:
    """
    Receives a file.
    """

    def __init__(self) -> None:
        self.data = b""
        self.has_ended = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Pause nothing.
        """

    def unregisterProducer(self) -> None:
        """
        Pause nothing.
        """

    def write(self, data: bytes) -> None:
        """
        Keep.
        """
        self.data += data

    def wireEnded(self) -> None:
        """
        End.
        """
        self.has_ended = True


FIELDS = (
    b'--b\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
)


@pytest.mark.parametrize("late", [b"", b" and more"])
def test_a_client_waits_before_its_file(late: bytes) -> None:
    """
    Nothing more is read until its policy is verified; bytes that were on their way are kept, in order.
    """
    producer, read, refused, file = Producer(), list[str](), list[S3Error](), File()
    reader = FormReader(FieldsDecoder(b"b"), lambda: read.append("read"), refused.append)
    reader.registerProducer(producer, True)

    reader.write(FIELDS[:50])
    assert (producer.calls, read) == ([], [])
    reader.write(FIELDS[50:] + b"begin")
    assert (producer.calls, read) == (["pause"], ["read"])
    if late:
        reader.write(late)
    reader.give_file_to(file)

    assert producer.calls == ["pause", "resume"]
    assert file.data == b"begin" + late
    reader.write(END)
    reader.wireEnded()
    assert file.data == b"begin" + late + END
    assert file.has_ended
    assert refused == []


def test_a_form_that_was_stopped_takes_no_more() -> None:
    """
    And it reports nothing.
    """
    read, refused = list[str](), list[S3Error]()
    reader = FormReader(FieldsDecoder(b"b"), lambda: read.append("read"), refused.append)
    reader.stop()

    reader.write(FIELDS)
    reader.wireEnded()

    assert (read, refused) == ([], [])


def test_a_form_that_ends_before_its_file() -> None:
    """
    It is refused once.
    """
    refused = list[S3Error]()
    reader = FormReader(FieldsDecoder(b"b"), lambda: None, refused.append)

    reader.write(FIELDS[:50])
    reader.wireEnded()
    reader.wireEnded()

    assert [error.code for error in refused] == ["MalformedPOSTRequest"]
