"""
Real backends that accept Signature V4, each with the lines of its ``[[backend]]``, and daemons in front of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.rgw import KEY_ID, SECRET, Gateway
from tests.integration.versitygw import KEY_ID as ROOT_KEY
from tests.integration.versitygw import SECRET as ROOT_SECRET
from tests.integration.versitygw import install, start_versitygw
from tests.support.daemon import twistd_arguments
from tests.support.processes import end_all, free_port, running, wait_for_port

CLIENT_KEY, CLIENT_SECRET = "STORESCLIENTKEY00001", "stores-client-secret-of-the-suite-0001"


@dataclass(frozen=True)
class Store:
    """
    A running backend.

    Attributes:
        region: Its region; versitygw refuses any other.
    """

    name: str
    port: int
    profile: str
    region: str
    key_id: str
    secret: str

    def client(self) -> Any:
        """
        Return a boto3 client that connects straight to the backend.
        """
        return boto3_client(self.port, self.region, self.key_id, self.secret)


def boto3_client(port: int, region: str | None, key_id: str = CLIENT_KEY, secret: str = CLIENT_SECRET) -> Any:
    """
    Return a boto3 client.

    Args:
        region: None for a client that knows no region.
    """
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name=region,
        config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4"),
    )


def rgw_store(gateway: Gateway) -> Store:
    """
    Return the suite's gateway as a backend.
    """
    return Store("rgw", gateway.port, "ceph-rgw", "default", KEY_ID, SECRET)


@contextmanager
def versitygw_store(directory: Path, region: str) -> Iterator[Store]:
    """
    Run versitygw in a directory.
    """
    process, port = start_versitygw(install(), directory, region=region)
    try:
        wait_for_port(port, process)
        yield Store("versitygw", port, "generic", region, ROOT_KEY, ROOT_SECRET)
    finally:
        end_all([process])


@contextmanager
def daemon(store: Store, directory: Path, region: str, *lines: str) -> Iterator[int]:
    """
    Run s3proxy in front of a backend; yield its port.

    Args:
        region: Region of its listener.
        lines: Further lines of its ``[[backend]]``.
    """
    port = free_port()
    (directory / "keys.toml").write_text(
        f'[[key]]\naccess_key_id = "{CLIENT_KEY}"\nsecret_access_key = "{CLIENT_SECRET}"\n'
    )
    path = directory / "s3proxy.toml"
    further = "\n".join(lines)
    path.write_text(
        f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
region = "{region}"
[[backend]]
name = "{store.name}"
url = "http://127.0.0.1:{store.port}"
profile = "{store.profile}"
region = "{store.region}"
access_key_id = "{store.key_id}"
secret_access_key = "{store.secret}"
{further}
[log]
access = "access.log"
"""
    )
    with running(twistd_arguments(path), directory) as process:
        wait_for_port(port, process)
        yield port
