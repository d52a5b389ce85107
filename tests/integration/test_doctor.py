"""
``s3proxy doctor`` at every storage system that is available here: its verdicts, and that it leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.integration.conftest import BUCKET, Field, Way
from tests.integration.gaul import gaul_command
from tests.integration.golang import MINIO, environment, install_program
from tests.integration.moto import command as moto_command
from tests.integration.running import running_swift
from tests.integration.versitygw import install as install_versitygw
from tests.support.processes import end_all, free_port

pytestmark = pytest.mark.integration

KEY_ID, SECRET = "DOCTORACCESSKEY00001", "doctor-secret-of-the-integration-suite-1"

GAUL = """
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v2
s3proxy.identity={key_id}
s3proxy.credential={secret}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={directory}
"""

TAIL = {
    "early-response": "yes",
    "reset-drops": "yes",
    "reset-drops-large": "yes",
    "reset-drops-half": "yes",
    "reset-keeps-former": "yes",
    "reset-drops-part": "yes",
    "nothing-came-later": "yes",
}
FIN = {"fin-drops": "yes", "fin-keeps-former": "yes"}
AUTHENTICATED = {"wrong-secret-refused": "yes", "anonymous-refused": "yes"}
V4 = {"v4-header": "yes", "v4-unsigned-payload": "yes", "v4-wrong-hash-refused": "yes", "v4-presigned": "yes"}
NO_V4 = {"v4-header": "no", "v4-unsigned-payload": "no", "v4-presigned": "no", "signed-chunks": "no"}
V2 = {"v2-amz-date": "yes", "v2-date": "yes", "v2-presigned": "yes"}
NO_V2 = dict.fromkeys(V2, "no")
RESPONSES = dict.fromkeys(
    ("range", "if-none-match", "head-length", "no-such-key", "list-buckets", "list-v2", "delete-objects", "multipart"),
    "yes",
)

CONDITIONS = {
    "put-if-match": "yes",
    "put-if-none-match": "yes",
    # Only S3's directory buckets evaluate this header.
    "put-write-offset": "no",
    "complete-if-match": "yes",
    "complete-if-none-match": "yes",
    "copy-if-match": "no",
    "copy-if-none-match": "no",
    "delete-if-match": "yes",
    "delete-if-match-size": "yes",
    "delete-if-match-modified": "yes",
    "delete-objects-etag": "no",
}

RGW = {
    **AUTHENTICATED, **V4, **V2, **TAIL, **FIN, **RESPONSES,
    **dict.fromkeys(CONDITIONS, "no"),
    "put-if-match": "yes",
    "put-if-none-match": "yes",
    "put-quoted-tag": "no",
    "complete-etag": "no",
    "copy-source-conditions": "no",
    "part-source-conditions": "no",
    "copy-percent": "yes",
    "part-copy-percent": "no",
    "head-silent": "no",
    "204-silent": "yes",
    "304-silent": "yes",
    "subresource-get-bucket-acl": "yes",
    "subresource-get-bucket-ownershipcontrols": "no",
    "subresource-put-object-renameobject": "no",
    "subresource-put-object-tagging": "yes",
    "signed-chunks": "yes",
    "signed-trailer": "no",
    "unsigned-trailer": "no",
    "chunked-transfer": "no",
    "crc32": "yes",
    "crc32-wrong-refused": "no",
    "continue": "yes",
    "key-slashes": "yes",
    "key-plus": "yes",
    "surface-admin": "yes",
    "surface-services": "no",
}  # fmt: skip

# It compares with the version to be written, which never exists: If-None-Match always holds, If-Match never.
RGW_VERSIONED = {**RGW, "put-if-none-match": "no", "put-quoted-tag": "unclear"}

EXPECTED: dict[str, tuple[str, str, dict[str, str]]] = {
    "swift": (
        "swift",
        "v4",
        {
            **AUTHENTICATED, **V4, **V2, **TAIL, **FIN, **RESPONSES,
            "v2-iso-date": "no",
            "unsigned-trailer": "yes",
            "crc32-wrong-refused": "yes",
            "surface-info": "yes",
            "health-get-healthcheck-200": "yes",
        },
    ),
    "minio": (
        "minio",
        "v4",
        {
            **AUTHENTICATED, **V4, **V2, **TAIL, **FIN, **RESPONSES,
            "signed-chunks": "yes",
            "signed-trailer": "yes",
            "unsigned-trailer": "yes",
            "key-slashes": "no",
            "surface-minio": "yes",
            "server-minio": "yes",
            # It refuses every condition, whether it holds or not.
            "put-write-offset": "yes",
        },
    ),
    # versitygw makes up the end of a body that ends with FIN; s3proxy resets.
    "versitygw": (
        "versitygw",
        "v4",
        {
            **AUTHENTICATED, **V4, **NO_V2, **TAIL, **RESPONSES, **CONDITIONS,
            "put-quoted-tag": "yes",
            "complete-etag": "yes",
            "copy-source-conditions": "no",
            "copy-percent": "yes",
            "part-copy-percent": "yes",
            "head-silent": "yes",
            "subresource-get-bucket-ownershipcontrols": "yes",
            "subresource-put-object-renameobject": "no",
            "fin-drops": "no",
            "fin-keeps-former": "no",
            "signed-trailer": "yes",
            "key-dots": "no",
            "crc32-told": "yes",
            "server-versitygw": "yes",
        },
    ),
    "gaul": (
        "generic",
        "v2",
        {**AUTHENTICATED, **NO_V4, **V2, **TAIL, **FIN, **RESPONSES, "v2-iso-date": "no", "key-plus": "no"},
    ),
    "moto": (
        "generic",
        "v4",
        {
            **TAIL, **FIN, **RESPONSES,
            "wrong-secret-refused": "no",
            "v4-header": "unclear",
            "v2-date": "unclear",
            "unsigned-trailer": "yes",
            "crc32-wrong-refused": "no",
        },
    ),
}  # fmt: skip
"""
Profile, signature and verdicts, by storage system.
"""


@dataclass(frozen=True)
class Storage:
    """
    A running storage system, for http.
    """

    port: int
    key_id: str = KEY_ID
    secret: str = SECRET

    @property
    def url(self) -> str:
        """
        The endpoint.
        """
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def _running(command: list[str], port: int, directory: Path, **variables: str) -> Iterator[Storage]:
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**environment(), **variables},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except urllib.error.HTTPError as error:
                error.close()
                if error.code < 500:
                    break
            except OSError:
                assert process.poll() is None, (directory / "log").read_text()
            time.sleep(0.1)
        yield Storage(port)
    finally:
        end_all([process])


@contextmanager
def running_versitygw(directory: Path) -> Iterator[Storage]:
    """
    versitygw over a directory of files.
    """
    port = free_port()
    store, iam = directory / "store", directory / "iam"
    store.mkdir()
    iam.mkdir()
    program = str(install_versitygw())
    # It changes its directory to its store, so relative paths would be below that.
    command = [program, "--port", f"127.0.0.1:{port}", "--iam-dir", str(iam), "posix", str(store)]
    with _running(command, port, directory, ROOT_ACCESS_KEY=KEY_ID, ROOT_SECRET_KEY=SECRET) as storage:
        yield storage


@contextmanager
def running_minio(directory: Path) -> Iterator[Storage]:
    """
    MinIO.
    """
    port, console = free_port(), free_port()
    places = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}", "store"]
    command = [str(install_program(*MINIO)), "server", *places]
    with _running(command, port, directory, MINIO_ROOT_USER=KEY_ID, MINIO_ROOT_PASSWORD=SECRET) as storage:
        yield storage


@contextmanager
def running_gaul(directory: Path) -> Iterator[Storage]:
    """
    gaul/s3proxy, which accepts only Signature V2.
    """
    port = free_port()
    (directory / "store").mkdir()
    properties = directory / "gaul.properties"
    properties.write_text(GAUL.format(port=port, key_id=KEY_ID, secret=SECRET, directory=directory / "store"))
    with _running(gaul_command(properties), port, directory) as storage:
        yield storage


@contextmanager
def running_moto(directory: Path) -> Iterator[Storage]:
    """
    moto's server, which checks no signature.
    """
    port = free_port()
    with _running(moto_command(port), port, directory) as storage:
        yield storage


RUNNING: dict[str, Callable[[Path], Any]] = {
    "swift": running_swift,
    "minio": running_minio,
    "versitygw": running_versitygw,
    "gaul": running_gaul,
    "moto": running_moto,
}


def examine(directory: Path, url: str, key_id: str, secret: str, *options: str) -> tuple[dict[str, Any], str]:
    """
    Run the command; return its document, and its other output.
    """
    secret_file = directory / "doctor-secret"
    secret_file.touch(mode=0o600)
    secret_file.write_text(secret)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "s3proxy.commands.cli", "doctor", url, "--json"),
            *("--access-key-id", key_id, "--secret-file", str(secret_file), *options),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert secret not in ran.stdout + ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return document, ran.stderr


def check(
    document: dict[str, Any],
    profile: str,
    signature: str,
    expected: dict[str, str],
    unlike: AbstractSet[str] = frozenset(),
) -> None:
    """
    Compare a document with the expected verdicts.

    Args:
        unlike: Probes of conditions whose verdicts differ from the profile.
    """
    found = {finding["name"]: finding["verdict"] for finding in document["findings"]}
    assert {name: found[name] for name in expected} == expected
    assert (document["profile"], document["signature"], document["commit"]) == (profile, signature, "tail")
    assert document["drops_at_fin"] is (expected["fin-drops"] == "yes")
    assert document["left"] == []
    if profile != "generic":
        assert {one["name"] for one in document["conditions"] if one["as_profile"] is False} == unlike


def client(url: str, key_id: str, secret: str, signature: str = "s3v4") -> Any:
    """
    Return a boto3 client.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    return boto3.client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(signature_version=signature, s3={"addressing_style": "path"}),
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_a_storage(name: str, tmp_path: Path) -> None:
    """
    The verdicts are the known ones, and the storage system is as empty afterwards as it was before.
    """
    profile, signature, verdicts = EXPECTED[name]
    with RUNNING[name](tmp_path) as storage:
        document, told = examine(tmp_path, storage.url, storage.key_id, storage.secret)

        check(document, profile, signature, verdicts)
        assert document["takes_any_secret"] is (name == "moto")
        assert told.count("\n  yes ") > 20
        straight = client(storage.url, storage.key_id, storage.secret, "s3" if signature == "v2" else "s3v4")
        assert straight.list_buckets()["Buckets"] == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ceph(scheme: str, field: Field, tmp_path: Path) -> None:
    """
    The same for Ceph's gateway, with and without TLS.
    """
    way = field.ways[f"straight {scheme}"]

    document, _ = examine(
        tmp_path, way.url, way.key_id, way.secret, *(["--ca-file", way.authority] * way.url.startswith("https"))
    )

    check(document, "ceph-rgw", "v4", RGW)
    assert _buckets(field.ways["straight http"]) == [BUCKET]


def test_a_bucket_with_versions(field: Field, tmp_path: Path) -> None:
    """
    In an existing bucket that keeps all versions, no version and no upload is left, and the existing objects stay.
    """
    way = field.ways["straight http"]
    straight = client(way.url, way.key_id, way.secret)
    straight.create_bucket(Bucket="versions")
    try:
        straight.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        straight.put_object(Bucket="versions", Key="mine", Body=b"mine")

        document, told = examine(tmp_path, way.url, way.key_id, way.secret, "--bucket", "versions")

        check(document, "ceph-rgw", "v4", RGW_VERSIONED, {"put-if-none-match"})
        assert "in the bucket versions, below s3proxy-doctor-" in told
        listed = straight.list_object_versions(Bucket="versions")
        assert [item["Key"] for item in [*listed["Versions"], *listed.get("DeleteMarkers", [])]] == ["mine"]
        assert "Uploads" not in straight.list_multipart_uploads(Bucket="versions")
        assert straight.get_object(Bucket="versions", Key="mine")["Body"].read() == b"mine"
    finally:
        for item in straight.list_object_versions(Bucket="versions").get("Versions", []):
            straight.delete_object(Bucket="versions", Key=item["Key"], VersionId=item["VersionId"])
        straight.delete_bucket(Bucket="versions")


def _buckets(way: Way) -> list[str]:
    return [bucket["Name"] for bucket in client(way.url, way.key_id, way.secret).list_buckets()["Buckets"]]
