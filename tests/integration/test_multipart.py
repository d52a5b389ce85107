"""
Large objects of real clients, through the daemon, to a storage system without multipart uploads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from tests.integration import storages
from tests.integration.storages import Storage

pytestmark = pytest.mark.integration

MIB = 1 << 20


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    with storages.legacy_store(tmp_path) as found:
        assert found.through.ask("PUT", "/large").status == 200
        yield found


def client(storage: Storage, **options: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{storage.through.port}",
        aws_access_key_id=storage.through.key_id,
        aws_secret_access_key=storage.through.secret,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **options),
    )


def left(directory: Path) -> list[str]:
    return os.listdir(directory / "state" / "multipart" / "parts")


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_boto3(storage: Storage, tmp_path: Path, checksums: str) -> None:
    """
    TransferManager's uploads and copies above 8 MiB.
    """
    content = os.urandom(20 * MIB + 3)
    (tmp_path / "up").write_bytes(content)
    s3 = client(storage, request_checksum_calculation=checksums)
    s3.upload_file(str(tmp_path / "up"), "large", "k", ExtraArgs={"ContentType": "text/x"})
    s3.copy({"Bucket": "large", "Key": "k"}, "large", "copy", Config=TransferConfig(multipart_chunksize=6 * MIB))

    assert storage.read("large", b"k") == content == storage.read("large", b"copy")
    assert s3.head_object(Bucket="large", Key="k")["ContentType"] == "text/x"
    assert (s3.list_multipart_uploads(Bucket="large").get("Uploads"), left(tmp_path)) == (None, [])


@pytest.mark.skipif(shutil.which("aws") is None, reason="the AWS CLI is not there")
def test_aws_cli(storage: Storage, tmp_path: Path) -> None:
    """
    ``aws s3 cp`` to the storage system, within it, and back.
    """
    content = os.urandom(20 * MIB)
    (tmp_path / "up").write_bytes(content)
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": storage.through.key_id,
        "AWS_SECRET_ACCESS_KEY": storage.through.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
    }
    for source, target in (
        (str(tmp_path / "up"), "s3://large/k"),
        ("s3://large/k", "s3://large/copy"),
        ("s3://large/copy", str(tmp_path / "down")),
    ):
        command = ["aws", "--endpoint-url", f"http://127.0.0.1:{storage.through.port}", "s3", "cp", "--quiet"]
        ran = subprocess.run([*command, source, target], env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    assert storage.read("large", b"k") == content == (tmp_path / "down").read_bytes()
    assert left(tmp_path) == []
