"""
Headers in a query: their names are checked like those of any header, because they become lines of a head.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.errors import InvalidArgument
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.query import query_items
from s3proxy.s3.query_headers import query_headers, with_headers, without_parameters


@pytest.mark.parametrize(
    "name",
    [
        b"x-amz-meta-a%3A%201%0D%0A%0D%0AGET%20/",
        b"x-amz-meta-a%0D%0Ax-amz-acl",
        b"x-amz-meta-a%0Ax-amz-acl",
        b"x-amz-meta-a%0Dx",
        b"x-amz-meta-a%3A",
        b"x-amz-meta-a+b",
        b"x-amz-meta-%C3%A4",
        b"x-amz-meta-%00",
        b"X-AMZ-META-a%20",
        b"x-amz-copy_source",
        b"x-amz-acl%09",
    ],
)
def test_a_name_that_is_no_header_s(name: bytes) -> None:
    """
    A decoded name may hold any bytes. It is refused if it is not a token, or if it has an underscore and is not
    metadata.
    """
    with pytest.raises(InvalidArgument):
        query_headers(query_items(b"a=b&" + name + b"=7"))


@pytest.mark.parametrize("value", [b"1%0D%0Ax-amz-acl:%20a", b"%0A", b"%0D", b"%00", b"%7F"])
def test_a_value_that_is_no_header_s(value: bytes) -> None:
    """
    A decoded value may hold any bytes. It is refused if it would end its line.
    """
    with pytest.raises(InvalidArgument):
        query_headers(query_items(b"x-amz-meta-a=" + value))


def test_headers_of_a_query() -> None:
    """
    They replace headers of the same name; the other parameters stay, in order and as they were written.
    """
    head = parse_request_head(b"GET /b/k?a=%20&X-Amz-Acl=x%20y&x-amz-meta-a_b=1&b HTTP/1.1\r\nHost: s\r\nx-amz-acl: z")

    headers = query_headers(query_items(head.raw_query or b""))
    moved = without_parameters(with_headers(head, headers), lambda name: name.lower().startswith(b"x-amz-"))

    assert headers == [(b"x-amz-acl", b"x y"), (b"x-amz-meta-a_b", b"1")]
    assert moved.raw_target == b"/b/k?a=%20&b"
    assert moved.fields == {b"host": (b"s",), b"x-amz-acl": (b"x y",), b"x-amz-meta-a_b": (b"1",)}
    assert without_parameters(moved, lambda name: True).raw_target == b"/b/k"
