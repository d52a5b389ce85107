"""
Limits of what is kept for a connection, in the kernel and in a pipe.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
from twisted.internet.task import Clock

from s3proxy.transport import splice
from s3proxy.transport.pace import Rate
from s3proxy.transport.splice import Pipes
from s3proxy.transport.writer import SeesEachByte, bound_socket_buffers


class Transport:
    """
    Has a socket.
    """

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle

    def getHandle(self) -> Any:
        """
        Return the socket.
        """
        return self.handle


def test_the_kernel_keeps_a_bounded_number_of_bytes() -> None:
    """
    By default it keeps 4 MB for each stalled connection.
    """
    with socket.socket() as opened:
        bound_socket_buffers(Transport(opened), 16384)

        # The kernel doubles the requested size.
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 32768
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 32768


def test_nothing_passes_by_who_must_see_it() -> None:
    """
    A writer that must see the bytes offers no shortcut, and rejects reports that one was used.
    """
    assert SeesEachByte().splice_target is None
    with pytest.raises(RuntimeError):
        SeesEachByte().moved(1)


def test_pipes_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An empty pipe is used again. One with bytes in it is not: they would end up in another body.
    """
    monkeypatch.setattr(splice, "MAX_PIPES", 1)
    pipes = Pipes()
    first = pipes.take()
    assert first is not None
    assert pipes.take() is None
    pipes.give_back(first, is_empty=True)
    assert pipes.take() == first
    os.write(first[1], b"somebody's")

    pipes.give_back(first, is_empty=False)

    second = pipes.take()
    assert second is not None
    with pytest.raises(BlockingIOError):
        os.read(second[0], 1)
    pipes.give_back(second, is_empty=True)
    pipes.close()
    assert pipes.made_count == 0


def test_what_was_not_used_is_not_there_for_ever() -> None:
    """
    The bytes of one second may come at once, however long none came.
    """
    clock = Clock()
    rate = Rate(3, clock)
    clock.advance(1000)

    taken = [rate.take() for _ in range(4)]

    assert taken[:3] == [None] * 3
    assert taken[3] is not None
    clock.advance(1)
    assert taken[3].called
