"""
Public reports about the storage system's own behaviour, tried with a real gateway; see
``docs/explanation/field-log.md``.
"""

from __future__ import annotations

import http.client
import re
import socket
from datetime import UTC, datetime

import pytest

from tests.integration.conftest import BUCKET, Field, Way
from tests.support.signer import UNSIGNED, Signer

pytestmark = pytest.mark.integration

THROUGH = ["through v2 http", "through v4 http"]


def ask(
    way: Way, method: str, target: str, headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[http.client.HTTPResponse, bytes]:
    """
    Send a request; return the response and its body.
    """
    signer = Signer(way.key_id, way.secret, datetime.now(UTC), f"127.0.0.1:{way.port}")
    unsigned = {"Connection": "close"}
    if method == "PUT":
        unsigned["Content-Length"] = str(len(body))
    head, _ = signer.head(method, target, headers or {}, payload=UNSIGNED, unsigned=unsigned)
    with socket.create_connection(("127.0.0.1", way.port), 60) as connection:
        connection.sendall(head + body)
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        return response, response.read()


@pytest.mark.parametrize("name", THROUGH)
def test_metadata_with_an_underscore_are_stored(name: str, field: Field) -> None:
    """
    z3 24, libcloud 1607: the gateway reads the name with a hyphen, and its Signature V2 covers that form.
    """
    way, target = field.ways[name], f"/{BUCKET}/underscore"

    stored, _ = ask(way, "PUT", target, {"x-amz-meta-content_type": "text/x", "x-amz-meta-a": "b"}, b"hello")
    found, _ = ask(way, "HEAD", target)

    assert (stored.status, found.status) == (200, 200)
    assert found.headers["x-amz-meta-content-type"] == "text/x"
    assert found.headers["x-amz-meta-a"] == "b"


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize(
    "query", ["response-content-encoding=", "response-content-type=&response-cache-control=no-cache"]
)
def test_an_empty_override_is_none(query: str, name: str, field: Field) -> None:
    """
    minio 3400: the gateway's Signature V2 omits the ``=`` of an empty value.
    """
    way, target = field.ways[name], f"/{BUCKET}/override"
    ask(way, "PUT", target, {}, b"hello")

    response, body = ask(way, "GET", f"{target}?{query}")

    assert (response.status, body) == (200, b"hello")


RANGES = {
    "bytes=7-3": (200, b"0123456789"),
    "bytes=junk": (200, b"0123456789"),
    "bytes=0-0,2-3": (200, b"0123456789"),
    "items=0-1": (200, b"0123456789"),
    "bytes=5-9223372036854775806": (206, b"56789"),
    "bytes=5-18446744073709551616": (206, b"56789"),
    "bytes=-3": (206, b"789"),
    "bytes=2-3": (206, b"23"),
}


@pytest.mark.parametrize("name", THROUGH)
@pytest.mark.parametrize("span", RANGES)
def test_what_is_no_range_is_ignored(span: str, name: str, field: Field) -> None:
    """
    noobaa-core 9889, versitygw 1120, presto 9452: straight, the gateway responds to some with 416, or with the first
    part.
    """
    way, target = field.ways[name], f"/{BUCKET}/digits"
    ask(way, "PUT", target, {}, b"0123456789")

    response, body = ask(way, "GET", target, {"range": span})

    assert (response.status, body) == RANGES[span]
    assert (response.headers["content-range"] is not None) == (response.status == 206)


@pytest.mark.parametrize("name", THROUGH)
def test_a_key_with_a_control_character_is_listed(name: str, field: Field) -> None:
    """
    rclone 3345, minio 15023: the gateway lists it as S3 does, and the list passes through s3proxy.
    """
    way = field.ways[name]
    ask(way, "PUT", f"/{BUCKET}/control%03key", {}, b"x")

    _, plain = ask(way, "GET", f"/{BUCKET}?list-type=2&prefix=control")
    _, encoded = ask(way, "GET", f"/{BUCKET}?list-type=2&prefix=control&encoding-type=url")

    assert re.findall(rb"<Key>([^<]*)</Key>", plain) == [b"control&#x03;key"]
    assert re.findall(rb"<Key>([^<]*)</Key>", encoded) == [b"control%03key"]
