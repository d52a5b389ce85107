"""
A backend's response as the client sees it: it has s3proxy's names for everything, and nothing that only the backend
has.
"""

from __future__ import annotations

import gzip
import re
import zlib

import pytest

from s3proxy.resign.error_documents import MAX_CODE_SIZE, blames_our_signature, error_code, public_error, read_error
from s3proxy.resign.public_name import PublicName, host_names
from s3proxy.resign.response import (
    MAX_NAMING_SIZE,
    ResponseUse,
    edit_document,
    not_modified_headers,
    origin_headers,
    read_content,
    read_headers,
    response_use,
)
from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import InternalError, S3Error
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, index_headers
from s3proxy.s3.operation import GET_BUCKET_LOCATION, OPERATIONS, Operation
from tests.support.heads import shown_headers

NAME = PublicName(
    b"https",
    b"s3.example.test",
    b"eu-central-1",
    b"/b/a&b%20c",
    hosts=host_names([b"10.0.0.5:7480", b"Store.internal", b"[2001:db8::5]:80"]),
    request_id=b"OURS",
    host_id=b"our<host>",
)
NAMING = GET_BUCKET_LOCATION
READING = OPERATIONS["GetObjectTagging"]
OUR_URL = "https://s3.example.test/b/a&amp;b%20c"


def head(method: str, target: str, host: str = "s3.example.test") -> RequestHead:
    """
    Return a head.
    """
    headers = [(b"Host", host.encode())]
    return RequestHead(method.encode(), target.encode(), b"HTTP/1.1", headers, index_headers(headers))


def is_edited_for(asked: RequestHead) -> bool:
    """
    Return True if the response's document would be edited; a request for which S3 has no operation is never sent.
    """
    try:
        found = classify(asked, parse_address(asked.raw_path, asked.host, [b"s3.example.test"]))
    except S3Error:
        return False
    return response_use(asked, respond(), found.operation) is ResponseUse.EDIT


def respond(status: int = 200, length: int | None = 9, **fields: str) -> ResponseHead:
    """
    Return the head of a response.
    """
    headers: HeaderList = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return ResponseHead(b"HTTP/1.1", status, b"", headers, index_headers(headers), length)


@pytest.mark.parametrize(
    ("method", "target", "host", "is_edited"),
    [
        ("GET", "/b?location", "x", True),
        ("GET", "/b/?location", "x", True),
        ("GET", "/b?location=", "x", True),
        ("GET", "/b?%6cocation", "x", True),
        ("GET", "/b?x=1&%6C%6Fcation=1", "x", True),
        ("GET", "/?location", "b.s3.example.test", True),
        ("GET", "/b/k?location", "x", False),
        ("GET", "/b//?location", "x", False),
        ("GET", "/b%2Fk?location", "x", False),
        ("GET", "/k?location", "b.s3.example.test", False),
        ("GET", "/?location", "x", False),
        ("GET", "/b?x=location", "x", False),
        ("GET", "/b", "x", False),
        ("HEAD", "/b?location", "x", False),
        ("PUT", "/b?location", "x", False),
        ("POST", "/b/k?uploadId=1", "x", True),
        ("POST", "/b/k?upload%49d=1", "x", True),
        ("POST", "/k?uploadId=1", "b.s3.example.test", True),
        ("POST", "/b?uploadId=1", "x", False),
        ("POST", "/b/k?uploads", "x", False),
        ("POST", "/b/k?uploadid=1", "x", False),
        ("PUT", "/b/k?uploadId=1&partNumber=1", "x", False),
        ("GET", "/b/k?uploadId=1", "x", False),
    ],
)
def test_the_operation_decides_whether_a_document_is_edited(
    method: str, target: str, host: str, *, is_edited: bool
) -> None:
    """
    GetBucketLocation of a bucket and CompleteMultipartUpload of an object, in any spelling; never an object.
    """
    assert is_edited_for(head(method, target, host)) is is_edited


@pytest.mark.parametrize(
    ("found", "operation", "use"),
    [
        (respond(), NAMING, ResponseUse.EDIT),
        (respond(203), NAMING, ResponseUse.EDIT),
        (respond(), READING, ResponseUse.RELAY),
        (respond(404), NAMING, ResponseUse.JUDGE),
        (respond(404, content_type="application/xml"), READING, ResponseUse.JUDGE),
        (respond(404, content_type="Text/XML; charset=x"), READING, ResponseUse.JUDGE),
        (respond(404, content_type="text/html"), READING, ResponseUse.RELAY),
        (respond(301, content_type="text/html"), READING, ResponseUse.JUDGE),
        (respond(403, content_type="text/html"), READING, ResponseUse.JUDGE),
        (respond(503, None), READING, ResponseUse.JUDGE),
        (respond(500, content_type="application/json"), READING, ResponseUse.RELAY),
    ],
)
def test_what_is_done_with_a_document(found: ResponseHead, operation: Operation, use: ResponseUse) -> None:
    """
    Objects are streamed; what may be an S3 error is read.
    """
    assert response_use(head("GET", "/b"), found, operation) is use


@pytest.mark.parametrize(("status", "length"), [(204, None), (304, None), (200, 0), (400, 0)])
def test_a_response_without_content_is_passed_on(status: int, length: int | None) -> None:
    """
    There is nothing to edit and nothing to judge.
    """
    assert response_use(head("GET", "/b"), respond(status, length), NAMING) is ResponseUse.RELAY


@pytest.mark.parametrize(
    ("found", "operation", "use"),
    [
        (respond(299), NAMING, ResponseUse.EDIT),
        (respond(300), NAMING, ResponseUse.JUDGE),
        (respond(300, content_type="application/octet-stream"), NAMING, ResponseUse.RELAY),
        (respond(399, content_type="text/plain"), READING, ResponseUse.JUDGE),
        (respond(402, content_type="text/plain"), READING, ResponseUse.RELAY),
    ],
)
def test_a_status_is_what_its_first_digit_says(found: ResponseHead, operation: Operation, use: ResponseUse) -> None:
    """
    An unknown status counts as the first of its class (RFC 9110, section 15). A success may name the backend; a web
    page may have a redirect.
    """
    assert response_use(head("GET", "/b"), found, operation) is use


@pytest.mark.parametrize(
    ("status", "host_id"), [(200, b"theirs"), (399, b"theirs"), (400, b"our<host>"), (599, b"our<host>")]
)
def test_an_error_has_our_host_id(status: int, host_id: bytes) -> None:
    """
    It is in the header and in the document, and once in each.
    """
    found = shown_headers(respond(status, x_amz_id_2="theirs"), NAME)

    assert [value for name, value in found if name == b"x-amz-id-2"] == [host_id]


ACROSS = {
    "access_control_allow_origin": "*",
    "Access_Control_Max_Age": "5",
    "vary": "Origin",
    "server": "x",
    "etag": "e",
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (ACROSS, [b"access-control-allow-origin", b"Access-Control-Max-Age", b"vary"]),
        ({**ACROSS, "connection": "Vary, close"}, [b"access-control-allow-origin", b"Access-Control-Max-Age"]),
        ({**ACROSS, "connection": "access-control-max-age"}, [b"access-control-allow-origin", b"vary"]),
        ({name: value for name, value in ACROSS.items() if "origin" not in name}, []),
    ],
)
def test_an_error_of_ours_is_read_by_pages_that_the_backend_lets(fields: dict[str, str], expected: list[bytes]) -> None:
    """
    Only the headers of Fetch, without those of the backend's own connection; none if the backend does not allow other
    origins.
    """
    assert [name for name, _ in origin_headers(respond(200, **fields))] == expected


def test_headers_of_the_backends_connection_are_not_the_clients() -> None:
    """
    A proxy removes every header that Connection nominates (RFC 9110, section 7.6.1).
    """
    found = shown_headers(respond(200, connection="X-Hop", x_hop="1", x_other="2"), NAME)

    assert [name for name, _ in found] == [b"x-amz-request-id", b"x-other"]


def test_a_304_tells_nothing_of_content() -> None:
    """
    The headers that identify the object stay (RFC 9110, section 15.4.5). Their values do not matter.
    """
    kept = [
        (b"ETag", b'"e"'),
        (b"Last-Modified", b"x"),
        (b"Vary", b"Content-Length"),
        (b"x-amz-meta-a", b"content-type"),
    ]
    content = [(b"Content-Length", b"5"), (b"content-type", b"text/plain"), (b"Accept-Ranges", b"bytes")]

    assert not_modified_headers([*content, *kept, (b"Content-Encoding", b"gzip")]) == kept


@pytest.mark.parametrize(
    ("raw_path", "url"),
    [
        (b"/b/a&b%20c", b"https://s3.example.test/b/a&b%20c"),
        (b'/b/"<a>"', b"https://s3.example.test/b/%22%3Ca%3E%22"),
        ("/b/\u00fc\\".encode(), b"https://s3.example.test/b/%C3%BC%5C"),
    ],
)
def test_the_url_of_an_object_is_a_url(raw_path: bytes, url: bytes) -> None:
    """
    What a client sent without its escapes is escaped (RFC 3986, section 2.1): each byte, with upper-case digits.
    """
    assert NAME._replace(raw_path=raw_path).object_url == url


@pytest.mark.parametrize(
    ("location", "public"), [("http://10.0.0.5:7480/b/k?a", b"/b/k?a"), ("http://10.0.0.5:7480", b"/")]
)
def test_a_client_without_a_host_is_led_by_a_path(location: str, public: bytes) -> None:
    """
    HTTP/1.0 has no Host: a path as the Location leads to s3proxy, too (RFC 9110, section 10.2.2).
    """
    assert (b"location", public) in shown_headers(respond(307, location=location), NAME._replace(host=b""))


@pytest.mark.parametrize(
    "location",
    [
        "<Location>http://10.0.0.5:7480/b/k</Location>",
        "<Location>HTTP://10.0.0.5/b/k</Location>",
        "<Location>//10.0.0.5/b/k</Location>",
        "<Location>10.0.0.5/b/k</Location>",
        "<Location>\n  http://u:p@10.0.0.5:7480/b/k?x#y\n</Location>",
        "<Location>&#x68;ttp://10.0.0.5/b</Location>",
        "<Location><![CDATA[http://10.0.0.5/b]]></Location>",
        "<Location>http:/<!-- -->/10.0.0.5/b</Location>",
        "<Location><Url>http://10.0.0.5</Url></Location>",
        "<Location a='>' >http://10.0.0.5/</Location >",
        "<s:Location xmlns:s='u'>http://10.0.0.5/</s:Location>",
        "<Location>http://some.other.name.of.the.store/b/k</Location>",
        "<Location></Location>",
        "<Location/>",
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
def test_the_location_is_the_clients_own(location: str, coding: str) -> None:
    """
    The URL of the object as the client addresses it, whatever the backend wrote, in any spelling and coding.
    """
    document = f"<R><Key>http://10.0.0.5</Key>{location}<ETag>e</ETag></R>".encode(coding)

    edited = edit_document(document, NAME).decode()

    assert re.findall(r"<(?:s:)?Location[^/]*>(.*?)</(?:s:)?Location ?>", edited, re.DOTALL) == [OUR_URL]
    # A key belongs to the client, even if it looks like a URL.
    assert "<Key>http://10.0.0.5</Key>" in edited
    assert edited.count("10.0.0.5") == 1


@pytest.mark.parametrize(
    "document",
    [
        "<LocationConstraint>inside</LocationConstraint>",
        "<x:LocationConstraint xmlns:x='u'>inside</x:LocationConstraint>",
        "<?xml version='1.0' encoding='latin-1'?><LocationConstraint xmlns='u' a='>'>ins&#105;de</LocationConstraint>",
        "<LocationConstraint><LocationConstraint>inside</LocationConstraint></LocationConstraint>",
        "  \n<?xml version='1.0'?><LocationConstraint><![CDATA[inside]]></LocationConstraint>",
        "<A><LocationConstraint >inside</LocationConstraint\n></A>",
    ],
)
def test_the_region_is_the_listeners(document: str) -> None:
    """
    In every form in which the backend may write its own.
    """
    edited = edit_document(document.encode(), NAME).decode()

    assert "ins" not in edited
    assert edited.count(">eu-central-1</") == 1


@pytest.mark.parametrize(
    "document",
    [
        b"<a>",
        b"inside",
        b"{}",
        b"<!DOCTYPE a [<!ENTITY e 'inside'>]><LocationConstraint>&e;</LocationConstraint>",
        b"<?xml version='1.0' encoding='utf-7'?><LocationConstraint>inside</LocationConstraint>",
        "<a/>".encode("utf-32"),
    ],
)
def test_what_cannot_be_edited_is_refused(document: bytes) -> None:
    """
    It may name the backend.
    """
    with pytest.raises(InternalError):
        edit_document(document, NAME)


def test_nothing_to_edit_changes_no_byte() -> None:
    """
    A document of another kind stays, and so does one of white space.
    """
    for document in (
        b" ",
        b"",
        b"<A  b = 'c'\t><!-- x --></A >",
        "<A>\u00e9</A>".encode(),
    ):
        assert edit_document(document, NAME) == document


HOSTS = [
    "http://10.0.0.5:7480{}",
    "HTTP://10.0.0.5:7480{}",
    "https://10.0.0.5{}",
    "http://10.0.0.5:80{}",
    "http://10.0.0.5:{}",
    "//10.0.0.5:7480{}",
    "http://user@10.0.0.5:7480{}",
    "http://user:a@b@10.0.0.5{}",
    "http://10.0.0.5.{}",
    "http://%31%30.0.0.5{}",
    "http:\\\\10.0.0.5{}",
    "http:///10.0.0.5{}",
    "http:/10.0.0.5{}",
    "http:10.0.0.5{}",
    "ftp://10.0.0.5{}",
    "http://store.internal{}",
    "http://STORE.Internal.:443{}",
    "http://bucket.store.internal{}",
    "http://[2001:db8::5]:80{}",
    "http://[2001:DB8:0:0:0:0:0:5]{}",
    "http://[::ffff:10.0.0.5]{}",
    "http://[2001:db8::5%25eth0]{}",
]


@pytest.mark.parametrize("name", ["Location", "location", "Content-Location"])
@pytest.mark.parametrize("url", HOSTS)
def test_no_header_names_the_backend(url: str, name: str) -> None:
    """
    A redirect leads to the same place at s3proxy, in any spelling of the backend's address.
    """
    found = shown_headers(respond(307, **{name.replace("-", "_"): url.format("/b/k?x=//y")}), NAME)

    assert (name.encode(), b"https://s3.example.test/b/k?x=//y") in found


@pytest.mark.parametrize(
    "url",
    ["http://other.example/b", "/b/k", "b/k", "http://10.0.0.50/b", "http://notstore.internal/", "mailto:a@10.0.0.5"],
)
def test_other_places_stay(url: str) -> None:
    """
    Redirects to other hosts than the backend are relayed unchanged.
    """
    assert (b"location", url.encode()) in shown_headers(respond(301, location=url), NAME)


def test_what_a_client_stored_stays() -> None:
    """
    A website redirect is an object's metadata, and comes back as it was stored.
    """
    stored = {"x_amz_website_redirect_location": "http://10.0.0.5/x", "x_amz_meta_a": "http://10.0.0.5/x"}

    assert shown_headers(respond(200, **stored), NAME)[1:] == respond(200, **stored).headers


@pytest.mark.parametrize(
    ("name", "value", "public"),
    [
        ("link", '<http://10.0.0.5/b?p=2>; rel="next", <//store.internal/x>', '<{}/b?p=2>; rel="next", <{}/x>'),
        ("refresh", "3; url=HTTPS://10.0.0.5:7480/b", "3; url={}/b"),
        ("refresh", "3; url='http://elsewhere/b'", "3; url='http://elsewhere/b'"),
    ],
)
def test_links_lead_to_us(name: str, value: str, public: str) -> None:
    """
    Every URL of the backend within a header of URLs is replaced by s3proxy's.
    """
    ours = "https://s3.example.test"

    assert (name.encode(), public.format(ours, ours).encode()) in shown_headers(respond(200, **{name: value}), NAME)


def test_no_header_leads_past_us() -> None:
    """
    Alt-Svc would send browsers and curl to another authority.
    """
    assert [name for name, _ in shown_headers(respond(200, alt_svc='h3="10.0.0.5:443"'), NAME)] == [b"x-amz-request-id"]


def test_a_location_fits_the_clients_addressing() -> None:
    """
    Clients do not see the backend's service path, and a bucket in the host is not in the path.
    """
    name = PublicName(b"http", b"b.s3.test", b"r", b"/k", b"b", host_names([b"store"]), b"/services/Walrus", b"1", b"h")

    def location(url: str) -> bytes:
        return dict(shown_headers(respond(307, location=url), name))[b"location"]

    assert location("http://store/services/Walrus/b/k") == b"http://b.s3.test/k"
    assert location("http://store/services/Walrus/b?acl") == b"http://b.s3.test?acl"
    assert location("http://store/b/k") == b"http://b.s3.test/k"
    assert location("http://store/bb/k") == b"http://b.s3.test/bb/k"
    assert location("/services/Walrus/b/k") == b"/b/k"


ERROR = (
    "<Error><Code>{code}</Code><Message>Ask http://10.0.0.5:7480/x</Message><Endpoint>{endpoint}</Endpoint>"
    "<RequestId>tx0001</RequestId><HostId>zone-1</HostId><Resource>/b//10.0.0.5/k</Resource></Error>"
)


@pytest.mark.parametrize(
    ("endpoint", "public"),
    [
        ("10.0.0.5:7480", "s3.example.test"),
        ("b.store.internal", "s3.example.test"),
        ("STORE.internal.", "s3.example.test"),
        ("<![CDATA[http://10.0.0.5/b]]>", "https://s3.example.test/b"),
        ("&#49;0.0.0.5", "s3.example.test"),
        ("b.s3-eu-west-1.amazonaws.com", "b.s3-eu-west-1.amazonaws.com"),
    ],
)
def test_an_errors_document_is_ours(endpoint: str, public: str) -> None:
    """
    Its ids are those of s3proxy's headers, and no endpoint or message names the backend.
    """
    document = ERROR.format(code="PermanentRedirect", endpoint=endpoint)

    edited = public_error(read_error(document.encode()), NAME).decode()

    assert f"<Endpoint>{public}</Endpoint>" in edited
    assert "<RequestId>OURS</RequestId><HostId>our&lt;host&gt;</HostId>" in edited
    assert "<Message>Ask https://s3.example.test/x</Message>" in edited
    assert "<Resource>/b//10.0.0.5/k</Resource>" in edited


def test_a_web_page_leads_to_us() -> None:
    """
    A document that a web server in front of the backend sends with its redirect.
    """
    page = b"<!DOCTYPE html><p>The document has moved <a href='http://10.0.0.5:7480/b/'>here</a>.<br>"

    assert public_error(read_error(page), NAME) == page.replace(b"http://10.0.0.5:7480", b"https://s3.example.test")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b"<Error><Code>NoSuchKey</Code></Error>", b"NoSuchKey"),
        (b"<Error><Code> NoSuchKey\n</Code><Code>Other</Code></Error>", b"NoSuchKey"),
        (b"<e:Error xmlns:e='u'><e:Code a='b'><![CDATA[No]]>Such&#75;ey</e:Code></e:Error>", b"NoSuchKey"),
        ("<Error><Code>NoSuchKey</Code></Error>".encode("utf-16"), b"NoSuchKey"),
        (b"<Error><Code>NoSuchKey</Code><Message>&</Error>", b"NoSuchKey"),
        (b"<Error><Code>KMS.NotFoundException</Code></Error>", b"KMS.NotFoundException"),
        (b"<Error><Code>Two words</Code></Error>", None),
        (b"<Error><Code>a\nb</Code></Error>", None),
        (b"<Error><Code>a&quot;b</Code></Error>", None),
        ("<Error><Code>\u00e9</Code></Error>".encode(), None),
        (b"<Error><Code></Code></Error>", None),
        (b"<Error><!--<Code>A</Code>--></Error>", None),
        (b"<Error><Code>%s</Code></Error>" % (b"A" * MAX_CODE_SIZE), b"A" * MAX_CODE_SIZE),
        (b"<Error><Code>%s</Code></Error>" % (b"A" * (MAX_CODE_SIZE + 1)), None),
        (b"", None),
    ],
)
def test_a_code_has_a_codes_form(document: bytes, code: bytes | None) -> None:
    """
    A backend's error code is used only if it is a short word: it goes to the log and to metrics.
    """
    assert error_code(read_error(document)) == code


@pytest.mark.parametrize(
    "document",
    [
        "<Error><Code>SignatureDoesNotMatch</Code></Error>",
        "<Error><Code>A</Code><Code>SignatureDoesNotMatch</Code></Error>",
        "<Error><Code><![CDATA[Signature]]>DoesNot&#77;atch</Code></Error>",
        "<e:Error xmlns:e='u'><e:Code>SignatureDoesNotMatch</e:Code></e:Error>",
        "<Error><Code>SignatureDoesNotMatch</Code><Message>&broken</Error>",
        "<Error>&broken<Code>SignatureDoesNotMatch</Code></Error>",
        "<!DOCTYPE e><Error><Code>SignatureDoesNotMatch</Code></Error>",
        '{"code": "SignatureDoesNotMatch"}',
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-16"])
def test_what_speaks_of_our_signature_is_found(document: str, coding: str) -> None:
    """
    Such a document in any form would show the client s3proxy's own string to sign.
    """
    assert blames_our_signature(read_error(document.encode(coding)))
    assert not blames_our_signature(
        read_error(document.replace("DoesNot", "Does").replace("DoesNot&#77;", "").encode(coding))
    )


def test_the_beginning_of_a_document_is_judged() -> None:
    """
    A document with a canonical request may be longer than the part that s3proxy reads.
    """
    begun = b"<Error><Code>SignatureDoesNotMatch</Code><CanonicalRequest>" + b"a" * 1000

    assert blames_our_signature(read_error(begun, is_whole=False))


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"<a/>")),
        ("X-GZIP", gzip.compress(b"<a/>")),
        ("deflate", zlib.compress(b"<a/>")),
        ("deflate", zlib.compress(b"<a/>", wbits=-15)),
        ("identity , gzip", gzip.compress(b"<a/>")),
        ("GZIP,identity", gzip.compress(b"<a/>")),
        ("deflate, gzip", gzip.compress(zlib.compress(b"<a/>", wbits=-15))),
        ("gzip, gzip", gzip.compress(gzip.compress(b"<a/>"))),
        ("", b"<a/>"),
        ("identity", b"<a/>"),
    ],
)
def test_a_compressed_document_is_read(coding: str, packed: bytes) -> None:
    """
    A proxy between s3proxy and the backend may compress what it relays; a document that was read is sent without its
    coding. With "deflate", some servers mean the format without zlib's header.
    """
    found = respond(200, content_encoding=coding, content_md5="x", etag="e", content_type="application/xml")

    for use in (ResponseUse.EDIT, ResponseUse.JUDGE, ResponseUse.CONVERT, ResponseUse.WATCH):
        assert read_content(packed, found, use, is_whole=True) == b"<a/>"
    kept = read_headers(found.headers)
    assert kept == [(b"etag", b"e"), (b"content-type", b"application/xml")]


@pytest.mark.parametrize(
    ("coding", "content"),
    [
        ("br", b"x"),
        ("br, gzip", gzip.compress(b"x")),
        ("aws-chunked", b"<a/>"),
        ("gzip, gzip, gzip", gzip.compress(gzip.compress(gzip.compress(b"<a/>")))),
        ("gzip, gzip", gzip.compress(gzip.compress(b" " * (MAX_NAMING_SIZE + 1)))),
        ("gzip", b"<a/>"),
        ("deflate", b"<a/>"),
        ("deflate", zlib.compress(b"<a/>", wbits=-15)[:-1]),
        ("gzip", gzip.compress(b"<a/>")[:-1]),
        ("gzip", gzip.compress(b"<a/>") + b"<b/>"),
        ("gzip", gzip.compress(b" " * (MAX_NAMING_SIZE + 1))),
    ],
)
def test_a_coding_which_hides_a_document(coding: str, content: bytes) -> None:
    """
    If the document must be edited, the response is refused; an error is sent without its document. Nothing grows beyond
    its limit.
    """
    found = respond(403, content_encoding=coding)

    with pytest.raises(InternalError):
        read_content(content, found, ResponseUse.EDIT, is_whole=True)
    assert read_content(content, found, ResponseUse.JUDGE, is_whole=True) == b""
    with pytest.raises(InternalError):
        read_content(content, found, ResponseUse.JUDGE, is_whole=False)


@pytest.mark.parametrize("use", [ResponseUse.EDIT, ResponseUse.CONVERT])
def test_a_document_which_is_too_large_is_refused(use: ResponseUse) -> None:
    """
    Sent unchanged it would name the backend; if it were cut, the client would take it for complete.
    """
    with pytest.raises(InternalError):
        read_content(b"<a>", respond(), use, is_whole=False)
    assert read_content(b"<a>", respond(403), ResponseUse.JUDGE, is_whole=False) == b"<a>"


def test_utf_16_is_no_longer_told() -> None:
    """
    A document that was read is in UTF-8. No other type is changed, nor a value that is not a type.
    """
    others = [(b"Content-Type", b"text/html; charset=utf-8"), (b"x-amz-meta-coding", b"UTF-16")]

    assert read_headers(others) == others
    assert read_headers([(b"Content-Type", b"application/xml; charset=UTF-16")]) == [
        (b"Content-Type", b"application/xml")
    ]
