"""
What s3proxy evaluates for a backend that cannot: ranges, conditions and listings, as S3 evaluates them.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.mending.listing import read_listing
from s3proxy.mending.reads import MeasuredRead, plain_read_headers, plan_read, split_overrides, split_part
from s3proxy.profiles.profile import RangeLimits
from s3proxy.s3.address import parse_address
from s3proxy.s3.errors import InternalError, InvalidArgument, InvalidPartNumber, InvalidRange, PreconditionFailed
from s3proxy.s3.head import RequestHead, ResponseHead, parse_request_head, parse_response_head
from s3proxy.s3.operation import GET_OBJECT, HEAD_OBJECT, UPLOAD_PART, Operation

MODIFIED = "Sun, 01 Mar 2026 12:00:00 GMT"
MD5 = "0123456789abcdef0123456789abcdef"
BEFORE, AFTER = "Sun, 01 Mar 2026 11:59:59 GMT", "Sun, 01 Mar 2026 12:00:01 GMT"


def request(method: str = "GET", target: str = "/b/k", **headers: str) -> RequestHead:
    """
    A request: ``if_match`` is ``if-match``.
    """
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    return parse_request_head(
        f"{method} {target} HTTP/1.1\r\nHost: x\r\n{''.join(lines)}".encode().removesuffix(b"\r\n")
    )


def measured(size: int = 10, etag: str = '"e"', status: int = 200) -> ResponseHead:
    """
    The response to HEAD.
    """
    return parse_response_head(
        f"HTTP/1.1 {status} x\r\nContent-Length: {size}\r\nETag: {etag}\r\nLast-Modified: {MODIFIED}".encode()
    )


@given(size=st.integers(0, 30), first=st.none() | st.integers(0, 40), last=st.none() | st.integers(0, 40))
def test_ranges_are_those_of_a_sequence(size: int, first: int | None, last: int | None) -> None:
    """
    Whatever is asked for is what a slice of the object's bytes has; nothing of it is an error, and nonsense is all.
    """
    data = bytes(range(size))
    if first is None:
        wanted = data if last is None else data[size - min(last, size) :]
    else:
        wanted = data[first:] if last is None else data[first : last + 1]
    is_nonsense = (first is None and last is None) or (first is not None and last is not None and last < first)
    # If a client requests the last bytes of an empty object, S3 sends all of it.
    is_nonsense = is_nonsense or (first is None and bool(last) and not size)
    text = f"bytes={'' if first is None else first}-{'' if last is None else last}"

    head = request(range=text)
    if not wanted and not is_nonsense:
        with pytest.raises(InvalidRange) as raised:
            plan_read(head, measured(size))
        elements = {"RangeRequested": text.encode(), "ActualObjectSize": b"%d" % size}
        assert dict(raised.value.elements) == elements
        return

    plan = plan_read(head, measured(size))

    if is_nonsense:
        assert plan.span is None
    else:
        assert plan.span is not None
        assert data[slice(*plan.span)] == wanted != b""
        # What covers all is not sent: Walrus answers no range of 2 GiB.
        sent = [] if plan.span == (0, size) else [(b"Range", b"bytes=%d-%d" % (plan.span[0], plan.span[1] - 1))]
        assert plan.headers([]) == sent


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"if_match": '"e"'}, 200),
        ({"if_match": "e"}, 200),
        ({"if_match": '"x", "e"'}, 200),
        ({"if_match": "*"}, 200),
        ({"if_match": '"x"'}, 412),
        ({"if_match": '"e"', "if_unmodified_since": BEFORE}, 200),
        ({"if_unmodified_since": BEFORE}, 412),
        ({"if_unmodified_since": MODIFIED}, 200),
        ({"if_none_match": '"e"'}, 304),
        ({"if_none_match": 'W/"e"'}, 304),
        ({"if_none_match": '"x", "e"'}, 304),
        ({"if_none_match": '"x"'}, 200),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, 200),
        ({"if_modified_since": MODIFIED}, 304),
        ({"if_modified_since": BEFORE}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_none_match": '"e"', "range": "bytes=99-"}, 304),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(method: str, headers: dict[str, str], expected: int) -> None:
    """
    In the order of RFC 9110; a condition is evaluated before a range.
    """
    try:
        plan = plan_read(request(method, **headers), measured())
    except PreconditionFailed:
        status = 412
    else:
        status = plan.mend(measured(), [])[0]

    assert status == expected


def test_what_is_not_there_is_not_judged() -> None:
    """
    The backend gives the reason, and its response stays as it is.
    """
    plan = plan_read(request(if_match='"x"', range="bytes=99-"), measured(status=404))

    assert plan == MeasuredRead()
    plan.check(measured(1, '"other"'))
    assert plan.mend(measured(status=403), [(b"a", b"b")]) == (403, b"x", [(b"a", b"b")])


@pytest.mark.parametrize(
    ("size", "etag", "is_another"),
    [(3, '"e"', False), (10, '"e"', False), (3, '"f"', True), (4, '"e"', True), (0, '"e"', True)],
)
def test_another_object_is_not_believed(size: int, etag: str, *, is_another: bool) -> None:
    """
    Neither another entity tag nor a length that is neither the range's nor the object's is accepted.
    """
    plan = plan_read(request(range="bytes=2-4"), measured())

    if is_another:
        with pytest.raises(InternalError):
            plan.check(measured(size, etag))
        return
    plan.check(measured(size, etag))
    status, _, headers = plan.mend(measured(size, etag), [(b"Content-Range", b"2-4/3")])
    assert (status, headers) == ((206, [(b"Content-Range", b"bytes 2-4/10")]) if size == 3 else (200, []))


@pytest.mark.parametrize(
    ("method", "headers", "kept"),
    [
        ("GET", {"if_match": '"e"', "range": "bytes=0-", "x_other": "1"}, [b"host", b"x-other"]),
        ("HEAD", {"if_range": '"e"', "if_none_match": "*"}, [b"host"]),
        ("PUT", {"if_match": '"e"', "if_none_match": "*"}, [b"host", b"if-match", b"if-none-match"]),
        ("DELETE", {"if_match": '"e"'}, [b"host", b"if-match"]),
    ],
)
def test_only_a_read_goes_without_its_conditions(method: str, headers: dict[str, str], kept: list[bytes]) -> None:
    """
    Conditions of a write are not evaluated here: without them it would overwrite what the client wants to keep.
    """
    head = request(method, **headers)

    assert [name.lower() for name, _ in plain_read_headers(head, head.headers)] == kept


@pytest.mark.parametrize("headers", [{"range": "bytes=2-4"}, {"if_match": '"e"'}, {"if_none_match": '"e"'}])
@pytest.mark.parametrize("status", [404, 500])
def test_an_error_stays_one(status: int, headers: dict[str, str]) -> None:
    """
    The object was deleted after the HEAD: the response is not changed or cut.
    """
    for method in ("GET", "HEAD"):
        plan = plan_read(request(method, **headers), measured())
        response = measured(200, '"other"', status)

        plan.check(response)
        assert plan.mend(response, [(b"a", b"b")]) == (status, b"x", [(b"a", b"b")])
        assert plan.cut(response) is None


@pytest.mark.parametrize(
    ("wanted", "max_size", "status", "cut"),
    [
        ("bytes=2-4", 2, 200, (2, 5)),
        ("bytes=2-4", 2, 206, (2, 5)),
        ("bytes=7-", 2, 200, (7, 10)),
        ("bytes=2-3", 1, 200, (2, 4)),
        # This range covers the whole object.
        ("bytes=0-9", 2, 200, None),
        ("bytes=0-9", 2, 206, None),
    ],
)
def test_what_is_too_long_to_ask_for_is_cut(
    wanted: str, max_size: int, status: int, cut: tuple[int, int] | None
) -> None:
    """
    If the storage system cannot send a range of this size, the whole object is requested, and s3proxy cuts the range
    out of it.
    """
    plan = plan_read(request(range=wanted), measured(), RangeLimits(max_size=max_size))

    assert plan.headers([]) == []
    assert plan.cut(measured(status=status)) == cut


@pytest.mark.parametrize(("wanted", "max_size"), [("bytes=8-9", 2), ("bytes=2-2", 1), ("bytes=2-8", 0)])
def test_what_is_short_enough_is_asked_for(wanted: str, max_size: int) -> None:
    """
    It is requested unchanged.
    """
    plan = plan_read(request(range=wanted), measured(), RangeLimits(max_size=max_size))

    assert plan.headers([]) == [(b"Range", wanted.encode())]
    assert plan.cut(measured()) is None


@pytest.mark.parametrize(
    ("target", "is_whole"),
    [("/b/k", False), ("/b/k?x-id=GetObject", False), ("/b/k?versionId=v", True), ("/b/k?a&version%49d=v", True)],
)
def test_a_version_is_read_as_a_whole(target: str, *, is_whole: bool) -> None:
    """
    If a range might be of another version, the whole object is requested; any other object is requested by its range.
    """
    plan = plan_read(request(target=target, range="bytes=2-4"), measured(), RangeLimits(ignores_versions=True))

    assert (plan.is_whole, plan.span) == (is_whole, (2, 5))


def test_a_304_has_no_header_of_a_document() -> None:
    """
    RFC 9110, section 15.4.5: the client keeps those that it has. Only names count, not values.
    """
    plan = plan_read(request(if_none_match='"e"'), measured())
    kept = [(b"ETag", b'"e"'), (b"x-amz-meta-a", b"content-type"), (b"x-amz-meta-b", b"accept-ranges")]
    sent = [(b"Content-Length", b"10"), *kept, (b"Content-Type", b"a/b"), (b"Accept-Ranges", b"bytes")]

    assert plan.mend(measured(), sent) == (304, b"Not Modified", kept)


@pytest.mark.parametrize(
    ("size", "etag", "expected"),
    [
        (0, MD5, None),
        (1, MD5, b"bytes 0-0/1"),
        (10, MD5, b"bytes 0-9/10"),
        (10, f"{MD5}-2", None),
    ],
)
def test_the_first_part(size: int, etag: str, expected: bytes | None) -> None:
    """
    It is the whole of an object that was uploaded without parts; an empty one has no byte for a range.
    """
    response = measured(size, f'"{etag}"')
    plan = plan_read(request(), response, is_first_part=True)

    status, _, headers = plan.mend(response, [])

    assert (status, dict(headers).get(b"Content-Range")) == ((200, None) if expected is None else (206, expected))


@pytest.mark.parametrize(
    ("target", "operation", "is_first"),
    [
        ("/b/k?partNumber=1", GET_OBJECT, True),
        ("/b/k?partNumber=1", HEAD_OBJECT, True),
        ("/b/k?partNumber=1&uploadId=u", UPLOAD_PART, False),
        ("/b/k", GET_OBJECT, False),
        ("/b/k?x-partNumber=1", GET_OBJECT, False),
    ],
)
def test_a_part_is_split_off(target: str, operation: Operation, *, is_first: bool) -> None:
    """
    From a read, and from no other request.
    """
    rest, found = split_part(request(target=target), operation)

    assert found is is_first
    assert rest.raw_target == (b"/b/k" if is_first else target.encode())


def test_an_object_has_one_part() -> None:
    """
    S3 sends the number of parts: "GetObject", partNumber.
    """
    with pytest.raises(InvalidPartNumber) as raised:
        split_part(request(target="/b/k?partNumber=2"), GET_OBJECT)

    assert dict(raised.value.elements) == {"PartNumberRequested": b"2", "ActualPartCount": b"1"}


def test_overrides_are_split_off() -> None:
    """
    Whatever else is in the query stays byte for byte; what could end a header's line is dropped.
    """
    query = "a=%20&response-content-type=text%2Fx&response-expires=a%0Ab&response%2Dcache-control=no&versionId=1&x"

    rest, headers = split_overrides(request(target=f"/b/k?{query}"))

    assert rest.raw_target == b"/b/k?a=%20&versionId=1&x"
    assert headers == [(b"content-type", b"text/x"), (b"cache-control", b"no")]
    only, _ = split_overrides(request(target="/b/k?response-expires=a"))
    assert only.raw_target == b"/b/k"
    put = request("PUT", "/b/k?response-expires=a")
    assert split_overrides(put) == (put, [])


ENCODED = "<EncodingType>url</EncodingType><Contents><Key>a+%2B</Key></Contents>"
LISTED = """<ListBucketResult><Name>b</Name><Marker/><IsTruncated>%s</IsTruncated>%s</ListBucketResult>"""


@pytest.mark.parametrize(
    ("content", "marker"),
    [
        ("<Contents><Key>a</Key></Contents><Contents><Key>b&amp;&#x41;&#66;</Key></Contents>", b"b&AB"),
        ("<NextMarker>n</NextMarker><Contents><Key>z</Key></Contents>", b"n"),
        (f"{ENCODED}<CommonPrefixes><Prefix>a%2F</Prefix><Prefix>b%2F</Prefix></CommonPrefixes>", b"b/"),
        ("", b""),
    ],
)
def test_the_next_page_begins_after_the_last_name(content: str, marker: bytes) -> None:
    """
    The token that the client gets becomes the marker of its next request.
    """
    head = request(target="/b?list-type=2&start-after=%3C")
    listing = read_listing(head, parse_address(b"/b", b"x", ()))
    assert listing is not None

    document = listing.edit((LISTED % ("true", content)).encode()).decode()

    assert "<StartAfter>&lt;</StartAfter>" in document
    assert "Marker" not in document
    token = document.partition("<NextContinuationToken>")[2].partition("<")[0]
    following = read_listing(
        request(target=f"/b?list-type=2&continuation-token={token}&max-keys=3"), parse_address(b"/b", b"x", ())
    )
    assert following is not None
    items = dict(item.partition(b"=")[::2] for item in (following.head.raw_query or b"").split(b"&"))

    assert unquote_to_bytes(items.get(b"marker", b"")) == marker


@pytest.mark.parametrize("query", ["start-after=n", "continuation-token=bg=="])
def test_a_page_does_not_lead_to_itself(query: str) -> None:
    """
    Otherwise its client would request it forever.
    """
    listing = read_listing(request(target=f"/b?list-type=2&{query}"), parse_address(b"/b", b"x", ()))
    assert listing is not None

    with pytest.raises(InternalError):
        listing.edit((LISTED % ("true", "<NextMarker>n</NextMarker>")).encode())
    assert listing.edit((LISTED % ("true", "<NextMarker>o</NextMarker>")).encode())


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/b"), ("GET", "/b?list-type=1"), ("GET", "/b/k?list-type=2"), ("GET", "/?list-type=2"), ("PUT", "/b?x")],
)
def test_what_is_no_such_listing(method: str, target: str) -> None:
    """
    It is not changed.
    """
    head = request(method, target)

    assert read_listing(head, parse_address(head.raw_path, head.host, ())) is None


@pytest.mark.parametrize(
    "document",
    [
        "",
        "no XML",
        "<ListBucketResult><Name>b</Name><Contents>",
        "<ListBucketResult></ListBucketResult><ListBucketResult>",
        "<ListBucketResult><Name>&e;</Name></ListBucketResult>",
        '<!DOCTYPE a [<!ENTITY e "x">]><ListBucketResult/>',
        "<ExceptionResponse><Message>full</Message></ExceptionResponse>",
    ],
)
def test_a_page_that_is_no_list_is_not_passed_on(document: str) -> None:
    """
    Its client would take it for an empty bucket.
    """
    for query in ("list-type=2", "encoding-type=url"):
        listing = read_listing(request(target=f"/b?{query}"), parse_address(b"/b", b"x", ()))
        assert listing is not None

        with pytest.raises(InternalError):
            listing.edit(document.encode())


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("", "<ListBucketResult><Prefix>a%26</Prefix><EncodingType>url</EncodingType></ListBucketResult>"),
        (
            "<EncodingType/>",
            "<ListBucketResult><EncodingType>url</EncodingType><Prefix>a%26</Prefix></ListBucketResult>",
        ),
    ],
)
def test_names_are_encoded_as_is_told(told: str, expected: str) -> None:
    """
    A client that asked for encoded names decodes each one: the document says once whether they are encoded.
    """
    listing = read_listing(request(target="/b?encoding-type=url"), parse_address(b"/b", b"x", ()))
    assert listing is not None

    document = listing.edit(f"<ListBucketResult>{told}<Prefix>a&amp;</Prefix></ListBucketResult>".encode())

    assert document.decode() == expected


def test_a_strange_token_is_refused() -> None:
    """
    It does not name a place in the listing.
    """
    head = request(target="/b?list-type=2&continuation-token=%2B")

    with pytest.raises(InvalidArgument):
        read_listing(head, parse_address(head.raw_path, head.host, ()))
