"""
The demonstration shows what it announces.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from s3proxy.commands.cli import main


def test_the_demo_shows_everything(tmp_path: Path) -> None:
    """
    ``s3proxy demo --once`` succeeds. Its output shows the refusals and the successes, and the next steps.
    """
    ran = subprocess.run(
        [sys.executable, "-m", "s3proxy.commands.cli", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line.strip() for line in ran.stdout.splitlines()]
    shown = [line.removeprefix("ok").strip().partition(":")[0] for line in lines if line.startswith("ok")]
    assert shown == [
        "sent directly to the store, it fails",
        "through s3proxy, it succeeds over http",
        "through s3proxy, it succeeds over https",
        "through s3proxy, a multipart upload succeeds",
        "it is refused",
        "the previous object is unchanged",
        "an unmodified upload is stored",
        "the upload is complete",
        "the client was slowed down to the store's rate",
        "memory use stayed constant",
    ]
    assert not [line for line in lines if line.startswith("FAIL")]
    assert "s3 cp FILE" in ran.stdout
    assert re.search(r"store      http://127\.0\.0\.1:\d+   \(profile riakcs, signature v2\)", ran.stdout)
    assert re.search(r"access key id LEGACYKEY, secret \S{40}", ran.stdout)


def test_a_taken_port_is_told_in_a_line(tmp_path: Path) -> None:
    """
    The demonstration exits, and names the port.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            [sys.executable, "-m", "s3proxy.commands.cli", "demo", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )

    assert ran.returncode == 1
    assert ran.stderr == f"cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use\n"
    assert ran.stdout == ""


@pytest.mark.parametrize("port", ["65535", "65536", "-1", "x", "٣", ""])
def test_a_port_which_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Otherwise another one would be opened: the one modulo 65536. https needs the next port, too.
    """
    with pytest.raises(SystemExit) as ended:
        main(["demo", f"--port={port}"])

    assert ended.value.code == 2
    assert "is not a port from 0 to 65534" in capsys.readouterr().err


def test_without_boto3_the_demo_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    An installation without extras has no boto3.
    """
    monkeypatch.setitem(sys.modules, "boto3", None)

    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "the demonstration requires boto3: pip install boto3\n"
