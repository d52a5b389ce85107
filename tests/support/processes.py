"""
Processes for tests: the daemon, and applications. Each is ended by its id.
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.harness import SERVER, turns


def free_port() -> int:
    """
    Return a port that was free a moment ago.

    It is outside the range that the kernel gives to outgoing connections: one of them could take it a moment later.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("a hundred ports are in use")


def write_keys(path: Path, *, with_tokens: bool = False) -> None:
    """
    Write the data set's keys.
    """
    tables = []
    for item in SERVER["credentials"]:
        if item["session_token"] and not with_tokens:
            continue
        table = f'[[key]]\naccess_key_id = "{item["access_key"]}"\nsecret_access_key = "{item["secret_key"]}"\n'
        if item["session_token"]:
            table += f'session_token = "{item["session_token"]}"\n'
        tables.append(table)
    path.write_text("\n".join(tables))
    path.chmod(0o600)


def write_configuration(
    directory: Path,
    backend_url: str,
    *,
    more: str = "",
    backend: str = "",
    server: str = "",
    listen: str = "",
    port: int = 0,
    access: str = "access.log",
) -> Path:
    """
    Write a configuration and its keys; return its path.
    """
    listen = listen or f"tcp:{port}:interface=127.0.0.1"
    write_keys(directory / "keys.toml", with_tokens=True)
    path = directory / "s3proxy.toml"
    path.write_text(
        f"""[server]
listen = ["{listen}"]
{server}

[[backend]]
name = "test"
url = "{backend_url}"
access_key_id = "BACKENDKEY"
secret_access_key = "the-backend-secret-of-the-tests"
{backend}

[credentials]
source = "file:keys.toml"

[log]
access = "{access}"
{more}"""
    )
    return path


@contextmanager
def running(
    arguments: list[str],
    directory: Path,
    environment: dict[str, str] | None = None,
    *,
    pass_fds: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """
    Run a Python process; end it, and fail if it does not end.
    """
    log = (directory / "process.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=directory,
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
        env=environment,
        pass_fds=pass_fds,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
        log.close()


async def until_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """
    Wait until a process accepts connections.
    """
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        await turns(20)
    raise AssertionError(f"the process ended with {process.returncode}")


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """
    The same, for tests without a reactor.
    """
    for _ in range(1200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"nobody listens: {process.args!r}")


def peak_memory(pid: int) -> int:
    """
    Return the maximum bytes of memory that a process had so far (VmHWM, proc(5)).
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def established_count(pid: int, port: int) -> int:
    """
    Return how many connections to a port of 127.0.0.1 a process has accepted (proc_pid_net(5)).
    """
    established = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == "01":
            established.add(f"socket:[{fields[9]}]")
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()) in established
    return count


def end_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """
    End processes, the last one first. Kill one that does not end in time.
    """
    ending = [*processes][::-1]
    for process in ending:
        process.terminate()
    for process in ending:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
