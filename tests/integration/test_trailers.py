"""
Checksums of boto3, most of them in trailers, at backends that store them: the result is the same as without s3proxy.
"""

from __future__ import annotations

import base64
import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from trustme import CA

from tests.integration.daemon import CLIENT_KEY_ID, CLIENT_SECRET, start_daemon
from tests.integration.running import Storage, running_minio, running_versitygw
from tests.support.processes import end_all, wait_for_port
from tests.support.signer import SIGNED_TRAILER, UNSIGNED_TRAILER, SignedRequest, Signer

pytestmark = pytest.mark.integration

MIB = 1 << 20
BUCKET = "trailers"
BODY = os.urandom(300_000)
LARGE = os.urandom(11 * MIB + 17)
ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
STORAGES = {"minio": running_minio, "versitygw": running_versitygw}
OPTIONS = {
    "auto": 'payload = "auto"',
    "unsigned": 'payload = "unsigned"',
    "chunks": 'payload = "chunks"',
    "spool": 'commit = "spool"',
}


class Place:
    """
    A storage system with a bucket, and a daemon in front of it for each option.
    """

    def __init__(self, name: str, directory: Path, stack: ExitStack) -> None:
        os.environ.pop("AWS_CA_BUNDLE", None)
        store = directory / "storage"
        store.mkdir()
        self.storage: Storage = stack.enter_context(STORAGES[name](store))
        authority = CA()
        self._authority, server = str(directory / "authority.pem"), directory / "server.pem"
        authority.cert_pem.write_to_path(self._authority)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
        self.ports: dict[tuple[str, str], int] = {}
        for option, line in OPTIONS.items():
            backend = (
                f'name = "storage"\nurl = "{self.storage.url}"\nprofile = "{name}"\n{line}\n'
                f'access_key_id = "{self.storage.key_id}"\nsecret_access_key = "{self.storage.secret}"\n'
            )
            process, port, tls_port = start_daemon(directory / option, backend, server)
            stack.callback(end_all, [process])
            wait_for_port(tls_port, process)
            self.ports[option, "http"], self.ports[option, "https"] = port, tls_port
        self.straight().create_bucket(Bucket=BUCKET)

    def straight(self) -> Any:
        """
        Return a boto3 client of the storage system.
        """
        return self._client(self.storage.url, self.storage.key_id, self.storage.secret)

    def through(self, option: str, scheme: str = "https") -> Any:
        """
        Return a boto3 client of a daemon. Over https it sends checksums in trailers.
        """
        url = f"{scheme}://127.0.0.1:{self.ports[option, scheme]}"
        return self._client(url, CLIENT_KEY_ID, CLIENT_SECRET)

    def _client(self, url: str, key_id: str, secret: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            verify=self._authority,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
        )

    def told(self, key: str) -> dict[str, Any]:
        """
        Return what the storage system reports about an object's checksum.
        """
        client = self.straight()
        head = client.head_object(Bucket=BUCKET, Key=key, ChecksumMode="ENABLED")
        found = {name: value for name, value in head.items() if name.startswith("Checksum")}
        found["ContentEncoding"] = head.get("ContentEncoding") or None
        attributes = client.get_object_attributes(
            Bucket=BUCKET, Key=key, ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize"]
        )
        return found | {name: attributes.get(name) for name in ("Checksum", "ObjectParts", "ObjectSize")}


@pytest.fixture(scope="module", params=list(STORAGES))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """
    Everything runs until the last test of its storage system has ended.
    """
    with ExitStack() as stack:
        yield Place(request.param, tmp_path_factory.mktemp(request.param), stack)


def note_trailers(client: Any) -> list[str]:
    """
    Record which trailers a client announces.
    """
    seen: list[str] = []

    def sending(request: Any, **ignored: Any) -> None:
        if "x-amz-trailer" in request.headers:
            name = request.headers["x-amz-trailer"]
            seen.append(name.decode() if isinstance(name, bytes) else name)

    client.meta.events.register("before-send.s3", sending)
    return seen


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("algorithm", [None, *ALGORITHMS])
@pytest.mark.parametrize("option", OPTIONS)
def test_put_object(option: str, algorithm: str | None, scheme: str, place: Place) -> None:
    """
    The storage system stores the client's checksum, wherever the client sent it.
    """
    arguments = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    client = place.through(option, scheme)
    seen = note_trailers(client)
    client.put_object(Bucket=BUCKET, Key="through", Body=BODY, **arguments)
    place.straight().put_object(Bucket=BUCKET, Key="straight", Body=BODY, **arguments)

    told = place.told("through")
    assert told == place.told("straight")
    assert f"Checksum{algorithm or 'CRC32'}" in told
    assert told["ContentEncoding"] is None
    assert seen == ([f"x-amz-checksum-{(algorithm or 'CRC32').lower()}"] if scheme == "https" else [])
    assert place.straight().get_object(Bucket=BUCKET, Key="through")["Body"].read() == BODY


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("algorithm", "kind"), [("CRC32", "COMPOSITE"), ("CRC64NVME", "FULL_OBJECT"), ("SHA256", "COMPOSITE")]
)
@pytest.mark.parametrize("option", OPTIONS)
def test_upload_file(option: str, algorithm: str, kind: str, scheme: str, place: Place, tmp_path: Path) -> None:
    """
    The last part is small. The storage system has each part's checksum, and computes the checksum of the whole from
    them.
    """
    path = tmp_path / "file"
    path.write_bytes(LARGE)
    transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=11 * MIB // 2)
    for key, client in (("through", place.through(option, scheme)), ("straight", place.straight())):
        seen = note_trailers(client)
        client.upload_file(str(path), BUCKET, key, {"ChecksumAlgorithm": algorithm}, Config=transfer)
        is_trailing = key == "through" and scheme == "https"
        assert seen == ([f"x-amz-checksum-{algorithm.lower()}"] * 3 if is_trailing else [])

    told = place.told("through")
    assert told == place.told("straight")
    assert told["ChecksumType"] == kind
    assert told[f"Checksum{algorithm}"].endswith("-3") is (kind == "COMPOSITE")
    assert place.straight().get_object(Bucket=BUCKET, Key="through")["Body"].read() == LARGE


def test_full_object_of_crc32(place: Place) -> None:
    """
    The client's checksum of the whole object, sent at its end, passes, and is compared with the parts.
    """
    client = place.through("auto")
    named = {"Bucket": BUCKET, "Key": "whole"}
    whole = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
    upload = client.create_multipart_upload(**named, ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(LARGE), 6 * MIB), 1):
        part = client.upload_part(
            **named,
            UploadId=upload,
            PartNumber=number,
            Body=LARGE[start : start + 6 * MIB],
            ChecksumAlgorithm="CRC32",
        )
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
    ending = {**named, "UploadId": upload, "MultipartUpload": {"Parts": parts}, "ChecksumType": "FULL_OBJECT"}

    with pytest.raises(ClientError):
        client.complete_multipart_upload(**ending, ChecksumCRC32="AAAAAA==")
    client.complete_multipart_upload(**ending, ChecksumCRC32=whole)

    told = place.told("whole")
    assert (told["ChecksumCRC32"], told["ChecksumType"]) == (whole, "FULL_OBJECT")


@pytest.mark.parametrize("mode", [UNSIGNED_TRAILER, SIGNED_TRAILER])
@pytest.mark.parametrize("option", OPTIONS)
def test_a_wrong_trailer_leaves_what_was_there(option: str, mode: str, place: Place) -> None:
    """
    The body was whole, and nearly all of it was sent.
    """
    place.straight().put_object(Bucket=BUCKET, Key="guarded", Body=b"before")
    signer = Signer(CLIENT_KEY_ID, CLIENT_SECRET, datetime.now(UTC), "127.0.0.1")
    made = signer.put(f"/{BUCKET}/guarded", BODY, mode)
    at = made.body.rindex(b"x-amz-checksum-crc32:") + len(b"x-amz-checksum-crc32:")
    changed = b"A" if made.body[at : at + 1] != b"A" else b"B"
    request = SignedRequest(made.head, made.body[:at] + changed + made.body[at + 1 :])

    with socket.create_connection(("127.0.0.1", place.ports[option, "http"]), 60) as connection:
        connection.sendall(request.head + request.body)
        status = int(connection.recv(4096).split()[1])

    assert status == (400 if mode == UNSIGNED_TRAILER else 403)
    assert place.straight().get_object(Bucket=BUCKET, Key="guarded")["Body"].read() == b"before"
