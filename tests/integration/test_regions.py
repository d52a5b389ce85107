"""
Clients that know no region, or a wrong one, use a listener whose region is neither theirs nor its backend's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Field
from tests.integration.golang import MC, environment, install_program
from tests.integration.stores import CLIENT_KEY, CLIENT_SECRET, Store, boto3_client, daemon, rgw_store, versitygw_store

pytestmark = pytest.mark.integration

REGION = "eu-central-1"
BODY = bytes(range(251)) * 4000


@pytest.fixture(scope="module", params=["rgw", "versitygw"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """
    A backend of another region, with a bucket and an object.
    """
    if request.param == "rgw":
        field: Field = request.getfixturevalue("field")
        found = rgw_store(field.gateway)
        _fill(found)
        yield found
    else:
        with versitygw_store(tmp_path_factory.mktemp("regions"), "us-west-2") as found:
            _fill(found)
            yield found


def _fill(store: Store) -> None:
    client = store.client()
    more = {"CreateBucketConfiguration": {"LocationConstraint": store.region}} if store.name == "versitygw" else {}
    client.create_bucket(Bucket="regions", **more)
    client.put_object(Bucket="regions", Key="there", Body=BODY)


@pytest.fixture(scope="module")
def port(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """
    The port of the listener.
    """
    with daemon(store, tmp_path_factory.mktemp(f"regions-{store.name}"), REGION) as port:
        yield port


@pytest.fixture(autouse=True)
def no_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Neither the environment nor a file gives boto3 a region.
    """
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


def _head_bucket(client: Any) -> None:
    assert client.head_bucket(Bucket="regions")["BucketRegion"] == REGION


def _location(client: Any) -> None:
    assert client.get_bucket_location(Bucket="regions")["LocationConstraint"] == REGION


def _put(client: Any) -> None:
    client.put_object(Bucket="regions", Key="new", Body=BODY)
    assert client.get_object(Bucket="regions", Key="new")["Body"].read() == BODY


def _get(client: Any) -> None:
    assert client.get_object(Bucket="regions", Key="there")["Body"].read() == BODY


def _head(client: Any) -> None:
    assert client.head_object(Bucket="regions", Key="there")["ContentLength"] == len(BODY)


def _list(client: Any) -> None:
    assert "there" in {item["Key"] for item in client.list_objects_v2(Bucket="regions")["Contents"]}


OPERATIONS = [_head_bucket, _location, _put, _get, _head, _list]


@pytest.mark.parametrize("region", [None, "us-east-1", "ap-southeast-2", REGION])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__.lstrip("_"))
def test_boto3(operation: Callable[[Any], None], region: str | None, port: int) -> None:
    """
    Each operation is the first one of its client: a refused request is signed again for the right region.
    """
    operation(boto3_client(port, region))


@pytest.fixture(scope="module")
def mc(tmp_path_factory: pytest.TempPathFactory, port: int) -> Callable[..., bytes]:
    """
    mc, which first requests a bucket's region, signed for us-east-1.
    """
    program = install_program(*MC)
    directory = tmp_path_factory.mktemp("mc")

    def run(*arguments: str) -> bytes:
        ran = subprocess.run(
            [str(program), "--config-dir", str(directory), "--no-color", "--quiet", *arguments],
            capture_output=True,
            check=False,
            timeout=60,
            env=environment(),
            stdin=subprocess.DEVNULL,
        )
        assert ran.returncode == 0, (ran.stdout + ran.stderr).decode()
        return ran.stdout

    run("alias", "set", "proxy", f"http://127.0.0.1:{port}", CLIENT_KEY, CLIENT_SECRET, "--api", "S3v4")
    return run


def test_mc(mc: Callable[..., bytes], tmp_path: Path) -> None:
    """
    mc lists, stores, reads and gets the metadata of an object.
    """
    path = tmp_path / "file"
    path.write_bytes(BODY)

    assert b"regions" in mc("ls", "proxy")
    assert b"there" in mc("ls", "proxy/regions")
    mc("cp", str(path), "proxy/regions/by-mc")
    assert mc("cat", "proxy/regions/by-mc") == BODY
    assert str(len(BODY)) in mc("stat", "--json", "proxy/regions/by-mc").decode()
    mc("rm", "proxy/regions/by-mc")
