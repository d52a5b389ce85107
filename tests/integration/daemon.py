"""
``twistd s3proxy`` as its own process, in front of one backend, for http and https.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.processes import free_port

CLIENT_KEY_ID, CLIENT_SECRET = "CLIENTACCESSKEY00001", "client-secret-of-the-integration-suite-01"


def start_daemon(
    directory: Path, backend: str, server: Path, domain: str = "", *, lines: str = ""
) -> tuple[subprocess.Popen[bytes], int, int]:
    """
    Start the daemon without waiting for it; return its process and its ports for http and https.

    Args:
        directory: Directory for its files; it does not exist yet.
        backend: The lines of its ``[[backend]]``.
        server: Path of its key and its certificate.
        domain: The domain below which a host name begins with a bucket; empty for none.
        lines: Further lines of its ``[server]``.
    """
    directory.mkdir()
    port, tls_port = free_port(), free_port()
    (directory / "keys.toml").write_text(
        f'[[key]]\naccess_key_id = "{CLIENT_KEY_ID}"\nsecret_access_key = "{CLIENT_SECRET}"\n'
    )
    (directory / "s3proxy.toml").write_text(
        f"""[server]
listen = [
    "tcp:{port}:interface=127.0.0.1",
    "ssl:{tls_port}:interface=127.0.0.1:privateKey={server}",
]
{f'domains = ["{domain}"]' if domain else ""}
{lines}
[[backend]]
{backend}
[credentials]
source = "file:keys.toml"
[log]
access = "access.log"
"""
    )
    with (directory / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            ["twistd", "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"],
            cwd=directory,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "STATE_DIRECTORY": str(directory)},
        )
    return process, port, tls_port
