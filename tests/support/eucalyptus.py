"""
Requests to the Eucalyptus family through s3proxy, and what their backend gets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.sigv2.canonical import canonical_resource
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import Response
from tests.support.harness import BACKEND_KEY, NOW, SERVER, Harness
from tests.support.signer import EMPTY, Signer

W, B, G = "walrus-3.4", "walrusbackend-4.x", "osg-4.3"
FAMILY = (W, B, G)
KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
EMPTY_MD5 = hashlib.md5(b"").hexdigest()
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
EXPIRES = int(NOW.timestamp()) + 600
DOMAIN = "s3.example.test"
CARRIERS = ("V4 header", "V4 query", "V2 header", "V2 query")
STYLES = ("path", "virtual-hosted")
Headers = Sequence[tuple[str, str]]


def _joined(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        found[name.lower()] = f"{found[name.lower()]},{value}" if name.lower() in found else value
    return found


def in_style(target: str, style: str) -> tuple[str, str]:
    """
    Return host and target: the bucket is the host's first label in virtual-hosted style.
    """
    path, mark, query = target.partition("?")
    if style == "path" or path.startswith("//") or path == "/":
        return DOMAIN, target
    bucket, _, rest = path[1:].partition("/")
    return f"{unquote_plus(bucket)}.{DOMAIN}", f"/{rest}{mark}{query}"


def request(method: str, target: str, headers: Headers = (), carrier: str = CARRIERS[0], style: str = "path") -> bytes:
    """
    Return a signed head. If the carrier is a query, ``x-amz-*`` headers are parameters.
    """
    host, target = in_style(target, style)
    amz = [(name, value) for name, value in headers if name.lower().startswith("x-amz-")]
    if carrier.endswith("query"):
        parameters = [f"{name}={quote(value, safe='')}" for name, value in amz]
        target = "&".join([target if "?" in target or not parameters else f"{target}?", *parameters])
        target = target.replace("?&", "?")
        headers = [header for header in headers if header not in amz]
    sign = {"V4 header": _v4, "V4 query": _v4_query, "V2 header": _v2, "V2 query": _v2_query}[carrier]
    target, lines = sign(method, target, headers, host)
    if method in {"PUT", "POST"}:
        lines.append(("Content-Length", "0"))
    text = "".join(f"{name}: {value}\r\n" for name, value in [("Host", host), *lines])
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode()


def _v4(method: str, target: str, headers: Headers, host: str) -> tuple[str, list[tuple[str, str]]]:
    head, _ = Signer(host=host).head(method, target, _joined(headers), payload=EMPTY)
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if line]
    names = {name.lower() for name, _ in headers} | {"host"}
    return target, [*headers, *[(name, value) for name, value in lines if name.lower() not in names]]


def _v4_query(method: str, target: str, headers: Headers, host: str) -> tuple[str, list[tuple[str, str]]]:
    scope = f"{NOW:%Y%m%d}/us-east-1/s3/aws4_request"
    date = f"{NOW:%Y%m%dT%H%M%SZ}"
    own = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": "host",
    }
    path, _, query = target.partition("?")
    items = [item for item in query.split("&") if item]
    items += [f"{name}={quote(value, safe='')}" for name, value in own.items()]
    split = [item.partition("=") for item in items]
    plain = sorted((_encoded(name), _encoded(value)) for name, _, value in split)
    canonical = "\n".join(
        [
            method,
            quote(unquote_to_bytes(path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in plain),
            f"host:{host}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    key = b"AWS4" + SECRET.encode()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    for part in (*scope.split("/"), f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    return f"{path}?{'&'.join(items)}&X-Amz-Signature={key.hex()}", list(headers)


def _encoded(raw: str) -> str:
    return quote(unquote_to_bytes(raw.replace("+", " ")), safe="-_.~")


def _v2_text(method: str, target: str, headers: Headers, host: str, date: str) -> bytes:
    fields = _joined(headers)
    path, _, query = target.partition("?")
    bucket = host.removesuffix(DOMAIN).removesuffix(".")
    resource = canonical_resource((f"/{bucket}{path}" if bucket else path).encode(), query.encode())
    amz = {name: value for name, value in fields.items() if name.startswith("x-amz-")}
    for item in query.split("&"):
        name, _, value = item.partition("=")
        if name.lower().startswith("x-amz-"):
            amz[name.lower()] = unquote_plus(value)
    lines = "".join(f"{name}:{amz[name].strip()}\n" for name in sorted(amz))
    start = f"{method}\n{fields.get('content-md5', '')}\n{fields.get('content-type', '')}\n{date}\n{lines}"
    return start.encode() + resource


def _signature(text: bytes, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()


def _v2(method: str, target: str, headers: Headers, host: str) -> tuple[str, list[tuple[str, str]]]:
    signature = _signature(_v2_text(method, target, headers, host, DATE))
    return target, [*headers, ("Date", DATE), ("Authorization", f"AWS {KEY}:{signature}")]


def _v2_query(method: str, target: str, headers: Headers, host: str) -> tuple[str, list[tuple[str, str]]]:
    signature = quote(_signature(_v2_text(method, target, headers, host, str(EXPIRES))), safe="")
    mark = "&" if "?" in target else "?"
    return f"{target}{mark}AWSAccessKeyId={KEY}&Expires={EXPIRES}&Signature={signature}", list(headers)


def real_string_to_sign(name: str, head: Any) -> bytes:
    """
    Return the string to sign that the storage system computes from the bytes of a request.

    Source:
        eucalyptus/eucalyptus 3.4.2, ``WalrusAuthenticationHandler.S3Authentication``, the same in 4.3.1.1; and
        ``S3Authentication`` of the object storage gateway.
    """
    fields = head.fields
    subresources = set(
        b"""acl lifecycle location logging notification partNumber policy requestPayment torrent uploadId uploads
        versionId versioning versions website cors tagging""".split()
    )
    amz = b""
    for header in sorted(fields):
        if header.startswith(b"x-amz-"):
            amz += header + b":" + b",".join(value.strip() for value in fields[header]) + b"\n"
    path, _, query = head.raw_target.partition(b"?")
    query = query.partition(b"?")[0]
    signed = []
    if name == G:
        path = path.removeprefix(b"/services/objectstorage")
        pairs = {unquote_plus_bytes(item.partition(b"=")[0]): item.partition(b"=")[2] for item in query.split(b"&")}
        for item in sorted(pairs):
            if item in subresources | {b"delete"}:
                value = unquote_plus_bytes(pairs[item])
                signed.append(item + (b"=" + value if value else b""))
    else:
        if name == B:
            path = path.removeprefix(b"/services/WalrusBackend")
        for item in sorted(query.split(b"&")):
            parts = item.split(b"=")
            if parts[0] in subresources:
                signed.append(parts[0] + (b"=" + unquote_plus_bytes(parts[1]) if len(parts) > 1 else b""))
    resource = path + (b"?" + b"&".join(signed) if signed else b"")
    first = [head.method, fields.value(b"content-md5") or b"", fields.value(b"content-type") or b""]
    return b"\n".join([*first, fields.value(b"date") or b"", amz + resource])


def unquote_plus_bytes(text: bytes) -> bytes:
    """
    Decode as a form does.
    """
    return unquote_to_bytes(text.replace(b"+", b" "))


def check_signature(name: str, head: Any) -> None:
    """
    Fail unless the storage system accepts s3proxy's signature.
    """
    signature = _signature(real_string_to_sign(name, head), BACKEND_KEY.secret_access_key)
    assert head.fields.value(b"authorization") == f"AWS {BACKEND_KEY.access_key_id}:{signature}".encode()


def service_path(name: str) -> str:
    return PROFILES[name].service_path.decode()


class Sent:
    """
    What a client got, and what the backend got.
    """

    def __init__(self, response: Response, harness: Harness) -> None:
        self.response = response
        self.requests = [received.head for received in harness.backend.requests]
        self.bodies = [received.body for received in harness.backend.requests]
        self.counts = harness.proxy.context.counts
        self.records = harness.records

    @property
    def code(self) -> str:
        found = re.search(r"<Code>(\w+)</Code>", self.response.body.decode())
        return f"{self.response.status} {found[1]}" if found else str(self.response.status)

    @property
    def methods(self) -> list[str]:
        return [head.method.decode() for head in self.wanted]

    @property
    def head(self) -> Any:
        """
        The only request, apart from those for a copy's source.
        """
        *before, head = self.wanted
        copies = b"x-amz-copy-source" in head.fields
        assert [each.method for each in before] == ([b"HEAD"] if copies else [])
        return head

    @property
    def wanted(self) -> list[Any]:
        """
        The requests, without those for the versions of a key.
        """
        return [head for head in self.requests if not asks_for_versions(head)]


_TAG = f'"{EMPTY_MD5}"'.encode()
_COPIED = (
    b"<CopyObjectResult><LastModified>2026-03-01T12:00:00Z</LastModified><ETag>%b</ETag></CopyObjectResult>" % _TAG
)


_LISTED = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
_VERSIONS = b"<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>"


def asks_for_versions(head: Any) -> bool:
    """
    Return whether a request is s3proxy's own: for the versions of a key, before a copy to it or a deletion there.
    """
    return head.method == b"GET" and re.search(rb"\?versions&prefix=[^&]+&max-keys=100\Z", head.raw_target) is not None


def respond_as_storage(connection: FaultyConnection, received: ReceivedRequest) -> None:
    """
    Send a success, with all that s3proxy requires of one.
    """
    head, document, lines = received.head, b"", b""
    is_bucket = head.raw_target.partition(b"?")[0].count(b"/") == 3
    if asks_for_versions(head):
        document = _VERSIONS
    elif b"x-amz-copy-source" in head.fields:
        document = _COPIED
    elif head.method == b"PUT":
        lines = b'ETag: "%s"\r\n' % hashlib.md5(received.body).hexdigest().encode()
    elif head.method == b"GET" and is_bucket:
        document = _LISTED
    connection.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(document), document))


async def send(
    name: str,
    raw: bytes,
    body: bytes = b"",
    *,
    signature: str = "v2",
    profile: Profile | None = None,
    on_request: Callable[[FaultyConnection, ReceivedRequest], None] = respond_as_storage,
    **options: Any,
) -> Sent:
    """
    Send a request through a proxy to a backend that records its requests.
    """
    harness = Harness(profile=profile or PROFILES[name], signature=signature, **options)
    harness.backend.on_request = on_request
    response = await harness.request(raw, body)
    await harness.close()
    assert response is not None
    sent = Sent(response, harness)
    if signature == "v2":
        for head in sent.requests:
            check_signature(name, head)
    return sent


COPY = "x-amz-copy-source"
