"""
moto's server: from its Python package, in a separate environment, because its dependencies are not ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.integration import swift

REQUIREMENT = "moto[server,s3]==5.2.*"


def command(port: int) -> list[str]:
    """
    Install it if it is missing; return the command that starts it on loopback.
    """
    commands = swift.CACHE / "moto" / "bin"
    if not (commands / "moto_server").exists():
        print("installing moto", flush=True)
        shutil.rmtree(commands.parent, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(commands.parent)], check=True)
        subprocess.run([str(commands / "pip"), "install", "-q", REQUIREMENT], check=True)
    return [str(commands / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
