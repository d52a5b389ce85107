"""
Go programs of the suite: built once, with a compiler that is new enough.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

TOOLCHAIN = "go1.26.0"
"The compiler that is fetched if the installed one is too old; as a module, as Go itself does it since 1.21."

MINIMUM = (1, 25)

MINIO = ("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
MC = ("github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9")
"MinIO's programs: the module of each, and its version."

CACHE = Path(tempfile.gettempdir()) / "s3proxy-integration"


def environment() -> dict[str, str]:
    """
    Return the environment of Go programs, without the variable of a CA bundle: the AWS SDK for Go fails if it cannot
    read the bundle.
    """
    return {name: value for name, value in os.environ.items() if name != "AWS_CA_BUNDLE"}


def find_go() -> str:
    """
    Return a compiler; install one if there is none that is new enough.
    """
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        print("installing Go from Debian's packages", flush=True)
        for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "golang-go"]):
            subprocess.run(["apt-get", *arguments], check=True, env=apt, stdout=subprocess.DEVNULL)
        go = "go"
    version = subprocess.run([go, "version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"go(\d+)\.(\d+)", version)
    if found is not None and (int(found[1]), int(found[2])) >= MINIMUM:
        return go
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    module = f"golang.org/toolchain@v0.0.1-{TOOLCHAIN}.linux-{machine}"
    print(f"fetching {TOOLCHAIN}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([go, "mod", "init", "toolchain"], cwd=directory, check=True, capture_output=True)
        subprocess.run([go, "mod", "download", module], cwd=directory, check=True, env=environment())
    modules = subprocess.run([go, "env", "GOMODCACHE"], check=True, capture_output=True, text=True).stdout.strip()
    binaries = Path(modules) / module / "bin"
    for path in (*binaries.iterdir(), *(binaries.parent / "pkg" / "tool" / f"linux_{machine}").iterdir()):
        # Modules do not keep permissions.
        path.chmod(0o755)
    return str(binaries / "go")


def install_program(package: str, version: str) -> Path:
    """
    Build a program of a public module; return its path.

    Args:
        package: Import path.
    """
    path = CACHE / version / package.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"building {package} {version}", flush=True)
        subprocess.run(
            [find_go(), "install", f"{package}@{version}"],
            check=True,
            env={**environment(), "GOBIN": str(path.parent)},
        )
    return path
