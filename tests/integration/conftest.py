"""
One gateway and two daemons in front of it for the whole suite; its matrix is printed at the end.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from tests.integration.daemon import CLIENT_KEY_ID, CLIENT_SECRET, start_daemon
from tests.integration.rgw import KEY_ID, SECRET, Gateway, install

BUCKET = "integration"

matrix: dict[tuple[str, str], dict[str, str]] = {}
"Outcomes by client and mode, then by way."


@dataclass(frozen=True)
class Way:
    """
    How a client reaches the gateway: straight, or through s3proxy.
    """

    name: str
    scheme: str
    port: int
    key_id: str
    secret: str
    authority: str

    @property
    def url(self) -> str:
        """
        The endpoint.
        """
        return f"{self.scheme}://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Field:
    """
    All running servers.
    """

    ways: dict[str, Way]
    directory: Path
    gateway: Gateway


def _backend(gateway: Gateway, signature: str, secret: str = SECRET) -> str:
    return f"""name = "rgw"
url = "http://127.0.0.1:{gateway.port}"
profile = "ceph-rgw"
signature = "{signature}"
access_key_id = "{KEY_ID}"
secret_access_key = "{secret}"
"""


@pytest.fixture(scope="session")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """
    A gateway, and s3proxy in front of it with Signature V2 and V4.
    """
    install()
    os.environ.pop("AWS_CA_BUNDLE", None)
    directory = tmp_path_factory.mktemp("rgw")
    authority = CA()
    authority_path, server = directory / "authority.pem", directory / "server.pem"
    authority.cert_pem.write_to_path(authority_path)
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(server)
    gateway = Gateway(directory, authority)
    daemons: list[subprocess.Popen[bytes]] = []
    ways = {}
    try:
        gateway.start()
        for scheme, port in (("http", gateway.port), ("https", gateway.tls_port)):
            ways[f"straight {scheme}"] = Way("straight", scheme, port, KEY_ID, SECRET, str(authority_path))
        for signature in ("v2", "v4"):
            process, port, tls_port = start_daemon(directory / signature, _backend(gateway, signature), server)
            daemons.append(process)
            for scheme, number in (("http", port), ("https", tls_port)):
                name = f"through {signature}"
                ways[f"{name} {scheme}"] = Way(name, scheme, number, CLIENT_KEY_ID, CLIENT_SECRET, str(authority_path))
        for signature in ("v2", "v4"):
            name = f"wrong {signature}"
            backend = _backend(gateway, signature, secret="wrong-" + SECRET)
            process, port, _ = start_daemon(directory / name, backend, server)
            daemons.append(process)
            ways[name] = Way(name, "http", port, CLIENT_KEY_ID, CLIENT_SECRET, str(authority_path))
        _wait_for(ways, daemons)
        yield Field(ways, directory, gateway)
    finally:
        for process in daemons:
            process.terminate()
            process.wait(60)
        gateway.stop()


def _wait_for(ways: dict[str, Way], daemons: list[subprocess.Popen[bytes]]) -> None:
    import socket

    for way in ways.values():
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", way.port)) == 0:
                    break
            assert all(process.poll() is None for process in daemons), "a daemon has ended"
            time.sleep(0.05)
    import boto3

    way = ways["straight http"]
    boto3.client(
        "s3",
        endpoint_url=way.url,
        aws_access_key_id=way.key_id,
        aws_secret_access_key=way.secret,
        region_name="us-east-1",
    ).create_bucket(Bucket=BUCKET)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """
    Print the outcome of each client and mode, for each way.
    """
    if not matrix:
        return
    ways = [
        "straight http",
        "straight https",
        "through v2 http",
        "through v2 https",
        "through v4 http",
        "through v4 https",
    ]
    terminalreporter.section("clients of Ceph RGW, straight and through s3proxy")
    terminalreporter.write_line(f"{'client, mode':38} " + " ".join(f"{way:16}" for way in ways))
    for (client, mode), outcomes in matrix.items():
        cells = " ".join(f"{outcomes.get(way, '-'):16}" for way in ways)
        terminalreporter.write_line(f"{client + ', ' + mode:38} {cells}")
