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
import pytest_twisted
from OpenSSL.crypto import FILETYPE_PEM, X509Store, X509StoreContext, X509StoreFlags, load_certificate
from twisted.internet import reactor

from s3proxy.commands.cli import main
from s3proxy.commands.demo import Demo


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


@pytest.mark.parametrize(
    ("lacking", "told"),
    [
        (["boto3"], "boto3: pip install boto3"),
        (["trustme"], "trustme: pip install trustme"),
        (["boto3", "trustme"], "boto3 and trustme: pip install boto3 trustme"),
    ],
)
def test_the_demo_says_how_to_install_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lacking: list[str], told: str
) -> None:
    """
    An installation without extras has neither package.
    """
    for name in lacking:
        monkeypatch.setitem(sys.modules, name, None)

    assert main(["demo"]) == 1
    assert capsys.readouterr().err == f"the demonstration requires {told}\n"


@pytest_twisted.ensureDeferred
async def test_the_authority_of_the_demo_passes_a_strict_check(tmp_path: Path) -> None:
    """
    Python 3.13 checks strictly by default: it refuses an authority without a key usage extension.
    """
    demo = Demo(tmp_path, reactor, 0)
    demo.start()
    await demo.stop()
    strict = X509Store()
    strict.set_flags(X509StoreFlags.X509_STRICT)
    strict.add_cert(load_certificate(FILETYPE_PEM, demo.authority_path.read_bytes()))
    server = load_certificate(FILETYPE_PEM, (tmp_path / "server.pem").read_bytes())

    assert X509StoreContext(strict, server).verify_certificate() is None
