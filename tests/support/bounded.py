"""
Readers of foreign input, and inputs that cost them as much as possible: the limit of what each may cost.

A row names one reader. Its shapes make an input of any size. `test_bounded_work` doubles the size up to the row's limit
and measures how time and memory grow. A new reader of what a client or a backend writes gets a row here.
"""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import Realm
from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.frontend.forwarded import Origin, believed_origin
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderReader, WrongProxyHeader
from s3proxy.mending.deletions import read_deletions
from s3proxy.postobject.form import FieldsDecoder, FileDecoder
from s3proxy.postobject.policy import parse_policy
from s3proxy.s3.address import decode_path, parse_address
from s3proxy.s3.credential import Credential
from s3proxy.s3.date import parse_date
from s3proxy.s3.document import parse_document
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import S3Error
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import Fields, parse_request_head, parse_response_head
from s3proxy.s3.limits import (
    KIB,
    MAX_HEAD_SIZE,
    MAX_POST_FIELDS_SIZE,
    MAX_PROXY_HEADER_SIZE,
    MAX_REQUEST_LINE_SIZE,
    MAX_XML_BODY_SIZE,
)
from s3proxy.s3.masking import mask_credentials
from s3proxy.s3.payload import EMPTY_SHA256
from s3proxy.s3.query import query_items, query_names
from s3proxy.sigv2.authorization import V2Claim
from s3proxy.sigv2.verifier import check_signature as check_v2_signature
from s3proxy.sigv4.asymmetric import VerifyingKeys, region_set_matches
from s3proxy.sigv4.canonical import canonical_query, canonical_uri
from s3proxy.sigv4.claims import SignatureClaim
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.sigv4.verifier import check_signature
from tests.frontend.proxy_headers import extension, header_v2
from tests.support.harness import NOW

Shape = Callable[[int], bytes]
"""
Makes an input of about the given number of bytes.
"""

GROWTH = 2 * 1.3
"""
Maximum factor by which the cost may grow when the input doubles. Quadratic work costs four times as much.
"""

DOUBLINGS = 3

NOISE = 0.0005
"""
Seconds. Below this the machine is measured, not the reader.
"""

COARSE = 0.4
"""
Maximum seconds for the largest input of any row: nothing else is served meanwhile. This catches growth out of all
proportion, and does not measure speed: each row stays far below it.
"""


@dataclass(frozen=True)
class Row:
    """
    One reader.

    Attributes:
        read: Called with an input. An S3Error is as good as any other result.
        limit: Bytes of the largest input that reaches the reader.
        memory: Maximum bytes that it may hold at its peak, for each byte of the input.
        shapes: Inputs, by name.
    """

    name: str
    read: Callable[[bytes], Any]
    limit: int
    memory: float
    shapes: Mapping[str, Shape] = field(default_factory=dict)


def work(row: Row, data: bytes) -> float:
    """
    Return the CPU seconds of one reading.
    """
    began = process_time()
    _read(row, data)
    return process_time() - began


def growth(row: Row, shape: Shape) -> list[float]:
    """
    Return the CPU seconds for the last doublings up to the limit: for each size the least of several readings. Measure
    until the growth is within bounds, or clearly is not.
    """
    inputs = [shape(row.limit >> halved) for halved in range(DOUBLINGS, -1, -1)]
    least = [float("inf")] * len(inputs)
    for turn in range(12):
        for place, data in enumerate(inputs):
            least[place] = min(least[place], work(row, data))
        if turn >= 2 and not excess(least):
            break
    return least


def excess(seconds: list[float]) -> str:
    """
    Describe how a series of seconds grows faster than its input; empty if it does not.
    """
    if seconds[-1] > COARSE:
        return f"{seconds[-1]:.3f} s for one input"
    allowed = max(seconds[0], NOISE) * GROWTH ** (len(seconds) - 1)
    if seconds[-1] > allowed:
        return f"{len(seconds) - 1} doublings: {' '.join(f'{each * 1000:.2f}' for each in seconds)} ms"
    return ""


def peak(row: Row, data: bytes) -> int:
    """
    Return the maximum bytes that one reading holds, without its input.
    """
    tracemalloc.start()
    try:
        _read(row, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _read(row: Row, data: bytes) -> Any:
    try:
        # The returned value lives until the end of this call, so it counts.
        return row.read(data)
    except (S3Error, WrongProxyHeader):
        return None


# Readers that need more than one function


KEY, SECRET = b"AKIAIOSFODNN7EXAMPLE", "a secret of nobody"
REALM = Realm(domains=(b"s3.example.test",))
DATE = NOW.strftime("%Y%m%dT%H%M%SZ").encode()
DAY = DATE[:8]


def judge(data: bytes) -> bytes:
    """
    Process a request's head until its signature is found to be wrong, and write the error.
    """
    try:
        _judge(data)
    except S3Error as error:
        return error_document(error, "0" * 16, "s3proxy")
    return b""


def _judge(data: bytes) -> None:
    head = parse_request_head(data)
    address = parse_address(head.raw_path, head.host, REALM.domains)
    claim = read_claim(head, address, REALM, NOW)
    if isinstance(claim, SignatureClaim):
        check_signature(claim, Credential("", (SECRET,)), SigningKeys(1), VerifyingKeys(1))
    elif isinstance(claim, V2Claim):
        check_v2_signature(claim, [SECRET])


def decode_chunks(data: bytes) -> None:
    """
    Decode an aws-chunked body without signatures.
    """
    digests = parse_body_digests(Fields({b"x-amz-trailer": [b"x-amz-checksum-crc32"]}), has_trailer=True)
    decoder = AwsChunkedDecoder(len(data), digests, has_trailer=True, min_chunk_size=1)
    decoder.feed(data)
    decoder.finish()


def decode_chunks_bytewise(data: bytes) -> None:
    """
    The same, with the network delivering one byte at a time.
    """
    digests = parse_body_digests(Fields({b"x-amz-trailer": [b"x-amz-checksum-crc32"]}), has_trailer=True)
    decoder = AwsChunkedDecoder(len(data), digests, has_trailer=True, min_chunk_size=1)
    for at in range(len(data)):
        decoder.feed(data[at : at + 1])
    decoder.finish()


def decode_transfer(data: bytes) -> None:
    """
    Decode chunked transfer coding.
    """
    framing = ChunkedFraming()
    framing.feed(data)


def decode_transfer_bytewise(data: bytes) -> None:
    """
    The same, one byte at a time.
    """
    framing = ChunkedFraming()
    for at in range(len(data)):
        framing.feed(data[at : at + 1])
        if framing.fault is not None or framing.is_complete:
            break


BOUNDARY = b"boundary"


def read_form(data: bytes) -> None:
    """
    Read a form, its fields and what follows.
    """
    fields = FieldsDecoder(BOUNDARY)
    rest = fields.feed(data)
    if rest is not None:
        FileDecoder(BOUNDARY).feed(rest)


def read_form_bytewise(data: bytes) -> None:
    """
    The same, one byte at a time.
    """
    fields = FieldsDecoder(BOUNDARY)
    file = FileDecoder(BOUNDARY)
    in_file = False
    for at in range(len(data)):
        piece = data[at : at + 1]
        if in_file:
            file.feed(piece)
        else:
            in_file = fields.feed(piece) is not None


def judge_policy(data: bytes) -> None:
    """
    Read a policy, and check the largest fields against it.
    """
    fields = {b"key": b"k" * 1024, b"content-type": b"text/a," * (KIB // 7), b"bucket": b"b"}
    parse_policy(base64.b64encode(data)).check(fields, NOW)


def judge_content_type(data: bytes) -> None:
    """
    Check a Content-Type of many items against a policy of many conditions.
    """
    conditions = ",".join(f'["starts-with","$content-type","{"a" * (number % 40)}"]' for number in range(200))
    text = f'{{"expiration":"2030-01-01T00:00:00Z","conditions":[{conditions}]}}'
    parse_policy(base64.b64encode(text.encode())).check({b"content-type": data}, NOW)


def believe_forwarded(kind: str) -> Callable[[bytes], None]:
    """
    Return a reader of what a listed proxy says in the headers of one kind.
    """
    trust = Trust(peers=Peers(["127.0.0.0/8"]), forwarded=kind)

    def read(data: bytes) -> None:
        head = parse_request_head(b"GET / HTTP/1.1\r\nHost: s3.example.test\r\n" + data)
        believed_origin(head, trust, Origin("127.0.0.1", b"http"))

    return read


def read_proxy_header(data: bytes) -> None:
    """
    Read a PROXY header one byte at a time.
    """
    reader = ProxyHeaderReader()
    for at in range(len(data)):
        if reader.feed(data[at : at + 1]) is not None:
            break


# Shapes


def repeated(unit: bytes, before: bytes = b"", after: bytes = b"") -> Shape:
    """
    Return a shape that repeats one unit.
    """
    return lambda size: before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def numbered(unit: str, before: bytes = b"", after: bytes = b"", count: int | None = None) -> Shape:
    """
    Return a shape that repeats one unit, each time with another number in place of ``{}``.
    """

    def shape(size: int) -> bytes:
        room = size - len(before) - len(after)
        units = []
        number = 0
        while room > 0 and (count is None or number < count):
            units.append(unit.replace("{}", f"{number:x}").encode())
            room -= len(units[-1])
            number += 1
        return before + b"".join(units) + after

    return shape


def lines(unit: str) -> bytes:
    """
    Return as many header lines as pass.
    """
    return "".join(unit.replace("{}", f"{number:x}") for number in range(240)).encode()


_REQUEST = b"GET /b/k HTTP/1.1\r\nHost: s3.example.test\r\n"
_SIGNED_REQUEST = b"%bx-amz-date: %b\r\nx-amz-content-sha256: %b\r\n" % (_REQUEST, DATE, EMPTY_SHA256)
_CREDENTIAL = b"Credential=%b/%b/us-east-1/s3/aws4_request" % (KEY, DAY)
_V4 = _SIGNED_REQUEST + b"Authorization: AWS4-HMAC-SHA256 "
_V4_SIGNED = b"%b%b,SignedHeaders=host;x-amz-date" % (_V4, _CREDENTIAL)
_V4_END = b",Signature=" + b"0" * 64
_QUERY = (
    b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%b%%2F%b%%2Fus-east-1%%2Fs3%%2Faws4_request&X-Amz-Date=%b"
    b"&X-Amz-Expires=600&X-Amz-Signature=0&X-Amz-SignedHeaders=host" % (KEY, DAY, DATE)
)
_QUERY_END = b" HTTP/1.1\r\nHost: s3.example.test"
_V2_QUERY = b"GET /b/k?AWSAccessKeyId=%b&Expires=4000000000&Signature=x" % KEY
_V2_HEADER = b"%bDate: %b\r\n" % (_REQUEST, b"Sun, 01 Mar 2026 12:00:00 GMT")
_V2_END = b"Authorization: AWS %b:x" % KEY
_V4A = (
    b"%bx-amz-region-set: " % _SIGNED_REQUEST,
    b"\r\nAuthorization: AWS4-ECDSA-P256-SHA256 Credential=%b/%b/s3/aws4_request,"
    b"SignedHeaders=host;x-amz-date;x-amz-region-set,Signature=00" % (KEY, DAY),
)
_OK = b"HTTP/1.1 200 OK\r\n"
_PART = b'--boundary\r\nContent-Disposition: form-data; name="'
_POLICY = b'{"expiration":"2030-01-01T00:00:00Z","conditions":['
_ZERO_CHUNK = b"0\r\n"


def _of_lines(shape: Shape, *, ends: bool = True) -> Shape:
    # The last line of a head has no line end of its own.
    return lambda size: shape(size).removesuffix(b"\r\n") if ends else shape(size)


ROWS = [
    Row(
        "request head",
        parse_request_head,
        MAX_HEAD_SIZE,
        40,
        {
            "one value": repeated(b"a", _REQUEST + b"a:"),
            "white space": repeated(b" \t", _REQUEST + b"a:", b"b"),
            "white space before a colon": repeated(b" ", _REQUEST + b"a", b":b"),
            "one name": repeated(b"a", _REQUEST),
            "short lines": _of_lines(repeated(b"a:\r\n", _REQUEST)),
            "long lines": lambda size: (
                _REQUEST + b"\r\n".join([b"a%d:%b" % (n, b"b" * (size // 250)) for n in range(240)])
            ),
            "one name, many lines": lambda size: _REQUEST + b"\r\n".join([b"a:" + b"b" * (size // 250)] * 240),
            "line ends": repeated(b"\r\n", _REQUEST),
            "bare carriage returns": repeated(b"\r", _REQUEST),
            "tokens of Connection": repeated(b"a,", _REQUEST + b"Connection: "),
            "a target": repeated(b"/", b"GET ", b" HTTP/1.1\r\nHost: s3.example.test"),
            "an absolute target": repeated(b":", b"GET http://", b" HTTP/1.1\r\nHost: s3.example.test"),
            "spaces": repeated(b" ", b"GET "),
            "a method": repeated(b"A"),
            "a length": repeated(b"0", _REQUEST + b"Content-Length: "),
            "lengths": lambda size: _REQUEST + b"\r\n".join([b"Content-Length: 1"] * min(size // 20, 250)),
        },
    ),
    Row(
        "response head",
        parse_response_head,
        MAX_HEAD_SIZE,
        40,
        {
            "one value": repeated(b"a", _OK + b"a:"),
            "short lines": _of_lines(repeated(b"a:\r\n", _OK)),
            "a reason": repeated(b"a", b"HTTP/1.1 200 "),
            "tokens of Connection": repeated(b"a,", _OK + b"Connection: "),
            "line ends": repeated(b"\r\n", _OK),
        },
    ),
    Row(
        "SignedHeaders",
        judge,
        MAX_HEAD_SIZE,
        50,
        {
            "names": numbered(";{}", _V4_SIGNED, _V4_END),
            "one name again": repeated(b";a", _V4_SIGNED, _V4_END),
            "no names": repeated(b";", _V4_SIGNED, _V4_END),
            "as many as pass, and long": lambda size: (
                _V4_SIGNED + b"".join([b";%b%d" % (b"a" * (size // 256 - 4), n) for n in range(250)]) + _V4_END
            ),
            "one name again, of a long value": lambda size: (
                _V4_SIGNED + b";a" * 250 + _V4_END + b"\r\na:" + b"b" * (size - 1200)
            ),
            "names which are sent": lambda size: (
                _SIGNED_REQUEST
                + lines("x-amz-{}:" + "b" * (size // 300) + "\r\n")
                + b"Authorization: AWS4-HMAC-SHA256 %b,SignedHeaders=host;x-amz-date;" % _CREDENTIAL
                + b";".join(b"x-amz-%x" % n for n in range(240))
                + _V4_END
            ),
        },
    ),
    Row(
        "Authorization",
        judge,
        MAX_HEAD_SIZE,
        70,
        {
            "components": numbered("{}=,", _V4),
            "one component": repeated(b"a=b,", _V4),
            "commas": repeated(b",", _V4),
            "white space": repeated(b" ", _V4, b"Credential="),
            "white space within": repeated(b" ", _V4 + b"Credential=a", b","),
            "a name": repeated(b"a", _V4),
            "slashes of a credential": repeated(
                b"/", _V4 + b"Credential=", b",SignedHeaders=host;x-amz-date,Signature=0"
            ),
            "a key": repeated(
                b"a", _V4 + b"Credential=", b"/%b/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0" % DAY
            ),
            "a signature": repeated(b"0", _V4_SIGNED + b",Signature="),
            "V2 spaces": repeated(b" ", _V2_HEADER + b"Authorization: AWS ", b"a"),
            "V2 colons": repeated(b":", _V2_HEADER + b"Authorization: AWS ", b"a"),
            "regions": numbered("{},", *_V4A),
            "patterns of regions": repeated(b"*a,", *_V4A),
            "one pattern of a region": repeated(b"*a", *_V4A),
            "a value's white space": repeated(b"a ", _V4_SIGNED + b";a" + _V4_END + b"\r\na:"),
            "a date": repeated(
                b"0", _REQUEST + b"x-amz-content-sha256: UNSIGNED-PAYLOAD\r\nx-amz-date: ", b"\r\n" + _V2_END
            ),
        },
    ),
    Row(
        "a presigned query of V4",
        judge,
        MAX_REQUEST_LINE_SIZE,
        140,
        {
            "parameters": numbered("&{}", b"GET /b/k?" + _QUERY, _QUERY_END),
            "one parameter": repeated(b"&b", b"GET /b/k?" + _QUERY, _QUERY_END),
            "separators": repeated(b"&", b"GET /b/k?" + _QUERY, _QUERY_END),
            "escapes": repeated(b"%41", b"GET /b/k?%b&a=" % _QUERY, _QUERY_END),
            "escaped names": repeated(b"&%41", b"GET /b/k?" + _QUERY, _QUERY_END),
            "what must be escaped": repeated(b"!", b"GET /b/k?%b&a=" % _QUERY, _QUERY_END),
            "bytes above ASCII": repeated(b"\xc3\xa9", b"GET /b/k?%b&a=" % _QUERY, _QUERY_END),
            "signed names": numbered("%3B{}", b"GET /b/k?" + _QUERY, _QUERY_END),
            "signed names which are parameters": repeated(
                b"&b", b"GET /b/k?%b%b" % (_QUERY, b"".join(b";%x" % n for n in range(250))), _QUERY_END
            ),
            "one signed name, many parameters": repeated(b"&b=%41", b"GET /b/k?%b;b" % _QUERY, _QUERY_END),
            "a path": repeated(b"%c3%a9", b"GET /b/", b"?%b%b" % (_QUERY, _QUERY_END)),
            "expires": repeated(
                b"9", b"GET /b/k?%b&X-Amz-Expires=" % _QUERY.replace(b"&X-Amz-Expires=600", b""), _QUERY_END
            ),
        },
    ),
    Row(
        "a query of V2",
        judge,
        MAX_REQUEST_LINE_SIZE,
        110,
        {
            "parameters": numbered("&{}", _V2_QUERY, _QUERY_END),
            "sub-resources": repeated(b"&acl", _V2_QUERY, _QUERY_END),
            "sub-resources with values": repeated(b"&versionId=%41", _V2_QUERY, _QUERY_END),
            "separators": repeated(b"&", _V2_QUERY, _QUERY_END),
            "headers": numbered("&x-amz-{}=b", _V2_QUERY, _QUERY_END),
            "one header": repeated(b"&x-amz-a=b", _V2_QUERY, _QUERY_END),
            "a path": repeated(b"%41", b"GET /b/", _V2_QUERY.removeprefix(b"GET /b/k") + _QUERY_END),
            "expires": repeated(b"9", _V2_QUERY.replace(b"&Expires=4000000000", b"") + b"&Expires=", _QUERY_END),
        },
    ),
    Row(
        "headers under V2",
        judge,
        MAX_HEAD_SIZE,
        30,
        {
            "amz lines": lambda size: _V2_HEADER + lines("x-amz-{}:" + "b" * (size // 260) + "\r\n") + _V2_END,
            "one amz line": lambda size: _V2_HEADER + lines("x-amz-a:" + "b" * (size // 260) + "\r\n") + _V2_END,
        },
    ),
    Row(
        "query",
        lambda data: (query_items(data), query_names(data), canonical_query(data)),
        MAX_REQUEST_LINE_SIZE,
        180,
        {
            "separators": repeated(b"&"),
            "names": repeated(b"a&"),
            "other names": numbered("{}&"),
            "pairs": repeated(b"a=b&"),
            "equals": repeated(b"="),
            "escapes": repeated(b"%41"),
            "broken escapes": repeated(b"%4"),
            "percent": repeated(b"%"),
            "plus": repeated(b"+"),
            "falling": lambda size: b"&".join(b"%08x" % n for n in range(size // 9, 0, -1)),
        },
    ),
    Row(
        "path",
        lambda data: (canonical_uri(data), decode_path(data), parse_address(data, b"s3.example.test", ())),
        MAX_REQUEST_LINE_SIZE,
        130,
        {
            "slashes": repeated(b"/"),
            "escaped slashes": repeated(b"%2F", b"/"),
            "escapes": repeated(b"%c3%a9", b"/b/"),
            "bytes": repeated(b"\xc3\xa9", b"/b/"),
            "percent": repeated(b"%", b"/b/"),
        },
    ),
    Row(
        "a set of regions",
        lambda data: region_set_matches(data, (b"us-east-1", b"eu-central-1")),
        MAX_HEAD_SIZE,
        30,
        {
            "asterisks": repeated(b"*"),
            "pieces": repeated(b"*a"),
            "entries": repeated(b"u*1,"),
            "commas": repeated(b","),
            "nearly": repeated(b"us-east-*", b"", b"x"),
        },
    ),
    Row(
        "date",
        parse_date.__wrapped__,
        MAX_HEAD_SIZE,
        4,
        {
            "digits": repeated(b"0"),
            "spaces": repeated(b" ", b"Sun,"),
            "spaces of asctime": repeated(b" ", b"Sun Mar", b"1 12:00:00 2026"),
            "letters": repeated(b"S"),
            "days": repeated(b"Sun, "),
            "zones": repeated(b"0", b"Sun, 01 Mar 2026 12:00:00 +"),
        },
    ),
    Row(
        "masking",
        mask_credentials,
        MAX_HEAD_SIZE,
        100,
        {
            "escapes of escapes": repeated(b"25", b"%"),
            "escapes": repeated(b"%2525252541"),
            "items": repeated(b"a&", b"token"),
            "separators": repeated(b"&", b"token"),
            "escaped items": repeated(b"%2525252541&", b"token"),
            "names": repeated(b"signature"),
            "pairs": repeated(b"signature=a&"),
            "names and white space": repeated(b"%20", b"signature"),
            "names, each with white space": repeated(b"signature%20"),
            "nearly names": repeated(b"security-"),
            "tokens": numbered("token{}&"),
            "a URL within a URL": repeated(b"http://a/?u="),
        },
    ),
    Row(
        "form",
        read_form,
        MAX_POST_FIELDS_SIZE,
        120,
        {
            "fields": numbered('{}"\r\n\r\nv\r\n--boundary\r\nContent-Disposition: form-data; name="', _PART),
            "one field": repeated(b"v", _PART + b'a"\r\n\r\n'),
            "nearly delimiters": repeated(b"\r\n--boundar", _PART + b'a"\r\n\r\n'),
            "line ends": repeated(b"\r\n", _PART + b'a"'),
            "headers": repeated(b"a:b\r\n", b"--boundary\r\n"),
            "parameters": numbered(";{}=a", b"--boundary\r\nContent-Disposition: form-data", b"\r\n\r\n"),
            "an open quotation": repeated(b'\\"', b'--boundary\r\nContent-Disposition: form-data; name="', b"\r\n\r\n"),
            "semicolons": repeated(b"; ", b"--boundary\r\nContent-Disposition: form-data", b"\r\n\r\n"),
            "names without values": repeated(b";a", b"--boundary\r\nContent-Disposition: form-data", b"\r\n\r\n"),
            "preamble": repeated(b"\r\n--b"),
        },
    ),
    Row(
        "form, byte by byte",
        read_form_bytewise,
        MAX_POST_FIELDS_SIZE,
        4,
        {
            "one field": repeated(b"v", _PART + b'a"\r\n\r\n'),
            "nearly delimiters": repeated(b"\r\n--boundar", _PART + b'a"\r\n\r\n'),
            "a file": repeated(b"v", _PART + b'file"; filename="f"\r\n\r\n'),
            "a file of nearly delimiters": repeated(b"\r\n--boundar", _PART + b'file"; filename="f"\r\n\r\n'),
        },
    ),
    Row(
        "policy",
        judge_policy,
        MAX_POST_FIELDS_SIZE,
        50,
        {
            "conditions": repeated(b'{"key":"a"},', _POLICY, b"0]}"),
            "prefixes of a type": repeated(b'["starts-with","$content-type",""],', _POLICY, b'["eq","$a","b"]]}'),
            "depth": repeated(b"[", _POLICY),
            "depth of objects": repeated(b'{"a":', _POLICY),
            "a number": repeated(b"9", _POLICY + b'["content-length-range",0,', b"]]}"),
            "a fraction": repeated(b"9", _POLICY + b'["content-length-range",0,0.', b"]]}"),
            "escapes": repeated(b"\\u0041", _POLICY + b'{"key":"', b'"}]}'),
            "surrogates": repeated(b"\\ud800", _POLICY + b'{"key":"', b'"}]}'),
            "names": numbered('"{}":"",', b"{", b'"a":""}'),
            "white space": repeated(b" ", _POLICY, b"]}"),
            "quotation marks": repeated(b'"'),
        },
    ),
    Row(
        "Content-Type under a policy",
        judge_content_type,
        MAX_POST_FIELDS_SIZE,
        40,
        {"items": repeated(b"a" * 40 + b","), "short items": repeated(b"a,"), "commas": repeated(b",")},
    ),
    Row(
        "document",
        parse_document,
        MAX_XML_BODY_SIZE,
        2,
        {
            "elements": repeated(b"<a/>", b"<a>", b"</a>"),
            "names": numbered("<n{}/>", b"<a>", b"</a>"),
            "depth": repeated(b"<a>"),
            "attributes": numbered('a{}="" ', b"<a ", b"/>"),
            "one attribute": repeated(b"x", b'<a b="', b'"/>'),
            "line ends in an attribute": repeated(b"\n", b'<a b="', b'"/>'),
            "name spaces": numbered('<b xmlns:x{}="u"/>', b"<a>", b"</a>"),
            "a name": repeated(b"a", b"<"),
            "text": repeated(b"x", b"<a>", b"</a>"),
            "line ends": repeated(b"\r\n", b"<a>", b"</a>"),
            "references": repeated(b"&amp;", b"<a>", b"</a>"),
            "CDATA": repeated(b"x", b"<a><![CDATA[", b"]]></a>"),
            "ends of CDATA": repeated(b"]]", b"<a><![CDATA[", b"]]></a>"),
            "sections": repeated(b"<![CDATA[x]]>", b"<a>", b"</a>"),
            "one comment": repeated(b"x", b"<a><!--", b"--></a>"),
            "comments": repeated(b"<!---->", b"<a>", b"</a>"),
            "instructions": repeated(b"<?x?>", b"", b"<a/>"),
            "less than": repeated(b"<"),
            "entities": repeated(b'<!ENTITY a "b">', b"<!DOCTYPE a [", b"]><a/>"),
        },
    ),
    Row(
        "document of DeleteObjects",
        read_deletions,
        MAX_XML_BODY_SIZE,
        3,
        {
            "objects": repeated(b"<Object><Key>k</Key></Object>", b"<Delete>", b"</Delete>"),
            "a key": repeated(b"k", b"<Delete><Object><Key>", b"</Key></Object></Delete>"),
            "keys of one object": repeated(b"<Key>k</Key>", b"<Delete><Object>", b"</Object></Delete>"),
            "the longest keys": lambda size: (
                b"<Delete>%b</Delete>" % (b"<Object><Key>%b</Key></Object>" % (b"k" * (size // 1000 - 32)) * 1000)
            ),
        },
    ),
    Row(
        "aws-chunked",
        decode_chunks,
        64 * KIB,
        50,
        {
            "chunks of one byte": repeated(b"1\r\na\r\n"),
            "a header without an end": repeated(b"0"),
            "white space": repeated(b" ", b"1"),
            "line ends": repeated(b"\r\n"),
            "line ends after the end": repeated(b"\r\n", _ZERO_CHUNK),
            "trailers": numbered("a{}:b\r\n", _ZERO_CHUNK),
            "one trailer": repeated(b"x-amz-checksum-crc32:AAAAAA==\r\n", _ZERO_CHUNK),
            "a trailer's white space": repeated(b" ", _ZERO_CHUNK + b"a:"),
        },
    ),
    Row(
        "aws-chunked, byte by byte",
        decode_chunks_bytewise,
        32 * KIB,
        4,
        {
            "chunks of one byte": repeated(b"1\r\na\r\n"),
            "a header without an end": repeated(b"0", b"1" * 16 + b";"),
            "a long chunk": repeated(b"a", b"100000\r\n"),
            "a trailer": repeated(b"a", _ZERO_CHUNK),
            "line ends after the end": repeated(b"\r\n", _ZERO_CHUNK),
        },
    ),
    Row(
        "transfer chunks",
        decode_transfer,
        64 * KIB,
        70,
        {
            "chunks of one byte": repeated(b"1\r\na\r\n"),
            "extensions": repeated(b"1;a=b\r\na\r\n"),
            "a line without an end": repeated(b"0"),
            "an extension without an end": repeated(b"a", b"1;"),
            "trailers": numbered("a{}:b\r\n", _ZERO_CHUNK),
            "a trailer without an end": repeated(b"a", _ZERO_CHUNK),
            "what comes after it": repeated(b"a", b"0\r\n\r\n"),
        },
    ),
    Row(
        "transfer chunks, byte by byte",
        decode_transfer_bytewise,
        32 * KIB,
        8,
        {
            "chunks of one byte": repeated(b"1\r\na\r\n"),
            "a long chunk": repeated(b"a", b"100000\r\n"),
            "an extension": repeated(b"a", b"1;"),
            "trailers": numbered("a{}:b\r\n", _ZERO_CHUNK),
            "a trailer without an end": repeated(b"a", _ZERO_CHUNK),
        },
    ),
    Row(
        "digests",
        lambda data: parse_body_digests(Fields({b"x-amz-trailer": [data]}), has_trailer=True),
        MAX_HEAD_SIZE,
        20,
        {
            "commas": repeated(b","),
            "names": repeated(b"x-amz-checksum-crc32,"),
            "white space": repeated(b" ", b"x-amz-checksum-crc32,"),
        },
    ),
    Row(
        "digest",
        lambda data: parse_body_digests(Fields({b"x-amz-checksum-crc32": [data]})),
        MAX_HEAD_SIZE,
        4,
        {"base64": repeated(b"A"), "padding": repeated(b"=")},
    ),
    Row(
        "PROXY header",
        read_proxy_header,
        MAX_PROXY_HEADER_SIZE,
        6,
        {
            "a line": repeated(b"1", b"PROXY TCP4 "),
            "extensions": lambda size: header_v2(0x21, 0x11, bytes(12) + extension(4, b"") * ((size - 28) // 3)),
            "one extension": lambda size: header_v2(0x21, 0x11, bytes(12) + extension(4, b"a" * (size - 31))),
        },
    ),
    Row(
        "Forwarded",
        believe_forwarded("forwarded"),
        MAX_HEAD_SIZE,
        110,
        {
            "elements": repeated(b"for=127.0.0.1,", b"Forwarded: "),
            "pairs": numbered("a{}=b;", b"Forwarded: "),
            "separators": repeated(b";", b"Forwarded: "),
            "commas": repeated(b",", b"Forwarded: "),
            "white space": repeated(b" ", b"Forwarded: ", b"x"),
            "an open quotation": repeated(b'\\"', b'Forwarded: for="'),
            "a token": repeated(b"a", b"Forwarded: "),
        },
    ),
    Row(
        "X-Forwarded-For",
        believe_forwarded("x-forwarded"),
        MAX_HEAD_SIZE,
        40,
        {
            "addresses": repeated(b"127.0.0.1,", b"X-Forwarded-For: ", b"127.0.0.1"),
            "commas": repeated(b",", b"X-Forwarded-For: "),
            "dots": repeated(b".", b"X-Forwarded-For: "),
            "colons": repeated(b":", b"X-Forwarded-For: ["),
        },
    ),
]
