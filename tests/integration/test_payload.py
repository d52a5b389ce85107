"""
Bodies in chunks that s3proxy signs itself, at backends that verify them; and bodies without hashes.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Field
from tests.integration.stores import CLIENT_KEY, CLIENT_SECRET, Store, boto3_client, daemon, rgw_store, versitygw_store
from tests.support.signer import MODES, SIGNED_CHUNKS, UNSIGNED, SignedRequest, Signer

pytestmark = pytest.mark.integration

KIB, MIB = 1 << 10, 1 << 20
SIZES = [0, 1, 64 * KIB, 64 * KIB + 1, 128 * KIB, 3 * 64 * KIB, 5 * MIB + 17]
BODY = os.urandom(5 * MIB + 17)
BUCKET = "payload"


@pytest.fixture(scope="module", params=["rgw", "versitygw"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """
    A backend with a bucket.
    """
    if request.param == "rgw":
        field: Field = request.getfixturevalue("field")
        found = rgw_store(field.gateway)
        found.client().create_bucket(Bucket=BUCKET)
        yield found
    else:
        with versitygw_store(tmp_path_factory.mktemp("payload"), "us-east-1") as found:
            found.client().create_bucket(Bucket=BUCKET)
            yield found


@pytest.fixture(scope="module", params=["chunks", "unsigned"])
def payload(request: pytest.FixtureRequest) -> str:
    """
    The option of the backend.
    """
    option: str = request.param
    return option


@pytest.fixture(scope="module")
def port(store: Store, payload: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """
    The port of the listener.
    """
    directory = tmp_path_factory.mktemp(f"payload-{store.name}-{payload}")
    with daemon(store, directory, "us-east-1", f'payload = "{payload}"') as port:
        yield port


def make(mode: str, key: str, body: bytes, **headers: str) -> SignedRequest:
    """
    Sign an upload with the present time.
    """
    signer = Signer(CLIENT_KEY, CLIENT_SECRET, datetime.now(UTC), "127.0.0.1")
    return signer.put(f"/{BUCKET}/{key}", body, mode, headers=headers)


def send(port: int, request: SignedRequest) -> int:
    """
    Send the request; return the response's status.
    """
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request.head + request.body)
        response = connection.recv(4096)
    return int(response.split()[1])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_stored(mode: str, size: int, port: int, store: Store) -> None:
    """
    Byte for byte, with the object's own coding and nothing of ours; and as the digest which the client has of it.
    """
    body = BODY[:size]
    digest = hashlib.md5(body).digest()
    headers = {"content-md5": base64.b64encode(digest).decode(), "content-type": "text/plain"}

    assert send(port, make(mode, "plain", body, **headers)) == 200
    got = store.client().get_object(Bucket=BUCKET, Key="plain")
    assert got["Body"].read() == body
    assert (got.get("ContentEncoding") or None, got["ContentType"]) == (None, "text/plain")
    assert got["ETag"].strip('"') == digest.hex()


@pytest.mark.parametrize("size", [1000, 5 * MIB])
def test_an_objects_coding_stays(size: int, port: int, store: Store) -> None:
    """
    The Content-Encoding that a client sets is stored, without s3proxy's own coding.
    """
    assert send(port, make(UNSIGNED, "coded", BODY[:size], **{"content-encoding": "gzip"})) == 200
    assert store.client().head_object(Bucket=BUCKET, Key="coded")["ContentEncoding"] == "gzip"


@pytest.mark.parametrize("size", [64 * KIB + 1, 128 * KIB, 5 * MIB])
def test_a_refused_body_is_not_stored(size: int, port: int, store: Store) -> None:
    """
    If the signature of the zero chunk is wrong, the former object stays.
    """
    assert send(port, make(UNSIGNED, "guarded", b"before")) == 200
    request = make(SIGNED_CHUNKS, "guarded", BODY[:size])
    at = request.body.rindex(b"chunk-signature=") + 16
    changed = b"1" if request.body[at : at + 1] == b"0" else b"0"

    assert send(port, SignedRequest(request.head, request.body[:at] + changed + request.body[at + 1 :])) == 403
    assert store.client().get_object(Bucket=BUCKET, Key="guarded")["Body"].read() == b"before"


def test_parts(port: int, store: Store, tmp_path: Path) -> None:
    """
    A multipart upload of boto3.
    """
    from boto3.s3.transfer import TransferConfig

    path = tmp_path / "file"
    path.write_bytes(BODY * 3)
    client: Any = boto3_client(port, "us-east-1")
    client.upload_file(str(path), BUCKET, "parts", Config=TransferConfig(multipart_threshold=5 * MIB))

    assert store.client().get_object(Bucket=BUCKET, Key="parts")["Body"].read() == BODY * 3


class _Corrupting(socketserver.BaseRequestHandler):
    """
    A network that changes one bit of each upload on its way to a backend.
    """

    target = 0

    def handle(self) -> None:
        passed = 0
        with socket.create_connection(("127.0.0.1", self.target)) as backend:
            back = threading.Thread(target=self._pass_back, args=(backend,))
            back.start()
            with contextlib.suppress(OSError):
                while data := bytearray(self.request.recv(65536)):
                    if passed <= CHANGED_AT < passed + len(data):
                        data[CHANGED_AT - passed] ^= 1
                    passed += len(data)
                    backend.sendall(data)
            with contextlib.suppress(OSError):
                backend.shutdown(socket.SHUT_RDWR)
            back.join()

    def _pass_back(self, backend: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := backend.recv(65536):
                self.request.sendall(data)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


CHANGED_AT = 3 * MIB


@pytest.fixture(scope="module")
def corrupted(store: Store) -> Iterator[Store]:
    """
    The same backend, reached through that network.
    """
    handler = type("Handler", (_Corrupting,), {"target": store.port})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield replace(store, port=server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("option", ["auto", "chunks"])
def test_a_bit_which_changes_on_the_way(option: str, corrupted: Store, store: Store, tmp_path: Path) -> None:
    """
    In chunks, the backend refuses the body, and the client gets an error; without them the changed body is stored.
    """
    with daemon(corrupted, tmp_path, "us-east-1", f'payload = "{option}"') as port:
        status = send(port, make(UNSIGNED, f"corrupted-{option}", BODY))

    listed = {item["Key"] for item in store.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])}
    if option == "chunks":
        assert status >= 400
        assert "corrupted-chunks" not in listed
    else:
        assert status == 200
        assert store.client().get_object(Bucket=BUCKET, Key="corrupted-auto")["Body"].read() != BODY
