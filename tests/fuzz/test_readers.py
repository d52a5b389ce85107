"""
The readers of the fuzz tests differ where servers differ.
"""

from __future__ import annotations

import pytest

from tests.fuzz.readers import READERS, Unreadable, read_by_all

HEAD = b"PUT /b/k?acl HTTP/1.1\r\nHost: h\r\n"


@pytest.mark.parametrize("reader", READERS)
def test_a_plain_request_is_one_to_each(reader: str) -> None:
    """
    Two requests on one connection, with everything that is compared.
    """
    data = HEAD + b"x-amz-copy-source: /a/b\r\nx-amz-meta-a_b: 1\r\nContent-Length: 5\r\n\r\nhello"

    first, second = READERS[reader](data + data, plus_in_paths=False, service_path=b"")

    assert first == second
    assert (first.method, first.target) == (b"PUT", b"/b/k?acl")
    assert (first.level, first.bucket, first.key) == ("object", b"b", b"k")
    assert first.kind == (b"acl", b"a copy")
    assert first.body_length == 5
    assert [name for name, _ in first.fields] == [b"content-length", b"host", b"x-amz-copy-source", b"x-amz-meta-a-b"]


@pytest.mark.parametrize(
    "lines",
    [
        b"x_amz_acl: public-read\r\n",
        b"x-amz-acl : public-read\r\n",
        b"A: b\rx-amz-acl: public-read\r\n",
        b"A: b\nx-amz-acl: public-read\r\n",
        b"A: b\r\n x-amz-acl: public-read\r\n",
        b"A: b\r\r\n",
        b"x-amz-acl: private\x00public-read\r\n",
        b"x-amz-acl: private\r\nx-amz-acl: public-read\r\n",
        b"x-amz-meta-a:1\\\rx-amz-acl: 7\r\n",
        b"x-amz-meta-a b: 7\r\n",
        b"Content-Length: 0\r\nContent-Length: 5\r\n",
        b"Content-Length: +0\r\n",
        b"Content_Length: 9\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Host: other\r\n",
        b"x-amz-meta-a: 1\r\n\r\nGET /other/secret HTTP/1.1\r\nHost: h\r\nX: 7\r\n\n",
    ],
)
def test_they_differ_where_servers_do(lines: bytes) -> None:
    """
    Each of these lines is another request, or none, to one of the readers.
    """
    assert read_by_all(HEAD + b"A: b\r\n\r\n")[1] == ""
    assert read_by_all(HEAD + lines + b"\r\n")[1] != ""


def test_a_plus_is_a_space_where_a_backend_reads_it_so() -> None:
    """
    The readers read a path as this backend does.
    """
    data = b"GET /services/Walrus/b/a+b HTTP/1.1\r\nHost: h\r\n\r\n"

    (seen,), difference = read_by_all(data, plus_in_paths=True, service_path=b"/services/Walrus")

    assert (seen.bucket, seen.key, difference) == (b"b", b"a b", "")


@pytest.mark.parametrize("reader", READERS)
def test_half_a_request_is_none(reader: str) -> None:
    """
    If a body is cut, the next request is inside it.
    """
    with pytest.raises(Unreadable):
        READERS[reader](HEAD + b"Content-Length: 6\r\n\r\nhello", plus_in_paths=False, service_path=b"")
