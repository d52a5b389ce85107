"""
The canonical request: one function for each of its lines.

Source:
    "Signature Calculations for the Authorization Header", Task 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from s3proxy.s3.address import PLAIN_PATH, decode_path
from s3proxy.s3.head import Fields
from s3proxy.s3.query import query_items

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"

_ENCODED = tuple(bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte for byte in range(256))
_ENCODED_PATH = tuple(b"/" if byte == ord("/") else _ENCODED[byte] for byte in range(256))


def uri_encode(decoded: bytes) -> bytes:
    """
    Escape every byte but the unreserved ones.
    """
    if not decoded.translate(None, _UNRESERVED):
        return decoded
    return b"".join([_ENCODED[byte] for byte in decoded])


def canonical_uri(raw_path: bytes) -> bytes:
    """
    Return the canonical path: decoded once, encoded once, nothing removed or merged.

    Args:
        raw_path: As received.

    Raises:
        InvalidURI: An escape is broken, or the decoded path is not UTF-8.
    """
    if not raw_path:
        return b"/"
    if not raw_path.translate(None, PLAIN_PATH):
        return raw_path
    return b"".join([_ENCODED_PATH[byte] for byte in decode_path(raw_path)])


def canonical_query(raw_query: bytes | None, left_out: bytes | None = None) -> bytes:
    """
    Return the canonical query: names and values decoded once, encoded once, sorted by name, then value.

    Args:
        raw_query: As received, without ``?``.
        left_out: The decoded name of a parameter that is left out: ``X-Amz-Signature``.

    Raises:
        InvalidURI: An escape is broken.
    """
    if not raw_query:
        return b""
    pairs = sorted((uri_encode(name), uri_encode(value)) for name, value in query_items(raw_query) if name != left_out)
    return b"&".join([b"%s=%s" % pair for pair in pairs])


def canonical_headers(signed_names: Iterable[bytes], fields: Fields) -> bytes:
    """
    Return one line for each signed header, in the order of SignedHeaders. White space around a value is removed, and
    each run of it inside is one space.

    Args:
        signed_names: Lower case.
        fields: As received; a missing name counts as empty.
    """
    lines = []
    for name in signed_names:
        values = fields.get(name)
        if values is None:
            lines.append(b"%s:\n" % name)
        elif len(values) == 1:
            lines.append(b"%s:%s\n" % (name, b" ".join(values[0].split())))
        else:
            lines.append(b"%s:%s\n" % (name, b",".join([b" ".join(value.split()) for value in values])))
    return b"".join(lines)


def canonical_request(
    method: bytes, path: bytes, query: bytes, headers: bytes, signed_headers: bytes, payload: bytes
) -> bytes:
    """
    Return the canonical request, made of its lines.
    """
    return b"\n".join((method, path, query, headers, signed_headers, payload))
