"""
Each storage system that is available here: its profile serves boto3, and what it does with a cut body is known.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from s3proxy.profiles.known import PROFILES
from tests.integration.running import KEY_ID, SECRET, STORAGES, Storage
from tests.support.daemon import twistd_arguments
from tests.support.processes import free_port, running, wait_for_port

pytestmark = pytest.mark.integration

BUCKET, KEY = "tail", "key"
FORMER = b"the former object"


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
