"""
The backends, each started once, and s3proxy in front of each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from dataclasses import field as dict_field
from functools import partial
from pathlib import Path
from typing import Any

from trustme import CA

from s3proxy.testing.legacy_quirks import MODES
from tests.clients.catalogue import apt_program
from tests.integration import rgw, swift, versitygw
from tests.integration.daemon import CLIENT_KEY_ID, CLIENT_SECRET, start_daemon
from tests.integration.gaul import VERSION as GAUL_VERSION
from tests.integration.gaul import gaul_command
from tests.integration.gzip_proxy import compressing_command
from tests.support.processes import end_all, free_port, wait_for_port

DOMAIN = "s3.clients.test"
"""
The domain below which a host name begins with a bucket, at s3proxy and at the storage systems.
"""

COMPRESSES = bool(os.environ.get("S3PROXY_CLIENTS_GZIP"))
"""
Whether an nginx that compresses XML stands between s3proxy and each storage system. It must not break any cell.
"""

GAUL = """
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v2
s3proxy.identity={key_id}
s3proxy.credential={secret}
s3proxy.cors-allow-all=true
{more}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={directory}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 1024
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
"""


@dataclass(frozen=True)
class Door:
    """
    An endpoint for clients.

    Attributes:
        ports: Ports by scheme.
        virtual_ports: Ports by scheme for virtual-hosted style, if it has others.
        path: Path of the endpoint; empty for most.
        styles: Ways to address buckets here: each style's name, with the reason if it is impossible, or an empty text.
        response_seconds: Timeout of one response.
    """

    ports: dict[str, int]
    key_id: str
    secret: str
    path: str = ""
    styles: tuple[tuple[str, str], ...] = (("path", ""), ("virtual", ""))
    virtual_ports: dict[str, int] = dict_field(default_factory=dict)
    response_seconds: int = 60

    def port(self, scheme: str, style: str) -> int:
        """
        Return the port for a scheme and a style.
        """
        return ((self.virtual_ports if style == "virtual" else {}) or self.ports)[scheme]


@dataclass(frozen=True)
class BackendKind:
    """
    A column of the matrix: a storage system, and how s3proxy signs for it.

    Attributes:
        storage: Name of the system; two columns may share one.
        lines: Further lines of its ``[[backend]]``.
    """

    name: str
    title: str
    storage: str
    signature: str
    profile: str = "generic"
    lines: str = ""


BACKENDS = {
    kind.name: kind
    for kind in (
        BackendKind("rgw-v2", "Ceph RGW, by V2", "rgw", "v2", "ceph-rgw"),
        BackendKind("rgw-v4", "Ceph RGW, by V4", "rgw", "v4", "ceph-rgw"),
        BackendKind("swift", "OpenStack Swift, by V4", "swift", "v4", "swift"),
        BackendKind("versitygw", "versitygw, by V4", "versitygw", "v4", "versitygw"),
        BackendKind("gaul", "gaul/s3proxy, which knows V2 only", "gaul", "v2"),
        BackendKind(
            "walrus-3.4",
            "stand-in for Walrus 3.4, V2 only",
            "walrus-3.4",
            "v2",
            "walrus-3.4",
            # It never responds to an upload in parts: s3proxy keeps the parts.
            'multipart = "spool"\n',
        ),
        BackendKind(
            "walrusbackend-4.x",
            "stand-in for WalrusBackend 4.x, V2 only",
            "walrusbackend-4.x",
            "v2",
            "walrusbackend-4.x",
            # It lists neither uploads nor parts, and keeps the parts of an object that is overwritten: s3proxy keeps
            # the parts.
            'multipart = "spool"\n',
        ),
        BackendKind("osg-4.3", "stand-in for OSG 4.3, by V2", "osg-4.3", "v2", "osg-4.3"),
        BackendKind("riakcs", "stand-in for Riak CS, by V2", "riakcs", "v2", "riakcs"),
    )
}
"""
The columns by name.
"""


class Field:
    """
    All running servers.

    Args:
        names: Names of the needed columns.

    Attributes:
        straight: Doors of the storage systems, by name.
        through: Doors of s3proxy, by column.
        versions: Versions of the storage systems, by name.
        authority: Path of the certificate that issued all others.
    """

    def __init__(self, directory: Path, names: list[str]) -> None:
        self.directory = directory
        self.straight: dict[str, Door] = {}
        self.through: dict[str, Door] = {}
        self.versions: dict[str, str] = {}
        self._kinds = [BACKENDS[name] for name in names]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._servers: list[Any] = []
        self._authority = CA()
        self.authority, self._server = directory / "authority.pem", directory / "server.pem"
        self._authority.cert_pem.write_to_path(self.authority)
        certificate = self._authority.issue_cert("127.0.0.1", "localhost", DOMAIN, f"*.{DOMAIN}")
        certificate.private_key_and_cert_chain_pem.write_to_path(self._server)
        self._proxy_lines: list[str] = []
        self._tls_ports: list[int] = []

    def start(self) -> None:
        """
        Start everything; return when all servers listen.
        """
        for storage in dict.fromkeys(kind.storage for kind in self._kinds):
            started = time.monotonic()
            directory = self.directory / storage
            directory.mkdir()
            start = partial(self._legacy, storage) if storage in MODES else getattr(self, f"_{storage}")
            self.straight[storage] = start(directory)
            print(f"{storage} {self.versions[storage]}: {time.monotonic() - started:.0f} s", flush=True)
        if self._proxy_lines:
            self._start_terminator()
        for kind in self._kinds:
            door = self.straight[kind.storage]
            directory = self.directory / f"s3proxy-{kind.name}"
            storage_port = door.ports["http"]
            if COMPRESSES:
                storage_port = self._compress(kind.name, storage_port)
            process, port, tls_port = start_daemon(
                directory,
                f'name = "{kind.storage}"\nurl = "http://127.0.0.1:{storage_port}"\nprofile = "{kind.profile}"\n'
                f'signature = "{kind.signature}"\naccess_key_id = "{door.key_id}"\n'
                f'secret_access_key = "{door.secret}"\n{kind.lines}',
                self._server,
                DOMAIN,
                lines=f'multipart_directory = "{directory / "multipart"}"\n',
            )
            self._processes.append(process)
            self.through[kind.name] = Door({"http": port, "https": tls_port}, CLIENT_KEY_ID, CLIENT_SECRET)
            self._wait(process, port, tls_port)

    def stop(self) -> None:
        """
        End everything.
        """
        end_all(self._processes)
        for server in self._servers:
            server.stop()

    def _wait(self, process: subprocess.Popen[bytes], *ports: int) -> None:
        for port in ports:
            wait_for_port(port, process)

    def _spawn(self, directory: Path, command: list[str], *ports: int) -> None:
        with (directory / "process.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self._processes.append(process)
        self._wait(process, *ports)

    def _over_tls(self, name: str, port: int) -> dict[str, int]:
        """
        Add TLS in front of a port; return both ports by scheme.
        """
        tls_port = free_port()
        self._tls_ports.append(tls_port)
        self._proxy_lines.append(
            f"listen {name}\n    bind 127.0.0.1:{tls_port} ssl crt {self._server} alpn http/1.1\n"
            f"    server {name} 127.0.0.1:{port}\n"
        )
        return {"http": port, "https": tls_port}

    def _compress(self, name: str, port: int) -> int:
        """
        Start an nginx that compresses XML in front of a port; return its port.
        """
        directory = self.directory / f"nginx-{name}"
        directory.mkdir()
        command, compressing = compressing_command(directory, port)
        self._spawn(directory, command, compressing)
        return compressing

    def _start_terminator(self) -> None:
        directory = self.directory / "haproxy"
        directory.mkdir()
        path = directory / "haproxy.cfg"
        path.write_text(HAPROXY + "".join(self._proxy_lines))
        self._spawn(directory, [apt_program("haproxy", "haproxy"), "-f", str(path)], *self._tls_ports)

    def _rgw(self, directory: Path) -> Door:
        rgw.install()
        # A store in memory would never release the space of deleted objects.
        gateway = rgw.Gateway(directory, self._authority, "bluestore", DOMAIN)
        self._servers.append(gateway)
        gateway.start()
        output = subprocess.run(["radosgw", "--version"], check=True, capture_output=True, text=True).stdout
        self.versions["rgw"] = output.split()[2]
        return Door({"http": gateway.port, "https": gateway.tls_port}, rgw.KEY_ID, rgw.SECRET)

    def _swift(self, directory: Path) -> Door:
        commands = swift.install()
        servers = swift.Swift(directory, commands, DOMAIN)
        self._servers.append(servers)
        servers.start()
        code = "from importlib.metadata import version; print(version('swift'))"
        output = subprocess.run([str(commands / "python"), "-c", code], check=True, capture_output=True, text=True)
        self.versions["swift"] = output.stdout.strip()
        return Door(self._over_tls("swift", servers.port), swift.KEY_ID, swift.SECRET)

    def _versitygw(self, directory: Path) -> Door:
        process, port = versitygw.start_versitygw(versitygw.install(), directory, DOMAIN)
        self._processes.append(process)
        self._wait(process, port)
        self.versions["versitygw"] = versitygw.VERSION.removeprefix("v")
        return Door(self._over_tls("versitygw", port), versitygw.KEY_ID, versitygw.SECRET)

    def _gaul(self, directory: Path) -> Door:
        key_id, secret = "GAULACCESSKEY0000001", "gaul-secret-of-the-client-matrix-000001"
        (directory / "store").mkdir()
        ports = []
        # With a domain it takes any other host name for a bucket, even an address: so each style has its own process.
        for style, more in (("path", ""), ("virtual", f"s3proxy.virtual-host={DOMAIN}")):
            port = free_port()
            (directory / style).mkdir()
            path = directory / style / "gaul.properties"
            path.write_text(
                GAUL.format(port=port, key_id=key_id, secret=secret, more=more, directory=directory / "store")
            )
            self._spawn(directory / style, gaul_command(path), port)
            ports.append(self._over_tls(f"gaul-{style}", port))
        self.versions["gaul"] = GAUL_VERSION
        return Door(ports[0], key_id, secret, virtual_ports=ports[1])

    def _legacy(self, mode: str, directory: Path) -> Door:
        key_id, secret = "WALRUSACCESSKEY00001", "walrus-secret-of-the-client-matrix-0001"
        port = free_port()
        (directory / "store").mkdir()
        command = [sys.executable, str(Path(__file__).parent / "walrus.py"), mode, str(port), str(directory / "store")]
        self._spawn(directory, [*command, key_id, secret], port)
        self.versions[mode] = "of s3proxy.testing"
        return Door(
            self._over_tls(mode, port),
            key_id,
            secret,
            MODES[mode].service_path.decode(),
            (("path", ""), ("virtual", "the stand-in reads no host names")),
            response_seconds=15 if MODES[mode].hangs_on_uploads else 60,
        )


def has_mount_namespaces() -> bool:
    """
    Return True if a process here may replace the machine's files with its own.
    """
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0


UNSHARE = ("unshare", "--map-root-user", "--mount")
"""
Runs a command with its own mounts. It needs no privilege if user namespaces are allowed.
"""
