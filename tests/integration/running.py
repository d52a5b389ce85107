"""
Storage systems that run for a test.
"""

from __future__ import annotations

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
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from trustme import CA

from tests.integration import rgw, swift
from tests.integration.golang import MINIO, environment, install_program
from tests.integration.versitygw import install as install_versitygw
from tests.support.processes import end_all, free_port

KEY_ID, SECRET = "TAILACCESSKEY0000001", "tail-secret-of-the-integration-suite-01"
SIZE = 1_000_000


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
    gateway = rgw.Gateway(directory, CA())
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
