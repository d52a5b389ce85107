"""
SDKs on a machine whose clock is an hour wrong: through s3proxy they correct their time as they do at S3.

S3 responds with 403 RequestTimeTooSkewed and a Date, and the SDKs sign again by its clock.

Source:
    aws-sdk-java-v2, ``ClockSkew`` and ``RetryableStageHelper``: errors of that code, and any 403 of a HEAD, whose Date
    differs by more than four minutes; aws-sdk-go-v2, ``aws/retry/middleware.go``: the code and the Date, no HEAD;
    aws-sdk-js-v3, ``AwsSdkSigV4Signer.errorHandler``: ServerTime of the document, or Date. botocore signs by its
    machine's clock, and never by another: it fails at S3, and it fails here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.catalogue import (
    PROGRAMS,
    CannotInstall,
    _go_source,
    _kept,
    _library,
    _node_source,
    _run,
    apt_program,
)
from tests.integration.storages import Endpoint, Processes, start_legacy_store

pytestmark = pytest.mark.clients

BUCKET, KEY = "clocks", "some/object"
CONTENT = bytes(range(256)) * 1000

BOTO3 = """
import sys
import boto3
from botocore.config import Config
operation, bucket, key, *path = sys.argv[1:]
config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 4, "mode": "standard"})
client = boto3.client("s3", config=config)
try:
    if operation == "put":
        client.put_object(Bucket=bucket, Key=key, Body=open(path[0], "rb").read())
    elif operation == "get":
        open(path[0], "wb").write(client.get_object(Bucket=bucket, Key=key)["Body"].read())
    else:
        print(client.head_object(Bucket=bucket, Key=key)["ContentLength"])
except client.exceptions.ClientError as error:
    sys.exit(str(error))
"""

LIBRARY = "/usr/lib/*/faketime/libfaketime.so.1"
"""
Debian's path of the library that replaces the C library's clock for a program.
"""


@dataclass(frozen=True)
class Sdk:
    """
    An SDK.

    Attributes:
        command: Beginning of the command line of an operation.
        put: The program's name for an upload that may be sent again.
        recovers: The operations after which the SDK corrects its time.
        has_own_clock: Whether its program shifts its clock itself, because it uses no C library.
    """

    command: list[str]
    put: str = "put"
    recovers: tuple[str, ...] = ("put", "get", "head")
    has_own_clock: bool = False


def _java() -> Sdk:
    sources = PROGRAMS / "clock-java"
    java, javac = (apt_program("openjdk-17-jdk-headless", tool) for tool in ("java", "javac"))
    path, is_complete = _kept("clock-java", *[source.read_bytes() for source in sorted(sources.iterdir())])
    if not is_complete:
        maven = apt_program("maven", "mvn")
        _run(
            [
                maven,
                "-B",
                "-q",
                "-f",
                str(sources / "pom.xml"),
                "dependency:copy-dependencies",
                f"-DoutputDirectory={path}",
            ]
        )
        _run([javac, "-cp", f"{path}/*", "-d", str(path), str(sources / "Clock.java")])
        (path / "complete").touch()
    return Sdk([java, "-cp", f"{path}:{path}/*", "Clock"])


def _go() -> Sdk:
    program = _go_source("aws-go", "github.com/aws/aws-sdk-go-v2/service/s3")().tools["aws-go"]
    # The response to HEAD has no code, here as at S3.
    return Sdk([program], recovers=("put", "get"), has_own_clock=True)


def _javascript() -> Sdk:
    tools = _node_source("aws-js", "client-s3")().tools
    return Sdk([tools["node"], tools["aws-js"]], put="put-held")


def _boto3() -> Sdk:
    return Sdk([_library("boto3==1.44.5")().python, "-c", BOTO3], recovers=())


SDKS: dict[str, Callable[[], Sdk]] = {"java-v2": _java, "go-v2": _go, "javascript-v3": _javascript, "boto3": _boto3}


@dataclass(frozen=True)
class Place:
    """
    A daemon, the demo's store as its backend, and a file for the SDKs.
    """

    endpoint: Endpoint
    directory: Path

    def log(self, first: int, count: int) -> list[tuple[str, str]]:
        """
        Return status and code of requests, once they are in the log.
        """
        import time

        for _ in range(200):
            lines = (self.directory / "access.log").read_text().splitlines()[first:]
            if len(lines) >= count:
                break
            time.sleep(0.05)
        found = [re.search(r'HTTP/1\.1" (\d+) (\S+)', line) for line in lines]
        return [(match[1], match[2]) for match in found if match is not None]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """
    The daemon, with the right time.
    """
    directory = tmp_path_factory.mktemp("clocks")
    with Processes(directory) as processes:
        endpoint = start_legacy_store(processes)
        assert endpoint.ask("PUT", f"/{BUCKET}").status == 200
        assert endpoint.ask("PUT", f"/{BUCKET}/{KEY}", CONTENT).status == 200
        (directory / "content").write_bytes(CONTENT)
        yield Place(endpoint, directory)


def _library_of_clocks() -> str:
    found = sorted(Path("/").glob(LIBRARY.lstrip("/")))
    if not found:
        variables = {"DEBIAN_FRONTEND": "noninteractive"}
        _run(["apt-get", "update", "-q"], **variables)
        _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "libfaketime"], **variables)
        found = sorted(Path("/").glob(LIBRARY.lstrip("/")))
    return str(found[0])


def _ask(sdk: Sdk, place: Place, shift: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in {"AWS_CA_BUNDLE", "PYTHONPATH"}}
    environment |= {
        "URL": f"http://127.0.0.1:{place.endpoint.port}",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{place.endpoint.port}",
        "AWS_ACCESS_KEY_ID": place.endpoint.key_id,
        "AWS_SECRET_ACCESS_KEY": place.endpoint.secret,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "STYLE": "path",
        "ATTEMPTS": "4",
        "CLOCK_SHIFT": f"{shift}s",
    }
    if not sdk.has_own_clock:
        environment |= {
            "LD_PRELOAD": _library_of_clocks(),
            "FAKETIME": f"{shift:+d}s",
            # Timers are not changed.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
    return subprocess.run(
        [*sdk.command, *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.parametrize("shift", [3600, -3600], ids=["an hour fast", "an hour slow"])
@pytest.mark.parametrize("operation", ["put", "get", "head"])
@pytest.mark.parametrize("name", SDKS)
def test_a_clock_that_is_wrong(name: str, operation: str, shift: int, place: Place, tmp_path: Path) -> None:
    """
    The first request is refused, the next one is signed by our clock. An SDK that does not recover reports the error.
    """
    try:
        sdk = SDKS[name]()
    except CannotInstall as reason:
        pytest.skip(str(reason))
    first = len((place.directory / "access.log").read_text().splitlines())
    got, written = tmp_path / "got", f"{name}{shift}"
    arguments = {
        "put": [sdk.put, BUCKET, written, str(place.directory / "content")],
        "get": ["get", BUCKET, KEY, str(got)],
        "head": ["head", BUCKET, KEY],
    }

    ran = _ask(sdk, place, shift, *arguments[operation])

    recovers = operation in sdk.recovers
    log = place.log(first, 2 if recovers else 1)
    assert log[0] == ("403", "RequestTimeTooSkewed"), (log, ran)
    if not recovers:
        assert ran.returncode != 0
        assert operation == "head" or "RequestTimeTooSkewed" in ran.stderr
        assert {status for status, _ in log} == {"403"}
        return
    assert ran.returncode == 0, (log, ran.stdout, ran.stderr)
    assert log[-1] == ("200", "-")
    assert len(log) == 2, log
    if operation == "put":
        assert place.endpoint.ask("GET", f"/{BUCKET}/{written}").body == CONTENT
    elif operation == "get":
        assert got.read_bytes() == CONTENT
    else:
        assert ran.stdout.strip() == str(len(CONTENT))
