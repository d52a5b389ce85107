"""
Listening sockets: who owns them, and who may connect.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from twisted.internet import reactor

from s3proxy.daemon.sockets import CannotListen, Sockets


def test_a_unix_socket_that_is_served_is_not_taken_away(tmp_path: Path) -> None:
    """
    One that an ended process left is replaced.
    """
    path = tmp_path / "s3.sock"
    first, second = Sockets(reactor), Sockets(reactor)
    first.open("a", f"unix:{path}")

    try:
        with pytest.raises(CannotListen):
            second.open("a", f"unix:{path}")
        first.keep_only([])
        second.open("a", f"unix:{path}")
    finally:
        first.keep_only([])
        second.keep_only([])


def test_a_unix_socket_has_its_mode(tmp_path: Path) -> None:
    """
    Whatever the umask says.
    """
    path = tmp_path / "s3.sock"
    sockets = Sockets(reactor)
    former = os.umask(0o077)
    try:
        sockets.open("a", f"unix:{path}:mode=660")
    finally:
        os.umask(former)
        sockets.keep_only([])

    assert path.stat().st_mode & 0o777 == 0o660


def test_a_socket_that_was_left_for_us_is_left_to_no_child() -> None:
    """
    Otherwise a child would still listen after this process.
    """
    with socket.socket() as opened:
        fd = os.dup(opened.fileno())
        os.set_inheritable(fd, True)
        sockets = Sockets(reactor, {"a": fd})

        assert not os.get_inheritable(fd)
        sockets.keep_only([])
