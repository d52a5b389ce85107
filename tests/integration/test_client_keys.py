"""
A key is rotated by ``s3proxy keys`` while clients use it: no request fails, on any source of keys.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.load import Key, Load, running_backend
from tests.integration.postgresql import OWNER, OWNER_PASSWORD, PostgreSQL
from tests.support.daemon import twistd_arguments
from tests.support.databases import make_sqlite, put_sqlite
from tests.support.processes import free_port, running, wait_for_port

pytestmark = pytest.mark.integration

REQUESTS = int(os.environ.get("S3PROXY_ROTATION_REQUESTS", "10000"))
CLIENTS = 4
SECRET = "secret-of-alice-before-the-rotation-0001"
COMMENTED = f"""\
# Keys of the laboratory.

# Alice, until her project ends
[[key]]
access_key_id = "ALICE"   # never reused
secret_access_key = "{SECRET}"  # from the vault
"""


@dataclass(frozen=True)
class Kept:
    """
    Where the keys are.

    Attributes:
        source: The `source` of `[credentials]`.
        lines: Further lines of that table.
        server: Lines of `[server]`.
        is_reloaded: Whether a change needs SIGHUP.
        operator: The source for commands, if it is another one.
    """

    source: str
    lines: str = ""
    server: str = ""
    is_reloaded: bool = False
    operator: str = ""


@contextmanager
def keys_file(directory: Path) -> Iterator[Kept]:
    """
    A keys file that is read on SIGHUP.
    """
    (directory / "keys.toml").write_text(COMMENTED)
    yield Kept("file:keys.toml", is_reloaded=True)
    text = (directory / "keys.toml").read_text()
    assert re.sub('= "[^"]{40}"', f'= "{SECRET}"', text) == COMMENTED


@contextmanager
def watched_file(directory: Path) -> Iterator[Kept]:
    """
    A keys file that the daemon watches.
    """
    (directory / "keys.toml").write_text(COMMENTED)
    yield Kept("file:keys.toml", server='reload = "watch"')


@contextmanager
def file_of_workers(directory: Path) -> Iterator[Kept]:
    """
    A keys file that a supervisor watches for its workers.
    """
    (directory / "keys.toml").write_text(COMMENTED)
    yield Kept("file:keys.toml", server='reload = "watch"\nworkers = 2')


@contextmanager
def sqlite(directory: Path) -> Iterator[Kept]:
    """
    A database in a file.
    """
    make_sqlite(directory / "keys.sqlite")
    put_sqlite(directory / "keys.sqlite", "ALICE", [SECRET])
    yield Kept("sqlite:keys.sqlite", lines="ttl = 0.5\nnegative_ttl = 0.5")


@contextmanager
def postgresql(directory: Path) -> Iterator[Kept]:
    """
    A database that tells of changes. The operator may write, and has another configuration than the daemon.
    """
    server = PostgreSQL()
    try:
        server.start()
        server.fill()
        server.put("ALICE", [SECRET])
        yield Kept(server.url(), lines="ttl = 3600", operator=server.url(OWNER, OWNER_PASSWORD))
    finally:
        server.remove()


PLACES: dict[str, Callable[[Path], AbstractContextManager[Kept]]] = {
    "file": keys_file,
    "file-watch": watched_file,
    "file-workers": file_of_workers,
    "sqlite": sqlite,
    "postgresql": postgresql,
}


def run_command(directory: Path, *arguments: str) -> str:
    """
    Run ``s3proxy keys`` as an operator does; return standard output.
    """
    command = [sys.executable, "-P", "-m", "s3proxy.commands.cli", "keys", "--config", "operator.toml", *arguments]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def wait_until(condition: Callable[[], object]) -> None:
    """
    Wait for something that the daemon does in its own time.
    """
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to be so")


@pytest.mark.parametrize("place", PLACES)
def test_a_rotation_under_load_fails_no_request(place: str, tmp_path: Path) -> None:
    """
    The clients change over in the middle. In the end the former secret is refused, and the comments are as before.
    """
    with PLACES[place](tmp_path) as kept, running_backend(tmp_path / "backend") as backend_port:
        port = free_port()
        (tmp_path / "operator.toml").write_text(f'[credentials]\nsource = "{kept.operator or kept.source}"\n')
        (tmp_path / "s3proxy.toml").write_text(
            f'[server]\nlisten = ["tcp:{port}:interface=127.0.0.1"]\n{kept.server}\n'
            f'[[backend]]\nname = "only"\nurl = "http://127.0.0.1:{backend_port}"\nsignature = "none"\n'
            f'[credentials]\nsource = "{kept.source}"\n{kept.lines}\n[log]\naccess = "none"\n'
        )
        with running(twistd_arguments(tmp_path / "s3proxy.toml"), tmp_path) as process:
            wait_for_port(port, process)
            load = Load(port, Key("ALICE", SECRET), CLIENTS)
            wait_until(lambda: load.probe(SECRET) == 200)
            with load:
                wait_until(lambda: load.count >= REQUESTS // 4)
                (secret,) = re.findall(r"aws_secret_access_key = (\S{40})\n", run_command(tmp_path, "rotate", "ALICE"))
                if kept.is_reloaded:
                    process.send_signal(signal.SIGHUP)
                wait_until(lambda: load.probe(secret) == 200)
                wait_until(lambda: load.count >= REQUESTS // 2)
                load.change_over(secret)
                wait_until(lambda: load.counts.get(secret, 0) >= max(REQUESTS // 4, 100 * CLIENTS))
                run_command(tmp_path, "rotate", "--finish", "ALICE")
                if kept.is_reloaded:
                    process.send_signal(signal.SIGHUP)
                wait_until(lambda: load.probe(SECRET) == 403)
                wait_until(lambda: load.count >= REQUESTS)

        output = (tmp_path / "process.log").read_text()

    assert load.failures == []
    assert load.count >= REQUESTS
    assert min(load.counts.values()) > REQUESTS // 5
    assert secret not in output
    assert SECRET not in output
