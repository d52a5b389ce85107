"""
The native rooms, built from this checkout: kept between runs, so that only what changed is compiled again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.root import ROOT

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "s3proxy-tests" / "native"
"""
Where the copied source, the compiled crates and the installed module are.
"""

MINIMUM = (1, 83)

_PLACES = (Path.home() / ".cargo/bin", Path("/usr/bin"))


def find_cargo() -> str:
    """
    Return a cargo that is new enough; install Debian's if there is none.
    """
    for cargo in _installed():
        if _version(cargo) >= MINIMUM:
            return cargo
    apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    print("installing Rust from Debian's packages", flush=True)
    # The packages without "-web" are older than any crate of today.
    for arguments in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", "cargo-web", "rustc-web"]):
        subprocess.run(["apt-get", *arguments], check=True, env=apt, stdout=subprocess.DEVNULL)
    cargo = "/usr/bin/cargo"
    assert _version(cargo) >= MINIMUM
    return cargo


def _installed() -> list[str]:
    found = [shutil.which("cargo"), *(shutil.which("cargo", path=str(place)) for place in _PLACES)]
    return list(dict.fromkeys(cargo for cargo in found if cargo is not None))


def _version(cargo: str) -> tuple[int, int]:
    ran = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)\.(\d+)", ran.stdout)
    return (int(found[1]), int(found[2])) if found is not None else (0, 0)


@cache
def install_native() -> Path:
    """
    Build and install the native rooms; return the directory that makes them importable.
    """
    cargo = find_cargo()
    source, target = CACHE / "source", CACHE / "installed"
    shutil.rmtree(target, ignore_errors=True)
    # The checkout stays clean. With their times, the files that did not change are not compiled again.
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "native", source, ignore=shutil.ignore_patterns("target"))
    print("building the native rooms", flush=True)
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(CACHE / "target"),
        "PATH": f"{Path(cargo).parent}{os.pathsep}{os.environ['PATH']}",
    }
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--target", target, source], check=True, env=environment)
    return target
