"""
The headers and parameters of a request that the backend gets, and the headers of a response that the client gets.
"""

from __future__ import annotations

import pytest

from s3proxy.mending.listing import read_listing
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.headers import asking_for, bare_entity_tags
from s3proxy.resign.public_name import PublicName, host_names
from s3proxy.resign.target import backend_query
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InvalidArgument, InvalidRequest
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, index_headers
from tests.support.heads import passed_of, shown_headers

SIGNED = frozenset({b"host", b"x-amz-date", b"x-amz-meta-a", b"x-amz-acl"})


def passed(*headers: tuple[bytes, bytes], checksums: bool = True) -> HeaderList:
    """
    Return the headers that pass.
    """
    head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", list(headers), index_headers(headers))
    return passed_of(
        head,
        SIGNED | {name.lower() for name, _ in headers if name.startswith(b"S-")},
        passes_checksums=checksums,
    )


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization",
        b"Content-Length",
        b"Date",
        b"Expect",
        b"Host",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-amz-decoded-content-length",
        b"x-amz-region-set",
        b"x-amz-sdk-checksum-algorithm",
        b"x-amz-security-token",
        b"x-amz-trailer",
        b"Connection",
        b"Keep-Alive",
        b"Proxy-Authorization",
        b"Proxy-Connection",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Upgrade",
        b"Forwarded",
        b"Via",
        b"X-Forwarded-For",
        b"X-Forwarded-Anything",
        b"X-Real-IP",
    ],
)
def test_what_never_passes(name: bytes) -> None:
    """
    The client's credentials and framing, headers of its connection, and what it says about other hops: signed or not.
    """
    for spelling in (name, name.lower(), name.upper()):
        head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", [(spelling, b"5")], index_headers([(spelling, b"5")]))
        signed = frozenset({name.lower()})

        assert passed_of(head, signed) == []


@pytest.mark.parametrize("name", [b"x-amz-copy-source", b"x-amz-grant-read", b"x-custom", b"cookie", b"x-amz-acl-more"])
def test_what_no_signature_covers_does_not_pass(name: bytes) -> None:
    """
    Except for those that choose no object, owner or right.
    """
    assert passed((name, b"1"), (b"x-amz-meta-a", b"2"), (b"If-Match", b"3")) == [
        (b"x-amz-meta-a", b"2"),
        (b"If-Match", b"3"),
    ]


def test_what_a_connection_nominates() -> None:
    """
    An unsigned header is dropped; if it is signed, the request is refused.
    """
    assert passed((b"Connection", b"close, If-Match"), (b"If-Match", b"1"), (b"Range", b"2")) == [(b"Range", b"2")]
    for options in (b"x-amz-meta-a", b"close, X-AMZ-ACL"):
        with pytest.raises(InvalidRequest):
            passed((b"Connection", options), (b"x-amz-meta-a", b"1"))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"aws-chunked, gzip", b"gzip"),
        (b"gzip,aws-chunked", b"gzip"),
        (b"AWS-Chunked", None),
        (b"aws-chunked , aws-chunked", None),
        (b"deflate, aws-chunked, gzip", b"deflate, gzip"),
        (b"x-aws-chunked", b"x-aws-chunked"),
        (b"aws-chunked2, gzip", b"aws-chunked2, gzip"),
        (b"gzip", b"gzip"),
    ],
)
@pytest.mark.parametrize("signed", [frozenset({b"content-encoding"}), frozenset()])
def test_what_is_left_of_a_coding(signed: frozenset[bytes], sent: bytes, kept: bytes | None) -> None:
    """
    No backend gets the word aws-chunked: it is about the transfer. This does not depend on the form of the body or on
    the signature.
    """
    coding = (b"Content-Encoding", sent)
    head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", [coding], index_headers([coding]))

    chosen = passed_of(head, signed, passes_checksums=True)

    assert chosen == ([(b"Content-Encoding", kept)] if kept else [])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b'"781e"', b"781e"),
        (b"781e", b"781e"),
        (b"*", b"*"),
        (b'"a", "b"', b'"a", "b"'),
        (b'W/"a"', b'W/"a"'),
        (b'""', b'""'),
    ],
)
def test_an_entity_tag_without_its_marks(sent: bytes, kept: bytes) -> None:
    """
    Of a single tag in a condition; any other value stays.
    """
    headers = [(b"If-Match", sent), (b"if-none-match", sent), (b"x-amz-meta-a", b'"a"')]

    assert bare_entity_tags(headers) == [(b"If-Match", kept), (b"if-none-match", kept), (b"x-amz-meta-a", b'"a"')]


def test_checksums_a_backend_does_not_know() -> None:
    """
    s3proxy verifies them, and sends them nowhere.
    """
    headers = [(b"x-amz-checksum-crc32", b"AA=="), (b"S-x", b"1"), (b"x-amz-checksum-mode", b"ENABLED")]
    head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", headers, index_headers(headers))
    signed = frozenset({b"x-amz-checksum-crc32", b"x-amz-checksum-mode"})

    for passes, count in ((True, 2), (False, 1)):
        assert len(passed_of(head, signed, passes_checksums=passes)) == count


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"X-Amz-Signature=1&a=2", b"a=2"),
        (b"a=2&X%2DAmz%2dSignature=1", b"a=2"),
        (b"%58-Amz-Signature=1", None),
        (b"x-amz-signature=1", b"x-amz-signature=1"),
        (b"a=X-Amz-Signature", b"a=X-Amz-Signature"),
    ],
)
def test_what_authenticated_does_not_reach_a_backend(query: bytes, kept: bytes | None) -> None:
    """
    In any spelling of the name.
    """
    assert backend_query(query, frozenset({b"a", b"x-amz-signature"})) == kept


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"acl&x=1", b"acl"),
        (b"%61cl&x", b"acl"),
        (b"x=acl", None),
        (b"prefix=a&delimiter=/&y", b"prefix=a&delimiter=/"),
    ],
)
def test_what_nothing_covers_does_not_reach_a_backend(query: bytes, kept: bytes | None) -> None:
    """
    With Signature V2, only the names that may pass.
    """
    assert backend_query(query, frozenset({b"acl", b"prefix", b"delimiter"})) == kept


# Responses

NAME = PublicName(b"https", b"public.test", b"us-east-1", hosts=host_names([b"backend.test:7480"]), request_id=b"OURS")


def answered(*headers: tuple[bytes, bytes]) -> HeaderList:
    """
    Return the headers that a client gets.
    """
    head = ResponseHead(b"HTTP/1.1", 200, b"OK", list(headers), index_headers(headers))
    headers = shown_headers(head, NAME)
    assert headers[0] == (b"x-amz-request-id", b"OURS")
    return headers[1:]


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"Keep-Alive",
        b"Transfer-Encoding",
        b"Trailer",
        b"Upgrade",
        b"TE",
        b"Proxy-Authenticate",
        b"Content-Length",
        b"X-Amz-Request-Id",
    ],
)
def test_what_never_reaches_a_client(name: bytes) -> None:
    """
    Headers of the backend's connection, its framing, and its request id.
    """
    assert answered((name, b"5"), (name.lower(), b"6"), (b"ETag", b'"e"')) == [(b"ETag", b'"e"')]


def test_what_a_backend_s_connection_nominates() -> None:
    """
    It is meant for s3proxy.
    """
    assert answered((b"Connection", b"close, X-Hop"), (b"X-Hop", b"1"), (b"X-Other", b"2")) == [(b"X-Other", b"2")]


@pytest.mark.parametrize(
    ("location", "public"),
    [
        (b"http://backend.test:7480/b/k?x", b"https://public.test/b/k?x"),
        (b"http://Backend.Test:7480", b"https://public.test"),
        (b"http://other.test/b/k", b"http://other.test/b/k"),
        (b"/b/k", b"/b/k"),
    ],
)
def test_where_a_client_is_sent(location: bytes, public: bytes) -> None:
    """
    Never to the backend's own address.
    """
    assert answered((b"Location", location)) == [(b"Location", public)]


# Listings


@pytest.mark.parametrize("token", [b"!", b"not base64!", b"AAA", b"%"])
def test_a_token_that_is_none_of_ours(token: bytes) -> None:
    """
    It is refused: taken for a key, it would skip all keys before it.
    """
    query = b"list-type=2&continuation-token=" + token.replace(b"%", b"%25").replace(b" ", b"+")
    head = RequestHead(b"GET", b"/b?" + query, b"HTTP/1.1", [], index_headers([]))

    with pytest.raises(InvalidArgument):
        read_listing(head, Address(b"b", b"", b"b", b""))


def test_what_a_client_sent_stays_text_in_a_listing() -> None:
    """
    It does not become an element.
    """
    query = b"list-type=2&start-after=%3C%2FStartAfter%3E%26"
    listing = read_listing(
        RequestHead(b"GET", b"/b?" + query, b"HTTP/1.1", [], index_headers([])), Address(b"b", b"", b"b", b"")
    )
    assert listing is not None

    document = listing.edit(b"<ListBucketResult></ListBucketResult>")

    assert b"<StartAfter>&lt;/StartAfter&gt;&amp;</StartAfter>" in document


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("signed", [True, False])
def test_who_never_compresses_is_not_asked_to(name: str, signed: bool) -> None:
    """
    A proxy in front of such a storage system would compress: that weakens entity tags, and removes the length from the
    response to HEAD.
    """
    headers = [(b"Accept-Encoding", b"gzip"), (b"x-amz-meta-a", b"1")]
    head = RequestHead(b"GET", b"/b/k", b"HTTP/1.1", headers, index_headers(headers))

    chosen = passed_of(
        head,
        SIGNED | ({b"accept-encoding"} if signed else set()),
        passes_checksums=True,
        dropped_headers=PROFILES[name].dropped_headers,
    )

    passes = name in {"generic", "minio", "versitygw"}
    assert chosen == (headers if passes else headers[1:])


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br;q=1.0, GZip;q=0.8, *;q=0.1", b"GZip;q=0.8"),
        (b"zstd ,identity", b"identity"),
        (b"br", b"identity"),
        (b"*", b"identity"),
        (b"", b"identity"),
        (b"gzipped, x-gzip", b"x-gzip"),
        (b"identity;q=0, gzip", b"identity;q=0, gzip"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"])
def test_a_coding_that_nobody_reads_is_not_asked_for(method: bytes, sent: bytes, passed: bytes) -> None:
    """
    s3proxy reads an error of any request: a proxy in front of the backend must not compress it with brotli, which
    browsers accept.
    """
    headers = [(b"ACCEPT-Encoding", sent), (b"Accept-Language", b"br")]
    head = RequestHead(method, b"/b/k", b"HTTP/1.1", headers, index_headers(headers))

    chosen = passed_of(head, SIGNED, passes_checksums=True)

    assert chosen == [(b"ACCEPT-Encoding", passed), headers[1]]


@pytest.mark.parametrize(
    "name",
    [
        b"x-amz-copy-source",
        b"X-Amz-Copy-Source",
        b"x-amz-copy-source-range",
        b"x-amz-copy-source-if-match",
        b"x-amz-copy-source-server-side-encryption-customer-key",
    ],
)
@pytest.mark.parametrize("copies", [True, False])
def test_the_source_of_a_copy_goes_with_a_copy_alone(name: bytes, copies: bool) -> None:
    """
    Ceph 16.2 refuses an invalid one in any request, and Swift fails if it is not text: S3 ignores it.
    """
    headers = [(name, b"/b/k"), (b"x-amz-meta-a", b"1")]
    head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", headers, index_headers(headers))

    chosen = passed_of(head, frozenset(head.fields), passes_checksums=True, copies=copies)

    assert chosen == (headers if copies else headers[1:])


def test_the_source_of_a_copy_is_one_object_to_every_reader() -> None:
    """
    MinIO would cut the key at ``#``, and Ceph reads ``+`` as itself, not as a space. No other header's value is
    changed.
    """
    others = [(b"x-amz-copy-source-if-match", b'"a+b#c"'), (b"x-amz-meta-a", b"a+b#c")]
    headers = [(b"X-Amz-Copy-Source", b"/b/a+b#c"), *others]
    head = RequestHead(b"PUT", b"/b/k", b"HTTP/1.1", headers, index_headers(headers))

    chosen = passed_of(head, frozenset(head.fields), passes_checksums=True, copies=True)

    assert chosen == [(b"X-Amz-Copy-Source", b"/b/a%20b%23c"), *others]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], [b"x-new"]),
        ([(b"Access-Control-Request-Headers", b"x-a")], [b"x-a,x-new"]),
        ([(b"access-control-request-headers", b"x-a, X-New")], [b"x-a, X-New"]),
    ],
)
def test_a_preflight_asks_for_a_header_too(asked: HeaderList, expected: list[bytes]) -> None:
    """
    The header is added once, and the headers around it stay.
    """
    before, after = [(b"Origin", b"http://a.test")], [(b"Accept", b"*/*"), (b"Referer", b"http://a.test/")]

    found = asking_for([*before, *asked, *after], b"x-new")

    name = b"access-control-request-headers"
    assert [value for each, value in found if each.lower() == name] == expected
    assert [header for header in found if header[0].lower() != name] == [*before, *after]
