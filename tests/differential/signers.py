"""
Random requests, signed by the most used signers: botocore and the AWS Common Runtime.
"""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from awscrt.auth import (
    AwsCredentialsProvider,
    AwsSignatureType,
    AwsSignedBodyHeaderType,
    AwsSignedBodyValue,
    AwsSigningAlgorithm,
    AwsSigningConfig,
    aws_sign_request,
)
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import (
    HmacV1Auth,
    HmacV1PostAuth,
    HmacV1QueryAuth,
    S3SigV4Auth,
    S3SigV4PostAuth,
    S3SigV4QueryAuth,
)
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.forms import multipart
from tests.support.harness import SERVER

KEY = SERVER["credentials"][0]
DOMAIN = "s3.example.test"
BOUNDARY = "=-boundary-of-the-differential-runs"

_LETTERS = "abcXYZ019" + "-_.~" * 2 + "/" * 4 + " +%&=?#;:,@!$'()*[]<>\"\\^`{|}" + "éß日\U0001f600"
_OVERRIDES = ("response-expires", "response-content-type")
_READS = {"": ("versionId", "partNumber", *_OVERRIDES), "acl": ("versionId",), "tagging": ("versionId",), "torrent": ()}
_OBJECT_OPERATIONS: dict[str, dict[str, tuple[str, ...]]] = {
    # By sub-resource, the other parameters that S3 accepts with it.
    "GET": {**_READS, "uploadId": ("max-parts", "part-number-marker")},
    "HEAD": {"": _READS[""]},
    "DELETE": {"": ("versionId",), "tagging": ("versionId",), "uploadId": ()},
}
_LISTING = ("prefix", "delimiter", "marker", "max-keys", "list-type", "start-after", "encoding-type")


@dataclass(frozen=True)
class Wire:
    """
    A request as its signer sends it.

    Attributes:
        fields: Fields of a form; the body is made of them and the file.
        signed: Lower-case names of the headers that the signature covers.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    fields: tuple[tuple[str, str], ...] = ()
    file: bytes = b""
    signed: frozenset[str] = field(default_factory=frozenset)
    is_v2: bool = False

    @property
    def is_form(self) -> bool:
        """
        Whether it is a browser's form.
        """
        return bool(self.fields)

    def encode(self) -> bytes:
        """
        Return its bytes.
        """
        body = multipart(self.fields, self.file, boundary=BOUNDARY) if self.is_form else self.body
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        if body or self.method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {len(body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body


@dataclass(frozen=True)
class Plain:
    """
    A request before it is signed.
    """

    method: str
    bucket: str
    key: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: bytes
    is_virtual_hosted: bool

    @property
    def host(self) -> str:
        """
        The authority that it is sent to.
        """
        return f"{self.bucket}.{DOMAIN}" if self.is_virtual_hosted else DOMAIN

    @property
    def raw_path(self) -> str:
        """
        The path, escaped as SDKs do it.
        """
        key = quote(self.key, safe="/~")
        if self.is_virtual_hosted:
            return f"/{key}"
        return f"/{self.bucket}/{key}" if key else f"/{self.bucket}"

    @property
    def url(self) -> str:
        """
        The URL with its query, escaped as SDKs do it.
        """
        items = [
            f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" if value else name for name, value in self.query
        ]
        return f"http://{self.host}{self.raw_path}" + ("?" + "&".join(items) if items else "")


def _text(rng: random.Random, most: int) -> str:
    return "".join(rng.choice(_LETTERS) for _ in range(rng.randrange(1, most)))


def make_plain(rng: random.Random) -> Plain:
    """
    Make a request of any kind that S3 supports.
    """
    bucket = "".join(rng.choice("abcxyz019-") for _ in range(rng.randrange(3, 12))).strip("-") + "b0"
    method = rng.choice(["GET", "GET", "HEAD", "PUT", "PUT", "PUT", "DELETE", "POST", "LIST"])
    key = _text(rng, 24)
    query: list[tuple[str, str]] = []
    body = b""
    headers = [("x-amz-meta-" + _word(rng), _text(rng, 20).strip() or "x") for _ in range(rng.randrange(3))]
    headers = [(name, "".join(c for c in value if c.isascii())) for name, value in headers]
    if method == "LIST":
        method, key = "GET", ""
        query = [(name, _text(rng, 10)) for name in rng.sample(_LISTING, rng.randrange(4))]
    elif method == "POST":
        query = [("uploads", "")]
    elif method == "PUT":
        body = rng.randbytes(rng.choice([0, 1, 100, 5000]))
        headers.append(("content-type", rng.choice(["text/plain", "image/png; charset=utf-8"])))
        if rng.random() < 0.3:
            query = [("partNumber", str(rng.randrange(1, 100))), ("uploadId", _word(rng))]
    else:
        subresource, others = rng.choice(list(_OBJECT_OPERATIONS[method].items()))
        query = [(subresource, _word(rng) if subresource == "uploadId" else "")] if subresource else []
        query += [(name, _text(rng, 10)) for name in rng.sample(others, rng.randrange(min(3, len(others) + 1)))]
        # A parameter that names a version or a part is never blank: S3 refuses that.
        query = [(name, "1" if name not in _OVERRIDES and value.isspace() else value) for name, value in query]
        rng.shuffle(query)
        if method == "GET" and rng.random() < 0.3:
            headers.append(("range", f"bytes={rng.randrange(100)}-"))
    if rng.random() < 0.3:
        headers.append(("x-amz-request-payer", "requester"))
    return Plain(method, bucket, key, tuple(query), tuple(dict(headers).items()), body, rng.random() < 0.3)


def _word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefgh019") for _ in range(rng.randrange(1, 9)))


def _md5(body: bytes) -> tuple[str, str]:
    return ("Content-MD5", base64.b64encode(hashlib.md5(body).digest()).decode())


# botocore


def _credentials() -> Credentials:
    return Credentials(KEY["access_key"], KEY["secret_key"])


def _prepared(plain: Plain, signer: Any, *, auth_path: str | None = None, is_v2: bool = False) -> Wire:
    headers = dict(plain.headers)
    # botocore takes the body of a presigned request for a further part of its query.
    content = b"" if isinstance(signer, S3SigV4QueryAuth) else plain.body
    request = AWSRequest(plain.method, plain.url, headers, content, auth_path=auth_path)
    signer.add_auth(request)
    prepared = request.prepare()
    url = urlsplit(prepared.url)
    target = url.path + (f"?{url.query}" if url.query else "")
    sent = [("Host", plain.host)]
    for name, value in prepared.headers.items():
        if name.lower() not in {"host", "content-length"}:
            sent.append((name, value.decode() if isinstance(value, bytes) else value))
    return Wire(plain.method, target, tuple(sent), plain.body, signed=_signed(sent, target), is_v2=is_v2)


def _signed(headers: list[tuple[str, str]], target: str) -> frozenset[str]:
    for name, value in headers:
        if name.lower() == "authorization" and "SignedHeaders=" in value:
            return frozenset(value.partition("SignedHeaders=")[2].partition(",")[0].split(";"))
    names = parse_qs(target.partition("?")[2]).get("X-Amz-SignedHeaders")
    if names:
        return frozenset(names[0].split(";"))
    return frozenset({"content-md5", "content-type", "date"})


def botocore_v4(rng: random.Random) -> Wire:
    """
    Signature V4 in a header.
    """
    return _prepared(make_plain(rng), S3SigV4Auth(_credentials(), "s3", "us-east-1"))


def botocore_v4_presigned(rng: random.Random) -> Wire:
    """
    Signature V4 in the query.
    """
    plain = make_plain(rng)
    if plain.method in {"PUT", "POST"}:
        plain = replace(plain, headers=(*plain.headers, _md5(plain.body)))
    return _prepared(plain, S3SigV4QueryAuth(_credentials(), "s3", "us-east-1", expires=rng.randrange(60, 604800)))


def _v2(rng: random.Random, signer: Any) -> Wire:
    plain = make_plain(rng)
    if plain.method in {"PUT", "POST"}:
        plain = replace(plain, headers=(*plain.headers, _md5(plain.body)))
    path = plain.raw_path
    if plain.is_virtual_hosted:
        path = f"/{plain.bucket}{path}"
    elif not plain.key:
        path += "/"
    return _prepared(plain, signer, auth_path=path, is_v2=True)


def botocore_v2(rng: random.Random) -> Wire:
    """
    Signature V2 in a header.
    """
    return _v2(rng, HmacV1Auth(_credentials()))


def botocore_v2_presigned(rng: random.Random) -> Wire:
    """
    Signature V2 in the query. Its URL may be used with the headers that were signed with it.
    """
    return _v2(rng, HmacV1QueryAuth(_credentials(), expires=rng.randrange(60, 10_000_000)))


def _form(rng: random.Random, signer: Any) -> Wire:
    key, file = _text(rng, 20), rng.randbytes(rng.choice([0, 1, 100, 5000]))
    while {".", ".."} & set(key.split("/")):
        # If the storage system resolves such segments, a form's key must not leave what its policy allows.
        key = _text(rng, 20)
    fields = {"key": key, "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(file).digest()).decode()}
    for name in rng.sample(["acl", "x-amz-meta-a", "Cache-Control", "success_action_status"], rng.randrange(4)):
        fields[name] = rng.choice(["private", "public-read", "201"])
    conditions: list[Any] = [{"bucket": "test-bucket"}]
    conditions += [{name: value} if rng.random() < 0.5 else ["eq", f"${name}", value] for name, value in fields.items()]
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    request = AWSRequest("POST", f"http://{DOMAIN}/test-bucket")
    request.context["s3-presign-post-fields"] = fields
    request.context["s3-presign-post-policy"] = {"expiration": expires_at, "conditions": conditions}
    signer.add_auth(request)
    signed = request.context["s3-presign-post-fields"]
    headers = (("Host", DOMAIN), ("Content-Type", f'multipart/form-data; boundary="{BOUNDARY}"'))
    return Wire("POST", "/test-bucket", headers, fields=tuple(signed.items()), file=file)


def botocore_v4_form(rng: random.Random) -> Wire:
    """
    A form with a policy signed with Signature V4.
    """
    return _form(rng, S3SigV4PostAuth(_credentials(), "s3", "us-east-1"))


def botocore_v2_form(rng: random.Random) -> Wire:
    """
    A form with a policy signed with Signature V2.
    """
    return _form(rng, HmacV1PostAuth(_credentials()))


# The AWS Common Runtime

_PROVIDER = AwsCredentialsProvider.new_static(KEY["access_key"], KEY["secret_key"])


def _crt(rng: random.Random, algorithm: AwsSigningAlgorithm) -> Wire:
    plain = make_plain(rng)
    is_query = rng.random() < 0.3
    if plain.method in {"PUT", "POST"} and is_query:
        plain = replace(plain, headers=(*plain.headers, _md5(plain.body)))
    url = urlsplit(plain.url)
    path = url.path + (f"?{url.query}" if url.query else "")
    request = HttpRequest(plain.method, path, HttpHeaders([("Host", plain.host), *plain.headers]))
    payload = AwsSignedBodyValue.UNSIGNED_PAYLOAD if is_query else hashlib.sha256(plain.body).hexdigest()
    config = AwsSigningConfig(
        algorithm=algorithm,
        signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS
        if is_query
        else AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=_PROVIDER,
        region="us-east-1" if algorithm is AwsSigningAlgorithm.V4 else rng.choice(["*", "us-*", "us-east-1,eu-west-1"]),
        service="s3",
        date=datetime.now(UTC),
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=payload,
        signed_body_header_type=AwsSignedBodyHeaderType.NONE
        if is_query
        else AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256,
        expiration_in_seconds=rng.randrange(60, 604800) if is_query else None,
    )
    aws_sign_request(request, config).result()
    sent = list(request.headers)
    return Wire(plain.method, request.path, tuple(sent), plain.body, signed=_signed(sent, request.path))


def crt_v4(rng: random.Random) -> Wire:
    """
    Signature V4 in a header or in the query.
    """
    return _crt(rng, AwsSigningAlgorithm.V4)


def crt_v4a(rng: random.Random) -> Wire:
    """
    SigV4A in a header or in the query.
    """
    return _crt(rng, AwsSigningAlgorithm.V4_ASYMMETRIC)


SIGNERS: dict[str, Callable[[random.Random], Wire]] = {
    signer.__name__: signer
    for signer in (
        botocore_v4,
        botocore_v4_presigned,
        botocore_v2,
        botocore_v2_presigned,
        botocore_v4_form,
        botocore_v2_form,
        crt_v4,
        crt_v4a,
    )
}
