"""
Current clients with Ceph RGW: what it refuses straight works through s3proxy, and every object comes back unchanged.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.boto import boto
from tests.integration.conftest import BUCKET, Field, Way, matrix
from tests.integration.daemon import CLIENT_SECRET
from tests.integration.rgw import SECRET

pytestmark = pytest.mark.integration

MIB = 1 << 20
WAYS = ("straight http", "straight https", "through v2 http", "through v2 https", "through v4 http", "through v4 https")
MINIO = Path(__file__).parent / "minio"

Run = Callable[[Way, Path], None]
runs: dict[tuple[str, str], Run] = {}


def client_run(client: str, mode: str) -> Callable[[Run], Run]:
    """
    Make a function a row of the matrix.
    """

    def add(run: Run) -> Run:
        runs[client, mode] = run
        return run

    return add


def content_of(size: int) -> bytes:
    """
    Bytes which repeat in no convenient period.
    """
    block = hashlib.sha256(b"s3proxy").digest() * 1023 + b"!"
    return (block * (size // len(block) + 1))[:size]


# boto3


def check_object(way: Way, key: str, body: bytes) -> None:
    """
    Compare an object with what was stored.
    """
    back = boto(way).get_object(Bucket=BUCKET, Key=key)["Body"].read()
    assert back == body, f"{len(back)} bytes came back, {len(body)} were put, and they differ"


@client_run("boto3", "put, small")
def boto_put_small(way: Way, tmp: Path) -> None:
    body = content_of(1000)
    boto(way).put_object(Bucket=BUCKET, Key="small", Body=body, Metadata={"a": "b c"}, ContentType="text/x")
    check_object(way, "small", body)
    head = boto(way).head_object(Bucket=BUCKET, Key="small")
    assert (head["Metadata"], head["ContentType"], head["ContentLength"]) == ({"a": "b c"}, "text/x", 1000)


@client_run("boto3", "put, 20 MiB")
def boto_put(way: Way, tmp: Path) -> None:
    body = content_of(20 * MIB)
    boto(way).put_object(Bucket=BUCKET, Key="put", Body=body)
    check_object(way, "put", body)


@client_run("boto3", "streamed put")
def boto_stream(way: Way, tmp: Path) -> None:
    body = content_of(5 * MIB + 7)
    path = tmp / "streamed"
    path.write_bytes(body)
    with path.open("rb") as file:
        boto(way).put_object(Bucket=BUCKET, Key="streamed", Body=file)
    check_object(way, "streamed", body)


@client_run("boto3", "multipart, 64 MiB")
def boto_multipart(way: Way, tmp: Path) -> None:
    body = content_of(64 * MIB)
    boto(way).upload_fileobj(io.BytesIO(body), BUCKET, "multipart")
    check_object(way, "multipart", body)


@client_run("boto3", "every checksum")
def boto_checksums(way: Way, tmp: Path) -> None:
    body = content_of(200_000)
    for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
        boto(way).put_object(Bucket=BUCKET, Key=algorithm, Body=body, ChecksumAlgorithm=algorithm)
        check_object(way, algorithm, body)


@client_run("boto3", "get, range")
def boto_range(way: Way, tmp: Path) -> None:
    body = content_of(3 * MIB)
    client = boto(way)
    client.put_object(Bucket=BUCKET, Key="ranged", Body=body)
    part = client.get_object(Bucket=BUCKET, Key="ranged", Range="bytes=1000000-1999999")
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert part["Body"].read() == body[1_000_000:2_000_000]


@client_run("boto3", "list, odd keys")
def boto_list(way: Way, tmp: Path) -> None:
    client = boto(way)
    keys = ["odd/a b", "odd/a+b", "odd/ä", "odd/a%2Fb", "odd/a//b", "odd/a;b?c#d&e=f", "odd/(x)'!*", "odd/~.-_"]
    for key in keys:
        client.put_object(Bucket=BUCKET, Key=key, Body=key.encode())
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="odd/", MaxKeys=3)
    listed = [item["Key"] for page in pages for item in page.get("Contents", [])]
    assert listed == sorted(keys, key=str.encode)
    for key in keys:
        check_object(way, key, key.encode())
    deleted = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})
    assert len(deleted["Deleted"]) == len(keys)


@client_run("boto3", "copy, delete")
def boto_copy(way: Way, tmp: Path) -> None:
    from botocore.exceptions import ClientError

    body = content_of(100_000)
    client = boto(way)
    client.put_object(Bucket=BUCKET, Key="from", Body=body)
    client.copy_object(Bucket=BUCKET, Key="to", CopySource={"Bucket": BUCKET, "Key": "from"})
    check_object(way, "to", body)
    client.delete_object(Bucket=BUCKET, Key="to")
    with pytest.raises(ClientError) as raised:
        client.head_object(Bucket=BUCKET, Key="to")
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 404


@client_run("boto3", "presigned")
def boto_presigned(way: Way, tmp: Path) -> None:
    import ssl

    body = content_of(400_000)
    signer = boto(way, signature_version="s3v4")
    context = ssl.create_default_context(cafile=way.authority)
    options = {"context": context} if way.scheme == "https" else {}
    url = signer.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "presigned"})
    urllib.request.urlopen(urllib.request.Request(url, data=body, method="PUT"), **options).close()
    url = signer.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "presigned"})
    with urllib.request.urlopen(url, **options) as response:
        assert response.read() == body


# Commands


def command(arguments: list[str], way: Way, **more: str) -> str:
    """
    Run a command line tool with a way's key; return its output.
    """
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": way.key_id,
        "AWS_SECRET_ACCESS_KEY": way.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SSL_CERT_FILE": way.authority,
    }
    # Go clients use it for more than its name says.
    environment.pop("AWS_CA_BUNDLE", None)
    environment.update(more)
    ran = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-800:]
    return ran.stdout


@client_run("AWS CLI", "cp, ls, presign, rm")
def aws_cli(way: Way, tmp: Path) -> None:
    body = content_of(20 * MIB)
    (tmp / "up").write_bytes(body)
    tool = [str(Path(sys.executable).parent / "aws"), "--endpoint-url", way.url]
    tool[0] = tool[0] if Path(tool[0]).exists() else "aws"
    more = {"AWS_CA_BUNDLE": way.authority} if way.scheme == "https" else {}
    command([*tool, "s3", "cp", "--quiet", str(tmp / "up"), f"s3://{BUCKET}/cli"], way, **more)
    command([*tool, "s3", "cp", "--quiet", f"s3://{BUCKET}/cli", str(tmp / "down")], way, **more)
    assert (tmp / "down").read_bytes() == body
    assert "cli" in command([*tool, "s3", "ls", f"s3://{BUCKET}/"], way, **more)
    assert "Signature=" in command([*tool, "s3", "presign", f"s3://{BUCKET}/cli"], way, **more)
    command([*tool, "s3", "rm", "--quiet", f"s3://{BUCKET}/cli"], way, **more)


@client_run("s3cmd", "put, get, ls, del")
def s3cmd(way: Way, tmp: Path) -> None:
    body = content_of(18 * MIB)
    (tmp / "up").write_bytes(body)
    tool = [
        str(Path(sys.executable).parent / "s3cmd"),
        "--config=/dev/null",
        f"--access_key={way.key_id}",
        f"--secret_key={way.secret}",
        f"--host=127.0.0.1:{way.port}",
        f"--host-bucket=127.0.0.1:{way.port}",
        "--ssl" if way.scheme == "https" else "--no-ssl",
        f"--ca-certs={way.authority}",
        "--no-progress",
        "--multipart-chunk-size-mb=8",
    ]
    command([*tool, "put", str(tmp / "up"), f"s3://{BUCKET}/s3cmd"], way)
    command([*tool, "get", "--force", f"s3://{BUCKET}/s3cmd", str(tmp / "down")], way)
    assert (tmp / "down").read_bytes() == body
    assert "s3cmd" in command([*tool, "ls", f"s3://{BUCKET}/"], way)
    command([*tool, "del", f"s3://{BUCKET}/s3cmd"], way)


_built: list[Path] = []


def minio_client(tmp: Path) -> Path:
    """
    Build our program for minio-go, once.
    """
    if not _built:
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
        if go is None:
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(
                ["apt-get", "install", "-q", "-y", "--no-install-recommends", "golang-go"], check=True, env=environment
            )
            go = "go"
        path = tmp / "minio-client"
        subprocess.run([go, "build", "-o", str(path), "."], cwd=MINIO, check=True)
        _built.append(path)
    return _built[0]


def minio(way: Way, tmp: Path, mode: str, size: int) -> None:
    """
    Put and get with minio-go.
    """
    endpoint = f"127.0.0.1:{way.port}"
    program = str(minio_client(tmp))
    command([program, endpoint, way.key_id, way.secret, BUCKET, str(size), mode, way.scheme], way)


@client_run("minio-go", "signed chunks")
def minio_plain(way: Way, tmp: Path) -> None:
    minio(way, tmp, "plain", 9 * MIB + 1)


@client_run("minio-go", "signed chunks and trailer")
def minio_trailer(way: Way, tmp: Path) -> None:
    minio(way, tmp, "trailer", 9 * MIB + 1)


@client_run("minio-go", "multipart, 40 MiB")
def minio_multipart(way: Way, tmp: Path) -> None:
    minio(way, tmp, "plain", 40 * MIB)


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("row", list(runs), ids=lambda row: f"{row[0]}-{row[1]}")
def test_client(row: tuple[str, str], name: str, field: Field, tmp_path: Path) -> None:
    """
    Every client works through s3proxy, whether or not the gateway itself would have accepted its requests.
    """
    outcomes = matrix.setdefault(row, {})
    try:
        runs[row](field.ways[name], tmp_path)
    except Exception as error:
        outcomes[name] = "fails"
        print(f"{row} {name}: {type(error).__name__}: {error}")
        if name.startswith("through"):
            raise
    else:
        outcomes[name] = "works"


def test_the_matrix_was_run(field: Field) -> None:
    """
    Each row was tried each way, and at least one upload that the gateway refuses works through s3proxy.
    """
    assert set(matrix) == set(runs)
    assert all(set(outcomes) == set(WAYS) for outcomes in matrix.values())
    refused = [row for row, outcomes in matrix.items() if "fails" in {outcomes[way] for way in WAYS[:2]}]
    assert refused, "the gateway refuses nothing: the suite shows nothing"
    assert all(outcomes[way] == "works" for outcomes in matrix.values() for way in WAYS[2:])


def test_admin_surface(field: Field) -> None:
    """
    Our own key has admin caps at the gateway, but no client's request reaches its admin API.
    """
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def status(name: str) -> int:
        way = field.ways[name]
        request = AWSRequest("GET", f"{way.url}/admin/user?uid=s3proxy")
        S3SigV4Auth(Credentials(way.key_id, way.secret), "s3", "us-east-1").add_auth(request)
        prepared = urllib.request.Request(request.url, headers=dict(request.headers.items()))
        try:
            with urllib.request.urlopen(prepared) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert status("straight http") == 200
    assert status("through v2 http") == 403
    assert status("through v4 http") == 403


@pytest.mark.parametrize("signature", ["v2", "v4"])
def test_a_wrong_backend_secret(signature: str, field: Field) -> None:
    """
    An error of the gateway about our own signature reaches no client: every request gets 500 InternalError.
    """
    from botocore.exceptions import ClientError

    client = boto(field.ways[f"wrong {signature}"])
    asked = (
        lambda: client.get_object(Bucket=BUCKET, Key="small"),
        lambda: client.head_object(Bucket=BUCKET, Key="small"),
        lambda: client.put_object(Bucket=BUCKET, Key="wrong", Body=b"hello"),
        lambda: client.put_object(Bucket=BUCKET, Key="wrong", Body=content_of(2 * MIB)),
        lambda: client.list_objects_v2(Bucket=BUCKET),
        client.list_buckets,
    )
    for ask in asked:
        with pytest.raises(ClientError) as raised:
            ask()
        response = raised.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert response["Error"]["Code"] in {"InternalError", "500"}


def test_no_output_holds_a_secret(field: Field) -> None:
    """
    Neither the daemons' output nor their access logs have a secret, or a signature of a presigned URL.
    """
    output = "".join(path.read_text("utf-8", "replace") for path in field.directory.glob("*/*.log"))

    assert output.count("REST.PUT.OBJECT") > 20
    assert "X-Amz-Signature=" in output
    for secret in (SECRET, CLIENT_SECRET, "wrong-" + SECRET):
        assert secret not in output
    assert not re.search(r"X-Amz-Signature=[0-9a-f]{8}", output)
    assert not re.search(r"Signature=[0-9a-f]{64}", output)
    assert "Traceback" not in output
