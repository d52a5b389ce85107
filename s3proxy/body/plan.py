"""
What is to be done with the body of an authenticated request: how it is decoded, how much of it is held, what must hold of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from s3proxy.authentication import Authenticated
from s3proxy.awschunked.checksums import BodyDigests, parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.body.chunked import AwsChunkedBody
from s3proxy.body.guard import BodySink, HeldBody
from s3proxy.body.plain import PlainBody
from s3proxy.s3.address import Address
from s3proxy.s3.errors import EntityTooLarge, MissingContentLength, S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_CONTENT_LENGTH_DIGITS, MAX_OBJECT_SIZE, MAX_XML_BODY_SIZE, SMALL_BODY_SIZE
from s3proxy.s3.operation import BodyUse, body_use


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """
    How large a body may be, in bytes.

    Attributes:
        small_body: Up to this it is verified whole before a backend hears of it.
        document: The XML of an operation.
        object: One PUT or part.
    """

    small_body: int = SMALL_BODY_SIZE
    document: int = MAX_XML_BODY_SIZE
    object: int = MAX_OBJECT_SIZE
