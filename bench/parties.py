"""
The parties that are measured, and how to start them: two relays, s3proxy, and other proxies that verify and re-sign.

Programs that must be built are kept in ``~/.cache/s3proxy-bench``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.gaul import gaul_command
from tests.integration.rust import install_native
from tests.support.processes import free_port
from tests.support.signer import Signer

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "s3proxy-bench"
LOADGEN = Path(__file__).parent / "loadgen"
KEY = Signer()
SINK_KEY, SINK_SECRET = "BENCH", "bench-secret"

NGINX = """
worker_processes 1;
worker_rlimit_nofile 8192;
daemon off;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    upstream backend {{ server 127.0.0.1:{sink}; keepalive 1024; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} {tls};
        {certificate}
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_buffer_size 256k;
            proxy_buffers 4 256k;
            proxy_busy_buffers_size 256k;
        }}
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4096
    tune.bufsize 262144
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
listen bench
    bind 127.0.0.1:{port} {tls}
    server sink 127.0.0.1:{sink}
"""

S3PROXY = """
[server]
listen = ["{endpoint}"]
workers = {workers}
[[backend]]
name = "sink"
url = "http://127.0.0.1:{sink}"
access_key_id = "{sink_key}"
secret_access_key = "{sink_secret}"
connections = {connections}
[credentials]
source = "file:keys.toml"
[limits]
object_size = "64 GiB"
[log]
access = "{access_log}"
"""

RCLONE = """
[sink]
type = s3
provider = Other
access_key_id = {sink_key}
secret_access_key = {sink_secret}
endpoint = http://127.0.0.1:{sink}
region = us-east-1
no_check_bucket = true
"""

GAUL = """
s3proxy.{secure}endpoint=http{s}://127.0.0.1:{port}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={key.access_key_id}
s3proxy.credential={key.secret}
s3proxy.v4-max-non-chunked-request-size=536870912
{keystore}
jclouds.provider=s3
jclouds.identity={sink_key}
jclouds.credential={sink_secret}
jclouds.endpoint=http://127.0.0.1:{sink}
jclouds.s3.virtual-host-buckets=false
"""


@dataclass(frozen=True)
class Place:
    """
    Where and how a party runs.

    Attributes:
        directory: An empty directory for the party.
        port: The port that it listens on.
        sink: The port of the backend.
        certificate: The path of a key and its certificate, if the party uses TLS.
        workers: The number of worker processes of s3proxy.
        connections: The maximum number of connections from s3proxy to the backend.
        access_log: Whether s3proxy writes an access log.
    """

    directory: Path
    port: int
    sink: int
    certificate: Path | None = None
    workers: int = 1
    connections: int = 512
    access_log: bool = False


@dataclass(frozen=True)
class Party:
    """
    A program between the clients and the backend.

    Attributes:
        verifies: Whether it verifies signatures. A party that does not only relays.
        about: How it runs, for the report.
        command: Writes its configuration, and returns its command line.
    """

    name: str
    verifies: bool
    about: str
    command: Callable[[Place], list[str]]


def _installed(program: str, package: str) -> str:
    """
    Return the path of a program. Install its Debian package if it is missing.
    """
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    if shutil.which(program, path=places) is None:
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", package], check=True)
    found = shutil.which(program, path=places)
    if found is None:
        raise SystemExit(f"{program} is missing: install {package}")
    return found


def _go_environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}
    return {**kept, **more}


def loadgen() -> Path:
    """
    Build the program that is the generator and the backend. Return its path.
    """
    path = CACHE / "bin" / "loadgen"
    sources = [*LOADGEN.glob("*.go"), LOADGEN / "go.mod"]
    if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        command = ["go", "build", "-o", str(path), "."]
        subprocess.run(command, cwd=LOADGEN, check=True, env=_go_environment(CGO_ENABLED="0"))
    return path


def _go_program(name: str, module: str) -> str:
    path = CACHE / "bin" / name
    if not path.exists():
        print(f"building {name}", flush=True)
        subprocess.run(["go", "install", module], check=True, env=_go_environment(GOBIN=str(path.parent)))
    return str(path)


def _nginx(place: Place) -> list[str]:
    tls, certificate = "", ""
    if place.certificate is not None:
        tls = "ssl"
        certificate = f"ssl_certificate {place.certificate}; ssl_certificate_key {place.certificate};"
    path = place.directory / "nginx.conf"
    path.write_text(
        NGINX.format(directory=place.directory, sink=place.sink, port=place.port, tls=tls, certificate=certificate)
    )
    return [_installed("nginx", "nginx-light"), "-p", str(place.directory), "-c", str(path)]


def _haproxy(place: Place) -> list[str]:
    tls = ""
    if place.certificate is not None:
        tls = f"ssl crt {place.certificate}"
    path = place.directory / "haproxy.cfg"
    path.write_text(HAPROXY.format(port=place.port, sink=place.sink, tls=tls))
    return [_installed("haproxy", "haproxy"), "-f", str(path)]


def _s3proxy(place: Place) -> list[str]:
    endpoint = f"tcp:{place.port}:interface=127.0.0.1"
    if place.certificate is not None:
        endpoint = f"ssl:{place.port}:interface=127.0.0.1:privateKey={place.certificate}"
    (place.directory / "s3proxy.toml").write_text(
        S3PROXY.format(
            endpoint=endpoint,
            workers=place.workers,
            sink=place.sink,
            sink_key=SINK_KEY,
            sink_secret=SINK_SECRET,
            connections=place.connections,
            access_log="access.log" if place.access_log else "none",
        )
    )
    keys = place.directory / "keys.toml"
    keys.touch(mode=0o600)
    keys.write_text(f'[[key]]\naccess_key_id = "{KEY.access_key_id}"\nsecret_access_key = "{KEY.secret}"\n')
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    return [sys.executable, "-c", code, "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"]


def _s3proxy_native(place: Place) -> list[str]:
    return ["env", f"PYTHONPATH={install_native()}", *_s3proxy(place)]


def _versitygw(place: Place) -> list[str]:
    certificate = []
    if place.certificate is not None:
        certificate = ["--cert", str(place.certificate), "--key", str(place.certificate)]
    return [
        _go_program("versitygw", "github.com/versity/versitygw/cmd/versitygw@latest"),
        *("--port", f"127.0.0.1:{place.port}", "--access", KEY.access_key_id, "--secret", KEY.secret),
        *("--keep-alive", "--quiet", *certificate),
        *("s3", "--access", SINK_KEY, "--secret", SINK_SECRET, "--use-path-style"),
        # Without these options, it refuses to stream to a backend without TLS.
        *("--endpoint", f"http://127.0.0.1:{place.sink}", "--disable-checksum", "--disable-data-integrity-check"),
    ]


def _rclone(place: Place) -> list[str]:
    path = place.directory / "rclone.conf"
    path.write_text(RCLONE.format(sink=place.sink, sink_key=SINK_KEY, sink_secret=SINK_SECRET))
    certificate = []
    if place.certificate is not None:
        certificate = ["--cert", str(place.certificate), "--key", str(place.certificate)]
    return [
        _go_program("rclone", "github.com/rclone/rclone@latest"),
        *("--config", str(path), "serve", "s3", "--addr", f"127.0.0.1:{place.port}"),
        *("--auth-key", f"{KEY.access_key_id},{KEY.secret}", *certificate, "sink:"),
    ]


def _gaul(place: Place) -> list[str]:
    keystore = ""
    if place.certificate is not None:
        path = place.directory / "keystore.p12"
        command = ["openssl", "pkcs12", "-export", "-out", str(path), "-passout", "pass:bench-bench"]
        command += ["-in", str(place.certificate)]
        subprocess.run(command, check=True)
        keystore = f"s3proxy.keystore-path={path}\ns3proxy.keystore-password=bench-bench"
    path = place.directory / "gaul.properties"
    path.write_text(
        GAUL.format(
            secure="secure-" if keystore else "",
            s="s" if keystore else "",
            port=place.port,
            key=KEY,
            keystore=keystore,
            sink=place.sink,
            sink_key=SINK_KEY,
            sink_secret=SINK_SECRET,
        )
    )
    return gaul_command(path)


OPTIONAL = "s3proxy-native"
"""
The party that runs only if it is named: it needs a Rust compiler.
"""

PARTIES = {
    party.name: party
    for party in (
        Party("nginx", False, "relays only: one worker, buffering off, buffers of 256 KiB, no access log", _nginx),
        Party("haproxy", False, "relays only: one thread, buffers of 256 KiB, no log", _haproxy),
        Party("s3proxy", True, "one process, no access log; re-signs with Signature V4", _s3proxy),
        Party(OPTIONAL, True, "the same with the native rooms", _s3proxy_native),
        Party(
            "versitygw",
            True,
            "`s3` backend, keep-alive on, no access log; sends no trailer to a backend without TLS",
            _versitygw,
        ),
        Party("rclone", True, "`serve s3` of an s3 remote, defaults", _rclone),
        Party("gaul", True, "gaul/s3proxy, jclouds' s3 provider, aws-v2-or-v4", _gaul),
    )
}
"""
The parties by name.
"""


@contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[int]:
    """
    Start a process, and wait until it listens. Yield its id, and end it afterwards.
    """
    log_path = directory / "process.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=_go_environment()
        )
    try:
        until = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"{command[0]} did not start:\n{log_path.read_text('utf-8', 'replace')}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def running_party(
    party: Party,
    directory: Path,
    sink: int,
    certificate: Path | None = None,
    *,
    workers: int = 1,
    connections: int = 512,
    access_log: bool = False,
) -> Iterator[tuple[int, int]]:
    """
    Run a party. Yield its process id and its port.
    """
    port = free_port()
    own = directory / f"{party.name}-{port}"
    own.mkdir()
    place = Place(own, port, sink, certificate, workers, connections, access_log)
    with running(party.command(place), port, own) as pid:
        yield pid, port


@contextmanager
def running_sink(directory: Path) -> Iterator[tuple[int, int]]:
    """
    Run the backend. Yield its process id and its port.
    """
    port = free_port()
    own = directory / "sink"
    own.mkdir()
    with running([str(loadgen()), "sink", f"127.0.0.1:{port}"], port, own) as pid:
        yield pid, port
