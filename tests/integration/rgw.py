"""
One Ceph Object Gateway from Debian's packages: monitor, store and gateway, on loopback, in one directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from trustme import CA

from tests.support.processes import end_all, free_port

PACKAGES = ("radosgw", "ceph-osd", "ceph-mon", "ceph-common")
STORES = {
    "memstore": "memstore device bytes = 4294967296",
    "bluestore": """bluestore block path =
bluestore block create = true
bluestore block size = 21474836480
bluestore cache autotune = false
bluestore cache size = 134217728
osd memory target = 939524096""",
}
"""
Settings of each kind of store. Deleted objects keep their space in the one in memory; the other is a file.
"""
KEY_ID, SECRET = "RGWACCESSKEY00000001", "rgw-secret-of-the-integration-suite-0001"


def install() -> None:
    """
    Install the packages if they are missing.
    """
    if all(shutil.which(name) for name in ("radosgw", "ceph-osd", "ceph-mon", "ceph")):
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing Ceph from Debian's packages", flush=True)
    subprocess.run(["apt-get", "update", "-q"], check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", "install", "-q", "-y", "--no-install-recommends", *PACKAGES],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


class Gateway:
    """
    The running gateway.

    Args:
        store: ``memstore``, which starts sooner, or ``bluestore`` for long runs.
        domain: The domain below which a host name begins with a bucket.

    Attributes:
        port: Its port for http.
        tls_port: Its port for https.
    """

    def __init__(self, directory: Path, authority: CA, store: str = "memstore", domain: str = "localhost") -> None:
        self._directory = directory
        self._store = store
        self._domain = domain
        self._configuration = directory / "ceph.conf"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs = (directory / "ceph.log").open("ab")
        self.port, self.tls_port, self._monitor_port = free_port(), free_port(), free_port()
        certificate = authority.issue_cert("127.0.0.1", "localhost", domain, f"*.{domain}")
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / "tls.pem")

    def start(self) -> None:
        """
        Start everything; return when the gateway responds and its user exists.
        """
        directory, fsid = self._directory, str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "run", "crash"):
            (directory / name).mkdir()
        address = f"[v2:127.0.0.1:{self._monitor_port}]"
        plain, tls = f"endpoint=127.0.0.1:{self.port}", f"ssl_endpoint=127.0.0.1:{self.tls_port}"
        frontends = f"beast {plain} {tls} ssl_certificate={directory}/tls.pem"
        self._configuration.write_text(
            f"""[global]
fsid = {fsid}
mon host = {address}
public addr = 127.0.0.1
ms bind ipv4 = true
ms bind ipv6 = false
ms mon client mode = crc
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
keyring = {directory}/keyring
run dir = {directory}/run
admin socket = {directory}/run/$name.asok
crash dir = {directory}/crash
log file = {directory}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
[mon]
mon data = {directory}/mon
mon data avail crit = 1
mon data avail warn = 2
mon cluster log file = {directory}/cluster.log
auth allow insecure global id reclaim = true
[osd]
osd data = {directory}/osd
osd objectstore = {self._store}
{STORES[self._store]}
osd class load list = *
osd class default list = *
osd check max object name len on startup = false
[client]
rgw data = {directory}/rgw
rgw frontends = {frontends}
rgw dns name = {self._domain}
rgw crypt require ssl = false
"""
        )
        self._run(
            "ceph-authtool",
            "--create-keyring",
            f"{directory}/keyring",
            "--gen-key",
            "-n",
            "mon.",
            "--cap",
            "mon",
            "allow *",
        )
        self._run("ceph-authtool", f"{directory}/keyring", "--gen-key", "-n", "client.admin", "--cap", "mon", "allow *")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, f"{directory}/monmap")
        self._ceph(
            "ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{directory}/monmap", "--keyring", f"{directory}/keyring"
        )
        self._spawn("ceph-mon", "-i", "a", "-f")
        self._ceph("ceph", "--connect-timeout", "60", "osd", "stat")
        osd = str(uuid.uuid4())
        self._ceph("ceph", "osd", "new", osd)
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._ceph("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost")
        self._spawn("ceph-osd", "-i", "0", "-f")
        self._wait("the store", lambda: b" 1 up" in self._ceph("ceph", "osd", "stat"))
        self.start_gateway()
        self.wait()
        self.create_user("s3proxy", KEY_ID, SECRET, "--caps", "users=*;buckets=*")

    def create_user(self, name: str, key_id: str, secret: str, *more: str) -> None:
        """
        Make a user with a key.
        """
        keys = ("--access-key", key_id, "--secret", secret)
        self._ceph("radosgw-admin", "user", "create", "--uid", name, "--display-name", name, *keys, *more)

    def bucket_owner(self, bucket: str) -> str:
        """
        Return the name of the user who owns a bucket.
        """
        owner: str = json.loads(self._ceph("radosgw-admin", "bucket", "stats", "--bucket", bucket))["owner"]
        return owner

    def start_gateway(self) -> None:
        """
        Start the daemon that speaks S3, without waiting for it.
        """
        self._spawn("radosgw", "-n", "client.rgw", "-f")

    def wait(self) -> None:
        """
        Return when the gateway responds.
        """
        self._wait("the gateway", self._responses)

    def kill_gateway(self) -> None:
        """
        End the daemon that speaks S3 with SIGKILL; the store keeps running.
        """
        process = self._processes.pop()
        process.kill()
        process.wait()

    def stop(self) -> None:
        """
        End everything.
        """
        end_all(self._processes)
        self._logs.close()

    def _responses(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _wait(self, what: str, is_there: object) -> None:
        for _ in range(400):
            if is_there():  # type: ignore[operator]
                return
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.25)
        raise AssertionError(f"{what} did not start: {(self._directory / 'ceph.log').read_text()[-2000:]}")

    def _ceph(self, command: str, *arguments: str) -> bytes:
        return self._run(command, "-c", str(self._configuration), *arguments)

    def _run(self, *arguments: str) -> bytes:
        return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=self._logs, timeout=120).stdout

    def _spawn(self, command: str, *arguments: str) -> None:
        self._processes.append(
            subprocess.Popen(
                [command, "-c", str(self._configuration), *arguments],
                stdout=self._logs,
                stderr=self._logs,
                stdin=subprocess.DEVNULL,
            )
        )
