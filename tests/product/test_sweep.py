"""
Every method, level and sub-resource, known and unknown, with every carrier: nothing that S3 does not have reaches a
backend.

What a backend may get is defined by the service model of S3's own SDK, not by s3proxy's table.
"""

from __future__ import annotations

import base64
import hmac
import random
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from urllib.parse import quote, unquote

import botocore.session
import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.testing.faulty_backend import OK
from tests.support.harness import NOW, Harness
from tests.support.presigning import presigned
from tests.support.signer import EMPTY, Signer

LEVELS = {"service": "/", "bucket": "/b", "object": "/b/k"}
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")
CARRIERS = ("v4-header", "v4-query", "v2-header", "v2-query", "anonymous")
SWEPT_PROFILES = ("generic", "ceph-rgw", "swift", "walrus-3.4")

PRIVATE = (
    # Known to backends and not to S3: commands of RGW, Swift, MinIO and Walrus, and actions of IAM, STS and SNS.
    "rgwx-uid", "usage", "append", "mdsearch", "allow-unordered", "multipart-manifest", "temp_url_sig", "symlink",
    "extract-archive", "format", "metadata", "events", "healing", "lambdaArn", "IsCompressed", "Action", "op", "sync",
    "Rgwx-uid", "acl%00", "ACL", "acl%20", "%61cl", "policy/", "uploads;", "versionid", "x-amz-acl",
    "x-amz-copy-source",
    "torrent%0d%0a", "restore.",
    "notification%3d", "tagging%26acl", "X-Amz-Credential", "AWSAccessKeyId", "Expires",
)  # fmt: skip


def unknown_names(count: int) -> list[str]:
    """
    Return names that S3 does not have: those of `PRIVATE`, then invented ones.
    """
    rng = random.Random(19)
    letters = "abcdefghijklmnopqrstuvwxyzABCXYZ-_.~0123456789"
    made = ["".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(max(0, count - len(PRIVATE)))]
    return [*PRIVATE, *made][:count]


@dataclass
class Model:
    """
    What S3 has, according to botocore's service model.

    Attributes:
        subresources: All names that occur in the URI of an operation.
        queries: By method and level, the constant query names of each operation, and all names that it may have.
    """

    subresources: set[str] = field(default_factory=set)
    queries: dict[tuple[str, str], list[tuple[set[str], set[str]]]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Model:
        """
        Read the model.
        """
        model = cls()
        service = botocore.session.get_session().get_service_model("s3")
        for name in service.operation_names:
            operation = service.operation_model(name)
            path, _, query = operation.http["requestUri"].partition("?")
            level = ("service", "bucket", "object")[path.count("{")]
            constant = {item.partition("=")[0] for item in query.split("&") if item}
            shape = operation.input_shape
            members = shape.members.values() if shape is not None else ()
            located = [member.serialization for member in members]
            optional = {each["name"] for each in located if each.get("location") == "querystring"}
            required = {
                shape.members[each].serialization["name"]
                for each in (shape.required_members if shape is not None else ())
                if shape.members[each].serialization.get("location") == "querystring"
            }
            if path == "/WriteGetObjectResponse" or name == "CreateSession":
                continue
            entry = (constant | required, constant | optional)
            model.queries.setdefault((operation.http["method"], level), []).append(entry)
            model.subresources |= constant
        model.subresources |= {"uploadId", "partNumber", "versionId", "id", "session"}
        return model

    def has(self, method: str, level: str, names: set[str]) -> bool:
        """
        Return True if an operation of S3 has this method, level and exactly such query names.
        """
        if method == "OPTIONS":
            return level != "service" and not names
        if method == "HEAD":
            # GET without the document.
            return self.has("GET", level, names)
        return any(needed <= names <= may for needed, may in self.queries.get((method, level), ()))


def v2_resource(path: str, query: str) -> str:
    """
    Return the resource of Signature V2: the path with the sub-resources of the documentation's list.
    """
    signed = {
        "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
        "requestPayment", "restore", "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions",
        "website", "accelerate", "analytics", "annotation", "attributes", "encryption", "intelligent-tiering",
        "inventory", "legal-hold", "metrics", "object-lock", "ownershipControls", "policyStatus", "publicAccessBlock",
        "replication", "retention", "select", "select-type",
    }  # fmt: skip
    valued = {"partNumber", "select-type", "uploadId", "versionId"}
    found = []
    for item in query.split("&") if query else []:
        raw_name, equals, value = item.partition("=")
        name = unquote(raw_name)
        if name in signed:
            found.append((name, f"{name}={unquote(value)}" if equals and name in valued else name))
    return path + ("?" + "&".join(text for _, text in sorted(found)) if found else "")


def signed_by(carrier: str, method: str, path: str, query: str) -> bytes:
    """
    Return the head of a request without a body, signed with a carrier.
    """
    signer = Signer()
    target = f"{path}?{query}" if query else path
    length = "Content-Length: 0\r\n" if method in {"PUT", "POST"} else ""
    if carrier == "v4-header":
        unsigned = {"Content-Length": "0"} if length else {}
        return signer.head(method, target, payload=EMPTY, unsigned=unsigned)[0]
    date = format_date(NOW)
    lines = f"Host: {signer.host}\r\n{length}"
    if carrier == "v4-query":
        target = presigned(signer, method, path, query)
    elif carrier == "v2-header":
        amz = "".join(sorted(v2_amz_lines(query)))
        signature = v2_signature(signer.secret, f"{method}\n\n\n{date}\n{amz}{v2_resource(path, query)}")
        lines += f"Date: {date}\r\nAuthorization: AWS {signer.access_key_id}:{signature}\r\n"
    elif carrier == "v2-query":
        expires = int(NOW.timestamp()) + 600
        amz = "".join(sorted(v2_amz_lines(query)))
        signature = v2_signature(signer.secret, f"{method}\n\n\n{expires}\n{amz}{v2_resource(path, query)}")
        own = f"AWSAccessKeyId={signer.access_key_id}&Expires={expires}&Signature={quote(signature, safe='')}"
        target = f"{path}?{query}&{own}" if query else f"{path}?{own}"
    if method == "OPTIONS":
        lines += "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n"
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def v2_amz_lines(query: str) -> list[str]:
    """
    Return the lines of the headers that a query carries.
    """
    pairs = [item.partition("=") for item in query.split("&") if item]
    return [f"{unquote(n).lower()}:{unquote(v)}\n" for n, _, v in pairs if unquote(n).lower().startswith("x-amz-")]


def v2_signature(secret: str, text: str) -> str:
    """
    Return a Signature V2.
    """
    return base64.b64encode(hmac.digest(secret.encode(), text.encode("latin-1"), "sha1")).decode()


def format_date(moment: datetime) -> str:
    """
    Write a date as HTTP does.
    """
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def breach(model: Model, service_path: bytes, extensions: set[str], head: RequestHead) -> bool:
    """
    Return True if a backend got something that S3 does not have.
    """
    path = head.raw_path.removeprefix(service_path).strip(b"/")
    level = ("service", "bucket", "object")[bool(path) + path.count(b"/")]
    items = [item for item in (head.raw_query or b"").split(b"&") if item]
    names = {item.partition(b"=")[0].decode("latin-1") for item in items}
    return not model.has(head.method.decode(), level, names - extensions)


async def sweep(profile: str, unknown_count: int) -> tuple[int, int, list[str]]:
    """
    Send every request to one profile.

    Returns:
        How many requests were sent, how many of them the backend got, and which ones it should not have got.
    """
    model = Model.load()
    harness = Harness(profile=PROFILES[profile], anonymous=Anonymous(passes=True))
    extensions = {name.decode() for each in PROFILES[profile].extensions for name in each.parameters}
    names = ["", *sorted(model.subresources), *unknown_names(unknown_count)]
    sent = 0
    breaches: list[str] = []
    got = 0
    harness.backend.on_request = lambda connection, request: connection.send(OK)
    client = await harness.connect()
    try:
        for carrier, name, level, method in product(CARRIERS, names, LEVELS, METHODS):
            if client.lost is not None:
                client = await harness.connect()
            client.send(signed_by(carrier, method, LEVELS[level], f"{name}=1" if name else ""))
            response = await client.response(method)
            sent += 1
            # At Walrus a response that does not fit the operation is not a success.
            is_refused = response.status == 500 and harness.backend.requests
            assert response.status in {*range(200, 500), 501} or is_refused, (
                f"{carrier} {method} {level} {name}: {response.status}"
            )
            if response.header("connection") == "close":
                client.transport.abortConnection()
                client = await harness.connect()
            for request in harness.backend.requests:
                got += 1
                if breach(model, PROFILES[profile].service_path, extensions, request.head):
                    breaches.append(f"{carrier}: {request.head.method.decode()} {request.head.raw_target!r}")
            harness.backend.requests.clear()
    finally:
        await harness.close()
    return sent, got, breaches


@pytest.mark.parametrize("profile", SWEPT_PROFILES[:2])
@pytest_twisted.ensureDeferred
async def test_nothing_unknown_reaches_a_backend(profile: str) -> None:
    """
    What a backend gets is an operation of S3 with its own parameters, whatever the client sends.
    """
    sent, got, breaches = await sweep(profile, 12)

    assert not breaches
    assert got > sent / 20, "hardly anything passes: the sweep proves nothing"


@pytest.mark.long
@pytest.mark.parametrize("profile", SWEPT_PROFILES)
@pytest_twisted.ensureDeferred
async def test_nothing_unknown_reaches_a_backend_whole(profile: str) -> None:
    """
    The same with 200 unknown names, at all profiles.
    """
    sent, got, breaches = await sweep(profile, 200)

    print(f"{profile}: {sent} requests, of which the backend got {got}")
    assert not breaches
    assert got > sent / 50


def test_the_sweep_bites() -> None:
    """
    This check calls a breach what s3proxy once sent on.
    """
    model = Model.load()
    for line in (
        b"POST /?Action=AssumeRole",
        b"GET /b/k?rgwx-uid=victim",
        b"GET /b/k?X-Amz-Credential=a",
        b"DELETE /b?nobody-knows",
        b"GET /b/k?location",
        b"PUT /b/k?acl&tagging",
        b"GET /b?session",
    ):
        assert breach(model, b"", set(), parse_request_head(line + b" HTTP/1.1\r\nHost: s"))
    for line in (b"GET /b/k?versionId=1", b"PUT /b/k?uploadId=1&partNumber=1", b"GET /b?list-type=2&prefix=", b"GET /"):
        assert not breach(model, b"", set(), parse_request_head(line + b" HTTP/1.1\r\nHost: s"))
