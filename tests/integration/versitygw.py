"""
versitygw over a directory: from its Go module, on loopback.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.golang import environment, install_program
from tests.support.processes import free_port

VERSION = "v1.8.0"
KEY_ID, SECRET = "VGWROOTKEY0000000001", "versitygw-root-secret-of-the-suite-0001"


def install() -> Path:
    """
    Build it if it is missing; return its path.
    """
    return install_program("github.com/versity/versitygw/cmd/versitygw", VERSION)


def start_versitygw(
    program: Path, directory: Path, domain: str = "", region: str = "us-east-1"
) -> tuple[subprocess.Popen[bytes], int]:
    """
    Start it, without waiting for it; return its process and its port.

    Args:
        directory: Directory for its files; it must exist.
        domain: The domain below which a host name begins with a bucket; empty for none.
        region: The only region that it accepts.
    """
    for name in ("store", "iam"):
        (directory / name).mkdir()
    port = free_port()
    virtual = ["--virtual-domain", domain] if domain else []
    place = ["--port", f"127.0.0.1:{port}", "--region", region]
    command = [str(program), *place, *virtual, "--iam-dir", str(directory / "iam")]
    keys = {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
    with (directory / "versitygw.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "posix", str(directory / "store")],
            cwd=directory,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**environment(), **keys},
        )
    return process, port
