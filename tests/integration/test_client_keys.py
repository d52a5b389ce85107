"""
A key is rotated by ``s3proxy keys`` while clients use it: no request fails, on any source of keys.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
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
        told: What the log says once every process uses a change, and has said once before.
    """

    source: str
    lines: str = ""
    server: str = ""
    is_reloaded: bool = False
    operator: str = ""
    told: str = ""


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
    yield Kept("file:keys.toml", server='reload = "watch"\nworkers = 2', told="2 workers are serving")


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
                # New workers are asked while former ones still serve.
                wait_until(lambda: not kept.told or (tmp_path / "process.log").read_text().count(kept.told) > 1)
                # A worker that ends serves one more request of an open connection.
                before = load.count
                wait_until(lambda: load.count >= max(REQUESTS // 2, before + 100 * CLIENTS))
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


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """
    A PostgreSQL server with the tables.
    """
    server = PostgreSQL()
    try:
        server.start()
        server.fill()
        yield server
    finally:
        server.remove()


@pytest.fixture
def laboratory(server: PostgreSQL, tmp_path: Path) -> Path:
    """
    The configurations of an operator, and of a user who may only read.
    """
    server.execute("DELETE FROM s3proxy_keys")
    server.put("ALICE", [SECRET])
    (tmp_path / "operator.toml").write_text(f'[credentials]\nsource = "{server.url(OWNER, OWNER_PASSWORD)}"\n')
    (tmp_path / "reader.toml").write_text(f'[credentials]\nsource = "{server.url()}"\n')
    return tmp_path


def row(server: PostgreSQL, name: str) -> tuple[object, ...]:
    """
    What the table has of a key.
    """
    columns = "secret_access_key, expires, disabled, exempt, bytes_per_second, backend_key"
    (found,) = server.execute(f"SELECT {columns} FROM s3proxy_keys WHERE access_key_id = %s", (name,))
    return tuple(found)


def test_each_command_on_postgresql(server: PostgreSQL, laboratory: Path) -> None:
    """
    A key is added with its rules, rotated, disabled, enabled, listed and removed. The other key stays as it is.
    """
    alice = row(server, "ALICE")
    out = run_command(
        laboratory,
        *("add", "BOB", "--exempt", "region", "--bytes-per-second", "2 MiB", "--disabled"),
        *("--expires", "2031-01-01T00:00:00Z"),
    )
    (first,) = re.findall(r"aws_secret_access_key = (\S{40})\n", out)
    expires = datetime(2031, 1, 1, tzinfo=UTC)
    assert row(server, "BOB") == ([first], expires, True, ["region"], 2 << 20, None)

    run_command(laboratory, "enable", "BOB")
    (second,) = re.findall(r"aws_secret_access_key = (\S{40})\n", run_command(laboratory, "rotate", "BOB"))
    assert row(server, "BOB") == ([first, second], expires, False, ["region"], 2 << 20, None)

    run_command(laboratory, "rotate", "--cancel", "BOB")
    run_command(laboratory, "disable", "BOB")
    assert row(server, "BOB") == ([first], expires, True, ["region"], 2 << 20, None)

    listed = {key["access_key_id"]: key for key in json.loads(run_command(laboratory, "list", "--json"))}
    assert (listed["BOB"]["state"], listed["BOB"]["secrets"], listed["ALICE"]["state"]) == ("disabled", 1, "active")
    assert listed["BOB"]["rules"] == {"exempt": ["region"], "bytes_per_second": 2 << 20}

    run_command(laboratory, "remove", "--yes", "BOB")
    assert server.execute("SELECT access_key_id FROM s3proxy_keys") == [("ALICE",)]
    assert row(server, "ALICE") == alice


def refused(directory: Path, *arguments: str) -> str:
    """
    Run a command that fails; return standard error.
    """
    command = [sys.executable, "-P", "-m", "s3proxy.commands.cli", "keys", *arguments]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1), ran.stderr
    return ran.stderr


def test_what_postgresql_refuses(server: PostgreSQL, laboratory: Path) -> None:
    """
    One line, without the details of the server: they have the whole row.
    """
    assert "permission denied" in refused(laboratory, "--config", "reader.toml", "add", "BOB")
    assert "permission denied" in refused(laboratory, "--config", "reader.toml", "rotate", "ALICE")

    server.execute("ALTER TABLE s3proxy_keys ADD CONSTRAINT few CHECK (requests < 5) NOT VALID")
    try:
        told = refused(laboratory, "--config", "operator.toml", "add", "BOB", "--requests", "7")
        server.execute("UPDATE s3proxy_keys SET requests = 4")
    finally:
        server.execute("ALTER TABLE s3proxy_keys DROP CONSTRAINT few")
    assert 'violates check constraint "few"' in told
    assert "Failing row" not in told

    (laboratory / "operator.toml").write_text('[credentials]\nsource = "postgresql://o:hidden-word@127.0.0.1:1/keys"\n')
    told = refused(laboratory, "--config", "operator.toml", "list")
    assert "Connection refused" in told
    assert "hidden-word" not in told
    assert row(server, "ALICE")[0] == [SECRET]


def test_rotations_at_once_on_postgresql(server: PostgreSQL, laboratory: Path) -> None:
    """
    The row is locked: of several, one succeeds, and no secret is lost that was shown.
    """
    command = [sys.executable, "-P", "-m", "s3proxy.commands.cli", "keys", "--config", "operator.toml"]
    processes = [
        subprocess.Popen(
            [*command, "rotate", "ALICE"], cwd=laboratory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=120) for process in processes]

    shown = [secret for out, _ in ended for secret in re.findall(r"aws_secret_access_key = (\S{40})\n", out)]
    assert sorted(process.returncode for process in processes) == [0, 1, 1, 1]
    assert row(server, "ALICE")[0] == [SECRET, *shown]
