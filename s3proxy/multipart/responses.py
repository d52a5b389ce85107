"""
The responses of s3proxy itself to requests about uploads.
"""

from __future__ import annotations

from dataclasses import replace

from s3proxy.backend.response import BackendResponse
from s3proxy.forwarding.deletions import own_response
from s3proxy.s3.head import HeaderList, ResponseHead, index_headers


def respond(status: int, headers: HeaderList, document: bytes, method: bytes) -> BackendResponse:
    """
    Return a complete response.

    Args:
        status: 200 or 204.
        method: The method of the client's request: a response to HEAD has the length of the document, but not the
            document.
    """
    reason = b"No Content" if status == 204 else b"OK"
    head = ResponseHead(b"HTTP/1.1", status, reason, headers, index_headers(headers))
    if method != b"HEAD":
        return own_response(head, document)
    response = BackendResponse(None, replace(head, content_length=len(document)), 0, None)
    response.ended(None)
    return response


def respond_with(document: bytes, method: bytes) -> BackendResponse:
    """
    Return a response whose body is an XML document.
    """
    return respond(200, [(b"Content-Type", b"application/xml")], document, method)
