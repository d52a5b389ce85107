"""
Each storage system that is available here: its profile serves boto3, and what it does with a cut body is known.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from s3proxy.profiles.known import PROFILES
from s3proxy.testing.certificates import make_authority
from tests.integration import rgw, swift
from tests.integration.golang import MINIO, environment, install_program
from tests.integration.versitygw import install as install_versitygw
from tests.processes import end_all, free_port, running, wait_for_port
from tests.test_daemon import twistd_arguments

pytestmark = pytest.mark.integration

KEY_ID, SECRET = "TAILACCESSKEY0000001", "tail-secret-of-the-integration-suite-01"
BUCKET, KEY = "tail", "key"
SIZE = 1_000_000
FORMER = b"the former object"


@dataclass(frozen=True)
class Storage:
    """
    A running storage system.
    """

    port: int
    key_id: str
    secret: str

    @property
    def url(self) -> str:
        """
        The endpoint.
        """
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """
        Return a boto3 client of it.
        """
        config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.key_id,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
            config=config,
        )

    def put_all_but_one(self, target: str, *, resets: bool) -> None:
        """
        Send a PUT without its last byte, and end the connection.

        Args:
            resets: Whether to end it by RST; otherwise by FIN.
        """
        request = AWSRequest("PUT", f"{self.url}{target}")
        request.headers["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
        request.context["payload_signing_enabled"] = False
        request.context["client_config"] = Config(s3={"payload_signing_enabled": False})
        _Unsigned(Credentials(self.key_id, self.secret), "s3", "us-east-1").add_auth(request)
        path = urlsplit(request.url)
        lines = [f"PUT {path.path}{'?' + path.query if path.query else ''} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in request.headers.items()]
        lines.append(f"Content-Length: {SIZE}")
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + b"x" * (SIZE - 1))
            # The server has read everything that was sent before it sees the end.
            time.sleep(1)
            if resets:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Unsigned(S3SigV4Auth):
    def payload(self, request: Any) -> str:
        """
        Do not sign the body.
        """
        return "UNSIGNED-PAYLOAD"


@contextmanager
def running_rgw(directory: Path) -> Iterator[Storage]:
    """
    Ceph Object Gateway.
    """
    rgw.install()
    gateway = rgw.Gateway(directory, make_authority())
    try:
        gateway.start()
        yield Storage(gateway.port, rgw.KEY_ID, rgw.SECRET)
    finally:
        gateway.stop()


@contextmanager
def running_swift(directory: Path) -> Iterator[Storage]:
    """
    OpenStack Swift.
    """
    store = swift.Swift(directory, swift.install())
    try:
        store.start()
        yield Storage(store.port, swift.KEY_ID, swift.SECRET)
    finally:
        store.stop()


def _running_program(
    command: Callable[[Path, int], list[str]], variables: tuple[str, str], health: str
) -> Callable[[Path], Any]:
    @contextmanager
    def running(directory: Path) -> Iterator[Storage]:
        port = free_port()
        (directory / "data").mkdir()
        own = {**environment(), **dict(zip(variables, (KEY_ID, SECRET), strict=True))}
        with (directory / "log").open("ab") as log:
            process = subprocess.Popen(command(directory, port), env=own, stdout=log, stderr=log, cwd=directory)
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=5).close()
                    break
                except urllib.error.HTTPError as error:
                    error.close()
                    if error.code < 500:
                        break
                    time.sleep(0.1)
                except OSError:
                    assert process.poll() is None, (directory / "log").read_text()
                    time.sleep(0.1)
            yield Storage(port, KEY_ID, SECRET)
        finally:
            end_all([process])

    return running


running_minio = _running_program(
    lambda directory, port: [
        str(install_program(*MINIO)),
        "server",
        "--address",
        f"127.0.0.1:{port}",
        str(directory / "data"),
    ],
    ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
    "/minio/health/ready",
)
running_versitygw = _running_program(
    lambda directory, port: [
        str(install_versitygw()),
        "--port",
        f"127.0.0.1:{port}",
        "posix",
        str(directory / "data"),
    ],
    ("ROOT_ACCESS_KEY", "ROOT_SECRET_KEY"),
    "/",
)

STORAGES: dict[str, Callable[[Path], Any]] = {
    "ceph-rgw": running_rgw,
    "swift": running_swift,
    "minio": running_minio,
    "generic": running_versitygw,
}
"""
The available storage systems, by profile.
"""


@pytest.mark.parametrize(("profile", "signature"), [(name, "v4") for name in STORAGES] + [("swift", "v2")])
def test_boto3_through_its_profile(tmp_path: Path, profile: str, signature: str) -> None:
    """
    Uploads whole and in parts, ranges, conditions, listings by pages, copies and deletions work.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    body = bytes(range(256)) * 60_000
    with STORAGES[profile](tmp_path) as storage:
        port = free_port()
        (tmp_path / "keys.toml").write_text(f'[[key]]\naccess_key_id = "{KEY_ID}"\nsecret_access_key = "{SECRET}"\n')
        (tmp_path / "s3proxy.toml").write_text(
            f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
[[backend]]
name = "storage"
urls = ["http://127.0.0.1:{storage.port}", "http://localhost:{storage.port}"]
profile = "{profile}"
signature = "{signature}"
access_key_id = "{storage.key_id}"
secret_access_key = "{storage.secret}"
[credentials]
source = "file:keys.toml"
"""
        )
        with running(twistd_arguments(tmp_path / "s3proxy.toml"), tmp_path) as process:
            wait_for_port(port, process)
            client = Storage(port, KEY_ID, SECRET).client()
            client.create_bucket(Bucket="boto3")
            client.put_object(Bucket="boto3", Key="small", Body=b"0123456789", ChecksumAlgorithm="CRC32")
            client.upload_fileobj(io.BytesIO(body), "boto3", "a+b/large")
            file = io.BytesIO()
            client.download_fileobj("boto3", "a+b/large", file)
            part = client.get_object(Bucket="boto3", Key="small", Range="bytes=-4")
            client.copy_object(Bucket="boto3", Key="copy", CopySource={"Bucket": "boto3", "Key": "a+b/large"})
            pages = client.get_paginator("list_objects_v2").paginate(Bucket="boto3", PaginationConfig={"PageSize": 1})
            # MinIO's last page has none.
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
            with pytest.raises(ClientError) as missing:
                client.get_object(Bucket="boto3", Key="missing")
            for key in keys:
                client.delete_object(Bucket="boto3", Key=key)
            client.delete_bucket(Bucket="boto3")

    assert file.getvalue() == body
    assert (part["ContentRange"], part["Body"].read()) == ("bytes 6-9/10", b"6789")
    assert keys == ["a+b/large", "copy", "small"]
    assert missing.value.response["Error"]["Code"] == "NoSuchKey"


COMMITS_WHEN_CLOSED = {"generic"}
"""
versitygw 1.8 takes a body which ends with FIN for a whole one, and makes up its last bytes: why s3proxy resets.
"""


@pytest.mark.parametrize("profile", STORAGES)
@pytest.mark.parametrize("resets", [True, False], ids=["reset", "closed"])
def test_a_cut_body_is_dropped(tmp_path: Path, profile: str, *, resets: bool) -> None:
    """
    A body that ends one byte short leaves no new object and no part, and the former object stays.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    found: dict[str, Any] = {}
    with STORAGES[profile](tmp_path) as storage:
        client = storage.client()
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="former", Body=FORMER)
        upload = client.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
        for target in ("/tail/absent", "/tail/former", f"/tail/parts?partNumber=1&uploadId={upload}"):
            storage.put_all_but_one(target, resets=resets)
        # A late object shows only after a while.
        time.sleep(3)
        found["keys"] = [item["Key"] for item in client.list_objects(Bucket=BUCKET)["Contents"]]
        found["former"] = client.get_object(Bucket=BUCKET, Key="former")["Body"].read()
        found["parts"] = client.list_parts(Bucket=BUCKET, Key="parts", UploadId=upload).get("Parts", [])

    is_as_it_was = found == {"keys": ["former"], "former": FORMER, "parts": []}
    assert is_as_it_was is (resets or profile not in COMMITS_WHEN_CLOSED)


def test_what_profiles_say() -> None:
    """
    A profile is marked as proven if it was proven here, or with the code of Walrus 3.4.2. "generic" is not, because it
    may be any storage system.
    """
    proven = {name for name, profile in PROFILES.items() if profile.proves_tail}
    assert proven == (STORAGES.keys() - {"generic"}) | {"walrus-3.4"}
