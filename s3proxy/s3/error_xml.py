"""
An error as the document of "REST Error Responses".
"""

from __future__ import annotations

import re

from s3proxy.s3.errors import S3Error

# Characters that XML 1.0 forbids cannot be echoed, not even escaped.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def escape_text(text: str) -> str:
    """
    Return character data: ``&``, ``<``, ``>`` and CR as entities, what XML forbids as U+FFFD, quotation marks as is.
    """
    text = _FORBIDDEN.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def error_document(error: S3Error, request_id: str, host_id: str) -> bytes:
    """
    Return the body of a response that refuses a request.

    Args:
        request_id: Text of ``RequestId``, as in the ``x-amz-request-id`` header.
        host_id: Text of ``HostId``.

    Source:
        "REST Error Responses".
    """
    elements = "".join(
        f"<{name}>{escape_text(text.decode('utf-8', 'replace'))}</{name}>" for name, text in error.elements
    )
    return outcome_document(error.code, error.message, request_id, host_id, elements)


def outcome_document(code: str, message: str, request_id: str, host_id: str, elements: str = "") -> bytes:
    """
    Return an error document with a code of a backend.

    Args:
        elements: Further elements of the document, as XML.
    """
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape_text(code)}</Code><Message>{escape_text(message)}</Message>{elements}"
        f"<RequestId>{escape_text(request_id)}</RequestId><HostId>{escape_text(host_id)}</HostId></Error>"
    ).encode()
