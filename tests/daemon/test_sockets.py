"""
Listening sockets: who may connect to a unix socket, and what happens to an existing file at its path.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from s3proxy.daemon.sockets import ADMIN, CannotListen, Sockets
from tests.support.harness import turns

DATA = "a listener"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """
    The umask of a daemon, as various systems set it.
    """
    former = os.umask(request.param)
    yield request.param
    assert os.umask(former) == request.param, "it is as it was"


def mode_of(path: Path) -> int:
    """
    Return the permissions of a socket's file.
    """
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode)
    return stat.S_IMODE(status.st_mode)


@pytest.mark.parametrize(
    ("name", "description", "mode"),
    [
        (DATA, "unix:{path}", 0o660),
        (DATA, "unix:address={path}:lockfile=0", 0o660),
        (DATA, "unix:{path}:mode=666", 0o666),
        (DATA, "unix:mode=0600:address={path}", 0o600),
        (ADMIN, "unix:{path}", 0o600),
        (ADMIN, "unix:{path}:mode=660", 0o660),
    ],
)
def test_who_may_connect_to_a_unix_socket(tmp_path: Path, umask: int, name: str, description: str, mode: int) -> None:
    """
    Not every user of the machine, unless the endpoint says so. To the admin endpoint only the daemon's own user.
    """
    path = tmp_path / "socket"
    sockets = Sockets(None)

    sockets.open(name, description.format(path=path))

    assert mode_of(path) == mode
    sockets.keep_only([])


def test_a_path_that_looks_like_a_mode(tmp_path: Path) -> None:
    """
    ``mode=`` within an escaped path does not set permissions.
    """
    sockets = Sockets(None)

    sockets.open(DATA, rf"unix:address={tmp_path}/a\:mode=666")

    assert mode_of(tmp_path / "a:mode=666") == 0o660
    sockets.keep_only([])


@pytest.mark.parametrize(
    ("endpoint", "host"), [("tcp:0", "0.0.0.0"), ("ssl:0", "0.0.0.0"), ("tls:certificates:0", "::")]
)
def test_an_endpoint_that_names_no_interface(endpoint: str, host: str) -> None:
    """
    It listens on all of them.
    """
    sockets = Sockets(None)

    sockets.open(DATA, endpoint)

    (descriptor,) = sockets.descriptors.values()
    with socket.socket(fileno=os.dup(descriptor)) as opened:
        assert opened.getsockname()[0] == host
    sockets.keep_only([])


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    """
    A socket without a listener is replaced.
    """
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    sockets = Sockets(None)

    sockets.open(DATA, f"unix:{path}")

    assert mode_of(path) == 0o660
    sockets.keep_only([])


def test_a_socket_in_use_stays(tmp_path: Path) -> None:
    """
    The socket of another process is not replaced.
    """
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as used:
        used.bind(str(path))
        used.listen()

        with pytest.raises(CannotListen, match="Address already in use"):
            Sockets(None).open(DATA, f"unix:{path}")

        with socket.socket(socket.AF_UNIX) as client:
            assert client.connect_ex(str(path)) == 0


@pytest_twisted.ensureDeferred
async def test_the_file_of_a_socket_is_left_alone(tmp_path: Path) -> None:
    """
    A process that begins or ends to serve an open socket changes neither its permissions nor its name.

    Otherwise a worker that retires would remove its successors' socket, and systemd's would be open to everyone.
    """
    path = tmp_path / "socket"
    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    sockets = Sockets(reactor)
    sockets.open(DATA, f"unix:{path}")
    inherited = Sockets(reactor, {DATA: os.dup(sockets.descriptors[DATA])})
    port = inherited.listen(DATA, f"unix:{path}", factory)
    client = await UNIXClientEndpoint(reactor, str(path)).connect(factory)
    client.transport.abortConnection()
    await port.stopListening()
    inherited.keep_only([])

    assert mode_of(path) == 0o660
    with socket.socket(socket.AF_UNIX) as another:
        assert another.connect_ex(str(path)) == 0
    await turns(3)
    sockets.keep_only([])


@pytest.mark.parametrize("kind", ["file", "link"])
def test_no_other_file_is_replaced(tmp_path: Path, kind: str) -> None:
    """
    A path that is, or leads to, an ordinary file is refused and the file stays, although connecting to it fails in the
    same way.
    """
    keys = tmp_path / "keys.toml"
    keys.write_text("secret")
    path = keys
    if kind == "link":
        path = tmp_path / "link"
        path.symlink_to(keys)

    with pytest.raises(CannotListen, match="Address already in use"):
        Sockets(None).open(DATA, f"unix:{path}")

    assert path.read_text() == "secret"
