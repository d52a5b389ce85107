"""
The response on its way to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from s3proxy.backend.relay import DocumentReader, ResponseRelay


class Response:
    """
    A response of which a part has arrived.
    """

    transport = None
    is_paused = False

    def deliver(self, receiver: Any) -> None:
        """
        Deliver what has arrived.
        """
        receiver.bodyReceived((b"part",))

    def pauseProducing(self) -> None:
        """
        Stop.
        """
        self.is_paused = True


class Writer:
    """
    A client's socket.
    """

    read_size = None

    def __init__(self, *, is_paused: bool) -> None:
        self.is_paused = is_paused

    def writeSequence(self, pieces: Sequence[bytes]) -> None:
        """
        Accept everything.
        """


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_socket_that_was_full_before_pauses_the_backend(is_paused: bool) -> None:
    """
    A socket reports only once that it is full, and that was before this response began.
    """
    response: Any = Response()
    writer: Any = Writer(is_paused=is_paused)

    ResponseRelay(response, writer, b"head", is_chunked=False, ended=lambda failure: None).start()

    assert response.is_paused == is_paused


def test_a_document_counts_until_it_is_passed_on() -> None:
    """
    What was read is in memory; what is relayed is not.
    """
    counted: list[int] = []
    received: list[bytes] = []

    class Receiver:
        splice_target = None

        def bodyReceived(self, pieces: Sequence[bytes]) -> None:
            received.extend(pieces)

    reader = DocumentReader(10, lambda failure: None, counted.append)
    reader.bodyReceived((b"12345678",))
    reader.bodyReceived((b"1234",))
    receiver: Any = Receiver()
    reader.pass_to(receiver)
    reader.bodyReceived((b"more",))

    assert counted == [8, 4, -12]
    assert received == [b"12345678", b"1234", b"more"]
