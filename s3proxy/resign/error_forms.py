"""
Makes S3's error document from those of the Eucalyptus family, which have three forms, or are missing.

Its services write ``<Error xmlns="…">``, in which botocore finds no code: it looks for elements without a namespace.
If a request is refused before it reaches a service, the document is ``<Error>``, and its message is not escaped. The
HTTP decoder writes ``<Response><Errors><Error>`` as text/plain, with the status instead of the code. If a request is
refused even earlier, the response has no document.

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
Characters of a message that are relayed.
"""

_CODE_WITHIN = re.compile(rb"<Code>([^<]{0,128})</Code>")
_CODE = re.compile(r"[A-Z][A-Za-z]*+(?:\.[A-Za-z]++)*")
# The message if the service fails to write its own error. The code is then null.
_FAULT_TEXT = re.compile(r"\bnull\b|\bjava\.|\bjibx\b|marshal|Exception\b", re.IGNORECASE)


def _messages() -> dict[str, str]:
    # Messages for codes that s3proxy never sends itself.
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
    Return S3's document for an error of a backend. Its ``RequestId`` and ``HostId`` are empty.

    Args:
        document: As the backend wrote it, in any form; empty for none.
        codes: As for `s3proxy.resign.error_documents.translate_error`.

    Raises:
        InternalError: The status is 400, but the backend itself has failed: its error has no code.
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
        # Walrus 3.4 writes InvalidBucketName as the message, and the message as the code.
        raw_code, message = message, ""
    known = codes.get(raw_code.encode())
    if known is not None:
        code = (known[not is_about_object] or code_by_status(status, is_about_object=is_about_object)).decode()
    elif len(raw_code) <= MAX_CODE_SIZE and _CODE.fullmatch(raw_code) is not None:
        code = raw_code
    else:
        code = code_by_status(status, is_about_object=is_about_object).decode()
    if not message or status >= 500:
        # Messages about its own failures contain names of its classes.
        message = _MESSAGES.get(code, "")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape_text(message)}</Message><RequestId/><HostId/></Error>"
    ).encode()


def _is_fault(code: str, message: str) -> bool:
    return code in {"", "null"} or (code[:3].isdigit() and _FAULT_TEXT.search(message) is not None)
