"""
S3's error document in the place of what the Eucalyptus family writes: three forms, and often nothing.

Its services write ``<Error xmlns="…">``, in which botocore finds no code: it looks for elements without a name space.
What refuses a request before them writes ``<Error>``, and does not escape the message. Its HTTP decoder writes
``<Response><Errors><Error>`` as text/plain, with the status in the place of the code. An answer to a request that was
refused earlier still has no document at all.

Source:
    eucalyptus/eucalyptus, ``WalrusRESTExceptionHandler`` and ``walrus-binding.xml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from s3proxy.resign.error_documents import MAX_CODE_SIZE, code_by_status, error_message, read_error
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import InternalError, S3Error

MAX_MESSAGE_SIZE = 1024
"""
Characters of a message that are passed on.
"""

_CODE_WITHIN = re.compile(rb"<Code>([^<]{0,128})</Code>")
_CODE = re.compile(r"[A-Z][A-Za-z]*+(?:\.[A-Za-z]++)*")
# What the service says if it fails to write its own error, whose code is null.
_FAULT_TEXT = re.compile(r"\bnull\b|\bjava\.|\bjibx\b|marshal|Exception\b", re.IGNORECASE)


def _messages() -> dict[str, str]:
    # Those of codes that s3proxy never answers itself.
    found = {
        "NoSuchBucket": "The specified bucket does not exist",
        "NoSuchKey": "The specified key does not exist.",
        "OperationAborted": "A conflicting conditional operation is currently in progress against this resource.",
    }
    for each in S3Error.__subclasses__():
        found.setdefault(each.code, each.default_message)
    return found


_MESSAGES = _messages()


def standard_error(
    document: bytes, codes: Mapping[bytes, tuple[bytes, bytes]], status: int, *, is_about_object: bool
) -> bytes:
    """
    Write S3's document of an error. Its ``RequestId`` and ``HostId`` are empty.

    Args:
        document: As the backend wrote it, in any form; empty for none.
        codes: The profile's, as `s3proxy.resign.answer.translate_error` takes them.

    Raises:
        InternalError: The backend refuses the request, and means that it has failed: its error has no code.
    """
    reading = read_error(document)
    raw_code = reading.texts("Code")[0] if reading.texts("Code") else ""
    if not reading.is_readable and (found := _CODE_WITHIN.search(document)) is not None:
        raw_code = found[1].decode("utf-8", "replace")
    raw_code = raw_code.strip(" \t\r\n")
    message = error_message(reading)[:MAX_MESSAGE_SIZE] if reading.is_readable else ""
    if status == 400 and b"<Code" in document and _is_fault(raw_code, message):
        raise InternalError
    if message in _MESSAGES and _CODE.fullmatch(raw_code) is None:
        # Walrus 3.4 writes InvalidBucketName as the message, and its message as the code.
        raw_code, message = message, ""
    known = codes.get(raw_code.encode())
    if known is not None:
        code = (known[not is_about_object] or code_by_status(status, is_about_object=is_about_object)).decode()
    elif len(raw_code) <= MAX_CODE_SIZE and _CODE.fullmatch(raw_code) is not None:
        code = raw_code
    else:
        code = code_by_status(status, is_about_object=is_about_object).decode()
    if not message or status >= 500:
        # Of its own faults it tells names of its classes.
        message = _MESSAGES.get(code, "")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape_text(message)}</Message><RequestId/><HostId/></Error>"
    ).encode()


def _is_fault(code: str, message: str) -> bool:
    return code in {"", "null"} or (code[:3].isdigit() and _FAULT_TEXT.search(message) is not None)
