"""
One OpenStack Swift with its S3 API, from PyPI: all its servers, on loopback, in one directory.
"""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.support.processes import end_all, free_port

PACKAGES = ("memcached", "liberasurecode-dev")
REQUIREMENT = "swift==2.38.*"
KEY_ID, SECRET = "soak:tester", "swift-secret-of-the-integration-suite-01"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s3proxy-tests"
"""
Where the virtual environment is kept between runs.
"""

STORAGE = ("account", "container", "object")
PARTS = (*STORAGE, "proxy")
"""
The servers, in the order in which they start.
"""


def install() -> Path:
    """
    Install what Swift needs if it is missing.

    Returns:
        The directory of its commands.
    """
    if not shutil.which("memcached") or not list(Path("/usr/include").glob("liberasurecode/erasurecode.h")):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        print("installing what Swift needs from Debian's packages", flush=True)
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *PACKAGES]):
            subprocess.run(["apt-get", *arguments], check=True, env=environment, stdout=subprocess.DEVNULL)
    commands = CACHE / "swift" / "bin"
    # Made under another name first: an installation that was interrupted must not pass for a whole one.
    if not (commands / "swift-proxy-server").exists():
        print("installing Swift", flush=True)
        shutil.rmtree(CACHE / "swift", ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(CACHE / "swift")], check=True)
        subprocess.run([str(commands / "pip"), "install", "-q", REQUIREMENT], check=True)
    return commands


class Swift:
    """
    The running servers.

    Args:
        commands: The directory of Swift's commands.
        domain: The domain below which a host name begins with a bucket; empty for none.

    Attributes:
        port: Port of the proxy server, which speaks S3, for http.
    """

    def __init__(self, directory: Path, commands: Path, domain: str = "") -> None:
        self._directory = directory
        self._domain = domain
        self._commands = commands
        self._ports = {part: free_port() for part in (*PARTS, "memcached")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._logs = (directory / "swift.log").open("ab")

    @property
    def port(self) -> int:
        return self._ports["proxy"]

    def start(self) -> None:
        """
        Start everything; return when the proxy server responds.
        """
        self._configure()
        memcached = [
            "memcached",
            "-u",
            getpass.getuser(),
            "-l",
            "127.0.0.1",
            "-p",
            str(self._ports["memcached"]),
            "-U",
            "0",
        ]
        self._processes["memcached"] = self._spawn(memcached)
        for part in PARTS:
            self.start_part(part)
        self.wait()

    def stop(self) -> None:
        """
        End everything.
        """
        end_all(self._processes.values())
        self._logs.close()

    def kill(self, part: str) -> None:
        """
        End one server with SIGKILL.
        """
        self._processes[part].kill()
        self._processes[part].wait()

    def start_part(self, part: str) -> None:
        """
        Start one server, without waiting for it.
        """
        configuration = self._directory / f"{part}.conf"
        self._processes[part] = self._spawn([str(self._commands / f"swift-{part}-server"), str(configuration)])

    def wait(self) -> None:
        """
        Return when all servers respond.

        Raises:
            AssertionError: A server has ended, or does not respond for a long time.
        """
        for part in PARTS:
            for _ in range(400):
                if self._responses(part):
                    break
                if self._processes[part].poll() is not None:
                    raise AssertionError(f"Swift's {part} server ended: {self._log()}")
                time.sleep(0.1)
            else:
                raise AssertionError(f"Swift's {part} server does not answer: {self._log()}")

    def _log(self) -> str:
        return (self._directory / "swift.log").read_text(errors="replace")[-2000:]

    def _responses(self, part: str) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self._ports[part]}/healthcheck", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return True
        except OSError:
            return False
        return True

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stdout=self._logs, stderr=self._logs, stdin=subprocess.DEVNULL)

    def _configure(self) -> None:
        directory = self._directory
        (directory / "node" / "disk").mkdir(parents=True)
        (directory / "cache").mkdir()
        (directory / "swift.conf").write_text(
            """[swift-hash]
swift_hash_path_prefix = soak
swift_hash_path_suffix = soak
[storage-policy:0]
name = default
default = yes
[swift-constraints]
max_header_size = 65536
"""
        )
        common = f"bind_ip = 127.0.0.1\nworkers = 0\nuser = {getpass.getuser()}\nswift_dir = {directory}\n"
        common += "log_address = /nowhere\n"
        for part in STORAGE:
            (directory / f"{part}.conf").write_text(
                f"""[DEFAULT]
{common}bind_port = {self._ports[part]}
devices = {directory}/node
mount_check = false
disable_fallocate = true
recon_cache_path = {directory}/cache
[pipeline:main]
pipeline = healthcheck {part}-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:{part}-server]
use = egg:swift#{part}
allow_versions = on
"""
            )
            self._build_ring(part)
        filters = {
            "catch_errors": "use = egg:swift#catch_errors",
            "gatekeeper": "use = egg:swift#gatekeeper",
            "healthcheck": "use = egg:swift#healthcheck",
            "cache": f"use = egg:swift#memcache\nmemcache_servers = 127.0.0.1:{self._ports['memcached']}",
            "listing_formats": "use = egg:swift#listing_formats",
            "bulk": "use = egg:swift#bulk",
            "s3api": "use = egg:swift#s3api\nlocation = us-east-1\nauth_pipeline_check = false\n"
            # One setting covers preflights for all buckets, even before a bucket exists.
            f"check_bucket_owner = true\nstorage_domain = {self._domain}\ncors_preflight_allow_origin = *",
            "tempauth": f"use = egg:swift#tempauth\nuser_{KEY_ID.replace(':', '_')} = {SECRET} .admin",
            "copy": "use = egg:swift#copy",
            "slo": "use = egg:swift#slo",
            "dlo": "use = egg:swift#dlo",
            "versioned_writes": "use = egg:swift#versioned_writes\nallow_object_versioning = true",
            "symlink": "use = egg:swift#symlink",
        }
        # There is one replica, so a server that failed a few times must not be excluded for a minute.
        (directory / "proxy.conf").write_text(
            f"""[DEFAULT]
{common}bind_port = {self._ports["proxy"]}
[pipeline:main]
pipeline = {" ".join(filters)} proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
error_suppression_limit = 1000000000
cors_allow_origin = *
"""
            + "".join(f"[filter:{name}]\n{text}\n" for name, text in filters.items())
        )

    def _build_ring(self, part: str) -> None:
        builder = str(self._commands / "swift-ring-builder")
        device = f"r1z1-127.0.0.1:{self._ports[part]}/disk"
        for arguments in (["create", "6", "1", "1"], ["add", device, "1"], ["rebalance"]):
            # It exits with status 1 after a warning.
            command = [builder, f"{part}.builder", *arguments]
            subprocess.run(command, check=False, cwd=self._directory, stdout=self._logs, stderr=self._logs)
        if not (self._directory / f"{part}.ring.gz").exists():
            raise AssertionError(f"Swift's ring was not built: {self._log()}")
