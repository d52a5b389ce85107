"""
s3proxy after HAProxy and nginx, as the documentation configures them: clients are known, signatures hold, nothing else
changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from trustme import CA

from tests.integration.conftest import CLIENT_KEY_ID, CLIENT_SECRET
from tests.integration.storages import Processes, start_legacy_store
from tests.support.processes import free_port

pytestmark = pytest.mark.integration

PACKAGES = {
    "haproxy": "/usr/sbin/haproxy",
    "nginx-light": "/usr/sbin/nginx",
    "libnginx-mod-stream": "/usr/lib/nginx/modules/ngx_stream_module.so",
}
PROXY = "127.0.0.9"
"""
The source address of the proxies; clients have 127.0.0.1.
"""

MIB = 1 << 20

FRONTS = (
    "haproxy v1",
    "haproxy v2",
    "haproxy v2 with extensions",
    "haproxy v2, TLS relayed",
    "haproxy, TLS ended",
    "nginx v1",
    "nginx v1, TLS relayed",
    "nginx, TLS ended",
    "nginx, TLS ended, RFC 7239",
)


@dataclass(frozen=True)
class Fronts:
    """
    All proxies, each on a port of its own, in front of one daemon.
    """

    ports: dict[str, int]
    authority: Path
    directory: Path

    def log(self, word: str = "", count: int = 0) -> list[list[str]]:
        """
        Return the lines of the access log that have a word, split into words, once there are this many: each line is
        written after its response.
        """
        for _ in range(200):
            lines = (self.directory / "access.log").read_text().splitlines()
            found = [line.split(" ") for line in lines if word in line]
            if len(found) >= count:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{len(found)} lines with {word}")

    def client(self, name: str) -> Any:
        """
        A client of one of the proxies, with its defaults.
        """
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=f"{self.scheme(name)}://127.0.0.1:{self.ports[name]}",
            aws_access_key_id=CLIENT_KEY_ID,
            aws_secret_access_key=CLIENT_SECRET,
            region_name="us-east-1",
            verify=str(self.authority),
            config=Config(retries={"total_max_attempts": 1}),
        )

    @staticmethod
    def scheme(name: str) -> str:
        """
        The scheme that the clients of a proxy use.
        """
        return "https" if "TLS" in name else "http"


def _install() -> None:
    missing = [package for package, path in PACKAGES.items() if not Path(path).exists()]
    if missing:
        variables = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *missing]):
            subprocess.run(["apt-get", *arguments], check=True, env=variables, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    """
    The demo's store, a daemon with a listener of each kind, one HAProxy, one nginx.
    """
    _install()
    directory = tmp_path_factory.mktemp("proxies")
    authority = CA()
    authority_path, server = directory / "authority.pem", directory / "server.pem"
    authority.cert_pem.write_to_path(authority_path)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    listeners = {name: free_port() for name in ("proxy", "proxy-tls", "x-forwarded", "forwarded")}
    ports = {name: free_port() for name in FRONTS}
    common = f'trusted_peers = ["{PROXY}"]\n'
    local = "interface=127.0.0.1"
    more = f"""
[[listener]]
endpoint = "tcp:{listeners["proxy"]}:{local}"
{common}proxy_protocol = true
[[listener]]
endpoint = "ssl:{listeners["proxy-tls"]}:{local}:privateKey={server}"
{common}proxy_protocol = true
[[listener]]
endpoint = "tcp:{listeners["x-forwarded"]}:{local}"
{common}trusted_forwarded = "x-forwarded"
[[listener]]
endpoint = "tcp:{listeners["forwarded"]}:{local}"
{common}trusted_forwarded = "forwarded"
"""
    _configure_haproxy(directory, ports, listeners)
    _configure_nginx(directory, ports, listeners)
    with Processes(directory) as processes:
        start_legacy_store(processes, more)
        processes.start([PACKAGES["haproxy"], "-db", "-f", "haproxy.cfg"], ports["haproxy v1"])
        processes.start([PACKAGES["nginx-light"], "-p", str(directory), "-c", "nginx.conf"], ports["nginx v1"])
        found = Fronts(ports, authority_path, directory)
        found.client("haproxy v1").create_bucket(Bucket="bucket")
        yield found


def _configure_haproxy(directory: Path, ports: dict[str, int], listeners: dict[str, int]) -> None:
    relays = {
        "haproxy v1": ("proxy", "send-proxy"),
        "haproxy v2": ("proxy", "send-proxy-v2"),
        "haproxy v2 with extensions": ("proxy", "send-proxy-v2 proxy-v2-options crc32c,ssl,unique-id"),
        "haproxy v2, TLS relayed": ("proxy-tls", "send-proxy-v2"),
    }
    text = "defaults\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n"
    for number, (name, (listener, options)) in enumerate(relays.items()):
        text += f"""
listen relay{number}
    mode tcp
    bind 127.0.0.1:{ports[name]}
    unique-id-format %[uuid()]
    server s3proxy 127.0.0.1:{listeners[listener]} source {PROXY} {options} check inter 200ms
"""
    text += f"""
frontend s3
    mode http
    bind 127.0.0.1:{ports["haproxy, TLS ended"]} ssl crt {directory}/server.pem
    option forwardfor
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto https
    http-request set-header Host inner
    default_backend s3proxy
backend s3proxy
    mode http
    option http-no-delay
    server s3proxy 127.0.0.1:{listeners["x-forwarded"]} source {PROXY}

listen checked
    mode http
    bind 127.0.0.1:{free_port()}
    option httpchk GET /health-check
    http-check expect status 403
    server s3proxy 127.0.0.1:{listeners["proxy"]} source {PROXY} send-proxy-v2 check inter 200ms
"""
    (directory / "haproxy.cfg").write_text(text)


def _configure_nginx(directory: Path, ports: dict[str, int], listeners: dict[str, int]) -> None:
    headers = {
        "nginx, TLS ended": (
            "x-forwarded",
            """proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;""",
        ),
        "nginx, TLS ended, RFC 7239": (
            "forwarded",
            'proxy_set_header Forwarded "for=$remote_addr;host=\\"$http_host\\";proto=$scheme";',
        ),
    }
    servers = ""
    for name, (listener, lines) in headers.items():
        servers += f"""
    server {{
        listen 127.0.0.1:{ports[name]} ssl;
        ssl_certificate server.pem;
        ssl_certificate_key server.pem;
        client_max_body_size 0;
        location / {{
            proxy_pass http://127.0.0.1:{listeners[listener]};
            proxy_bind {PROXY};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_set_header Host inner:1;
            {lines}
        }}
    }}
"""
    relays = ""
    for name, listener in (("nginx v1", "proxy"), ("nginx v1, TLS relayed", "proxy-tls")):
        relays += f"""
    server {{
        listen 127.0.0.1:{ports[name]};
        proxy_pass 127.0.0.1:{listeners[listener]};
        proxy_bind {PROXY};
        proxy_protocol on;
    }}
"""
    temporary = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"""daemon off;
load_module {PACKAGES["libnginx-mod-stream"]};
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
stream {{{relays}}}
http {{
    access_log off;
{temporary}{servers}}}
"""
    )


@pytest.mark.parametrize("name", FRONTS)
def test_a_client_behind_it(name: str, fronts: Fronts) -> None:
    """
    Uploads, parts, downloads, presigned URLs and awkward keys work; the log has the client's address, and the host name
    that it used.
    """
    client = fronts.client(name)
    body = os.urandom(1000)
    host = f"127.0.0.1:{fronts.ports[name]}"

    client.put_object(Bucket="bucket", Key="small", Body=body)
    assert client.get_object(Bucket="bucket", Key="small")["Body"].read() == body
    client.put_object(Bucket="bucket", Key="large", Body=body * 3000)
    assert client.get_object(Bucket="bucket", Key="large")["Body"].read() == body * 3000
    upload = client.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    part = client.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=body * 6000)
    done = client.complete_multipart_upload(
        Bucket="bucket",
        Key="parts",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    assert done["Location"].startswith(f"{fronts.scheme(name)}://{host}/")
    url = client.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "small"})
    if fronts.scheme(name) == "http":
        with urllib.request.urlopen(url) as response:
            assert response.read() == body
    for key in ("a//b", "x/./../y", "%2F+ ;"):
        client.put_object(Bucket="bucket", Key=key, Body=key)
        assert client.get_object(Bucket="bucket", Key=key)["Body"].read() == key.encode()
    found = {item["Key"] for item in client.list_objects_v2(Bucket="bucket")["Contents"]}
    assert found == {"small", "large", "parts", "a//b", "x/./../y", "%2F+ ;"}
    for key in found:
        client.delete_object(Bucket="bucket", Key=key)

    assert {line[4] for line in fronts.log(f" {host} ", 19)} == {"127.0.0.1"}


def test_health_checks_are_the_proxys_own(fronts: Fronts) -> None:
    """
    HAProxy's checks, with and without a request, come from HAProxy itself, and count as nobody's fault.
    """
    assert {line[4] for line in fronts.log("/health-check", 1)} == {PROXY}
    assert "wrong PROXY header" not in (fronts.directory / "processes.log").read_text()


def test_nobody_else_is_believed(fronts: Fronts) -> None:
    """
    A client that is not listed sends the headers of a proxy to each listener: they do not change its address.
    """
    ports = [line.partition("tcp:")[2].partition(":")[0] for line in _endpoints(fronts.directory)]
    for port in filter(None, ports):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/bucket/spoofed",
            headers={
                "X-Forwarded-For": "192.0.2.7",
                "X-Forwarded-Host": "evil",
                "Forwarded": "for=192.0.2.7;host=evil",
            },
        )
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(request)

    lines = fronts.log("spoofed", 4)
    assert {line[4] for line in lines} == {"127.0.0.1"}
    assert not any("evil" in line for line in lines)


def _endpoints(directory: Path) -> list[str]:
    return [line for line in (directory / "s3proxy.toml").read_text().splitlines() if "tcp:" in line]


def test_they_are_installed() -> None:
    """
    The suite does not pass because it skips them.
    """
    assert all(shutil.which(path) for package, path in PACKAGES.items() if not package.startswith("lib"))
