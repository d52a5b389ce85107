"""
versitygw's own tests of authentication, streams and forms, run with s3proxy in front of versitygw.

They check codes, messages and elements. If S3 itself was seen to differ from what a test wants, the table has the
test's name with the reason, and the test must fail with just that difference.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.golang import environment
from tests.integration.versitygw import KEY_ID, SECRET, install, start_versitygw
from tests.support.processes import end_all, free_port, wait_for_port

pytestmark = pytest.mark.integration

NAMES = (Path(__file__).parent / "versitygw-tests.txt").read_text().split()
CLIENT_KEY, CLIENT_SECRET = "VGWCLIENTKEY00000001", "versitygw-client-secret-of-the-suite-01"

FULL_STOP = "S3's own text, as recorded, has no full stop at its end"
QUOTES = "S3's own text, as recorded, has single quotation marks"
COMPONENTS = "S3 has one sentence for whichever component is missing or cannot be read, as recorded"
DAY_FIRST = "S3 looks at the form of the scope's day before its service and its end, as recorded"
SPACES = "S3 repeats a condition with a space after each comma, however its signer wrote it, as users' reports show"
FIELD_NAMES = "S3 writes the names of a form's fields as its documentation does, as recorded"

DIFFERENT: dict[str, tuple[str, str]] = {
    "Authentication_credentials_incorrect_region": (QUOTES, "instead got .* the region 'us-west-1' is wrong"),
    "Authentication_credentials_incorrect_service": (DAY_FIRST, 'instead got .* incorrect date format "32234"'),
    "Authentication_credentials_invalid_terminal": (DAY_FIRST, 'instead got .* incorrect date format "32234"'),
    "Authentication_date_mismatch": (
        "it first makes a user by versitygw's administration, which is not S3 and does not pass",
        "exit status 1",
    ),
    "Authentication_invalid_auth_header": (FULL_STOP, r"\(space\) required\., instead got .*\(space\) required$"),
    "Authentication_invalid_date_header": (FULL_STOP, "date header$"),
    "Authentication_malformed_component": (COMPONENTS, "instead got .* requires three components"),
    "Authentication_missing_credentials": (COMPONENTS, "instead got .* requires three components"),
    "Authentication_missing_date_header": (FULL_STOP, "date header$"),
    "Authentication_missing_signature": (COMPONENTS, "instead got .* requires three components"),
    "Authentication_missing_signedheaders": (COMPONENTS, "instead got .* requires three components"),
    "Authentication_unsupported_signature_version": (
        "S3 repeats the Authorization header whole",
        "ArgumentValue to be AWS2-HMAC-SHA1, instead got AWS2-HMAC-SHA1 Credential=",
    ),
    "PostObject_expired_due_to_date": (
        "a form's date has no limit of its own: its policy's expiration is the limit, and this one has not expired",
        "EOF",
    ),
    "PostObject_incorrect_region": (QUOTES, "instead got the region 'us-west-2' is wrong"),
    "PostObject_invalid_content_type": (FULL_STOP, "did not hold$"),
    "PostObject_invalid_credential_format": (FIELD_NAMES, "instead got X-Amz-Credential$"),
    "PostObject_invalid_object_names": (
        "its profile refuses keys which files cannot hold before versitygw is asked, with S3's code for them",
        "expected error code to be 400, instead got InvalidArgument$",
    ),
    "PostObject_invalid_policy_document": (QUOTES, "^FAIL .* test 10 failed: .* instead got .* Unexpected: 'extra'$"),
    "PostObject_invalid_tagging": (FULL_STOP, "published schema$"),
    "PostObject_partial_auth_fields": (FIELD_NAMES, "instead got .* a field named 'X-Amz-Signature'"),
    "PostObject_policy_access_control": (
        SPACES,
        r'test 9 failed: .* instead got .*: \["eq", "\$content-type", "text/plain"\]$',
    ),
    "PostObject_policy_condition_key_mismatch": (SPACES, r'instead got .*: \["eq", "\$key", "expected-key"\]$'),
    "PostObject_policy_content_length_too_large": (
        "S3's own text, as recorded, does not say that the size is an object's",
        "instead got Your proposed upload exceeds the maximum allowed size$",
    ),
    "PostObject_success_status_201": (
        "S3's own document (POST Object, its example of 201) is in no name space",
        "in name space .* but have no name space",
    ),
    "PresignedAuth_creds_incorrect_region": (QUOTES, "instead got .* the region 'us-west-1' is wrong"),
    "PresignedAuth_expired_request": (FULL_STOP, "instead got Request has expired$"),
    "PresignedAuth_security_token_with_permanent_credentials": (
        "the token is added after signing, and S3 looks at a lasting key's token after the signature",
        "response status code to be 400, instead got 403",
    ),
    "UnsignedStreamingPayloadTrailer_incomplete_body": (
        "S3 needs no blank line at the end: a declared trailer is missing, and not cut off",
        "^FAIL .* test 5 failed: expected error code to be IncompleteBody, instead got MalformedTrailerError$",
    ),
    "UnsignedStreamingPayloadTrailer_multiple_checksum_headers": (
        "S3 has a shorter sentence for a checksum in a header and another in a trailer, as recorded",
        "instead got Expecting a single x-amz-checksum- header$",
    ),
}
"""
Tests that do not pass: S3's behaviour, and the message of versitygw's client.
"""


@dataclass(frozen=True)
class Endpoint:
    """
    The endpoint for the tests.
    """

    url: str
    key_id: str
    secret: str


@dataclass(frozen=True)
class Setup:
    """
    versitygw, and s3proxy in front of it.
    """

    program: Path
    directory: Path
    straight: Endpoint
    through: Endpoint


def _configure(directory: Path, port: int, store_port: int) -> None:
    (directory / "keys.toml").write_text(
        f'[[key]]\naccess_key_id = "{CLIENT_KEY}"\nsecret_access_key = "{CLIENT_SECRET}"\n'
    )
    (directory / "s3proxy.toml").write_text(
        f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
refuse = ["v2-header", "v2-query", "v4a-query"]
[[backend]]
name = "versitygw"
url = "http://127.0.0.1:{store_port}"
profile = "versitygw"
access_key_id = "{KEY_ID}"
secret_access_key = "{SECRET}"
[credentials]
source = "file:keys.toml"
[anonymous]
allow = true
[log]
access = "access.log"
"""
    )


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """
    Both run until the last test has ended.
    """
    program = install()
    directory = tmp_path_factory.mktemp("versitygw")
    # Its tests of administration run it as ./versitygw.
    (directory / "versitygw").symlink_to(program)
    port = free_port()
    with contextlib.ExitStack() as stack:

        def started(process: subprocess.Popen[bytes], listening: int) -> None:
            stack.callback(end_all, [process])
            wait_for_port(listening, process)

        store, store_port = start_versitygw(program, directory)
        started(store, store_port)
        _configure(directory, port, store_port)
        with (directory / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(
                ["twistd", "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"],
                cwd=directory,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        started(daemon, port)
        yield Setup(
            program,
            directory,
            Endpoint(f"http://127.0.0.1:{store_port}", KEY_ID, SECRET),
            Endpoint(f"http://127.0.0.1:{port}", CLIENT_KEY, CLIENT_SECRET),
        )


def _client(endpoint: Endpoint) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        aws_access_key_id=endpoint.key_id,
        aws_secret_access_key=endpoint.secret,
        region_name="us-east-1",
    )


def _run(setup: Setup, endpoint: Endpoint, name: str) -> str:
    """
    Run one test; return the message of its client if it fails, otherwise an empty text.
    """
    ran = subprocess.run(
        [str(setup.program), "test", "-a", endpoint.key_id, "-s", endpoint.secret, "-e", endpoint.url, name],
        cwd=setup.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(),
    )
    if ran.returncode == 0:
        return ""
    _empty(_client(setup.straight))
    output = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr)
    failed = re.search(r"FAIL.*", output)
    return failed[0] if failed is not None else output


def _empty(client: Any) -> None:
    for bucket in client.list_buckets()["Buckets"]:
        for item in client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", []):
            client.delete_object(Bucket=bucket["Name"], Key=item["Key"])
        for upload in client.list_multipart_uploads(Bucket=bucket["Name"]).get("Uploads", []):
            client.abort_multipart_upload(Bucket=bucket["Name"], Key=upload["Key"], UploadId=upload["UploadId"])
        client.delete_bucket(Bucket=bucket["Name"])


@pytest.mark.parametrize("name", NAMES)
def test_straight(name: str, setup: Setup) -> None:
    """
    The control: versitygw passes its own tests here.
    """
    assert _run(setup, setup.straight, name) == ""


@pytest.mark.parametrize("name", NAMES)
def test_through(name: str, setup: Setup) -> None:
    """
    s3proxy responds as the tests want, or as S3 itself was seen to respond.
    """
    said = _run(setup, setup.through, name)
    if name in DIFFERENT:
        assert re.search(DIFFERENT[name][1], said) is not None, said
    else:
        assert said == ""


def test_every_name_was_run() -> None:
    """
    All 112 tests were run, each once.
    """
    assert len(set(NAMES)) == len(NAMES) == 112
    assert DIFFERENT.keys() <= set(NAMES)
