"""
A proxy whose client has rules, and the requests of that client.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

from s3proxy.s3.credential import Credential
from s3proxy.s3.operation import OPERATIONS, BodyUse, Level, Operation
from tests.support.deletions import document
from tests.support.harness import Harness, data_set_credentials, turns
from tests.support.signer import Signer

KEY_ID = Signer().access_key_id.encode()

BUCKETS = ("mine", "other", "third")
LIST = (
    "<ListAllMyBucketsResult><Buckets>"
    + "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in BUCKETS)
    + "</Buckets></ListAllMyBucketsResult>"
).encode()

_VALUES = {"uploadId": "u", "partNumber": "1", "list-type": "2", "select-type": "2", "id": "i", "annotationName": "n"}


def client(**restrictions: Any) -> dict[bytes, Credential]:
    """
    Return the keys of the data set, with restrictions of the one that signs.
    """
    keys = data_set_credentials()
    keys[KEY_ID] = replace(keys[KEY_ID], **restrictions)
    return keys


def target_of(operation: Operation, bucket: str = "mine", key: str = "in/key") -> str:
    """
    Return the target of a request for an operation.
    """
    path = {Level.SERVICE: "/", Level.BUCKET: f"/{bucket}", Level.OBJECT: f"/{bucket}/{key}"}[operation.level]
    names = sorted(name.decode() for name in operation.required)
    if operation.subresource is not None:
        names.insert(0, operation.subresource.decode())
    items = [f"{name}={_VALUES[name]}" if name in _VALUES else f"{name}=" for name in names]
    return f"{path}?{'&'.join(items)}" if items else path


def request_for(
    operation: Operation,
    bucket: str = "mine",
    key: str = "in/key",
    source: str = "/mine/in/source",
    headers: dict[str, str] | None = None,
) -> bytes:
    """
    Return a signed request for an operation.

    Args:
        source: The source of a copy.
    """
    headers = dict(headers or {})
    if operation.copies:
        headers["x-amz-copy-source"] = source
    if operation.method == b"OPTIONS":
        headers |= {"origin": "https://page.example.test", "access-control-request-method": "GET"}
    body = b""
    if operation.name == "DeleteObjects":
        body = document(key)
    elif operation.body is BodyUse.DOCUMENT:
        body = b"<Document/>"
    elif operation.body is BodyUse.OBJECT:
        body = b"content"
    if body:
        headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    unsigned = {"Content-Length": str(len(body))} if operation.method in {b"PUT", b"POST"} else {}
    payload = hashlib.sha256(body).hexdigest()
    method, target = operation.method.decode(), target_of(operation, bucket, key)
    return Signer().head(method, target, headers, payload=payload, unsigned=unsigned)[0] + body


def xml(content: bytes) -> bytes:
    """
    Return a response of a backend with a document.
    """
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


async def ask(request: bytes, response: bytes = b"", **options: Any) -> tuple[Any, Harness]:
    """
    Send a request to a proxy; return its response, and the closed harness.

    Args:
        response: What the backend sends; its usual response if it is empty.
        options: Of the harness, and the restrictions of the client's key.
    """
    names = {"allow", "deny", "networks", "is_read_only_key"}
    restrictions = {name.removesuffix("_key"): options.pop(name) for name in names & options.keys()}
    harness = Harness(credentials=client(**restrictions), extensions=tuple(OPERATIONS), **options)
    if response:
        harness.backend.on_request = lambda connection, request: connection.send(response)
    found = await harness.request(request)
    await turns(3)
    await harness.close()
    return found, harness
