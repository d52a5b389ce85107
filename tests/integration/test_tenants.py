"""
Three client keys and two users of Ceph RGW: a client that is mapped to another user sees, reads and changes nothing.
"""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Field
from tests.integration.rgw import KEY_ID, SECRET, Gateway
from tests.support.daemon import twistd_arguments
from tests.support.processes import free_port, running, wait_for_port

pytestmark = pytest.mark.integration

MIB = 1 << 20
SIGNATURES = ("v2", "v4")
USERS = {
    "alice": ("RGWKEYOFALICE0000001", "rgw-secret-of-alice-of-the-suite-0000001"),
    "bob": ("RGWKEYOFBOB000000001", "rgw-secret-of-bob-of-the-suite-000000001"),
}
CLIENTS = {"alice-1": "alice", "alice-2": "alice", "bob-1": "bob"}
SMALL, LARGE, CHANGED = b"of alice", bytes(range(251)) * (6 * MIB // 251), b"of somebody else"


@dataclass(frozen=True)
class Tenants:
    """
    A daemon that signs for each client with the key of its user.
    """

    gateway: Gateway
    port: int
    bucket: str

    def client(self, name: str) -> Any:
        """
        Return a boto3 client with the key of that name.
        """
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=name,
            aws_secret_access_key=f"client secret of {name}",
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, signature_version="s3v4"),
        )


@pytest.fixture(scope="module")
def users(field: Field) -> Gateway:
    """
    The gateway, with its users.
    """
    for name, (key_id, secret) in USERS.items():
        field.gateway.create_user(name, key_id, secret)
    return field.gateway


@pytest.fixture(scope="module", params=SIGNATURES)
def tenants(request: pytest.FixtureRequest, users: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """
    The daemon, which runs until the last test has ended, and what alice's first key has stored.
    """
    directory = tmp_path_factory.mktemp(f"tenants-{request.param}")
    port = free_port()
    path = _configure(directory, users, request.param, port)
    with running(twistd_arguments(path), directory) as process:
        wait_for_port(port, process)
        made = Tenants(users, port, f"of-alice-{request.param}")
        alice = made.client("alice-1")
        alice.create_bucket(Bucket=made.bucket)
        alice.put_object(Bucket=made.bucket, Key="small", Body=SMALL)
        alice.put_object(Bucket=made.bucket, Key="large", Body=LARGE)
        made.client("bob-1").create_bucket(Bucket=f"of-bob-{request.param}")
        yield made


CLIENT_KEY = """[[key]]
access_key_id = "{name}"
secret_access_key = "client secret of {name}"
backend_key = "{user}"
"""
BACKEND_KEY = """[[backend_key]]
name = "{name}"
backend = "rgw"
access_key_id = "{key_id}"
secret_access_key = "{secret}"
"""


def _configure(directory: Path, gateway: Gateway, signature: str, port: int) -> Path:
    clients = [CLIENT_KEY.format(name=name, user=user) for name, user in CLIENTS.items()]
    (directory / "keys.toml").write_text("".join(clients))
    keys = "".join(
        BACKEND_KEY.format(name=name, key_id=key_id, secret=secret) for name, (key_id, secret) in USERS.items()
    )
    path = directory / "s3proxy.toml"
    path.write_text(
        f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
[[backend]]
name = "rgw"
url = "http://127.0.0.1:{gateway.port}"
profile = "ceph-rgw"
signature = "{signature}"
access_key_id = "{KEY_ID}"
secret_access_key = "{SECRET}"
{keys}
[log]
access = "access.log"
"""
    )
    return path


def check_unchanged(tenants: Tenants) -> None:
    """
    All of alice's objects are as she stored them, and nothing else is there.
    """
    alice = tenants.client("alice-1")
    listed = {item["Key"] for item in alice.list_objects_v2(Bucket=tenants.bucket)["Contents"]}
    assert listed == {"small", "large"}
    assert alice.get_object(Bucket=tenants.bucket, Key="small")["Body"].read() == SMALL
    assert alice.get_object(Bucket=tenants.bucket, Key="large")["Body"].read() == LARGE


def test_keys_of_one_user_share_what_it_has(tenants: Tenants) -> None:
    """
    Many to one: the second key lists, reads, writes and deletes what the first one stored, and the user owns it.
    """
    bucket = tenants.bucket
    second = tenants.client("alice-2")

    assert bucket in {item["Name"] for item in second.list_buckets()["Buckets"]}
    assert second.get_object(Bucket=bucket, Key="large")["Body"].read() == LARGE
    second.put_object(Bucket=bucket, Key="second", Body=LARGE)
    second.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "small"})
    assert tenants.client("alice-1").get_object(Bucket=bucket, Key="copy")["Body"].read() == SMALL
    assert {item["Key"] for item in second.list_objects_v2(Bucket=bucket)["Contents"]} > {"second", "copy"}
    for key in ("second", "copy"):
        second.delete_object(Bucket=bucket, Key=key)
    assert tenants.gateway.bucket_owner(bucket) == "alice"
    check_unchanged(tenants)


def test_each_lists_its_own_buckets(tenants: Tenants) -> None:
    """
    No client sees even the name of another user's bucket, or what the backend's own key has.
    """
    listed = {name: {b["Name"] for b in tenants.client(name).list_buckets()["Buckets"]} for name in CLIENTS}

    assert tenants.bucket in listed["alice-1"] == listed["alice-2"]
    assert tenants.bucket.replace("alice", "bob") in listed["bob-1"]
    assert all(name.startswith("of-alice-") for name in listed["alice-1"])
    assert all(name.startswith("of-bob-") for name in listed["bob-1"])
    assert tenants.gateway.bucket_owner(tenants.bucket.replace("alice", "bob")) == "bob"


ATTEMPTS: dict[str, Callable[[Any, str], Any]] = {
    "list": lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    "list versions": lambda s3, bucket: s3.list_object_versions(Bucket=bucket),
    "list uploads": lambda s3, bucket: s3.list_multipart_uploads(Bucket=bucket),
    "head bucket": lambda s3, bucket: s3.head_bucket(Bucket=bucket),
    "read": lambda s3, bucket: s3.get_object(Bucket=bucket, Key="small"),
    "head": lambda s3, bucket: s3.head_object(Bucket=bucket, Key="small"),
    "write": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="small", Body=CHANGED),
    "write anew": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="new", Body=CHANGED),
    "write large": lambda s3, bucket: s3.put_object(Bucket=bucket, Key="large", Body=LARGE[::-1]),
    "delete": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key="small"),
    "copy from": lambda s3, bucket: s3.copy_object(
        Bucket=bucket.replace("alice", "bob"), Key="stolen", CopySource={"Bucket": bucket, "Key": "small"}
    ),
    "copy to": lambda s3, bucket: s3.copy_object(
        Bucket=bucket, Key="small", CopySource={"Bucket": bucket, "Key": "large"}
    ),
    "begin an upload": lambda s3, bucket: s3.create_multipart_upload(Bucket=bucket, Key="new"),
    "read rights": lambda s3, bucket: s3.get_bucket_acl(Bucket=bucket),
    "take rights": lambda s3, bucket: s3.put_bucket_acl(Bucket=bucket, ACL="public-read-write"),
    "take an object's rights": lambda s3, bucket: s3.put_object_acl(Bucket=bucket, Key="small", ACL="public-read"),
    "delete the bucket": lambda s3, bucket: s3.delete_bucket(Bucket=bucket),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_another_users_key_is_refused(attempt: str, tenants: Tenants) -> None:
    """
    The gateway itself responds with 403, by the user that signs, and everything stays as it was.
    """
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        ATTEMPTS[attempt](tenants.client("bob-1"), tenants.bucket)

    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert response["Error"]["Code"] in {"AccessDenied", "403"}
    check_unchanged(tenants)


def test_several_are_not_deleted_at_once(tenants: Tenants) -> None:
    """
    The list of keys to delete is checked, too.
    """
    from botocore.exceptions import ClientError

    with contextlib.suppress(ClientError):
        deleted = tenants.client("bob-1").delete_objects(
            Bucket=tenants.bucket, Delete={"Objects": [{"Key": "small"}, {"Key": "large"}]}
        )
        assert {error["Code"] for error in deleted["Errors"]} == {"AccessDenied"}
        assert not deleted.get("Deleted")

    check_unchanged(tenants)


def test_a_presigned_url_is_its_signers(tenants: Tenants) -> None:
    """
    Everyone who has the URL can read what alice's key signed, but not what bob's key signed.
    """
    urls = {
        name: tenants.client(name).generate_presigned_url("get_object", {"Bucket": tenants.bucket, "Key": "small"})
        for name in ("alice-2", "bob-1")
    }

    with urllib.request.urlopen(urls["alice-2"], timeout=30) as response:
        assert response.read() == SMALL
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urls["bob-1"], timeout=30)
    caught.value.close()
    assert caught.value.code == 403


def test_a_name_is_not_taken_over(tenants: Tenants) -> None:
    """
    Bucket names belong to the gateway: a second user cannot make a bucket that exists, and learns only that.
    """
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        tenants.client("bob-1").create_bucket(Bucket=tenants.bucket)

    assert caught.value.response["Error"]["Code"] == "BucketAlreadyExists"
    assert tenants.gateway.bucket_owner(tenants.bucket) == "alice"
    check_unchanged(tenants)
