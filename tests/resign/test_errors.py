"""
Codes and messages of a backend's errors: which of them a client gets, and S3's in place of the others.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from s3proxy.resign.error_documents import (
    MAX_CODE_SIZE,
    code_by_status,
    error_message,
    public_error,
    read_error,
    translate_error,
)
from s3proxy.resign.error_forms import standard_error
from s3proxy.resign.public_name import PublicName, host_names
from s3proxy.s3.errors import InternalError

NAME = PublicName(
    b"https", b"s3.example.test", b"r", hosts=host_names([b"10.0.0.5"]), request_id=b"OURS", host_id=b"HOST"
)
CODES = {b"OwnCode": (b"NoSuchKey", b"NoSuchBucket")}
BAD_NAME = ("InvalidBucketName", "The specified bucket is not valid.")
FAILED = ("InternalError", "We encountered an internal error. Please try again.")


def standard(document: str, status: int) -> tuple[str | None, str | None]:
    """
    Return the code and the message that replace those of a document.
    """
    root = ElementTree.fromstring(standard_error(document.encode(), CODES, status, is_about_object=True))
    assert root.tag == "Error"
    return root.findtext("Code"), root.findtext("Message")


@pytest.mark.parametrize(
    "document",
    [
        "<html><Message>tx</Message><RequestId>tx</RequestId><p>See http://10.0.0.5:7480/b</p></html>",
        "<Error><RequestId>tx</RequestId><Message>tx</Message><Resource>a & http://10.0.0.5:7480/b</Resource></Error>",
    ],
)
def test_what_is_no_error_document_keeps_all_but_our_backends_urls(document: str) -> None:
    """
    A web page, even if its elements have the names of an error's, and an error that no reader takes for XML.
    """
    edited = public_error(read_error(document.encode()), NAME).decode()

    assert edited == document.replace("http://10.0.0.5:7480", "https://s3.example.test")


def test_the_first_of_two_messages_is_the_errors() -> None:
    """
    As with two codes, the first one counts.
    """
    document = b"<Error><Code>OwnCode</Code><Message>a</Message><Code>Other</Code><Message>b</Message></Error>"

    assert error_message(read_error(document)) == "a"
    assert translate_error(document, CODES, 404, is_about_object=True) == document.replace(b"OwnCode", b"NoSuchKey")
    assert standard(document.decode(), 404) == ("NoSuchKey", "a")


@pytest.mark.parametrize(
    ("status", "code"),
    [(418, b"InvalidRequest"), (499, b"InvalidRequest"), (500, b"InternalError"), (599, b"InternalError")],
)
def test_whose_fault_an_unknown_status_is(status: int, code: bytes) -> None:
    """
    4xx is the client's fault, 5xx the storage system's (RFC 9110, section 15).
    """
    assert code_by_status(status, is_about_object=True) == code


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ("<Error><Message>a & b < c</Message><Code>BucketNotEmpty</Code></Error>", 409, "BucketNotEmpty"),
        (f"<Error><Code>{'A' * MAX_CODE_SIZE}</Code></Error>", 409, "A" * MAX_CODE_SIZE),
        (f"<Error><Code>{'A' * (MAX_CODE_SIZE + 1)}</Code></Error>", 409, "OperationAborted"),
        ("<Error><Code><![CDATA[<Code>Hidden</Code>]]></Code></Error>", 409, "OperationAborted"),
    ],
)
def test_a_code_is_read_in_every_form(document: str, status: int, code: str) -> None:
    """
    This includes a code after a message that is not escaped. Without a code that S3 could have, the status decides.
    """
    assert standard(document, status)[0] == code


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        # Walrus 3.4 has them in the other's place.
        ("<Code>The bucket is bad!</Code><Message>InvalidBucketName</Message>", 400, BAD_NAME),
        ("<Code>NoSuchUpload</Code><Message>AccessDenied</Message>", 404, ("NoSuchUpload", "AccessDenied")),
        ("<Code>no code</Code><Message>Failure</Message>", 400, ("InvalidRequest", "Failure")),
        ("<Code>Refused</Code><Message>m</Message>", 499, ("Refused", "m")),
        ("<Code>InternalError</Code><Message>m</Message>", 500, FAILED),
        ("<Code>40 winks</Code><Message>null</Message>", 400, ("InvalidRequest", "null")),
    ],
)
def test_code_and_message_keep_their_places(document: str, status: int, expected: tuple[str, str]) -> None:
    """
    Only the name of a code is accepted as one in the place of the message. For faults of the storage system itself,
    S3's message is used.
    """
    assert standard(f"<Error>{document}</Error>", status) == expected


@pytest.mark.parametrize("code", ["", "null", "400 Bad Request", "400"])
def test_a_refusal_without_a_code_is_a_failure(code: str) -> None:
    """
    The service failed to write its own error: the client may retry.
    """
    with pytest.raises(InternalError):
        standard(f"<Error><Code>{code}</Code><Message>value is null</Message></Error>", 400)
